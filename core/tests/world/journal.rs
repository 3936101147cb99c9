//! The world's journal: batches that stand or fall together, of which only the synced ones outlive a death.

use evergate_core::id::{MessageId, QuestionId};
use evergate_core::question::Ruling;
use evergate_core::record::{Record, Unfinished};
use evergate_core::recovery::Recovered;
use std::collections::VecDeque;

#[derive(Default)]
pub struct Journal {
    /// All synced records, oldest first.
    pub history: Vec<Record>,
    /// The same, replayed one by one.
    pub replayed: Recovered,
    /// The same, as a store keeps them.
    pub rows: Unfinished,
    pub unsynced: VecDeque<Vec<Record>>,
    batch: Vec<Record>,
    /// Where each synced batch begins in the history.
    pub batches: Vec<usize>,
}

impl Journal {
    pub fn append(&mut self, record: Record) {
        self.batch.push(record);
    }

    /// What was appended since the last input is one batch.
    pub fn close_batch(&mut self) {
        if !self.batch.is_empty() {
            self.unsynced.push_back(std::mem::take(&mut self.batch));
        }
    }

    pub fn forget_unsynced(&mut self) {
        self.unsynced.clear();
        self.batch.clear();
    }

    /// The oldest batch is on disk: of how many records.
    pub fn commit(&mut self) -> Option<u32> {
        let records = self.unsynced.pop_front()?;
        self.write(&records);
        u32::try_from(records.len()).ok()
    }

    /// One batch is on disk.
    pub fn write(&mut self, records: &[Record]) {
        self.batches.push(self.history.len());
        for record in records {
            self.replayed.apply(record);
            self.rows.absorb(record);
            self.history.push(record.clone());
        }
    }

    /// The last synced batch.
    pub fn last_batch(&self) -> &[Record] {
        &self.history[self.batches.last().copied().unwrap_or(0)..]
    }

    /// The outcomes of questions, in order.
    pub fn decisions(&self) -> Vec<(QuestionId, Ruling)> {
        let decided = self.history.iter().filter_map(|record| match record {
            Record::QuestionDecided { question, ruling, .. } => Some((*question, *ruling)),
            _ => None,
        });
        decided.collect()
    }

    /// Whether a message was written, or is being written.
    pub fn knows(&self, message: MessageId) -> bool {
        let is_it =
            |record: &Record| matches!(record, Record::MessageAccepted { message: known, .. } if *known == message);
        self.history.iter().any(is_it) || self.unsynced.iter().any(|records| records.iter().any(is_it))
    }

    /// Whether such a record is on disk.
    pub fn has(&self, is_it: impl Fn(&Record) -> bool) -> bool {
        self.history.iter().any(is_it)
    }

    /// How many such records are on disk.
    pub fn count(&self, is_it: impl Fn(&Record) -> bool) -> usize {
        self.history.iter().filter(|record| is_it(record)).count()
    }
}
