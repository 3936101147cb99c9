//! The loop breaker: what a generation owes to those before it that died. It counts generations, in the journal, and not
//! time: a gateway that dies every two minutes is in a loop as much as one that dies every second.
//!
//! A generation is *proven* once it has brought a turn to its end. When too many in a row died unproven the next one
//! is *tripped*: it accepts and answers messages, but resumes nothing and settles nothing that it inherited, until a
//! turn's end proves it after all. A message in a session whose turn is held sets that turn going: a person wants it.

use crate::gateway::{Gateway, Phase};
use crate::id::{SessionId, TurnId};
use crate::record::Record;
use crate::session::Session;
use crate::time::Instant;
use crate::turn::TurnState;

impl Gateway {
    /// Whether too many generations before this one died before they had brought anything to its end, and neither has this.
    #[must_use]
    pub const fn is_tripped(&self) -> bool {
        self.unproven >= self.limits.unproven && !self.proven
    }

    /// The turns that wait because the breaker is tripped.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        if self.is_tripped() { self.resumable.len() + self.suspects.len() } else { 0 }
    }

    /// Whether a session's turn is one of them, and what was said there since waits behind it.
    #[must_use]
    pub(crate) fn is_held(&self, session: &Session) -> bool {
        let waits = |turn: TurnId| self.turns.get(&turn).is_some_and(|turn| turn.state == TurnState::Waiting);
        self.is_tripped() && session.turn.is_some_and(waits)
    }

    /// A turn has come to its end, and so this generation is able to live: what was held goes on.
    pub(crate) fn prove(&mut self) {
        if self.proven {
            return;
        }
        let tripped = self.is_tripped();
        self.proven = true;
        let generation = self.generation;
        self.append(Record::GenerationProven { generation });
        if tripped {
            self.settle_inherited_requests();
        }
    }

    /// Somebody speaks in a session whose turn is held: that one turn goes on.
    pub(crate) fn resume_held(&mut self, now: Instant, session: SessionId) {
        if !self.is_tripped() || self.phase != Phase::Serving || self.live.len() >= self.limits.turns {
            return;
        }
        let Some(turn) = self.sessions.get(&session).and_then(|session| session.turn) else { return };
        if self.turns.get(&turn).is_some_and(|turn| turn.state == TurnState::Waiting) {
            self.resumable.retain(|held| *held != turn);
            self.suspects.retain(|(_, held)| *held != turn);
            self.resume_turn(now, turn);
        }
    }
}
