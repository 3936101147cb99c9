//! The bounds within which everything is explored, in one table. A scope is a list of rooms: each a supervisor, a budget
//! and what may be wished. Everything at once would be too much, so the rooms of a scope together cover each pair of
//! dimensions; [`table`] says which.

use crate::subject::Subject;
use crate::world::supervision::Variant;
use crate::world::{Budget, Manner, Setting};
use evergate_core::busy::Busy;
use evergate_core::limits::Limits;
use evergate_core::outbox::Uncertain;
use evergate_core::supervisor::{Contract, Supervisor};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One set of bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Who supervises.
    pub supervisor: Supervisor,
    /// What it is like, where that is not what its row of the table says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
    /// How often what may happen.
    pub budget: Budget,
    /// What may happen.
    pub manners: Vec<Manner>,
}

/// A named list of rooms.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its name.
    pub name: &'static str,
    /// What it is for, and how long it takes.
    pub purpose: &'static str,
    /// Its rooms.
    pub rooms: Vec<Room>,
    /// How many states and edges each room has with the production gateway, so that a change of behaviour is seen.
    pub shapes: &'static [Shape],
}

impl Scope {
    /// One of its rooms, by its number from 1, as a scope.
    #[must_use]
    pub fn only(&self, room: usize) -> Option<Self> {
        let index = room.checked_sub(1)?;
        let rooms = vec![self.rooms.get(index)?.clone()];
        let shapes = self.shapes.get(index..=index).unwrap_or_default();
        Some(Self { rooms, shapes, ..*self })
    }
}

/// The size of a room's graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// States.
    pub states: usize,
    /// Edges.
    pub edges: usize,
}

const fn shape(states: usize, edges: usize) -> Shape {
    Shape { states, edges }
}

/// The rooms of `ci`.
const CI: [Shape; 91] = [
    shape(248_631, 529_867),
    shape(175_550, 366_372),
    shape(175_550, 366_372),
    shape(175_550, 366_372),
    shape(175_550, 366_372),
    shape(175_550, 366_372),
    shape(186_466, 391_499),
    shape(176_129, 366_951),
    shape(115_654, 207_374),
    shape(102_304, 176_459),
    shape(102_304, 176_459),
    shape(102_304, 176_459),
    shape(102_304, 176_459),
    shape(102_304, 176_459),
    shape(102_304, 176_459),
    shape(102_304, 176_459),
    shape(9_041, 18_126),
    shape(6_078, 10_816),
    shape(6_078, 10_816),
    shape(6_078, 10_816),
    shape(6_078, 10_816),
    shape(6_078, 10_816),
    shape(6_078, 10_816),
    shape(6_078, 10_816),
    shape(40_583, 69_111),
    shape(31_074, 52_729),
    shape(1_659_085, 3_800_825),
    shape(10_255, 18_793),
    shape(53_065, 97_437),
    shape(186_100, 446_395),
    shape(2_484, 4_944),
    shape(1_469_184, 4_036_221),
    shape(452_739, 893_367),
    shape(16_289, 36_893),
    shape(741_332, 2_489_645),
    shape(1_694_104, 4_194_735),
    shape(65_322, 128_090),
    shape(658_003, 1_361_164),
    shape(284_408, 607_998),
    shape(277_988, 577_350),
    shape(82_461, 159_914),
    shape(585_769, 1_830_006),
    shape(607_238, 2_151_077),
    shape(828_881, 2_681_620),
    shape(498_895, 1_337_436),
    shape(274_727, 699_198),
    shape(273_499, 695_904),
    shape(273_499, 695_904),
    shape(274_727, 699_198),
    shape(273_499, 695_904),
    shape(274_181, 696_586),
    shape(48_842, 82_450),
    shape(31_885, 53_336),
    shape(43_779, 75_773),
    shape(61_390, 100_805),
    shape(79_056, 143_963),
    shape(403_614, 722_216),
    shape(385_456, 787_375),
    shape(420_049, 815_361),
    shape(152_393, 322_384),
    shape(1_271_115, 2_848_851),
    shape(152_393, 322_384),
    shape(152_330, 322_271),
    shape(595_271, 1_356_067),
    shape(618_547, 1_402_669),
    shape(124_164, 262_108),
    shape(124_092, 262_108),
    shape(152_536, 322_550),
    shape(102_148, 203_730),
    shape(102_008, 203_456),
    shape(102_896, 205_114),
    shape(102_008, 203_456),
    shape(216_197, 634_614),
    shape(68_919, 140_345),
    shape(28_620, 49_306),
    shape(101_018, 172_445),
    shape(403_691, 727_765),
    shape(240_192, 416_072),
    shape(363_943, 683_239),
    shape(161_857, 483_436),
    shape(31_326, 63_098),
    shape(1_119_227, 2_995_437),
    shape(336_168, 995_256),
    shape(9_665, 19_529),
    shape(969_649, 1_708_139),
    shape(739_295, 1_313_793),
    shape(1_057_053, 1_865_760),
    shape(1_152_582, 2_094_547),
    shape(403_671, 923_009),
    shape(143_803, 376_048),
    shape(514_084, 1_301_229),
];
/// The rooms of `seed`.
const SEED: [Shape; 9] = [
    shape(21_405, 40_540),
    shape(28_323, 49_617),
    shape(2_446, 4_279),
    shape(4_246, 7_651),
    shape(15_474, 27_086),
    shape(15_353, 45_582),
    shape(443, 716),
    shape(5_131, 12_173),
    shape(7_965, 16_717),
];
/// The rooms of `deep`.
const DEEP: [Shape; 26] = [
    shape(6_301_469, 18_871_776),
    shape(2_877_768, 8_086_261),
    shape(2_850_683, 8_010_835),
    shape(2_849_953, 8_008_847),
    shape(2_877_768, 8_086_261),
    shape(2_850_683, 8_010_835),
    shape(14_137_522, 42_647_436),
    shape(2_857_823, 8_017_975),
    shape(1_707_193, 3_028_223),
    shape(10_081_990, 26_239_816),
    shape(1_289_589, 2_570_242),
    shape(9_263_528, 22_520_765),
    shape(5_464_037, 13_654_565),
    shape(382_009, 767_762),
    shape(2_016_582, 7_194_106),
    shape(4_896_277, 13_418_966),
    shape(2_880_029, 7_650_300),
    shape(960_727, 2_590_877),
    shape(2_285_998, 4_038_849),
    shape(2_007_468, 3_546_813),
    shape(2_497_652, 4_575_149),
    shape(2_407_694, 4_360_394),
    shape(5_413_600, 9_560_030),
    shape(4_004_909, 7_074_965),
    shape(2_582_564, 4_755_560),
    shape(3_804_083, 6_936_351),
];

