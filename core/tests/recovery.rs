//! Deaths of the gateway, planned or not: what the next generation finds, charges and resumes.

mod world;

use evergate_core::effect::Answer;
use evergate_core::gateway::{Pending, Phase};
use evergate_core::input::{Asked, Partial};
use evergate_core::limits::Limits;
use evergate_core::outbox::Notice;
use evergate_core::record::Record;
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Outcome, Wish};
use evergate_core::supervisor::Supervisor;
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
    while !world.is_set_aside(2) {
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

/// Dies so often in a row with one turn under way that the breaker trips.
fn tripped() -> (World, usize) {
    let mut world = world();
    world.limits.attempts = 1_000;
    world.limits.unproven = 3;
    let held = world.say(1, Asked::Prompt);
    world.commit_all();
    for _ in 0..3 {
        world.kill();
        world.start_again();
    }
    (world, held)
}

#[test]
fn a_loop_of_deaths_resumes_nothing_but_messages_are_served_and_prove_that_it_is_over() {
    let (mut world, held) = tripped();
    assert!(world.up().is_tripped());
    assert!(world.agents.values().all(|agent| agent.generation != world.up().generation()), "nothing is resumed");
    assert_eq!(world.up().pending(), Some(Pending::Held(1)));

    let served = world.say(2, Asked::Prompt);
    world.commit_all();
    world.answer(world.turn_in(2));
    world.commit_all();
    assert!(!world.up().is_tripped());
    world.heal();
    assert_eq!([held, served].map(|index| world.replies_to(index)), [1, 1]);
}

#[test]
fn somebody_who_vouches_for_a_tripped_generation_sets_all_going_once_that_is_on_disk() {
    let (mut world, held) = tripped();
    let request = world.reset_breaker();
    assert!(world.up().is_tripped() && world.answers.is_empty(), "a wish counts when it is on disk");
    world.commit_all();
    assert_eq!(world.answers, [(request, Answer::Accepted)]);
    assert!(!world.up().is_tripped());
    world.elapse();
    world.commit_all();
    assert_eq!(world.agents[&world.turn_in(1)].generation, world.up().generation(), "what was held goes on");
    world.kill();
    world.start_again();
    assert!(!world.up().is_tripped(), "the deaths before it count no more");
    world.heal();
    assert_eq!(world.replies_to(held), 1);
}

#[test]
fn a_reset_that_cannot_be_written_is_refused_and_changes_nothing() {
    let (mut world, _) = tripped();
    let refused = world.reset_breaker();
    world.fail_write();
    assert!(world.up().is_tripped());
    let failing = world.reset_breaker();
    assert_eq!(world.answers, [(refused, Answer::StorageFull), (failing, Answer::StorageFull)]);
    world.kill();
    world.start_again();
    assert!(world.up().is_tripped(), "nothing of it is in the journal");
}

#[test]
fn there_is_nothing_to_reset_where_nothing_is_tripped() {
    let mut world = world();
    let request = world.reset_breaker();
    assert_eq!(world.answers, [(request, Answer::NotTripped)]);
}

#[test]
fn whoever_speaks_in_a_held_session_sets_its_turn_going() {
    let (mut world, held) = tripped();
    let next = world.say(1, Asked::Prompt);
    world.commit_all();
    world.answer(world.turn_in(1));
    world.heal();
    assert_eq!([held, next].map(|index| world.replies_to(index)), [1, 1]);
}

#[test]
fn whoever_speaks_in_a_held_session_sets_its_turn_going_although_its_queue_is_full() {
    let mut world = world();
    world.limits.attempts = 1_000;
    world.limits.unproven = 3;
    let said: Vec<_> = (0..=world.limits.queued_per_session).map(|_| world.say(1, Asked::Prompt)).collect();
    world.commit_all();
    for _ in 0..3 {
        world.kill();
        world.start_again();
    }
    assert_eq!(
        world.up().pending(),
        Some(Pending::Held(1)),
        "what waits behind a held turn waits for a person as well"
    );
    let refused = world.say(1, Asked::Prompt);
    world.commit_all();
    assert!(!world.said[refused].acked, "there is no room for it yet");
    let turn = world.turn_in(1);
    assert_eq!(world.agents[&turn].generation, world.up().generation(), "but what it waits for goes on");
    world.heal();
    assert!(said.iter().chain([&refused]).all(|index| world.replies_to(*index) == 1));
}

#[test]
fn deaths_are_counted_however_long_each_life_is_and_a_finished_turn_ends_the_count() {
    let mut world = world();
    world.limits.attempts = 1_000;
    world.limits.unproven = 3;
    world.say(1, Asked::Prompt);
    world.commit_all();
    for death in 0..9 {
        world.wait(std::time::Duration::from_secs(10_000));
        if death % 3 == 2 {
            world.say(2, Asked::Prompt);
            world.commit_all();
            world.answer(world.turn_in(2));
            world.commit_all();
        }
        world.kill();
        world.start_again();
        assert!(!world.up().is_tripped(), "after {death} deaths");
    }
}
