//! Messages and turns of the naive machine: one turn at a time in each session, over one message, in order. Every start
//! of a turn is on disk and counted before it happens.

use super::flaw::Flaw;
use super::gateway::Naive;
use super::question::Question;
use evergate_core::busy::Busy;
use evergate_core::effect::{Effect, Place, Refusal};
use evergate_core::gateway::Phase;
use evergate_core::id::{MessageId, SessionId, TurnId};
use evergate_core::input::{Asked, Standing, TurnEnd};
use evergate_core::outbox::{Content, Notice};
use evergate_core::record::Record;
use evergate_core::request::{Origin, Wish};
use evergate_core::session::Command;
use evergate_core::turn::{Conclusion, Cut, Resume};

/// An open turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    pub(super) session: SessionId,
    messages: Vec<MessageId>,
    /// How often it was started.
    attempt: u32,
    /// How many of those starts no planned end has cut.
    charged: u32,
    /// How its last start was cut, if it was.
    cut: Cut,
    pub(super) question: Option<Question>,
    pub(super) state: State,
}

/// Where an open turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// From an earlier generation: something of it may be alive.
    Reclaiming,
    /// From an earlier generation, and nothing of it is alive.
    Waiting,
    /// Started, or about to be.
    Running,
    /// Asked to end.
    Interrupted,
    /// Told to die.
    Killed,
    /// Over for this generation.
    Cut,
}

impl Turn {
    /// A turn as the journal has it.
    pub(super) fn recovered(turn: &evergate_core::turn::Turn, state: State) -> Self {
        let evergate_core::turn::Turn { session, ref messages, attempt, charged, cut, .. } = *turn;
        let question = turn.questions.iter().next().map(|(id, asked)| Question {
            id: *id,
            key: asked.key,
            ruling: asked.ruling,
            on_disk: asked.ruling.is_some(),
            waits: None,
        });
        Self { session, messages: messages.clone(), attempt, charged, cut, question, state }
    }

    /// Whether a process of this generation may be running for it.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.state, State::Running | State::Interrupted | State::Killed)
    }

    /// The record of its beginning.
    pub(super) fn opened(&self, id: TurnId) -> Record {
        Record::TurnOpened { turn: id, session: self.session, messages: self.messages.clone(), conversation: 0 }
    }
}

/// How messages come in.
impl Naive {
    pub(super) fn message_arrived(&mut self, message: MessageId, command: Command) {
        let Command { session, asked, standing, request } = command;
        if self.phase == Phase::Starting || self.end_recorded() {
            let refusal = if self.end_recorded() { Refusal::Ending } else { Refusal::Starting };
            return self.effects.push_back(Effect::Refuse { message, refusal });
        }
        let busy = self.phase != Phase::Serving || self.turns.values().any(|turn| turn.session == session);
        let place = match (busy && asked == Asked::Prompt, self.limits.busy) {
            (false, _) => Place::Running,
            (true, Busy::Collect) => Place::Collected,
            (true, _) => Place::Queued,
        };
        self.append(Record::MessageAccepted { message, session, asked, standing, request, place });
        if self.has(Flaw::AckBeforeSync) {
            self.effects.push_back(Effect::Ack { message });
        } else {
            self.then(Effect::Ack { message });
        }
        if asked != Asked::Prompt {
            return self.carry_out(message, command);
        }
        if self.set_aside.remove(&session) {
            self.append(Record::SessionReleased { session });
        }
        let only_last = place == Place::Collected && self.has(Flaw::OnlyLastIsKept);
        let queue = self.queues.entry(session).or_default();
        if only_last {
            queue.clear();
        }
        queue.push_back(message);
    }

    /// A message came again.
    pub(super) fn message_known(&mut self, message: MessageId) {
        self.then(Effect::Ack { message });
        let run = self.turns.values().find(|turn| turn.messages.contains(&message)).map(|turn| turn.session);
        if let (Some(session), true) = (run, self.has(Flaw::RedeliveryRunsAgain)) {
            self.queues.entry(session).or_default().push_back(message);
        }
    }

