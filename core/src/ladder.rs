//! How a restart or a stop is brought about from outside, whatever state the gateway is in: rung by rung, each needing less
//! of the patient than the one before. Owns the rungs and their patience; it never signals, asks or starts anything and never reads
//! a clock: the caller tells it what it sees and does what it is told.
//!
//! | rung | what it needs of the old process | it is left when |
//! |---|---|---|
//! | [`Rung::Ask`] | that its loop turns | the process is gone, or says nothing or is stuck for [`Patience::answer`] |
//! | [`Rung::Terminate`] | that its signals are heard and its guard lives | the process is gone, or [`Patience::terminate`] is over |
//! | [`Rung::Kill`] | nothing | the process is gone; after [`Patience::kill`] the ladder gives up |
//! | [`Rung::Start`] | that it is gone | another generation is there; after [`Patience::revive`] the ladder starts it itself |
//! | [`Rung::Wait`] | – | it is ready |
//!
//! A gateway that answers and gets on is never climbed upon: its own deadlines end it, once it has been asked. Neither is a start, which its own
//! watchdog ends, unless the restart is forced. One that refuses ends the climb.
//!
//! A climb to a stop is done when nobody owns the state directory and nobody is about to, and whoever owns it is the one to end:
//! one that has come after another was ended is asked first.
//! It kills nobody before whoever would start the process again is told on [`Rung::Terminate`] not to, unless the stop is on
//! disk: what is started then carries it out. Between two generations nobody is there either, so that of one that has heard of no
//! stop nobody is believed to be gone before [`Patience::gap`].

use crate::request::{Mode, Wish};
use crate::supervisor::StartsAgain;
use crate::time::Instant;
use std::time::Duration;

/// How far the climb is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// It is asked, over the control socket.
    Ask,
    /// It is sent SIGTERM; for a stop, by whoever would start it again.
    Terminate,
    /// It is sent SIGKILL.
    Kill,
    /// It is gone; whoever supervises it starts it again, or the ladder does.
    Start,
    /// Another generation is there and becomes ready.
    Wait,
}

impl Rung {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Terminate => "terminate",
            Self::Kill => "kill",
            Self::Start => "start",
            Self::Wait => "wait",
        }
    }
}

/// How long each rung is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Patience {
    /// For an answer, or for a loop that stands still to go on.
    pub answer: Duration,
    /// For a start that has not come to serve; `None` leaves it to its own deadline.
    pub start: Option<Duration>,
    /// For a process that was sent SIGTERM while its loop stood still.
    pub terminate: Duration,
    /// For a process that was sent SIGKILL to be gone.
    pub kill: Duration,
    /// For whoever supervises it to start it again.
    pub revive: Duration,
    /// Of a stop that nobody has heard, for the next one to come where nobody is there.
    pub gap: Duration,
}

/// From one generation to the next, at most, where nobody pauses.
const GAP: Duration = Duration::from_secs(2);

impl Patience {
    /// What a restart that may take its time has, and one that must not. Where nobody starts it again by himself nobody is
    /// waited for.
    #[must_use]
    pub fn of(mode: Mode, starts_again: StartsAgain) -> Self {
        let patience = match mode {
            Mode::Graceful => Self {
                answer: Duration::from_secs(5),
                start: None,
                terminate: Duration::from_secs(5),
                kill: Duration::from_secs(10),
                revive: Duration::from_secs(5),
                gap: GAP,
            },
            // Asking first costs little, and spares turns that could be interrupted in order a death on their account.
            Mode::Force => Self {
                answer: Duration::from_secs(2),
                start: Some(Duration::from_secs(2)),
                terminate: Duration::ZERO,
                kill: Duration::from_secs(5),
                revive: Duration::from_secs(2),
                gap: GAP,
            },
        };
        match starts_again {
            StartsAgain::Never => Self { revive: Duration::ZERO, ..patience },
            _ => patience,
        }
    }

    /// What is left of it where nobody owned the state directory when the climb began: whoever may start a gateway by himself pauses
    /// about that, or has given up.
    #[must_use]
    pub const fn with_nobody_there(self) -> Self {
        Self { revive: Duration::ZERO, gap: Duration::ZERO, ..self }
    }

