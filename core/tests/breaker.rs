//! Deaths in a row: what the loop breaker holds, what sets it going again, and what else waits until it has shown itself
//! harmless.

mod world;

use evergate_core::effect::Answer;
use evergate_core::gateway::{Pending, Phase};
use evergate_core::input::{Asked, Input, TurnEnd};
use evergate_core::limits::Limits;
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Outcome, Signal, Wish};
use evergate_core::supervisor::Supervisor;
use world::World;

fn world() -> World {
    World::serving(Supervisor::Evergate)
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
    assert_eq!((world.up().breaker().name(), world.up().deaths_in_a_row()), ("tripped", 3));
    assert!(world.agents.values().all(|agent| agent.generation != world.up().generation()), "nothing is resumed");
    assert_eq!(world.up().pending(), Some(Pending::Held(1)));

    let served = world.say(2, Asked::Prompt);
    world.commit_all();
    world.answer(world.turn_in(2));
    world.commit_all();
    assert_eq!(world.up().breaker().name(), "closed");
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
    world.elapse();
    world.commit_all();
    assert_eq!(world.answers, [(refused, Answer::StorageFull), (failing, Answer::StorageFull)]);
    assert!(world.up().is_tripped(), "what was refused is not written later");
    world.kill();
    world.start_again();
    assert!(world.up().is_tripped(), "nothing of it is in the journal");
}

#[test]
fn whoever_asked_for_a_restart_is_told_when_somebody_vouches_and_not_while_another_end_is_under_way() {
    for ending in [false, true] {
        let (mut world, _) = tripped();
        let restart = world.ask(Wish::Restart, Mode::Graceful);
        world.commit_all();
        world.start_again();
        assert!(world.up().is_tripped() && world.settled.is_empty());
        world.say(2, Asked::Prompt);
        world.commit_all();
        if ending {
            world.signal(Signal::Terminate);
        }
        world.reset_breaker();
        world.commit_all();
        assert_eq!(world.settled.contains_key(&restart), !ending);
        world.heal();
        assert!(world.settled.contains_key(&restart));
    }
}

#[test]
fn a_stop_that_a_wanted_start_went_against_is_over_however_often_generations_have_died() {
    for from_turn in [false, true] {
        let (mut world, held) = tripped();
        world.say(1, Asked::Prompt);
        world.commit_all();
        let stop = match from_turn {
            true => world.ask_from_turn(world.turn_in(1), Wish::Stop),
            false => world.ask(Wish::Stop, Mode::Graceful),
        };
        world.commit();
        world.kill();
        world.boot(Start::Wanted);
        world.open();
        world.commit_all();
        assert!(world.up().is_tripped());
        assert_eq!(world.settled.get(&stop), Some(&Outcome::Stopped), "asked for by a turn: {from_turn}");
        world.kill();
        world.boot(Start::Revived);
        world.open();
        world.commit_all();
        assert_eq!(world.up().phase(), Phase::Serving, "nobody has asked for a stop since");
        world.heal();
        assert_eq!(world.replies_to(held), 1);
    }
}

