//! Tales of requests and of agents' questions.

use super::records::*;
use super::seen::Seen;
use super::{Tale, tale};
use evergate_core::id::GenerationId;
use evergate_core::invariant::Invariant::*;
use evergate_core::request::{Origin, Outcome, Wish};
use evergate_core::turn::Conclusion::Failed;

const CANCELLED: Outcome = Outcome::Cancelled;
/// The next generation serves.
const RESTARTED: Outcome = Outcome::Restarted { generation: GenerationId(2) };

fn serves(seen: &mut Seen) -> &mut Seen {
    seen.serves(1)
}

/// The chat of session 1 has asked for a restart.
fn asked_in_chat(seen: &mut Seen) -> &mut Seen {
    seen.serves(1).writes(&[chat_restart(1)])
}

pub fn tales() -> Vec<Tale> {
    vec![
        tale(
            Once,
            "request 1 is made again after its outcome",
            |s| s.serves(1).writes(&[restart(1)]).writes(&[settled(1, CANCELLED)]),
            |s| s.writes(&[restart(2)]),
            |s| s.writes(&[restart(1)]),
        ),
        tale(
            Once,
            "request 1 has ended one generation and is carried out by generation 2 again",
            |s| s.serves(1).writes(&[restart(1), stop(2)]),
            // It may be sharpened; and a stop that a reviver has undone is carried out by the next.
            |s| s.writes(&[restart(1)]).dies().serves(2).writes(&[wished(2, Wish::Stop, Origin::Cli, 2)]),
            |s| s.dies().serves(2).writes(&[wished(1, Wish::Restart, Origin::Cli, 2)]),
        ),
        tale(
            Once,
            "request 1 resets the loop breaker again",
            |s| s.serves(1).writes(&[vouched(1, 1)]),
            |s| s.writes(&[vouched(2, 1)]),
            |s| s.writes(&[vouched(1, 1)]),
        ),
        tale(
            Once,
            "request 1 has another outcome, Cancelled",
            |s| s.serves(1).writes(&[restart(1), restart(2)]).writes(&[settled(1, CANCELLED)]),
            |s| s.writes(&[settled(2, CANCELLED)]),
            |s| s.writes(&[settled(1, CANCELLED)]),
        ),
        tale(
            Ready,
            "request 1 of generation 1 is done in generation 1, ready: true",
            |s| s.serves(1).writes(&[restart(1)]),
            |s| s.dies().serves(2).writes(&[settled(1, RESTARTED)]),
            |s| s.writes(&[settled(1, Outcome::Restarted { generation: GenerationId(1) })]),
        ),
        tale(
            Ready,
            "request 1 of generation 1 is done in generation 2, ready: false",
            |s| s.serves(1).writes(&[restart(1)]).dies(),
            |s| s.serves(2).writes(&[settled(1, RESTARTED)]),
            |s| s.boots(2).writes(&[died(1), begun(2)]).writes(&[settled(1, RESTARTED)]),
        ),
        tale(
            Ready,
            "request 1 of generation 1 is done in generation 3, ready: true",
            |s| s.serves(1).writes(&[restart(1)]).dies().serves(2),
            |s| s.writes(&[settled(1, RESTARTED)]),
            |s| s.writes(&[settled(1, Outcome::Restarted { generation: GenerationId(3) })]),
        ),
        tale(
            Notice,
            "session 1 is not told how request 1 ended",
            asked_in_chat,
            |s| s.writes(&[settled(1, CANCELLED), told_outcome(1, 1, CANCELLED)]),
            |s| s.writes(&[settled(1, CANCELLED)]),
        ),
        tale(
            Notice,
            "session 2 is told how request 1 ended, and Some(SessionId(1)) asked",
            asked_in_chat,
            |s| s.writes(&[settled(1, CANCELLED), told_outcome(1, 1, CANCELLED)]),
            |s| s.writes(&[settled(1, CANCELLED), told_outcome(1, 2, CANCELLED)]),
        ),
        tale(
            Notice,
            "session 1 is told how request 1 ended, and None asked",
            |s| s.serves(1).writes(&[restart(1)]),
            |s| s.writes(&[settled(1, CANCELLED)]),
            |s| s.writes(&[settled(1, CANCELLED), told_outcome(1, 1, CANCELLED)]),
        ),
        tale(
            Rate,
            "session 1 is told how request 1 ended, and Some(SessionId(2)) that it was accepted",
            asked_in_chat,
            |s| s.writes(&[told_accepted(1, 1)]).writes(&[settled(1, CANCELLED), told_outcome(2, 1, CANCELLED)]),
            |s| s.writes(&[told_accepted(1, 2)]).writes(&[settled(1, CANCELLED), told_outcome(2, 1, CANCELLED)]),
        ),
        tale(
            Rate,
            "session 1 is told again that request 1 is accepted",
            asked_in_chat,
            |s| s.writes(&[told_accepted(1, 1)]),
            |s| s.writes(&[told_accepted(1, 1)]).dies().serves(2).writes(&[told_accepted(2, 1)]),
        ),
        tale(
            Rate,
            "session 1 is told again that request 1 is accepted",
            |s| asked_in_chat(s).writes(&[settled(1, CANCELLED), told_outcome(1, 1, CANCELLED)]),
            |s| s.writes(&[help(2, 1)]),
            |s| s.writes(&[told_accepted(2, 1)]),
        ),
        tale(
            Intent,
            "a revived generation serves although a stop was asked for",
            |s| s.serves(1).writes(&[stop(1)]).dies().revives(2).writes(&[died(1), begun(2)]),
            |s| s.writes(&[settled(1, CANCELLED)]).opens_its_platforms(),
            |s| s.writes(&[settled(1, Outcome::Stopped)]).opens_its_platforms(),
        ),
        tale(Once, "request 1 has no outcome", serves, |s| s.rests(), |s| s.writes(&[restart(1)]).rests()),
    ]
}

