//! What is owed to chats. A produced reply or a notice stays here, and in the journal, until its platform has it: no end
//! of the gateway, forced or not, drops it.
//!
//! A platform that knows a repeat by its id is simply handed a text again. One that does not is *blind*: that it is about
//! to send is on disk first, and what a death or a lost answer leaves unknown is not repeated silently.
//!
//! ```text
//!              platform open,                  DeliveryIntended,
//!              first in its chat               then the mark on disk
//!     Owed ──────────────────────▶ Sending ────────────────────────▶ Trying
//!                                  ▲     │                            │   │
//!                    delay over    │     │ failed   failed or unknown │   │ sent, rejected, or
//!                                  │     ▼                            │   ▼ unknown and given up
//!                                 Retrying ◀──────────────────────────┘  (settled)
//! ```

use crate::busy::Busy;
use crate::effect::Effect;
use crate::gateway::{Gateway, Phase};
use crate::id::{DeliveryId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use crate::input::Named;
use crate::question::Ruling;
use crate::record::Record;
use crate::request::{Mode, Outcome, Wish};
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
    /// An end of the gateway has cut the turn, which goes on afterwards.
    TurnCut {
        /// Which.
        turn: TurnId,
        /// What comes after that end.
        wish: Wish,
    },
    /// The turn goes on, after `TurnCut`.
    TurnBack {
        /// Which.
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
    /// What messages do here that arrive during a turn.
    Busy {
        /// From now on.
        busy: Busy,
    },
    /// An answer may not have arrived, and is not sent again.
    MayBeMissing {
        /// The turn that it was the answer of.
        turn: TurnId,
    },
    /// An agent asks, and somebody here is to answer.
    Asks {
        /// The question.
        question: QuestionId,
        /// The turn that waits.
        turn: TurnId,
    },
    /// A question has its outcome.
    Ruled {
        /// The question.
        question: QuestionId,
        /// The turn that asked it.
        turn: TurnId,
        /// How it was decided.
        ruling: Ruling,
    },
    /// An answer to a question that is not open here.
    NoQuestion,
    /// An answer without a number, and it is not clear to which question.
    WhichQuestion,
    /// Only operators may do that.
    NotAllowed,
    /// That command is used in another way.
    Usage {
        /// Which.
        command: Named,
    },
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
    /// How many sends of it may have arrived, of which nothing more will be heard.
    pub uncertain: u32,
}

impl Delivery {
    /// Whether its platform has it or is about to, and an answer is awaited.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        matches!(self.state, DeliveryState::Sending | DeliveryState::Trying)
    }

    const fn repeat(&self) -> Repeat {
        if self.uncertain > 0 { Repeat::Possible } else { Repeat::No }
    }
}

/// Whether a text may have come to its chat before. It is always `No` of a platform that knows a repeat by its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// It has not.
    #[default]
    No,
    /// An earlier attempt may have arrived.
    Possible,
}

/// What is done about a text that was sent and of which nobody can know whether it arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncertain {
    /// It is sent again, marked as perhaps not the first.
    #[default]
    Report,
    /// It is not sent again; of an answer, the chat is told that it may be missing.
    Drop,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Not handed out in this generation.
    Owed,
    /// Handed to its platform, or about to be as soon as its record is on disk.
    Sending,
    /// Its platform is blind and sends it, or is about to be told to as soon as that is on disk.
    Trying,
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
    /// It may have arrived. Nobody can know, and it is not sent again.
    Unknown,
    /// It is certain that it has not arrived, and it is no longer true: it was never said.
    Withdrawn,
}

