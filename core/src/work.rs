//! The one ledger of everything that an end of the gateway has to account for, and of who waits for whom. A kind of work
//! that is not listed here does not exist.

use crate::gateway::Gateway;
use crate::id::{DeliveryId, SessionId, TurnId};
use crate::limits::Limits;
use crate::request::Origin;
use crate::time::Instant;
use crate::turn::Turn;
use std::collections::BTreeSet;

/// One piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// An agent is running.
    Turn(TurnId),
    /// A text is on its way to a chat.
    Delivery(DeliveryId),
}

/// What a cut costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recoverability {
    /// The next generation runs it again.
    Resumed,
    /// It stays owed and the next generation sends it.
    StaysOwed,
}

/// One line of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// What.
    pub work: Work,
    /// For which chat.
    pub session: SessionId,
    /// What a cut costs.
    pub recoverability: Recoverability,
    /// How long a drain waits for it.
    pub awaited: Awaited,
}

/// How long a drain waits for a piece of work, and why no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Awaited {
    /// To the end of the budget.
    Budget {
        /// That end.
        until: Instant,
    },
    /// It asked for this end: waiting for it any longer would be waiting for itself.
    Requester {
        /// The end of its grace.
        until: Instant,
    },
    /// It shows no progress, or waits for a person.
    Stalled {
        /// When it was given up.
        since: Instant,
    },
    /// Not by the drain: it is flushed while closing, or nothing is ending.
    No,
}

impl Awaited {
    /// The instant from which the drain no longer waits for it.
    #[must_use]
    pub const fn until(self) -> Option<Instant> {
        match self {
            Self::Budget { until } | Self::Requester { until } => Some(until),
            Self::Stalled { since } => Some(since),
            Self::No => None,
        }
    }
}

impl Gateway {
    /// Everything that is under way.
    #[must_use]
    pub fn ledger(&self) -> Vec<Item> {
        let unheard = self.unheard();
        let turns = self.live_turns().map(|(id, turn)| Item {
            work: Work::Turn(id),
            session: turn.session,
            recoverability: Recoverability::Resumed,
            awaited: self.awaited(id, &unheard),
        });
        let deliveries =
            self.outbox.iter().filter(|(_, delivery)| delivery.is_under_way()).map(|(id, delivery)| Item {
                work: Work::Delivery(*id),
                session: delivery.session,
                recoverability: Recoverability::StaysOwed,
                awaited: Awaited::No,
            });
        turns.chain(deliveries).collect()
    }

    /// How long the drain waits for a turn: never longer than for others, shorter for a requester and for one that stalls.
    fn awaited(&self, id: TurnId, unheard: &BTreeSet<SessionId>) -> Awaited {
        let (Some(drain), Some(turn)) = (&self.drain, self.turns.get(&id)) else { return Awaited::No };
        let budget = drain.deadlines.drain;
        // One that waits for a person is not waited for: it would be no drain that ends, and nothing is lost by its cut.
        let stalls = if turn.waits_for_a_decision() { drain.since } else { turn.progress_at + self.limits.stall_after };
        let stalled = stalls.max(drain.since);
        let grace = drain.since + self.limits.requester_grace;
        if self.asked_for_the_end(id, turn.session, unheard) && grace < budget {
            Awaited::Requester { until: grace.min(stalled) }
        } else if stalled < budget {
            Awaited::Stalled { since: stalled }
        } else {
            Awaited::Budget { until: budget }
        }
    }

    /// Whether this end was asked for by the turn, a child of it, or somebody in its chat; or whether they asked for one and cannot
    /// have heard yet that it comes to nothing, since then they may be waiting for that.
    fn asked_for_the_end(&self, id: TurnId, session: SessionId, unheard: &BTreeSet<SessionId>) -> bool {
        let asked = self.standing().any(|(_, request)| match request.origin {
            Origin::Turn { turn, .. } => turn == id,
            Origin::Session(from) => from == session,
            _ => false,
        });
        asked || unheard.contains(&session)
    }

    /// The chats that are owed what became of a wish, while the disk takes nothing and they can hear nothing.
    fn unheard(&self) -> BTreeSet<SessionId> {
        let waiting = self.drain.iter().filter(|_| self.write_ahead.is_failing());
        waiting.flat_map(|_| self.write_ahead.outcomes_owed()).collect()
    }

    /// Until when the drain would wait if the supervisor gave it the time: for turns that have lately shown progress, and no
    /// longer than for others. `None` where its limit is not what ends the drain, or there is no such turn.
    pub(crate) fn worth_waiting_until(&self) -> Option<Instant> {
        let drain = self.drain.as_ref()?;
        let budget = drain.extendable_to?;
        let unheard = self.unheard();
        let until = |(id, turn): (TurnId, &Turn)| {
            let progress = turn.progress_at + Limits::EXTENSION.min(self.limits.stall_after);
            let grace = drain.since + self.limits.requester_grace;
            let asked = self.asked_for_the_end(id, turn.session, &unheard);
            progress.min(if asked { grace.min(budget) } else { budget })
        };
        self.live_turns().filter(|(_, turn)| !turn.waits_for_a_decision()).map(until).max()
    }

    /// Until when the drain waits; `None` when there is nothing to wait for.
    pub(crate) fn awaited_until(&self) -> Option<Instant> {
        let unheard = self.unheard();
        self.live.iter().filter_map(|id| self.awaited(*id, &unheard).until()).max()
    }
}
