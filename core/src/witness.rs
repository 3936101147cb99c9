//! The witness: it sees all that goes into the gateways of one journal and all that comes out of them, over all their
//! generations, and holds that against the rules of `invariant`. It keeps its own account from what it sees and takes
//! nothing from a gateway's word, but for the [`View`] that the rules about a gateway's own plans are about. It never
//! changes anything.

use crate::budget::Deadlines;
use crate::drain::Drain;
use crate::effect::{Answer, Effect};
use crate::gateway::{Gateway, Phase};
use crate::id::{DeliveryId, GenerationId, MessageId, RequestId, SessionId, TurnId};
use crate::input::{Asked, Input};
use crate::invariant::{Checks, Invariant};
use crate::limits::Limits;
use crate::outbox::{Content, Notice};
use crate::record::Record;
use crate::recovery::Start;
use crate::request::{Mode, Origin, Outcome, Request, Signal, Wish};
use crate::supervisor::{Contract, Death, StartsAgain};
use crate::time::Instant;
use crate::turn::{Conclusion, Resume};
use crate::verdict::Verdict;
use crate::work::{Item, Work};
use std::collections::{BTreeMap, BTreeSet};

/// What of a gateway's own plans the rules are about.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Where it says that it stands.
    pub phase: Phase,
    /// The end that it says is under way.
    pub drain: Option<&'a Drain>,
    /// What it says is under way.
    pub ledger: Vec<Item>,
    /// When it wants to be called.
    pub timeout: Option<Instant>,
}

impl<'a> View<'a> {
    /// What can be seen of the production gateway.
    #[must_use]
    pub fn of(gateway: &'a Gateway) -> Self {
        Self {
            phase: gateway.phase(),
            drain: gateway.drain(),
            ledger: gateway.ledger(),
            timeout: gateway.poll_timeout(),
        }
    }
}

/// A message on disk that nobody has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Message {
    session: SessionId,
    asked: Asked,
}

/// A turn on disk that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Turn {
    session: SessionId,
    messages: Vec<MessageId>,
    attempt: u32,
    /// Why its last start on disk happened.
    resume: Option<Resume>,
    /// Whether its interruption is on disk, since that start.
    interrupted: bool,
    /// How often a generation died while this turn ran in it, less those that lived without it since.
    deaths: u32,
    /// The generation that started it again last.
    resumed_in: GenerationId,
}

impl Turn {
    /// It is started again in this generation. Each that lived since its last start, and in which it did not run, takes
    /// one death off its account, down to one.
    fn resumed(&mut self, attempt: u32, generation: GenerationId) {
        self.attempt = attempt;
        self.resume = Some(if self.interrupted { Resume::Planned } else { Resume::Crash });
        let without = generation.0.saturating_sub(self.resumed_in.0 + 1);
        if !self.interrupted && self.deaths > 1 {
            self.deaths = self.deaths.saturating_sub(u32::try_from(without).unwrap_or(u32::MAX)).max(1);
        }
        self.interrupted = false;
        self.resumed_in = generation;
    }
}

/// A delivery on disk that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Delivery {
    session: SessionId,
    sending: bool,
    /// Whether it was handed out and nobody knows what became of that.
    uncertain: bool,
    arrived: bool,
    /// Whether its platform has said what became of it, for good.
    concluded: bool,
}

/// The generation that is alive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Life {
    generation: GenerationId,
    begun: bool,
    open: bool,
    ready: bool,
    ended: bool,
    /// It was started by a reviver although a stop was asked for.
    must_stop: bool,
    /// A turn has ended in it.
    proven: bool,
    phase: Phase,
    /// Whether it got a SIGTERM.
    terminated: bool,
    /// Whether it got a SIGINT.
    interrupted: bool,
    /// When the first signal came: a supervisor counts from there.
    signalled_at: Option<Instant>,
    /// A stop was carried out in it.
    stopped: bool,
    guard: Option<Instant>,
    /// Requests whose outcome is on its way to the disk and takes their say away: any but a stop that is carried out.
    settling: BTreeSet<RequestId>,
    /// Stops that were asked for and neither accepted nor refused: nobody can complain of either.
    stops_unanswered: BTreeSet<RequestId>,
    /// The supervisor says that it is stopping us.
    told_to_stop: bool,
    /// Sessions in which somebody spoke.
    spoke: BTreeSet<SessionId>,
}

