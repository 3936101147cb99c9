//! What agents ask their chats, on its way to the core, and the decisions on their way back. Whoever asks waits on a channel
//! of its own; a run that is over hears nothing any more.

use super::Driver;
use super::handle::NewQuestion;
use crate::journal::{ASKED, Journal, JournalError};
use evergate_core::id::{QuestionId, TurnId};
use evergate_core::input::Input;
use evergate_core::question::{Decision, QuestionKey};
use evergate_core::record::Record;
use evergate_core::turn::Turn;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use tokio::sync::oneshot;

/// Who waits for a decision.
pub type Asking = HashMap<(TurnId, QuestionKey), oneshot::Sender<Decision>>;

/// Since when each open question has been asked, in milliseconds since 1970.
pub type Since = BTreeMap<QuestionId, u64>;

/// What earlier generations have asked. A version that did not keep when has left questions without a time.
pub fn since(journal: &dyn Journal) -> Result<Since, JournalError> {
    let read = |(question, since): (String, String)| Some((QuestionId(question.parse().ok()?), since.parse().ok()?));
    Ok(journal.rows(ASKED)?.into_iter().filter_map(read).collect())
}

impl Driver {
    /// A run asks.
    pub(super) fn ask(&mut self, question: NewQuestion, answer: oneshot::Sender<Decision>) {
        let NewQuestion { turn, key, text } = question;
        let (turn, key) = (TurnId(turn), QuestionKey(key));
        tracing::info!(turn = turn.0, question = text, "the agent asks its chat");
        self.texts.set_question(turn, key, text);
        self.asking.insert((turn, key), answer);
        self.take(Input::Question { turn, key });
    }

    /// The core knows what the run is to do; without a decision nobody is asked.
    pub(super) fn decided(&mut self, turn: TurnId, key: QuestionKey, decision: Option<Decision>) {
        self.texts.forget_question(turn, key);
        let waiting = self.asking.remove(&(turn, key));
        match (waiting, decision) {
            (Some(waiting), Some(decision)) => {
                tracing::info!(turn = turn.0, ?decision, "the agent is told what was decided");
                // One that has ended meanwhile need not hear it.
                let _gone = waiting.send(decision);
            }
            (Some(_), None) => tracing::warn!(turn = turn.0, "the agent's question is put to nobody"),
            (None, _) => {}
        }
    }

    /// A run is over: nobody of it waits any more.
    pub(super) fn asks_no_more(&mut self, turn: TurnId) {
        self.asking.retain(|(asking, _), _| *asking != turn);
    }

    /// Keeps since when somebody's word is waited for: a person may take longer than a generation.
    pub(super) fn date_question(&mut self, record: &Record) {
        let (question, since) = match record {
            Record::QuestionAsked { question, .. } => (*question, Some(self.environment.unix_ms())),
            Record::QuestionClosed { question, .. } => (*question, None),
            _ => return,
        };
        match since {
            Some(since) => self.asked_since.insert(question, since),
            None => self.asked_since.remove(&question),
        };
        self.batch.rows.insert((ASKED.to_owned(), question.0.to_string()), since.map(|since| since.to_string()));
    }

    /// What a turn has asked and nobody has answered, for the status.
    pub(super) fn open_questions(&self, turn: &Turn) -> Vec<Value> {
        let now_ms = self.environment.unix_ms();
        let open = turn.questions.iter().filter(|(_, question)| question.ruling.is_none());
        open.map(|(question, _)| {
            let since_ms = self.asked_since.get(question).copied();
            let for_ms = since_ms.map(|since| now_ms.saturating_sub(since));
            json!({"question": question, "since_ms": since_ms, "for_ms": for_ms})
        })
        .collect()
    }
}
