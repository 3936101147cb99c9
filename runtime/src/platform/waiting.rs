//! The word for the author of a message that is not worked on at once: what really happens to it. A courtesy, told once for all
//! that wait behind the same answer, and never owed.

use super::Chat;
use evergate_core::effect::Place;
use std::collections::{BTreeMap, VecDeque};

/// Words that an adapter has not taken yet; the oldest are left out above that.
const UNTAKEN: usize = 64;
/// Sessions of which is known what was told there.
const SESSIONS: usize = 4096;

/// A message that waits, and whose author should be told so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Where it was said.
    pub chat: Chat,
    /// The platform's own id of it.
    pub native: String,
    place: Place,
}

impl Waits {
    /// What to say.
    #[must_use]
    pub const fn words(&self) -> &'static str {
        match self.place {
            Place::Running => "Noted: this is being worked on.",
            Place::Queued => "Noted: this waits for its turn.",
            Place::Collected => "Noted: this is answered together with what else is said here until then.",
            Place::Interrupting => "Noted: the running answer ends, and this comes next.",
        }
    }
}

/// What authors of one platform were told, and what is to be told yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    told: BTreeMap<String, Place>,
    untaken: VecDeque<Waits>,
}

impl Waiting {
    /// A message was accepted; says whether there is something to be told.
    pub(super) fn note(&mut self, chat: Chat, native: String, place: Place) -> bool {
        let session = chat.session();
        if place == Place::Running {
            self.told.remove(&session);
            return false;
        }
        if self.told.get(&session) == Some(&place) {
            return false;
        }
        if self.told.len() >= SESSIONS {
            self.told.clear();
        }
        self.told.insert(session, place);
        if self.untaken.len() >= UNTAKEN {
            self.untaken.pop_front();
        }
        self.untaken.push_back(Waits { chat, native, place });
        true
    }

    /// The next that is to be told.
    pub(super) fn take(&mut self) -> Option<Waits> {
        self.untaken.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(chat: &str) -> Chat {
        Chat { platform: "somewhere".into(), chat: chat.into(), thread: None }
    }

    #[test]
    fn all_that_wait_behind_one_answer_are_told_once_and_what_is_another_thing_is_told_too() {
        let mut waiting = Waiting::default();
        let mut said = |room: &str, native: &str, place| waiting.note(chat(room), native.into(), place);
        assert!(!said("a", "1", Place::Running), "it is worked on, as everybody expects");
        assert!(said("a", "2", Place::Queued));
        assert!(!said("a", "3", Place::Queued), "that was said");
        assert!(said("b", "4", Place::Queued), "not there");
        assert!(said("a", "5", Place::Interrupting));
        assert!(!said("a", "6", Place::Running));
        assert!(said("a", "7", Place::Queued), "behind another answer");
        let told: Vec<_> = std::iter::from_fn(|| waiting.take()).map(|waits| waits.native).collect();
        assert_eq!(told, ["2", "4", "5", "7"]);
    }

    #[test]
    fn where_nobody_takes_them_words_do_not_pile_up() {
        let mut waiting = Waiting::default();
        for number in 0..3 * SESSIONS {
            waiting.note(chat(&number.to_string()), "1".into(), Place::Collected);
        }
        assert!(waiting.told.len() <= SESSIONS);
        assert_eq!(std::iter::from_fn(|| waiting.take()).count(), UNTAKEN);
    }
}
