//! Restarts and stops that somebody asked for: who waits for whom, who outranks whom, and what each requester is told.

mod world;

use evergate_core::drain::TurnFate;
use evergate_core::effect::Answer;
use evergate_core::gateway::Phase;
use evergate_core::input::{Asked, Input, Partial, Standing, TurnEnd};
use evergate_core::outbox::{Content, Notice};
use evergate_core::record::Record;
use evergate_core::request::{Mode, Outcome, Wish};
use evergate_core::supervisor::Supervisor;
use evergate_core::time::Instant;
use evergate_core::verdict::Verdict;
use std::time::Duration;
use world::{Ended, World};

fn world() -> World {
    World::serving(Supervisor::Evergate)
}

/// A turn of this session runs.
fn working(world: &mut World, session: u64) -> usize {
    let said = world.say(session, Asked::Prompt);
    world.commit_all();
    assert!(world.agents.contains_key(&world.turn_in(session)));
    said
}

fn restart_from_chat(world: &mut World, session: u64) -> usize {
    let said = world.say(session, Asked::Restart(Mode::Graceful));
    world.commit_all();
    world.send_all();
    said
}

fn drained_at(world: &mut World) -> Instant {
    while world.up().phase() == Phase::Draining {
        world.elapse();
    }
    world.now
}

#[test]
fn a_restart_from_the_active_chat_does_not_wait_for_itself() {
    let mut world = world();
    let asked = working(&mut world, 1);
    restart_from_chat(&mut world, 1);
    assert_eq!(world.up().phase(), Phase::Draining);
    assert!(matches!(world.notices_in(1)[..], [Notice::RestartAccepted { .. }]), "told before anything ends");
    let since = world.now;
    assert_eq!(drained_at(&mut world) - since, world.limits.requester_grace);
    world.heal();
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(75))]);
    assert_eq!(world.replies_to(asked), 1);
    assert!(matches!(world.notices_in(1)[..], [_, Notice::RequestSettled { outcome: Outcome::Restarted { .. }, .. }]));
}

#[test]
fn a_turn_that_asks_for_a_restart_and_waits_for_it_is_not_waited_for() {
    let mut world = world();
    working(&mut world, 1);
    let turn = world.turn_in(1);
    world.ask_from_turn(turn, Wish::Restart);
    world.commit_all();
    let since = world.now;
    assert_eq!(drained_at(&mut world) - since, world.limits.requester_grace);
    world.heal();
}

#[test]
fn a_turn_that_asks_again_after_its_restart_is_told_it_is_done() {
    let mut world = world();
    let asked = working(&mut world, 1);
    let turn = world.turn_in(1);
    let first = world.ask_from_turn(turn, Wish::Restart);
    world.commit_all();
    drained_at(&mut world);
    world.commit_all();
    world.give_way(turn, Partial::Text);
    world.commit_all();
    world.start_again();
    let again = world.ask_from_turn(turn, Wish::Restart);
    world.commit_all();
    assert_eq!(world.answers.last(), Some(&(again, Answer::AlreadyDone(first))));
    assert_eq!(world.up().phase(), Phase::Serving, "it is not done twice");
    let stop = world.ask_from_turn(turn, Wish::Stop);
    world.commit_all();
    assert_eq!(world.answers.last(), Some(&(stop, Answer::Accepted)), "a stop is not what was done");
    world.heal();
    assert_eq!(world.replies_to(asked), 1);
}

#[test]
fn others_keep_the_whole_budget() {
    let mut world = world();
    let (_, other) = (working(&mut world, 1), working(&mut world, 2));
    let turn = world.turn_in(2);
    restart_from_chat(&mut world, 1);
    world.wait(world.limits.requester_grace);
    world.tell(Input::Elapsed);
    assert_eq!(world.up().phase(), Phase::Draining, "the requester's grace is over, the other's budget is not");
    let since = world.up().drain().expect("it drains").since;
    world.wait(Duration::from_secs(10));
    world.answer(turn);
    world.commit_all();
    assert!(world.now - since < world.limits.drain);
    assert_eq!(world.up().phase(), Phase::Interrupting, "nobody is waited for any more");
    world.heal();
    assert_eq!(world.replies_to(other), 1);
    let fates = world.last_report().turns;
    assert_eq!(fates[&turn], TurnFate::Ended);
}

#[test]
fn a_turn_that_ends_no_sooner_is_interrupted_when_the_budget_ends() {
    let mut world = world();
    working(&mut world, 1);
    let since = world.now;
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    assert_eq!(drained_at(&mut world) - since, world.limits.drain);
    world.heal();
}

#[test]
fn a_short_drain_does_not_lengthen_the_grace_of_a_turn_that_ignores_the_interruption() {
    let mut world = world();
    working(&mut world, 1);
    restart_from_chat(&mut world, 1);
    let interrupted = drained_at(&mut world);
    world.elapse();
    assert_eq!(world.up().phase(), Phase::Closing);
    assert_eq!(world.now - interrupted, world.limits.interrupt_grace);
    world.heal();
}

