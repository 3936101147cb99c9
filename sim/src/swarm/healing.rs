//! A whole run: first a phase in which the faults of its configuration happen and every rule must hold all the same, then
//! the healing: nothing fails any more, somebody starts what is down and speaks where that is waited for, and the
//! gateway has to come to rest with every promise kept.

use super::config::{Config, Planted};
use super::marks::{Mark, Marks};
use super::plan::{Frozen, Planned};
use super::world::World;
use crate::panics;
use crate::story::{Broken, Kind, Lane, Moment};
use crate::telling::Telling;
use evergate_core::gateway::{Gateway, Pending, Phase};
use evergate_core::id::SessionId;
use evergate_core::input::{Asked, Standing};
use evergate_core::invariant::Invariant;
use evergate_core::request::Mode;
use evergate_core::session::Quarantine;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often it is looked whether all is at rest.
const LOOK_MS: u64 = 1_000;
/// How often somebody speaks where that is waited for.
const SPEAK_MS: u64 = 20_000;
/// The longest healing, by the clock: one hour, and a minute more for each message that waits for its answer, beside what
/// the longest turn takes.
const REST_MS: u64 = 3_600_000;
const REST_MS_PER_MESSAGE: u64 = 60_000;
/// From a forced restart to another generation that serves, where nothing else happens.
const FORCED_MS: u64 = 10_000;
/// The longest healing in inputs.
const REST_INPUTS: u64 = 5_000_000;
/// What no seed knows of: how many lives with that mistake there have been.
static UNSEEDED: AtomicU64 = AtomicU64::new(0);
/// What people say in the healing is in no plan.
const UNPLANNED: u32 = u32::MAX;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lived {
    /// The hash of its trace.
    pub trace: u64,
    /// Inputs that the core handled.
    pub inputs: u64,
    /// Generations that began.
    pub generations: u64,
    /// When it was over, in milliseconds from the beginning.
    pub at: u64,
    /// What was reached.
    pub marks: Marks,
    /// The rules that were looked at, as bits.
    pub looked: u32,
    /// The rule that broke first.
    pub broken: Option<Broken>,
    /// What happened, if it was to be told.
    pub moments: Vec<Moment>,
}

/// Whether a run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// It only happens.
    No,
    /// Its moments are kept.
    Moments,
}

/// Lives through one run, until it is at rest or a rule breaks. A panic is a broken rule: the core never does that.
#[must_use]
pub fn live(config: &Config, plan: &[Planned], tell: Tell) -> Lived {
    let telling = (tell == Tell::Moments).then(Telling::default);
    let mut world = World::new(config, plan, telling);
    let panicked = panics::caught(|| {
        world.is_told_what_no_seed_knows();
        while world.checks.broken().is_none() && world.step(config.safety_ms) {}
        if world.checks.broken().is_none() {
            world.heals();
        }
    });
    if let (Err(what), now, Some(telling)) = (&panicked, world.now, &mut world.telling) {
        telling.add(now, Lane::Gateway, Kind::Fault, format!("panics: {what}"), "");
    }
    let broken = panicked.err().map(Broken::panic).or_else(|| world.checks.broken().map(Broken::from));
    Lived {
        trace: world.trace.finish(),
        inputs: world.inputs,
        generations: world.generations,
        at: world.now,
        looked: world.checks.looked(),
        broken,
        marks: world.marks,
        moments: world.telling.map(|telling| telling.moments).unwrap_or_default(),
    }
}

