//! The naive machine as a whole: its state, what it takes and gives, how it boots and begins to serve. What it does with
//! turns, deliveries and ends is in their files.

use super::flaw::{Flaw, Flaws};
use super::journal::Journal;
use super::turn::{State, Turn};
use crate::subject::{Rescue, Subject};
use crate::world::Climber;
use evergate_core::drain::{Drain, Report};
use evergate_core::effect::Effect;
use evergate_core::gateway::{Pending, Phase};
use evergate_core::id::{DeliveryId, GenerationId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use evergate_core::input::Input;
use evergate_core::limits::Limits;
use evergate_core::outbox::{Content, Delivery, DeliveryState, Fate, Notice};
use evergate_core::record::Record;
use evergate_core::recovery::{LastEnd, Recovered, Start};
use evergate_core::request::Request;
use evergate_core::session::{Command, Quarantine};
use evergate_core::supervisor::Contract;
use evergate_core::time::Instant;
use evergate_core::verdict::{PARK, Verdict};
use evergate_core::witness::View;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One generation of the naive gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Naive {
    flaws: Flaws,
    pub(super) limits: Limits,
    pub(super) contract: Contract,
    pub(super) generation: GenerationId,
    pub(super) phase: Phase,
    /// Whether its beginning is on disk.
    begun: bool,
    platforms_open: bool,
    /// Generations in a row before this one that died and had brought nothing to its end.
    unproven: u32,
    /// Whether this one has.
    proven: bool,
    /// Messages that wait for a turn, by session; never empty.
    pub(super) queues: BTreeMap<SessionId, VecDeque<MessageId>>,
    /// Sessions whose turn kept killing the gateway.
    pub(super) set_aside: BTreeSet<SessionId>,
    pub(super) turns: BTreeMap<TurnId, Turn>,
    pub(super) outbox: BTreeMap<DeliveryId, Delivery>,
    /// Requests that are not on disk yet.
    pub(super) made: BTreeMap<RequestId, Request>,
    /// Requests without an outcome, of this generation and of earlier ones.
    pub(super) requests: BTreeMap<RequestId, Request>,
    pub(super) drain: Option<Drain>,
    pub(super) journal: Journal,
    pub(super) last_turn: TurnId,
    pub(super) last_delivery: DeliveryId,
    pub(super) last_question: QuestionId,
    pub(super) effects: VecDeque<Effect>,
}

impl Naive {
    /// Whether it has this flaw.
    pub(super) const fn has(&self, flaw: Flaw) -> bool {
        self.flaws.has(flaw)
    }

    pub(super) fn append(&mut self, record: Record) {
        self.journal.append(&mut self.effects, record);
    }

    /// Lets an effect leave once everything appended so far is on disk.
    pub(super) fn then(&mut self, effect: Effect) {
        self.journal.then(&mut self.effects, effect);
    }

    /// Moves to a phase and says so.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        if phase <= Phase::Serving || !self.has(Flaw::StatusStaysServing) {
            self.effects.push_back(Effect::Phase(phase));
        }
    }

    /// Whether too many generations in a row have died: then nothing is resumed by itself.
    pub(super) const fn is_tripped(&self) -> bool {
        self.unproven >= self.limits.unproven && !self.proven
    }

    /// This generation is able to live.
    pub(super) fn prove(&mut self) {
        if !self.proven {
            self.proven = true;
            self.append(Record::GenerationProven { generation: self.generation });
        }
    }

    /// Whether anything may be handed to a platform.
    pub(super) fn sends(&self) -> bool {
        self.phase != Phase::Starting && self.platforms_open && !self.end_recorded()
    }

    fn synced(&mut self, now: Instant, records: u32) {
        for record in self.journal.synced(&mut self.effects, records) {
            match record {
                Record::GenerationBegun { .. } => {
                    self.begun = true;
                    self.serve_if_started();
                }
                Record::GenerationEnded { generation, .. } if generation == self.generation => self.end(),
                Record::RequestMade { request, .. } => self.request_counts(now, request),
                Record::QuestionDecided { turn, .. } => self.decision_is_on_disk(turn),
                _ => {}
            }
        }
    }

    /// A write failed: nothing is given up, everything is written again, and what waits goes on waiting.
    fn sync_failed(&mut self) {
        if self.has(Flaw::AckedWhateverHappens) {
            self.journal.release(&mut self.effects, |effect| matches!(effect, Effect::Ack { .. }));
        }
        self.journal.write_again(&mut self.effects);
    }

    /// The beginning is on disk and the platforms are open.
    pub(super) fn serve_if_started(&mut self) {
        if self.phase != Phase::Starting || !self.begun || !self.platforms_open {
            return;
        }
        self.enter(Phase::Serving);
        self.effects.push_back(Effect::Ready);
        if self.has(Flaw::ReadyCountsAsProof) {
            self.prove();
        }
        let chats: Vec<SessionId> = self.outbox.values().map(|delivery| delivery.session).collect();
        for session in chats {
            self.send_next(session);
        }
        self.settle_inherited();
    }
}

