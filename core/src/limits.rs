//! The parsed configuration that the core acts upon. Every number that bounds something lives here; nothing here knows
//! where it was configured.

use crate::busy::Busy;
use crate::outbox::Uncertain;
use crate::question::Deciders;
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// What the gateway may use, wait for and try. All durations are positive or zero; zero means "do not wait".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How long a graceful drain waits for turns that did not ask for it.
    pub drain: Duration,
    /// How long a drain waits for the turn that asked for it: long enough to say goodbye, never the whole budget.
    pub requester_grace: Duration,
    /// From asking a turn to end until it is killed.
    pub interrupt_grace: Duration,
    /// From the last turn's end until the process ends, whatever is still unsent.
    pub close_grace: Duration,
    /// A turn that showed no progress for this long is not waited for.
    pub stall_after: Duration,
    /// Starts of one turn that may be cut by a death of the gateway before its session is quarantined.
    pub attempts: u32,
    /// Generations in a row that may die before they bring a single turn to its end; after that nothing is resumed.
    pub unproven: u32,
    /// Sessions with unfinished business.
    pub sessions: usize,
    /// Messages accepted and not yet given to a turn, over all sessions.
    pub queued: usize,
    /// The same, in one session.
    pub queued_per_session: usize,
    /// Turns in flight at once.
    pub turns: usize,
    /// From a failed write of the journal to the next try.
    pub journal_retry: Duration,
    /// From a failed send to the next try of that delivery.
    pub delivery_retry: Duration,
    /// What is done about a text of which nobody can know whether it arrived.
    #[serde(default)]
    pub uncertain: Uncertain,
    /// What a message does that arrives during a turn, where its chat has not said otherwise.
    #[serde(default)]
    pub busy: Busy,
    /// Sends of one text that may have arrived, each of them unknown; after that it is sent no more.
    #[serde(default = "unknown_sends")]
    pub unknown_sends: u32,
    /// How long an agent's question waits for an answer; after that it is denied.
    #[serde(default = "question_expiry")]
    pub question_expiry: Duration,
    /// Who may answer it.
    #[serde(default)]
    pub deciders: Deciders,
}

const fn unknown_sends() -> u32 {
    3
}

const fn question_expiry() -> Duration {
    Duration::from_secs(600)
}

impl Limits {
    /// Requests without an outcome at most; signals are always heard.
    pub const REQUESTS: usize = 256;
    /// Of how many attempts of one turn its chat is told that an end has cut it. No end counts against a turn that it cuts, so
    /// nothing else bounds how often that can happen.
    pub const CUTS_TOLD: u32 = 3;
    /// Questions of one turn, over all its attempts; what it asks beyond that is not put to anybody.
    pub const QUESTIONS: usize = 256;
    /// How long a generation lives without a turn that three deaths have hit, before that is tried again; doubled by each
    /// further death.
    pub const HELD_BACK: Duration = Duration::from_secs(1);
    /// How long a turn that may be killing the gateway is resumed alone: by then a culprit has shown itself.
    pub const PROBATION: Duration = Duration::from_secs(10);
    /// The longest that a forced end gives a turn between the interruption and the kill.
    pub const FORCE_INTERRUPT_GRACE: Duration = Duration::from_secs(2);
    /// The longest that a forced end takes to flush and close.
    pub const FORCE_CLOSE_GRACE: Duration = Duration::from_secs(2);
    /// Between the deadline of the orderly end and the guard that ends the process without it.
    pub const SELF_KILL_MARGIN: Duration = Duration::from_secs(2);
    /// The longest that an end waits to hear from the supervisor whether a SIGTERM was its own.
    pub const SUPERVISOR_ANSWER: Duration = Duration::from_secs(2);
    /// The longest that a restart waits to hear whether what would be started next is able to take over. The driver ends
    /// the check itself before that.
    pub const CANDIDATE_ANSWER: Duration = Duration::from_secs(4);
    /// Where a supervisor gives more time to a process that gets on: how lately a turn must have shown progress to be waited for
    /// beyond the supervisor's own limit, and for how long that is asked for at once.
    pub const EXTENSION: Duration = Duration::from_secs(5);
    /// Between our own last deadline and the supervisor's kill.
    pub const SUPERVISOR_MARGIN: Duration = Duration::from_secs(3);
}

/// They change only when somebody edits the configuration, which no explored world does, and so tell no two of its states
/// apart.
impl Hash for Limits {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            requester_grace: Duration::from_secs(2),
            interrupt_grace: Duration::from_secs(5),
            close_grace: Duration::from_secs(5),
            stall_after: Duration::from_secs(300),
            attempts: 5,
            unproven: 10,
            sessions: 100_000,
            queued: 10_000,
            queued_per_session: 100,
            turns: 256,
            journal_retry: Duration::from_secs(1),
            delivery_retry: Duration::from_secs(1),
            uncertain: Uncertain::Report,
            busy: Busy::Queue,
            unknown_sends: unknown_sends(),
            question_expiry: question_expiry(),
            deciders: Deciders::Everybody,
        }
    }
}
