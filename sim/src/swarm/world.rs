//! The world around one gateway at a time, in simulated time: it takes whatever is next (a planned happening, an event
//! that is under way, a timer of the gateway, its guard, its supervisor's kill), tells the gateway, and carries out what
//! it wants. A witness sees all of that.

use super::agent::Agent;
use super::chat::Chats;
use super::config::{Config, Planted};
use super::disk::{Commit, Disk};
use super::fault::Fault;
use super::marks::{Mark, Marks};
use super::plan::{Frozen, Happening, Planned, When};
use super::process::{Ended, Keeper, Killer};
use super::queue::{Event, Queue};
use super::random::Random;
use super::rolling::Rolling;
use crate::telling::Telling;
use evergate_core::effect::{Answer, Effect};
use evergate_core::gateway::{Gateway, Phase};
use evergate_core::id::{MessageId, Position, RequestId, TurnId};
use evergate_core::input::Input;
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::limits::Limits;
use evergate_core::record::{Record, Subject};
use evergate_core::request::{Mode, Outcome, Signal};
use evergate_core::time::Instant;
use evergate_core::turn::{Conclusion, Resume};
use evergate_core::verdict::Verdict;
use evergate_core::witness::{View, Witness};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hash;

/// The subject of the chances of the world's answers to the gateway.
const ANSWERS: u64 = 10;

/// The world of one run.
pub struct World<'a> {
    pub(super) config: &'a Config,
    rates: [u32; Fault::ALL.len()],
    pub(super) limits: Limits,
    pub(super) random: Random,
    /// Milliseconds from the beginning.
    pub(super) now: u64,
    /// What the clock has jumped.
    skipped: u64,
    pub(super) queue: Queue,
    plan: &'a [Planned],
    pub(super) healed: bool,

    pub(super) gateway: Option<Gateway>,
    /// The number of the process.
    pub(super) life: u32,
    pub(super) keeper: Keeper,
    pub(super) frozen: Option<Frozen>,
    /// What came for the gateway while it stood still.
    pub(super) backlog: VecDeque<Event>,
    /// When the guard strikes, by the clock, and with which status.
    pub(super) guard: Option<(Instant, u8)>,
    /// What the gateway wants to be called at, and when it is.
    pub(super) wake: Option<(Instant, u64)>,
    armed: Option<When>,
    signals_late: bool,
    mode: Option<Mode>,

    pub(super) disk: Disk,
    pub(super) agents: BTreeMap<TurnId, Agent>,
    pub(super) chats: Chats,
    /// Requests from outside the chats, and whether they were accepted.
    pub(super) wishes: BTreeMap<RequestId, bool>,
    settled: BTreeSet<RequestId>,
    asked_by: BTreeMap<u32, RequestId>,
    pub(super) next_message: MessageId,
    pub(super) next_request: RequestId,

    pub(super) witness: Witness,
    pub(super) checks: Checks,
    pub(super) marks: Marks,
    pub(super) trace: Rolling,
    pub(super) inputs: u64,
    pub(super) generations: u64,
    pub(super) telling: Option<Telling>,
}

impl<'a> World<'a> {
    /// A world in which nothing has happened, with a gateway about to start for the first time.
    #[must_use]
    pub fn new(config: &'a Config, plan: &'a [Planned], telling: Option<Telling>) -> Self {
        let (limits, contract) = (config.limits.limits(), config.contract());
        let mut rates = [0; Fault::ALL.len()];
        for fault in Fault::ALL {
            rates[*fault as usize] = config.rate(*fault);
        }
        let mut world = Self {
            config,
            rates,
            random: Random::of(config.seed, ANSWERS, 0),
            now: 0,
            skipped: 0,
            queue: Queue::default(),
            plan,
            healed: false,
            gateway: None,
            life: 0,
            keeper: Keeper::new(contract),
            frozen: None,
            backlog: VecDeque::new(),
            guard: None,
            wake: None,
            armed: None,
            signals_late: false,
            mode: None,
            disk: Disk::default(),
            agents: BTreeMap::new(),
            chats: Chats::default(),
            wishes: BTreeMap::new(),
            settled: BTreeSet::new(),
            asked_by: BTreeMap::new(),
            next_message: MessageId::default(),
            next_request: RequestId::default(),
            witness: Witness::new(limits.clone(), contract),
            limits,
            checks: Checks::default(),
            marks: Marks::default(),
            trace: Rolling::default(),
            inputs: 0,
            generations: 0,
            telling,
        };
        world.queue.push(0, Event::PersonStarts { life: 0 });
        world
    }

