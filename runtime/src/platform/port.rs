//! All that an adapter has of the gateway. It may be cloned; every clone is the same port.

use super::switchboard::Line;
use super::{Attachment, Chat, Health, Outcome, Outgoing};
use crate::driver::Platforms;
use crate::driver::handle::{Call, Handle, MessageAnswer, NewMessage, Unavailable};
use crate::environment::Environment;
use crate::journal::{JournalError, Rows};
use crate::watched::Watcher;
use evergate_core::effect::{Place, Refusal};
use evergate_core::id::DeliveryId;
use evergate_core::input::Standing;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the driver may take for a call.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest text of a message, in bytes.
const TEXT: usize = 64 * 1024;

/// An adapter's way to the gateway.
#[derive(Clone)]
pub struct Port {
    line: Arc<Line>,
    handle: Handle,
    environment: Arc<dyn Environment>,
    closing: Watcher<Platforms>,
    state_dir: PathBuf,
}

/// A message on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Where it was said.
    pub chat: Chat,
    /// The platform's own id of it, unique in its chat: what comes again under the same id does nothing.
    pub native: String,
    /// The text.
    pub text: String,
    /// Who said it, for people.
    pub from: String,
    /// What its author may do.
    pub standing: Standing,
    /// The files that came with it.
    pub attachments: Vec<Attachment>,
}

/// A message that is on disk. The platform may forget it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What happens to it.
    pub place: Place,
    /// Whether it was there before.
    pub again: bool,
}

/// A message of which nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The gateway takes nothing at the moment: hand in the same message again after a pause. The cursor stays where it is.
    Later,
    /// Too much waits in this chat. Its author should be told; the cursor may go on.
    ChatFull,
    /// The text is too long. Its author should be told; the cursor may go on.
    TooLong,
    /// This generation takes nothing more. The next one will be handed it again.
    Over,
}

impl Port {
    /// The port of one platform.
    #[must_use]
    pub(super) fn new(
        line: Arc<Line>,
        handle: Handle,
        environment: Arc<dyn Environment>,
        closing: Watcher<Platforms>,
        state_dir: PathBuf,
    ) -> Self {
        Self { line, handle, environment, closing, state_dir }
    }

    /// Hands in a message; returns when it is on disk.
    pub async fn accept(&self, inbound: Inbound) -> Result<Accepted, Refused> {
        if inbound.text.len() > TEXT {
            return Err(Refused::TooLong);
        }
        let Inbound { chat, native, text, from, standing, attachments } = inbound;
        let session = chat.session();
        let message = NewMessage { session, native: Some(native), text, from, standing, attachments };
        match self.handle.call(PATIENCE, |answer| Call::Message { message, answer }).await {
            Ok(MessageAnswer::Accepted { place, again, .. }) => {
                self.progress();
                Ok(Accepted { place, again })
            }
            Ok(MessageAnswer::Refused(Refusal::SessionQueueFull)) => Err(Refused::ChatFull),
            Ok(MessageAnswer::Refused(Refusal::Ending)) | Err(Unavailable::Over) => Err(Refused::Over),
            Ok(MessageAnswer::Refused(_)) | Err(Unavailable::Busy | Unavailable::Stuck) => Err(Refused::Later),
        }
    }

    /// The next delivery to send, in the order in which they are owed. Each has to be settled.
    pub async fn outgoing(&self) -> Outgoing {
        let mut waiting = self.line.waiting.lock().await;
        match waiting.recv().await {
            Some(outgoing) => {
                self.line.account().in_hand.insert(outgoing.delivery);
                outgoing
            }
            // The sender is a part of the line, which this port holds.
            None => std::future::pending().await,
        }
    }

