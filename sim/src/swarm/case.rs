//! A run as it can be written down: its configuration, and which entries of its plan take part. A failing one is made
//! smaller as long as the same rule breaks, and becomes a trace that can be replayed.

use super::config::Config;
use super::healing::{Lived, Tell, live};
use super::plan::{Planned, plan};
use super::twice;
use crate::replay::{self, Again};
use crate::story::{Broken, Story};
use crate::trace::{Kind, Named, Trace, TraceError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How many inputs a shrinking may cost: some ten seconds.
const SHRINK_INPUTS: u64 = 6_000_000;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its configuration.
    pub config: Config,
    /// The entries of its plan that take part; all of them if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<u32>>,
}

impl Case {
    /// The run of a configuration, as it was drawn.
    #[must_use]
    pub const fn of(config: Config) -> Self {
        Self { config, only: None }
    }

    /// What is planned in it.
    #[must_use]
    pub fn plan(&self) -> Vec<Planned> {
        let mut plan = plan(&self.config);
        if let Some(only) = &self.only {
            plan.retain(|planned| only.binary_search(&planned.entry).is_ok());
        }
        plan
    }

    /// Lives through it.
    #[must_use]
    pub fn live(&self, tell: Tell) -> Lived {
        live(&self.config, &self.plan(), tell)
    }

    /// The same failure with less: fewer kinds of faults and fewer entries of the plan.
    #[must_use]
    pub fn shrunk(&self, broken: &Broken) -> Self {
        let mut shrinking = Shrinking { best: self.clone(), invariant: broken.invariant.clone(), inputs: 0 };
        shrinking.cut_what_comes_after();
        shrinking.drop_faults();
        shrinking.drop_entries();
        shrinking.drop_faults();
        shrinking.best
    }

    /// The file that says all of it, told once more. What was found to be broken is named where it takes more than one life
    /// to see that.
    #[must_use]
    pub fn trace(&self, found: Option<&Broken>) -> Trace {
        let lived = self.live(Tell::Moments);
        let steps = steps(&lived);
        let broken = lived.broken.or_else(|| found.cloned()).map(|broken| Named::after(steps.len(), broken));
        Trace { kind: Kind::Swarm, broken, config: json!(self), steps }
    }
}

/// A failing run on its way to a smaller one.
struct Shrinking {
    best: Case,
    invariant: String,
    /// What it has cost so far.
    inputs: u64,
}

impl Shrinking {
    /// Keeps the candidate if the same rule breaks in it.
    fn keeps(&mut self, candidate: Case) -> bool {
        if self.inputs >= SHRINK_INPUTS {
            return false;
        }
        // Whether a life is the same twice shows only in two.
        let (lived, inputs) = if self.invariant == replay::SAME {
            twice(&candidate)
        } else {
            let lived = candidate.live(Tell::No);
            let inputs = lived.inputs;
            (lived, inputs)
        };
        self.inputs += inputs + 100;
        let same = lived.broken.is_some_and(|broken| broken.invariant == self.invariant);
        if same {
            self.best = candidate;
        }
        same
    }

    fn cut_what_comes_after(&mut self) {
        let at = self.best.live(Tell::No).at;
        let before = self.best.plan().iter().filter(|planned| planned.at <= at).map(|planned| planned.entry).collect();
        self.keeps_only(before);
    }

    fn keeps_only(&mut self, mut entries: Vec<u32>) -> bool {
        entries.sort_unstable();
        self.keeps(Case { config: self.best.config.clone(), only: Some(entries) })
    }

    fn drop_faults(&mut self) {
        let faults: Vec<_> = self.best.config.faults.keys().copied().collect();
        for fault in faults {
            let mut candidate = self.best.clone();
            candidate.config.faults.remove(&fault);
            self.keeps(candidate);
        }
    }

    /// Leaves out ever smaller parts of the plan.
    fn drop_entries(&mut self) {
        let mut part = self.best.plan().len().div_ceil(2);
        while part > 0 {
            let mut from = 0;
            loop {
                let mut entries: Vec<u32> = self.best.plan().iter().map(|planned| planned.entry).collect();
                if from >= entries.len() || self.inputs >= SHRINK_INPUTS {
                    break;
                }
                entries.drain(from..(from + part).min(entries.len()));
                if !self.keeps_only(entries) {
                    from += part;
                }
            }
            part /= 2;
        }
    }
}

/// The lines of a trace.
fn steps(lived: &Lived) -> Vec<Value> {
    lived.moments.iter().map(|moment| json!(moment)).collect()
}

/// Lives through the run of a trace again; through one that was not the same twice, twice.
pub fn again(trace: &Trace) -> Result<Again, TraceError> {
    let case: Case =
        serde_json::from_value(trace.config.clone()).map_err(|error| TraceError::Head(error.to_string()))?;
    let lived = case.live(Tell::Moments);
    let lines = steps(&lived);
    let broken = lived.broken.or_else(|| match &trace.broken {
        Some(named) if named.invariant == replay::SAME => replay::unlike(&lines, &steps(&case.live(Tell::Moments))),
        _ => None,
    });
    let Config { seed, supervisor, .. } = &case.config;
    let title = format!("swarm, seed {seed}, supervised by {}", supervisor.name());
    let story = Story { title, setting: trace.config.to_string(), moments: lived.moments, broken };
    Ok(Again { story, steps: lines, stuck: None })
}
