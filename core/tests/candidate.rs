//! Restarts and the look at what would be started next: nothing is given up before that look is over, and nobody waits for
//! it for ever.

mod world;

use evergate_core::effect::Answer;
use evergate_core::gateway::{Pending, Phase};
use evergate_core::input::{Asked, Input};
use evergate_core::limits::Limits;
use evergate_core::outbox::Notice;
use evergate_core::record::Record;
use evergate_core::request::{Mode, Outcome, Signal, Wish};
use evergate_core::supervisor::Supervisor;
use evergate_core::verdict::Verdict;
use world::{Ended, Fitness, World};

/// A gateway that serves, and a check that takes its time.
fn world() -> World {
    let mut world = World::serving(Supervisor::Evergate);
    world.candidate = None;
    world
}

fn requests_on_disk(world: &World) -> usize {
    world.journal.history.iter().filter(|record| matches!(record, Record::RequestMade { .. })).count()
}

#[test]
fn an_unfit_candidate_refuses_the_restart_and_nothing_else_changes() {
    for mode in [Mode::Graceful, Mode::Force] {
        let mut world = world();
        let said = world.say(1, Asked::Prompt);
        world.commit_all();
        let request = world.ask(Wish::Restart, mode);
        world.commit_all();
        assert_eq!(world.answers, [], "nothing is promised before the check is over");
        world.candidate_is(Fitness::Unfit);
        assert_eq!(world.answers, [(request, Answer::Unfit(request))]);
        assert_eq!((world.up().phase(), requests_on_disk(&world)), (Phase::Serving, 0));
        world.heal();
        assert_eq!((world.ends.len(), world.replies_to(said)), (0, 1));
    }
}

#[test]
fn a_fit_candidate_lets_the_restart_count() {
    let mut world = world();
    let request = world.ask(Wish::Restart, Mode::Graceful);
    assert_eq!(world.up().pending(), Some(Pending::Checking(1)));
    world.candidate_is(Fitness::Fit);
    world.commit_all();
    assert_eq!(world.answers, [(request, Answer::Accepted)]);
    world.heal();
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(75))]);
    assert!(matches!(world.settled[&request], Outcome::Restarted { .. }));
}

#[test]
fn a_check_that_never_ends_refuses_the_restart_in_bounded_time() {
    let mut world = world();
    let begun = world.now;
    let request = world.ask(Wish::Restart, Mode::Force);
    world.elapse();
    assert_eq!(world.now - begun, Limits::CANDIDATE_ANSWER);
    assert_eq!(world.answers, [(request, Answer::Unfit(request))]);
    world.candidate_is(Fitness::Fit);
    assert_eq!(world.up().phase(), Phase::Serving, "an answer that comes too late counts no more");
}

#[test]
fn all_who_ask_while_a_check_is_under_way_share_what_it_says() {
    let mut world = world();
    let first = world.ask(Wish::Restart, Mode::Graceful);
    let second = world.ask(Wish::Restart, Mode::Force);
    world.say(1, Asked::Restart(Mode::Graceful));
    world.commit_all();
    assert_eq!((world.checks.len(), world.up().waiting_for_check()), (1, 3));
    world.candidate_is(Fitness::Unfit);
    world.commit_all();
    world.send_all();
    assert_eq!(world.answers, [(first, Answer::Unfit(first)), (second, Answer::Unfit(first))]);
    assert!(matches!(world.notices_in(1)[..], [Notice::RestartRefused { check, .. }] if check == first));
    assert_eq!(world.up().phase(), Phase::Serving);
}

#[test]
fn a_stop_does_not_wait_for_a_check_and_overrules_what_does() {
    let mut world = world();
    let restart = world.ask(Wish::Restart, Mode::Graceful);
    let said = world.say(1, Asked::Prompt);
    world.commit_all();
    let stop = world.ask(Wish::Stop, Mode::Graceful);
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Draining);
    world.candidate_is(Fitness::Fit);
    world.commit_all();
    assert_eq!(world.settled[&restart], Outcome::Overruled { by: stop });
    world.heal();
    assert_eq!(world.ends[0], Ended::With(Verdict::Exit(0)));
    assert_eq!(world.replies_to(said), 1);
}

#[test]
fn an_end_that_is_written_answers_those_who_wait_and_leaves_chats_to_the_next_generation() {
    let mut world = world();
    let restart = world.ask(Wish::Restart, Mode::Graceful);
    world.say(1, Asked::Restart(Mode::Graceful));
    world.commit_all();
    world.ask(Wish::Stop, Mode::Graceful);
    world.commit_all();
    assert!(world.answers.contains(&(restart, Answer::Ending)), "{:?}", world.answers);
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(0))]);
    world.heal();
    assert!(matches!(world.notices_in(1)[..], [Notice::RequestSettled { outcome: Outcome::Restarted { .. }, .. }]));
}

