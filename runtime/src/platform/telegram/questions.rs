//! The buttons below an agent's question. A press of one is a message that says what could have been written. They go when
//! the question has its outcome or its turn has ended, over restarts too: which message has them is kept, by turn. All that
//! is a courtesy, so what goes wrong is left out: a press of a button that stays is told that no such question is open.

use super::api::Api;
use crate::platform::{Outgoing, Port, Saying};
use std::collections::BTreeMap;

/// The messages with buttons, by question.
type Buttons = BTreeMap<u64, i64>;

/// What is below a text that is said, and what each press says.
pub fn buttons(what: &Saying) -> Vec<(&'static str, String)> {
    match what {
        Saying::Question { question, .. } => {
            vec![("Allow", format!("/allow {question}")), ("Deny", format!("/deny {question}"))]
        }
        _ => Vec::new(),
    }
}

/// Something was said, in this message if it certainly was: keeps where buttons are, and takes those away that are spent.
pub async fn note(api: &Api, port: &Port, outgoing: &Outgoing, message: Option<i64>) {
    let Some(turn) = turn_of(&outgoing.what) else { return };
    let row = format!("questions.{turn}");
    let before: Buttons =
        port.kept(&row).await.ok().flatten().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut known = before.clone();
    match outgoing.what {
        Saying::Question { question, .. } => known.extend(message.filter(|id| *id > 0).map(|id| (question, id))),
        Saying::Ruled { question, .. } => drop(known.remove(&question)),
        Saying::Reply { .. } | Saying::Notice { .. } => known.clear(),
    }
    if known == before {
        return;
    }
    if let Ok(chat) = outgoing.chat.chat.parse() {
        for (_, message) in before.iter().filter(|(question, _)| !known.contains_key(question)) {
            api.take_buttons(chat, *message).await;
        }
    }
    let kept = (!known.is_empty()).then(|| serde_json::json!(known).to_string());
    if let Err(why) = port.keep([(row, kept)]).await {
        tracing::debug!(platform = super::NAME, why, "where buttons are is not kept; they may stay");
    }
}

const fn turn_of(what: &Saying) -> Option<u64> {
    match what {
        Saying::Reply { turn, .. } | Saying::Question { turn, .. } | Saying::Ruled { turn, .. } => Some(*turn),
        Saying::Notice { turn } => *turn,
    }
}
