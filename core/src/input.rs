//! Everything that can happen to a gateway, as values. A driver turns the world into these and nothing else.

use crate::busy::Busy;
use crate::id::{DeliveryId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use crate::limits::Limits;
use crate::question::{Decision, QuestionKey};
use crate::request::{Mode, Origin, Signal, Wish};
use serde::{Deserialize, Serialize};

/// What a message asks for; the driver has parsed its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// Something for the agent.
    Prompt,
    /// `/restart [force]`.
    Restart(Mode),
    /// `/stop`: interrupt this session's turn.
    StopTurn,
    /// `/status`.
    Status,
    /// `/new`: begin a new conversation.
    Renew,
    /// `/busy [queue|interrupt|collect]`: what messages do that arrive during a turn; without a word, only tell.
    Busy(Option<Busy>),
    /// `/allow [N]` or `/deny [N]`: the answer to an agent's question.
    Decide {
        /// Which; without a number it is the only one that is open.
        question: Option<QuestionId>,
        /// What.
        decision: Decision,
    },
    /// `/help`.
    Help,
    /// A command that there is, with words behind it that it does not take.
    Misused(Named),
    /// A text that begins like a command and is none.
    UnknownCommand,
}

/// A chat command, by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    /// `/restart`.
    Restart,
    /// `/stop`.
    Stop,
    /// `/status`.
    Status,
    /// `/new`.
    New,
    /// `/busy`.
    Busy,
    /// `/allow`.
    Allow,
    /// `/deny`.
    Deny,
    /// `/help`.
    Help,
}

impl Named {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Restart, Self::Stop, Self::Status, Self::New, Self::Busy, Self::Allow, Self::Deny, Self::Help];

    /// The word behind the slash.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Status => "status",
            Self::New => "new",
            Self::Busy => "busy",
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Help => "help",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_named_as_they_are_written() {
        let words = Named::ALL.map(Named::word);
        assert_eq!(words, ["restart", "stop", "status", "new", "busy", "allow", "deny", "help"]);
    }
}

/// What the author of a message may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// May use the life-cycle commands.
    Operator,
    /// May talk to the agent.
    Guest,
}

/// How a turn ended, as its agent's driver saw it. No process of the turn is alive any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnEnd {
    /// The whole reply is there.
    Answered,
    /// The agent failed.
    Failed,
    /// The agent was cut short by our own interruption or kill.
    Interrupted {
        /// Whether some of the reply is there.
        partial: Partial,
    },
}

/// Whether an interrupted turn left some text behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partial {
    /// Some.
    Text,
    /// None.
    Nothing,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// A message that was never seen before.
    Message {
        /// Its id, above all earlier ones.
        message: MessageId,
        /// Where it was said.
        session: SessionId,
        /// What it asks for.
        asked: Asked,
        /// Who may say so.
        standing: Standing,
        /// An id for the request that this message may turn out to be.
        request: RequestId,
    },
    /// A message that the journal knows, delivered again by its platform.
    Known {
        /// Its id from the first time.
        message: MessageId,
    },
    /// The agent has begun this turn.
    TurnBegan {
        /// Which.
        turn: TurnId,
    },
    /// The agent showed progress.
    TurnProgressed {
        /// Which.
        turn: TurnId,
    },
    /// The agent asks its chat, and waits for `Decided` or `Unasked`.
    Question {
        /// In this turn.
        turn: TurnId,
        /// What it is about.
        key: QuestionKey,
    },
    /// The turn is over.
    TurnEnded {
        /// Which.
        turn: TurnId,
        /// How.
        end: TurnEnd,
    },
    /// Nothing of this turn, which an earlier generation began, is alive.
    TurnGone {
        /// Which.
        turn: TurnId,
    },
    /// A delivery reached its chat.
    DeliverySent {
        /// Which.
        delivery: DeliveryId,
    },
    /// A platform that cannot tell a repeat from a second text is about to send this: that has to be on disk first.
    DeliveryIntended {
        /// Which.
        delivery: DeliveryId,
    },
    /// A delivery did not reach its chat and may be tried again. Of one that was transmitted: it certainly did not.
    DeliveryFailed {
        /// Which.
        delivery: DeliveryId,
    },
    /// A delivery was sent off, and nobody will ever know whether it reached its chat.
    DeliveryUnknown {
        /// Which.
        delivery: DeliveryId,
    },
    /// A delivery can never reach its chat.
    DeliveryRejected {
        /// Which.
        delivery: DeliveryId,
    },
    /// Somebody outside the chats wishes something about the life cycle.
    Request {
        /// A new id.
        request: RequestId,
        /// What.
        wish: Wish,
        /// How patiently.
        mode: Mode,
        /// Who.
        origin: Origin,
    },
    /// Somebody takes a request back.
    Cancel {
        /// Which.
        request: RequestId,
    },
    /// Somebody vouches for a generation whose loop breaker is tripped: what it holds is to go on.
    ResetBreaker {
        /// A new id.
        request: RequestId,
        /// Who.
        origin: Origin,
    },
    /// The process got a signal.
    Signal {
        /// An id for the request that it is.
        request: RequestId,
        /// Which.
        signal: Signal,
    },
    /// The supervisor was asked about a SIGTERM and says that it is stopping us.
    SupervisorStops {
        /// The request that the signal was.
        request: RequestId,
    },
    /// The supervisor was asked about a SIGTERM and says that it is not stopping us, or can not be asked.
    SupervisorStays {
        /// The request that the signal was.
        request: RequestId,
    },
    /// What would be started next was looked at and is able to take over.
    CandidateFit {
        /// The check, by the request that it was begun for.
        request: RequestId,
    },
    /// What would be started next was looked at and could not take over.
    CandidateUnfit {
        /// The check, by the request that it was begun for.
        request: RequestId,
    },
    /// The configuration was read again: from now on these bounds hold. What is under way keeps its deadlines.
    Limits(Box<Limits>),
    /// The next of the appended records are on disk. What a [`Discard`](crate::effect::Effect::Discard) has taken away is none of
    /// them.
    Synced {
        /// How many: at least one, and no more than were appended.
        records: u32,
    },
    /// What was appended and is not on disk could not be written, and nothing of it is.
    SyncFailed,
    /// The platforms can receive and send.
    PlatformsOpen,
    /// Time has passed: at least until `poll_timeout`.
    Elapsed,
}
