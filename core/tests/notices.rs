//! Who hears of an end that cuts answers short, and that they go on: the chats whose answers those are, once for each cut, and
//! nobody else.

mod world;

use evergate_core::busy::Busy;
use evergate_core::gateway::Phase;
use evergate_core::id::{DeliveryId, TurnId};
use evergate_core::input::{Asked, Input, Partial, TurnEnd};
use evergate_core::limits::Limits;
use evergate_core::outbox::{Content, Notice};
use evergate_core::record::Record;
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Outcome, Signal, Wish};
use evergate_core::supervisor::Supervisor;
use world::World;

fn world() -> World {
    World::serving(Supervisor::Evergate)
}

/// Somebody speaks here, and a turn runs.
fn working(world: &mut World, session: u64) -> TurnId {
    world.say(session, Asked::Prompt);
    world.commit_all();
    world.turn_in(session)
}

/// Time passes until whatever still runs is interrupted.
fn interrupted(world: &mut World) {
    while world.up().phase() == Phase::Draining {
        world.elapse();
    }
    world.commit_all();
}

/// A wish ends this generation at once, and the turn's agent obeys. What is to be said of that waits for the disk.
fn cut_short(world: &mut World, wish: Wish, turn: TurnId) {
    world.ask(wish, Mode::Force);
    world.commit_all();
    interrupted(world);
    world.give_way(turn, Partial::Text);
}

/// The same, and what is to be said is said.
fn cuts(world: &mut World, wish: Wish, turn: TurnId) {
    cut_short(world, wish, turn);
    world.commit_all();
    world.send_all();
    assert!(world.gateway.is_none());
}

/// The time for the end runs out, and nobody hears of what is sent.
fn runs_out(world: &mut World) {
    while world.gateway.is_some() {
        world.commit_all();
        world.elapse();
    }
}

/// How often it is on disk that some chat is told of a cut, and that the answer goes on.
fn told(world: &World) -> (usize, usize) {
    let owed = |is_it: &dyn Fn(&Notice) -> bool| {
        world.journal.count(|record| match record {
            Record::DeliveryOwed { content: Content::Notice(notice), .. } => is_it(notice),
            _ => false,
        })
    };
    let is_back = |notice: &Notice| matches!(notice, Notice::TurnBack { .. });
    (owed(&|notice| matches!(notice, Notice::TurnCut { .. })), owed(&is_back))
}

#[test]
fn a_restart_is_told_where_it_was_asked_for_and_where_it_cuts_an_answer_and_nowhere_else() {
    let mut world = world();
    let was = working(&mut world, 4);
    world.answer(was);
    world.commit_all();
    let [cut, ends] = [2, 3].map(|session| working(&mut world, session));
    world.say(1, Asked::Restart(Mode::Graceful));
    world.commit_all();
    world.answer(ends);
    world.commit_all();
    world.send_all();
    assert_eq!(told(&world), (0, 0), "nothing is cut yet");
    interrupted(&mut world);
    assert_eq!(told(&world), (0, 0), "it may still answer");
    world.give_way(cut, Partial::Text);
    world.commit_all();
    world.send_all();
    assert!(world.gateway.is_none(), "what is said is said before the end");
    assert_eq!(world.notices_in(2), [Notice::TurnCut { turn: cut, wish: Wish::Restart }]);
    world.start_again();
    world.send_all();
    assert_eq!(world.notices_in(2)[1..], [Notice::TurnBack { turn: cut }]);
    world.heal();
    let asked = world.notices_in(1);
    assert!(
        matches!(
            asked[..],
            [Notice::RestartAccepted { .. }, Notice::RequestSettled { outcome: Outcome::Restarted { .. }, .. }]
        ),
        "{asked:?}"
    );
    assert_eq!(world.notices_in(2).len(), 2);
    assert_eq!([3, 4].map(|session| world.notices_in(session)), [[], []]);
}

