//! Messages that arrive while their session is busy: what they are told, what becomes of the running turn, and which
//! messages the next one is over.

mod world;

use evergate_core::busy::Busy;
use evergate_core::effect::Place;
use evergate_core::gateway::Phase;
use evergate_core::id::TurnId;
use evergate_core::input::{Asked, Input, Partial, TurnEnd};
use evergate_core::limits::Limits;
use evergate_core::outbox::{Content, Notice};
use evergate_core::record::Record;
use evergate_core::request::{Mode, Wish};
use evergate_core::supervisor::Supervisor;
use evergate_core::turn::Conclusion;
use world::World;

/// A gateway under this policy.
fn world(busy: Busy) -> World {
    let mut world = World::serving(Supervisor::Evergate);
    world.limits.busy = busy;
    world.tell(Input::Limits(Box::new(world.limits.clone())));
    world
}

fn say(world: &mut World, session: u64) -> usize {
    let said = world.say(session, Asked::Prompt);
    world.commit_all();
    said
}

fn place_of(world: &World, said: usize) -> Place {
    let place = world.journal.history.iter().find_map(|record| match record {
        Record::MessageAccepted { message, place, .. } if *message == world.said[said].message => Some(*place),
        _ => None,
    });
    place.expect("it is on disk")
}

fn places(world: &World, said: &[usize]) -> Vec<Place> {
    said.iter().map(|said| place_of(world, *said)).collect()
}

/// Which of what was said the turn is over that runs in a session.
fn over(world: &World, session: u64) -> Vec<usize> {
    let messages = &world.up().turns()[&world.turn_in(session)].messages;
    messages.iter().map(|over| world.said.iter().position(|said| said.message == *over).expect("it was said")).collect()
}

/// The turn that runs in a session gives way.
fn gives_way(world: &mut World, session: u64, partial: Partial) -> TurnId {
    let turn = world.turn_in(session);
    assert!(world.agents[&turn].interrupted);
    world.give_way(turn, partial);
    world.commit_all();
    turn
}

fn conclusion(world: &World, turn: TurnId) -> Option<Conclusion> {
    world.journal.history.iter().find_map(|record| match record {
        Record::TurnEnded { turn: of, conclusion, .. } if *of == turn => Some(*conclusion),
        _ => None,
    })
}

#[test]
fn what_is_queued_has_a_turn_of_its_own() {
    let mut world = world(Busy::Queue);
    let said = [(); 3].map(|()| say(&mut world, 1));
    assert_eq!(places(&world, &said), [Place::Running, Place::Queued, Place::Queued]);
    for said in said {
        assert_eq!(over(&world, 1), [said]);
        world.answer(world.turn_in(1));
        world.commit_all();
    }
    world.heal();
}

#[test]
fn what_is_collected_during_a_turn_is_one_next_turn_with_one_answer() {
    let mut world = world(Busy::Collect);
    let said = [(); 4].map(|()| say(&mut world, 1));
    assert_eq!(places(&world, &said), [Place::Running, Place::Collected, Place::Collected, Place::Collected]);
    assert!(!world.agents[&world.turn_in(1)].interrupted);
    world.answer(world.turn_in(1));
    world.commit_all();
    assert_eq!(over(&world, 1), said[1..]);
    let later = say(&mut world, 1);
    world.answer(world.turn_in(1));
    world.commit_all();
    assert_eq!(over(&world, 1), [later]);
    world.heal();
    assert_eq!(said.map(|said| world.replies_to(said)), [1; 4]);
    let replies = world.arrived.iter().filter(|arrival| matches!(arrival.content, Content::Reply { .. })).count();
    assert_eq!(replies, 3);
}

