//! Restarts that wait for word whether what would be started next is able to take over. Until that word comes nothing is
//! on disk of them but the message of a chat that asked, nobody was promised anything, and nothing has been given up. It
//! owns who waits and how long; what the check looks at is the driver's business.

use crate::effect::{Answer, Effect};
use crate::gateway::Gateway;
use crate::id::{MessageId, RequestId};
use crate::input::{Asked, Standing};
use crate::limits::Limits;
use crate::outbox::{Content, Notice};
use crate::record::Record;
use crate::request::{Mode, Origin, Wish};
use crate::session::Command;
use crate::time::Instant;
use std::collections::BTreeMap;

/// The one check that is under way, and who waits for it. Whoever asks meanwhile shares what it says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Checking {
    /// The request that it was begun for.
    check: RequestId,
    /// When it counts as failed.
    until: Instant,
    waiting: BTreeMap<RequestId, Waiting>,
}

/// A restart that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Waiting {
    /// Somebody outside the chats waits for the answer.
    Request { mode: Mode, origin: Origin },
    /// A chat's command, which is on disk and not carried out.
    Command(MessageId),
}

impl Gateway {
    /// Whether a restart has to wait for a check before it counts. Signals cannot be refused; what the watchdog wants to be
    /// rid of cannot be kept; and where an end leads to another generation already, one more wish gives up nothing.
    fn has_to_be_checked(&self, wish: Wish, origin: Origin) -> bool {
        wish == Wish::Restart
            && !matches!(origin, Origin::Signal(_) | Origin::Watchdog)
            && self.drain.as_ref().is_none_or(|drain| drain.wish == Wish::Stop)
    }

    /// A request from outside the chats that nothing speaks against: true if it waits for a check now.
    pub(crate) fn request_waits(
        &mut self,
        now: Instant,
        id: RequestId,
        wish: Wish,
        mode: Mode,
        origin: Origin,
    ) -> bool {
        let waits = self.has_to_be_checked(wish, origin);
        if waits {
            self.wait_for_check(now, id, Waiting::Request { mode, origin });
        }
        waits
    }

    /// A chat command that is on disk: true if it waits for a check now.
    pub(crate) fn command_waits(&mut self, now: Instant, message: MessageId, command: Command) -> bool {
        let waits = matches!((command.asked, command.standing), (Asked::Restart(_), Standing::Operator))
            && self.has_to_be_checked(Wish::Restart, Origin::Session(command.session));
        if waits {
            self.wait_for_check(now, command.request, Waiting::Command(message));
        }
        waits
    }

    fn wait_for_check(&mut self, now: Instant, id: RequestId, waiting: Waiting) {
        match &mut self.checking {
            Some(checking) => drop(checking.waiting.insert(id, waiting)),
            None => {
                let until = now + Limits::CANDIDATE_ANSWER;
                self.checking = Some(Checking { check: id, until, waiting: BTreeMap::from([(id, waiting)]) });
                self.effects.push_back(Effect::CheckCandidate { request: id });
            }
        }
    }

    /// What would be started next is able to take over: whoever waited for that is accepted.
    pub(crate) fn candidate_fit(&mut self, now: Instant, check: RequestId) {
        match self.checking.take_if(|checking| checking.check == check) {
            Some(Checking { waiting, .. }) => self.accept_waiting(now, waiting),
            None => self.effects.push_back(Effect::Ignored),
        }
    }

    /// What would be started next could not take over: whoever waited is told so, and nothing else changes.
    pub(crate) fn candidate_unfit(&mut self, check: RequestId) {
        let Some(Checking { waiting, .. }) = self.checking.take_if(|checking| checking.check == check) else {
            return self.effects.push_back(Effect::Ignored);
        };
        for (id, waiting) in waiting {
            match waiting {
                Waiting::Request { .. } => {
                    self.effects.push_back(Effect::Answer { request: id, answer: Answer::Unfit(check) });
                }
                Waiting::Command(message) => {
                    let Some(command) = self.commands.remove(&message) else { continue };
                    self.append(Record::CommandDone { message });
                    self.owe(command.session, Content::Notice(Notice::RestartRefused { request: id, check }));
                }
            }
        }
    }

    /// A check that nobody answers has failed.
    pub(crate) fn give_up_check(&mut self, now: Instant) {
        if let Some(overdue) = self.checking.as_ref().filter(|checking| checking.until <= now) {
            self.candidate_unfit(overdue.check);
        }
    }

    /// Another generation follows anyway: those that wait have their say in how this one ends.
    pub(crate) fn stop_waiting_for_check(&mut self, now: Instant) {
        if let Some(Checking { waiting, .. }) = self.checking.take() {
            self.accept_waiting(now, waiting);
        }
    }

    /// The end is about to be written: who waits outside is told so, and the commands are left to the next generation.
    pub(crate) fn drop_check(&mut self) {
        for (request, waiting) in self.checking.take().map(|checking| checking.waiting).unwrap_or_default() {
            if let Waiting::Request { .. } = waiting {
                self.effects.push_back(Effect::Answer { request, answer: Answer::Ending });
            }
        }
    }

    fn accept_waiting(&mut self, now: Instant, waiting: BTreeMap<RequestId, Waiting>) {
        for (id, waiting) in waiting {
            match waiting {
                Waiting::Request { mode, origin } => {
                    if !self.answered_at_once(id, Wish::Restart, origin) {
                        self.accept_request(now, id, Wish::Restart, mode, origin);
                    }
                }
                Waiting::Command(message) => {
                    if let Some(command) = self.commands.remove(&message) {
                        self.carry_out_checked(now, message, command);
                    }
                }
            }
        }
    }

    /// When the check that is under way counts as failed.
    pub(crate) fn check_until(&self) -> Option<Instant> {
        self.checking.as_ref().map(|checking| checking.until)
    }

    /// How many restarts wait for a check.
    #[must_use]
    pub fn waiting_for_check(&self) -> usize {
        self.checking.as_ref().map_or(0, |checking| checking.waiting.len())
    }
}
