//! Whether a real life of the gateway was what its core says: replays a flight log, as `evergate run --flight-log` writes
//! it, through the core (`evergate::flight::replay`), and finds the first place where the two differ. It keeps one line of the
//! log in memory, however long that is.

use crate::panics;
use crate::program::{NOTHING_BROKEN, Trouble, VIOLATION};
use evergate::flight::reader::{Entry, Reader};
use evergate::flight::replay::Replay;
use evergate::flight::{Head, Step};
use evergate_core::id::GenerationId;
use serde::Serialize;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;

pub use evergate::flight::reader::LogError;
pub use evergate::flight::replay::Difference;

/// What `evergate-sim conform` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What `evergate run --flight-log FILE` has written
    pub file: PathBuf,
    /// Prints one JSON object
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
    /// Generations that another version has recorded, which only its own programs can replay.
    pub left_out: u64,
    /// The lines, counted from 1, that a death has cut, each the last of its generation.
    pub cut_lines: Vec<u64>,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The log is what the core does.
    Conformant(Conformity),
    /// It is not.
    Different(Box<Difference>),
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
pub fn conform(log: impl BufRead) -> Result<Finding, LogError> {
    let mut log = Reader::new(log)?;
    let (mut found, mut flown) = (Conformity::default(), None::<Flown>);
    while let Some(entry) = log.entry()? {
        match entry {
            Entry::Head(head) => {
                found.end_generation(flown.take());
                match Flown::boot(log.line(), *head) {
                    Ok(begun) => flown = Some(begun),
                    Err(difference) => return Ok(Finding::Different(difference)),
                }
                found.generations += 1;
                found.last = flown.as_ref().map_or(found.last, |begun| begun.generation);
            }
            Entry::Step(step) => {
                let Some(flown) = &mut flown else { return Err(LogError::Foreign) };
                found.inputs += u64::from(step.input.is_some());
                found.effects += step.effects.len() as u64;
                if let Err(difference) = flown.step(log.line(), &step) {
                    return Ok(Finding::Different(difference));
                }
            }
            Entry::CutHead => {
                found.end_generation(flown.take());
                found.cut_lines.push(log.line());
            }
            Entry::CutStep => found.cut_lines.push(log.line()),
        }
    }
    found.end_generation(flown);
    found.left_out = log.left_out();
    Ok(Finding::Conformant(found))
}

/// One generation of a log, replayed. A core that panics where the real one did not is a difference.
struct Flown {
    replay: Replay,
    generation: GenerationId,
    version: String,
}

impl Flown {
    fn boot(line: u64, head: Head) -> Result<Self, Box<Difference>> {
        let (generation, version, at) = (head.generation, head.version.clone(), head.now);
        let differs = |expected: String| {
            let (version, recorded) = (version.clone(), generation.to_string());
            Err(Box::new(Difference { generation, line, at, input: None, expected, recorded, version }))
        };
        match panics::caught(|| Replay::new(head)) {
            Ok(replay) if replay.core().generation() == generation => Ok(Self { replay, generation, version }),
            Ok(replay) => differs(replay.core().generation().to_string()),
            Err(what) => differs(format!("a panic: {what}")),
        }
    }

    fn step(&mut self, line: u64, step: &Step) -> Result<(), Box<Difference>> {
        let Self { replay, generation, version } = self;
        panics::caught(|| replay.step(line, step)).unwrap_or_else(|what| {
            let (generation, version, expected) = (*generation, version.clone(), format!("a panic: {what}"));
            let Step { at, input, effects, .. } = step.clone();
            let recorded = json(&effects);
            Err(Box::new(Difference { generation, line, at, input, expected, recorded, version }))
        })
    }
}

impl Conformity {
    /// No more lines of this generation follow.
    fn end_generation(&mut self, flown: Option<Flown>) {
        self.without_end += u64::from(flown.is_some_and(|flown| !flown.replay.has_ended()));
    }
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
            Self::Conformant(Conformity { generations, inputs, effects, without_end, left_out, cut_lines, .. }) => {
                write!(f, "conformant: {generations} generations, {inputs} inputs, {effects} effects")?;
                if *without_end > 0 {
                    write!(
                        f,
                        "\ngenerations whose end is not in the log (killed, alive, or not recorded to the end): {without_end}"
                    )?;
                }
                if *left_out > 0 {
                    write!(f, "\ngenerations that another version has recorded, left out: {left_out}")?;
                }
                if !cut_lines.is_empty() {
                    let lines: Vec<String> = cut_lines.iter().map(u64::to_string).collect();
                    write!(f, "\nlines that a death has cut: {}", lines.join(", "))?;
                }
                Ok(())
            }
            Self::Different(difference) => write!(f, "not conformant: {difference}"),
        }
    }
}
