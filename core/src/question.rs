//! What an agent asks in its chat in the middle of a turn, such as for the permission to use a tool. The core knows a
//! question by numbers; its words stay with the driver. The one answer that it gets is on disk before the agent hears it,
//! and stays there until the turn has ended: a later attempt that asks the same again is told the same, and nobody in the
//! chat is asked twice.
//!
//! ```text
//!             QuestionAsked, and its           /allow, /deny, or nobody in time:
//!             text is owed to the chat         QuestionDecided
//!   (asked) ───────────────────────▶ open ─────────────────────────────▶ decided ─ on disk ─▶ the run that waits is told
//!                                   ▲    │                              ▲     │
//!                                   └────┘ a later attempt asks it:     └─────┘ a later attempt asks it:
//!                                          its time runs anew                   it is told the same
//!   the turn ends: QuestionClosed in the same commit
//! ```
//!
//! No end of the gateway waits for a person: a turn that waits for an answer is cut as if it made no progress, and its
//! question stays open. Time counts only while a run waits, in each generation anew, since no clock outlives a process.

use crate::effect::Effect;
use crate::gateway::Gateway;
use crate::id::{QuestionId, SessionId, TurnId};
use crate::input::{Asked, Standing};
use crate::limits::Limits;
use crate::outbox::{Content, Notice};
use crate::record::Record;
use crate::time::Instant;
use crate::turn::{Turn, TurnState};
use serde::{Deserialize, Serialize};

/// What a question is about, as a number that the driver makes of its content: the same question of a later attempt of the
/// turn has the same one, and no other question of the turn has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuestionKey(pub u64);

/// A question of an open turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Question {
    /// What it is about.
    pub key: QuestionKey,
    /// How it was decided; `None` while it is open.
    pub ruling: Option<Ruling>,
    /// A run of this generation waits to be told, and so long an open question has; `None` when no run waits.
    pub waits: Option<Instant>,
}

/// What somebody in a chat answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Do it.
    Allow,
    /// Do not.
    Deny,
}

/// The one outcome of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Somebody allowed it.
    Allowed,
    /// Somebody denied it.
    Denied,
    /// Nobody answered in time: it is denied.
    Expired,
}

impl Ruling {
    /// What the agent is told.
    #[must_use]
    pub const fn decision(self) -> Decision {
        match self {
            Self::Allowed => Decision::Allow,
            Self::Denied | Self::Expired => Decision::Deny,
        }
    }
}

impl From<Decision> for Ruling {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Allowed,
            Decision::Deny => Self::Denied,
        }
    }
}

/// Who in a chat may answer an agent's questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deciders {
    /// Whoever may talk to the agent.
    #[default]
    Everybody,
    /// Operators.
    Operators,
}

impl Turn {
    /// Whether its agent waits for a person.
    #[must_use]
    pub fn waits_for_a_decision(&self) -> bool {
        self.state == TurnState::Running && self.questions.values().any(|question| question.waits.is_some())
    }

    /// Asks it to end: from here on it waits for nobody's word.
    pub(crate) fn interrupt(&mut self, kill_at: Instant) {
        self.state = TurnState::Interrupting { kill_at };
        for question in self.questions.values_mut() {
            question.waits = None;
        }
    }

    /// The open questions for which it waits, and until when.
    fn expiring(&self) -> impl Iterator<Item = (Instant, QuestionId)> + '_ {
        let open = self.questions.iter().filter(|(_, question)| question.ruling.is_none());
        open.filter_map(|(id, question)| Some((question.waits?, *id)))
    }
}

impl Gateway {
    /// A run asks. What was decided before is handed out again; what is open already is not asked again.
    pub(crate) fn question_asked(&mut self, now: Instant, id: TurnId, key: QuestionKey) {
        let until = now + self.limits.question_expiry;
        let Some(turn) = self.turns.get_mut(&id).filter(|turn| turn.state == TurnState::Running) else {
            return self.effects.push_back(Effect::Unasked { turn: id, key });
        };
        if let Some((question, known)) = turn.questions.iter_mut().find(|(_, question)| question.key == key) {
            known.waits = known.waits.or(Some(until));
            let question = *question;
            // What is on its way to the disk is told when it is there.
            if known.ruling.is_some() && !self.write_ahead.has_decision(question) {
                self.tell_decision(now, id, question);
            }
            return;
        }
        if turn.questions.len() >= Limits::QUESTIONS {
            return self.effects.push_back(Effect::Unasked { turn: id, key });
        }
        self.next_question = self.next_question.next();
        let (question, session) = (self.next_question, turn.session);
        turn.questions.insert(question, Question { key, ruling: None, waits: Some(until) });
        self.append(Record::QuestionAsked { question, turn: id, key });
        self.owe(session, Content::Notice(Notice::Asks { question, turn: id }));
    }

