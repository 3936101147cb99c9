//! Writing ahead, the simplest way: one line in which records wait for the disk and effects wait for the records before
//! them. It never decides what is written.

use evergate_core::effect::Effect;
use evergate_core::id::DeliveryId;
use evergate_core::record::Record;
use std::collections::VecDeque;

/// What is not on disk yet, and what waits for that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Journal {
    line: VecDeque<Waiting>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Waiting {
    Record(Record),
    Effect(Effect),
}

impl Journal {
    /// Appends a record.
    pub fn append(&mut self, effects: &mut VecDeque<Effect>, record: Record) {
        effects.push_back(Effect::Append { record: record.clone() });
        self.line.push_back(Waiting::Record(record));
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

    /// So many more records are on disk: gives them back, and lets the effects leave that waited for no more.
    pub fn synced(&mut self, effects: &mut VecDeque<Effect>, records: u32) -> Vec<Record> {
        let mut synced = Vec::new();
        while let Some(front) = self.line.pop_front() {
            match front {
                Waiting::Record(_) if synced.len() as u64 == u64::from(records) => {
                    self.line.push_front(front);
                    break;
                }
                Waiting::Record(record) => synced.push(record),
                Waiting::Effect(effect) => effects.push_back(effect),
            }
        }
        synced
    }

    /// A write failed: everything that is not on disk is written again, at once.
    pub fn write_again(&mut self, effects: &mut VecDeque<Effect>) {
        effects.push_back(Effect::Discard);
        for waiting in &self.line {
            if let Waiting::Record(record) = waiting {
                effects.push_back(Effect::Append { record: record.clone() });
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
