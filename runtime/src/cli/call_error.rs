//! Why a call to the gateway failed: it owns the sentences for the operator, the exit status each error ends a command
//! with, and whether the same call is worth another try. It calls nobody.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exit;
use super::patient::{Presence, presence};
use crate::journal::Owner;
use crate::left_behind;
use crate::supervise::found;
use crate::trial;

/// Longest pause that a busy gateway can talk us into.
const BUSY_PAUSE_LIMIT: Duration = Duration::from_secs(10);
/// Pause before an absent gateway is tried again.
pub const ABSENT_PAUSE: Duration = Duration::from_millis(100);

/// Why a call to the gateway gave no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no socket, or nobody listens on it.
    #[error("{}{told}", whom(place, *.pid))]
    NobodyRuns {
        /// The state directory.
        place: String,
        /// The process that owns it all the same.
        pid: Option<i32>,
        /// What starts one, and what is known of the last.
        told: Told,
    },
    /// The socket is there and cannot be used.
    #[error("cannot reach the gateway on {place}: {source}; is it another user's?")]
    Unreachable {
        /// The state directory.
        place: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No socket can have such a path.
    #[error(
        "the path of the control socket, {path}, has {bytes} bytes, and a Unix socket takes at most {limit}; choose a shorter --state-dir"
    )]
    PathTooLong {
        /// The path.
        path: String,
        /// Its length.
        bytes: usize,
        /// What the system takes.
        limit: usize,
    },
    /// The gateway took the call and cannot serve it now (503, 507).
    #[error("the gateway is busy: {sentence}")]
    Busy {
        /// The gateway's own words.
        sentence: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The gateway refused the call for good.
    #[error("{sentence}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The gateway's own words.
        sentence: String,
    },
    /// The gateway accepted the connection and said nothing in time.
    #[error("the gateway on {place} does not answer within {}; {}", humantime::format_duration(*.limit), process(place, *.pid))]
    TimedOut {
        /// The state directory.
        place: String,
        /// How long it was given.
        limit: Duration,
        /// The process behind the socket, when the system told.
        pid: Option<i32>,
    },
    /// The connection broke before the whole answer was there.
    #[error("the connection to the gateway on {place} broke ({source}); see `evergate status`")]
    Lost {
        /// The state directory.
        place: String,
        /// What broke.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is no answer of this protocol.
    #[error(
        "the gateway answered `{call}` with something that this program does not understand ({reason}); is it of another version?"
    )]
    Nonsense {
        /// Method and path.
        call: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What is said behind a sentence that nobody runs.
#[derive(Debug)]
pub enum Told {
    /// This.
    Words(String),
    /// What the state directory and the processes show to whoever reads the sentence. Most only try again, and looking through
    /// all processes takes the time of one that is about to start.
    LookedUp(PathBuf),
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::LookedUp(state_dir) => f.write_str(&who_starts_one(state_dir)),
        }
    }
}

fn who_starts_one(state_dir: &Path) -> String {
    let (place, last) = (state_dir.display(), trial::last_starts(state_dir));
    match found::supervisors(state_dir).first() {
        Some(pid) => format!(
            "; `evergate supervise`, process {pid}, is about to start it, and `evergate restart --state-dir {place}` has it do so at once{last}"
        ),
        None => {
            let start = left_behind::start(Owner::recorded(state_dir).as_ref(), state_dir);
            format!("; start it with `{start}`{last}")
        }
    }
}

fn whom(place: &str, pid: Option<i32>) -> String {
    match pid {
        Some(pid) => format!("the gateway on {place}, process {pid}, has no control socket"),
        None => format!("no gateway is running on {place}"),
    }
}

/// Names the process behind the socket and what can be done about it.
fn process(place: &str, pid: Option<i32>) -> String {
    let restart = format!("`evergate restart --state-dir {place}` brings it back");
    match pid {
        Some(pid) => format!(
            "its process is {pid}: if it stays so, {restart} and `kill -9 {pid}` ends it, and nothing that was accepted is lost by either"
        ),
        None => format!("if it stays so, {restart}"),
    }
}

impl CallError {
    /// Nobody listens at the control socket of `state_dir`.
    pub fn nobody_runs(place: &str, state_dir: &Path) -> Self {
        let place = place.to_owned();
        if let Ok(Presence::Process(owner)) = presence(state_dir) {
            let told = "; it has one again within seconds, unless it is about to leave".to_owned();
            return Self::NobodyRuns { place, pid: Some(owner.pid), told: Told::Words(told) };
        }
        Self::NobodyRuns { place, pid: None, told: Told::LookedUp(state_dir.to_owned()) }
    }

    /// The status that a command ends with because of this error.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NobodyRuns { .. } => exit::UNAVAILABLE,
            Self::Unreachable { .. } => exit::NO_PERMISSION,
            Self::PathTooLong { .. } => exit::CONFIGURATION,
            Self::Busy { .. } | Self::TimedOut { .. } | Self::Lost { .. } => exit::TRY_AGAIN,
            Self::Refused { status: 400 | 413, .. } => exit::BAD_DATA,
            Self::Refused { status: 401 | 403, .. } => exit::NO_PERMISSION,
            Self::Refused { status: 412, .. } => exit::CONFIGURATION,
            Self::Refused { .. } => exit::REFUSED,
            Self::Nonsense { .. } => exit::BROKEN,
        }
    }

    /// How long to wait before the same call is worth another try; `None` when it never is.
    pub fn retry_pause(&self) -> Option<Duration> {
        match self {
            Self::NobodyRuns { .. } | Self::Lost { .. } | Self::TimedOut { .. } => Some(ABSENT_PAUSE),
            Self::Busy { retry_after, .. } => Some(retry_after.unwrap_or(ABSENT_PAUSE * 5).min(BUSY_PAUSE_LIMIT)),
            Self::Unreachable { .. } | Self::PathTooLong { .. } | Self::Refused { .. } | Self::Nonsense { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_get_better_is_tried_again() {
        let busy = CallError::Busy { sentence: String::new(), retry_after: Some(Duration::from_secs(3600)) };
        assert_eq!(busy.retry_pause(), Some(BUSY_PAUSE_LIMIT));
        assert_eq!(CallError::Refused { status: 400, sentence: String::new() }.retry_pause(), None);
        assert_eq!(
            CallError::NobodyRuns { place: String::new(), pid: None, told: Told::Words(String::new()) }.retry_pause(),
            Some(ABSENT_PAUSE)
        );
    }
}
