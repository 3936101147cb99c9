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
    /// What to say.
    pub words: &'static str,
    /// The turn that ran there then.
    pub(super) behind: Option<u64>,
}

/// What is said of a message in this place; nothing where it is worked on, as everybody expects.
const fn words(place: Place) -> Option<&'static str> {
    match place {
        Place::Running => None,
        Place::Queued => Some("Noted: this waits for its turn."),
        Place::Collected => Some("Noted: this is answered together with what else is said here until then."),
        Place::Interrupting => Some("Noted: the running answer ends, and this comes next."),
    }
}

/// What authors of one platform were told, and what is to be told yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// In each session the last word, and the turn that ran when it was said.
    told: BTreeMap<String, (Option<u64>, Place)>,
    untaken: VecDeque<Waits>,
}

impl Waiting {
    /// A message was accepted while this turn ran; says whether there is something to be told.
    pub(super) fn note(&mut self, chat: Chat, native: String, place: Place, behind: Option<u64>) -> bool {
        let Some(words) = words(place) else { return false };
        let session = chat.session();
        if self.told.get(&session) == Some(&(behind, place)) {
            return false;
        }
        if self.told.len() >= SESSIONS {
            self.told.clear();
        }
        self.told.insert(session, (behind, place));
        if self.untaken.len() >= UNTAKEN {
            self.untaken.pop_front();
        }
        self.untaken.push_back(Waits { chat, native, words, behind });
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
        let mut said = |room: &str, native: &str, place, turn| waiting.note(chat(room), native.into(), place, turn);
        assert!(!said("a", "1", Place::Running, None), "it is worked on, as everybody expects");
        assert!(said("a", "2", Place::Queued, Some(1)));
        assert!(!said("a", "3", Place::Queued, Some(1)), "that was said");
        assert!(said("b", "4", Place::Queued, Some(2)), "not there");
        assert!(!said("a", "/status", Place::Running, Some(1)));
        assert!(!said("a", "5", Place::Queued, Some(1)), "a command changes nothing");
        assert!(said("a", "6", Place::Interrupting, Some(1)));
        assert!(said("a", "7", Place::Queued, Some(3)), "behind another answer");
        let told: Vec<_> = std::iter::from_fn(|| waiting.take()).map(|waits| waits.native).collect();
        assert_eq!(told, ["2", "4", "6", "7"]);
    }

    #[test]
    fn where_nobody_takes_them_words_do_not_pile_up() {
        let mut waiting = Waiting::default();
        for number in 0..3 * SESSIONS {
            waiting.note(chat(&number.to_string()), "1".into(), Place::Collected, None);
        }
        assert!(waiting.told.len() <= SESSIONS);
        assert_eq!(std::iter::from_fn(|| waiting.take()).count(), UNTAKEN);
    }
}
