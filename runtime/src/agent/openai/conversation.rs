//! What a model is told: the conversation as the journal has it, as much of it as fits. It reads the session's kept events:
//! a reply names the messages that it answers, and `/new` leaves a notice with the number of the conversation that it began.

use super::super::Assignment;
use super::remarks::{self, Remarks};
use super::{Settings, World};
use crate::journal::{Event, Journal, JournalError};
use evergate_core::id::{MessageId, SessionId};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Events read at once.
const PAGE: usize = 500;
/// Sessions whose mark is remembered.
const MARKS: usize = 4096;
/// Bytes that count as one token. Tokens of English have about four; scripts that need three bytes a character have about one
/// token for each. So the estimate is on the safe side.
const BYTES_A_TOKEN: usize = 3;
/// What a message costs beside its text.
const A_MESSAGE: u64 = 4;
/// What asks a model to go on.
const GO_ON: &str = "[Your answer was cut off by a restart. Go on exactly where it stopped, in the middle of a word if need be. Do \
                     not repeat anything of it, and do not mention the interruption.]";

/// How many tokens a text has, about.
fn tokens(text: &str) -> u64 {
    A_MESSAGE + text.len().div_ceil(BYTES_A_TOKEN) as u64
}

/// Where the reading of a conversation begins, and what was found before that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    /// Behind this event.
    after: u64,
    /// The turns up to this one belong to an earlier conversation.
    over: u64,
    /// The last turn that was opened.
    opened: u64,
    /// Exchanges that do not fit and never will.
    left_out: usize,
    /// Whether a reply has said that the conversation is cut.
    cut_told: bool,
}

/// The marks of conversations, by session: what stands before one is not read again, so that a turn costs what its model is
/// told and not what was ever said. One that is lost costs a longer reading.
#[derive(Default)]
pub(super) struct Marks(Mutex<BTreeMap<SessionId, Mark>>);

impl Marks {
    fn of(&self, session: SessionId) -> Mark {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&session).copied().unwrap_or_default()
    }

    fn set(&self, session: SessionId, mark: Mark) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.len() >= MARKS && !marks.contains_key(&session) {
            marks.pop_first();
        }
        marks.insert(session, mark);
    }
}

/// What the events that concern a conversation say.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    turn: u64,
    messages: Vec<u64>,
    text: String,
    conversation: Option<u32>,
}

/// A reply, and what it answers.
#[derive(Debug, PartialEq, Eq)]
struct Exchange {
    /// The reply's event.
    event: u64,
    messages: Vec<u64>,
    answer: String,
}

/// What was said before a turn, the oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Past {
    exchanges: VecDeque<Exchange>,
    /// What their answers have together.
    tokens: u64,
    mark: Mark,
}

/// As much of it as fits.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fitting {
    /// Questions with their answers, the oldest first.
    exchanges: VecDeque<(String, String)>,
    /// Exchanges before these.
    left_out: usize,
    cut_told: bool,
}

impl Past {
    /// Reads the conversation of the assignment's session up to its turn. What no turn could be told within `most` tokens is
    /// counted, and is not read again.
    fn read(journal: &dyn Journal, marks: &Marks, of: &Assignment, most: u64) -> Result<Self, JournalError> {
        let Some(session) = journal.session(&of.session)? else { return Ok(Self::default()) };
        let mark = marks.of(session);
        let (mut past, mut after) = (Self { mark, ..Self::default() }, mark.after);
        loop {
            let events = journal.events(session, after, PAGE)?;
            let Some(last) = events.last() else { break };
            after = last.id;
            for event in &events {
                past.take(event, of, most);
            }
        }
        marks.set(session, past.mark);
        Ok(past)
    }

    fn take(&mut self, event: &Event, of: &Assignment, most: u64) {
        if !matches!(event.name(), "turn" | "notice" | "reply") {
            return;
        }
        let told: Told = serde_json::from_str(event.data()).unwrap_or_default();
        match event.name() {
            "turn" => self.mark.opened = self.mark.opened.max(told.turn),
            // One that begins while a turn of the conversation before it is open does not concern that turn.
            "notice" if told.conversation.is_some_and(|number| number <= of.conversation) => {
                let opened = self.mark.opened;
                *self =
                    Self { mark: Mark { after: event.id, over: opened, opened, ..Mark::default() }, ..Self::default() };
            }
            "reply" if told.turn > self.mark.over && told.turn < of.turn => self.add(event.id, told, most),
            _ => {}
        }
    }

