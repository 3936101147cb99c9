//! A trace taken again, whichever kind of run left it, and held against what it says: whether the rule that it names breaks
//! again, and where what happens now first differs from what happened then. How a run is repeated belongs to its kind.

use crate::story::{Broken, Story};
use crate::trace::{Kind, Named, Trace, TraceError};
use crate::{explore, harbor, swarm};
use serde_json::Value;

/// The name under which it stands among the rules that two runs of the same are the same.
pub const SAME: &str = "SAME";

/// A run that was repeated.
#[derive(Clone, Debug)]
pub struct Again {
    /// What happened now.
    pub story: Story,
    /// The same as the lines of a trace.
    pub steps: Vec<Value>,
    /// Why it could not go on, if there is more in the trace.
    pub stuck: Option<String>,
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What happened now.
    pub story: Story,
    /// Whether it is what the trace is about.
    pub ending: Ending,
    /// All of that in a sentence or two, for whoever wants to know what it means for the failure.
    pub sentence: String,
}

/// Whether what a trace is about has happened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The rule that it names is broken again, or it names none and none is.
    Same,
    /// A rule is broken, but another one or elsewhere.
    Other,
    /// It names a rule, and none is broken.
    Gone,
}

/// Takes a trace again.
pub fn replay(trace: &Trace) -> Result<Replayed, TraceError> {
    let again = match trace.kind {
        Kind::Explore => explore::again(trace)?,
        Kind::Swarm => swarm::again(trace)?,
        Kind::Harbor => harbor::again(trace)?,
    };
    let now = again.story.broken.clone().map(|broken| Named::after(again.steps.len(), broken));
    let (ending, mut sentence) = ending(trace.broken.as_ref(), now.as_ref());
    let differs = first_difference(&trace.steps, &again.steps);
    match (again.stuck, differs) {
        (Some(why), _) => {
            let next = again.steps.len() + 1;
            sentence += &format!("; step {next} of the trace can no longer be taken: {why}");
        }
        (None, Some(step)) => {
            let (then, now) = apart(trace.steps.get(step), again.steps.get(step));
            sentence +=
                &format!("; the first difference is step {}: the trace says {then}, and now it is {now}", step + 1);
        }
        (None, None) => {}
    }
    Ok(Replayed { story: again.story, ending, sentence })
}

/// What became of the rule that a trace names.
fn ending(then: Option<&Named>, now: Option<&Named>) -> (Ending, String) {
    let names = |Named { invariant, step, .. }: &Named| format!("the trace names {invariant} at step {step}");
    let is = |Named { invariant, step, .. }: &Named| format!("{invariant} is broken at step {step}");
    match (then, now) {
        (Some(then), Some(now)) if then.invariant == now.invariant && then.step == now.step => {
            (Ending::Same, format!("it happens again: {}, as the trace says", is(now)))
        }
        (Some(then), Some(now)) => (Ending::Other, format!("{}, and now {}: {}", names(then), is(now), now.what)),
        (None, Some(now)) => {
            (Ending::Other, format!("the trace names no broken rule, and now {}: {}", is(now), now.what))
        }
        (Some(then), None) => {
            let names = names(then);
            (Ending::Gone, format!("it does not happen again: {names} ({}), and now no rule is broken", then.what))
        }
        (None, None) => (Ending::Same, "no rule is broken, and the trace names none".to_owned()),
    }
}

/// The first step, counted from 0, that is not the same in both.
fn first_difference(then: &[Value], now: &[Value]) -> Option<usize> {
    (0..then.len().max(now.len())).find(|step| then.get(*step) != now.get(*step))
}

/// What two lines that are not the same say, each in a few words that tell them apart.
fn apart(then: Option<&Value>, now: Option<&Value>) -> (String, String) {
    let told = |line: Option<&Value>| line.and_then(|line| line.get("told")?.as_array().cloned());
    if let (Some(then), Some(now)) = (told(then), told(now))
        && let Some(moment) = first_difference(&then, &now)
    {
        return apart(then.get(moment), now.get(moment));
    }
    let moment = |value: &Value| Some(format!("{:?} at {} ms", value.get("what")?.as_str()?, value.get("at_ms")?));
    let short = |line: Option<&Value>| {
        line.map_or_else(|| "nothing".to_owned(), |line| moment(line).unwrap_or_else(|| line.to_string()))
    };
    let (then_said, now_said) = (short(then), short(now));
    match (then, now) {
        // Only what stands in small print differs.
        (Some(then), Some(now)) if then_said == now_said => (then.to_string(), now.to_string()),
        _ => (then_said, now_said),
    }
}

/// What is broken when a run was made twice and the second was another one.
#[must_use]
pub fn unlike(first: &[Value], second: &[Value]) -> Option<Broken> {
    let step = first_difference(first, second)?;
    let (once, again) = apart(first.get(step), second.get(step));
    let what = format!("step {} is {once}, and when it is run again {again}", step + 1);
    Some(Broken { invariant: SAME.to_owned(), what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(invariant: &str, step: usize) -> Named {
        Named::after(step, Broken { invariant: invariant.into(), what: "message 1 is lost".into() })
    }

    #[test]
    fn a_failure_is_the_same_only_if_the_same_rule_breaks_at_the_same_step() {
        let ack = named("ACK", 4);
        let of = |then: Option<&Named>, now: Option<&Named>| ending(then, now).0;
        assert_eq!(of(Some(&ack), Some(&ack)), Ending::Same);
        assert_eq!(of(Some(&ack), Some(&named("ACK", 3))), Ending::Other);
        assert_eq!(of(Some(&ack), Some(&named("REPLY", 4))), Ending::Other);
        assert_eq!(of(None, Some(&ack)), Ending::Other);
        assert_eq!(of(Some(&ack), None), Ending::Gone);
        assert_eq!(of(None, None), Ending::Same);
    }

    #[test]
    fn two_runs_that_are_not_the_same_are_told_apart_by_their_first_difference() {
        let moment = |what: &str| json!({"at_ms": 7, "what": what});
        let (one, other) = ([moment("a"), moment("b")], [moment("a"), moment("c")]);
        assert_eq!(unlike(&one, &one), None);
        let broken = unlike(&one, &other).unwrap();
        assert_eq!(broken.what, "step 2 is \"b\" at 7 ms, and when it is run again \"c\" at 7 ms");
        let detailed = json!({"at_ms": 7, "what": "a", "detail": "x"});
        assert!(unlike(&one, &[detailed]).unwrap().what.contains("\"detail\":\"x\""));
        assert_eq!(unlike(&one, &one[..1]).unwrap().what, "step 2 is \"b\" at 7 ms, and when it is run again nothing");
    }
}
