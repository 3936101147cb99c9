//! What a model is told: the conversation as the journal has it, as much of it as fits. It reads the session's kept events:
//! a reply names the messages that it answers, and `/new` leaves a notice with the number of the conversation that it began.

use super::super::Assignment;
use super::Settings;
use super::remarks::{self, Remarks};
use crate::journal::reader::Reader;
use crate::journal::{Journal, JournalError};
use evergate_core::id::MessageId;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Events read at once.
const PAGE: usize = 500;
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

/// What was said before a turn: question and answer in pairs, the oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    exchanges: VecDeque<(String, String)>,
    /// What they have together.
    tokens: u64,
    /// Exchanges before these, which do not fit.
    left_out: usize,
    /// Whether a reply has said that the conversation is cut.
    cut_told: bool,
}

impl Past {
    /// Reads the conversation of a session up to a turn, as much as fits into `room` tokens.
    fn read(journal: &dyn Journal, session: &str, before: u64, room: u64) -> Result<Self, JournalError> {
        let mut past = Self::default();
        let Some(session) = journal.session(session)? else { return Ok(past) };
        // The turns up to this one belong to an earlier conversation.
        let (mut over, mut opened, mut after) = (0, 0, 0);
        loop {
            let events = journal.events(session, after, PAGE)?;
            let Some(last) = events.last() else { return Ok(past) };
            after = last.id;
            for event in &events {
                let data: Value = serde_json::from_str(event.data()).unwrap_or_default();
                let turn = data["turn"].as_u64().unwrap_or_default();
                match event.name() {
                    "turn" => opened = opened.max(turn),
                    "notice" if data["conversation"].is_u64() => (past, over) = (Self::default(), opened),
                    "reply" if turn > over && turn < before => past.add(exchange(journal, &data)?, room),
                    _ => {}
                }
            }
        }
    }

    fn add(&mut self, (question, reply): (String, String), room: u64) {
        let (answer, cut_told) = remarks::without(&reply);
        self.cut_told |= cut_told;
        let exchange = (question, answer.to_owned());
        self.tokens += tokens(&exchange.0) + tokens(&exchange.1);
        self.exchanges.push_back(exchange);
        while self.tokens > room {
            let Some((question, answer)) = self.exchanges.pop_front() else { break };
            self.tokens -= tokens(&question) + tokens(&answer);
            self.left_out += 1;
        }
    }
}

fn exchange(journal: &dyn Journal, reply: &Value) -> Result<(String, String), JournalError> {
    let mut questions = Vec::new();
    for message in reply["messages"].as_array().into_iter().flatten().filter_map(Value::as_u64) {
        questions.extend(journal.message(MessageId(message))?.map(|message| message.text));
    }
    Ok((questions.join("\n"), reply["text"].as_str().unwrap_or_default().to_owned()))
}

/// The messages of a request: the past, the question, and what has been said of the answer; and what the reader of the answer
/// has to know about them.
pub(super) async fn messages(
    reader: &Reader,
    settings: &Settings,
    system: &str,
    assignment: &Assignment,
) -> Result<(Vec<Value>, Remarks), JournalError> {
    let fixed = tokens(system) + tokens(&assignment.prompt) + tokens(&assignment.said) + tokens(GO_ON);
    let room = settings.context_tokens.saturating_sub(fixed);
    let (session, turn) = (assignment.session.clone(), assignment.turn);
    let past = reader.read(move |journal| Past::read(journal, &session, turn, room)).await?;
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

    #[test]
    fn the_oldest_exchanges_make_room_for_the_newest_and_are_counted() {
        let exchange = |name: &str| (format!("{name}?"), "x".repeat(26));
        let cost = tokens("a?") + tokens(&"x".repeat(26));
        let mut past = Past::default();
        for name in ["a", "b", "c"] {
            past.add(exchange(name), 2 * cost);
        }
        let questions: Vec<_> = past.exchanges.iter().map(|(question, _)| question.as_str()).collect();
        assert_eq!((questions, past.left_out, past.tokens), (vec!["b?", "c?"], 1, 2 * cost));
        past.add(("d?".into(), "y".repeat(10_000)), 2 * cost);
        assert_eq!((past.exchanges.len(), past.left_out, past.tokens), (0, 4, 0), "one that is too long fits nowhere");
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
