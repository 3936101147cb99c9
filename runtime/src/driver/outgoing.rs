//! What chats are owed, on its way to their platforms, and what became of it. On the local platform the kept event is the
//! delivery; what another platform is owed goes over its line. Prompts are put together here too, since the texts are the
//! same.

use super::Driver;
use crate::journal::{FILES, JournalError, attachments};
use crate::platform::{Attachment, Chat, Outbound, Outcome, Outgoing, Saying};
use evergate_core::id::{DeliveryId, MessageId, SessionId};
use evergate_core::input::Input;
use evergate_core::outbox::{Content, Notice, Repeat};
use std::sync::Arc;

impl Driver {
    /// Whether another platform than the local one has to send what this session is owed.
    pub(super) fn is_remote(&mut self, session: SessionId) -> bool {
        self.session_name(session).is_some_and(|name| Chat::of_session(&name).is_some())
    }

    /// Hands out a delivery, unless its platform is blind: then it is handed out when that is on disk.
    pub(super) fn send(&mut self, delivery: DeliveryId, session: SessionId, content: &Content, repeat: Repeat) {
        let name = self.session_name(session);
        let name = name.as_deref().unwrap_or_default();
        let line = self.switchboard.route(name).and_then(|(_, line)| line);
        match line {
            // It stays owed, and nothing is written about attempts that nobody makes.
            Some(line) if line.is_parked() || !line.may_try(name, self.environment.now()) => {
                return self.take(Input::DeliveryFailed { delivery });
            }
            Some(line) if line.capabilities.outbound == Outbound::Blind => {
                return self.take(Input::DeliveryIntended { delivery });
            }
            _ => {}
        }
        self.transmit(delivery, session, content, repeat);
    }

    /// Hands out a delivery. The local platform has it as soon as its event is on disk, which is what the effect waited for.
    pub(super) fn transmit(&mut self, delivery: DeliveryId, session: SessionId, content: &Content, repeat: Repeat) {
        let name = self.session_name(session);
        let Some((chat, line)) = name.as_deref().and_then(|name| self.switchboard.route(name)) else {
            return self.take(Input::DeliverySent { delivery });
        };
        let Some(line) = line.map(Arc::clone) else {
            // Once; it is looked at again every second.
            if self.unserved.insert(chat.platform.clone()) {
                tracing::warn!(
                    platform = chat.platform,
                    delivery = delivery.0,
                    "something is owed on a platform that is not configured (any more); it stays owed"
                );
            }
            return self.take(Input::DeliveryFailed { delivery });
        };
        match self.outgoing(delivery, chat, content, repeat) {
            Ok(Some(outgoing)) => {
                if !line.hand_out(outgoing) {
                    self.take(Input::DeliveryFailed { delivery });
                }
            }
            Ok(None) => {
                tracing::error!(delivery = delivery.0, "the journal has no text of this delivery; it is given up");
                self.take(Input::DeliveryRejected { delivery });
            }
            Err(error) => {
                tracing::warn!(delivery = delivery.0, %error, "a delivery cannot be read and is tried again later");
                self.take(Input::DeliveryFailed { delivery });
            }
        }
    }

    fn outgoing(
        &self,
        delivery: DeliveryId,
        chat: Chat,
        content: &Content,
        repeat: Repeat,
    ) -> Result<Option<Outgoing>, JournalError> {
        let Some(text) = self.journal.owed_text(delivery)? else { return Ok(None) };
        let mut files = Vec::new();
        let what = match content {
            Content::Reply { turn, messages } => {
                files = attachments(self.journal.row(FILES, &turn.0.to_string())?.as_deref());
                let mut to = Vec::with_capacity(messages.len());
                for message in messages {
                    to.extend(self.journal.message(*message)?.and_then(|message| message.native));
                }
                Saying::Reply { turn: turn.0, to }
            }
            Content::Notice(Notice::Asks { question, turn }) => Saying::Question { turn: turn.0, question: question.0 },
            Content::Notice(Notice::Ruled { question, turn, .. }) => {
                Saying::Ruled { turn: turn.0, question: question.0 }
            }
            Content::Notice(notice) => Saying::Notice { turn: ended_turn(*notice) },
        };
        Ok(Some(Outgoing { delivery: delivery.0, chat, what, text, files, repeat }))
    }

    /// The platform's id of the last of these messages, on another platform than the local one.
    pub(super) fn answered(&self, session: &str, messages: &[MessageId]) -> Option<String> {
        let last = messages.last().filter(|_| Chat::of_session(session).is_some())?;
        // Only where an answer is shown depends on it.
        self.journal.message(*last).ok()??.native
    }

    /// A platform says what became of a delivery.
    pub(super) fn delivery_came_to(&mut self, delivery: DeliveryId, outcome: Outcome) {
        self.take(match outcome {
            Outcome::Sent => Input::DeliverySent { delivery },
            Outcome::Failed => Input::DeliveryFailed { delivery },
            Outcome::Unknown => Input::DeliveryUnknown { delivery },
            Outcome::Rejected { .. } => Input::DeliveryRejected { delivery },
        });
    }

    /// The facts of a batch are on disk, or are not.
    pub(super) fn rows_came_to(&mut self, result: &Result<(), String>) {
        for answer in std::mem::take(&mut self.being_kept) {
            // Whoever asked may have gone away; that is its business.
            let _gone = answer.send(result.clone());
        }
    }

    /// What an agent is asked: the texts of these messages, and a line for each file that came with them.
    pub(super) fn prompt(&mut self, messages: &[MessageId]) -> Result<(String, Vec<Attachment>), String> {
        let (mut prompt, mut attachments) = (String::new(), Vec::new());
        for message in messages {
            let (text, files) = match self.texts.take_fresh(*message) {
                Some(body) => (body.text.clone(), body.attachments.clone()),
                None => {
                    let stored = self.journal.message(*message).map_err(|error| error.to_string())?;
                    let stored = stored.ok_or_else(|| format!("the journal does not know {message}"))?;
                    (stored.text, stored.attachments)
                }
            };
            let files_told = files.iter().map(|file| format!("[file: {} ({})]", file.path.display(), file.media_type));
            for part in std::iter::once(text).chain(files_told).filter(|part| !part.is_empty()) {
                if !prompt.is_empty() {
                    prompt.push_str("\n\n");
                }
                prompt.push_str(&part);
            }
            attachments.extend(files);
        }
        Ok((prompt, attachments))
    }
}

/// The turn whose end without a settled answer a notice tells.
const fn ended_turn(notice: Notice) -> Option<u64> {
    match notice {
        Notice::TurnFailed { turn }
        | Notice::TurnStopped { turn }
        | Notice::MayBeMissing { turn }
        | Notice::Quarantined { turn, .. } => Some(turn.0),
        _ => None,
    }
}
