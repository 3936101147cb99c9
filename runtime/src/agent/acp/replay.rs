//! A history as an agent replays it (`session/load`), held against the prompt that a cut turn still owes an answer to:
//! whether the agent has that prompt already, and what it has answered by then. Of a history only its end is kept.

use super::inbox::Heard;
use super::transcript::{CONTINUATION, is_continuation};

/// The end of a replayed history.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replay {
    /// The pieces of the last message of the user's.
    asked: Vec<String>,
    /// What the agent said behind it.
    answered: String,
    /// Whether anything at all was replayed.
    pub(super) heard: bool,
    /// Whether the agent did something behind it, said or not.
    worked: bool,
}

/// What the agent knows of the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The prompt is the last thing it was asked; so much of the answer it knows.
    Asked {
        /// Possibly nothing.
        answered: String,
    },
    /// It has never seen it, or something else since.
    Not,
}

impl Replay {
    /// Takes in the next thing.
    pub(super) fn hear(&mut self, heard: Heard) {
        self.heard = true;
        match heard {
            Heard::User(text) => self.hear_user(text),
            Heard::Agent(text) => {
                self.worked = true;
                self.answered.push_str(&text);
            }
            Heard::File(_) | Heard::Step => self.worked = true,
            Heard::Asked(..) | Heard::Wanted(..) => {}
            // What comes behind it is lost, so nothing is known of the end.
            Heard::Flood => *self = Self { heard: true, ..Self::default() },
        }
    }

    /// A message of the user's begins, unless it is another piece of one, or our own words after an earlier cut. An agent
    /// may have put those behind the prompt that they follow.
    fn hear_user(&mut self, text: String) {
        if is_continuation(&text) {
            return;
        }
        if self.worked {
            *self = Self { heard: true, ..Self::default() };
        }
        let text = text.split_once(CONTINUATION).map_or(text.as_str(), |(prompt, _)| prompt).to_owned();
        self.asked.push(text);
    }

    /// Whether the agent was asked this last. The pieces of a message and several messages without an answer between them
    /// look the same.
    pub(super) fn knows(&self, prompt: &str) -> Known {
        let is_it = (0..self.asked.len()).any(|from| self.asked[from..].concat().trim() == prompt.trim());
        if is_it { Known::Asked { answered: self.answered.clone() } } else { Known::Not }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::acp::transcript::continuation;

    fn replay(history: &[(&str, &str)]) -> Replay {
        let mut replay = Replay::default();
        for (who, text) in history {
            replay.hear(match *who {
                "user" => Heard::User((*text).to_owned()),
                "agent" => Heard::Agent((*text).to_owned()),
                _ => Heard::Step,
            });
        }
        replay
    }

    fn asked(answered: &str) -> Known {
        Known::Asked { answered: answered.into() }
    }

    #[test]
    fn a_prompt_that_stands_last_is_known_with_what_was_answered() {
        assert_eq!(replay(&[]).knows("now"), Known::Not);
        assert_eq!(replay(&[("user", "before"), ("agent", "yes")]).knows("now"), Known::Not);
        assert_eq!(replay(&[("user", "now"), ("agent", "yes"), ("user", "later")]).knows("now"), Known::Not);
        assert_eq!(replay(&[("user", "before"), ("agent", "yes"), ("user", "now ")]).knows("now"), asked(""));
        assert_eq!(
            replay(&[("user", "now"), ("agent", "be"), ("tool", ""), ("agent", "gun")]).knows("now"),
            asked("begun")
        );
    }

    #[test]
    fn pieces_of_a_message_are_one_and_an_unanswered_message_before_it_does_not_matter() {
        assert_eq!(replay(&[("user", "no"), ("user", "w")]).knows("now"), asked(""));
        assert_eq!(replay(&[("user", "unanswered"), ("user", "now")]).knows("now"), asked(""));
    }

    #[test]
    fn our_own_words_after_an_earlier_cut_are_no_message() {
        let words = continuation("");
        let history = [("user", "now"), ("agent", "be"), ("user", words.as_str()), ("agent", "gun")];
        assert_eq!(replay(&history).knows("now"), asked("begun"));
        let merged = format!("now\n\n{}", continuation("seen"));
        assert_eq!(replay(&[("user", &merged)]).knows("now"), asked(""));
    }

    #[test]
    fn of_a_history_that_is_too_much_nothing_is_known() {
        let mut replay = replay(&[("user", "now")]);
        replay.hear(Heard::Flood);
        assert_eq!(replay.knows("now"), Known::Not);
    }
}
