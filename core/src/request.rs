//! Wishes about the life cycle: what was asked, by whom, and the one outcome that each of them gets. Joining, upgrading,
//! overruling and cancelling are decided here; when the gateway acts upon the result is the business of `drain`.

use crate::effect::{Answer, Effect};
use crate::gateway::{Gateway, Phase};
use crate::id::{GenerationId, RequestId, SessionId, TurnId};
use crate::limits::Limits;
use crate::outbox::{Content, Notice};
use crate::record::Record;
use crate::supervisor::Answers;
use crate::time::Instant;
use crate::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// What is wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// End, and have another generation begin.
    Restart,
    /// End, and stay down. Outranks a restart.
    Stop,
}

/// How patient the requester is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Work may end within its budget.
    Graceful,
    /// Thinking is cut short at once; what was produced is still delivered.
    Force,
}

/// The signals that wish something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGTERM: leave; not a stop unless the supervisor says so.
    Terminate,
    /// SIGINT: a person at the terminal wants it stopped.
    Interrupt,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A running turn, or a child process of it.
    Turn {
        /// The turn that asked.
        turn: TurnId,
        /// Its session, which is told the outcome.
        session: SessionId,
    },
    /// A chat command in this session.
    Session(SessionId),
    /// A command line outside any turn.
    Cli,
    /// An HTTP client with the token.
    Http,
    /// A signal to the process.
    Signal(Signal),
    /// The watchdog.
    Watchdog,
    /// A new version on disk.
    Update,
}

impl Origin {
    /// The chat that is told how its request ended.
    #[must_use]
    pub const fn session(self) -> Option<SessionId> {
        match self {
            Self::Turn { session, .. } | Self::Session(session) => Some(session),
            _ => None,
        }
    }

    /// The signal that it was.
    #[must_use]
    pub const fn signal(self) -> Option<Signal> {
        match self {
            Self::Signal(signal) => Some(signal),
            _ => None,
        }
    }
}

/// A request without an outcome yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// What is wished.
    pub wish: Wish,
    /// How patient the requester is.
    pub mode: Mode,
    /// Who asked.
    pub origin: Origin,
    /// The generation that accepted it.
    pub generation: GenerationId,
    /// How the process was to end when it was accepted.
    pub verdict: Verdict,
}

/// How a request ended. Each gets exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A different generation serves.
    Restarted {
        /// That generation.
        generation: GenerationId,
    },
    /// The gateway ended on purpose.
    Stopped,
    /// A stop outranked it.
    Overruled {
        /// The stop.
        by: RequestId,
    },
    /// It was taken back before anything was interrupted.
    Cancelled,
}

impl Gateway {
    /// A wish arrived from outside the chats. It counts once it is on disk; a signal can not be refused, so it counts at once.
    pub(crate) fn request_made(&mut self, now: Instant, id: RequestId, wish: Wish, mode: Mode, origin: Origin) {
        if !self.answered_at_once(id, wish, origin) && !self.request_waits(now, id, wish, mode, origin) {
            self.accept_request(now, id, wish, mode, origin);
        }
    }

    /// Answers a wish that is not to be accepted; true if it did.
    pub(crate) fn answered_at_once(&mut self, id: RequestId, wish: Wish, origin: Origin) -> bool {
        if wish == Wish::Restart
            && let Origin::Turn { turn, .. } = origin
            && let Some(granted) = self.turns.get(&turn).and_then(|turn| turn.granted)
        {
            self.write_ahead
                .then(&mut self.effects, Effect::Answer { request: id, answer: Answer::AlreadyDone(granted) });
            return true;
        }
        let open = self.requests.len() + self.requests_made.len() + self.waiting_for_check();
        let answer = match origin {
            _ if self.end_recorded() => Answer::Ending,
            Origin::Signal(_) => return false,
            _ if self.write_ahead.is_failing() => Answer::StorageFull,
            _ if open >= Limits::REQUESTS => Answer::TooMany,
            _ => return false,
        };
        self.effects.push_back(Effect::Answer { request: id, answer });
        true
    }

    /// Writes a wish down and says so.
    pub(crate) fn accept_request(&mut self, now: Instant, id: RequestId, wish: Wish, mode: Mode, origin: Origin) {
        self.record_request(id, wish, mode, origin);
        self.write_ahead.then(&mut self.effects, Effect::Answer { request: id, answer: Answer::Accepted });
        if matches!(origin, Origin::Signal(_)) {
            self.request_counts(now, id);
        }
    }

    /// Writes a request down; it counts when `request_counts` is called for it.
    pub(crate) fn record_request(&mut self, id: RequestId, wish: Wish, mode: Mode, origin: Origin) {
        let verdict = self.contract.verdict(wish, origin);
        let request = Request { wish, mode, origin, generation: self.generation, verdict };
        self.append(Record::RequestMade { request: id, made: request });
    }

    /// A request is on disk (or came as a signal): from now on it has a say in how this generation ends.
    pub(crate) fn request_counts(&mut self, now: Instant, id: RequestId) {
        let Some(request) = self.requests_made.remove(&id) else { return };
        self.requests.insert(id, request);
        match request.wish {
            Wish::Stop => self.overrule_restarts(id),
            Wish::Restart => {
                if let Some(stop) = self.standing_stop() {
                    self.settle_request(id, Outcome::Overruled { by: stop });
                }
            }
        }
        self.reconsider_end(now);
    }

