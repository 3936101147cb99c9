//! From a failure to its replay, with the program as people use it: each kind of run, with a known mistake in it, leaves a trace;
//! `replay` finds the same rule broken at the same step and tells or draws how that came about; and where the trace or the world
//! is another one, it says what no longer happens and where the first difference is.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use evergate_sim::naive::flaw::Flaw;
use evergate_sim::trace::{Named, Trace};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Runs the binary; gives its exit status, what it printed, and what it complained of.
fn sim(words: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_evergate-sim")).args(words).output().expect("it was just built");
    let [out, err] = [stdout, stderr].map(|said| String::from_utf8(said).expect("it says text"));
    (status.code().unwrap_or(-1), out, err)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary file has a plain name")
}

/// Runs something that finds a violation; gives the one object at the end of its output, and its first trace.
fn found(folder: &TempDir, words: &[&str]) -> (Value, PathBuf) {
    let words = [words, &["--json", "--out", text(folder.path())]].concat();
    let (status, out, err) = sim(&words);
    assert_eq!((status, err.as_str()), (1, ""), "{words:?}: {out}");
    let summary: Value = serde_json::from_str(out.lines().last().unwrap_or_default()).expect("the last line is JSON");
    let path = summary["violations"][0]["trace"].as_str().unwrap_or_else(|| panic!("no trace in {summary}"));
    let path = PathBuf::from(path);
    assert!(out.contains(&format!("evergate-sim replay {}", text(&path))), "{out}");
    (summary, path)
}

fn flaw(folder: &TempDir, name: &str) -> PathBuf {
    found(folder, &["explore", "--subject", "naive", "--flaw", name]).1
}

fn read(path: &Path) -> Trace {
    Trace::read(&fs::read_to_string(path).unwrap()).unwrap()
}

fn named(trace: &Trace) -> &Named {
    trace.broken.as_ref().expect("a trace names what broke")
}

/// Writes a changed trace beside the first and replays it.
fn replayed(path: &Path, trace: &Trace) -> (i32, String, String) {
    let changed = path.with_extension("changed");
    let mut bytes = Vec::new();
    trace.write(&mut bytes).unwrap();
    fs::write(&changed, bytes).unwrap();
    sim(&["replay", text(&changed)])
}

/// The trace names this rule; its replay breaks it at the same step, tells of all of that, and draws it.
fn happens_again(path: &Path, rule: &str) {
    let trace = read(path);
    let Named { invariant, step, what } = named(&trace);
    assert_eq!(invariant, rule);
    assert_eq!(*step, trace.steps.len(), "{rule} is broken by the last step");
    let (status, out, err) = sim(&["replay", text(path)]);
    assert_eq!((status, err.as_str()), (1, ""), "{out}");
    assert!(out.contains(&format!("\nBROKEN  {rule}: ")), "{out}");
    let says = format!("\nit happens again: {rule} is broken at step {step}, as the trace says\n");
    assert!(out.ends_with(&says), "{says}\n{out}");

    let page = path.with_extension("html");
    let (status, out, err) = sim(&["replay", text(path), "--html", text(&page)]);
    assert_eq!((status, err.as_str()), (1, ""), "{out}");
    assert!(out.contains(&format!("drawn to {}\nVIOLATION {rule}: ", page.display())) && out.ends_with(&says), "{out}");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains(&format!("BROKEN <b>{rule}</b>")));
    assert!(page.contains(&what.lines().next().unwrap_or_default().replace('"', "&quot;")), "{what}");
}

#[test]
fn a_flaw_of_the_naive_machine_is_explored_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    // One for each way to be found: by a step, by never coming to rest, by a panic.
    for (name, rule) in
        [("self-wait", "NOSELF"), ("ack-before-sync", "ACK"), ("frozen-loop", "FINITE"), ("error-uncaught", "PANIC")]
    {
        happens_again(&flaw(&folder, name), rule);
    }
}

#[test]
fn the_replay_of_a_panic_tells_what_led_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_, out, _) = sim(&["replay", text(&flaw(&folder, "error-uncaught"))]);
    let at = |what: &str| out.find(what).unwrap_or_else(|| panic!("{what:?} is not told in\n{out}"));
    assert!(at("request 1: Graceful Restart") < at("to be written: TurnOpened"), "{out}");
    assert!(at("step 6: the commit is whole") < at("! FAULT panics: request 1 needs what is not there"), "{out}");
}

#[test]
fn every_flaw_leaves_a_trace_that_is_replayed_to_the_letter() {
    let folder = tempfile::tempdir().unwrap();
    for row in Flaw::TABLE {
        let path = flaw(&folder, row.name);
        assert_eq!(named(&read(&path)).invariant, row.breaks, "{}", row.name);
        let (status, out, err) = sim(&["replay", text(&path)]);
        assert_eq!((status, err.as_str()), (1, ""), "{}: {out}", row.name);
        assert!(out.contains("\nit happens again: ") && !out.contains("difference"), "{}: {out}", row.name);
    }
}

