//! Tales of what a gateway plans, and of what is so at rest.

use super::records::*;
use super::seen::{Seen, is_sending, waits_for_turn};
use super::{Tale, tale};
use evergate_core::effect::Effect;
use evergate_core::gateway::Phase::{Draining, Serving};
use evergate_core::id::{SessionId, TurnId};
use evergate_core::input::Input;
use evergate_core::invariant::Invariant::*;
use evergate_core::outbox::Fate;
use evergate_core::question::QuestionKey;
use evergate_core::record::Record;
use evergate_core::request::{Mode, Origin, Outcome, Wish};
use evergate_core::turn::Conclusion;
use evergate_core::verdict::Verdict;

fn serves(seen: &mut Seen) -> &mut Seen {
    seen.serves(1)
}

/// An end is under way that is to be over after ten seconds.
fn drains(seen: &mut Seen) -> &mut Seen {
    seen.phase(Draining).drains(Mode::Graceful, [3_000, 5_000, 8_000, 10_000]).guards(10_000)
}

const QUESTION: Input = Input::Question { turn: TurnId(1), key: QuestionKey(1) };

/// Turn 1 asks its chat, and waits for a person.
fn waits_for_a_person(seen: &mut Seen) -> &mut Seen {
    seen.works().hears(QUESTION).writes(&[questioned(1, 1, 1), asks(1, 1)])
}

