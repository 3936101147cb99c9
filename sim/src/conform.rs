//! Whether a real life of the gateway was what its core says: replays a flight log, as `evergate run --flight-log` writes
//! it, through the core, and finds the first place where the two differ. It runs nothing but the core, and it keeps one
//! line of the log in memory, however long that is.

use crate::program::{NOTHING_BROKEN, Trouble, VIOLATION};
use evergate::flight::{Head, Step, VERSION};
use evergate_core::effect::Effect;
use evergate_core::gateway::Gateway;
use evergate_core::id::GenerationId;
use evergate_core::input::Input;
use evergate_core::time::Instant;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;

/// How the head of a generation begins, in a log of any version.
const HEAD: &[u8] = b"{\"evergate_flight\":";

/// What `evergate-sim conform` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What `evergate run --flight-log FILE` has written
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What the replay of a whole log has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Conformity {
    /// Generations that were replayed.
    pub generations: u64,
    /// The last of them.
    pub last: GenerationId,
    /// Inputs that they were told.
    pub inputs: u64,
    /// Effects that were compared, and were the same.
    pub effects: u64,
    /// Generations whose end is not in the log: they were killed, they live, or their log could not be written.
    pub without_end: u64,
    /// The lines, counted from 1, that a death has cut, each the last of its generation.
    pub cut_lines: Vec<u64>,
}

/// The first place where the log and the core differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In this generation.
    pub generation: GenerationId,
    /// In this line of the log, counted from 1.
    pub line: u64,
    /// At this instant.
    pub at: Instant,
    /// After this input; `None` for the boot.
    pub input: Option<Input>,
    /// What the core makes of it.
    pub expected: String,
    /// What the log says.
    pub recorded: String,
    /// The version of the program that wrote the log.
    pub version: String,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The log is what the core does.
    Conformant(Conformity),
    /// It is not.
    Different(Box<Difference>),
}

/// Why a file cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system does not give it.
    #[error("the flight log cannot be read: {0}")]
    Read(#[from] io::Error),
    /// There is nothing in it.
    #[error("the flight log is empty: no gateway has written to it")]
    Empty,
    /// It is something else.
    #[error("this is no flight log of evergate: it does not begin with the head of a generation")]
    Foreign,
    /// Another version wrote it.
    #[error(
        "line {line} is of version {version} of the flight log, and only version {VERSION} can be replayed: take the evergate-sim that belongs to that gateway"
    )]
    Version {
        /// Counted from 1.
        line: u64,
        /// Which.
        version: u64,
    },
    /// A line that no death has cut makes no sense.
    #[error("line {line} of the flight log cannot be understood: {error}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What the parser said.
        error: serde_json::Error,
    },
}

/// The command: prints what was found, and gives the exit status.
pub fn run(arguments: &Arguments) -> Result<u8, Trouble> {
    let unusable = |error: LogError| Trouble::data(format!("{}: {error}", arguments.file.display()));
    let file = File::open(&arguments.file).map_err(|error| unusable(error.into()))?;
    let finding = conform(BufReader::new(file)).map_err(unusable)?;
    let text = if arguments.json { finding.json() } else { finding.to_string() };
    // A reader who has seen enough (`| head`) is no error.
    let _unread = writeln!(io::stdout(), "{text}");
    Ok(match finding {
        Finding::Conformant(_) => NOTHING_BROKEN,
        Finding::Different(_) => VIOLATION,
    })
}

/// Replays a log through the core, up to the first difference.
pub fn conform(mut log: impl BufRead) -> Result<Finding, LogError> {
    let start = log.fill_buf()?;
    if start.is_empty() {
        return Err(LogError::Empty);
    }
    // Asked before anything is read as a line: a foreign file may be one line without an end.
    if !start.starts_with(HEAD) {
        return Err(LogError::Foreign);
    }
    let mut comparison = Comparison::default();
    let (mut line, mut text) = (0, Vec::new());
    while log.read_until(b'\n', &mut text)? > 0 {
        line += 1;
        // Not part of it: within a string that was cut it would be a mistake of another kind.
        if text.ends_with(b"\n") {
            text.pop();
        }
        if let Some(difference) = comparison.take(line, &text)? {
            return Ok(Finding::Different(difference));
        }
        text.clear();
    }
    comparison.end_generation();
    Ok(Finding::Conformant(comparison.found))
}

