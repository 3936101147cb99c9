//! All that the server knows, behind one lock, and the bell that wakes the poll that is held when something has changed.

use super::chats::Chats;
use super::faults::Faults;
use super::polling::Polling;
use super::push::Webhook;
use super::silence::Silence;
use super::updates::Updates;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Calls of the bot that are remembered, so that a bot that floods does not fill the machine.
const CALLS: usize = 100_000;

/// All that the server knows.
#[derive(Debug)]
pub struct World {
    /// The one valid token.
    pub token: String,
    /// Whether it was revoked.
    pub revoked: bool,
    /// What waits for the bot.
    pub updates: Updates,
    /// What the bot said.
    pub chats: Chats,
    /// What goes wrong next.
    pub faults: Faults,
    /// Who polls.
    pub polling: Polling,
    /// When nobody polled.
    pub silence: Silence,
    /// Where updates are pushed to instead.
    pub webhook: Option<Webhook>,
    /// Presses of buttons that the bot has not answered.
    pub presses: BTreeSet<String>,
    /// Whether the server is away.
    pub down: bool,
    /// `setMyCommands`.
    pub commands: Value,
    /// Files that people sent: by id, the path and the bytes.
    pub files: BTreeMap<String, (String, Vec<u8>)>,
    /// The methods called so far, in order: when, what, where, and how it was answered.
    pub calls: Vec<Value>,
}

/// The world, and its bell.
#[derive(Clone)]
pub struct Shared {
    world: Arc<Mutex<World>>,
    /// Rings when a held poll should look again.
    pub bell: Arc<Notify>,
}

impl Shared {
    /// A world in which nobody has said anything.
    pub fn new(token: String) -> Self {
        let world = World {
            token,
            revoked: false,
            updates: Updates::new(),
            chats: Chats::default(),
            faults: Faults::default(),
            polling: Polling::default(),
            silence: Silence::default(),
            webhook: None,
            presses: BTreeSet::new(),
            down: false,
            commands: json!([]),
            files: BTreeMap::new(),
            calls: Vec::new(),
        };
        Self { world: Arc::new(Mutex::new(world)), bell: Arc::new(Notify::new()) }
    }

    /// A look inside. Never held over an await.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has changed that a held poll may be waiting for.
    pub fn ring(&self) {
        self.bell.notify_waiters();
    }
}

impl World {
    /// Remembers a call and its HTTP status (0: the connection was cut).
    pub fn note(&mut self, method: &str, chat: Option<i64>, status: u16) {
        if self.calls.len() < CALLS {
            self.calls.push(json!({"at_ms": now_ms(), "method": method, "chat": chat, "status": status}));
        }
    }
}

/// Milliseconds since 1970, comparable between this process and its test.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
