//! All that a seed chooses before its run begins: the size of the world, the limits of the gateway, its supervisor, which
//! faults exist and how often they happen. One line of JSON says it all, and the same line gives the same run.

use super::fault::{Fault, Often};
use super::random::Random;
use evergate_core::busy::Busy;
use evergate_core::limits::Limits;
use evergate_core::outbox::Uncertain;
use evergate_core::question::Deciders;
use evergate_core::supervisor::{Contract, Supervisor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The whole configuration of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    pub limits: Limits,
    /// Each so manieth chat is on a platform that cannot tell a repeat from a second text; 0: none is.
    #[serde(default)]
    pub blind_every: u64,
    /// The faults that exist, and how often they happen.
    pub faults: BTreeMap<Fault, u32>,
    /// A mistake of the world itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<Planted>,
}

/// A mistake that somebody puts into the world, to see that it is found. No seed draws one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Planted {
    /// Messages are acked when they are written, before that is on disk
    AckBeforeSync,
    /// A death loses the last turn that was on disk
    DeathLosesTurn,
    /// What carries out a request while a turn runs meets an error that nobody catches
    ErrorUncaught,
    /// Once the world is healed, no commit that begins is ever done
    NeverRests,
    /// Something comes in that no seed has drawn: no life is lived the same way twice
    Unseeded,
}

impl Planted {
    /// Its name on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeSync => "ack-before-sync",
            Self::DeathLosesTurn => "death-loses-turn",
            Self::ErrorUncaught => "error-uncaught",
            Self::NeverRests => "never-rests",
            Self::Unseeded => "unseeded",
        }
    }
}

/// The subjects of chances, one stream each.
mod subject {
    pub const SIZES: u64 = 1;
    pub const LIMITS: u64 = 2;
    pub const FAULTS: u64 = 3;
    pub const PLATFORMS: u64 = 4;
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
            limits: limits(&mut Random::of(seed, subject::LIMITS, 0)),
            blind_every: Random::of(seed, subject::PLATFORMS, 0).below(4),
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

/// Mostly as configured by default, sometimes so small that they are reached.
fn limits(random: &mut Random) -> Limits {
    let mut limits = Limits::default();
    let mut short = |length: &mut Duration, low_ms: u64, high_ms: u64| {
        if random.hits(300) {
            *length = Duration::from_millis(random.spread(low_ms, high_ms));
        }
    };
    short(&mut limits.drain, 0, 120_000);
    short(&mut limits.requester_grace, 0, 10_000);
    short(&mut limits.interrupt_grace, 0, 10_000);
    short(&mut limits.close_grace, 0, 10_000);
    short(&mut limits.stall_after, 500, 300_000);
    short(&mut limits.journal_retry, 10, 5_000);
    short(&mut limits.delivery_retry, 10, 10_000);
    let mut few = |bound: &mut usize, low: u64, high: u64| {
        if random.hits(300) {
            *bound = usize::try_from(random.spread(low, high)).unwrap_or(usize::MAX);
        }
    };
    few(&mut limits.sessions, 2, 400);
    few(&mut limits.queued, 4, 200);
    few(&mut limits.queued_per_session, 1, 20);
    few(&mut limits.turns, 1, 64);
    limits.attempts = u32::try_from(random.between(2, 5)).unwrap_or(5);
    limits.busy = random.pick(&Busy::ALL);
    limits.unproven = u32::try_from(random.spread(1, 10)).unwrap_or(10);
    limits.unknown_sends = u32::try_from(random.between(1, 4)).unwrap_or(4);
    if random.hits(300) {
        limits.uncertain = Uncertain::Drop;
    }
    if random.hits(500) {
        limits.question_expiry = Duration::from_millis(random.spread(500, 120_000));
    }
    if random.hits(200) {
        limits.deciders = Deciders::Operators;
    }
    limits
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
