//! The one type that drivers see: it takes inputs, hands out effects, and says when it wants to be called again. It holds
//! the whole state and dispatches; what each input means is in the file of its noun.

use crate::candidate::Checking;
use crate::drain::{Drain, Report};
use crate::effect::{Answer, Effect};
use crate::id::{DeliveryId, GenerationId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use crate::input::Input;
use crate::limits::Limits;
use crate::outbox::{Delivery, Fate};
use crate::record::Record;
use crate::request::{Origin, Request};
use crate::session::{Command, Quarantine, Session};
use crate::shared::{Pool, Shared};
use crate::supervisor::Contract;
use crate::time::Instant;
use crate::turn::{Turn, TurnState};
use crate::unordered::Unordered;
use crate::write_ahead::WriteAhead;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Where a generation stands. It only ever moves to the right, but for a drain that is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It reads what was left and opens its platforms.
    Starting,
    /// It serves.
    Serving,
    /// It starts nothing new and lets work end. Messages are still accepted.
    Draining,
    /// It interrupts the turns that are left.
    Interrupting,
    /// It flushes what was produced.
    Closing,
    /// It is over.
    Ended,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Interrupting => "interrupting",
            Self::Closing => "closing",
            Self::Ended => "ended",
        }
    }
}

/// Why a gateway is not at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pending {
    /// It has not begun to serve.
    Starting,
    /// An end is under way.
    Ending(Phase),
    /// Records are not on disk.
    Journal,
    /// Turns are open.
    Turns(usize),
    /// Messages wait.
    Queued(usize),
    /// Deliveries are owed.
    Deliveries(usize),
    /// Requests have no outcome.
    Requests(usize),
    /// Restarts wait for word whether what would be started next is able to take over.
    Checking(usize),
    /// Generations died in a row: so many cut turns, and requests of earlier generations, are held until something is brought
    /// to its end. That is all that is unfinished: whatever else was promised is kept before this is said.
    Held(usize),
}

/// One generation of the gateway, as a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gateway {
    pub(crate) limits: Shared<Limits>,
    pub(crate) contract: Contract,
    pub(crate) generation: GenerationId,
    pub(crate) phase: Phase,
    /// Whether this generation's beginning is on disk.
    pub(crate) begun: bool,
    /// How many generations in a row died unproven, up to the last one before this; 0 once this one is proven.
    pub(crate) unproven: u32,
    /// Whether this generation has brought a turn to its end, or somebody has vouched for it.
    pub(crate) proven: bool,
    pub(crate) platforms_open: bool,
    pub(crate) sessions: Shared<Unordered<BTreeMap<SessionId, Session>>>,
    /// Messages in all queues.
    pub(crate) queued: usize,
    /// Sessions that could start a turn, in the order in which they became so.
    pub(crate) line: VecDeque<SessionId>,
    /// The same sessions, to be asked quickly.
    pub(crate) lined_up: Unordered<BTreeSet<SessionId>>,
    /// Accepted chat commands whose record is not on disk yet.
    pub(crate) commands: Shared<BTreeMap<MessageId, Command>>,
    pub(crate) turns: Shared<BTreeMap<TurnId, Turn>>,
    /// Turns in state `Waiting` that are above suspicion, in the order in which they will be resumed.
    pub(crate) resumable: VecDeque<TurnId>,
    /// Turns in state `Waiting` that may be killing the gateway, by how many of their starts count against them.
    pub(crate) suspects: BTreeSet<(u32, TurnId)>,
    /// The suspect that was started last, and until when it is watched.
    pub(crate) on_probation: Option<(TurnId, Instant)>,
    /// When the next suspect may run, if that is still to come.
    pub(crate) suspect_timer: Option<Instant>,
    /// Since when this generation serves.
    pub(crate) serving_since: Instant,
    /// Turns of which a process of this generation may be running: few, however many are open.
    pub(crate) live: BTreeSet<TurnId>,
    pub(crate) outbox: Shared<BTreeMap<DeliveryId, Delivery>>,
    /// The same deliveries by chat, in the order in which they are sent there.
    pub(crate) owed_in: Shared<Unordered<BTreeMap<SessionId, VecDeque<DeliveryId>>>>,
    /// Deliveries in state `Retrying`, by the time of their next try.
    pub(crate) retrying: BTreeSet<(Instant, DeliveryId)>,
    /// Requests that count, of this generation and of earlier ones.
    pub(crate) requests: Shared<BTreeMap<RequestId, Request>>,
    /// The stop of an earlier generation that a reviver is not to undo, where it has had its outcome.
    pub(crate) kept_stop: Option<(RequestId, Request)>,
    /// Requests whose record is not on disk yet.
    pub(crate) requests_made: Shared<BTreeMap<RequestId, Request>>,
    /// Restarts that are not accepted yet.
    pub(crate) checking: Option<Checking>,
    pub(crate) drain: Option<Shared<Drain>>,
    pub(crate) report: Shared<Report>,
    pub(crate) write_ahead: WriteAhead,
    pub(crate) next_turn: TurnId,
    pub(crate) next_delivery: DeliveryId,
    pub(crate) next_question: QuestionId,
    pub(crate) effects: VecDeque<Effect>,
}

