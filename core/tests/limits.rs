//! A configuration that was read again in the middle of a life.

mod world;

use evergate_core::gateway::Phase;
use evergate_core::input::{Asked, Input};
use evergate_core::limits::Limits;
use evergate_core::request::{Mode, Wish};
use evergate_core::supervisor::Supervisor;
use std::time::Duration;
use world::World;

#[test]
fn new_limits_hold_from_now_on() {
    let mut world = World::serving(Supervisor::Evergate);
    world.tell(Input::Limits(Box::new(Limits { turns: 1, drain: Duration::from_secs(3), ..world.limits.clone() })));
    world.say(1, Asked::Prompt);
    world.say(2, Asked::Prompt);
    world.commit_all();
    assert_eq!((world.agents.len(), world.up().queued()), (1, 1), "one turn at once");
    world.tell(Input::Limits(Box::new(Limits { drain: Duration::from_secs(3), ..world.limits.clone() })));
    world.commit_all();
    assert_eq!((world.agents.len(), world.up().queued()), (2, 0), "what waited for room goes on");
    let since = world.now;
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    world.elapse();
    assert_eq!((world.up().phase(), world.now - since), (Phase::Interrupting, Duration::from_secs(3)));
}

#[test]
fn an_end_that_is_under_way_keeps_its_deadlines() {
    let mut world = World::serving(Supervisor::Evergate);
    world.say(1, Asked::Prompt);
    world.commit_all();
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    let deadlines = world.up().drain().expect("an end is under way").deadlines;
    let longer = Duration::from_secs(3_600);
    world.tell(Input::Limits(Box::new(Limits { drain: longer, close_grace: longer, ..world.limits.clone() })));
    assert_eq!(world.up().drain().expect("an end is under way").deadlines, deadlines);
    world.heal();
}