#[test]
fn a_sigterm_leaves_whatever_a_check_says_and_takes_along_who_waits_for_it() {
    let mut world = world();
    let waiting = world.ask(Wish::Restart, Mode::Graceful);
    world.signal(Signal::Terminate);
    world.candidate_is(Fitness::Unfit);
    world.heal();
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(75))]);
    assert!(matches!(world.settled[&waiting], Outcome::Restarted { .. }), "a generation follows anyway");
}

#[test]
fn one_who_joins_a_restart_under_way_needs_no_check() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    world.commit_all();
    world.ask(Wish::Restart, Mode::Graceful);
    world.candidate_is(Fitness::Fit);
    world.commit_all();
    let force = world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    assert_eq!(world.checks, []);
    assert_eq!(world.answers.last(), Some(&(force, Answer::Accepted)));
    assert!(world.up().drain().is_some_and(|drain| drain.mode == Mode::Force));
}

#[test]
fn a_chat_restart_that_a_death_overtakes_in_its_check_is_answered_once_and_does_not_loop() {
    let mut world = world();
    let said = world.say(1, Asked::Restart(Mode::Graceful));
    world.commit_all();
    assert_eq!(world.checks.len(), 1);
    world.kill();
    world.start_again();
    world.deliver(said);
    world.heal();
    assert_eq!(world.ends, [Ended::Died], "the death was the restart");
    assert!(matches!(world.notices_in(1)[..], [Notice::RequestSettled { outcome: Outcome::Restarted { .. }, .. }]));
}

#[test]
fn a_request_from_outside_that_a_death_overtakes_in_its_check_was_promised_nothing() {
    let mut world = world();
    let request = world.ask(Wish::Restart, Mode::Graceful);
    world.kill();
    world.heal();
    assert_eq!((world.answers.len(), world.settled.get(&request)), (0, None));
    assert_eq!(world.ends, [Ended::Died]);
}

#[test]
fn what_is_not_accepted_yet_cannot_be_taken_back() {
    let mut world = world();
    let request = world.ask(Wish::Restart, Mode::Graceful);
    world.tell(Input::Cancel { request });
    assert_eq!(world.answers, [(request, Answer::Unknown)]);
    assert_eq!(world.up().pending(), Some(Pending::Checking(1)));
}

#[test]
fn a_journal_that_fails_meanwhile_refuses_the_request_and_keeps_the_command() {
    let mut world = world();
    let request = world.ask(Wish::Restart, Mode::Graceful);
    world.say(1, Asked::Restart(Mode::Graceful));
    world.commit_all();
    world.say(2, Asked::Prompt);
    world.fail_write();
    world.candidate_is(Fitness::Fit);
    assert_eq!(world.answers, [(request, Answer::StorageFull)]);
    world.heal();
    assert_eq!(world.ends.len(), 1, "the chat's restart happens once the disk takes it");
}

/// Whether they count, are on their way to the disk or wait for a check.
#[test]
fn requests_without_an_outcome_are_bounded_and_signals_are_heard_beyond_that() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    world.commit_all();
    for _ in 0..100 {
        world.ask(Wish::Stop, Mode::Graceful);
    }
    world.commit_all();
    for _ in 0..100 {
        world.ask(Wish::Stop, Mode::Graceful);
    }
    for _ in 200..Limits::REQUESTS {
        world.ask(Wish::Restart, Mode::Graceful);
    }
    assert_eq!(world.answers.len(), 100, "nobody was refused: {:?}", world.answers.last());
    for wish in [Wish::Restart, Wish::Stop] {
        let request = world.ask(wish, Mode::Graceful);
        assert_eq!(world.answers.last(), Some(&(request, Answer::TooMany)));
    }
    world.signal(Signal::Interrupt);
    assert_eq!(world.up().phase(), Phase::Interrupting, "out of patience");
    world.heal();
}

#[test]
fn whoever_asks_when_the_end_is_written_is_told_that_it_ends() {
    let mut world = world();
    world.ask(Wish::Stop, Mode::Graceful);
    world.commit();
    assert!(world.up().drain().is_some_and(|drain| drain.end_recorded));
    for wish in [Wish::Restart, Wish::Stop] {
        let request = world.ask(wish, Mode::Graceful);
        assert_eq!(world.answers.last(), Some(&(request, Answer::Ending)));
    }
    let signal = world.signal(Signal::Terminate);
    assert_eq!(world.answers.last(), Some(&(signal, Answer::Ending)));
    world.commit_all();
    assert_eq!(world.ends, [Ended::With(Verdict::Exit(0))]);
}
