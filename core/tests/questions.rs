//! Questions of agents: put to their chat once, decided once, told when that is on disk, and waited for by no end.

mod world;

use evergate_core::gateway::Phase;
use evergate_core::id::{QuestionId, TurnId};
use evergate_core::input::{Asked, Input, Partial, Standing, TurnEnd};
use evergate_core::limits::Limits;
use evergate_core::outbox::Notice;
use evergate_core::question::{Deciders, Decision, QuestionKey, Ruling};
use evergate_core::record::Record;
use evergate_core::request::{Mode, Wish};
use evergate_core::supervisor::Supervisor;
use evergate_core::verdict::Verdict;
use std::time::Duration;
use world::World;

const KEY: QuestionKey = QuestionKey(7);
const OTHER: QuestionKey = QuestionKey(8);

/// A turn in session 1 that has asked, and whose chat has seen that.
fn asking() -> (World, TurnId) {
    let mut world = World::serving(Supervisor::Evergate);
    world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    world.question(turn, KEY);
    world.commit_all();
    world.send_all();
    (world, turn)
}

fn answer(question: Option<u64>, decision: Decision) -> Asked {
    Asked::Decide { question: question.map(QuestionId), decision }
}

fn says(world: &mut World, question: Option<u64>, decision: Decision) {
    world.say_as(1, answer(question, decision), Standing::Guest);
    world.commit_all();
    world.send_all();
}

fn told(world: &World, turn: TurnId) -> Vec<(QuestionKey, Option<Decision>)> {
    world.agents[&turn].told.clone()
}

#[test]
fn a_question_comes_to_its_chat_and_the_answer_to_its_agent() {
    for (decision, ruling) in [(Decision::Allow, Ruling::Allowed), (Decision::Deny, Ruling::Denied)] {
        let (mut world, turn) = asking();
        let question = QuestionId(1);
        assert_eq!(world.notices_in(1), [Notice::Asks { question, turn }]);
        assert_eq!(told(&world, turn), [], "nobody has answered");
        says(&mut world, Some(1), decision);
        assert_eq!(told(&world, turn), [(KEY, Some(decision))]);
        assert_eq!(world.notices_in(1)[1], Notice::Ruled { question, turn, ruling });
        world.heal();
    }
}

#[test]
fn the_agent_is_told_when_the_decision_is_on_disk_and_not_before() {
    let (mut world, turn) = asking();
    world.say_as(1, answer(None, Decision::Allow), Standing::Guest);
    world.commit();
    assert_eq!(told(&world, turn), [], "the answer is on disk, the decision is not");
    world.fail_write();
    assert_eq!(told(&world, turn), []);
    world.elapse();
    world.commit_all();
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Allow))]);
    world.heal();
}

#[test]
fn nobody_in_time_is_a_denial_and_the_chat_is_told() {
    let (mut world, turn) = asking();
    let since = world.now;
    world.elapse();
    assert_eq!(world.now - since, world.limits.question_expiry);
    world.commit_all();
    world.send_all();
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Deny))]);
    let (question, ruling) = (QuestionId(1), Ruling::Expired);
    assert_eq!(world.notices_in(1)[1], Notice::Ruled { question, turn, ruling });
    says(&mut world, Some(1), Decision::Allow);
    assert_eq!(world.notices_in(1)[2], Notice::NoQuestion, "it has its outcome");
    assert_eq!(told(&world, turn).len(), 1);
    world.heal();
}

#[test]
fn a_question_asked_again_is_no_second_question() {
    let (mut world, turn) = asking();
    let since = world.now;
    world.wait(Duration::from_secs(60));
    world.question(turn, KEY);
    world.commit_all();
    world.send_all();
    assert_eq!(world.notices_in(1).len(), 1);
    world.elapse();
    assert_eq!(world.now - since, world.limits.question_expiry, "its time goes on");
    world.commit_all();
    world.question(turn, KEY);
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Deny)); 2]);
    world.heal();
}

#[test]
fn an_open_question_outlives_a_death_and_is_not_put_again() {
    let (mut world, turn) = asking();
    world.kill();
    world.start_again();
    assert_eq!(world.up().poll_timeout(), None, "no time runs before somebody waits");
    let since = world.now;
    world.question(turn, KEY);
    world.commit_all();
    world.send_all();
    assert_eq!(world.notices_in(1).len(), 1, "the chat was asked before");
    world.wait(Duration::from_secs(1));
    says(&mut world, None, Decision::Allow);
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Allow))]);
    assert!(world.now - since < world.limits.question_expiry);
    world.heal();
}

