//! `evergate-sim explore` as it is run by people and scripts.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

fn explore(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergate-sim"));
    command.arg("explore").args(words);
    command
}

/// What it printed, and the line of JSON that it ended with; it found nothing.
fn clean(words: &[&str]) -> (String, Value) {
    let Output { status, stdout, stderr } = explore(words).arg("--json").output().unwrap();
    let (said, complained) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "{status}: {said}{complained}");
    let last = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    (said.clone(), last.unwrap_or_else(|| panic!("it does not end with JSON: {said}")))
}

/// Each of its rooms has as many states and edges as the table of scopes says, no rule is broken, and each was looked at: or
/// else the exit status is another.
#[test]
fn the_small_scope_is_what_the_table_says_whatever_the_threads() {
    let [one, two] = ["1", "2"].map(|threads| clean(&["--scope", "seed", "--threads", threads]).1);
    for field in ["states", "edges", "depth", "checked", "violations", "given_up"] {
        assert_eq!(one[field], two[field], "{field}");
    }
    let checked = one["checked"].as_object().unwrap();
    assert!(!checked.is_empty() && checked.values().all(|times| times.as_u64() > Some(0)), "{checked:?}");
    assert_eq!((one["scope"].as_str(), one["subject"].as_str()), (Some("seed"), Some("gateway")));
    assert!(one["depth"].as_u64() > Some(0) && one["states_per_second"].as_f64() > Some(0.0), "{one}");
}

#[test]
fn what_is_said_of_the_naive_machine_has_the_same_fields() {
    let (said, end) = clean(&["--subject", "naive"]);
    assert!(said.contains("each flaw was found where it is, and none where there is none"), "{said}");
    assert_eq!((&end["scope"], &end["subject"]), (&json!("naive"), &json!("naive")));
    assert!(end["checked"]["EXIT"].as_u64() > Some(0), "{end}");
    for field in ["states", "edges", "depth", "seconds", "states_per_second"] {
        assert!(end[field].as_f64() > Some(0.0), "{field}: {end}");
    }
    let flaws = end["flaws"].as_array().unwrap();
    assert!(!flaws.is_empty() && flaws.iter().all(|flaw| flaw["found"] == true), "{flaws:?}");
}

#[test]
fn a_reader_who_has_seen_enough_changes_nothing_in_what_comes_of_it() {
    let mut child = explore(&["--scope", "seed"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let complained = String::from_utf8(stderr).unwrap();
    assert!(status.success() && complained.is_empty(), "{status}: {complained}");
}
