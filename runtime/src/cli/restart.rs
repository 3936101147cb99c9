//! `evergate restart`: asks for a restart and sees to it that a different generation serves, whatever that takes. It owns the
//! arguments and the words; how it is brought about is [`Climb`]'s business.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::answers::{Accepted, Status};
use super::client::Client;
use super::climb::{Climb, Stood};
use super::place::Within;
use super::progress::{Progress, Stage};
use super::request::{Asking, POLL, answer_to, ask, ask_again, read_status, request_body};
use super::table::{duration, one_line};
use super::{CommandError, cancel, environment, exit, place};
use evergate_core::request::Mode;

/// The arguments of `evergate restart`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Do not wait for turns in flight: interrupt them now and resume them afterwards
    #[arg(long)]
    force: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How long to wait for the new generation, e.g. 90s or 5m
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = super::length_of_time)]
    wait: Duration,
    /// Print one JSON object a stage, and the outcome as the last one
    #[arg(long)]
    json: bool,
    /// Cancel the open restart request instead
    #[arg(long, conflicts_with_all = ["force", "reason", "wait"])]
    cancel: bool,
}

/// A request that the gateway has on disk.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// Its number.
    pub request: u64,
    /// The generation that accepted it.
    pub from: u64,
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    if arguments.cancel {
        return cancel::run(client, arguments.json).await;
    }
    let mut progress = Progress::new(arguments.json);
    let deadline = Instant::now().checked_add(arguments.wait);
    let (mut ticket, mut told_to_end) = (None, false);
    let outcome = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => None,
        outcome = carry_out(client, arguments, deadline, &mut progress, &mut ticket, &mut told_to_end) => Some(outcome),
    };
    match outcome {
        Some(outcome) => progress.or_object(outcome),
        None => Err(left_alone(&progress, ticket.as_ref(), told_to_end)),
    }
}

async fn carry_out(
    client: &Client,
    arguments: &Arguments,
    deadline: Option<Instant>,
    progress: &mut Progress,
    ticket: &mut Option<Ticket>,
    told_to_end: &mut bool,
) -> Result<(), CommandError> {
    let turn = place::own_turn(client.socket(), environment);
    if let Some(turn) = turn {
        progress.say(&format!(
            "asked from inside turn {turn}: this turn will be interrupted, and resumed after the restart"
        ));
    }
    let mode = if arguments.force { Mode::Force } else { Mode::Graceful };
    let word = if arguments.force { "force" } else { "graceful" };
    let body = request_body(word, arguments.reason.as_deref(), turn);
    let mut climb = Climb::new(client, mode, deadline.map(|_| arguments.wait))?;
    let first = async { ask(client, "/v1/restart", &body, deadline).await.map(Some) };
    let mut asking: Option<Asking<'_, Result<Option<Accepted>, CommandError>>> = Some(Box::pin(first));
    loop {
        tokio::select! {
            biased;
            asked = answer_to(&mut asking) => {
                asking = None;
                match asked {
                    Ok(Some(accepted)) if accepted.already => return report_already(progress, &accepted),
                    Ok(Some(accepted)) => {
                        let from = accepted.generation.or(climb.from()).unwrap_or(0);
                        progress.show(Stage { name: "accepted".to_owned(), generation: Some(from), ..Stage::default() });
                        let ticket = ticket.insert(Ticket { request: accepted.request, from });
                        if place::within(client.socket(), environment) == Within::SomeTurn {
                            report_accepted(progress, ticket);
                            return Ok(());
                        }
                        climb.accepted(ticket);
                    }
                    Ok(None) => climb.asked_in_vain(),
                    Err(CommandError::Call(error)) if climb.goes_on_without(&error) => climb.asked_in_vain(),
                    Err(error) => return Err(error),
                }
            }
            () = tokio::time::sleep(POLL) => {}
        }
        match climb.step(progress).await? {
            Stood::Looking => {}
            Stood::Asks => asking = Some(Box::pin(ask_again(client, "/v1/restart", &body, climb.from()))),
            Stood::Climbed => (asking, *told_to_end) = (None, true),
            Stood::Restarted { generation } => {
                let was = climb.from().map_or_else(String::new, |from| format!(" (was {from})"));
                let status = read_status(client).await.ok();
                let but = status.as_ref().map_or_else(String::new, but);
                let sentence = format!(
                    "restarted: generation {generation} is serving{was}, after {}{but}",
                    duration(progress.elapsed())
                );
                progress.finish(
                    &sentence,
                    &last_object(ticket.as_ref(), &climb, "restarted", Some(generation), None, progress),
                );
                return Ok(());
            }
            Stood::Ended { outcome, generation } => {
                let detail = outcome.detail.as_deref();
                progress.finish(
                    "",
                    &last_object(ticket.as_ref(), &climb, &outcome.kind, Some(generation), detail, progress),
                );
                let sentence = format!(
                    "restart request {} {}{}",
                    ticket.as_ref().map_or(0, |ticket| ticket.request),
                    one_line(&outcome.clause()),
                    // What outranks a restart is a stop.
                    if outcome.kind == "overruled" {
                        String::new()
                    } else {
                        format!("; generation {generation} goes on")
                    }
                );
                return Err(CommandError::ended(exit::REFUSED, sentence));
            }
            Stood::GivenUp { why } => {
                let last = progress.last_sentence();
                let object = last_object(ticket.as_ref(), &climb, "pending", None, Some(&last), progress);
                progress.finish("", &object);
                let stands =
                    ticket.as_ref().map_or_else(String::new, |ticket| format!(" Request {} stands.", ticket.request));
                let sentence = format!(
                    "{why}; last seen: {last}.{stands} Look at `evergate status` and the log of whoever supervises the gateway on {}",
                    client.place(),
                );
                return Err(CommandError::ended(exit::TRY_AGAIN, sentence));
            }
        }
    }
}