#[test]
fn a_chat_that_asked_itself_hears_of_its_request_alone() {
    let mut world = world();
    let [one, other] = [1, 2].map(|session| working(&mut world, session));
    world.say(1, Asked::Restart(Mode::Graceful));
    world.ask_from_turn(other, Wish::Restart);
    world.commit_all();
    interrupted(&mut world);
    for turn in [one, other] {
        world.give_way(turn, Partial::Text);
    }
    world.commit_all();
    world.heal();
    assert_eq!(told(&world), (0, 0));
    let [one, other] = [1, 2].map(|session| world.notices_in(session));
    assert!(matches!(one[..], [Notice::RestartAccepted { .. }, Notice::RequestSettled { .. }]), "{one:?}");
    assert!(matches!(other[..], [Notice::RequestSettled { .. }]), "{other:?}");
}

/// Its request has its outcome already; that the answer is cut is news.
#[test]
fn a_chat_whose_request_was_overruled_hears_that_its_answer_is_cut() {
    let mut world = world();
    let turn = working(&mut world, 1);
    world.say(1, Asked::Restart(Mode::Graceful));
    world.commit_all();
    cuts(&mut world, Wish::Stop, turn);
    let notices = world.notices_in(1);
    assert!(matches!(notices[1], Notice::RequestSettled { outcome: Outcome::Overruled { .. }, .. }), "{notices:?}");
    assert_eq!(notices[2..], [Notice::TurnCut { turn, wish: Wish::Stop }]);
    world.start_again();
    world.heal();
    assert_eq!(world.notices_in(1)[3..], [Notice::TurnBack { turn }], "whoever starts it again");
}

#[test]
fn an_answer_that_is_whole_in_spite_of_the_interruption_is_not_said_to_go_on() {
    let mut world = world();
    let turn = working(&mut world, 1);
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    interrupted(&mut world);
    world.answer(turn);
    world.heal();
    assert_eq!(told(&world), (0, 0));
}

#[test]
fn a_turn_that_never_began_is_not_said_to_be_cut() {
    let mut world = world();
    world.say(1, Asked::Prompt);
    for _ in 0..2 {
        world.signal(Signal::Terminate);
    }
    world.commit_all();
    world.heal();
    assert!(world.journal.has(|record| matches!(record, Record::TurnInterrupted { .. })));
    assert_eq!(told(&world), (0, 0));
}

#[test]
fn of_a_death_nobody_hears_and_whoever_was_told_before_it_hears_the_end() {
    let mut world = world();
    let turn = working(&mut world, 1);
    world.kill();
    world.start_again();
    assert_eq!(told(&world), (0, 0), "it goes on, and nobody missed it");
    cut_short(&mut world, Wish::Restart, turn);
    world.kill();
    world.start_again();
    assert_eq!(told(&world), (0, 0), "that it was cut is not on disk, so nobody was told");
    cut_short(&mut world, Wish::Restart, turn);
    world.commit();
    world.kill_unheard();
    assert_eq!((world.notices_in(1).len(), told(&world)), (1, (1, 0)));
    world.start_again();
    assert_eq!(told(&world), (1, 1));
    world.kill();
    world.start_again();
    assert_eq!(told(&world), (1, 1), "once");
    world.heal();
    assert_eq!(world.notices_in(1), [Notice::TurnCut { turn, wish: Wish::Restart }, Notice::TurnBack { turn }]);
}

#[test]
fn however_often_an_answer_is_cut_its_chat_is_told_a_few_times() {
    let mut world = world();
    let turn = working(&mut world, 1);
    for cut in 1..=Limits::CUTS_TOLD as usize + 2 {
        cuts(&mut world, Wish::Restart, turn);
        world.start_again();
        let times = cut.min(Limits::CUTS_TOLD as usize);
        assert_eq!(told(&world), (times, times));
    }
    world.heal();
    assert_eq!(world.notices_in(1).len(), 2 * Limits::CUTS_TOLD as usize);
}

#[test]
fn where_generations_die_in_a_row_nobody_is_told_of_a_cut() {
    let mut world = world();
    (world.limits.attempts, world.limits.unproven) = (1_000, 3);
    let turn = working(&mut world, 1);
    for _ in 0..3 {
        world.kill();
        world.start_again();
    }
    assert!(world.up().is_tripped());
    // Somebody wants it to go on.
    world.say(1, Asked::Prompt);
    world.commit_all();
    cuts(&mut world, Wish::Restart, turn);
    assert_eq!(told(&world), (0, 0));
    world.start_again();
    world.heal();
}