impl Room {
    fn uncertain(&self) -> Uncertain {
        if self.manners.contains(&Manner::DropsUncertain) { Uncertain::Drop } else { Uncertain::Report }
    }

    fn busy(&self) -> Busy {
        let policies = [(Manner::Interrupts, Busy::Interrupt), (Manner::Collects, Busy::Collect)];
        let said = policies.into_iter().find(|(manner, _)| self.manners.contains(manner));
        said.map_or(Busy::Queue, |(_, busy)| busy)
    }

    /// What a subject is put into.
    #[must_use]
    pub fn setting<S: Subject>(&self, subject: S::Setting) -> Setting<S> {
        Setting {
            subject,
            limits: Limits { uncertain: self.uncertain(), busy: self.busy(), ..limits() },
            contract: self.variant.as_ref().map_or(Contract::of(self.supervisor), |variant| variant.contract),
            policy: self.variant.as_ref().and_then(|variant| variant.policy.clone()),
            manners: self.manners.clone(),
            budget: self.budget,
        }
    }
}

/// Small enough that each of them is reached within a room, and all of them within the encoder's memory.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        drain: Duration::from_secs(10),
        requester_grace: Duration::from_secs(2),
        interrupt_grace: Duration::from_secs(1),
        close_grace: Duration::from_secs(1),
        stall_after: Duration::from_secs(5),
        attempts: 2,
        unproven: 2,
        sessions: 3,
        queued: 3,
        queued_per_session: 2,
        turns: 2,
        unknown_sends: 2,
        question_expiry: Duration::from_secs(7),
        ..Limits::default()
    }
}

/// The ways in which somebody wishes something of the life cycle.
pub const EACH_WISH: [Manner; 20] = [
    Manner::Restart,
    Manner::Force,
    Manner::Stop,
    Manner::StopForced,
    Manner::HttpRestart,
    Manner::HttpForced,
    Manner::HttpStop,
    Manner::HttpStopForced,
    Manner::Update,
    Manner::ChatRestart,
    Manner::ChatForced,
    Manner::GuestRestart,
    Manner::TurnRestart,
    Manner::TurnRestartWaits,
    Manner::TurnForced,
    Manner::TurnStop,
    Manner::TurnStopForced,
    Manner::Terminate,
    Manner::Interrupt,
    Manner::SupervisorStop,
];