/// Turn 1 has asked its chat, as question 1 about matter 1.
fn has_asked(seen: &mut Seen) -> &mut Seen {
    seen.works().writes(&[questioned(1, 1, 1), asks(1, 1)])
}

pub fn tales_of_questions() -> Vec<Tale> {
    let again = "question 2 of turn 1 is asked again, or by a turn that is not open";
    let decided_again = "question 1 of turn 1 is decided again, or was never asked: Allowed";
    vec![
        tale(
            Consent,
            "question 1 is asked after question 1",
            has_asked,
            |s| s.writes(&[questioned(2, 1, 2), asks(2, 2)]),
            |s| s.writes(&[questioned(1, 1, 2), asks(2, 1)]),
        ),
        tale(
            Consent,
            "question 2 is asked after question 3",
            |s| s.works().writes(&[questioned(3, 1, 1), asks(1, 3)]),
            |s| s.writes(&[questioned(4, 1, 2), asks(2, 4)]),
            |s| s.writes(&[questioned(2, 1, 2), asks(2, 2)]),
        ),
        tale(
            Consent,
            again,
            |s| has_asked(s).writes(&[prompt(2, 2), opened(2, 2, &[2])]),
            // Another turn may ask the same.
            |s| s.writes(&[questioned(2, 2, 1), asks(2, 2)]),
            |s| s.writes(&[questioned(2, 1, 1), asks(2, 2)]),
        ),
        tale(
            Consent,
            again,
            |s| has_asked(s),
            |s| s.writes(&[questioned(2, 1, 2), asks(2, 2)]),
            |s| s.writes(&[closed(1), ended(1, Failed)]).writes(&[questioned(2, 1, 2), asks(2, 2)]),
        ),
        tale(
            Consent,
            decided_again,
            has_asked,
            |s| s.writes(&[decided(1, 1)]),
            |s| s.writes(&[decided(1, 1), decided(1, 1)]),
        ),
        tale(
            Consent,
            decided_again,
            |s| s.works(),
            |s| s.writes(&[questioned(1, 1, 1), asks(1, 1)]).writes(&[decided(1, 1)]),
            |s| s.writes(&[decided(1, 1)]),
        ),
        tale(
            Consent,
            "question 1 of turn 2 is decided again, or was never asked: Allowed",
            |s| has_asked(s).writes(&[prompt(2, 2), opened(2, 2, &[2])]),
            |s| s.writes(&[decided(1, 1)]),
            |s| s.writes(&[decided(1, 2)]),
        ),
        tale(
            Consent,
            "question 1 is closed and was not asked",
            has_asked,
            |s| s.writes(&[closed(1)]),
            |s| s.writes(&[closed(1)]).writes(&[closed(1)]),
        ),
        tale(
            Consent,
            "question 1 is on disk and nobody is asked",
            |s| s.works(),
            |s| s.writes(&[questioned(1, 1, 1), asks(1, 1)]),
            |s| s.writes(&[questioned(1, 1, 1)]),
        ),
        tale(
            Rate,
            "session 1 is asked question 1 again",
            has_asked,
            |s| s.writes(&[help(2, 1)]),
            |s| s.dies().serves(2).writes(&[asks(2, 1)]),
        ),
        tale(
            Hygiene,
            "turn 1 ends and leaves Some(QuestionId(1)) behind",
            has_asked,
            |s| s.writes(&[closed(1), ended(1, Failed)]),
            |s| s.writes(&[ended(1, Failed)]),
        ),
        tale(
            Hygiene,
            "turn 1 ends and leaves Some(QuestionId(1)) behind",
            |s| has_asked(s).writes(&[prompt(2, 2), opened(2, 2, &[2])]),
            |s| s.writes(&[ended(2, Failed)]),
            |s| s.writes(&[ended(1, Failed)]),
        ),
    ]
}
