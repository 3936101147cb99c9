//! What is written down of a run: its moments in order, how often it came to the places that a set of runs has to reach, and
//! the rules that broke. It is the one thing that all hosts share; it decides nothing.

use crate::story::{Broken, Kind, Lane, Moment};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The logbook of one run.
#[derive(Default)]
pub struct Logbook(Mutex<Pages>);

/// What stands in it.
#[derive(Clone, Default)]
pub struct Pages {
    /// What happened.
    pub moments: Vec<Moment>,
    /// How often the run came where.
    pub marks: BTreeMap<Mark, u64>,
    /// Requests of clients, and faults.
    pub inputs: u64,
    /// The rules that broke, in the order in which that was seen.
    pub broken: Vec<Broken>,
    /// Simulated time, as the run's own loop knows it.
    pub now_ms: u64,
    /// The generation that lives or lived last.
    pub generation: u64,
    /// The rules that the audit has looked at, as bits.
    pub looked: u32,
}

macro_rules! marks {
    ($($name:ident $word:literal $floor:literal,)*) => {
        /// A place that a set of runs has to reach, or it shows nothing about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark { $(#[doc = $word] $name,)* }

        impl Mark {
            /// All of them, with their words and how often 500 runs have to reach them at the least.
            pub const TABLE: &'static [(Self, &'static str, u64)] = &[$((Self::$name, $word, $floor),)*];
        }
    };
}

marks! {
    Killed "gateway killed" 150,
    PowerCut "power cut" 60,
    DeathWhileDraining "death while draining" 25,
    DeathInsideCommit "death inside a commit" 120,
    DeathInStart "death while starting" 8,
    PowerCutWithUnsyncedWrites "power cut with unsynced writes" 35,
    TornSector "torn sector at a power cut" 30,
    FsyncFailed "fsync failed" 80,
    DiskFullMet "disk full met" 80,
    SlowSync "slow write" 400,
    RestartAccepted "restart accepted" 120,
    RestartWhileDraining "restart accepted while draining" 8,
    RestartFromTurn "restart accepted from inside a turn" 120,
    RestartFromChat "restart accepted from a chat" 120,
    StopAccepted "stop accepted" 15,
    Stopped "gateway stopped on purpose" 25,
    RequestOverruled "request overruled" 3,
    Redelivered "redelivered message answered 200" 300,
    AnswerLost "no answer to a message, asked again" 800,
    Refused "message refused for now" 500,
    TurnResumed "turn resumed" 300,
    TurnFailed "turn failed" 150,
    TurnStopped "turn stopped by its chat" 10,
    Quarantined "session set aside" 25,
    Partitioned "network partitioned" 50,
    PartitionHealed "partition healed" 50,
    StreamResumed "event stream resumed" 1000,
    RespawnPause "respawn pause taken" 120,
    GuardEnded "guard ended the process" 6,
    SignalTerminate "stray SIGTERM" 35,
    SupervisorStopped "supervisor told to stop" 12,
    OrphanEnded "orphans of a dead gateway ended" 80,
    AgentBereft "agent lost its gateway" 180,
    AgentsUnheard "agents not heard for too long" 4,
    UpdateGivenAgain "telegram: update given again" 50,
    SendAnswerLost "telegram: answer to a send lost" 20,
    ShownTwiceMarked "telegram: repeat shown and marked" 60,
    DroppedWithAWord "telegram: text dropped with a word" 30,
    ShownGrowing "telegram: shown answer changed" 1,
    PollConflict "telegram: poll told 409" 15,
    AskedForQuiet "telegram: send told 429" 2,
    BotApiRestarted "telegram: server restarted" 25,
}

impl Logbook {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that stands in it.
    #[must_use]
    pub fn read(&self) -> Pages {
        let mut pages = self.pages().clone();
        // The hosts take turns in each step of the world; what they write down is told in the order of time.
        pages.moments.sort_by_key(|moment| moment.at_ms);
        pages
    }

    /// The run's own loop says what time it is, for what happens outside of all hosts.
    pub fn set_now(&self, now_ms: u64) {
        self.pages().now_ms = now_ms;
    }

    /// A generation begins.
    pub fn set_generation(&self, generation: u64) {
        self.pages().generation = generation;
    }

    /// The generation that lives or lived last.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.pages().generation
    }

    /// Writes a moment down.
    pub fn note(&self, lane: Lane, kind: Kind, what: impl FnOnce() -> String) {
        self.write(lane, kind, what(), String::new());
    }

    /// Writes a moment down with more to read.
    pub fn write(&self, lane: Lane, kind: Kind, what: String, detail: String) {
        let mut pages = self.pages();
        let (at_ms, generation) = (time(pages.now_ms), pages.generation);
        pages.moments.push(Moment { at_ms, generation, lane, kind, what, detail });
    }

    /// Counts a place that was reached.
    pub fn mark(&self, mark: Mark) {
        *self.pages().marks.entry(mark).or_default() += 1;
    }

    /// The audit has looked at these rules.
    pub fn looked_at(&self, rules: u32) {
        self.pages().looked |= rules;
    }

    /// Counts a request of a client, or a fault.
    pub fn input(&self) {
        self.pages().inputs += 1;
    }

    /// A rule broke.
    pub fn broken(&self, invariant: &str, what: String) {
        let mut pages = self.pages();
        if pages.broken.iter().all(|known| known.what != what) {
            pages.broken.push(Broken { invariant: invariant.into(), what });
        }
    }

    /// Whether a rule broke.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        !self.pages().broken.is_empty()
    }
}

/// Simulated milliseconds since the beginning: to the millisecond inside a host, else what the run's loop says.
fn time(of_loop: u64) -> u64 {
    // Destructors run inside the world but outside any runtime, where turmoil's clock would read the real one.
    if tokio::runtime::Handle::try_current().is_err() {
        return of_loop;
    }
    turmoil::sim_elapsed().map_or(of_loop, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
