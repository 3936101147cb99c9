//! `evergate stop`: asks for a stop and sees to it that nobody owns the state directory any more, whatever that takes. It owns
//! the arguments and the words; how it is brought about is [`Halt`]'s business.

use std::time::Duration;

use evergate_core::ladder::Rung;
use evergate_core::request::Mode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answers::Accepted;
use super::call_error::CallError;
use super::client::Client;
use super::halt::{Halt, Stood};
use super::progress::{Progress, Stage};
use super::request::{Asking, POLL, answer_to, ask, request_body};
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
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = super::length_of_time)]
    wait: Duration,
    /// Print one JSON object a stage, and the outcome as the last one
    #[arg(long)]
    json: bool,
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    let mut progress = Progress::new(arguments.json);
    let deadline = Instant::now().checked_add(arguments.wait);
    let mode = if arguments.force { Mode::Force } else { Mode::Graceful };
    let mut halt = Halt::new(client, mode, deadline.map(|_| arguments.wait));
    let outcome = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => None,
        outcome = carry_out(client, arguments, deadline, &mut progress, &mut halt) => Some(outcome),
    };
    match outcome {
        Some(outcome) => progress.or_object(outcome),
        None => Err(left_alone(&progress, &halt)),
    }
}

async fn carry_out(
    client: &Client,
    arguments: &Arguments,
    deadline: Option<Instant>,
    progress: &mut Progress,
    halt: &mut Halt<'_>,
) -> Result<(), CommandError> {
    let word = if arguments.force { "force" } else { "graceful" };
    let body = request_body(word, arguments.reason.as_deref(), place::own_turn(client.socket(), environment));
    let mut asking: Option<Asking<'_, Result<Accepted, CommandError>>> =
        Some(Box::pin(ask(client, "/v1/stop", &body, deadline)));
    loop {
        tokio::select! {
            biased;
            asked = answer_to(&mut asking) => {
                asking = None;
                match asked {
                    Ok(accepted) => {
                        halt.accepted(&accepted);
                        progress.show(Stage {
                            name: "accepted".to_owned(),
                            generation: accepted.generation,
                            ..Stage::default()
                        });
                        if place::within(client.socket(), environment) == place::Within::SomeTurn {
                            report_accepted(progress, halt);
                            return Ok(());
                        }
                    }
                    Err(CommandError::Call(error)) if halt.goes_on_without(&error) => halt.asked_in_vain(),
                    Err(error) => return Err(error),
                }
            }
            () = tokio::time::sleep(POLL) => {}
        }
        match halt.step(progress).await? {
            Stood::Looking => {}
            Stood::Asks => asking = Some(Box::pin(ask(client, "/v1/stop", &body, deadline))),
            Stood::Climbed => asking = None,
            Stood::Gone { killed } => {
                let how = if killed { "; it was killed, and what was under way goes on at the next start" } else { "" };
                let sentence = format!("stopped, after {}{how}", duration(progress.elapsed()));
                progress.finish(&sentence, &last_object(halt, "stopped", None, progress));
                return Ok(());
            }
            Stood::Nobody => return Err(CallError::nobody_runs(client.place(), client.state_dir()).into()),
            Stood::Ended { clause, kind } => {
                progress.finish("", &last_object(halt, &kind, Some(&clause), progress));
                let id = halt.request().map_or(0, |(request, _)| request);
                return Err(CommandError::ended(exit::REFUSED, format!("stop request {id} {}", one_line(&clause))));
            }
            Stood::GivenUp { why } => {
                progress.finish("", &last_object(halt, "pending", Some(&why), progress));
                let stands =
                    halt.request().map_or_else(String::new, |(request, _)| format!(". Stop request {request} stands"));
                return Err(CommandError::ended(exit::TRY_AGAIN, format!("{why}{stands}")));
            }
        }
    }
}

fn last_object(halt: &Halt<'_>, outcome: &str, detail: Option<&str>, progress: &Progress) -> Value {
    let request = halt.request();
    json!({"request": request.map(|(request, _)| request), "outcome": outcome,
        "generation": request.and_then(|(_, generation)| generation), "rung": halt.rung().name(),
        "seconds": progress.seconds(), "detail": detail})
}

/// Inside a turn that cannot be told: the drain waits for this very turn, so this command does not wait for the drain.
fn report_accepted(progress: &Progress, halt: &Halt<'_>) {
    let id = halt.request().map_or(0, |(request, _)| request);
    let sentence = format!(
        "stop request {id} is accepted; the gateway stops when the turns in flight have ended, yours among them, so end it"
    );
    progress.finish(&sentence, &last_object(halt, "accepted", Some("not awaited from inside a turn"), progress));
}

fn left_alone(progress: &Progress, halt: &Halt<'_>) -> CommandError {
    progress.finish("", &last_object(halt, "pending", Some("interrupted"), progress));
    let sentence = match (halt.request(), halt.rung()) {
        (Some((request, _)), _) => format!("not waiting any longer; stop request {request} stands"),
        (None, Rung::Ask) => {
            "interrupted before the gateway answered; `evergate status` tells whether it accepted".to_owned()
        }
        (None, _) => {
            "not waiting any longer; it was told to end all the same, and `evergate status` tells whether it has"
                .to_owned()
        }
    };
    CommandError::ended(exit::INTERRUPTED, sentence)
}