/// Everything seen so far that still matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    contract: Contract,
    limits: Limits,
    life: Option<Life>,
    /// The last generation whose beginning is on disk: one that died before that leaves its number to the next.
    generation: GenerationId,
    /// Whether the end of the last generation is on disk.
    end_on_disk: bool,
    /// Generations in a row that died unproven.
    unproven: u32,
    messages: BTreeMap<MessageId, Message>,
    /// Messages that were answered, reported or carried out.
    finished: BTreeSet<MessageId>,
    turns: BTreeMap<TurnId, Turn>,
    last_turn: TurnId,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    last_delivery: DeliveryId,
    requests: BTreeMap<RequestId, Request>,
    settled: BTreeSet<RequestId>,
    /// Requests whose requester was told "accepted" in its chat, and not yet the outcome.
    told: BTreeMap<RequestId, SessionId>,
    /// Outcomes that are on disk and owed to a chat, until the notice is on disk too.
    outcomes_due: BTreeMap<RequestId, SessionId>,
    /// Replies that are on disk, until the end of their turn is on disk too.
    replies: BTreeSet<TurnId>,
    set_aside: BTreeSet<SessionId>,
    /// Processes of turns that are alive, and the generation that started each.
    running: BTreeMap<TurnId, GenerationId>,
}

impl Witness {
    /// A witness of a journal from its first day.
    #[must_use]
    pub fn new(limits: Limits, contract: Contract) -> Self {
        Self {
            contract,
            limits,
            life: None,
            generation: GenerationId::default(),
            end_on_disk: true,
            unproven: 0,
            messages: BTreeMap::new(),
            finished: BTreeSet::new(),
            turns: BTreeMap::new(),
            last_turn: TurnId::default(),
            deliveries: BTreeMap::new(),
            last_delivery: DeliveryId::default(),
            requests: BTreeMap::new(),
            settled: BTreeSet::new(),
            told: BTreeMap::new(),
            outcomes_due: BTreeMap::new(),
            replies: BTreeSet::new(),
            set_aside: BTreeSet::new(),
            running: BTreeMap::new(),
        }
    }

    /// A process claims the journal and boots.
    pub fn boots(&mut self, checks: &mut Checks, generation: GenerationId, start: Start) {
        checks.holds(Invariant::Lock, self.life.is_none(), || format!("{generation} begins beside another"));
        checks.holds(Invariant::Lock, generation == self.generation.next(), || {
            format!("{generation} follows {}", self.generation)
        });
        let must_stop = start == Start::Revived && self.requests.values().any(|request| request.wish == Wish::Stop);
        self.life = Some(Life {
            generation,
            begun: false,
            open: false,
            ready: false,
            ended: false,
            must_stop,
            proven: false,
            phase: Phase::Starting,
            terminated: false,
            interrupted: false,
            signalled_at: None,
            stopped: false,
            guard: None,
            settling: BTreeSet::new(),
            stops_unanswered: BTreeSet::new(),
            told_to_stop: false,
            spoke: BTreeSet::new(),
        });
    }

    /// The process has ended: with what `Effect::End` said, or it died at any point.
    pub fn leaves(&mut self) {
        let Some(life) = self.life.take() else { return };
        // An end that came to the disk is one, even if a death came before the process could leave.
        let ended = life.ended || (life.begun && self.end_on_disk);
        // What was known of a delivery and is not on disk is known no longer.
        for delivery in self.deliveries.values_mut() {
            delivery.uncertain |= delivery.sending || delivery.arrived;
            delivery.sending = false;
            delivery.concluded = false;
        }
        for (id, turn) in &mut self.turns {
            let ran = self.running.get(id) == Some(&life.generation);
            turn.deaths += u32::from(ran && !turn.interrupted && !ended);
        }
        if life.proven {
            self.unproven = 0;
        } else if life.begun && !ended {
            // One that had not begun on disk has left no trace, and has run nothing.
            self.unproven += 1;
        }
    }
}

