//! The checker checked: every known flaw is found, by the rule that it breaks and on a shortest way; and where there is no
//! flaw nothing is found. The numbers are what an exhaustive search gives: whoever changes them has changed the world,
//! the rules or the naive machine, and says why.

use evergate_core::invariant::Invariant;
use evergate_sim::explore;
use evergate_sim::naive::flaw::Flaw;
use evergate_sim::naive::{hunt, room};
use std::collections::BTreeSet;

/// The steps of a shortest way to each flaw.
const STEPS: [(&str, usize); 55] = [
    ("self-wait", 6),
    ("clean-exit", 5),
    ("marked-after-timeout", 5),
    ("stop-cancels-restart", 4),
    ("status-decided-last", 9),
    ("frozen-loop", 2),
    ("ack-before-sync", 4),
    ("acked-whatever-happens", 5),
    ("queue-forgotten", 17),
    ("held-forgotten", 13),
    ("sent-before-owed", 6),
    ("ended-when-sent", 7),
    ("failed-send-forgotten", 8),
    ("sent-before-tried", 7),
    ("repeated-silently", 11),
    ("force-drops-replies", 9),
    ("restart-never-confirmed", 9),
    ("redelivery-runs-again", 8),
    ("only-first-is-answered", 9),
    ("deferred-for-ever", 5),
    ("resumed-for-ever", 20),
    ("counted-at-orderly-end", 15),
    ("ready-counts-as-proof", 13),
    ("admission-stays-open", 11),
    ("admission-stays-closed", 7),
    ("stale-lock", 3),
    ("generation-reused", 6),
    ("outcome-notice-lost", 11),
    ("notice-at-each-start", 9),
    ("tells-every-chat", 7),
    ("down-never-back", 16),
    ("back-at-each-start", 10),
    ("stop-undone", 7),
    ("stop-forgotten", 8),
    ("force-waits", 4),
    ("orphans-ignored", 10),
    ("sends-uncounted", 7),
    ("stale-snapshot", 9),
    ("always-planned", 10),
    ("own-budget-only", 2),
    ("death-unrecorded", 4),
    ("status-stays-serving", 4),
    ("works-on-after-end", 10),
    ("done-on-request", 5),
    ("ready-before-channels", 1),
    ("told-before-decided", 8),
    ("asked-again", 14),
    ("waits-for-people", 8),
    ("collected-again", 12),
    ("only-last-is-kept", 10),
    ("kills-by-number", 12),
    ("any-generation-counts", 5),
    ("starts-beside", 8),
    ("counts-on-the-dead", 6),
    ("error-uncaught", 6),
];

/// The states and edges of each room.
const ROOMS: [(&str, usize, usize); 22] = [
    ("talk", 626, 1_052),
    ("queued", 2_890, 6_123),
    ("bad-disk", 72, 113),
    ("bad-network", 72, 107),
    ("blind", 273, 392),
    ("redelivered", 216, 403),
    ("asked", 15_692, 30_496),
    ("slow", 318, 464),
    ("taken-back", 204, 329),
    ("in-place", 548, 846),
    ("chatted", 7_733, 12_334),
    ("forced", 4_101, 7_074),
    ("stopped", 18_853, 37_361),
    ("terminated", 2_822, 4_745),
    ("crowded", 1_267, 2_029),
    ("deadly", 11_064, 24_119),
    ("held", 21_563, 46_830),
    ("frozen", 1_368, 2_541),
    ("questioned", 93_230, 184_245),
    ("collected", 4_771, 9_063),
    ("climbed", 27_513, 82_656),
    ("orphaned", 59, 98),
];

#[test]
fn each_known_flaw_is_found_on_a_shortest_way_by_the_rule_that_it_breaks() {
    let findings = hunt::hunt(2);
    for finding in &findings {
        assert!(finding.is_as_expected(), "{}: {:?}", finding.flaw.name, finding.found);
    }
    let found: Vec<(&str, usize)> = findings.iter().map(|finding| (finding.flaw.name, finding.way.len())).collect();
    assert_eq!(found, STEPS);
    for (alone, together) in hunt::hunt(1).iter().zip(&findings) {
        assert_eq!(alone.way, together.way, "{}: the way depends on the number of threads", alone.flaw.name);
    }
}

#[test]
fn without_flaws_nothing_is_found_in_any_room() {
    let rooms = hunt::flawless(2);
    for (room, explored) in &rooms {
        assert!(explored.found.is_none() && explored.cut.is_none(), "{}: {:?}", room.name, explored.found);
    }
    let sizes: Vec<(&str, usize, usize)> =
        rooms.iter().map(|(room, explored)| (room.name, explored.states, explored.edges)).collect();
    assert_eq!(sizes, ROOMS);
}

#[test]
fn each_rule_is_broken_by_some_flaw_and_each_room_is_used() {
    let broken: BTreeSet<&str> = Flaw::TABLE.iter().map(|row| row.breaks).collect();
    let unbroken: Vec<&Invariant> = Invariant::ALL.iter().filter(|rule| !broken.contains(rule.name())).collect();
    assert_eq!(unbroken, [] as [&Invariant; 0], "nothing shows that these rules can fail");
    for room in room::ALL {
        assert!(Flaw::TABLE.iter().any(|row| std::ptr::eq(row.room, *room)), "no flaw is looked for in {}", room.name);
    }
}

#[test]
fn names_tell_flaws_apart() {
    let names: BTreeSet<&str> = Flaw::TABLE.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), Flaw::TABLE.len());
    assert!(Flaw::TABLE.iter().all(|row| row.flaw.row().name == row.name && !row.seen_in.is_empty()));
}

/// The clock of a world is put back where nobody is left who has looked at it; what is told of it goes on.
#[test]
fn a_story_goes_on_in_time_behind_a_death() {
    let mut behind_deaths = 0;
    for finding in hunt::hunt(2) {
        let (row, broken) = (finding.flaw, finding.found.expect("each flaw is found"));
        let (_, story) = explore::trace(&format!("naive:{}", row.name), &row.room.to_explore(), &broken, &finding.way);
        let times: Vec<u64> = story.moments.iter().map(|moment| moment.at_ms).collect();
        assert!(times.is_sorted(), "{}: {times:?}", row.name);
        let begins = story.moments.iter().find(|moment| moment.generation > 1).map(|moment| moment.at_ms);
        behind_deaths += u32::from(begins.is_some_and(|at| at > 0));
    }
    assert!(behind_deaths > 0, "no story has a second generation that begins later than the first");
}
