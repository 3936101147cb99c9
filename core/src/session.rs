//! One conversation: its queue of messages and the one turn that may be in flight. Here a message enters the gateway,
//! a chat command is carried out, and the next turn is chosen.

use crate::busy::Busy;
use crate::effect::{Effect, Place, Refusal};
use crate::gateway::{Gateway, Phase};
use crate::id::{MessageId, RequestId, SessionId, TurnId};
use crate::input::{Asked, Standing};
use crate::outbox::{Content, Notice};
use crate::record::Record;
use crate::request::{Mode, Origin, Wish};
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A session with unfinished business. One without is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session {
    /// Messages that no turn has taken yet, in the order of their arrival.
    pub queue: VecDeque<MessageId>,
    /// The turn in flight.
    pub turn: Option<TurnId>,
    /// Whether it is set aside.
    pub standing: Quarantine,
    /// How often a new conversation was begun.
    pub conversation: u32,
    /// What messages do here that arrive during a turn; `None`: as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<Busy>,
    /// Those in the queue that share their turn with others, and how.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<MessageId, Place>,
}

/// Whether a session is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quarantine {
    /// It is served.
    #[default]
    Free,
    /// Its turn kept killing the gateway: it waits for a new message.
    SetAside,
}

impl Session {
    /// Whether nothing needs to be remembered of it.
    #[must_use]
    pub fn is_forgettable(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anything in it is unfinished.
    fn has_business(&self) -> bool {
        !self.queue.is_empty() || self.turn.is_some() || self.standing != Quarantine::Free
    }

    /// Whether it could start a turn now.
    fn is_ready(&self) -> bool {
        self.turn.is_none() && self.standing == Quarantine::Free && !self.queue.is_empty()
    }
}

/// A chat command that is on disk and not yet carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Command {
    /// Where it was said.
    pub session: SessionId,
    /// What it asks for.
    pub asked: Asked,
    /// Who said it.
    pub standing: Standing,
    /// The id for its request, if it is one.
    pub request: RequestId,
}

impl Gateway {
    /// A new message: into the inbox, and into a turn if one can start.
    pub(crate) fn message_arrived(&mut self, now: Instant, message: MessageId, command: Command) {
        let command = Command { asked: self.resolve_decision(command.session, command.asked), ..command };
        let Command { session, asked, standing, request } = command;
        if let Some(refusal) = self.refusal(session, asked) {
            if matches!((refusal, asked), (Refusal::QueueFull | Refusal::SessionQueueFull, Asked::Prompt)) {
                // What fills the queue may be what was set aside or held: then only this message can set it going again.
                self.resume_held(now, session);
                self.release(now, session);
                self.forget_if_idle(session);
            }
            return self.effects.push_back(Effect::Refuse { message, refusal });
        }
        // What is due by now goes first, so that the sender is told the truth about the room that is left.
        self.dispatch(now);
        let place = if asked == Asked::Prompt { self.place(session) } else { Place::Running };
        self.append(Record::MessageAccepted { message, session, asked, standing, request, place });
        if asked == Asked::Prompt {
            // Before anything that may open a turn: that one may have to be over this message too.
            self.sessions.entry(session).or_default().enqueue(message, place);
            self.queued += 1;
            self.resume_held(now, session);
            self.release(now, session);
            if place == Place::Interrupting {
                self.supersede(now, session);
            }
            self.line_up(session);
            self.dispatch(now);
        } else {
            self.commands.insert(message, command);
        }
        self.write_ahead.then(&mut self.effects, Effect::Ack { message });
    }

    /// Why a message can not be accepted now. Nothing is refused that was accepted before.
    fn refusal(&self, session: SessionId, asked: Asked) -> Option<Refusal> {
        if self.phase == Phase::Starting {
            return Some(Refusal::Starting);
        }
        if self.end_recorded() {
            return Some(Refusal::Ending);
        }
        if self.write_ahead.is_failing() {
            return Some(Refusal::StorageFull);
        }
        let known = self.sessions.get(&session);
        let is_full = |session: &Session| self.waiting_in(session) >= self.limits.queued_per_session;
        if asked == Asked::Prompt && known.is_some_and(is_full) {
            return Some(Refusal::SessionQueueFull);
        }
        if self.queued + self.commands.len() >= self.limits.queued {
            return Some(Refusal::QueueFull);
        }
        // Those of which only the conversation's number is remembered have nothing unfinished; counted only when it matters.
        let room = known.is_some_and(Session::has_business)
            || self.sessions.len() < self.limits.sessions
            || self.sessions.values().filter(|session| session.has_business()).count() < self.limits.sessions;
        (!room).then_some(Refusal::TooManySessions)
    }

