//! The file that a failure leaves behind, and that `replay` takes: JSON lines, of which the first says what it is and which
//! rule broke, and the last that it is whole. What stands between them belongs to the kind of run that wrote it.

use crate::story::Broken;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, Write};

/// The version of the format. A file of another one is refused: it would be replayed wrongly.
pub const VERSION: u32 = 3;

/// How the first line begins.
const BEGINS: &str = "{\"evergate_trace\":";

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
    /// The rule that broke, if one did: what a replay has to find again.
    pub broken: Option<Named>,
    /// All that was chosen before it began.
    pub config: Value,
    /// What happened on the way, in order.
    pub steps: Vec<Value>,
}

/// The rule that broke, as a trace names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its name, for instance `ACK`.
    pub invariant: String,
    /// What was found.
    pub what: String,
    /// The step after which that was so, counted from 1; 0 if it was so from the beginning.
    pub step: usize,
}

impl Named {
    /// This rule, broken after so many steps.
    #[must_use]
    pub fn after(step: usize, Broken { invariant, what }: Broken) -> Self {
        Self { invariant, what, step }
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    evergate_trace: u32,
    kind: Kind,
    broken: Option<Named>,
    config: Value,
}

/// The last line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// It is what a gateway writes down of itself.
    #[error("this is the flight log of a gateway and no trace of evergate-sim: `evergate-sim conform` looks at it")]
    Flight,
    /// Another version wrote it.
    #[error(
        "this is a trace of version {0}, and only version {VERSION} can be replayed: run the command that wrote it again"
    )]
    Version(u64),
    /// The head does not say what is needed.
    #[error("the head of the trace cannot be understood: {0}")]
    Head(String),
    /// A line is no JSON.
    #[error("line {line} of the trace is no JSON: {error} in column {column}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What the parser said.
        error: String,
    },
    /// The last line is missing or does not fit.
    #[error("the trace is cut behind {0} whole steps: the line that counts them is missing, or counts others")]
    Cut(usize),
    /// A line that stands for a step says something else.
    #[error("step {step} of the trace cannot be understood: {why}")]
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
        let Self { kind, broken, config, steps } = self.clone();
        let head = Head { evergate_trace: VERSION, kind, broken, config };
        writeln!(to, "{}", serde_json::to_string(&head)?)?;
        for step in &steps {
            writeln!(to, "{step}")?;
        }
        writeln!(to, "{}", serde_json::to_string(&Tail { steps: steps.len() })?)
    }

    /// Reads a whole file.
    pub fn read(text: &str) -> Result<Self, TraceError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
        let (_, first) = lines.next().ok_or(TraceError::Empty)?;
        let Head { kind, broken, config, .. } = head(first)?;
        let mut steps = Vec::new();
        while let Some((number, line)) = lines.next() {
            match serde_json::from_str::<Value>(line) {
                Ok(step) => steps.push(step),
                // It ends in the middle of its last line.
                Err(error) if error.is_eof() && lines.peek().is_none() => return Err(TraceError::Cut(steps.len())),
                Err(error) => {
                    let column = error.column();
                    return Err(TraceError::Line { line: number + 1, column, error: without_place(&error) });
                }
            }
        }
        let tail = steps.pop().map(|last| (serde_json::from_value::<Tail>(last.clone()), last));
        match tail {
            Some((Ok(Tail { steps: counted }), _)) if counted == steps.len() => {
                Ok(Self { kind, broken, config, steps })
            }
            Some((Err(_), _)) => Err(TraceError::Cut(steps.len() + 1)),
            _ => Err(TraceError::Cut(steps.len())),
        }
    }
}

fn head(line: &str) -> Result<Head, TraceError> {
    let head: Value = serde_json::from_str(line).map_err(|error| match error.is_eof() && line.starts_with(BEGINS) {
        true => TraceError::Cut(0),
        false => TraceError::Foreign,
    })?;
    if head.get("evergate_flight").is_some() {
        return Err(TraceError::Flight);
    }
    let version = head.get("evergate_trace").and_then(Value::as_u64).ok_or(TraceError::Foreign)?;
    if version != u64::from(VERSION) {
        return Err(TraceError::Version(version));
    }
    serde_json::from_value(head).map_err(|error| TraceError::Head(error.to_string()))
}

/// What the parser says, without the place in what it takes for a whole file.
fn without_place(error: &serde_json::Error) -> String {
    let said = error.to_string();
    said.split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written() -> String {
        let broken = Broken { invariant: "ACK".into(), what: "message 1 is lost".into() };
        let steps = vec![json!("kill"), json!("boot")];
        let trace =
            Trace { kind: Kind::Swarm, broken: Some(Named::after(2, broken)), config: json!({"seed": 7}), steps };
        let mut text = Vec::new();
        trace.write(&mut text).unwrap();
        assert_eq!(Trace::read(std::str::from_utf8(&text).unwrap()), Ok(trace));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_is_no_whole_trace_of_this_version_is_refused_by_name() {
        let whole = written();
        assert_eq!(Trace::read(""), Err(TraceError::Empty));
        assert_eq!(Trace::read("\n\n"), Err(TraceError::Empty));
        assert_eq!(Trace::read("hello"), Err(TraceError::Foreign));
        assert_eq!(Trace::read("{}"), Err(TraceError::Foreign));
        assert_eq!(Trace::read("{\"evergate_flight\":1}"), Err(TraceError::Flight));
        let other = |version: u32| whole.replace("\"evergate_trace\":3", &format!("\"evergate_trace\":{version}"));
        assert_eq!(Trace::read(&other(1)), Err(TraceError::Version(1)));
        assert_eq!(Trace::read(&other(4)), Err(TraceError::Version(4)));
        let renamed = whole.replace("\"invariant\"", "\"rule\"");
        assert!(matches!(Trace::read(&renamed), Err(TraceError::Head(_))));
        let broken = whole.replace("\"kill\"", "kill");
        assert!(matches!(Trace::read(&broken), Err(TraceError::Line { line: 2, column: 1, .. })));
    }

    #[test]
    fn a_trace_that_is_cut_anywhere_or_misses_a_line_is_cut() {
        let whole = written();
        for length in BEGINS.len()..whole.len() - 1 {
            assert!(matches!(Trace::read(&whole[..length]), Err(TraceError::Cut(_))), "{}", &whole[..length]);
        }
        assert!(Trace::read(&whole[..whole.len() - 1]).is_ok(), "its last line needs no end");
        let lines: Vec<&str> = whole.lines().collect();
        for missing in 1..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(missing);
            assert!(matches!(Trace::read(&fewer.join("\n")), Err(TraceError::Cut(_))), "without line {missing}");
        }
    }
}
