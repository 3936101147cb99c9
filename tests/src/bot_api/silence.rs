//! How long the bot did not poll: the time during which a message would have waited for nobody's fault but the bot's.

use serde_json::{Value, json};

/// The longest time without a poll, in milliseconds, since the last look.
#[derive(Debug, Default)]
pub struct Silence {
    /// Polls that are held right now.
    polls: usize,
    silent_since: Option<u64>,
    longest: u64,
    begun: usize,
}

impl Silence {
    /// A poll began.
    pub fn begun(&mut self, now_ms: u64) {
        if let Some(since) = self.silent_since.take() {
            self.longest = self.longest.max(now_ms.saturating_sub(since));
        }
        self.polls += 1;
        self.begun += 1;
    }

    /// A poll was answered, or its client is gone.
    pub fn over(&mut self, now_ms: u64) {
        self.polls = self.polls.saturating_sub(1);
        if self.polls == 0 {
            self.silent_since = Some(now_ms);
        }
    }

    /// Counts anew from now on.
    pub fn reset(&mut self, now_ms: u64) {
        self.longest = 0;
        self.begun = 0;
        self.silent_since = self.silent_since.map(|_| now_ms);
    }

    /// For the test; a silence that lasts counts.
    pub fn account(&self, now_ms: u64) -> Value {
        let lasting = self.silent_since.map_or(0, |since| now_ms.saturating_sub(since));
        json!({"longest_ms": self.longest.max(lasting), "polls": self.begun})
    }
}