#[test]
fn a_generation_that_has_written_its_end_is_not_vouched_for() {
    let (mut world, _) = tripped();
    world.ask(Wish::Stop, Mode::Graceful);
    world.commit();
    assert!(world.up().drain().is_some_and(|drain| drain.end_recorded));
    let request = world.reset_breaker();
    assert_eq!(world.answers.last(), Some(&(request, Answer::Ending)));
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

/// Two turns are held, after so many of the deaths in a row have hit them.
fn two_held(deaths: usize) -> (World, [usize; 2]) {
    let mut world = world();
    world.limits.attempts = 1_000;
    world.limits.unproven = 3;
    for _ in deaths..3 {
        world.kill();
        world.start_again();
    }
    let said = [world.say(1, Asked::Prompt), world.say(2, Asked::Prompt)];
    world.commit_all();
    for _ in 0..deaths {
        world.kill();
        world.start_again();
    }
    assert_eq!(world.up().pending(), Some(Pending::Held(2)));
    (world, said)
}

/// The sessions in which this generation has an agent at work.
fn at_work(world: &World) -> Vec<u64> {
    let mine = world.agents.values().filter(|agent| agent.generation == world.up().generation());
    mine.map(|agent| agent.session.0).collect()
}

#[test]
fn only_the_held_turn_of_whoever_speaks_goes_on_and_the_others_when_it_has_ended() {
    // After one death both are above suspicion; after two they are not.
    for deaths in [1, 2] {
        let (mut world, said) = two_held(deaths);
        world.say(2, Asked::Prompt);
        world.commit_all();
        assert_eq!(at_work(&world), [2]);
        assert_eq!(world.up().pending(), Some(Pending::Turns(2)));
        world.answer(world.turn_in(2));
        world.commit_all();
        assert_eq!(at_work(&world), [1, 2], "what was held, and what was said last");
        world.heal();
        assert_eq!(said.map(|index| world.replies_to(index)), [1, 1]);
    }
}

#[test]
fn whoever_speaks_in_a_held_session_waits_for_room_as_everybody_else() {
    let (mut world, said) = two_held(1);
    world.tell(Input::Limits(Box::new(Limits { turns: 1, ..world.limits.clone() })));
    world.say(3, Asked::Prompt);
    world.commit_all();
    world.say(1, Asked::Prompt);
    world.commit_all();
    assert_eq!(at_work(&world), [3]);
    world.heal();
    assert_eq!(said.map(|index| world.replies_to(index)), [1, 1]);
}

#[test]
fn whoever_speaks_in_a_held_session_starts_nothing_in_a_drain() {
    let (mut world, said) = two_held(1);
    world.say(3, Asked::Prompt);
    world.commit_all();
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    world.say(1, Asked::Prompt);
    world.commit_all();
    assert_eq!((world.up().phase(), at_work(&world)), (Phase::Draining, vec![3]));
    world.heal();
    assert_eq!(said.map(|index| world.replies_to(index)), [1, 1]);
}

#[test]
fn whoever_speaks_in_the_session_of_a_suspect_does_not_hurry_it() {
    let mut world = world();
    world.limits.attempts = 5;
    world.kill();
    world.start_again();
    world.say(1, Asked::Prompt);
    world.commit_all();
    for _ in 0..3 {
        world.kill();
        world.start_again();
    }
    world.say(1, Asked::Prompt);
    world.commit_all();
    assert!(at_work(&world).is_empty());
    let since = world.now;
    world.elapse();
    world.commit_all();
    assert_eq!((world.now - since, at_work(&world)), (Limits::HELD_BACK, vec![1]));
    world.heal();
}

#[test]
fn each_further_death_doubles_how_long_a_suspect_is_held_back_up_to_a_bound() {
    let mut world = world();
    (world.limits.attempts, world.limits.unproven) = (100, 100);
    world.kill();
    world.start_again();
    world.say(1, Asked::Prompt);
    world.commit_all();
    for _ in 0..3 {
        world.kill();
        world.start_again();
    }
    let held_back = [(); 8].map(|()| {
        let since = world.now;
        world.elapse();
        world.commit_all();
        assert_eq!(at_work(&world), [1]);
        let held_back = world.now - since;
        world.kill();
        world.start_again();
        held_back.as_secs()
    });
    assert_eq!(held_back, [1, 2, 4, 8, 16, 32, 32, 32]);
    world.heal();
}

#[test]
fn a_suspect_that_may_run_and_finds_no_room_waits_for_room_and_not_for_time() {
    let mut world = world();
    world.limits.turns = 1;
    world.limits.attempts = 5;
    world.kill();
    world.start_again();
    world.say(1, Asked::Prompt);
    world.commit_all();
    for _ in 0..3 {
        world.kill();
        world.start_again();
    }
    world.say(2, Asked::Prompt);
    world.commit_all();
    assert_eq!(world.up().poll_timeout(), Some(world.now + Limits::HELD_BACK));
    world.elapse();
    assert_eq!((world.up().poll_timeout(), at_work(&world)), (None, vec![2]));
    world.answer(world.turn_in(2));
    world.commit_all();
    assert_eq!(at_work(&world), [1]);
    world.heal();
}

#[test]
fn what_is_said_of_a_turn_that_does_not_run_changes_nothing() {
    let (mut world, _) = two_held(1);
    world.say(1, Asked::Prompt);
    world.commit_all();
    let (running, held) = (world.turn_in(1), world.turn_in(2));
    world.wait(std::time::Duration::from_millis(1));
    let before = world.up().clone();
    world.tell(Input::TurnProgressed { turn: held });
    world.tell(Input::TurnEnded { turn: held, end: TurnEnd::Answered });
    world.tell(Input::TurnGone { turn: held });
    world.tell(Input::TurnGone { turn: running });
    assert_eq!(*world.up(), before);
    world.heal();
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
