//! Everything that a gateway wants done, as values, in order. An effect that somebody can see leaves only after the
//! records that it rests on are on disk; the driver need not know which those are.

use crate::drain::Report;
use crate::gateway::Phase;
use crate::id::{DeliveryId, MessageId, RequestId, SessionId, TurnId};
use crate::outbox::{Content, Repeat};
use crate::question::{Decision, QuestionKey};
use crate::record::Record;
use crate::request::Outcome;
use crate::time::Instant;
use crate::turn::Resume;
use crate::verdict::Verdict;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an accepted message is told about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// It is being worked on.
    Running,
    /// It waits for its turn.
    Queued,
    /// It waits, and is answered in one turn with all others that do.
    Collected,
    /// The running turn is interrupted for it, and the next one begins with it.
    Interrupting,
}

/// Why a message was not accepted. Nothing of it is kept; its sender still has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The gateway is not ready yet.
    Starting,
    /// The gateway has written its end.
    Ending,
    /// Too many messages wait.
    QueueFull,
    /// Too many messages wait in this session.
    SessionQueueFull,
    /// Too many sessions have unfinished business.
    TooManySessions,
    /// The journal can not be written.
    StorageFull,
}

/// What a requester is told at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is on disk and will have an outcome.
    Accepted,
    /// An earlier attempt of the turn that asks has had this restart already.
    AlreadyDone(RequestId),
    /// It was taken back.
    Cancelled,
    /// It can no longer be taken back: work was interrupted for it, or a signal has told the process to leave.
    TooLate,
    /// There is no such open request.
    Unknown,
    /// Too many requests are open.
    TooMany,
    /// The gateway has written its end.
    Ending,
    /// The journal can not be written.
    StorageFull,
    /// The loop breaker is not tripped: there is nothing to reset.
    NotTripped,
    /// What would be started next could not take over, as this check has found: the gateway goes on.
    Unfit(RequestId),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Write this record after all earlier ones; say `Synced` or `SyncFailed`. Records may share a commit.
    Append {
        /// What to write.
        record: Record,
    },
    /// Forget what was appended and is not on disk: what is still wanted of it comes again.
    Discard,
    /// The message is safe: tell its platform.
    Ack {
        /// Which.
        message: MessageId,
    },
    /// The message was not accepted: tell its platform so.
    Refuse {
        /// Which.
        message: MessageId,
        /// Why.
        refusal: Refusal,
    },
    /// Start the agent.
    Start {
        /// The turn, on disk.
        turn: TurnId,
        /// Its session.
        session: SessionId,
        /// What it answers.
        messages: Vec<MessageId>,
        /// 1 for the first start.
        attempt: u32,
        /// Why it is started again.
        resume: Option<Resume>,
        /// The conversation that it belongs to.
        conversation: u32,
    },
    /// Ask the turn to end.
    Interrupt {
        /// Which.
        turn: TurnId,
    },
    /// End the turn by force.
    Kill {
        /// Which.
        turn: TurnId,
    },
    /// Tell the run what was decided about its question, which is on disk.
    Decided {
        /// The turn.
        turn: TurnId,
        /// The question.
        key: QuestionKey,
        /// What.
        decision: Decision,
    },
    /// Tell the run that its question is not put to anybody: the turn is ending, or has asked too much.
    Unasked {
        /// The turn.
        turn: TurnId,
        /// The question.
        key: QuestionKey,
    },
    /// Make sure that nothing of this turn from an earlier generation is alive, then say `TurnGone`.
    Reclaim {
        /// Which.
        turn: TurnId,
    },
    /// Bring this to its chat. A platform that knows a repeat by its id does so and says how it went; one that does not
    /// says `DeliveryIntended` and waits for `Transmit`.
    Send {
        /// Which.
        delivery: DeliveryId,
        /// Where to.
        session: SessionId,
        /// What.
        content: Content,
        /// Whether an earlier attempt may have arrived.
        #[serde(default)]
        repeat: Repeat,
    },
    /// That this is about to be sent is on disk: send it, and say how it went.
    Transmit {
        /// Which.
        delivery: DeliveryId,
        /// Where to.
        session: SessionId,
        /// What.
        content: Content,
        /// Whether an earlier attempt may have arrived: then it is marked as perhaps not the first.
        repeat: Repeat,
    },
    /// Tell the requester.
    Answer {
        /// Which request.
        request: RequestId,
        /// What.
        answer: Answer,
    },
    /// A request has its outcome, on disk.
    Settled {
        /// Which.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Ask the supervisor whether it is stopping us; say `SupervisorStops` or `SupervisorStays`. The end waits for that
    /// a little ([`Limits::SUPERVISOR_ANSWER`](crate::limits::Limits::SUPERVISOR_ANSWER)), since the exit status depends on it.
    AskSupervisor {
        /// The SIGTERM's request.
        request: RequestId,
    },
    /// Look whether what would be started next is able to take over; say `CandidateFit` or `CandidateUnfit`. The restarts
    /// that wait for that are refused when no answer comes
    /// ([`Limits::CANDIDATE_ANSWER`](crate::limits::Limits::CANDIDATE_ANSWER)).
    CheckCandidate {
        /// The first of those restarts, after which the check is named.
        request: RequestId,
    },
    /// Let the platforms receive and send; say `PlatformsOpen`.
    OpenPlatforms,
    /// Receive nothing more.
    ClosePlatforms,
    /// The gateway can serve: tell the supervisor.
    Ready,
    /// The process is about to leave for good: tell the supervisor.
    Stopping,
    /// The end gets on and takes longer: tell the supervisor not to kill before so much time from now is over.
    Extend(Duration),
    /// The phase has changed.
    Phase(Phase),
    /// From now on a guard outside the driver ends the process so at this time, as [`Contract::signalled_at_last`] has it if a
    /// signal has come meanwhile; `None` disarms it.
    ///
    /// [`Contract::signalled_at_last`]: crate::supervisor::Contract::signalled_at_last
    Guard(Option<(Instant, Verdict)>),
    /// The input made no sense here and changed nothing.
    Ignored,
    /// End the process so. Always last.
    End {
        /// How.
        verdict: Verdict,
        /// What became of everything.
        report: Report,
    },
}
