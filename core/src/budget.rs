//! The deadlines of one end of the gateway: absolute, nested, computed from what is *effective*, and moved later only when the
//! supervisor's kill has been moved later first. A configured budget that does not fit below that kill is shortened here, never
//! discovered later.

use crate::limits::Limits;
use crate::request::Mode;
use crate::time::Instant;
use std::time::Duration;

/// `drain ≤ interrupt ≤ close < self_kill < the supervisor's kill`, each an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deadlines {
    /// Turns that are still awaited are interrupted now.
    pub drain: Instant,
    /// Turns that were interrupted and are still alive are killed now.
    pub interrupt: Instant,
    /// The process ends now, whatever is unsent: it stays owed in the journal.
    pub close: Instant,
    /// A guard outside the driver ends the process now: the driver itself is stuck.
    pub self_kill: Instant,
}

impl Deadlines {
    /// The deadlines of an end that begins `now`. `kill_after` is the supervisor's effective limit when its clock runs.
    ///
    /// The later stages keep their length as long as they can, since they are what loses nothing; the drain gives way first.
    #[must_use]
    pub fn new(limits: &Limits, mode: Mode, kill_after: Option<Duration>, now: Instant) -> Self {
        let drain = match mode {
            Mode::Graceful => limits.drain,
            Mode::Force => Duration::ZERO,
        };
        let (interrupt, close) = graces(limits, mode);
        let (drain, interrupt, close, self_kill) = match kill_after {
            None => (drain, interrupt, close, Limits::SELF_KILL_MARGIN),
            Some(limit) => fit(limit, drain, interrupt, close),
        };
        Self::at(now + drain, interrupt, close, self_kill)
    }

    /// The smallest limit of a supervisor under which none of the configured stages is shortened.
    #[must_use]
    pub fn room(limits: &Limits) -> Duration {
        let margins = Limits::SELF_KILL_MARGIN + Limits::SUPERVISOR_MARGIN;
        let graces = limits.interrupt_grace + limits.close_grace;
        // `fit` gives at most a half of what is usable to closing, and a half of the rest to the interrupted turns.
        let for_close = limits.close_grace * 2;
        let for_interrupt = limits.interrupt_grace * 2 + limits.close_grace;
        let usable = (limits.drain + graces).max(for_close).max(for_interrupt);
        (usable + margins).max(margins * 2 + Duration::from_millis(1))
    }

    /// The deadlines of an end whose drain is over `now`, perhaps long before its budget.
    #[must_use]
    pub fn of_interruption(limits: &Limits, mode: Mode, now: Instant) -> Self {
        let (interrupt, close) = graces(limits, mode);
        Self::at(now, interrupt, close, Limits::SELF_KILL_MARGIN)
    }

    /// The deadlines of an end that has only to flush what was produced, from `now` on. `kill_after` is the supervisor's limit,
    /// if its clock begins to run with that.
    #[must_use]
    pub fn of_closing(limits: &Limits, mode: Mode, kill_after: Option<Duration>, now: Instant) -> Self {
        let close = graces(limits, mode).1;
        let (close, self_kill) = match kill_after {
            None => (close, Limits::SELF_KILL_MARGIN),
            Some(limit) => {
                let (_, _, close, self_kill) = fit(limit, Duration::ZERO, Duration::ZERO, close);
                (close, self_kill)
            }
        };
        Self::at(now, Duration::ZERO, close, self_kill)
    }

    /// From `now` until a supervisor may kill a process with these deadlines.
    #[must_use]
    pub fn needed(&self, now: Instant) -> Duration {
        self.self_kill + Limits::SUPERVISOR_MARGIN - now
    }

    fn at(drain: Instant, interrupt: Duration, close: Duration, self_kill: Duration) -> Self {
        let interrupt = drain + interrupt;
        let close = interrupt + close;
        Self { drain, interrupt, close, self_kill: close + self_kill }
    }

