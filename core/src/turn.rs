//! One run of an agent, over all its attempts. A turn is on disk before it starts and stays open there until it is
//! answered or reported, so that a death of the gateway at any instant leaves it to be resumed.
//!
//! ```text
//!              Start leaves after the fsync               reply owed in the same batch
//!   (opened) ───────────────────────────▶ Running ──────────────────────────────▶ (ended)
//!      ▲                                   │    │ /stop, or a message that interrupts
//!      │ attempt charged            drain  │    └──────▶ Interrupting ─ grace over ─▶ killed ─▶ (ended)
//!      │                                   ▼
//!   Waiting ◀── gone ── Reclaiming ◀─ boot ─ Interrupting ─ ended or killed ─▶ Cut
//! ```

use crate::cut::Told;
use crate::drain::TurnFate;
use crate::effect::{Answer, Effect};
use crate::gateway::Gateway;
use crate::id::{GenerationId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use crate::input::{Partial, TurnEnd};
use crate::limits::Limits;
use crate::outbox::{Content, Notice};
use crate::question::Question;
use crate::record::Record;
use crate::session::Quarantine;
use crate::time::Instant;
use crate::write_ahead::Withdrawn;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// An open turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Turn {
    /// Its session.
    pub session: SessionId,
    /// What it answers.
    pub messages: Vec<MessageId>,
    /// The conversation that it belongs to.
    pub conversation: u32,
    /// How often it was started.
    pub attempt: u32,
    /// How many of those starts count against it: all but those that the gateway cut on purpose.
    pub charged: u32,
    /// The generation that resumed it last; the deaths of later ones were not its doing.
    pub resumed_in: GenerationId,
    /// Whether its last start was cut on purpose.
    pub cut: Cut,
    /// What its chat was told of that.
    #[serde(default, skip_serializing_if = "Told::is_nothing")]
    pub told: Told,
    /// Whether somebody wants it ended for good.
    pub stop: StopAsked,
    /// The restart that it asked for and got.
    pub granted: Option<RequestId>,
    /// What its agent has asked, over all attempts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub questions: BTreeMap<QuestionId, Question>,
    /// Where it stands.
    pub state: TurnState,
    /// When it last showed that it is alive.
    pub progress_at: Instant,
}

/// How the last start of an open turn was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// The gateway died under it, as far as the journal knows.
    Unplanned,
    /// The gateway interrupted it on purpose.
    Planned,
}

/// Whether somebody wants a turn ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopAsked {
    /// `/stop` was said.
    Yes,
    /// A message takes its place.
    Superseded,
    /// No.
    No,
}

/// Where an open turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnState {
    /// From an earlier generation: something of it may still be alive.
    Reclaiming,
    /// From an earlier generation, and nothing of it is alive: it will be resumed.
    Waiting,
    /// Started, or about to be as soon as its record is on disk.
    Running,
    /// Asked to end; killed at this time.
    Interrupting {
        /// When it is killed.
        kill_at: Instant,
    },
    /// Told to die.
    Killed,
    /// Cut by the drain; the next generation resumes it.
    Cut,
}

/// Why a turn is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// A planned end of the gateway cut it.
    Planned,
    /// The gateway died under it.
    Crash,
}

/// How a turn ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// With a reply.
    Answered,
    /// The agent failed; the chat is told.
    Failed,
    /// Somebody in the chat stopped it.
    Stopped,
    /// It kept killing the gateway.
    Quarantined,
    /// A message took its place: with what it had said as its reply, or else its messages went back.
    Superseded,
}

impl Turn {
    /// Whether it was running in more than one death of the gateway, and is to be tried again all the same.
    fn is_suspect(&self, attempts: u32) -> bool {
        self.cut == Cut::Unplanned && self.stop == StopAsked::No && self.charged > 1 && self.charged < attempts
    }

    /// Whether a process of this generation may be running for it.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.state, TurnState::Running | TurnState::Interrupting { .. } | TurnState::Killed)
    }
}

