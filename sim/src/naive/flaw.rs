//! The known flaws, in one table: what each does wrong, in which public reports it was seen, which rule it breaks, and the
//! room in which that shows quickly. The place where a program went wrong is the one `has` of its switch.

use super::room::{self, Room};
use crate::story::PANIC;
use evergate_core::invariant::Invariant;

/// One flaw, as the table tells it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which.
    pub flaw: Flaw,
    /// Its name on command lines and in reports.
    pub name: &'static str,
    /// What it does wrong, in one sentence.
    pub wrong: &'static str,
    /// The public reports that it is drawn from (`H-`: hermes-agent, `O-`: openclaw, `PR`: a change proposed to one of them).
    pub seen_in: &'static [&'static str],
    /// The rule that it breaks, by its name.
    pub breaks: &'static str,
    /// Where that shows.
    pub room: &'static Room,
}

/// The name of a rule among the invariants, or what stands for a panic.
macro_rules! breaks {
    (Panic) => {
        PANIC
    };
    ($rule:ident) => {
        Invariant::$rule.name()
    };
}

macro_rules! flaws {
    ($($flaw:ident $name:literal in $room:ident breaks $rule:ident, seen in $seen:expr, $wrong:literal);+ $(;)?) => {
        /// A switch. Its doc is what it does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Flaw {
            $(#[doc = $wrong] $flaw,)+
        }

        impl Flaw {
            /// All of them, in the order of their declaration: the five that Evergate exists for come first.
            pub const TABLE: &'static [Row] = &[$(Row {
                flaw: Self::$flaw,
                name: $name,
                wrong: $wrong,
                seen_in: &$seen,
                breaks: breaks!($rule),
                room: &room::$room,
            }),+];
        }
    };
}

