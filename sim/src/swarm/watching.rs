//! What stands still, and whoever sees that: the production watchdog in the process, which looks as it does in a real one, and
//! a supervisor that hears nothing. Between two looks everything else may happen: the loop goes on, the machine sleeps, an
//! operator or the guard is first.

use super::marks::Mark;
use super::plan::Frozen;
use super::process::{Ended, Killer};
use super::queue::Event;
use super::world::World;
use evergate_core::gateway::Phase;
use evergate_core::invariant::Invariant;
use evergate_core::request::{Origin, Wish};
use evergate_core::respawn::{KILL_LIMIT, Respawn};
use evergate_core::supervisor::Supervisor;
use evergate_core::time::Instant;
use evergate_core::watchdog::{Bounds, Finding, Part, Seen, Thread, Watchdog};
use std::time::Duration;

/// When a process that gives no sign of life is.
const SILENCE: Duration = Duration::from_secs(25);
/// A freeze is found after its bound and so many looks more.
const LOOKS_MORE: u32 = 3;

/// The watchdog of a process, while there is anything to look at: whoever gets on between any two looks is never found, and
/// leaves an account that is as good as new.
#[derive(Debug)]
pub struct Stare {
    watchdog: Watchdog,
    /// When it looks next, by the world's time.
    pub(super) at: u64,
}

/// Standing still.
impl World<'_> {
    /// Something stands still.
    pub(super) fn freezes(&mut self, what: Frozen, ms: u64) {
        if self.gateway.is_none() || self.frozen.is_some() {
            return;
        }
        self.frozen = Some(what);
        (self.frozen_since, self.dozed) = (self.now, 0);
        self.queue.push(self.now + ms, Event::Thaw { life: self.life });
        self.begins_to_stare();
        if what == Frozen::Process
            && let Some(silence) = self.too_silent_after().filter(|silence| *silence < ms)
        {
            self.queue.push(self.now + silence, Event::TooSilent { life: self.life, since: self.now });
        }
    }

    /// What stood still goes on with all that has gathered; the guard, which needs no turn of the loop, is first.
    pub(super) fn thaws(&mut self) {
        let Some(frozen) = self.frozen.take() else { return };
        if let Some((at, verdict)) = self.guard
            && at <= self.clock()
        {
            return self.process_ends(Ended::Guard(verdict));
        }
        let stood = self.stood_still();
        self.checks.holds(Invariant::Finite, patience(frozen).is_none_or(|(_, most)| stood <= most), || {
            format!("{frozen:?} stood still for {stood:?}, and the watchdog did nothing")
        });
        self.marks.hit(Mark::Thawed);
        // An end on the way forgets the rest.
        while let Some(event) = self.backlog.pop_front() {
            self.happens(event);
        }
    }

    /// What came for a process that is gone: platforms have not been answered and deliver again.
    pub(super) fn comes_again_later(&mut self) {
        for event in std::mem::take(&mut self.backlog) {
            if let Event::Deliver { said } = event {
                self.queue.push(self.now + 1_000, Event::Deliver { said });
            }
        }
    }

    /// How long it has stood still, not counting what the machine slept, but for dozes.
    const fn stood_still(&self) -> Duration {
        Duration::from_millis(self.now - self.frozen_since + self.dozed)
    }

    /// The machine has slept. What is no longer than from one look to the next counts, since nobody can tell it from that.
    pub(super) fn dozes(&mut self, ms: u64) {
        if ms <= millis(Watchdog::new(Bounds::default(), self.clock()).period()) {
            self.dozed += ms;
        }
    }
}

