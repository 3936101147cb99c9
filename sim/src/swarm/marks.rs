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
    KilledBeforeStart 300 "killed between turn record and start",
    KilledInHandling 1000 "killed between two effects of one handling",
    KilledServing 1000 "killed while serving",
    KilledStarting 400 "killed while starting",
    KilledDraining 200 "killed while draining",
    KilledInterrupting 100 "killed while interrupting",
    KilledClosing 500 "killed while closing",
    BatchLost 700 "unsynced batch lost",
    BatchKept 300 "unsynced batch kept",
    SyncFailed 10000 "sync failed",
    SyncFailedEnding 1000 "sync failed during an end",
    EndedUnwritten 100 "ended without waiting for the journal",
    AgentKilledEnding 800 "deadline fired while interrupting",
    AgentKilledStopped 10 "agent killed after /stop",
    AnsweredInterrupted 1000 "answered during the interruption",
    Upgraded 700 "request upgraded in mid-drain",
    Overruled 500 "stop overruled a restart",
    Reopened 90 "request cancelled in drain",
    CancelTooLate 20 "cancelled too late",
    AlreadyDone 200 "resumed turn asked for its restart again",
    ChildWaited 100 "child waited for the restart that its turn asked for",
    ResumedPlanned 4000 "turn resumed after a planned cut",
    CutTold 3000 "chat told that a restart or a stop cut its turn",
    BackTold 3000 "chat told that its turn goes on",
    CutUnsaid 200 "chat could not be told that its turn is cut, and was not",
    BackUnsaid 3 "start of a cut turn taken back, and the word that it goes on with it",
    ResumedCrash 10000 "turn resumed after a crash",
    Poisoned 400 "turn crashed the gateway",
    Quarantined 300 "quarantine entered",
    Released 300 "session released from quarantine",
    HeldGoesOn 3 "a person spoke, and what the breaker held went on",
    BreakerTripped 500 "loop breaker tripped",
    GuardStruck 40 "guard struck",
    WatchdogBit 60 "watchdog bit",
    KilledSilent 6 "killed for its silence",
    SupervisorKilled 10 "supervisor killed us",
    StartLimitReached 7 "start limit reached",
    PersonStarted 2000 "a person started it again",
    RevivedStop 60 "stop carried out after a revival",
    RestartRedelivered 400 "redelivered restart command ignored",
    KnownAcked 80000 "known message acked again",
    LateSignal 400 "signal after the end was recorded",
    SignalledTwice 500 "second signal while draining",
    SupervisorStops 80 "supervisor said that it stops us",
    Climbed 700 "an operator with the ladder saw another generation serve",
    ClimberKilled 180 "an operator with the ladder killed it",
    ClimberStarted 180 "an operator with the ladder started it",
    PauseCutShort 60 "a supervisor that paused was told to start it at once",
    Extended 25 "supervisor told to wait longer",
    SupervisorLate 7 "supervisor answered late or never",
    CandidateUnfit 30 "restart refused, since what would follow could not take over",
    CandidateSilent 20 "check of what would follow never ended",
    StayedUp 100 "stayed up, idle",
    ReExecuted 300 "re-executed in place",
    RefusedStorage 10000 "refused for want of storage",
    RefusedQueue 200000 "refused for a full queue",
    RefusedEnding 3000 "refused when the end was recorded",
    SentTwice 1000 "text arrived twice",
    SendRetried 20000 "send tried again",
    SendRejected 500 "text never taken",
    SentBlind 700 "repeat that may be one marked as such",
    ArrivedMarked 200 "text arrived twice and the second was marked",
    Missed 5000 "send of a blind platform certainly failed",
    GivenUp 300 "text given up that may have arrived",
    Thawed 500 "thawed and went on",
    Slept 200 "clock jumped while serving",
    Superseded 5000 "turn interrupted by a message",
    GivenBack 5000 "message given back by a turn that had said nothing",
    Together 5000 "messages answered in one turn",
    OpenedLate 300 "platforms opened late",
    Allowed 150 "question of an agent answered with yes",
    Denied 150 "question of an agent answered with no",
    Expired 250 "question of an agent expired",
    ToldLater 150 "later attempt told what was decided",
    CutWhileAsking 800 "turn cut while it waited for a person",
    AskedWhileStarting 300 "end asked for while starting",
    DiskBorne 60 "a loop that waited for a disk was let be",
    KeeperDied 80 "`evergate supervise` was killed",
    LeftAlone 15 "restarted in place, since whoever was to start it again was gone",
    SleepForgiven 300 "the watchdog counted no time that the machine slept",
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