impl Gateway {
    /// A generation that has found nothing unfinished and done nothing yet.
    pub(crate) fn empty(limits: Limits, contract: Contract, generation: GenerationId) -> Self {
        Self {
            limits: limits.into(),
            contract,
            generation,
            phase: Phase::Starting,
            begun: false,
            unproven: 0,
            proven: false,
            platforms_open: false,
            sessions: Shared::default(),
            queued: 0,
            line: VecDeque::new(),
            lined_up: Unordered::default(),
            commands: Shared::default(),
            turns: Shared::default(),
            resumable: VecDeque::new(),
            suspects: BTreeSet::new(),
            on_probation: None,
            suspect_timer: None,
            serving_since: Instant::default(),
            live: BTreeSet::new(),
            outbox: Shared::default(),
            owed_in: Shared::default(),
            retrying: BTreeSet::new(),
            requests: Shared::default(),
            kept_stop: None,
            requests_made: Shared::default(),
            checking: None,
            drain: None,
            report: Shared::default(),
            write_ahead: WriteAhead::default(),
            next_turn: TurnId::default(),
            next_delivery: DeliveryId::default(),
            next_question: QuestionId::default(),
            effects: VecDeque::new(),
        }
    }

    /// Takes one thing that happened. Never fails and never panics: nonsense is answered by [`Effect::Ignored`].
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.phase == Phase::Ended {
            return;
        }
        match input {
            Input::Message { message, session, asked, standing, request } => {
                self.message_arrived(now, message, Command { session, asked, standing, request });
            }
            Input::Known { message } => self.message_known(message),
            Input::TurnBegan { turn } | Input::TurnProgressed { turn } => self.turn_progressed(now, turn),
            Input::Question { turn, key } => self.question_asked(now, turn, key),
            Input::TurnEnded { turn, end } => self.turn_ended(turn, end),
            Input::TurnGone { turn } => self.turn_gone(turn),
            Input::DeliverySent { delivery } => self.delivery_settled(delivery, Fate::Sent),
            Input::DeliveryRejected { delivery } => self.delivery_settled(delivery, Fate::Rejected),
            Input::DeliveryIntended { delivery } => self.delivery_intended(delivery),
            Input::DeliveryFailed { delivery } => self.delivery_failed(now, delivery),
            Input::DeliveryUnknown { delivery } => self.delivery_unknown(now, delivery),
            Input::Request { request, wish, mode, origin } => self.request_made(now, request, wish, mode, origin),
            Input::Cancel { request } => self.cancel(now, request),
            Input::ResetBreaker { request, origin } => self.reset_breaker(request, origin),
            Input::Signal { request, signal } => self.signalled(now, request, signal),
            Input::SupervisorStops { request } => self.supervisor_stops_us(now, request),
            Input::SupervisorStays { request } => self.supervisor_answered(request),
            Input::CandidateFit { request } => self.candidate_fit(now, request),
            Input::CandidateUnfit { request } => self.candidate_unfit(request),
            Input::Limits(limits) => self.limits = (*limits).into(),
            Input::Synced { records } => self.synced(now, records),
            Input::SyncFailed => self.sync_failed(now),
            Input::PlatformsOpen => {
                self.platforms_open = true;
                self.serve_if_started(now);
            }
            Input::Elapsed => {
                if self.write_ahead.retry_at().is_some_and(|at| at <= now) {
                    self.write_ahead.retry(&mut self.effects);
                }
                self.give_up_check(now);
            }
        }
        if self.phase != Phase::Ended {
            self.advance(now);
        }
    }

    /// The next thing to do, in order; `None` once drained. Drain fully between two inputs.
    #[must_use]
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to hand in [`Input::Elapsed`]; any input may change the answer, and nothing else does.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Ended {
            return None;
        }
        let kill = self.live_turns().filter_map(|(_, turn)| match turn.state {
            TurnState::Interrupting { kill_at } => Some(kill_at),
            _ => None,
        });
        let drain = self.drain.as_ref().and_then(|drain| match self.phase {
            Phase::Draining => self.awaited_until(),
            Phase::Interrupting => Some(drain.deadlines.interrupt),
            Phase::Closing if !drain.end_recorded => Some(
                drain
                    .waits_for_supervisor_until()
                    .map_or(drain.deadlines.close, |until| until.min(drain.deadlines.close)),
            ),
            Phase::Closing => Some(drain.last_moment()),
            _ => None,
        });
        let suspect = self.suspect_timer.filter(|_| self.phase == Phase::Serving);
        kill.chain(drain)
            .chain(suspect)
            .chain(self.write_ahead.retry_at())
            .chain(self.next_delivery_retry())
            .chain(self.next_expiry())
            .chain(self.check_until())
            .min()
    }

    /// Why the gateway is not at rest; `None` when it is.
    #[must_use]
    pub fn pending(&self) -> Option<Pending> {
        let waiting: usize = self
            .sessions
            .values()
            .filter(|session| session.standing == Quarantine::Free && !self.is_held(session))
            .map(|session| session.queue.len())
            .sum();
        let inherited = self.held_requests();
        match self.phase {
            Phase::Ended => None,
            Phase::Starting => Some(Pending::Starting),
            Phase::Draining | Phase::Interrupting | Phase::Closing => Some(Pending::Ending(self.phase)),
            Phase::Serving if !self.write_ahead.is_settled() => Some(Pending::Journal),
            Phase::Serving if self.turns.len() > self.held() => Some(Pending::Turns(self.turns.len())),
            Phase::Serving if waiting > 0 => Some(Pending::Queued(waiting)),
            Phase::Serving if !self.outbox.is_empty() => Some(Pending::Deliveries(self.outbox.len())),
            Phase::Serving if self.requests.len() > inherited => {
                Some(Pending::Requests(self.requests.len() - inherited))
            }
            Phase::Serving if self.checking.is_some() => Some(Pending::Checking(self.waiting_for_check())),
            Phase::Serving if self.held() + inherited > 0 => Some(Pending::Held(self.held() + inherited)),
            Phase::Serving => None,
        }
    }

    /// Records are on disk: what waited for them happens.
    fn synced(&mut self, now: Instant, records: u32) {
        // What a failed write was about is not on disk, and is appended again before anything is.
        if records == 0 || self.write_ahead.is_failing() {
            return self.effects.push_back(Effect::Ignored);
        }
        for record in self.write_ahead.synced(&mut self.effects, records) {
            match record {
                Record::GenerationBegun { .. } => {
                    self.begun = true;
                    self.serve_if_started(now);
                }
                Record::GenerationEnded { generation, .. } if generation == self.generation => self.end(),
                // A command that comes too late for this generation is on disk, and the next one carries it out.
                Record::MessageAccepted { message, .. } if !self.end_recorded() => self.carry_out(now, message),
                Record::RequestMade { request, .. } => self.request_counts(now, request),
                Record::QuestionDecided { question, turn, .. } => self.tell_decision(now, turn, question),
                Record::BreakerReset { .. } => self.breaker_was_reset(),
                _ => {}
            }
        }
    }

    /// Records could not be written: new messages and requests are refused, everything else is written again later.
    fn sync_failed(&mut self, now: Instant) {
        for withdrawn in self.write_ahead.failed(&mut self.effects, now + self.limits.journal_retry) {
            self.withdraw(withdrawn);
        }
        let from_outside = |request: &Request| !matches!(request.origin, Origin::Session(_) | Origin::Signal(_));
        let refused: Vec<RequestId> =
            self.requests_made.iter().filter(|(_, request)| from_outside(request)).map(|(id, _)| *id).collect();
        for request in refused {
            self.requests_made.remove(&request);
            self.write_ahead.withdraw_request(request);
            self.effects.push_back(Effect::Answer { request, answer: Answer::StorageFull });
        }
    }

    /// Appends a record, and keeps what only counts once it is on disk.
    pub(crate) fn append(&mut self, record: Record) {
        if let Record::RequestMade { request, made } = record
            && !self.requests.contains_key(&request)
        {
            self.requests_made.insert(request, made);
        }
        self.write_ahead.append(&mut self.effects, record);
    }

    /// Moves to a phase and says so.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.effects.push_back(Effect::Phase(phase));
    }
}