/// What of the generation that serves is not as whoever restarted it may expect.
fn but(status: &Status) -> String {
    let rolled_back = status.rolled_back.as_deref().map(|why| {
        format!("; but it is the last good program, since the one on disk is rolled back: {}", one_line(why))
    });
    let tripped =
        status.breaker.is_tripped().then(|| format!("; but its loop breaker is {}", status.breaker.sentence()));
    [rolled_back, tripped].into_iter().flatten().collect()
}

/// Inside a turn that cannot be told: the drain waits for this very turn, so this command does not wait for the drain.
fn report_accepted(progress: &Progress, ticket: &Ticket) {
    let Ticket { request, from } = *ticket;
    let sentence = format!(
        "restart request {request} is accepted; the gateway restarts when the turns in flight have ended, yours among them, so end it"
    );
    progress.finish(
        &sentence,
        &json!({"request": request, "outcome": "accepted", "generation": null, "from_generation": from,
            "seconds": progress.seconds(), "detail": "not awaited from inside a turn"}),
    );
}

fn report_already(progress: &Progress, accepted: &Accepted) -> Result<(), CommandError> {
    let outcome = accepted.outcome.clone().unwrap_or_default();
    let number = outcome.generation.map_or_else(String::new, |generation| format!(": generation {generation} runs"));
    let sentence = format!("already restarted for this turn (request {}){number}", accepted.request);
    let kind = if outcome.kind.is_empty() { "restarted" } else { &outcome.kind };
    progress.finish(
        &sentence,
        &json!({"request": accepted.request, "outcome": kind, "generation": outcome.generation, "from_generation": null,
            "seconds": progress.seconds(), "already": true}),
    );
    Ok(())
}

fn last_object(
    ticket: Option<&Ticket>,
    climb: &Climb<'_>,
    outcome: &str,
    generation: Option<u64>,
    detail: Option<&str>,
    progress: &Progress,
) -> Value {
    json!({"request": ticket.map(|ticket| ticket.request), "outcome": outcome, "generation": generation,
        "from_generation": climb.from(), "rung": climb.rung().name(), "seconds": progress.seconds(), "detail": detail})
}

fn left_alone(progress: &Progress, ticket: Option<&Ticket>, told_to_end: bool) -> CommandError {
    let (request, sentence) = match ticket {
        Some(ticket) => {
            let sentence = format!(
                "not waiting any longer; restart request {} stands (`evergate restart --cancel` cancels it)",
                ticket.request
            );
            (Some(ticket.request), sentence)
        }
        None if told_to_end => {
            let sentence = "not waiting any longer; its process was told to end all the same, and where nobody supervises it nobody starts it again by himself: see `evergate status`";
            (None, sentence.to_owned())
        }
        None => {
            (None, "interrupted before the gateway answered; `evergate status` tells whether it accepted".to_owned())
        }
    };
    progress.finish(
        "",
        &json!({"request": request, "outcome": "pending", "generation": null,
        "from_generation": ticket.map(|ticket| ticket.from), "seconds": progress.seconds(), "detail": "interrupted"}),
    );
    CommandError::ended(exit::INTERRUPTED, sentence)
}
