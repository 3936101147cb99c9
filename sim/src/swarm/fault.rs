//! What may disturb a run. A seed draws which of these exist at all, and then how often each of them happens.

use serde::{Deserialize, Serialize};

macro_rules! faults {
    ($($variant:ident $often:ident $sentence:literal),+ $(,)?) => {
        /// Something that disturbs a run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Fault {
            $(#[doc = $sentence] $variant,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What the number beside it in a configuration means.
            #[must_use]
            pub const fn often(self) -> Often {
                match self { $(Self::$variant => Often::$often),+ }
            }
        }
    };
}

/// What the number of a fault means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Often {
    /// So often in a run.
    Times,
    /// So often in a thousand chances.
    PerMille,
}

faults! {
    Kill Times "The process is killed.",
    KillSoon Times "The process is killed between two effects of one handling.",
    KillBeforeStart Times "The process is killed when a turn is on disk and not started.",
    KillWhileStarting Times "The process is killed while it starts.",
    KillWhileDraining Times "The process is killed while it drains.",
    KillWhileInterrupting Times "The process is killed while it interrupts.",
    KillWhileClosing Times "The process is killed while it closes.",
    KillWhileCommitting Times "The process is killed while a commit is under way.",
    FreezeLoop Times "The loop that owns the core stands still for a while; the guard does not.",
    FreezeProcess Times "The whole process stands still for a while.",
    Sleep Times "The machine sleeps: the clock jumps.",
    DiskFull Times "No write succeeds for a while.",
    SlowDisk Times "Writes take very long for a while.",
    Outage Times "Nothing can be sent for a while.",
    Restart Times "An operator asks for a restart.",
    Stop Times "An operator asks for a stop.",
    Upgrade Times "An operator asks for a restart and soon after for a forced one.",
    TakenBack Times "An operator asks for a restart and soon after takes it back.",
    Overruled Times "An operator asks for a restart and soon after for a stop.",
    ChatRestart Times "A chat asks for a restart.",
    ChatStop Times "A chat stops its turn.",
    ChatOther Times "A chat says another command.",
    Redelivery Times "A platform delivers again what was acked.",
    Terminate Times "A stray SIGTERM.",
    TerminateTwice Times "Two SIGTERMs, one after the other.",
    Interrupt Times "SIGINT.",
    LateSignal Times "SIGTERM when the end is already being written.",
    StopJob Times "The supervisor stops the service.",
    RestartJob Times "The supervisor restarts the service.",
    SyncFails PerMille "A write fails, and perhaps some more after it.",
    SlowCommit PerMille "A write takes long.",
    SendFails PerMille "A send fails.",
    SendUnheard PerMille "A send arrives and the answer to it is lost.",
    SendSilent PerMille "A send is lost, and that is noticed late.",
    SendRejected PerMille "A platform will never take a text.",
    AgentFails PerMille "An agent fails.",
    AgentHangs PerMille "An agent never ends by itself and shows nothing.",
    AgentStubborn PerMille "An agent ignores interruptions.",
    AgentPoison PerMille "An agent crashes the gateway, once, a few times or always.",
    AgentAsks PerMille "An agent asks for a restart, perhaps with a child that waits for its outcome.",
    OpensLate PerMille "The platforms of a generation open late.",
    SupervisorSilent PerMille "The supervisor answers late or never when it is asked about a SIGTERM.",
    TimerLate PerMille "A timer fires late.",
    StartLimit Times "systemd gives up after five starts in ten seconds.",
    CandidateUnfit PerMille "What would be started next could not take over.",
    CandidateSilent PerMille "The check of what would be started next never ends.",
    Climb Times "An operator restarts it with the ladder, whatever state it is in.",
    ClimbFrozen Times "The loop or the process stands still, and one or two operators restart it with the ladder.",
    AgentQuestions PerMille "An agent asks its chat and waits; somebody there answers, late, or nobody does.",
    FreezeOnDisk Times "The loop waits for a disk, which answers late.",
    KeeperDies Times "The `evergate supervise` that started it is killed, and it lives on alone.",
}
