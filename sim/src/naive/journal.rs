//! Writing ahead, the simplest way: one line in which records wait for the disk and effects wait for the records before
//! them. It never decides what is written.

use evergate_core::effect::Effect;
use evergate_core::id::{DeliveryId, Position};
use evergate_core::record::Record;
use std::collections::VecDeque;

/// What is not on disk yet, and what waits for that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Journal {
    last: Position,
    line: VecDeque<Waiting>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Waiting {
    Record(Position, Record),
    Effect(Effect),
}

impl Journal {
    /// Appends a record.
    pub fn append(&mut self, effects: &mut VecDeque<Effect>, record: Record) {
        self.last = self.last.next();
        effects.push_back(Effect::Append { position: self.last, record: record.clone() });
        self.line.push_back(Waiting::Record(self.last, record));
    }

    /// Lets an effect leave once everything appended so far is on disk.
    pub fn then(&mut self, effects: &mut VecDeque<Effect>, effect: Effect) {
        if self.line.is_empty() {
            effects.push_back(effect);
        } else {
            self.line.push_back(Waiting::Effect(effect));
        }
    }

    /// Whether everything appended is on disk.
    pub fn is_settled(&self) -> bool {
        self.line.is_empty()
    }

    /// Records up to `through` are on disk: gives them back, and lets the effects leave that waited for no more.
    pub fn synced(&mut self, effects: &mut VecDeque<Effect>, through: Position) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some(front) = self.line.pop_front() {
            match front {
                Waiting::Record(position, _) if position > through => {
                    self.line.push_front(front);
                    break;
                }
                Waiting::Record(_, record) => records.push(record),
                Waiting::Effect(effect) => effects.push_back(effect),
            }
        }
        records
    }

    /// A write failed: everything that is not on disk is written again, at once.
    pub fn write_again(&mut self, effects: &mut VecDeque<Effect>) {
        effects.push_back(Effect::Discard);
        for waiting in &mut self.line {
            if let Waiting::Record(position, record) = waiting {
                self.last = self.last.next();
                *position = self.last;
                effects.push_back(Effect::Append { position: self.last, record: record.clone() });
            }
        }
    }

    /// Takes back the effects that wait and are not wanted any more; true if there were any.
    pub fn withdraw(&mut self, unwanted: impl Fn(&Effect) -> bool) -> bool {
        let before = self.line.len();
        self.line.retain(|waiting| !matches!(waiting, Waiting::Effect(effect) if unwanted(effect)));
        self.line.len() < before
    }

    /// The deliveries that are about to be sent off once that is on disk.
    pub fn withdrawn_transmissions(&self) -> Vec<DeliveryId> {
        let waiting = self.line.iter().filter_map(|waiting| match waiting {
            Waiting::Effect(Effect::Transmit { delivery, .. }) => Some(*delivery),
            _ => None,
        });
        waiting.collect()
    }

    /// Lets effects leave whatever they wait for. No machine without flaws has a use for this.
    pub fn release(&mut self, effects: &mut VecDeque<Effect>, hasty: impl Fn(&Effect) -> bool) {
        let waiting = self.line.iter().filter_map(|waiting| match waiting {
            Waiting::Effect(effect) if hasty(effect) => Some(effect.clone()),
            _ => None,
        });
        effects.extend(waiting);
        self.withdraw(hasty);
    }
}