flaws! {
    SelfWait "self-wait" in CHATTED breaks NoSelf, seen in ["H-20694", "H-77184", "O-152823"],
        "A drain waits its whole budget for the turn that asked for it.";
    CleanExit "clean-exit" in ASKED breaks Exit, seen in ["H-11258", "H-28135", "H-37388"],
        "A restart ends with exit status 0, which supervisors take for a stop.";
    MarkedAfterTimeout "marked-after-timeout" in TALK breaks Mark, seen in ["H-27856"],
        "A turn in flight is written down only when the drain's time is over.";
    StopCancelsRestart "stop-cancels-restart" in ASKED breaks Admit, seen in ["H-12875"],
        "Closing cancels the very task that would bring the end about.";
    StatusDecidedLast "status-decided-last" in ASKED breaks Exit, seen in ["H-12875", "H-11258"],
        "The exit status is decided at the very end, which the interruption of turns does not let it reach.";
    FrozenLoop "frozen-loop" in FROZEN breaks Finite, seen in ["H-12438", "H-69089"],
        "Only the loop could restart a process whose loop is stuck.";
    AckBeforeSync "ack-before-sync" in TALK breaks Ack, seen in ["O-46303", "H-82381"],
        "A message is acked before it is on disk.";
    AckedWhateverHappens "acked-whatever-happens" in BAD_DISK breaks Ack, seen in ["H-113233"],
        "A message is acked whatever became of writing it.";
    QueueForgotten "queue-forgotten" in QUEUED breaks Ack, seen in ["H-82381", "H-11099"],
        "A start forgets the messages that waited behind a turn.";
    HeldForgotten "held-forgotten" in HELD breaks Reply, seen in ["H-23783", "H-60438"],
        "A start that holds back what was cut, since too many died in a row, forgets what it owes to other chats.";
    SentBeforeOwed "sent-before-owed" in TALK breaks Reply, seen in ["H-68749"],
        "A reply is sent before it is owed on disk.";
    EndedWhenSent "ended-when-sent" in TALK breaks Reply, seen in ["PR 67181"],
        "A turn counts as open until its reply has arrived, so that a start both sends the reply and runs the turn.";
    FailedSendForgotten "failed-send-forgotten" in BAD_NETWORK breaks Reply, seen in ["H-23783", "H-65057"],
        "A delivery that failed once is never tried again.";
    SentBeforeTried "sent-before-tried" in BLIND breaks Reply, seen in ["H-68749", "PR 67181"],
        "A platform that cannot tell a repeat is handed a text before that is on disk.";
    RepeatedSilently "repeated-silently" in BLIND breaks Reply, seen in ["H-68749", "PR 110864"],
        "A text that may have arrived is sent again as if it were the first time.";
    ForceDropsReplies "force-drops-replies" in FORCED breaks Reply, seen in ["O-95866", "O-127375"],
        "A forced end strikes off the replies that are still unsent.";
    RestartNeverConfirmed "restart-never-confirmed" in CHATTED breaks Once, seen in ["H-18528"],
        "A restart from a chat is not confirmed before it acts, and so comes again to the next generation.";
    RedeliveryRunsAgain "redelivery-runs-again" in REDELIVERED breaks Once, seen in ["O-122886", "O-51182"],
        "A message that is delivered again while its turn runs is answered again.";
    OnlyFirstIsAnswered "only-first-is-answered" in ASKED breaks Once, seen in ["O-33459"],
        "A request that joins an earlier one never has an outcome.";
    DeferredForEver "deferred-for-ever" in ASKED breaks Finite, seen in ["O-136387"],
        "A restart that is asked for while a turn runs is put off, and nobody comes back to it.";
    ResumedForEver "resumed-for-ever" in DEADLY breaks Quar, seen in ["H-7536"],
        "A turn that keeps killing the gateway is resumed without end.";
    CountedAtOrderlyEnd "counted-at-orderly-end" in DEADLY breaks Quar, seen in ["H-7536"],
        "The counters that end such loops are written by an orderly end only, and no kill is one.";
    ReadyCountsAsProof "ready-counts-as-proof" in DEADLY breaks Loop, seen in ["H-81642", "H-18513"],
        "The loop breaker forgets all deaths once a generation has come up, and so never sees a slow loop.";
    AdmissionStaysOpen "admission-stays-open" in CROWDED breaks Admit, seen in ["H-1414", "O-46303"],
        "Turns are started while others are being interrupted for the end.";
    AdmissionStaysClosed "admission-stays-closed" in TAKEN_BACK breaks Admit, seen in ["O-141912"],
        "A restart that is taken back leaves admission closed.";
    StaleLock "stale-lock" in TALK breaks Once, seen in ["H-13655", "H-31981", "O-138657"],
        "What a dead owner left behind keeps its successor out.";
    GenerationReused "generation-reused" in IN_PLACE breaks Lock, seen in ["O-16383"],
        "A restart in place goes on under the number of the generation before.";
    OutcomeNoticeLost "outcome-notice-lost" in CHATTED breaks Notice, seen in ["H-89396", "H-96070"],
        "The chat that asked for a restart never hears of its outcome.";
    NoticeAtEachStart "notice-at-each-start" in CHATTED breaks Rate, seen in ["H-60438"],
        "Each start repeats the notices of the restart that led to it.";
    TellsEveryChat "tells-every-chat" in CROWDED breaks Notice, seen in ["O-55372", "H-60438"],
        "When a drain begins each chat with a turn is told that a restart cuts it, whether that will be so or not.";
    DownNeverBack "down-never-back" in ASKED breaks Notice, seen in ["H-89396", "H-66087"],
        "A chat is told that a restart has cut its turn, and never that this goes on.";
    BackAtEachStart "back-at-each-start" in TALK breaks Rate, seen in ["H-60438"],
        "Each start tells each chat whose turn it resumes that it is back, whoever missed it.";
    StopUndone "stop-undone" in STOPPED breaks Intent, seen in ["H-19876"],
        "A reviver's start serves although a stop was asked for.";
    StopForgotten "stop-forgotten" in STOPPED breaks Intent, seen in ["H-19876"],
        "A stop has its outcome before the process is gone, and a reviver's start knows nothing of it.";
    ForceWaits "force-waits" in FORCED breaks Force, seen in ["H-93711", "H-12438"],
        "A forced end has the deadlines of a patient one.";
    OrphansIgnored "orphans-ignored" in DEADLY breaks Orphan, seen in ["H-37454", "H-8202"],
        "A turn is resumed while a child of its last start is still alive.";
    SendsUncounted "sends-uncounted" in TALK breaks Ledger, seen in ["H-58818", "H-60432"],
        "What is being sent is not in the ledger that the drain reads.";
    StaleSnapshot "stale-snapshot" in ASKED breaks Hygiene, seen in ["H-11852"],
        "Turns are marked as interrupted from a list made when the drain began, those that have ended too.";
    AlwaysPlanned "always-planned" in TALK breaks Hygiene, seen in ["PR 12332", "H-8460"],
        "A turn is told that a restart has interrupted it when the gateway had died.";
    OwnBudgetOnly "own-budget-only" in TERMINATED breaks Budget, seen in ["H-31981", "H-119598"],
        "The drain takes its configured time, whenever the supervisor kills.";
    DeathUnrecorded "death-unrecorded" in TALK breaks Truth, seen in ["O-141912", "H-60432"],
        "Nobody writes down how a generation ended that could not do so itself.";
    StatusStaysServing "status-stays-serving" in ASKED breaks Truth, seen in ["H-51325", "H-73108"],
        "The status goes on to say that it serves while it ends.";
    WorksOnAfterEnd "works-on-after-end" in SLOW breaks Quiet, seen in ["H-1414"],
        "What is unsent is sent after the end.";
    DoneOnRequest "done-on-request" in ASKED breaks Ready, seen in ["H-8260"],
        "A restart is reported as done when it is accepted.";
    ReadyBeforeChannels "ready-before-channels" in TALK breaks Ready, seen in ["H-65057", "H-66589"],
        "A start is reported as ready before its platforms are open.";
    ToldBeforeDecided "told-before-decided" in QUESTIONED breaks Consent, seen in ["O-65486"],
        "An agent is told what was decided before that is on disk.";
    AskedAgain "asked-again" in QUESTIONED breaks Consent, seen in ["O-65486"],
        "A turn that is resumed has its chat asked again what that has been asked, and what it has decided.";
    WaitsForPeople "waits-for-people" in QUESTIONED breaks NoSelf, seen in ["O-150769"],
        "A drain waits its whole budget for a turn that waits for a person.";
    CollectedAgain "collected-again" in COLLECTED breaks Once, seen in ["O-122886", "O-51182"],
        "A turn over what was collected takes only the first of it off the queue, so that the rest is answered again.";
    OnlyLastIsKept "only-last-is-kept" in COLLECTED breaks Ack, seen in ["O-46303"],
        "What is collected while a turn runs has one place, and the last message takes it from those before.";
    KillsByNumber "kills-by-number" in CLIMBED breaks Lock, seen in ["H-37453", "H-14200"],
        "Whoever restarts it from outside signals the number that its process had, whose ever that is by now.";
    AnyGenerationCounts "any-generation-counts" in CLIMBED breaks Ready, seen in ["O-98973", "O-149019"],
        "Whoever restarts it from outside takes the generation that was there before for the new one.";
    StartsBeside "starts-beside" in CLIMBED breaks Lock, seen in ["H-51325"],
        "Whoever restarts it from outside starts it although its supervisor has done so meanwhile.";
    CountsOnTheDead "counts-on-the-dead" in ORPHANED breaks Exit, seen in ["H-43748", "H-110440"],
        "Who was started by a supervisor leaves to be started again, and does not look whether that is still there.";
    ErrorUncaught "error-uncaught" in SLOW breaks Panic, seen in ["O-run-loop"],
        "What carries out a restart meets an error that nobody has thought of, and nobody catches it.";
}

impl Flaw {
    /// The flaw with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::TABLE.iter().find(|row| row.name == name).map(|row| row.flaw)
    }

    /// What the table tells of it.
    #[must_use]
    pub const fn row(self) -> &'static Row {
        &Self::TABLE[self as usize]
    }
}

/// Which switches are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flaws(u64);

impl Flaws {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// This one alone.
    #[must_use]
    pub const fn only(flaw: Flaw) -> Self {
        Self(1 << flaw as u64)
    }

    /// Whether this one is on.
    #[must_use]
    pub const fn has(self, flaw: Flaw) -> bool {
        self.0 & (1 << flaw as u64) != 0
    }
}
