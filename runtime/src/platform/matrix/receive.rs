//! Messages in: one sync after the other. The token of a sync is kept only when everything in it is on disk, or is noted to be
//! done yet, so whatever dies in between, the next one is told the same again.

use super::api::Trouble;
use super::behind::{self, Behind};
use super::invitations::Reply;
use super::sync::{Said, Synced, Timeline, What, entered, said, while_there};
use super::{Pause, Session};
use crate::journal::JournalError;
use crate::platform::{Chat, Inbound, Refused};
use serde_json::{Value, json};
use std::time::Duration;

/// The pause before something is tried again that could not be done.
pub(super) const AGAIN: Duration = Duration::from_millis(500);
/// Pages of a room that are fetched at most after a gap; what lies before is told to be lost, in the log.
const PAGES: usize = 50;

impl Session<'_> {
    /// Receives until the token counts no more; gives what the server said about it.
    pub(super) async fn receive(&self) -> String {
        let (mut pause, mut behind) = (Pause::default(), None);
        loop {
            match self.sync_once(&mut behind).await {
                Ok(()) => pause = Pause::default(),
                Err(Trouble::SignedOut { why }) => return why,
                Err(Trouble::Passing { why, after, .. }) => pause.wait(self.port, &why, after).await,
                Err(Trouble::Refused { why }) => pause.wait(self.port, &why, None).await,
            }
        }
    }

    async fn sync_once(&self, behind: &mut Option<Behind>) -> Result<(), Trouble> {
        let unread = |error: JournalError| super::passing(error.to_string());
        let behind = match behind {
            Some(behind) => behind,
            None => {
                let rows = self.port.all_kept().await.map_err(unread)?;
                behind.insert(Behind::kept(&rows, self.port.environment().now()))
            }
        };
        let since = self.port.kept("since").await.map_err(unread)?;
        if let Some(since) = &since {
            self.catch_up(behind, since).await?;
        }
        let now = self.port.environment().now();
        let longest = behind.next_at().map_or(Duration::MAX, |at| at - now);
        let synced = self.api.sync(since.as_deref(), longest).await?;
        self.port.health(behind.health());
        let next = synced.next_batch.clone();
        let mut rows = self.take_in(synced, since.as_deref(), behind).await?;
        let invited = !rows.is_empty();
        rows.extend(behind.rows());
        rows.push(("since".to_owned(), Some(next)));
        self.port.keep(rows).await.map_err(super::passing)?;
        if invited {
            self.invited.notify_one();
        }
        self.port.health(behind.health());
        Ok(())
    }

    /// Hands in what a sync tells; gives the rows that say what is left to be done about it.
    async fn take_in(
        &self,
        synced: Synced,
        since: Option<&str>,
        behind: &mut Behind,
    ) -> Result<Vec<(String, Option<String>)>, Trouble> {
        let mut rows = Vec::new();
        for (room, invited) in &synced.rooms.invite {
            let reply = match invited.by(&self.api.user) {
                Some(by) if self.matrix.standing(by).is_some() => Reply::Enter,
                _ => {
                    tracing::info!(
                        platform = "matrix",
                        room,
                        "an invitation by somebody who is not in matrix.allowed_users is declined"
                    );
                    Reply::Decline
                }
            };
            rows.push(reply.row(room, &synced.next_batch));
        }
        // A first sync tells what was said before anybody listened: none of it was said to us.
        let Some(since) = since else { return Ok(rows) };
        for (room, joined) in synced.rooms.join {
            if behind.has(&room) {
                continue;
            }
            match self.told(&room, joined.timeline, since).await {
                Ok(events) => {
                    for said in events.iter().filter_map(|event| said(event, &self.api.user)) {
                        self.hear(&room, said).await?;
                    }
                }
                Err(trouble) if behind::is_of_the_room(&trouble) => {
                    let now = self.port.environment().now();
                    behind.add(&room, since, trouble.why().to_owned(), now);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(rows)
    }

    /// Everything that was told in a room since the last sync, oldest first.
    async fn told(&self, room: &str, timeline: Timeline, since: &str) -> Result<Vec<Value>, Trouble> {
        if let Some(entered) = entered(&timeline.events, &self.api.user) {
            return Ok(timeline.events.into_iter().skip(entered).collect());
        }
        let mut events = self.before(room, timeline.prev_batch.filter(|_| timeline.limited), since).await?;
        events.extend(timeline.events);
        Ok(events)
    }

    /// What was said in a room before a token and since another, oldest first.
    pub(super) async fn before(
        &self,
        room: &str,
        mut from: Option<String>,
        since: &str,
    ) -> Result<Vec<Value>, Trouble> {
        let mut before = Vec::new();
        for _ in 0..PAGES {
            let Some(token) = from else { break };
            let page = self.api.before(room, &token, since).await;
            self.port.progress();
            let page = match page {
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
        Ok(while_there(before, &self.api.user))
    }

    /// Hands in what was said.
    pub(super) async fn hear(&self, room: &str, said: Said) -> Result<(), Trouble> {
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
                Err(Refused::Over | Refused::Later) => self.rest(AGAIN).await,
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

    /// A pause in which nobody else has to wait.
    pub(super) async fn rest(&self, length: Duration) {
        let until = self.port.environment().now() + length;
        self.port.environment().sleep_until(until).await;
    }
}
