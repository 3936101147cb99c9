//! The durable store behind the core's records: what is written, in which batches, and what can be read back. The
//! trait is all that the driver and the platforms know; [`store`] keeps it on redb.

mod backend;
pub mod claim;
mod dump;
mod event;
pub mod reader;
mod rows;
pub mod store;
pub mod writer;

pub use dump::{Cursor, dump};
pub use event::Event;

use crate::platform::Attachment;
use crate::start_count::StartNumber;
use crate::systemd::Unit;
use evergate_core::drain::TurnFate;
use evergate_core::effect::Place;
use evergate_core::id::{DeliveryId, GenerationId, MessageId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Standing};
use evergate_core::record::{Record, Unfinished};
use evergate_core::request::{Outcome, Request};
use evergate_core::supervisor::Supervisor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One record with the texts that the core does not carry.
#[derive(Clone, Debug)]
pub struct Write {
    /// What changed.
    pub record: Record,
    /// The text that belongs to it.
    pub body: Body,
}

/// What a record brings along.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing.
    None,
    /// For an accepted message.
    Message(Arc<MessageBody>),
    /// For an owed delivery: its text, which is delivered with its event.
    Text(Parcel),
    /// For an owed delivery whose platform has to send it: its text, kept until it is settled.
    Owed(Parcel),
    /// For a request.
    Request(Arc<RequestBody>),
    /// For the beginning of a generation.
    Owner(Box<Owner>),
}

/// A text that a chat is owed, with the files that go along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parcel {
    /// The text.
    pub text: Arc<str>,
    /// The files, in the state directory and synced.
    pub files: Arc<[Attachment]>,
}

impl From<Arc<str>> for Parcel {
    fn from(text: Arc<str>) -> Self {
        Self { text, files: Arc::default() }
    }
}

impl From<String> for Parcel {
    fn from(text: String) -> Self {
        Arc::<str>::from(text).into()
    }
}

impl From<&str> for Parcel {
    fn from(text: &str) -> Self {
        Arc::<str>::from(text).into()
    }
}

/// A message as its platform gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageBody {
    /// The session's name.
    pub session: String,
    /// The platform's own id, if it gave one.
    pub native: Option<String>,
    /// The text.
    pub text: String,
    /// Who said it.
    pub from: String,
    /// The files that came with it.
    pub attachments: Vec<Attachment>,
}

/// What a request says beside what the core knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestBody {
    /// Why, in the requester's words.
    pub reason: Option<String>,
}

/// Whose journal it is: enough never to take a stranger for the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The boot of the machine.
    pub boot_id: String,
    /// The process.
    pub pid: i32,
    /// When that process started, in the kernel's ticks since boot.
    pub start_time: u64,
    /// The process's session, which its agents share.
    pub session_id: i32,
    /// The generation; 0 before it has begun.
    pub generation: GenerationId,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Which of all starts on this directory it is, where somebody counts them.
    #[serde(default)]
    pub start: Option<StartNumber>,
    /// Who starts it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<Supervisor>,
    /// The unit that systemd, or the job that launchd, runs it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// What the generation before it is known to have died of, where that could not say so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor_died_of: Option<String>,
    /// When that was, in milliseconds since 1970, where somebody saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor_died_at_ms: Option<u64>,
    /// The version of the program.
    #[serde(default)]
    pub version: String,
    /// Why it is not the installed program that runs.
    #[serde(default)]
    pub rolled_back: Option<String>,
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// Its session.
    pub session: SessionId,
    /// The platform's own id.
    pub native: Option<String>,
    /// The text.
    pub text: String,
    /// Who said it.
    pub from: String,
    /// What it asks for.
    pub asked: Asked,
    /// Who may say so.
    pub standing: Standing,
    /// What its sender was told.
    pub place: Place,
    /// When it was accepted, in milliseconds since 1970.
    pub at_ms: u64,
    /// The files that came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// A request as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRequest {
    /// What was accepted.
    pub made: Request,
    /// Why, in the requester's words.
    pub reason: Option<String>,
    /// When, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When, in milliseconds since 1970.
    pub settled_at_ms: Option<u64>,
}

/// A generation as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredGeneration {
    /// Its number.
    pub generation: GenerationId,
    /// Whose process it was.
    pub owner: Option<Owner>,
    /// When it began, in milliseconds since 1970.
    pub begun_at_ms: u64,
    /// When it could serve.
    pub ready_at_ms: Option<u64>,
    /// When its end was written, by itself or by its successor.
    pub ended_at_ms: Option<u64>,
    /// How it ended; `None` while it lives or when it died without a word.
    pub verdict: Option<evergate_core::verdict::Verdict>,
    /// Its account of its end.
    pub report: Option<evergate_core::drain::Report>,
    /// The line of the history that begins it; 0 where an older version wrote it.
    #[serde(default)]
    pub begun_in_line: u64,
}

impl StoredGeneration {
    /// Whether it has seen the end of each of its agents, and of those of these turns, which are still open: an earlier
    /// generation may have left them to it, and it need not have lived long enough to look for their agents.
    pub fn ended_in_order<'a>(&self, open: impl IntoIterator<Item = &'a TurnId>) -> bool {
        let none = BTreeMap::new();
        let fates = self.report.as_ref().map_or(&none, |report| &report.turns);
        let seen = |fate: &TurnFate| matches!(fate, TurnFate::Ended | TurnFate::Interrupted);
        let seen_of = |turn| fates.get(turn).is_some_and(seen);
        self.verdict.is_some() && fates.values().all(seen) && open.into_iter().all(seen_of)
    }
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Counted from 1.
    pub line: u64,
    /// When its batch was begun, in milliseconds since 1970; the same for all records of a batch.
    pub at_ms: u64,
    /// What changed.
    pub record: Record,
}

