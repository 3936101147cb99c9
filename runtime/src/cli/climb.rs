//! Carries out the ladder of [`evergate_core::ladder`]: looks at the gateway, signals its process, starts it again. It owns
//! the reading of what it sees (the socket gone for a while is the restart itself) and decides nothing.

use crate::journal::Owner;
use crate::supervise::found;
use std::path::PathBuf;
use std::time::Duration;

use evergate_core::id::GenerationId;
use evergate_core::ladder::{Ladder, Patience, Rung, Sight, Step};
use evergate_core::life::Life;
use evergate_core::request::{Mode, Wish};
use evergate_core::supervisor::{Contract, Supervisor};
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::CommandError;
use super::answers::{Outcome, Request, Status};
use super::call_error::CallError;
use super::client::Client;
use super::patient::{Patient, Presence, presence};
use super::progress::{Progress, Stage};
use super::request::{Seen, look, read_status};
use super::restart::Ticket;

/// How long a look may take: the control socket tells of a stuck loop after a second.
pub const GLANCE: Duration = Duration::from_millis(1_500);

/// The stage of a gateway that is there and gives no answer.
pub const SILENT: &str = "silent";
/// The stage of one that has accepted its end and has closed its control socket, as the last thing but leaving.
pub const LEAVING: &str = "leaving";
/// How long that takes at most; one that is still there then is silent.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);

/// Where a step has led.
pub enum Stood {
    /// No further: look again.
    Looking,
    /// It gets on again, and is to be asked once more.
    Asks,
    /// Up a rung that does without an answer.
    Climbed,
    /// A different generation serves, and the request has its outcome.
    Restarted {
        /// That generation.
        generation: u64,
    },
    /// It will not come to a restart: the gateway says so.
    Ended {
        /// What became of the request.
        outcome: Outcome,
        /// The generation that goes on.
        generation: u64,
    },
    /// It cannot be brought about.
    GivenUp {
        /// What was tried, and what came of it.
        why: String,
    },
}

/// One restart from outside.
pub struct Climb<'a> {
    client: &'a Client,
    state_dir: PathBuf,
    ladder: Ladder,
    begun: Instant,
    wait: Option<Duration>,
    /// The life that is to be replaced.
    old: Life,
    patient: Option<Patient>,
    request: Option<u64>,
    /// What went wrong on the way up.
    trouble: Option<String>,
    /// Since when it has been seen to leave.
    leaves_since: Option<Instant>,
}

impl<'a> Climb<'a> {
    /// Looks whose turn it is. Fails where there is no gateway and nobody who would start one.
    pub fn new(client: &'a Client, mode: Mode, wait: Option<Duration>) -> Result<Self, CommandError> {
        let state_dir = client.state_dir().to_owned();
        let there = presence(&state_dir);
        let nobody_is_there = matches!(there, Ok(Presence::Nobody(_)));
        let owner = match there {
            Ok(Presence::Process(owner)) => Some(owner),
            // One that its service manager has given up, or that its supervisor pauses about, is started by asking for a restart;
            // any other was never there.
            Ok(Presence::Nobody(last)) => {
                let pauses = |last: &Owner| {
                    last.supervisor == Some(Supervisor::Evergate) && !found::supervisors(&state_dir).is_empty()
                };
                let kept = last.filter(|last| last.unit.is_some() || pauses(last));
                Some(kept.ok_or_else(|| CallError::nobody_runs(client.place(), &state_dir))?)
            }
            Ok(Presence::Newcomer) => None,
            Err(source) => return Err(CallError::Unreachable { place: client.place().to_owned(), source }.into()),
        };
        let now = evergate_core::time::Instant::from_millis(0);
        let supervisor = owner.as_ref().and_then(|owner| owner.supervisor).unwrap_or(Supervisor::Nobody);
        let patience = Patience::of(mode, Contract::of(supervisor).starts_again);
        let patience = if nobody_is_there { patience.with_nobody_there() } else { patience };
        Ok(Self {
            client,
            ladder: Ladder::new(patience, now, wait),
            begun: Instant::now(),
            wait,
            old: owner.as_ref().map(Owner::life).unwrap_or_default(),
            patient: owner.map(|owner| Patient::new(&state_dir, owner)),
            state_dir,
            request: None,
            trouble: None,
            leaves_since: None,
        })
    }

    /// The generation that is to be replaced, once it is known.
    pub fn from(&self) -> Option<u64> {
        self.old.generation.map(|generation| generation.0)
    }

    /// How far it has come.
    pub const fn rung(&self) -> Rung {
        self.ladder.rung()
    }

