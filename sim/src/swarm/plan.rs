//! What people, disks and machines will do in a run, chosen before it begins: a list that can be made shorter without
//! changing what remains of it. How the world answers to the gateway is not in here.

use super::config::Config;
use super::fault::{Fault, Often};
use super::random::Random;
use evergate_core::busy::Busy;
use evergate_core::gateway::Phase;
use evergate_core::input::{Asked, Standing};
use evergate_core::request::{Mode, Origin, Signal, Wish};

/// Something that will happen, whatever the gateway does.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// When, in milliseconds from the beginning.
    pub at: u64,
    /// Its number in the plan of its configuration.
    pub entry: u32,
    /// What.
    pub what: Happening,
}

/// What can be planned.
#[derive(Clone, Copy, Debug)]
pub enum Happening {
    /// Somebody says something in a chat.
    Say { session: u64, asked: Asked, standing: Standing },
    /// A platform delivers something again: the one with this number, counted around.
    Again { number: u64, restarts_only: bool },
    /// An operator wishes something.
    Ask { wish: Wish, mode: Mode, origin: Origin },
    /// An operator restarts it with the ladder.
    Climb { mode: Mode },
    /// An operator takes back what the entry with this number asked for.
    Cancel { entry: u32 },
    /// A signal to the process.
    Signal(Signal),
    /// The next end is signalled at when it is being written.
    SignalLate,
    /// The supervisor is told to stop the service.
    Job(Job),
    /// Our own supervisor is killed, where it is ours.
    KeeperDies,
    /// The process is killed.
    Kill(When),
    /// Something stands still.
    Freeze { what: Frozen, ms: u64 },
    /// The machine sleeps.
    Sleep { ms: u64 },
    /// No write succeeds for so long.
    DiskFull { ms: u64 },
    /// Writes are slow for so long.
    SlowDisk { ms: u64 },
    /// Nothing can be sent for so long.
    Outage { ms: u64 },
}

/// What a supervisor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Stop the service and leave it stopped.
    Stop,
    /// Stop the service and start it.
    Restart,
}

/// When a kill strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Now.
    Now,
    /// So many effects later, perhaps in the middle of a handling.
    Effects(u8),
    /// When the next turn is about to start.
    BeforeStart,
    /// Some time in the next such phase.
    In(Phase),
    /// When the next commit is under way.
    Committing,
}

/// What stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// The loop that owns the core.
    Loop,
    /// The same, since it waits for a disk.
    OnDisk,
    /// The process, its guard included.
    Process,
}

/// The subject of the chances of what people say, and of the first fault; the others follow.
const MESSAGES: u64 = 100;
const FAULTS: u64 = 101;
/// Messages are numbered from 0, and faults from here, so many numbers for each kind.
const FIRST_FAULT: u64 = 1 << 20;
const NUMBERS: u64 = 1 << 12;
/// One fault is at most so many things in a row.
const STEPS: u64 = 8;

/// All that will happen under this configuration, in order.
#[must_use]
pub fn plan(config: &Config) -> Vec<Planned> {
    let mut plan = Vec::new();
    let hot = Random::of(config.seed, MESSAGES, 0).below(3) == 0;
    for number in 0..config.messages {
        let mut random = Random::of(config.seed, MESSAGES, number + 1);
        let at = random.below(config.safety_ms);
        let session = if hot && random.hits(300) { 1 } else { random.between(1, config.sessions) };
        plan.push((at, number, Happening::Say { session, asked: Asked::Prompt, standing: Standing::Guest }));
    }
    for (kind, fault) in Fault::ALL.iter().enumerate().filter(|(_, fault)| fault.often() == Often::Times) {
        for number in 0..u64::from(config.rate(*fault)) {
            let mut random = Random::of(config.seed, FAULTS + kind as u64, number);
            let entry = FIRST_FAULT + kind as u64 * NUMBERS + number * STEPS;
            for (step, (at, what)) in (0..).zip(episode(*fault, entry, config, &mut random)) {
                plan.push((at, entry + step, what));
            }
        }
    }
    plan.sort_by_key(|(at, entry, _)| (*at, *entry));
    plan.into_iter()
        .map(|(at, entry, what)| Planned { at, entry: u32::try_from(entry).unwrap_or(u32::MAX), what })
        .collect()
}

