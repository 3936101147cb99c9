//! The model world around one gateway at a time: a platform that delivers at least once, agents, a journal of which the
//! synced prefix survives, a supervisor that keeps to the production table, operators, and deaths between any two
//! effects. A world is a value; what can happen in it is in `action`, what then happens in `perform`.

pub mod action;
mod choices;
pub mod encode;
mod ending;
mod judgement;
mod memo;
pub mod memory;
mod operator;
pub mod parts;
pub mod perform;
mod reaction;
mod renewal;
pub mod supervision;
mod watching;

pub use operator::Climber;
pub use watching::Standstill;

use crate::subject::Subject;
use encode::BEGINNING;
use evergate_core::gateway::Phase;
use evergate_core::id::{DeliveryId, GenerationId, MessageId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Standing};
use evergate_core::limits::Limits;
use evergate_core::record::Record;
use evergate_core::recovery::{Recovered, Start};
use evergate_core::request::{Mode, Origin, Wish};
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::time::Instant;
use evergate_core::unordered::hash_entries;
use evergate_core::verdict::Verdict;
use evergate_core::witness::Witness;
use memory::{Desk, Instance, Memory};
use operator::Operator;
use parts::Part;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;
use supervision::Policy;
use watching::Stare;

/// How often each of these may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Budget {
    /// Messages that people say.
    pub messages: u8,
    /// Sessions in which they say them.
    pub sessions: u8,
    /// Wishes about the life cycle, of any kind and origin.
    pub requests: u8,
    /// Requests that are taken back.
    pub cancels: u8,
    /// Deaths at any point.
    pub kills: u8,
    /// Writes of the journal that fail.
    pub lost_writes: u8,
    /// Times that a deadline passes while the disk, a platform or the supervisor has still to answer.
    pub slow: u8,
    /// Sends that fail, with or without having arrived.
    pub lost_sends: u8,
    /// Messages that are delivered again although they were acked.
    pub redeliveries: u8,
    /// Loops that stand still, for ever or until their disk answers.
    pub freezes: u8,
    /// Operators who climb the ladder of `evergate restart` or `evergate stop`.
    #[serde(default)]
    pub ladders: u8,
    /// Strangers who get the number of a dead process.
    #[serde(default)]
    pub strangers: u8,
    /// Times that an agent shows that it gets on.
    #[serde(default)]
    pub progress: u8,
    /// Deaths of the `evergate supervise` that started it.
    #[serde(default)]
    pub keepers: u8,
    /// Starts by the supervisor before its start limit is reached; counted only where it has one.
    pub starts: u8,
}

impl Budget {
    /// Nothing happens but what goes forward by itself, and no start limit is ever reached.
    pub const NOTHING: Self = Self {
        messages: 0,
        sessions: 0,
        requests: 0,
        cancels: 0,
        kills: 0,
        lost_writes: 0,
        slow: 0,
        lost_sends: 0,
        redeliveries: 0,
        freezes: 0,
        ladders: 0,
        strangers: 0,
        progress: 0,
        keepers: 0,
        starts: u8::MAX,
    };
}

/// What may be wished, and by whom; what may be said; how agents may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// A graceful restart from the command line.
    Restart,
    /// A forced restart from the command line.
    Force,
    /// A stop from the command line.
    Stop,
    /// A forced stop from the command line.
    StopForced,
    /// A graceful restart over HTTP.
    HttpRestart,
    /// A forced restart over HTTP.
    HttpForced,
    /// A stop over HTTP.
    HttpStop,
    /// A forced stop over HTTP.
    HttpStopForced,
    /// A restart into a new version on disk.
    Update,
    /// `/restart` in a chat.
    ChatRestart,
    /// `/restart force` in a chat.
    ChatForced,
    /// `/restart` by somebody who may not.
    GuestRestart,
    /// `/stop` in a chat.
    ChatStop,
    /// `/new` in a chat.
    ChatRenew,
    /// A running turn asks for a restart.
    TurnRestart,
    /// The same, and a child of the turn waits for the outcome.
    TurnRestartWaits,
    /// A running turn asks for a forced restart, and a child of it waits for the outcome.
    TurnForced,
    /// A running turn asks for a stop, and a child of it waits for the outcome.
    TurnStop,
    /// A running turn asks for a forced stop, and a child of it waits for the outcome.
    TurnStopForced,
    /// A SIGTERM that nobody announced.
    Terminate,
    /// A SIGINT.
    Interrupt,
    /// The supervisor is told to stop the gateway.
    SupervisorStop,
    /// An agent asks its chat, once in each of its starts and always the same.
    Questions,
    /// Somebody there may answer, or may not.
    Decides,
    /// An agent fails.
    AgentFails,
    /// People speak to the first generation only: a narrower room, for dimensions that are large together.
    SpeakEarly,
    /// People have said all that they will before a wish comes through anything but a chat: narrower still.
    SpeakFirst,
    /// What would be started next may be found unable to take over, late or never.
    CandidateUnfit,
    /// A killed gateway's supervisor is beaten to it by a person, who wants it up.
    PersonStarts,
    /// An operator climbs, patiently.
    Climb,
    /// An operator climbs, by force.
    ClimbForced,
    /// An operator climbs to a stop, patiently.
    ClimbToStop,
    /// An operator climbs to a stop, by force.
    ClimbToStopForced,
    /// The watchdogs sleep: only an operator helps a loop that is stuck.
    Unwatched,
    /// A loop that stands still may wait for a disk, which may answer.
    DiskWaits,
    /// The platform cannot tell a repeat from a second text.
    Blind,
    /// What may have arrived is not sent again.
    DropsUncertain,
    /// What is said during a turn takes its place.
    Interrupts,
    /// What is said during a turn shares the next one.
    Collects,
}