/// All that may happen at once in a room of one session.
fn all() -> Vec<Manner> {
    let others = [Manner::ChatStop, Manner::ChatRenew, Manner::AgentFails, Manner::PersonStarts];
    [&EACH_WISH[..], &others].concat()
}

/// Restarts for which what would follow may be found unfit, and what may come meanwhile.
const UNFIT: [Manner; 6] = [
    Manner::Restart,
    Manner::Stop,
    Manner::ChatRestart,
    Manner::TurnRestartWaits,
    Manner::Terminate,
    Manner::CandidateUnfit,
];

/// A platform that cannot tell a repeat, and how the process that sends may be ended.
const BLIND: [Manner; 4] = [Manner::Restart, Manner::Force, Manner::ChatRestart, Manner::Blind];

/// Operators who climb to a stop, and nobody else who does anything about a loop that is stuck.
const STOPS: [Manner; 3] = [Manner::ClimbToStop, Manner::ClimbToStopForced, Manner::Unwatched];

/// Agents that ask their chat, which may answer, and how what waits for that may be ended.
const ASKS: [Manner; 7] = [
    Manner::Questions,
    Manner::Decides,
    Manner::Restart,
    Manner::Force,
    Manner::Terminate,
    Manner::ChatStop,
    Manner::ChatRestart,
];

/// The same, where what may have arrived is not sent again.
const DROPS: [Manner; 4] = [Manner::Force, Manner::Terminate, Manner::Blind, Manner::DropsUncertain];

/// The wishes that lead to different ends, each from another origin.
const WISHES: [Manner; 6] = [
    Manner::Force,
    Manner::Stop,
    Manner::ChatRestart,
    Manner::TurnRestartWaits,
    Manner::Terminate,
    Manner::SupervisorStop,
];

/// How much of each dimension a room has: sessions, messages, requests, kills, faults of the journal.
pub(super) struct Size(pub(super) u8, pub(super) u8, pub(super) u8, pub(super) u8, pub(super) u8);

/// The room of a supervisor that is as its row of the table says.
pub(super) fn room(supervisor: Supervisor, size: Size, manners: &[Manner]) -> Room {
    let Size(sessions, messages, requests, kills, journal) = size;
    let budget = Budget {
        sessions,
        messages,
        requests,
        kills,
        lost_writes: journal,
        slow: journal,
        starts: 3,
        ..Budget::NOTHING
    };
    Room { supervisor, variant: None, budget, manners: manners.to_vec() }
}

/// The same room, with so many operators who climb, a loop that gets stuck, and a stranger with the number of a dead process.
fn climbed(room: Room, ladders: u8) -> Room {
    with(room, |budget| (budget.ladders, budget.freezes, budget.strangers) = (ladders, 1, 1))
}

/// The room of a loop that waits for a disk, and of those who restart it with the ladder meanwhile and afterwards.
pub(super) fn disk_waits(supervisor: Supervisor, ladders: u8) -> Room {
    let manners = [Manner::Climb, Manner::ClimbForced, Manner::Unwatched, Manner::DiskWaits];
    with(room(supervisor, Size(1, 0, 0, 0, 0), &manners), |budget| (budget.ladders, budget.freezes) = (ladders, 1))
}

/// The rooms of those who climb to a stop, of what becomes of a process that they find stuck or gone, and of somebody who climbs to
/// a restart meanwhile.
pub(super) fn stops() -> [Room; 4] {
    use Manner::{Climb, ClimbToStop, ClimbToStopForced, DiskWaits, Terminate};
    use Supervisor::{Evergate, Nobody, S6, Systemd};
    [
        stopped(room(Nobody, Size(1, 0, 0, 1, 0), &STOPS), 1),
        stopped(room(Systemd, Size(1, 0, 0, 1, 0), &[&STOPS[..], &[Climb]].concat()), 2),
        stopped(room(Evergate, Size(1, 1, 1, 0, 0), &[ClimbToStop, ClimbToStopForced, Terminate, DiskWaits]), 1),
        stopped(room(S6, Size(1, 0, 0, 1, 0), &STOPS), 1),
    ]
}