/// One fault: one thing, or several in a row.
fn episode(fault: Fault, entry: u64, config: &Config, random: &mut Random) -> Vec<(u64, Happening)> {
    let at = random.below(config.safety_ms);
    let soon = at + random.spread(1, u64::try_from(config.limits.drain.as_millis()).unwrap_or(u64::MAX).max(100));
    let ms = random.spread(50, 120_000);
    let session = random.between(1, config.sessions);
    let operator = |asked: Asked| Happening::Say { session, asked, standing: Standing::Operator };
    let origin = random.pick(&[Origin::Cli, Origin::Http, Origin::Update, Origin::Watchdog]);
    let ask = |wish: Wish, mode: Mode| Happening::Ask { wish, mode, origin };
    let mode = if random.hits(250) { Mode::Force } else { Mode::Graceful };
    // A phase of an end is only met when there is one.
    let end = match random.below(4) {
        0 => Happening::Signal(Signal::Terminate),
        1 => ask(Wish::Stop, mode),
        _ => ask(Wish::Restart, mode),
    };
    let killed_in = |phase: Phase| vec![(at, Happening::Kill(When::In(phase))), (at + 1, end)];
    match fault {
        // Some come in bursts, faster than a generation can prove itself.
        Fault::Kill => {
            let kills = if random.hits(250) { STEPS } else { 1 };
            let pause = random.spread(200, 5_000);
            (0..kills).map(|kill| (at + kill * pause, Happening::Kill(When::Now))).collect()
        }
        Fault::KillSoon => vec![(at, Happening::Kill(When::Effects(random.below(12) as u8)))],
        Fault::KillBeforeStart => vec![(at, Happening::Kill(When::BeforeStart))],
        Fault::KillWhileCommitting => vec![(at, Happening::Kill(When::Committing))],
        Fault::KillWhileStarting => vec![(at, Happening::Kill(When::In(Phase::Starting))), (at + 1, end)],
        Fault::KillWhileDraining => killed_in(Phase::Draining),
        Fault::KillWhileInterrupting => killed_in(Phase::Interrupting),
        Fault::KillWhileClosing => killed_in(Phase::Closing),
        Fault::FreezeLoop => frozen(Frozen::Loop, at, ms, end, random),
        Fault::FreezeProcess => frozen(Frozen::Process, at, ms, end, random),
        Fault::FreezeOnDisk => frozen(Frozen::OnDisk, at, ms * 10, end, random),
        Fault::Sleep => vec![(at, Happening::Sleep { ms: ms * 10 })],
        Fault::DiskFull => vec![(at, Happening::DiskFull { ms })],
        Fault::SlowDisk => vec![(at, Happening::SlowDisk { ms })],
        Fault::Outage => vec![(at, Happening::Outage { ms })],
        Fault::Restart => vec![(at, ask(Wish::Restart, mode))],
        Fault::Stop => vec![(at, ask(Wish::Stop, mode))],
        Fault::Upgrade => vec![(at, ask(Wish::Restart, Mode::Graceful)), (soon, ask(Wish::Restart, Mode::Force))],
        Fault::TakenBack => {
            let entry = u32::try_from(entry).unwrap_or(u32::MAX);
            vec![(at, ask(Wish::Restart, Mode::Graceful)), (soon, Happening::Cancel { entry })]
        }
        Fault::Overruled => vec![(at, ask(Wish::Restart, Mode::Graceful)), (soon, ask(Wish::Stop, mode))],
        Fault::ChatRestart => vec![(at, operator(Asked::Restart(mode)))],
        Fault::ChatStop => vec![(at, operator(Asked::StopTurn))],
        Fault::ChatOther => vec![(at, other_command(session, random))],
        Fault::Redelivery => {
            vec![(at, Happening::Again { number: random.bits(), restarts_only: random.hits(500) })]
        }
        Fault::Terminate => vec![(at, Happening::Signal(Signal::Terminate))],
        Fault::TerminateTwice => {
            vec![(at, Happening::Signal(Signal::Terminate)), (soon, Happening::Signal(Signal::Terminate))]
        }
        Fault::Interrupt => vec![(at, Happening::Signal(Signal::Interrupt))],
        Fault::LateSignal => vec![(at, Happening::SignalLate), (at + 1, end)],
        Fault::StopJob => vec![(at, Happening::Job(Job::Stop))],
        Fault::RestartJob => vec![(at, Happening::Job(Job::Restart))],
        Fault::Climb => vec![(at, Happening::Climb { mode })],
        // While it serves, and while it is about to leave.
        Fault::KeeperDies => match random.below(3) {
            0 => vec![(at, Happening::KeeperDies)],
            1 => vec![(at, Happening::KeeperDies), (soon, end)],
            _ => vec![(at, end), (at + random.spread(1, 2_000), Happening::KeeperDies)],
        },
        Fault::ClimbFrozen => {
            let what = random.pick(&[Frozen::Loop, Frozen::Process]);
            let others = random.pick(&[Mode::Graceful, Mode::Force]);
            let climb = |mode: Mode| Happening::Climb { mode };
            let mut steps =
                vec![(at, Happening::Freeze { what, ms: ms * 10 }), (at + random.between(1, 3_000), climb(mode))];
            if random.hits(500) {
                steps.push((at + random.between(1, 20_000), climb(others)));
            }
            steps
        }
        // What is so often in a thousand is no part of a plan, and the start limit is the supervisor's.
        _ => Vec::new(),
    }
}

/// Half of what freezes does so while somebody wants an end: just before, or just after that has begun.
fn frozen(what: Frozen, at: u64, ms: u64, end: Happening, random: &mut Random) -> Vec<(u64, Happening)> {
    let freeze = Happening::Freeze { what, ms };
    match random.below(6) {
        0 => vec![(at, freeze), (at + 1, end)],
        1 => vec![(at, end), (at + random.between(1, 2_000), freeze)],
        2 => vec![(at, freeze), (at + 1, Happening::Job(Job::Stop))],
        _ => vec![(at, freeze)],
    }
}

fn other_command(session: u64, random: &mut Random) -> Happening {
    let asked = random.pick(&[
        Asked::Status,
        Asked::Renew,
        Asked::Busy(None),
        Asked::Busy(Some(Busy::Queue)),
        Asked::Busy(Some(Busy::Interrupt)),
        Asked::Busy(Some(Busy::Collect)),
        Asked::Help,
        Asked::UnknownCommand,
        Asked::Restart(Mode::Graceful),
    ]);
    Happening::Say { session, asked, standing: Standing::Guest }
}
