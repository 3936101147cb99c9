//! Messages in: one sync after the other. The token of a sync is kept only when everything in it is on disk, so whatever dies
//! in between, the next one is told the same again.

use super::api::Trouble;
use super::sync::{Said, Synced, Timeline, What, said};
use super::{Pause, Session};
use crate::platform::{Chat, Health, Inbound, Refused};
use serde_json::{Value, json};
use std::time::Duration;

/// The pause before a message is handed in again that the gateway could not take.
const AGAIN: Duration = Duration::from_millis(500);
/// Pages of a room that are fetched at most after a gap; what lies before is told to be lost, in the log.
const PAGES: usize = 50;

impl Session<'_> {
    /// Receives until the token counts no more; gives what the server said about it.
    pub(super) async fn receive(&self) -> String {
        let mut pause = Pause::default();
        loop {
            match self.sync_once().await {
                Ok(()) => {
                    self.port.health(Health::Up);
                    pause = Pause::default();
                }
                Err(Trouble::SignedOut { why }) => return why,
                Err(Trouble::Passing { why, after, .. }) => pause.wait(self.port, &why, after).await,
                Err(Trouble::Refused { why }) => pause.wait(self.port, &why, None).await,
            }
        }
    }

    async fn sync_once(&self) -> Result<(), Trouble> {
        let since = self.port.kept("since").await.map_err(|error| super::passing(error.to_string()))?;
        let synced = self.api.sync(since.as_deref()).await?;
        self.port.health(Health::Up);
        let next = synced.next_batch.clone();
        self.take_in(synced, since.as_deref()).await?;
        self.port.keep([("since".to_owned(), Some(next))]).await.map_err(super::passing)
    }

    async fn take_in(&self, synced: Synced, since: Option<&str>) -> Result<(), Trouble> {
        for (room, invited) in &synced.rooms.invite {
            match invited.by(&self.api.user) {
                Some(by) if self.matrix.standing(by).is_some() => self.enter(room).await?,
                _ => self.decline(room).await?,
            }
        }
        // A first sync tells what was said before anybody listened: none of it was said to us.
        let Some(since) = since else { return Ok(()) };
        for (room, joined) in synced.rooms.join {
            for event in self.told(&room, joined.timeline, since).await? {
                if let Some(said) = said(&event, &self.api.user) {
                    self.hear(&room, said).await?;
                }
            }
        }
        Ok(())
    }

    /// Everything that was told in a room since the last sync, oldest first.
    async fn told(&self, room: &str, timeline: Timeline, since: &str) -> Result<Vec<Value>, Trouble> {
        if let Some(entered) = timeline.entered(&self.api.user) {
            return Ok(timeline.events.into_iter().skip(entered).collect());
        }
        let mut before = Vec::new();
        let mut from = timeline.prev_batch.clone().filter(|_| timeline.limited);
        for _ in 0..PAGES {
            let Some(token) = from else { break };
            let page = match self.api.before(room, &token, since).await {
                // Of a room that does not let us look back is taken what is there: the others must not wait for it.
                Err(Trouble::Refused { why }) => {
                    tracing::warn!(platform = "matrix", room, why, "what was said before in this room is passed over");
                    from = None;
                    break;
                }
                page => page?,
            };
            from = page.end.filter(|_| !page.chunk.is_empty());
            before.extend(page.chunk);
        }
        if from.is_some() {
            tracing::warn!(
                platform = "matrix",
                room,
                "so much was said in this room since the last sync that its beginning is passed over"
            );
        }
        before.reverse();
        before.extend(timeline.events);
        Ok(before)
    }

    /// Hands in what was said.
    async fn hear(&self, room: &str, said: Said) -> Result<(), Trouble> {
        let Said { event, sender, thread, what } = said;
        let Some(standing) = self.matrix.standing(&sender) else {
            tracing::debug!(platform = "matrix", room, "a stranger said something");
            return Ok(());
        };
        let mut attachments = Vec::new();
        let text = match what {
            What::Text(text) => text,
            What::File(media, caption) => match self.fetch(&event, &media).await? {
                Ok(file) => {
                    attachments.push(file);
                    caption
                }
                Err(line) if caption.is_empty() => line,
                Err(line) => format!("{caption}\n\n{line}"),
            },
            What::Encrypted => {
                let sentence = "This room is encrypted, so I cannot read what is said in it. Please write to me in a room without encryption.";
                return self.remark(room, &format!("encrypted.{room}"), sentence).await;
            }
        };
        let chat = Chat { platform: "matrix".into(), chat: room.to_owned(), thread };
        let inbound = Inbound { chat, native: event.clone(), text, from: sender, standing, attachments };
        loop {
            match self.port.accept(inbound.clone()).await {
                Ok(_) => return Ok(()),
                Err(Refused::ChatFull) => {
                    let sentence =
                        "Too many messages wait in this room; this one was not taken. Please send it again later.";
                    return self.remark(room, &event, sentence).await;
                }
                Err(Refused::TooLong) => {
                    return self
                        .remark(room, &event, "This message is too long for me; please send it in parts.")
                        .await;
                }
                // The port closes within a moment, and the whole adapter with it.
                Err(Refused::Over | Refused::Later) => {
                    let until = self.port.environment().now() + AGAIN;
                    self.port.environment().sleep_until(until).await;
                }
            }
        }
    }

    /// A remark of the adapter's own, about one thing once.
    async fn remark(&self, room: &str, about: &str, sentence: &str) -> Result<(), Trouble> {
        let transaction = format!("{}.about.{about}", self.instance);
        match self.api.say(room, &transaction, &json!({"msgtype": "m.notice", "body": sentence})).await {
            Err(Trouble::Refused { why }) => {
                tracing::warn!(platform = "matrix", room, why, "a remark cannot be made in this room");
                Ok(())
            }
            other => other.map(drop),
        }
    }

    async fn enter(&self, room: &str) -> Result<(), Trouble> {
        match self.api.join(room).await {
            Err(Trouble::Refused { why }) => {
                tracing::warn!(platform = "matrix", room, why, "an invitation cannot be followed");
                Ok(())
            }
            other => other,
        }
    }

    async fn decline(&self, room: &str) -> Result<(), Trouble> {
        tracing::info!(
            platform = "matrix",
            room,
            "an invitation by somebody who is not in matrix.allowed_users is declined"
        );
        match self.api.leave(room).await {
            Err(Trouble::Refused { .. }) => Ok(()),
            other => other,
        }
    }
}
