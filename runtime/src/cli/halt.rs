//! Carries out the climb of [`evergate_core::ladder`] to a stop: looks at the gateway, has whoever keeps its process end it,
//! kills it. It owns the reading of what it sees and decides nothing.

use std::path::PathBuf;
use std::time::Duration;

use evergate_core::ladder::{Ladder, Rung, Sight, Step};
use evergate_core::request::{Mode, Wish};
use evergate_core::supervisor::Supervisor;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::CommandError;
use super::answers::{Accepted, Outcome, Request, Status};
use super::call_error::CallError;
use super::client::Client;
use super::climb::{GLANCE, LEAVING, SILENT, named};
use super::patient::{Patient, Presence, presence};
use super::progress::{Progress, Stage};
use super::request::{Seen, look, read_status};
use crate::journal::Owner;

/// Where a step has led.
pub enum Stood {
    /// No further: look again.
    Looking,
    /// It gets on again, and is to be asked once more.
    Asks,
    /// Up a rung that does without an answer.
    Climbed,
    /// Nobody is there.
    Gone {
        /// Whether it had to be killed.
        killed: bool,
    },
    /// The stop was accepted and came to something else.
    Ended {
        /// What, after "stop request N".
        clause: String,
        /// The word for it.
        kind: String,
    },
    /// It cannot be brought about.
    GivenUp {
        /// What was tried, and what came of it.
        why: String,
    },
}

/// One stop from outside.
pub struct Halt<'a> {
    client: &'a Client,
    state_dir: PathBuf,
    ladder: Ladder,
    begun: Instant,
    wait: Option<Duration>,
    /// Who was there last.
    owner: Option<Owner>,
    /// The request, once it is accepted, and who has accepted it.
    accepted: Option<(u64, Option<u64>)>,
    /// Whether whoever would start it again knows that he is not to.
    told: bool,
    killed: bool,
}

impl<'a> Halt<'a> {
    /// Of whoever owns the state directory.
    pub fn new(client: &'a Client, mode: Mode, wait: Option<Duration>) -> Self {
        let now = evergate_core::time::Instant::from_millis(0);
        let mut halt = Self {
            client,
            state_dir: client.state_dir().to_owned(),
            ladder: Ladder::to_stop(mode, now, wait),
            begun: Instant::now(),
            wait,
            owner: None,
            accepted: None,
            told: false,
            killed: false,
        };
        let _seen_again = halt.who_is_there();
        halt
    }

    /// How far it has come.
    pub const fn rung(&self) -> Rung {
        self.ladder.rung()
    }

    /// The gateway has the request on disk.
    pub const fn accepted(&mut self, accepted: &Accepted) {
        self.accepted = Some((accepted.request, accepted.generation));
    }

    /// No answer will come to what the gateway was asked.
    pub const fn asked_in_vain(&mut self) {
        self.ladder.asked_in_vain();
    }

