//! `evergate stop`: asks for a stop and sees to it that nobody owns the state directory any more, whatever that takes. It owns
//! the arguments and the words; how it is brought about is [`Halt`]'s business.

use std::pin::Pin;
use std::time::Duration;

use evergate_core::request::Mode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answers::Accepted;
use super::call_error::CallError;
use super::client::Client;
use super::halt::{Halt, Stood};
use super::patient::{Patient, Presence, presence};
use super::progress::{Progress, Stage};
use super::request::{POLL, ask, request_body};
use super::table::{duration, one_line};
use super::{CommandError, environment, exit, place};

/// The arguments of `evergate stop`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Do not wait for turns in flight: interrupt them now; they are resumed at the next start
    #[arg(long)]
    force: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How long to wait for the end, e.g. 90s or 5m
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Print one JSON object a stage, and the outcome as the last one
    #[arg(long)]
    json: bool,
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    let mut progress = Progress::new(arguments.json);
    let mut request = None;
    let outcome = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => None,
        outcome = carry_out(client, arguments, &mut progress, &mut request) => Some(outcome),
    };
    match outcome {
        Some(outcome) => outcome,
        None => {
            progress.finish("", &json!({"request": request, "outcome": "pending", "seconds": progress.seconds(), "detail": "interrupted"}));
            let sentence = match request {
                Some(request) => format!("not waiting any longer; stop request {request} stands"),
                None => {
                    "interrupted before the gateway answered; `evergate status` tells whether it accepted".to_owned()
                }
            };
            Err(CommandError::ended(exit::INTERRUPTED, sentence))
        }
    }
}

/// The gateway's answer to the request, once there is one.
type Asking<'a> = Pin<Box<dyn Future<Output = Result<Accepted, CommandError>> + 'a>>;

async fn carry_out(
    client: &Client,
    arguments: &Arguments,
    progress: &mut Progress,
    request: &mut Option<u64>,
) -> Result<(), CommandError> {
    let deadline = Instant::now().checked_add(arguments.wait);
    let (mode, word) = if arguments.force { (Mode::Force, "force") } else { (Mode::Graceful, "graceful") };
    let body = request_body(word, arguments.reason.as_deref(), place::own_turn(client.socket(), environment));
    let nobody_was_there = match presence(client.state_dir()) {
        Ok(Presence::Nobody(last)) => Some(last),
        _ => None,
    };
    let mut halt = Halt::new(client, mode, deadline.map(|_| arguments.wait));
    let mut asking: Option<Asking<'_>> = Some(Box::pin(ask(client, "/v1/stop", &body, deadline)));
    let mut generation = None;
    loop {
        let asked = async {
            match &mut asking {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            asked = asked => {
                asking = None;
                match (asked, &nobody_was_there) {
                    (Ok(accepted), _) => {
                        generation = accepted.generation;
                        let id = *request.insert(accepted.request);
                        progress.show(Stage { name: "accepted".to_owned(), generation, ..Stage::default() });
                        if place::within(client.socket(), environment) == place::Within::SomeTurn {
                            report_accepted(progress, id, generation);
                            return Ok(());
                        }
                        halt.accepted(&accepted);
                    }
                    (Err(CommandError::Call(error @ CallError::NobodyRuns { .. })), Some(last)) => {
                        let Some(last) = last else { return Err(error.into()) };
                        return end_the_pause(Patient::new(client.state_dir(), last.clone()), error, progress).await;
                    }
                    (Err(CommandError::Call(error)), _) if goes_on_without(&error) => halt.asked_in_vain(),
                    (Err(error), _) => return Err(error),
                }
            }
            () = tokio::time::sleep(POLL) => {}
        }
        // Between two generations there is nobody, and that is no stop.
        if nobody_was_there.is_some() && asking.is_some() {
            continue;
        }
        let object = |outcome: &str, detail: Option<&str>, rung: &str, progress: &Progress| {
            json!({"request": *request, "outcome": outcome, "generation": generation, "rung": rung,
                "seconds": progress.seconds(), "detail": detail})
        };
        match halt.step(progress).await? {
            Stood::Looking => {}
            Stood::Asks => asking = Some(Box::pin(ask(client, "/v1/stop", &body, deadline))),
            Stood::Climbed => asking = None,
            Stood::Gone { killed } => {
                let how = if killed { "; it was killed, and what was under way goes on at the next start" } else { "" };
                let sentence = format!("stopped, after {}{how}", duration(progress.elapsed()));
                progress.finish(&sentence, &object("stopped", None, halt.rung().name(), progress));
                return Ok(());
            }
            Stood::Ended { clause, kind } => {
                progress.finish("", &object(&kind, Some(&clause), halt.rung().name(), progress));
                let id = request.unwrap_or_default();
                return Err(CommandError::ended(exit::REFUSED, format!("stop request {id} {}", one_line(&clause))));
            }
            Stood::GivenUp { why } => {
                progress.finish("", &object("pending", Some(&why), halt.rung().name(), progress));
                return Err(CommandError::ended(exit::TRY_AGAIN, given_up(&why, *request, arguments.force)));
            }
        }
    }
}

/// Whether it can be brought about although asking has failed so.
const fn goes_on_without(error: &CallError) -> bool {
    matches!(error, CallError::TimedOut { .. } | CallError::Lost { .. } | CallError::NobodyRuns { .. })
}

fn given_up(why: &str, request: Option<u64>, force: bool) -> String {
    let stands = request.map_or_else(String::new, |request| format!(" Stop request {request} stands;"));
    let harder = if force { "" } else { ", or use --force" };
    format!("{why}.{stands} look at `evergate status`{harder}")
}

/// Inside a turn that cannot be told: the drain waits for this very turn, so this command does not wait for the drain.
fn report_accepted(progress: &Progress, id: u64, generation: Option<u64>) {
    let sentence = format!(
        "stop request {id} is accepted; the gateway stops when the turns in flight have ended, yours among them, so end it"
    );
    progress.finish(
        &sentence,
        &json!({"request": id, "outcome": "accepted", "generation": generation, "seconds": progress.seconds(),
            "detail": "not awaited from inside a turn"}),
    );
}

/// Nobody runs. Whoever is about to start the gateway, after a pause, is told not to.
async fn end_the_pause(last: Patient, nobody: CallError, progress: &mut Progress) -> Result<(), CommandError> {
    match last.end_the_pause().await {
        None => Err(nobody.into()),
        Some(Ok(how)) => {
            progress.say(&how);
            let sentence = "stopped: nothing ran, and nothing is started any more".to_owned();
            let object: Value = json!({"request": null, "outcome": "stopped", "generation": null,
                "seconds": progress.seconds(), "detail": how});
            progress.finish(&sentence, &object);
            Ok(())
        }
        Some(Err(why)) => Err(CommandError::ended(exit::TRY_AGAIN, why)),
    }
}
