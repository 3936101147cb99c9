//! Whole runs: they break nothing, they are the same each time, and a world that cannot be lived in is found out.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use super::command::trace;
use super::disk::{Death, Honesty};
use super::plan::{Act, Breakage, Fault, Say};
use super::telegram::{Telegram, Troubles};
use super::{Mark, Pages, Plan, run};
use crate::replay::{Ending, replay};
use crate::story::Lane;
use crate::trace::Trace;
use evergate_core::outbox::Uncertain;
use evergate_core::request::{Mode, Wish};

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

/// Two poisonous messages in a row: the chat is set aside again while the word that brought it back is still on its way.
#[test]
fn who_speaks_to_a_chat_that_is_set_aside_does_so_until_it_answers() {
    let pages = run(Plan::draw(22));
    assert_eq!(broken(&pages), [""; 0]);
    let told = |what: &str| {
        let places = pages.moments.iter().enumerate().filter(|(_, moment)| moment.lane == Lane::Session(0));
        places.filter(|(_, moment)| moment.what.contains(what)).map(|(place, _)| place).collect::<Vec<_>>()
    };
    let (aside, accepted) = (told("\"quarantined\""), told("and now?\": 20"));
    assert!(aside.len() > 1 && accepted[0] > aside[1], "the word was heard of before: {aside:?}, {accepted:?}");
}

/// A plan with turns that take their time, and nothing but these faults.
fn long_turns(seed: u64, faults: &[(u64, Breakage)]) -> Plan {
    let faults = faults.iter().map(|(at_ms, what)| Fault { at_ms: *at_ms, what: *what }).collect();
    let mut plan = Plan { heal_at_ms: 4000, ..only(seed, faults) };
    plan.agents.longest_ms = 3000;
    plan
}

/// In how many of a dozen runs it came so, if none of them breaks anything.
fn reached(so: impl Fn(&Pages) -> bool, plan: impl Fn(u64) -> Plan) -> usize {
    let runs = (1..=12).map(|seed| (seed, run(plan(seed))));
    runs.filter(|(seed, pages)| {
        assert_eq!(broken(pages), [""; 0], "seed {seed}");
        so(pages)
    })
    .count()
}

fn told(pages: &Pages, generation: u64, what: &str) -> bool {
    pages.moments.iter().any(|moment| moment.generation == generation && moment.what.contains(what))
}

/// Whether this generation had runs of earlier ones ended.
fn ended_orphans(pages: &Pages, generation: u64) -> bool {
    let asked = format!("all before generation {generation}: ");
    pages.moments.iter().any(|moment| moment.what.starts_with(&asked) && !moment.what.contains(" 0 are ended"))
}

#[test]
fn what_a_dead_gateway_left_running_is_ended_before_a_turn_begins_again() {
    let killed = [(500, Breakage::Death(Death::Kill))];
    let found = reached(|pages| ended_orphans(pages, 2), |seed| long_turns(seed, &killed));
    assert!(found > 0, "nothing was left running");
}

/// Killed while it carries out a stop: its successor lives only to end, and nobody follows until a person wants that.
#[test]
fn what_a_dead_gateway_left_running_is_ended_also_by_a_successor_that_only_stops() {
    let killed = |seed| {
        let mut plan = long_turns(seed, &[(700, Breakage::Death(Death::Kill))]);
        plan.operators = vec![Act { at_ms: 500, wish: Wish::Stop, mode: Mode::Graceful, control: true }];
        plan.limits.drain = std::time::Duration::from_secs(2);
        plan
    };
    let found = reached(|pages| told(pages, 2, "ends: exit 0") && ended_orphans(pages, 2), killed);
    assert!(found > 0, "nothing was left running, or it was left to the generation after");
}

