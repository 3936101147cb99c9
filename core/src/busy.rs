//! What becomes of a message that arrives while its session is busy, and which messages the next turn is over. What its
//! sender is told at once binds: a change of the policy is for what arrives later.
//!
//! | policy | told | the running turn | the next turn |
//! |---|---|---|---|
//! | queue | queued | goes on | over the oldest message |
//! | collect | collected | goes on | over all that was collected |
//! | interrupt | interrupting | is interrupted | over all up to the last that interrupts |
//!
//! What an interrupted turn has said so far is its reply. One that has said nothing gives its messages back: the next turn
//! is over them and what took its place, so that each of them is answered. A turn that does not run, since it waits to be
//! resumed or was cut by the gateway, is not interrupted: what arrives then is queued.

use crate::effect::Place;
use crate::gateway::{Gateway, Phase};
use crate::id::{MessageId, SessionId, TurnId};
use crate::outbox::Notice;
use crate::record::Record;
use crate::session::Session;
use crate::time::Instant;
use crate::turn::{Conclusion, StopAsked, Turn, TurnState};
use crate::{effect::Effect, input::Partial};
use serde::{Deserialize, Serialize};

/// What a message does that arrives during a turn of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Busy {
    /// It waits for a turn of its own.
    #[default]
    Queue,
    /// It ends the running turn, and the next one begins with it.
    Interrupt,
    /// It waits, and shares the next turn with all others that do.
    Collect,
}

impl Busy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Queue, Self::Interrupt, Self::Collect];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Interrupt => "interrupt",
            Self::Collect => "collect",
        }
    }
}

impl Session {
    /// Puts a message at its place in the queue: they stand in the order of their arrival.
    pub(crate) fn enqueue(&mut self, message: MessageId, place: Place) {
        if let Err(at) = self.queue.binary_search(&message) {
            self.queue.insert(at, message);
        }
        match place {
            Place::Collected | Place::Interrupting => drop(self.shares.insert(message, place)),
            Place::Running | Place::Queued => {}
        }
    }

    /// Takes these messages out of the queue, wherever they stand in it.
    pub(crate) fn dequeue(&mut self, messages: &[MessageId]) {
        self.queue.retain(|queued| !messages.contains(queued));
        for message in messages {
            self.shares.remove(message);
        }
    }

    /// The messages that the next turn is over.
    fn next_messages(&self) -> Vec<MessageId> {
        let is = |message: &MessageId, place: Place| self.shares.get(message) == Some(&place);
        let interrupting = self.queue.iter().rposition(|message| is(message, Place::Interrupting));
        let collected = self.queue.iter().take_while(|message| is(message, Place::Collected)).count();
        let length = interrupting.map_or(collected.max(1), |last| last + 1);
        self.queue.iter().take(length).copied().collect()
    }
}

impl Gateway {
    /// What messages do that arrive during a turn of this session.
    #[must_use]
    pub fn busy(&self, session: SessionId) -> Busy {
        self.sessions.get(&session).and_then(|session| session.busy).unwrap_or(self.limits.busy)
    }

    /// `/busy`: sets the policy of a session, or only tells it.
    pub(crate) fn set_busy(&mut self, session: SessionId, wanted: Option<Busy>) -> Notice {
        if let Some(busy) = wanted {
            self.sessions.entry(session).or_default().busy = Some(busy);
            self.append(Record::SessionBusy { session, busy });
        }
        Notice::Busy { busy: self.busy(session) }
    }

    /// What a message is told that arrives here now.
    pub(crate) fn place(&self, session: SessionId) -> Place {
        let known = self.sessions.get(&session);
        let idle = known.is_none_or(|session| session.queue.is_empty() && session.turn.is_none());
        if self.phase == Phase::Serving && idle && self.live.len() < self.limits.turns {
            return Place::Running;
        }
        match self.busy(session) {
            Busy::Collect => Place::Collected,
            Busy::Interrupt if known.is_some_and(|session| self.gives_way(session)) => Place::Interrupting,
            Busy::Queue | Busy::Interrupt => Place::Queued,
        }
    }

    /// Whether the turn of this session is about to end for good, or would be for one message more.
    fn gives_way(&self, session: &Session) -> bool {
        let Some(turn) = session.turn.and_then(|turn| self.turns.get(&turn)) else { return false };
        let runs = turn.state == TurnState::Running && self.phase <= Phase::Draining;
        // What it may have to give back must fit in the queue.
        let fits = turn.messages.len() + session.queue.len() < self.limits.queued_per_session;
        turn.stop != StopAsked::No || (runs && fits)
    }

    /// How many messages wait here, with those that an interrupted turn may give back.
    pub(crate) fn waiting_in(&self, session: &Session) -> usize {
        let superseded = |turn: &&Turn| turn.stop == StopAsked::Superseded;
        let turn = session.turn.and_then(|turn| self.turns.get(&turn)).filter(superseded);
        session.queue.len() + turn.map_or(0, |turn| turn.messages.len())
    }

    /// A message takes the place of the turn that runs in its session, unless that is about to end for good anyway.
    pub(crate) fn supersede(&mut self, now: Instant, session: SessionId) {
        let Some(id) = self.sessions.get(&session).and_then(|session| session.turn) else { return };
        let Some(turn) = self.turns.get_mut(&id).filter(|turn| turn.stop == StopAsked::No) else { return };
        turn.stop = StopAsked::Superseded;
        turn.interrupt(now + self.limits.interrupt_grace);
        self.append(Record::TurnSuperseded { turn: id });
        if self.take_back_start(id) {
            return self.give_back(id);
        }
        self.write_ahead.then(&mut self.effects, Effect::Interrupt { turn: id });
    }

    /// A turn whose place a message has taken was interrupted: with what it has said so far it has answered.
    pub(crate) fn give_way(&mut self, id: TurnId, partial: Partial) {
        match partial {
            Partial::Text => {
                self.owe_reply(id);
                self.conclude(id, Conclusion::Superseded, None);
            }
            Partial::Nothing => self.give_back(id),
        }
    }

    /// Closes a turn that has said nothing: its messages go back to where they came from, and into the next turn.
    pub(crate) fn give_back(&mut self, id: TurnId) {
        let Some(Turn { session, messages, .. }) = self.turns.get(&id).cloned() else { return };
        self.requeue(session, &messages);
        self.conclude(id, Conclusion::Superseded, None);
        self.messages_returned(session, &messages);
    }

    /// Messages go back into their queue, durably, and share the next turn.
    pub(crate) fn return_messages(&mut self, session: SessionId, messages: &[MessageId]) {
        self.requeue(session, messages);
        self.messages_returned(session, messages);
    }

    fn requeue(&mut self, session: SessionId, messages: &[MessageId]) {
        let entry = self.sessions.entry(session).or_default();
        for message in messages {
            entry.enqueue(*message, Place::Interrupting);
        }
        self.queued += messages.len();
    }

    fn messages_returned(&mut self, session: SessionId, messages: &[MessageId]) {
        for message in messages {
            self.append(Record::MessageReturned { message: *message, session });
        }
    }

    /// Takes the messages of the next turn out of the queue.
    pub(crate) fn take_next(&mut self, session: SessionId) -> Vec<MessageId> {
        let Some(found) = self.sessions.get_mut(&session) else { return Vec::new() };
        let messages = found.next_messages();
        found.dequeue(&messages);
        self.queued -= messages.len();
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::Busy;

    #[test]
    fn each_policy_has_the_word_that_people_type() {
        assert_eq!(Busy::ALL.map(Busy::name), ["queue", "interrupt", "collect"]);
    }
}
