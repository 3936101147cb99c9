//! Tales of messages and turns, and of what chats are told of their turns.

use super::records::*;
use super::seen::Seen;
use super::{Tale, tale};
use evergate_core::effect::Place::{Collected, Interrupting, Running};
use evergate_core::id::{SessionId, TurnId};
use evergate_core::invariant::Invariant::*;

use evergate_core::record::Record;
use evergate_core::request::{Origin, Wish};
use evergate_core::turn::Conclusion::{Answered, Failed, Quarantined, Stopped, Superseded};
use evergate_core::turn::Resume;

fn serves(seen: &mut Seen) -> &mut Seen {
    seen.serves(1)
}

fn works(seen: &mut Seen) -> &mut Seen {
    seen.works()
}

pub fn tales() -> Vec<Tale> {
    let mut tales = vec![
        tale(
            Truth,
            "generation 2 begins and how the last one ended is unknown",
            |s| s.serves(1).dies().boots(2),
            |s| s.writes(&[died(1), begun(2)]),
            |s| s.writes(&[begun(2)]),
        ),
        tale(
            Once,
            "message 1 is accepted twice",
            serves,
            |s| s.writes(&[prompt(1, 1), prompt(2, 1)]),
            |s| s.writes(&[prompt(1, 1), prompt(1, 1)]),
        ),
        tale(
            Once,
            "message 1 is accepted twice",
            |s| s.works().writes(&answered()),
            |s| s.writes(&[prompt(2, 1)]),
            |s| s.writes(&[prompt(1, 1)]),
        ),
        tale(
            Once,
            "the command in message 1 is carried out again",
            |s| s.serves(1).writes(&[command(1)]),
            |s| s.writes(&[carried_out(1)]),
            |s| s.writes(&[carried_out(1), carried_out(1)]),
        ),
        tale(
            Once,
            "the command in message 2 is carried out again",
            |s| s.serves(1).writes(&[command(1), prompt(2, 1)]),
            |s| s.writes(&[carried_out(1)]),
            |s| s.writes(&[carried_out(2)]),
        ),
        tale(
            Mark,
            "message 1 is said to be worked on by no turn on disk",
            serves,
            // A command is carried out when it is on disk, and needs no turn.
            |s| s.writes(&[placed(1, 1, Running), opened(1, 1, &[1])]).writes(&[command(2)]),
            |s| s.writes(&[placed(1, 1, Running)]),
        ),
        tale(
            Ack,
            "a turn of session 1 is said to be interrupted for message 2, and is not",
            works,
            |s| s.writes(&[placed(2, 1, Interrupting), superseded()]).writes(&[placed(3, 1, Interrupting)]),
            |s| s.writes(&[placed(2, 1, Interrupting)]),
        ),
        tale(
            Ack,
            "a turn of session 1 is said to be interrupted for message 2, and is not",
            |s| s.works().writes(&[prompt(3, 2), opened(2, 2, &[3])]),
            |s| s.writes(&[placed(2, 1, Interrupting), stop_asked()]),
            // Another session's turn is no help.
            |s| s.writes(&[placed(2, 1, Interrupting), Record::TurnStopAsked { turn: TurnId(2) }]),
        ),
        tale(
            Ack,
            "the turn over message 1 ended without a word, and it waits for no other",
            |s| s.works().writes(&[placed(2, 1, Interrupting), superseded()]),
            |s| s.writes(&[ended(1, Superseded), returned(1)]),
            |s| s.writes(&[ended(1, Superseded)]),
        ),
        tale(
            Once,
            "message 1 is given back, and no turn has given it up",
            |s| s.works().writes(&[placed(2, 1, Interrupting), superseded()]),
            |s| s.writes(&[ended(1, Superseded), returned(1)]),
            |s| s.writes(&[returned(1)]),
        ),
        tale(
            Once,
            "message 1 is given back, and no turn has given it up",
            |s| s.works().writes(&[placed(2, 1, Interrupting), superseded()]),
            |s| s.writes(&[replies(1, 1), ended(1, Superseded)]),
            |s| s.writes(&[replies(1, 1), ended(1, Superseded), returned(1)]),
        ),
        tale(
            Once,
            "turn 1 is opened after turn 1",
            |s| s.works().writes(&answered()).writes(&[prompt(2, 1)]),
            |s| s.writes(&[opened(2, 1, &[2])]),
            |s| s.writes(&[opened(1, 1, &[2])]),
        ),
        tale(
            Once,
            "turn 2 answers Some(MessageId(1)), which does not wait",
            |s| s.works().writes(&[prompt(2, 2)]),
            |s| s.writes(&[opened(2, 2, &[2])]),
            |s| s.writes(&[opened(2, 2, &[1])]),
        ),
        tale(
            Once,
            "turn 2 answers Some(MessageId(1)), which does not wait",
            |s| s.works().writes(&answered()).writes(&[prompt(2, 1)]),
            |s| s.writes(&[opened(2, 1, &[2])]),
            |s| s.writes(&[opened(2, 1, &[1])]),
        ),
        tale(
            Once,
            "turn 2 is the second open turn of session 1",
            |s| s.works().writes(&[prompt(2, 1)]),
            |s| s.writes(&answered()).writes(&[opened(2, 1, &[2])]),
            |s| s.writes(&[opened(2, 1, &[2])]),
        ),
        tale(
            Quar,
            "start 3 of turn 1 after 1",
            |s| s.works().dies().serves(2).gone(1),
            |s| s.writes(&[resumed(1, 2, 2), resumed(9, 7, 2)]),
            |s| s.writes(&[resumed(1, 3, 2)]),
        ),
        tale(
            Hygiene,
            "turn 1 is marked as interrupted and has ended",
            works,
            |s| s.writes(&[interrupted(1)]),
            |s| s.writes(&answered()).writes(&[interrupted(1)]),
        ),
        tale(
            Once,
            "turn 1 ends and was not open",
            works,
            |s| s.writes(&[ended(1, Failed)]),
            |s| s.writes(&[ended(1, Failed), ended(1, Failed)]),
        ),
    ];
    tales.extend(tales_of_the_next_turn());
    tales
}

