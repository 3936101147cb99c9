//! Deaths of the gateway, planned or not: what the next generation finds, charges and resumes.

mod world;

use evergate_core::gateway::Phase;
use evergate_core::id::RequestId;
use evergate_core::input::{Asked, Input, Partial};
use evergate_core::limits::Limits;
use evergate_core::outbox::Notice;
use evergate_core::record::Record;
use evergate_core::recovery::{Provenance, Recovered, Start};
use evergate_core::request::{Mode, Outcome, Wish};
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::verdict::Verdict;
use world::World;

fn world() -> World {
    World::serving(Supervisor::Evergate)
}

fn charged_starts(world: &World) -> Vec<u32> {
    let charges = world.journal.history.iter().filter_map(|record| match record {
        Record::TurnResumed { charged, .. } => Some(*charged),
        _ => None,
    });
    charges.collect()
}

#[test]
fn kill_during_the_drain_loses_nothing() {
    // However many effects of the drain have been done when it strikes.
    for effects in 0..30 {
        let mut world = world();
        let said = [world.say(1, Asked::Prompt), world.say(2, Asked::Prompt), world.say(3, Asked::Prompt)];
        world.commit_all();
        world.dies_after = Some(effects);
        world.say(1, Asked::Restart(Mode::Graceful));
        for _ in 0..12 {
            if world.gateway.is_some() {
                world.commit_all();
                world.elapse();
            }
        }
        world.heal();
        assert_eq!(said.map(|index| world.replies_to(index)), [1, 1, 1], "killed after {effects} effects");
    }
}

#[test]
fn a_planned_interruption_is_not_charged() {
    let mut world = world();
    let said = world.say(1, Asked::Prompt);
    world.commit_all();
    for _ in 0..10 {
        let turn = world.turn_in(1);
        world.ask(Wish::Restart, Mode::Force);
        world.commit_all();
        world.give_way(turn, Partial::Nothing);
        world.commit_all();
        world.send_all();
        world.start_again();
    }
    assert_eq!(charged_starts(&world), [1; 10]);
    world.heal();
    assert_eq!(world.replies_to(said), 1);
}

#[test]
fn a_turn_that_kills_the_gateway_is_quarantined_after_k_starts_and_a_later_message_releases_it() {
    let mut world = world();
    let killer = world.say(1, Asked::Prompt);
    let queued = world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    let mut starts = 1;
    loop {
        world.kill();
        world.start_again();
        if !world.agents.contains_key(&turn) {
            break;
        }
        starts += 1;
    }
    assert_eq!(starts, world.limits.attempts);
    assert!(world.is_set_aside(1));
    assert_eq!(charged_starts(&world), [2, 3]);

    let other = world.say(2, Asked::Prompt);
    world.commit_all();
    assert!(world.agents.contains_key(&world.turn_in(2)), "everybody else is served");
    let later = world.say(1, Asked::Prompt);
    world.commit_all();
    assert!(!world.is_set_aside(1));
    world.heal();
    assert!(world.notices_in(1).contains(&Notice::Quarantined { turn, attempts: 3 }));
    assert_eq!([killer, queued, later, other].map(|index| world.replies_to(index)), [0, 1, 1, 1]);
}

#[test]
fn a_quarantine_outlives_a_restart() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    world.say(1, Asked::Prompt);
    world.commit_all();
    for _ in 0..3 {
        world.kill();
        world.start_again();
    }
    assert!(world.is_set_aside(1));
    world.kill();
    world.start_again();
    assert!(world.is_set_aside(1));
    assert!(world.agents.is_empty());
    world.heal();
}

#[test]
fn a_stop_is_not_undone_by_a_reviver() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    world.commit_all();
    let stop = world.ask(Wish::Stop, Mode::Graceful);
    world.commit_all();
    world.kill();
    world.boot(Start::Revived);
    assert!(world.up().phase() > Phase::Serving);
    world.commit_all();
    assert!(world.stays_down());
    assert_eq!(world.settled[&stop], Outcome::Stopped);
    world.heal();
}

/// It died of something else when it had only to leave: its end is on disk, and nobody has heard of that.
fn killed_when_it_had_only_to_leave() -> (World, RequestId) {
    let mut world = world();
    let stop = world.ask(Wish::Stop, Mode::Graceful);
    world.commit();
    dies_when_synced(&mut world);
    assert!(world.journal.has(|record| matches!(record, Record::RequestSettled { .. })));
    (world, stop)
}

fn dies_when_synced(world: &mut World) {
    world.dies_after = Some(0);
    world.commit();
    assert!(world.gateway.is_none());
}

