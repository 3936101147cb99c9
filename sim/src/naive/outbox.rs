//! What the naive machine owes to chats: one delivery at a time in each, tried again until its platform has it.

use super::flaw::Flaw;
use super::gateway::Naive;
use evergate_core::effect::Effect;
use evergate_core::id::{DeliveryId, SessionId};
use evergate_core::outbox::{Content, Delivery, DeliveryState, Fate, Notice, Repeat};
use evergate_core::record::Record;
use evergate_core::time::Instant;
use evergate_core::turn::Conclusion;

impl Naive {
    /// Owes a text to a chat, and sends it when its turn has come.
    pub(super) fn owe(&mut self, session: SessionId, content: Content) {
        self.last_delivery = self.last_delivery.next();
        let delivery = self.last_delivery;
        self.append(Record::DeliveryOwed { delivery, session, content: content.clone() });
        self.outbox.insert(delivery, Delivery { session, content, state: DeliveryState::Owed, uncertain: 0 });
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
        if self.given_up(id) {
            return;
        }
        let Some(delivery) = self.outbox.get_mut(&id) else { return };
        delivery.state = DeliveryState::Sending;
        let (session, content) = (delivery.session, delivery.content.clone());
        let send = Effect::Send { delivery: id, session, content, repeat: Repeat::No };
        if self.has(Flaw::SentBeforeOwed) {
            self.effects.push_back(send);
        } else {
            self.then(send);
        }
    }

    /// A blind platform is about to send this.
    pub(super) fn delivery_intended(&mut self, id: DeliveryId) {
        let silent = self.has(Flaw::RepeatedSilently);
        let Some(delivery) = self.outbox.get_mut(&id) else { return self.effects.push_back(Effect::Ignored) };
        delivery.state = DeliveryState::Trying;
        let repeat = if delivery.uncertain > 0 && !silent { Repeat::Possible } else { Repeat::No };
        let (session, content, attempt) = (delivery.session, delivery.content.clone(), delivery.uncertain + 1);
        self.append(Record::DeliveryTried { delivery: id, attempt });
        let transmit = Effect::Transmit { delivery: id, session, content, repeat };
        if self.has(Flaw::SentBeforeTried) {
            self.effects.push_back(transmit);
        } else {
            self.then(transmit);
        }
    }

    /// Nobody can know whether it arrived; after too many such sends it is given up.
    pub(super) fn delivery_unknown(&mut self, now: Instant, id: DeliveryId) {
        let Some(delivery) = self.outbox.get_mut(&id) else { return self.effects.push_back(Effect::Ignored) };
        delivery.uncertain += 1;
        delivery.state = DeliveryState::Retrying { at: now + self.limits.delivery_retry };
    }

    /// Sends it no more, and says so where it was an answer; true if it did.
    fn given_up(&mut self, id: DeliveryId) -> bool {
        let Some(Delivery { session, content, uncertain, .. }) = self.outbox.get(&id).cloned() else { return false };
        if uncertain < self.limits.unknown_sends {
            return false;
        }
        self.delivery_settled(id, Fate::Unknown);
        if let Content::Reply { turn, .. } = content {
            self.owe(session, Content::Notice(Notice::MayBeMissing { turn }));
        }
        true
    }

    /// What was about to be sent is owed as if it had never been.
    pub(super) fn withdraw_sends(&mut self) {
        let untried = self.journal.withdrawn_transmissions();
        self.journal.withdraw(|effect| matches!(effect, Effect::Send { .. } | Effect::Transmit { .. }));
        for id in untried {
            self.missed(id);
        }
    }

    fn missed(&mut self, id: DeliveryId) {
        if let Some(Delivery { uncertain, .. }) = self.outbox.get(&id) {
            let uncertain = *uncertain;
            self.append(Record::DeliveryMissed { delivery: id, uncertain });
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
        if self.outbox.get(&id).is_some_and(|delivery| delivery.state == DeliveryState::Trying) {
            self.missed(id);
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