#[test]
fn what_is_collected_stays_together_over_a_death_and_over_a_restart() {
    let mut world = world(Busy::Collect);
    let said = [(); 3].map(|()| say(&mut world, 1));
    world.limits.busy = Busy::Queue;
    world.kill();
    world.start_again();
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    let in_the_end = say(&mut world, 1);
    assert_eq!((world.up().phase(), place_of(&world, in_the_end)), (Phase::Interrupting, Place::Queued));
    gives_way(&mut world, 1, Partial::Nothing);
    world.send_all();
    world.start_again();
    world.answer(world.turn_in(1));
    world.commit_all();
    assert_eq!(over(&world, 1), said[1..], "as they were told, whatever is configured now");
    world.heal();
}

#[test]
fn a_message_that_interrupts_has_the_next_turn_and_what_was_said_so_far_is_the_reply() {
    let mut world = world(Busy::Interrupt);
    let first = say(&mut world, 1);
    let beside = say(&mut world, 2);
    let second = say(&mut world, 1);
    assert_eq!(places(&world, &[first, second]), [Place::Running, Place::Interrupting]);
    assert!(!world.agents[&world.turn_in(2)].interrupted, "that is another chat");
    let turn = gives_way(&mut world, 1, Partial::Text);
    assert_eq!(conclusion(&world, turn), Some(Conclusion::Superseded));
    assert_eq!(over(&world, 1), [second]);
    world.send_all();
    assert_eq!((world.replies_to(first), world.notices_in(1)), (1, vec![]));
    world.heal();
    assert_eq!([second, beside].map(|said| world.replies_to(said)), [1, 1]);
}

#[test]
fn a_turn_that_is_interrupted_before_its_first_word_gives_its_messages_to_the_next() {
    let mut world = world(Busy::Interrupt);
    let said = [(); 3].map(|()| say(&mut world, 1));
    assert_eq!(places(&world, &said), [Place::Running, Place::Interrupting, Place::Interrupting]);
    let turn = gives_way(&mut world, 1, Partial::Nothing);
    assert_eq!(conclusion(&world, turn), Some(Conclusion::Superseded));
    assert_eq!(over(&world, 1), said);
    world.kill();
    world.start_again();
    assert_eq!(over(&world, 1), said, "also after a death");
    world.heal();
    assert_eq!(said.map(|said| world.replies_to(said)), [1; 3]);
    assert_eq!(world.notices_in(1), []);
}

#[test]
fn messages_that_follow_each_other_faster_than_the_disk_are_one_turn_that_starts_once() {
    let mut world = world(Busy::Interrupt);
    let said = [(); 3].map(|()| world.say(1, Asked::Prompt));
    assert!(world.agents.is_empty());
    world.commit_all();
    assert_eq!((over(&world, 1), world.agents.len()), (said.to_vec(), 1));
    world.heal();
}

#[test]
fn a_turn_that_answers_although_a_message_interrupts_it_has_answered() {
    let mut world = world(Busy::Interrupt);
    let said = [(); 2].map(|()| say(&mut world, 1));
    let turn = world.turn_in(1);
    world.answer(turn);
    world.commit_all();
    assert_eq!(conclusion(&world, turn), Some(Conclusion::Answered));
    assert_eq!(over(&world, 1), said[1..]);
    world.heal();
}

#[test]
fn a_turn_that_fails_when_it_is_interrupted_is_reported() {
    let mut world = world(Busy::Interrupt);
    let first = say(&mut world, 1);
    say(&mut world, 1);
    let turn = world.turn_in(1);
    world.end_turn(turn, TurnEnd::Failed);
    world.heal();
    assert_eq!((world.replies_to(first), world.notices_in(1)), (0, vec![Notice::TurnFailed { turn }]));
}

#[test]
fn a_turn_that_ignores_a_message_that_interrupts_is_killed_when_its_grace_is_over() {
    let mut world = world(Busy::Interrupt);
    say(&mut world, 1);
    let since = world.now;
    say(&mut world, 1);
    world.elapse();
    assert_eq!(world.now - since, world.limits.interrupt_grace);
    assert!(world.agents[&world.turn_in(1)].killed);
    world.heal();
}