    /// A signal: SIGINT is a stop; SIGTERM leaves with the restart status until the supervisor says that it is a stop.
    /// Whoever signals while an end is under way is out of patience.
    pub(crate) fn signalled(&mut self, now: Instant, id: RequestId, signal: Signal) {
        let mode = if self.drain.is_some() { Mode::Force } else { Mode::Graceful };
        let wish = match signal {
            Signal::Terminate => self.drain.as_ref().map_or(Wish::Restart, |drain| drain.wish),
            Signal::Interrupt => Wish::Stop,
        };
        let asks = (signal, wish, self.contract.answers) == (Signal::Terminate, Wish::Restart, Answers::WhenAsked);
        let origin = Origin::Signal(signal);
        if self.end_recorded() {
            self.leave_instead(self.contract.verdict(wish, origin));
        }
        self.request_made(now, id, wish, mode, origin);
        if asks && let Some(drain) = self.drain.as_mut().filter(|drain| !drain.end_recorded) {
            drain.supervisor_asked = Some((id, now + Limits::SUPERVISOR_ANSWER));
            self.effects.push_back(Effect::AskSupervisor { request: id });
        }
    }

    /// A process that was signalled neither replaces itself nor stays up, even if its end in the journal says so: its
    /// successor would never hear of the signal, and whoever sent it would have to kill what stays. (Unless its terms say so.)
    fn leave_instead(&mut self, verdict: Verdict) {
        if let Some(drain) = self.drain.as_mut().filter(|drain| !matches!(drain.verdict, Verdict::Exit(_))) {
            drain.verdict = verdict;
            self.arm_guard();
        }
    }

    /// The supervisor says that it is stopping us: the SIGTERM was announced after all.
    pub(crate) fn supervisor_stops_us(&mut self, now: Instant, id: RequestId) {
        let standing = self.requests.get(&id).is_some_and(|request| request.generation == self.generation);
        if !standing || self.end_recorded() {
            return self.effects.push_back(Effect::Ignored);
        }
        if let Some(mut request) = self.requests.remove(&id) {
            request.wish = Wish::Stop;
            request.verdict = self.contract.stop;
            self.append(Record::RequestMade { request: id, made: request });
            self.request_counts(now, id);
        }
    }

    /// The supervisor has said what it does about a SIGTERM: the end no longer waits for that.
    pub(crate) fn supervisor_answered(&mut self, id: RequestId) {
        if let Some(drain) =
            self.drain.as_mut().filter(|drain| drain.supervisor_asked.is_some_and(|(asked, _)| asked == id))
        {
            drain.supervisor_asked = None;
        }
    }

    /// Takes a request back, while nothing has been interrupted for it. A process that was sent a signal leaves: nobody can
    /// take back what its supervisor may have begun.
    pub(crate) fn cancel(&mut self, now: Instant, id: RequestId) {
        let own = self.requests.get(&id).is_some_and(|request| request.generation == self.generation);
        let signalled = self.drain.as_ref().is_some_and(|drain| !drain.signals.is_empty());
        let answer = match self.phase {
            _ if !own => Answer::Unknown,
            _ if signalled => Answer::TooLate,
            Phase::Starting | Phase::Serving | Phase::Draining => Answer::Cancelled,
            Phase::Interrupting | Phase::Closing | Phase::Ended => Answer::TooLate,
        };
        if answer == Answer::Cancelled {
            self.settle_request(id, Outcome::Cancelled);
            self.reconsider_end(now);
        }
        self.write_ahead.then(&mut self.effects, Effect::Answer { request: id, answer });
    }

    /// Gives a request its one outcome, durably, and tells the chat that asked.
    pub(crate) fn settle_request(&mut self, id: RequestId, outcome: Outcome) {
        let Some(request) = self.requests.remove(&id) else { return };
        self.append(Record::RequestSettled { request: id, outcome });
        self.write_ahead.then(&mut self.effects, Effect::Settled { request: id, outcome });
        if let (Origin::Turn { turn, .. }, Outcome::Restarted { .. }) = (request.origin, outcome)
            && let Some(open) = self.turns.get_mut(&turn)
        {
            open.granted = Some(id);
            self.append(Record::TurnGranted { turn, request: id });
        }
        if let Some(session) = request.origin.session() {
            self.owe(session, Content::Notice(Notice::RequestSettled { request: id, outcome }));
        }
    }

    /// The requests of this generation that count, by id, after the stop that it keeps.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (RequestId, Request)> + '_ {
        let generation = self.generation;
        let made = self.requests.iter().filter(move |(_, request)| request.generation == generation);
        self.kept_stop.into_iter().chain(made.map(|(id, request)| (*id, *request)))
    }

    fn standing_stop(&self) -> Option<RequestId> {
        self.standing().find(|(_, request)| request.wish == Wish::Stop).map(|(id, _)| id)
    }

    fn overrule_restarts(&mut self, by: RequestId) {
        let restarts: Vec<_> = self.standing().filter(|(_, request)| request.wish == Wish::Restart).collect();
        for (id, _) in restarts {
            self.settle_request(id, Outcome::Overruled { by });
        }
    }
}
