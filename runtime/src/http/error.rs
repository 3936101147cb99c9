//! What can go wrong with a call, so that a caller can tell what certainly did not arrive from what may have.

use hyper::{HeaderMap, Method};
use std::fmt;
use std::time::Duration;

/// Longest excerpt of a server's words in a message, in characters.
const EXCERPT: usize = 300;

/// Which call an error speaks of: its method, its server, and the name that the caller gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The method.
    pub method: Method,
    /// Scheme, host and port.
    pub server: String,
    /// The caller's name for the call.
    pub name: &'static str,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.method, self.server, self.name)
    }
}

/// Where in a call the time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding the server, connecting, and the handshake of TLS.
    Connect,
    /// Sending the call and waiting for the head of the answer.
    Answer,
    /// Between two pieces of the body.
    Body,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connect => "no connection",
            Stage::Answer => "no answer",
            Stage::Body => "the answer was not finished",
        })
    }
}

/// What became of a failed call at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It certainly did not get there.
    Unsent,
    /// It may have got there, in whole or in part.
    Unknown,
    /// It got there: the server answered.
    Answered,
}

/// An answer with a status that is no success.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The call.
    pub place: Place,
    /// The status.
    pub status: u16,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The beginning of the body, as text, with known secrets blotted out.
    pub body: String,
}

impl Refusal {
    /// How long the server asks to be left alone, by the number of seconds in its `Retry-After` (RFC 9110, 10.2.3; the form with a
    /// date is not read).
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds: f64 = self.headers.get(hyper::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: answered {}", self.place, self.status)?;
        let mut words = self.body.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = words.char_indices().nth(EXCERPT) {
            words.truncate(end);
            words.push('…');
        }
        if words.is_empty() { Ok(()) } else { write!(f, ": {words}") }
    }
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be written as HTTP.
    #[error("{place}: cannot be sent: {reason}")]
    Unsendable {
        /// The call.
        place: Place,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no connection to the server.
    #[error("{place}: no connection: {reason}")]
    Unreachable {
        /// The call.
        place: Place,
        /// What the system or TLS said.
        reason: String,
    },
    /// The connection broke before the head of an answer was there.
    #[error("{place}: the connection broke before an answer came: {reason}")]
    Unanswered {
        /// The call.
        place: Place,
        /// What HTTP or the system said.
        reason: String,
    },
    /// The server answered with a status that is no success.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The server answered well, but the body broke, is too long, or is not what it should be.
    #[error("{place}: answered {status}, but its body {reason}")]
    Broken {
        /// The call.
        place: Place,
        /// The status.
        status: u16,
        /// What is wrong with the body, as a clause.
        reason: String,
    },
    /// The time ran out.
    #[error("{place}: {stage} within {limit:?}")]
    TimedOut {
        /// The call.
        place: Place,
        /// Where.
        stage: Stage,
        /// The limit that was reached.
        limit: Duration,
    },
}

impl Error {
    /// What became of the call.
    pub fn fate(&self) -> Fate {
        match self {
            Error::Unsendable { .. } | Error::Unreachable { .. } | Error::TimedOut { stage: Stage::Connect, .. } => {
                Fate::Unsent
            }
            Error::Unanswered { .. } | Error::TimedOut { stage: Stage::Answer, .. } => Fate::Unknown,
            Error::Refused(_) | Error::Broken { .. } | Error::TimedOut { stage: Stage::Body, .. } => Fate::Answered,
        }
    }

    /// The status, if the server answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Refused(refusal) => Some(refusal.status),
            Error::Broken { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// An error with the errors that it came from, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}