#[test]
fn what_was_decided_before_a_death_is_told_to_the_next_attempt_without_asking() {
    let (mut world, turn) = asking();
    says(&mut world, None, Decision::Allow);
    let notices = world.notices_in(1).len();
    world.kill();
    world.start_again();
    world.question(turn, OTHER);
    world.question(turn, KEY);
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Allow))], "whatever else is on its way to the disk");
    world.commit_all();
    world.send_all();
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Allow))]);
    let (question, ids) = (QuestionId(2), world.notices_in(1));
    assert_eq!(ids[notices..], [Notice::Asks { question, turn }], "of the other one only");
    world.heal();
}

#[test]
fn an_answer_that_a_death_overtook_is_carried_out_by_the_next_generation() {
    let (mut world, turn) = asking();
    world.say_as(1, answer(None, Decision::Allow), Standing::Guest);
    world.commit();
    world.kill();
    world.start_again();
    world.commit_all();
    assert_eq!(world.journal.decisions(), [(QuestionId(1), Ruling::Allowed)]);
    world.question(turn, KEY);
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Allow))]);
    world.heal();
}

#[test]
fn an_answer_while_nobody_asks_yet_is_kept_for_who_does() {
    let (mut world, turn) = asking();
    world.kill();
    world.start_again();
    says(&mut world, None, Decision::Deny);
    assert_eq!(told(&world, turn), []);
    world.question(turn, KEY);
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Deny))]);
    world.heal();
}

#[test]
fn a_drain_does_not_wait_for_a_person_and_the_question_stays_open() {
    let (mut world, turn) = asking();
    let since = world.now;
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    assert_eq!((world.up().phase(), world.now), (Phase::Interrupting, since));
    world.question(turn, OTHER);
    assert_eq!(told(&world, turn), [(OTHER, None)], "an interrupted turn asks nobody any more");
    world.give_way(turn, Partial::Nothing);
    world.commit_all();
    world.send_all();
    assert_eq!(world.ends.last(), Some(&world::Ended::With(Verdict::Exit(75))));
    world.start_again();
    world.send_all();
    world.question(turn, KEY);
    says(&mut world, None, Decision::Allow);
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Allow))]);
    assert_eq!(world.notices_in(1).iter().filter(|notice| matches!(notice, Notice::Asks { .. })).count(), 1);
    world.heal();
}

#[test]
fn a_drain_waits_again_for_a_turn_that_has_its_answer() {
    let (mut world, turn) = asking();
    world.say(2, Asked::Prompt);
    world.commit_all();
    let other = world.turn_in(2);
    world.wait(world.limits.stall_after + Duration::from_secs(1));
    world.tell(Input::TurnProgressed { turn: other });
    world.ask(Wish::Restart, Mode::Graceful);
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Draining, "the other turn is waited for");
    says(&mut world, None, Decision::Allow);
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Allow))]);
    world.answer(other);
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Draining, "it is at work again");
    world.answer(turn);
    world.heal();
}

#[test]
fn an_extension_is_not_asked_for_a_turn_that_waits_for_a_person() {
    let mut world = World::serving(Supervisor::Systemd);
    world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    world.tell(Input::TurnProgressed { turn });
    world.question(turn, KEY);
    world.commit_all();
    world.send_all();
    world.signal(evergate_core::request::Signal::Terminate);
    world.commit_all();
    assert_eq!(world.up().phase(), Phase::Interrupting);
    assert_eq!(world.extended, []);
    world.heal();
}

#[test]
fn an_interrupted_turn_has_no_time_running() {
    let (mut world, turn) = asking();
    world.say(1, Asked::StopTurn);
    world.commit_all();
    world.send_all();
    world.wait(world.limits.question_expiry * 2);
    says(&mut world, Some(1), Decision::Allow);
    assert_eq!(told(&world, turn), [], "it is told to end, and nothing else");
    world.give_way(turn, Partial::Nothing);
    world.commit_all();
    world.send_all();
    let ruled = |notice: &&Notice| matches!(notice, Notice::Ruled { ruling: Ruling::Expired, .. });
    assert_eq!(world.notices_in(1).iter().filter(ruled).count(), 0);
    world.heal();
}

#[test]
fn a_turn_that_ends_closes_its_questions_with_the_one_message_that_ends_it() {
    let partial = Partial::Nothing;
    for end in [TurnEnd::Answered, TurnEnd::Failed, TurnEnd::Interrupted { partial }] {
        let (mut world, turn) = asking();
        world.question(turn, OTHER);
        world.commit_all();
        world.send_all();
        let arrived = world.arrived.len();
        world.end_turn(turn, end);
        world.commit_all();
        world.send_all();
        assert_eq!(world.arrived.len(), arrived + 1, "{end:?}");
        let closed = |record: &&Record| matches!(record, Record::QuestionClosed { .. });
        assert_eq!(world.journal.history.iter().filter(closed).count(), 2);
        says(&mut world, Some(1), Decision::Allow);
        assert_eq!(world.notices_in(1).last(), Some(&Notice::NoQuestion));
        assert!(world.journal.rows.rows.keys().all(|(subject, _)| !format!("{subject:?}").contains("Question")));
        world.heal();
    }
}