impl Manner {
    /// What somebody asks for who is no turn and no chat, and through which door.
    #[must_use]
    pub const fn asked_from_outside(self) -> Option<(Wish, Mode, Origin)> {
        Some(match self {
            Self::Restart => (Wish::Restart, Mode::Graceful, Origin::Cli),
            Self::Force => (Wish::Restart, Mode::Force, Origin::Cli),
            Self::Stop => (Wish::Stop, Mode::Graceful, Origin::Cli),
            Self::StopForced => (Wish::Stop, Mode::Force, Origin::Cli),
            Self::HttpRestart => (Wish::Restart, Mode::Graceful, Origin::Http),
            Self::HttpForced => (Wish::Restart, Mode::Force, Origin::Http),
            Self::HttpStop => (Wish::Stop, Mode::Graceful, Origin::Http),
            Self::HttpStopForced => (Wish::Stop, Mode::Force, Origin::Http),
            Self::Update => (Wish::Restart, Mode::Graceful, Origin::Update),
            _ => return None,
        })
    }

    /// What a running turn asks for, and whether a child of it waits for the outcome.
    #[must_use]
    pub const fn asked_by_a_turn(self) -> Option<(Wish, Mode, bool)> {
        Some(match self {
            Self::TurnRestart => (Wish::Restart, Mode::Graceful, false),
            Self::TurnRestartWaits => (Wish::Restart, Mode::Graceful, true),
            Self::TurnForced => (Wish::Restart, Mode::Force, true),
            Self::TurnStop => (Wish::Stop, Mode::Graceful, true),
            Self::TurnStopForced => (Wish::Stop, Mode::Force, true),
            _ => return None,
        })
    }
}

/// What is the same in all states of one exploration.
#[derive(Clone, Debug)]
pub struct Setting<S: Subject> {
    /// What the subject is given.
    pub subject: S::Setting,
    /// Its limits.
    pub limits: Limits,
    /// The terms of its supervisor, as it is told them.
    pub contract: Contract,
    /// What the supervisor does after an end, where that is more than those terms say.
    pub policy: Option<Policy>,
    /// What may happen at all.
    pub manners: Vec<Manner>,
    /// How often.
    pub budget: Budget,
}

impl<S: Subject> Setting<S> {
    /// The terms that are found by whoever looks for the supervisor: nobody's, where that is gone.
    fn terms(&self, alone: bool) -> Contract {
        if alone { Contract::of(Supervisor::Nobody) } else { self.contract }
    }
}

/// What a person has said, as its platform sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Said {
    session: SessionId,
    asked: Asked,
    standing: Standing,
    /// Under which id the gateway's driver knows it; 0 before it does.
    message: MessageId,
    /// Whether that is on disk.
    on_disk: bool,
    offer: Offer,
}

/// All that was said: it does not matter in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Vec<Said>);

impl Hash for Words {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_entries(self.0.iter(), state);
    }
}

/// How far a platform has come with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Offer {
    /// To be delivered.
    Due,
    /// Delivered, and not acked.
    Made,
    /// Not accepted for now.
    Refused,
    /// Acked.
    Acked,
}

/// A process of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Agent {
    session: SessionId,
    generation: GenerationId,
    interrupted: bool,
    killed: bool,
    /// The request whose outcome its child waits for.
    waits_for: Option<RequestId>,
    question: Asks,
}