/// The same room, with so many operators who climb, a loop that gets stuck, and somebody who pauses or is late to answer.
fn stopped(room: Room, ladders: u8) -> Room {
    with(room, |budget| (budget.ladders, budget.freezes, budget.slow) = (ladders, 1, 1))
}

/// The same room, with something more that may happen.
pub(super) fn with(mut room: Room, change: impl FnOnce(&mut Budget)) -> Room {
    change(&mut room.budget);
    room
}

/// All scopes.
///
/// The rooms of `ci` in the order of their numbers, and the dimensions that each pairs: S sessions (3), M messages (4), R
/// requests (2), K kills (2), J faults of the journal (a lost write, a deadline that passes in a write), X everything else
/// that can break (sends, redeliveries, a stuck loop, a cancelled request).
///
/// | rooms | supervisor | pairs |
/// |---|---|---|
/// | 1–8 | each | R, K and J with each supervisor, all wishes |
/// | 9–16 | each | S with each supervisor |
/// | 17–24 | each | M with each supervisor |
/// | 25 | supervise | S × M |
/// | 26 | supervise | S × R, in one session nothing is said: what each cut turn's chat is told multiplies all else (85–88 have all three) |
/// | 27 | supervise | S × K |
/// | 28 | supervise | S × J |
/// | 29 | supervise | M × R |
/// | 30 | supervise | M × K |
/// | 31 | supervise | M × J |
/// | 32 | supervise | R × K, with each two of the wishes of [`EACH_WISH`] |
/// | 33 | supervise | R × J, with the same |
/// | 34 | supervise | K × J |
/// | 35 | systemd | X, and a loop that waits for a disk |
/// | 36 | systemd | R, K, J and X on a platform that cannot tell a repeat |
/// | 37 | supervise | the same, where what may have arrived is not sent again |
/// | 38, 39 | systemd | M, R, K and J with agents that ask their chat |
/// | 40, 41 | supervise | M, K, J and R where what is said during a turn takes its place, or shares the next one |
/// | 42–44 | nobody, systemd, supervise | one or two operators with the ladder, a stuck loop (in 44 perhaps one that waits for a disk), a stranger with the number of a dead process |
/// | 45–51 | each but supervise | R × K |
/// | 52–56 | supervise | S × R with the other wishes: restart, stop and `/restart`, a turn's restart with a child that waits for it, both signals, the supervisor's stop, a guest's `/restart`, a restart that is taken back; but for the supervisor's stop one session is silent, as in 26 |
/// | 57–59 | supervise, systemd | M × R with the same |
/// | 60–63 | systemd | R × K where our unit is found as it is, where it kills after 12 s but grants more (X: turns that get on, a late answer), where it never kills; where a unit by hand kills after 5 s and grants nothing |
/// | 64–68 | systemd | R × K in units by hand with a start limit: `Restart=` on-failure, no (both with a late answer), always, on-success, on-abnormal |
/// | 69–72 | Docker, launchd, Kubernetes, s6 | R × K with the limits that a unit of ours tells |
/// | 73, 74 | supervise | R × K and R × J with a wish that is taken back |
/// | 75 | supervise | S × R with a turn's restart without a child that waits; one session is silent |
/// | 76 | supervise | S × R with a forced stop, a forced `/restart`, a restart over HTTP, an update; one session is silent |
/// | 77 | supervise | M × R with the same |
/// | 78 | supervise | S × R with a forced restart, a stop and a forced stop over HTTP and of a turn whose child waits; one session is silent |
/// | 79 | supervise | M × R with the same |
/// | 80 | nobody | two operators with the ladder and a loop that waits for a disk, which answers meanwhile or does not |
/// | 81–84 | nobody, systemd, supervise, s6 | one or two operators with the ladder of a stop (in 82 perhaps one of them with that of a restart), K, a stuck loop, whoever starts it pausing (in 83 M, a SIGTERM, and perhaps a loop that waits for a disk) |
/// | 85–88 | supervise | S × R with three that have spoken when the wishes come ([`Manner::SpeakFirst`]): restart and stop, by force, `/restart` (which one of the three says) and SIGTERM, a turn's restart with a child that waits for it and SIGINT; `deep` has the others with three, at any time |
/// | 89–91 | supervise | R × K, R × J with a stuck loop, R × K with the ladders, where `supervise` is killed and the gateway lives on alone |
///
/// In 9–24, 26, 27, 29, 30, 34, 52–59, 75–79 and 85–88 people speak to the first generation only ([`Manner::SpeakEarly`]): what they say to
/// later ones multiplies all else, and is in 1–8, 25, 28, 31–33 and 35 on. A deadline passes while an agent works, however long
/// that takes, in every room; while the disk, a platform or the supervisor has still to answer it passes only where the budget
/// has something `slow`. `evergate-sim scopes` prints all rooms with what they cover, worked out from the rooms themselves
/// (`coverage`).
///
/// The terms of 60–72 are worked out by the code with which the gateway finds out about its supervisor, and what is done after an end
/// is what the unit says; they are in `variants`. A unit that starts the gateway again after exit status 0 undoes an `evergate
/// stop`: `evergate doctor` finds that, and nobody wishes for one in 66 and 67.
///
/// `deep` is no larger `ci`: its rooms have each three of S (3), M (3), R (2), K (2) and J (1) at once, with fewer wishes and
/// under fewer supervisors.
///
/// | rooms | supervisor | together |
/// |---|---|---|
/// | 1–8 | each | R × K × J, with the wishes that lead to different ends; under supervise each two of the wishes of [`EACH_WISH`] |
/// | 9 | supervise | S × M × R |
/// | 10 | supervise | S × R × K, one session is silent: with three that speak it is not seen |
/// | 11 | supervise | S × R × J, likewise |
/// | 12 | supervise | S × M × K × J |
/// | 13 | supervise | M × R × K |
/// | 14 | supervise | M × R × J |
/// | 15 | systemd | K and everything else that can break |
/// | 16 | systemd | K × J on a platform that cannot tell a repeat |
/// | 17, 18 | systemd | two messages with K, and K × J, with agents that ask their chat |
/// | 19–26 | supervise | S × M × R with the other wishes, of every kind and origin; in 26 taken back |
///
/// In 9–14 and 19–26 people speak to the first generation only; operators with the ladder are in `ci`. What all five come to together nobody has seen: a room of that kind had
/// 4.4 million states within nine steps, and the ways through those of `ci` are up to five times as long.
#[must_use]
pub fn table() -> Vec<Scope> {
    use Supervisor::{Evergate, Nobody, Systemd};
    let supervisors = || Contract::TABLE.iter().map(|contract| contract.supervisor);
    let climbs = [Manner::Climb, Manner::ClimbForced, Manner::Unwatched];
    let seed = vec![
        room(Evergate, Size(1, 1, 1, 1, 0), &all()),
        room(Systemd, Size(1, 1, 1, 0, 1), &all()),
        room(Nobody, Size(2, 2, 0, 1, 0), &[]),
        room(Nobody, Size(1, 1, 1, 1, 0), &UNFIT),
        with(room(Evergate, Size(1, 1, 1, 1, 0), &BLIND), |budget| budget.lost_sends = 2),
        climbed(room(Evergate, Size(1, 0, 0, 1, 0), &climbs), 1),
        room(Nobody, Size(1, 1, 0, 1, 0), &[Manner::Questions, Manner::Decides]),
        disk_waits(Evergate, 1),
        stopped(room(Evergate, Size(1, 0, 0, 1, 0), &STOPS), 1),
    ];
    let mut ci: Vec<Room> = supervisors().map(|who| room(who, Size(1, 1, 1, 1, 1), &all())).collect();
    ci.extend(supervisors().map(|who| room(who, Size(3, 3, 1, 0, 0), &[Manner::Terminate, Manner::SpeakEarly])));
    ci.extend(supervisors().map(|who| room(who, Size(1, 4, 1, 0, 0), &[Manner::Terminate, Manner::SpeakEarly])));
    ci.extend([
        room(Evergate, Size(3, 4, 0, 0, 0), &[]),
        room(Evergate, Size(3, 2, 2, 0, 0), &[Manner::Force, Manner::SpeakEarly]),
        room(Evergate, Size(3, 3, 0, 2, 0), &[Manner::SpeakEarly]),
        room(Evergate, Size(3, 3, 0, 0, 1), &[]),
        room(Evergate, Size(1, 4, 2, 0, 0), &[Manner::Force, Manner::SpeakEarly]),
        room(Evergate, Size(1, 4, 0, 2, 0), &[Manner::SpeakEarly]),
        room(Evergate, Size(1, 4, 0, 0, 1), &[]),
        room(Evergate, Size(1, 1, 2, 2, 0), &EACH_WISH),
        room(Evergate, Size(1, 1, 2, 0, 1), &EACH_WISH),
        room(Evergate, Size(1, 2, 0, 2, 1), &[Manner::SpeakEarly]),
        with(room(Systemd, Size(1, 1, 1, 1, 0), &[&WISHES[..], &[Manner::DiskWaits]].concat()), |budget| {
            (budget.cancels, budget.lost_sends, budget.redeliveries, budget.freezes) = (1, 1, 1, 1);
        }),
        with(room(Systemd, Size(1, 1, 1, 1, 1), &BLIND), |budget| (budget.lost_sends, budget.freezes) = (2, 1)),
        with(room(Evergate, Size(1, 1, 1, 1, 1), &DROPS), |budget| budget.lost_sends = 1),
        room(Systemd, Size(1, 2, 1, 1, 0), &ASKS),
        room(Systemd, Size(1, 1, 1, 1, 1), &ASKS),
        room(Evergate, Size(1, 3, 0, 1, 1), &[Manner::Interrupts, Manner::ChatStop]),
        room(Evergate, Size(1, 3, 1, 1, 0), &[Manner::Collects, Manner::ChatRestart, Manner::AgentFails]),
    ]);
    let watched = [Manner::Climb, Manner::ClimbForced, Manner::Terminate, Manner::DiskWaits];
    ci.extend([
        climbed(room(Nobody, Size(1, 1, 0, 1, 0), &climbs), 1),
        climbed(room(Systemd, Size(1, 0, 0, 1, 0), &climbs), 2),
        climbed(room(Evergate, Size(1, 1, 1, 0, 0), &watched), 1),
    ]);
    let others = supervisors().filter(|who| *who != Evergate);
    ci.extend(others.map(|who| room(who, Size(1, 1, 2, 2, 0), &WISHES)));
    ci.extend(wishes_among_many());
    let deep = each_three();
    vec![
        Scope { name: "seed", purpose: "seconds; in every run of the tests", rooms: seed, shapes: &SEED },
        Scope { name: "ci", purpose: "minutes; each pair of dimensions", rooms: ci, shapes: &CI },
        Scope {
            name: "deep",
            purpose: "by hand, a quarter of an hour and 7 GB; each three dimensions",
            rooms: deep,
            shapes: &DEEP,
        },
    ]
}