/// What goes in and what comes out.
impl Witness {
    /// An input, before the gateway takes it.
    pub fn input(&mut self, now: Instant, input: &Input) {
        let Some(life) = &mut self.life else { return };
        match input {
            Input::PlatformsOpen => life.open = true,
            Input::Signal { signal, .. } => {
                match signal {
                    Signal::Terminate => life.terminated = true,
                    Signal::Interrupt => life.interrupted = true,
                }
                life.signalled_at.get_or_insert(now);
            }
            Input::TurnEnded { turn, .. } | Input::TurnGone { turn } => {
                self.running.remove(turn);
            }
            Input::DeliverySent { delivery }
            | Input::DeliveryFailed { delivery }
            | Input::DeliveryRejected { delivery } => {
                if let Some(sent) = self.deliveries.get_mut(delivery) {
                    let failed = matches!(input, Input::DeliveryFailed { .. });
                    sent.sending = false;
                    sent.uncertain |= failed;
                    sent.concluded |= !failed;
                }
            }
            Input::Message { session, .. } => {
                life.spoke.insert(*session);
            }
            Input::SupervisorStops { .. } => life.told_to_stop = true,
            Input::Request { request, wish: Wish::Stop, .. } => {
                life.stops_unanswered.insert(*request);
            }
            _ => {}
        }
    }

    /// An effect, when it is carried out.
    pub fn effect(&mut self, checks: &mut Checks, now: Instant, effect: &Effect, drain: Option<&Drain>) {
        let Some(life) = &mut self.life else {
            return checks.holds(Invariant::Quiet, false, || format!("{effect:?} of a process that has left"));
        };
        checks.holds(Invariant::Quiet, !life.ended, || format!("{effect:?} after the end"));
        match effect {
            Effect::Ack { message } => {
                let known = self.messages.contains_key(message) || self.finished.contains(message);
                checks.holds(Invariant::Ack, known, || format!("{message} is acked and not on disk"));
            }
            Effect::Refuse { message, .. } => {
                let kept = self.messages.contains_key(message) || self.finished.contains(message);
                checks.holds(Invariant::Ack, !kept, || format!("{message} is refused and yet on disk"));
            }
            Effect::Answer { request, answer } => {
                life.stops_unanswered.remove(request);
                let known = self.requests.contains_key(request) || self.settled.contains(request);
                checks.holds(Invariant::Ack, known || *answer != Answer::Accepted, || {
                    format!("{request} is accepted and not on disk")
                });
            }
            Effect::Append { record: Record::RequestSettled { request, outcome }, .. }
                if *outcome != Outcome::Stopped =>
            {
                life.settling.insert(*request);
            }
            Effect::Start { turn, session, attempt, resume, .. } => {
                self.starts(checks, *turn, *session, *attempt, *resume);
            }
            Effect::Send { delivery, session, .. } => self.sends(checks, *delivery, *session),
            Effect::Ready => {
                let (can_serve, may_serve) = (life.begun && life.open, !life.must_stop);
                life.ready = true;
                checks.holds(Invariant::Ready, can_serve, || "ready before it can serve".to_owned());
                checks.holds(Invariant::Intent, may_serve, || {
                    "a revived generation serves although a stop was asked for".to_owned()
                });
            }
            Effect::Append { record: Record::DeliverySettled { delivery, .. }, .. } => {
                let dropped = self.deliveries.get(delivery).is_some_and(|delivery| !delivery.concluded);
                checks.holds(Invariant::Reply, !dropped, || {
                    format!("{delivery} is struck off, and its platform has neither taken nor rejected it")
                });
            }
            Effect::Phase(phase) => life.phase = *phase,
            Effect::Guard(None) => life.guard = None,
            Effect::Guard(Some((at, _))) => self.guards(checks, now, *at, drain),
            Effect::End { verdict, .. } => self.ends(checks, *verdict),
            _ => {}
        }
    }
}

/// The rules about single effects.
impl Witness {
    fn starts(&mut self, checks: &mut Checks, id: TurnId, session: SessionId, attempt: u32, resume: Option<Resume>) {
        let Some(life) = &self.life else { return };
        let generation = life.generation;
        let admitted = life.phase <= Phase::Draining;
        checks.holds(Invariant::Admit, admitted, || format!("{id} starts while {}", life.phase.name()));
        let on_disk = self.turns.get(&id).is_some_and(|turn| turn.attempt == attempt && turn.session == session);
        checks.holds(Invariant::Mark, on_disk, || format!("start {attempt} of {id} is not on disk"));
        let beside = self
            .running
            .keys()
            .find(|other| **other == id || self.turns.get(other).is_some_and(|of| of.session == session));
        checks.holds(Invariant::Orphan, beside.is_none(), || {
            format!("{id} starts beside a process of {}", beside.unwrap_or(&id))
        });
        if let Some(turn) = self.turns.get(&id) {
            checks.holds(Invariant::Quar, turn.deaths < self.limits.attempts, || {
                format!("{id} starts again after {} deaths", turn.deaths)
            });
            if resume.is_some() {
                checks.holds(Invariant::Hygiene, resume == turn.resume, || {
                    format!("{id} is told {resume:?}, and {:?} is what happened", turn.resume)
                });
                let looping = self.unproven >= self.limits.unproven && !life.proven && !life.spoke.contains(&session);
                checks.holds(Invariant::Loop, !looping, || {
                    format!("{id} is resumed by itself after {} deaths in a row", self.unproven)
                });
            }
        }
        self.running.insert(id, generation);
    }

