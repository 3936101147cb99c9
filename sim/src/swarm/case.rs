//! A run as it can be written down: its configuration, and which entries of its plan take part. A failing one is made
//! smaller as long as the same rule breaks, and becomes a trace that can be replayed.

use super::config::Config;
use super::healing::{Lived, Tell, live};
use super::plan::{Planned, plan};
use crate::story::{Broken, Moment, Story};
use crate::trace::{Kind, Trace, TraceError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How many inputs a shrinking may cost: some ten seconds.
const SHRINK_INPUTS: u64 = 6_000_000;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Lives through it. A panic breaks the rule that has no name among the others: the core never does that.
    #[must_use]
    pub fn live(&self, tell: Tell) -> Lived {
        survived(|| live(&self.config, &self.plan(), tell))
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

    /// The file that says all of it, told once more.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let lived = self.live(Tell::Moments);
        Trace { kind: Kind::Swarm, config: json!(self), steps: steps(&lived) }
    }
}

/// What a life came to, even if it ended in a panic.
fn survived(life: impl FnOnce() -> Lived) -> Lived {
    // Nothing of that life is looked at again.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(life)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let what = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Lived { broken: Some(Broken { invariant: "PANIC".to_owned(), what }), ..Lived::default() }
    })
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
        let lived = candidate.live(Tell::No);
        self.inputs += lived.inputs + 100;
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

/// The lines of a trace: each moment, and at the end the rule that broke.
fn steps(lived: &Lived) -> Vec<Value> {
    lived
        .moments
        .iter()
        .map(|moment| json!(moment))
        .chain(lived.broken.as_ref().map(|broken| json!({ "broken": broken })))
        .collect()
}

/// Runs a trace of the swarm again. What happens must be what the trace says, step by step.
pub fn replay(trace: &Trace) -> Result<Story, TraceError> {
    if trace.kind != Kind::Swarm {
        return Err(TraceError::Head(format!("it is a trace of {:?} and not of the swarm", trace.kind)));
    }
    let case: Case =
        serde_json::from_value(trace.config.clone()).map_err(|error| TraceError::Head(error.to_string()))?;
    let lived = case.live(Tell::Moments);
    let steps = steps(&lived);
    let differs = (0..steps.len().max(trace.steps.len())).find(|step| steps.get(*step) != trace.steps.get(*step));
    if let Some(step) = differs {
        let said = |steps: &[Value]| steps.get(step).map_or_else(|| "nothing".to_owned(), said);
        let why = format!("the trace says {}, and now it is {}", said(&trace.steps), said(&steps));
        return Err(TraceError::Step { step: step + 1, why });
    }
    let title = format!("swarm, seed {}: {}", case.config.seed, case.config.line());
    Ok(Story { title, moments: lived.moments, broken: lived.broken })
}

/// What a line of a trace is about, in a few words.
fn said(step: &Value) -> String {
    match serde_json::from_value::<Moment>(step.clone()) {
        Ok(moment) => format!("{:?} at {} ms", moment.what, moment.at_ms),
        Err(_) => step.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_finding_like_any_other() {
        let lived = survived(|| panic!("turn 3 has no {}", "session"));
        let broken = Broken { invariant: "PANIC".to_owned(), what: "turn 3 has no session".to_owned() };
        assert_eq!(lived.broken, Some(broken));
    }
}
