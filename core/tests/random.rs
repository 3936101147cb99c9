//! Random lives: whatever happens, in whatever order, the rules of `world::checks` hold, and a healed world comes to rest.

mod world;

use evergate_core::cut::Told;
use evergate_core::drain::TurnFate;
use evergate_core::effect::Answer;
use evergate_core::gateway::Phase;
use evergate_core::id::{DeliveryId, RequestId, TurnId};
use evergate_core::input::{Asked, Input, TurnEnd};
use evergate_core::outbox::{Content, Notice};
use evergate_core::question::{QuestionKey, Ruling};
use evergate_core::record::{Record, Unfinished};
use evergate_core::recovery::Recovered;
use evergate_core::request::{Origin, Outcome};
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::turn::Conclusion;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;
use world::World;

/// Eight times as many as usual: one case takes less than a millisecond.
fn many_cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases * 8, failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(many_cases())]

    #[test]
    fn a_life_keeps_all_rules(choices in proptest::collection::vec(any::<u8>(), 0..250), contract in 0..Contract::TABLE.len()) {
        World::new(Contract::TABLE[contract].supervisor).live(&choices);
    }

    #[test]
    fn a_life_that_begins_in_service_keeps_all_rules(choices in proptest::collection::vec(any::<u8>(), 0..60), contract in 0..Contract::TABLE.len()) {
        World::serving(Contract::TABLE[contract].supervisor).live(&choices);
    }

    #[test]
    fn any_prefix_of_a_journal_boots_and_comes_to_rest_with_all_that_was_accepted(
        choices in proptest::collection::vec(any::<u8>(), 0..250), contract in 0..Contract::TABLE.len(), cut: Index,
    ) {
        let life = World::new(Contract::TABLE[contract].supervisor).live(&choices);
        let records = cut.index(life.journal.history.len() + 1);
        life.cut_back(records).heal();
    }

    #[test]
    fn rows_and_history_tell_the_same_after_each_record(choices in proptest::collection::vec(any::<u8>(), 0..250)) {
        let world = World::new(Supervisor::Evergate).live(&choices);
        let (mut history, mut rows) = (Recovered::default(), Unfinished::default());
        for record in &world.journal.history {
            history.apply(record);
            rows.absorb(record);
            prop_assert_eq!(&Recovered::from_unfinished(&rows), &history, "after {:?}", record);
        }
    }

    #[test]
    fn nonsense_changes_nothing_and_breaks_nothing(nonsense in proptest::collection::vec((0..15u8, 0..4u64), 0..40)) {
        let mut world = World::serving(Supervisor::Systemd);
        let said = world.say(1, Asked::Prompt);
        world.commit_all();
        for (kind, id) in nonsense {
            let id = id + 100;
            world.tell(match kind {
                0 => Input::TurnBegan { turn: TurnId(id) },
                1 => Input::TurnEnded { turn: TurnId(id), end: TurnEnd::Answered },
                2 => Input::TurnGone { turn: TurnId(id) },
                3 => Input::DeliverySent { delivery: DeliveryId(id) },
                4 => Input::DeliveryFailed { delivery: DeliveryId(id) },
                5 => Input::Cancel { request: RequestId(id) },
                6 => Input::SupervisorStops { request: RequestId(id) },
                7 => Input::SupervisorStays { request: RequestId(id) },
                8 => Input::CandidateFit { request: RequestId(id) },
                11 => Input::DeliveryIntended { delivery: DeliveryId(id) },
                12 => Input::DeliveryUnknown { delivery: DeliveryId(id) },
                10 => Input::ResetBreaker { request: RequestId(id), origin: Origin::Cli },
                13 => Input::Question { turn: TurnId(id), key: QuestionKey(id) },
                9 => Input::CandidateUnfit { request: RequestId(id) },
                _ => Input::Elapsed,
            });
        }
        prop_assert_eq!(world.up().phase(), Phase::Serving);
        world.heal();
        prop_assert_eq!(world.replies_to(said), 1);
    }
}

