//! What a swarm has found, for people and for programs.

use super::config::{Config, Planted};
use super::healing::Lived;
use super::marks::{Mark, Marks};
use super::{Options, SHRUNK};
use crate::story::Broken;
use evergate_core::invariant::Invariant;
use serde_json::{Map, Value, json};
use std::fmt;
use std::path::PathBuf;

/// From so many runs on, marks that were reached too rarely are a failure, and so are rules that were never looked at.
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

    /// The rules that were never looked at in so many runs that they should have been: nothing was shown of them.
    #[must_use]
    pub fn unseen(&self) -> Vec<Invariant> {
        if self.runs < ENFORCED_FROM { Vec::new() } else { self.rules(false) }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.found.is_empty() && self.missed().is_empty() && self.unseen().is_empty()
    }

    /// The rules that were looked at, or the others.
    fn rules(&self, looked: bool) -> Vec<Invariant> {
        let of = |rule: &&Invariant| (self.looked & (1 << **rule as u32) != 0) == looked;
        Invariant::ALL.iter().filter(of).copied().collect()
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
            "rules": self.rules(true),
            "unseen": self.unseen(),
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
        for rule in self.unseen() {
            writeln!(f, "{rule} never had anything to look at: this says nothing about it")?;
        }
        for (number, Found { seed, broken, trace }) in self.found.iter().enumerate() {
            let config = Config { planted: self.planted, ..Config::drawn(*seed) }.line();
            let planted = self.planted.map_or_else(String::new, |planted| format!(" --plant {}", planted.name()));
            writeln!(f, "\nseed {seed} breaks {}: {}", broken.invariant, broken.what)?;
            writeln!(f, "  its configuration, which replay takes: {config}")?;
            writeln!(f, "  again: evergate-sim swarm --seed {seed} --runs 1{planted}")?;
            if let Some(trace) = trace {
                let size = if number < SHRUNK { "made smaller" } else { "as it was" };
                writeln!(f, "  {size}: evergate-sim replay {}", trace.display())?;
            }
        }
        let rules: Vec<&str> = self.rules(true).into_iter().map(Invariant::name).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_a_large_swarm_never_looked_at_is_a_failure_as_a_mark_is_that_it_never_reached() {
        let all = (1 << Invariant::ALL.len()) - 1;
        let of = |runs| Options { seed: 1, runs, threads: 1, planted: None, out: PathBuf::new() };
        let looked = |runs, looked| Summary { looked, ..Summary::new(&of(runs)) };
        assert_eq!(looked(ENFORCED_FROM, all & !(1 << Invariant::Lock as u32)).unseen(), [Invariant::Lock]);
        assert_eq!(looked(ENFORCED_FROM, all).unseen(), []);
        assert_eq!(looked(ENFORCED_FROM - 1, 0).unseen(), [], "too few runs to say so");
        let blind = looked(ENFORCED_FROM, 0);
        assert!(!blind.is_clean() && blind.to_string().contains("LOCK never had anything to look at"), "{blind}");
    }

    /// A swarm of so many runs in which all rules were looked at and each mark was reached as often as it has to be, but for
    /// one, which was reached once less.
    fn short_of(runs: u64, short: Option<Mark>) -> Summary {
        let options = Options { seed: 1, runs, threads: 1, planted: None, out: PathBuf::new() };
        let mut summary = Summary { looked: (1 << Invariant::ALL.len()) - 1, ..Summary::new(&options) };
        for mark in Mark::ALL {
            for _ in u64::from(short == Some(*mark))..mark.floor() * runs / 1_000 {
                summary.marks.hit(*mark);
            }
        }
        summary
    }

    #[test]
    fn a_single_mark_below_its_floor_fails_a_large_swarm_and_is_named() {
        let whole = short_of(ENFORCED_FROM, None);
        assert_eq!(whole.missed(), []);
        assert!(whole.is_clean() && whole.to_string().contains("nothing broken: 500 runs"), "{whole}");
        for (mark, floor) in [(Mark::KilledServing, 500), (Mark::BackUnsaid, 1), (Mark::AskedWhileStarting, 150)] {
            let summary = short_of(ENFORCED_FROM, Some(mark));
            assert_eq!(summary.missed(), [(mark, floor)]);
            assert!(summary.unseen().is_empty() && summary.found.is_empty(), "nothing else is wrong");
            assert!(!summary.is_clean(), "{summary}");
            let says = format!("reached too rarely, {} times and not {floor}: {}\n", floor - 1, mark.name());
            let said = summary.to_string();
            assert!(said.contains(&says) && said.contains("\nBROKEN: 500 runs"), "{said}");
            assert_eq!(summary.json(1.0)["missed"], json!([mark.name()]));
        }
        assert!(short_of(ENFORCED_FROM - 1, Some(Mark::KilledServing)).is_clean(), "too few runs to say so");
    }
}