#[test]
fn a_turn_that_was_to_give_way_when_the_gateway_died_does_not_run_again() {
    for planned in [false, true] {
        let mut world = world(Busy::Interrupt);
        let said = [(); 2].map(|()| say(&mut world, 1));
        let turn = world.turn_in(1);
        if planned {
            world.ask(Wish::Restart, Mode::Force);
            world.commit_all();
        }
        world.kill();
        world.start_again();
        assert_ne!(world.turn_in(1), turn);
        assert_eq!(over(&world, 1), said);
        world.heal();
        assert_eq!(said.map(|said| world.replies_to(said)), [1; 2]);
    }
}

#[test]
fn a_message_interrupts_while_work_drains_and_not_what_the_end_has_interrupted() {
    let mut world = world(Busy::Interrupt);
    let first = say(&mut world, 1);
    say(&mut world, 2);
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    let interrupts = say(&mut world, 1);
    assert_eq!((world.up().phase(), place_of(&world, interrupts)), (Phase::Draining, Place::Interrupting));
    gives_way(&mut world, 1, Partial::Text);
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    let waits = say(&mut world, 2);
    assert_eq!((world.up().phase(), place_of(&world, waits)), (Phase::Interrupting, Place::Queued));
    world.heal();
    assert_eq!([first, interrupts, waits].map(|said| world.replies_to(said)), [1; 3]);
}

#[test]
fn a_turn_that_waits_to_be_resumed_is_not_interrupted_and_once_it_runs_it_is() {
    let mut world = world(Busy::Interrupt);
    let first = say(&mut world, 1);
    world.kill();
    world.boot(evergate_core::recovery::Start::Wanted);
    world.open();
    world.commit_all();
    let early = say(&mut world, 1);
    assert_eq!(place_of(&world, early), Place::Queued, "nothing of it runs");
    world.reclaimed();
    world.commit_all();
    let late = say(&mut world, 1);
    assert_eq!(place_of(&world, late), Place::Interrupting);
    gives_way(&mut world, 1, Partial::Nothing);
    assert_eq!(over(&world, 1), [first, early, late], "in the order of their arrival, none of them left behind");
    world.heal();
}

#[test]
fn a_stop_outdoes_a_message_that_interrupts() {
    let mut world = world(Busy::Interrupt);
    let first = say(&mut world, 1);
    let second = say(&mut world, 1);
    let turn = world.turn_in(1);
    world.say(1, Asked::StopTurn);
    world.commit_all();
    let third = say(&mut world, 1);
    assert_eq!(place_of(&world, third), Place::Interrupting, "the turn ends for good, and this is next");
    gives_way(&mut world, 1, Partial::Nothing);
    assert_eq!((conclusion(&world, turn), over(&world, 1)), (Some(Conclusion::Stopped), vec![second, third]));
    world.heal();
    assert_eq!([first, second].map(|said| world.replies_to(said)), [0, 1]);
    assert_eq!(world.notices_in(1), [Notice::Stopping { turn }, Notice::TurnStopped { turn }]);
}

#[test]
fn what_a_chat_has_said_about_its_policy_holds_for_ever_and_there_alone() {
    let mut world = world(Busy::Queue);
    world.say(1, Asked::Busy(Some(Busy::Collect)));
    world.commit_all();
    world.kill();
    world.start_again();
    world.say(1, Asked::Busy(None));
    world.say(2, Asked::Busy(None));
    let said = [(); 2].map(|()| [say(&mut world, 1), say(&mut world, 2)]);
    assert_eq!(places(&world, &said[1]), [Place::Collected, Place::Queued]);
    world.heal();
    assert_eq!(world.notices_in(1), [Notice::Busy { busy: Busy::Collect }; 2]);
    assert_eq!(world.notices_in(2), [Notice::Busy { busy: Busy::Queue }]);
    world.kill();
    world.start_again();
    assert_eq!(world.up().busy(evergate_core::id::SessionId(1)), Busy::Collect, "it was idle, and is remembered");
    world.heal();
}

