//! Platforms that cannot tell a repeat from a second text: what is on disk before something is sent, what is repeated and
//! how that is marked, and what is given up.

mod world;

use evergate_core::effect::Effect;
use evergate_core::gateway::Gateway;
use evergate_core::id::{DeliveryId, SessionId};
use evergate_core::input::{Asked, Input};
use evergate_core::limits::Limits;
use evergate_core::outbox::Repeat::{No, Possible};
use evergate_core::outbox::{Content, Fate, Notice, Uncertain};
use evergate_core::record::Record;
use evergate_core::request::{Mode, Wish};
use evergate_core::supervisor::Supervisor;
use world::World;

/// A world of which chat 1 is on a blind platform.
fn world(uncertain: Uncertain) -> World {
    let mut world = World::new(Supervisor::Evergate);
    world.limits.uncertain = uncertain;
    world.blind.insert(1);
    world.start_again();
    world
}

/// A reply to something said in chat 1 is on its way, and its platform has it.
fn replying(world: &mut World) -> (usize, DeliveryId) {
    let said = world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    world.answer(turn);
    world.commit_all();
    (said, *world.sending.keys().next().expect("a reply is on its way"))
}

fn labels(world: &World) -> Vec<evergate_core::outbox::Repeat> {
    world.transmitted.iter().map(|(_, repeat)| *repeat).collect()
}

fn fates(world: &World, of: DeliveryId) -> Vec<Fate> {
    let settled = world.journal.history.iter().filter_map(|record| match record {
        Record::DeliverySettled { delivery, fate } if *delivery == of => Some(*fate),
        _ => None,
    });
    settled.collect()
}

#[test]
fn nothing_is_sent_off_before_that_is_on_disk() {
    let mut world = world(Uncertain::Report);
    world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    world.answer(turn);
    world.commit();
    assert!(world.sending.is_empty(), "it was handed out, and that it is tried is not on disk");
    world.commit();
    let tried = |record: &Record| matches!(record, Record::DeliveryTried { attempt: 1, .. });
    assert_eq!((world.journal.count(tried), world.sending.len()), (1, 1));
    world.heal();
    assert_eq!(labels(&world), [No]);
}

#[test]
fn a_death_after_the_send_leads_to_a_repeat_that_says_so() {
    for arrives in [true, false] {
        let mut world = world(Uncertain::Report);
        let (said, delivery) = replying(&mut world);
        if arrives {
            world.kill_unheard()
        } else {
            world.kill()
        }
        world.start_again();
        world.heal();
        assert_eq!(labels(&world), [No, Possible]);
        assert_eq!((world.replies_to(said), world.repeats.len()), (1, usize::from(arrives)));
        assert_eq!(fates(&world, delivery), [Fate::Sent]);
    }
}

#[test]
fn an_answer_that_is_lost_leads_to_a_repeat_that_says_so() {
    let mut world = world(Uncertain::Report);
    let (said, delivery) = replying(&mut world);
    world.unknown(delivery, true);
    world.commit_all();
    assert!(world.sending.is_empty(), "not at once");
    world.elapse();
    world.commit_all();
    world.heal();
    assert_eq!((labels(&world), world.replies_to(said), world.repeats.len()), (vec![No, Possible], 1, 1));
}

#[test]
fn what_certainly_did_not_arrive_is_no_uncertainty_after_a_death() {
    let mut world = world(Uncertain::Drop);
    let (said, delivery) = replying(&mut world);
    world.sending.clear();
    world.tell(Input::DeliveryFailed { delivery });
    world.commit_all();
    world.kill();
    world.start_again();
    world.heal();
    assert_eq!((labels(&world), world.replies_to(said)), (vec![No, No], 1));
    assert_eq!(fates(&world, delivery), [Fate::Sent]);
}

#[test]
fn a_failure_does_not_make_an_earlier_uncertainty_certain() {
    let mut world = world(Uncertain::Report);
    let (_, delivery) = replying(&mut world);
    world.unknown(delivery, false);
    world.elapse();
    world.commit_all();
    world.sending.clear();
    world.tell(Input::DeliveryFailed { delivery });
    world.commit_all();
    world.kill();
    world.start_again();
    world.heal();
    assert_eq!(labels(&world), [No, Possible, Possible]);
}

