//! What an exploration lacks in which no rule broke: rules that saw nothing, and rooms that are not what they were.

use crate::explore::Report;
use crate::explore::scope::Scope;
use evergate_core::invariant::Invariant;
use serde_json::{Value, json};

/// What it lacks, in lines for people, each with what stands for it in the JSON where it is a failure: rules that never had
/// anything to look at, and rooms of another size than somebody has counted. A single room, of this number, only says which
/// rules it cannot see.
pub(super) fn amiss(scope: &Scope, report: &Report, single: Option<usize>) -> Vec<(String, Option<Value>)> {
    let mut lines = Vec::new();
    let blind = report.vacuous();
    if single.is_some() && !blind.is_empty() {
        lines.push((format!("nothing for these rules to look at in this room: {}", names(&blind)), None));
    } else if report.is_whole() {
        for rule in &blind {
            let line = format!("{rule} never had anything to look at: this says nothing about it");
            let violation = json!({"invariant": rule, "what": "never looked at", "steps": 0, "trace": null});
            lines.push((line, Some(violation)));
        }
    }
    // Where a rule saw nothing, that is what has to be mended first.
    if lines.iter().any(|(_, violation)| violation.is_some()) {
        return lines;
    }
    for (room, was, is) in report.misshapen(scope) {
        let room = single.unwrap_or(1) - 1 + room;
        let what = format!(
            "room {room} had {} states and {} edges, and has {} and {}: the gateway behaves in another way. If that is meant, \
             the table of scopes is to say so",
            was.states, was.edges, is.states, is.edges
        );
        let violation = json!({"invariant": "SHAPE", "what": what, "steps": 0, "trace": null});
        lines.push((what, Some(violation)));
    }
    lines
}

fn names(rules: &[Invariant]) -> String {
    let names: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::bounds::Bounds;
    use crate::explore::scope::Shape;
    use crate::explore::{explore, table};

    /// The smallest room of the smallest scope as a scope of its own.
    fn small() -> Scope {
        let seed = table().into_iter().find(|scope| scope.name == "seed").unwrap();
        seed.only(7).unwrap()
    }

    /// What is said of an exploration, and the rules that are given as broken.
    fn said(scope: &Scope, single: Option<usize>) -> (Vec<String>, Vec<String>) {
        let report = explore(scope, 1, &Bounds::default(), |_| ());
        assert!(report.found().is_none() && report.is_whole());
        let (lines, violations): (Vec<String>, Vec<_>) = amiss(scope, &report, single).into_iter().unzip();
        let named = |violation: &Value| violation["invariant"].as_str().unwrap().to_owned();
        (lines, violations.iter().flatten().map(named).collect())
    }

    #[test]
    fn a_scope_in_which_a_rule_saw_nothing_fails_and_names_it() {
        let scope = small();
        let (lines, broken) = said(&scope, None);
        assert!(broken.iter().any(|rule| rule == "FORCE"), "nobody forces anything there: {broken:?}");
        assert!(!broken.iter().any(|rule| rule == "FINITE"), "each room is asked whether it comes to rest: {broken:?}");
        assert_eq!(lines.len(), broken.len());
        assert!(lines.contains(&"FORCE never had anything to look at: this says nothing about it".to_owned()));
        assert_eq!(said(&scope, Some(7)).1, [""; 0], "a single room only says so");
    }

    #[test]
    fn a_room_of_another_size_than_somebody_has_counted_fails_as_shape() {
        let scope = small();
        let is = scope.shapes[0];
        assert_eq!(said(&scope, Some(7)).1, [""; 0]);
        for was in [
            Shape { states: is.states - 1, ..is },
            Shape { states: is.states + 1, ..is },
            Shape { edges: is.edges - 1, ..is },
            Shape { edges: is.edges + 1, ..is },
        ] {
            let counted = Scope { shapes: Box::leak(Box::new([was])), ..scope.clone() };
            let (lines, broken) = said(&counted, Some(7));
            assert_eq!(broken, ["SHAPE"], "{was:?}");
            let had = format!("room 7 had {} states and {} edges", was.states, was.edges);
            let says = format!("{had}, and has {} and {}: ", is.states, is.edges);
            assert!(lines.iter().any(|line| line.starts_with(&says)), "{lines:?}");
        }
    }
}
