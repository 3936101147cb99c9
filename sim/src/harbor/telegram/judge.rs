//! The judge of one chat: what people said there against what the gateway took in, and what it owed against what stands
//! there. Each text stands there once and in order; it may stand there again, marked, only if an answer to a send may really
//! have been lost, and be missing only if it was dropped for that reason and, of an answer, a word says so.

use super::super::logbook::Mark;
use super::books::{Books, Lost, Post};
use evergate_core::limits::Limits;
use evergate_core::outbox::Uncertain;

/// How a text begins that may be there already.
const TWICE: &str = "(possibly sent twice)\n";
/// How the word about a message that was not taken begins.
pub const FULL: &str = "Too much waits here already";
/// How the word for the author of a message that waits begins: a courtesy, owed to nobody.
const NOTED: &str = "Noted: ";
/// What an answer that is only begun reads like.
const PIECE: &str = "I was about";

/// What the gateway owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The text.
    pub text: String,
    /// Of which kind.
    pub owes: Owes,
    /// The turn that it is about.
    pub turn: Option<u64>,
    /// Which change of the gateway's life it tells of, if it does only that.
    pub lifecycle: Option<String>,
}

/// Of which kind a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owes {
    /// An answer.
    Reply,
    /// A word of the gateway itself.
    Notice,
}

/// All that is known of a chat.
pub struct Seen<'a> {
    /// What the server knows.
    pub books: &'a Books,
    /// The chat.
    pub chat: i64,
    /// What the gateway took in, in order.
    pub heard: Vec<String>,
    /// What it owed, in order.
    pub owed: Vec<Owed>,
    /// What it does about sends that stay unknown.
    pub limits: &'a Limits,
}

/// What the judge has to say.
#[derive(Default)]
pub struct Found {
    /// Rules that broke.
    pub broken: Vec<(&'static str, String)>,
    /// Places that were reached.
    pub marks: Vec<Mark>,
}

impl Seen<'_> {
    /// Judges the chat.
    #[must_use]
    pub fn judge(&self) -> Found {
        let mut found = Found::default();
        self.heard_all(&mut found);
        self.shown_all(&mut found);
        self.noted_once(&mut found);
        found
    }

    fn posts(&self) -> Vec<&Post> {
        let mut posts: Vec<_> = self.books.posts.get(&self.chat).into_iter().flatten().collect();
        posts.sort_by_key(|post| post.change);
        posts
    }

    /// What people said was taken in once and in order, or a word told them that it was not.
    fn heard_all(&self, found: &mut Found) {
        let said = self.books.said.get(&self.chat).map(Vec::as_slice).unwrap_or_default();
        let mut heard = self.heard.iter().peekable();
        let missing: Vec<_> = said.iter().filter(|text| heard.next_if_eq(text).is_none()).collect();
        if let Some(again) = heard.next() {
            let what = format!("{again:?} was taken in again or out of order: {:?} of {said:?}", self.heard);
            found.broken.push(("ONCE", what));
        }
        let words = self.posts().iter().filter(|post| post.text.starts_with(FULL)).count();
        if missing.len() > words {
            let what = format!("{missing:?} were given out and forgotten, and {words} words told of it");
            found.broken.push(("ACK", what));
        }
    }

    /// What was owed stands there.
    fn shown_all(&self, found: &mut Found) {
        let (mut next, mut copies, mut before_ms, mut last_ms) = (0, 0, 0, 0);
        for post in self.posts() {
            let marked = post.text.strip_prefix(TWICE);
            let text = marked.unwrap_or(&post.text);
            let ahead = self.owed[next..].iter().position(|owed| owed.text == text);
            let repeats = next > 0 && self.owed[next - 1].text == text;
            match ahead {
                // Of two that read the same the one whose turn it is was meant.
                Some(skipped) if skipped == 0 || !(repeats && marked.is_some()) => {
                    self.owed[next..next + skipped].iter().for_each(|owed| self.excuse(owed, found));
                    (next, copies, before_ms) = (next + skipped + 1, 0, last_ms);
                }
                _ if repeats && (marked.is_some() || self.is_twin(next)) => {}
                _ if self.may_stand_alone(post) => continue,
                _ => {
                    let what = format!(
                        "{:?} (message {}) stands there and was not owed, or not once more",
                        post.text, post.id
                    );
                    found.broken.push(("REPLY", what));
                    continue;
                }
            }
            if marked.is_some() {
                copies += 1;
                found.marks.push(Mark::ShownTwiceMarked);
                if self.doubts(text, before_ms, post.done_ms) < copies {
                    let what = format!("{:?} is marked, and no answer to its sends was lost", post.text);
                    found.broken.push(("REPLY", what));
                }
            }
            last_ms = post.done_ms;
        }
        self.owed[next..].iter().for_each(|owed| self.excuse(owed, found));
    }

