//! Carries out the climb of [`evergate_core::ladder`] to a stop: looks at the gateway, has whoever keeps its process end it,
//! kills it. It owns the reading of what it sees and decides nothing.

use std::path::PathBuf;
use std::time::Duration;

use evergate_core::ladder::{Ladder, Patience, Rung, Sight, Step};
use evergate_core::life::Life;
use evergate_core::request::{Mode, Wish};
use evergate_core::supervisor::Supervisor;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::answers::{Accepted, Outcome, Request, Status};
use super::call_error::CallError;
use super::client::Client;
use super::climb::{GLANCE, LEAVING, SILENT, named};
use super::patient::{Patient, Presence, presence};
use super::progress::{Progress, Stage};
use super::request::{Seen, look, read_status};
use super::{CommandError, keeper};
use crate::journal::Owner;

/// When a climb begins.
const BEGUN: evergate_core::time::Instant = evergate_core::time::Instant::from_millis(0);

/// Where a step has led.
pub enum Stood {
    /// No further: look again.
    Looking,
    /// It gets on again, and is to be asked once more.
    Asks,
    /// Up a rung that does without an answer.
    Climbed,
    /// Nobody is there any more.
    Gone {
        /// Whether it had to be killed.
        killed: bool,
    },
    /// Nobody was there, and nobody is about to start one.
    Nobody,
    /// The stop was accepted and came to something else.
    Ended {
        /// What, after "stop request N".
        clause: String,
        /// The word for it.
        kind: String,
    },
    /// It cannot be brought about.
    GivenUp {
        /// What was tried, what came of it, and what is left to do.
        why: String,
    },
}

/// One stop from outside.
pub struct Halt<'a> {
    client: &'a Client,
    state_dir: PathBuf,
    mode: Mode,
    ladder: Ladder,
    begun: Instant,
    wait: Option<Duration>,
    /// Who was there last, as far as that is written down.
    owner: Option<Owner>,
    /// Whether anybody was seen alive.
    seen: bool,
    /// Whether nobody was there at the last look.
    nobody: bool,
    /// The request, once it is accepted, and who has accepted it.
    accepted: Option<(u64, Option<u64>)>,
    /// Whom the last look was about.
    about: Option<Life>,
    /// Who was told to end, or killed.
    told: Option<Life>,
    killed: bool,
    /// What went wrong on the way.
    trouble: Option<String>,
}

impl<'a> Halt<'a> {
    /// Of whoever owns the state directory.
    pub fn new(client: &'a Client, mode: Mode, wait: Option<Duration>) -> Self {
        let mut halt = Self {
            client,
            state_dir: client.state_dir().to_owned(),
            mode,
            ladder: Ladder::to_stop(Patience::to_stop(mode), BEGUN, wait),
            begun: Instant::now(),
            wait,
            owner: Owner::recorded(client.state_dir()),
            seen: false,
            nobody: false,
            accepted: None,
            about: None,
            told: None,
            killed: false,
            trouble: None,
        };
        if matches!(halt.who_is_there(), Ok(Presence::Nobody(_))) && !halt.is_kept() {
            halt.ladder = Ladder::to_stop(Patience::to_stop(mode).with_nobody_there(), BEGUN, wait);
        }
        halt
    }

    /// How far it has come.
    pub const fn rung(&self) -> Rung {
        self.ladder.rung()
    }

    /// The request that is accepted, and by which generation.
    pub const fn request(&self) -> Option<(u64, Option<u64>)> {
        self.accepted
    }

    /// The gateway has the request on disk.
    pub const fn accepted(&mut self, accepted: &Accepted) {
        self.accepted = Some((accepted.request, accepted.generation));
        self.seen = true;
        self.ladder.accepted();
    }

    /// No answer will come to what the gateway was asked.
    pub const fn asked_in_vain(&mut self) {
        self.ladder.asked_in_vain();
    }