    /// The gateway has the request on disk.
    pub fn accepted(&mut self, ticket: &Ticket) {
        self.request = Some(ticket.request);
        // What is accepted is on disk, and so is the beginning of who has accepted it: no successor gets that number.
        self.old = Life { generation: Some(GenerationId(ticket.from)), process: None };
    }

    /// No answer will come to what the gateway was asked.
    pub const fn asked_in_vain(&mut self) {
        self.ladder.asked_in_vain();
    }

    /// Whether it can be brought about although asking has failed so.
    pub fn goes_on_without(&self, error: &CallError) -> bool {
        match error {
            CallError::TimedOut { .. } | CallError::Lost { .. } => true,
            CallError::NobodyRuns { .. } => self.patient.is_some(),
            _ => false,
        }
    }

    /// Looks, and does what is to be done now.
    pub async fn step(&mut self, progress: &mut Progress) -> Result<Stood, CommandError> {
        let glance = tokio::time::timeout(GLANCE, self.glance()).await;
        let (sight, mut stage) = match glance {
            Ok(Look::Shows(sight, stage)) => (sight, stage),
            Ok(Look::Ended { outcome, generation }) => return Ok(Stood::Ended { outcome, generation }),
            Ok(Look::Fails(error)) => return Err(error),
            Err(_) => (Sight::Silent, named(SILENT)),
        };
        self.leaves_since = (stage.name == LEAVING).then(|| self.leaves_since.unwrap_or_else(Instant::now));
        if self.leaves_since.is_some_and(|since| since.elapsed() > LEAVES_WITHIN) {
            stage.name = SILENT.to_owned();
        }
        let now = evergate_core::time::Instant::from_millis(
            u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
        let step = self.ladder.saw(now, sight);
        if step == Step::Look && self.ladder.rung() != Rung::Kill {
            progress.show(stage.clone());
        }
        match step {
            Step::Look => Ok(Stood::Looking),
            Step::Ask => Ok(Stood::Asks),
            Step::Done => Ok(Stood::Restarted { generation: stage.generation.unwrap_or(0) }),
            Step::Terminate => Ok(self.signal(Signal::SIGTERM, "terminate", progress)),
            Step::Kill => Ok(self.signal(Signal::SIGKILL, "kill", progress)),
            Step::Start => Ok(self.start(progress).await),
            Step::GiveUp(rung) => Ok(Stood::GivenUp { why: self.given_up(rung) }),
        }
    }

    async fn glance(&self) -> Look {
        let seen = match self.request {
            Some(request) => look(self.client, request).await,
            None => {
                read_status(self.client).await.map(|status| Seen::Answered { status: Box::new(status), request: None })
            }
        };
        match seen {
            Ok(Seen::Answered { status, request }) => self.judge(&status, request),
            Ok(Seen::Absent(error)) | Err(CommandError::Call(error)) => self.absence(error),
            Err(error) => Look::Fails(error),
        }
    }

    /// Reads what was seen: the status, and the request unless the gateway does not know it.
    fn judge(&self, status: &Status, request: Option<Request>) -> Look {
        let generation = status.generation;
        let next = status.life().is_another_than(self.old);
        let serves = next && status.phase == "serving";
        let known = request.is_some();
        let outcome = request.and_then(|request| request.outcome);
        if let Some(outcome) = outcome.clone().filter(|outcome| outcome.kind != "restarted") {
            return Look::Ended { outcome, generation };
        }
        if serves && self.request.is_some() && !known {
            let detail =
                format!("generation {generation} does not know the request; was the state directory replaced?");
            let outcome = Outcome { kind: "failed".to_owned(), generation: None, detail: Some(detail) };
            return Look::Ended { outcome, generation };
        }
        // A tripped loop breaker holds what earlier generations were asked for, and whoever asked would wait for a person.
        let told = self.request.is_none() || outcome.is_some() || status.breaker.is_tripped();
        let sight = match status.phase.as_str() {
            _ if next => Sight::Next { ready: serves && told },
            "stuck" => Sight::Stuck,
            _ => Sight::GettingOn,
        };
        Look::Shows(sight, Stage::of(status))
    }

    /// What a failed call stands for: between two generations there is no gateway, and that is no error.
    fn absence(&self, error: CallError) -> Look {
        match error {
            CallError::Busy { .. } => Look::Shows(Sight::GettingOn, named("starting")),
            CallError::TimedOut { .. } => Look::Shows(Sight::Silent, named(SILENT)),
            CallError::NobodyRuns { .. } | CallError::Lost { .. } => match presence(&self.state_dir) {
                Ok(Presence::Nobody(_)) => Look::Shows(Sight::Gone, named("gone")),
                Ok(Presence::Process(owner)) => match self.unheard(owner.life()) {
                    Look::Shows(sight, stage) if stage.name == SILENT && self.request.is_some() => {
                        Look::Shows(sight, Stage { name: LEAVING.to_owned(), generation: self.from(), ..stage })
                    }
                    look => look,
                },
                Ok(Presence::Newcomer) => Look::Shows(Sight::Next { ready: false }, named("starting")),
                Err(_) => Look::Shows(Sight::Silent, named(SILENT)),
            },
            other => Look::Fails(other.into()),
        }
    }

    /// What a life stands for that owns the state directory and answers nobody.
    fn unheard(&self, life: Life) -> Look {
        match life.generation {
            _ if life.is_another_than(self.old) => Look::Shows(Sight::Next { ready: false }, named("starting")),
            None => Look::Shows(Sight::Starting, named("starting")),
            Some(_) => Look::Shows(Sight::Silent, named(SILENT)),
        }
    }

    fn signal(&mut self, signal: Signal, name: &str, progress: &mut Progress) -> Stood {
        let Some(patient) = &self.patient else { return Stood::Climbed };
        let waiting_for = vec![format!("process {}", patient.owner().pid)];
        progress.show(Stage { name: name.to_owned(), generation: self.from(), waiting_for, ..Stage::default() });
        if let Err(trouble) = patient.signal(signal, Wish::Restart) {
            progress.say(&trouble);
            self.trouble = Some(trouble);
        }
        Stood::Climbed
    }

    async fn start(&mut self, progress: &mut Progress) -> Stood {
        let Some(patient) = &mut self.patient else { return Stood::Climbed };
        progress.show(named("start"));
        match patient.start().await {
            Ok(how) => {
                progress.say(&how);
                Stood::Climbed
            }
            // Its supervisor may only be pausing.
            Err(trouble) => {
                progress.say(&trouble);
                self.trouble = Some(trouble);
                Stood::Climbed
            }
        }
    }

    fn given_up(&self, rung: Rung) -> String {
        let trouble = self.trouble.as_ref().map_or_else(String::new, |trouble| format!(" ({trouble})"));
        match (rung, self.patient.as_ref().map(|patient| patient.owner().pid)) {
            // Its own trouble says no more.
            (Rung::Kill, Some(1)) => {
                "process 1 of a container cannot be killed from inside it: restart the container".to_owned()
            }
            (Rung::Kill, Some(pid)) => format!("process {pid} does not die of SIGKILL{trouble}: is its disk gone?"),
            (Rung::Kill, None) => {
                "whoever holds the state directory cannot be told from here (it has not written down who it is, or it runs in another container): it is left alone".to_owned()
            }
            _ => {
                let within =
                    self.wait.map_or_else(String::new, |wait| format!(" within {}", humantime::format_duration(wait)));
                format!("no new generation was ready{within}{trouble}")
            }
        }
    }
}

/// What one look at the gateway showed.
enum Look {
    Shows(Sight, Stage),
    Ended { outcome: Outcome, generation: u64 },
    Fails(CommandError),
}

/// A stage of which only the word is known.
pub fn named(name: &str) -> Stage {
    Stage { name: name.to_owned(), ..Stage::default() }
}

#[cfg(test)]
mod tests {
    use super::super::answers::Breaker;
    use super::*;
    use evergate_core::life::Process;
    use evergate_core::supervisor::StartsAgain;

