//! What the naive machine owes to chats: one delivery at a time in each, tried again until its platform has it.

use super::flaw::Flaw;
use super::gateway::Naive;
use evergate_core::effect::Effect;
use evergate_core::id::{DeliveryId, SessionId};
use evergate_core::outbox::{Content, Delivery, DeliveryState, Fate};
use evergate_core::record::Record;
use evergate_core::time::Instant;
use evergate_core::turn::Conclusion;

impl Naive {
    /// Owes a text to a chat, and sends it when its turn has come.
    pub(super) fn owe(&mut self, session: SessionId, content: Content) {
        self.last_delivery = self.last_delivery.next();
        let delivery = self.last_delivery;
        self.append(Record::DeliveryOwed { delivery, session, content: content.clone() });
        self.outbox.insert(delivery, Delivery { session, content, state: DeliveryState::Owed });
        self.send_next(session);
    }

    /// Sends what this chat has been owed for longest.
    pub(super) fn send_next(&mut self, session: SessionId) {
        let first = self.outbox.iter().find(|(_, delivery)| delivery.session == session);
        if let Some((id, Delivery { state: DeliveryState::Owed, .. })) = first
            && self.sends()
        {
            self.send(*id);
        }
    }

    fn send(&mut self, id: DeliveryId) {
        let Some(delivery) = self.outbox.get_mut(&id) else { return };
        delivery.state = DeliveryState::Sending;
        let send = Effect::Send { delivery: id, session: delivery.session, content: delivery.content.clone() };
        if self.has(Flaw::SentBeforeOwed) {
            self.effects.push_back(send);
        } else {
            self.then(send);
        }
    }

    /// A delivery is owed no longer.
    pub(super) fn delivery_settled(&mut self, id: DeliveryId, fate: Fate) {
        let Some(delivery) = self.outbox.remove(&id) else { return self.effects.push_back(Effect::Ignored) };
        self.append(Record::DeliverySettled { delivery: id, fate });
        if let (Content::Reply { turn, .. }, true) = (&delivery.content, self.has(Flaw::EndedWhenSent)) {
            self.conclude(*turn, Conclusion::Answered, None);
        }
        self.send_next(delivery.session);
    }

    /// A delivery did not reach its chat this time.
    pub(super) fn delivery_failed(&mut self, now: Instant, id: DeliveryId) {
        if self.has(Flaw::FailedSendForgotten) {
            self.outbox.remove(&id);
        }
        let at = now + self.limits.delivery_retry;
        match self.outbox.get_mut(&id) {
            Some(delivery) => delivery.state = DeliveryState::Retrying { at },
            None => self.effects.push_back(Effect::Ignored),
        }
    }

    /// Sends what is due for another try.
    pub(super) fn retry_deliveries(&mut self, now: Instant) {
        let due = |delivery: &Delivery| matches!(delivery.state, DeliveryState::Retrying { at } if at <= now);
        let due: Vec<DeliveryId> =
            self.outbox.iter().filter(|(_, delivery)| due(delivery)).map(|(id, _)| *id).collect();
        for id in due.into_iter().filter(|_| self.sends()).collect::<Vec<_>>() {
            self.send(id);
        }
    }

    /// When the next delivery is due for another try.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        let retries = self.outbox.values().filter_map(|delivery| match delivery.state {
            DeliveryState::Retrying { at } => Some(at),
            _ => None,
        });
        retries.min().filter(|_| self.sends())
    }
}
