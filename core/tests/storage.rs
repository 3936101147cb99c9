//! Disks that fill up, fail or fall silent: what is refused, what is kept, and that no end waits for them.

mod world;

use evergate_core::effect::Answer;
use evergate_core::gateway::Phase;
use evergate_core::input::{Asked, Input};
use evergate_core::limits::Limits;
use evergate_core::request::{Mode, Outcome, Signal, Wish};
use evergate_core::supervisor::Supervisor;
use evergate_core::verdict::Verdict;
use evergate_core::work::Awaited;
use world::{Ended, World};

fn world() -> World {
    World::serving(Supervisor::Evergate)
}

#[test]
fn a_full_disk_refuses_new_messages_and_keeps_accepted_ones() {
    let mut world = world();
    let accepted = world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    let lost = world.say(2, Asked::Prompt);
    world.answer(turn);
    world.fail_write();
    assert!(!world.said[lost].acked);
    assert!(world.up().journal_failing());
    let refused = world.say(3, Asked::Prompt);
    assert!(!world.journal.knows(world.said[refused].message), "nothing of it is written");
    let request = world.ask(Wish::Restart, Mode::Graceful);
    assert_eq!(world.answers.last(), Some(&(request, Answer::StorageFull)));
    assert_eq!(world.up().queued(), 0);

    world.elapse();
    world.commit_all();
    world.send_all();
    assert_eq!(world.replies_to(accepted), 1, "what was produced is written once there is room");
    world.heal();
    assert_eq!([lost, refused].map(|index| world.replies_to(index)), [1, 1], "their senders tried again");
}

#[test]
fn while_writes_fail_nothing_is_taken_for_on_disk() {
    let mut world = world();
    let lost = world.say(1, Asked::Prompt);
    world.ask(Wish::Restart, Mode::Graceful);
    world.fail_write();
    assert!(world.up().journal_failing());
    let before = world.up().clone();
    for records in [0, 1, 2, u32::MAX] {
        world.tell(Input::Synced { records });
        assert_eq!(*world.up(), before, "{records}");
    }
    assert!(!world.said[lost].acked && world.answers.len() == 1, "{:?}", world.answers);
    world.elapse();
    world.heal();
    assert_eq!(world.replies_to(lost), 1);
}

#[test]
fn what_waits_and_was_never_written_is_withdrawn_and_what_was_written_still_waits() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    world.say(2, Asked::Prompt);
    let waits = world.say(1, Asked::Prompt);
    world.commit_all();
    let lost = [world.say(1, Asked::Prompt), world.say(3, Asked::Prompt), world.say(4, Asked::Status)];
    assert_eq!(world.up().queued(), 3);
    world.fail_write();
    assert_eq!(world.up().queued(), 1);
    let known: Vec<u64> = world.up().sessions().keys().map(|session| session.0).collect();
    assert_eq!(known, [1, 2], "nobody else has unfinished business");
    world.elapse();
    world.commit_all();
    assert_eq!(world.replies_to(waits), 0);
    world.heal();
    assert_eq!([waits, lost[0], lost[1]].map(|said| world.replies_to(said)), [1; 3]);
    assert_eq!(world.notices_in(4).len(), 1);
}

#[test]
fn a_turn_over_what_was_written_long_ago_is_not_withdrawn_with_its_record() {
    let mut world = world();
    world.tell(Input::Limits(Box::new(Limits { turns: 1, ..world.limits.clone() })));
    let said = [world.say(1, Asked::Prompt), world.say(2, Asked::Prompt)];
    world.commit_all();
    world.answer(world.turn_in(1));
    let next = world.turn_in(2);
    world.fail_write();
    assert_eq!(world.turn_in(2), next);
    assert!(world.agents.is_empty(), "it starts when its record is on disk");
    world.elapse();
    world.commit_all();
    assert!(world.agents.contains_key(&next));
    world.heal();
    assert_eq!(said.map(|index| world.replies_to(index)), [1, 1]);
}

#[test]
fn a_request_that_can_not_be_written_is_refused_and_leaves_no_trace() {
    let mut world = world();
    let request = world.ask(Wish::Stop, Mode::Graceful);
    world.fail_write();
    assert_eq!(world.answers, [(request, Answer::StorageFull)]);
    world.elapse();
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Serving);
    world.heal();
}

#[test]
fn a_dead_disk_cannot_hold_up_the_end() {
    for fails in [true, false] {
        let mut world = world();
        world.say(1, Asked::Prompt);
        world.commit_all();
        world.signal(Signal::Terminate);
        let guard = world.up().drain().expect("it drains").deadlines.self_kill;
        let mut calls = 0;
        while world.gateway.is_some() {
            if fails {
                world.fail_write();
            }
            world.elapse();
            calls += 1;
            assert!(calls < 200);
        }
        assert!(world.now < guard);
        assert_eq!(world.ends, [Ended::With(Verdict::Exit(75))]);
        world.heal();
    }
}

/// The supervisor's stop overrules what the turn has asked for, and the disk keeps that from the child which waits to hear it.
#[test]
fn who_cannot_hear_what_became_of_its_wish_is_waited_for_no_longer_than_its_grace() {
    let mut world = World::serving(Supervisor::Systemd);
    world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    let request = world.ask_from_turn(turn, Wish::Restart);
    let stop = world.signal(Signal::Terminate);
    world.commit();
    assert_eq!(world.answers.last(), Some(&(request, Answer::Accepted)));
    world.fail_write();
    world.supervisor_answers(true);
    let awaited = |world: &World| world.up().ledger().first().map(|item| item.awaited);
    let grace = world.now + Limits::default().requester_grace;
    assert_eq!(awaited(&world), Some(Awaited::Requester { until: grace }));
    world.elapse();
    world.commit_all();
    let heard = world.settled.get(&request);
    assert_eq!(heard, Some(&Outcome::Overruled { by: stop }), "and then it is waited for like any other");
    assert!(matches!(awaited(&world), Some(Awaited::Budget { .. })), "{:?}", awaited(&world));
}

/// A stop is under way for longer than any grace, and a turn asks for a restart: it is overruled at once, and hears so soon.
#[test]
fn who_asks_in_the_midst_of_a_stop_is_cut_no_sooner_for_that() {
    let mut world = World::serving(Supervisor::Evergate);
    world.say(1, Asked::Prompt);
    world.commit_all();
    world.ask(Wish::Stop, Mode::Graceful);
    world.commit_all();
    world.wait(Limits::default().requester_grace * 2);
    let turn = world.turn_in(1);
    world.ask_from_turn(turn, Wish::Restart);
    world.commit();
    assert_eq!(world.up().phase(), Phase::Draining);
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Draining);
}
