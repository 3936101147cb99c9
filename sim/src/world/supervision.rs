//! A supervisor that is not as its row of the table says: the terms that the gateway is told, and what is really done after an
//! end. Both are given; it decides nothing of what a gateway does.

use evergate_core::supervisor::{Contract, Death};
use serde::{Deserialize, Serialize};

/// Such a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// What there is to be known of it, for people.
    pub name: String,
    /// The terms that a start finds out.
    pub contract: Contract,
    /// What it does after an end, where that is not what those terms say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// After which ends a supervisor starts the gateway again, whatever that believes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// After exits with these.
    pub statuses: Vec<u8>,
    /// After a death by a signal or a fault.
    pub killed: bool,
    /// Only so many times.
    pub limited: bool,
}

impl Policy {
    /// Whether the gateway is started again after such an end.
    #[must_use]
    pub fn revives(&self, death: Death) -> bool {
        match death {
            Death::Exited(status) => self.statuses.contains(&status),
            Death::Killed => self.killed,
        }
    }
}
