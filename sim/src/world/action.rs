//! One thing that can happen in a world, as a value that can be written down and replayed.

use super::Standstill;
use evergate_core::id::{DeliveryId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Standing, TurnEnd};
use evergate_core::request::{Mode, Origin, Signal, Wish};
use serde::{Deserialize, Serialize};

/// One thing that can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The gateway is started by whoever is to do that.
    Boot,
    /// A person starts it.
    PersonBoots,
    /// The platforms are open.
    Open,
    /// What is being written is on disk.
    Commit,
    /// What is being written is not on disk, and never will be.
    LoseWrite,
    /// A person says something.
    Say {
        /// Where.
        session: SessionId,
        /// What.
        asked: Asked,
        /// Who.
        standing: Standing,
    },
    /// The platform delivers what was not acked.
    Deliver {
        /// Which of all that was said.
        said: usize,
    },
    /// The platform delivers what was acked, once more.
    Redeliver {
        /// Which of all that was said.
        said: usize,
    },
    /// An agent ends.
    AgentEnds {
        /// Its turn.
        turn: TurnId,
        /// How.
        end: TurnEnd,
    },
    /// An agent asks for an end.
    AgentAsks {
        /// Its turn.
        turn: TurnId,
        /// For which.
        wish: Wish,
        /// In which mode.
        mode: Mode,
        /// Whether it waits for the outcome.
        waits: bool,
    },
    /// An agent asks its chat.
    AgentQuestions {
        /// Its turn.
        turn: TurnId,
    },
    /// An agent shows that it gets on.
    AgentGetsOn {
        /// Its turn.
        turn: TurnId,
    },
    /// Nothing of an earlier generation's turn is alive any more.
    Reclaimed {
        /// Which.
        turn: TurnId,
    },
    /// A chat has what was sent to it.
    Sent {
        /// Which delivery.
        delivery: DeliveryId,
    },
    /// A send fails.
    LoseSend {
        /// Which delivery.
        delivery: DeliveryId,
        /// Whether the chat has it all the same.
        arrives: bool,
    },
    /// A text was sent off, and nobody can know what became of it.
    SendUnknown {
        /// Which delivery.
        delivery: DeliveryId,
        /// Whether the chat has it.
        arrives: bool,
    },
    /// A chat has what was sent to it, and the process dies before it hears so.
    DiesUnheard {
        /// Which delivery.
        delivery: DeliveryId,
    },
    /// An operator wishes something, or a program in its name.
    Ask {
        /// What.
        wish: Wish,
        /// How patiently.
        mode: Mode,
        /// Through what.
        origin: Origin,
    },
    /// An operator takes a request back.
    Cancel {
        /// Which.
        request: RequestId,
    },
    /// The process gets a signal.
    Signal {
        /// Which.
        signal: Signal,
    },
    /// The supervisor is told to stop the gateway, and sends SIGTERM.
    SupervisorStops,
    /// The supervisor says whether it is stopping us.
    SupervisorAnswers,
    /// The look at what would be started next is over.
    CandidateFound {
        /// Whether it is able to take over.
        fit: bool,
    },
    /// Time passes until the gateway wants to be called.
    Elapse,
    /// The process dies.
    Kill,
    /// The loop stands still.
    Freeze {
        /// Why.
        at: Standstill,
    },
    /// The disk answers for which the loop has waited.
    DiskAnswers,
    /// The guard ends a process whose loop is stuck.
    GuardStrikes,
    /// The watchdog looks at a loop that stands still, and ends the process once it has looked for long enough.
    WatchdogLooks,
    /// Somebody outside ends a process whose loop is stuck: a supervisor that hears nothing of it.
    Rescue,
    /// An operator begins to climb, and asks.
    Climb {
        /// How patiently.
        mode: Mode,
    },
    /// The same, because the loop is stuck and nobody else does anything about it.
    ClimbAtLast,
    /// An operator begins to climb to a stop, and asks for it.
    ClimbToStop {
        /// How patiently.
        mode: Mode,
    },
    /// An operator looks, and sees something new.
    OperatorLooks {
        /// Which.
        operator: usize,
    },
    /// An operator sees the same until its patience is over.
    OperatorWaits {
        /// Which.
        operator: usize,
    },
    /// An operator does what it has decided upon.
    OperatorActs {
        /// Which.
        operator: usize,
    },
    /// The `evergate supervise` that started it is killed, and it lives on alone.
    KeeperDies,
    /// A process that has nothing to do with all this gets the number of the one that an operator is after.
    StrangerComes {
        /// Which operator.
        operator: usize,
    },
}

impl Action {
    /// Whether it is the death of the process.
    #[must_use]
    pub const fn is_a_death(&self) -> bool {
        matches!(self, Self::Kill | Self::Rescue | Self::DiesUnheard { .. })
    }

    /// The fewest visible effects after which a death in it is one of its own. To die before the first effect is to die
    /// before the input, but for a commit, which has happened.
    #[must_use]
    pub const fn first_death(&self) -> u8 {
        if matches!(self, Self::Commit) { 0 } else { 1 }
    }
}

/// An action, and whether the process dies on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens.
    pub action: Action,
    /// The process dies when so many effects that somebody can see have been done; nothing after that happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dies_after: Option<u8>,
    /// When the process dies: whether the commit that was under way is on disk all the same.
    #[serde(default, skip_serializing_if = "Fate::is_lost")]
    pub commit: Fate,
}

/// What becomes of a commit whose process dies. It is never half there: a torn one does not stand its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is not on disk, or torn.
    #[default]
    Lost,
    /// It is on disk, and nobody was told.
    Kept,
}

impl Fate {
    fn is_lost(&self) -> bool {
        *self == Self::Lost
    }
}

/// What kind of step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Things go forward by themselves.
    Progress,
    /// Somebody wishes or says something, or something breaks: it need not happen.
    Disturbance,
}

impl Step {
    /// A step that nobody dies in.
    #[must_use]
    pub const fn plain(action: Action) -> Self {
        Self { action, dies_after: None, commit: Fate::Lost }
    }

    /// What kind of step it is.
    #[must_use]
    pub const fn nature(&self) -> Nature {
        if self.dies_after.is_some() {
            return Nature::Disturbance;
        }
        match self.action {
            Action::Boot
            | Action::Open
            | Action::Commit
            | Action::Deliver { .. }
            | Action::AgentEnds { .. }
            | Action::Reclaimed { .. }
            | Action::Sent { .. }
            | Action::SupervisorAnswers
            | Action::CandidateFound { fit: true }
            | Action::Elapse
            | Action::GuardStrikes
            | Action::DiskAnswers
            | Action::WatchdogLooks
            | Action::Rescue
            | Action::ClimbAtLast
            | Action::OperatorLooks { .. }
            | Action::OperatorWaits { .. }
            | Action::OperatorActs { .. } => Nature::Progress,
            _ => Nature::Disturbance,
        }
    }
}