    fn status(generation: u64, phase: &str) -> Status {
        Status { generation, phase: phase.to_owned(), ..Status::default() }
    }

    fn request(outcome: Option<&str>) -> Option<Request> {
        let outcome = outcome.map(|kind| Outcome { kind: kind.to_owned(), ..Outcome::default() });
        Some(Request { request: 12, outcome, ..Request::default() })
    }

    /// A climb from generation 3 whose request is number 12.
    fn climb(client: &Client) -> Climb<'_> {
        let now = evergate_core::time::Instant::from_millis(0);
        Climb {
            client,
            state_dir: PathBuf::new(),
            ladder: Ladder::new(Patience::of(Mode::Graceful, StartsAgain::Always), now, None),
            begun: Instant::now(),
            wait: None,
            old: Life { generation: Some(GenerationId(3)), process: Some(Process { pid: 7, started: 100 }) },
            patient: None,
            request: Some(12),
            trouble: None,
            leaves_since: None,
        }
    }

    #[tokio::test]
    async fn only_a_different_serving_generation_with_the_outcome_is_a_restart() {
        let client = Client::new(PathBuf::from("/x/control.sock")).unwrap();
        let climb = climb(&client);
        let sight = |status: Status, request| match climb.judge(&status, request) {
            Look::Shows(sight, _) => Some(sight),
            _ => None,
        };
        assert_eq!(sight(status(4, "serving"), request(Some("restarted"))), Some(Sight::Next { ready: true }));
        assert_eq!(sight(status(4, "starting"), request(Some("restarted"))), Some(Sight::Next { ready: false }));
        assert_eq!(sight(status(4, "serving"), request(None)), Some(Sight::Next { ready: false }));
        let tripped =
            Status { breaker: Breaker { state: "tripped".into(), deaths: 3, held: 1 }, ..status(4, "serving") };
        assert_eq!(sight(tripped, request(None)), Some(Sight::Next { ready: true }), "which holds the outcome");
        assert_eq!(sight(status(3, "serving"), request(Some("restarted"))), Some(Sight::GettingOn));
        assert_eq!(sight(status(3, "stuck"), request(None)), Some(Sight::Stuck));
        assert_eq!(
            sight(status(4, "serving"), None),
            None,
            "a journal that knows nothing of the request is another one"
        );
    }