impl Gateway {
    /// The turns of which a process of this generation may be running.
    pub(crate) fn live_turns(&self) -> impl Iterator<Item = (TurnId, &Turn)> + '_ {
        self.live.iter().filter_map(|id| self.turns.get(id).map(|turn| (*id, turn)))
    }

    /// Opens a turn over what is next in a session.
    pub(crate) fn open_turn(&mut self, now: Instant, session: SessionId) {
        let messages = self.take_next(session);
        let Some(found) = self.sessions.get_mut(&session).filter(|_| !messages.is_empty()) else { return };
        self.next_turn = self.next_turn.next();
        let turn = self.next_turn;
        found.turn = Some(turn);
        let conversation = found.conversation;
        self.turns.insert(
            turn,
            Turn {
                session,
                messages: messages.clone(),
                conversation,
                attempt: 1,
                charged: 1,
                resumed_in: self.generation,
                cut: Cut::Unplanned,
                told: Told::Nothing,
                stop: StopAsked::No,
                granted: None,
                questions: BTreeMap::new(),
                state: TurnState::Running,
                progress_at: now,
            },
        );
        self.append(Record::TurnOpened { turn, session, messages, conversation });
        self.start(turn, None);
    }

    /// The next turn of an earlier generation to be started again. Those that two deaths of the gateway have hit are
    /// suspects: they come last and one at a time, the least suspect first, so that a turn which kills the gateway stands
    /// alone before innocent ones have used up their attempts beside it.
    pub(crate) fn next_to_resume(&mut self, now: Instant) -> Option<TurnId> {
        if self.is_tripped() {
            return None;
        }
        if let Some(turn) = self.resumable.pop_front() {
            return Some(turn);
        }
        if self.next_suspect_at().is_none_or(|at| now < at) {
            return None;
        }
        let (_, turn) = self.suspects.pop_first()?;
        self.on_probation = Some((turn, now + Limits::PROBATION));
        Some(turn)
    }

    /// When the next suspect may run: not while the one before does, unless that has shown itself harmless; and the more
    /// suspect it is, the longer this generation has to live without it first. A death in that time clears it.
    pub(crate) fn next_suspect_at(&self) -> Option<Instant> {
        if self.is_tripped() {
            return None;
        }
        let (charged, _) = self.suspects.first()?;
        let probation = self.on_probation.filter(|(turn, _)| self.live.contains(turn)).map(|(_, until)| until);
        let doublings = charged.saturating_sub(3).min(5);
        let held_back = if *charged > 2 { Limits::HELD_BACK * (1 << doublings) } else { Duration::ZERO };
        Some((self.serving_since + held_back).max(probation.unwrap_or_default()))
    }

    /// Starts a turn of an earlier generation again, unless it has used up its attempts. The attempt is charged before
    /// the start, so that a turn which kills the gateway at once is counted all the same.
    pub(crate) fn resume_turn(&mut self, now: Instant, id: TurnId) {
        let Some(turn) = self.turns.get_mut(&id) else { return };
        match turn.stop {
            StopAsked::Yes => return self.conclude(id, Conclusion::Stopped, Some(Notice::TurnStopped { turn: id })),
            StopAsked::Superseded => return self.give_back(id),
            StopAsked::No => {}
        }
        if turn.charged >= self.limits.attempts {
            return self.quarantine(id);
        }
        let resume = match turn.cut {
            Cut::Planned => Resume::Planned,
            Cut::Unplanned => Resume::Crash,
        };
        turn.attempt = turn.attempt.saturating_add(1);
        turn.charged = turn.charged.saturating_add(1);
        turn.cut = Cut::Unplanned;
        turn.state = TurnState::Running;
        turn.progress_at = now;
        turn.resumed_in = self.generation;
        let (attempt, charged, generation) = (turn.attempt, turn.charged, self.generation);
        let (session, told) = (turn.session, std::mem::take(&mut turn.told));
        self.append(Record::TurnResumed { turn: id, attempt, charged, generation });
        self.start(id, Some(resume));
        if told == Told::GoingDown {
            self.owe(session, Content::Notice(Notice::TurnBack { turn: id }));
        }
    }

    fn start(&mut self, id: TurnId, resume: Option<Resume>) {
        let Some(turn) = self.turns.get(&id) else { return };
        self.live.insert(id);
        let start = Effect::Start {
            turn: id,
            session: turn.session,
            messages: turn.messages.clone(),
            attempt: turn.attempt,
            resume,
            conversation: turn.conversation,
        };
        self.write_ahead.then(&mut self.effects, start);
    }

    /// Sets the session aside whose turn keeps killing the gateway, and says so in its chat.
    fn quarantine(&mut self, id: TurnId) {
        let Some(turn) = self.turns.get(&id) else { return };
        let (session, attempts) = (turn.session, turn.charged);
        if let Some(found) = self.sessions.get_mut(&session) {
            found.standing = Quarantine::SetAside;
        }
        self.append(Record::SessionQuarantined { session });
        self.conclude(id, Conclusion::Quarantined, Some(Notice::Quarantined { turn: id, attempts }));
    }

    /// Nothing of a turn from an earlier generation is alive any more.
    pub(crate) fn turn_gone(&mut self, id: TurnId) {
        match self.turns.get_mut(&id) {
            Some(turn) if turn.state == TurnState::Reclaiming => {
                turn.state = TurnState::Waiting;
                if turn.is_suspect(self.limits.attempts) {
                    self.suspects.insert((turn.charged, id));
                } else {
                    self.resumable.push_back(id);
                }
            }
            _ => self.effects.push_back(Effect::Ignored),
        }
    }

    /// The agent showed that it is alive.
    pub(crate) fn turn_progressed(&mut self, now: Instant, id: TurnId) {
        match self.turns.get_mut(&id) {
            Some(turn) if turn.is_live() => turn.progress_at = now,
            _ => self.effects.push_back(Effect::Ignored),
        }
    }

    /// The agent's run is over.
    pub(crate) fn turn_ended(&mut self, id: TurnId, end: TurnEnd) {
        let Some(turn) = self.turns.get(&id).filter(|turn| turn.is_live()) else {
            return self.effects.push_back(Effect::Ignored);
        };
        let session = turn.session;
        match (end, turn.stop, turn.state) {
            (TurnEnd::Answered, ..) => {
                self.owe_reply(id);
                self.conclude(id, Conclusion::Answered, None);
            }
            (TurnEnd::Interrupted { partial }, StopAsked::Yes, _) => {
                if partial == Partial::Text {
                    self.owe_reply(id);
                }
                self.conclude(id, Conclusion::Stopped, Some(Notice::TurnStopped { turn: id }));
            }
            (TurnEnd::Interrupted { partial }, StopAsked::Superseded, _) => self.give_way(id, partial),
            (TurnEnd::Interrupted { .. }, StopAsked::No, TurnState::Interrupting { .. } | TurnState::Killed) => {
                self.cut(id);
                self.tell_cut(id);
            }
            (TurnEnd::Failed | TurnEnd::Interrupted { .. }, ..) => {
                self.conclude(id, Conclusion::Failed, Some(Notice::TurnFailed { turn: id }));
            }
        }
        self.line_up(session);
    }

    pub(crate) fn owe_reply(&mut self, id: TurnId) {
        let Some(turn) = self.turns.get(&id) else { return };
        let (session, messages) = (turn.session, turn.messages.clone());
        self.owe(session, Content::Reply { turn: id, messages });
    }

    /// Closes a turn for good and frees its session.
    pub(crate) fn conclude(&mut self, id: TurnId, conclusion: Conclusion, notice: Option<Notice>) {
        let Some(turn) = self.turns.remove(&id) else { return };
        self.live.remove(&id);
        let Turn { session, messages, attempt, questions, .. } = turn;
        if !matches!(conclusion, Conclusion::Quarantined | Conclusion::Superseded) {
            self.prove();
        }
        for question in questions.into_keys() {
            self.append(Record::QuestionClosed { question, turn: id });
        }
        self.append(Record::TurnEnded { turn: id, session, messages, attempt, conclusion });
        if let Some(notice) = notice {
            self.owe(session, Content::Notice(notice));
        }
        if let Some(found) = self.sessions.get_mut(&session) {
            found.turn = None;
        }
        self.note_fate(id, TurnFate::Ended);
        self.forget_if_idle(session);
        self.line_up(session);
    }

    /// `/stop`, said in `message`: ends the session's turn for good, with what it has said so far. A turn over something
    /// that was said later is none of its business.
    pub(crate) fn stop_turn(&mut self, now: Instant, session: SessionId, message: MessageId) -> Notice {
        let Some(id) = self.sessions.get(&session).and_then(|session| session.turn) else {
            return Notice::NothingToStop;
        };
        let Some(turn) = self.turns.get_mut(&id).filter(|turn| turn.messages.iter().all(|over| *over < message)) else {
            return Notice::NothingToStop;
        };
        if turn.stop == StopAsked::Yes {
            return Notice::Stopping { turn: id };
        }
        turn.stop = StopAsked::Yes;
        let interrupt = turn.state == TurnState::Running;
        if interrupt {
            turn.interrupt(now + self.limits.interrupt_grace);
        }
        self.append(Record::TurnStopAsked { turn: id });
        if interrupt && self.take_back_start(id) {
            self.conclude(id, Conclusion::Stopped, None);
            return Notice::TurnStopped { turn: id };
        }
        if interrupt {
            self.write_ahead.then(&mut self.effects, Effect::Interrupt { turn: id });
        }
        Notice::Stopping { turn: id }
    }

    /// Kills the turns whose grace is over.
    pub(crate) fn kill_overdue_turns(&mut self, now: Instant) {
        for id in &self.live {
            let overdue = |turn: &Turn| matches!(turn.state, TurnState::Interrupting { kill_at } if kill_at <= now);
            if self.turns.get(id).is_some_and(overdue)
                && let Some(turn) = self.turns.get_mut(id)
            {
                turn.state = TurnState::Killed;
                self.effects.push_back(Effect::Kill { turn: *id });
                if let Some(drain) = &mut self.drain {
                    drain.fates.insert(*id, TurnFate::Killed);
                }
            }
        }
    }

    /// Takes back what a failed write had begun.
    pub(crate) fn withdraw(&mut self, withdrawn: Withdrawn) {
        match withdrawn {
            Withdrawn::Message(message) => self.withdraw_message(message),
            Withdrawn::Reset(request) => {
                self.effects.push_back(Effect::Answer { request, answer: Answer::StorageFull });
            }
            Withdrawn::Turn { turn: id, kept } => {
                self.live.remove(&id);
                if let Some(drain) = &mut self.drain {
                    drain.fates.remove(&id);
                }
                if let Some(turn) = self.turns.remove(&id)
                    && let Some(session) = self.sessions.get_mut(&turn.session)
                {
                    session.turn = None;
                    self.return_messages(turn.session, &kept);
                    self.line_up(turn.session);
                    self.forget_if_idle(turn.session);
                }
            }
        }
    }
}
