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
    Killed "gateway killed" 100,
    PowerCut "power cut" 100,
    DeathWhileDraining "death while draining" 10,
    DeathInsideCommit "death inside a commit" 50,
    DeathInStart "death while starting" 5,
    PowerCutWithUnsyncedWrites "power cut with unsynced writes" 50,
    TornSector "torn sector at a power cut" 50,
    FsyncFailed "fsync failed" 30,
    DiskFullMet "disk full met" 30,
    SlowSync "slow write" 100,
    RestartAccepted "restart accepted" 100,
    RestartWhileDraining "restart accepted while draining" 10,
    RestartFromTurn "restart accepted from inside a turn" 20,
    RestartFromChat "restart accepted from a chat" 50,
    StopAccepted "stop accepted" 30,
    Stopped "gateway stopped on purpose" 30,
    RequestOverruled "request overruled" 1,
    Redelivered "redelivered message answered 200" 100,
    AnswerLost "no answer to a message, asked again" 100,
    Refused "message refused for now" 50,
    TurnResumed "turn resumed" 100,
    TurnFailed "turn failed" 50,
    TurnStopped "turn stopped by its chat" 5,
    Quarantined "session set aside" 0,
    MessagesJoined "one turn answers several messages" 30,
    Partitioned "network partitioned" 50,
    PartitionHealed "partition healed" 50,
    StreamResumed "event stream resumed" 300,
    RespawnPause "respawn pause taken" 50,
    Parked "gateway parked" 0,
    GuardEnded "guard ended the process" 0,
    SignalTerminate "stray SIGTERM" 20,
    SupervisorStopped "supervisor told to stop" 10,
}

impl Logbook {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that stands in it.
    #[must_use]
    pub fn read(&self) -> Pages {
        self.pages().clone()
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