    fn sends(&mut self, checks: &mut Checks, id: DeliveryId, session: SessionId) {
        let overtaken = self.deliveries.range(..id).find(|(_, other)| other.session == session);
        checks.holds(Invariant::Reply, overtaken.is_none(), || {
            format!("{id} is sent before {:?}", overtaken.map(|(id, _)| id))
        });
        let Some(delivery) = self.deliveries.get_mut(&id) else {
            return checks.holds(Invariant::Reply, false, || format!("{id} is sent and not owed on disk"));
        };
        checks.holds(Invariant::Reply, !delivery.sending && delivery.session == session, || {
            format!("{id} is sent twice at once")
        });
        delivery.sending = true;
    }

    fn guards(&mut self, checks: &mut Checks, now: Instant, at: Instant, drain: Option<&Drain>) {
        let (Some(life), Some(drain)) = (&mut self.life, drain) else { return };
        let Deadlines { drain: first, interrupt, close, self_kill } = drain.deadlines;
        checks.holds(
            Invariant::Budget,
            first <= interrupt && interrupt <= close && close < self_kill && self_kill <= at,
            || format!("the deadlines do not nest below the guard at {at:?}: {:?}", drain.deadlines),
        );
        checks.holds(Invariant::Budget, life.guard.is_none_or(|before| at <= before), || {
            format!("the guard moves from {:?} to {at:?}", life.guard)
        });
        if let (Some(since), Some(limit)) = (life.signalled_at, self.contract.kill_after) {
            checks.holds(Invariant::Budget, at < since + limit, || {
                format!("the supervisor kills at {:?}, before the guard at {at:?}", since + limit)
            });
        }
        if drain.mode == Mode::Force && at == self_kill {
            let bound = now + Limits::FORCE_INTERRUPT_GRACE + Limits::FORCE_CLOSE_GRACE + Limits::SELF_KILL_MARGIN;
            checks.holds(Invariant::Force, at <= bound, || {
                format!("a forced end may last until {at:?}, later than {bound:?}")
            });
        }
        life.guard = Some(at);
    }

    /// The guard has ended a process whose loop was stuck, with this status: no orderly end, but the same status.
    pub fn struck(&mut self, checks: &mut Checks, status: u8) {
        // Where nobody starts anything again, or somebody always does, no status changes that.
        if !matches!(self.contract.starts_again, StartsAgain::Never | StartsAgain::Always) {
            self.ends(checks, Verdict::Exit(status));
        }
        if let Some(life) = &mut self.life {
            life.ended = false;
        }
    }

    fn ends(&mut self, checks: &mut Checks, verdict: Verdict) {
        let Some(life) = &mut self.life else { return };
        life.ended = true;
        let stays_down = match verdict {
            Verdict::ReExec => false,
            Verdict::StayUp => true,
            Verdict::Exit(status) => !self.contract.revives(Death::Exited(status)),
        };
        checks.holds(Invariant::Exit, !life.terminated || matches!(verdict, Verdict::Exit(_)), || {
            format!("{verdict}, and it was sent SIGTERM")
        });
        // What came to the disk of a process whose loop is stuck may not have been told to the gateway, nor by it.
        let counts = |id: &RequestId| !life.stops_unanswered.contains(id) && !life.settling.contains(id);
        let standing = |wish: Wish| {
            self.requests.iter().any(|(id, made)| made.wish == wish && made.generation == life.generation && counts(id))
        };
        let stopped = life.stopped || life.must_stop || standing(Wish::Stop);
        let maybe_stopped = life.interrupted || life.told_to_stop || !life.stops_unanswered.is_empty();
        let wished = stopped || standing(Wish::Restart) || life.terminated || maybe_stopped;
        checks.holds(Invariant::Once, wished, || "the generation ends and nobody asked for that".to_owned());
        // Nobody starts again what a SIGTERM ended; somebody who always does cannot be told otherwise by a status.
        let ours_to_choose =
            !(life.terminated && matches!(self.contract.starts_again, StartsAgain::Never | StartsAgain::Always));
        if ours_to_choose && stopped {
            checks.holds(Invariant::Exit, stays_down, || format!("{verdict} undoes a stop"));
        } else if ours_to_choose && !maybe_stopped {
            checks
                .holds(Invariant::Exit, !stays_down, || format!("{verdict} leaves it down, and a restart was wanted"));
        }
    }
}

