//! What `evergate supervise` does after each end of its child. Owns the back-off, the wish to stop and the kill
//! limit; it never starts, signals or waits for a process and never reads a clock: the caller brings the time.
//!
//! | the child …                                  | no stop is wanted                          | a stop is wanted |
//! |----------------------------------------------|--------------------------------------------|------------------|
//! | exited 75 (asks to be started again)         | start at once, not revived if it has served | end 0           |
//! | exited 0 (was stopped)                       | end 0                                      | end 0            |
//! | exited 78 (parks itself)                     | end 78                                     | end 78           |
//! | crashed: other status, a signal              | start after the pause, once more revived   | end 0            |
//! | never started (the program cannot be run)    | start after the pause, revived as before   | end 0            |
//! | is not running: the pause is on              | start when the pause is over               | end 0            |
//! | is not running: the pause is on, and somebody wants it started ([`Respawn::start_wanted`]) | start at once, not revived | – |
//! | never served, like so many before it in a row ([`Respawn::giving_up_after`]) | end 78              | end 0            |
//! | gets on no more: it had been heard, and is not heard for [`Respawn::watching`]'s time | kill it, start at once, once more revived | kill it, end 0 |
//!
//! The pause is 100 ms after the first crash, doubles with each further one up to 30 s, and begins anew at 100 ms
//! when the child that crashed had lived for 10 s or more, or when somebody wanted the next one started. A planned restart (75)
//! neither waits nor counts.

use std::time::Duration;

use crate::time::Instant;
use crate::verdict::{PARK, RESTART};

/// How long a child may take to end once a stop is wanted, unless the caller says otherwise.
pub const KILL_LIMIT: Duration = Duration::from_secs(90);
/// Pause after the first crash.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two starts.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A look at the limits that comes this much too late says that the supervisor itself stood still, and its child perhaps as
/// long.
pub const LATE: Duration = Duration::from_secs(1);
/// A child that lived this long was healthy: its crash begins the pauses anew.
pub const HEALTHY_LIFE: Duration = Duration::from_secs(10);

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChildEnd {
    /// It left with this exit status.
    Exited(u8),
    /// This signal number ended it.
    Signalled(i32),
    /// It could not be started at all: the program is missing, or the machine is out of processes or memory.
    NeverStarted,
}

/// What the supervisor does next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    /// Start the child, not before `at`.
    Start {
        /// When; not later than now means at once.
        at: Instant,
        /// How many children in a row before it died unplanned; the new one is told so (`EVERGATE_REVIVED`).
        revivals: u32,
    },
    /// Leave with this exit status.
    End {
        /// The supervisor's own exit status.
        status: u8,
    },
}

/// Why the supervisor does what it does next, for the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The child asked to be started again.
    Restart,
    /// The child died unplanned, or could not be started.
    Crash,
    /// The child left with 0: it carried out a stop.
    Stop,
    /// The child left with 78: starting it again as it is would not help.
    Park,
    /// A stop was wanted and the child is gone.
    StopWanted,
    /// A stop was wanted and the child had to be killed at the limit.
    KilledAtLimit,
    /// The child got on no more and was killed.
    Silent,
    /// Too many children in a row died before they served.
    NeverServed,
    /// Somebody does not want to wait until the pause is over.
    Wanted,
}

impl Reason {
    /// The reason as the rest of a sentence that begins with what happens next.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Restart => "it asked to be started again",
            Self::Crash => "it died unplanned or could not be started",
            Self::Stop => "it was stopped",
            Self::Park => "it parked itself: starting it again would not help before what it says is mended",
            Self::StopWanted => "a stop was wanted",
            Self::KilledAtLimit => "a stop was wanted and it was killed at the limit",
            Self::Silent => "it gave no sign of life and was killed",
            Self::NeverServed => "it died before it served, like each before it: no more starts are made",
            Self::Wanted => "somebody wants it started at once",
        }
    }
}