    /// No author was told more than once for each message that it waits.
    fn noted_once(&self, found: &mut Found) {
        let noted = self.posts().iter().filter(|post| post.text.starts_with(NOTED)).count();
        if noted > self.heard.len() {
            let what = format!("{noted} words told of messages that wait, and {} were taken in", self.heard.len());
            found.broken.push(("REPLY", what));
        }
    }

    /// Whether the two last ones of what was shown read the same.
    fn is_twin(&self, next: usize) -> bool {
        next > 1 && self.owed[next - 1].text == self.owed[next - 2].text
    }

    /// How many sends of this text within this time may have brought no answer.
    fn doubts(&self, text: &str, from_ms: u64, to_ms: u64) -> usize {
        let within = |at_ms: u64| (from_ms..=to_ms).contains(&at_ms);
        let lost = self.books.lost.iter().filter(|lost| {
            lost.chat == self.chat && lost.text.strip_prefix(TWICE).unwrap_or(&lost.text) == text && within(lost.at_ms)
        });
        lost.count() + self.books.disturbed.iter().filter(|at_ms| within(**at_ms)).count()
    }

    /// Whether something that was owed may be missing.
    fn excuse(&self, owed: &Owed, found: &mut Found) {
        let bearable = match self.limits.uncertain {
            Uncertain::Drop => 1,
            Uncertain::Report => usize::try_from(self.limits.unknown_sends).unwrap_or(usize::MAX),
        };
        if self.doubts(&owed.text, 0, u64::MAX) < bearable {
            return found.broken.push(("REPLY", format!("{:?} was owed and does not stand there", owed.text)));
        }
        let word = |other: &Owed| other.turn == owed.turn && other.text.starts_with("An answer may be missing");
        if owed.owes == Owes::Reply && !self.owed.iter().any(word) {
            return found.broken.push(("REPLY", format!("{:?} was dropped without a word", owed.text)));
        }
        found.marks.push(Mark::DroppedWithAWord);
    }

