//! What a swarm has found, for people and for programs.

use super::Options;
use super::config::{Config, Planted};
use super::healing::Lived;
use super::marks::{Mark, Marks};
use crate::story::Broken;
use evergate_core::invariant::Invariant;
use serde_json::{Map, Value, json};
use std::fmt;
use std::path::PathBuf;

/// From so many runs on, marks that were reached too rarely are a failure.
const ENFORCED_FROM: u64 = 500;

/// All runs of one swarm.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The first seed.
    pub seed: u64,
    /// How many runs there were.
    pub runs: u64,
    /// The mistake that was put into each.
    pub planted: Option<Planted>,
    /// Inputs that the core handled, of both lives of each run.
    pub inputs: u64,
    /// Generations that began, of one life of each run.
    pub generations: u64,
    /// The most of them in one run.
    pub most_generations: u64,
    /// How often each mark was reached.
    pub marks: Marks,
    /// The rules that were looked at, as bits.
    looked: u32,
    /// What broke, by seed.
    pub found: Vec<Found>,
}

/// A run in which a rule broke.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its seed.
    pub seed: u64,
    /// The rule.
    pub broken: Broken,
    /// Where its trace is.
    pub trace: Option<PathBuf>,
}

impl Summary {
    pub(super) fn new(&Options { seed, runs, planted, .. }: &Options) -> Self {
        Self {
            seed,
            runs,
            planted,
            inputs: 0,
            generations: 0,
            most_generations: 0,
            marks: Marks::default(),
            looked: 0,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, seed: u64, lived: Lived, inputs: u64) {
        self.inputs += inputs;
        self.generations += lived.generations;
        self.most_generations = self.most_generations.max(lived.generations);
        self.marks.add(&lived.marks);
        self.looked |= lived.looked;
        if let Some(broken) = lived.broken {
            self.found.push(Found { seed, broken, trace: None });
        }
    }

    /// The marks that should have been reached more often, each with its floor.
    #[must_use]
    pub fn missed(&self) -> Vec<(Mark, u64)> {
        if self.runs < ENFORCED_FROM { Vec::new() } else { self.marks.below_floor(self.runs).collect() }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.found.is_empty() && self.missed().is_empty()
    }

    /// The names of the rules that were looked at.
    fn rules(&self) -> Vec<&'static str> {
        let looked = |rule: &&Invariant| self.looked & (1 << **rule as u32) != 0;
        Invariant::ALL.iter().filter(looked).map(|rule| rule.name()).collect()
    }

    /// The same as one JSON value.
    #[must_use]
    pub fn json(&self, seconds: f64) -> Value {
        let violations: Vec<Value> = self
            .found
            .iter()
            .map(|Found { seed, broken, trace }| {
                json!({ "seed": seed, "invariant": broken.invariant, "what": broken.what, "trace": trace })
            })
            .collect();
        let marks: Map<String, Value> =
            Mark::ALL.iter().map(|mark| (mark.name().to_owned(), json!(self.marks.count(*mark)))).collect();
        let missed: Vec<&str> = self.missed().iter().map(|(mark, _)| mark.name()).collect();
        json!({
            "seed": self.seed,
            "runs": self.runs,
            "inputs": self.inputs,
            "seconds": seconds,
            "generations": self.generations,
            "violations": violations,
            "missed": missed,
            "rules": self.rules(),
            "marks": marks,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mark in Mark::ALL {
            writeln!(f, "{:>10}  {}", self.marks.count(*mark), mark.name())?;
        }
        for (mark, floor) in self.missed() {
            writeln!(f, "reached too rarely, {} times and not {floor}: {}", self.marks.count(mark), mark.name())?;
        }
        for Found { seed, broken, trace } in &self.found {
            let config = Config { planted: self.planted, ..Config::drawn(*seed) }.line();
            let planted = self.planted.map_or_else(String::new, |planted| format!(" --plant {}", planted.name()));
            writeln!(f, "\nseed {seed} breaks {}: {}", broken.invariant, broken.what)?;
            writeln!(f, "  configuration: {config}")?;
            writeln!(f, "  again: evergate-sim swarm --seed {seed} --runs 1{planted}")?;
            if let Some(trace) = trace {
                writeln!(f, "  made smaller: evergate-sim replay {}", trace.display())?;
            }
        }
        let rules = self.rules();
        let what = if self.is_clean() { "nothing broken" } else { "BROKEN" };
        write!(
            f,
            "{what}: {} runs from seed {}, each lived twice; {} generations, at most {} in one run; looked at {} of {} rules: {}",
            self.runs,
            self.seed,
            self.generations,
            self.most_generations,
            rules.len(),
            Invariant::ALL.len(),
            rules.join(" "),
        )
    }
}
