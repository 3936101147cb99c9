//! `evergate-sim harbor`: many runs, spread over threads and reported in the order of their seeds. Each run is a world of its
//! own, so the number of threads changes nothing but the time.

use super::disk::{Death, Honesty};
use super::logbook::{Mark, Pages};
use super::plan::{Breakage, Fault, Plan};
use super::run::run;
use crate::program::{Trouble, arguments, rate};
use crate::replay::{self, Again, SAME};
use crate::story::{Broken, Moment, Story};
use crate::trace::{Kind, Named, Trace, TraceError};
use evergate_core::invariant::Invariant;
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
/// What no audit can see here: whether rest is reached is asked of the clients, and no agent here asks its chat anything.
const UNSEEN: [Invariant; 2] = [Invariant::Finite, Invariant::Consent];
/// When the one crash of `--one-crash` comes: in the midst of what is said.
const CRASH_MS: u64 = 500;
/// Failures that are written to files; more would only say the same again.
const FILES: usize = 20;

/// Shakes the real runtime in a simulated harbor: crashes, power cuts, partitions, a failing and a full disk.
#[derive(clap::Args)]
pub struct Arguments {
    /// The seed of the first run; each further run has the next
    #[arg(long, default_value_t = 1, value_parser = arguments::seed)]
    seed: u64,
    /// How many runs
    #[arg(long, default_value_t = 100, value_parser = arguments::count)]
    runs: u64,
    /// On how many threads, by default one for each core; the result does not depend on it
    #[arg(long, value_parser = arguments::threads)]
    threads: Option<usize>,
    /// Runs each seed twice; a run that is not the same the second time is a violation
    #[arg(long)]
    twice: bool,
    /// Puts a known mistake into each world, to see that it is found
    #[arg(long, value_enum, value_name = "MISTAKE")]
    plant: Option<Planted>,
    /// Twenty messages and one power cut in each run and no other trouble: the shape that rates are measured in
    #[arg(long)]
    one_crash: bool,
    /// The directory for traces of failures
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
}

/// A mistake that can be put into a world. No seed draws one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Planted {
    /// The disk says that it has synced, and has not
    LyingDisk,
}

impl Arguments {
    /// What a seed chooses, and what was planted.
    fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::draw(seed);
        if self.one_crash {
            plan.faults = vec![Fault { at_ms: CRASH_MS, what: Breakage::Death(Death::PowerCut) }];
            plan.operators.clear();
            plan.fill();
        }
        match self.plant {
            Some(Planted::LyingDisk) => Plan { disk: Honesty::Lies, ..plan },
            None => plan,
        }
    }
}

/// What a set of runs came to.
#[derive(Default)]
struct Outcome {
    inputs: u64,
    simulated_ms: u64,
    marks: BTreeMap<Mark, u64>,
    /// The rules that the audits looked at, as bits.
    looked: u32,
    violations: Vec<Value>,
}

/// Runs them all; the exit status says whether something broke.
pub fn command(arguments: &Arguments) -> Result<u8, Trouble> {
    let Some(end) = arguments.seed.checked_add(arguments.runs) else {
        return Err(Trouble::usage("--seed and --runs together go beyond the last seed; give a smaller --seed"));
    };
    arguments::directory(&arguments.out)?;
    let threads = arguments.threads.unwrap_or_else(arguments::cores);
    let begun = Instant::now();
    let mut outcome = Outcome::default();
    let run = if arguments.twice { run_twice } else { run };
    let draw = |seed| arguments.plan(seed);
    each_in_order(arguments.seed..end, threads, draw, run, |seed, plan, pages| {
        outcome.take_in(arguments, seed, &plan, &pages);
    });
    let seconds = begun.elapsed().as_secs_f64();
    if arguments.runs >= FLOORS_FROM && !arguments.one_crash {
        outcome.check_floors(arguments.runs);
    }
    let marks: BTreeMap<&str, u64> =
        Mark::TABLE.iter().map(|(mark, word, _)| (*word, outcome.marks.get(mark).copied().unwrap_or(0))).collect();
    say!(
        "harbor: seeds {} to {}, {} runs, {:.0} simulated seconds, {} inputs in {seconds:.2} s ({:.0} runs a second on {threads} threads{})",
        arguments.seed,
        end - 1,
        arguments.runs,
        outcome.simulated_ms as f64 / 1000.0,
        outcome.inputs,
        arguments.runs as f64 / seconds,
        rate::of_a_core(arguments.runs),
    );
    for (word, count) in &marks {
        say!("{count:>8}  {word}");
    }
    let rules = rules(outcome.looked, true);
    say!("looked at {} of {} rules: {}", rules.len(), Invariant::ALL.len(), rules.join(" "));
    let broken = outcome.violations.len();
    say!("{}", if broken == 0 { "nothing broke".into() } else { format!("{broken} violations") });
    if arguments.json {
        let Outcome { inputs, violations, .. } = outcome;
        let object = json!({
            "seed": arguments.seed, "runs": arguments.runs, "inputs": inputs, "seconds": seconds,
            "violations": violations, "marks": marks, "rules": rules,
        });
        say!("{object}");
    }
    Ok(if broken == 0 { crate::program::NOTHING_BROKEN } else { crate::program::VIOLATION })
}