#[test]
fn a_stop_that_was_carried_out_is_not_undone_by_a_reviver() {
    let (mut world, stop) = killed_when_it_had_only_to_leave();
    for _ in 0..2 {
        world.boot(Start::Revived);
        assert!(world.up().phase() > Phase::Serving);
        dies_when_synced(&mut world);
    }
    world.boot(Start::Revived);
    world.commit_all();
    assert!(world.stays_down());
    let settled = |record: &Record| matches!(record, Record::RequestSettled { request, .. } if *request == stop);
    assert_eq!(world.journal.count(settled), 1, "it has one outcome");
    assert_eq!(world.last_report().stop().map(|(id, _)| id), Some(stop), "who asked is still known");
    world.start_again();
    assert_eq!(world.up().phase(), Phase::Serving, "a person may start it");
    world.heal();
}

#[test]
fn who_keeps_a_stop_that_was_carried_out_begins_and_ends_on_disk_at_once_whatever_is_under_way() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    world.commit_all();
    world.ask(Wish::Stop, Mode::Force);
    world.commit();
    let ends = |record: &Record| matches!(record, Record::GenerationEnded { .. });
    while !world.journal.unsynced.iter().any(|batch| batch.iter().any(ends)) {
        if world.journal.unsynced.is_empty() { world.elapse() } else { world.commit() }
    }
    dies_when_synced(&mut world);
    assert!(world.journal.has(|record| matches!(record, Record::RequestSettled { .. })));
    world.boot(Start::Revived);
    assert!(!world.reclaims.is_empty(), "its turn may have left something");
    let batch = world.journal.unsynced.front().expect("it begins");
    assert!(batch.iter().any(|record| matches!(record, Record::GenerationBegun { .. })) && batch.iter().any(ends));
    world.commit_all();
    assert!(world.stays_down());
    world.start_again();
    world.heal();
}

#[test]
fn a_start_that_somebody_wants_stays_one_until_a_generation_of_it_has_begun() {
    let (world, _) = killed_when_it_had_only_to_leave();
    let carried_out = Recovered::from_unfinished(&world.journal.rows);
    let mut world = self::world();
    world.ask(Wish::Stop, Mode::Graceful);
    world.commit();
    let open = Recovered::from_unfinished(&world.journal.rows);
    let nothing = Recovered::default();
    let seen = Provenance { revivals: 1, unbegun: Some(0), left: false, rebooted: false };
    let starts = |provenance: Provenance| [&carried_out, &open, &nothing].map(|found| found.start(provenance));
    let (wanted, revived) = (Start::Wanted, Start::Revived);
    assert_eq!(starts(seen), [revived, revived, wanted]);
    assert_eq!(starts(Provenance { revivals: 3, unbegun: Some(2), ..seen }), [revived, revived, wanted]);
    assert_eq!(starts(Provenance { revivals: 0, ..seen }), [wanted; 3], "a person");
    assert_eq!(starts(Provenance { unbegun: Some(1), ..seen }), [wanted; 3], "in place of one that a person wanted");
    assert_eq!(
        starts(Provenance { rebooted: true, ..seen }),
        [wanted; 3],
        "in place of one that the machine's start wanted"
    );
    assert_eq!(starts(Provenance { left: true, ..seen }), [wanted, revived, wanted], "its stop was seen to");
    assert_eq!(starts(Provenance { unbegun: None, ..seen }), [wanted, revived, wanted], "nobody has counted");
}

#[test]
fn a_stop_that_is_kept_ends_as_whoever_supervises_by_then_wants_it() {
    let (mut world, _) = killed_when_it_had_only_to_leave();
    world.contract = Contract::of(Supervisor::LaunchdKeepAlive);
    assert_eq!(world.contract.stop, Verdict::StayUp);
    world.boot(Start::Revived);
    world.commit_all();
    let ends = |record: &Record| matches!(record, Record::GenerationEnded { verdict: Some(Verdict::StayUp), .. });
    assert!(world.journal.last_batch().iter().any(ends));
    assert_eq!(world.last_report().stop().map(|(_, made)| made.verdict), Some(Verdict::StayUp), "it is told so");
}

#[test]
fn nobody_can_take_back_a_stop_that_is_kept_nor_have_a_restart_instead() {
    let (mut world, stop) = killed_when_it_had_only_to_leave();
    world.boot(Start::Revived);
    world.ask(Wish::Restart, Mode::Force);
    world.tell(Input::Cancel { request: stop });
    world.commit_all();
    assert!(world.stays_down());
    world.heal();
}

#[test]
fn a_person_may_start_what_somebody_stopped() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    world.commit_all();
    let stop = world.ask(Wish::Stop, Mode::Graceful);
    world.commit_all();
    world.kill();
    world.start_again();
    assert_eq!(world.up().phase(), Phase::Serving);
    assert_eq!(world.settled[&stop], Outcome::Stopped);
    world.heal();
}