#[test]
fn a_stalled_turn_is_not_waited_for() {
    let mut world = world();
    working(&mut world, 1);
    world.wait(world.limits.stall_after);
    let since = world.now;
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    assert_eq!(drained_at(&mut world), since);
    world.heal();
}

#[test]
fn a_turn_that_stalls_during_the_drain_is_given_up_then() {
    let mut world = world();
    working(&mut world, 1);
    world.wait(world.limits.stall_after - Duration::from_secs(3));
    let since = world.now;
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    assert_eq!(drained_at(&mut world) - since, Duration::from_secs(3));
    world.heal();
}

#[test]
fn a_turn_that_shows_progress_is_waited_for_to_the_end_of_the_budget() {
    let mut world = world();
    working(&mut world, 1);
    world.wait(world.limits.stall_after - Duration::from_secs(3));
    let turn = world.turn_in(1);
    world.tell(Input::TurnProgressed { turn });
    let since = world.now;
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    assert_eq!(drained_at(&mut world) - since, world.limits.drain);
    world.heal();
}

#[test]
fn stop_outranks_restart_and_each_requester_gets_one_outcome() {
    let mut world = world();
    working(&mut world, 1);
    let first = world.ask(Wish::Restart, Mode::Graceful);
    let second = world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    let stop = world.ask(Wish::Stop, Mode::Graceful);
    world.commit_all();
    let late = world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    for overruled in [first, second, late] {
        assert_eq!(world.settled[&overruled], Outcome::Overruled { by: stop });
    }
    let turn = world.turn_in(1);
    world.answer(turn);
    world.commit_all();
    world.send_all();
    assert!(world.stays_down());
    assert_eq!(world.settled[&stop], Outcome::Stopped);
    world.heal();
}

#[test]
fn a_stop_accepted_with_the_last_write_is_carried_out() {
    let mut world = world();
    world.ask(Wish::Restart, Mode::Graceful);
    let stop = world.ask(Wish::Stop, Mode::Graceful);
    // The restart comes to the disk first and, with nothing to wait for, writes the end in the same breath.
    world.commit();
    world.commit_all();
    assert!(world.stays_down());
    assert_eq!(world.settled[&stop], Outcome::Stopped);
    world.heal();
}

#[test]
fn a_guest_restarts_nothing_and_is_told_so() {
    let mut world = world();
    world.say_as(1, Asked::Restart(Mode::Force), Standing::Guest);
    world.commit_all();
    world.send_all();
    assert_eq!((world.up().phase(), world.notices_in(1)), (Phase::Serving, vec![Notice::NotAllowed]));
    world.heal();
    assert_eq!(world.ends, []);
}

#[test]
fn joined_restarts_change_the_generation_once() {
    let mut world = world();
    let asked = [world.ask(Wish::Restart, Mode::Graceful), world.ask(Wish::Restart, Mode::Graceful)];
    world.commit_all();
    world.heal();
    assert_eq!(world.ends.len(), 1);
    for request in asked {
        assert_eq!(world.settled[&request], Outcome::Restarted { generation: world.up().generation() });
    }
}

#[test]
fn force_upgrades_a_drain_in_progress() {
    let mut world = world();
    let asked = working(&mut world, 1);
    let turn = world.turn_in(1);
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Draining);
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Interrupting);
    assert!(world.agents[&turn].interrupted);
    world.heal();
    assert_eq!(world.replies_to(asked), 1);
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(75))]);
}

#[test]
fn a_reply_produced_during_force_is_delivered() {
    let mut world = world();
    let asked = working(&mut world, 1);
    let turn = world.turn_in(1);
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    assert!(world.agents[&turn].interrupted);
    world.answer(turn);
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Closing);
    world.send_all();
    assert_eq!(world.replies_to(asked), 1, "by the generation that is ending");
    world.heal();
    assert_eq!(world.replies_to(asked), 1);
}

#[test]
fn a_reply_whose_delivery_a_forced_end_has_cut_is_delivered_by_the_successor() {
    let mut world = world();
    let asked = working(&mut world, 1);
    world.answer(world.turn_in(1));
    world.commit_all();
    assert!(!world.sending.is_empty(), "its chat does not take it for now");
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    while world.gateway.is_some() {
        world.elapse();
        world.commit_all();
    }
    assert_eq!(world.replies_to(asked), 0);
    world.start_again();
    world.send_all();
    assert_eq!(world.replies_to(asked), 1);
    world.heal();
}

#[test]
fn a_cancelled_restart_reopens_admission() {
    let mut world = world();
    working(&mut world, 1);
    let restart = world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    let waiting = working_later(&mut world, 2);
    assert_eq!(world.up().queued(), 1);
    world.tell(Input::Cancel { request: restart });
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Serving);
    assert_eq!(world.settled[&restart], Outcome::Cancelled);
    assert_eq!(world.agents.len(), 2, "what waited has started");
    world.heal();
    assert_eq!(world.replies_to(waiting), 1);
    assert_eq!(world.ends, []);
}