impl Gateway {
    /// Has its large parts be one with equal ones of other gateways: for whoever keeps very many.
    pub fn unite(&mut self, pool: &mut impl Pool) {
        self.sessions.unite(pool);
        self.commands.unite(pool);
        self.turns.unite(pool);
        self.outbox.unite(pool);
        self.owed_in.unite(pool);
        self.requests.unite(pool);
        self.requests_made.unite(pool);
        self.report.unite(pool);
        self.write_ahead.unite(pool);
        if let Some(drain) = &mut self.drain {
            drain.unite(pool);
        }
    }
}

/// What drivers may look at.
impl Gateway {
    /// Which generation this is.
    #[must_use]
    pub const fn generation(&self) -> GenerationId {
        self.generation
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The supervisor's terms that it keeps to.
    #[must_use]
    pub const fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The end that is under way.
    #[must_use]
    pub fn drain(&self) -> Option<&Drain> {
        self.drain.as_deref()
    }

    /// The open turns.
    #[must_use]
    pub fn turns(&self) -> &BTreeMap<TurnId, Turn> {
        &self.turns
    }

    /// The sessions with unfinished business.
    #[must_use]
    pub fn sessions(&self) -> &BTreeMap<SessionId, Session> {
        &self.sessions
    }

    /// The requests without an outcome.
    #[must_use]
    pub fn requests(&self) -> &BTreeMap<RequestId, Request> {
        &self.requests
    }

    /// Messages that wait for a turn.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// The deliveries that are owed.
    #[must_use]
    pub fn outbox(&self) -> &BTreeMap<DeliveryId, Delivery> {
        &self.outbox
    }

    /// How many deliveries are owed.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.outbox.len()
    }