/// A log, as far as it was read.
#[derive(Default)]
struct Comparison {
    found: Conformity,
    /// The generation that is being replayed.
    replay: Option<Replay>,
    /// A line of it that is cut, and why it cannot be read: an error if the generation goes on.
    cut: Option<(u64, serde_json::Error)>,
}

impl Comparison {
    /// Takes the next line; gives the first difference.
    fn take(&mut self, line: u64, text: &[u8]) -> Result<Option<Box<Difference>>, LogError> {
        let taken = if text.starts_with(HEAD) { self.begin(line, text) } else { self.go_on(line, text) };
        match taken {
            Err(LogError::Line { line, error }) if is_cut(text) => {
                self.found.cut_lines.push(line);
                self.cut = Some((line, error));
                Ok(None)
            }
            taken => taken,
        }
    }

    /// A generation begins.
    fn begin(&mut self, line: u64, text: &[u8]) -> Result<Option<Box<Difference>>, LogError> {
        self.end_generation();
        let replay = Replay::new(head(line, text)?);
        self.found.generations += 1;
        self.found.last = replay.core.generation();
        self.replay = Some(replay);
        Ok(None)
    }

    /// Something happened.
    fn go_on(&mut self, line: u64, text: &[u8]) -> Result<Option<Box<Difference>>, LogError> {
        let step: Step = serde_json::from_slice(text).map_err(|error| LogError::Line { line, error })?;
        if let Some((line, error)) = self.cut.take() {
            return Err(LogError::Line { line, error });
        }
        let Some(replay) = &mut self.replay else { return Err(LogError::Foreign) };
        self.found.inputs += u64::from(step.input.is_some());
        self.found.effects += step.effects.len() as u64;
        Ok(replay.step(line, step).err())
    }

    /// No more lines of this generation follow.
    fn end_generation(&mut self) {
        self.cut = None;
        self.found.without_end += u64::from(self.replay.take().is_some_and(|replay| !replay.ended));
    }
}

/// Reads the head of a generation.
fn head(line: u64, text: &[u8]) -> Result<Head, LogError> {
    #[derive(Deserialize)]
    struct Mark {
        evergate_flight: u64,
    }
    let unclear = |error| LogError::Line { line, error };
    let Mark { evergate_flight: version } = serde_json::from_slice(text).map_err(unclear)?;
    if version != u64::from(VERSION) {
        return Err(LogError::Version { line, version });
    }
    serde_json::from_slice(text).map_err(unclear)
}

/// Whether a line ends before it is whole, whatever it says up to there.
fn is_cut(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
}

/// One generation, replayed.
struct Replay {
    core: Gateway,
    version: String,
    next: u64,
    last: Instant,
    ended: bool,
}

impl Replay {
    fn new(head: Head) -> Self {
        let (version, last) = (head.version.clone(), head.now);
        Self { core: head.boot(), version, next: 0, last, ended: false }
    }

    /// Takes one step of the log; an error is the first difference.
    fn step(&mut self, line: u64, step: Step) -> Result<(), Box<Difference>> {
        let Step { step: number, at, input, effects } = step;
        self.check_and_handle(number, at, input.clone()).and_then(|()| self.compare(effects)).map_err(
            |Mismatch { expected, recorded }| {
                let (generation, version) = (self.core.generation(), self.version.clone());
                Box::new(Difference { generation, line, at, input, expected, recorded, version })
            },
        )
    }