/// Watching from within.
impl World<'_> {
    /// There is something to look at.
    pub(super) fn begins_to_stare(&mut self) {
        if self.stare.is_none() {
            let watchdog = Watchdog::new(Bounds::default(), self.clock());
            let at = self.now + millis(watchdog.period());
            self.stare = Some(Stare { watchdog, at });
        }
    }

    /// The watchdog looks, and does what follows.
    pub(super) fn watchdog_looks(&mut self) {
        let Some(Stare { mut watchdog, .. }) = self.stare.take() else { return };
        let seen = self.seen();
        let mut ends = false;
        for finding in watchdog.look(self.clock(), &seen) {
            match finding {
                Finding::Frozen { .. } => {
                    self.frozen_is_found();
                    ends = true;
                }
                Finding::Late => ends = true,
                Finding::Slow(Part::Loop) => self.marks.hit(Mark::DiskBorne),
                Finding::Slept { .. } => self.marks.hit(Mark::SleepForgiven),
                Finding::Slow(_) | Finding::Hung(_) | Finding::Well(_) => {}
            }
        }
        if ends {
            let restart = self.contract().verdict(Wish::Restart, Origin::Watchdog);
            let verdict = self.guard.map_or(restart, |(_, verdict)| verdict);
            self.checks.holds(Invariant::Truth, !watchdog.is_well() || !seen.ready, || {
                "whoever watches from outside is told that a process is well which is ended because it is not"
                    .to_owned()
            });
            return self.process_ends(Ended::Watchdog(verdict));
        }
        if self.frozen.is_some() || seen != (Seen { ready: true, ..Seen::default() }) {
            let at = self.now + millis(watchdog.period());
            self.stare = Some(Stare { watchdog, at });
        }
    }

    /// What there is to be seen. A loop that turns has nothing left to do between two looks, or has done something: one that
    /// stands still once more is further than the last time.
    fn seen(&self) -> Seen {
        let ready = self.gateway.as_ref().is_some_and(|gateway| gateway.phase() != Phase::Starting);
        let mut seen = Seen { ready, ..Seen::default() };
        seen.done[Part::Loop as usize] = self.frozen.map(|_| self.frozen_since);
        seen.done[Part::Journal as usize] = self.disk.at_work();
        if self.frozen == Some(Frozen::OnDisk) {
            seen.thread = Thread::OnDisk;
        }
        seen
    }

    /// It has found a loop that stands still: it does, for long enough, and not for much longer.
    fn frozen_is_found(&mut self) {
        let (stood, bounds) = (self.stood_still(), self.frozen.and_then(patience));
        let in_time = bounds.is_some_and(|(least, most)| (least..=most).contains(&stood));
        let frozen = self.frozen;
        self.checks.holds(Invariant::Truth, in_time, || {
            format!("the watchdog ends a process of which {frozen:?} stands still, for {stood:?} by now")
        });
    }
}

/// Watching from outside.
impl World<'_> {
    /// How long it takes a supervisor that listens for signs of life to miss them: ours by its own logic, others by their watch.
    fn too_silent_after(&self) -> Option<u64> {
        match self.contract().supervisor {
            Supervisor::Evergate => {}
            others if others.watches() => return Some(millis(SILENCE)),
            _ => return None,
        }
        let mut keeper = Respawn::new(KILL_LIMIT).watching(SILENCE);
        keeper.started(Instant::from_millis(0));
        keeper.heard(Instant::from_millis(0));
        let at = keeper.kill_at()?;
        keeper.kill(at).map(|_| at.as_millis())
    }

    /// A supervisor has heard nothing for too long.
    pub(super) fn too_silent(&mut self) {
        // One that is gone listens to nobody.
        if self.frozen == Some(Frozen::Process) && self.too_silent_after().is_some() {
            self.marks.hit(Mark::KilledSilent);
            self.process_ends(Ended::Killed(Killer::Supervisor));
        }
    }
}

/// How long the watchdog lets it stand still at least and at most; `None` where it stands still itself.
fn patience(frozen: Frozen) -> Option<(Duration, Duration)> {
    let bound = match frozen {
        Frozen::Loop => Bounds::default().freeze,
        Frozen::OnDisk => Bounds::default().disk,
        Frozen::Process => return None,
    };
    Some((bound, bound + Watchdog::new(Bounds::default(), Instant::from_millis(0)).period() * LOOKS_MORE))
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
