//! The rule "write ahead": effects that rest on records wait here until those records are on disk. When a write fails,
//! what was promised to nobody is withdrawn and the rest is written again.

use crate::effect::Effect;
use crate::id::{DeliveryId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use crate::outbox::{Content, Notice};
use crate::record::Record;
use crate::shared::{Pool, Shared};
use crate::time::Instant;
use std::collections::VecDeque;

/// Records that are not on disk yet, and between them the effects that wait for all records before them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WriteAhead {
    pending: Shared<VecDeque<Pending>>,
    retry_at: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Pending {
    Record(Record),
    Effect(Effect),
}

impl WriteAhead {
    pub(crate) fn unite(&mut self, pool: &mut impl Pool) {
        self.pending.unite(pool);
    }

    /// Appends a record: at once, or with the next try while writes fail.
    pub fn append(&mut self, effects: &mut VecDeque<Effect>, record: Record) {
        if self.retry_at.is_none() {
            effects.push_back(Effect::Append { record: record.clone() });
        }
        self.pending.push_back(Pending::Record(record));
    }

    /// Lets an effect leave once everything appended so far is on disk.
    pub fn then(&mut self, effects: &mut VecDeque<Effect>, effect: Effect) {
        if self.pending.is_empty() {
            effects.push_back(effect);
        } else {
            self.pending.push_back(Pending::Effect(effect));
        }
    }

    /// Whether everything appended is on disk.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether the last write failed and the next try is still to come.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.retry_at.is_some()
    }

    /// When to try again.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// So many more records are on disk: gives them back, and lets the effects leave that waited for no more than them.
    pub fn synced(&mut self, effects: &mut VecDeque<Effect>, records: u32) -> Vec<Record> {
        let mut synced = Vec::new();
        while let Some(front) = self.pending.pop_front() {
            match front {
                Pending::Record(_) if synced.len() as u64 == u64::from(records) => {
                    self.pending.push_front(front);
                    break;
                }
                Pending::Record(record) => synced.push(record),
                Pending::Effect(effect) => effects.push_back(effect),
            }
        }
        synced
    }

    /// A write failed: withdraws the new messages and requests that nobody was promised anything about, and gives them back.
    /// Turns opened for withdrawn messages go with them. The rest waits for `retry`.
    pub fn failed(&mut self, effects: &mut VecDeque<Effect>, retry_at: Instant) -> Vec<Withdrawn> {
        effects.push_back(Effect::Discard);
        self.retry_at = Some(retry_at);
        let mut withdrawn = Vec::new();
        let mut messages = Vec::new();
        let mut turns = Vec::new();
        let mut resets = Vec::new();
        for pending in self.pending.iter() {
            match pending {
                Pending::Record(Record::MessageAccepted { message, .. }) => {
                    messages.push(*message);
                    withdrawn.push(Withdrawn::Message(*message));
                }
                Pending::Record(Record::TurnOpened { turn, messages: over, .. })
                    if over.iter().any(|message| messages.contains(message)) =>
                {
                    turns.push(*turn);
                    let kept = over.iter().copied().filter(|message| !messages.contains(message)).collect();
                    withdrawn.push(Withdrawn::Turn { turn: *turn, kept });
                }
                Pending::Record(Record::BreakerReset { request, .. }) => {
                    resets.push(*request);
                    withdrawn.push(Withdrawn::Reset(*request));
                }
                _ => {}
            }
        }
        let gone = |effect: &Effect| match effect {
            Effect::Ack { message } => messages.contains(message),
            Effect::Start { turn, .. } => turns.contains(turn),
            Effect::Answer { request, .. } => resets.contains(request),
            _ => false,
        };
        self.pending.retain(|pending| match pending {
            Pending::Record(Record::MessageAccepted { message, .. } | Record::MessageReturned { message, .. }) => {
                !messages.contains(message)
            }
            Pending::Record(Record::BreakerReset { request, .. }) => !resets.contains(request),
            Pending::Record(
                Record::TurnOpened { turn, .. }
                | Record::TurnInterrupted { turn }
                | Record::TurnStopAsked { turn }
                | Record::TurnSuperseded { turn }
                | Record::TurnEnded { turn, .. },
            ) => !turns.contains(turn),
            Pending::Record(_) => true,
            Pending::Effect(effect) => !gone(effect),
        });
        withdrawn
    }

    /// Withdraws a request that waits for its write, and its answer.
    pub fn withdraw_request(&mut self, id: RequestId) {
        self.pending.retain(|pending| match pending {
            Pending::Record(Record::RequestMade { request, .. }) => *request != id,
            Pending::Effect(Effect::Answer { request, .. }) => *request != id,
            _ => true,
        });
    }

    /// Whether the outcome of a question is not on disk yet.
    #[must_use]
    pub fn has_decision(&self, id: QuestionId) -> bool {
        let is_it = |pending: &Pending| matches!(pending, Pending::Record(Record::QuestionDecided { question, .. }) if *question == id);
        self.pending.iter().any(is_it)
    }

    /// Whether that a delivery is owed is not on disk yet.
    #[must_use]
    pub fn owes(&self, id: DeliveryId) -> bool {
        let is_it = |pending: &Pending| matches!(pending, Pending::Record(Record::DeliveryOwed { delivery, .. }) if *delivery == id);
        self.pending.iter().any(is_it)
    }

    /// The chats that are owed what became of a request, which is not on disk yet.
    pub fn outcomes_owed(&self) -> impl Iterator<Item = SessionId> {
        self.pending.iter().filter_map(|pending| match pending {
            Pending::Record(Record::DeliveryOwed {
                session,
                content: Content::Notice(Notice::RequestSettled { .. }),
                ..
            }) => Some(*session),
            _ => None,
        })
    }

    /// Withdraws the start of a turn that waits for its write; true if it did, so that the agent will never have run.
    pub fn withdraw_start(&mut self, id: TurnId) -> bool {
        let before = self.pending.len();
        self.pending.retain(|pending| !matches!(pending, Pending::Effect(Effect::Start { turn, .. }) if *turn == id));
        self.pending.len() < before
    }

    /// Withdraws the sends that wait for their write: nobody would wait for an answer. They stay owed. Gives back those
    /// that are about to be on disk as tried, and now are not.
    pub fn withdraw_sends(&mut self) -> Vec<DeliveryId> {
        let mut untried = Vec::new();
        self.pending.retain(|pending| match pending {
            Pending::Effect(Effect::Transmit { delivery, .. }) => {
                untried.push(*delivery);
                false
            }
            Pending::Effect(Effect::Send { .. }) => false,
            _ => true,
        });
        untried
    }

    /// Withdraws one of them; true if it waited here, so that its platform does not have it.
    pub fn withdraw_send(&mut self, id: DeliveryId) -> bool {
        let before = self.pending.len();
        self.pending.retain(|pending| {
            !matches!(pending, Pending::Effect(Effect::Send { delivery, .. } | Effect::Transmit { delivery, .. }) if *delivery == id)
        });
        self.pending.len() < before
    }

    /// Writes everything again that is still wanted.
    pub fn retry(&mut self, effects: &mut VecDeque<Effect>) {
        self.retry_at = None;
        for pending in self.pending.iter() {
            if let Pending::Record(record) = pending {
                effects.push_back(Effect::Append { record: record.clone() });
            }
        }
        while let Some(Pending::Effect(_)) = self.pending.front() {
            if let Some(Pending::Effect(effect)) = self.pending.pop_front() {
                effects.push_back(effect);
            }
        }
    }
}

