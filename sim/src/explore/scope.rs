//! The bounds within which everything is explored, in one table. A scope is a list of rooms: each a supervisor, a budget
//! and what may be wished. Where everything at once would be too much, the rooms of a scope cover each pair of dimensions.

use crate::subject::Subject;
use crate::world::{Budget, Manner, Setting};
use evergate_core::limits::Limits;
use evergate_core::supervisor::{Contract, Supervisor};
use std::time::Duration;

/// One set of bounds.
#[derive(Clone, Debug)]
pub struct Room {
    /// Who supervises.
    pub supervisor: Supervisor,
    /// How often what may happen.
    pub budget: Budget,
    /// What may happen.
    pub manners: &'static [Manner],
}

impl Room {
    /// What a subject is put into.
    #[must_use]
    pub fn setting<S: Subject>(&self, subject: S::Setting) -> Setting<S> {
        Setting {
            subject,
            limits: limits(),
            contract: Contract::of(self.supervisor),
            manners: self.manners.to_vec(),
            budget: self.budget,
        }
    }
}

/// Small enough that each of them is reached within a room.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        drain: Duration::from_secs(10),
        requester_grace: Duration::from_secs(2),
        interrupt_grace: Duration::from_secs(1),
        close_grace: Duration::from_secs(1),
        stall_after: Duration::from_secs(5),
        attempts: 2,
        unproven: 2,
        sessions: 3,
        queued: 3,
        queued_per_session: 2,
        turns: 2,
        ..Limits::default()
    }
}