/// The rooms of `deep`.
fn each_three() -> Vec<Room> {
    use Manner::{DiskWaits, Force, SpeakEarly};
    use Supervisor::{Evergate, Systemd};
    let forced = |size| room(Evergate, size, &[Force, SpeakEarly]);
    let supervisors = Contract::TABLE.iter().map(|contract| contract.supervisor);
    let wishes_of = |who| if who == Evergate { &EACH_WISH[..] } else { &WISHES };
    let mut deep: Vec<Room> = supervisors.map(|who| room(who, Size(1, 1, 2, 2, 1), wishes_of(who))).collect();
    deep.extend([
        forced(Size(3, 3, 2, 0, 0)),
        forced(Size(3, 2, 2, 2, 0)),
        forced(Size(3, 2, 2, 0, 1)),
        room(Evergate, Size(3, 3, 0, 2, 1), &[SpeakEarly]),
        forced(Size(1, 3, 2, 2, 0)),
        forced(Size(1, 3, 2, 0, 1)),
        with(room(Systemd, Size(1, 1, 1, 2, 0), &[&WISHES[..], &[DiskWaits]].concat()), |budget| {
            (budget.cancels, budget.lost_sends, budget.redeliveries, budget.freezes) = (1, 1, 1, 1);
        }),
        with(room(Systemd, Size(1, 1, 1, 2, 1), &BLIND), |budget| (budget.lost_sends, budget.freezes) = (2, 1)),
        room(Systemd, Size(1, 2, 1, 2, 0), &ASKS),
        room(Systemd, Size(1, 1, 1, 2, 1), &ASKS),
    ]);
    let sessions = |wishes: &[Manner]| room(Evergate, Size(3, 3, 2, 0, 0), &[wishes, &[SpeakEarly]].concat());
    let [of_chats, of_waiting_turns, asking_turns, by_force, of_turns_and_http] = AMONG_SESSIONS;
    // What is in it multiplies with everything else: three of them are seen at a time.
    let (over_http, of_turns) = of_turns_and_http.split_at(of_turns_and_http.len() / 2);
    let restarted_or_stopped = [Manner::Restart, Manner::Stop];
    let each = [&restarted_or_stopped[..], of_chats, of_waiting_turns, asking_turns, by_force, over_http, of_turns];
    deep.extend(each.map(sessions));
    deep.push(with(sessions(&[Manner::Restart]), |budget| budget.cancels = 1));
    deep
}

