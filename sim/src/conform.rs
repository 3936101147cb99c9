//! Whether a real life of the gateway was what its core says: replays a flight log, as `evergate run --flight-log` writes
//! it, through the core (`evergate::flight::replay`), and finds the first place where the two differ. It keeps one line of the
//! log in memory, however long that is.

use crate::program::{NOTHING_BROKEN, Trouble, VIOLATION};
use evergate::flight::reader::{Entry, Reader};
use evergate::flight::replay::Replay;
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
    let (mut found, mut replay) = (Conformity::default(), None::<Replay>);
    while let Some(entry) = log.entry()? {
        match entry {
            Entry::Head(head) => {
                found.end_generation(replay.take());
                let begun = Replay::new(*head);
                found.generations += 1;
                found.last = begun.core().generation();
                replay = Some(begun);
            }
            Entry::Step(step) => {
                let Some(replay) = &mut replay else { return Err(LogError::Foreign) };
                found.inputs += u64::from(step.input.is_some());
                found.effects += step.effects.len() as u64;
                if let Err(difference) = replay.step(log.line(), &step) {
                    return Ok(Finding::Different(difference));
                }
            }
            Entry::CutHead => {
                found.end_generation(replay.take());
                found.cut_lines.push(log.line());
            }
            Entry::CutStep => found.cut_lines.push(log.line()),
        }
    }
    found.end_generation(replay);
    Ok(Finding::Conformant(found))
}

impl Conformity {
    /// No more lines of this generation follow.
    fn end_generation(&mut self, replay: Option<Replay>) {
        self.without_end += u64::from(replay.is_some_and(|replay| !replay.has_ended()));
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
            Self::Different(difference) => write!(f, "not conformant: {difference}"),
        }
    }
}
