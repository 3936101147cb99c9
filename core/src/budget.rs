//! The deadlines of one end of the gateway: absolute, nested, computed from what is *effective*, and never moved later. A configured
//! budget that does not fit below the supervisor's kill is shortened here, never discovered later.

use crate::limits::Limits;
use crate::request::Mode;
use crate::time::Instant;
use std::time::Duration;

/// `drain ≤ interrupt ≤ close < self_kill < the supervisor's kill`, each an instant and none ever moved later.
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

    /// The deadlines of an end whose drain is over `now`, perhaps long before its budget.
    #[must_use]
    pub fn of_interruption(limits: &Limits, mode: Mode, now: Instant) -> Self {
        let (interrupt, close) = graces(limits, mode);
        Self::at(now, interrupt, close, Limits::SELF_KILL_MARGIN)
    }

    /// The deadlines of an end that has only to flush what was produced, from `now` on.
    #[must_use]
    pub fn of_closing(limits: &Limits, mode: Mode, now: Instant) -> Self {
        Self::at(now, Duration::ZERO, graces(limits, mode).1, Limits::SELF_KILL_MARGIN)
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn deadlines_nest_below_any_limit_of_the_supervisor(
            drain in 0u64..10_000_000, interrupt in 0u64..1_000_000, close in 0u64..1_000_000,
            limit in proptest::option::of(8u64..10_000_000), force: bool, now in 0u64..u64::MAX / 2,
        ) {
            let limits = Limits {
                drain: Duration::from_millis(drain),
                interrupt_grace: Duration::from_millis(interrupt),
                close_grace: Duration::from_millis(close),
                ..Limits::default()
            };
            let now = Instant::from_millis(now);
            let mode = if force { Mode::Force } else { Mode::Graceful };
            let limit = limit.map(Duration::from_millis);
            let deadlines = Deadlines::new(&limits, mode, limit, now);
            prop_assert!(now <= deadlines.drain && deadlines.drain <= deadlines.interrupt);
            prop_assert!(deadlines.interrupt <= deadlines.close && deadlines.close < deadlines.self_kill);
            if let Some(limit) = limit {
                prop_assert!(deadlines.self_kill < now + limit, "{deadlines:?} does not end before {limit:?}");
            }
            if force {
                prop_assert!(deadlines.close - now <= Limits::FORCE_INTERRUPT_GRACE + Limits::FORCE_CLOSE_GRACE);
            }
        }
    }

    #[test]
    fn a_drain_that_fits_is_left_as_configured() {
        let now = Instant::from_millis(0);
        let deadlines = Deadlines::new(&Limits::default(), Mode::Graceful, Some(Duration::from_secs(90)), now);
        assert_eq!(deadlines.drain, Instant::from_millis(30_000));
    }
}
