//! The table of ends, the pauses, the counts and the watch of a supervisor.

use super::*;
use std::collections::BTreeSet;

#[test]
fn no_two_reasons_read_alike_and_none_is_silent() {
    use Reason::{Crash, KilledAtLimit, NeverServed, Park, Restart, Silent, Stop, StopWanted, Wanted};
    let sentences: BTreeSet<&str> =
        [Restart, Crash, Stop, Park, StopWanted, KilledAtLimit, Silent, NeverServed, Wanted]
            .map(Reason::sentence)
            .into();
    assert_eq!(sentences.len(), 9);
    assert!(sentences.iter().all(|sentence| sentence.contains(' ')), "{sentences:?}");
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

/// Lives a child from one time to another; gives what follows.
fn lives(respawn: &mut Respawn, (from, to): (u64, u64), ended: ChildEnd) -> Next {
    respawn.started(at(from));
    respawn.ended(at(to), ended).next
}

#[test]
fn children_that_die_before_they_serve_are_started_so_often_and_then_parked_whatever_they_die_of() {
    let ends = [ChildEnd::Signalled(9), ChildEnd::Exited(1), ChildEnd::NeverStarted, ChildEnd::Exited(RESTART)];
    let mut respawn = Respawn::new(KILL_LIMIT).giving_up_after(4);
    for (index, ended) in ends.into_iter().enumerate() {
        let ms = index as u64 * 100;
        let next = lives(&mut respawn, (ms, ms), ended);
        assert_eq!(next == Next::End { status: PARK }, index == 3, "{ended:?}: {next:?}");
    }
    assert_eq!(respawn.unserved(), 4);
}

#[test]
fn one_that_served_or_cannot_say_so_begins_the_count_anew() {
    let minute = 60_000;
    let mut respawn = Respawn::new(KILL_LIMIT).watching(Duration::from_secs(1)).giving_up_after(2);
    for round in 0..5 {
        let ms = round * 4 * minute;
        lives(&mut respawn, (ms, ms), ChildEnd::Signalled(9));
        let next = match round % 2 {
            0 => {
                respawn.started(at(ms));
                respawn.serves();
                respawn.ended(at(ms + 1), ChildEnd::Signalled(9)).next
            }
            _ => lives(&mut respawn, (ms, ms + minute), ChildEnd::Signalled(9)),
        };
        assert!(matches!(next, Next::Start { .. }), "{round}");
        assert_eq!(respawn.unserved(), 0);
    }
    // One that is heard for long and never served is no better than one that dies at once.
    lives(&mut respawn, (0, 0), ChildEnd::Signalled(9));
    respawn.started(at(0));
    respawn.heard(at(1));
    assert_eq!(respawn.ended(at(minute), ChildEnd::Exited(75 - 1)).next, Next::End { status: PARK });
}

#[test]
fn one_that_stops_in_order_is_no_death_however_early_and_one_that_was_killed_is_one_whatever_it_left_with() {
    let stopped = |killed: bool| {
        let mut respawn = Respawn::new(KILL_LIMIT).watching(Duration::from_secs(1)).giving_up_after(1);
        respawn.started(at(0));
        respawn.heard(at(1));
        assert!(!killed || respawn.kill(at(1_001)) == Some(Kill::Silent));
        respawn.ended(at(1_002), ChildEnd::Exited(0))
    };
    assert_eq!(stopped(false), end(0, Reason::Stop));
    assert_eq!(stopped(true), end(PARK, Reason::NeverServed));
}

fn start(ms: u64, revivals: u32, reason: Reason) -> Decision {
    Decision { next: Next::Start { at: at(ms), revivals }, reason }
}

#[test]
fn each_end_has_its_answer_with_and_without_a_wish_to_stop() {
    use ChildEnd::{Exited, NeverStarted, Signalled};
    use Reason::{Crash, Park, Restart, StopWanted};
    let crash = start(1100, 1, Crash);
    let table = [
        (Exited(0), end(0, Reason::Stop), end(0, StopWanted)),
        (Exited(75), start(1000, 0, Restart), end(0, StopWanted)),
        (Exited(78), end(78, Park), end(78, Park)),
        (Exited(1), crash, end(0, StopWanted)),
        (Exited(74), crash, end(0, StopWanted)),
        (Exited(76), crash, end(0, StopWanted)),
        (Exited(255), crash, end(0, StopWanted)),
        (Signalled(9), crash, end(0, StopWanted)),
        (Signalled(15), crash, end(0, StopWanted)),
        (Signalled(75), crash, end(0, StopWanted)),
        (NeverStarted, start(1100, 0, Crash), end(0, StopWanted)),
    ];
    for (ended, undisturbed, stopping) in table {
        let mut respawn = Respawn::new(KILL_LIMIT);
        respawn.started(at(0));
        respawn.serves();
        assert_eq!(respawn.ended(at(1000), ended), undisturbed, "{ended:?}");

        let mut respawn = Respawn::new(KILL_LIMIT);
        respawn.started(at(0));
        assert_eq!(respawn.stop_wanted(at(500)), None);
        assert_eq!(respawn.ended(at(1000), ended), stopping, "{ended:?} while stopping");
    }
}

#[test]
fn pauses_double_to_thirty_seconds_and_begin_anew_after_a_healthy_life() {
    let mut respawn = Respawn::new(KILL_LIMIT);
    let mut now = at(0);
    let mut crash_after = |lived_ms: u64| {
        respawn.started(now);
        let ended_at = now + Duration::from_millis(lived_ms);
        let Next::Start { at, revivals: 1.. } = respawn.ended(ended_at, ChildEnd::Signalled(11)).next else {
            panic!("a crash is revived");
        };
        now = at;
        (at - ended_at).as_millis()
    };
    let pauses: Vec<u128> = (0..11).map(|_| crash_after(9_999)).collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    assert_eq!(crash_after(10_000), 100);
    assert_eq!(crash_after(0), 200);
}

#[test]
fn a_planned_restart_waits_for_nothing_and_leaves_the_pauses_alone() {
    let mut respawn = Respawn::new(KILL_LIMIT);
    respawn.started(at(0));
    assert_eq!(respawn.ended(at(0), ChildEnd::Exited(1)), start(100, 1, Reason::Crash));
    respawn.started(at(100));
    respawn.serves();
    assert_eq!(respawn.ended(at(150), ChildEnd::Exited(75)), start(150, 0, Reason::Restart));
    respawn.started(at(150));
    assert_eq!(respawn.ended(at(200), ChildEnd::Exited(1)), start(400, 1, Reason::Crash));
    respawn.started(at(400));
    let watchdog = respawn.ended(at(450), ChildEnd::Exited(75));
    assert_eq!(watchdog, start(450, 2, Reason::Restart), "nobody wanted that of one that never served");
}

#[test]
fn a_start_that_fails_keeps_what_the_start_was_for() {
    let mut respawn = Respawn::new(KILL_LIMIT);
    respawn.started(at(0));
    respawn.ended(at(0), ChildEnd::Exited(1));
    assert_eq!(respawn.ended(at(100), ChildEnd::NeverStarted), start(300, 1, Reason::Crash));
    respawn.started(at(300));
    respawn.serves();
    respawn.ended(at(400), ChildEnd::Exited(75));
    assert_eq!(respawn.ended(at(400), ChildEnd::NeverStarted), start(800, 0, Reason::Crash));
}

#[test]
fn a_stop_wanted_between_two_children_ends_at_once() {
    let mut respawn = Respawn::new(KILL_LIMIT);
    respawn.started(at(0));
    respawn.ended(at(0), ChildEnd::Exited(1));
    assert_eq!(respawn.stop_wanted(at(50)), Some(end(0, Reason::StopWanted)));
    let mut respawn = Respawn::new(KILL_LIMIT);
    assert_eq!(respawn.stop_wanted(at(0)), Some(end(0, Reason::StopWanted)));
}

#[test]
fn the_kill_limit_counts_from_the_first_wish_and_a_kill_still_ends_with_zero() {
    let mut respawn = Respawn::new(KILL_LIMIT);
    respawn.started(at(0));
    assert_eq!(respawn.kill_at(), None);
    respawn.stop_wanted(at(1000));
    respawn.stop_wanted(at(5000));
    assert_eq!(respawn.kill_at(), Some(at(91_000)));
    assert_eq!(respawn.kill(at(90_999)), None, "not yet");
    assert_eq!(respawn.kill(at(91_000)), Some(Kill::Limit));
    assert_eq!(respawn.kill_at(), None);
    respawn.stop_wanted(at(92_000));
    assert_eq!(respawn.kill_at(), None, "it is killed once");
    assert_eq!(respawn.ended(at(92_000), ChildEnd::Signalled(9)), end(0, Reason::KilledAtLimit));
}

#[test]
fn a_child_that_was_heard_and_is_not_heard_again_is_killed_and_started_at_once() {
    let mut respawn = Respawn::new(KILL_LIMIT).watching(Duration::from_secs(5));
    respawn.started(at(0));
    assert_eq!(respawn.kill_at(), None, "nothing is expected of one that never said anything");
    respawn.heard(at(1_000));
    respawn.heard(at(2_000));
    assert_eq!(respawn.kill_at(), Some(at(7_000)));
    assert_eq!(respawn.kill(at(6_999)), None);
    assert_eq!(respawn.kill(at(7_000)), Some(Kill::Silent));
    assert_eq!((respawn.kill_at(), respawn.kill(at(7_500))), (None, None), "once");
    respawn.heard(at(7_600));
    assert_eq!(respawn.ended(at(8_000), ChildEnd::Signalled(9)), start(8_000, 1, Reason::Silent));
    respawn.started(at(8_000));
    assert_eq!(respawn.kill_at(), None, "the next one begins anew");
}

#[test]
fn who_comes_late_was_not_there_to_hear_the_child() {
    let mut respawn = Respawn::new(KILL_LIMIT).watching(Duration::from_secs(5));
    respawn.started(at(0));
    respawn.heard(at(0));
    assert_eq!(respawn.kill(at(3_600_000)), None);
    assert_eq!(respawn.kill_at(), Some(at(3_605_000)));
    assert_eq!(respawn.kill(at(3_605_000)), Some(Kill::Silent));
}

#[test]
fn a_silent_child_that_was_to_stop_is_not_started_again() {
    let mut respawn = Respawn::new(KILL_LIMIT).watching(Duration::from_secs(5));
    respawn.started(at(0));
    respawn.heard(at(0));
    assert_eq!(respawn.stop_wanted(at(1_000)), None);
    assert_eq!(respawn.kill(at(5_000)), Some(Kill::Silent));
    assert_eq!(respawn.ended(at(5_001), ChildEnd::Signalled(9)), end(0, Reason::StopWanted));
}

#[test]
fn a_start_that_somebody_wants_ends_the_pause_and_begins_the_pauses_anew() {
    let mut respawn = Respawn::new(KILL_LIMIT);
    assert_eq!(lives(&mut respawn, (0, 1), ChildEnd::Signalled(9)), Next::Start { at: at(101), revivals: 1 });
    assert_eq!(lives(&mut respawn, (101, 102), ChildEnd::Signalled(9)), Next::Start { at: at(302), revivals: 2 });
    assert_eq!(respawn.start_wanted(at(110)), Some(start(110, 0, Reason::Wanted)));
    respawn.started(at(110));
    assert_eq!(respawn.start_wanted(at(111)), None, "it runs");
    assert_eq!(respawn.ended(at(112), ChildEnd::Signalled(9)), start(212, 1, Reason::Crash));
}