impl World<'_> {
    /// Nothing fails any more: the gateway comes to rest.
    fn heals(&mut self) {
        self.now = self.now.max(self.config.safety_ms);
        self.all_faults_stop();
        self.comes_to_rest();
        if self.checks.broken().is_none() {
            self.is_restarted_by_force();
            self.comes_to_rest();
        }
        if self.checks.broken().is_none() {
            self.checks.holds(Invariant::Finite, true, String::new);
            self.witness.at_rest(&mut self.checks);
            self.chats.at_rest(&mut self.checks);
            self.wishes_at_rest();
        }
    }

    fn comes_to_rest(&mut self) {
        let waiting = self.chats.waiting() * (self.config.agent_ms * 4 + REST_MS_PER_MESSAGE);
        let (last, most) = (self.now + REST_MS + waiting, self.inputs + REST_INPUTS);
        let (mut look, mut speak) = (self.now, self.now);
        while self.checks.broken().is_none() {
            if self.now >= look {
                look = self.now + LOOK_MS;
                if self.is_at_rest() {
                    break;
                }
                if self.now >= speak && self.somebody_speaks() {
                    speak = self.now + SPEAK_MS;
                }
            }
            if self.inputs > most || !self.step(last) {
                // What is still to come may all be beyond the bound, or there may be nothing: either way this is how it stays.
                if self.is_at_rest() {
                    break;
                }
                if !self.somebody_speaks() {
                    return self.never_rests();
                }
            }
        }
    }

    /// Whatever it has been through, and whether its loop, its process or nothing stands still for good by now: somebody
    /// restarts it by force, and another generation serves within the bound.
    fn is_restarted_by_force(&mut self) {
        let Some(generation) = self.gateway.as_ref().map(Gateway::generation) else { return };
        let begun = self.now;
        match self.config.seed % 3 {
            0 => {}
            1 => self.freezes(Frozen::Loop, REST_MS),
            _ => self.freezes(Frozen::Process, REST_MS),
        }
        self.climbs(Mode::Force);
        // An engine, Kubernetes and s6 pause before a start, and nobody can tell them not to.
        while self.checks.broken().is_none()
            && self.somebody_climbs()
            && self.step(begun + FORCED_MS + self.keeper.pause)
        {}
        let serves = self.gateway.as_ref().is_some_and(|gateway| {
            gateway.generation() > generation && gateway.phase() == Phase::Serving && self.frozen.is_none()
        });
        self.checks.holds(Invariant::Force, serves, || {
            format!("{generation} was to be restarted by force, and {} ms later no other serves", self.now - begun)
        });
    }

    /// Says why not.
    fn never_rests(&mut self) {
        let mut why = Vec::new();
        match self.gateway.as_ref().map(Gateway::pending) {
            None => why.push("there is no gateway".to_owned()),
            Some(Some(pending)) => why.push(format!("the gateway has something to do: {pending:?}")),
            Some(None) => {}
        }
        if self.chats.unacked > 0 {
            why.push(format!("{} messages are not acked", self.chats.unacked));
        }
        if self.disk.is_busy() {
            why.push("a commit is not done".to_owned());
        }
        let sessions = self.gateway.iter().flat_map(|gateway| gateway.sessions().values());
        match sessions.filter(|session| session.standing != Quarantine::Free).count() {
            0 => {}
            apart => why.push(format!("{apart} sessions are set aside")),
        }
        let (now, why) = (self.now, why.join(", "));
        self.checks.holds(Invariant::Finite, false, || format!("healed, and at {now} ms it is not at rest: {why}"));
    }

    /// The mistake of a world that takes in what is not in its configuration.
    fn is_told_what_no_seed_knows(&mut self) {
        if self.config.planted == Some(Planted::Unseeded) {
            let number = UNSEEDED.fetch_add(1, Ordering::Relaxed);
            self.trace.write_u64(number);
            if let Some(telling) = &mut self.telling {
                telling.add(self.now, Lane::People, Kind::Fault, format!("somebody says {number}"), "");
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let Some(gateway) = &self.gateway else { return false };
        gateway.pending().is_none()
            && self.chats.unacked == 0
            && !self.disk.is_busy()
            && gateway.sessions().values().all(|session| session.standing == Quarantine::Free)
    }

    /// Somebody says something in the sessions that wait for that; false if none does.
    fn somebody_speaks(&mut self) -> bool {
        let Some(gateway) = &self.gateway else { return false };
        let mut waiting: Vec<SessionId> = gateway
            .sessions()
            .iter()
            .filter(|(_, session)| session.standing == Quarantine::SetAside)
            .map(|(session, _)| *session)
            .collect();
        if waiting.is_empty() && matches!(gateway.pending(), Some(Pending::Held(_))) {
            self.marks.hit(Mark::HeldGoesOn);
            self.witness.holds_back(&mut self.checks);
            let held = gateway.turns().values().next().map(|turn| turn.session);
            waiting.push(held.unwrap_or(SessionId(1)));
        }
        for session in &waiting {
            self.say(UNPLANNED, session.0, Asked::Prompt, Standing::Guest);
        }
        !waiting.is_empty()
    }
}
