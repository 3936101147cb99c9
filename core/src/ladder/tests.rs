//! What is done when, past all that a look can show; of a restart and of a stop.

use super::*;
use proptest::prelude::*;

const LOOK: u64 = 100;

fn patience(mode: Mode) -> Patience {
    Patience::of(mode, StartsAgain::Always)
}

/// Climbs past what `world` shows at each time, and answers what was done when, looks aside.
fn climb(mode: Mode, wait: Option<Duration>, world: impl Fn(u64, &[Step]) -> Sight) -> Vec<(u64, Step)> {
    past(Ladder::new(patience(mode), Instant::from_millis(0), wait), world)
}

fn past(mut ladder: Ladder, world: impl Fn(u64, &[Step]) -> Sight) -> Vec<(u64, Step)> {
    let (mut done, mut steps) = (Vec::new(), Vec::new());
    for ms in (0..600_000).step_by(usize::try_from(LOOK).expect("small")) {
        let step = ladder.saw(Instant::from_millis(ms), world(ms, &steps));
        if step == Step::Terminate {
            ladder.told();
        }
        if step != Step::Look {
            steps.push(step);
            done.push((ms, step));
        }
        if matches!(step, Step::Done | Step::GiveUp(_)) {
            return done;
        }
    }
    panic!("it never ends: {done:?}");
}

#[test]
fn a_gateway_that_gets_on_is_left_to_its_own_deadlines() {
    let done = climb(Mode::Graceful, None, |ms, _| match ms {
        0..=40_000 => Sight::GettingOn,
        40_100..=41_000 => Sight::Gone,
        41_100..=42_000 => Sight::Next { ready: false },
        _ => Sight::Next { ready: true },
    });
    assert_eq!(done, [(42_100, Step::Done)]);
}

#[test]
fn one_that_was_asked_in_vain_and_gets_on_again_is_asked_once_more() {
    let mut ladder = Ladder::new(patience(Mode::Graceful), Instant::from_millis(0), None);
    let sees = |ladder: &mut Ladder, ms: u64, sight: Sight| ladder.saw(Instant::from_millis(ms), sight);
    assert_eq!(sees(&mut ladder, 100, Sight::GettingOn), Step::Look, "its answer may come");
    ladder.asked_in_vain();
    assert_eq!(sees(&mut ladder, 200, Sight::Stuck), Step::Look, "there is nobody to ask");
    assert_eq!(sees(&mut ladder, 4_000, Sight::GettingOn), Step::Ask);
    assert_eq!(sees(&mut ladder, 4_100, Sight::GettingOn), Step::Look);
    ladder.asked_in_vain();
    assert_eq!(sees(&mut ladder, 9_200, Sight::Stuck), Step::Terminate);
    assert_eq!(sees(&mut ladder, 9_300, Sight::GettingOn), Step::Look, "the signal has asked it");
}

#[test]
fn a_frozen_gateway_is_told_then_killed_then_started_by_its_supervisor() {
    let killed = |steps: &[Step]| steps.contains(&Step::Kill);
    let done = climb(Mode::Graceful, None, |ms, steps| match ms {
        _ if !killed(steps) => Sight::Stuck,
        0..=10_200 => Sight::Gone,
        _ => Sight::Next { ready: true },
    });
    assert_eq!(done, [(5_000, Step::Terminate), (10_000, Step::Kill), (10_300, Step::Done)]);
}

#[test]
fn a_forced_restart_needs_nothing_of_the_old_process_and_starts_it_where_nobody_does() {
    let world = |_: u64, steps: &[Step]| match steps.last() {
        None => Sight::Silent,
        Some(Step::Kill) => Sight::Gone,
        _ => Sight::Next { ready: true },
    };
    let done = climb(Mode::Force, None, world);
    assert_eq!(done, [(2_000, Step::Kill), (4_100, Step::Start), (4_200, Step::Done)]);
}

#[test]
fn a_loop_that_goes_on_after_the_signal_may_end_in_its_own_time() {
    let done = climb(Mode::Graceful, None, |ms, _| match ms {
        0..=6_000 => Sight::Stuck,
        6_100..=40_000 => Sight::GettingOn,
        _ => Sight::Next { ready: true },
    });
    assert_eq!(done, [(5_000, Step::Terminate), (40_100, Step::Done)]);
}