    /// Whether a message may be there that was not owed: a word of the receiver, or the beginning of an answer that
    /// came to nothing, or of which the gateway did not hear.
    fn may_stand_alone(&self, post: &Post) -> bool {
        let failed = || self.owed.iter().any(|owed| owed.text.starts_with("No answer"));
        let of_this = |send: &Lost| send.chat == self.chat && send.text == post.text && send.at_ms >= post.first_ms;
        let unread = || self.books.unread.iter().any(of_this);
        let unheard = || unread() || self.doubts(&post.text, post.first_ms, u64::MAX) > 0;
        [FULL, NOTED].iter().any(|word| post.text.starts_with(word)) || (post.text == PIECE && (failed() || unheard()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: i64 = 101;

    fn owed(text: &str) -> Owed {
        Owed { text: text.into(), owes: Owes::Reply, turn: Some(1), lifecycle: None }
    }

    /// What is found where `one` and `two` were said, taken in and owed, and this is done by the bot.
    fn found(uncertain: Uncertain, does: impl FnOnce(&mut Books)) -> Vec<&'static str> {
        let mut books = Books::default();
        books.write(CHAT, "one");
        books.write(CHAT, "two");
        does(&mut books);
        let limits = Limits { uncertain, ..Limits::default() };
        let heard = vec!["one".into(), "two".into()];
        let seen = Seen { books: &books, chat: CHAT, heard, owed: vec![owed("1"), owed("2")], limits: &limits };
        seen.judge().broken.into_iter().map(|(invariant, _)| invariant).collect()
    }

    fn loses(books: &mut Books, text: &str) {
        books.lost.push(Lost { chat: CHAT, text: text.into(), at_ms: 5 });
    }

    #[test]
    fn each_once_and_in_order_is_in_order_and_anything_else_is_found() {
        let says = |texts: &'static [&'static str]| {
            found(Uncertain::Report, |books| {
                for (at, text) in texts.iter().enumerate() {
                    books.send(10 * at as u64, CHAT, text);
                }
            })
        };
        assert_eq!(says(&["1", "2"]), [""; 0]);
        assert_eq!(says(&["1"]), ["REPLY"]);
        assert_eq!(says(&["2", "1"]), ["REPLY", "REPLY"]);
        assert_eq!(says(&["1", "1", "2"]), ["REPLY"]);
        assert_eq!(says(&["1", "2", "hello"]), ["REPLY"]);
        assert_eq!(says(&["I was about", "1", "2"]), ["REPLY"]);
        assert_eq!(says(&["1", "(possibly sent twice)\n1", "2"]), ["REPLY"]);
        assert_eq!(says(&["Noted: this waits for its turn.", "1", "2"]), [""; 0]);
        assert_eq!(
            says(&["Noted: a", "Noted: b", "1", "2", "Noted: c"]),
            ["REPLY"],
            "two messages wait, and three are told"
        );
    }

    #[test]
    fn a_marked_repeat_is_right_as_often_as_an_answer_was_lost() {
        let twice = |copies: usize| {
            found(Uncertain::Report, |books| {
                books.send(1, CHAT, "1");
                loses(books, "1");
                for _ in 0..copies {
                    books.send(10, CHAT, "(possibly sent twice)\n1");
                }
                books.send(20, CHAT, "2");
            })
        };
        assert_eq!(twice(1), [""; 0]);
        assert_eq!(twice(2), ["REPLY"]);
    }

    #[test]
    fn what_is_dropped_needs_a_reason_and_a_word() {
        let dropped = |lost: bool| {
            found(Uncertain::Drop, |books| {
                if lost {
                    loses(books, "1");
                }
                books.send(20, CHAT, "2");
            })
        };
        assert_eq!((dropped(true), dropped(false)), (vec!["REPLY"], vec!["REPLY"]));
    }

    #[test]
    fn an_answer_that_was_shown_while_it_grew_counts_when_it_is_whole() {
        let grown = found(Uncertain::Report, |books| {
            let id = books.send(1, CHAT, "I was about");
            books.edit(9, CHAT, id, "1").unwrap();
            books.send(20, CHAT, "2");
        });
        assert_eq!(grown, [""; 0]);
    }

    #[test]
    fn a_beginning_stays_where_the_answer_to_its_send_could_not_be_read() {
        let begun = |unread: &'static [&'static str]| {
            found(Uncertain::Report, |books| {
                books.send(1, CHAT, "I was about");
                let send = |text: &&str| Lost { chat: CHAT, text: (*text).into(), at_ms: 1 };
                books.unread.extend(unread.iter().map(send));
                books.send(10, CHAT, "1");
                books.send(20, CHAT, "2");
            })
        };
        assert_eq!((begun(&["I was about"]), begun(&["1"])), (vec![], vec!["REPLY"]));
    }

    #[test]
    fn only_what_is_below_the_offset_is_forgotten() {
        let mut books = Books::default();
        books.write(CHAT, "one");
        books.write(CHAT, "two");
        let ids = |given: Vec<serde_json::Value>| -> Vec<i64> {
            given.iter().filter_map(|update| update["update_id"].as_i64()).collect()
        };
        let (all, again) = books.give(0);
        let all = ids(all);
        assert!(all.len() == 2 && !again);
        let (same, again) = books.give(all[0]);
        assert!(ids(same) == all && again, "given again until it is confirmed");
        assert_eq!(ids(books.give(all[1]).0), all[1..]);
        assert_eq!((ids(books.give(all[1] + 1).0), books.waiting()), (Vec::new(), 0));
    }
}