/// What comes to the disk.
impl Witness {
    /// A record is on disk. Call it in the order of the journal, and `committed` after each whole commit.
    pub fn synced(&mut self, checks: &mut Checks, record: &Record) {
        match record {
            Record::GenerationBegun { generation, .. } => {
                checks.holds(Invariant::Truth, self.end_on_disk, || {
                    format!("{generation} begins and how the last one ended is unknown")
                });
                self.end_on_disk = false;
                self.generation = *generation;
                if let Some(life) = self.life.as_mut().filter(|life| life.generation == *generation) {
                    life.begun = true;
                }
            }
            Record::GenerationEnded { .. } => self.end_on_disk = true,
            Record::MessageAccepted { message, session, asked, .. } => {
                let new = !self.finished.contains(message)
                    && self.messages.insert(*message, Message { session: *session, asked: *asked }).is_none();
                checks.holds(Invariant::Once, new, || format!("{message} is accepted twice"));
            }
            Record::CommandDone { message } => {
                let open = self.messages.remove(message).is_some_and(|message| message.asked != Asked::Prompt);
                checks.holds(Invariant::Once, open, || format!("the command in {message} is carried out again"));
                self.finished.insert(*message);
            }
            Record::TurnOpened { turn, session, messages, .. } => self.turn_opened(checks, *turn, *session, messages),
            Record::TurnResumed { turn, attempt, generation, .. } => {
                if let Some(open) = self.turns.get_mut(turn) {
                    checks.holds(Invariant::Quar, *attempt == open.attempt + 1, || {
                        format!("start {attempt} of {turn} after {}", open.attempt)
                    });
                    open.resumed(*attempt, *generation);
                }
            }
            Record::TurnInterrupted { turn } => {
                let open = self.turns.get_mut(turn);
                checks.holds(Invariant::Hygiene, open.is_some(), || {
                    format!("{turn} is marked as interrupted and has ended")
                });
                if let Some(open) = open {
                    open.interrupted = true;
                }
            }
            Record::TurnEnded { turn, conclusion, .. } => self.turn_ended(checks, *turn, *conclusion),
            Record::DeliveryOwed { delivery, session, content } => {
                self.delivery_owed(checks, *delivery, *session, content)
            }
            Record::DeliverySettled { delivery, .. } => {
                let owed = self.deliveries.remove(delivery).is_some();
                checks.holds(Invariant::Reply, owed, || format!("{delivery} is settled and was not owed"));
            }
            Record::RequestMade { request, made } => {
                checks.holds(Invariant::Once, !self.settled.contains(request), || {
                    format!("{request} is made again after its outcome")
                });
                let before = self.requests.insert(*request, *made);
                let again = made.wish == Wish::Restart && before.is_some_and(|old| old.generation < made.generation);
                checks.holds(Invariant::Once, !again, || {
                    format!("{request} has ended one generation and is carried out by {} again", made.generation)
                });
            }
            Record::RequestSettled { request, outcome } => self.request_settled(checks, *request, *outcome),
            Record::SessionQuarantined { session } => {
                self.set_aside.insert(*session);
            }
            Record::SessionReleased { session } => {
                self.set_aside.remove(session);
            }
            Record::TurnStopAsked { .. }
            | Record::TurnGranted { .. }
            | Record::SessionRenewed { .. }
            | Record::GenerationProven { .. } => {}
        }
    }