/// Here the word of a turn's end comes when the end of the generation is already being written.
#[test]
fn nobody_is_told_of_a_cut_when_the_end_is_being_written() {
    let mut world = world();
    let turn = working(&mut world, 1);
    world.ask(Wish::Restart, Mode::Force);
    world.commit_all();
    interrupted(&mut world);
    while !world.up().drain().is_some_and(|drain| drain.end_recorded) {
        world.elapse();
    }
    world.give_way(turn, Partial::Text);
    world.commit_all();
    world.start_again();
    assert_eq!(told(&world), (0, 0));
    world.heal();
}

#[test]
fn whoever_stops_an_answer_after_hearing_that_it_was_cut_is_not_told_that_it_goes_on() {
    let mut world = world();
    let [turn, other] = [1, 2].map(|session| working(&mut world, session));
    cut_short(&mut world, Wish::Restart, turn);
    world.say(1, Asked::StopTurn);
    world.commit_all();
    world.give_way(other, Partial::Nothing);
    world.commit_all();
    world.send_all();
    world.start_again();
    world.heal();
    let notices = world.notices_in(1);
    assert!(
        matches!(notices[..], [Notice::TurnCut { .. }, Notice::Stopping { .. }, Notice::TurnStopped { .. }]),
        "{notices:?}"
    );
}

#[test]
fn a_cut_answer_that_then_kills_the_gateway_is_said_to_go_on_once_and_then_to_be_set_aside() {
    let mut world = world();
    let turn = working(&mut world, 1);
    cuts(&mut world, Wish::Restart, turn);
    let set_aside = |world: &World| world.journal.has(|record| matches!(record, Record::SessionQuarantined { .. }));
    for _ in 0..20 {
        if set_aside(&world) {
            break;
        }
        world.start_again();
        world.elapse();
        world.commit_all();
        world.kill();
    }
    assert!(set_aside(&world), "a turn that kills is set aside");
    world.boot(Start::Wanted);
    world.heal();
    let notices = world.notices_in(1);
    assert!(
        matches!(notices[..], [Notice::TurnCut { .. }, Notice::TurnBack { .. }, Notice::Quarantined { .. }]),
        "{notices:?}"
    );
}

/// An answer that fails after it went on is reported as such, beside both words.
#[test]
fn what_fails_after_it_went_on_is_told_as_well() {
    let mut world = world();
    let turn = working(&mut world, 1);
    cuts(&mut world, Wish::Stop, turn);
    world.start_again();
    world.end_turn(turn, TurnEnd::Failed);
    world.heal();
    let told = [Notice::TurnCut { turn, wish: Wish::Stop }, Notice::TurnBack { turn }, Notice::TurnFailed { turn }];
    assert_eq!(world.notices_in(1), told);
}

/// What is owed before it in its chat did not arrive, so that it was never handed out.
#[test]
fn what_could_not_be_said_before_the_end_is_not_said_after_it() {
    let mut world = world();
    let turn = working(&mut world, 1);
    world.say(1, Asked::Help);
    world.commit_all();
    cut_short(&mut world, Wish::Restart, turn);
    runs_out(&mut world);
    assert_eq!(told(&world), (1, 0));
    world.start_again();
    world.heal();
    assert_eq!((told(&world), world.notices_in(1)), ((1, 0), vec![Notice::Help]));
}

/// Nobody can know of what was handed out: it is repeated by its id, and so is its end told.
#[test]
fn what_may_have_been_said_before_the_end_has_its_other_half_after_it() {
    let mut world = world();
    let turn = working(&mut world, 1);
    cut_short(&mut world, Wish::Restart, turn);
    runs_out(&mut world);
    world.start_again();
    world.heal();
    assert_eq!(world.notices_in(1), [Notice::TurnCut { turn, wish: Wish::Restart }, Notice::TurnBack { turn }]);
}

/// What waits for the disk is handed to nobody: a disk that stands still until the time is over.
#[test]
fn what_waits_for_the_disk_when_the_end_is_written_is_said_neither_before_nor_after_it() {
    let mut world = world();
    let turn = working(&mut world, 1);
    cut_short(&mut world, Wish::Restart, turn);
    while !world.up().drain().is_some_and(|drain| drain.end_recorded) {
        world.elapse();
    }
    world.commit_all();
    assert!(world.gateway.is_none());
    world.start_again();
    world.heal();
    assert_eq!((told(&world), world.notices_in(1)), ((1, 0), vec![]));
}

