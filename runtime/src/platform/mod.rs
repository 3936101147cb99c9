//! Chat platforms: the contract between the gateway and whatever brings messages in and takes replies out. An adapter lives in
//! a folder of its own below this one and knows its server's protocol; it never decides when a turn starts, whether a message
//! counts, or what a restart means. All that it has of the gateway is its [`Port`]. The local platform declares what it can
//! do ([`crate::local::CAPABILITIES`]) and needs no adapter: what is kept of a session is what its people see.
//!
//! To write one, begin with `runtime/examples/line.rs`: a whole adapter in a hundred lines, and a gateway that serves it.
//! `tests/src/contract.rs` is what each has to hold to. How an adapter works, in short:
//!
//! 1. *In*: read from the server, hand each message to [`Port::accept`], and move the server's cursor (or ack) only after that
//!    has returned: then the message is on disk. What comes twice is known by its native id and does nothing.
//! 2. *Out*: take [`Port::outgoing`], send it, and say with [`Port::settle`] what became of it. One delivery of a chat is out at a
//!    time, so their order holds by itself. On a [`Outbound::Blind`] platform the attempt is on disk before it is handed out.
//! 3. *While a turn runs*: [`Port::stirred`] tells which chats have news, [`Port::said`] what the running answer says so far.
//!    Showing it is a courtesy: the reply itself comes as a delivery. So is [`Port::waits`]: whom to tell that a message waits.
//! 4. *State of its own* (a sync token, the id of a message that is being edited): [`Port::keep`] and [`Port::kept`], durable.
//!    What is kept of a turn or a delivery, as `turn.N` or `delivery.N`, goes when that is settled: [`Port::forget_settled`].
//! 5. *Health*: [`Port::health`] says how it goes. No state is silent: one that waits says for what and until when.
//! 6. *The end*: when [`Port::closing`] returns, nothing more is accepted; `run` returns. It may also be dropped at any
//!    `await`; whatever it was handed and had not settled by then counts as unknown.

mod chat;
mod configured;
mod keeper;
pub mod matrix;
mod port;
mod switchboard;
pub mod telegram;
mod waiting;

pub use chat::Chat;
pub use configured::{configured, serve_also};
pub use keeper::keep_running;
pub use port::{Accepted, Inbound, Port, Refused};
pub use switchboard::{Line, Switchboard};
pub use waiting::Waits;

pub use evergate_core::outbox::Repeat;
use evergate_core::time::Instant;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// A chat platform.
pub trait Platform: Send + Sync {
    /// Its name: the first part of its sessions' names, of its state's keys, and of what is logged about it. Lower case letters.
    fn name(&self) -> &'static str;
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// Brings messages in and deliveries out until the port closes. Returns early only if a person has to mend something first.
    /// Errors that may pass are its own business: it waits, says so as its health, and tries again. Dropping the future stops
    /// everything at once.
    fn run(&self, port: Port) -> Pin<Box<dyn Future<Output = Ended> + Send + '_>>;
}

/// Why an adapter has come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The port has closed.
    Closed,
    /// It cannot work as it is configured: what is wrong, and what to do about it. The rest of the gateway serves on.
    Parked {
        /// For the log and the status. Without secrets.
        why: String,
    },
}

/// What a platform can do; the gateway and the tests that every adapter has to pass go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What a repeated send does.
    pub outbound: Outbound,
    /// Whether messages that arrive while nobody listens come later.
    pub replay: Replay,
    /// Whether a sent message can be changed, so that an answer can be shown while it is written.
    pub edits: Edits,
    /// Whether a chat has threads of its own.
    pub threads: Threads,
    /// The longest text of one message, in the platform's own units; longer replies are sent in parts. `None` where any fits.
    pub text_limit: Option<usize>,
    /// The least time between two messages in one chat, where the platform asks for one.
    pub pace: Option<Duration>,
}

impl Capabilities {
    /// For the status.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "outbound": match self.outbound {
                Outbound::Kept => "kept",
                Outbound::Idempotent => "idempotent",
                Outbound::Blind => "blind",
            },
            "replay": match self.replay {
                Replay::Cursor => "cursor",
                Replay::Sender => "sender",
                Replay::None => "none",
            },
            "edits": self.edits == Edits::Yes, "threads": self.threads == Threads::Yes, "text_limit": self.text_limit,
            "pace_ms": self.pace.map(|pace| u64::try_from(pace.as_millis()).unwrap_or(u64::MAX)),
        })
    }
}