    /// A commit is whole: what belongs together came together.
    pub fn committed(&mut self, checks: &mut Checks) {
        if let Some((request, session)) = self.outcomes_due.pop_first() {
            checks.holds(Invariant::Notice, false, || format!("{session} is not told how {request} ended"));
        }
        if let Some(turn) = self.replies.pop_first() {
            checks.holds(Invariant::Reply, false, || format!("{turn} has a reply on disk and has not ended"));
        }
    }

    fn turn_opened(&mut self, checks: &mut Checks, id: TurnId, session: SessionId, messages: &[MessageId]) {
        checks.holds(Invariant::Once, id > self.last_turn, || format!("{id} is opened after {}", self.last_turn));
        self.last_turn = self.last_turn.max(id);
        for message in messages {
            let waiting =
                self.messages.contains_key(message) && self.turns.values().all(|turn| !turn.messages.contains(message));
            checks.holds(Invariant::Once, waiting, || format!("{id} answers {message}, which does not wait"));
        }
        let alone = self.turns.values().all(|turn| turn.session != session);
        checks.holds(Invariant::Once, alone, || format!("{id} is the second open turn of {session}"));
        let turn = Turn {
            session,
            messages: messages.to_vec(),
            attempt: 1,
            resume: None,
            interrupted: false,
            deaths: 0,
            resumed_in: self.generation,
        };
        self.turns.insert(id, turn);
    }

    fn turn_ended(&mut self, checks: &mut Checks, id: TurnId, conclusion: Conclusion) {
        let Some(turn) = self.turns.remove(&id) else {
            return checks.holds(Invariant::Once, false, || format!("{id} ends and was not open"));
        };
        let replied = self.replies.remove(&id);
        if conclusion == Conclusion::Answered {
            checks.holds(Invariant::Reply, replied, || {
                format!("{id} has answered and its reply is not on disk with that")
            });
        }
        for message in turn.messages {
            self.messages.remove(&message);
            self.finished.insert(message);
        }
        if conclusion != Conclusion::Quarantined {
            self.unproven = 0;
            if let Some(life) = &mut self.life {
                life.proven = true;
            }
        }
    }

    fn delivery_owed(&mut self, checks: &mut Checks, id: DeliveryId, session: SessionId, content: &Content) {
        checks
            .holds(Invariant::Reply, id > self.last_delivery, || format!("{id} is owed after {}", self.last_delivery));
        self.last_delivery = self.last_delivery.max(id);
        self.deliveries
            .insert(id, Delivery { session, sending: false, uncertain: false, arrived: false, concluded: false });
        match content {
            Content::Reply { turn, .. } => {
                let first = self.turns.contains_key(turn) && self.replies.insert(*turn);
                checks.holds(Invariant::Reply, first, || format!("{turn} replies again"));
            }
            Content::Notice(Notice::RestartAccepted { request, .. }) => {
                let first = !self.settled.contains(request) && self.told.insert(*request, session).is_none();
                checks.holds(Invariant::Rate, first, || format!("{session} is told again that {request} is accepted"));
            }
            Content::Notice(Notice::RequestSettled { request, .. }) => {
                let due = self.outcomes_due.remove(request);
                checks.holds(Invariant::Notice, due == Some(session), || {
                    format!("{session} is told how {request} ended, and {due:?} asked")
                });
                let told = self.told.remove(request);
                checks.holds(Invariant::Rate, told.is_none_or(|told| told == session), || {
                    format!("{told:?} was told of {request}")
                });
            }
            Content::Notice(_) => {}
        }
    }

    fn request_settled(&mut self, checks: &mut Checks, id: RequestId, outcome: Outcome) {
        let made = self.requests.remove(&id);
        let first = self.settled.insert(id);
        let Some(made) = made.filter(|_| first) else {
            return checks.holds(Invariant::Once, false, || format!("{id} has another outcome, {outcome:?}"));
        };
        if let Some(session) = made.origin.session() {
            self.outcomes_due.insert(id, session);
        }
        match (outcome, &mut self.life) {
            (Outcome::Restarted { generation }, Some(life)) => {
                let other = generation > made.generation && generation == life.generation && life.ready;
                checks.holds(Invariant::Ready, other, || {
                    format!("{id} of {} is done in {generation}, ready: {}", made.generation, life.ready)
                });
            }
            (Outcome::Cancelled, Some(life)) => {
                life.must_stop &= self.requests.values().any(|request| request.wish == Wish::Stop);
            }
            (Outcome::Stopped, Some(life)) if made.generation == life.generation => life.stopped = true,
            _ => {}
        }
    }
}