/// What comes next, and why.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decision {
    /// What to do.
    pub next: Next,
    /// Why, for the log.
    pub reason: Reason,
}

/// Whether a stop is wanted, and how far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Stop {
    NotWanted,
    Wanted { kill_at: Instant },
    Killed,
}

/// The supervisor's decisions as a value: tell it what happened, do what it answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Respawn {
    kill_limit: Duration,
    /// When the running child was started; `None` while there is none.
    started_at: Option<Instant>,
    /// How many starts in a row, the one that is running or due included, follow a crash.
    revivals: u32,
    /// The pause that the next crash costs.
    pause: Duration,
    stop: Stop,
    /// How long a child that has been heard may not be heard.
    silence: Option<Duration>,
    watch: Watch,
    /// How many children in a row may die before they serve.
    attempts: Option<u32>,
    /// How many have.
    unserved: u32,
    /// Whether the running child has served.
    served: Served,
}

/// Whether the running child has come to serve.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Served {
    NotYet,
    Served,
}

/// Whether the running child is heard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Watch {
    /// It never was, or there is none: nothing is expected of it.
    Unheard,
    /// It was, and is to be heard again until then.
    Heard { until: Instant },
    /// It was not, and was killed.
    Killed,
}

/// Why a child is killed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kill {
    /// A stop is wanted and the time for it is over.
    Limit,
    /// It gives no sign of life.
    Silent,
}

impl Respawn {
    /// A supervisor that has started nothing yet; `kill_limit` is the time from the wish to stop to the kill.
    pub const fn new(kill_limit: Duration) -> Self {
        Self {
            kill_limit,
            started_at: None,
            revivals: 0,
            pause: FIRST_PAUSE,
            stop: Stop::NotWanted,
            silence: None,
            watch: Watch::Unheard,
            attempts: None,
            unserved: 0,
            served: Served::NotYet,
        }
    }

    /// A supervisor that gives up when so many children in a row have died before they served. One that is never heard and lives
    /// for [`HEALTHY_LIFE`] counts as one that has: perhaps it cannot say so.
    #[must_use]
    pub const fn giving_up_after(self, attempts: u32) -> Self {
        Self { attempts: Some(attempts), ..self }
    }

    /// The child has come to serve.
    pub const fn serves(&mut self) {
        (self.served, self.unserved) = (Served::Served, 0);
    }

    /// How many children in a row have died before they served.
    #[must_use]
    pub const fn unserved(&self) -> u32 {
        self.unserved
    }

    /// A supervisor that kills a child which has been heard and is not heard again for `silence`.
    #[must_use]
    pub const fn watching(self, silence: Duration) -> Self {
        Self { silence: Some(silence), ..self }
    }

    /// The child says that it gets on.
    pub fn heard(&mut self, now: Instant) {
        if let (Some(silence), Some(_)) = (self.silence, self.started_at)
            && self.watch != Watch::Killed
        {
            self.watch = Watch::Heard { until: now + silence };
        }
    }

    /// The child runs since `now`.
    pub const fn started(&mut self, now: Instant) {
        self.started_at = Some(now);
        self.watch = Watch::Unheard;
        self.served = Served::NotYet;
    }

    /// The child ended at `now`, or could not be started; answers what comes next.
    pub fn ended(&mut self, now: Instant, ended: ChildEnd) -> Decision {
        let lived = self.started_at.take().map(|started_at| now - started_at);
        if ended == ChildEnd::Exited(PARK) {
            return end(PARK, Reason::Park);
        }
        match self.stop {
            Stop::Wanted { .. } => return end(0, Reason::StopWanted),
            Stop::Killed => return end(0, Reason::KilledAtLimit),
            Stop::NotWanted => {}
        }
        // Who asks to be started again before it has served was ended by its own watchdog.
        let stopped = self.watch != Watch::Killed && ended == ChildEnd::Exited(0);
        if !stopped && self.gives_up(lived) {
            return end(PARK, Reason::NeverServed);
        }
        self.revivals = match (ended, self.served) {
            (ChildEnd::NeverStarted, _) => self.revivals,
            (ChildEnd::Exited(RESTART), Served::Served) if self.watch != Watch::Killed => 0,
            // Who asks for a restart before it has served was ended by its own watchdog.
            _ => self.revivals.saturating_add(1),
        };
        if self.watch == Watch::Killed {
            return self.start(now, Reason::Silent);
        }
        match ended {
            ChildEnd::Exited(0) => end(0, Reason::Stop),
            ChildEnd::Exited(RESTART) => self.start(now, Reason::Restart),
            ChildEnd::Exited(_) | ChildEnd::Signalled(_) | ChildEnd::NeverStarted => {
                let at = self.after_pause(now, lived);
                self.start(at, Reason::Crash)
            }
        }
    }