impl Gateway {
    /// Owes a text to a chat, durably, and sends it as soon as that is true and its turn has come.
    pub(crate) fn owe(&mut self, session: SessionId, content: Content) -> DeliveryId {
        self.next_delivery = self.next_delivery.next();
        let delivery = self.next_delivery;
        self.append(Record::DeliveryOwed { delivery, session, content: content.clone() });
        self.outbox.insert(delivery, Delivery { session, content, state: DeliveryState::Owed, uncertain: 0 });
        self.owed_in.entry(session).or_default().push_back(delivery);
        self.send_next(session);
        delivery
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

    /// Hands a delivery to its platform once all that it rests on is on disk, unless it may not be repeated.
    fn send(&mut self, id: DeliveryId) {
        if self.is_given_up(id) {
            return self.give_up(id);
        }
        let Some(delivery) = self.outbox.get_mut(&id) else { return };
        delivery.state = DeliveryState::Sending;
        let (session, content, repeat) = (delivery.session, delivery.content.clone(), delivery.repeat());
        self.write_ahead.then(&mut self.effects, Effect::Send { delivery: id, session, content, repeat });
    }

    /// A blind platform is about to send this: it may, once that is on disk.
    pub(crate) fn delivery_intended(&mut self, id: DeliveryId) {
        let ending = self.end_recorded();
        let Some(delivery) =
            self.outbox.get_mut(&id).filter(|delivery| delivery.state == DeliveryState::Sending && !ending)
        else {
            return self.effects.push_back(Effect::Ignored);
        };
        delivery.state = DeliveryState::Trying;
        let (session, content, repeat) = (delivery.session, delivery.content.clone(), delivery.repeat());
        let attempt = delivery.uncertain.saturating_add(1);
        self.append(Record::DeliveryTried { delivery: id, attempt });
        self.write_ahead.then(&mut self.effects, Effect::Transmit { delivery: id, session, content, repeat });
    }

    /// Nothing is sent any more in this generation: what was about to be is owed as if it had never been.
    pub(crate) fn withdraw_sends(&mut self) {
        for id in self.write_ahead.withdraw_sends() {
            self.missed(id);
        }
    }

    /// The attempt that is on its way to the disk has certainly not arrived.
    fn missed(&mut self, id: DeliveryId) {
        if let Some(delivery) = self.outbox.get(&id) {
            self.append(Record::DeliveryMissed { delivery: id, uncertain: delivery.uncertain });
        }
    }

    /// A delivery is owed no longer.
    pub(crate) fn delivery_settled(&mut self, id: DeliveryId, fate: Fate) {
        let Some(Delivery { session, state, .. }) = self.outbox.remove(&id) else {
            return self.effects.push_back(Effect::Ignored);
        };
        match state {
            DeliveryState::Retrying { at } => drop(self.retrying.remove(&(at, id))),
            DeliveryState::Sending | DeliveryState::Trying => _ = self.write_ahead.withdraw_send(id),
            DeliveryState::Owed => {}
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
        match self.outbox.get(&id).map(|delivery| delivery.state) {
            Some(DeliveryState::Sending) => self.try_again(now, id),
            Some(DeliveryState::Trying) => {
                self.write_ahead.withdraw_send(id);
                self.missed(id);
                if !self.unsay_with_the_end(id) {
                    self.try_later(now, id);
                }
            }
            _ => self.effects.push_back(Effect::Ignored),
        }
    }

    /// Nobody can know whether a delivery reached its chat. That it may have is on disk since before it was sent. A platform
    /// that was handed it without that mark knows a repeat by its id.
    pub(crate) fn delivery_unknown(&mut self, now: Instant, id: DeliveryId) {
        match self.outbox.get_mut(&id) {
            Some(delivery) if delivery.state == DeliveryState::Sending => self.try_again(now, id),
            Some(delivery) if delivery.state == DeliveryState::Trying => {
                delivery.uncertain = delivery.uncertain.saturating_add(1);
                if self.is_given_up(id) && !self.end_recorded() {
                    self.give_up(id);
                } else {
                    self.try_again(now, id);
                }
            }
            _ => self.effects.push_back(Effect::Ignored),
        }
    }

    /// Tries once more after a while what may have arrived.
    fn try_again(&mut self, now: Instant, id: DeliveryId) {
        if let Some(drain) = &mut self.drain {
            drain.unsaid.remove(&id);
        }
        self.try_later(now, id);
    }

    fn try_later(&mut self, now: Instant, id: DeliveryId) {
        let at = now + self.limits.delivery_retry;
        if let Some(delivery) = self.outbox.get_mut(&id) {
            delivery.state = DeliveryState::Retrying { at };
            self.retrying.insert((at, id));
        }
    }

    /// Whether a text is not to be sent again, although nobody knows whether its chat has it.
    fn is_given_up(&self, id: DeliveryId) -> bool {
        let uncertain = self.outbox.get(&id).map_or(0, |delivery| delivery.uncertain);
        uncertain > 0 && (self.limits.uncertain == Uncertain::Drop || uncertain >= self.limits.unknown_sends)
    }

    /// Sends a text no more. Of an answer the chat is told so; of such a notice it is not, or there would be no end.
    fn give_up(&mut self, id: DeliveryId) {
        let Some(Delivery { session, content, .. }) = self.outbox.get(&id) else { return };
        let missing = match content {
            Content::Reply { turn, .. } => Some((*session, Notice::MayBeMissing { turn: *turn })),
            Content::Notice(_) => None,
        };
        self.delivery_settled(id, Fate::Unknown);
        if let Some((session, notice)) = missing {
            self.owe(session, Content::Notice(notice));
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