#[test]
fn a_mistake_in_the_world_of_the_swarm_is_found_and_shrunk_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    for (mistake, runs, rule, most) in [
        ("ack-before-sync", "4", "ACK", 60),
        ("error-uncaught", "4", "PANIC", 200),
        ("never-rests", "2", "FINITE", 200),
    ] {
        let (summary, path) = found(&folder, &["swarm", "--runs", runs, "--plant", mistake]);
        let violation = &summary["violations"][0];
        assert_eq!(violation["invariant"], rule);
        happens_again(&path, rule);
        let steps = read(&path).steps.len();
        assert!(steps <= most, "{steps} steps are left of a long life");
        let seed = violation["seed"].to_string();
        let (status, out, _) =
            sim(&["swarm", "--seed", &seed, "--runs", "1", "--plant", mistake, "--out", text(folder.path())]);
        assert!(status == 1 && out.contains(&format!("swarm --seed {seed} --runs 1 --plant {mistake}\n")), "{out}");
    }
}

#[test]
fn a_lying_disk_in_the_harbor_is_found_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let (summary, path) = found(&folder, &["harbor", "--runs", "20", "--plant", "lying-disk"]);
    let rule = summary["violations"][0]["invariant"].as_str().unwrap().to_owned();
    happens_again(&path, &rule);

    // The same plan with a disk that keeps its word.
    let mut trace = read(&path);
    trace.config["disk"] = json!("honest");
    let (status, out, err) = replayed(&path, &trace);
    assert_eq!(status, 3, "{out}");
    assert!(err.contains("it does not happen again: the trace names "), "{err}");
    assert!(err.contains("; the first difference is step ") && err.lines().count() == 1, "{err}");
    assert!(out.ends_with("No rule broke.\n"), "{out}");
}

#[test]
fn a_failure_that_is_gone_is_3_and_a_sentence_and_the_story_of_what_happens_instead() {
    let folder = tempfile::tempdir().unwrap();
    for (name, rule) in
        [("ack-before-sync", "ACK"), ("clean-exit", "EXIT"), ("resumed-for-ever", "QUAR"), ("error-uncaught", "PANIC")]
    {
        let path = flaw(&folder, name);
        let mut trace = read(&path);
        let step = named(&trace).step;
        // The machine without the flaw, and the one that people use.
        for (subject, title) in [("naive:", "explore, naive:, "), ("gateway", "explore, gateway, ")] {
            trace.config["subject"] = json!(subject);
            let (status, out, err) = replayed(&path, &trace);
            assert_eq!(status, 3, "{name}, {subject}: {out}");
            assert!(out.starts_with(title), "{out}");
            let says = format!("it does not happen again: the trace names {rule} at step {step} (");
            assert!(err.contains(&says) && err.lines().count() == 1, "{err}");
            assert!(
                err.contains("; the first difference is step ") || err.contains(" can no longer be taken: "),
                "{err}"
            );
            assert!(out.contains("generation 1 begins") && out.ends_with("No rule broke.\n"), "{out}");
        }
    }
    let path = flaw(&folder, "frozen-loop");
    let mut trace = read(&path);
    trace.config["subject"] = json!("naive:");
    let (status, _, err) = replayed(&path, &trace);
    assert!(status == 3 && err.contains("the trace names FINITE at step 2 "), "{err}");
}

#[test]
fn a_trace_that_somebody_has_changed_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = flaw(&folder, "marked-after-timeout");
    let trace = read(&path);
    let actions: Vec<&Value> = trace.steps.iter().map(|line| &line["step"]["action"]).collect();
    let changed = |step: usize, change: &dyn Fn(&mut Value)| {
        let mut trace = trace.clone();
        change(&mut trace.steps[step]["step"]);
        replayed(&path, &trace)
    };
    let last = trace.steps.len() - 1;

    // What is not possible there.
    let (status, out, err) = changed(0, &|step| step["action"] = json!("commit"));
    assert_eq!(status, 3, "{actions:?}: {out}");
    assert!(err.contains("step 1 of the trace can no longer be taken: Commit is not possible there"), "{err}");
    let (status, _, err) = changed(1, &|step| step["dies_after"] = json!(9));
    assert!(status == 3 && err.contains("step 2 of the trace can no longer be taken: "), "{err}");
    assert!(err.contains("and so no death after 9"), "{err}");
    let (status, _, err) = changed(1, &|step| step["commit"] = json!("kept"));
    assert!(status == 3 && err.contains("no commit is under way there that could be Kept"), "{err}");

    // A step too few, with what it counts made right.
    let mut fewer = trace.clone();
    fewer.steps.pop();
    let (status, _, err) = replayed(&path, &fewer);
    assert!(status == 3 && err.contains(&format!("at step {}", last + 1)), "{err}");

    // What is told of a step.
    let mut other = trace.clone();
    other.steps[1]["told"][0]["what"] = json!("nothing happens");
    let (status, out, _) = replayed(&path, &other);
    assert_eq!(status, 1);
    assert!(
        out.contains("the first difference is step 2: the trace says \"nothing happens\" at 0 ms, and now it is "),
        "{out}"
    );

    // The rule.
    let mut other = trace.clone();
    other.broken = Some(Named { invariant: "REPLY".into(), ..named(&trace).clone() });
    let (status, out, _) = replayed(&path, &other);
    assert_eq!(status, 1);
    assert!(out.contains("the trace names REPLY at step ") && out.contains("and now MARK is broken at step "), "{out}");
}