/// How it comes back.
impl Naive {
    fn recovered(flaws: Flaws, limits: &Limits, contract: Contract, recovered: &Recovered) -> Self {
        let highest = recovered.highest;
        let in_place = recovered.last_end == LastEnd::Recorded && contract.restart == Verdict::ReExec;
        let reused = flaws.has(Flaw::GenerationReused) && in_place && highest.generation != GenerationId::default();
        let state = if flaws.has(Flaw::OrphansIgnored) { State::Waiting } else { State::Reclaiming };
        let queues = recovered.sessions.iter().filter(|(_, session)| !session.queue.is_empty());
        let set_aside = recovered.sessions.iter().filter(|(_, session)| session.standing == Quarantine::SetAside);
        let owed = |(id, (session, content)): (&DeliveryId, &(SessionId, Content))| {
            let uncertain = recovered.uncertain.get(id).copied().unwrap_or(0);
            (*id, Delivery { session: *session, content: content.clone(), state: DeliveryState::Owed, uncertain })
        };
        Self {
            flaws,
            limits: limits.clone(),
            contract,
            generation: if reused { highest.generation } else { highest.generation.next() },
            phase: Phase::Starting,
            begun: false,
            platforms_open: false,
            unproven: if flaws.has(Flaw::CountedAtOrderlyEnd) { 0 } else { recovered.unproven },
            proven: false,
            queues: queues.map(|(id, session)| (*id, session.queue.clone())).collect(),
            set_aside: set_aside.map(|(id, _)| *id).collect(),
            turns: recovered.turns.iter().map(|(id, turn)| (*id, Turn::recovered(turn, state))).collect(),
            outbox: recovered.deliveries.iter().map(owed).collect(),
            made: BTreeMap::new(),
            requests: recovered.requests.clone(),
            drain: None,
            journal: Journal::default(),
            last_turn: highest.turn,
            last_delivery: highest.delivery,
            last_question: highest.question,
            effects: VecDeque::new(),
        }
    }

    fn begin(&mut self, now: Instant, recovered: &Recovered) {
        if recovered.last_end == LastEnd::Missing && self.has(Flaw::StaleLock) {
            self.phase = Phase::Ended;
            let verdict = Verdict::Exit(PARK);
            return self.effects.push_back(Effect::End { verdict, report: Report::default() });
        }
        if recovered.last_end == LastEnd::Missing && !self.has(Flaw::DeathUnrecorded) {
            let generation = recovered.highest.generation;
            self.append(Record::GenerationEnded { generation, verdict: None, report: Report::default() });
        }
        self.append(Record::GenerationBegun { generation: self.generation, unproven: self.unproven });
        if self.has(Flaw::QueueForgotten) {
            self.queues.clear();
        }
        if self.has(Flaw::HeldForgotten) && self.is_tripped() && !self.turns.is_empty() {
            self.outbox.clear();
        }
        for (message, command) in &recovered.commands {
            self.carry_out(*message, *command);
        }
        if self.has(Flaw::NoticeAtEachStart) {
            self.announce_again();
        }
        let reclaimed: Vec<TurnId> =
            self.turns.iter().filter(|(_, turn)| turn.state == State::Reclaiming).map(|(id, _)| *id).collect();
        self.effects.extend(reclaimed.into_iter().map(|turn| Effect::Reclaim { turn }));
        self.effects.push_back(Effect::Phase(Phase::Starting));
        self.effects.push_back(Effect::OpenPlatforms);
        if self.has(Flaw::ReadyBeforeChannels) {
            self.effects.push_back(Effect::Ready);
        }
        if recovered.start == Start::Revived && !self.has(Flaw::StopUndone) {
            self.keep_stops(now);
        }
    }

    /// Whoever asked for a restart is told once more that it is accepted.
    fn announce_again(&mut self) {
        for (id, made) in self.requests.clone() {
            if let Some(session) = made.origin.session() {
                self.owe(session, Content::Notice(Notice::RestartAccepted { request: id, mode: made.mode }));
            }
        }
    }
}

impl Subject for Naive {
    type Setting = Flaws;