    /// Whether it can be brought about although asking has failed so.
    pub fn goes_on_without(&mut self, error: &CallError) -> bool {
        match error {
            CallError::TimedOut { .. } | CallError::Lost { .. } => true,
            // Whoever only reads the journal holds the lock as well, and is nobody's gateway.
            CallError::NobodyRuns { .. } => self.seen || matches!(self.who_is_there(), Ok(Presence::Nobody(_))),
            _ => false,
        }
    }

    /// Looks, and does what is to be done now.
    pub async fn step(&mut self, progress: &mut Progress) -> Result<Stood, CommandError> {
        let look = tokio::time::timeout(GLANCE, self.glance()).await;
        self.nobody = matches!(look, Ok(Look::Nobody));
        let (sight, stage) = match look {
            Ok(Look::Shows(sight, stage)) => (self.of_whom(sight), stage),
            Ok(Look::Nobody) => (self.whether_for_good().await, named("gone")),
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
            Step::Done | Step::GiveUp(_) if self.nobody && !self.seen => Ok(Stood::Nobody),
            Step::Done => Ok(Stood::Gone { killed: self.killed }),
            Step::Terminate if self.nobody => Ok(self.end_the_pause(progress).await),
            Step::Terminate => Ok(self.tell_its_keeper(progress).await),
            Step::Kill => Ok(self.kill(progress)),
            Step::GiveUp(rung) => Ok(Stood::GivenUp { why: self.given_up(rung, &progress.last_sentence()) }),
            Step::Look | Step::Start => Ok(Stood::Looking),
        }
    }

    /// One that has come after another was told or killed has heard of nothing, and neither has one that somebody started before
    /// what an earlier one has accepted was carried out.
    fn of_whom(&mut self, sight: Sight) -> Sight {
        self.about = match self.who_is_there() {
            Ok(Presence::Process(owner)) => Some(owner.life()),
            _ => None,
        };
        let another = self.told.zip(self.about).is_some_and(|(told, now)| now.is_another_than(told));
        let sight = if another { Sight::Next { ready: sight == Sight::GettingOn } } else { sight };
        if matches!(sight, Sight::Next { .. }) {
            (self.told, self.accepted) = (None, None);
        }
        sight
    }

    async fn glance(&mut self) -> Look {
        let seen = match self.accepted {
            Some((request, _)) => look(self.client, request).await,
            None => {
                read_status(self.client).await.map(|status| Seen::Answered { status: Box::new(status), request: None })
            }
        };
        match seen {
            Ok(Seen::Answered { status, request }) => {
                self.seen = true;
                judge(&status, request, self.accepted.and_then(|(_, from)| from))
            }
            Ok(Seen::Absent(error)) | Err(CommandError::Call(error)) => self.absence(error),
            Err(error) => Look::Fails(error),
        }
    }

    /// What a failed call stands for.
    fn absence(&mut self, error: CallError) -> Look {
        let leaving = self.accepted.is_some();
        match error {
            CallError::Busy { .. } => Look::Shows(Sight::GettingOn, named("starting")),
            CallError::TimedOut { .. } => Look::Shows(Sight::Silent, named(SILENT)),
            CallError::NobodyRuns { .. } | CallError::Lost { .. } => match self.who_is_there() {
                Ok(Presence::Nobody(_)) => Look::Nobody,
                Ok(Presence::Process(_) | Presence::Newcomer) if leaving => Look::Shows(Sight::Silent, named(LEAVING)),
                Ok(Presence::Process(owner)) if owner.life().generation.is_some() => {
                    Look::Shows(Sight::Silent, named(SILENT))
                }
                // It may be somebody who reads: what comes of the asking tells.
                Ok(Presence::Newcomer) if !self.seen => Look::Shows(Sight::GettingOn, named("starting")),
                Ok(Presence::Process(_) | Presence::Newcomer) => Look::Shows(Sight::Starting, named("starting")),
                Err(_) => Look::Shows(Sight::Silent, named(SILENT)),
            },
            other => Look::Fails(other.into()),
        }
    }

