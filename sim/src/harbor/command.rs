//! `evergate-sim harbor`: many runs, spread over threads and reported in the order of their seeds. Each run is a world of its
//! own, so the number of threads changes nothing but the time.

use super::logbook::{Mark, Pages};
use super::plan::Plan;
use super::run::run;
use crate::program::Trouble;
use crate::story::{Broken, Story};
use crate::trace::{Kind, Trace, TraceError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Instant;

/// Runs that the floors of the marks are made for.
const FLOOR_RUNS: u64 = 500;
/// Below that many runs a mark that was not reached says nothing.
const FLOORS_FROM: u64 = 100;
/// Failures that are written to files; more would only say the same again.
const FILES: usize = 20;

/// Shakes the real runtime in a simulated harbor: crashes, power cuts, partitions, a failing and a full disk.
#[derive(clap::Args)]
pub struct Arguments {
    /// The seed of the first run; each further run has the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Threads; by default as many as there are cores.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: Option<u64>,
    /// Runs each seed twice; a run that is not the same the second time is a violation.
    #[arg(long)]
    twice: bool,
    /// Where the traces of failures go.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Ends with one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// What a set of runs came to.
#[derive(Default)]
struct Outcome {
    inputs: u64,
    simulated_ms: u64,
    marks: BTreeMap<Mark, u64>,
    violations: Vec<Value>,
}

/// Runs them all; the exit status says whether something broke.
pub fn command(arguments: &Arguments) -> Result<u8, Trouble> {
    let Some(end) = arguments.seed.checked_add(arguments.runs) else {
        return Err(Trouble::usage("--seed and --runs together go beyond the last seed; give a smaller --seed"));
    };
    let threads =
        arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u64));
    let begun = Instant::now();
    let mut outcome = Outcome::default();
    let run = if arguments.twice { run_twice } else { run };
    each_in_order(arguments.seed..end, threads, run, |seed, plan, pages| {
        outcome.take_in(arguments, seed, plan, &pages)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    if arguments.runs >= FLOORS_FROM {
        outcome.check_floors(arguments.runs);
    }
    let marks: BTreeMap<&str, u64> =
        Mark::TABLE.iter().map(|(mark, word, _)| (*word, outcome.marks.get(mark).copied().unwrap_or(0))).collect();
    println!(
        "harbor: seeds {} to {}, {} runs, {:.0} simulated seconds, {} inputs in {seconds:.2} s ({:.0} runs/s on {threads} threads)",
        arguments.seed,
        end - 1,
        arguments.runs,
        outcome.simulated_ms as f64 / 1000.0,
        outcome.inputs,
        arguments.runs as f64 / seconds,
    );
    for (word, count) in &marks {
        println!("{count:>8}  {word}");
    }
    let broken = outcome.violations.len();
    println!("{}", if broken == 0 { "nothing broke".into() } else { format!("{broken} violations") });
    if arguments.json {
        let Outcome { inputs, violations, .. } = outcome;
        let object = json!({
            "seed": arguments.seed, "runs": arguments.runs, "inputs": inputs, "seconds": seconds,
            "violations": violations, "marks": marks,
        });
        println!("{object}");
    }
    Ok(if broken == 0 { crate::program::NOTHING_BROKEN } else { crate::program::VIOLATION })
}

/// Runs seeds on threads and hands the results over in the order of the seeds.
fn each_in_order(
    seeds: std::ops::Range<u64>,
    threads: u64,
    run: fn(Plan) -> Pages,
    mut take_in: impl FnMut(u64, Plan, Pages) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        let (done, results) = mpsc::sync_channel(64);
        for _ in 0..threads {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let plan = Plan::draw(seed);
                    let pages = run(plan.clone());
                    // Whoever listens has gone only because of an error of its own.
                    if done.send((seed, plan, pages)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        let mut early = BTreeMap::new();
        let mut awaited = seeds.start;
        for (seed, plan, pages) in results {
            early.insert(seed, (plan, pages));
            while let Some((plan, pages)) = early.remove(&awaited) {
                take_in(awaited, plan, pages)?;
                awaited += 1;
            }
        }
        Ok(())
    })
}

/// Runs a plan, and once more to see that it is the same run.
fn run_twice(plan: Plan) -> Pages {
    let mut pages = run(plan.clone());
    let again = run(plan);
    if let Some(at) =
        (0..pages.moments.len().max(again.moments.len())).find(|at| pages.moments.get(*at) != again.moments.get(*at))
    {
        let what = format!("moment {at} is {:?} and then {:?}", pages.moments.get(at), again.moments.get(at));
        pages.broken.push(Broken { invariant: "SAME".into(), what });
    }
    pages
}

impl Outcome {
    fn take_in(&mut self, arguments: &Arguments, seed: u64, plan: Plan, pages: &Pages) -> Result<(), Trouble> {
        self.inputs += pages.inputs;
        self.simulated_ms += pages.now_ms;
        for (mark, count) in &pages.marks {
            *self.marks.entry(*mark).or_default() += count;
        }
        let Some(Broken { invariant, what }) = pages.broken.first() else { return Ok(()) };
        println!("seed {seed} breaks {invariant}: {what}");
        let config = serde_json::to_value(&plan).expect("a plan is plain data with string keys");
        println!("  its plan: {config}");
        let mut violation = json!({"seed": seed, "invariant": invariant, "what": what});
        if self.violations.len() < FILES {
            let path = arguments.out.join(format!("harbor-{seed}.trace.jsonl"));
            write(&path, config, pages)
                .map_err(|error| Trouble::usage(format!("{}: {error}; give another --out", path.display())))?;
            println!("  evergate-sim replay {}", path.display());
            violation["trace"] = path.display().to_string().into();
        }
        println!("  evergate-sim harbor --seed {seed} --runs 1");
        self.violations.push(violation);
        Ok(())
    }

    /// A set of runs that never came to a place has shown nothing about it.
    fn check_floors(&mut self, runs: u64) {
        for (mark, word, floor) in Mark::TABLE {
            let (least, count) = (floor * runs / FLOOR_RUNS, self.marks.get(mark).copied().unwrap_or(0));
            if count < least {
                println!("{word}: reached {count} times in {runs} runs; at least {least} are needed");
                let what = format!("{word}: {count} times in {runs} runs, at least {least} are needed");
                self.violations.push(json!({"invariant": "FLOOR", "what": what}));
            }
        }
    }
}

fn write(path: &Path, config: Value, pages: &Pages) -> std::io::Result<()> {
    let steps = pages.moments.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    let mut file = BufWriter::new(File::create(path)?);
    Trace { kind: Kind::Harbor, config, steps }.write(&mut file)?;
    std::io::Write::flush(&mut file)
}

/// Runs the plan of a trace again and tells what happened this time; the same, if the gateway is the same.
pub fn replay(trace: &Trace) -> Result<Story, TraceError> {
    let plan: Plan =
        serde_json::from_value(trace.config.clone()).map_err(|error| TraceError::Head(error.to_string()))?;
    let title = format!("harbor --seed {}: {}", plan.seed, trace.config);
    let pages = run(plan);
    Ok(Story { title, moments: pages.moments, broken: pages.broken.into_iter().next() })
}