    /// Deliveries that a platform is being handed right now.
    #[must_use]
    pub fn sending(&self) -> usize {
        self.outbox.values().filter(|delivery| delivery.is_under_way()).count()
    }

    /// Whether the journal refuses writes at the moment.
    #[must_use]
    pub const fn journal_failing(&self) -> bool {
        self.write_ahead.is_failing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{Content, DeliveryState, Notice};
    use crate::request::{Mode, Wish};
    use crate::verdict::Verdict;

    #[test]
    fn phases_are_called_as_the_api_calls_them() {
        use Phase::*;
        let names = [Starting, Serving, Draining, Interrupting, Closing, Ended].map(Phase::name);
        assert_eq!(names, ["starting", "serving", "draining", "interrupting", "closing", "ended"]);
    }

    fn serving() -> Gateway {
        let mut gateway = Gateway::empty(Limits::default(), Contract::TABLE[0], GenerationId(2));
        gateway.phase = Phase::Serving;
        gateway
    }

    fn asked_in(generation: u64) -> Request {
        let (wish, mode, verdict) = (Wish::Restart, Mode::Graceful, Verdict::ReExec);
        Request { wish, mode, origin: Origin::Cli, generation: GenerationId(generation), verdict }
    }

    /// Also in states that no input leads to: whoever asks whether it is at rest wants to be told of just those.
    #[test]
    fn whatever_is_unfinished_keeps_a_gateway_from_being_at_rest() {
        assert_eq!(serving().pending(), None);
        let mut gateway = serving();
        gateway.sessions.entry(SessionId(1)).or_default().queue.push_back(MessageId(1));
        assert_eq!(gateway.pending(), Some(Pending::Queued(1)));
        gateway.sessions.entry(SessionId(1)).or_default().standing = Quarantine::SetAside;
        assert_eq!(gateway.pending(), None, "a person is waited for");
        gateway.requests.insert(RequestId(1), asked_in(1));
        assert_eq!(gateway.pending(), Some(Pending::Requests(1)));
        let (session, content) = (SessionId(1), Content::Notice(Notice::Help));
        gateway.outbox.insert(DeliveryId(1), Delivery { session, content, state: DeliveryState::Owed, uncertain: 0 });
        assert_eq!((gateway.pending(), gateway.owed()), (Some(Pending::Deliveries(1)), 1));
        gateway.append(Record::CommandDone { message: MessageId(1) });
        assert_eq!(gateway.pending(), Some(Pending::Journal));
    }

    #[test]
    fn what_a_tripped_breaker_holds_is_counted_and_nothing_held_is_rest() {
        let mut gateway = serving();
        gateway.unproven = gateway.limits.unproven;
        assert_eq!((gateway.is_tripped(), gateway.pending()), (true, None));
        gateway.requests.insert(RequestId(1), asked_in(1));
        assert_eq!(gateway.pending(), Some(Pending::Held(1)));
        gateway.resumable.push_back(TurnId(1));
        gateway.suspects.extend([(2, TurnId(2)), (2, TurnId(3))]);
        assert_eq!(gateway.pending(), Some(Pending::Held(4)));
        gateway.requests.insert(RequestId(2), asked_in(2));
        assert_eq!(gateway.pending(), Some(Pending::Requests(1)), "one of this generation is held by nothing");
        gateway.sessions.entry(SessionId(1)).or_default().queue.push_back(MessageId(1));
        assert_eq!(gateway.pending(), Some(Pending::Queued(1)), "it waits behind nothing that is held");
    }

    #[test]
    fn only_what_a_platform_is_being_handed_counts_as_being_sent() {
        let mut gateway = serving();
        gateway.platforms_open = true;
        for session in [1, 1, 2] {
            gateway.owe(SessionId(session), Content::Notice(Notice::Help));
        }
        assert_eq!((gateway.owed(), gateway.sending()), (3, 2), "one at a time to each chat");
    }
}
