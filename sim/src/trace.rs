//! The file that a failure leaves behind, and that `replay` takes: JSON lines, of which the first says what it is and the
//! last that it is whole. What stands between them belongs to the kind of run that wrote it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, Write};

/// The version of the format. A file of another one is refused: it would be replayed wrongly.
pub const VERSION: u32 = 1;

/// Which kind of run left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The explorer.
    Explore,
    /// The swarm.
    Swarm,
    /// The harbor.
    Harbor,
}

/// One run, so that it can be run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Which kind of run left it.
    pub kind: Kind,
    /// All that was chosen before it began.
    pub config: Value,
    /// What was chosen on the way, in order.
    pub steps: Vec<Value>,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    evergate_trace: u32,
    kind: Kind,
    config: Value,
}

/// The last line.
#[derive(Serialize, Deserialize)]
struct Tail {
    steps: usize,
}

/// Why a text is no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// There is nothing in it.
    #[error("the trace is empty")]
    Empty,
    /// The first line is something else.
    #[error("this is no trace of evergate-sim: its first line is not the head of one")]
    Foreign,
    /// Another version wrote it.
    #[error(
        "this is a trace of version {0}, and only version {VERSION} can be replayed: run the command that wrote it again"
    )]
    Version(u64),
    /// The head does not say what is needed.
    #[error("the head of the trace cannot be understood: {0}")]
    Head(String),
    /// A line is no JSON.
    #[error("line {line} of the trace is no JSON: {error}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        error: String,
    },
    /// The last line is missing or does not fit.
    #[error("the trace is cut: its last line is missing or counts other than its {0} steps")]
    Cut(usize),
    /// It is whole, but what it says does not fit the world that it names.
    #[error("step {step} of the trace cannot be taken: {why}")]
    Step {
        /// Counted from 1.
        step: usize,
        /// Why.
        why: String,
    },
}

impl Trace {
    /// Writes the whole file.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let head = Head { evergate_trace: VERSION, kind: self.kind, config: self.config.clone() };
        writeln!(to, "{}", serde_json::to_string(&head)?)?;
        for step in &self.steps {
            writeln!(to, "{step}")?;
        }
        writeln!(to, "{}", serde_json::to_string(&Tail { steps: self.steps.len() })?)
    }

    /// Reads a whole file.
    pub fn read(text: &str) -> Result<Self, TraceError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (_, first) = lines.next().ok_or(TraceError::Empty)?;
        let head: Value = serde_json::from_str(first).map_err(|_| TraceError::Foreign)?;
        let version = head.get("evergate_trace").and_then(Value::as_u64).ok_or(TraceError::Foreign)?;
        if version != u64::from(VERSION) {
            return Err(TraceError::Version(version));
        }
        let Head { kind, config, .. } =
            serde_json::from_value(head).map_err(|error| TraceError::Head(error.to_string()))?;
        let mut steps = Vec::new();
        for (number, line) in lines {
            let step: Value = serde_json::from_str(line)
                .map_err(|error| TraceError::Line { line: number + 1, error: error.to_string() })?;
            steps.push(step);
        }
        let tail = steps.pop().and_then(|last| serde_json::from_value::<Tail>(last).ok());
        match tail {
            Some(Tail { steps: counted }) if counted == steps.len() => Ok(Self { kind, config, steps }),
            _ => Err(TraceError::Cut(steps.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written() -> String {
        let trace = Trace { kind: Kind::Swarm, config: json!({"seed": 7}), steps: vec![json!("kill"), json!("boot")] };
        let mut text = Vec::new();
        trace.write(&mut text).unwrap();
        assert_eq!(Trace::read(std::str::from_utf8(&text).unwrap()), Ok(trace));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_is_no_whole_trace_of_this_version_is_refused_by_name() {
        let whole = written();
        assert_eq!(Trace::read(""), Err(TraceError::Empty));
        assert_eq!(Trace::read("hello"), Err(TraceError::Foreign));
        assert_eq!(Trace::read("{}"), Err(TraceError::Foreign));
        let newer = whole.replace("\"evergate_trace\":1", "\"evergate_trace\":2");
        assert_eq!(Trace::read(&newer), Err(TraceError::Version(2)));
        let lines: Vec<&str> = whole.lines().collect();
        assert_eq!(Trace::read(&lines[..3].join("\n")), Err(TraceError::Cut(1)));
        assert_eq!(Trace::read(lines[0]), Err(TraceError::Cut(0)));
        let torn = &whole[..whole.len() - 4];
        assert!(matches!(Trace::read(torn), Err(TraceError::Line { line: 4, .. })));
    }
}
