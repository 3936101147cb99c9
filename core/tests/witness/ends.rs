//! Tales of how generations end: deadlines, supervisors and verdicts.

use super::records::*;
use super::seen::Seen;
use super::{Tale, tale};
use evergate_core::effect::{Answer, Effect};
use evergate_core::gateway::Phase;
use evergate_core::id::{RequestId, TurnId};
use evergate_core::input::Input;
use evergate_core::invariant::Invariant::*;
use evergate_core::request::{Mode, Origin, Outcome, Signal, Wish};
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::verdict::Verdict;

const CLI: Origin = Origin::Cli;

fn serves(seen: &mut Seen) -> &mut Seen {
    seen.serves(1)
}

/// Nested deadlines of an end that is to be over after ten seconds.
const NESTED: [u64; 4] = [3_000, 5_000, 8_000, 10_000];

fn drains(seen: &mut Seen) -> &mut Seen {
    seen.serves(1).drains(Mode::Graceful, NESTED)
}

fn closes_in_90_s(seen: &mut Seen) -> &mut Seen {
    seen.serves(1).drains(Mode::Graceful, [3_000, 5_000, 8_000, 90_000])
}

pub fn tales() -> Vec<Tale> {
    let stop_comes_late = "the supervisor hears of a stop at Instant(0), and kills before the guard at Instant(90000)";
    let unasked = "the generation ends and nobody asked for that";
    let left_down = "exit 0 leaves it down, and a restart was wanted";
    let mut tales = vec![
        tale(
            Budget,
            stop_comes_late,
            drains,
            |s| s.says(Effect::Stopping),
            |s| closes_again(s, 90_000).says(Effect::Stopping),
        ),
        tale(
            Budget,
            stop_comes_late,
            closes_in_90_s,
            // A signal has had it count before, or it does not count from there.
            |s| {
                s.signalled(Signal::Terminate).says(Effect::Stopping).dies();
                s.serves(2).under(Supervisor::Container).says(Effect::Stopping)
            },
            |s| s.says(Effect::Stopping),
        ),
        tale(
            Budget,
            "the guard moves from Some(Instant(10000)) to Instant(11000)",
            drains,
            |s| s.guards(10_000).guards(10_000).says(Effect::Guard(None)).guards(11_000),
            |s| s.guards(10_000).guards(11_000),
        ),
        tale(
            Budget,
            "the guard moves from Some(Instant(10000)) to Instant(11000)",
            |s| drains(s).guards(10_000).under(Supervisor::Systemd).signalled(Signal::Terminate),
            |s| s.extends(11_001).guards(11_000),
            |s| s.extends(11_000).guards(11_000),
        ),
        tale(
            Budget,
            "the supervisor kills at Instant(90000), before the guard at Instant(90000)",
            |s| drains(s).signalled(Signal::Terminate),
            |s| s.guards(89_999),
            |s| s.guards(90_000),
        ),
        tale(
            Budget,
            "the supervisor kills at Instant(90000), before the guard at Instant(90000)",
            // The first signal counts, not the last.
            |s| drains(s).signalled(Signal::Terminate).at(1_000).signalled(Signal::Interrupt),
            |s| s.extends(90_000).guards(90_000),
            |s| s.guards(90_000),
        ),
        tale(
            Force,
            "a forced end may last until Instant(6001), later than Instant(6000)",
            serves,
            |s| {
                s.drains(Mode::Force, [0, 2_000, 4_000, 6_000]).guards(6_000);
                s.drains(Mode::Graceful, NESTED).says(Effect::Guard(None)).guards(10_000)
            },
            |s| s.drains(Mode::Force, [0, 2_000, 4_000, 6_001]).guards(6_001),
        ),
        tale(
            Budget,
            "the supervisor is told to wait at Instant(0), and it kills at Some(Instant(10000)) or does not listen",
            serves,
            |s| s.signalled(Signal::Terminate).extends(1_000),
            |s| s.under(Supervisor::Container).signalled(Signal::Terminate).extends(1_000),
        ),
        tale(
            Budget,
            "the supervisor is told to wait at Instant(90000), and it kills at Some(Instant(90000)) or does not listen",
            |s| s.serves(1).signalled(Signal::Terminate),
            |s| {
                s.at(89_999).hears(Input::TurnProgressed { turn: TurnId(1) }).extends(5_000);
                s.at(94_998).hears(Input::TurnBegan { turn: TurnId(1) }).extends(1_000)
            },
            |s| s.at(90_000).hears(Input::TurnProgressed { turn: TurnId(1) }).extends(5_000),
        ),
        tale(
            Budget,
            "the supervisor is told to wait, and nothing got on since None",
            // What got on before the signal does not count.
            |s| s.serves(1).hears(Input::TurnProgressed { turn: TurnId(1) }).signalled(Signal::Terminate),
            |s| s.at(5_000).extends(5_000),
            |s| s.at(5_001).extends(5_000),
        ),
        tale(
            Budget,
            "the supervisor is told to wait, and nothing got on since Some(Instant(2000))",
            |s| s.serves(1).signalled(Signal::Terminate).at(2_000).hears(Input::TurnProgressed { turn: TurnId(1) }),
            |s| s.at(7_000).extends(5_000),
            |s| s.at(7_001).extends(5_000),
        ),
        tale(
            Exit,
            "re-exec, and it was sent SIGTERM",
            serves,
            |s| s.signalled(Signal::Terminate).ends(Verdict::Exit(75)),
            |s| s.signalled(Signal::Terminate).ends(Verdict::ReExec),
        ),
        tale(
            Exit,
            "re-exec, and it was sent SIGTERM",
            |s| s.serves(1).signalled(Signal::Terminate),
            |s| s.on_terms(Contract::of(Supervisor::Systemd).that_goes_on_in_place()).ends(Verdict::ReExec),
            |s| s.ends(Verdict::ReExec),
        ),
    ];
    tales.extend(tales_of_nested_deadlines());
    tales.extend([
        tale(Once, unasked, serves, |s| s.writes(&[restart(1)]).ends(Verdict::ReExec), |s| s.ends(Verdict::ReExec)),
        tale(
            Once,
            unasked,
            |s| s.serves(1).writes(&[restart(1)]),
            // Its outcome may be on its way to the disk: a stop that is carried out still counts.
            |s| s.writes(&[stop(2)]).appends(settled(2, Outcome::Stopped)).ends(Verdict::Exit(0)),
            |s| s.appends(settled(1, Outcome::Cancelled)).ends(Verdict::ReExec),
        ),
        tale(
            Once,
            unasked,
            |s| s.serves(1).writes(&[restart(1)]).dies().serves(2),
            |s| s.hears(Input::SupervisorStops { request: RequestId(2) }).ends(Verdict::Exit(0)),
            |s| s.ends(Verdict::Exit(75)),
        ),
        tale(
            Once,
            unasked,
            // The stop of the generation before is carried out; this one goes on.
            |s| {
                s.under(Supervisor::Kubernetes).serves(1).writes(&[stop(1)]).dies();
                s.serves(2).writes(&[settled(1, Outcome::Stopped)])
            },
            |s| s.writes(&[wished(2, Wish::Restart, Origin::Cli, 2)]).ends(Verdict::Exit(0)),
            |s| s.ends(Verdict::Exit(0)),
        ),
        tale(Once, unasked, serves, |s| s.bites(Verdict::Exit(75)), |s| s.strikes(Verdict::Exit(75))),
        tale(
            Once,
            unasked,
            serves,
            |s| s.signalled(Signal::Interrupt).ends(Verdict::Exit(0)),
            |s| s.hears(wish_of(Wish::Restart)).ends(Verdict::ReExec),
        ),
        tale(
            Once,
            unasked,
            |s| s.serves(1).hears(wish_of(Wish::Stop)),
            |s| s.strikes(Verdict::Exit(0)),
            |s| s.says(Effect::Answer { request: RequestId(1), answer: Answer::TooMany }).strikes(Verdict::Exit(75)),
        ),
        tale(
            Exit,
            "exit 75 undoes a stop",
            |s| s.serves(1).writes(&[stop(1)]),
            |s| s.ends(Verdict::Exit(0)),
            |s| s.ends(Verdict::Exit(75)),
        ),
        tale(
            Exit,
            "exit 0 undoes a stop",
            |s| s.under(Supervisor::Kubernetes).serves(1).writes(&[stop(1)]),
            |s| s.ends(Verdict::StayUp).strikes(Verdict::Exit(75)),
            |s| s.ends(Verdict::Exit(0)),
        ),
        tale(
            Exit,
            "re-exec undoes a stop",
            // It was carried out already, or is what this generation was revived to do.
            |s| s.serves(1).writes(&[stop(1)]).writes(&[settled(1, Outcome::Stopped)]),
            |s| s.ends(Verdict::Exit(0)),
            |s| s.ends(Verdict::ReExec),
        ),
        tale(
            Exit,
            "exit 75 undoes a stop",
            |s| s.serves(1).writes(&[stop(1)]).dies().revives(2),
            |s| s.ends(Verdict::Exit(0)),
            |s| s.ends(Verdict::Exit(75)),
        ),
        tale(
            Exit,
            left_down,
            |s| s.serves(1).writes(&[restart(1)]),
            |s| s.ends(Verdict::ReExec).strikes(Verdict::Exit(75)),
            |s| s.ends(Verdict::Exit(0)),
        ),
        tale(
            Exit,
            left_down,
            |s| s.serves(1).writes(&[stop(1)]).dies().revives(2),
            // It was taken back, and the next one serves; or another stop still stands.
            |s| s.writes(&[stop(2)]).writes(&[settled(1, Outcome::Cancelled)]).ends(Verdict::Exit(0)),
            |s| s.writes(&[settled(1, Outcome::Cancelled), wished(2, Wish::Restart, CLI, 2)]).ends(Verdict::Exit(0)),
        ),
        tale(
            Exit,
            left_down,
            // Nobody starts again what a SIGTERM ended there, whatever its status.
            |s| s.serves(1).signalled(Signal::Terminate),
            |s| s.under(Supervisor::Nobody).ends(Verdict::Exit(0)),
            |s| s.ends(Verdict::Exit(0)),
        ),
    ]);
    tales
}