    /// Somebody wants the child and its supervisor stopped. The kill limit counts from the first such wish; answers the
    /// end when no child is running, and `None` when its end has to be awaited.
    pub fn stop_wanted(&mut self, now: Instant) -> Option<Decision> {
        if self.stop == Stop::NotWanted {
            self.stop = Stop::Wanted { kill_at: now + self.kill_limit };
        }
        match self.started_at {
            Some(_) => None,
            None => Some(end(0, Reason::StopWanted)),
        }
    }

    /// Somebody wants the child started at once: the pause is over, and the next one begins anew. `None` when it runs.
    pub const fn start_wanted(&mut self, now: Instant) -> Option<Decision> {
        if self.started_at.is_some() {
            return None;
        }
        (self.pause, self.revivals) = (FIRST_PAUSE, 0);
        Some(self.start(now, Reason::Wanted))
    }

    /// When the child is to be killed as things stand; ask [`Self::kill`] then.
    #[must_use]
    pub fn kill_at(&self) -> Option<Instant> {
        let limit = match self.stop {
            Stop::Wanted { kill_at } => Some(kill_at),
            Stop::NotWanted | Stop::Killed => None,
        };
        let silence = match self.watch {
            Watch::Heard { until } => Some(until),
            Watch::Unheard | Watch::Killed => None,
        };
        limit.into_iter().chain(silence).min()
    }

    /// Whether the child is to be killed now, and why; its end is still to be awaited then.
    pub fn kill(&mut self, now: Instant) -> Option<Kill> {
        if matches!(self.stop, Stop::Wanted { kill_at } if kill_at <= now) {
            self.stop = Stop::Killed;
            return Some(Kill::Limit);
        }
        let Watch::Heard { until } = self.watch else { return None };
        if now < until {
            return None;
        }
        // Who comes that late was not there to hear it.
        if now >= until + LATE {
            self.heard(now);
            return None;
        }
        self.watch = Watch::Killed;
        Some(Kill::Silent)
    }

    /// Counts a child that died after this life; whether it was the last.
    fn gives_up(&mut self, lived: Option<Duration>) -> bool {
        let cannot_say = self.watch == Watch::Unheard && lived.is_some_and(|lived| lived >= HEALTHY_LIFE);
        if self.served == Served::Served || cannot_say {
            self.unserved = 0;
            return false;
        }
        self.unserved = self.unserved.saturating_add(1);
        self.attempts.is_some_and(|attempts| self.unserved >= attempts)
    }

    const fn start(&self, at: Instant, reason: Reason) -> Decision {
        Decision { next: Next::Start { at, revivals: self.revivals }, reason }
    }

    /// When a crash at `now` may be followed by a start; makes the next pause longer.
    fn after_pause(&mut self, now: Instant, lived: Option<Duration>) -> Instant {
        if lived.is_some_and(|lived| lived >= HEALTHY_LIFE) {
            self.pause = FIRST_PAUSE;
        }
        let at = now + self.pause;
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        at
    }
}

const fn end(status: u8, reason: Reason) -> Decision {
    Decision { next: Next::End { status }, reason }
}

#[cfg(test)]
mod tests;