/// Random lives prove nothing about what they never meet: each of these must have happened in some of them.
#[test]
fn lives_meet_what_they_are_meant_to_try() {
    let mut seed = 1u64;
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for life in 0..1_500 {
        let choices: Vec<u8> = (0..250)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as u8
            })
            .collect();
        let world = World::serving(Contract::TABLE[life % Contract::TABLE.len()].supervisor).live(&choices);
        let outcomes = world.settled.values().map(|outcome| match outcome {
            Outcome::Restarted { .. } => "restarted",
            Outcome::Stopped => "stopped",
            Outcome::Overruled { .. } => "overruled",
            Outcome::Cancelled => "cancelled",
        });
        let answers = world.answers.iter().map(|(_, answer)| match answer {
            Answer::Accepted => "accepted",
            Answer::AlreadyDone(_) => "already done",
            Answer::Cancelled => "taken back",
            Answer::TooLate => "too late",
            Answer::Unknown => "unknown",
            Answer::Ending => "ending",
            Answer::StorageFull => "storage full",
            Answer::TooMany => "too many",
            Answer::Unfit(_) => "unfit",
            Answer::NotTripped => "not tripped",
        });
        let conclusions = world.journal.history.iter().filter_map(|record| match record {
            Record::TurnEnded { conclusion: Conclusion::Quarantined, .. } => Some("quarantined"),
            Record::TurnEnded { conclusion: Conclusion::Stopped, .. } => Some("turn stopped"),
            Record::TurnEnded { conclusion: Conclusion::Superseded, .. } => Some("gave way to a message"),
            Record::MessageReturned { .. } => Some("given back"),
            Record::TurnOpened { messages, .. } if messages.len() > 1 => Some("over several messages"),
            Record::TurnInterrupted { .. } => Some("planned interruption"),
            Record::TurnCutTold { .. } => Some("told of a cut"),
            Record::TurnUnsaid { told: Told::Nothing, .. } => Some("could not be told of a cut"),
            Record::TurnUnsaid { told: Told::GoingDown, .. } => Some("taken back before it went on"),
            Record::DeliveryOwed { content: Content::Notice(Notice::TurnBack { .. }), .. } => {
                Some("told that it is back")
            }
            Record::DeliveryTried { attempt: 1, .. } => Some("sent off blindly"),
            Record::DeliveryTried { .. } => Some("sent off again, perhaps a repeat"),
            Record::DeliveryMissed { .. } => Some("missed for certain"),
            Record::SessionReleased { .. } => Some("released"),
            Record::QuestionDecided { ruling: Ruling::Allowed, .. } => Some("allowed"),
            Record::QuestionDecided { ruling: Ruling::Denied, .. } => Some("denied"),
            Record::QuestionDecided { ruling: Ruling::Expired, .. } => Some("expired"),
            Record::GenerationEnded { verdict: None, .. } => Some("died without a word"),
            Record::GenerationEnded { report, .. } if report.turns.values().any(|fate| *fate == TurnFate::Killed) => {
                Some("killed")
            }
            _ => None,
        });
        let repeats = world.repeats.iter().map(|_| "arrived twice, marked");
        for mark in outcomes.chain(answers).chain(conclusions).chain(repeats) {
            *met.entry(mark).or_default() += 1;
        }
    }
    let wanted = [
        "restarted",
        "stopped",
        "overruled",
        "cancelled",
        "accepted",
        "taken back",
        "too late",
        "ending",
        "storage full",
        "unfit",
        "quarantined",
        "turn stopped",
        "planned interruption",
        "told of a cut",
        "told that it is back",
        "gave way to a message",
        "given back",
        "over several messages",
        "released",
        "allowed",
        "denied",
        "expired",
        "sent off blindly",
        "sent off again, perhaps a repeat",
        "missed for certain",
        "arrived twice, marked",
        "died without a word",
        "killed",
    ];
    for mark in wanted {
        assert!(met.get(mark).is_some_and(|times| *times >= 5), "{mark} in {met:#?}");
    }
}
