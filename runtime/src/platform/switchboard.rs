//! The lines between the driver and the platforms: what each platform has in hand, which of its chats have news, and how it
//! is doing. The driver hands out and never waits; an adapter takes at its own pace. Nothing here decides anything.

use super::waiting::Waiting;
use super::{Capabilities, Chat, Health, Outbound, Outcome, Outgoing, Platform};
use evergate_core::time::Instant;
use evergate_core::watchdog::Attempt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Deliveries that may wait for one platform; of each chat there is one at a time. Above that they are tried again later.
const OUTGOING: usize = 1024;

/// The pause in a chat after a try that came to nothing; doubled up to [`LONGEST_PAUSE`] as long as none comes to more.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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
    /// Somebody is to be told that a message waits.
    pub(super) waits: Notify,
    /// Wakes its keeper when the adapter is to stand still.
    naps: Notify,
}

/// What is known of one platform right now.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) health: Health,
    /// Since when, in milliseconds since 1970.
    pub(super) since_ms: u64,
    /// How its adapter gets on.
    pub(super) attempt: Attempt,
    /// The deliveries that it took and has not settled, with their sessions.
    pub(super) in_hand: BTreeMap<u64, String>,
    /// Sessions in which the last try came to nothing.
    failing: BTreeMap<String, Failing>,
    /// Sessions whose running answer has changed.
    pub(super) stirred: BTreeSet<String>,
    /// Whose messages wait, and what they were told.
    pub(super) acknowledged: Waiting,
    /// How long the adapter is to stand still, for those who try out what happens then.
    nap: Option<Duration>,
}

/// Tries in one chat that came to nothing.
#[derive(Clone, Copy, Debug)]
struct Failing {
    /// How many in a row.
    times: u32,
    /// When the next may be made.
    again_at: Instant,
}

impl Switchboard {
    /// Lines to these platforms.
    #[must_use]
    pub fn new(platforms: &[Arc<dyn Platform>], now: Instant, now_ms: u64) -> Self {
        let line = |platform: &Arc<dyn Platform>| {
            let (name, capabilities) = (platform.name(), platform.capabilities());
            (name, Arc::new(Line::new(name, capabilities, Health::Connecting, now, now_ms)))
        };
        Self { lines: platforms.iter().map(line).collect() }
    }

    /// Beside these a platform without an adapter, which is up as long as the gateway is.
    #[must_use]
    pub fn beside(mut self, name: &'static str, capabilities: Capabilities, now: Instant, now_ms: u64) -> Self {
        self.lines.insert(name, Arc::new(Line::new(name, capabilities, Health::Up, now, now_ms)));
        self
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

    /// How the platforms are doing, as a JSON list; what needs no adapter comes last.
    #[must_use]
    pub fn status(&self) -> Value {
        let kept = |line: &&Arc<Line>| line.capabilities.outbound == Outbound::Kept;
        let (here, remote): (Vec<_>, Vec<_>) = self.lines.values().partition(kept);
        let platforms = remote.into_iter().chain(here).map(|line| {
            let account = line.account();
            json!({
                "platform": line.name, "state": account.health.word(), "why": account.health.why(),
                "since_ms": account.since_ms, "in_hand": account.in_hand.len(), "capabilities": line.capabilities.json(),
            })
        });
        platforms.collect()
    }
}

impl Line {
    fn new(name: &'static str, capabilities: Capabilities, health: Health, now: Instant, now_ms: u64) -> Self {
        let (outgoing, waiting) = mpsc::channel(OUTGOING);
        let account = Account {
            health,
            since_ms: now_ms,
            attempt: Attempt::new(now),
            in_hand: BTreeMap::new(),
            failing: BTreeMap::new(),
            stirred: BTreeSet::new(),
            acknowledged: Waiting::default(),
            nap: None,
        };
        Self {
            name,
            capabilities,
            outgoing,
            waiting: tokio::sync::Mutex::new(waiting),
            account: Mutex::new(account),
            news: Notify::new(),
            waits: Notify::new(),
            naps: Notify::new(),
        }
    }

    /// Has the adapter stand still for a while, whatever its keeper thinks of that.
    pub fn freeze(&self, length: Duration) {
        self.account().nap = Some(length);
        self.naps.notify_one();
    }

    /// Waits until the adapter is to stand still, and gives for how long.
    pub(super) async fn naps(&self) -> Duration {
        loop {
            let nap = self.account().nap.take();
            if let Some(length) = nap {
                return length;
            }
            self.naps.notified().await;
        }
    }

    /// Says how the platform is doing: what is new is logged.
    pub fn set_health(&self, health: Health, now_ms: u64) {
        let mut account = self.account();
        if account.health == health {
            return;
        }
        let (platform, state) = (self.name, health.word());
        match health.why() {
            None => tracing::info!(platform, state, "platform"),
            Some(why) => tracing::warn!(platform, state, why, "platform"),
        }
        // A wait that is only prolonged is the same wait.
        if account.health.word() != health.word() {
            account.since_ms = now_ms;
        }
        account.health = health;
    }

    /// Whether it waits for a person: then nothing is to be sent there.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        matches!(self.account().health, Health::Parked { .. })
    }

    /// Whether something may be tried in a session now: the more often in a row it came to nothing, the longer that waits. So a
    /// network that is down for a night costs no attempt a second, each of them written down.
    #[must_use]
    pub fn may_try(&self, session: &str, now: Instant) -> bool {
        self.account().failing.get(session).is_none_or(|failing| failing.again_at <= now)
    }

    /// A delivery is no longer in the platform's hands; `None` if it was not.
    pub(super) fn note_outcome(&self, delivery: u64, outcome: &Outcome, now: Instant) -> Option<()> {
        let mut account = self.account();
        let session = account.in_hand.remove(&delivery)?;
        // What may have arrived is not hurried.
        let doubled = match outcome {
            Outcome::Sent | Outcome::Rejected { .. } => {
                account.failing.remove(&session);
                return Some(());
            }
            Outcome::Failed => 0,
            Outcome::Unknown => 1,
        };
        let times = account.failing.get(&session).map_or(0, |failing| failing.times);
        let pause = FIRST_PAUSE.saturating_mul(1 << (times + doubled).min(16)).min(LONGEST_PAUSE);
        account.failing.insert(session, Failing { times: times.saturating_add(1).min(16), again_at: now + pause });
        Some(())
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
