//! The gateway's answers as these commands read them. Every field may be missing and unknown ones are passed over, so that
//! a client of one version can still watch a gateway of another; the whole answer is what `--json` prints.

use evergate_core::id::GenerationId;
use evergate_core::life::{self, Process};
use serde::Deserialize;
use std::collections::BTreeMap;

use super::events::Event;

/// `GET /v1/status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub generation: u64,
    pub phase: String,
    pub pid: u64,
    /// When its process was started, in the kernel's ticks; older gateways do not say.
    pub start_time: Option<u64>,
    pub version: String,
    pub on_disk: OnDisk,
    pub rolled_back: Option<String>,
    pub uptime_ms: u64,
    pub supervisor: String,
    pub turns: Vec<Turn>,
    pub queued: u64,
    pub sessions: u64,
    pub owed: u64,
    pub quarantined: Vec<String>,
    pub requests: Vec<Request>,
    pub drain: Option<Drain>,
    pub breaker: Breaker,
    pub journal: String,
    pub listen: Option<String>,
    pub platforms: Vec<Platform>,
}

impl Status {
    /// The life that answered.
    pub fn life(&self) -> life::Life {
        let process = i32::try_from(self.pid).ok().zip(self.start_time);
        life::Life {
            generation: Some(GenerationId(self.generation)),
            process: process.map(|(pid, started)| Process { pid, started }),
        }
    }
}

/// A platform.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Platform {
    pub platform: String,
    /// `connecting`, `up`, `waiting`, `restarting` or `parked`.
    pub state: String,
    pub why: Option<String>,
    pub since_ms: Option<u64>,
}

/// The program file that would be started next.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OnDisk {
    /// `same`, `changed` or `gone`.
    pub program: String,
    pub version: Option<String>,
}

/// A turn in flight.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Turn {
    pub turn: u64,
    pub session: String,
    pub state: String,
    pub attempt: u64,
    pub messages: Vec<u64>,
    pub elapsed_ms: Option<u64>,
    pub asks: Vec<Asked>,
}

/// What the agent of a turn has asked its chat, and nobody has answered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    pub question: u64,
    pub since_ms: Option<u64>,
    pub for_ms: Option<u64>,
}

/// What a drain waits for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Drain {
    pub waiting_for: Vec<String>,
    pub remaining_ms: Option<u64>,
}

/// The loop breaker.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Breaker {
    /// `closed` or `tripped`.
    pub state: String,
    pub deaths: u64,
    pub held: u64,
}

/// `POST /v1/breaker/reset`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BreakerReset {
    pub reset: bool,
    pub generation: u64,
}

/// A request about the life cycle, `GET /v1/requests/{id}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Request {
    pub request: u64,
    pub kind: String,
    pub mode: String,
    pub by: String,
    pub reason: Option<String>,
    pub made_at_ms: Option<u64>,
    pub state: String,
    pub outcome: Option<Outcome>,
}

/// What became of a request.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Outcome {
    /// `restarted`, `stopped`, `overruled`, `cancelled` or `failed`.
    pub kind: String,
    pub generation: Option<u64>,
    pub detail: Option<String>,
}

impl Outcome {
    /// The outcome in a clause: "was overruled (by stop request 13)".
    pub fn clause(&self) -> String {
        let verb = match self.kind.as_str() {
            "failed" => "failed".to_owned(),
            kind => format!("was {kind}"),
        };
        match &self.detail {
            Some(detail) => format!("{verb}: {detail}"),
            None => verb,
        }
    }
}

/// `POST /v1/restart` and `POST /v1/stop`.
#[derive(Clone, Debug, Deserialize)]
pub struct Accepted {
    pub request: u64,
    /// The generation that accepted it.
    pub generation: Option<u64>,
    /// Set when this turn's wish was already carried out.
    #[serde(default)]
    pub already: bool,
    pub outcome: Option<Outcome>,
}

/// `POST /v1/reload`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reloaded {
    /// Settings that are in effect now.
    pub changed: Vec<String>,
    /// Settings that wait for a restart.
    pub needs_restart: Vec<String>,
}

/// `GET /v1/sessions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sessions {
    pub sessions: Vec<Session>,
}

/// `GET /v1/journal`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JournalPage {
    pub text: String,
    pub next: Option<String>,
}

/// One conversation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Session {
    pub session: String,
    pub last_event: u64,
    pub state: String,
}

/// `GET /v1/generations`, newest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Generations {
    pub generations: Vec<Generation>,
}

/// One life of the gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Generation {
    pub generation: u64,
    pub pid: u64,
    pub begun_at_ms: Option<u64>,
    pub ready_at_ms: Option<u64>,
    pub ended_at_ms: Option<u64>,
    /// When it was found dead, where nobody saw it die.
    pub ended_before_ms: Option<u64>,
    pub cause: Option<String>,
    pub verdict: Option<String>,
    /// Why it did not run from the installed program.
    pub rolled_back: Option<String>,
}

