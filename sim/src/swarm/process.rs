//! The process and whoever starts it: how it ends, what its supervisor makes of that, what a person does when it stays
//! down, and the signals and jobs that it gets.

use super::fault::Fault;
use super::marks::Mark;
use super::plan::Job;
use super::queue::Event;
use super::world::World;
use crate::story::{Kind, Lane};
use crate::telling::Telling;
use evergate_core::gateway::{Gateway, Phase};
use evergate_core::id::{GenerationId, RequestId, TurnId};
use evergate_core::input::Input;
use evergate_core::invariant::Invariant;
use evergate_core::recovery::{Provenance, Recovered, Start};
use evergate_core::request::Signal;
use evergate_core::respawn::{ChildEnd, KILL_LIMIT, Next, Respawn};
use evergate_core::supervisor::{Contract, Death, Supervisor};
use evergate_core::time::Instant;
use evergate_core::verdict::{RESTART, Verdict};
use std::collections::VecDeque;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As its gateway says.
    With(Verdict),
    /// Its guard ended it so.
    Guard(Verdict),
    /// Its watchdog ended it so.
    Watchdog(Verdict),
    /// It was killed.
    Killed(Killer),
}

impl Ended {
    /// Tells it in a story.
    fn tell(self, telling: &mut Telling, now: u64) {
        let (lane, kind, what) = match self {
            Self::With(verdict) => (Lane::Gateway, Kind::End, format!("the process ends: {verdict}")),
            Self::Guard(verdict) => (Lane::Gateway, Kind::End, format!("the guard ends the process: {verdict}")),
            Self::Watchdog(verdict) => (Lane::Gateway, Kind::End, format!("the watchdog ends the process: {verdict}")),
            Self::Killed(Killer::Anybody) => (Lane::Gateway, Kind::Fault, "the process is killed".to_owned()),
            Self::Killed(Killer::Supervisor) => {
                (Lane::Supervisor, Kind::Fault, "the supervisor kills the process".to_owned())
            }
            Self::Killed(Killer::Agent(turn)) => (Lane::Gateway, Kind::Fault, format!("{turn} crashes the process")),
        };
        telling.add(now, lane, kind, what, "");
    }
}

/// Who kills a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killer {
    /// Anybody, from outside.
    Anybody,
    /// The supervisor, at its limit.
    Supervisor,
    /// A turn that crashes the gateway.
    Agent(TurnId),
}

/// Where the process stands when there is no gateway in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is starting, or its gateway is up.
    Up,
    /// It is there, idle.
    Idle,
    /// It is gone, and nobody but a person starts it.
    Down,
}

/// Whoever starts the process.
#[derive(Debug)]
pub struct Keeper {
    contract: Contract,
    /// Whether it is gone.
    dead: bool,
    pub(super) standing: Standing,
    /// What the supervisor was told to do, and when it kills.
    pub(super) job: Option<(Job, Option<u64>)>,
    pub(super) respawn: Respawn,
    /// How often systemd has started it since a person did.
    restarts: u32,
    starts: VecDeque<u64>,
    last_start: u64,
    /// The generation of the last process, and how many before it have come to none since one has.
    last: (GenerationId, u32),
    /// Whether the last process of which a generation has begun has left in order.
    left: bool,
    /// Whether somebody wants a start of which none has begun.
    wanted: bool,
    /// How long it pauses before it starts the process again.
    pub(super) pause: u64,
}

impl Keeper {
    /// A supervisor on whose machine nothing has happened.
    #[must_use]
    pub const fn new(contract: Contract) -> Self {
        Self {
            contract,
            dead: false,
            standing: Standing::Down,
            job: None,
            respawn: Respawn::new(KILL_LIMIT),
            restarts: 0,
            starts: VecDeque::new(),
            last_start: 0,
            last: (GenerationId(0), 0),
            left: false,
            wanted: false,
            pause: 0,
        }
    }

    /// A person starts it: everything is as on the first day.
    fn anew(&mut self) {
        *self = Self { last: self.last, left: self.left, ..Self::new(self.contract) };
    }

    /// The terms that are found by whoever looks for it.
    fn terms(&self) -> Contract {
        if self.dead { Contract::of(Supervisor::Nobody) } else { self.contract }
    }