/// What a turn is over, as those who wait were told.
fn tales_of_the_next_turn() -> [Tale; 6] {
    let first = "turn 1 is over [MessageId(2)], and as those who wait were told it is over [MessageId(1)]";
    let one = "turn 2 is over [MessageId(2)], and as those who wait were told it is over [MessageId(2), MessageId(3)]";
    let both = "turn 2 is over [MessageId(2), MessageId(3)], and as those who wait were told it is over [MessageId(2)]";
    let again =
        "turn 2 is over [MessageId(2)], and as those who wait were told it is over [MessageId(1), MessageId(2)]";
    [
        tale(
            Ack,
            first,
            |s| s.serves(1).writes(&[prompt(1, 1), prompt(2, 1)]),
            |s| s.writes(&[opened(1, 1, &[1])]),
            |s| s.writes(&[opened(1, 1, &[2])]),
        ),
        tale(
            Ack,
            first,
            // A command is no message to a turn, and another session's is not to this one's.
            |s| s.serves(1).writes(&[command(8), prompt(9, 2), prompt(1, 1), prompt(2, 1)]),
            |s| s.writes(&[opened(1, 1, &[1])]),
            |s| s.writes(&[opened(1, 1, &[2])]),
        ),
        tale(
            Ack,
            one,
            |s| s.works().writes(&[placed(2, 1, Collected), placed(3, 1, Collected), prompt(4, 1)]).writes(&answered()),
            |s| s.writes(&[opened(2, 1, &[2, 3])]),
            |s| s.writes(&[opened(2, 1, &[2])]),
        ),
        tale(
            Ack,
            both,
            |s| s.works().writes(&[prompt(2, 1), placed(3, 1, Collected)]).writes(&answered()),
            |s| s.writes(&[opened(2, 1, &[2])]),
            |s| s.writes(&[opened(2, 1, &[2, 3])]),
        ),
        tale(
            Ack,
            one,
            |s| s.works().writes(&[prompt(2, 1), placed(3, 1, Interrupting), superseded()]).writes(&answered()),
            |s| s.writes(&[opened(2, 1, &[2, 3])]),
            |s| s.writes(&[opened(2, 1, &[2])]),
        ),
        tale(
            Ack,
            again,
            |s| {
                let ended = [ended(1, Superseded), returned(1)];
                s.works().writes(&[placed(2, 1, Interrupting), superseded()]).writes(&ended)
            },
            |s| s.writes(&[opened(2, 1, &[1, 2])]),
            |s| s.writes(&[opened(2, 1, &[2])]),
        ),
    ]
}

/// Turn 1 has been cut by an end, which is on disk.
fn cut(seen: &mut Seen) -> &mut Seen {
    seen.works().writes(&[interrupted(1)]).is_cut()
}

/// The same, and its chat has been told.
fn told(seen: &mut Seen) -> &mut Seen {
    cut(seen).writes(&[cut_told(), told_cut(1, 1)])
}

/// Its chat is told.
fn tell(seen: &mut Seen) -> &mut Seen {
    seen.writes(&[cut_told(), told_cut(1, 1)])
}