#[test]
fn a_start_is_left_to_its_own_deadline_and_killed_by_a_forced_restart() {
    let world = |ms: u64, steps: &[Step]| match steps.last() {
        None if ms < 90_000 => Sight::Starting,
        Some(Step::Kill) => Sight::Gone,
        _ => Sight::Next { ready: true },
    };
    assert_eq!(climb(Mode::Graceful, None, world), [(90_000, Step::Done)]);
    let forced = climb(Mode::Force, None, world);
    assert_eq!(forced, [(2_000, Step::Kill), (4_100, Step::Start), (4_200, Step::Done)]);
}

#[test]
fn where_nobody_would_start_it_nobody_is_waited_for() {
    assert_eq!(Patience::of(Mode::Graceful, StartsAgain::Never).revive, Duration::ZERO);
}

#[test]
fn a_restart_waits_for_nobody_where_nobody_was_there() {
    let patience = patience(Mode::Graceful);
    let at_once = Duration::ZERO;
    assert_eq!(patience.with_nobody_there(), Patience { revive: at_once, gap: at_once, ..patience });
    let mut ladder = Ladder::new(patience.with_nobody_there(), Instant::from_millis(0), None);
    assert_eq!(ladder.saw(Instant::from_millis(0), Sight::Gone), Step::Start);
    assert_eq!(ladder.saw(Instant::from_millis(10), Sight::Gone), Step::Look);
}

fn to_stop(mode: Mode) -> Ladder {
    Ladder::to_stop(Patience::to_stop(mode), Instant::from_millis(0), Some(Duration::from_secs(60)))
}

/// Climbs to a stop past what `world` shows at each time, and answers what was done when, looks aside.
fn stop(mode: Mode, world: impl Fn(u64, &[Step]) -> Sight) -> Vec<(u64, Step)> {
    past(to_stop(mode), world)
}

#[test]
fn a_gateway_that_gets_on_is_left_to_its_own_deadlines_by_a_stop_too() {
    for mode in [Mode::Graceful, Mode::Force] {
        let mut ladder = to_stop(mode);
        ladder.accepted();
        let done = past(ladder, |ms, _| if ms < 40_000 { Sight::GettingOn } else { Sight::Gone });
        assert_eq!(done, [(40_000, Step::Done)]);
        let given_up = stop(mode, |_, _| Sight::GettingOn);
        assert_eq!(given_up, [(60_000, Step::GiveUp(Rung::Ask))]);
    }
}

#[test]
fn between_two_generations_nobody_is_gone_for_good() {
    for mode in [Mode::Graceful, Mode::Force] {
        assert_eq!(stop(mode, |_, _| Sight::Gone), [(2_000, Step::Done)]);
        let twice = |ms: u64, steps: &[Step]| match ms {
            0..=1_900 | 2_100..=4_000 if steps.is_empty() => Sight::Gone,
            _ if steps.is_empty() => Sight::GettingOn,
            _ => Sight::Gone,
        };
        assert_eq!(stop(mode, twice), [(60_000, Step::GiveUp(Rung::Ask))]);
        let patience = Patience::to_stop(mode).with_nobody_there();
        let nobody_was_there = Ladder::to_stop(patience, Instant::from_millis(0), None);
        assert_eq!(past(nobody_was_there, |_, _| Sight::Gone), [(0, Step::Done)]);
    }
}

#[test]
fn whoever_pauses_is_told_not_to_start_it_and_waited_for() {
    for mode in [Mode::Graceful, Mode::Force] {
        let ends = stop(mode, |ms, _| if ms < 3_000 { Sight::Paused } else { Sight::Gone });
        assert_eq!(ends, [(2_000, Step::Terminate), (3_000, Step::Done)]);
        let mut ladder = to_stop(mode);
        ladder.accepted();
        let killed = past(ladder, |ms, _| if ms < 3_000 { Sight::Paused } else { Sight::Gone });
        assert_eq!(killed, [(2_000, Step::Terminate), (3_000, Step::Done)], "he knows nothing of it");
    }
    let stays = stop(Mode::Force, |_, _| Sight::Paused);
    assert_eq!(stays, [(2_000, Step::Terminate), (4_000, Step::Kill), (14_000, Step::GiveUp(Rung::Kill))]);
}

