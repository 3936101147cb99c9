//! Whether the parts of a gateway still get anywhere. Owns the bounds and the account of when each part last did; it is fed
//! with progress, not with signs of life that a stuck part could still give, and it never reads a clock: the caller brings
//! the time and looks often.
//!
//! | what is seen | what it means | what follows |
//! |---|---|---|
//! | the loop owes something and gets nowhere for [`Bounds::freeze`] | it is frozen | the process ends, to be started again |
//! | a part beside the loop does so | it hangs | it alone is started again |
//! | the journal does so | the disk is slow | nothing: what waits for it waits, the process lives |
//! | it is not ready within [`Bounds::start`] | the start hangs | the process ends, to be started again |
//! | nobody looked for much longer than it should have been | the machine slept, or the whole process stood still | the time does not count |

use crate::time::Instant;
use std::time::Duration;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The loop that owns the core.
    Loop,
    /// The thread that commits.
    Journal,
    /// The thread behind the control socket.
    Control,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Loop, Self::Journal, Self::Control];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Journal => "journal",
            Self::Control => "control",
        }
    }
}

/// How long what may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// A part that owes something gets nowhere for this long: it is stuck.
    pub freeze: Duration,
    /// From the entry of the process until it is ready.
    pub start: Duration,
}

/// What a look is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Whether the gateway has become ready.
    pub ready: bool,
    /// For each part in the order of [`Part::ALL`]: how much it has done so far, if it owes something; `None` if it is idle
    /// by right.
    pub done: [Option<u64>; 3],
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// The loop is frozen since then: end the process.
    Frozen {
        /// When it last got anywhere.
        since: Instant,
    },
    /// The start takes too long: end the process.
    Late,
    /// This part hangs: start it again, it alone.
    Hung(Part),
    /// This part takes long, and nothing can be done about that.
    Slow(Part),
    /// This part was found to hang or to be slow, and gets on again.
    Well(Part),
    /// Nobody looked for that long: the machine slept. It counts for nobody.
    Slept {
        /// How much longer than it should have been.
        by: Duration,
    },
}

/// The account of one process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watchdog {
    bounds: Bounds,
    begun: Instant,
    looked: Instant,
    ready: bool,
    parts: [Account; 3],
}

/// The account of one part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Account {
    /// What it had done at the last look and since when it has not done more; `None` while it is idle.
    owes: Option<(u64, Instant)>,
    /// Whether it was found to be stuck.
    found: bool,
}

impl Watchdog {
    /// Looks that a bound is divided into: a freeze is found after the bound and at most two such parts more.
    const LOOKS: u32 = 20;
    /// The longest time between two looks.
    const LONGEST_PERIOD: Duration = Duration::from_millis(500);

