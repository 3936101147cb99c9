//! The count of all starts on a state directory, which says of two of them what came between. It is kept in the file of
//! [`crate::trial`]; what is made of it is `evergate_core::recovery`'s to decide.

use serde::{Deserialize, Serialize};

/// Which of all starts on a state directory one is. Of two counts nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartNumber {
    /// When the count began, in milliseconds since 1970.
    pub since_ms: u64,
    /// Counted from 1.
    pub number: u64,
}

/// A start among all others on its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Which it is.
    pub start: StartNumber,
    /// The number of the last that lived and left in order; 0 if none has.
    pub left: u64,
}

impl Counted {
    /// How many starts were made after that one and before this; `None` where that is not known.
    #[must_use]
    pub fn between(self, earlier: StartNumber) -> Option<u32> {
        let between = self.start.number.checked_sub(earlier.number)?.checked_sub(1)?;
        self.is_of_one_count_with(earlier).then(|| u32::try_from(between).unwrap_or(u32::MAX))
    }

    /// Whether that one, or one after it, is known to have left in order.
    #[must_use]
    pub const fn has_left(self, earlier: StartNumber) -> bool {
        self.is_of_one_count_with(earlier) && self.left >= earlier.number
    }

    const fn is_of_one_count_with(self, earlier: StartNumber) -> bool {
        self.start.since_ms == earlier.since_ms
    }
}

/// The count, as it is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartCount {
    since_ms: u64,
    /// How many there were since; one in place is none.
    made: u64,
    left: u64,
}

impl StartCount {
    /// One is made at this time, in milliseconds since 1970, by another process or in place of itself.
    pub fn begun(&mut self, at_ms: u64, in_place: bool) {
        if self.made == 0 {
            (self.since_ms, self.made) = (at_ms, 1);
        } else if !in_place {
            self.made = self.made.saturating_add(1);
        }
    }

    /// The last one leaves in order, and nothing takes its place by itself.
    pub const fn left(&mut self) {
        self.left = self.made;
    }

    /// The last one; `None` if there was none.
    #[must_use]
    pub fn last(self) -> Option<Counted> {
        let start = StartNumber { since_ms: self.since_ms, number: self.made };
        (self.made > 0).then_some(Counted { start, left: self.left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_counts_and_one_that_takes_its_own_place_does_not() {
        let mut count = StartCount::default();
        assert_eq!(count.last(), None);
        count.begun(7, false);
        let first = count.last().unwrap();
        assert_eq!((first.start, first.left), (StartNumber { since_ms: 7, number: 1 }, 0));
        count.begun(8, true);
        assert_eq!(count.last(), Some(first));
        count.begun(9, false);
        count.begun(10, false);
        let third = count.last().unwrap();
        assert_eq!((third.between(first.start), third.has_left(first.start)), (Some(1), false));
        assert_eq!(first.between(third.start), None);
        count.left();
        count.begun(11, false);
        let fourth = count.last().unwrap();
        assert_eq!([first.start, third.start, fourth.start].map(|start| fourth.has_left(start)), [true, true, false]);
    }

    #[test]
    fn of_two_counts_nothing_is_said() {
        let number = |since_ms: u64, number: u64| StartNumber { since_ms, number };
        let later = Counted { start: number(8, 5), left: 5 };
        assert_eq!((later.between(number(8, 4)), later.has_left(number(8, 4))), (Some(0), true));
        assert_eq!((later.between(number(7, 4)), later.has_left(number(7, 4))), (None, false));
        assert_eq!(later.between(number(8, 5)), None, "in place");
    }
}
