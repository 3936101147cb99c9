//! Which program `evergate supervise` starts: the installed one, or a copy of the last that is known to be good. Owns what
//! is known of each build, how often one may fail and how long it may take; it never looks at a file, copies or kills
//! anything: the caller brings builds, times and ends, and does what it is told.
//!
//! | a build that has not been good yet …                           | while a good copy is there              | otherwise |
//! |-----------------------------------------------------------------|-----------------------------------------|-----------|
//! | served for [`STABLE_AFTER`]                                      | becomes the good one                    | becomes the good one |
//! | died for the second time before that, or could not be started so | rolled back                             | goes on as ever |
//! | parked (78) before that                                          | rolled back: the good one may do better | goes on as ever |
//! | is not ready within [`READY_WITHIN`]                             | is killed and rolled back               | is waited for |
//!
//! What was rolled back is not started again until another build is installed. A planned end (75) counts for nothing, and
//! the build that is good already may die as often as it likes: that is no question of the program.

use crate::respawn::ChildEnd;
use crate::time::Instant;
use crate::verdict::{PARK, RESTART, STOP};
use std::time::Duration;

/// How long a build has to serve until it is good: as long as a life that begins the pauses of a supervisor anew.
pub const STABLE_AFTER: Duration = crate::respawn::HEALTHY_LIFE;
/// How long a build that has not been good yet may take until it serves.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// What a parked child of a build that is rolled back left with, as far as its supervisor is concerned.
const FAILED: u8 = 1;
/// How often it may die before it is stable.
const DEATHS: u8 = 2;

/// One build of the program: two are the same when their files are, as far as the caller can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build(pub u64);

/// What to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// What is installed.
    Installed,
    /// The copy of the last known good build.
    Good,
}

/// Why a build was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It died twice before it was stable.
    Died,
    /// It parked itself.
    Parked,
    /// It was not ready in time.
    NotReady,
}

impl Failure {
    /// The failure in a clause whose subject is the program.
    #[must_use]
    pub const fn clause(self) -> &'static str {
        match self {
            Self::Died => "died twice before it was stable",
            Self::Parked => "parked itself",
            Self::NotReady => "was not ready in time",
        }
    }
}

/// The child that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Running {
    build: Build,
    started_at: Instant,
    ready_at: Option<Instant>,
    /// Whether it is being killed for not being ready.
    overdue: Option<Failure>,
}

/// What is known of the builds, as a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rollback {
    good: Option<Build>,
    /// What was rolled back, and why.
    bad: Option<(Build, Failure)>,
    /// The build that died last before it was stable, and how often in a row.
    deaths: Option<(Build, u8)>,
    running: Option<Running>,
}

impl Rollback {
    /// What is known when a supervisor starts: the build of which there is a good copy.
    #[must_use]
    pub fn new(good: Option<Build>) -> Self {
        Self { good, ..Self::default() }
    }

    /// What to start while this build is installed (`None`: no file is there), and what was rolled back for it.
    #[must_use]
    pub fn choose(&self, installed: Option<Build>) -> (Program, Option<Failure>) {
        let rolled_back = self.bad.filter(|(bad, _)| Some(*bad) == installed).map(|(_, failure)| failure);
        let good = self.good.is_some() && (rolled_back.is_some() || installed.is_none());
        (if good { Program::Good } else { Program::Installed }, rolled_back)
    }

    /// A child of this build runs since `now`.
    pub const fn started(&mut self, now: Instant, build: Build) {
        self.running = Some(Running { build, started_at: now, ready_at: None, overdue: None });
    }

