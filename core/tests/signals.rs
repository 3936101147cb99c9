//! Signals and what the supervisor says about them.

mod world;

use evergate_core::effect::Answer;
use evergate_core::gateway::Phase;
use evergate_core::input::{Asked, Input};
use evergate_core::limits::Limits;
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Outcome, Signal, Wish};
use evergate_core::supervisor::Supervisor;
use evergate_core::verdict::Verdict;
use world::{Ended, World};

fn working(supervisor: Supervisor) -> World {
    let mut world = World::serving(supervisor);
    world.say(1, Asked::Prompt);
    world.commit_all();
    world
}

#[test]
fn a_second_signal_shortens_the_drain_to_the_force_budget() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let mut world = working(Supervisor::Evergate);
        world.signal(signal);
        world.commit_all();
        assert_eq!(world.up().phase(), Phase::Draining);
        world.signal(signal);
        assert_eq!(world.up().phase(), Phase::Interrupting);
        let since = world.now;
        while world.gateway.is_some() {
            world.commit_all();
            world.elapse();
        }
        assert!(world.now - since <= Limits::FORCE_INTERRUPT_GRACE + Limits::FORCE_CLOSE_GRACE);
        let status = if signal == Signal::Terminate { 75 } else { 0 };
        assert_eq!(world.ends, [Ended::With(Verdict::Exit(status))]);
        world.heal();
    }
}

#[test]
fn an_unannounced_sigterm_is_not_a_stop() {
    let mut world = working(Supervisor::Systemd);
    world.signal(Signal::Terminate);
    world.supervisor_answers(false);
    world.heal();
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(75))]);
}

/// A unit with `Restart=no`, or one whose start limit counts each exit.
#[test]
fn an_unannounced_sigterm_is_followed_in_place_where_no_start_would_follow() {
    for (stops, verdict) in [(false, Verdict::ReExec), (true, Verdict::Exit(0))] {
        let mut world = World::new(Supervisor::Systemd);
        world.contract = world.contract.that_goes_on_in_place();
        world.boot(Start::Wanted);
        world.open();
        world.say(1, Asked::Prompt);
        world.commit_all();
        world.signal(Signal::Terminate);
        world.supervisor_answers(stops);
        world.heal();
        assert_eq!(world.ends.last(), Some(&Ended::With(verdict)));
    }
}

#[test]
fn a_systemd_stop_announced_after_sigterm_ends_with_the_stop_status() {
    let mut world = working(Supervisor::Systemd);
    let request = world.signal(Signal::Terminate);
    world.commit_all();
    world.supervisor_answers(true);
    world.commit_all();
    let turn = world.turn_in(1);
    world.answer(turn);
    world.commit_all();
    world.send_all();
    assert!(world.stays_down());
    assert_eq!(world.settled[&request], Outcome::Stopped);
    world.heal();
}

#[test]
fn an_idle_gateway_waits_for_what_systemd_says_about_a_sigterm() {
    let mut world = World::serving(Supervisor::Systemd);
    world.signal(Signal::Terminate);
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Closing);
    world.supervisor_answers(true);
    world.commit_all();
    assert!(world.stays_down());
    world.heal();
}

#[test]
fn a_supervisor_that_says_nothing_is_not_waited_for_long() {
    let mut world = World::serving(Supervisor::Systemd);
    world.signal(Signal::Terminate);
    let since = world.now;
    while world.gateway.is_some() {
        world.commit_all();
        world.elapse();
    }
    assert_eq!(world.now - since, Limits::SUPERVISOR_ANSWER);
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(75))]);
    world.heal();
}

#[test]
fn a_signal_before_it_serves_ends_it() {
    let mut world = World::new(Supervisor::Evergate);
    world.boot(evergate_core::recovery::Start::Wanted);
    world.signal(Signal::Interrupt);
    world.commit_all();
    assert!(world.stays_down());
    world.heal();
}

#[test]
fn a_sigterm_during_a_restart_in_place_leaves_instead() {
    let mut world = working(Supervisor::Systemd);
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    world.signal(Signal::Terminate);
    world.supervisor_answers(false);
    world.heal();
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(75))]);
}

#[test]
fn a_sigterm_after_the_end_was_written_still_prevents_the_replacement() {
    let mut world = World::serving(Supervisor::Nobody);
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit();
    assert!(world.up().drain().is_some_and(|drain| drain.end_recorded));
    world.signal(Signal::Terminate);
    world.commit_all();
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(75))]);
    world.heal();
}

#[test]
fn sigterm_after_sigint_stays_a_stop() {
    let mut world = working(Supervisor::Evergate);
    world.signal(Signal::Interrupt);
    world.signal(Signal::Terminate);
    world.heal();
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(0))]);
}

/// A stop that nobody would undo stays up where any end is followed by a start; whoever was told to leave must leave.
#[test]
fn a_stop_beside_a_sigterm_leaves_where_it_would_stay_up() {
    let mut world = working(Supervisor::LaunchdKeepAlive);
    world.signal(Signal::Terminate);
    world.ask(Wish::Stop, Mode::Graceful);
    world.heal();
    assert_eq!(world.ends.first(), Some(&Ended::With(Verdict::Exit(0))));
}

#[test]
fn a_sigterm_after_a_stop_was_written_leaves_where_it_would_stay_up() {
    let mut world = World::serving(Supervisor::Kubernetes);
    world.ask(Wish::Stop, Mode::Graceful);
    world.commit();
    assert!(world.up().drain().is_some_and(|drain| drain.end_recorded));
    world.signal(Signal::Terminate);
    world.commit_all();
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(0))]);
}

/// Whoever sent the signal measures the time, whatever is taken back afterwards.
#[test]
fn what_was_signalled_cannot_be_taken_back() {
    let mut world = working(Supervisor::Container);
    let since = world.now;
    let signal = world.signal(Signal::Terminate);
    let stop = world.ask(Wish::Stop, Mode::Graceful);
    world.commit_all();
    for request in [signal, stop] {
        world.tell(Input::Cancel { request });
        world.commit_all();
        assert!(matches!(world.answers.last(), Some((_, Answer::TooLate | Answer::Unknown))), "{:?}", world.answers);
    }
    let limit = world.up().contract().kill_after.expect("Docker kills");
    assert!(world.up().drain().expect("it still ends").deadlines.self_kill < since + limit);
    world.heal();
}
