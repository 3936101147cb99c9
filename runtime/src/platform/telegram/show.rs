//! A running answer, shown while it is written: "typing", and in a person's own chat a message that is changed as the answer
//! grows. Groups get the answer as a whole, since every change would count against their twenty messages a minute. Nothing
//! here is owed to anybody, so what goes wrong is left out.

use super::api::{Address, Trouble};
use super::parts::Slot;
use super::send::{Desk, PART, gone, place};
use super::{pace, split, update};
use crate::platform::{Chat, Outgoing, Port, Saying};
use evergate_core::time::Instant;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// How long an answer may run before it is shown: one that is done by then comes as a whole, and at once.
const FIRST: Duration = Duration::from_millis(800);
/// How long its first words wait for more, so that what is shown first is more than a syllable.
const GATHER: Duration = Duration::from_millis(250);
/// From the first words shown to the first change: as soon as the server allows it in a chat.
const SECOND: Duration = pace::IN_A_CHAT.within;
/// Between two changes after that. The server allows one a second; the reply itself should not have to wait for its turn.
const EVERY: Duration = Duration::from_millis(1500);
/// How long after its beginning an answer is said to be written, and how often: the server shows it for five seconds.
const TYPING_FIRST: Duration = Duration::from_millis(300);
const TYPING: Duration = Duration::from_millis(4500);

/// The messages that a text has become, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The ids of its texts.
    pub ids: Vec<i64>,
    /// The ids of its files.
    files: Vec<i64>,
}

/// The same as it is kept.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    Texts(Vec<i64>),
    Both { ids: Vec<i64>, files: Vec<i64> },
}

impl Shown {
    /// Under which key they are kept: a turn's answer has the same over all its attempts, shown and sent.
    pub fn row(outgoing: &Outgoing) -> String {
        match outgoing.what {
            Saying::Reply { turn, .. } => Self::row_of_turn(turn),
            Saying::Notice { .. } | Saying::Question { .. } | Saying::Ruled { .. } => {
                format!("delivery.{}", outgoing.delivery)
            }
        }
    }

    /// Under which key the messages of a turn's answer are kept.
    pub fn row_of_turn(turn: u64) -> String {
        format!("turn.{turn}")
    }

    /// What is kept under a key.
    pub async fn kept(port: &Port, row: &str) -> Self {
        let text = port.kept(row).await.unwrap_or_else(|error| {
            tracing::warn!(platform = super::NAME, %error, "what is shown already cannot be read, and is said anew");
            None
        });
        match text.and_then(|text| serde_json::from_str(&text).ok()) {
            Some(Kept::Texts(ids)) => Self { ids, files: Vec::new() },
            Some(Kept::Both { ids, files }) => Self { ids, files },
            None => Self::default(),
        }
    }

    /// As it is kept.
    pub fn text(&self) -> String {
        if self.files.is_empty() {
            return json!(self.ids).to_string();
        }
        json!({"ids": self.ids, "files": self.files}).to_string()
    }

    /// Whether nothing of it is there.
    pub const fn is_nothing(&self) -> bool {
        self.ids.is_empty() && self.files.is_empty()
    }

    /// The message in this place.
    pub fn id(&self, slot: Slot) -> Option<i64> {
        match slot {
            Slot::Text(place) => self.ids.get(place).copied(),
            Slot::File(place) => self.files.get(place).copied(),
        }
    }

    /// The message in this place, the first that is not there yet, is this.
    pub fn add(&mut self, slot: Slot, id: i64) {
        match slot {
            Slot::Text(_) => self.ids.push(id),
            Slot::File(_) => self.files.push(id),
        }
    }

    /// The message in this place is gone, and those behind it are sent anew.
    pub fn forget_from(&mut self, slot: Slot) {
        match slot {
            Slot::Text(place) => self.ids.truncate(place),
            Slot::File(place) => self.files.truncate(place),
        }
    }
}

/// When a running answer is shown: its first words soon, the first change as early as the server allows it, the others at a
/// decent pace. Nothing is due before there are words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rhythm {
    /// Not before this.
    first_at: Instant,
    /// `None` until there are words.
    next_at: Option<Instant>,
    begun: bool,
}

impl Rhythm {
    fn begin(now: Instant) -> Self {
        Self { first_at: now + FIRST, next_at: None, begun: false }
    }

    /// There are words.
    fn heard(&mut self, now: Instant) {
        let first_at = self.first_at.max(now + GATHER);
        self.next_at.get_or_insert(first_at);
    }

    /// Whether it is time to show something.
    fn strikes(&mut self, now: Instant) -> bool {
        if self.next_at.is_none_or(|at| now < at) {
            return false;
        }
        self.next_at = Some(now + if self.begun { EVERY } else { SECOND });
        self.begun = true;
        true
    }

    /// What was to be shown has to wait until then.
    fn wait(&mut self, until: Instant) {
        self.next_at = Some(until);
    }
}

/// One running answer.
#[derive(Clone, Debug)]
pub struct Show {
    /// Its turn.
    pub turn: u64,
    to: Address,
    /// The messages that show it; what is kept of them is read before the first change.
    shown: Option<Shown>,
    /// What those messages say.
    texts: Vec<String>,
    rhythm: Rhythm,
    typing_at: Instant,
    /// Whether it is not worth going on.
    given_up: bool,
}

