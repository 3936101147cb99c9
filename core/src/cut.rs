//! A planned end cuts a turn: what its chat hears of that. "Restarting" when nothing of the turn runs any more, and "back"
//! when the next generation has started it again; each once for each cut, and in no other chat. Whoever asked for the end
//! in this chat hears of that request instead, and of a death nobody hears: what nobody was told needs no end.
//!
//! ```text
//!   cut, and nothing keeps it quiet             resumed
//!  (Nothing) ──────────────▶ (GoingDown) ──────────────▶ (Nothing)
//!           "restarting" owed           "back" owed in the same batch
//! ```

use crate::drain::TurnFate;
use crate::gateway::Gateway;
use crate::id::{SessionId, TurnId};
use crate::limits::Limits;
use crate::outbox::{Content, Notice};
use crate::record::Record;
use crate::turn::TurnState;
use serde::{Deserialize, Serialize};

/// What the chat of an open turn was told of an end that cut it, since its last start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// That it goes on afterwards.
    GoingDown,
}

impl Told {
    /// Whether it was told nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}

impl Gateway {
    /// A turn is over for this generation; the next one resumes it.
    pub(crate) fn cut(&mut self, id: TurnId) {
        if let Some(turn) = self.turns.get_mut(&id) {
            turn.state = TurnState::Cut;
        }
        self.live.remove(&id);
        self.note_fate(id, TurnFate::Interrupted);
    }

    /// Tells the chat of a turn that was just cut. It stays quiet where generations die in a row, where the same turn is cut
    /// again and again, and where the end is being written: the word would come when it is no longer true.
    pub(crate) fn tell_cut(&mut self, id: TurnId) {
        let Some(wish) = self.drain.as_ref().filter(|drain| !drain.end_recorded).map(|drain| drain.wish) else {
            return;
        };
        let Some(turn) = self.turns.get(&id) else { return };
        let session = turn.session;
        if turn.attempt > Limits::CUTS_TOLD || self.is_tripped() || self.hears_of_a_request(session) {
            return;
        }
        if let Some(turn) = self.turns.get_mut(&id) {
            turn.told = Told::GoingDown;
        }
        self.append(Record::TurnCutTold { turn: id });
        self.owe(session, Content::Notice(Notice::TurnCut { turn: id, wish }));
    }

    /// Whether this chat is told how a request ends that was made in it.
    fn hears_of_a_request(&self, session: SessionId) -> bool {
        let mut open = self.requests.values().chain(self.requests_made.values());
        open.any(|request| request.origin.session() == Some(session))
    }
}

#[cfg(test)]
mod tests {
    use super::Told;

    #[test]
    fn a_chat_that_was_told_something_was_not_told_nothing() {
        assert_eq!([Told::Nothing, Told::GoingDown].map(|told| told.is_nothing()), [true, false]);
    }
}