    pub(super) const fn rate(&self, fault: Fault) -> u32 {
        if self.healed { 0 } else { self.rates[fault as usize] }
    }

    /// The time as the gateway's machine counts it.
    pub(super) fn clock(&self) -> Instant {
        Instant::from_millis(self.now + self.skipped)
    }

    fn when(&self, clock: Instant) -> u64 {
        clock.as_millis().saturating_sub(self.skipped)
    }

    pub(super) fn new_request(&mut self) -> RequestId {
        self.next_request = self.next_request.next();
        self.next_request
    }
}

/// What is next.
enum Next {
    Kill,
    Guard(u8),
    Planned(Planned),
    Event,
    Wake,
}

impl World<'_> {
    /// The next thing happens; false when nothing is left, or only what comes after this time.
    pub(super) fn step(&mut self, until: u64) -> bool {
        let Some((at, next)) = self.next().filter(|(at, _)| *at <= until) else { return false };
        self.now = self.now.max(at);
        match next {
            Next::Kill => self.supervisor_kills(),
            Next::Guard(status) => self.process_ends(Ended::Guard(status)),
            Next::Planned(planned) => {
                self.plan = &self.plan[1..];
                self.comes_as_planned(planned);
            }
            Next::Event => {
                if let Some(event) = self.queue.pop() {
                    self.happens(event);
                }
            }
            Next::Wake => self.wakes(),
        }
        true
    }

    /// What comes first; among equals, what needs nobody's turn.
    fn next(&self) -> Option<(u64, Next)> {
        let kill = self.keeper.job.and_then(|(_, at)| at).map(|at| (at, Next::Kill));
        let awake = self.frozen != Some(Frozen::Process);
        let guard = self.guard.filter(|_| awake).map(|(at, status)| (self.when(at), Next::Guard(status)));
        let planned = self.plan.first().map(|planned| (planned.at, Next::Planned(*planned)));
        let event = self.queue.next_at().map(|at| (at, Next::Event));
        let wake = self.wake.filter(|_| self.frozen.is_none()).map(|(_, at)| (at, Next::Wake));
        let first = |one: Option<(u64, Next)>, other: Option<(u64, Next)>| match (one, other) {
            (Some(one), Some(other)) => Some(if other.0.max(self.now) < one.0.max(self.now) { other } else { one }),
            (one, other) => one.or(other),
        };
        first(first(first(kill, guard), first(planned, event)), wake)
    }

    fn comes_as_planned(&mut self, Planned { entry, what, .. }: Planned) {
        match what {
            Happening::Say { session, asked, standing } => self.say(entry, session, asked, standing),
            Happening::Again { number, restarts_only } => self.deliver_again(number, restarts_only),
            Happening::Ask { wish, mode, origin } => {
                if let Some(gateway) = &self.gateway {
                    if gateway.phase() == Phase::Starting {
                        self.marks.hit(Mark::AskedWhileStarting);
                    }
                    let request = self.new_request();
                    self.asked_by.insert(entry, request);
                    self.wishes.insert(request, false);
                    self.inform(Input::Request { request, wish, mode, origin });
                }
            }
            Happening::Cancel { entry } => {
                if let Some(request) = self.asked_by.get(&entry).copied() {
                    self.inform(Input::Cancel { request });
                }
            }
            Happening::Signal(signal) => self.signal(signal),
            Happening::SignalLate => self.signals_late = true,
            Happening::Job(job) => self.supervisor_stops(job),
            Happening::Kill(When::Now) if self.gateway.is_some() => self.dies(Killer::Anybody),
            Happening::Kill(when) => self.armed = Some(when),
            Happening::Freeze { what, ms } => self.freezes(what, ms),
            Happening::Sleep { ms } => self.sleeps(ms),
            Happening::DiskFull { ms } => self.disk.full_until = self.now + ms,
            Happening::SlowDisk { ms } => self.disk.slow_until = self.now + ms,
            Happening::Outage { ms } => self.chats.outage_until = self.now + ms,
        }
    }

    pub(super) fn happens(&mut self, event: Event) {
        let life = self.life;
        match event {
            Event::Boot { life: of, start } if of == life && self.gateway.is_none() => self.boot(start),
            Event::PersonStarts { life: of } if of == life => self.person_starts(),
            Event::Committed { life: of } if of == life => self.commit_is_done(),
            Event::Tell { life: of, input } if of == life => self.inform(input),
            Event::Deliver { said } => self.deliver(said),
            Event::Agent { turn } => self.agent_goes_on(turn),
            Event::Sent { life, delivery, session, content, fate } => {
                self.sent(life, delivery, session, &content, fate);
            }
            Event::SupervisorAnswers { life: of, request } if of == life => self.supervisor_answers(request),
            Event::Kill { life: of } if of == life && !self.healed => self.dies(Killer::Anybody),
            Event::Thaw { life: of } if of == life => self.thaws(),
            // It was about an earlier process.
            _ => {}
        }
    }

    fn supervisor_kills(&mut self) {
        if let Some((_, at)) = &mut self.keeper.job {
            *at = None;
        }
        self.dies(Killer::Supervisor);
    }

    fn sleeps(&mut self, ms: u64) {
        self.skipped += ms;
        if self.gateway.as_ref().is_some_and(|gateway| gateway.phase() == Phase::Serving) {
            self.marks.hit(Mark::Slept);
        }
        if let Some((at, _)) = self.wake {
            self.wake = Some((at, self.when(at)));
        }
    }

    fn wakes(&mut self) {
        let before = self.wake.take();
        self.tell(Input::Elapsed);
        if let (Some(_), Some((at, _))) = (before, self.wake) {
            let later = at > self.clock();
            self.checks
                .holds(Invariant::Finite, later, || format!("it wants to be called at {at:?}, which has passed"));
        }
    }
}