/// Rooms in which three sessions have spoken when two wishes meet that lead to different ends.
pub(super) fn three_have_spoken() -> [Room; 4] {
    let [of_chats, of_waiting_turns, ..] = AMONG_SESSIONS;
    let so = [Manner::SpeakEarly, Manner::SpeakFirst];
    let each = [&[Manner::Restart, Manner::Stop][..], &[Manner::Force], of_chats, of_waiting_turns];
    each.map(|wishes| room(Supervisor::Evergate, Size(3, 3, 2, 0, 0), &[wishes, &so].concat()))
}

/// What of wishes the rooms before have not paired: one that is taken back with deaths and with faults of the journal, and among
/// several sessions and messages a turn that asks by itself, and those that come by force or through something else.
pub(super) fn wishes_left() -> [Room; 7] {
    use Manner::{ChatRestart, Restart, SpeakEarly, Stop};
    use Supervisor::Evergate;
    let early = |size, wishes: &[Manner]| room(Evergate, size, &[wishes, &[SpeakEarly]].concat());
    let taken_back =
        |size| with(room(Evergate, size, &[Restart, ChatRestart, Stop]), |budget: &mut Budget| budget.cancels = 1);
    let [_, _, asking_turns, by_force, of_turns_and_http] = AMONG_SESSIONS;
    [
        taken_back(Size(1, 1, 2, 2, 0)),
        taken_back(Size(1, 1, 2, 0, 1)),
        early(Size(3, 2, 2, 0, 0), asking_turns),
        early(Size(3, 2, 2, 0, 0), by_force),
        early(Size(1, 4, 2, 0, 0), by_force),
        early(Size(3, 2, 2, 0, 0), of_turns_and_http),
        early(Size(1, 4, 2, 0, 0), of_turns_and_http),
    ]
}