    /// What this supervisor does after such an end, without a job: when it starts it again, if it does, and of how many starts in a
    /// row after a death the process is told.
    fn after(&mut self, now: u64, death: Death) -> Option<(u64, u32)> {
        let lived = now.saturating_sub(self.last_start);
        if self.terms().supervisor == Supervisor::Evergate {
            let end = match death {
                Death::Exited(status) => ChildEnd::Exited(status),
                Death::Killed => ChildEnd::Signalled(9),
            };
            return match self.respawn.ended(Instant::from_millis(now), end).next {
                Next::Start { at, revivals } => Some((at.as_millis(), revivals)),
                Next::End { .. } => None,
            };
        }
        if !self.terms().revives(death) {
            return None;
        }
        if self.contract.supervisor == Supervisor::Systemd {
            self.restarts += 1;
        }
        let (first, most, throttle) = match self.contract.supervisor {
            Supervisor::LaunchdKeepAlive | Supervisor::LaunchdSuccessfulExit => (0, 0, 10_000),
            Supervisor::Container => (100, 60_000, 0),
            Supervisor::Kubernetes => (10_000, 300_000, 0),
            Supervisor::S6 => (1_000, 1_000, 0),
            _ => (100, 100, 0),
        };
        self.pause = if lived >= 10_000 { first } else { (self.pause * 2).clamp(first, most) };
        Some(((now + self.pause).max(self.last_start + throttle), self.restarts))
    }

    /// How the next start comes to be made, where the disk has this generation last.
    fn starts_behind(&mut self, on_disk: GenerationId, revivals: u32) -> Provenance {
        let begun = on_disk == self.last.0;
        let unbegun = if begun { 0 } else { self.last.1 + 1 };
        self.wanted = revivals == 0 || self.wanted && !begun;
        self.last = (on_disk.next(), unbegun);
        Provenance { revivals, unbegun: Some(unbegun), left: self.left, rebooted: false }
    }

    /// How it starts the process when it is told to while it pauses, if it can be told. An engine, Kubernetes and s6 have nobody who could
    /// be told.
    fn starts_when_told(&mut self, now: u64) -> Option<u32> {
        match self.terms().supervisor {
            Supervisor::Evergate => match self.respawn.start_wanted(Instant::from_millis(now))?.next {
                Next::Start { revivals, .. } => Some(revivals),
                Next::End { .. } => None,
            },
            Supervisor::Systemd | Supervisor::LaunchdKeepAlive | Supervisor::LaunchdSuccessfulExit => Some(0),
            Supervisor::Container | Supervisor::Kubernetes | Supervisor::S6 | Supervisor::Nobody => None,
        }
    }

    /// Whether systemd refuses this start: five in ten seconds.
    fn refuses_start(&mut self, at: u64) -> bool {
        self.starts.retain(|start| start + 10_000 > at);
        self.starts.push_back(at);
        self.contract.supervisor == Supervisor::Systemd && self.starts.len() > 5
    }
}