    fn add(&mut self, event: u64, told: Told, most: u64) {
        let (answer, cut_told) = remarks::without(&told.text);
        self.mark.cut_told |= cut_told;
        self.tokens += tokens(answer);
        self.exchanges.push_back(Exchange { event, messages: told.messages, answer: answer.to_owned() });
        while self.tokens > most {
            let Some(left_out) = self.exchanges.pop_front() else { break };
            self.tokens -= tokens(&left_out.answer);
            self.mark.after = left_out.event;
            self.mark.left_out += 1;
        }
    }

    /// The last of it, as many exchanges as fit into `room` tokens.
    fn fitting(mut self, journal: &dyn Journal, room: u64) -> Result<Fitting, JournalError> {
        let (all, mut left, mut exchanges) = (self.exchanges.len(), room, VecDeque::new());
        while let Some(exchange) = self.exchanges.pop_back() {
            let question = question(journal, &exchange.messages)?;
            let cost = tokens(&question) + tokens(&exchange.answer);
            let Some(rest) = left.checked_sub(cost) else { break };
            left = rest;
            exchanges.push_front((question, exchange.answer));
        }
        let left_out = self.mark.left_out + all - exchanges.len();
        Ok(Fitting { exchanges, left_out, cut_told: self.mark.cut_told })
    }
}

fn question(journal: &dyn Journal, messages: &[u64]) -> Result<String, JournalError> {
    let mut questions = Vec::new();
    for message in messages {
        questions.extend(journal.message(MessageId(*message))?.map(|message| message.text));
    }
    Ok(questions.join("\n"))
}

/// The messages of a request: the past, the question, and what has been said of the answer; and what the reader of the answer
/// has to know about them.
pub(super) async fn messages(
    world: &World,
    settings: &Settings,
    system: &str,
    assignment: &Assignment,
) -> Result<(Vec<Value>, Remarks), JournalError> {
    let fixed = tokens(system) + tokens(&assignment.prompt) + tokens(&assignment.said) + tokens(GO_ON);
    let room = settings.context_tokens.saturating_sub(fixed);
    let (marks, of, most) = (Arc::clone(&world.marks), assignment.clone(), settings.context_tokens);
    // A long conversation must not hold up everybody else's.
    let read = world.reader.read(move |journal| Past::read(journal, &marks, &of, most)?.fitting(journal, room));
    let past = read.await?;
    let (mut messages, mut remarks) = (Vec::new(), Remarks::default());
    let mut say = |role: &str, text: &str| messages.push(json!({"role": role, "content": text}));
    if !system.is_empty() {
        say("system", system);
    }
    if past.left_out > 0 {
        tracing::info!(
            turn = assignment.turn,
            session = assignment.session,
            left_out = past.left_out,
            context_tokens = settings.context_tokens,
            "the beginning of the conversation does not fit and is not told to the model"
        );
        say("system", &left_out(past.left_out));
        if !past.cut_told {
            remarks = remarks.cut_begins();
        }
    }
    for (question, answer) in &past.exchanges {
        say("user", question);
        say("assistant", answer);
    }
    say("user", &assignment.prompt);
    Ok((messages, remarks))
}

/// How the model is told that it does not know everything.
fn left_out(exchanges: usize) -> String {
    format!(
        "[The beginning of this conversation does not fit: {exchanges} earlier questions with their answers are left out.]"
    )
}