    /// Does what a chat command says, in the batch in which it is accepted.
    pub(super) fn carry_out(&mut self, message: MessageId, command: Command) {
        let Command { session, asked, standing, request } = command;
        if !self.has(Flaw::RestartNeverConfirmed) {
            self.append(Record::CommandDone { message });
        }
        let notice = match asked {
            Asked::Restart(_) if standing == Standing::Guest => Notice::NotAllowed,
            Asked::Restart(mode) => {
                self.make_request(request, Wish::Restart, mode, Origin::Session(session));
                Notice::RestartAccepted { request, mode }
            }
            Asked::StopTurn => Notice::NothingToStop,
            Asked::Status => Notice::Status,
            Asked::Decide { question, decision } => self.decide(session, question, decision),
            Asked::Help => Notice::Help,
            Asked::Misused(command) => Notice::Usage { command },
            Asked::Prompt | Asked::Renew | Asked::Busy(_) | Asked::UnknownCommand => Notice::UnknownCommand,
        };
        self.owe(session, Content::Notice(notice));
    }
}

/// How turns begin and end.
impl Naive {
    pub(super) fn live(&self) -> Vec<TurnId> {
        self.turns.iter().filter(|(_, turn)| turn.is_live()).map(|(id, _)| *id).collect()
    }

    /// Resumes what was cut and opens what waits, unless an end is under way.
    pub(super) fn dispatch(&mut self) {
        let admits = self.phase == Phase::Serving || self.phase > Phase::Serving && self.has(Flaw::AdmissionStaysOpen);
        if !admits {
            return;
        }
        let waiting: Vec<TurnId> =
            self.turns.iter().filter(|(_, turn)| turn.state == State::Waiting).map(|(id, _)| *id).collect();
        for turn in waiting.into_iter().filter(|_| !self.is_tripped()).collect::<Vec<_>>() {
            self.resume(turn);
        }
        // By what waits longest: what sessions are called makes no difference.
        let mut sessions: Vec<(Option<MessageId>, SessionId)> =
            self.queues.iter().map(|(id, queue)| (queue.front().copied(), *id)).collect();
        sessions.sort_unstable();
        for (_, session) in sessions {
            if !self.set_aside.contains(&session) && self.turns.values().all(|turn| turn.session != session) {
                self.open(session);
            }
        }
    }

    fn open(&mut self, session: SessionId) {
        let (together, again) = (self.limits.busy == Busy::Collect, self.has(Flaw::CollectedAgain));
        let Some(queue) = self.queues.get_mut(&session) else { return };
        // Where messages are collected, all that waits was.
        let length = if together { queue.len() } else { 1 };
        let messages: Vec<MessageId> = queue.iter().take(length).copied().collect();
        queue.drain(..if again { 1 } else { messages.len() });
        self.queues.retain(|_, queue| !queue.is_empty());
        self.last_turn = self.last_turn.next();
        let (cut, state) = (Cut::Unplanned, State::Running);
        let turn = Turn { session, messages, attempt: 1, charged: 1, cut, question: None, state };
        if !self.has(Flaw::MarkedAfterTimeout) {
            self.append(turn.opened(self.last_turn));
        }
        self.turns.insert(self.last_turn, turn);
        self.start(self.last_turn, None);
    }

