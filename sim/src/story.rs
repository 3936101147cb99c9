//! What happened in a simulated life, as a person reads it: who did what and when, what was on disk, and which rule broke.

use evergate_core::invariant::Violation;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One life, told in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// What was tried, in a few words.
    pub title: String,
    /// All that was chosen before it began, as one line. May be empty.
    #[serde(default)]
    pub setting: String,
    /// What happened, oldest first.
    pub moments: Vec<Moment>,
    /// The rule that broke at the end, if one did.
    pub broken: Option<Broken>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Simulated milliseconds since the beginning.
    pub at_ms: u64,
    /// The generation that was alive, or the last one that was.
    pub generation: u64,
    /// Where it happened.
    pub lane: Lane,
    /// What kind of thing it is.
    pub kind: Kind,
    /// A few words: `turn 3 starts`.
    pub what: String,
    /// What a reader may want to know besides: the whole input or effect. May be empty, may have several lines.
    pub detail: String,
}

/// Where something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// What people, operators and clients do.
    People,
    /// In the session with this number.
    Session(u64),
    /// In the gateway itself.
    Gateway,
    /// Where agents run on a machine of their own.
    Agents,
    /// On the disk.
    Disk,
    /// What the supervisor does.
    Supervisor,
}

impl fmt::Display for Lane {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::People => to.pad("people"),
            Self::Session(number) => to.pad(&format!("session {number}")),
            Self::Gateway => to.pad("gateway"),
            Self::Agents => to.pad("agents"),
            Self::Disk => to.pad("disk"),
            Self::Supervisor => to.pad("supervisor"),
        }
    }
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something came in.
    Input,
    /// The gateway did something.
    Effect,
    /// Something broke from outside: a kill, a lost write, a partition.
    Fault,
    /// A generation or a turn begins in this lane.
    Begin,
    /// A generation or a turn ends in this lane.
    End,
}

impl Kind {
    /// Every kind, in the order of a legend.
    pub const ALL: [Self; 5] = [Self::Input, Self::Effect, Self::Fault, Self::Begin, Self::End];

    /// Its name, in one lower-case word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Effect => "effect",
            Self::Fault => "fault",
            Self::Begin => "begin",
            Self::End => "end",
        }
    }
}

/// A simulated time in milliseconds as a clock shows it, `0:30.012` or `1:02:03.004`: to the millisecond, since that is
/// where lives differ.
#[must_use]
pub fn clock(at_ms: u64) -> String {
    let (hours, minutes, seconds, rest_ms) = (at_ms / 3_600_000, at_ms / 60_000 % 60, at_ms / 1000 % 60, at_ms % 1000);
    match hours {
        0 => format!("{minutes}:{seconds:02}.{rest_ms:03}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}.{rest_ms:03}"),
    }
}

/// A length of time in milliseconds in its two largest units, `12 ms`, `1.5 s`, `2 min 5 s`: for a glance, so smaller
/// ones are cut off.
#[must_use]
pub fn span(length_ms: u64) -> String {
    let (large, large_unit, small, small_unit) = match length_ms {
        0..1000 => return format!("{length_ms} ms"),
        1000..60_000 => {
            let seconds = format!("{}.{:03}", length_ms / 1000, length_ms % 1000);
            return format!("{} s", seconds.trim_end_matches('0').trim_end_matches('.'));
        }
        60_000..3_600_000 => (length_ms / 60_000, "min", length_ms / 1000 % 60, "s"),
        3_600_000..86_400_000 => (length_ms / 3_600_000, "h", length_ms / 60_000 % 60, "min"),
        _ => (length_ms / 86_400_000, "d", length_ms / 3_600_000 % 24, "h"),
    };
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

/// The name under which a panic stands among the rules: whatever goes into the gateway, it never does that.
pub const PANIC: &str = "PANIC";

/// The rule that broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broken {
    /// Its name, for instance `ACK`.
    pub invariant: String,
    /// What was found.
    pub what: String,
}

impl Broken {
    /// A panic, and what it said.
    #[must_use]
    pub fn panic(what: String) -> Self {
        Self { invariant: PANIC.to_owned(), what }
    }
}

impl From<&Violation> for Broken {
    fn from(violation: &Violation) -> Self {
        Self { invariant: violation.invariant.name().to_owned(), what: violation.what.clone() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.invariant, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_keep_every_millisecond_and_spans_keep_what_a_glance_takes_in() {
        assert_eq!([0, 30_012, 3_723_004].map(clock), ["0:00.000", "0:30.012", "1:02:03.004"]);
        let spans = [0, 999, 1000, 1500, 30_012, 125_999, 3_600_000, 90_000_000].map(span);
        assert_eq!(spans, ["0 ms", "999 ms", "1 s", "1.5 s", "30.012 s", "2 min 5 s", "1 h", "1 d 1 h"]);
    }
}
