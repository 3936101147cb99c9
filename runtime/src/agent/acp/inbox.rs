//! What the agent says into one session while a turn listens: gathered within limits until the turn takes it. Filling it
//! never waits, since one process speaks for many sessions.

use super::errand::Errand;
use super::wire::{Blob, Permission};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Things that may wait beside text: permissions, and changes between texts and steps.
const ENTRIES: usize = 10_000;

/// As much of what is no text may wait, in bytes.
const FILES: usize = 32 << 20;

/// What was said and not yet taken.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    news: Notify,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    heard: VecDeque<Heard>,
    bytes: usize,
    file_bytes: usize,
}

/// One thing that a turn hears.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// A piece of the user's own message, when a history is replayed.
    User(String),
    /// Some of the answer.
    Agent(String),
    /// A part of the answer that is no text.
    File(Blob),
    /// One or more steps without text.
    Step,
    /// The agent asks before it does something, and waits for an answer under this id.
    Asked(Value, Permission),
    /// The agent wants something done, and waits for an answer under this id.
    Wanted(Value, Errand),
    /// More was said than may wait; the rest is lost.
    Flood,
}

/// Why something is lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// There is no room for it; the turn hears so.
    NoRoom,
    /// The turn takes no more.
    Closed,
}

impl Inbox {
    /// An empty one, for that much text.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { state: Mutex::default(), news: Notify::new(), most_bytes }
    }

    /// Puts something in, if there is room.
    pub(super) fn put(&self, heard: Heard) -> Result<(), Lost> {
        let mut state = self.state();
        let state = &mut *state;
        if state.is_closed {
            return Err(Lost::Closed);
        }
        if state.heard.back() == Some(&Heard::Flood) {
            return Err(Lost::NoRoom);
        }
        let size = match &heard {
            Heard::User(text) | Heard::Agent(text) => text.len(),
            _ => 0,
        };
        let file_size = match &heard {
            Heard::File(blob) => blob.size(),
            Heard::Wanted(_, errand) => errand.size(),
            _ => 0,
        };
        let is_full = state.bytes + size > self.most_bytes || state.file_bytes + file_size > FILES;
        let is_full = is_full || state.heard.len() >= ENTRIES;
        if is_full && matches!(heard, Heard::Wanted(..)) {
            // The agent hears of this by the answer, so nothing is lost.
            return Err(Lost::NoRoom);
        }
        if is_full {
            state.heard.push_back(Heard::Flood);
            self.news.notify_one();
            return Err(Lost::NoRoom);
        }
        state.bytes += size;
        state.file_bytes += file_size;
        match (state.heard.back_mut(), heard) {
            (Some(Heard::Agent(before)), Heard::Agent(text)) => before.push_str(&text),
            (Some(Heard::Step), Heard::Step) => {}
            (_, heard) => state.heard.push_back(heard),
        }
        self.news.notify_one();
        Ok(())
    }

    /// Takes all that is there.
    pub(super) fn take(&self) -> VecDeque<Heard> {
        let mut state = self.state();
        (state.bytes, state.file_bytes) = (0, 0);
        std::mem::take(&mut state.heard)
    }

    /// Takes all that is there, and nothing is put in any more: whoever calls hears that it is too late.
    pub(super) fn close(&self) -> VecDeque<Heard> {
        let mut state = self.state();
        state.is_closed = true;
        std::mem::take(&mut state.heard)
    }

    /// Waits until there may be something to take.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_grow_together_and_messages_of_the_user_stay_apart() {
        let inbox = Inbox::new(100);
        for text in ["a", "b"] {
            inbox.put(Heard::User(text.into())).unwrap();
        }
        for heard in [Heard::Agent("c".into()), Heard::Agent("d".into()), Heard::Step, Heard::Step] {
            inbox.put(heard).unwrap();
        }
        let expected = [Heard::User("a".into()), Heard::User("b".into()), Heard::Agent("cd".into()), Heard::Step];
        assert_eq!(inbox.take(), expected);
        assert!(inbox.take().is_empty());
    }

    #[test]
    fn an_errand_that_finds_no_room_costs_nothing_else() {
        let inbox = Inbox::new(10);
        let write = || Errand::Write { path: "/w/a".into(), content: "x".repeat(FILES / 2 + 1) };
        inbox.put(Heard::Wanted(1.into(), write())).unwrap();
        assert!(inbox.put(Heard::Wanted(2.into(), write())).is_err());
        inbox.put(Heard::Step).unwrap();
        assert_eq!(inbox.take(), [Heard::Wanted(1.into(), write()), Heard::Step]);
        inbox.put(Heard::Wanted(3.into(), write())).unwrap();
    }

    #[test]
    fn a_closed_one_gives_what_is_there_and_takes_nothing_more() {
        let inbox = Inbox::new(10);
        inbox.put(Heard::Step).unwrap();
        assert_eq!(inbox.close(), [Heard::Step]);
        let read = Heard::Wanted(1.into(), Errand::Write { path: "/w/a".into(), content: String::new() });
        assert_eq!(inbox.put(read), Err(Lost::Closed));
        assert!(inbox.take().is_empty());
    }

    #[test]
    fn a_flood_is_told_once_behind_what_came_before_it() {
        let inbox = Inbox::new(10);
        inbox.put(Heard::Agent("12345678".into())).unwrap();
        assert!(inbox.put(Heard::Agent("901".into())).is_err());
        assert!(inbox.put(Heard::Step).is_err());
        assert_eq!(inbox.take(), [Heard::Agent("12345678".into()), Heard::Flood]);
        assert!(inbox.put(Heard::Step).is_ok());
    }
}