    /// Starts a turn again. The attempt is charged first, so that a turn which kills the gateway at once is counted.
    fn resume(&mut self, id: TurnId) {
        let (endless, uncounted) = (self.has(Flaw::ResumedForEver), self.has(Flaw::CountedAtOrderlyEnd));
        let always_planned = self.has(Flaw::AlwaysPlanned);
        let Some(turn) = self.turns.get_mut(&id) else { return };
        if turn.charged >= self.limits.attempts && !endless {
            return self.quarantine(id);
        }
        turn.state = State::Running;
        if uncounted {
            return self.start(id, None);
        }
        let resume = if turn.cut == Cut::Planned || always_planned { Resume::Planned } else { Resume::Crash };
        turn.attempt += 1;
        turn.charged += 1;
        turn.cut = Cut::Unplanned;
        let (attempt, charged, generation) = (turn.attempt, turn.charged, self.generation);
        let session = turn.session;
        self.append(Record::TurnResumed { turn: id, attempt, charged, generation });
        if self.has(Flaw::BackAtEachStart) {
            self.owe(session, Content::Notice(Notice::TurnBack { turn: id }));
        }
        self.start(id, Some(resume));
    }

    fn start(&mut self, id: TurnId, resume: Option<Resume>) {
        let Some(turn) = self.turns.get(&id) else { return };
        let Turn { session, attempt, ref messages, .. } = *turn;
        self.then(Effect::Start { turn: id, session, messages: messages.clone(), attempt, resume, conversation: 0 });
    }

    fn quarantine(&mut self, id: TurnId) {
        let Some(turn) = self.turns.get(&id) else { return };
        let (session, attempts) = (turn.session, turn.charged);
        self.set_aside.insert(session);
        self.append(Record::SessionQuarantined { session });
        self.conclude(id, Conclusion::Quarantined, Some(Notice::Quarantined { turn: id, attempts }));
    }

    /// Nothing of a turn from an earlier generation is alive any more.
    pub(super) fn turn_gone(&mut self, id: TurnId) {
        match self.turns.get_mut(&id) {
            Some(turn) if turn.state == State::Reclaiming => turn.state = State::Waiting,
            _ => self.effects.push_back(Effect::Ignored),
        }
    }

    /// The agent's run is over.
    pub(super) fn turn_ended(&mut self, id: TurnId, end: TurnEnd) {
        let ended_when_sent = self.has(Flaw::EndedWhenSent);
        let Some(turn) = self.turns.get_mut(&id).filter(|turn| turn.is_live()) else {
            return self.effects.push_back(Effect::Ignored);
        };
        match (end, turn.state) {
            (TurnEnd::Answered, _) if ended_when_sent => {
                turn.state = State::Cut;
                let (session, messages) = (turn.session, turn.messages.clone());
                self.owe(session, Content::Reply { turn: id, messages });
            }
            (TurnEnd::Answered, _) => {
                let (session, messages) = (turn.session, turn.messages.clone());
                self.owe(session, Content::Reply { turn: id, messages });
                self.conclude(id, Conclusion::Answered, None);
            }
            (TurnEnd::Interrupted { .. }, State::Interrupted | State::Killed) => {
                turn.state = State::Cut;
                if self.has(Flaw::DownNeverBack) {
                    self.tell_cut(id);
                }
            }
            _ => self.conclude(id, Conclusion::Failed, Some(Notice::TurnFailed { turn: id })),
        }
    }

    /// Tells a chat that its turn is cut. Nobody asks for that, and without flaws nobody does it.
    pub(super) fn tell_cut(&mut self, id: TurnId) {
        let (Some(turn), Some(drain)) = (self.turns.get(&id), &self.drain) else { return };
        let (session, wish) = (turn.session, drain.wish);
        self.append(Record::TurnCutTold { turn: id });
        self.owe(session, Content::Notice(Notice::TurnCut { turn: id, wish }));
    }

    pub(super) fn conclude(&mut self, id: TurnId, conclusion: Conclusion, notice: Option<Notice>) {
        let Some(Turn { session, messages, attempt, question, .. }) = self.turns.remove(&id) else { return };
        if let Some(Question { id: question, .. }) = question {
            self.append(Record::QuestionClosed { question, turn: id });
        }
        if conclusion != Conclusion::Quarantined {
            self.prove();
        }
        self.append(Record::TurnEnded { turn: id, session, messages, attempt, conclusion });
        if let Some(notice) = notice {
            self.owe(session, Content::Notice(notice));
        }
    }
}