/// Ends.
impl World<'_> {
    /// The process dies here and now.
    pub(super) fn dies(&mut self, killer: Killer) {
        if let Some(gateway) = &self.gateway {
            self.marks.hit(match (killer, gateway.phase()) {
                (Killer::Supervisor, _) => Mark::SupervisorKilled,
                (_, Phase::Starting) => Mark::KilledStarting,
                (_, Phase::Draining) => Mark::KilledDraining,
                (_, Phase::Interrupting) => Mark::KilledInterrupting,
                (_, Phase::Closing | Phase::Ended) => Mark::KilledClosing,
                (_, Phase::Serving) => Mark::KilledServing,
            });
        }
        self.process_ends(Ended::Killed(killer));
    }

    /// The process is gone, however that came; its supervisor sees it.
    pub(super) fn process_ends(&mut self, ended: Ended) {
        let signalled = |event: &Event| matches!(event, Event::Tell { input: Input::Signal { .. }, .. });
        let late = self.backlog.iter().any(signalled);
        let ended = match ended {
            Ended::With(verdict) => Ended::With(self.at_last(verdict, late || self.keeper.dead && self.signalled)),
            // What is outside the loop hears each signal by itself, whatever the loop has made of it.
            Ended::Guard(verdict) => Ended::Guard(self.at_last(verdict, self.signalled)),
            Ended::Watchdog(verdict) => Ended::Watchdog(self.at_last(verdict, self.signalled)),
            other => other,
        };
        if let Some(telling) = &mut self.telling {
            ended.tell(telling, self.now);
        }
        self.disk_dies();
        if self.disk.rows.highest.generation == self.keeper.last.0 {
            self.keeper.left = matches!(ended, Ended::With(Verdict::Exit(_) | Verdict::StayUp));
        }
        if let Ended::Guard(verdict) = ended {
            self.marks.hit(Mark::GuardStruck);
            self.witness.struck(&mut self.checks, verdict);
        }
        if let Ended::Watchdog(verdict) = ended {
            self.marks.hit(Mark::WatchdogBit);
            self.witness.bitten(&mut self.checks, verdict);
        }
        self.witness.leaves();
        self.gateway = None;
        self.life += 1;
        self.comes_again_later();
        self.frozen = None;
        self.stare = None;
        self.signalled = false;
        self.guard = None;
        self.wake = None;
        self.chats.process_ends();
        self.keeper.standing = Standing::Up;
        match ended {
            Ended::With(Verdict::StayUp) | Ended::Guard(Verdict::StayUp) | Ended::Watchdog(Verdict::StayUp) => {
                self.marks.hit(Mark::StayedUp);
                self.keeper.standing = Standing::Idle;
                self.await_person();
            }
            Ended::With(Verdict::ReExec) | Ended::Guard(Verdict::ReExec) | Ended::Watchdog(Verdict::ReExec) => {
                self.marks.hit(Mark::ReExecuted);
                self.boots_soon(self.now, self.keeper.restarts);
            }
            Ended::With(Verdict::Exit(status))
            | Ended::Guard(Verdict::Exit(status))
            | Ended::Watchdog(Verdict::Exit(status)) => {
                self.keeper_sees(Death::Exited(status));
            }
            Ended::Killed(_) => self.keeper_sees(Death::Killed),
        }
    }

    /// How it ends after all, as the edge of the process finds things.
    fn at_last(&mut self, verdict: Verdict, signalled: bool) -> Verdict {
        let dead = self.keeper.dead;
        let at_last = self.keeper.terms().at_last(verdict, signalled, dead);
        if dead && at_last == Verdict::ReExec && verdict != at_last {
            self.marks.hit(Mark::LeftAlone);
        }
        if dead {
            // Where it was told to leave, that is the business of whoever told it.
            self.checks.holds(Invariant::Exit, signalled || at_last != Verdict::Exit(RESTART), || {
                "it leaves to be started again, and whoever did that is gone".to_owned()
            });
        }
        at_last
    }

    /// Our own supervisor is killed. What it was about to start nobody starts.
    pub(super) fn keeper_dies(&mut self) {
        if self.keeper.terms().supervisor != Supervisor::Evergate {
            return;
        }
        self.marks.hit(Mark::KeeperDied);
        self.keeper.dead = true;
        self.keeper.job = None;
        if self.gateway.is_none() && self.keeper.standing == Standing::Up {
            self.life += 1;
            self.stays_down();
        }
    }

    /// What was on its way to the disk is lost, or is there although nobody was told.
    fn disk_dies(&mut self) {
        let lost = self.disk.is_busy();
        let commit = self.disk.dies();
        match commit {
            Some(commit) if self.now >= self.disk.full_until && self.random.hits(500) => {
                self.marks.hit(Mark::BatchKept);
                self.commit_is_on_disk(&commit);
            }
            _ if lost => self.marks.hit(Mark::BatchLost),
            _ => {}
        }
        self.disk_forgets_as_planted();
    }

    /// The supervisor sees the process end.
    fn keeper_sees(&mut self, death: Death) {
        let job = self.keeper.job.take();
        match job {
            Some((Job::Stop, _)) => return self.stays_down(),
            Some((Job::Restart, _)) => {
                self.keeper.anew();
                return self.starts(self.now, 0);
            }
            None => {}
        }
        match self.keeper.after(self.now, death) {
            Some((at, revivals)) => self.starts(at, revivals),
            None => self.stays_down(),
        }
    }

    fn stays_down(&mut self) {
        self.keeper.standing = Standing::Down;
        self.await_person();
    }

    fn await_person(&mut self) {
        let most = if self.healed { 3_000 } else { self.config.person_ms };
        let at = self.now + self.random.spread(1_000, most.max(1_001));
        self.queue.push(at, Event::PersonStarts { life: self.life });
    }
}

