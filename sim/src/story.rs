//! What happened in a simulated life, as a person reads it: who did what and when, what was on disk, and which rule broke.

use serde::{Deserialize, Serialize};

/// One life, told in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// What was tried: the command and its configuration.
    pub title: String,
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
    /// On the disk.
    Disk,
    /// What the supervisor does.
    Supervisor,
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

/// The rule that broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Its name, for instance `ACK`.
    pub invariant: String,
    /// What was found.
    pub what: String,
}
