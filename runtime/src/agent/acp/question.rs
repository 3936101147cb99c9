//! What an agent asks in a turn and somebody in its chat is to answer: each question on its way there, known by what it is
//! about, and whoever waits for it here. Whether anybody is asked, and what was decided before, is the core's business.

use super::wire::Permission;
use crate::driver::handle::{Call, Handle, NewQuestion};
use crate::environment::BoxFuture;
use evergate_core::question::Decision;
use serde_json::Value;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use tokio::sync::oneshot;

/// The questions of one turn.
pub(super) struct Questions {
    /// Who can be asked.
    gateway: Option<Handle>,
    turn: u64,
    /// How often each content was asked in this attempt.
    asked: BTreeMap<u64, u64>,
    waiting: Vec<Waiting>,
}

/// A question that nobody has answered.
struct Waiting {
    asked: Asked,
    decided: BoxFuture<Option<Decision>>,
}

/// A call of the agent's that wants an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// The call.
    pub(super) id: Value,
    /// What it asks.
    pub(super) permission: Permission,
}

impl Questions {
    /// None yet.
    pub(super) fn new(gateway: Option<Handle>, turn: u64) -> Self {
        Self { gateway, turn, asked: BTreeMap::new(), waiting: Vec::new() }
    }

    /// A process begins with the turn, perhaps not for the first time: what it asks may be what the one before has asked.
    pub(super) fn begin_anew(&mut self) {
        self.asked.clear();
        self.waiting.clear();
    }

    /// Puts a question to the chat.
    pub(super) fn ask(&mut self, id: Value, permission: Permission) {
        let content = key_of(&permission.content());
        let times = self.asked.entry(content).or_default();
        *times += 1;
        let key = key_of(&format!("{content} {times}"));
        let question = NewQuestion { turn: self.turn, key, text: permission.question() };
        let gateway = self.gateway.clone();
        let decided = Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            gateway?.calls.send(Call::Ask { question, answer }).await.ok()?;
            answered.await.ok()
        });
        self.waiting.push(Waiting { asked: Asked { id, permission }, decided });
    }

    /// Whether the agent waits for somebody.
    pub(super) fn are_open(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next question that has its answer; none where nobody is asked. Waits for ever while there is no question.
    pub(super) async fn next(&mut self) -> (Asked, Option<Decision>) {
        poll_fn(|context| {
            for place in 0..self.waiting.len() {
                if let Poll::Ready(decision) = self.waiting[place].decided.as_mut().poll(context) {
                    return Poll::Ready((self.waiting.remove(place).asked, decision));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Takes back what is open: the turn is told to stop.
    pub(super) fn take_back(&mut self) -> Vec<Asked> {
        self.waiting.drain(..).map(|waiting| waiting.asked).collect()
    }
}

/// A text as a number: the first eight bytes of its SHA-256, so that nobody can make up a question that passes for another
/// one that was allowed.
fn key_of(text: &str) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(tool: Value) -> String {
        let asked = json!({"sessionId": "s", "toolCall": tool, "options": []});
        serde_json::from_value::<Permission>(asked).expect("a permission").content()
    }

    #[test]
    fn a_question_is_known_by_what_it_is_about_and_not_by_its_number() {
        let first = json!({"toolCallId": "1", "title": "rm x", "kind": "execute", "rawInput": {"b": 1, "a": 2}});
        let again = json!({"toolCallId": "9", "title": "rm x", "kind": "execute", "rawInput": {"a": 2, "b": 1}});
        assert_eq!(asked(first.clone()), asked(again));
        for other in [
            json!({"toolCallId": "1", "title": "rm y", "kind": "execute", "rawInput": {"b": 1, "a": 2}}),
            json!({"toolCallId": "1", "title": "rm x", "kind": "execute", "rawInput": {"b": 1, "a": 3}}),
            json!({"toolCallId": "1", "title": "rm x", "kind": "edit", "rawInput": {"b": 1, "a": 2}}),
        ] {
            assert_ne!(asked(first.clone()), asked(other));
        }
    }

    #[test]
    fn what_says_nothing_of_itself_is_only_what_it_was_called() {
        assert_ne!(asked(json!({"toolCallId": "1"})), asked(json!({"toolCallId": "2"})));
        assert_eq!(asked(json!({"toolCallId": "1"})), asked(json!({"toolCallId": "1"})));
    }

    #[test]
    fn a_text_has_the_same_number_in_every_version() {
        assert_eq!(key_of("abc"), 0xba78_16bf_8f01_cfea);
    }
}
