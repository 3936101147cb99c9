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
const CI: [Shape; 84] = [
    shape(283_820, 600_868),
    shape(200_909, 417_667),
    shape(200_909, 417_667),
    shape(200_909, 417_667),
    shape(200_909, 417_667),
    shape(200_909, 417_667),
    shape(215_209, 450_586),
    shape(201_633, 418_391),
    shape(159_214, 281_395),
    shape(145_163, 249_111),
    shape(145_163, 249_111),
    shape(145_163, 249_111),
    shape(145_163, 249_111),
    shape(145_163, 249_111),
    shape(145_163, 249_111),
    shape(145_163, 249_111),
    shape(24_185, 44_442),
    shape(20_900, 36_355),
    shape(20_900, 36_355),
    shape(20_900, 36_355),
    shape(20_900, 36_355),
    shape(20_900, 36_355),
    shape(20_900, 36_355),
    shape(20_900, 36_355),
    shape(40_583, 69_111),
    shape(50_238, 85_254),
    shape(2_749_630, 5_966_524),
    shape(20_015, 34_780),
    shape(366_516, 656_777),
    shape(1_072_968, 2_260_730),
    shape(13_018, 23_390),
    shape(1_615_816, 4_445_601),
    shape(544_048, 1_083_224),
    shape(21_649, 47_666),
    shape(780_795, 2_614_841),
    shape(2_386_026, 5_894_156),
    shape(68_532, 132_688),
    shape(782_613, 1_590_674),
    shape(313_906, 662_910),
    shape(687_465, 1_344_801),
    shape(116_971, 218_933),
    shape(698_252, 2_144_995),
    shape(609_128, 2_156_167),
    shape(955_224, 3_098_830),
    shape(529_686, 1_408_128),
    shape(300_610, 761_956),
    shape(298_958, 757_615),
    shape(298_958, 757_615),
    shape(300_610, 761_956),
    shape(298_958, 757_615),
    shape(299_746, 758_403),
    shape(81_153, 137_805),
    shape(37_419, 62_005),
    shape(54_195, 94_462),
    shape(65_916, 107_634),
    shape(135_084, 245_336),
    shape(1_551_186, 2_763_856),
    shape(1_734_434, 3_462_954),
    shape(1_900_914, 3_604_709),
    shape(167_447, 354_678),
    shape(1_388_387, 3_129_018),
    shape(167_447, 354_678),
    shape(167_384, 354_565),
    shape(652_256, 1_488_606),
    shape(684_538, 1_554_810),
    shape(136_295, 288_117),
    shape(136_217, 288_117),
    shape(167_609, 354_864),
    shape(115_576, 231_437),
    shape(115_436, 231_163),
    shape(116_412, 233_009),
    shape(115_436, 231_163),
    shape(266_368, 776_924),
    shape(106_824, 215_001),
    shape(35_550, 61_375),
    shape(154_117, 265_474),
    shape(1_428_959, 2_538_934),
    shape(307_358, 530_910),
    shape(1_475_064, 2_710_979),
    shape(165_573, 492_266),
    shape(31_499, 63_279),
    shape(1_132_920, 3_017_005),
    shape(365_561, 1_063_579),
    shape(9_705, 19_592),
];
/// The rooms of `seed`.
const SEED: [Shape; 9] = [
    shape(24_260, 45_758),
    shape(34_576, 59_677),
    shape(2_526, 4_389),
    shape(5_187, 9_228),
    shape(21_324, 37_208),
    shape(15_377, 45_630),
    shape(443, 716),
    shape(5_236, 12_367),
    shape(8_102, 16_839),
];
/// The rooms of `deep`.
const DEEP: [Shape; 26] = [
    shape(6_747_687, 19_988_360),
    shape(3_206_440, 8_898_564),
    shape(3_174_387, 8_810_454),
    shape(3_173_669, 8_808_496),
    shape(3_206_440, 8_898_564),
    shape(3_174_387, 8_810_454),
    shape(15_657_358, 47_177_807),
    shape(3_182_396, 8_818_463),
    shape(3_735_057, 6_600_781),
    shape(14_211_058, 37_075_157),
    shape(2_674_455, 5_202_918),
    shape(22_934_564, 53_236_228),
    shape(16_523_432, 39_095_709),
    shape(1_569_323, 2_974_177),
    shape(2_126_746, 7_563_065),
    shape(6_647_434, 18_092_010),
    shape(3_583_222, 9_190_098),
    shape(1_060_020, 2_813_077),
    shape(4_779_148, 8_424_396),
    shape(3_483_999, 6_104_700),
    shape(3_631_399, 6_656_763),
    shape(3_509_541, 6_355_211),
    shape(9_307_103, 16_410_152),
    shape(7_442_686, 13_115_069),
    shape(3_436_139, 6_293_872),
    shape(8_435_171, 15_281_860),
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
/// | 26 | supervise | S × R, in one session nothing is said: what each cut turn's chat is told multiplies all else |
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
/// | 52–56 | supervise | S × R with the other wishes: restart, stop and `/restart`, a turn's restart with a child that waits for it, both signals, the supervisor's stop, a guest's `/restart`, a restart that is taken back; but for the supervisor's stop one session is silent, as in 26: `deep` has those with three that speak |
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
///
/// In 9–24, 26, 27, 29, 30, 34, 52–59 and 75–79 people speak to the first generation only ([`Manner::SpeakEarly`]): what they say to
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
            purpose: "by hand, a quarter of an hour and 16 GB; each three dimensions",
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
