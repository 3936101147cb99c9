//! The watchdog in the process, as an actor: the production [`Watchdog`] with bounds of so few looks that each look is a step
//! of its own, between which everything else may happen. It looks only at a loop that stands still: one that gets on between
//! any two looks is never found, and leaves an account that is as good as new.

use super::memory::Memory;
use super::perform::{Observer, Taking};
use super::{Process, World};
use crate::subject::Subject;
use evergate_core::invariant::Invariant;
use evergate_core::request::Signal;
use evergate_core::time::Instant;
use evergate_core::watchdog::{Bounds, Finding, Part, Seen, Thread, Watchdog};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In looks, of which one takes a millisecond here; the start has no bound below that of the loop.
const BOUNDS: Bounds = Bounds {
    freeze: Duration::from_millis(2),
    disk: Duration::from_millis(4),
    start: Duration::from_secs(1),
    platform: Duration::from_secs(1),
};

/// Why a loop stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standstill {
    /// It does nothing any more, for ever.
    Stuck,
    /// It waits for a disk, which may yet answer.
    OnDisk,
}

impl Standstill {
    const fn thread(self) -> Thread {
        match self {
            Self::Stuck => Thread::Free,
            Self::OnDisk => Thread::OnDisk,
        }
    }

    /// How many looks at it are too few to end the process.
    const fn patience(self) -> Duration {
        match self {
            Self::Stuck => BOUNDS.freeze,
            Self::OnDisk => BOUNDS.disk,
        }
    }
}

/// How long the watchdog has stared at a loop that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stare {
    pub(super) at: Standstill,
    looks: u8,
}

impl Stare {
    /// More looks than any bound here is long: who has found nothing by then never will.
    const LOOKS: u8 = 8;

    pub(super) const fn begins(at: Standstill) -> Self {
        Self { at, looks: 0 }
    }

    /// Whether another look may find something.
    pub(super) const fn goes_on(self) -> bool {
        self.looks < Self::LOOKS
    }

    /// The watchdog after these looks, and what the last of them has found.
    fn looked(self, journal_owes: bool) -> (Watchdog, Vec<Finding>) {
        let mut watchdog = Watchdog::new(BOUNDS, Instant::from_millis(0));
        let mut seen = Seen { ready: true, thread: self.at.thread(), ..Seen::default() };
        seen.done[Part::Loop as usize] = Some(0);
        seen.done[Part::Journal as usize] = journal_owes.then_some(0);
        let mut found = Vec::new();
        for look in 1..=self.looks {
            found = watchdog.look(Instant::from_millis(u64::from(look)), &seen);
        }
        (watchdog, found)
    }
}

impl<S: Subject> World<S> {
    /// Whether the disk may answer for which the loop waits; where a guard is due, that one comes first.
    pub(super) fn disk_may_answer(&self, stare: Stare) -> bool {
        stare.at == Standstill::OnDisk && self.guard.is_none_or(|(at, _)| self.now < at)
    }
}

impl<S: Subject, O: Observer> Taking<'_, '_, S, O> {
    /// The loop stands still.
    pub(super) fn stands_still(world: &mut World<S>, at: Standstill) {
        world.left.freezes -= 1;
        world.process = Process::Stuck(Stare::begins(at));
    }

    /// The disk answers, and the loop goes on; first of all with the signal that has waited for it.
    pub(super) fn disk_answers(&mut self, world: &mut World<S>) {
        world.process = Process::Up;
        if std::mem::take(&mut world.signal_waits) {
            self.pass_on(world, Signal::Terminate);
        }
    }

    /// The watchdog looks once more, and does what follows.
    pub(super) fn watchdog_looks(&mut self, world: &mut World<S>) {
        let Process::Stuck(Stare { at, looks }) = world.process else { return };
        let stare = Stare { at, looks: looks + 1 };
        world.process = Process::Stuck(stare);
        let (watchdog, found) = stare.looked(world.flying != Memory::<S>::NOTHING);
        if !found.iter().any(|finding| matches!(finding, Finding::Frozen { .. } | Finding::Late)) {
            return;
        }
        self.checks.holds(Invariant::Truth, !watchdog.is_well(), || {
            "whoever watches from outside is told that a process is well which is ended because it is not".to_owned()
        });
        let stared = Duration::from_millis(u64::from(stare.looks));
        self.checks.holds(Invariant::Truth, stared > at.patience(), || {
            format!("the watchdog ends a process whose loop is {at:?} after {looks} looks, which are too few to tell")
        });
        self.watchdog_bites(world);
    }
}
