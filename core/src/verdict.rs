//! How a process ends, as data. The verdict is fixed when a request is accepted and flows unchanged to `main`; nothing
//! else in the program decides an exit status.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The exit status that asks a supervisor for another generation (`EX_TEMPFAIL` of sysexits).
pub const RESTART: u8 = 75;
/// The exit status of a deliberate stop.
pub const STOP: u8 = 0;
/// The exit status that says "do not start me again as I am" (`EX_CONFIG` of sysexits).
pub const PARK: u8 = 78;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The process leaves with this status; whoever supervises reads it.
    Exit(u8),
    /// The process replaces itself: same PID, new generation.
    ReExec,
    /// The process gives everything up but stays, idle: whoever supervises would start it again after any end.
    StayUp,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exit {status}"),
            Self::ReExec => f.write_str("re-exec"),
            Self::StayUp => f.write_str("stay up, idle"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_told_in_words() {
        let words = [Verdict::Exit(RESTART), Verdict::ReExec, Verdict::StayUp].map(|verdict| verdict.to_string());
        assert_eq!(words, ["exit 75", "re-exec", "stay up, idle"]);
    }
}
