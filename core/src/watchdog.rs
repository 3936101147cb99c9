//! Whether the parts of a gateway still get anywhere. Owns the bounds and the account of when each part last did; it is fed
//! with progress, not with signs of life that a stuck part could still give, and it never reads a clock: the caller brings
//! the time and looks often.
//!
//! | what is seen | what it means | what follows |
//! |---|---|---|
//! | the loop owes something and gets nowhere for [`Bounds::freeze`] | it is frozen | the process ends, to be started again |
//! | it does so, and its thread waits in the system for a disk | the disk is slow | nothing: not even a kill would end it before the disk answers |
//! | that goes on for [`Bounds::disk`] | the disk will not answer by itself | the process ends, to be started again: a disk over a network, or one that a program serves, lets a kill through |
//! | the journal does so | the disk is slow | nothing: what waits for it waits, the process lives |
//! | the control socket's thread does so | it hangs | it alone is started again |
//! | a platform's adapter gets nowhere for [`Bounds::platform`], beyond the time that it said it waits | it hangs | it alone is started again ([`Attempt`]) |
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
    /// The loop gets nowhere for this long, and waits for a disk: that is not waited for any longer. At least [`Self::freeze`].
    pub disk: Duration,
    /// From the entry of the process until it is ready.
    pub start: Duration,
    /// A platform's adapter gets nowhere for this long, beyond the time that it said it waits: it hangs. Longer than any exchange
    /// that it may wait for, a long poll included.
    pub platform: Duration,
}

/// As by default.
impl Default for Bounds {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { freeze: seconds(20), disk: seconds(600), start: seconds(300), platform: seconds(180) }
    }
}

/// One run of a platform's adapter, as far as it tells how it gets on. Its keeper starts it again, it alone, when it hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    got_on_at: Instant,
    waits_until: Instant,
}

impl Attempt {
    /// One that begins `now`.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { got_on_at: now, waits_until: now }
    }

    /// It got somewhere: an exchange with its server is over, however that ended.
    pub const fn got_on(&mut self, now: Instant) {
        self.got_on_at = now;
    }

    /// It waits until then, and says so; a time that is over by then is no wait.
    pub const fn waits(&mut self, until: Instant) {
        self.waits_until = until;
    }

    /// When it hangs, unless it gets on before that. One that says how long it waits is believed until then.
    #[must_use]
    pub fn hangs_at(&self, bounds: &Bounds) -> Instant {
        self.got_on_at.max(self.waits_until) + bounds.platform
    }
}

/// What the system says of the loop's thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thread {
    /// It runs, or waits for something that a kill would end.
    #[default]
    Free,
    /// It waits for a disk. It may go on to do so if it is killed, and hold up whoever comes next.
    OnDisk,
}

/// What a look is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Whether the gateway has become ready.
    pub ready: bool,
    /// For each part in the order of [`Part::ALL`]: how much it has done so far, if it owes something; `None` if it is idle
    /// by right.
    pub done: [Option<u64>; 3],
    /// What the loop's thread does if it owes something.
    pub thread: Thread,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// The loop is frozen since then: end the process.
    Frozen {
        /// When it last got anywhere; time that it spent on a disk counts only where that is what it is found for.
        since: Instant,
        /// What its thread does: if it waits for a disk, that one has not answered for [`Bounds::disk`].
        thread: Thread,
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
    /// When its thread was seen last to wait for a disk.
    on_disk: Option<Instant>,
    found: State,
}

/// How a part is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum State {
    #[default]
    Well,
    Slow,
    /// What its thread was found to do.
    Stuck(Thread),
}

impl Account {
    /// Since when it owes what it could have done: time on a disk does not count.
    fn idle_since(&self) -> Option<Instant> {
        self.owes.map(|(_, since)| self.on_disk.map_or(since, |on_disk| since.max(on_disk)))
    }