    /// Looks, and does what is to be done now.
    pub async fn step(&mut self, progress: &mut Progress) -> Result<Stood, CommandError> {
        let (sight, stage) = match tokio::time::timeout(GLANCE, self.glance()).await {
            Ok(Look::Shows(sight, stage)) => (sight, stage),
            Ok(Look::Ended { clause, kind }) => return Ok(Stood::Ended { clause, kind }),
            Ok(Look::Fails(error)) => return Err(error),
            Err(_) => (Sight::Silent, named(SILENT)),
        };
        let now = evergate_core::time::Instant::from_millis(
            u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
        let step = self.ladder.saw(now, sight);
        if step == Step::Look && self.ladder.rung() != Rung::Kill {
            progress.show(stage);
        }
        match step {
            Step::Ask => Ok(Stood::Asks),
            Step::Done => Ok(Stood::Gone { killed: self.killed }),
            Step::Terminate => Ok(self.tell_its_keeper(progress).await),
            Step::Kill => Ok(self.kill(progress)),
            Step::GiveUp(rung) => Ok(Stood::GivenUp { why: self.given_up(rung, &progress.last_sentence()) }),
            Step::Look | Step::Start => Ok(Stood::Looking),
        }
    }

    async fn glance(&mut self) -> Look {
        let seen = match self.accepted {
            Some((request, _)) => look(self.client, request).await,
            None => {
                read_status(self.client).await.map(|status| Seen::Answered { status: Box::new(status), request: None })
            }
        };
        match seen {
            Ok(Seen::Answered { status, request }) => judge(&status, request, self.accepted.and_then(|(_, from)| from)),
            Ok(Seen::Absent(error)) | Err(CommandError::Call(error)) => self.absence(error),
            Err(error) => Look::Fails(error),
        }
    }

    /// What a failed call stands for.
    fn absence(&mut self, error: CallError) -> Look {
        match error {
            CallError::Busy { .. } => Look::Shows(Sight::GettingOn, named("starting")),
            CallError::TimedOut { .. } => Look::Shows(Sight::Silent, named(SILENT)),
            CallError::NobodyRuns { .. } | CallError::Lost { .. } => match self.who_is_there() {
                // It has died of something else, and whoever keeps it may start it again.
                Ok(Presence::Nobody(_)) if self.is_kept() && self.accepted.is_none() && !self.told => {
                    Look::Shows(Sight::Starting, named("gone"))
                }
                Ok(Presence::Nobody(_)) => Look::Shows(Sight::Gone, named("gone")),
                Ok(Presence::Process(_)) if self.accepted.is_some() => Look::Shows(Sight::Silent, named(LEAVING)),
                Ok(Presence::Process(owner)) if owner.life().generation.is_some() => {
                    Look::Shows(Sight::Silent, named(SILENT))
                }
                Ok(Presence::Process(_) | Presence::Newcomer) => Look::Shows(Sight::Starting, named("starting")),
                Err(_) => Look::Shows(Sight::Silent, named(SILENT)),
            },
            other => Look::Fails(other.into()),
        }
    }

    fn who_is_there(&mut self) -> std::io::Result<Presence> {
        let presence = presence(&self.state_dir)?;
        if let Presence::Process(owner) = &presence {
            self.owner = Some(owner.clone());
        }
        Ok(presence)
    }

    fn is_kept(&self) -> bool {
        let supervisor = self.owner.as_ref().and_then(|owner| owner.supervisor);
        supervisor.is_some_and(|supervisor| supervisor != Supervisor::Nobody)
    }

    /// The process as it is now: another one may have come in its place.
    fn patient(&mut self) -> Option<Patient> {
        let _the_last_one_then = self.who_is_there();
        self.owner.clone().map(|owner| Patient::new(&self.state_dir, owner))
    }

    async fn tell_its_keeper(&mut self, progress: &mut Progress) -> Stood {
        let Some(patient) = self.patient() else { return Stood::GivenUp { why: unknown() } };
        progress.show(Stage { generation: Some(patient.owner().generation.0), ..named("end") });
        match patient.end().await {
            Ok(how) => {
                self.told = true;
                progress.say(&how);
                Stood::Climbed
            }
            Err(why) => Stood::GivenUp { why },
        }
    }

    fn kill(&mut self, progress: &mut Progress) -> Stood {
        let Some(patient) = self.patient() else { return Stood::GivenUp { why: unknown() } };
        let generation = Some(patient.owner().generation.0);
        let waiting_for = vec![format!("process {}", patient.owner().pid)];
        progress.show(Stage { generation, waiting_for, ..named("kill") });
        match patient.signal(Signal::SIGKILL, Wish::Stop) {
            Ok(()) => self.killed = true,
            Err(trouble) => progress.say(&trouble),
        }
        Stood::Climbed
    }

    fn given_up(&self, rung: Rung, last: &str) -> String {
        match (rung, self.owner.as_ref().map(|owner| owner.pid)) {
            (Rung::Kill, Some(1)) => {
                "process 1 of a container cannot be killed from inside it: stop the container".to_owned()
            }
            (Rung::Kill, Some(pid)) => format!("process {pid} does not die of SIGKILL: is its disk gone?"),
            _ => {
                let within =
                    self.wait.map_or_else(String::new, |wait| format!(" within {}", humantime::format_duration(wait)));
                format!("the gateway was not gone{within}; last seen: {last}")
            }
        }
    }
}

fn unknown() -> String {
    "whoever holds the state directory cannot be told from here (it has not written down who it is, or it runs in another container): it is left alone".to_owned()
}

/// What one look at the gateway showed.
enum Look {
    Shows(Sight, Stage),
    Ended { clause: String, kind: String },
    Fails(CommandError),
}

/// Reads what was seen while somebody still listens. A stop that was accepted and came to nothing ends the wait, and so does
/// a generation that came after it.
fn judge(status: &Status, request: Option<Request>, from: Option<u64>) -> Look {
    let generation = status.generation;
    match request.and_then(|request| request.outcome) {
        Some(outcome) if outcome.kind != "stopped" => Look::Ended { clause: outcome.clause(), kind: outcome.kind },
        Some(Outcome { .. }) if from.is_some_and(|from| from != generation) => Look::Ended {
            clause: format!("was carried out, and generation {generation} was started after it"),
            kind: "stopped".to_owned(),
        },
        _ if status.phase == "stuck" => Look::Shows(Sight::Stuck, Stage::of(status)),
        _ => Look::Shows(Sight::GettingOn, Stage::of(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::claim::Claim;
    use evergate_core::id::GenerationId;

    fn request(kind: &str) -> Option<Request> {
        let outcome = Some(Outcome { kind: kind.to_owned(), ..Outcome::default() });
        Some(Request { request: 4, outcome, ..Request::default() })
    }

    fn sight(look: Look) -> Option<Sight> {
        match look {
            Look::Shows(sight, _) => Some(sight),
            _ => None,
        }
    }

    #[test]
    fn as_long_as_somebody_listens_it_is_not_stopped() {
        let status = |phase: &str| Status { generation: 3, phase: phase.to_owned(), ..Status::default() };
        assert_eq!(sight(judge(&status("closing"), request("stopped"), Some(3))), Some(Sight::GettingOn));
        assert_eq!(sight(judge(&status("closing"), None, Some(3))), Some(Sight::GettingOn));
        assert_eq!(sight(judge(&status("stuck"), None, None)), Some(Sight::Stuck));
    }

    #[test]
    fn a_cancelled_stop_and_a_revival_end_the_wait() {
        let status = Status { generation: 4, phase: "serving".to_owned(), ..Status::default() };
        assert_eq!(sight(judge(&status, request("cancelled"), Some(4))), None);
        assert_eq!(sight(judge(&status, request("stopped"), Some(3))), None);
    }

    fn nobody_listens() -> CallError {
        CallError::NobodyRuns { place: String::new(), told: String::new() }
    }

    #[test]
    fn who_has_died_by_himself_is_gone_for_good_only_where_nobody_keeps_him() {
        for (supervisor, seen) in [
            (None, Sight::Gone),
            (Some(Supervisor::Nobody), Sight::Gone),
            (Some(Supervisor::Evergate), Sight::Starting),
            (Some(Supervisor::Systemd), Sight::Starting),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let client = Client::new(folder.path().join("control.sock")).unwrap();
            let mut halt = Halt::new(&client, Mode::Graceful, None);
            halt.owner = Some(Owner { supervisor, ..Owner::this_process(GenerationId(3), 1_000) });
            assert_eq!(sight(halt.absence(nobody_listens())), Some(seen), "{supervisor:?}");
            halt.told = true;
            assert_eq!(sight(halt.absence(nobody_listens())), Some(Sight::Gone), "{supervisor:?}");
        }
    }

    #[test]
    fn a_process_without_a_socket_is_silent_and_a_broken_connection_alone_is_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path().join("control.sock")).unwrap();
        let mut claim = Claim::take(folder.path(), Duration::ZERO).unwrap();
        claim.record(&Owner::this_process(GenerationId(0), 1_000)).unwrap();
        let mut halt = Halt::new(&client, Mode::Graceful, None);
        assert_eq!(sight(halt.absence(nobody_listens())), Some(Sight::Starting));
        claim.record(&Owner::this_process(GenerationId(3), 1_000)).unwrap();
        let lost = CallError::Lost { place: String::new(), source: "reset".into() };
        assert_eq!(sight(halt.absence(lost)), Some(Sight::Silent));
        halt.accepted = Some((4, Some(3)));
        assert!(matches!(halt.absence(nobody_listens()), Look::Shows(Sight::Silent, stage) if stage.name == LEAVING));
    }
}
