//! The ways in which a command agent fails a turn, each with the sentence that the operator and the chat get to read.

use nix::sys::signal::Signal;
use std::{
    fmt::{self, Display, Formatter},
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::ExitStatus,
    time::Duration,
};
use thiserror::Error;

/// Why there is no reply.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// No program is configured.
    #[error("no agent program is configured: set agent.command.argv")]
    NoProgram,
    /// The program is not where it was looked for.
    #[error("the agent program `{program}` was not found in {place}; install it, or correct agent.command.argv")]
    NotFound { program: String, place: String },
    /// The program is there, and what is to interpret or load it is not.
    #[error(
        "the agent program `{}` exists, but the interpreter that it names in its first line (#!) does not; correct that line, or install \
         the interpreter",
        file.display()
    )]
    NoInterpreter { file: PathBuf },
    /// The program may not be executed.
    #[error(
        "the agent program `{program}`, looked for in {place}, may not be executed by this user ({error}); make it executable (chmod +x), \
         or correct agent.command.argv"
    )]
    NotExecutable { program: String, place: String, error: io::Error },
    /// The system would not start it.
    #[error("the agent program `{program}` could not be started: {error}; {advice}")]
    NotStarted { program: String, error: io::Error, advice: &'static str },
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

/// An exit status in words: `ended with exit status 3`, or `was killed by SIGSEGV`.
struct Ending(ExitStatus);

impl Display for Ending {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(formatter, "ended with exit status {code}"),
            (None, Some(number)) => match Signal::try_from(number) {
                Ok(signal) => write!(formatter, "was killed by {signal}"),
                Err(_) => write!(formatter, "was killed by signal {number}"),
            },
            (None, None) => write!(formatter, "ended with {}", self.0),
        }
    }
}

/// The tail of stderr, if there was one.
struct Complaints<'a>(&'a str);

impl Display for Complaints<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            formatter.write_str("; it wrote nothing on stderr")
        } else {
            write!(formatter, "; its stderr ends with:\n{}", self.0)
        }
    }
}