    /// Says what became of a delivery.
    pub async fn settle(&self, delivery: u64, outcome: Outcome) {
        if !self.line.account().in_hand.remove(&delivery) {
            return tracing::debug!(platform = self.line.name, delivery, "this delivery was settled before");
        }
        if let Outcome::Rejected { why } = &outcome {
            tracing::warn!(
                platform = self.line.name,
                delivery,
                why,
                "a delivery was refused by its platform and is given up"
            );
        }
        self.progress();
        let call = Call::Delivery { delivery: DeliveryId(delivery), outcome };
        if self.handle.calls.send(call).await.is_err() {
            tracing::debug!(
                platform = self.line.name,
                delivery,
                "the driver is gone; the next one looks after this delivery"
            );
        }
    }

    /// The chats whose running answer has begun, changed or ended since the last call.
    pub async fn stirred(&self) -> BTreeSet<String> {
        loop {
            let news = self.line.news.notified();
            let stirred = std::mem::take(&mut self.line.account().stirred);
            if !stirred.is_empty() {
                return stirred;
            }
            news.await;
        }
    }

    /// The same, without waiting: none is news, too.
    #[must_use]
    pub fn stirred_now(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.line.account().stirred)
    }

    /// What the running answer in a session says so far: its turn, and its text, empty while the agent thinks. `None` when
    /// nothing runs there.
    #[must_use]
    pub fn said(&self, session: &str) -> Option<(u64, String)> {
        self.handle.hub.said(session)
    }

    /// The platform's id of the last message that the running turn of a session answers.
    #[must_use]
    pub fn answered(&self, session: &str) -> Option<String> {
        self.handle.hub.answered(session)
    }

    /// Writes facts of the adapter's own, each by its key; `None` removes one. Returns when they are on disk; an error says why
    /// they are not.
    pub async fn keep(&self, rows: impl IntoIterator<Item = (String, Option<String>)>) -> Result<(), String> {
        let scope = self.scope();
        let rows: Rows = rows.into_iter().map(|(key, value)| ((scope.clone(), key), value)).collect();
        match self.handle.call(PATIENCE, |answer| Call::Keep { rows, answer }).await {
            Ok(kept) => kept,
            Err(Unavailable::Over) => Err("this generation is over".into()),
            Err(Unavailable::Busy | Unavailable::Stuck) => Err("the gateway is busy".into()),
        }
    }

    /// A fact of the adapter's own.
    pub fn kept(&self, key: &str) -> Result<Option<String>, JournalError> {
        self.handle.journal.row(&self.scope(), key)
    }

    /// All facts of the adapter's own.
    pub fn all_kept(&self) -> Result<BTreeMap<String, String>, JournalError> {
        self.handle.journal.rows(&self.scope())
    }

    fn scope(&self) -> String {
        format!("platform.{}", self.line.name)
    }

    /// Says how the platform is doing. What is new is logged, and `status` shows it.
    pub fn health(&self, health: Health) {
        let mut account = self.line.account();
        account.progress_at = self.environment.now();
        if account.health == health {
            return;
        }
        let (platform, state) = (self.line.name, health.word());
        match health.why() {
            None => tracing::info!(platform, state, "platform"),
            Some(why) => tracing::warn!(platform, state, why, "platform"),
        }
        // A wait that is only prolonged is the same wait.
        if account.health.word() != health.word() {
            account.since_ms = self.environment.unix_ms();
        }
        account.health = health;
    }

    /// The adapter got somewhere: an exchange with its server is over, however it ended. One that gets nowhere for minutes is
    /// taken for stuck and started again.
    pub fn progress(&self) {
        self.line.account().progress_at = self.environment.now();
    }

    /// Ends when nothing more is to be received.
    pub async fn closing(&self) {
        let mut closing = self.closing.clone();
        while closing.now() == Platforms::Open && closing.changed().await.is_some() {}
    }

    /// The world: time, and connections to servers.
    #[must_use]
    pub fn environment(&self) -> &Arc<dyn Environment> {
        &self.environment
    }

    /// The state directory, absolute; files that come with messages go below it.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }
}
