//! The swarm: the production core in a world of simulated time, for long lives with hundreds of sessions and dozens of
//! generations. Each seed draws what its world is like and which faults exist in it, disturbs, heals, and must come to rest; it runs
//! twice and must do the same twice. A failure leaves a trace, made as small as can be.
//!
//! Nothing here decides what is right: that is `evergate_core::witness`, and what the chats have seen at the end.

mod agent;
mod case;
mod chat;
mod config;
mod disk;
mod driving;
mod fault;
mod healing;
mod marks;
mod operator;
mod plan;
mod process;
mod queue;
mod random;
mod report;
mod rolling;
mod watching;
mod world;

pub use case::{Case, again};
pub use config::{Config, Planted};
pub use fault::{Fault, Often};
pub use healing::{Lived, Tell};
pub use marks::{Mark, Marks};
pub use report::{Found, Summary};

use crate::replay::SAME;
use crate::story::Broken;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// So many failures are made smaller; the traces of more are written as they are.
const SHRUNK: usize = 3;

/// Which runs are to be made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first seed; each further run has the next.
    pub seed: u64,
    /// How many runs.
    pub runs: u64,
    /// On so many threads. The result does not depend on it.
    pub threads: usize,
    /// A mistake that is put into each world.
    pub planted: Option<Planted>,
    /// Where traces of failures go.
    pub out: PathBuf,
}

impl Options {
    /// The run of a seed.
    fn case(&self, seed: u64) -> Case {
        Case::of(Config { planted: self.planted, ..Config::drawn(seed) })
    }
}

/// Runs the swarm. Fails only when a trace cannot be written.
pub fn swarm(options: &Options) -> io::Result<Summary> {
    let next = AtomicU64::new(0);
    let all = Mutex::new(Summary::new(options));
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= options.runs {
                        break;
                    }
                    let seed = options.seed.wrapping_add(run);
                    let (lived, inputs) = twice(&options.case(seed));
                    all.lock().unwrap_or_else(PoisonError::into_inner).add(seed, lived, inputs);
                }
            });
        }
    });
    let mut summary = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.found.sort_by_key(|found| found.seed.wrapping_sub(options.seed));
    for (number, found) in summary.found.iter_mut().enumerate() {
        found.trace = Some(leave_trace(options, found, number < SHRUNK)?);
    }
    Ok(summary)
}

/// Lives through a run twice: both must be the same. Gives the first, and the inputs of both.
fn twice(case: &Case) -> (Lived, u64) {
    let mut first = case.live(Tell::No);
    let second = case.live(Tell::No);
    let inputs = first.inputs + second.inputs;
    if first != second && first.broken.is_none() {
        let what =
            format!("after {} inputs {:x}, and after {} {:x}", first.inputs, first.trace, second.inputs, second.trace);
        first.broken = Some(Broken { invariant: SAME.to_owned(), what });
    }
    (first, inputs)
}

fn leave_trace(options: &Options, found: &Found, shrink: bool) -> io::Result<PathBuf> {
    let case = options.case(found.seed);
    let case = if shrink { case.shrunk(&found.broken) } else { case };
    let path = options.out.join(format!("swarm-{}.trace.jsonl", found.seed));
    let mut file = io::BufWriter::new(std::fs::File::create(&path)?);
    case.trace(Some(&found.broken)).write(&mut file)?;
    io::Write::flush(&mut file)?;
    Ok(path)
}

#[cfg(test)]
mod tests;
