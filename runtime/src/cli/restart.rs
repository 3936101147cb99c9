//! `evergate restart`: asks for a restart and watches it from outside until a different generation serves. It owns the
//! reading of what it sees (the socket gone for a while is the restart itself) and never touches the gateway's process.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::answers::{Accepted, Outcome, Request, Status};
use super::call_error::CallError;
use super::client::Client;
use super::progress::{Progress, Stage};
use super::request::{POLL, Seen, ask, look, read_status, request_body};
use super::table::{duration, one_line};
use super::{CommandError, cancel, environment, exit, place};

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
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Print one JSON object a stage, and the outcome as the last one
    #[arg(long)]
    json: bool,
    /// Cancel the open restart request instead
    #[arg(long, conflicts_with_all = ["force", "reason", "wait"])]
    cancel: bool,
}

/// A request that the gateway has on disk.
struct Ticket {
    request: u64,
    /// The generation that accepted it.
    from: u64,
}

/// What one look at the gateway decided.
enum Sight {
    /// Not over yet.
    Waiting(Stage),
    /// A different generation serves and the request is settled.
    Restarted { generation: u64 },
    /// It will not come to a restart.
    Ended { outcome: Outcome, generation: u64 },
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    if arguments.cancel {
        return cancel::run(client, arguments.json).await;
    }
    let mut progress = Progress::new(arguments.json);
    let deadline = Instant::now().checked_add(arguments.wait);
    let mut ticket = None;
    let outcome = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => None,
        outcome = carry_out(client, arguments, deadline, &mut progress, &mut ticket) => Some(outcome),
    };
    match outcome {
        Some(outcome) => outcome,
        None => Err(left_alone(&progress, ticket.as_ref())),
    }
}