/// Runs seeds on threads and hands the results over in the order of the seeds.
fn each_in_order(
    seeds: std::ops::Range<u64>,
    threads: usize,
    draw: impl Fn(u64) -> Plan + Sync,
    run: fn(Plan) -> Pages,
    mut take_in: impl FnMut(u64, Plan, Pages),
) {
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        let (done, results) = mpsc::sync_channel(64);
        for _ in 0..threads {
            let (done, next, draw) = (done.clone(), &next, &draw);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let plan = draw(seed);
                    let pages = run(plan.clone());
                    // Whoever listens goes last.
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
                take_in(awaited, plan, pages);
                awaited += 1;
            }
        }
    });
}

/// Runs a plan, and once more to see that it is the same run.
fn run_twice(plan: Plan) -> Pages {
    let mut pages = run(plan.clone());
    pages.broken.extend(replay::unlike(&steps(&pages.moments), &steps(&run(plan).moments)));
    pages
}

impl Outcome {
    fn take_in(&mut self, arguments: &Arguments, seed: u64, plan: &Plan, pages: &Pages) {
        self.inputs += pages.inputs;
        self.simulated_ms += pages.now_ms;
        self.looked |= pages.looked;
        for (mark, count) in &pages.marks {
            *self.marks.entry(*mark).or_default() += count;
        }
        let Some(Broken { invariant, what }) = pages.broken.first() else { return };
        say!("seed {seed} breaks {invariant}: {what}");
        let trace = trace(plan, pages);
        say!("  its plan, which replay takes: {}", trace.config);
        let mut violation = json!({"seed": seed, "invariant": invariant, "what": what});
        if self.violations.len() < FILES {
            let path = arguments.out.join(format!("harbor-{seed}.trace.jsonl"));
            match write(&path, &trace) {
                Ok(()) => {
                    say!("  evergate-sim replay {}", path.display());
                    violation["trace"] = path.display().to_string().into();
                }
                Err(error) => say!("  no trace can be written to {}: {error}", path.display()),
            }
        }
        let planted = if arguments.plant.is_some() { " --plant lying-disk" } else { "" };
        let crash = if arguments.one_crash { " --one-crash" } else { "" };
        say!("  evergate-sim harbor --seed {seed} --runs 1{planted}{crash}");
        self.violations.push(violation);
    }

    /// A set of runs that never came to a place has shown nothing about it.
    fn check_floors(&mut self, runs: u64) {
        for (mark, word, floor) in Mark::TABLE {
            let (least, count) = (floor * runs / FLOOR_RUNS, self.marks.get(mark).copied().unwrap_or(0));
            if count < least {
                say!("{word}: reached {count} times in {runs} runs; at least {least} are needed");
                let what = format!("{word}: {count} times in {runs} runs, at least {least} are needed");
                self.violations.push(json!({"invariant": "FLOOR", "what": what}));
            }
        }
        for rule in rules(self.looked, false).into_iter().filter(|rule| !UNSEEN.map(Invariant::name).contains(rule)) {
            say!("{rule} never had anything to look at: this says nothing about it");
            self.violations
                .push(json!({"invariant": "FLOOR", "what": format!("{rule} never had anything to look at")}));
        }
    }
}

/// The names of the rules that were looked at, or of the others.
fn rules(looked: u32, were: bool) -> Vec<&'static str> {
    let of = |rule: &&Invariant| (looked & (1 << **rule as u32) != 0) == were;
    Invariant::ALL.iter().filter(of).map(|rule| rule.name()).collect()
}

/// A run as a file that can be replayed.
pub(super) fn trace(plan: &Plan, pages: &Pages) -> Trace {
    let steps = steps(&pages.moments);
    let broken = pages.broken.first().cloned().map(|broken| Named::after(steps.len(), broken));
    let config = serde_json::to_value(plan).expect("a plan is plain data with string keys");
    Trace { kind: Kind::Harbor, broken, config, steps }
}

/// A plan as it can be replayed, once it has been run.
pub fn traced(plan: Plan) -> Trace {
    let pages = run(plan.clone());
    trace(&plan, &pages)
}

fn write(path: &Path, trace: &Trace) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    trace.write(&mut file)?;
    std::io::Write::flush(&mut file)
}

