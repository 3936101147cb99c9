//! Tales of what is owed to chats, and sent.

use super::records::*;
use super::seen::Seen;
use super::{Tale, tale};
use evergate_core::id::DeliveryId;
use evergate_core::input::Input;
use evergate_core::invariant::Invariant::*;
use evergate_core::outbox::{Fate, Repeat};
use evergate_core::turn::Conclusion;

fn serves(seen: &mut Seen) -> &mut Seen {
    seen.serves(1)
}

fn owes(seen: &mut Seen) -> &mut Seen {
    seen.serves(1).writes(&[help(1, 1)])
}

pub fn tales() -> Vec<Tale> {
    let twice = "delivery 1 is sent off twice at once, or nobody was handed it";
    let struck = "delivery 1 is struck off, and its platform has neither taken nor rejected it";
    vec![
        tale(
            Reply,
            struck,
            |s| owes(s).sends(1, 1),
            |s| s.sent().appends(struck_off(1, Fate::Sent)),
            |s| s.appends(struck_off(1, Fate::Sent)),
        ),
        tale(
            Reply,
            struck,
            |s| owes(s).sends(1, 1),
            |s| s.hears(Input::DeliveryRejected { delivery: DeliveryId(1) }).appends(struck_off(1, Fate::Rejected)),
            |s| s.failed().appends(struck_off(1, Fate::Rejected)),
        ),
        tale(
            Reply,
            struck,
            |s| owes(s).sends_blindly(1),
            |s| s.sends_blindly(2).appends(struck_off(1, Fate::Unknown)),
            |s| s.appends(struck_off(1, Fate::Unknown)),
        ),
        tale(
            Reply,
            struck,
            |s| owes(s).drops_uncertain(),
            |s| s.sends_blindly(1).appends(struck_off(1, Fate::Unknown)),
            |s| s.appends(struck_off(1, Fate::Unknown)),
        ),
        tale(
            Reply,
            "delivery 2 is sent before Some(DeliveryId(1))",
            |s| s.serves(1).writes(&[help(1, 1), help(2, 1), help(3, 2)]),
            |s| s.sends(1, 1).sends(3, 2),
            |s| s.sends(2, 1),
        ),
        tale(
            Reply,
            "delivery 1 is repeated, and may not be",
            |s| owes(s).sends_blindly(1),
            |s| s.sends(1, 1),
            |s| s.drops_uncertain().sends(1, 1),
        ),
        tale(
            Reply,
            "delivery 1 is repeated, and may not be",
            |s| owes(s).sends_blindly(1),
            |s| s.dies().serves(2).sends(1, 1),
            |s| s.sends_blindly(2).sends(1, 1),
        ),
        tale(
            Reply,
            "delivery 1 is repeated, and may not be",
            // What was about to be sent when the process died may have arrived.
            |s| owes(s).drops_uncertain().sends(1, 1).writes(&[tried(1, 1)]),
            |s| s.failed().writes(&[missed(1, 0)]).dies().serves(2).sends(1, 1),
            |s| s.dies().serves(2).sends(1, 1),
        ),
        tale(Reply, "delivery 1 is sent and not owed on disk", serves, |s| owes_more(s).sends(1, 1), |s| s.sends(1, 1)),
        tale(
            Reply,
            "delivery 1 is sent twice at once, or to another chat",
            owes,
            |s| s.sends(1, 1).failed().sends(1, 1).unknown().sends(1, 1),
            |s| s.sends(1, 1).sends(1, 1),
        ),
        tale(
            Reply,
            "delivery 1 is sent twice at once, or to another chat",
            owes,
            |s| s.sends(1, 1).dies().serves(2).sends(1, 1),
            |s| s.sends(1, 2),
        ),
        tale(
            Reply,
            "delivery 1 is sent off and not owed on disk",
            serves,
            |s| owes_more(s).sends(1, 1).writes(&[tried(1, 1)]).transmits(Repeat::No),
            |s| s.transmits(Repeat::No),
        ),
        tale(
            Reply,
            "delivery 1 is sent off before that is on disk",
            |s| owes(s).sends(1, 1),
            |s| s.writes(&[tried(1, 1)]).transmits(Repeat::No),
            |s| s.transmits(Repeat::No),
        ),
        tale(
            Reply,
            "delivery 1 is sent off before that is on disk",
            |s| owes(s).sends(1, 1).writes(&[tried(1, 1)]).transmits(Repeat::No).failed(),
            |s| s.writes(&[missed(1, 0)]).sends(1, 1).writes(&[tried(1, 1)]).transmits(Repeat::No),
            |s| s.writes(&[missed(1, 0)]).sends(1, 1).transmits(Repeat::No),
        ),
        tale(
            Reply,
            "delivery 1 is sent off before that is on disk",
            |s| owes(s).sends_blindly(1).sends(1, 1),
            |s| s.writes(&[tried(1, 2)]).transmits(Repeat::Possible),
            |s| s.transmits(Repeat::Possible),
        ),
        tale(
            Reply,
            twice,
            |s| owes(s).writes(&[tried(1, 1)]),
            |s| s.sends(1, 1).transmits(Repeat::No),
            |s| s.transmits(Repeat::No),
        ),
        tale(
            Reply,
            twice,
            |s| owes(s).sends(1, 1).writes(&[tried(1, 1)]),
            |s| s.transmits(Repeat::No),
            |s| s.transmits(Repeat::No).transmits(Repeat::No),
        ),
        tale(
            Reply,
            twice,
            |s| owes(s).sends(1, 1).writes(&[tried(1, 1)]),
            |s| s.transmits(Repeat::No),
            |s| s.transmits_in(2, Repeat::No),
        ),
        tale(
            Reply,
            "delivery 1 is sent off as Possible, and 0 sends of it may have arrived",
            |s| owes(s).sends(1, 1).writes(&[tried(1, 1)]),
            |s| s.transmits(Repeat::No),
            |s| s.transmits(Repeat::Possible),
        ),
        tale(
            Reply,
            "delivery 1 is sent off as No, and 1 sends of it may have arrived",
            |s| owes(s).sends_blindly(1).sends(1, 1).writes(&[tried(1, 2)]),
            |s| s.transmits(Repeat::Possible),
            |s| s.transmits(Repeat::No),
        ),
    ]
}