/// Small durable facts beside the records, by scope and key; `None` removes one. They are no part of the life cycle: an
/// adapter's cursor, the id of a message that is being edited, what a running answer says so far. Losing the last of them
/// costs a repetition, never a message.
pub type Rows = BTreeMap<(String, String), Option<String>>;

/// The scope of what running answers say so far, by turn; a row goes in the commit that ends its turn.
pub const SAID: &str = "said";

/// The scope of when agents asked their chats, in milliseconds since 1970, by question; a row goes in the commit that closes
/// its question.
pub const ASKED: &str = "asked";

/// The scope of the files that go with replies, by turn; a row is written with the record that owes the reply.
pub const FILES: &str = "files";

/// The files that such a row names.
#[must_use]
pub fn attachments(row: Option<&str>) -> Vec<Attachment> {
    row.and_then(|row| serde_json::from_str(row).ok()).unwrap_or_default()
}

/// Records that go to disk together or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records, in order.
    pub writes: Vec<Write>,
    /// Facts beside them, which stand before the records of the same batch.
    pub rows: Rows,
    /// When this generation became ready, in milliseconds since 1970, once.
    pub ready: Option<(GenerationId, u64)>,
    /// When the batch was begun, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Batch {
    /// Whether the generation that writes it ends with it: with the end that a dead one has not written, its successor begins.
    fn ends_generation(&self) -> bool {
        self.writes.iter().any(|write| matches!(write.record, Record::GenerationEnded { verdict: Some(_), .. }))
    }
}

/// What went wrong with a journal, to what, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file is not a journal, or a damaged one.
    #[error(
        "{file} cannot be opened: {why}. What it holds was left as it is. Restore it from a backup, or move it away to start with an empty journal"
    )]
    Damaged {
        /// The file.
        file: String,
        /// What the store said.
        why: String,
    },
    /// It cannot be reached as things stand: the disk is full or fails. That may pass, so the start is worth another try.
    #[error(
        "{file} cannot be opened at the moment: {why}. What it holds was left as it is. Make room on its disk, or look after the disk; then start again"
    )]
    OutOfReach {
        /// The file.
        file: String,
        /// What the system said.
        why: String,
    },
    /// A newer program wrote it.
    #[error(
        "{file} was written by a newer version of evergate (schema {found}; this one knows {known}). What it holds was left as it is. Run the newer version, or another state directory"
    )]
    Newer {
        /// The file.
        file: String,
        /// The version found.
        found: u64,
        /// The version that this program writes.
        known: u64,
    },
    /// Writing failed; nothing of the batch is on disk.
    #[error("the journal cannot be written: {0}")]
    Write(String),
    /// Writing failed, and it is not known yet whether the batch is on disk: commit the same batch again.
    #[error("the journal cannot be written or opened at the moment: {0}")]
    Unsettled(String),
    /// Reading failed.
    #[error("the journal cannot be read: {0}")]
    Read(String),
}

/// The durable store, as the driver and the platforms know it.
pub trait Journal: Send + Sync {
    /// What was left unfinished.
    fn unfinished(&self) -> Result<Unfinished, JournalError>;
    /// Writes a batch with one fsync and gives back the events that it made. After [`JournalError::Unsettled`] it is not known
    /// whether the batch is on disk, and the same one has to be committed again; after any other error nothing of it is.
    fn commit(&self, batch: &Batch) -> Result<Vec<Event>, JournalError>;
    /// The highest session id in use.
    fn last_session(&self) -> Result<SessionId, JournalError>;
    /// The session with this name.
    fn session(&self, name: &str) -> Result<Option<SessionId>, JournalError>;
    /// The name of a session.
    fn session_name(&self, session: SessionId) -> Result<Option<String>, JournalError>;
    /// Up to `limit` sessions above `after`, by id, each with its last event.
    fn sessions(&self, after: SessionId, limit: usize) -> Result<Vec<(SessionId, String, u64)>, JournalError>;
    /// The message that a platform calls so.
    fn known_message(&self, session: SessionId, native: &str) -> Result<Option<MessageId>, JournalError>;
    /// A message.
    fn message(&self, message: MessageId) -> Result<Option<StoredMessage>, JournalError>;
    /// A request.
    fn request(&self, request: RequestId) -> Result<Option<StoredRequest>, JournalError>;
    /// The last generations, newest first.
    fn generations(&self, limit: usize) -> Result<Vec<StoredGeneration>, JournalError>;
    /// A generation.
    fn generation(&self, generation: GenerationId) -> Result<Option<StoredGeneration>, JournalError>;
    /// Up to `limit` lines of the history behind the line `after`, in order.
    fn history(&self, after: u64, limit: usize) -> Result<Vec<Logged>, JournalError>;
    /// Up to `limit` lines of the whole journal as JSON from `cursor` on, and where to go on.
    fn dump(&self, cursor: Cursor, limit: usize) -> Result<(String, Option<Cursor>), JournalError>;
    /// One fact.
    fn row(&self, scope: &str, key: &str) -> Result<Option<String>, JournalError>;
    /// All facts of a scope, by key.
    fn rows(&self, scope: &str) -> Result<BTreeMap<String, String>, JournalError>;
    /// The text of a delivery that its platform still has to send.
    fn owed_text(&self, delivery: DeliveryId) -> Result<Option<String>, JournalError>;
    /// Closes the file in order, so that the next start need not repair it. Nothing can be read or written afterwards. Behind the
    /// end of a generation there is nothing left to write for that.
    fn close(&self);
    /// Kept events of a session above `after`, in order: up to `limit`, fewer if they are long, none only at the end.
    fn events(&self, session: SessionId, after: u64, limit: usize) -> Result<Vec<Event>, JournalError>;
}
