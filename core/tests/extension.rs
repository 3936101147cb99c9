//! A supervisor that kills before the configured budget is over, and gives more time to a process that gets on.

mod world;

use evergate_core::gateway::Phase;
use evergate_core::id::TurnId;
use evergate_core::input::{Asked, Input, Partial, TurnEnd};
use evergate_core::limits::Limits;
use evergate_core::request::{Mode, Signal, Wish};
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::time::Instant;
use std::time::Duration;
use world::World;

const LIMIT: Duration = Duration::from_secs(5);

/// A turn is at work under a systemd that kills after five seconds; the drain may take fifteen.
fn working(contract: Contract) -> (World, TurnId) {
    let mut world = World::new(Supervisor::Systemd);
    world.contract = contract.with_kill_after(Some(LIMIT));
    world.limits = Limits { drain: Duration::from_secs(15), ..world.limits };
    world.boot(evergate_core::recovery::Start::Wanted);
    world.open();
    world.commit_all();
    world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    (world, turn)
}

fn systemd() -> Contract {
    Contract::of(Supervisor::Systemd)
}

/// The turn shows progress each half second until `until`, and the gateway is called when it wants to be.
fn gets_on(world: &mut World, turn: TurnId, until: Instant) {
    let mut next = world.now;
    while world.now < until && world.up().phase() == Phase::Draining {
        match world.up().poll_timeout() {
            Some(at) if at <= next => world.elapse(),
            _ => {
                world.wait(next - world.now);
                world.tell(Input::TurnProgressed { turn });
                next = next + Duration::from_millis(500);
            }
        }
        world.commit_all();
    }
}

/// Each word comes before the kill that holds by then, and the guard is always set before that.
fn holds_below_the_kill(world: &World, since: Instant) {
    let mut kill = since + LIMIT;
    for (told, until) in &world.extended {
        assert!(*told < kill, "told at {told:?}, killed at {kill:?}");
        kill = kill.max(*until);
    }
    if let Some(drain) = world.up().drain() {
        assert!(drain.deadlines.self_kill < kill, "{drain:?} {kill:?}");
    }
}

#[test]
fn a_turn_that_gets_on_is_waited_for_beyond_the_limit_of_a_supervisor_that_is_told() {
    let (mut world, turn) = working(systemd());
    let since = world.now;
    world.signal(Signal::Terminate);
    gets_on(&mut world, turn, since + Duration::from_secs(10));
    assert_eq!(world.up().phase(), Phase::Draining);
    assert!(!world.extended.is_empty());
    holds_below_the_kill(&world, since);
    world.answer(turn);
    world.heal();
    assert_eq!(world.replies_to(0), 1);
    assert_eq!(world.last_report().turns[&turn], evergate_core::drain::TurnFate::Ended);
}

#[test]
fn no_turn_is_waited_for_beyond_the_configured_budget() {
    let (mut world, turn) = working(systemd());
    let since = world.now;
    world.signal(Signal::Terminate);
    gets_on(&mut world, turn, since + Duration::from_secs(60));
    assert_eq!((world.up().phase(), world.now - since), (Phase::Interrupting, Duration::from_secs(15)));
    holds_below_the_kill(&world, since);
}

#[test]
fn a_turn_that_shows_nothing_has_nobody_wait() {
    let (mut world, turn) = working(systemd());
    world.wait(Limits::EXTENSION);
    let since = world.now;
    world.signal(Signal::Terminate);
    world.commit_all();
    world.elapse();
    assert!(world.extended.is_empty());
    assert_eq!(world.up().phase(), Phase::Interrupting);
    assert!(world.now - since < LIMIT);
    holds_below_the_kill(&world, since);
    world.end_turn(turn, TurnEnd::Interrupted { partial: Partial::Nothing });
}

#[test]
fn a_turn_that_falls_silent_is_waited_for_no_longer() {
    let (mut world, turn) = working(systemd());
    let since = world.now;
    world.signal(Signal::Terminate);
    gets_on(&mut world, turn, since + Duration::from_secs(4));
    while world.up().phase() == Phase::Draining {
        world.elapse();
        world.commit_all();
    }
    let waited = world.now - since;
    let silent = Duration::from_secs(4) + Limits::EXTENSION;
    assert!(waited <= silent && silent < Duration::from_secs(15), "{waited:?}");
    holds_below_the_kill(&world, since);
}

#[test]
fn a_supervisor_that_does_not_listen_is_told_nothing_and_the_budget_is_shortened() {
    let (mut world, turn) = working(systemd().without_extension());
    let since = world.now;
    world.signal(Signal::Terminate);
    gets_on(&mut world, turn, since + Duration::from_secs(60));
    assert!(world.extended.is_empty());
    assert!(world.up().phase() == Phase::Interrupting && world.now - since < LIMIT);
}

#[test]
fn whoever_is_out_of_patience_is_not_made_to_wait() {
    let (mut world, turn) = working(systemd());
    let since = world.now;
    world.signal(Signal::Terminate);
    gets_on(&mut world, turn, since + Duration::from_secs(4));
    world.signal(Signal::Terminate);
    world.commit_all();
    let told = world.extended.len();
    gets_on(&mut world, turn, since + Duration::from_secs(60));
    assert_eq!((world.up().phase(), world.extended.len()), (Phase::Interrupting, told));
    holds_below_the_kill(&world, since);
}

/// How long an end has for closing that somebody asked for on the command line, when nothing is left to wait for.
fn time_to_close(contract: Contract, wish: Wish) -> Duration {
    let (mut world, turn) = working(contract);
    world.tell(Input::Limits(Box::new(Limits { close_grace: Duration::from_secs(60), ..world.limits.clone() })));
    world.ask(wish, Mode::Graceful);
    world.commit_all();
    world.answer(turn);
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Closing);
    world.up().drain().expect("it ends").deadlines.self_kill - world.now
}

#[test]
fn a_supervisor_that_hears_of_a_stop_counts_from_there_and_no_other_end_is_cut_short_for_it() {
    assert!(time_to_close(systemd(), Wish::Stop) < LIMIT);
    let whole = Duration::from_secs(60) + Limits::SELF_KILL_MARGIN;
    assert_eq!(time_to_close(systemd(), Wish::Restart), whole);
    assert_eq!(time_to_close(systemd().without_extension(), Wish::Stop), whole, "it hears of nothing");
}