    /// Nobody owns the state directory: whether anybody is about to, as far as can be seen. Of whom nobody here sees and who is
    /// known to start it by himself that is to be thought, unless it has left with the status of a stop.
    async fn whether_for_good(&self) -> Sight {
        let left_by_itself = self.accepted.is_some() && !self.killed;
        let out_of_sight = || self.owner.as_ref().and_then(keeper::cannot_be_told).is_some();
        let may_start = self.seen && !left_by_itself && out_of_sight();
        if may_start || keeper::is_about_to_start(&self.state_dir, self.owner.as_ref()).await {
            Sight::Paused
        } else {
            Sight::Gone
        }
    }

    /// Whether anybody starts it by himself, as far as that is known.
    fn is_kept(&self) -> bool {
        let kept = |owner: &Owner| owner.supervisor.is_some_and(|keeper| keeper != Supervisor::Nobody);
        self.owner.as_ref().is_some_and(kept)
    }

    async fn end_the_pause(&mut self, progress: &Progress) -> Stood {
        match keeper::end_the_pause(&self.state_dir, self.owner.as_ref()).await {
            Some(Ok(how)) => {
                self.seen = true;
                self.told = self.owner.as_ref().map(Owner::life);
                self.ladder.told();
                progress.say(&how);
                Stood::Climbed
            }
            Some(Err(why)) => Stood::GivenUp { why },
            None => match self.owner.as_ref().and_then(keeper::cannot_be_told) {
                Some(why) => Stood::GivenUp { why },
                // He has ended by himself.
                None => Stood::Looking,
            },
        }
    }

    fn who_is_there(&mut self) -> std::io::Result<Presence> {
        let presence = presence(&self.state_dir)?;
        if let Presence::Process(owner) = &presence {
            (self.owner, self.seen) = (Some(owner.clone()), true);
        }
        Ok(presence)
    }

    /// The process, unless another one has come in its place since it was looked at.
    fn patient(&mut self) -> Result<Patient, Stood> {
        let _the_last_one_then = self.who_is_there();
        let Some(owner) = self.owner.clone() else { return Err(Stood::GivenUp { why: unknown() }) };
        if self.about.is_some_and(|about| owner.life().is_another_than(about)) {
            self.told = self.about;
            return Err(Stood::Looking);
        }
        Ok(Patient::new(&self.state_dir, owner))
    }

    async fn tell_its_keeper(&mut self, progress: &mut Progress) -> Stood {
        let patient = match self.patient() {
            Ok(patient) => patient,
            Err(stood) => return stood,
        };
        let keeper = patient.owner().supervisor.filter(|keeper| *keeper != Supervisor::Nobody);
        let what = if keeper.is_some() { "end" } else { "terminate" };
        progress.show(Stage { generation: Some(patient.owner().generation.0), ..named(what) });
        self.told = Some(patient.owner().life());
        match patient.end().await {
            Ok(how) => {
                self.ladder.told();
                progress.say(&how);
                Stood::Climbed
            }
            // What is accepted is on disk: whoever comes next carries it out. And another one may be there by now.
            Err(trouble) if self.accepted.is_some() || !self.is_there(&patient) => {
                progress.say(&trouble);
                self.trouble = Some(trouble);
                Stood::Climbed
            }
            Err(why) => Stood::GivenUp { why },
        }
    }

    fn is_there(&mut self, patient: &Patient) -> bool {
        let now = self.who_is_there();
        now.is_ok_and(|now| matches!(now, Presence::Process(owner) if owner.life() == patient.owner().life()))
    }