#[test]
fn a_restart_command_that_a_death_overtook_is_not_carried_out_again() {
    let mut world = world();
    world.say(1, Asked::Restart(Mode::Graceful));
    // On disk, and dead before the next effect.
    world.dies_after = Some(0);
    world.commit();
    assert!(world.gateway.is_none());
    world.heal();
    assert_eq!(world.ends.len(), 1, "the death was the restart");
    assert!(matches!(world.notices_in(1)[..], [Notice::RequestSettled { outcome: Outcome::Restarted { .. }, .. }]));
}

#[test]
fn a_boot_sends_what_is_owed_before_it_tells_outcomes() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    world.say(1, Asked::Restart(Mode::Graceful));
    world.commit_all();
    world.answer(turn);
    world.commit();
    world.kill();
    world.heal();
    assert!(matches!(world.notices_in(1)[..], [Notice::RestartAccepted { .. }, Notice::RequestSettled { .. }]));
}

#[test]
fn a_message_releases_a_session_whose_queue_is_full() {
    let mut world = world();
    let said: Vec<_> = (0..=world.limits.queued_per_session).map(|_| world.say(1, Asked::Prompt)).collect();
    world.commit_all();
    for _ in 0..world.limits.attempts {
        world.kill();
        world.start_again();
    }
    assert!(world.is_set_aside(1));
    let refused = world.say(1, Asked::Prompt);
    world.commit_all();
    assert!(!world.said[refused].acked, "there is no room for it yet");
    assert!(!world.is_set_aside(1), "but what fills the queue goes on");
    world.heal();
    assert!(said[1..].iter().all(|index| world.replies_to(*index) == 1));
    assert_eq!(world.replies_to(refused), 1);
}

#[test]
fn a_culprit_stands_alone_before_innocent_turns_have_used_up_their_attempts() {
    let mut world = world();
    world.limits.turns = 3;
    world.limits.attempts = 5;
    world.kill();
    world.start_again();
    let said = [world.say(1, Asked::Prompt), world.say(2, Asked::Prompt), world.say(3, Asked::Prompt)];
    world.commit_all();
    let culprit = world.turn_in(2);
    let mut deaths = 0;
    let mut steps = 0..1_000;
    while !world.is_set_aside(2) {
        assert!(steps.next().is_some(), "it is never set aside: {:#?}", world.gateway);
        // Whoever runs alone and is innocent ends before anybody dies; the culprit kills as soon as it runs.
        match world.agents.keys().copied().find(|turn| *turn == culprit) {
            Some(_) => {
                deaths += 1;
                world.kill();
                world.start_again();
            }
            None => match world.agents.keys().next().copied() {
                Some(turn) => world.answer(turn),
                None => world.elapse(),
            },
        }
        world.commit_all();
    }
    assert_eq!(deaths, 5);
    assert!(!world.is_set_aside(1) && !world.is_set_aside(3), "nobody else is to blame");
    world.heal();
    assert_eq!(said.map(|index| world.replies_to(index)), [1, 0, 1]);
}

#[test]
fn what_one_death_has_hit_is_above_suspicion_and_resumed_at_once() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    world.say(2, Asked::Prompt);
    world.commit_all();
    world.kill();
    world.start_again();
    assert_eq!((world.agents.len(), charged_starts(&world)), (2, vec![2, 2]));
    world.heal();
}

#[test]
fn a_suspect_that_lives_long_does_not_hold_up_the_others() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    world.say(2, Asked::Prompt);
    world.commit_all();
    for _ in 0..2 {
        world.kill();
        world.start_again();
    }
    assert_eq!(world.agents.len(), 1, "the first stands alone");
    world.wait(Limits::PROBATION);
    world.elapse();
    world.commit_all();
    assert_eq!(world.agents.len(), 2, "it has shown itself harmless");
    world.heal();
}

#[test]
fn a_turn_is_not_blamed_for_deaths_that_came_while_it_was_held_back() {
    let mut world = world();
    world.limits.attempts = 5;
    world.kill();
    world.start_again();
    let said = world.say(1, Asked::Prompt);
    world.commit_all();
    for _ in 0..50 {
        world.kill();
        world.start_again();
    }
    assert!(!world.is_set_aside(1));
    world.heal();
    assert_eq!(world.replies_to(said), 1);
}

#[test]
fn a_death_that_comes_while_a_turn_is_held_back_clears_it_of_one_charge() {
    let mut world = world();
    world.limits.attempts = 5;
    world.kill();
    world.start_again();
    let said = world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    let runs = |world: &World| world.agents.get(&turn).is_some_and(|agent| agent.generation == world.up().generation());
    for _ in 0..3 {
        assert!(runs(&world));
        world.kill();
        world.start_again();
    }
    assert!(!runs(&world), "three deaths have hit it");
    world.kill();
    world.start_again();
    assert!(runs(&world), "the fourth was not its doing");
    assert_eq!(charged_starts(&world), [2, 3, 3]);
    world.heal();
    assert_eq!(world.replies_to(said), 1);
}