/// Somebody says something that is accepted and can not start.
fn working_later(world: &mut World, session: u64) -> usize {
    let said = world.say(session, Asked::Prompt);
    world.commit_all();
    assert!(world.said[said].acked, "a drain still accepts messages");
    said
}

#[test]
fn what_was_interrupted_for_a_request_can_not_be_taken_back() {
    let mut world = world();
    working(&mut world, 1);
    let restart = world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    world.tell(Input::Cancel { request: restart });
    world.commit_all();
    assert_eq!(world.answers.last(), Some(&(restart, Answer::TooLate)));
    world.heal();
}

#[test]
fn a_redelivered_restart_changes_the_generation_once() {
    let mut world = world();
    let restart = restart_from_chat(&mut world, 1);
    for _ in 0..10 {
        world.heal();
        world.deliver(restart);
        world.commit_all();
    }
    world.heal();
    assert_eq!(world.ends.len(), 1);
    restart_from_chat(&mut world, 1);
    world.heal();
    assert_eq!(world.ends.len(), 2);
}

#[test]
fn a_start_that_waits_for_the_disk_when_turns_are_cut_never_leaves() {
    let mut world = world();
    world.ask(Wish::Restart, Mode::Force);
    let asked = world.say(1, Asked::Prompt);
    let turn = world.turn_in(1);
    world.commit();
    world.commit_all();
    assert!(!world.agents.contains_key(&turn));
    world.heal();
    assert_eq!(world.replies_to(asked), 1);
    let charged = world.journal.history.iter().find_map(|record| match record {
        Record::TurnResumed { charged, .. } => Some(*charged),
        _ => None,
    });
    assert_eq!(charged, Some(1), "only the start that happened counts");
}

#[test]
fn a_delivery_that_is_tried_again_is_not_overtaken() {
    let mut world = world();
    let first = working(&mut world, 1);
    let turn = world.turn_in(1);
    world.answer(turn);
    world.commit_all();
    let delivery = *world.sending.keys().next().expect("a reply is on its way");
    world.sending.clear();
    world.tell(Input::DeliveryFailed { delivery });
    let second = working(&mut world, 1);
    let turn = world.turn_in(1);
    world.answer(turn);
    world.commit_all();
    assert!(world.sending.is_empty());
    world.heal();
    let order: Vec<_> = world.arrived.iter().map(|arrival| &arrival.content).collect();
    let (first, second) = (world.said[first].message, world.said[second].message);
    assert!(
        matches!(order[..], [Content::Reply { messages: a, .. }, Content::Reply { messages: b, .. }] if (a[0], b[0]) == (first, second))
    );
}

#[test]
fn a_stop_of_the_turn_ends_it_for_good_in_each_of_its_states() {
    let mut world = world();
    for (session, partial, replies) in [(1, Partial::Text, 1), (3, Partial::Nothing, 0)] {
        let asked = working(&mut world, session);
        let turn = world.turn_in(session);
        world.say(session, Asked::StopTurn);
        world.commit_all();
        assert!(world.agents[&turn].interrupted);
        world.end_turn(turn, TurnEnd::Interrupted { partial });
        world.commit_all();
        world.send_all();
        assert!(matches!(world.notices_in(session)[..], [Notice::Stopping { .. }, Notice::TurnStopped { .. }]));
        assert_eq!(world.replies_to(asked), replies, "what it has said so far");
    }

    // Cut by a restart, stopped while nothing of it runs: the next generation does not resume it.
    working(&mut world, 2);
    let turn = world.turn_in(2);
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    world.say(2, Asked::StopTurn);
    world.commit_all();
    world.kill();
    world.start_again();
    assert!(!world.agents.contains_key(&turn));
    world.heal();
    assert!(world.notices_in(2).contains(&Notice::TurnStopped { turn }));
}

#[test]
fn a_turn_that_ignores_its_stop_is_killed_when_its_grace_is_over_and_an_end_waits_no_longer_for_it() {
    let mut world = world();
    working(&mut world, 1);
    let turn = world.turn_in(1);
    let since = world.now;
    world.say(1, Asked::StopTurn);
    world.commit_all();
    world.wait(world.limits.interrupt_grace - Duration::from_millis(500));
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    let deadlines = world.up().drain().expect("it ends").deadlines;
    world.elapse();
    assert!(world.agents[&turn].killed);
    assert_eq!((world.up().phase(), world.now - since), (Phase::Interrupting, world.limits.interrupt_grace));
    world.elapse();
    assert_eq!((world.up().phase(), world.now), (Phase::Closing, deadlines.interrupt), "it may not be dead yet");
    world.heal();
}

#[test]
fn a_stop_of_the_turn_is_not_about_what_is_said_after_it() {
    let mut world = world();
    world.say(1, Asked::StopTurn);
    let after = world.say(1, Asked::Prompt);
    world.commit_all();
    world.heal();
    assert_eq!(world.notices_in(1), [Notice::NothingToStop]);
    assert_eq!(world.replies_to(after), 1);
}