    fn kill(&mut self, progress: &mut Progress) -> Stood {
        let patient = match self.patient() {
            Ok(patient) => patient,
            Err(stood) => return stood,
        };
        let generation = Some(patient.owner().generation.0);
        let waiting_for = vec![format!("process {}", patient.owner().pid)];
        progress.show(Stage { generation, waiting_for, ..named("kill") });
        self.told = Some(patient.owner().life());
        match patient.signal(Signal::SIGKILL, Wish::Stop) {
            Ok(()) => self.killed = true,
            Err(trouble) => {
                progress.say(&trouble);
                self.trouble = Some(trouble);
            }
        }
        Stood::Climbed
    }

    fn given_up(&self, rung: Rung, last: &str) -> String {
        let pid = self.owner.as_ref().map_or(0, |owner| owner.pid);
        match rung {
            Rung::Kill if pid == 1 => {
                "process 1 of a container cannot be killed from inside it: stop the container".to_owned()
            }
            Rung::Kill if self.nobody => {
                "nothing runs, but whoever starts it has not ended although he was told to; `evergate doctor` names him"
                    .to_owned()
            }
            Rung::Kill if self.killed => format!("process {pid} does not die of SIGKILL: is its disk gone?"),
            Rung::Kill => {
                let why = self.trouble.as_deref().unwrap_or("it could not be killed");
                format!("process {pid} is still there: {why}")
            }
            _ => {
                let within =
                    self.wait.map_or_else(String::new, |wait| format!(" within {}", humantime::format_duration(wait)));
                let harder = if self.mode == Mode::Force { "" } else { ", or use --force" };
                format!("the gateway was not gone{within}; last seen: {last}. Look at `evergate status`{harder}")
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
    Nobody,
    Ended { clause: String, kind: String },
    Fails(CommandError),
}

/// Reads what was seen while somebody still listens. A stop that was accepted and came to nothing ends the wait, and so does
/// a generation that serves after it. One that serves while generations die in a row holds what those before it have accepted.
fn judge(status: &Status, request: Option<Request>, from: Option<u64>) -> Look {
    let generation = status.generation;
    let after = status.phase == "serving" && from.is_some_and(|from| from != generation);
    let holds = after && status.breaker.is_tripped();
    match request.map(|request| request.outcome) {
        Some(Some(outcome)) if outcome.kind != "stopped" => {
            Look::Ended { clause: outcome.clause(), kind: outcome.kind }
        }
        Some(None) if holds => Look::Shows(Sight::Next { ready: true }, Stage::of(status)),
        Some(Some(Outcome { .. })) if after => Look::Ended {
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
        let open = Some(Request { request: 4, ..Request::default() });
        assert_eq!(
            sight(judge(&status("serving"), open.clone(), Some(2))),
            Some(Sight::GettingOn),
            "its outcome comes"
        );
        let keeps = sight(judge(&status("closing"), request("stopped"), Some(2)));
        assert_eq!(keeps, Some(Sight::GettingOn), "one that was started after it keeps the stop");
        let mut tripped = status("serving");
        tripped.breaker.state = "tripped".to_owned();
        assert_eq!(sight(judge(&tripped, open.clone(), Some(2))), Some(Sight::Next { ready: true }), "it holds it");
        assert_eq!(sight(judge(&tripped, open, Some(3))), Some(Sight::GettingOn), "it is its own");
    }

    #[test]
    fn a_cancelled_stop_and_a_revival_end_the_wait() {
        let status = Status { generation: 4, phase: "serving".to_owned(), ..Status::default() };
        assert_eq!(sight(judge(&status, request("cancelled"), Some(4))), None);
        assert_eq!(sight(judge(&status, request("stopped"), Some(3))), None);
    }

    fn nobody_listens() -> CallError {
        use crate::cli::call_error::Told;
        CallError::NobodyRuns { place: String::new(), pid: None, told: Told::Words(String::new()) }
    }

    #[tokio::test]
    async fn nobody_is_taken_to_be_gone_for_good_of_whom_is_known_that_somebody_out_of_sight_starts_it() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path().join("control.sock")).unwrap();
        let mut progress = Progress::new(true);
        for (supervisor, seen, comes_back) in [
            (None, true, false),
            (Some(Supervisor::Nobody), true, false),
            (Some(Supervisor::Evergate), true, false),
            (Some(Supervisor::S6), true, true),
            (Some(Supervisor::S6), false, false),
        ] {
            let mut halt = Halt::new(&client, Mode::Graceful, None);
            halt.owner = Some(Owner { supervisor, ..Owner::this_process(GenerationId(3), 1_000) });
            halt.seen = seen;
            let sight = if comes_back { Sight::Paused } else { Sight::Gone };
            assert_eq!(halt.whether_for_good().await, sight, "{supervisor:?}");
            match halt.end_the_pause(&progress).await {
                Stood::Looking => assert_ne!(supervisor, Some(Supervisor::S6)),
                Stood::GivenUp { why } => assert!(why.contains("`s6-svc -d`"), "{supervisor:?}: {why}"),
                _ => panic!("{supervisor:?}: there is nobody to be told"),
            }
        }
        let mut halt = Halt::new(&client, Mode::Graceful, None);
        assert!(matches!(halt.step(&mut progress).await, Ok(Stood::Nobody)), "nobody was ever there");
    }

    #[test]
    fn a_process_without_a_socket_is_silent_and_a_broken_connection_alone_is_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path().join("control.sock")).unwrap();
        let mut claim = Claim::take(folder.path(), Duration::ZERO).unwrap();
        let mut halt = Halt::new(&client, Mode::Graceful, None);
        assert!(!halt.goes_on_without(&nobody_listens()), "it may be somebody who reads");
        assert_eq!(sight(halt.absence(nobody_listens())), Some(Sight::GettingOn));
        claim.record(&Owner::this_process(GenerationId(0), 1_000)).unwrap();
        assert_eq!(sight(halt.absence(nobody_listens())), Some(Sight::Starting));
        assert!(halt.goes_on_without(&nobody_listens()));
        claim.record(&Owner::this_process(GenerationId(3), 1_000)).unwrap();
        let lost = CallError::Lost { place: String::new(), source: "reset".into() };
        assert_eq!(sight(halt.absence(lost)), Some(Sight::Silent));
        halt.accepted = Some((4, Some(3)));
        assert!(matches!(halt.absence(nobody_listens()), Look::Shows(Sight::Silent, stage) if stage.name == LEAVING));
    }

