//! Tales of words about cut turns that were not heard: withdrawn when they are no longer true, and only then.

use super::records::*;
use super::seen::Seen;
use super::{Tale, tale};
use evergate_core::cut::Told;
use evergate_core::id::TurnId;
use evergate_core::invariant::Invariant::*;
use evergate_core::outbox::{Fate, Repeat};
use evergate_core::record::Record;

/// Turn 1 has been cut by an end, and delivery 1 is to say so.
fn owes_word(seen: &mut Seen) -> &mut Seen {
    seen.works().cut_again().writes(&[cut_told(), told_cut(1, 1)])
}

/// The same, and the next generation has written that it goes on, which delivery 2 is to say.
fn goes_on(seen: &mut Seen) -> &mut Seen {
    owes_word(seen).sends(1, 1).sent().writes(&[struck_off(1, Fate::Sent)]).leaves_in_order(1).charges_back(2, 2, 2)
}

fn unsaid(told: Told) -> Record {
    Record::TurnUnsaid { turn: TurnId(1), told }
}

/// Delivery 1 is withdrawn.
fn withdraws(seen: &mut Seen) -> &mut Seen {
    seen.writes(&[struck_off(1, Fate::Withdrawn), unsaid(Told::Nothing)])
}

fn ends(seen: &mut Seen) -> &mut Seen {
    seen.appends(died(1)).writes(&[died(1)])
}

pub fn tales() -> Vec<Tale> {
    let kept = "delivery 1 says that an end cuts a turn, and is still to be said when that is over";
    let struck = "delivery 1 is struck off, and its platform has neither taken nor rejected it";
    let no_word = "turn 1 is said to be told Nothing, and no word of it was withdrawn that says so";
    vec![
        tale(Notice, kept, owes_word, |s| ends(withdraws(s)), |s| ends(s)),
        // Nobody knows whether it has arrived, and its end is told as well.
        tale(Notice, kept, owes_word, |s| ends(s.sends(1, 1).failed()), |s| ends(s)),
        // What a blind platform lets go when the end is written already, to a disk that fails, is told after it.
        tale(
            Notice,
            kept,
            |s| owes_word(s).sends(1, 1).writes(&[tried(1, 1)]).transmits(Repeat::No),
            |s| ends(s.appends(died(1)).failed()),
            |s| ends(s.failed()),
        ),
        tale(
            Reply,
            struck,
            owes_word,
            |s| s.appends(struck_off(1, Fate::Withdrawn)),
            |s| s.sends(1, 1).appends(struck_off(1, Fate::Withdrawn)),
        ),
        tale(
            Reply,
            struck,
            owes_word,
            |s| s.appends(struck_off(1, Fate::Withdrawn)),
            |s| s.sends(1, 1).failed().appends(struck_off(1, Fate::Withdrawn)),
        ),
        tale(
            Reply,
            struck,
            owes_word,
            |s| s.appends(struck_off(1, Fate::Withdrawn)),
            // What a generation before was to say may have been sent.
            |s| s.leaves_in_order(1).serves(2).appends(struck_off(1, Fate::Withdrawn)),
        ),
        tale(
            Reply,
            struck,
            owes_word,
            |s| s.appends(struck_off(1, Fate::Withdrawn)),
            // Its platform has it, though that is not written.
            |s| s.sends(1, 1).sent().appends(struck_off(1, Fate::Withdrawn)),
        ),
        tale(
            Reply,
            struck,
            |s| s.serves(1).writes(&[help(1, 1)]),
            |s| s,
            |s| s.appends(struck_off(1, Fate::Withdrawn)),
        ),
        tale(Notice, no_word, owes_word, withdraws, |s| s.writes(&[unsaid(Told::Nothing)])),
        tale(
            Rate,
            "session 1 is told that turn 1 goes on, and None is to be told",
            |s| withdraws(owes_word(s)).leaves_in_order(1),
            |s| s.charges(2, 2),
            |s| s.charges_back(2, 2, 2),
        ),
        tale(
            Notice,
            "delivery 2 says that a turn goes on, which was not started",
            goes_on,
            |s| s.resumes(2, evergate_core::turn::Resume::Planned).sends(2, 1),
            |s| s.sends(2, 1),
        ),
        tale(
            Notice,
            "session 1 was told that turn 1 would go on, and is not told that it does",
            |s| {
                goes_on(s).writes(&[interrupted(1), struck_off(2, Fate::Withdrawn), unsaid(Told::GoingDown)]);
                s.leaves_in_order(2).serves(3).gone(1)
            },
            |s| s.writes(&[resumed(1, 3, 3), told_back(3, 1)]),
            |s| s.writes(&[resumed(1, 3, 3)]),
        ),
    ]
}
