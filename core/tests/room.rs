//! What is refused for want of room, what takes none, and what is said of a message that there is room for.

mod world;

use evergate_core::effect::Place;
use evergate_core::input::Asked;
use evergate_core::limits::Limits;
use evergate_core::record::Record;
use evergate_core::request::{Mode, Wish};
use evergate_core::supervisor::Supervisor;
use world::World;

/// Somebody says something; whether it was accepted.
fn is_taken(world: &mut World, session: u64, asked: Asked) -> bool {
    let said = world.say(session, asked);
    world.commit_all();
    world.said[said].acked
}

/// A gateway within other limits.
fn within(change: impl FnOnce(&mut Limits)) -> World {
    let mut world = World::serving(Supervisor::Evergate);
    change(&mut world.limits);
    world.kill();
    world.start_again();
    world
}

#[test]
fn a_chat_that_only_began_a_new_conversation_takes_no_room_from_others() {
    let mut world = within(|limits| limits.sessions = 1);
    world.say(1, Asked::Renew);
    world.commit_all();
    world.send_all();
    let next = world.say(2, Asked::Prompt);
    world.commit_all();
    assert!(world.said[next].acked);
    let one_too_many = world.say(3, Asked::Prompt);
    world.commit_all();
    assert!(!world.said[one_too_many].acked);
    world.heal();
    assert_eq!(world.replies_to(next), 1);
}

#[test]
fn a_chat_with_unfinished_business_is_heard_although_there_is_no_room_for_another() {
    let mut world = within(|limits| limits.sessions = 1);
    assert!(is_taken(&mut world, 1, Asked::Prompt));
    assert!(!is_taken(&mut world, 2, Asked::Prompt));
    assert!(is_taken(&mut world, 1, Asked::Prompt));
}

#[test]
fn a_chat_whose_queue_is_full_may_still_give_commands_and_others_may_speak() {
    let mut world = within(|limits| limits.queued_per_session = 2);
    let taken = [(); 4].map(|()| is_taken(&mut world, 1, Asked::Prompt));
    assert_eq!(taken, [true, true, true, false], "one turn, two that wait");
    assert!(is_taken(&mut world, 2, Asked::Prompt));
    assert!(is_taken(&mut world, 1, Asked::StopTurn));
    world.heal();
}

#[test]
fn messages_and_commands_that_wait_share_the_room_for_all() {
    let mut world = within(|limits| limits.queued = 3);
    let mut waiting = || [(); 3].map(|()| is_taken(&mut world, 1, Asked::Prompt));
    assert_eq!(waiting(), [true; 3], "one turn, two that wait");
    let command = world.say(2, Asked::Status);
    let one_too_many = world.say(3, Asked::Prompt);
    world.commit_all();
    assert_eq!([command, one_too_many].map(|said| world.said[said].acked), [true, false]);
    assert!(is_taken(&mut world, 3, Asked::Prompt), "a command that was carried out waits no longer");
    world.heal();
}

fn place_of(world: &World, said: usize) -> Place {
    let place = world.journal.history.iter().find_map(|record| match record {
        Record::MessageAccepted { message, place, .. } if *message == world.said[said].message => Some(*place),
        _ => None,
    });
    place.expect("it is on disk")
}

#[test]
fn whoever_speaks_is_told_whether_that_is_worked_on_or_waits() {
    let mut world = World::serving(Supervisor::Evergate);
    let mut place = |session, asked| {
        let said = world.say(session, asked);
        world.commit_all();
        place_of(&world, said)
    };
    assert_eq!([1, 1, 2, 3].map(|session| place(session, Asked::Prompt)), {
        use Place::{Queued, Running};
        [Running, Queued, Running, Queued]
    });
    assert_eq!(place(1, Asked::Status), Place::Running, "a command waits for nothing");
    world.heal();

    world.say(1, Asked::Prompt);
    world.commit_all();
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    let said = world.say(2, Asked::Prompt);
    world.commit_all();
    assert_eq!(place_of(&world, said), Place::Queued, "in a drain");
    world.heal();
}

#[test]
fn whoever_speaks_when_a_suspect_may_run_again_is_told_that_it_takes_the_room() {
    let mut world = within(|limits| limits.turns = 1);
    world.say(1, Asked::Prompt);
    world.commit_all();
    for _ in 0..2 {
        world.kill();
        world.start_again();
    }
    world.limits.attempts = 5;
    world.kill();
    world.start_again();
    assert_eq!(world.up().poll_timeout(), Some(world.now + Limits::HELD_BACK));
    world.wait(Limits::HELD_BACK);
    let said = world.say(2, Asked::Prompt);
    world.commit_all();
    assert_eq!((place_of(&world, said), world.up().queued()), (Place::Queued, 1));
    world.heal();
}