/// Starts.
impl World<'_> {
    fn starts(&mut self, at: u64, revivals: u32) {
        if self.rate(Fault::StartLimit) > 0 && self.keeper.refuses_start(at) {
            self.marks.hit(Mark::StartLimitReached);
            return self.stays_down();
        }
        self.boots_soon(at, revivals);
    }

    fn boots_soon(&mut self, at: u64, revivals: u32) {
        self.keeper.standing = Standing::Up;
        let at = at + self.random.spread(20, 400);
        self.queue.push(at, Event::Boot { life: self.life, revivals });
    }

    /// A person starts it, whatever it is or is not doing.
    pub(super) fn person_starts(&mut self) {
        if self.gateway.is_none() && self.keeper.standing != Standing::Up {
            self.marks.hit(Mark::PersonStarted);
            self.keeper.anew();
            self.starts(self.now, 0);
        }
    }

    /// Whoever climbs has it started, by its supervisor where that only pauses and can be told.
    pub(super) fn operator_starts(&mut self) {
        if self.gateway.is_none()
            && self.keeper.standing == Standing::Up
            && let Some(revivals) = self.keeper.starts_when_told(self.now)
        {
            self.marks.hit(Mark::PauseCutShort);
            return self.boots_soon(self.now, revivals);
        }
        self.person_starts();
    }

    /// The process has read the journal.
    pub(super) fn boot(&mut self, revivals: u32) {
        self.keeper.standing = Standing::Up;
        self.keeper.last_start = self.now;
        self.keeper.respawn.started(Instant::from_millis(self.now));
        let recovered = Recovered::from_unfinished(&self.disk.rows);
        let start = recovered.start(self.keeper.starts_behind(recovered.highest.generation, revivals));
        let undone = self.keeper.left && recovered.stopped_by.is_some();
        let by_itself = !self.keeper.wanted && !undone && recovered.holds_a_stop();
        self.checks.holds(Invariant::Intent, (start == Start::Revived) == by_itself, || {
            format!(
                "what a reviver starts is taken for that, and nothing else is: {start:?}, after {revivals} by itself"
            )
        });
        let recovered = Recovered { start, ..recovered };
        if start == Start::Revived {
            self.marks.hit(Mark::RevivedStop);
        }
        let highest = recovered.highest;
        self.next_message = highest.message;
        self.next_request = highest.request;
        self.wishes.retain(|request, _| *request <= highest.request);
        let terms = self.keeper.terms();
        self.witness.under(self.limits.clone(), terms);
        let gateway = Gateway::boot(self.limits.clone(), terms, recovered, self.clock());
        self.witness.boots(&mut self.checks, gateway.generation(), start);
        if let Some(telling) = &mut self.telling {
            telling.begins(self.now, gateway.generation());
        }
        self.gateway = Some(gateway);
        self.begins_to_stare();
        self.generations += 1;
        self.perform();
    }
}

/// Signals and jobs.
impl World<'_> {
    pub(super) fn contract(&self) -> Contract {
        self.keeper.terms()
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        match (&self.gateway, self.keeper.standing) {
            (Some(gateway), _) => {
                match gateway.drain() {
                    Some(drain) if drain.end_recorded => self.marks.hit(Mark::LateSignal),
                    Some(_) => self.marks.hit(Mark::SignalledTwice),
                    None => {}
                }
                self.signalled = true;
                let request = self.new_request();
                self.inform(Input::Signal { request, signal });
            }
            (None, Standing::Idle) => {
                self.life += 1;
                self.keeper_sees(Death::Killed);
            }
            (None, _) => {}
        }
    }

    /// The supervisor is told to stop the service, and perhaps to start it then.
    pub(super) fn supervisor_stops(&mut self, job: Job) {
        let contract = self.keeper.terms();
        if contract.supervisor == Supervisor::Nobody || self.keeper.job.is_some() {
            return;
        }
        if self.gateway.is_none() {
            // There is nobody to ask: an idle process ends by the signal, and one that is starting does as well.
            self.life += 1;
            self.keeper.job = Some((job, None));
            return self.keeper_sees(Death::Killed);
        }
        let kill_at = contract.kill_after.map(|limit| self.now + u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        self.keeper.job = Some((job, kill_at));
        self.signal(Signal::Terminate);
    }

    /// The gateway asks whether a SIGTERM came from its supervisor.
    pub(super) fn ask_supervisor(&mut self, request: RequestId) {
        let silent = self.random.hits(self.rate(Fault::SupervisorSilent) * 5);
        let takes = if silent { self.random.between(1_500, 6_000) } else { self.random.between(5, 300) };
        if silent {
            self.marks.hit(Mark::SupervisorLate);
        }
        if !silent || self.random.hits(500) {
            self.queue.push(self.now + takes, Event::SupervisorAnswers { life: self.life, request });
        }
    }

    /// The gateway wants to know whether what would be started next is able to take over.
    pub(super) fn check_candidate(&mut self, request: RequestId) {
        let (unfit, silent) = (self.rate(Fault::CandidateUnfit), self.rate(Fault::CandidateSilent));
        let takes = self.random.between(5, 300);
        if self.random.hits(silent) {
            return self.marks.hit(Mark::CandidateSilent);
        }
        let input = if self.random.hits(unfit) {
            self.marks.hit(Mark::CandidateUnfit);
            Input::CandidateUnfit { request }
        } else {
            Input::CandidateFit { request }
        };
        self.queue.push(self.now + takes, Event::Tell { life: self.life, input });
    }

    pub(super) fn supervisor_answers(&mut self, request: RequestId) {
        if self.keeper.job.is_some() {
            self.marks.hit(Mark::SupervisorStops);
            self.inform(Input::SupervisorStops { request });
        } else {
            self.inform(Input::SupervisorStays { request });
        }
    }
}
