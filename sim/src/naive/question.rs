//! Questions of agents in the naive machine: at most one in each turn, since the agents of the explorer's world ask no more.

use super::flaw::Flaw;
use super::gateway::Naive;
use super::turn::State;
use evergate_core::effect::Effect;
use evergate_core::id::{QuestionId, SessionId, TurnId};
use evergate_core::outbox::{Content, Notice};
use evergate_core::question::{Decision, QuestionKey, Ruling};
use evergate_core::record::Record;
use evergate_core::time::Instant;

/// What a turn has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub(super) id: QuestionId,
    pub(super) key: QuestionKey,
    pub(super) ruling: Option<Ruling>,
    /// Whether that is on disk.
    pub(super) on_disk: bool,
    /// Until when a run of this generation waits, if one does.
    pub(super) waits: Option<Instant>,
}

impl Naive {
    /// A run asks, perhaps what an earlier one has asked.
    pub(super) fn question_asked(&mut self, now: Instant, id: TurnId, key: QuestionKey) {
        let (until, again) = (now + self.limits.question_expiry, self.has(Flaw::AskedAgain));
        let Some(turn) = self.turns.get_mut(&id).filter(|turn| turn.state == State::Running) else {
            return self.effects.push_back(Effect::Unasked { turn: id, key });
        };
        match &mut turn.question {
            Some(asked) if !again => {
                asked.waits = Some(until);
                if asked.on_disk {
                    self.tell_decision(id);
                }
                return;
            }
            _ => {}
        }
        self.last_question = self.last_question.next();
        let (question, session) = (self.last_question, turn.session);
        turn.question = Some(Question { id: question, key, ruling: None, on_disk: false, waits: Some(until) });
        self.append(Record::QuestionAsked { question, turn: id, key });
        self.owe(session, Content::Notice(Notice::Asks { question, turn: id }));
    }

    /// Somebody in a chat answers.
    pub(super) fn decide(&mut self, session: SessionId, which: Option<QuestionId>, decision: Decision) -> Notice {
        let open = self.turns.iter().find_map(|(id, turn)| {
            let question = turn.question.filter(|asked| asked.ruling.is_none())?;
            (turn.session == session && which.is_none_or(|which| which == question.id)).then_some(*id)
        });
        open.map_or(Notice::NoQuestion, |turn| self.rule(turn, decision.into()))
    }

    fn rule(&mut self, id: TurnId, ruling: Ruling) -> Notice {
        let told_early = self.has(Flaw::ToldBeforeDecided);
        let Some(asked) = self.turns.get_mut(&id).and_then(|turn| turn.question.as_mut()) else {
            return Notice::NoQuestion;
        };
        asked.ruling = Some(ruling);
        let question = asked.id;
        self.append(Record::QuestionDecided { question, turn: id, ruling });
        if told_early {
            self.tell_decision(id);
        }
        Notice::Ruled { question, turn: id, ruling }
    }

    /// What was decided is on disk.
    pub(super) fn decision_is_on_disk(&mut self, id: TurnId) {
        if let Some(asked) = self.turns.get_mut(&id).and_then(|turn| turn.question.as_mut()) {
            asked.on_disk = true;
        }
        self.tell_decision(id);
    }

    /// The run that waits is told.
    pub(super) fn tell_decision(&mut self, id: TurnId) {
        let Some(turn) = self.turns.get_mut(&id).filter(|turn| turn.state == State::Running) else { return };
        if let Some(Question { key, ruling: Some(ruling), waits, .. }) = &mut turn.question
            && waits.take().is_some()
        {
            self.effects.push_back(Effect::Decided { turn: id, key: *key, decision: ruling.decision() });
        }
    }

    /// Whether a turn waits for a person.
    pub(super) fn waits_for_a_person(&self, id: TurnId) -> bool {
        self.turns.get(&id).is_some_and(|turn| {
            turn.state == State::Running && turn.question.is_some_and(|asked| asked.waits.is_some())
        })
    }

    /// Denies what nobody has answered in time.
    pub(super) fn expire_questions(&mut self, now: Instant) {
        while let Some((_, turn, session)) = self.expiring().filter(|(at, ..)| *at <= now) {
            let notice = self.rule(turn, Ruling::Expired);
            self.owe(session, Content::Notice(notice));
        }
    }

    /// The open question that is denied next.
    pub(super) fn expiring(&self) -> Option<(Instant, TurnId, SessionId)> {
        let running = self.turns.iter().filter(|(_, turn)| turn.state == State::Running);
        running
            .filter_map(|(id, turn)| {
                let asked = turn.question.filter(|asked| asked.ruling.is_none())?;
                Some((asked.waits?, *id, turn.session))
            })
            .min()
    }
}