    /// What a stop has that may take its time, and one that must not.
    #[must_use]
    pub const fn to_stop(mode: Mode) -> Self {
        let (answer, start) = match mode {
            Mode::Graceful => (Duration::from_secs(5), None),
            Mode::Force => (Duration::from_secs(2), Some(Duration::from_secs(2))),
        };
        Self { answer, start, terminate: answer, kill: Duration::from_secs(10), revive: Duration::ZERO, gap: GAP }
    }
}

/// What a look shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// It answers and gets on: it is serving still, draining, or on its way out.
    GettingOn,
    /// Its control socket answers, and says that the loop does not.
    Stuck,
    /// A process owns the state directory, and nothing answers.
    Silent,
    /// The process that is to be replaced is a start which has no number yet: nothing answers, and nothing should.
    Starting,
    /// Nobody owns the state directory.
    Gone,
    /// Nobody owns the state directory, and whoever starts the gateway by himself is about to, or cannot be seen from here.
    Paused,
    /// Another life than the one that was asked is there (see [`Life`](crate::life::Life)).
    Next {
        /// Whether it serves.
        ready: bool,
    },
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Look again soon.
    Look,
    /// Ask it once more: nobody knows what became of the asking, and it gets on again. What it has accepted already, it joins.
    Ask,
    /// Send SIGTERM, if it is still the same process; for a stop, have whoever would start it again end it.
    Terminate,
    /// Send SIGKILL, if it is still the same process.
    Kill,
    /// Start it: nobody else did.
    Start,
    /// Done: another generation is ready, or for a stop, nobody is there.
    Done,
    /// It cannot be brought about; the rung says what was tried last.
    GiveUp(Rung),
}

/// One climb.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ladder {
    wish: Wish,
    patience: Patience,
    rung: Rung,
    /// Since when it stands on this rung, or since when what it sees there is no better.
    since: Instant,
    /// Whether this rung's own doing is done.
    acted: bool,
    /// Whether asking has come to nothing.
    in_vain: bool,
    /// Whether the stop is on disk.
    accepted: bool,
    /// Whether whoever would start it again is told not to.
    told: bool,
    /// Since when nobody is there, of a stop.
    nobody_since: Option<Instant>,
    give_up_at: Option<Instant>,
}

impl Ladder {
    /// A climb to a restart that begins by asking; `wait` is how long it may take in all.
    #[must_use]
    pub fn new(patience: Patience, now: Instant, wait: Option<Duration>) -> Self {
        Self {
            wish: Wish::Restart,
            patience,
            rung: Rung::Ask,
            since: now,
            acted: false,
            in_vain: false,
            accepted: false,
            told: false,
            nobody_since: None,
            give_up_at: wait.map(|wait| now + wait),
        }
    }

    /// A climb to a stop that begins by asking; `wait` is how long it may take in all.
    #[must_use]
    pub fn to_stop(patience: Patience, now: Instant, wait: Option<Duration>) -> Self {
        Self { wish: Wish::Stop, ..Self::new(patience, now, wait) }
    }

    /// Where it stands.
    #[must_use]
    pub const fn rung(&self) -> Rung {
        self.rung
    }

    /// No answer will come to what it was asked.
    pub const fn asked_in_vain(&mut self) {
        self.in_vain = true;
    }

    /// Its stop is on disk: an end is what was wished, and is believed at once.
    pub const fn accepted(&mut self) {
        self.accepted = true;
    }

    /// Whoever would start it again was told not to; where there is nobody to tell, the process was.
    pub const fn told(&mut self) {
        self.told = true;
    }

