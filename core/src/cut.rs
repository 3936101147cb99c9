//! A planned end cuts a turn: what its chat hears of that. "Restarting" when nothing of the turn runs any more, and "back"
//! when the next generation has started it again; each once for each cut, and in no other chat. Whoever asked for the end
//! in this chat hears of that request instead, and of a death nobody hears: what nobody was told needs no end.
//!
//! ```text
//!   cut, and nothing keeps it quiet             resumed
//!  (Nothing) ──────────────▶ (GoingDown) ──────────────▶ (Nothing)
//!           "restarting" owed           "back" owed in the same batch
//!            ◀──────────────             ◀──────────────
//!        it could not be said            cut again before the start left
//!           before the end
//! ```
//!
//! A word that certainly has not arrived is withdrawn when it is no longer true, and is then as if it had never been owed.

use crate::drain::TurnFate;
use crate::gateway::Gateway;
use crate::id::{DeliveryId, SessionId, TurnId};
use crate::limits::Limits;
use crate::outbox::{Content, DeliveryState, Fate, Notice};
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

    /// What the chat of a turn has been told if this was never said: which turn, and what.
    #[must_use]
    pub(crate) const fn without(content: &Content) -> Option<(TurnId, Self)> {
        match content {
            Content::Notice(Notice::TurnCut { turn, .. }) => Some((*turn, Self::Nothing)),
            Content::Notice(Notice::TurnBack { turn }) => Some((*turn, Self::GoingDown)),
            _ => None,
        }
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
        let word = self.owe(session, Content::Notice(Notice::TurnCut { turn: id, wish }));
        if let Some(drain) = &mut self.drain {
            drain.unsaid.insert(word);
        }
    }

    /// The end is being written: of the cuts of which nobody could be told nobody is told, since the next generation would say
    /// it when it is over. Of what is being tried that is not known yet.
    pub(crate) fn take_back_words_of_cuts(&mut self) {
        let unsaid = self.drain.as_mut().map(|drain| std::mem::take(&mut drain.unsaid)).unwrap_or_default();
        for id in unsaid {
            let Some(word) = self.outbox.get(&id) else { continue };
            let nobody_has_it = match word.state {
                DeliveryState::Owed | DeliveryState::Retrying { .. } => true,
                DeliveryState::Sending => self.write_ahead.withdraw_send(id),
                DeliveryState::Trying => {
                    if let Some(drain) = &mut self.drain {
                        drain.unsaid.insert(id);
                    }
                    false
                }
            };
            if nobody_has_it {
                self.unsay(id);
            }
        }
    }

    /// A word has certainly not arrived. If it is about a cut by an end that is being written, it is owed no longer: true then.
    pub(crate) fn unsay_with_the_end(&mut self, id: DeliveryId) -> bool {
        let ending = self.drain.as_mut().filter(|drain| drain.end_recorded);
        let taken_back = ending.is_some_and(|drain| drain.unsaid.remove(&id));
        if taken_back {
            self.unsay(id);
        }
        taken_back
    }

    /// Takes the start of a turn back that waits for the disk; true if it did, so that its agent will not have run. If it was to
    /// be said in the same batch that the turn goes on, then nobody has heard that.
    pub(crate) fn take_back_start(&mut self, turn: TurnId) -> bool {
        if !self.write_ahead.withdraw_start(turn) {
            return false;
        }
        let back = Content::Notice(Notice::TurnBack { turn });
        let owed = self.outbox.iter().rev().find(|(_, word)| word.content == back).map(|(id, _)| *id);
        if let Some(id) = owed.filter(|id| self.write_ahead.owes(*id)) {
            self.unsay(id);
        }
        true
    }

    /// Owes a word no longer that has not arrived.
    fn unsay(&mut self, id: DeliveryId) {
        let without = self.outbox.get(&id).and_then(|word| Told::without(&word.content));
        self.delivery_settled(id, Fate::Withdrawn);
        if let Some((turn, told)) = without
            && let Some(open) = self.turns.get_mut(&turn)
        {
            open.told = told;
            self.append(Record::TurnUnsaid { turn, told });
        }
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