/// A platform that cannot tell a repeat is sending the word that an end cuts a turn.
fn sending_a_cut() -> (World, DeliveryId) {
    let mut world = world();
    world.blind.insert(1);
    let turn = working(&mut world, 1);
    cut_short(&mut world, Wish::Restart, turn);
    world.commit();
    world.commit();
    let word = *world.sending.keys().next().expect("it is sent");
    (world, word)
}

/// A platform that cannot tell a repeat says of what it was to send whether that certainly did not leave.
#[test]
fn what_a_blind_platform_could_not_send_is_not_said_after_the_end() {
    for certain in [true, false] {
        let (mut world, word) = sending_a_cut();
        if certain {
            world.sending.remove(&word);
            world.tell(Input::DeliveryFailed { delivery: word });
        } else {
            world.unknown(word, false);
        }
        world.commit_all();
        assert!(world.gateway.is_none());
        world.start_again();
        world.heal();
        assert_eq!((certain, world.notices_in(1).len()), (certain, if certain { 0 } else { 2 }));
    }
}

/// The disk fails when the end is to be written, and before it takes that, the platform says that the word did not leave.
#[test]
fn what_certainly_fails_while_the_end_is_written_is_not_said_after_it() {
    let (mut world, word) = sending_a_cut();
    let close = world.up().drain().expect("an end is under way").deadlines.close;
    world.wait(close - world.now - Limits::default().journal_retry / 2);
    world.fail_write();
    world.elapse();
    assert!(world.up().drain().is_some_and(|drain| drain.end_recorded) && world.up().journal_failing());
    world.sending.remove(&word);
    world.tell(Input::DeliveryFailed { delivery: word });
    world.elapse();
    world.commit_all();
    assert!(world.gateway.is_none());
    world.start_again();
    world.heal();
    assert_eq!((told(&world), world.notices_in(1)), ((1, 0), vec![]));
}

/// A turn was cut and told so, and its next start waits for the disk.
fn starting_again(world: &mut World) -> TurnId {
    let turn = working(world, 1);
    cuts(world, Wish::Restart, turn);
    world.start_unwritten();
    assert_eq!(world.agents.len(), 0, "its start waits for the disk");
    turn
}

/// An end takes it back before it has left.
fn taken_back(world: &mut World) {
    for _ in 0..2 {
        world.signal(Signal::Terminate);
    }
    world.commit_all();
}

#[test]
fn a_start_that_is_taken_back_is_not_said_to_go_on_until_it_does() {
    let mut world = world();
    let turn = starting_again(&mut world);
    taken_back(&mut world);
    while world.gateway.is_some() {
        world.elapse();
        world.commit_all();
        world.send_all();
    }
    assert_eq!(world.notices_in(1).len(), 1, "it has not gone on");
    world.start_again();
    world.heal();
    assert_eq!(world.notices_in(1), [Notice::TurnCut { turn, wish: Wish::Restart }, Notice::TurnBack { turn }]);
}

/// It went on, and that was owed when its generation died; the next start is taken back, which is none of that word's business.
#[test]
fn a_start_that_is_taken_back_takes_no_word_back_of_an_earlier_one() {
    let mut world = world();
    let turn = starting_again(&mut world);
    world.commit_all();
    world.kill();
    world.start_unwritten();
    taken_back(&mut world);
    runs_out(&mut world);
    world.start_again();
    world.heal();
    let told = told(&world);
    assert_eq!(
        (told.1, world.notices_in(1)),
        (1, vec![Notice::TurnCut { turn, wish: Wish::Restart }, Notice::TurnBack { turn }])
    );
}

#[test]
fn a_turn_whose_place_a_message_takes_before_it_goes_on_is_not_said_to_go_on() {
    let mut world = world();
    world.limits.busy = Busy::Interrupt;
    let turn = starting_again(&mut world);
    world.say(1, Asked::Prompt);
    world.commit_all();
    world.heal();
    assert_eq!(world.notices_in(1), [Notice::TurnCut { turn, wish: Wish::Restart }]);
}
