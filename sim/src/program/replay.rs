//! `evergate-sim replay`: takes a trace again, as text or as a page.

use super::{NOTHING_BROKEN, Trouble, VIOLATION};
use crate::trace::{Kind, Trace};
use crate::{explore, harbor, page, swarm, told};
use clap::Args;
use std::path::{Path, PathBuf};

/// `replay`.
#[derive(Args)]
pub struct Replay {
    /// The trace that a failure has left, or the seed of a run of the swarm
    #[arg(value_name = "FILE|SEED")]
    what: String,
    /// Draws a page that needs nothing but a browser
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,
}

/// Replays and tells; the exit status says whether a rule broke.
pub fn run(arguments: &Replay) -> Result<u8, Trouble> {
    let trace = find(&arguments.what)?;
    let story = match trace.kind {
        Kind::Explore => explore::replay(&trace),
        Kind::Swarm => swarm::replay(&trace),
        Kind::Harbor => harbor::replay(&trace),
    };
    let story = story.map_err(|error| Trouble::data(format!("{}: {error}", arguments.what)))?;
    match &arguments.html {
        None => print!("{}", told::tell(&story)),
        Some(out) => {
            std::fs::write(out, page::draw(&story))
                .map_err(|error| Trouble::usage(format!("the page cannot be written to {}: {error}", out.display())))?;
            println!("{} moments drawn to {}", story.moments.len(), out.display());
        }
    }
    if let (Some(broken), Some(_)) = (&story.broken, &arguments.html) {
        println!("VIOLATION {}: {}", broken.invariant, broken.what);
    }
    Ok(if story.broken.is_some() { VIOLATION } else { NOTHING_BROKEN })
}

fn find(what: &str) -> Result<Trace, Trouble> {
    if let (false, Ok(seed)) = (Path::new(what).exists(), what.parse()) {
        return Ok(swarm::Case::of(swarm::Config::drawn(seed)).trace());
    }
    let text = std::fs::read(what).map_err(|error| Trouble::data(format!("{what} cannot be read: {error}")))?;
    let text =
        String::from_utf8(text).map_err(|_| Trouble::data(format!("{what}: this is no text, and so no trace")))?;
    Trace::read(&text).map_err(|error| Trouble::data(format!("{what}: {error}")))
}