/// Telling the gateway, and carrying out what it wants.
impl World<'_> {
    /// Tells the gateway, once it listens.
    pub(super) fn inform(&mut self, input: Input) {
        if self.frozen.is_some() {
            self.backlog.push_back(Event::Tell { life: self.life, input });
        } else {
            self.tell(input);
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        let now = self.clock();
        let Some(gateway) = &mut self.gateway else { return };
        if matches!(input, Input::Synced { .. } | Input::SyncFailed) {
            self.disk.told();
        }
        self.inputs += 1;
        (now, &input).hash(&mut self.trace);
        if let Some(telling) = &mut self.telling {
            telling.input(self.now, &input);
        }
        self.witness.input(now, &input);
        gateway.handle(now, input);
        self.perform();
    }

    /// Does all that the gateway wants done, in order, unless the process dies on the way.
    pub(super) fn perform(&mut self) {
        let now = self.clock();
        let mut verdict = None;
        while let Some(effect) = self.gateway.as_mut().and_then(Gateway::poll) {
            if self.armed.is_some() && self.strikes(&effect) {
                return self.dies(Killer::Anybody);
            }
            effect.hash(&mut self.trace);
            if let Some(telling) = &mut self.telling {
                telling.effect(self.now, &effect);
            }
            let drain = self.gateway.as_ref().and_then(Gateway::drain);
            self.witness.effect(&mut self.checks, now, &effect, drain);
            verdict = self.carry_out(effect).or(verdict);
        }
        if let Some(verdict) = verdict {
            return self.process_ends(Ended::With(verdict));
        }
        self.look_at_plans(now);
        self.begin_commit();
        let drain = || self.gateway.as_ref().and_then(Gateway::drain);
        if self.signals_late && drain().is_some_and(|drain| drain.end_recorded) {
            self.signals_late = false;
            self.signal(Signal::Terminate);
        }
    }

    /// What the gateway plans, once it has nothing to do for now.
    fn look_at_plans(&mut self, now: Instant) {
        let Some(gateway) = &self.gateway else { return };
        let view = View::of(gateway);
        self.witness.between_inputs(&mut self.checks, now, &view);
        let mode = view.drain.map(|drain| drain.mode);
        if (self.mode, mode) == (Some(Mode::Graceful), Some(Mode::Force)) {
            self.marks.hit(Mark::Upgraded);
        }
        self.mode = mode;
        if self.wake.map(|(at, _)| at) != view.timeout {
            let late = if self.random.hits(self.rate(Fault::TimerLate)) { self.random.between(1, 50) } else { 0 };
            self.wake = view.timeout.map(|at| (at, at.as_millis().saturating_sub(self.skipped) + late));
        }
    }

    /// Whether the kill that waits for its moment strikes before this effect.
    fn strikes(&mut self, effect: &Effect) -> bool {
        let strikes = match self.armed {
            Some(When::Effects(0)) => true,
            Some(When::Effects(more)) => {
                self.armed = Some(When::Effects(more - 1));
                false
            }
            Some(When::BeforeStart) => matches!(effect, Effect::Start { .. }),
            Some(When::In(phase)) if *effect == Effect::Phase(phase) => {
                // At once, after a few effects, or some time later in that phase, if it lasts.
                self.armed = None;
                if self.random.hits(500) {
                    self.armed = Some(When::Effects(u8::try_from(self.random.below(6)).unwrap_or(0)));
                } else {
                    let later = self.now + self.random.spread(0, 2_000);
                    self.queue.push(later, Event::Kill { life: self.life });
                }
                false
            }
            _ => false,
        };
        if strikes {
            self.marks.hit(match self.armed.take() {
                Some(When::BeforeStart) => Mark::KilledBeforeStart,
                _ => Mark::KilledInHandling,
            });
        }
        strikes
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Verdict> {
        match effect {
            Effect::Append { position, record } => self.append(position, record),
            Effect::Discard => self.disk.forget(),
            Effect::Ack { message } => self.acked(message),
            Effect::Refuse { message, refusal } => self.refused(message, refusal),
            Effect::Start { turn, session, messages, attempt, resume, .. } => {
                match resume {
                    Some(Resume::Planned) => self.marks.hit(Mark::ResumedPlanned),
                    Some(Resume::Crash) => self.marks.hit(Mark::ResumedCrash),
                    None => {}
                }
                let entry = messages.first().map_or(0, |message| self.chats.entry_of(*message));
                self.agent_starts(turn, session, entry, attempt);
            }
            Effect::Interrupt { turn } => self.agent_is_interrupted(turn),
            Effect::Kill { turn } => self.agent_is_killed(turn),
            Effect::Reclaim { turn } => {
                self.agents.remove(&turn);
                let gone = self.now + self.random.spread(1, 3_000);
                self.queue.push(gone, Event::Tell { life: self.life, input: Input::TurnGone { turn } });
            }
            Effect::Send { delivery, session, content } => self.send(delivery, session, content),
            Effect::Answer { request, answer } => self.answered(request, answer),
            Effect::Settled { request, outcome } => self.settled(request, outcome),
            Effect::AskSupervisor { request } => self.ask_supervisor(request),
            Effect::OpenPlatforms => {
                let late = self.random.hits(self.rate(Fault::OpensLate) * 5);
                let takes = if late { self.random.spread(1_000, 120_000) } else { self.random.between(1, 100) };
                if late {
                    self.marks.hit(Mark::OpenedLate);
                }
                self.queue.push(self.now + takes, Event::Tell { life: self.life, input: Input::PlatformsOpen });
            }
            Effect::Ready => {
                if self.gateway.as_ref().is_some_and(Gateway::is_tripped) {
                    self.marks.hit(Mark::BreakerTripped);
                }
            }
            Effect::Guard(guard) => {
                if guard.is_none() {
                    self.marks.hit(Mark::Reopened);
                }
                self.guard = guard;
            }
            Effect::End { verdict, .. } => {
                if !self.disk.rows.rows.contains_key(&(Subject::Generation, 1)) {
                    self.marks.hit(Mark::EndedUnwritten);
                }
                return Some(verdict);
            }
            Effect::ClosePlatforms | Effect::Stopping | Effect::Phase(_) | Effect::Ignored => {}
        }
        None
    }

    fn answered(&mut self, request: RequestId, answer: Answer) {
        match answer {
            Answer::Accepted => {
                if let Some(accepted) = self.wishes.get_mut(&request) {
                    *accepted = true;
                }
            }
            Answer::AlreadyDone(_) => {
                self.marks.hit(Mark::AlreadyDone);
                self.child_hears(request);
            }
            Answer::TooLate => self.marks.hit(Mark::CancelTooLate),
            Answer::Cancelled | Answer::Unknown => {}
            Answer::TooMany | Answer::Ending | Answer::StorageFull => {
                self.wishes.remove(&request);
                self.child_hears(request);
            }
        }
    }

    fn settled(&mut self, request: RequestId, outcome: Outcome) {
        if matches!(outcome, Outcome::Overruled { .. }) {
            self.marks.hit(Mark::Overruled);
        }
        self.child_hears(request);
    }
}

/// The way to the disk.
impl World<'_> {
    fn append(&mut self, position: Position, record: Record) {
        if self.config.planted == Some(Planted::AckBeforeSync)
            && let Record::MessageAccepted { message, .. } = record
        {
            let now = self.clock();
            self.witness.effect(&mut self.checks, now, &Effect::Ack { message }, None);
            self.acked(message);
        }
        self.disk.append(position, record);
    }

    fn begin_commit(&mut self) {
        let usual = self.config.commit_ms;
        let slow = self.rate(Fault::SlowCommit);
        let Some(takes) = self.disk.begin(self.now, usual, slow, &mut self.random) else { return };
        self.queue.push(self.now + takes, Event::Committed { life: self.life });
        if self.armed == Some(When::Committing) {
            self.armed = None;
            self.queue.push(self.now + takes / 2, Event::Kill { life: self.life });
        }
    }

    fn commit_is_done(&mut self) {
        match self.disk.finish(self.now, self.rate(Fault::SyncFails), &mut self.random) {
            Some(commit) => {
                let through = commit.through;
                self.commit_is_on_disk(commit);
                self.inform(Input::Synced { through });
            }
            None => {
                let ending = self.gateway.as_ref().is_some_and(|gateway| gateway.drain().is_some());
                self.marks.hit(if ending { Mark::SyncFailedEnding } else { Mark::SyncFailed });
                self.inform(Input::SyncFailed);
            }
        }
    }

    pub(super) fn commit_is_on_disk(&mut self, commit: Commit) {
        for record in &commit.records {
            self.disk.rows.absorb(record);
            self.witness.synced(&mut self.checks, record);
            self.note(record);
        }
        self.witness.committed(&mut self.checks);
    }

    /// What the world remembers of a record on disk.
    fn note(&mut self, record: &Record) {
        match record {
            Record::MessageAccepted { message, .. } => self.chats.accepted(*message),
            Record::CommandDone { message } => self.chats.concluded(*message, Conclusion::Answered),
            Record::TurnOpened { turn, messages, .. } => {
                for message in messages {
                    self.chats.turn_opened(*turn, *message);
                }
            }
            Record::TurnEnded { messages, conclusion, .. } => {
                for message in messages {
                    self.chats.concluded(*message, *conclusion);
                }
            }
            Record::RequestMade { request, made } if made.origin.session().is_some() => self.chats.asked(*request),
            Record::RequestSettled { request, .. } => {
                self.settled.insert(*request);
            }
            Record::SessionQuarantined { .. } => self.marks.hit(Mark::Quarantined),
            Record::SessionReleased { .. } => self.marks.hit(Mark::Released),
            _ => {}
        }
    }

    /// The mistake of a disk that loses what was on it.
    pub(super) fn disk_forgets_as_planted(&mut self) {
        if self.config.planted == Some(Planted::DeathLosesTurn) {
            let turn =
                self.disk.rows.rows.keys().rev().find(|(subject, _)| matches!(subject, Subject::Turn(_))).copied();
            if let Some(slot) = turn {
                self.disk.rows.rows.remove(&slot);
            }
        }
    }

    /// Whether each request that was accepted has its outcome.
    pub(super) fn wishes_at_rest(&mut self) {
        let open = self.wishes.iter().find(|(request, accepted)| **accepted && !self.settled.contains(request));
        self.checks.holds(Invariant::Once, open.is_none(), || format!("accepted and without an outcome: {open:?}"));
    }
}

/// The end of all faults.
impl World<'_> {
    /// From here on nothing is disturbed any more, and what hangs ends after a while.
    pub(super) fn all_faults_stop(&mut self) {
        self.healed = true;
        self.plan = &[];
        self.armed = None;
        self.signals_late = false;
        self.disk.heal();
        self.chats.outage_until = 0;
        self.agents_heal();
        self.thaws();
        if self.gateway.is_none() {
            self.queue.push(self.now + 1_000, Event::PersonStarts { life: self.life });
        }
    }
}