#[test]
fn where_the_uncertain_is_dropped_the_chat_is_told_once_that_an_answer_may_be_missing() {
    for dies in [true, false] {
        let mut world = world(Uncertain::Drop);
        let (said, delivery) = replying(&mut world);
        let turn = match &world.sending[&delivery].1 {
            Content::Reply { turn, .. } => *turn,
            Content::Notice(_) => panic!("a reply"),
        };
        if dies {
            world.kill();
            world.start_again();
        } else {
            world.unknown(delivery, false);
            world.commit_all();
        }
        assert_eq!(fates(&world, delivery), [Fate::Unknown]);
        // The notice is itself uncertain, and nothing follows from that.
        let notice = *world.sending.keys().next().expect("the notice is on its way");
        world.unknown(notice, true);
        world.commit_all();
        assert_eq!(world.up().pending(), None);
        assert_eq!((labels(&world), world.replies_to(said)), (vec![No, No], 0));
        assert_eq!(world.notices_in(1), [Notice::MayBeMissing { turn }]);
    }
}

#[test]
fn what_stays_unknown_is_not_repeated_for_ever() {
    let mut world = world(Uncertain::Report);
    let (_, delivery) = replying(&mut world);
    let most = world.limits.unknown_sends;
    for attempt in 1..=most {
        if attempt % 2 == 0 {
            world.kill();
            world.start_again();
        } else {
            world.unknown(delivery, false);
            world.commit_all();
            world.elapse();
            world.commit_all();
        }
    }
    world.send_all();
    assert_eq!(world.up().pending(), None);
    assert_eq!(fates(&world, delivery), [Fate::Unknown]);
    assert_eq!(world.transmitted.iter().filter(|(of, _)| *of == delivery).count(), most as usize);
    assert!(matches!(world.notices_in(1)[..], [Notice::MayBeMissing { .. }]));
}

#[test]
fn a_policy_that_changes_holds_for_what_waits_to_be_repeated() {
    let mut world = world(Uncertain::Report);
    let (_, delivery) = replying(&mut world);
    world.unknown(delivery, false);
    world.commit_all();
    world.tell(Input::Limits(Box::new(Limits { uncertain: Uncertain::Drop, ..world.limits.clone() })));
    world.elapse();
    world.commit_all();
    assert_eq!(fates(&world, delivery), [Fate::Unknown]);
}

#[test]
fn an_end_that_is_written_before_the_send_leaves_no_uncertainty() {
    let mut world = world(Uncertain::Drop);
    let said = world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    world.answer(turn);
    world.commit();
    // The disk takes all the time that there is for flushing: the mark gets there, and the end is written behind it.
    assert!(!world.journal.unsynced.is_empty() && world.sending.is_empty());
    let close = world.up().drain().expect("it ends").deadlines.close;
    world.now = close;
    world.tell(Input::Elapsed);
    world.commit_all();
    assert!(world.gateway.is_none() && world.transmitted.is_empty());
    let missed = |record: &Record| matches!(record, Record::DeliveryMissed { uncertain: 0, .. });
    assert_eq!(world.journal.count(missed), 1);
    world.heal();
    assert_eq!((labels(&world), world.replies_to(said)), (vec![No], 1));
}

#[test]
fn a_forced_end_waits_for_a_blind_platform_as_for_any_other() {
    let mut world = world(Uncertain::Drop);
    let (said, delivery) = replying(&mut world);
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    assert!(world.gateway.is_some(), "the reply is still on its way");
    world.sent(delivery);
    world.commit_all();
    world.heal();
    assert_eq!((labels(&world), world.replies_to(said)), (vec![No], 1));
}

#[test]
fn a_write_that_fails_holds_a_send_back_and_sends_it_once_when_there_is_room() {
    let mut world = world(Uncertain::Drop);
    let said = world.say(1, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(1);
    world.answer(turn);
    world.commit();
    world.fail_write();
    assert!(world.sending.is_empty());
    world.elapse();
    world.commit_all();
    world.heal();
    assert_eq!((labels(&world), world.replies_to(said)), (vec![No], 1));
}

#[test]
fn a_platform_that_knows_repeats_by_their_ids_is_handed_the_unknown_again() {
    let mut world = world(Uncertain::Drop);
    let said = world.say(2, Asked::Prompt);
    world.commit_all();
    let turn = world.turn_in(2);
    world.answer(turn);
    world.commit_all();
    let delivery = *world.sending.keys().next().expect("a reply is on its way");
    world.unknown(delivery, true);
    world.heal();
    assert_eq!((fates(&world, delivery), world.replies_to(said)), (vec![Fate::Sent], 1));
}

#[test]
fn an_intention_that_nobody_asked_for_is_ignored() {
    let mut world = world(Uncertain::Report);
    let (_, delivery) = replying(&mut world);
    let again = |gateway: &mut Gateway| {
        gateway.handle(evergate_core::time::Instant::from_millis(2), Input::DeliveryIntended { delivery });
        std::iter::from_fn(|| gateway.poll()).collect::<Vec<_>>()
    };
    assert_eq!(again(&mut world.up().clone()), [Effect::Ignored]);
    assert_eq!(world.up().outbox()[&delivery].session, SessionId(1));
}
