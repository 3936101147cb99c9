//! `evergate stop`: asks for a stop and watches from outside until nobody listens on the control socket any more. It ends
//! no process itself.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::answers::{Outcome, Request, Status};
use super::call_error::CallError;
use super::client::Client;
use super::progress::{Progress, Stage};
use super::request::{POLL, Seen, ask, look, request_body};
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

/// What one look at the gateway decided.
enum Sight {
    Waiting(Stage),
    Gone,
    Ended { clause: String, kind: String },
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

async fn carry_out(
    client: &Client,
    arguments: &Arguments,
    progress: &mut Progress,
    request: &mut Option<u64>,
) -> Result<(), CommandError> {
    let deadline = Instant::now().checked_add(arguments.wait);
    let mode = if arguments.force { "force" } else { "graceful" };
    let body = request_body(mode, arguments.reason.as_deref(), place::own_turn(client.socket(), environment));
    let accepted = ask(client, "/v1/stop", &body, deadline).await?;
    let id = *request.insert(accepted.request);
    progress.show(Stage { name: "accepted".to_owned(), generation: accepted.generation, ..Stage::default() });
    if place::within(client.socket(), environment) == place::Within::SomeTurn {
        let sentence = format!(
            "stop request {id} is accepted; the gateway stops when the turns in flight have ended, yours among them, so end it"
        );
        progress.finish(
            &sentence,
            &json!({"request": id, "outcome": "accepted", "generation": accepted.generation, "seconds": progress.seconds(),
                "detail": "not awaited from inside a turn"}),
        );
        return Ok(());
    }
    loop {
        let sight = match deadline {
            Some(end) => tokio::time::timeout_at(end, see(client, id, accepted.generation)).await.ok(),
            None => Some(see(client, id, accepted.generation).await),
        };
        let object = |outcome: &str, detail: Option<&str>| json!({"request": id, "outcome": outcome, "generation": accepted.generation, "seconds": progress.seconds(), "detail": detail});
        match sight.transpose()? {
            Some(Sight::Gone) => {
                progress.finish(&format!("stopped, after {}", duration(progress.elapsed())), &object("stopped", None));
                return Ok(());
            }
            Some(Sight::Ended { clause, kind }) => {
                progress.finish("", &object(&kind, Some(&clause)));
                return Err(CommandError::ended(exit::REFUSED, format!("stop request {id} {}", one_line(&clause))));
            }
            Some(Sight::Waiting(stage)) if deadline.is_none_or(|end| Instant::now() < end) => progress.show(stage),
            Some(Sight::Waiting(_)) | None => {
                let last = progress.last_sentence();
                progress.finish("", &object("pending", Some(&last)));
                let wait = humantime::format_duration(arguments.wait);
                let sentence = format!(
                    "the gateway was not gone within {wait}; last seen: {last}. Stop request {id} stands; look at `evergate status`, or use --force"
                );
                return Err(CommandError::ended(exit::TRY_AGAIN, sentence));
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn see(client: &Client, id: u64, from: Option<u64>) -> Result<Sight, CommandError> {
    match look(client, id).await? {
        Seen::Answered { status, request } => Ok(judge(&status, request, from)),
        Seen::Absent(error) => absence(error),
    }
}

/// Reads what was seen while somebody still listens. A stop that was accepted and came to nothing ends the wait, and so does
/// a generation that came after it.
fn judge(status: &Status, request: Option<Request>, from: Option<u64>) -> Sight {
    let generation = status.generation;
    match request.and_then(|request| request.outcome) {
        Some(outcome) if outcome.kind != "stopped" => Sight::Ended { clause: outcome.clause(), kind: outcome.kind },
        Some(Outcome { .. }) if from.is_some_and(|from| from != generation) => Sight::Ended {
            clause: format!("was carried out, and generation {generation} was started after it"),
            kind: "stopped".to_owned(),
        },
        _ => Sight::Waiting(Stage::of(status)),
    }
}

/// What a failed call stands for: no listener is the end; a broken connection may be one and is looked at again.
fn absence(error: CallError) -> Result<Sight, CommandError> {
    let waiting = |name: &str| Sight::Waiting(Stage { name: name.to_owned(), ..Stage::default() });
    match error {
        CallError::NobodyRuns { .. } => Ok(Sight::Gone),
        CallError::Lost { .. } => Ok(waiting("closing")),
        CallError::TimedOut { .. } => Ok(waiting("silent")),
        CallError::Busy { .. } => Ok(waiting("starting")),
        other => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: &str) -> Option<Request> {
        let outcome = Some(Outcome { kind: kind.to_owned(), ..Outcome::default() });
        Some(Request { request: 4, outcome, ..Request::default() })
    }

    #[test]
    fn as_long_as_somebody_listens_it_is_not_stopped() {
        let status = Status { generation: 3, phase: "closing".to_owned(), ..Status::default() };
        assert!(matches!(judge(&status, request("stopped"), Some(3)), Sight::Waiting(_)));
        assert!(matches!(judge(&status, None, Some(3)), Sight::Waiting(_)));
    }

    #[test]
    fn a_cancelled_stop_and_a_revival_end_the_wait() {
        let status = Status { generation: 4, phase: "serving".to_owned(), ..Status::default() };
        assert!(matches!(judge(&status, request("cancelled"), Some(4)), Sight::Ended { .. }));
        assert!(matches!(judge(&status, request("stopped"), Some(3)), Sight::Ended { .. }));
    }

    #[test]
    fn a_broken_connection_alone_is_no_end() {
        let lost = CallError::Lost { place: String::new(), source: "reset".into() };
        assert!(matches!(absence(lost), Ok(Sight::Waiting(_))));
        assert!(matches!(
            absence(CallError::NobodyRuns { place: String::new(), told: String::new() }),
            Ok(Sight::Gone)
        ));
    }
}