#[test]
fn nobody_is_killed_before_whoever_would_start_it_again_is_told() {
    let begun = Instant::from_millis(0);
    let steps = |accepted: bool| -> Vec<Step> {
        let mut ladder = Ladder::to_stop(Patience::to_stop(Mode::Force), begun, None);
        if accepted {
            ladder.accepted();
        }
        let looks = (0..10_000).step_by(100).map(Instant::from_millis);
        looks.map(|now| ladder.saw(now, Sight::Silent)).filter(|step| *step != Step::Look).collect()
    };
    assert_eq!(steps(false), [Step::Terminate; 4]);
    assert_eq!(steps(true), [Step::Terminate, Step::Kill]);
}

#[test]
fn a_stop_says_when_nobody_is_believed_to_be_gone() {
    let mut ladder = to_stop(Mode::Graceful);
    let later = Instant::from_millis(3_000);
    assert_eq!(ladder.saw(later, Sight::Gone), Step::Look);
    assert_eq!(ladder.poll_timeout(), Some(later + GAP));
    assert_eq!(ladder.saw(later + GAP, Sight::Paused), Step::Terminate);
    ladder.told();
    assert_eq!(ladder.poll_timeout(), Some(later + GAP + Patience::to_stop(Mode::Graceful).terminate));
}

#[test]
fn a_stop_has_a_frozen_gateway_ended_by_whoever_keeps_it_and_kills_it_only_then() {
    let world = |_: u64, steps: &[Step]| if steps.contains(&Step::Kill) { Sight::Gone } else { Sight::Stuck };
    let patient = stop(Mode::Graceful, world);
    assert_eq!(patient, [(5_000, Step::Terminate), (10_000, Step::Kill), (10_100, Step::Done)]);
    let forced = stop(Mode::Force, world);
    assert_eq!(forced, [(2_000, Step::Terminate), (4_000, Step::Kill), (4_100, Step::Done)]);
    let immortal = stop(Mode::Force, |_, _| Sight::Silent);
    assert_eq!(immortal, [(2_000, Step::Terminate), (4_000, Step::Kill), (14_000, Step::GiveUp(Rung::Kill))]);
}

#[test]
fn a_start_in_the_way_of_a_stop_is_left_to_its_own_deadline_unless_it_is_forced() {
    let world = |_: u64, steps: &[Step]| if steps.is_empty() { Sight::Starting } else { Sight::Gone };
    assert_eq!(stop(Mode::Graceful, world), [(60_000, Step::GiveUp(Rung::Ask))]);
    assert_eq!(stop(Mode::Force, world), [(2_000, Step::Terminate), (2_100, Step::Done)]);
}

#[test]
fn whoever_comes_instead_of_the_one_that_was_killed_is_to_stop() {
    for told in [Sight::Stuck, Sight::Next { ready: true }] {
        let mut ladder = to_stop(Mode::Force);
        let mut sees = |ms: u64, sight: Sight| {
            let step = ladder.saw(Instant::from_millis(ms), sight);
            if step == Step::Terminate {
                ladder.told();
            }
            step
        };
        assert_eq!(sees(2_000, Sight::Stuck), Step::Terminate);
        assert_eq!(sees(4_000, Sight::Stuck), Step::Kill);
        assert_eq!(sees(4_100, Sight::Next { ready: false }), Step::Look);
        if told == Sight::Stuck {
            assert_eq!(sees(6_000, told), Step::Look);
            assert_eq!(sees(6_100, told), Step::Terminate);
            assert_eq!(sees(8_100, told), Step::Kill);
        } else {
            assert_eq!(sees(5_000, told), Step::Ask);
            assert_eq!(sees(5_100, Sight::GettingOn), Step::Look);
            assert_eq!(sees(30_000, Sight::Gone), Step::Look, "it has not said that it heard");
            assert_eq!(sees(32_000, Sight::Gone), Step::Done);
        }
    }
}