pub fn tales() -> Vec<Tale> {
    let for_itself = "the end waits for turn 1, which asked for it, until Some(Instant(2001))";
    let for_a_person = "the end waits until Some(Instant(1)) for turn 1, which waits for a person";
    vec![
        tale(
            Truth,
            "draining is what was told, serving is what is",
            |s| s.serves(1).phase(Draining),
            |s| s.phase(Serving).plans(Serving, &[], None),
            |s| s.plans(Serving, &[], None),
        ),
        tale(
            Ledger,
            "turn 1 runs and no drain would know",
            |s| s.works(),
            |s| s.plans(Serving, &[waits_for_turn(None)], None),
            |s| s.plans(Serving, &[is_sending()], None),
        ),
        tale(
            Ledger,
            "turn 1 runs and no drain would know",
            |s| s.works(),
            // That of a generation that is gone is in no ledger.
            |s| s.dies().serves(2).plans(Serving, &[], None),
            |s| s.plans(Serving, &[], None),
        ),
        tale(
            Ledger,
            "delivery 1 is being sent and no drain would know",
            |s| s.serves(1).writes(&[help(1, 1), help(2, 1)]).sends(1, 1),
            |s| s.plans(Serving, &[is_sending()], None).sent().plans(Serving, &[], None),
            |s| s.plans(Serving, &[], None),
        ),
        tale(
            Admit,
            "draining and no end is under way",
            serves,
            |s| s.plans(Serving, &[], None),
            |s| s.phase(Draining).plans(Draining, &[], Some(1)),
        ),
        tale(
            Budget,
            "the guard is set to None, and the plan says Instant(10000)",
            |s| drains(s.serves(1)),
            |s| s.plans(Draining, &[], Some(3_000)),
            |s| s.says(Effect::Guard(None)).plans(Draining, &[], Some(3_000)),
        ),
        tale(
            Budget,
            "the guard is set to Some(Instant(10001)), and the plan says Instant(10000)",
            |s| drains(s.serves(1)),
            |s| s.plans(Draining, &[], Some(3_000)),
            |s| s.says(Effect::Guard(None)).guards(10_001).plans(Draining, &[], Some(3_000)),
        ),
        tale(
            Admit,
            "while draining it waits until None, and the guard strikes at Instant(10000)",
            |s| drains(s.serves(1)),
            |s| s.plans(Draining, &[], Some(10_000)),
            |s| s.plans(Draining, &[], None),
        ),
        tale(
            Admit,
            "while draining it waits until Some(Instant(10001)), and the guard strikes at Instant(10000)",
            |s| drains(s.serves(1)),
            |s| s.plans(Draining, &[], Some(10_000)),
            |s| s.plans(Draining, &[], Some(10_001)),
        ),
        tale(
            Admit,
            "while draining it waits until Some(Instant(10000)), and the guard strikes at Instant(10000)",
            |s| drains(s.serves(1)),
            |s| s.at(10_000).plans(Draining, &[], Some(10_000)),
            |s| s.at(10_001).plans(Draining, &[], Some(10_000)),
        ),
        tale(
            NoSelf,
            for_itself,
            |s| drains(s.works().writes(&[turn_restart()])),
            |s| s.plans(Draining, &[waits_for_turn(Some(2_000))], Some(2_000)),
            |s| s.plans(Draining, &[waits_for_turn(Some(2_001))], Some(2_001)),
        ),
        tale(
            NoSelf,
            for_itself,
            |s| drains(s.works().writes(&[chat_restart(1)])),
            |s| s.plans(Draining, &[waits_for_turn(None)], Some(2_000)),
            |s| s.plans(Draining, &[waits_for_turn(Some(2_001))], Some(2_001)),
        ),
        tale(
            NoSelf,
            for_itself,
            |s| drains(s.works()),
            // Another chat's request, one of an earlier generation, one on its way to the disk or away from there, one that is
            // on disk and of which it was told another version at most: none of them makes it wait for itself.
            |s| {
                s.writes(&[wished(1, Wish::Restart, Origin::Session(SessionId(2)), 1)]);
                s.writes(&[wished(2, Wish::Stop, Origin::Session(SessionId(1)), 0)]);
                s.writes(&[wished(3, Wish::Restart, Origin::Turn { turn: TurnId(2), session: SessionId(1) }, 1)]);
                let stop = wished(6, Wish::Stop, Origin::Session(SessionId(1)), 1);
                s.writes(&[chat_restart(6)]).appends(stop).hears(Input::Synced { records: 1 });
                s.appends(chat_restart(4)).hears(Input::Synced { records: 1 }).writes(&[chat_restart(4)]);
                s.writes(&[chat_restart(5)]).appends(settled(5, Outcome::Cancelled));
                s.plans(Draining, &[waits_for_turn(Some(2_001))], Some(2_001))
            },
            |s| {
                s.appends(chat_restart(4)).writes(&[chat_restart(4)]).hears(Input::Synced { records: 1 });
                s.plans(Draining, &[waits_for_turn(Some(2_001))], Some(2_001))
            },
        ),
        tale(
            NoSelf,
            for_a_person,
            |s| drains(waits_for_a_person(s)),
            |s| s.plans(Draining, &[waits_for_turn(Some(0))], Some(3_000)),
            |s| s.plans(Draining, &[waits_for_turn(Some(1))], Some(3_000)),
        ),
        tale(
            NoSelf,
            for_a_person,
            |s| drains(waits_for_a_person(s)),
            // It is told that nobody is asked, and goes on by itself.
            |s| {
                s.says(Effect::Unasked { turn: TurnId(1), key: QuestionKey(1) });
                s.plans(Draining, &[waits_for_turn(Some(1))], Some(3_000))
            },
            |s| {
                s.says(Effect::Unasked { turn: TurnId(1), key: QuestionKey(2) });
                s.plans(Draining, &[waits_for_turn(Some(1))], Some(3_000))
            },
        ),
        tale(
            NoSelf,
            for_a_person,
            |s| drains(waits_for_a_person(s)),
            |s| s.appends(interrupted(1)).plans(Draining, &[waits_for_turn(Some(1))], Some(3_000)),
            |s| s.appends(interrupted(2)).plans(Draining, &[waits_for_turn(Some(1))], Some(3_000)),
        ),
        tale(
            NoSelf,
            for_a_person,
            |s| drains(waits_for_a_person(s)),
            |s| s.gone(1).plans(Draining, &[waits_for_turn(Some(1))], Some(3_000)),
            |s| s.gone(2).plans(Draining, &[waits_for_turn(Some(1))], Some(3_000)),
        ),
        tale(
            NoSelf,
            for_a_person,
            |s| drains(s.works()),
            // A question of a turn that does not run waits for nobody.
            |s| {
                s.gone(1).hears(QUESTION);
                s.plans(Draining, &[waits_for_turn(Some(1))], Some(3_000))
            },
            |s| s.hears(QUESTION).plans(Draining, &[waits_for_turn(Some(1))], Some(3_000)),
        ),
    ]
}

/// Turn 1 asks generation 1 to restart.
fn turn_restart() -> Record {
    wished(1, Wish::Restart, Origin::Turn { turn: TurnId(1), session: SessionId(1) }, 1)
}

/// Three generations in a row have died, and turn 1 is held, with what was said behind it.
fn held(seen: &mut Seen) -> &mut Seen {
    seen.works().writes(&[prompt(2, 1)]).dies().serves(2).dies().serves(3).dies().serves(4).gone(1)
}

/// Turn 1 has been answered.
fn done(seen: &mut Seen) -> &mut Seen {
    seen.gone(1).writes(&answered()).writes(&[struck_off(1, Fate::Sent)])
}