    fn state(&self, now: Instant, bounds: &Bounds) -> State {
        match (self.owes, self.idle_since()) {
            (_, Some(since)) if now >= since + bounds.freeze => State::Stuck(Thread::Free),
            (Some((_, since)), _) if now >= since + bounds.disk.max(bounds.freeze) => State::Stuck(Thread::OnDisk),
            (Some((_, since)), _) if now >= since + bounds.freeze => State::Slow,
            _ => State::Well,
        }
    }
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
            findings.extend(self.account(now, part, done, seen.thread));
        }
        findings
    }

    /// Whether whoever watches this process from outside may be told that it lives: the loop gets on, as far as the last
    /// looks tell.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let account = &self.parts[Part::Loop as usize];
        let since = account.idle_since();
        !matches!(account.found, State::Stuck(_)) && since.is_none_or(|since| self.looked < since + self.period() * 2)
    }

    /// Nobody got anywhere while nobody ran.
    fn forgive(&mut self, late: Duration) {
        self.begun = self.begun + late;
        for account in &mut self.parts {
            account.owes = account.owes.map(|(done, since)| (done, since + late));
            account.on_disk = account.on_disk.map(|on_disk| on_disk + late);
        }
    }

    fn account(&mut self, now: Instant, part: Part, done: Option<u64>, thread: Thread) -> Option<Finding> {
        let account = &mut self.parts[part as usize];
        let since = match (account.owes, done) {
            (Some((before, since)), Some(done)) if before == done => since,
            _ => now,
        };
        account.owes = done.map(|done| (done, since));
        if part == Part::Loop && thread == Thread::OnDisk && done.is_some() {
            account.on_disk = Some(now);
        }
        let state = account.state(now, &self.bounds);
        // Once found stuck, it is found well again or not at all.
        let told_already = matches!((state, account.found), (State::Stuck(_), State::Stuck(_)));
        if state == account.found || told_already {
            return None;
        }
        account.found = state;
        Some(match (state, part) {
            (State::Well, _) => Finding::Well(part),
            (State::Stuck(thread), Part::Loop) => {
                let idle_since = account.idle_since().filter(|_| thread == Thread::Free);
                Finding::Frozen { since: idle_since.unwrap_or(since), thread }
            }
            (State::Stuck(_), Part::Control) => Finding::Hung(part),
            (State::Slow, _) | (State::Stuck(_), Part::Journal) => Finding::Slow(part),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds {
        freeze: Duration::from_secs(10),
        disk: Duration::from_secs(90),
        start: Duration::from_secs(60),
        platform: Duration::from_secs(180),
    };
    const PERIOD: u64 = 500;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn ready(done: [Option<u64>; 3]) -> Seen {
        Seen { ready: true, done, ..Seen::default() }
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
        assert_eq!(found, [(10_500, Finding::Frozen { since: at(500), thread: Thread::Free })]);
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
    fn a_loop_that_waits_for_a_disk_is_slow_and_is_frozen_only_by_what_it_does_besides() {
        let mut watchdog = Watchdog::new(BOUNDS, at(0));
        let on_disk = Seen { thread: Thread::OnDisk, ..ready([Some(7), None, None]) };
        let found = stare(&mut watchdog, 500, 60_000, &on_disk);
        assert_eq!(found, [(10_500, Finding::Slow(Part::Loop))]);
        assert!(watchdog.is_well(), "whoever watches from outside is told so");
        let free = ready([Some(7), None, None]);
        let found = stare(&mut watchdog, 60_500, 80_000, &free);
        assert_eq!(
            found,
            [(70_000, Finding::Frozen { since: at(60_000), thread: Thread::Free })],
            "the disk has answered, and nothing comes of it"
        );
        assert!(!watchdog.is_well());
        let again = watchdog.look(at(80_500), &ready([Some(8), None, None]));
        assert_eq!(again, [Finding::Well(Part::Loop)]);
    }

    #[test]
    fn a_disk_that_does_not_answer_for_its_bound_is_waited_for_no_longer() {
        let mut watchdog = Watchdog::new(BOUNDS, at(0));
        let on_disk = Seen { thread: Thread::OnDisk, ..ready([Some(7), None, None]) };
        let found = stare(&mut watchdog, 500, 90_000, &on_disk);
        assert_eq!(found, [(10_500, Finding::Slow(Part::Loop))]);
        assert!(watchdog.is_well());
        let found = stare(&mut watchdog, 90_500, 200_000, &on_disk);
        assert_eq!(found, [(90_500, Finding::Frozen { since: at(500), thread: Thread::OnDisk })], "and once");
        assert!(!watchdog.is_well(), "so that whoever watches from outside may end it, where it cannot itself");
    }

    #[test]
    fn a_disk_that_answers_now_and_then_is_waited_for_for_ever() {
        let mut watchdog = Watchdog::new(BOUNDS, at(0));
        for round in 0..10 {
            let on_disk = Seen { thread: Thread::OnDisk, ..ready([Some(round), None, None]) };
            let found = stare(&mut watchdog, 500 + round * 80_000, (round + 1) * 80_000, &on_disk);
            let frozen = found.iter().any(|(_, finding)| matches!(finding, Finding::Frozen { .. }));
            assert!(!frozen && watchdog.is_well(), "{round}: {found:?}");
        }
    }

    #[test]
    fn a_bound_of_the_disk_below_that_of_a_freeze_counts_for_as_much_as_that_one() {
        let mut watchdog = Watchdog::new(Bounds { disk: Duration::from_secs(1), ..BOUNDS }, at(0));
        let on_disk = Seen { thread: Thread::OnDisk, ..ready([Some(7), None, None]) };
        let found = stare(&mut watchdog, 500, 20_000, &on_disk);
        assert_eq!(found, [(10_500, Finding::Frozen { since: at(500), thread: Thread::OnDisk })]);
    }

    #[test]
    fn what_waits_for_a_disk_and_owes_nothing_is_idle() {
        let mut watchdog = Watchdog::new(BOUNDS, at(0));
        let idle = Seen { thread: Thread::OnDisk, ..ready([None, None, Some(1)]) };
        let found = stare(&mut watchdog, 500, 30_000, &idle);
        assert_eq!(found, [(10_500, Finding::Hung(Part::Control))], "and excuses no other part");
    }

    #[test]
    fn an_adapter_hangs_after_its_bound_and_one_that_waits_is_believed_until_then() {
        let mut attempt = Attempt::new(at(1_000));
        let hangs_at = |attempt: &Attempt| attempt.hangs_at(&BOUNDS).as_millis() / 1000;
        assert_eq!(hangs_at(&attempt), 181);
        attempt.waits(at(400_000));
        assert_eq!(hangs_at(&attempt), 580);
        attempt.got_on(at(5_000));
        assert_eq!(hangs_at(&attempt), 580, "that it gets on beside its wait shortens nothing");
        attempt.waits(at(5_000));
        assert_eq!(hangs_at(&attempt), 185);
        attempt.got_on(at(6_000));
        assert_eq!(hangs_at(&attempt), 186);
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