/// What is so between two inputs, and at rest.
impl Witness {
    /// A gateway's own plans, once it has nothing more to do for now.
    pub fn between_inputs(&self, checks: &mut Checks, now: Instant, view: &View<'_>) {
        let Some(life) = &self.life else { return };
        checks.holds(Invariant::Truth, life.phase == view.phase, || {
            format!("{} is what was told, {} is what is", life.phase.name(), view.phase.name())
        });
        let listed = |work: Work| view.ledger.iter().any(|item| item.work == work);
        for (turn, _) in self.running.iter().filter(|(_, generation)| **generation == life.generation) {
            checks
                .holds(Invariant::Ledger, listed(Work::Turn(*turn)), || format!("{turn} runs and no drain would know"));
        }
        for (id, _) in self.deliveries.iter().filter(|(_, delivery)| delivery.sending) {
            checks.holds(Invariant::Ledger, listed(Work::Delivery(*id)), || {
                format!("{id} is being sent and no drain would know")
            });
        }
        let Some(drain) = view.drain else {
            let admits = matches!(view.phase, Phase::Starting | Phase::Serving);
            return checks.holds(Invariant::Admit, admits, || format!("{} and no end is under way", view.phase.name()));
        };
        let guard = drain.deadlines.self_kill;
        // It may be set more than once in one handling, each time to what was planned by then.
        checks.holds(Invariant::Budget, life.guard == Some(guard), || {
            format!("the guard is set to {:?}, and the plan says {guard:?}", life.guard)
        });
        let comes_to_its_end = view.timeout.is_some_and(|at| at <= guard) && now <= guard;
        checks.holds(Invariant::Admit, comes_to_its_end, || {
            format!("while {} it waits until {:?}, and the guard strikes at {guard:?}", view.phase.name(), view.timeout)
        });
        if view.phase == Phase::Draining {
            self.waits_for_no_requester(checks, life, drain, &view.ledger);
        }
    }

    fn waits_for_no_requester(&self, checks: &mut Checks, life: &Life, drain: &Drain, ledger: &[Item]) {
        let stands =
            |(id, made): &(&RequestId, &Request)| made.generation == life.generation && !life.settling.contains(id);
        let asked = |turn: TurnId, session: SessionId| {
            self.requests.iter().filter(stands).any(|(_, made)| match made.origin {
                Origin::Turn { turn: origin, .. } => origin == turn,
                Origin::Session(origin) => origin == session,
                _ => false,
            })
        };
        let grace = drain.since + self.limits.requester_grace;
        for item in ledger {
            let Work::Turn(turn) = item.work else { continue };
            if asked(turn, item.session) {
                checks.holds(Invariant::NoSelf, item.awaited.until().is_none_or(|until| until <= grace), || {
                    format!("the end waits for {turn}, which asked for it, until {:?}", item.awaited.until())
                });
            }
        }
    }

    /// A delivery has come to its chat.
    pub fn arrived(&mut self, checks: &mut Checks, id: DeliveryId) {
        let Some(delivery) = self.deliveries.get_mut(&id) else { return };
        let twice = delivery.arrived && !delivery.uncertain;
        checks.holds(Invariant::Reply, !twice, || format!("{id} comes twice, and everybody knew of the first time"));
        delivery.arrived = true;
    }

    /// The world is healed and at rest: what was promised has been kept.
    pub fn at_rest(&self, checks: &mut Checks) {
        let forgotten = self.messages.iter().find(|(_, message)| !self.set_aside.contains(&message.session));
        checks.holds(Invariant::Ack, forgotten.is_none(), || {
            format!("accepted and never answered or reported: {forgotten:?}")
        });
        checks.holds(Invariant::Reply, self.deliveries.is_empty(), || {
            format!("owed and never delivered: {:?}", self.deliveries)
        });
        checks.holds(Invariant::Notice, self.told.is_empty(), || {
            format!("told of a restart and never of its outcome: {:?}", self.told)
        });
        let open = self.requests.keys().next();
        checks.holds(Invariant::Once, open.is_none(), || format!("{open:?} has no outcome"));
        let generation = self.life.as_ref().map(|life| life.generation);
        let orphan = self.running.iter().find(|(_, started_in)| generation != Some(**started_in));
        checks.holds(Invariant::Orphan, orphan.is_none(), || format!("left behind: {orphan:?}"));
    }
}