    /// Each deadline, the earlier of the two: an upgrade may shorten an end, nothing may lengthen it.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self {
            drain: self.drain.min(other.drain),
            interrupt: self.interrupt.min(other.interrupt),
            close: self.close.min(other.close),
            self_kill: self.self_kill.min(other.self_kill),
        }
    }
}

/// How long interrupted turns have, and how long the flush has.
fn graces(limits: &Limits, mode: Mode) -> (Duration, Duration) {
    match mode {
        Mode::Graceful => (limits.interrupt_grace, limits.close_grace),
        Mode::Force => (
            limits.interrupt_grace.min(Limits::FORCE_INTERRUPT_GRACE),
            limits.close_grace.min(Limits::FORCE_CLOSE_GRACE),
        ),
    }
}

/// Shortens the stages until they end before `limit`, margins included.
fn fit(
    limit: Duration,
    drain: Duration,
    interrupt: Duration,
    close: Duration,
) -> (Duration, Duration, Duration, Duration) {
    // A limit too small for the fixed margins is split in proportion, so that the order of the deadlines still holds.
    let margins = Limits::SELF_KILL_MARGIN + Limits::SUPERVISOR_MARGIN;
    let (usable, self_kill) =
        if limit > margins * 2 { (limit - margins, Limits::SELF_KILL_MARGIN) } else { (limit / 2, limit / 4) };
    let close = close.min(usable / 2);
    let interrupt = interrupt.min((usable - close) / 2);
    (drain.min(usable - close - interrupt), interrupt, close, self_kill)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::Contract;
    use proptest::prelude::*;

    /// Any length that the configuration lets through, and often none at all.
    fn length() -> impl Strategy<Value = Duration> {
        prop_oneof![1 => Just(0), 3 => 0..20_000u64, 2 => 0..2_592_000_000u64].prop_map(Duration::from_millis)
    }

    fn limits() -> impl Strategy<Value = Limits> {
        (length(), length(), length()).prop_map(|(drain, interrupt_grace, close_grace)| Limits {
            drain,
            interrupt_grace,
            close_grace,
            ..Limits::default()
        })
    }

    /// What each supervisor of the table allows, no limit, one that an operator chose, and ones that are absurdly short.
    fn effective_limit() -> impl Strategy<Value = Option<Duration>> {
        let of_the_table = (0..Contract::TABLE.len()).prop_map(|row| Contract::TABLE[row].kill_after);
        let chosen = |millis: std::ops::Range<u64>| millis.prop_map(|millis| Some(Duration::from_millis(millis)));
        prop_oneof![of_the_table, Just(None), chosen(8..10_000_000), chosen(8..12_000), chosen(0..8)]
    }

    #[test]
    fn room_is_the_smallest_limit_that_shortens_nothing() {
        let now = Instant::from_millis(0);
        for (drain, interrupt_grace, close_grace) in [(30, 5, 5), (0, 0, 1), (0, 60, 5), (3, 5, 60), (1, 1, 1)] {
            let [drain, interrupt_grace, close_grace] = [drain, interrupt_grace, close_grace].map(Duration::from_secs);
            let limits = Limits { drain, interrupt_grace, close_grace, ..Limits::default() };
            let free = Deadlines::new(&limits, Mode::Graceful, None, now);
            let room = Deadlines::room(&limits);
            assert_eq!(Deadlines::new(&limits, Mode::Graceful, Some(room), now), free, "{limits:?}");
            let smaller = room - Duration::from_millis(1);
            assert_ne!(Deadlines::new(&limits, Mode::Graceful, Some(smaller), now), free, "{limits:?}");
        }
    }

    fn mode() -> impl Strategy<Value = Mode> {
        prop_oneof![Just(Mode::Graceful), Just(Mode::Force)]
    }

    /// Below 8 ms there is no room for a millisecond between two deadlines: then none comes after the kill, at least.
    fn nest(deadlines: Deadlines, now: Instant, limit: Option<Duration>) -> Result<(), TestCaseError> {
        let Deadlines { drain, interrupt, close, self_kill } = deadlines;
        let roomy = limit.is_none_or(|limit| limit >= Duration::from_millis(8));
        prop_assert!(now <= drain && drain <= interrupt && interrupt <= close, "{deadlines:?}");
        prop_assert!(close < self_kill || (!roomy && close == self_kill), "{deadlines:?}");
        if let Some(kill) = limit.map(|limit| now + limit) {
            prop_assert!(self_kill < kill || (!roomy && self_kill == kill), "{deadlines:?} not before {kill:?}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn deadlines_nest_below_any_limit_of_the_supervisor(
            limits in limits(), mode in mode(), limit in effective_limit(), now in 0u64..u64::MAX / 2,
        ) {
            let now = Instant::from_millis(now);
            let deadlines = Deadlines::new(&limits, mode, limit, now);
            nest(deadlines, now, limit)?;
            nest(Deadlines::of_interruption(&limits, mode, now), now, None)?;
            nest(Deadlines::of_closing(&limits, mode, limit, now), now, limit)?;
            if mode == Mode::Force {
                prop_assert!(deadlines.close - now <= Limits::FORCE_INTERRUPT_GRACE + Limits::FORCE_CLOSE_GRACE);
            }
        }

        /// An end that is upgraded, signalled, interrupted and closed at any times, in any order: nothing moves later, and the
        /// supervisor's limit that came first still holds.
        #[test]
        fn deadlines_nest_and_only_move_earlier_whatever_happens_to_an_end(
            limits in limits(), mode_at_first in mode(), limit in effective_limit(),
            later in proptest::collection::vec((0u8..3, mode(), effective_limit(), 0u64..60_000), 0..6),
        ) {
            let begun = Instant::from_millis(1_000);
            let mut deadlines = Deadlines::new(&limits, mode_at_first, limit, begun);
            let (mut now, mut kills) = (begun, vec![limit.map(|limit| begun + limit)]);
            for (what, mode, limit, after) in later {
                now = now + Duration::from_millis(after);
                let fresh = match what {
                    0 => Deadlines::new(&limits, mode, limit, now),
                    1 => Deadlines::of_interruption(&limits, mode, now),
                    _ => Deadlines::of_closing(&limits, mode, limit, now),
                };
                kills.extend([limit.filter(|_| what == 0).map(|limit| now + limit)]);
                let before = deadlines;
                deadlines = deadlines.earlier(fresh);
                prop_assert_eq!(deadlines, deadlines.earlier(before), "something moved later");
                prop_assert!(deadlines.drain <= deadlines.interrupt && deadlines.interrupt <= deadlines.close);
                prop_assert!(deadlines.close <= deadlines.self_kill);
                prop_assert!(kills.iter().flatten().all(|kill| deadlines.self_kill <= *kill), "{deadlines:?}, {kills:?}");
            }
        }
    }

    #[test]
    fn a_limit_of_twice_the_margins_is_split_in_proportion_and_any_above_keeps_the_margins_whole() {
        let now = Instant::from_millis(0);
        let ends = |ms| {
            let limit = Some(Duration::from_millis(ms));
            let deadlines = Deadlines::new(&Limits::default(), Mode::Graceful, limit, now);
            (deadlines.close.as_millis(), deadlines.self_kill.as_millis())
        };
        assert_eq!([9_000, 10_000, 11_000].map(ends), [(4_500, 6_750), (5_000, 7_500), (6_000, 8_000)]);
    }

    #[test]
    fn a_drain_that_fits_is_left_as_configured() {
        let now = Instant::from_millis(0);
        let deadlines = Deadlines::new(&Limits::default(), Mode::Graceful, Some(Duration::from_secs(90)), now);
        assert_eq!(deadlines.drain, Instant::from_millis(30_000));
    }
}
