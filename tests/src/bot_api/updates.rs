//! The updates that wait for the bot, under the rules of the real server: asking from an offset on confirms everything
//! below it for ever, and everything else is given again, however often it was given.

use serde_json::{Value, json};
use std::collections::VecDeque;

/// Confirmed updates that could be given again.
const RECENT: usize = 20;

/// Updates that are not confirmed.
#[derive(Debug, Default)]
pub struct Updates {
    last: i64,
    waiting: VecDeque<(i64, Value)>,
    /// The last that were confirmed.
    recent: VecDeque<(i64, Value)>,
    confirmed: usize,
    given_again: usize,
    highest_given: i64,
}

impl Updates {
    /// The first has a large number, as those of the real server have.
    pub fn new() -> Self {
        Self { last: 700_000_000, ..Self::default() }
    }

    /// One more, under the next number, which is given back.
    pub fn push(&mut self, mut update: Value) -> i64 {
        self.last += 1;
        update["update_id"] = self.last.into();
        self.waiting.push_back((self.last, update));
        self.last
    }

    /// The oldest that waits.
    pub fn first(&self) -> Option<Value> {
        self.waiting.front().map(|(_, update)| update.clone())
    }

    /// What a poll is given: everything below the offset is confirmed; a negative offset counts from the end.
    pub fn take(&mut self, offset: i64, limit: usize) -> Vec<Value> {
        let offset = match offset {
            0 => 0,
            from_the_end if from_the_end < 0 => (self.last + 1 + from_the_end).max(0),
            offset => offset,
        };
        while self.waiting.front().is_some_and(|(id, _)| *id < offset) {
            self.recent.extend(self.waiting.pop_front());
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
            self.confirmed += 1;
        }
        let given: Vec<_> = self.waiting.iter().take(limit).map(|(_, update)| update.clone()).collect();
        for update in &given {
            let id = update["update_id"].as_i64().unwrap_or(0);
            if id <= self.highest_given {
                self.given_again += 1;
            }
            self.highest_given = self.highest_given.max(id);
        }
        given
    }

    /// Hands out again what was confirmed lately, under new numbers: the real server does so when it has lost its memory.
    pub fn give_again(&mut self) {
        for (_, update) in std::mem::take(&mut self.recent) {
            self.push(update);
        }
    }

    /// Forgets all that wait, as `drop_pending_updates` does.
    pub fn forget(&mut self) {
        self.waiting.clear();
    }

    /// For the test.
    pub fn account(&self) -> Value {
        json!({"waiting": self.waiting.len(), "confirmed": self.confirmed, "given_again": self.given_again})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(updates: &[Value]) -> Vec<i64> {
        updates.iter().filter_map(|update| update["update_id"].as_i64()).collect()
    }

    #[test]
    fn an_offset_confirms_what_is_below_it_and_nothing_else() {
        let mut updates = Updates::new();
        let first = updates.push(json!({}));
        let second = updates.push(json!({}));
        assert_eq!(ids(&updates.take(0, 100)), [first, second]);
        assert_eq!(ids(&updates.take(0, 100)), [first, second], "given again until confirmed");
        assert_eq!(ids(&updates.take(second, 100)), [second]);
        assert_eq!(ids(&updates.take(first, 100)), [second], "a confirmation is not taken back");
        assert_eq!(ids(&updates.take(-1, 100)), [second], "a negative offset counts from the end");
        assert!(updates.take(second + 1, 100).is_empty());
    }
}
