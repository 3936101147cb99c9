//! What is owed to chats. A produced reply or a notice stays here, and in the journal, until its platform has it: no end
//! of the gateway, forced or not, drops it.

use crate::effect::Effect;
use crate::gateway::{Gateway, Phase};
use crate::id::{DeliveryId, MessageId, RequestId, SessionId, TurnId};
use crate::record::Record;
use crate::request::{Mode, Outcome};
use crate::time::Instant;
use serde::{Deserialize, Serialize};

/// A text owed to a chat, by what it is; the driver keeps the text itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// What the agent answered.
    Reply {
        /// In this turn.
        turn: TurnId,
        /// To these messages.
        messages: Vec<MessageId>,
    },
    /// What the gateway itself has to say.
    Notice(Notice),
}

/// What the gateway itself has to say in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// The restart that was asked for here is accepted.
    RestartAccepted {
        /// Its request.
        request: RequestId,
        /// How patiently.
        mode: Mode,
    },
    /// The restart that was asked for here is refused: what would be started next could not take over.
    RestartRefused {
        /// The id that its request would have had.
        request: RequestId,
        /// The check that found it.
        check: RequestId,
    },
    /// The request that was made here has its outcome.
    RequestSettled {
        /// Which.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
    },
    /// The agent failed.
    TurnFailed {
        /// In this turn.
        turn: TurnId,
    },
    /// `/stop` was heard.
    Stopping {
        /// This turn is being interrupted.
        turn: TurnId,
    },
    /// The turn was stopped, as somebody here asked.
    TurnStopped {
        /// Which.
        turn: TurnId,
    },
    /// `/stop` without a turn.
    NothingToStop,
    /// The session is set aside.
    Quarantined {
        /// The turn that kept killing the gateway.
        turn: TurnId,
        /// How often it was started.
        attempts: u32,
    },
    /// What `/status` shows.
    Status,
    /// What `/help` shows.
    Help,
    /// A new conversation has begun.
    Renewed {
        /// Its number.
        conversation: u32,
    },
    /// Only operators may do that.
    NotAllowed,
    /// There is no such command.
    UnknownCommand,
}

/// A delivery that is not settled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// Where to.
    pub session: SessionId,
    /// What.
    pub content: Content,
    /// How far it has come.
    pub state: DeliveryState,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Not handed out in this generation.
    Owed,
    /// Handed to its platform, or about to be as soon as its record is on disk.
    Sending,
    /// It failed and is tried again at this time.
    Retrying {
        /// When.
        at: Instant,
    },
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Its chat has it.
    Sent,
    /// Its platform will never take it.
    Rejected,
}

impl Gateway {
    /// Owes a text to a chat, durably, and sends it as soon as that is true and its turn has come.
    pub(crate) fn owe(&mut self, session: SessionId, content: Content) {
        self.next_delivery = self.next_delivery.next();
        let delivery = self.next_delivery;
        self.append(Record::DeliveryOwed { delivery, session, content: content.clone() });
        self.outbox.insert(delivery, Delivery { session, content, state: DeliveryState::Owed });
        self.owed_in.entry(session).or_default().push_back(delivery);
        self.send_next(session);
    }

    /// Sends what has been owed to this chat for longest. What follows waits until that has arrived: a delivery that fails
    /// and is tried again must not be overtaken.
    pub(crate) fn send_next(&mut self, session: SessionId) {
        let Some(id) = self.owed_in.get(&session).and_then(|owed| owed.front()) else { return };
        if self.sends() && self.outbox.get(id).is_some_and(|delivery| delivery.state == DeliveryState::Owed) {
            self.send(*id);
        }
    }

    /// Whether anything may be handed to a platform: not before they are open, and not when no answer would be awaited.
    fn sends(&self) -> bool {
        self.phase != Phase::Starting && self.platforms_open && !self.end_recorded()
    }

    /// Hands a delivery to its platform once all that it rests on is on disk.
    fn send(&mut self, id: DeliveryId) {
        let Some(delivery) = self.outbox.get_mut(&id) else { return };
        delivery.state = DeliveryState::Sending;
        let send = Effect::Send { delivery: id, session: delivery.session, content: delivery.content.clone() };
        self.write_ahead.then(&mut self.effects, send);
    }

    /// A delivery is owed no longer.
    pub(crate) fn delivery_settled(&mut self, id: DeliveryId, fate: Fate) {
        let Some(Delivery { session, state, .. }) = self.outbox.remove(&id) else {
            return self.effects.push_back(Effect::Ignored);
        };
        if let DeliveryState::Retrying { at } = state {
            self.retrying.remove(&(at, id));
        }
        self.append(Record::DeliverySettled { delivery: id, fate });
        if let Some(owed) = self.owed_in.get_mut(&session) {
            owed.retain(|owed| *owed != id);
            if owed.is_empty() {
                self.owed_in.remove(&session);
            }
        }
        self.send_next(session);
    }

    /// A delivery did not reach its chat this time.
    pub(crate) fn delivery_failed(&mut self, now: Instant, id: DeliveryId) {
        match self.outbox.get_mut(&id) {
            Some(delivery) if delivery.state == DeliveryState::Sending => {
                let at = now + self.limits.delivery_retry;
                delivery.state = DeliveryState::Retrying { at };
                self.retrying.insert((at, id));
            }
            _ => self.effects.push_back(Effect::Ignored),
        }
    }

    /// Sends what is due for another try.
    pub(crate) fn retry_deliveries(&mut self, now: Instant) {
        while self.next_delivery_retry().is_some_and(|at| at <= now) {
            let Some((_, id)) = self.retrying.pop_first() else { return };
            self.send(id);
        }
    }

    /// When the next delivery is due for another try; `None` also when none of them would be sent any more.
    pub(crate) fn next_delivery_retry(&self) -> Option<Instant> {
        self.retrying.first().filter(|_| self.sends()).map(|(at, _)| *at)
    }
}