/// The lines of a trace.
fn steps(moments: &[Moment]) -> Vec<Value> {
    moments.iter().map(|moment| json!(moment)).collect()
}

/// Runs the plan of a trace again; the plan of a run that was not the same twice, twice.
pub fn again(trace: &Trace) -> Result<Again, TraceError> {
    let plan: Plan =
        serde_json::from_value(trace.config.clone()).map_err(|error| TraceError::Head(error.to_string()))?;
    let (title, setting) = (format!("harbor, seed {}", plan.seed), trace.config.to_string());
    let twice = trace.broken.as_ref().is_some_and(|broken| broken.invariant == SAME);
    let Pages { moments, broken, .. } = if twice { run_twice(plan) } else { run(plan) };
    let steps = steps(&moments);
    let story = Story { title, setting, moments, broken: broken.into_iter().next() };
    Ok(Again { story, steps, stuck: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came of so many runs in which each mark was reached as often as it has to be and all rules were looked at that can be.
    fn enough(runs: u64) -> Outcome {
        let marks = Mark::TABLE.iter().map(|(mark, _, floor)| (*mark, floor * runs / FLOOR_RUNS)).collect();
        let looked = Invariant::ALL.iter().filter(|rule| !UNSEEN.contains(rule));
        Outcome { marks, looked: looked.fold(0, |bits, rule| bits | 1 << *rule as u32), ..Outcome::default() }
    }

    #[test]
    fn a_run_of_one_crash_has_twenty_messages_and_all_else_as_its_seed_draws_it() {
        let arguments = |one_crash| Arguments {
            seed: 1,
            runs: 1,
            threads: None,
            twice: false,
            plant: None,
            one_crash,
            out: PathBuf::new(),
            json: false,
        };
        let mut filled = 0;
        for seed in 1..=200 {
            let (drawn, plan) = (arguments(false).plan(seed), arguments(true).plan(seed));
            assert_eq!(drawn, Plan::draw(seed));
            let bot = plan.telegram.iter().map(|telegram| telegram.messages());
            let said = plan.sessions.iter().map(|chat| chat.says.len());
            assert_eq!(bot.chain(said).sum::<usize>(), 20, "seed {seed}");
            let mut texts: Vec<&str> =
                plan.sessions.iter().flat_map(|chat| &chat.says).map(|say| say.text.as_str()).collect();
            texts.retain(|text| !text.starts_with('/'));
            texts.sort_unstable();
            let all = texts.len();
            texts.dedup();
            assert_eq!(texts.len(), all, "seed {seed}: {texts:?}");
            let crash = Fault { at_ms: CRASH_MS, what: Breakage::Death(Death::PowerCut) };
            assert_eq!((plan.faults.as_slice(), plan.operators.len()), (&[crash][..], 0));
            for (chat, was) in plan.sessions.iter().zip(&drawn.sessions) {
                assert!(chat.says.starts_with(&was.says) && chat.says.len() <= was.says.len() + 1, "seed {seed}");
                filled += chat.says.len() - was.says.len();
            }
        }
        assert!(filled > 0, "no seed draws fewer messages");
    }

    /// What so many runs break by what they did not come to.
    fn lacks(runs: u64, mut outcome: Outcome) -> Vec<Value> {
        outcome.check_floors(runs);
        outcome.violations
    }

    #[test]
    fn a_single_mark_below_its_floor_is_a_violation_and_is_named() {
        for runs in [FLOORS_FROM, FLOOR_RUNS, 3 * FLOOR_RUNS] {
            assert_eq!(lacks(runs, enough(runs)), [] as [Value; 0]);
            for (mark, word, floor) in Mark::TABLE {
                let (mut outcome, least) = (enough(runs), floor * runs / FLOOR_RUNS);
                let Some(count) = least.checked_sub(1) else { continue };
                outcome.marks.insert(*mark, count);
                let what = format!("{word}: {count} times in {runs} runs, at least {least} are needed");
                assert_eq!(lacks(runs, outcome), [json!({"invariant": "FLOOR", "what": what})]);
            }
        }
        let mut never = enough(FLOOR_RUNS);
        never.marks.remove(&Mark::DeathInsideCommit);
        let violations = lacks(FLOOR_RUNS, never);
        assert!(violations.len() == 1 && violations[0]["what"].to_string().contains("death inside a commit: 0 "));
    }

    #[test]
    fn a_rule_that_no_audit_looked_at_is_a_violation_and_is_named() {
        let mut outcome = enough(FLOOR_RUNS);
        outcome.looked &= !(1 << Invariant::Reply as u32);
        let what = "REPLY never had anything to look at";
        assert_eq!(lacks(FLOOR_RUNS, outcome), [json!({"invariant": "FLOOR", "what": what})]);
    }
}
