//! Deliveries out. Each event has a transaction id made of its delivery, so that trying again says nothing twice. A reply whose
//! running answer is shown already becomes the last edit of that.

use super::api::Trouble;
use super::media::Brought;
use super::{Pause, Session, TEXT_LIMIT};
use crate::platform::{Outcome, Outgoing, Saying, Waits};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};

/// Deliveries under way at the same time; of one chat there is only ever one.
const AT_ONCE: usize = 8;
/// Words that a message waits under way at the same time: they take nothing from deliveries.
const WORDS: usize = 2;

impl Session<'_> {
    /// Sends until the token counts no more; gives what the server said about it.
    pub(super) async fn speak(&self) -> String {
        let (mut under_way, mut words) = (FuturesUnordered::new(), FuturesUnordered::new());
        loop {
            tokio::select! {
                biased;
                Some(done) = under_way.next(), if !under_way.is_empty() => {
                    if let Err(why) = done {
                        return why;
                    }
                }
                Some(done) = words.next(), if !words.is_empty() => {
                    if let Err(why) = done {
                        return why;
                    }
                }
                outgoing = self.port.outgoing(), if under_way.len() < AT_ONCE => under_way.push(self.deliver(outgoing)),
                waits = self.port.waits(), if words.len() < WORDS => words.push(self.acknowledge(waits)),
            }
        }
    }

    /// Sends one delivery, however often that takes.
    async fn deliver(&self, outgoing: Outgoing) -> Result<(), String> {
        let mut pause = Pause::default();
        let mut brought = vec![Brought::default(); outgoing.files.len()];
        loop {
            match self.say_all(&outgoing, &mut brought).await {
                Ok(()) => {
                    self.settle(&outgoing, Outcome::Sent).await;
                    return Ok(());
                }
                Err(Trouble::Refused { why }) => {
                    self.settle(&outgoing, Outcome::Rejected { why }).await;
                    return Ok(());
                }
                Err(Trouble::Passing { why, after, .. }) => pause.wait(self.port, &why, after).await,
                // It stays in hand, and goes back to the gateway with the adapter's end or to the next login.
                Err(Trouble::SignedOut { why }) => {
                    self.port.settle(outgoing.delivery, Outcome::Failed).await;
                    return Err(why);
                }
            }
        }
    }

    /// Tells an author that a message waits: once, or not at all.
    async fn acknowledge(&self, waits: Waits) -> Result<(), String> {
        if !self.port.still_waits(&waits) {
            return Ok(());
        }
        let Waits { chat, native, .. } = &waits;
        let mut content = json!({"msgtype": "m.notice", "body": waits.words});
        if let Some(relation) = relation(chat.thread.as_deref(), Some(native)) {
            content["m.relates_to"] = relation;
        }
        match self.api.say(&chat.chat, &format!("{}.waits.{native}", self.instance), &content).await {
            Ok(_) => Ok(()),
            Err(Trouble::SignedOut { why }) => Err(why),
            Err(Trouble::Refused { why } | Trouble::Passing { why, .. }) => {
                tracing::debug!(platform = "matrix", room = chat.chat, why, "that a message waits could not be said");
                Ok(())
            }
        }
    }

    async fn say_all(&self, outgoing: &Outgoing, brought: &mut [Brought]) -> Result<(), Trouble> {
        let Outgoing { delivery, chat, what, text, files, .. } = outgoing;
        let (message_type, shown) = match what {
            Saying::Reply { turn, .. } => ("m.text", self.shown_in(&chat.session(), *turn).await?),
            Saying::Notice { .. } | Saying::Question { .. } | Saying::Ruled { .. } => ("m.notice", None),
        };
        let mut editing = shown.as_ref();
        // A file is an answer without words.
        let texts = if text.is_empty() && !files.is_empty() { Vec::new() } else { parts(text, TEXT_LIMIT) };
        for (part, text) in texts.iter().enumerate() {
            let content = match editing.take() {
                Some(event) => edit(event, text),
                None => related(json!({"msgtype": message_type, "body": text}), outgoing),
            };
            self.api.say(&chat.chat, &format!("{}.d{delivery}.{part}", self.instance), &content).await?;
            self.port.progress();
        }
        for (place, (file, brought)) in files.iter().zip(brought).enumerate() {
            let content = related(self.content_of(file, brought).await?, outgoing);
            self.api.say(&chat.chat, &format!("{}.d{delivery}.f{place}", self.instance), &content).await?;
            self.port.progress();
        }
        Ok(())
    }

    /// Says that a delivery is over, and forgets what was kept of its turn.
    async fn settle(&self, outgoing: &Outgoing, outcome: Outcome) {
        self.port.settle(outgoing.delivery, outcome).await;
        if let Saying::Reply { turn, .. } | Saying::Notice { turn: Some(turn) } = outgoing.what {
            self.forget_shown(turn).await;
        }
    }
}

/// A new event, in its thread, or as a reply to what it answers.
fn related(mut content: Value, outgoing: &Outgoing) -> Value {
    let answered = match &outgoing.what {
        Saying::Reply { to, .. } => to.last(),
        Saying::Notice { .. } | Saying::Question { .. } | Saying::Ruled { .. } => None,
    };
    if let Some(relation) = relation(outgoing.chat.thread.as_deref(), answered.map(String::as_str)) {
        content["m.relates_to"] = relation;
    }
    content
}

/// How an event stands to others.
pub(super) fn relation(thread: Option<&str>, answered: Option<&str>) -> Option<Value> {
    match (thread, answered) {
        (Some(root), answered) => Some(json!({
            "rel_type": "m.thread", "event_id": root, "is_falling_back": true,
            "m.in_reply_to": {"event_id": answered.unwrap_or(root)},
        })),
        (None, Some(answered)) => Some(json!({"m.in_reply_to": {"event_id": answered}})),
        (None, None) => None,
    }
}

/// An event that replaces the text of an earlier one.
pub(super) fn edit(event: &str, text: &str) -> Value {
    json!({
        "msgtype": "m.text", "body": format!("* {text}"),
        "m.new_content": {"msgtype": "m.text", "body": text},
        "m.relates_to": {"rel_type": "m.replace", "event_id": event},
    })
}

/// A text in parts that an event can carry, each cut at the end of a line where there is one near; at least one part.
fn parts(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > limit {
        let longest = rest.floor_char_boundary(limit);
        let line = rest[..longest].rfind('\n').filter(|at| *at >= longest / 2);
        let cut = line.map_or(longest, |at| at + 1);
        let (part, after) = rest.split_at(cut);
        parts.push(part);
        rest = after;
    }
    parts.push(if rest.is_empty() && parts.is_empty() { "(no answer)" } else { rest });
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_give_the_text_again_and_each_fits(text in "[a-zäß€\u{1F600} \n]{0,200}", limit in 12..40_usize) {
            let parts = parts(&text, limit);
            prop_assert!(parts.iter().all(|part| part.len() <= limit));
            if !text.is_empty() {
                prop_assert_eq!(parts.concat(), text);
            }
        }
    }

    #[test]
    fn an_event_in_a_thread_says_which_and_older_clients_see_a_reply() {
        let relation = |thread, answered| relation(thread, answered).unwrap_or_default();
        assert_eq!(relation(Some("$root"), Some("$2"))["m.in_reply_to"]["event_id"], "$2");
        assert_eq!(relation(Some("$root"), None)["m.in_reply_to"]["event_id"], "$root");
        assert_eq!(relation(None, Some("$2")), json!({"m.in_reply_to": {"event_id": "$2"}}));
        assert_eq!(relation(None, None), Value::Null);
    }
}