/// Wishes that meet each other while several sessions speak: in `ci` two of them, and in `deep` three.
const AMONG_SESSIONS: [&[Manner]; 5] = {
    use Manner::{ChatForced, ChatRestart, HttpForced, HttpRestart, HttpStop, HttpStopForced, Interrupt, StopForced};
    use Manner::{Terminate, TurnForced, TurnRestart, TurnRestartWaits, TurnStop, TurnStopForced, Update};
    [
        &[ChatRestart, Terminate],
        &[TurnRestartWaits, Interrupt],
        &[TurnRestart],
        &[StopForced, ChatForced, HttpRestart, Update],
        &[HttpForced, HttpStop, HttpStopForced, TurnForced, TurnStop, TurnStopForced],
    ]
};

/// The pairs S × R and M × R with wishes of every kind and origin.
fn wishes_among_many() -> [Room; 8] {
    use Manner::{
        ChatRestart, GuestRestart, Interrupt, Restart, SpeakEarly, Stop, SupervisorStop, Terminate, TurnRestart,
        TurnRestartWaits,
    };
    let [of_chats, of_waiting_turns, ..] = AMONG_SESSIONS;
    use Supervisor::{Evergate, Systemd};
    let sessions = |messages, wishes: &[Manner]| room(Evergate, Size(3, messages, 2, 0, 0), wishes);
    let messages = |who, wishes: &[Manner]| room(who, Size(1, 4, 2, 0, 0), wishes);
    let taken_back = |room| with(room, |budget| budget.cancels = 1);
    [
        sessions(2, &[Restart, Stop, SpeakEarly]),
        sessions(2, &[of_chats, &[SpeakEarly]].concat()),
        sessions(2, &[of_waiting_turns, &[SpeakEarly]].concat()),
        sessions(3, &[SupervisorStop, GuestRestart, SpeakEarly]),
        taken_back(sessions(2, &[Restart, SpeakEarly])),
        messages(Evergate, &[Restart, Stop, ChatRestart, TurnRestart, SpeakEarly]),
        messages(Systemd, &[TurnRestartWaits, Terminate, SupervisorStop, SpeakEarly]),
        taken_back(messages(Evergate, &[Restart, Interrupt, GuestRestart, SpeakEarly])),
    ]
}