/// The successor cannot reach them and leaves in good order meanwhile: whoever follows still has to end them.
#[test]
fn what_a_dead_gateway_left_running_is_ended_also_if_its_successor_left_before_it_could() {
    for terminated_at in [650, 800, 1100, 1500] {
        let faults = |seed| {
            [
                (450, Breakage::Partition { town: Plan::draw(seed).towns + 2, for_ms: 1500 }),
                (500, Breakage::Death(Death::Kill)),
                (terminated_at, Breakage::Terminate),
            ]
        };
        let found = reached(|pages| ended_orphans(pages, 3), |seed| long_turns(seed, &faults(seed)));
        assert!(found > 0, "terminated after {terminated_at} ms: nothing was left to the third generation");
    }
}

#[test]
fn an_agent_that_cannot_be_reached_any_more_is_gone_and_does_not_run_on_beside_the_next() {
    let cut = |seed| [(600, Breakage::Partition { town: Plan::draw(seed).towns + 2, for_ms: 1500 })];
    let lost =
        reached(|pages| told(pages, 1, "was lost in mid-turn and is ended"), |seed| long_turns(seed, &cut(seed)));
    assert!(lost > 0, "no agent was lost");
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

/// Whoever starts after it must not build on the pages that the kernel still shows: they are on no disk.
#[test]
fn pages_that_a_failed_sync_left_in_memory_are_not_built_on_by_the_next_generation() {
    let mut met = 0;
    for seed in 1..=40 {
        let failing = Fault { at_ms: 40, what: Breakage::FailingSyncs { percent: 60, for_ms: 419 } };
        let dies = Fault { at_ms: 115, what: Breakage::Death(Death::Kill) };
        let torn = Breakage::DeathAtWrite { operations: 20 + seed, death: Death::PowerCut };
        let faults = vec![failing, dies, Fault { at_ms: 520, what: torn }];
        let plan = Plan { disk: Honesty::Forgets, heal_at_ms: 2000, ..only(seed, faults) };
        let pages = run(plan);
        assert_eq!(broken(&pages), [""; 0], "seed {seed}");
        let marks = [Mark::FsyncFailed, Mark::DeathInsideCommit];
        met += usize::from(marks.iter().all(|mark| pages.marks.contains_key(mark)));
    }
    assert!(met > 0, "no failed sync was followed by a death within a commit");
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

/// A plan in which six messages come at once to a bot whose chat has room for two, and in which the server does this.
fn crowded(seed: u64, troubles: Troubles, faults: Vec<Fault>) -> Plan {
    let says = (0..6).map(|say| Say { after_ms: 0, text: format!("t0m{say}: how are you?"), again: false });
    let telegram = Telegram { chats: vec![says.collect()], poll_s: 1, troubles, vanished_ms: 0 };
    let mut plan = Plan { telegram: Some(telegram), heal_at_ms: 2000, ..only(seed, faults) };
    plan.limits.queued_per_session = 2;
    plan.agents.longest_ms = 1500;
    plan
}

/// A chat whose pace leaves no time for a word before the end: what was owed and withdrawn is owed no longer.
#[test]
fn a_word_of_a_cut_that_could_not_be_said_is_taken_back_where_the_chat_is_read() {
    let mut withdrawn = 0;
    for (seed, at_ms) in (1..=6).flat_map(|seed| (300..=1500).step_by(100).map(move |at_ms| (seed, at_ms))) {
        let mut plan = crowded(seed, Troubles { slow_down: 10, ..Troubles::default() }, Vec::new());
        plan.limits.queued_per_session = 10;
        plan.operators = vec![Act { at_ms, wish: Wish::Restart, mode: Mode::Force, control: true }];
        let pages = run(plan);
        assert_eq!(broken(&pages), [""; 0], "seed {seed}, restart at {at_ms} ms");
        withdrawn += usize::from(pages.moments.iter().any(|moment| moment.what.contains(": withdrawn ")));
    }
    assert!(withdrawn > 0, "every word could be said");
}

fn tells_of_no_room(pages: &Pages) -> bool {
    pages.moments.iter().any(|moment| moment.what.contains("Too much waits here"))
}

#[test]
fn a_message_that_finds_no_room_is_told_of_however_often_that_word_is_lost() {
    let mut told = 0;
    for seed in 1..=10 {
        let pages = run(crowded(seed, Troubles { cut_before: 60, ..Troubles::default() }, Vec::new()));
        assert_eq!(broken(&pages), [""; 0], "seed {seed}");
        told += u64::from(tells_of_no_room(&pages));
    }
    assert!(told > 0, "there was always room");
}

#[test]
fn a_message_that_was_refused_is_not_taken_when_it_is_given_again() {
    let mut told = 0;
    for (seed, at_ms) in (1..=4).flat_map(|seed| (100..=1000).step_by(60).map(move |at_ms| (seed, at_ms))) {
        // By the time that the server is there again, there is room.
        let faults = [Breakage::Death(Death::Kill), Breakage::BotApiDown { for_ms: 2000 }];
        let faults = faults.map(|what| Fault { at_ms, what }).to_vec();
        let mut plan = Plan { latency_ms: (0, 150), ..crowded(seed, Troubles::default(), faults) };
        plan.heal_at_ms = 4000;
        // A command always finds room; what was refused before it must not come behind it.
        if let Some(telegram) = &mut plan.telegram {
            telegram.chats[0][4].text = "/status".into();
        }
        let pages = run(plan);
        assert_eq!(broken(&pages), [""; 0], "seed {seed}, killed after {at_ms} ms");
        told += u64::from(tells_of_no_room(&pages));
    }
    assert!(told > 0, "there was always room");
}

#[test]
fn a_bot_whose_sends_stay_unknown_says_nothing_twice_without_a_word_about_it() {
    let mut lost = 0;
    for (seed, uncertain) in (1..=10).flat_map(|seed| [(seed, Uncertain::Report), (seed, Uncertain::Drop)]) {
        let mut plan = crowded(seed, Troubles { answer_lost: 50, ..Troubles::default() }, vec![power_cut(700)]);
        plan.limits.uncertain = uncertain;
        plan.limits.queued_per_session = 100;
        let pages = run(plan);
        assert_eq!(broken(&pages), [""; 0], "seed {seed}, {uncertain:?}");
        lost += pages.marks.get(&Mark::SendAnswerLost).copied().unwrap_or(0);
    }
    assert!(lost > 0, "no answer was lost");
}

#[test]
fn a_trace_is_replayed_to_the_same_story() {
    let plan = Plan { disk: Honesty::Lies, ..only(1, vec![power_cut(800)]) };
    let pages = run(plan.clone());
    let trace = trace(&plan, &pages);
    let replayed = replay(&trace).unwrap();
    assert_eq!(replayed.ending, Ending::Same, "{}", replayed.sentence);
    assert!(!replayed.sentence.contains("difference"), "{}", replayed.sentence);
    assert_eq!((replayed.story.moments, replayed.story.broken), (pages.moments, pages.broken.into_iter().next()));
}

#[test]
fn a_trace_whose_failure_is_gone_or_whose_steps_are_others_says_so() {
    let plan = Plan { disk: Honesty::Lies, ..only(1, vec![power_cut(800)]) };
    let trace = trace(&plan, &run(plan.clone()));
    let honest = Plan { disk: Honesty::Honest, ..plan };
    let mended = replay(&Trace { config: serde_json::to_value(&honest).unwrap(), ..trace.clone() }).unwrap();
    assert_eq!(mended.ending, Ending::Gone);
    assert!(mended.sentence.starts_with("it does not happen again: the trace names "), "{}", mended.sentence);

    let mut changed = trace;
    changed.steps[3] = serde_json::json!("something else");
    let replayed = replay(&changed).unwrap();
    assert_eq!(replayed.ending, Ending::Same);
    assert!(replayed.sentence.contains("the first difference is step 4"), "{}", replayed.sentence);
}