fn wish_of(wish: Wish) -> Input {
    Input::Request { request: RequestId(1), wish, mode: Mode::Graceful, origin: CLI }
}

fn closes_again(seen: &mut Seen, at: u64) -> &mut Seen {
    seen.drains(Mode::Graceful, [3_000, 5_000, 8_000, at])
}

fn planned(seen: &mut Seen, deadlines: [u64; 4]) -> &mut Seen {
    seen.drains(Mode::Graceful, deadlines).guards(deadlines[3]).plans(Phase::Draining, &[], Some(3_000))
}

/// One deadline after the other comes too late.
fn tales_of_nested_deadlines() -> [Tale; 3] {
    let nested: super::Step = |s| s.serves(1).phase(Phase::Draining);
    let equal: super::Step = |s| planned(s, [3_000, 3_000, 3_000, 3_001]);
    [
        tale(
            Budget,
            "the deadlines do not nest: Deadlines { drain: Instant(5001), \
             interrupt: Instant(5000), close: Instant(8000), self_kill: Instant(10000) }",
            nested,
            equal,
            |s| planned(s, [5_001, 5_000, 8_000, 10_000]),
        ),
        tale(
            Budget,
            "the deadlines do not nest: Deadlines { drain: Instant(3000), \
             interrupt: Instant(8001), close: Instant(8000), self_kill: Instant(10000) }",
            nested,
            equal,
            |s| planned(s, [3_000, 8_001, 8_000, 10_000]),
        ),
        tale(
            Budget,
            "the deadlines do not nest: Deadlines { drain: Instant(3000), \
             interrupt: Instant(5000), close: Instant(10000), self_kill: Instant(10000) }",
            nested,
            equal,
            |s| planned(s, [3_000, 5_000, 10_000, 10_000]),
        ),
    ]
}