pub fn tales_of_rest() -> Vec<Tale> {
    let mut tales = vec![
        tale(
            Ack,
            "message 1 of session 1 is accepted and never answered or reported",
            |s| s.works(),
            |s| done(s).rests(),
            |s| s.gone(1).rests(),
        ),
        tale(
            Ack,
            "message 1 of session 1 is accepted and never answered or reported",
            |s| s.serves(1).writes(&[prompt(1, 1)]),
            |s| s.writes(&[set_aside(1)]).rests(),
            |s| s.writes(&[set_aside(1)]).writes(&[released(1)]).rests(),
        ),
        tale(
            Reply,
            "delivery 1 is owed and never delivered",
            |s| s.serves(1).writes(&[help(1, 1)]),
            |s| s.writes(&[struck_off(1, Fate::Sent)]).rests(),
            |s| s.rests(),
        ),
        tale(
            Notice,
            "session 1 was told of request 1 and never of its outcome",
            |s| s.serves(1).writes(&[restart(1)]).writes(&[told_accepted(1, 1)]).writes(&[struck_off(1, Fate::Sent)]),
            |s| s.plans(Serving, &[], None),
            |s| s.writes(&[settled(1, Outcome::Cancelled)]).rests(),
        ),
        tale(
            Consent,
            "question 1 of turn 1 is left, and its turn is over",
            |s| s.works().writes(&[questioned(1, 1, 1), asks(1, 1)]).writes(&[struck_off(1, Fate::Sent)]).gone(1),
            |s| s.writes(&[closed(1), ended(1, Conclusion::Failed)]).rests(),
            |s| s.writes(&[set_aside(1)]).rests(),
        ),
        tale(
            Orphan,
            "the process of turn 1 is left behind",
            |s| s.works().writes(&[ended(1, Conclusion::Failed)]).dies().serves(2),
            |s| s.gone(1).rests(),
            |s| s.rests(),
        ),
    ];
    tales.extend(tales_of_what_is_held());
    tales
}

fn tales_of_what_is_held() -> [Tale; 9] {
    let forgotten = "message 2 of session 1 is accepted and never answered or reported";
    [
        tale(
            Loop,
            "what was cut is held back after 2 deaths in a row",
            |s| s.works().dies().serves(2).dies(),
            // An end that did not come to the disk is a death to whoever comes next.
            |s| {
                s.serves(3).gone(1).writes(&[wished(1, Wish::Restart, Origin::Cli, 3)]).ends(Verdict::ReExec).dies();
                s.serves(4).writes(&[settled(1, Outcome::Cancelled)]).holds_back()
            },
            |s| s.serves(3).gone(1).holds_back(),
        ),
        tale(
            Loop,
            "what was cut is held back after 0 deaths in a row",
            held,
            |s| s.holds_back(),
            |s| {
                // Somebody else was answered.
                s.writes(&[prompt(3, 2), opened(2, 2, &[3])]);
                s.writes(&[replies(1, 2), ended(2, Conclusion::Answered)]);
                s.writes(&[struck_off(1, Fate::Sent)]).holds_back()
            },
        ),
        tale(
            Ack,
            "message 1 of session 1 is accepted and never answered or reported",
            held,
            |s| s.holds_back(),
            |s| s.writes(&[set_aside(2)]).rests(),
        ),
        tale(
            Ack,
            "message 3 of session 2 is accepted and never answered or reported",
            held,
            |s| s.holds_back(),
            |s| s.writes(&[prompt(3, 2)]).holds_back(),
        ),
        tale(
            Ack,
            "message 3 of session 1 is accepted and never answered or reported",
            held,
            |s| s.writes(&[command(3)]).writes(&[carried_out(3)]).holds_back(),
            |s| s.writes(&[command(3)]).holds_back(),
        ),
        tale(
            Ack,
            forgotten,
            |s| held(s).writes(&[ended(1, Conclusion::Quarantined)]),
            |s| s.writes(&[set_aside(1)]).holds_back(),
            |s| s.holds_back(),
        ),
        tale(
            Once,
            "request 2 has no outcome",
            |s| held(s).writes(&[chat_restart(1), told_accepted(1, 1), struck_off(1, Fate::Sent)]),
            |s| s.holds_back(),
            |s| s.writes(&[wished(2, Wish::Restart, Origin::Cli, 4)]).holds_back(),
        ),
        tale(
            Reply,
            "delivery 1 is owed and never delivered",
            held,
            |s| s.writes(&[help(1, 2), struck_off(1, Fate::Sent)]).holds_back(),
            |s| s.writes(&[help(1, 2)]).holds_back(),
        ),
        tale(
            Orphan,
            "the process of turn 9 is left behind",
            |s| {
                s.serves(1).writes(&[prompt(1, 2), opened(9, 2, &[1])]).starts(9, 2);
                s.writes(&[ended(9, Conclusion::Quarantined)]).dies().serves(2).dies();
                s.serves(3).dies().serves(4)
            },
            |s| s.gone(9).holds_back(),
            |s| s.holds_back(),
        ),
    ]
}