fn owes_more(seen: &mut Seen) -> &mut Seen {
    seen.writes(&[help(1, 1)])
}

/// Of the records alone.
pub fn tales_of_records() -> Vec<Tale> {
    vec![
        tale(
            Reply,
            "delivery 1 is settled and was not owed",
            serves,
            |s| s.writes(&[help(1, 1)]).writes(&[struck_off(1, Fate::Sent)]),
            |s| s.writes(&[struck_off(1, Fate::Sent)]),
        ),
        tale(
            Reply,
            "session 1 is not told that the answer of turn 1 may be missing",
            |s| s.works().writes(&answered()),
            |s| s.writes(&[struck_off(1, Fate::Unknown), may_be_missing(2)]),
            |s| s.writes(&[struck_off(1, Fate::Unknown)]),
        ),
        tale(
            Rate,
            "session 1 is told that the answer of turn 1 may be missing, and None misses it",
            |s| s.works().writes(&answered()).writes(&[help(2, 1)]),
            // Of a notice that may be missing nobody is told.
            |s| s.writes(&[struck_off(1, Fate::Sent)]).writes(&[struck_off(2, Fate::Unknown)]),
            |s| s.writes(&[struck_off(1, Fate::Rejected)]).writes(&[may_be_missing(3)]),
        ),
        tale(
            Reply,
            "delivery 1 is owed after delivery 1",
            owes,
            |s| s.writes(&[help(2, 1)]),
            |s| s.writes(&[help(1, 1)]),
        ),
        tale(
            Reply,
            "delivery 1 is owed after delivery 3",
            |s| s.serves(1).writes(&[help(3, 1)]),
            |s| s.writes(&[help(5, 1)]),
            |s| s.writes(&[help(1, 1)]),
        ),
        tale(
            Reply,
            "turn 1 replies again",
            |s| s.works(),
            |s| s.writes(&answered()),
            |s| s.writes(&[replies(1, 1), replies(2, 1), ended(1, Conclusion::Answered)]),
        ),
        tale(
            Reply,
            "turn 1 replies again",
            |s| s.works().writes(&answered()),
            |s| s.writes(&[help(2, 1)]),
            |s| s.writes(&[replies(2, 1)]),
        ),
        tale(
            Reply,
            "turn 1 has a reply on disk and has not ended",
            |s| s.works(),
            |s| s.writes(&answered()),
            |s| s.writes(&[replies(1, 1)]),
        ),
        tale(
            Reply,
            "turn 1 has answered and its reply is not on disk with that",
            |s| s.works(),
            |s| s.writes(&[ended(1, Conclusion::Failed)]),
            |s| s.writes(&[ended(1, Conclusion::Answered)]),
        ),
        tale(
            Reply,
            "delivery 1 is tried and not owed",
            owes,
            |s| s.writes(&[tried(1, 1)]),
            |s| s.writes(&[struck_off(1, Fate::Sent)]).writes(&[tried(1, 1)]),
        ),
        tale(
            Reply,
            "delivery 1 is tried for time 2, and 0 sends of it may have arrived",
            owes,
            // Of what came to the disk unseen only that is known.
            |s| {
                s.writes(&[tried(1, 1)]).witness.loses_sight();
                s.writes(&[tried(1, 3)])
            },
            |s| s.writes(&[tried(1, 2)]),
        ),
        tale(
            Reply,
            "delivery 1 is tried for time 1, and 1 sends of it may have arrived",
            |s| owes(s).sends(1, 1).writes(&[tried(1, 1)]),
            |s| s.transmits(Repeat::No).failed().sends(1, 1).writes(&[tried(1, 1)]),
            |s| s.transmits(Repeat::No).unknown().sends(1, 1).writes(&[tried(1, 1)]),
        ),
        tale(
            Reply,
            "delivery 2 was missed and is not owed",
            |s| owes(s).sends(1, 1).writes(&[tried(1, 1)]).transmits(Repeat::No).failed(),
            |s| s.writes(&[missed(1, 0)]),
            |s| s.writes(&[missed(2, 0)]),
        ),
        tale(
            Reply,
            "delivery 1 certainly did not arrive, it says, but 0 times, and Some(No) was sent",
            |s| owes(s).sends(1, 1).writes(&[tried(1, 1)]).transmits(Repeat::No),
            |s| s.failed().writes(&[missed(1, 0)]),
            |s| s.writes(&[missed(1, 0)]),
        ),
        tale(
            Reply,
            "delivery 1 certainly did not arrive, it says, but 1 times, and None was sent",
            |s| owes(s).sends_blindly(1),
            |s| s.writes(&[missed(1, 1)]),
            |s| s.writes(&[missed(1, 0)]),
        ),
    ]
}