/// How far an agent has come with its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asks {
    /// It has asked nothing.
    Nothing,
    /// It has asked, and waits.
    Waits,
    /// It was told.
    Heard,
}

/// What others have in their hands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hands {
    /// The processes of turns.
    agents: BTreeMap<TurnId, Agent>,
    /// What platforms have been handed.
    sending: BTreeMap<DeliveryId, SessionId>,
    /// What a blind platform was handed and is about to send.
    intended: BTreeSet<DeliveryId>,
    /// Turns of which nothing may be alive any more.
    reclaims: BTreeSet<TurnId>,
    /// Those who climb.
    operators: Vec<Operator>,
}

/// Records on their way to the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Commit {
    records: Vec<Record>,
}

/// Whether the process is up, and if not, what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Process {
    /// It runs.
    Up,
    /// Its loop stands still, and its watchdog has looked so long.
    Stuck(Stare),
    /// It is gone, and will be started so.
    Due(Start),
    /// It is gone, because somebody wanted that.
    Down,
    /// It is gone, and only a person can start it.
    Forlorn,
}

/// The whole world, as a value. What is large in it is kept by a [`Memory`], which every question about it needs.
pub struct World<S: Subject> {
    now: Instant,
    /// How long the world was there when its clock was put back.
    earlier: Duration,
    process: Process,
    subject: Option<Part<Instance<S>>>,
    /// The phase, as the gateway has told it.
    phase: Phase,
    /// What is on disk, as the next generation will find it.
    durable: Part<Recovered>,
    /// The commit that the disk is at work on.
    flying: Part<Commit>,
    /// What gathers for the next one.
    gathering: Part<Commit>,
    said: Part<Words>,
    hands: Part<Hands>,
    /// The platforms were asked to open.
    opening: bool,
    /// The SIGTERM about which the supervisor was asked.
    supervisor_asked: Option<RequestId>,
    /// The look at what would be started next that is under way.
    candidate_checked: Option<RequestId>,
    /// The supervisor has been told to stop the gateway.
    stop_job: bool,
    /// The `evergate supervise` that started it is gone.
    alone: bool,
    /// It has heard a signal, where that matters in the end: where it may be alone then.
    heard: bool,
    /// A signal that the stuck loop has not heard.
    signal_waits: bool,
    /// Somebody wanted this start in spite of a stop, and its generation has not begun.
    wanted: bool,
    /// The guard outside the loop, and how it ends the process.
    guard: Option<(Instant, Verdict)>,
    last_message: MessageId,
    last_request: RequestId,
    left: Budget,
    witness: Part<Witness>,
}

impl<S: Subject> Clone for World<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Subject> Copy for World<S> {}

impl<S: Subject> World<S> {
    /// A machine on which the gateway was never started.
    #[must_use]
    pub fn new(desk: &mut Desk<'_, S>) -> Self {
        Self {
            now: BEGINNING,
            earlier: Duration::ZERO,
            process: Process::Due(Start::Wanted),
            subject: None,
            phase: Phase::Ended,
            durable: desk.keep_journal(Recovered::default()),
            flying: Memory::<S>::NOTHING,
            gathering: Memory::<S>::NOTHING,
            said: desk.keep_said(Vec::new()),
            hands: desk.keep_hands(Hands::default()),
            opening: false,
            supervisor_asked: None,
            candidate_checked: None,
            stop_job: false,
            alone: false,
            heard: false,
            signal_waits: false,
            wanted: false,
            guard: None,
            last_message: MessageId::default(),
            last_request: RequestId::default(),
            left: desk.memory.setting.budget,
            witness: desk.first_witness(),
        }
    }

    /// How far its clock is ahead of its age, in milliseconds.
    pub(crate) fn ahead_ms(&self) -> u64 {
        BEGINNING.as_millis().saturating_sub(self.earlier.as_millis() as u64)
    }

    /// For how long the world is there.
    #[must_use]
    pub fn age_ms(&self) -> u64 {
        (self.earlier + (self.now - BEGINNING)).as_millis() as u64
    }

    /// The terms that hold now.
    fn contract(&self, memory: &Memory<S>) -> Contract {
        memory.setting.terms(self.alone)
    }

    /// The gateway, while a process runs.
    #[must_use]
    pub fn subject<'m>(&self, memory: &'m Memory<S>) -> Option<&'m S> {
        self.subject.map(|part| &memory.instance(part).subject)
    }
}