async fn carry_out(
    client: &Client,
    arguments: &Arguments,
    deadline: Option<Instant>,
    progress: &mut Progress,
    ticket: &mut Option<Ticket>,
) -> Result<(), CommandError> {
    let turn = place::own_turn(client.socket(), environment);
    if let Some(turn) = turn {
        progress.say(&format!(
            "asked from inside turn {turn}: this turn will be interrupted, and resumed after the restart"
        ));
    }
    let mode = if arguments.force { "force" } else { "graceful" };
    let body = request_body(mode, arguments.reason.as_deref(), turn);
    let accepted = ask(client, "/v1/restart", &body, deadline).await?;
    if accepted.already {
        return report_already(progress, &accepted);
    }
    let from = match accepted.generation {
        Some(generation) => generation,
        None => read_status(client).await?.generation,
    };
    let ticket = ticket.insert(Ticket { request: accepted.request, from });
    progress.show(Stage { name: "accepted".to_owned(), generation: Some(from), ..Stage::default() });
    watch(client, ticket, deadline, arguments.wait, progress).await
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

async fn watch(
    client: &Client,
    ticket: &Ticket,
    deadline: Option<Instant>,
    wait: Duration,
    progress: &mut Progress,
) -> Result<(), CommandError> {
    loop {
        let sight = match deadline {
            Some(end) => tokio::time::timeout_at(end, see(client, ticket)).await.ok(),
            None => Some(see(client, ticket).await),
        };
        match sight.transpose()? {
            Some(Sight::Restarted { generation }) => {
                let sentence = format!(
                    "restarted: generation {generation} is serving (was {}), after {}",
                    ticket.from,
                    duration(progress.elapsed())
                );
                progress.finish(&sentence, &last_object(ticket, "restarted", Some(generation), None, progress));
                return Ok(());
            }
            Some(Sight::Ended { outcome, generation }) => {
                progress.finish(
                    "",
                    &last_object(ticket, &outcome.kind, Some(generation), outcome.detail.as_deref(), progress),
                );
                let sentence = format!(
                    "restart request {} {}; generation {generation} goes on",
                    ticket.request,
                    one_line(&outcome.clause())
                );
                return Err(CommandError::ended(exit::REFUSED, sentence));
            }
            Some(Sight::Waiting(stage)) => progress.show(stage),
            None => return Err(too_late(client, ticket, wait, progress)),
        }
        if deadline.is_some_and(|end| Instant::now() >= end) {
            return Err(too_late(client, ticket, wait, progress));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// One look at the gateway. Only a refusal for good is an error; a gateway that is away or silent is a stage.
async fn see(client: &Client, ticket: &Ticket) -> Result<Sight, CommandError> {
    match look(client, ticket.request).await? {
        Seen::Answered { status, request } => Ok(judge(&status, request, ticket)),
        Seen::Absent(error) => absence(error).map(Sight::Waiting),
    }
}

/// Reads what was seen: the status, and the request unless the gateway does not know it.
fn judge(status: &Status, request: Option<Request>, ticket: &Ticket) -> Sight {
    let generation = status.generation;
    let ready = status.phase == "serving" && generation != ticket.from;
    match request {
        None if ready => {
            let detail =
                Some(format!("generation {generation} does not know the request; was the state directory replaced?"));
            Sight::Ended { outcome: Outcome { kind: "failed".to_owned(), generation: None, detail }, generation }
        }
        Some(Request { outcome: Some(outcome), .. }) if outcome.kind != "restarted" => {
            Sight::Ended { outcome, generation }
        }
        Some(Request { outcome: Some(_), .. }) if ready => Sight::Restarted { generation },
        _ => Sight::Waiting(Stage::of(status)),
    }
}

/// The stage that a failed call stands for: between two generations there is no gateway, and that is no error.
fn absence(error: CallError) -> Result<Stage, CommandError> {
    let name = match error {
        CallError::NobodyRuns { .. } | CallError::Lost { .. } => "gone",
        CallError::TimedOut { .. } => "silent",
        CallError::Busy { .. } => "starting",
        other => return Err(other.into()),
    };
    Ok(Stage { name: name.to_owned(), ..Stage::default() })
}

fn last_object(
    ticket: &Ticket,
    outcome: &str,
    generation: Option<u64>,
    detail: Option<&str>,
    progress: &Progress,
) -> Value {
    json!({"request": ticket.request, "outcome": outcome, "generation": generation, "from_generation": ticket.from,
        "seconds": progress.seconds(), "detail": detail})
}

fn too_late(client: &Client, ticket: &Ticket, wait: Duration, progress: &Progress) -> CommandError {
    let last = progress.last_sentence();
    progress.finish("", &last_object(ticket, "pending", None, Some(&last), progress));
    CommandError::ended(
        exit::TRY_AGAIN,
        format!(
            "no new generation was ready within {}; last seen: {last}. Request {} stands; look at `evergate status` and the log of whoever supervises the gateway on {}",
            humantime::format_duration(wait),
            ticket.request,
            client.place(),
        ),
    )
}

fn left_alone(progress: &Progress, ticket: Option<&Ticket>) -> CommandError {
    let (request, sentence) = match ticket {
        Some(ticket) => {
            let sentence = format!(
                "not waiting any longer; restart request {} stands (`evergate restart --cancel` cancels it)",
                ticket.request
            );
            (Some(ticket.request), sentence)
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

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Ticket = Ticket { request: 12, from: 3 };

    fn status(generation: u64, phase: &str) -> Status {
        Status { generation, phase: phase.to_owned(), ..Status::default() }
    }

    fn request(outcome: Option<&str>) -> Option<Request> {
        let outcome = outcome.map(|kind| Outcome { kind: kind.to_owned(), ..Outcome::default() });
        Some(Request { request: 12, outcome, ..Request::default() })
    }

    #[test]
    fn only_a_different_serving_generation_with_the_outcome_is_a_restart() {
        let restarted =
            |status, request| matches!(judge(&status, request, &TICKET), Sight::Restarted { generation: 4 });
        assert!(restarted(status(4, "serving"), request(Some("restarted"))));
        assert!(!restarted(status(4, "starting"), request(Some("restarted"))));
        assert!(!restarted(status(3, "serving"), request(Some("restarted"))));
        assert!(!restarted(status(4, "serving"), request(None)));
        assert!(!restarted(status(4, "serving"), None));
    }

    #[test]
    fn every_other_outcome_ends_the_wait_in_any_phase() {
        for kind in ["overruled", "cancelled", "failed", "stopped"] {
            for status in [status(3, "draining"), status(3, "serving"), status(4, "serving")] {
                let sight = judge(&status, request(Some(kind)), &TICKET);
                assert!(matches!(sight, Sight::Ended { outcome, .. } if outcome.kind == kind));
            }
        }
    }

    #[test]
    fn a_drain_is_a_stage_with_what_it_waits_for() {
        let mut draining = status(3, "draining");
        draining.drain =
            Some(super::super::answers::Drain { waiting_for: vec!["turn 5".to_owned()], remaining_ms: Some(7) });
        let Sight::Waiting(stage) = judge(&draining, request(None), &TICKET) else { panic!("not over yet") };
        assert_eq!((stage.name.as_str(), stage.waiting_for.len(), stage.remaining_ms), ("draining", 1, Some(7)));
    }

    #[test]
    fn the_gap_is_a_stage_and_a_refusal_is_not() {
        assert!(absence(CallError::NobodyRuns { place: String::new() }).is_ok());
        assert!(absence(CallError::Refused { status: 400, sentence: String::new() }).is_err());
    }
}