    /// A message came again: its first answer is repeated, once that is true.
    pub(crate) fn message_known(&mut self, message: MessageId) {
        self.write_ahead.then(&mut self.effects, Effect::Ack { message });
    }

    /// A message could not be written: its sender is told, and nothing of it is left.
    pub(crate) fn withdraw_message(&mut self, message: MessageId) {
        if self.commands.remove(&message).is_none() {
            for session in self.sessions.values_mut() {
                let before = session.queue.len();
                session.dequeue(&[message]);
                self.queued -= before - session.queue.len();
            }
            self.forget_idle_sessions();
        }
        self.effects.push_back(Effect::Refuse { message, refusal: Refusal::StorageFull });
    }

    /// A new message in a session that was set aside brings it back.
    fn release(&mut self, now: Instant, session: SessionId) {
        if let Some(found) = self.sessions.get_mut(&session)
            && found.standing == Quarantine::SetAside
        {
            found.standing = Quarantine::Free;
            self.append(Record::SessionReleased { session });
            self.line_up(session);
            self.dispatch(now);
        }
    }

    /// Puts a session at the end of the line if it can start a turn and does not stand there yet.
    pub(crate) fn line_up(&mut self, session: SessionId) {
        if self.sessions.get(&session).is_some_and(Session::is_ready) && self.lined_up.insert(session) {
            self.line.push_back(session);
        }
    }

    /// Forgets one session if nothing needs to be remembered of it.
    pub(crate) fn forget_if_idle(&mut self, session: SessionId) {
        if self.sessions.get(&session).is_some_and(Session::is_forgettable) {
            self.sessions.remove(&session);
        }
    }

    fn forget_idle_sessions(&mut self) {
        self.sessions.retain(|_, session| !session.is_forgettable());
    }

    /// Starts turns while there is room: first those that were cut, then one for each session in line.
    pub(crate) fn dispatch(&mut self, now: Instant) {
        while self.phase == Phase::Serving && self.live.len() < self.limits.turns {
            if let Some(turn) = self.next_to_resume(now) {
                self.resume_turn(now, turn);
            } else if let Some(session) = self.line.pop_front() {
                self.lined_up.remove(&session);
                self.open_turn(now, session);
            } else {
                break;
            }
        }
        // Only what is still to come is waited for: a suspect that could run already waits for room, not for time.
        self.suspect_timer = self.next_suspect_at().filter(|at| now < *at);
    }

    /// A chat command is on disk: it is carried out, and that too is written down. A restart may have to wait first.
    pub(crate) fn carry_out(&mut self, now: Instant, message: MessageId) {
        let Some(command) = self.commands.get(&message).copied() else { return };
        if !self.command_waits(now, message, command) {
            self.commands.remove(&message);
            self.carry_out_checked(now, message, command);
        }
    }

    /// Carries out a command for which nothing is waited any more.
    pub(crate) fn carry_out_checked(&mut self, now: Instant, message: MessageId, command: Command) {
        let Command { session, asked, standing, request } = command;
        self.append(Record::CommandDone { message });
        let notice = match asked {
            Asked::Restart(_) if standing == Standing::Guest => Notice::NotAllowed,
            Asked::Restart(mode) => self.restart_from_chat(session, request, mode),
            Asked::StopTurn => self.stop_turn(now, session, message),
            Asked::Status => Notice::Status,
            Asked::Renew => {
                let entry = self.sessions.entry(session).or_default();
                entry.conversation = entry.conversation.saturating_add(1);
                let conversation = entry.conversation;
                self.append(Record::SessionRenewed { session, conversation });
                Notice::Renewed { conversation }
            }
            Asked::Busy(wanted) => self.set_busy(session, wanted),
            Asked::Decide { question, decision } => self.decide(session, question, decision, standing),
            Asked::Help => Notice::Help,
            Asked::Misused(command) => Notice::Usage { command },
            Asked::UnknownCommand | Asked::Prompt => Notice::UnknownCommand,
        };
        self.owe(session, Content::Notice(notice));
    }

    fn restart_from_chat(&mut self, session: SessionId, request: RequestId, mode: Mode) -> Notice {
        self.record_request(request, Wish::Restart, mode, Origin::Session(session));
        Notice::RestartAccepted { request, mode }
    }
}