    fn boot(flaws: &Flaws, limits: &Limits, contract: Contract, recovered: Recovered, now: Instant) -> Self {
        let mut naive = Self::recovered(*flaws, limits, contract, &recovered);
        naive.begin(now, &recovered);
        naive
    }

    fn handle(&mut self, now: Instant, input: Input) {
        if self.phase == Phase::Ended {
            return;
        }
        match input {
            Input::Message { message, session, asked, standing, request } => {
                self.message_arrived(message, Command { session, asked, standing, request });
            }
            Input::Known { message } => self.message_known(message),
            Input::TurnBegan { .. } | Input::TurnProgressed { .. } | Input::Elapsed => {}
            Input::TurnEnded { turn, end } => self.turn_ended(turn, end),
            Input::Question { turn, key } => self.question_asked(now, turn, key),
            Input::TurnGone { turn } => self.turn_gone(turn),
            Input::DeliverySent { delivery } => self.delivery_settled(delivery, Fate::Sent),
            Input::DeliveryRejected { delivery } => self.delivery_settled(delivery, Fate::Rejected),
            Input::DeliveryIntended { delivery } => self.delivery_intended(delivery),
            Input::DeliveryUnknown { delivery } => self.delivery_unknown(now, delivery),
            Input::DeliveryFailed { delivery } => self.delivery_failed(now, delivery),
            Input::Request { request, wish, mode, origin } => self.request_arrived(request, wish, mode, origin),
            Input::Cancel { request } => self.cancel(now, request),
            Input::Signal { request, signal } => self.signalled(now, request, signal),
            Input::ResetBreaker { .. }
            | Input::SupervisorStops { .. }
            | Input::SupervisorStays { .. }
            | Input::CandidateFit { .. }
            | Input::CandidateUnfit { .. } => self.effects.push_back(Effect::Ignored),
            Input::Limits(limits) => self.limits = *limits,
            Input::Synced { records } => self.synced(now, records),
            Input::SyncFailed => self.sync_failed(),
            Input::PlatformsOpen => {
                self.platforms_open = true;
                self.serve_if_started();
            }
        }
        if self.phase != Phase::Ended {
            self.advance(now);
        }
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let expiry = self.expiring().map(|(at, ..)| at);
        self.next_step_of_the_end().into_iter().chain(self.next_retry()).chain(expiry).min()
    }

    fn pending(&self) -> Option<Pending> {
        let held = self.turns.values().filter(|turn| self.is_tripped() && turn.state == State::Waiting);
        let held: BTreeSet<SessionId> = held.map(|turn| turn.session).collect();
        let queued = self.queues.keys().filter(|id| !self.set_aside.contains(id) && !held.contains(id)).count();
        match self.phase {
            Phase::Ended => None,
            Phase::Starting => Some(Pending::Starting),
            Phase::Draining | Phase::Interrupting | Phase::Closing => Some(Pending::Ending(self.phase)),
            Phase::Serving if !self.journal.is_settled() => Some(Pending::Journal),
            Phase::Serving if self.turns.len() > held.len() => Some(Pending::Turns(self.turns.len())),
            Phase::Serving if queued > 0 => Some(Pending::Queued(queued)),
            Phase::Serving if !self.outbox.is_empty() => Some(Pending::Deliveries(self.outbox.len())),
            Phase::Serving if !self.requests.is_empty() => Some(Pending::Requests(self.requests.len())),
            Phase::Serving if !held.is_empty() => Some(Pending::Held(held.len())),
            Phase::Serving => None,
        }
    }

    fn generation(&self) -> GenerationId {
        self.generation
    }

    fn drain(&self) -> Option<&Drain> {
        self.drain.as_ref()
    }

    fn view(&self) -> View<'_> {
        let ledger = Cow::Owned(self.ledger());
        View { phase: self.phase, drain: self.drain.as_ref(), ledger, timeout: self.poll_timeout() }
    }

    fn climber(flaws: &Flaws) -> Climber {
        let flaws = [
            (Flaw::KillsByNumber, Climber::TrustsNumbers),
            (Flaw::AnyGenerationCounts, Climber::TakesAnyForNew),
            (Flaw::StartsBeside, Climber::StartsBeside),
        ]
        .map(|(flaw, climber)| flaws.has(flaw).then_some(climber));
        flaws.into_iter().flatten().next().unwrap_or(Climber::Careful)
    }

    fn looks_for_its_supervisor(flaws: &Flaws) -> bool {
        !flaws.has(Flaw::CountsOnTheDead)
    }

    fn rescue(flaws: &Flaws) -> Rescue {
        if flaws.has(Flaw::FrozenLoop) { Rescue::None } else { Rescue::FromOutside }
    }
}
