//! The lines between the driver and the platforms: what each platform has in hand, which of its chats have news, and how it
//! is doing. The driver hands out and never waits; an adapter takes at its own pace. Nothing here decides anything.

use super::{Capabilities, Chat, Health, Outgoing, Platform};
use evergate_core::time::Instant;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Deliveries that may wait for one platform; of each chat there is one at a time. Above that they are tried again later.
const OUTGOING: usize = 1024;

/// All platforms of one generation, by name.
#[derive(Default)]
pub struct Switchboard {
    lines: BTreeMap<&'static str, Arc<Line>>,
}

/// The line to one platform.
pub struct Line {
    /// The platform's name.
    pub name: &'static str,
    /// What it can do.
    pub capabilities: Capabilities,
    outgoing: mpsc::Sender<Outgoing>,
    /// The platform's end. It stays when the adapter is started again.
    pub(super) waiting: tokio::sync::Mutex<mpsc::Receiver<Outgoing>>,
    account: Mutex<Account>,
    pub(super) news: Notify,
}

/// What is known of one platform right now.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) health: Health,
    /// Since when, in milliseconds since 1970.
    pub(super) since_ms: u64,
    /// When it last got anywhere.
    pub(super) progress_at: Instant,
    /// The deliveries that it took and has not settled.
    pub(super) in_hand: BTreeSet<u64>,
    /// Sessions whose running answer has changed.
    pub(super) stirred: BTreeSet<String>,
}

impl Switchboard {
    /// Lines to these platforms.
    #[must_use]
    pub fn new(platforms: &[Arc<dyn Platform>], now: Instant, now_ms: u64) -> Self {
        let lines = platforms.iter().map(|platform| (platform.name(), Arc::new(Line::new(&**platform, now, now_ms))));
        Self { lines: lines.collect() }
    }

    /// The line to this platform.
    #[must_use]
    pub fn line(&self, platform: &str) -> Option<&Arc<Line>> {
        self.lines.get(platform)
    }

    /// The answer that runs in a session has changed, begun or ended.
    pub fn stir(&self, session: &str) {
        if let Some((platform, _)) = session.split_once(':')
            && let Some(line) = self.lines.get(platform)
        {
            line.account().stirred.insert(session.to_owned());
            line.news.notify_one();
        }
    }

    /// How the platforms are doing, as a JSON list.
    #[must_use]
    pub fn status(&self) -> Value {
        let platforms = self.lines.values().map(|line| {
            let account = line.account();
            json!({
                "platform": line.name, "state": account.health.word(), "why": account.health.why(),
                "since_ms": account.since_ms, "in_hand": account.in_hand.len(),
            })
        });
        platforms.collect()
    }
}

impl Line {
    fn new(platform: &dyn Platform, now: Instant, now_ms: u64) -> Self {
        let (outgoing, waiting) = mpsc::channel(OUTGOING);
        let account = Account {
            health: Health::Connecting,
            since_ms: now_ms,
            progress_at: now,
            in_hand: BTreeSet::new(),
            stirred: BTreeSet::new(),
        };
        Self {
            name: platform.name(),
            capabilities: platform.capabilities(),
            outgoing,
            waiting: tokio::sync::Mutex::new(waiting),
            account: Mutex::new(account),
            news: Notify::new(),
        }
    }

    /// Hands a delivery to the platform; false if too many wait there.
    #[must_use]
    pub fn hand_out(&self, outgoing: Outgoing) -> bool {
        self.outgoing.try_send(outgoing).is_ok()
    }

    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The chat of a session and the line to its platform.
impl Switchboard {
    /// `None` for a session of the local platform; the line is missing where the platform is not configured (any more).
    #[must_use]
    pub fn route(&self, session: &str) -> Option<(Chat, Option<&Arc<Line>>)> {
        let chat = Chat::of_session(session)?;
        let line = self.line(&chat.platform);
        Some((chat, line))
    }
}