/// `GET /v1/generations/{generation}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Life {
    pub generation: u64,
    /// `alive`, `in_order` or `died`.
    pub end: String,
    pub cause: Option<String>,
    pub verdict: Option<String>,
    pub pid: Option<u64>,
    pub begun_at_ms: Option<u64>,
    pub ready_at_ms: Option<u64>,
    pub last_sign_at_ms: Option<u64>,
    pub ended_at_ms: Option<u64>,
    /// When it was found dead, where nobody saw it die.
    pub ended_before_ms: Option<u64>,
    pub requests: Vec<Request>,
    pub stages: Option<Stages>,
    /// How many turns ended in it, by how they did.
    pub turns_concluded: BTreeMap<String, u64>,
    /// How many deliveries it settled, by what became of them.
    pub deliveries_settled: BTreeMap<String, u64>,
    pub turns: Vec<LifeTurn>,
    pub owed: u64,
    pub deliveries: Vec<LifeDelivery>,
    pub next: Option<Next>,
}

/// How long each stage of an end took.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Stages {
    pub drain_ms: u64,
    pub interrupt_ms: u64,
    pub close_ms: u64,
}

/// A turn that was in flight at an end, and where it went on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LifeTurn {
    pub turn: u64,
    pub session: Option<String>,
    pub attempt: u64,
    pub fate: String,
    pub resumed: Option<Resumed>,
    pub concluded: Option<Concluded>,
}

/// The start that followed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Resumed {
    pub attempt: u64,
    pub generation: u64,
}

/// How a turn ended for good, and in which generation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Concluded {
    pub how: String,
    pub generation: u64,
}

/// A delivery that was owed when a generation began or when it ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LifeDelivery {
    pub delivery: u64,
    pub session: String,
    pub owed_in: Option<u64>,
    pub settled: Option<Settled>,
}

/// What became of a delivery, and in which generation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Settled {
    pub fate: String,
    pub generation: u64,
}

/// The next generation that was ready.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Next {
    pub generation: u64,
    pub gap_ms: u64,
}

/// `POST /v1/sessions/{session}/messages`.
#[derive(Clone, Debug, Deserialize)]
pub struct Stored {
    pub message: u64,
}

/// `POST /v1/link`.
#[derive(Clone, Debug, Deserialize)]
pub struct Link {
    pub link: String,
}

/// An event of a session, read from its SSE name and JSON data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    Message(MessageEvent),
    Turn(TurnEvent),
    Delta(DeltaEvent),
    Reply(ReplyEvent),
    Notice(NoticeEvent),
    Phase(PhaseEvent),
    /// Of a newer gateway, or not readable; nothing to go by.
    Unknown,
}

impl SessionEvent {
    pub fn read(event: &Event) -> Self {
        fn read<'a, T: Deserialize<'a>>(data: &'a str, wrap: impl Fn(T) -> SessionEvent) -> SessionEvent {
            serde_json::from_str(data).map_or(SessionEvent::Unknown, wrap)
        }
        match event.name.as_str() {
            "message" => read(&event.data, Self::Message),
            "turn" => read(&event.data, Self::Turn),
            "delta" => read(&event.data, Self::Delta),
            "reply" => read(&event.data, Self::Reply),
            "notice" => read(&event.data, Self::Notice),
            "phase" => read(&event.data, Self::Phase),
            _ => Self::Unknown,
        }
    }
}

/// A message was stored.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct MessageEvent {
    pub message: u64,
    pub text: String,
    #[serde(default)]
    pub from: Option<String>,
    /// What its sender was told: `running`, `queued`, `collected` or `interrupting`; nothing of a command.
    #[serde(default)]
    pub state: Option<String>,
}

/// A turn changed its state: `running`, `interrupted`, `answered`, `failed`, `stopped`, `superseded` or
/// `quarantined`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct TurnEvent {
    pub turn: u64,
    pub state: String,
    #[serde(default)]
    pub attempt: u64,
    #[serde(default)]
    pub messages: Vec<u64>,
    #[serde(default)]
    pub resumed: bool,
}

/// A piece of an answer in the making; not kept.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct DeltaEvent {
    pub turn: u64,
    pub text: String,
    /// It holds the answer from its beginning: what a new connection would otherwise have missed.
    #[serde(default)]
    pub so_far: bool,
}

/// The answer to the messages it names.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ReplyEvent {
    pub turn: u64,
    pub messages: Vec<u64>,
    pub text: String,
    #[serde(default)]
    pub files: Vec<FileOfReply>,
}

/// A file that goes with a reply.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct FileOfReply {
    pub path: String,
    pub media_type: String,
}

impl std::fmt::Display for FileOfReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[file: {} ({})]", self.path, self.media_type)
    }
}

/// The gateway's own words.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct NoticeEvent {
    pub text: String,
    /// The message that it answers, when the gateway says so.
    #[serde(default)]
    pub message: Option<u64>,
    /// Set where it only tells what the gateway does, and answers nothing.
    #[serde(default)]
    pub lifecycle: Option<String>,
}

/// The gateway changed its phase; not kept.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct PhaseEvent {
    pub generation: u64,
    pub phase: String,
}