impl Show {
    /// An answer that begins, or goes on after a restart.
    pub fn begin(desk: &Desk, session: &str, turn: u64) -> Option<Self> {
        let reply_to = desk.port.answered(session).and_then(|native| update::message_of(&native));
        let to = Address { reply_to, ..place(&Chat::of_session(session)?)? };
        let now = desk.port.environment().now();
        Some(Self {
            turn,
            to,
            shown: None,
            texts: Vec::new(),
            rhythm: Rhythm::begin(now),
            typing_at: now + TYPING_FIRST,
            given_up: to.chat < 0,
        })
    }

    /// When there is something to do for it.
    pub fn due(&self) -> Instant {
        let next_at = self.rhythm.next_at.filter(|_| !self.given_up);
        next_at.map_or(self.typing_at, |at| at.min(self.typing_at))
    }

    /// This is what it says by now.
    pub fn heard(&mut self, now: Instant, text: &str) {
        if !text.trim().is_empty() {
            self.rhythm.heard(now);
        }
    }

    /// Where it should be said that something is being written, if it is time.
    pub fn typing(&mut self, now: Instant) -> Option<Address> {
        (self.typing_at <= now).then(|| {
            self.typing_at = now + TYPING;
            self.to
        })
    }

    /// Whether it is time to show this text.
    pub fn wants(&mut self, now: Instant, text: &str) -> bool {
        !self.given_up && self.rhythm.strikes(now) && !text.trim().is_empty()
    }

    /// Shows this much of the answer.
    pub async fn advance(&mut self, desk: &Desk, text: &str) {
        for (number, part) in split::split(text, PART).into_iter().enumerate() {
            if self.texts.get(number) == Some(&part) {
                continue;
            }
            if let Err(at) = desk.take(self.to.chat) {
                return self.rhythm.wait(at);
            }
            if let Err(trouble) = self.put(desk, number, part).await {
                return self.trouble(desk, trouble);
            }
        }
    }

    async fn put(&mut self, desk: &Desk, number: usize, part: String) -> Result<(), Trouble> {
        let row = Shown::row_of_turn(self.turn);
        let shown = match &mut self.shown {
            Some(shown) => shown,
            none => none.insert(Shown::kept(&desk.port, &row).await),
        };
        match shown.ids.get(number) {
            Some(id) => desk.api.edit(self.to.chat, *id, &part).await?,
            None => {
                let to = if number == 0 { self.to } else { Address { reply_to: None, ..self.to } };
                let id = desk.api.send(to, &part).await?;
                shown.ids.push(id);
                let text = Some(shown.text());
                if let Err(why) = desk.port.keep([(row, text)]).await {
                    tracing::debug!(
                        platform = super::NAME,
                        why,
                        "a restart now would begin the answer in a new message"
                    );
                }
            }
        }
        self.texts.truncate(number);
        self.texts.resize(number, String::new());
        self.texts.push(part);
        Ok(())
    }

    fn trouble(&mut self, desk: &Desk, trouble: Trouble) {
        match trouble {
            Trouble::SlowDown(length) => {
                desk.hold(self.to.chat, length);
                self.rhythm.wait(desk.port.environment().now() + length);
            }
            Trouble::Refused { why } if gone(&why) => {
                self.shown = self.shown.take().map(|shown| Shown { ids: Vec::new(), ..shown });
                self.given_up = true;
            }
            Trouble::NotDone(_) => {}
            trouble => {
                tracing::debug!(platform = super::NAME, %trouble, "a running answer is not shown any further");
                self.given_up = true;
            }
        }
    }

    /// What it has become; `None` where what is kept still holds.
    pub fn into_shown(self) -> Option<Shown> {
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_millis(1_000_000);

    /// When an answer is shown that speaks from one time to another, in milliseconds behind its beginning.
    fn shown(speaks: std::ops::Range<u64>) -> Vec<u64> {
        let (mut rhythm, mut shown) = (Rhythm::begin(START), Vec::new());
        for ms in 0..speaks.end {
            let now = START + Duration::from_millis(ms);
            if speaks.contains(&ms) {
                rhythm.heard(now);
            }
            if rhythm.strikes(now) {
                shown.push(ms);
            }
        }
        shown
    }

    #[test]
    fn words_are_shown_soon_changed_as_soon_as_the_server_allows_it_and_then_at_a_decent_pace() {
        assert_eq!(shown(100..5000), [800, 1800, 3300, 4800]);
        assert_eq!(shown(100..800), [0; 0], "one that is done by then comes as a whole");
        assert_eq!(shown(2000..4000), [2250, 3250], "first words that come late do not wait for a turn");
    }

    #[test]
    fn what_has_to_wait_is_due_exactly_when_it_may_go_on() {
        let mut rhythm = Rhythm::begin(START);
        rhythm.heard(START);
        assert!(rhythm.strikes(START + FIRST));
        let until = START + FIRST + Duration::from_millis(300);
        rhythm.wait(until);
        assert_eq!(rhythm.next_at, Some(until));
        assert!(rhythm.strikes(until));
    }
}
