//! A world whose journal lost its end: what a power cut, or a copy taken at some moment, leaves behind. What the platforms,
//! the chats and the requesters know then follows from the records that are left.

use super::journal::Journal;
use super::{Arrival, Ended, World};
use evergate_core::outbox::Fate;
use evergate_core::record::Record;
use std::collections::BTreeMap;

impl World {
    /// This world when only the first `records` of its journal are left. A batch that is torn by that is gone as a whole.
    pub fn cut_back(mut self, records: usize) -> Self {
        self.leave(Ended::Died);
        let whole = self.journal.batches.iter().copied().chain([self.journal.history.len()]);
        let kept = whole.filter(|end| *end <= records).max().unwrap_or(0);
        self.journal = self.journal.prefix(kept);
        self.agents.clear();
        self.answers.clear();
        self.settled.clear();
        self.arrived.clear();
        for said in &mut self.said {
            said.acked = false;
        }
        let mut owed = BTreeMap::new();
        for record in &self.journal.history {
            match record {
                Record::DeliveryOwed { delivery, session, content } => {
                    owed.insert(
                        *delivery,
                        Arrival { delivery: *delivery, session: *session, content: content.clone() },
                    );
                }
                Record::DeliverySettled { delivery, fate: Fate::Sent } => self.arrived.extend(owed.remove(delivery)),
                Record::RequestSettled { request, outcome } => {
                    self.settled.insert(*request, *outcome);
                }
                _ => {}
            }
        }
        self
    }
}

impl Journal {
    /// The journal with only the first `records`, which end with a batch.
    fn prefix(&self, records: usize) -> Self {
        let mut prefix = Self::default();
        let starts = self.batches.iter().copied().filter(|start| *start < records);
        let ends = starts.clone().skip(1).chain([records]);
        for (start, end) in starts.zip(ends) {
            prefix.write(&self.history[start..end]);
        }
        prefix
    }
}