    /// A watchdog over a process that begins `now`.
    #[must_use]
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        Self { bounds, begun: now, looked: now, ready: false, parts: [Account::default(); 3] }
    }

    /// From one look to the next.
    #[must_use]
    pub fn period(&self) -> Duration {
        (self.bounds.freeze / Self::LOOKS).clamp(Duration::from_millis(1), Self::LONGEST_PERIOD)
    }

    /// Looks.
    pub fn look(&mut self, now: Instant, seen: &Seen) -> Vec<Finding> {
        let mut findings = Vec::new();
        let late = (now - self.looked).saturating_sub(self.period());
        self.looked = now;
        if late > self.period() {
            self.forgive(late);
            findings.push(Finding::Slept { by: late });
        }
        self.ready |= seen.ready;
        if !self.ready && now >= self.begun + self.bounds.start {
            findings.push(Finding::Late);
        }
        for (part, done) in Part::ALL.into_iter().zip(seen.done) {
            findings.extend(self.account(now, part, done));
        }
        findings
    }

    /// Whether whoever watches this process from outside may be told that it lives: the loop gets on, as far as the last
    /// looks tell.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let owes = self.parts[Part::Loop as usize].owes;
        owes.is_none_or(|(_, since)| self.looked < since + self.period() * 2)
    }

    /// Nobody got anywhere while nobody ran.
    fn forgive(&mut self, late: Duration) {
        self.begun = self.begun + late;
        for (_, since) in self.parts.iter_mut().filter_map(|account| account.owes.as_mut()) {
            *since = *since + late;
        }
    }

    fn account(&mut self, now: Instant, part: Part, done: Option<u64>) -> Option<Finding> {
        let account = &mut self.parts[part as usize];
        let since = match (account.owes, done) {
            (Some((before, since)), Some(done)) if before == done => since,
            _ => now,
        };
        account.owes = done.map(|done| (done, since));
        let stuck = done.is_some() && now >= since + self.bounds.freeze;
        if stuck == account.found {
            return None;
        }
        account.found = stuck;
        Some(match (stuck, part) {
            (false, _) => Finding::Well(part),
            (true, Part::Loop) => Finding::Frozen { since },
            (true, Part::Control) => Finding::Hung(part),
            (true, Part::Journal) => Finding::Slow(part),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { freeze: Duration::from_secs(10), start: Duration::from_secs(60) };
    const PERIOD: u64 = 500;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn ready(done: [Option<u64>; 3]) -> Seen {
        Seen { ready: true, done }
    }

    /// Looks once a period until `until`, seeing always the same.
    fn stare(watchdog: &mut Watchdog, from: u64, until: u64, seen: &Seen) -> Vec<(u64, Finding)> {
        let looks = (from..=until).step_by(usize::try_from(PERIOD).expect("small"));
        looks.flat_map(|ms| watchdog.look(at(ms), seen).into_iter().map(move |finding| (ms, finding))).collect()
    }

    #[test]
    fn a_loop_that_owes_and_gets_nowhere_is_frozen_once_and_nobody_outside_is_told_that_it_is_well() {
        let mut watchdog = Watchdog::new(BOUNDS, at(0));
        let found = stare(&mut watchdog, 500, 40_000, &ready([Some(7), None, None]));
        assert_eq!(found, [(10_500, Finding::Frozen { since: at(500) })]);
        assert!(!watchdog.is_well());
    }

    #[test]
    fn parts_are_called_as_logs_and_status_call_them() {
        assert_eq!(Part::ALL.map(Part::name), ["loop", "journal", "control"]);
    }

    #[test]
    fn it_looks_often_for_its_bound_and_twice_a_second_at_least() {
        let period =
            |ms| Watchdog::new(Bounds { freeze: Duration::from_millis(ms), ..BOUNDS }, at(0)).period().as_millis();
        assert_eq!([0, 100, 2_000, 10_000, 60_000].map(period), [1, 5, 100, 500, 500]);
    }

    #[test]
    fn a_loop_that_got_nowhere_for_two_looks_is_not_well_and_is_again_when_it_gets_on() {
        let mut watchdog = Watchdog::new(BOUNDS, at(0));
        let mut is_well_at = |ms, done| {
            watchdog.look(at(ms), &ready([Some(done), None, None]));
            watchdog.is_well()
        };
        let well = [(500, 1), (1_000, 1), (1_500, 1), (2_000, 2)].map(|(ms, done)| is_well_at(ms, done));
        assert_eq!(well, [true, true, false, true]);
    }

    #[test]
    fn an_idle_loop_may_stand_still() {
        let mut watchdog = Watchdog::new(BOUNDS, at(0));
        assert_eq!(stare(&mut watchdog, 500, 100_000, &ready([None; 3])), []);
        assert!(watchdog.is_well());
    }

    #[test]
    fn each_part_that_hangs_has_its_own_remedy_and_is_found_well_again() {
        let mut watchdog = Watchdog::new(BOUNDS, at(0));
        let found = stare(&mut watchdog, 500, 10_500, &ready([None, Some(1), Some(1)]));
        assert_eq!(found, [(10_500, Finding::Slow(Part::Journal)), (10_500, Finding::Hung(Part::Control))]);
        assert!(watchdog.is_well(), "neither is a reason to end the process");
        let again = watchdog.look(at(11_000), &ready([None, Some(2), None]));
        assert_eq!(again, [Finding::Well(Part::Journal), Finding::Well(Part::Control)]);
    }

    #[test]
    fn a_machine_that_slept_has_missed_nothing() {
        let mut watchdog = Watchdog::new(BOUNDS, at(0));
        let stuck = ready([Some(1), None, None]);
        assert_eq!(stare(&mut watchdog, 500, 6_000, &stuck), []);
        let slept = Finding::Slept { by: Duration::from_millis(3_599_500) };
        assert_eq!(watchdog.look(at(3_606_000), &stuck), [slept]);
        assert_eq!(stare(&mut watchdog, 3_606_500, 3_609_500, &stuck), []);
        let found = stare(&mut watchdog, 3_610_000, 3_610_000, &stuck);
        assert_eq!(found.len(), 1, "what it was stuck before and after does count: {found:?}");
    }

    #[test]
    fn a_start_that_hangs_is_found() {
        let mut watchdog = Watchdog::new(BOUNDS, at(0));
        let found = stare(&mut watchdog, 500, 60_000, &Seen::default());
        assert_eq!(found, [(60_000, Finding::Late)]);
    }

    fn is_frozen(findings: &[Finding]) -> bool {
        findings.iter().any(|finding| matches!(finding, Finding::Frozen { .. }))
    }

    proptest! {
        /// Whatever the times of the looks: nothing is found of who does at least something between any two of them, and one
        /// who does nothing is found after the bound and two periods, counting no more than a period for each look.
        #[test]
        fn who_gets_on_is_never_found_and_who_does_not_always_is(gaps in proptest::collection::vec(1u64..1_200, 1..80)) {
            let (mut busy, mut stuck) = (Watchdog::new(BOUNDS, at(0)), Watchdog::new(BOUNDS, at(0)));
            let (mut now, mut counted, mut frozen) = (0, 0, false);
            for (round, gap) in gaps.into_iter().enumerate() {
                now += gap;
                let found = is_frozen(&busy.look(at(now), &ready([Some(round as u64), None, None])));
                prop_assert!(!found);
                frozen |= is_frozen(&stuck.look(at(now), &ready([Some(0), None, None])));
                if round > 0 {
                    counted += if gap > 2 * PERIOD { PERIOD } else { gap };
                }
                prop_assert_eq!(frozen, counted >= 10_000);
            }
        }
    }
}
