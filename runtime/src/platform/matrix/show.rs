//! Running answers, shown while they are written: one event that is edited at a decent pace, and the sign that somebody writes.
//! It is a courtesy: what fails here is tried again with the next news, and the reply itself is a delivery.

use super::api::Trouble;
use super::speak::{edit, relation};
use super::{Session, TEXT_LIMIT};
use crate::platform::Chat;
use evergate_core::time::Instant;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::Mutex;

/// From one edit of an event to the next: homeservers count edits as messages and allow few.
const EDIT_EVERY: Duration = Duration::from_secs(2);
/// An answer that is whole within this time is shown at once as a whole.
const SHOW_AFTER: Duration = Duration::from_millis(700);
/// The sign that somebody writes is renewed this often; it lasts longer.
const TYPING_EVERY: Duration = Duration::from_secs(20);
/// From one look at the running answers to the next.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The running answers, by session. A delivery of the same session waits while its answer is being shown.
#[derive(Default)]
pub(super) struct Shown(Mutex<BTreeMap<String, Running>>);

/// One running answer.
struct Running {
    turn: u64,
    since: Instant,
    /// The event that shows it.
    event: Option<String>,
    /// How much of it is shown, in bytes.
    length: usize,
    /// When it may be edited again.
    next: Instant,
    typing_until: Instant,
}

impl Session<'_> {
    /// Shows running answers until the token counts no more; gives what the server said about it.
    pub(super) async fn show(&self) -> String {
        let environment = self.port.environment();
        loop {
            let mut running = self.shown.0.lock().await;
            if running.is_empty() {
                drop(running);
                let stirred = self.port.stirred().await;
                running = self.shown.0.lock().await;
                for session in stirred {
                    self.begin(&mut running, session).await;
                }
            }
            for session in self.port.stirred_now() {
                self.begin(&mut running, session).await;
            }
            let sessions: Vec<String> = running.keys().cloned().collect();
            for session in sessions {
                match self.refresh(&mut running, &session).await {
                    Ok(()) => {}
                    Err(Trouble::SignedOut { why }) => return why,
                    Err(Trouble::Passing { why, after, .. }) => {
                        tracing::debug!(platform = "matrix", why, "a running answer is not shown for the moment");
                        if let Some(answer) = running.get_mut(&session) {
                            answer.next = environment.now() + after.unwrap_or(EDIT_EVERY);
                        }
                    }
                    Err(Trouble::Refused { why }) => {
                        tracing::warn!(platform = "matrix", session, why, "a running answer cannot be shown there");
                        running.remove(&session);
                    }
                }
            }
            drop(running);
            environment.sleep_until(environment.now() + LOOK_EVERY).await;
        }
    }

    async fn begin(&self, running: &mut BTreeMap<String, Running>, session: String) {
        let Some((turn, _)) = self.port.said(&session) else { return };
        let now = self.port.environment().now();
        if running.get(&session).is_none_or(|answer| answer.turn != turn) {
            let kept = self.port.kept(&key(turn)).await.ok().flatten();
            let (event, length) = kept.as_deref().and_then(read).unzip();
            let length = length.unwrap_or_default();
            let answer = Running { turn, since: now, event, length, next: now, typing_until: now };
            running.insert(session, answer);
        }
    }

    /// Brings what a room sees up to date, if it is time.
    async fn refresh(&self, running: &mut BTreeMap<String, Running>, session: &str) -> Result<(), Trouble> {
        let (Some(answer), Some(chat)) = (running.get_mut(session), Chat::of_session(session)) else { return Ok(()) };
        let now = self.port.environment().now();
        let said = self.port.said(session).filter(|(turn, _)| *turn == answer.turn);
        let Some((turn, text)) = said else {
            running.remove(session);
            return self.api.typing(&chat.chat, false).await;
        };
        if now >= answer.typing_until {
            answer.typing_until = now + TYPING_EVERY;
            self.api.typing(&chat.chat, true).await?;
        }
        let text = beginning(&text);
        // An answer that a restart has had begun anew is shown again when it has more to say than before.
        if text.len() <= answer.length || now < answer.next || now < answer.since + SHOW_AFTER {
            return Ok(());
        }
        answer.next = now + EDIT_EVERY;
        match answer.event.clone() {
            Some(event) => {
                let transaction = format!("{}.t{turn}.{}", self.instance, self.port.environment().unix_ms());
                self.api.say(&chat.chat, &transaction, &edit(&event, text)).await?;
            }
            None => {
                let mut content = json!({"msgtype": "m.text", "body": text});
                if let Some(relation) = relation(chat.thread.as_deref(), None) {
                    content["m.relates_to"] = relation;
                }
                // The same id whoever shows this turn's answer first: a generation that dies before it has kept the event's id
                // leaves a successor that gets the same event.
                let event = self.api.say(&chat.chat, &format!("{}.t{turn}", self.instance), &content).await?;
                answer.event = Some(event);
            }
        }
        answer.length = text.len();
        let row = answer.event.as_ref().map(|event| format!("{event} {}", answer.length));
        if let Err(why) = self.port.keep([(key(turn), row)]).await {
            tracing::debug!(platform = "matrix", why, "how far a running answer is shown is not kept yet");
        }
        Ok(())
    }

    /// The event that shows what a turn has said so far; from now on it is not edited any more but by its reply.
    pub(super) async fn shown_in(&self, session: &str, turn: u64) -> Result<Option<String>, Trouble> {
        let mut running = self.shown.0.lock().await;
        let here = running.get(session).filter(|answer| answer.turn == turn).and_then(|answer| answer.event.clone());
        running.remove(session);
        drop(running);
        match here {
            Some(event) => Ok(Some(event)),
            None => {
                let kept = self.port.kept(&key(turn)).await.map_err(|error| super::passing(error.to_string()))?;
                Ok(kept.as_deref().and_then(read).map(|(event, _)| event))
            }
        }
    }

    /// The turn is over: the event is a message like others.
    pub(super) async fn forget_shown(&self, turn: u64) {
        if !matches!(self.port.kept(&key(turn)).await, Ok(None))
            && let Err(why) = self.port.keep([(key(turn), None)]).await
        {
            tracing::debug!(platform = "matrix", why, "the event of a finished answer is still kept");
        }
    }
}

/// A row as it was kept: the event, and how much of the answer it shows, in bytes.
fn read(row: &str) -> Option<(String, usize)> {
    let (event, length) = row.rsplit_once(' ')?;
    Some((event.to_owned(), length.parse().ok()?))
}

fn key(turn: u64) -> String {
    format!("turn.{turn}")
}

/// As much of a text as one event shows.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_LIMIT)]
}