/// What a repeated send does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// There is none: what the journal keeps of a session is what its people see, and a delivery is there as soon as it is kept.
    Kept,
    /// Nothing: the platform knows the delivery by an id of ours.
    Idempotent,
    /// It shows the text twice. So an attempt is written down before it is made, and an unknown outcome is never repeated in silence.
    Blind,
}

/// Whether messages that arrive while nobody listens come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// They do, from a cursor on.
    Cursor,
    /// They do: whoever sends one keeps it, and sends it again until it is acked.
    Sender,
    /// They are lost.
    None,
}

/// Whether a sent message can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edits {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// Whether a chat has threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Yes: each is a session.
    Yes,
    /// No.
    No,
}

/// A file that came with a message or goes with a reply, in the state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Where it is, absolute. A state directory whose name is not UTF-8 is written as well as that goes.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// Its media type, such as `image/jpeg`.
    pub media_type: String,
    /// What its sender called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

fn as_text<S: serde::Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// What stands in a chat in the place of a file that it does not get.
#[must_use]
pub fn missing(file: &Attachment, why: &str) -> String {
    let name = file.name.as_deref().unwrap_or("a file");
    format!("[{name} was left out: {why}]")
}

/// Something that a chat is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number: the same in every attempt, also of later generations. An idempotency key is made of it.
    pub delivery: u64,
    /// Where to.
    pub chat: Chat,
    /// What it is.
    pub what: Saying,
    /// The whole text.
    pub text: String,
    /// The files that go with it, each as a message behind the text. One that cannot be sent is a line of text in its place
    /// ([`missing`]).
    pub files: Vec<Attachment>,
    /// Whether an earlier attempt may have arrived. Then the text is sent with a word about that, unless the platform can
    /// tell.
    pub repeat: Repeat,
}

/// What an outgoing text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    /// An agent's answer.
    Reply {
        /// The turn whose running answer may have been shown before.
        turn: u64,
        /// The platform's ids of the messages that it answers, oldest first.
        to: Vec<String>,
    },
    /// A word of the gateway itself.
    Notice {
        /// The turn that it tells the end of; no answer of that is still to come, and what was shown of it stays as it is.
        turn: Option<u64>,
    },
    /// A question of an agent. Its text says how to answer it in words; buttons may say `/allow QUESTION` and `/deny QUESTION`
    /// for their presser, until the question has its outcome or its turn has ended.
    Question {
        /// The turn that waits.
        turn: u64,
        /// Its number.
        question: u64,
    },
    /// The outcome of a question.
    Ruled {
        /// The turn that asked.
        turn: u64,
        /// Its number.
        question: u64,
    },
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its chat has it.
    Sent,
    /// Its chat certainly has not got it, and it may be tried again.
    Failed,
    /// Its chat will never take it: why. That ends the delivery.
    Rejected {
        /// For the log, such as "the bot was blocked by the user".
        why: String,
    },
    /// It was sent off, and nobody can know whether it has arrived.
    Unknown,
}

/// How a platform is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not reached its server yet.
    Connecting,
    /// It receives and sends.
    Up,
    /// It waits, for a reason that may pass: a rate limit, an overlapping poller, a server that does not answer.
    Waiting {
        /// For what, in a clause.
        why: String,
        /// When it tries again.
        until: Instant,
    },
    /// It was started again, since it had got nowhere.
    Restarting {
        /// What was wrong with it.
        why: String,
    },
    /// It cannot work before a person has mended something.
    Parked {
        /// What, and how.
        why: String,
    },
}

impl Health {
    /// The word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Waiting { .. } => "waiting",
            Self::Restarting { .. } => "restarting",
            Self::Parked { .. } => "parked",
        }
    }

    /// What else there is to say.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Connecting | Self::Up => None,
            Self::Waiting { why, .. } | Self::Restarting { why } | Self::Parked { why } => Some(why),
        }
    }
}
