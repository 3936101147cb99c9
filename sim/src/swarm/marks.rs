//! What a swarm is meant to reach now and then. Each place has a mark, which counts how often it was reached, and a floor:
//! a swarm that no longer gets there fails.

macro_rules! marks {
    ($($variant:ident $floor:literal $name:literal),+ $(,)?) => {
        /// A place that is to be reached sometimes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each has its name in words")]
        pub enum Mark { $($variant,)+ }

        impl Mark {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What happened there.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// How often it has to be reached in a thousand runs, at least.
            #[must_use]
            pub const fn floor(self) -> u64 {
                match self { $(Self::$variant => $floor),+ }
            }
        }
    };
}

marks! {
    KilledBeforeStart 1 "killed between turn record and start",
    KilledInHandling 1 "killed between two effects of one handling",
    KilledServing 1 "killed while serving",
    KilledStarting 1 "killed while starting",
    KilledDraining 1 "killed while draining",
    KilledInterrupting 1 "killed while interrupting",
    KilledClosing 1 "killed while closing",
    BatchLost 1 "unsynced batch lost",
    BatchKept 1 "unsynced batch kept",
    SyncFailed 1 "sync failed",
    SyncFailedEnding 1 "sync failed during an end",
    EndedUnwritten 1 "ended without waiting for the journal",
    AgentKilledEnding 1 "deadline fired while interrupting",
    AgentKilledStopped 1 "agent killed after /stop",
    AnsweredInterrupted 1 "answered during the interruption",
    Upgraded 1 "request upgraded in mid-drain",
    Overruled 1 "stop overruled a restart",
    Reopened 1 "request cancelled in drain",
    CancelTooLate 1 "cancelled too late",
    AlreadyDone 1 "resumed turn asked for its restart again",
    ChildWaited 1 "child waited for the restart that its turn asked for",
    ResumedPlanned 1 "turn resumed after a planned cut",
    ResumedCrash 1 "turn resumed after a crash",
    Poisoned 1 "turn crashed the gateway",
    Quarantined 1 "quarantine entered",
    Released 1 "session released from quarantine",
    HeldGoesOn 1 "a person spoke, and what the breaker held went on",
    BreakerTripped 1 "loop breaker tripped",
    GuardStruck 1 "guard struck",
    SupervisorKilled 1 "supervisor killed us",
    StartLimitReached 1 "start limit reached",
    PersonStarted 1 "a person started it again",
    RevivedStop 1 "stop carried out after a revival",
    RestartRedelivered 1 "redelivered restart command ignored",
    KnownAcked 1 "known message acked again",
    LateSignal 1 "signal after the end was recorded",
    SignalledTwice 1 "second signal while draining",
    SupervisorStops 1 "supervisor said that it stops us",
    SupervisorLate 1 "supervisor answered late or never",
    StayedUp 1 "stayed up, idle",
    ReExecuted 1 "re-executed in place",
    RefusedStorage 1 "refused for want of storage",
    RefusedQueue 1 "refused for a full queue",
    RefusedEnding 1 "refused when the end was recorded",
    SentTwice 1 "text arrived twice",
    SendRetried 1 "send tried again",
    SendRejected 1 "text never taken",
    Thawed 1 "thawed and went on",
    Slept 1 "clock jumped while serving",
    OpenedLate 1 "platforms opened late",
    AskedWhileStarting 1 "end asked for while starting",
}

/// How often each mark was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl Marks {
    /// Notes that it was reached.
    pub const fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// How often it was.
    #[must_use]
    pub const fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Those that were reached too rarely in so many runs, each with its floor for that number.
    pub fn below_floor(&self, runs: u64) -> impl Iterator<Item = (Mark, u64)> + '_ {
        Mark::ALL
            .iter()
            .map(move |mark| (*mark, mark.floor() * runs / 1_000))
            .filter(|(mark, floor)| self.count(*mark) < *floor)
    }
}
