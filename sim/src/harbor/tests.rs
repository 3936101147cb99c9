//! Whole runs: they break nothing, they are the same each time, and a world that cannot be lived in is found out.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use super::disk::{Death, Honesty};
use super::plan::{Breakage, Fault};
use super::{Mark, Pages, Plan, replay, run};
use crate::trace::{Kind, Trace};

/// What the judge has to say about a run.
fn broken(pages: &Pages) -> Vec<&str> {
    pages.broken.iter().map(|broken| broken.what.as_str()).collect()
}

/// The plan of a seed with nothing but these faults.
fn only(seed: u64, faults: Vec<Fault>) -> Plan {
    Plan { faults, operators: Vec::new(), ..Plan::draw(seed) }
}

fn power_cut(at_ms: u64) -> Fault {
    Fault { at_ms, what: Breakage::Death(Death::PowerCut) }
}

#[test]
fn these_seeds_break_nothing_and_each_gives_the_same_run_twice() {
    for seed in 1..=25 {
        let pages = run(Plan::draw(seed));
        assert_eq!(broken(&pages), [""; 0], "seed {seed}");
        let again = run(Plan::draw(seed));
        for (moment, same) in pages.moments.iter().zip(&again.moments) {
            assert_eq!(moment, same, "seed {seed}");
        }
        let bytes = |pages: &Pages| serde_json::to_string(&pages.moments).unwrap();
        assert!(bytes(&pages) == bytes(&again), "seed {seed}: one of the two runs is a part of the other");
        assert_eq!(pages.marks, again.marks, "seed {seed}");
    }
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out_by_what_clients_lose() {
    for seed in 1..=5 {
        let plan = Plan { disk: Honesty::Lies, ..only(seed, vec![power_cut(800)]) };
        let pages = run(plan.clone());
        assert!(!pages.broken.is_empty(), "seed {seed}: nobody missed what the disk has lost");
        let honest = run(Plan { disk: Honesty::Honest, ..plan });
        assert_eq!(broken(&honest), [""; 0], "seed {seed}: the lie was the only thing wrong");
    }
}

#[test]
fn a_kernel_that_forgets_pages_after_a_failed_sync_loses_nothing_that_was_promised() {
    for seed in 1..=20 {
        let failing = Fault { at_ms: 200, what: Breakage::FailingSyncs { percent: 30, for_ms: 500 } };
        let plan = Plan { disk: Honesty::Forgets, ..only(seed, vec![failing, power_cut(900)]) };
        assert_eq!(broken(&run(plan)), [""; 0], "seed {seed}");
    }
}

#[test]
fn a_gateway_that_dies_on_a_full_disk_is_back_when_there_is_room_again() {
    let full = |at_ms| Fault { at_ms, what: Breakage::DiskFull { for_ms: 700 } };
    for seed in 1..=5 {
        let dies = Fault { at_ms: 400, what: Breakage::Death(Death::Kill) };
        let pages = run(only(seed, vec![full(300), dies]));
        assert_eq!(broken(&pages), [""; 0], "seed {seed}");
        assert!(pages.marks.contains_key(&Mark::DiskFullMet), "seed {seed} wrote nothing while the disk was full");
    }
}

#[test]
fn a_trace_is_replayed_to_the_same_story() {
    let plan = Plan { disk: Honesty::Lies, ..only(1, vec![power_cut(800)]) };
    let pages = run(plan.clone());
    let trace = Trace { kind: Kind::Harbor, config: serde_json::to_value(&plan).unwrap(), steps: Vec::new() };
    let story = replay(&trace).unwrap();
    assert!(story.broken.is_some());
    assert_eq!((story.moments, story.broken), (pages.moments, pages.broken.into_iter().next()));
}