#[test]
fn a_decision_on_its_way_to_the_disk_is_told_once_and_never_to_a_turn_that_has_ended() {
    for ends in [false, true] {
        let (mut world, turn) = asking();
        world.kill();
        world.start_again();
        world.say_as(1, answer(None, Decision::Allow), Standing::Guest);
        world.commit();
        world.question(turn, KEY);
        world.ask(Wish::Restart, Mode::Graceful);
        assert_eq!(told(&world, turn), [], "it is not on disk");
        if ends {
            world.answer(turn);
            world.commit_all();
        } else {
            world.commit();
            assert_eq!(told(&world, turn), [(KEY, Some(Decision::Allow))]);
        }
        world.heal();
    }
}

#[test]
fn only_whom_the_configuration_names_may_answer() {
    let (mut world, turn) = asking();
    world.tell(Input::Limits(Box::new(Limits { deciders: Deciders::Operators, ..world.limits.clone() })));
    says(&mut world, None, Decision::Allow);
    assert_eq!((world.notices_in(1).last(), told(&world, turn).len()), (Some(&Notice::NotAllowed), 0));
    world.say_as(1, answer(None, Decision::Allow), Standing::Operator);
    world.commit_all();
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Allow))]);
    world.heal();
}

#[test]
fn an_answer_in_another_chat_decides_nothing() {
    let (mut world, turn) = asking();
    world.say(2, answer(Some(1), Decision::Allow));
    world.say(2, answer(None, Decision::Allow));
    world.commit_all();
    world.send_all();
    assert_eq!(told(&world, turn), []);
    assert_eq!(world.notices_in(2), [Notice::NoQuestion; 2]);
    world.heal();
}

#[test]
fn an_answer_without_a_number_is_to_the_only_question_that_its_chat_has_seen() {
    let (mut world, turn) = asking();
    world.question(turn, OTHER);
    world.commit_all();
    let second = *world.sending.keys().next().expect("the second question is on its way");
    world.say_as(1, answer(None, Decision::Allow), Standing::Guest);
    world.sent(second);
    world.commit_all();
    assert_eq!(told(&world, turn), [(KEY, Some(Decision::Allow))]);
    world.question(turn, QuestionKey(9));
    world.commit_all();
    world.send_all();
    says(&mut world, None, Decision::Allow);
    assert_eq!(world.notices_in(1).last(), Some(&Notice::WhichQuestion));
    says(&mut world, Some(3), Decision::Deny);
    assert_eq!(told(&world, turn)[1..], [(QuestionKey(9), Some(Decision::Deny))]);
    world.heal();
}

#[test]
fn an_answer_before_the_question_decides_nothing() {
    let mut world = World::serving(Supervisor::Evergate);
    world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    world.say_as(1, answer(None, Decision::Allow), Standing::Guest);
    world.question(turn, KEY);
    world.commit_all();
    world.send_all();
    assert_eq!(told(&world, turn), []);
    assert!(world.notices_in(1).contains(&Notice::WhichQuestion), "{:?}", world.notices_in(1));
    world.heal();
}

#[test]
fn a_turn_that_asks_without_end_is_not_heard_any_more() {
    let (mut world, turn) = asking();
    for key in 0..Limits::QUESTIONS as u64 {
        world.question(turn, QuestionKey(100 + key));
    }
    world.commit_all();
    assert_eq!(told(&world, turn), [(QuestionKey(100 + Limits::QUESTIONS as u64 - 1), None)]);
    world.heal();
}

#[test]
fn a_question_of_no_running_turn_is_put_to_nobody() {
    let (mut world, turn) = asking();
    world.answer(turn);
    world.commit_all();
    let before = world.up().clone();
    world.tell(Input::Question { turn, key: OTHER });
    assert_eq!(*world.up(), before);
    world.heal();
}

#[test]
fn a_turn_whose_place_a_message_takes_waits_for_nobody_any_more() {
    let (mut world, turn) = asking();
    world.limits.busy = evergate_core::busy::Busy::Interrupt;
    world.tell(Input::Limits(Box::new(world.limits.clone())));
    world.say(1, Asked::Prompt);
    world.commit_all();
    assert!(world.agents[&turn].interrupted);
    world.wait(world.limits.question_expiry * 2);
    world.tell(Input::Elapsed);
    world.commit_all();
    assert_eq!(world.journal.decisions(), [], "nothing expires in a turn that is to end");
    world.give_way(turn, Partial::Text);
    world.heal();
}
