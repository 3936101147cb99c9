//! What an exploration is given up at, so that it ends with a word and not with the machine's memory. What was cut is no
//! proof, and is never called one.

use std::fmt;
use std::time::Instant;

/// More states than this and a room is given up, whatever memory there is.
const MOST_STATES: usize = 60_000_000;

/// What an exploration may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// States of one room.
    pub states: usize,
    /// Bytes of memory that the process may have; `None` where that cannot be measured.
    pub memory: Option<u64>,
    /// When it is to end, whichever room it is in.
    pub until: Option<Instant>,
}

/// Which of them was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// That on states.
    States,
    /// That on memory.
    Memory,
    /// That on time.
    Time,
}

impl Default for Bounds {
    /// As much memory as there is to be had now, less an eighth for everybody else.
    fn default() -> Self {
        Self { states: MOST_STATES, memory: available().map(|bytes| bytes - bytes / 8), until: None }
    }
}

impl Bounds {
    /// The bound that is reached with so many states, if any.
    #[must_use]
    pub fn reached(&self, states: usize) -> Option<Bound> {
        if states > self.states {
            Some(Bound::States)
        } else if self.until.is_some_and(|until| until <= Instant::now()) {
            Some(Bound::Time)
        } else if self.memory.is_some_and(|most| resident().is_some_and(|bytes| bytes > most)) {
            Some(Bound::Memory)
        } else {
            None
        }
    }

    /// Whether time is over.
    #[must_use]
    pub fn time_is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::States => "states",
            Self::Memory => "memory",
            Self::Time => "time",
        })
    }
}

/// The memory that this process has, in bytes; `None` where nobody tells.
#[must_use]
pub fn resident() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

/// The most that it ever had.
#[must_use]
pub fn peak() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM:")
}

fn available() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

/// A line such as `VmRSS:   4096 kB`, in bytes.
fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_that_is_reached_is_named() {
        let none = Bounds { states: 10, memory: None, until: None };
        assert_eq!((none.reached(10), none.reached(11)), (None, Some(Bound::States)));
        let over = Bounds { until: Some(Instant::now()), ..none };
        assert_eq!(over.reached(1), Some(Bound::Time));
        if resident().is_some() {
            assert_eq!(Bounds { memory: Some(1), ..none }.reached(1), Some(Bound::Memory));
            assert_eq!(Bounds { memory: Some(u64::MAX), ..none }.reached(1), None);
        }
    }
}
