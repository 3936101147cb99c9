//! `evergate-sim replay`: takes a trace again, as text or as a page.

use super::{GONE, NOTHING_BROKEN, Trouble, VIOLATION};
use crate::replay::{Ending, Replayed, replay};
use crate::trace::{Trace, TraceError};
use crate::{harbor, page, swarm, told};
use clap::Args;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// `replay`.
#[derive(Args)]
pub struct Replay {
    /// A failure's trace, a seed of the swarm, or the configuration or plan that a run has printed
    #[arg(value_name = "FILE|SEED|LINE")]
    what: String,
    /// Draws a page that needs nothing but a browser
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,
}

/// Replays and tells; the exit status says whether a rule broke.
pub fn run(arguments: &Replay) -> Result<u8, Trouble> {
    let trace = find(&arguments.what)?;
    let replayed = replay(&trace).map_err(|error| unusable(&arguments.what, error))?;
    let Replayed { story, ending, sentence } = replayed;
    // A reader who has seen enough (`| head`) is no error.
    let mut out = io::stdout().lock();
    let _unread = match &arguments.html {
        None => write!(out, "{}", told::tell(&story)),
        Some(page) => {
            std::fs::write(page, page::draw(&story)).map_err(|error| {
                Trouble::usage(format!("the page cannot be written to {}: {error}", page.display()))
            })?;
            let broken = story.broken.as_ref().map(|broken| format!("VIOLATION {broken}\n")).unwrap_or_default();
            write!(out, "{} moments drawn to {}\n{broken}", story.moments.len(), page.display())
        }
    };
    if ending == Ending::Gone {
        return Err(Trouble { sentence: format!("{}: {sentence}", arguments.what), status: GONE });
    }
    let _unread = writeln!(out, "\n{sentence}");
    Ok(if story.broken.is_some() { VIOLATION } else { NOTHING_BROKEN })
}

fn find(what: &str) -> Result<Trace, Trouble> {
    if let (false, Ok(seed)) = (Path::new(what).exists(), what.parse()) {
        return Ok(swarm::Case::of(swarm::Config::drawn(seed)).trace(None));
    }
    if what.trim_start().starts_with('{') && !Path::new(what).exists() {
        return configured(what.trim());
    }
    let text = read(what).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => unusable(what, TraceError::Foreign),
        io::ErrorKind::NotFound => {
            Trouble::data(format!("{what}: there is no such file, and a seed is a whole number from 0 to {}", u64::MAX))
        }
        _ => Trouble::data(format!("{what} cannot be read: {error}")),
    })?;
    Trace::read(&text).map_err(|error| unusable(what, error))
}

/// The run that this line is the whole configuration of, made once to know what happens in it.
fn configured(line: &str) -> Result<Trace, Trouble> {
    let of_the_swarm = match serde_json::from_str(line) {
        Ok(config) => return Ok(swarm::Case::of(config).trace(None)),
        Err(error) => error,
    };
    let of_the_harbor = match serde_json::from_str(line) {
        Ok(plan) => return Ok(harbor::traced(plan)),
        Err(error) => error,
    };
    let what =
        format!("it is no configuration of the swarm ({of_the_swarm}) and no plan of the harbor ({of_the_harbor})");
    Err(Trouble::data(format!("the line that begins with {:?}: {what}", line.chars().take(20).collect::<String>())))
}

fn unusable(what: &str, error: TraceError) -> Trouble {
    Trouble::data(format!("{what}: {error}"))
}

/// The whole file, unless its beginning shows that it is something else: that may have no end.
fn read(path: &str) -> io::Result<String> {
    let mut file = BufReader::new(File::open(path)?);
    let begins = file.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace());
    if begins.is_some_and(|byte| *byte != b'{') {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(io::Error::other("it is no text, and so no trace"))
        }
        read => read.map(|_| text),
    }
}
