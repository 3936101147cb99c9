//! The ways in which a command agent fails a turn, each with the sentence that the operator and the chat get to read.

use crate::agent::program::{CannotStart, Complaints, Ending};
use std::{io, process::ExitStatus, time::Duration};
use thiserror::Error;

/// Why there is no reply.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// There is nothing to run.
    #[error(transparent)]
    CannotStart(#[from] CannotStart),
    /// It ended badly by itself.
    #[error("the agent {}{}", Ending(*status), Complaints(complaints))]
    Ended { status: ExitStatus, complaints: String },
    /// It was killed for its silence.
    #[error(
        "the agent printed nothing for {} and was killed; raise agent.command.silence if it needs longer{}",
        humantime::format_duration(*silence),
        Complaints(complaints)
    )]
    Silent { silence: Duration, complaints: String },
    /// It was killed for its verbosity.
    #[error(
        "the agent printed more than {max_bytes} bytes and was killed; raise agent.command.max_reply_bytes if replies may be longer"
    )]
    TooLong { max_bytes: usize },
    /// Somebody else reaped it.
    #[error(
        "the agent is gone but its exit status is not known{}; something else in this process waits for its children",
        error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
    )]
    Lost { error: Option<io::Error> },
}