    /// The child serves.
    pub fn ready(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.ready_at.get_or_insert(now);
        }
    }

    /// Whether anybody needs to know when the child serves: not of a build that is good already, nor of one that is being
    /// killed.
    #[must_use]
    pub fn awaits_ready(&self) -> bool {
        let unknown = |running: Running| running.ready_at.is_none() && running.overdue.is_none();
        self.running.is_some_and(|running| Some(running.build) != self.good && unknown(running))
    }

    /// When the child that serves becomes good, if that is still to come: call `stable` then.
    #[must_use]
    pub fn stable_at(&self) -> Option<Instant> {
        let running = self.running.filter(|running| Some(running.build) != self.good)?;
        running.ready_at.map(|ready| ready + STABLE_AFTER)
    }

    /// When a child that does not become ready is to be killed, which is told with `not_ready`; never where nothing
    /// better is there.
    #[must_use]
    pub fn kill_at(&self) -> Option<Instant> {
        let running = self.running.filter(|_| self.good.is_some() && self.awaits_ready())?;
        Some(running.started_at + READY_WITHIN)
    }

    /// The child has served long enough: its build is the good one from now on, and is to be kept.
    pub fn stable(&mut self) -> Option<Build> {
        let build = self.running.map(|running| running.build)?;
        self.good = Some(build);
        self.deaths = None;
        Some(build)
    }

    /// The child was not ready in time and is being killed.
    pub fn not_ready(&mut self) {
        if let Some(running) = &mut self.running {
            running.overdue = Some(Failure::NotReady);
        }
    }

    /// The child ended, or could not be started. Gives the end as a supervisor is to take it, and why its build has just been
    /// rolled back, if it has: then even one that parked is followed by a start, of the good one.
    pub fn ended(&mut self, ended: ChildEnd) -> (ChildEnd, Option<Failure>) {
        let Some(Running { build, overdue, .. }) = self.running.take() else { return (ended, None) };
        if self.good.is_none_or(|good| good == build) {
            return (ended, None);
        }
        let failure = overdue.or_else(|| match ended {
            ChildEnd::Exited(RESTART | STOP) => None,
            ChildEnd::Exited(PARK) => Some(Failure::Parked),
            ChildEnd::Exited(_) | ChildEnd::Signalled(_) | ChildEnd::NeverStarted => self.died(build),
        });
        let Some(failure) = failure else { return (ended, None) };
        self.bad = Some((build, failure));
        (if ended == ChildEnd::Exited(PARK) { ChildEnd::Exited(FAILED) } else { ended }, Some(failure))
    }

    /// A build died before it was stable.
    fn died(&mut self, build: Build) -> Option<Failure> {
        let before = self.deaths.filter(|(died, _)| *died == build).map_or(0, |(_, deaths)| deaths);
        self.deaths = Some((build, before.saturating_add(1)));
        (before + 1 >= DEATHS).then_some(Failure::Died)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_told_by_its_own_clause() {
        let clauses = [Failure::Died, Failure::Parked, Failure::NotReady].map(Failure::clause);
        assert_eq!(clauses, ["died twice before it was stable", "parked itself", "was not ready in time"]);
    }

    const OLD: Build = Build(1);
    const NEW: Build = Build(2);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    /// The old build is good, and the new one is installed and was started.
    fn upgraded() -> Rollback {
        let mut rollback = Rollback::new(Some(OLD));
        assert_eq!(rollback.choose(Some(NEW)), (Program::Installed, None));
        rollback.started(at(0), NEW);
        rollback
    }

    #[test]
    fn a_new_build_that_serves_for_a_while_becomes_the_good_one() {
        let mut rollback = upgraded();
        assert!(rollback.awaits_ready());
        rollback.ready(at(2));
        assert_eq!((rollback.stable_at(), rollback.kill_at()), (Some(at(2) + STABLE_AFTER), None));
        assert_eq!(rollback.stable(), Some(NEW));
        assert_eq!(rollback.stable_at(), None, "it is good already");
        for _ in 0..5 {
            assert_eq!(rollback.ended(ChildEnd::Signalled(9)).1, None, "a good one may die");
            rollback.started(at(20), NEW);
        }
    }

    #[test]
    fn a_new_build_that_dies_twice_before_it_is_stable_is_rolled_back_until_another_is_installed() {
        let mut rollback = upgraded();
        rollback.ready(at(1));
        assert_eq!(rollback.ended(ChildEnd::Signalled(11)).1, None);
        assert_eq!(rollback.choose(Some(NEW)), (Program::Installed, None));
        rollback.started(at(3), NEW);
        assert_eq!(rollback.ended(ChildEnd::Exited(1)).1, Some(Failure::Died));
        assert_eq!(rollback.choose(Some(NEW)), (Program::Good, Some(Failure::Died)));
        rollback.started(at(4), OLD);
        assert_eq!(rollback.ended(ChildEnd::Exited(RESTART)).1, None);
        assert_eq!(rollback.choose(Some(NEW)), (Program::Good, Some(Failure::Died)));
        assert_eq!(rollback.choose(Some(Build(3))), (Program::Installed, None));
    }

    #[test]
    fn a_new_build_that_is_not_ready_in_time_is_killed_and_rolled_back() {
        let mut rollback = upgraded();
        assert_eq!(rollback.kill_at(), Some(at(0) + READY_WITHIN));
        rollback.not_ready();
        assert_eq!((rollback.kill_at(), rollback.awaits_ready()), (None, false), "it is killed once");
        assert_eq!(rollback.ended(ChildEnd::Signalled(9)).1, Some(Failure::NotReady));
        assert_eq!(rollback.choose(Some(NEW)), (Program::Good, Some(Failure::NotReady)));
    }

    #[test]
    fn a_new_build_that_parks_gives_way_at_once_and_a_good_one_parks_for_good() {
        let mut rollback = upgraded();
        assert_eq!(rollback.ended(ChildEnd::Exited(PARK)), (ChildEnd::Exited(FAILED), Some(Failure::Parked)));
        rollback.started(at(1), OLD);
        assert_eq!(rollback.ended(ChildEnd::Exited(PARK)), (ChildEnd::Exited(PARK), None));
    }

    #[test]
    fn planned_ends_count_for_nothing() {
        let mut rollback = upgraded();
        for second in 0..5 {
            assert_eq!(rollback.ended(ChildEnd::Exited(RESTART)).1, None);
            rollback.started(at(second), NEW);
        }
        assert_eq!(rollback.choose(Some(NEW)), (Program::Installed, None));
    }

    #[test]
    fn without_a_good_copy_nothing_is_rolled_back_and_a_missing_file_is_replaced_by_one() {
        let mut rollback = Rollback::new(None);
        for _ in 0..3 {
            rollback.started(at(0), NEW);
            assert_eq!(rollback.kill_at(), None);
            assert_eq!(rollback.ended(ChildEnd::Signalled(11)).1, None);
        }
        assert_eq!(rollback.choose(Some(NEW)), (Program::Installed, None));
        assert_eq!(rollback.choose(None), (Program::Installed, None));
        assert_eq!(Rollback::new(Some(OLD)).choose(None), (Program::Good, None));
    }
}