/// Of what comes to the chats.
pub fn tales_of_arrivals() -> Vec<Tale> {
    let twice = "delivery 1 comes twice, and everybody knew of the first time, or the second was not marked as such";
    vec![
        tale(Reply, twice, |s| owes(s).sends(1, 1), |s| s.arrives(), |s| s.arrives().arrives()),
        tale(
            Reply,
            twice,
            |s| owes(s).sends(1, 1).arrives(),
            // That it arrived was heard by nobody.
            |s| s.dies().serves(2).sends(1, 1).arrives(),
            |s| s.sent().arrives(),
        ),
        tale(Reply, twice, |s| owes(s).sends(1, 1).arrives(), |s| s.failed().sends(1, 1).arrives(), |s| s.arrives()),
        tale(
            Reply,
            twice,
            |s| owes(s).sends(1, 1).writes(&[tried(1, 1)]).transmits(Repeat::No).arrives().unknown(),
            |s| s.sends(1, 1).writes(&[tried(1, 2)]).transmits(Repeat::Possible).arrives(),
            |s| s.arrives(),
        ),
        tale(
            Reply,
            twice,
            // One that certainly did not arrive, as its platform says, leaves nothing unknown.
            |s| owes(s).sends(1, 1).writes(&[tried(1, 1)]).transmits(Repeat::No),
            |s| s.failed().writes(&[missed(1, 0)]).sends(1, 1).arrives(),
            |s| s.failed().writes(&[missed(1, 0)]).sends(1, 1).arrives().arrives(),
        ),
    ]
}