    /// An answer without a number is to the one open question that its chat has been shown, found out when the answer
    /// comes: it never decides what was asked later.
    pub(crate) fn resolve_decision(&self, session: SessionId, asked: Asked) -> Asked {
        let Asked::Decide { question: None, decision } = asked else { return asked };
        let mut open = self.open_questions(session).filter(|question| self.is_shown(session, *question));
        let only = open.next().filter(|_| open.next().is_none());
        Asked::Decide { question: only, decision }
    }

    /// `/allow` or `/deny`.
    pub(crate) fn decide(
        &mut self,
        session: SessionId,
        question: Option<QuestionId>,
        decision: Decision,
        standing: Standing,
    ) -> Notice {
        if standing == Standing::Guest && self.limits.deciders == Deciders::Operators {
            return Notice::NotAllowed;
        }
        let asking = self.sessions.get(&session).and_then(|session| session.turn);
        let open = self.open_questions(session).find(|open| Some(*open) == question);
        match (asking, open, question) {
            (Some(turn), Some(question), _) => self.rule(turn, question, decision.into()),
            (_, None, None) if self.open_questions(session).next().is_some() => Notice::WhichQuestion,
            _ => Notice::NoQuestion,
        }
    }

    /// Gives a question its one outcome, durably. Whoever waits for it is told when that is on disk.
    fn rule(&mut self, turn: TurnId, question: QuestionId, ruling: Ruling) -> Notice {
        if let Some(open) = self.turns.get_mut(&turn).and_then(|turn| turn.questions.get_mut(&question)) {
            open.ruling = Some(ruling);
        }
        self.append(Record::QuestionDecided { question, turn, ruling });
        Notice::Ruled { question, turn, ruling }
    }

    /// The outcome of a question is on disk: the run that waits for it goes on.
    pub(crate) fn tell_decision(&mut self, now: Instant, id: TurnId, question: QuestionId) {
        let Some(turn) = self.turns.get_mut(&id) else { return };
        let Some(Question { key, ruling: Some(ruling), waits }) = turn.questions.get_mut(&question) else { return };
        if waits.take().is_some() {
            let decided = Effect::Decided { turn: id, key: *key, decision: ruling.decision() };
            // It got on as soon as it could.
            turn.progress_at = now;
            self.effects.push_back(decided);
        }
    }

    /// Denies what nobody has answered in time, and says so.
    pub(crate) fn expire_questions(&mut self, now: Instant) {
        let due: Vec<(TurnId, QuestionId, SessionId)> = self
            .live_turns()
            .flat_map(|(id, turn)| turn.expiring().map(move |(until, question)| (until, id, question, turn.session)))
            .filter(|(until, ..)| *until <= now)
            .map(|(_, turn, question, session)| (turn, question, session))
            .collect();
        for (turn, question, session) in due {
            let notice = self.rule(turn, question, Ruling::Expired);
            self.owe(session, Content::Notice(notice));
        }
    }

    /// When the next open question has waited long enough.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.live_turns().flat_map(|(_, turn)| turn.expiring()).map(|(until, _)| until).min()
    }

    fn open_questions(&self, session: SessionId) -> impl Iterator<Item = QuestionId> + '_ {
        let turn = self.sessions.get(&session).and_then(|session| self.turns.get(&session.turn?));
        let questions = turn.into_iter().flat_map(|turn| &turn.questions);
        questions.filter(|(_, question)| question.ruling.is_none()).map(|(id, _)| *id)
    }

    /// Whether the text of a question is owed to its chat no longer.
    fn is_shown(&self, session: SessionId, question: QuestionId) -> bool {
        let owed = self.owed_in.get(&session).into_iter().flatten();
        let mut owed = owed.filter_map(|delivery| self.outbox.get(delivery));
        !owed.any(
            |delivery| matches!(delivery.content, Content::Notice(Notice::Asks { question: of, .. }) if of == question),
        )
    }
}