    #[test]
    fn a_stop_that_is_given_up_says_what_stands_in_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path().join("control.sock")).unwrap();
        let given_up = |mode, rung, pid, killed, nobody: bool| {
            let mut halt = Halt::new(&client, mode, Some(Duration::from_secs(60)));
            halt.owner = Some(Owner { pid, ..Owner::this_process(GenerationId(3), 1_000) });
            halt.killed = killed;
            halt.nobody = nobody;
            halt.trouble = (!killed).then(|| "SIGKILL cannot be sent to process 7: EPERM".to_owned());
            halt.given_up(rung, "generation 3 is stuck")
        };
        for (said, told) in [
            (given_up(Mode::Force, Rung::Kill, 1, false, false), "stop the container"),
            (given_up(Mode::Force, Rung::Kill, 7, true, false), "process 7 does not die of SIGKILL"),
            (
                given_up(Mode::Force, Rung::Kill, 7, false, false),
                "still there: SIGKILL cannot be sent to process 7: EPERM",
            ),
            (given_up(Mode::Force, Rung::Kill, 7, true, true), "nothing runs, but whoever starts it"),
            (
                given_up(Mode::Graceful, Rung::Ask, 7, true, false),
                "the gateway was not gone within 1m; last seen: generation 3 is stuck. Look at `evergate status`, or use --force",
            ),
        ] {
            assert!(said.contains(told), "{said}");
        }
        assert!(!given_up(Mode::Force, Rung::Ask, 7, true, false).contains("--force"));
    }
}