/// Adds what has been said of the answer, and asks for the rest.
pub(super) fn go_on(messages: &mut Vec<Value>, said: &str) {
    if !said.is_empty() {
        messages.push(json!({"role": "assistant", "content": said}));
        messages.push(json!({"role": "user", "content": GO_ON}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::store::Store;
    use crate::journal::{Batch, Body, MessageBody, Write};
    use crate::native::journal_disk;
    use evergate_core::effect::Place;
    use evergate_core::id::{DeliveryId, RequestId, TurnId};
    use evergate_core::input::{Asked, Standing};
    use evergate_core::outbox::{Content, Notice};
    use evergate_core::record::Record;

    /// A journal whose one session has so many answered turns, and begins a new conversation after some of them.
    struct Kept {
        _folder: tempfile::TempDir,
        store: Store,
        turn: u64,
    }

    const SESSION: SessionId = SessionId(1);

    impl Kept {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(journal_disk(folder.path())).unwrap();
            Self { _folder: folder, store, turn: 0 }
        }

        fn write(&mut self, writes: impl IntoIterator<Item = (Record, Body)>) {
            let mut batch = Batch::default();
            for (record, body) in writes {
                batch.writes.push(Write { record, body });
            }
            self.store.commit(&batch).unwrap();
        }

        /// One more turn with an answer of so many bytes.
        fn exchange(&mut self, bytes: usize) {
            self.turn += 1;
            let (message, turn, session) = (MessageId(self.turn), TurnId(self.turn), SESSION);
            let body = MessageBody {
                session: "main".into(),
                native: None,
                text: format!("{}?", self.turn),
                from: "me".into(),
                attachments: Vec::new(),
            };
            let (asked, standing, request) = (Asked::Prompt, Standing::Operator, RequestId(0));
            let accepted =
                Record::MessageAccepted { message, session, asked, standing, request, place: Place::Running };
            let opened = Record::TurnOpened { turn, session, messages: vec![message], conversation: 0 };
            let content = Content::Reply { turn, messages: vec![message] };
            let owed = Record::DeliveryOwed { delivery: DeliveryId(self.turn), session, content };
            self.write([
                (accepted, Body::Message(body.into())),
                (opened, Body::None),
                (owed, Body::Text("x".repeat(bytes).into())),
            ]);
        }

        fn new_conversation(&mut self, conversation: u32) {
            let content = Content::Notice(Notice::Renewed { conversation });
            let owed = Record::DeliveryOwed { delivery: DeliveryId(10_000 + self.turn), session: SESSION, content };
            self.write([(owed, Body::Text("a new conversation".into()))]);
        }

        /// The questions that the turn to come is told, how many are left out, and where the next reading begins.
        fn read(&self, marks: &Marks, conversation: u32, room: u64, most: u64) -> (Vec<String>, usize, u64) {
            let of = Assignment {
                turn: self.turn + 1,
                session: "main".into(),
                prompt: String::new(),
                messages: Vec::new(),
                attachments: Vec::new(),
                said: String::new(),
                attempt: 1,
                resume: None,
                conversation,
                generation: 1,
                state_dir: "/".into(),
                control: "/".into(),
            };
            let past = Past::read(&self.store, marks, &of, most).unwrap();
            let after = marks.of(SESSION).after;
            let fitting = past.fitting(&self.store, room).unwrap();
            (fitting.exchanges.into_iter().map(|(question, _)| question).collect(), fitting.left_out, after)
        }
    }

    fn cost(bytes: usize) -> u64 {
        tokens("1?") + tokens(&"x".repeat(bytes))
    }

    #[test]
    fn the_oldest_exchanges_make_room_for_the_newest_and_are_counted() {
        let (mut told, room) = (Kept::new(), 2 * cost(26));
        for _ in 0..3 {
            told.exchange(26);
        }
        let (questions, left_out, _) = told.read(&Marks::default(), 0, room, room);
        assert_eq!((questions, left_out), (vec!["2?".to_owned(), "3?".to_owned()], 1));
        told.exchange(10_000);
        let (questions, left_out, _) = told.read(&Marks::default(), 0, room, room);
        assert_eq!((questions.len(), left_out), (0, 4), "one that is too long fits nowhere");
    }

    #[test]
    fn what_does_not_fit_is_not_read_again_and_what_is_told_is_the_same() {
        let (mut told, kept, most) = (Kept::new(), Marks::default(), 5 * cost(30));
        for number in 0..40_usize {
            told.exchange(7 * (number % 11));
            // A long question leaves less room; the turn after it has all of it again.
            let room = if number % 4 == 3 { most / 3 } else { most };
            let (questions, left_out, after) = told.read(&kept, 0, room, most);
            let fresh = told.read(&Marks::default(), 0, room, most);
            assert_eq!((&questions, left_out, after), (&fresh.0, fresh.1, fresh.2), "after {number} exchanges");
            assert_eq!(questions.len() + left_out, number + 1);
        }
        assert!(kept.of(SESSION).after > 60, "it begins near the end: {:?}", kept.of(SESSION));
    }

    #[test]
    fn a_new_conversation_begins_afresh_and_leaves_a_turn_of_the_old_one_what_it_knows() {
        let (mut told, marks) = (Kept::new(), Marks::default());
        told.exchange(9);
        told.exchange(9);
        told.new_conversation(1);
        let old = told.read(&marks, 0, 1000, 1000).0;
        assert_eq!(old, ["1?", "2?"], "the turn was open when the new conversation began");
        assert_eq!(told.read(&marks, 1, 1000, 1000).0, [""; 0]);
        told.exchange(9);
        assert_eq!(told.read(&marks, 1, 1000, 1000).0, ["3?"]);
    }

    #[test]
    fn an_answer_that_was_begun_is_handed_back_and_asked_on() {
        let mut messages = vec![json!({"role": "user", "content": "count"})];
        go_on(&mut messages, "");
        assert_eq!(messages.len(), 1);
        go_on(&mut messages, "one two");
        assert_eq!(messages[1], json!({"role": "assistant", "content": "one two"}));
        assert_eq!(messages[2]["role"], "user");
    }
}
