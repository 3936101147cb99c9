//! What agents ask their chats, on its way to the core, and the decisions on their way back. Whoever asks waits on a channel
//! of its own; a run that is over hears nothing any more.

use super::Driver;
use super::handle::NewQuestion;
use evergate_core::id::TurnId;
use evergate_core::input::Input;
use evergate_core::question::{Decision, QuestionKey};
use std::collections::HashMap;
use tokio::sync::oneshot;

/// Who waits for a decision.
pub type Asking = HashMap<(TurnId, QuestionKey), oneshot::Sender<Decision>>;

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
}