#[test]
fn a_change_of_the_policy_is_for_what_arrives_later() {
    let mut world = world(Busy::Collect);
    let said = [(); 3].map(|()| say(&mut world, 1));
    world.say(1, Asked::Busy(Some(Busy::Queue)));
    world.commit_all();
    let queued = [(); 1].map(|()| say(&mut world, 1));
    world.answer(world.turn_in(1));
    world.commit_all();
    assert_eq!(over(&world, 1), said[1..]);
    world.answer(world.turn_in(1));
    world.commit_all();
    assert_eq!(over(&world, 1), queued);
    world.heal();
}

#[test]
fn a_turn_that_could_not_give_back_all_its_messages_is_not_interrupted() {
    let mut world = world(Busy::Collect);
    let room = world.limits.queued_per_session;
    for _ in 0..=room {
        say(&mut world, 1);
    }
    world.say(1, Asked::Busy(Some(Busy::Interrupt)));
    world.answer(world.turn_in(1));
    world.commit_all();
    assert_eq!(over(&world, 1).len(), room);
    let said = say(&mut world, 1);
    assert_eq!(place_of(&world, said), Place::Queued);
    world.heal();
}

#[test]
fn messages_that_interrupt_are_refused_where_they_and_what_comes_back_would_not_fit() {
    let mut world = world(Busy::Interrupt);
    let room = world.limits.queued_per_session;
    let said: Vec<usize> = (0..room).map(|_| say(&mut world, 1)).collect();
    let refused = say(&mut world, 1);
    assert!(!world.said[refused].acked);
    gives_way(&mut world, 1, Partial::Nothing);
    assert_eq!((over(&world, 1), world.up().queued()), (said, 0));
    world.heal();
}

#[test]
fn what_waited_is_not_withdrawn_with_a_message_that_was_to_share_its_turn() {
    for busy in [Busy::Collect, Busy::Interrupt] {
        let mut world = world(busy);
        world.tell(Input::Limits(Box::new(Limits { turns: 1, ..world.limits.clone() })));
        say(&mut world, 2);
        let waits = say(&mut world, 1);
        assert_eq!(world.up().queued(), 1);
        let lost = world.say(1, Asked::Prompt);
        world.answer(world.turn_in(2));
        let lost_too = world.say(1, Asked::Prompt);
        world.fail_write();
        world.elapse();
        world.commit_all();
        assert_eq!(over(&world, 1), [waits], "{busy:?}");
        world.heal();
        assert_eq!([waits, lost, lost_too].map(|said| world.replies_to(said)), [1; 3], "{busy:?}");
    }
}

#[test]
fn a_generation_is_not_proven_by_a_turn_that_gave_way() {
    let mut world = world(Busy::Interrupt);
    say(&mut world, 1);
    say(&mut world, 1);
    gives_way(&mut world, 1, Partial::Text);
    assert!(!world.journal.has(|record| matches!(record, Record::GenerationProven { .. })));
    world.heal();
}

#[test]
fn chats_are_served_in_the_order_in_which_they_began_to_wait_however_much_one_of_them_says() {
    let mut world = world(Busy::Queue);
    world.tell(Input::Limits(Box::new(Limits { turns: 1, ..world.limits.clone() })));
    let said = [1, 1, 1, 2, 3, 2].map(|session| say(&mut world, session));
    let mut served = Vec::new();
    while let Some(turn) = world.agents.keys().next().copied() {
        served.push(world.agents[&turn].session.0);
        world.answer(turn);
        world.commit_all();
    }
    assert_eq!(served, [1, 2, 3, 1, 2, 1], "one turn each, and whoever has more goes to the end of the line");
    world.heal();
    assert_eq!(said.map(|said| world.replies_to(said)), [1; 6]);
}
