//! The world around one gateway at a time, in simulated time: it takes whatever is next (a planned happening, an event
//! that is under way, a timer of the gateway, its guard, its supervisor's kill), tells the gateway, and carries out what
//! it wants. A witness sees all of that.

use super::agent::Agent;
use super::chat::Chats;
use super::config::Config;
use super::disk::Disk;
use super::fault::Fault;
use super::marks::{Mark, Marks};
use super::operator::Operator;
use super::plan::{Frozen, Happening, Planned, When};
use super::process::{Ended, Keeper, Killer};
use super::queue::{Event, Queue};
use super::random::Random;
use super::rolling::Rolling;
use super::watching::Stare;
use crate::telling::Telling;
use evergate_core::gateway::{Gateway, Phase};
use evergate_core::id::{MessageId, RequestId, TurnId};
use evergate_core::input::Input;
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::limits::Limits;
use evergate_core::request::Mode;
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::time::Instant;
use evergate_core::verdict::Verdict;
use evergate_core::witness::Witness;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A `TimeoutStopSec` of somebody who did not think of drains.
const SHORT_LIMIT: Duration = Duration::from_secs(20);
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
    pub(super) skipped: u64,
    pub(super) queue: Queue,
    plan: &'a [Planned],
    pub(super) healed: bool,

    pub(super) gateway: Option<Gateway>,
    /// The number of the process.
    pub(super) life: u32,
    pub(super) keeper: Keeper,
    pub(super) frozen: Option<Frozen>,
    /// When that began.
    pub(super) frozen_since: u64,
    /// How long the machine has dozed since: too shortly each time for a watchdog to tell it from a look that is late.
    pub(super) dozed: u64,
    /// The watchdog in the process, while there is anything to look at.
    pub(super) stare: Option<Stare>,
    /// Whether this process was sent a signal that tells it to end.
    pub(super) signalled: bool,
    /// What came for the gateway while it stood still.
    pub(super) backlog: VecDeque<Event>,
    /// When the guard strikes, by the clock, and how it ends the process.
    pub(super) guard: Option<(Instant, Verdict)>,
    /// What the gateway wants to be called at, and when it is.
    pub(super) wake: Option<(Instant, u64)>,
    pub(super) armed: Option<When>,
    pub(super) signals_late: bool,
    pub(super) mode: Option<Mode>,

    pub(super) disk: Disk,
    pub(super) agents: BTreeMap<TurnId, Agent>,
    pub(super) chats: Chats,
    /// Requests from outside the chats, and whether they were accepted.
    pub(super) wishes: BTreeMap<RequestId, bool>,
    pub(super) settled: BTreeSet<RequestId>,
    asked_by: BTreeMap<u32, RequestId>,
    pub(super) operators: Vec<Operator>,
    /// How many have begun to climb.
    pub(super) climbs: u32,
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
        let (limits, contract) = (config.limits.clone(), Contract::of(config.supervisor));
        // Every other unit of systemd has been given less time than the usual budgets need, and is told to wait.
        let contract = match config.supervisor {
            Supervisor::Systemd if config.seed.is_multiple_of(2) => contract.with_kill_after(Some(SHORT_LIMIT)),
            _ => contract,
        };
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
            frozen_since: 0,
            dozed: 0,
            stare: None,
            signalled: false,
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
            operators: Vec::new(),
            climbs: 0,
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
    Guard(Verdict),
    Look,
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
            Next::Guard(verdict) => self.process_ends(Ended::Guard(verdict)),
            Next::Look => self.watchdog_looks(),
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
        let guard = self.guard.filter(|_| awake).map(|(at, verdict)| (self.when(at), Next::Guard(verdict)));
        let look = self.stare.as_ref().filter(|_| awake).map(|stare| (stare.at, Next::Look));
        let planned = self.plan.first().map(|planned| (planned.at, Next::Planned(*planned)));
        let event = self.queue.next_at().map(|at| (at, Next::Event));
        let wake = self.wake.filter(|_| self.frozen.is_none()).map(|(_, at)| (at, Next::Wake));
        let first = |one: Option<(u64, Next)>, other: Option<(u64, Next)>| match (one, other) {
            (Some(one), Some(other)) => Some(if other.0.max(self.now) < one.0.max(self.now) { other } else { one }),
            (one, other) => one.or(other),
        };
        first(first(first(kill, first(guard, look)), first(planned, event)), wake)
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
            Happening::Climb { mode } => self.climbs(mode),
            Happening::Cancel { entry } => {
                if let Some(request) = self.asked_by.get(&entry).copied() {
                    self.inform(Input::Cancel { request });
                }
            }
            Happening::Signal(signal) => self.signal(signal),
            Happening::SignalLate => self.signals_late = true,
            Happening::Job(job) => self.supervisor_stops(job),
            Happening::KeeperDies => self.keeper_dies(),
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
            Event::Boot { life: of, revivals } if of == life && self.gateway.is_none() => self.boot(revivals),
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
            Event::Answers { session, asked } => self.answers(session, asked),
            Event::OperatorLooks { number } => self.operator_looks(number),
            Event::Thaw { life: of } if of == life => self.thaws(),
            Event::TooSilent { life: of, since } if of == life && since == self.frozen_since => self.too_silent(),
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
        self.dozes(ms);
        if let Some(telling) = &mut self.telling {
            telling.ahead_ms = self.skipped;
        }
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

/// The end of all faults.
impl World<'_> {
    /// From here on nothing is disturbed any more, and what hangs ends after a while.
    pub(super) fn all_faults_stop(&mut self) {
        self.healed = true;
        self.plan = &[];
        self.armed = None;
        self.signals_late = false;
        self.operators.clear();
        self.disk.heal();
        self.chats.outage_until = 0;
        self.agents_heal();
        self.thaws();
        if self.gateway.is_none() {
            self.queue.push(self.now + 1_000, Event::PersonStarts { life: self.life });
        }
    }
}