    /// When a look that shows the same as before would lead on.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let patience = match self.rung {
            Rung::Ask => self.patience.answer,
            Rung::Terminate => self.patience.terminate,
            Rung::Kill => self.patience.kill,
            Rung::Start if !self.acted => self.patience.revive,
            Rung::Start | Rung::Wait => return self.give_up_at,
        };
        let missed = self.nobody_since.filter(|_| !self.told).map(|since| since + self.patience.gap);
        [Some(self.since + patience), missed, self.give_up_at].into_iter().flatten().min()
    }

    /// When it is given up, whatever is seen.
    #[must_use]
    pub const fn gives_up_at(&self) -> Option<Instant> {
        self.give_up_at
    }

    /// Somebody looked; what follows.
    pub fn saw(&mut self, now: Instant, sight: Sight) -> Step {
        if !matches!(sight, Sight::Gone | Sight::Paused) {
            self.nobody_since = None;
        }
        let sight = match (self.wish, sight) {
            (Wish::Stop, Sight::Gone | Sight::Paused) => match self.nobody(now, sight == Sight::Paused) {
                Some(as_if) => as_if,
                None => return Step::Done,
            },
            (Wish::Stop, Sight::Next { ready }) => {
                self.begin_anew(now);
                if ready { Sight::GettingOn } else { Sight::Starting }
            }
            (_, sight) => sight,
        };
        match sight {
            Sight::Next { ready: true } => return Step::Done,
            Sight::Next { ready: false } => self.climb(now, Rung::Wait),
            Sight::Gone | Sight::Paused if self.wish == Wish::Restart => self.climb(now, Rung::Start),
            Sight::GettingOn if self.rung <= Rung::Terminate => self.since = now,
            Sight::Starting if self.rung <= Rung::Terminate && self.patience.start.is_none() => self.since = now,
            Sight::GettingOn | Sight::Stuck | Sight::Silent | Sight::Starting | Sight::Gone | Sight::Paused => {}
        }
        if self.give_up_at.is_some_and(|at| at <= now) {
            return Step::GiveUp(self.rung);
        }
        let overdue = |patience: Duration| now >= self.since + patience;
        match self.rung {
            Rung::Ask if self.in_vain && sight == Sight::GettingOn => {
                self.in_vain = false;
                Step::Ask
            }
            Rung::Ask | Rung::Terminate | Rung::Kill if sight == Sight::Paused => self.tell(now),
            Rung::Ask if overdue(self.patience.answer) => self.next(now),
            Rung::Terminate if overdue(self.patience.terminate) => self.next(now),
            Rung::Kill if overdue(self.patience.kill) => Step::GiveUp(Rung::Kill),
            Rung::Start if !self.acted && overdue(self.patience.revive) => {
                self.acted = true;
                Step::Start
            }
            _ => Step::Look,
        }
    }

    /// Nobody is there for a stop to end: as what that is to be taken, and `None` where the stop is done.
    fn nobody(&mut self, now: Instant, paused: bool) -> Option<Sight> {
        let believed_at = *self.nobody_since.get_or_insert(now) + self.patience.gap;
        match (paused, self.told) {
            (false, told) if told || self.accepted => None,
            (true, true) => Some(Sight::Silent),
            _ if now < believed_at => {
                self.since = now;
                Some(Sight::Starting)
            }
            (false, _) => None,
            (true, false) => Some(Sight::Paused),
        }
    }

    /// The next rung of those that end the old process.
    fn next(&mut self, now: Instant) -> Step {
        let untold = self.wish == Wish::Stop && !self.told && !self.accepted;
        if untold || self.rung == Rung::Ask && self.patience.terminate > Duration::ZERO {
            self.tell(now)
        } else {
            self.climb(now, Rung::Kill);
            Step::Kill
        }
    }

    /// Another one has come for a stop to end, who has heard of nothing.
    fn begin_anew(&mut self, now: Instant) {
        (self.rung, self.since, self.in_vain) = (Rung::Ask, now, true);
        (self.accepted, self.told) = (false, false);
    }

    /// The mildest that needs no answer.
    fn tell(&mut self, now: Instant) -> Step {
        self.climb(now, Rung::Terminate);
        self.since = now;
        Step::Terminate
    }

    /// Up, never down.
    fn climb(&mut self, now: Instant, rung: Rung) {
        if rung > self.rung {
            (self.rung, self.since, self.acted) = (rung, now, false);
        } else if rung == Rung::Start && self.rung == Rung::Wait {
            // The one that was there has died before it was ready: whoever starts it has another go.
            (self.rung, self.since, self.acted) = (rung, now, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOOK: u64 = 100;

    fn patience(mode: Mode) -> Patience {
        Patience::of(mode, StartsAgain::Always)
    }

    /// Climbs past what `world` shows at each time, and answers what was done when, looks aside.
    fn climb(mode: Mode, wait: Option<Duration>, world: impl Fn(u64, &[Step]) -> Sight) -> Vec<(u64, Step)> {
        past(Ladder::new(patience(mode), Instant::from_millis(0), wait), world)
    }

    fn past(mut ladder: Ladder, world: impl Fn(u64, &[Step]) -> Sight) -> Vec<(u64, Step)> {
        let (mut done, mut steps) = (Vec::new(), Vec::new());
        for ms in (0..600_000).step_by(usize::try_from(LOOK).expect("small")) {
            let step = ladder.saw(Instant::from_millis(ms), world(ms, &steps));
            if step == Step::Terminate {
                ladder.told();
            }
            if step != Step::Look {
                steps.push(step);
                done.push((ms, step));
            }
            if matches!(step, Step::Done | Step::GiveUp(_)) {
                return done;
            }
        }
        panic!("it never ends: {done:?}");
    }

    #[test]
    fn a_gateway_that_gets_on_is_left_to_its_own_deadlines() {
        let done = climb(Mode::Graceful, None, |ms, _| match ms {
            0..=40_000 => Sight::GettingOn,
            40_100..=41_000 => Sight::Gone,
            41_100..=42_000 => Sight::Next { ready: false },
            _ => Sight::Next { ready: true },
        });
        assert_eq!(done, [(42_100, Step::Done)]);
    }

    #[test]
    fn one_that_was_asked_in_vain_and_gets_on_again_is_asked_once_more() {
        let mut ladder = Ladder::new(patience(Mode::Graceful), Instant::from_millis(0), None);
        let sees = |ladder: &mut Ladder, ms: u64, sight: Sight| ladder.saw(Instant::from_millis(ms), sight);
        assert_eq!(sees(&mut ladder, 100, Sight::GettingOn), Step::Look, "its answer may come");
        ladder.asked_in_vain();
        assert_eq!(sees(&mut ladder, 200, Sight::Stuck), Step::Look, "there is nobody to ask");
        assert_eq!(sees(&mut ladder, 4_000, Sight::GettingOn), Step::Ask);
        assert_eq!(sees(&mut ladder, 4_100, Sight::GettingOn), Step::Look);
        ladder.asked_in_vain();
        assert_eq!(sees(&mut ladder, 9_200, Sight::Stuck), Step::Terminate);
        assert_eq!(sees(&mut ladder, 9_300, Sight::GettingOn), Step::Look, "the signal has asked it");
    }

    #[test]
    fn a_frozen_gateway_is_told_then_killed_then_started_by_its_supervisor() {
        let killed = |steps: &[Step]| steps.contains(&Step::Kill);
        let done = climb(Mode::Graceful, None, |ms, steps| match ms {
            _ if !killed(steps) => Sight::Stuck,
            0..=10_200 => Sight::Gone,
            _ => Sight::Next { ready: true },
        });
        assert_eq!(done, [(5_000, Step::Terminate), (10_000, Step::Kill), (10_300, Step::Done)]);
    }

    #[test]
    fn a_forced_restart_needs_nothing_of_the_old_process_and_starts_it_where_nobody_does() {
        let world = |_: u64, steps: &[Step]| match steps.last() {
            None => Sight::Silent,
            Some(Step::Kill) => Sight::Gone,
            _ => Sight::Next { ready: true },
        };
        let done = climb(Mode::Force, None, world);
        assert_eq!(done, [(2_000, Step::Kill), (4_100, Step::Start), (4_200, Step::Done)]);
    }

    #[test]
    fn a_loop_that_goes_on_after_the_signal_may_end_in_its_own_time() {
        let done = climb(Mode::Graceful, None, |ms, _| match ms {
            0..=6_000 => Sight::Stuck,
            6_100..=40_000 => Sight::GettingOn,
            _ => Sight::Next { ready: true },
        });
        assert_eq!(done, [(5_000, Step::Terminate), (40_100, Step::Done)]);
    }

    #[test]
    fn a_start_is_left_to_its_own_deadline_and_killed_by_a_forced_restart() {
        let world = |ms: u64, steps: &[Step]| match steps.last() {
            None if ms < 90_000 => Sight::Starting,
            Some(Step::Kill) => Sight::Gone,
            _ => Sight::Next { ready: true },
        };
        assert_eq!(climb(Mode::Graceful, None, world), [(90_000, Step::Done)]);
        let forced = climb(Mode::Force, None, world);
        assert_eq!(forced, [(2_000, Step::Kill), (4_100, Step::Start), (4_200, Step::Done)]);
    }

    #[test]
    fn where_nobody_would_start_it_nobody_is_waited_for() {
        assert_eq!(Patience::of(Mode::Graceful, StartsAgain::Never).revive, Duration::ZERO);
    }

    #[test]
    fn a_restart_waits_for_nobody_where_nobody_was_there() {
        let patience = patience(Mode::Graceful);
        let at_once = Duration::ZERO;
        assert_eq!(patience.with_nobody_there(), Patience { revive: at_once, gap: at_once, ..patience });
        let mut ladder = Ladder::new(patience.with_nobody_there(), Instant::from_millis(0), None);
        assert_eq!(ladder.saw(Instant::from_millis(0), Sight::Gone), Step::Start);
        assert_eq!(ladder.saw(Instant::from_millis(10), Sight::Gone), Step::Look);
    }

    fn to_stop(mode: Mode) -> Ladder {
        Ladder::to_stop(Patience::to_stop(mode), Instant::from_millis(0), Some(Duration::from_secs(60)))
    }

    /// Climbs to a stop past what `world` shows at each time, and answers what was done when, looks aside.
    fn stop(mode: Mode, world: impl Fn(u64, &[Step]) -> Sight) -> Vec<(u64, Step)> {
        past(to_stop(mode), world)
    }

    #[test]
    fn a_gateway_that_gets_on_is_left_to_its_own_deadlines_by_a_stop_too() {
        for mode in [Mode::Graceful, Mode::Force] {
            let mut ladder = to_stop(mode);
            ladder.accepted();
            let done = past(ladder, |ms, _| if ms < 40_000 { Sight::GettingOn } else { Sight::Gone });
            assert_eq!(done, [(40_000, Step::Done)]);
            let given_up = stop(mode, |_, _| Sight::GettingOn);
            assert_eq!(given_up, [(60_000, Step::GiveUp(Rung::Ask))]);
        }
    }

    #[test]
    fn between_two_generations_nobody_is_gone_for_good() {
        for mode in [Mode::Graceful, Mode::Force] {
            assert_eq!(stop(mode, |_, _| Sight::Gone), [(2_000, Step::Done)]);
            let twice = |ms: u64, steps: &[Step]| match ms {
                0..=1_900 | 2_100..=4_000 if steps.is_empty() => Sight::Gone,
                _ if steps.is_empty() => Sight::GettingOn,
                _ => Sight::Gone,
            };
            assert_eq!(stop(mode, twice), [(60_000, Step::GiveUp(Rung::Ask))]);
            let patience = Patience::to_stop(mode).with_nobody_there();
            let nobody_was_there = Ladder::to_stop(patience, Instant::from_millis(0), None);
            assert_eq!(past(nobody_was_there, |_, _| Sight::Gone), [(0, Step::Done)]);
        }
    }

    #[test]
    fn whoever_pauses_is_told_not_to_start_it_and_waited_for() {
        for mode in [Mode::Graceful, Mode::Force] {
            let ends = stop(mode, |ms, _| if ms < 3_000 { Sight::Paused } else { Sight::Gone });
            assert_eq!(ends, [(2_000, Step::Terminate), (3_000, Step::Done)]);
            let mut ladder = to_stop(mode);
            ladder.accepted();
            let killed = past(ladder, |ms, _| if ms < 3_000 { Sight::Paused } else { Sight::Gone });
            assert_eq!(killed, [(2_000, Step::Terminate), (3_000, Step::Done)], "he knows nothing of it");
        }
        let stays = stop(Mode::Force, |_, _| Sight::Paused);
        assert_eq!(stays, [(2_000, Step::Terminate), (4_000, Step::Kill), (14_000, Step::GiveUp(Rung::Kill))]);
    }

    #[test]
    fn nobody_is_killed_before_whoever_would_start_it_again_told() {
        let begun = Instant::from_millis(0);
        let steps = |accepted: bool| -> Vec<Step> {
            let mut ladder = Ladder::to_stop(Patience::to_stop(Mode::Force), begun, None);
            if accepted {
                ladder.accepted();
            }
            let looks = (0..10_000).step_by(100).map(Instant::from_millis);
            looks.map(|now| ladder.saw(now, Sight::Silent)).filter(|step| *step != Step::Look).collect()
        };
        assert_eq!(steps(false), [Step::Terminate; 4]);
        assert_eq!(steps(true), [Step::Terminate, Step::Kill]);
    }

    #[test]
    fn a_stop_says_when_nobody_is_believed_to_be_gone() {
        let mut ladder = to_stop(Mode::Graceful);
        let later = Instant::from_millis(3_000);
        assert_eq!(ladder.saw(later, Sight::Gone), Step::Look);
        assert_eq!(ladder.poll_timeout(), Some(later + GAP));
        assert_eq!(ladder.saw(later + GAP, Sight::Paused), Step::Terminate);
        ladder.told();
        assert_eq!(ladder.poll_timeout(), Some(later + GAP + Patience::to_stop(Mode::Graceful).terminate));
    }

    #[test]
    fn a_stop_has_a_frozen_gateway_ended_by_whoever_keeps_it_and_kills_it_only_then() {
        let world = |_: u64, steps: &[Step]| if steps.contains(&Step::Kill) { Sight::Gone } else { Sight::Stuck };
        let patient = stop(Mode::Graceful, world);
        assert_eq!(patient, [(5_000, Step::Terminate), (10_000, Step::Kill), (10_100, Step::Done)]);
        let forced = stop(Mode::Force, world);
        assert_eq!(forced, [(2_000, Step::Terminate), (4_000, Step::Kill), (4_100, Step::Done)]);
        let immortal = stop(Mode::Force, |_, _| Sight::Silent);
        assert_eq!(immortal, [(2_000, Step::Terminate), (4_000, Step::Kill), (14_000, Step::GiveUp(Rung::Kill))]);
    }

    #[test]
    fn a_start_in_the_way_of_a_stop_is_left_to_its_own_deadline_unless_it_is_forced() {
        let world = |_: u64, steps: &[Step]| if steps.is_empty() { Sight::Starting } else { Sight::Gone };
        assert_eq!(stop(Mode::Graceful, world), [(60_000, Step::GiveUp(Rung::Ask))]);
        assert_eq!(stop(Mode::Force, world), [(2_000, Step::Terminate), (2_100, Step::Done)]);
    }

    #[test]
    fn whoever_comes_instead_of_the_one_that_was_killed_is_to_stop() {
        for told in [Sight::Stuck, Sight::Next { ready: true }] {
            let mut ladder = to_stop(Mode::Force);
            let mut sees = |ms: u64, sight: Sight| {
                let step = ladder.saw(Instant::from_millis(ms), sight);
                if step == Step::Terminate {
                    ladder.told();
                }
                step
            };
            assert_eq!(sees(2_000, Sight::Stuck), Step::Terminate);
            assert_eq!(sees(4_000, Sight::Stuck), Step::Kill);
            assert_eq!(sees(4_100, Sight::Next { ready: false }), Step::Look);
            if told == Sight::Stuck {
                assert_eq!(sees(6_000, told), Step::Look);
                assert_eq!(sees(6_100, told), Step::Terminate);
                assert_eq!(sees(8_100, told), Step::Kill);
            } else {
                assert_eq!(sees(5_000, told), Step::Ask);
                assert_eq!(sees(5_100, Sight::GettingOn), Step::Look);
                assert_eq!(sees(30_000, Sight::Gone), Step::Look, "it has not said that it heard");
                assert_eq!(sees(32_000, Sight::Gone), Step::Done);
            }
        }
    }

    #[test]
    fn a_rung_says_when_it_is_over_until_all_was_done_and_the_wait_at_last() {
        let (wait, begun) = (Duration::from_secs(60), Instant::from_millis(0));
        let mut ladder = Ladder::new(patience(Mode::Force), begun, Some(wait));
        assert_eq!(ladder.gives_up_at(), Some(begun + wait));
        assert_eq!(ladder.poll_timeout(), Some(begun + ladder.patience.answer));
        let gone = Instant::from_millis(10);
        assert_eq!(ladder.saw(gone, Sight::Gone), Step::Look);
        let nobody_did = gone + ladder.patience.revive;
        assert_eq!(ladder.poll_timeout(), Some(nobody_did));
        assert_eq!(ladder.saw(nobody_did, Sight::Gone), Step::Start);
        assert_eq!(ladder.poll_timeout(), ladder.gives_up_at());
    }

    #[test]
    fn a_process_that_cannot_be_killed_is_given_up_upon() {
        let done = climb(Mode::Force, None, |_, _| Sight::Silent);
        assert_eq!(done, [(2_000, Step::Kill), (7_000, Step::GiveUp(Rung::Kill))]);
    }

    #[test]
    fn a_wait_that_is_over_names_the_rung() {
        let done = climb(Mode::Graceful, Some(Duration::from_secs(60)), |_, _| Sight::GettingOn);
        assert_eq!(done, [(60_000, Step::GiveUp(Rung::Ask))]);
    }

    #[test]
    fn one_that_answers_after_it_was_killed_has_no_more_time_to_be_gone_for_that() {
        let done = climb(Mode::Force, None, |_, steps| match steps.last() {
            None => Sight::Silent,
            _ => Sight::GettingOn,
        });
        assert_eq!(done, [(2_000, Step::Kill), (7_000, Step::GiveUp(Rung::Kill))]);
    }

    #[test]
    fn one_that_dies_before_it_is_ready_is_started_again_and_so_is_the_next() {
        let done = climb(Mode::Force, None, |ms, steps| match (steps.len(), ms) {
            (0, _) => Sight::Silent,
            (1, 4_000..=5_900) | (2, 8_500..=8_900) => Sight::Next { ready: false },
            (3, _) => Sight::Next { ready: true },
            _ => Sight::Gone,
        });
        assert_eq!(done, [(2_000, Step::Kill), (8_000, Step::Start), (11_000, Step::Start), (11_100, Step::Done)]);
    }

    #[test]
    fn rungs_are_called_as_the_command_line_calls_them() {
        let names = [Rung::Ask, Rung::Terminate, Rung::Kill, Rung::Start, Rung::Wait].map(Rung::name);
        assert_eq!(names, ["ask", "terminate", "kill", "start", "wait"]);
    }

    fn sight() -> impl Strategy<Value = Sight> {
        prop_oneof![
            Just(Sight::GettingOn),
            Just(Sight::Stuck),
            Just(Sight::Silent),
            Just(Sight::Starting),
            Just(Sight::Gone),
            Just(Sight::Next { ready: false }),
        ]
    }

    proptest! {
        /// Whatever is seen: each of the old process's ends is tried once, the milder before the harder, nothing is started that
        /// was not gone, and with a bound it comes to an end.
        #[test]
        fn each_rung_is_tried_once_and_in_order(sights in proptest::collection::vec((sight(), 1u64..100), 1..60), force in any::<bool>()) {
            let mode = if force { Mode::Force } else { Mode::Graceful };
            let wait = Duration::from_secs(300);
            let mut ladder = Ladder::new(patience(mode), Instant::from_millis(0), Some(wait));
            let (mut now, mut ends, mut gone) = (0, Vec::new(), false);
            for (sight, times) in sights.into_iter().chain([(Sight::Silent, 4_000)]) {
                for _ in 0..times {
                    now += LOOK;
                    gone |= sight == Sight::Gone;
                    match ladder.saw(Instant::from_millis(now), sight) {
                        Step::Start => prop_assert!(gone),
                        Step::GiveUp(_) => return Ok(()),
                        Step::Done => prop_assert!(false, "nothing was ready"),
                        Step::Look => {}
                        step => ends.push(step),
                    }
                }
            }
            prop_assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "{ends:?}");
            prop_assert!(false, "it has a bound of {wait:?} and goes on at {now} ms");
        }
    }
}