/// Something that a failed write took back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Withdrawn {
    /// A message that was not yet acked.
    Message(MessageId),
    /// A turn that was not yet started, over such a message.
    Turn {
        /// Which.
        turn: TurnId,
        /// What else it was over, and stays.
        kept: Vec<MessageId>,
    },
    /// A reset of the loop breaker that nobody was promised.
    Reset(RequestId),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::GenerationId;

    const fn ack(message: u64) -> Effect {
        Effect::Ack { message: MessageId(message) }
    }

    fn record(place: u64) -> Record {
        Record::GenerationBegun { generation: GenerationId(place), unproven: 0 }
    }

    /// Two records, and an effect behind each.
    fn two() -> (WriteAhead, VecDeque<Effect>) {
        let (mut ahead, mut effects) = (WriteAhead::default(), VecDeque::new());
        for place in [1, 2] {
            ahead.append(&mut effects, record(place));
            ahead.then(&mut effects, ack(place));
        }
        assert_eq!(effects.drain(..).count(), 2, "the effects wait");
        (ahead, effects)
    }

    #[test]
    fn what_is_on_disk_lets_the_effects_leave_that_wait_for_no_more() {
        let (mut ahead, mut effects) = two();
        assert_eq!((ahead.synced(&mut effects, 0), effects.len()), (vec![], 0));
        assert_eq!((ahead.synced(&mut effects, 1), effects.drain(..).collect()), (vec![record(1)], vec![ack(1)]));
        assert!(!ahead.is_settled());
        assert_eq!((ahead.synced(&mut effects, 1), effects.drain(..).collect()), (vec![record(2)], vec![ack(2)]));
        assert!(ahead.is_settled());
        ahead.then(&mut effects, ack(3));
        assert_eq!(effects, [ack(3)], "nothing is waited for any more");
    }

    #[test]
    fn more_than_was_appended_is_no_more_than_that() {
        for records in [2, 3, u32::MAX] {
            let (mut ahead, mut effects) = two();
            assert_eq!(ahead.synced(&mut effects, records), [record(1), record(2)]);
            assert!(ahead.is_settled() && effects == [ack(1), ack(2)]);
            assert_eq!((ahead.synced(&mut effects, records), effects.len()), (vec![], 2));
        }
    }

    #[test]
    fn behind_a_failed_write_all_that_is_not_on_disk_is_written_again_and_counted_anew() {
        let (mut ahead, mut effects) = two();
        ahead.synced(&mut effects, 1);
        effects.clear();
        assert_eq!(ahead.failed(&mut effects, Instant::default()), []);
        ahead.append(&mut effects, record(3));
        assert_eq!(effects.drain(..).collect::<Vec<_>>(), [Effect::Discard], "nothing is written while writes fail");
        ahead.retry(&mut effects);
        let again = [2, 3].map(|place| Effect::Append { record: record(place) });
        assert_eq!(effects.drain(..).collect::<Vec<_>>(), again);
        assert_eq!((ahead.synced(&mut effects, 2), effects.len()), (vec![record(2), record(3)], 1));
        assert!(ahead.is_settled());
    }
}
