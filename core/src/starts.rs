//! The starts in a row of which none has come to serve: how long the next one waits, and from when on it is not made at all.
//! It counts starts and no time, so that it depends on no clock. It waits for nothing and ends nothing: the caller does.
//!
//! | the start before …                               | a supervisor makes the next one             | a person does |
//! |--------------------------------------------------|---------------------------------------------|---------------|
//! | served                                           | at once; a new row begins                   | at once       |
//! | died without a word, for the n-th time in a row  | after a pause; parked from the [`ATTEMPTS`]th on | at once; a new row begins |
//! | gave up for something that may pass (a full disk, no memory) | after a pause, as often as it takes | at once; a new row begins |
//! | ended in order, or with the machine              | at once                                     | at once       |
//!
//! The pauses are those of `evergate supervise` ([`pause_before`]): twenty starts take six minutes, so a machine that is out of
//! memory for a minute parks nobody. Whoever parks has the row begin anew, since only a person starts it after that.

use crate::respawn::{FIRST_PAUSE, LONGEST_PAUSE};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many starts in a row may die before they serve, until no more are made.
pub const ATTEMPTS: u32 = 20;

/// Who wants a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Starter {
    /// Somebody who knows what they do.
    Person,
    /// A program that starts us whatever became of the start before.
    Supervisor,
}

/// Whether a start is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permit {
    /// It is, after this pause.
    Start {
        /// How long to wait first.
        pause: Duration,
        /// The starts before it that came to nothing.
        before: u32,
    },
    /// It is not: so many have died.
    Park {
        /// How many.
        died: u32,
    },
}

/// What is known of the starts since one has served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Starts {
    /// Died without a word.
    died: u32,
    /// Said that it may go better later.
    gave_up: u32,
    /// One is under way.
    under_way: bool,
}

impl Starts {
    /// A start is wanted. `same_boot` says whether the machine is still up in which the one before was made: who ended with it has not
    /// failed.
    pub fn wanted(&mut self, starter: Starter, same_boot: bool, attempts: u32) -> Permit {
        if self.under_way {
            self.died = self.died.saturating_add(u32::from(same_boot));
        }
        self.under_way = false;
        if starter == Starter::Person || !same_boot {
            *self = Self::default();
        }
        if self.died >= attempts {
            let died = self.died;
            *self = Self::default();
            return Permit::Park { died };
        }
        let before = self.died.saturating_add(self.gave_up);
        Permit::Start { pause: pause_before(before), before }
    }

    /// It is made.
    pub const fn begun(&mut self) {
        self.under_way = true;
    }

    /// It has come to serve.
    pub fn served(&mut self) {
        *self = Self::default();
    }

    /// It ends, and says that it may go better later.
    pub const fn gave_up(&mut self) {
        self.under_way = false;
        self.gave_up = self.gave_up.saturating_add(1);
    }

    /// It ends in order: stopped, parked, or about to be started again.
    pub const fn ended(&mut self) {
        self.under_way = false;
    }
}

/// The pause before a start that follows on so many which came to nothing.
#[must_use]
pub fn pause_before(failed: u32) -> Duration {
    match failed.checked_sub(1) {
        None => Duration::ZERO,
        Some(doubled) => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doubled)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One more start of a row by a supervisor, which dies.
    fn dies(starts: &mut Starts) -> Permit {
        let permit = starts.wanted(Starter::Supervisor, true, ATTEMPTS);
        if let Permit::Start { .. } = permit {
            starts.begun();
        }
        permit
    }

    #[test]
    fn starts_that_die_are_made_ever_more_seldom_then_not_at_all_and_the_row_begins_anew() {
        let mut starts = Starts::default();
        let mut paused = Duration::ZERO;
        for before in 0..ATTEMPTS {
            let Permit::Start { pause, before: told } = dies(&mut starts) else { panic!("after {before}") };
            assert_eq!(told, before);
            paused += pause;
        }
        assert_eq!(dies(&mut starts), Permit::Park { died: ATTEMPTS });
        assert!((Duration::from_secs(5 * 60)..Duration::from_secs(7 * 60)).contains(&paused), "{paused:?}");
        assert_eq!(dies(&mut starts), Permit::Start { pause: Duration::ZERO, before: 0 });
    }

    #[test]
    fn what_lacks_memory_for_a_minute_is_not_parked() {
        let (mut starts, mut at) = (Starts::default(), Duration::ZERO);
        while at < Duration::from_secs(60) {
            let Permit::Start { pause, .. } = dies(&mut starts) else { panic!("parked after {at:?}") };
            at += pause;
        }
        assert!(matches!(dies(&mut starts), Permit::Start { .. }));
        starts.served();
        assert_eq!(starts, Starts::default());
    }

    #[test]
    fn a_person_and_another_boot_of_the_machine_begin_anew() {
        for (starter, same_boot) in [(Starter::Person, true), (Starter::Supervisor, false)] {
            let mut starts = Starts::default();
            for _ in 0..ATTEMPTS {
                dies(&mut starts);
            }
            let permit = starts.wanted(starter, same_boot, ATTEMPTS);
            assert_eq!(permit, Permit::Start { pause: Duration::ZERO, before: 0 }, "{starter:?} {same_boot}");
        }
    }

    #[test]
    fn who_gives_up_for_something_that_may_pass_waits_and_is_never_parked_for_that() {
        let mut starts = Starts::default();
        for before in 0..3 * ATTEMPTS {
            let permit = starts.wanted(Starter::Supervisor, true, ATTEMPTS);
            assert_eq!(permit, Permit::Start { pause: pause_before(before), before });
            starts.begun();
            starts.gave_up();
        }
    }

    #[test]
    fn an_end_in_order_is_no_death() {
        let mut starts = Starts::default();
        for _ in 0..3 * ATTEMPTS {
            assert_eq!(dies(&mut starts), Permit::Start { pause: Duration::ZERO, before: 0 });
            starts.ended();
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [0, 1, 2, 3, 9, 10, 11, u32::MAX].map(|failed| pause_before(failed).as_millis());
        assert_eq!(pauses, [0, 100, 200, 400, 25_600, 30_000, 30_000, 30_000]);
    }
}