#[test]
fn a_death_that_is_missing_or_another_one_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for row in Flaw::TABLE {
        let path = flaw(&folder, row.name);
        let trace = read(&path);
        for (index, line) in trace.steps.iter().enumerate() {
            for field in ["dies_after", "commit"] {
                if line["step"].get(field).is_none() {
                    continue;
                }
                seen += 1;
                let mut changed = trace.clone();
                changed.steps[index]["step"].as_object_mut().unwrap().remove(field);
                let (status, out, err) = replayed(&path, &changed);
                let said = if status == 1 { &out } else { &err };
                let noticed = said.contains("the first difference is step ") || said.contains("can no longer be taken");
                assert!(noticed, "{}, {field} of step {}: {status} {said}", row.name, index + 1);
            }
        }
    }
    assert!(seen > 5, "only {seen} of all traces have a death within a step");
}

#[test]
fn a_single_clean_run_of_the_swarm_prints_its_configuration_and_replay_takes_it() {
    const BEFORE: &str = "its configuration, which replay takes: ";
    let lines = |words: &[&str]| {
        let (status, out, err) = sim(&[&["swarm", "--seed", "7"], words].concat());
        assert_eq!((status, err.as_str()), (0, ""), "{out}");
        out.lines().filter_map(|line| line.strip_prefix(BEFORE)).map(str::to_owned).collect::<Vec<_>>()
    };
    let printed = lines(&["--runs", "1"]);
    assert_eq!(printed, [evergate_sim::swarm::Config::drawn(7).line()]);
    let (by_line, by_seed) = (sim(&["replay", &printed[0]]), sim(&["replay", "7"]));
    assert_eq!(by_line, by_seed);
    assert!(by_line.0 == 0 && by_line.1.starts_with("swarm, seed 7, "), "{by_line:?}");
    assert_eq!(lines(&["--runs", "2"]), [""; 0], "it is not said of which run it would be");
}

#[test]
fn a_seed_is_replayed_as_a_run_of_the_swarm() {
    let (status, out, err) = sim(&["replay", "3"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.starts_with("swarm, seed 3, supervised by ") && out.contains("generation 1 begins"), "{}", &out[..200]);
    assert!(out.ends_with("\nNo rule broke.\n\nno rule is broken, and the trace names none\n"));
}

#[test]
fn the_line_that_is_printed_as_the_configuration_of_a_run_gives_the_same_run_to_the_letter() {
    let line = evergate_sim::swarm::Config::drawn(7).line();
    let (by_seed, by_line) = (sim(&["replay", "7"]), sim(&["replay", &line]));
    assert_eq!(by_line, by_seed);
    assert!(by_line.1.lines().count() > 100 && by_line.0 == 0, "{by_line:?}");

    let folder = tempfile::tempdir().unwrap();
    let known = |words: &[&str], before: &str| {
        let (status, out, _) = sim(&[words, &["--out", text(folder.path())]].concat());
        assert_eq!(status, 1, "{out}");
        let says = |before: &str| out.lines().find_map(|line| line.trim().strip_prefix(before));
        let found = out.lines().find_map(|line| line.strip_prefix("seed ")?.split_once(" breaks "));
        let (_, found) = found.unwrap_or_else(|| panic!("{out}"));
        let line = says(before).unwrap_or_else(|| panic!("{out}"));
        let (first, again) = (sim(&["replay", line]), sim(&["replay", line]));
        assert_eq!(first, again);
        assert!(first.0 == 1 && first.1.contains(&format!("\nBROKEN  {found}\n")), "{found}: {first:?}");
    };
    known(&["swarm", "--plant", "ack-before-sync", "--runs", "4"], "its configuration, which replay takes: ");
    known(&["harbor", "--plant", "lying-disk", "--runs", "20"], "its plan, which replay takes: ");
    let (status, _, err) = sim(&["replay", r#"{"seed": 1}"#]);
    assert_eq!(status, 65);
    assert!(err.contains("no configuration of the swarm") && err.contains("no plan of the harbor"), "{err}");
}