#[test]
fn a_rung_says_when_it_is_over_until_all_was_done_and_the_wait_at_last() {
    let (wait, begun) = (Duration::from_secs(60), Instant::from_millis(0));
    let mut ladder = Ladder::new(patience(Mode::Force), begun, Some(wait));
    assert_eq!(ladder.gives_up_at(), Some(begun + wait));
    assert_eq!(ladder.poll_timeout(), Some(begun + ladder.patience.answer));
    let gone = Instant::from_millis(10);
    assert_eq!(ladder.saw(gone, Sight::Gone), Step::Look);
    let nobody_did = gone + ladder.patience.revive;
    assert_eq!(ladder.poll_timeout(), Some(nobody_did));
    assert_eq!(ladder.saw(nobody_did, Sight::Gone), Step::Start);
    assert_eq!(ladder.poll_timeout(), ladder.gives_up_at());
}

#[test]
fn a_process_that_cannot_be_killed_is_given_up_upon() {
    let done = climb(Mode::Force, None, |_, _| Sight::Silent);
    assert_eq!(done, [(2_000, Step::Kill), (7_000, Step::GiveUp(Rung::Kill))]);
}

#[test]
fn a_wait_that_is_over_names_the_rung() {
    let done = climb(Mode::Graceful, Some(Duration::from_secs(60)), |_, _| Sight::GettingOn);
    assert_eq!(done, [(60_000, Step::GiveUp(Rung::Ask))]);
}

#[test]
fn one_that_answers_after_it_was_killed_has_no_more_time_to_be_gone_for_that() {
    let done = climb(Mode::Force, None, |_, steps| match steps.last() {
        None => Sight::Silent,
        _ => Sight::GettingOn,
    });
    assert_eq!(done, [(2_000, Step::Kill), (7_000, Step::GiveUp(Rung::Kill))]);
}

#[test]
fn one_that_dies_before_it_is_ready_is_started_again_and_so_is_the_next() {
    let done = climb(Mode::Force, None, |ms, steps| match (steps.len(), ms) {
        (0, _) => Sight::Silent,
        (1, 4_000..=5_900) | (2, 8_500..=8_900) => Sight::Next { ready: false },
        (3, _) => Sight::Next { ready: true },
        _ => Sight::Gone,
    });
    assert_eq!(done, [(2_000, Step::Kill), (8_000, Step::Start), (11_000, Step::Start), (11_100, Step::Done)]);
}

#[test]
fn rungs_are_called_as_the_command_line_calls_them() {
    let names = [Rung::Ask, Rung::Terminate, Rung::Kill, Rung::Start, Rung::Wait].map(Rung::name);
    assert_eq!(names, ["ask", "terminate", "kill", "start", "wait"]);
}

fn sight() -> impl Strategy<Value = Sight> {
    prop_oneof![
        Just(Sight::GettingOn),
        Just(Sight::Stuck),
        Just(Sight::Silent),
        Just(Sight::Starting),
        Just(Sight::Gone),
        Just(Sight::Next { ready: false }),
    ]
}

proptest! {
    /// Whatever is seen: each of the old process's ends is tried once, the milder before the harder, nothing is started that
    /// was not gone, and with a bound it comes to an end.
    #[test]
    fn each_rung_is_tried_once_and_in_order(sights in proptest::collection::vec((sight(), 1u64..100), 1..60), force in any::<bool>()) {
        let mode = if force { Mode::Force } else { Mode::Graceful };
        let wait = Duration::from_secs(300);
        let mut ladder = Ladder::new(patience(mode), Instant::from_millis(0), Some(wait));
        let (mut now, mut ends, mut gone) = (0, Vec::new(), false);
        for (sight, times) in sights.into_iter().chain([(Sight::Silent, 4_000)]) {
            for _ in 0..times {
                now += LOOK;
                gone |= sight == Sight::Gone;
                match ladder.saw(Instant::from_millis(now), sight) {
                    Step::Start => prop_assert!(gone),
                    Step::GiveUp(_) => return Ok(()),
                    Step::Done => prop_assert!(false, "nothing was ready"),
                    Step::Look => {}
                    step => ends.push(step),
                }
            }
        }
        prop_assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "{ends:?}");
        prop_assert!(false, "it has a bound of {wait:?} and goes on at {now} ms");
    }
}
