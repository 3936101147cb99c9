//! The loop breaker: what a generation owes to those before it that died. It counts generations, in the journal, and not
//! time: a gateway that dies every two minutes is in a loop as much as one that dies every second.
//!
//! A generation is *proven* once it has brought a turn to its end. When too many in a row died unproven the next one
//! is *tripped*: it accepts and answers messages, but resumes nothing and tells nobody of a restart, until a
//! turn's end proves it after all. A message in a session whose turn is held sets that turn going: a person wants it. And a
//! person may vouch for the whole generation: then the deaths before it count no more, as if it had proven itself.

use crate::effect::{Answer, Effect};
use crate::gateway::{Gateway, Phase};
use crate::id::{RequestId, SessionId, TurnId};
use crate::record::Record;
use crate::request::{Origin, Request};
use crate::session::Session;
use crate::time::Instant;
use crate::turn::TurnState;

/// Whether what was inherited goes on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breaker {
    /// It does.
    Closed,
    /// It does not: too many generations died in a row.
    Tripped,
}

impl Breaker {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Tripped => "tripped",
        }
    }
}

impl Gateway {
    /// The loop breaker of this generation.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        if self.is_tripped() { Breaker::Tripped } else { Breaker::Closed }
    }

    /// How many generations in a row died before this one, and none of them had brought a turn to its end.
    #[must_use]
    pub const fn deaths_in_a_row(&self) -> u32 {
        self.unproven
    }

    /// Whether too many generations before this one died before they had brought anything to its end, neither has this, and
    /// nobody has vouched for it.
    #[must_use]
    pub fn is_tripped(&self) -> bool {
        self.unproven >= self.limits.unproven && !self.proven
    }

    /// The turns that wait because the breaker is tripped.
    #[must_use]
    pub fn held(&self) -> usize {
        if self.is_tripped() { self.resumable.len() + self.suspects.len() } else { 0 }
    }

    /// The restarts asked for in earlier generations whose outcome waits for the same.
    pub(crate) fn held_requests(&self) -> usize {
        let inherited = |request: &&Request| request.generation != self.generation;
        if self.is_tripped() { self.requests.values().filter(inherited).count() } else { 0 }
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

    /// Somebody vouches for this generation. That counts once it is on disk: a death right after it must not find the breaker
    /// tripped again.
    pub(crate) fn reset_breaker(&mut self, request: RequestId, origin: Origin) {
        let answer = match origin {
            _ if self.end_recorded() => Answer::Ending,
            _ if !self.is_tripped() => Answer::NotTripped,
            _ if self.write_ahead.is_failing() => Answer::StorageFull,
            _ => {
                let generation = self.generation;
                self.append(Record::BreakerReset { generation, request, origin });
                return self.write_ahead.then(&mut self.effects, Effect::Answer { request, answer: Answer::Accepted });
            }
        };
        self.effects.push_back(Effect::Answer { request, answer });
    }

    /// That somebody vouches for this generation is on disk: what was held goes on.
    pub(crate) fn breaker_was_reset(&mut self) {
        let tripped = self.is_tripped();
        self.proven = true;
        if tripped && self.phase == Phase::Serving {
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