    /// Tells the core what happened, if a driver that keeps its contract could have.
    fn check_and_handle(&mut self, number: u64, at: Instant, input: Option<Input>) -> Result<(), Mismatch> {
        if number != self.next {
            return Mismatch::of(format!("step {}", self.next), format!("step {number}: lines are missing"));
        }
        if self.ended {
            return Mismatch::of("nothing after the end", "another step");
        }
        if at < self.last {
            return Mismatch::of(time("no earlier than", self.last), time("at", at));
        }
        self.next += 1;
        self.last = at;
        match input {
            None if number == 0 => {}
            Some(input) if number > 0 => {
                let timeout = self.core.poll_timeout();
                if input == Input::Elapsed && timeout.is_none_or(|timeout| at < timeout) {
                    let due = timeout.map_or_else(|| "no timeout".to_owned(), |timeout| time("a timeout at", timeout));
                    return Mismatch::of(due, time("time had elapsed at", at));
                }
                self.core.handle(at, input);
            }
            None => return Mismatch::of("an input", "none"),
            Some(_) => return Mismatch::of("the boot, without an input", "an input"),
        }
        Ok(())
    }

    /// Drains the core fully and compares what it wants with what it wanted then.
    fn compare(&mut self, recorded: Vec<Effect>) -> Result<(), Mismatch> {
        let mut recorded = recorded.into_iter();
        loop {
            let (expected, recorded) = (self.core.poll(), recorded.next());
            if expected != recorded {
                return Mismatch::of(word(expected.as_ref()), word(recorded.as_ref()));
            }
            match expected {
                Some(effect) => self.ended |= matches!(effect, Effect::End { .. }),
                None => return Ok(()),
            }
        }
    }
}

/// What was expected, and what stands in the log.
struct Mismatch {
    expected: String,
    recorded: String,
}

impl Mismatch {
    fn of<T>(expected: impl Into<String>, recorded: impl Into<String>) -> Result<T, Self> {
        Err(Self { expected: expected.into(), recorded: recorded.into() })
    }
}

/// An effect as it stands in a log.
fn word(effect: Option<&Effect>) -> String {
    effect.map_or_else(|| "nothing more".to_owned(), json)
}

fn time(what: &str, at: Instant) -> String {
    format!("{what} {} ms", at.as_millis())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("ids, words and numbers can always be written as JSON")
}

impl Finding {
    /// One JSON object: `{"conformant": true, "generations", …}` or `{"conformant": false, "difference": {…}}`.
    #[must_use]
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Whole<'a> {
            conformant: bool,
            #[serde(flatten)]
            found: Option<&'a Conformity>,
            #[serde(skip_serializing_if = "Option::is_none")]
            difference: Option<&'a Difference>,
        }
        json(&match self {
            Self::Conformant(found) => Whole { conformant: true, found: Some(found), difference: None },
            Self::Different(difference) => Whole { conformant: false, found: None, difference: Some(difference) },
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conformant(Conformity { generations, inputs, effects, without_end, cut_lines, .. }) => {
                write!(f, "conformant: {generations} generations, {inputs} inputs, {effects} effects")?;
                if *without_end > 0 {
                    write!(
                        f,
                        "\ngenerations whose end is not in the log (killed, alive, or not recorded to the end): {without_end}"
                    )?;
                }
                if !cut_lines.is_empty() {
                    let lines: Vec<String> = cut_lines.iter().map(u64::to_string).collect();
                    write!(f, "\nlines that a death has cut: {}", lines.join(", "))?;
                }
                Ok(())
            }
            Self::Different(difference) => {
                let Difference { generation, line, at, input, expected, recorded, version } = &**difference;
                let input = input.as_ref().map_or_else(|| "the boot".to_owned(), json);
                write!(
                    f,
                    "not conformant: {generation}, line {line}, at {} ms, after {input}\n  expected: {expected}\n  recorded: {recorded}\n  (recorded by evergate {version})",
                    at.as_millis()
                )
            }
        }
    }
}