    #[tokio::test]
    async fn a_successor_that_got_the_number_of_one_that_died_before_its_beginning_was_on_disk_is_another() {
        let client = Client::new(PathBuf::from("/x/control.sock")).unwrap();
        let climb = Climb { request: None, ..climb(&client) };
        let seen = |pid: u64, start_time: Option<u64>, phase: &str| {
            let status = Status { pid, start_time, ..status(3, phase) };
            match climb.judge(&status, None) {
                Look::Shows(sight, _) => sight,
                _ => panic!("it shows something"),
            }
        };
        assert_eq!(seen(7, Some(100), "serving"), Sight::GettingOn);
        assert_eq!(seen(8, Some(300), "starting"), Sight::Next { ready: false });
        assert_eq!(seen(8, Some(300), "serving"), Sight::Next { ready: true });
        assert_eq!(seen(7, Some(101), "serving"), Sight::Next { ready: true }, "process 1 of a container, again");
        assert_eq!(seen(8, None, "serving"), Sight::GettingOn, "an older gateway does not say enough");
        let life = |pid, generation: Option<u64>| {
            let process = Some(Process { pid, started: 100 });
            let Look::Shows(sight, _) = climb.unheard(Life { generation: generation.map(GenerationId), process })
            else {
                panic!("it shows something")
            };
            sight
        };
        assert_eq!(life(7, Some(3)), Sight::Silent);
        assert_eq!(life(7, None), Sight::Starting);
        assert_eq!(life(8, None), Sight::Next { ready: false });
    }

    #[tokio::test]
    async fn every_other_outcome_ends_the_climb_in_any_phase() {
        let client = Client::new(PathBuf::from("/x/control.sock")).unwrap();
        let climb = climb(&client);
        for kind in ["overruled", "cancelled", "failed", "stopped"] {
            for status in [status(3, "draining"), status(3, "serving"), status(4, "serving")] {
                let look = climb.judge(&status, request(Some(kind)));
                assert!(matches!(look, Look::Ended { outcome, .. } if outcome.kind == kind));
            }
        }
    }

    #[tokio::test]
    async fn a_climb_that_is_given_up_says_what_stands_in_its_way() {
        let client = Client::new(PathBuf::from("/x/control.sock")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let patient = |pid| {
            let owner = Owner { pid, start_time: 0, ..Owner::this_process(GenerationId(3), 1_000) };
            Patient::new(folder.path(), owner)
        };
        let minute = Some(Duration::from_secs(60));
        for (rung, pid, trouble, wait, told) in [
            (
                Rung::Kill,
                Some(1),
                Some("the kernel protects process 1"),
                minute,
                "process 1 of a container cannot be killed from inside it: restart the container",
            ),
            (Rung::Kill, Some(7), None, minute, "process 7 does not die of SIGKILL: is its disk gone?"),
            (
                Rung::Kill,
                Some(7),
                Some("process 7 is no longer the gateway; it is left alone"),
                None,
                "process 7 does not die of SIGKILL (process 7 is no longer the gateway; it is left alone): is its disk gone?",
            ),
            (
                Rung::Kill,
                None,
                None,
                None,
                "whoever holds the state directory cannot be told from here (it has not written down who it is, or it runs in another container): it is left alone",
            ),
            (Rung::Ask, Some(1), None, minute, "no new generation was ready within 1m"),
            (Rung::Wait, None, None, minute, "no new generation was ready within 1m"),
            (
                Rung::Start,
                Some(7),
                Some("`systemctl start x.service` fails: Unit x.service not found."),
                minute,
                "no new generation was ready within 1m (`systemctl start x.service` fails: Unit x.service not found.)",
            ),
            (Rung::Start, Some(7), None, None, "no new generation was ready"),
        ] {
            let trouble = trouble.map(str::to_owned);
            let climb = Climb { patient: pid.map(patient), trouble, wait, ..climb(&client) };
            assert_eq!(climb.given_up(rung), told);
        }
    }
}