pub fn tales_of_what_is_told() -> Vec<Tale> {
    let not_cut = "session 1 is told that turn 1 was cut, and it was not, or does not go on";
    vec![
        tale(Notice, "session 1 is not told that turn 1 was cut, as the journal says", cut, tell, |s| {
            s.writes(&[cut_told()])
        }),
        tale(
            Notice,
            "session 2 is told that turn 1 goes on afterwards, and Some(SessionId(1)) is to be told",
            cut,
            tell,
            |s| s.writes(&[cut_told(), told_cut(1, 2)]),
        ),
        tale(Notice, "session 1 is told that turn 1 goes on afterwards, and None is to be told", cut, tell, |s| {
            s.writes(&[told_cut(1, 1)])
        }),
        tale(Notice, "it is told that turn 1 was cut, which has ended", cut, tell, |s| {
            s.writes(&[ended(1, Stopped)]).writes(&[cut_told()])
        }),
        tale(Notice, not_cut, |s| s.works().is_cut(), |s| tell(s.writes(&[interrupted(1)])), tell),
        tale(Notice, not_cut, |s| s.works().writes(&[interrupted(1)]), |s| tell(s.is_cut()), tell),
        tale(Notice, not_cut, cut, tell, |s| tell(s.writes(&[stop_asked()]))),
        tale(
            Rate,
            "session 1 is told again that turn 1 was cut, in attempt 1",
            told,
            |s| s.dies(),
            |s| s.writes(&[cut_told(), told_cut(2, 1)]),
        ),
        tale(
            Rate,
            "session 1 is told again that turn 1 was cut, in attempt 4",
            |s| {
                told(s).leaves_in_order(1).charges_back(2, 2, 2).cut_again();
                s.writes(&[cut_told(), told_cut(3, 1)]).leaves_in_order(2).charges_back(3, 3, 4).cut_again()
            },
            |s| s.writes(&[cut_told(), told_cut(5, 1)]),
            |s| s.leaves_in_order(3).charges(4, 4).cut_again().writes(&[cut_told(), told_cut(5, 1)]),
        ),
        tale(
            Rate,
            "session 1 is told that turn 1 was cut, and hears of Some(RequestId(1))",
            cut,
            |s| tell(s.writes(&[wished(1, Wish::Restart, Origin::Session(SessionId(2)), 1)])),
            |s| tell(s.writes(&[chat_restart(1)])),
        ),
        tale(
            Loop,
            "session 1 is told that turn 1 was cut, after 3 deaths in a row",
            |s| {
                s.works().dies().serves(2).dies().serves(3).dies();
                s.charges(4, 2).hears_of(2, 1).resumes(2, Resume::Crash)
            },
            |s| tell(s.writes(&[vouched(1, 4)]).cut_again()),
            |s| tell(s.cut_again()),
        ),
        tale(
            Notice,
            "session 1 was told that turn 1 would go on, and is not told that it does",
            |s| told(s).dies().serves(2).gone(1),
            |s| s.writes(&[resumed(1, 2, 2), told_back(2, 1)]),
            |s| s.writes(&[resumed(1, 2, 2)]),
        ),
        tale(
            Rate,
            "session 2 is told that turn 1 goes on, and Some(SessionId(1)) is to be told",
            |s| told(s).dies().serves(2).gone(1),
            |s| s.writes(&[resumed(1, 2, 2), told_back(2, 1)]),
            |s| s.writes(&[resumed(1, 2, 2), told_back(2, 2)]),
        ),
        tale(
            Rate,
            "session 1 is told that turn 1 goes on, and None is to be told",
            |s| cut(s).dies().serves(2).gone(1),
            |s| s.writes(&[resumed(1, 2, 2)]),
            |s| s.writes(&[resumed(1, 2, 2), told_back(1, 1)]),
        ),
        tale(
            Loop,
            "turn 2 is resumed by itself after 3 deaths in a row",
            |s| {
                s.works().writes(&[prompt(2, 2), opened(2, 2, &[2])]).starts(2, 2).gone(2).dies();
                s.serves(2).dies().serves(3).dies().serves(4).gone(1).gone(2).writes(&[resumed(2, 2, 4)])
            },
            // A turn that fails has come to its end; one that is set aside has not, nor one whose messages went back.
            |s| s.writes(&[ended(1, Failed)]).start(2, 2, 2, Some(Resume::Crash)),
            |s| s.writes(&[ended(1, Quarantined)]).start(2, 2, 2, Some(Resume::Crash)),
        ),
        tale(
            Loop,
            "turn 1 is resumed by itself after 3 deaths in a row",
            // One that brought something to its end began a new count.
            |s| s.works().dies().serves(2).gone(1).writes(&[prompt(2, 2), opened(2, 2, &[2])]),
            |s| {
                s.writes(&[replies(1, 2), ended(2, Answered)]).dies().serves(3).dies().serves(4).dies();
                s.charges(5, 2).resumes(2, Resume::Crash)
            },
            |s| {
                s.dies().serves(3).dies();
                s.charges(4, 2).resumes(2, Resume::Crash)
            },
        ),
    ]
}
