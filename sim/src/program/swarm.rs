//! `evergate-sim swarm`: what it takes, what it prints, and its exit status.

use super::{NOTHING_BROKEN, Trouble, VIOLATION, arguments, rate};
use crate::swarm::{Config, Options, Planted, swarm};
use clap::Args;
use std::path::PathBuf;
use std::time::Instant;

/// `swarm`.
#[derive(Args)]
pub struct Swarm {
    /// The seed of the first run; each further run has the next
    #[arg(long, default_value_t = 1, value_parser = arguments::seed)]
    seed: u64,
    /// How many runs
    #[arg(long, default_value_t = 100, value_parser = arguments::count)]
    runs: u64,
    /// On how many threads, by default one for each core; the result does not depend on it
    #[arg(long, value_parser = arguments::threads)]
    threads: Option<usize>,
    /// Puts a known mistake into each world, to see that it is found
    #[arg(long, value_enum, value_name = "MISTAKE")]
    plant: Option<Planted>,
    /// The directory for traces of failures
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the swarm and says what it found.
pub fn run(Swarm { seed, runs, threads, plant, out, json }: &Swarm) -> Result<u8, Trouble> {
    arguments::directory(out)?;
    if seed.checked_add(*runs).is_none() {
        return Err(Trouble::usage("--seed and --runs together go beyond the last seed; give a smaller --seed"));
    }
    let threads = threads.unwrap_or_else(arguments::cores);
    let began = Instant::now();
    let options = Options { seed: *seed, runs: *runs, threads, planted: *plant, out: out.clone() };
    let summary = swarm(&options)
        .map_err(|error| Trouble::usage(format!("no trace can be written to {}: {error}", out.display())))?;
    let seconds = began.elapsed().as_secs_f64();
    say!("{summary}");
    if *runs == 1 && summary.is_clean() {
        let config = Config { planted: *plant, ..Config::drawn(*seed) };
        say!("its configuration, which replay takes: {}", config.line());
    }
    let rate = summary.inputs as f64 / seconds;
    let of_a_core = rate::of_a_core(summary.inputs);
    say!("{} inputs in {seconds:.1} s on {threads} threads: {rate:.0} a second{of_a_core}", summary.inputs);
    if *json {
        say!("{}", summary.json(seconds));
    }
    Ok(if summary.is_clean() { NOTHING_BROKEN } else { VIOLATION })
}
