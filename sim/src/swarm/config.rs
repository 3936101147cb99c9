//! All that a seed chooses before its run begins: the size of the world, the limits of the gateway, its supervisor, which
//! faults exist and how often they happen. One line of JSON says it all, and the same line gives the same run.

use super::fault::{Fault, Often};
use super::random::Random;
use evergate_core::limits::Limits;
use evergate_core::supervisor::{Contract, Supervisor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The whole configuration of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Where all chances of the run come from.
    pub seed: u64,
    /// Who starts the gateway again.
    pub supervisor: Supervisor,
    /// How many chats there are.
    pub sessions: u64,
    /// How many messages they say before the healing.
    pub messages: u64,
    /// How long the world is disturbed.
    pub safety_ms: u64,
    /// What a turn takes, about.
    pub agent_ms: u64,
    /// What a commit takes, about.
    pub commit_ms: u64,
    /// What a send takes, about.
    pub send_ms: u64,
    /// How soon a person notices that the gateway is down and starts it.
    pub person_ms: u64,
    /// The gateway's limits.
    pub limits: Bounds,
    /// The faults that exist, and how often they happen.
    pub faults: BTreeMap<Fault, u32>,
    /// A mistake of the world itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<Planted>,
}

/// [`Limits`] with a unit in each name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the core says what each of them bounds")]
pub struct Bounds {
    pub drain_ms: u64,
    pub requester_grace_ms: u64,
    pub interrupt_grace_ms: u64,
    pub close_grace_ms: u64,
    pub stall_after_ms: u64,
    pub attempts: u32,
    pub unproven: u32,
    pub sessions: usize,
    pub queued: usize,
    pub queued_per_session: usize,
    pub turns: usize,
    pub journal_retry_ms: u64,
    pub delivery_retry_ms: u64,
}

/// A mistake that tests put into the world, to see that it is found. No seed draws one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Planted {
    /// Messages are acked when they are written, before that is on disk.
    AckBeforeSync,
    /// A death loses the last turn that was on disk.
    DeathLosesTurn,
}

/// The subjects of chances, one stream each.
mod subject {
    pub const SIZES: u64 = 1;
    pub const LIMITS: u64 = 2;
    pub const FAULTS: u64 = 3;
}

impl Config {
    /// What this seed chooses.
    #[must_use]
    pub fn drawn(seed: u64) -> Self {
        let mut random = Random::of(seed, subject::SIZES, 0);
        let supervisor = random.pick(&Contract::TABLE).supervisor;
        let sessions = random.spread(1, 400);
        let messages = random.spread(50, 2_000);
        let agent_ms = random.spread(200, 60_000);
        let at_once = random.spread(1, 16);
        let safety_ms = (messages * agent_ms / at_once).clamp(120_000, 172_800_000);
        Self {
            seed,
            supervisor,
            sessions,
            messages,
            safety_ms,
            agent_ms,
            commit_ms: random.spread(1, 20),
            send_ms: random.spread(5, 1_000),
            person_ms: random.spread(1_000, (safety_ms / 50).max(2_000)),
            limits: Bounds::drawn(&mut Random::of(seed, subject::LIMITS, 0)),
            faults: faults(&mut Random::of(seed, subject::FAULTS, 0)),
            planted: None,
        }
    }

    /// How often a fault happens; 0 when it does not exist.
    #[must_use]
    pub fn rate(&self, fault: Fault) -> u32 {
        self.faults.get(&fault).copied().unwrap_or(0)
    }

    /// The one line that says it all.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("it has only numbers, names and maps with names as keys")
    }
}

/// Each fault exists in every other run, and where it does, it may be rare or frequent.
fn faults(random: &mut Random) -> BTreeMap<Fault, u32> {
    let mut faults = BTreeMap::new();
    for fault in Fault::ALL {
        let rate = match fault.often() {
            Often::Times => random.spread(1, 12),
            Often::PerMille => random.spread(1, 100),
        };
        let rate = if *fault == Fault::AgentPoison { rate.min(8) } else { rate };
        if random.hits(500) {
            faults.insert(*fault, u32::try_from(rate).unwrap_or(u32::MAX));
        }
    }
    faults
}

impl Bounds {
    /// Mostly as configured by default, sometimes so small that they are reached.
    fn drawn(random: &mut Random) -> Self {
        let mut bounds = Self::default();
        let mut small = |bound: &mut u64, low: u64, high: u64| {
            if random.hits(300) {
                *bound = random.spread(low, high);
            }
        };
        small(&mut bounds.drain_ms, 0, 120_000);
        small(&mut bounds.requester_grace_ms, 0, 10_000);
        small(&mut bounds.interrupt_grace_ms, 0, 10_000);
        small(&mut bounds.close_grace_ms, 0, 10_000);
        small(&mut bounds.stall_after_ms, 500, 300_000);
        small(&mut bounds.journal_retry_ms, 10, 5_000);
        small(&mut bounds.delivery_retry_ms, 10, 10_000);
        let mut few = |bound: &mut usize, low: u64, high: u64| {
            if random.hits(300) {
                *bound = usize::try_from(random.spread(low, high)).unwrap_or(usize::MAX);
            }
        };
        few(&mut bounds.sessions, 2, 400);
        few(&mut bounds.queued, 4, 200);
        few(&mut bounds.queued_per_session, 1, 20);
        few(&mut bounds.turns, 1, 64);
        bounds.attempts = u32::try_from(random.between(2, 5)).unwrap_or(5);
        bounds.unproven = u32::try_from(random.spread(1, 10)).unwrap_or(10);
        bounds
    }

    /// The same for the core.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            drain: Duration::from_millis(self.drain_ms),
            requester_grace: Duration::from_millis(self.requester_grace_ms),
            interrupt_grace: Duration::from_millis(self.interrupt_grace_ms),
            close_grace: Duration::from_millis(self.close_grace_ms),
            stall_after: Duration::from_millis(self.stall_after_ms),
            attempts: self.attempts,
            unproven: self.unproven,
            sessions: self.sessions,
            queued: self.queued,
            queued_per_session: self.queued_per_session,
            turns: self.turns,
            journal_retry: Duration::from_millis(self.journal_retry_ms),
            delivery_retry: Duration::from_millis(self.delivery_retry_ms),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        let limits = Limits::default();
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            drain_ms: millis(limits.drain),
            requester_grace_ms: millis(limits.requester_grace),
            interrupt_grace_ms: millis(limits.interrupt_grace),
            close_grace_ms: millis(limits.close_grace),
            stall_after_ms: millis(limits.stall_after),
            attempts: limits.attempts,
            unproven: limits.unproven,
            sessions: limits.sessions,
            queued: limits.queued,
            queued_per_session: limits.queued_per_session,
            turns: limits.turns,
            journal_retry_ms: millis(limits.journal_retry),
            delivery_retry_ms: millis(limits.delivery_retry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_configuration_gives_the_same_configuration() {
        for seed in 0..50 {
            let config = Config::drawn(seed);
            assert_eq!(serde_json::from_str::<Config>(&config.line()).ok(), Some(config));
        }
    }
}
