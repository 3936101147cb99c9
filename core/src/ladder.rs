//! How a restart or a stop is brought about from outside, whatever state the gateway is in: rung by rung, each needing less
//! of the patient than the one before. Owns the rungs and their patience; it never signals, asks or starts anything and never reads
//! a clock: the caller tells it what it sees and does what it is told.
//!
//! | rung | what it needs of the old process | it is left when |
//! |---|---|---|
//! | [`Rung::Ask`] | that its loop turns | the process is gone, or says nothing or is stuck for [`Patience::answer`] |
//! | [`Rung::Terminate`] | that its signals are heard and its guard lives | the process is gone, or [`Patience::terminate`] is over |
//! | [`Rung::Kill`] | nothing | the process is gone; after [`Patience::kill`] the ladder gives up |
//! | [`Rung::Start`] | that it is gone | another generation is there; after [`Patience::revive`] the ladder starts it itself |
//! | [`Rung::Wait`] | – | it is ready |
//!
//! A gateway that answers and gets on is never climbed upon: its own deadlines end it, once it has been asked. Neither is a start, which its own
//! watchdog ends, unless the restart is forced. One that refuses ends the climb.
//!
//! A climb to a stop is done when nobody owns the state directory and nobody is about to, and whoever owns it is the one to end:
//! one that has come after another was ended is asked first.
//! It kills nobody before whoever would start the process again is told on [`Rung::Terminate`] not to, unless the stop is on
//! disk: what is started then carries it out. Between two generations nobody is there either, so that of one that has heard of no
//! stop nobody is believed to be gone before [`Patience::gap`].

use crate::request::{Mode, Wish};
use crate::supervisor::StartsAgain;
use crate::time::Instant;
use std::time::Duration;

/// How far the climb is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// It is asked, over the control socket.
    Ask,
    /// It is sent SIGTERM; for a stop, by whoever would start it again.
    Terminate,
    /// It is sent SIGKILL.
    Kill,
    /// It is gone; whoever supervises it starts it again, or the ladder does.
    Start,
    /// Another generation is there and becomes ready.
    Wait,
}

impl Rung {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Terminate => "terminate",
            Self::Kill => "kill",
            Self::Start => "start",
            Self::Wait => "wait",
        }
    }
}

/// How long each rung is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Patience {
    /// For an answer, or for a loop that stands still to go on.
    pub answer: Duration,
    /// For a start that has not come to serve; `None` leaves it to its own deadline.
    pub start: Option<Duration>,
    /// For a process that was sent SIGTERM while its loop stood still.
    pub terminate: Duration,
    /// For a process that was sent SIGKILL to be gone.
    pub kill: Duration,
    /// For whoever supervises it to start it again.
    pub revive: Duration,
    /// Of a stop that nobody has heard, for the next one to come where nobody is there.
    pub gap: Duration,
}

/// From one generation to the next, at most, where nobody pauses.
pub const GAP: Duration = Duration::from_secs(2);

impl Patience {
    /// What a restart that may take its time has, and one that must not. Where nobody starts it again by himself nobody is
    /// waited for.
    #[must_use]
    pub fn of(mode: Mode, starts_again: StartsAgain) -> Self {
        let patience = match mode {
            Mode::Graceful => Self {
                answer: Duration::from_secs(5),
                start: None,
                terminate: Duration::from_secs(5),
                kill: Duration::from_secs(10),
                revive: Duration::from_secs(5),
                gap: GAP,
            },
            // Asking first costs little, and spares turns that could be interrupted in order a death on their account.
            Mode::Force => Self {
                answer: Duration::from_secs(2),
                start: Some(Duration::from_secs(2)),
                terminate: Duration::ZERO,
                kill: Duration::from_secs(5),
                revive: Duration::from_secs(2),
                gap: GAP,
            },
        };
        match starts_again {
            StartsAgain::Never => Self { revive: Duration::ZERO, ..patience },
            _ => patience,
        }
    }

    /// What is left of it where nobody owned the state directory when the climb began: whoever may start a gateway by himself pauses
    /// about that, or has given up.
    #[must_use]
    pub const fn with_nobody_there(self) -> Self {
        Self { revive: Duration::ZERO, gap: Duration::ZERO, ..self }
    }

    /// What a stop has that may take its time, and one that must not.
    #[must_use]
    pub const fn to_stop(mode: Mode) -> Self {
        let (answer, start) = match mode {
            Mode::Graceful => (Duration::from_secs(5), None),
            Mode::Force => (Duration::from_secs(2), Some(Duration::from_secs(2))),
        };
        Self { answer, start, terminate: answer, kill: Duration::from_secs(10), revive: Duration::ZERO, gap: GAP }
    }
}

/// What a look shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// It answers and gets on: it is serving still, draining, or on its way out.
    GettingOn,
    /// Its control socket answers, and says that the loop does not.
    Stuck,
    /// A process owns the state directory, and nothing answers.
    Silent,
    /// The process that is to be replaced is a start which has no number yet: nothing answers, and nothing should.
    Starting,
    /// Nobody owns the state directory.
    Gone,
    /// Nobody owns the state directory, and whoever starts the gateway by himself is about to, or cannot be seen from here.
    Paused,
    /// Another life than the one that was asked is there (see [`Life`](crate::life::Life)).
    Next {
        /// Whether it serves.
        ready: bool,
    },
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Look again soon.
    Look,
    /// Ask it once more: nobody knows what became of the asking, and it gets on again. What it has accepted already, it joins.
    Ask,
    /// Send SIGTERM, if it is still the same process; for a stop, have whoever would start it again end it.
    Terminate,
    /// Send SIGKILL, if it is still the same process.
    Kill,
    /// Start it: nobody else did.
    Start,
    /// Done: another generation is ready, or for a stop, nobody is there.
    Done,
    /// It cannot be brought about; the rung says what was tried last.
    GiveUp(Rung),
}

/// One climb.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ladder {
    wish: Wish,
    patience: Patience,
    rung: Rung,
    /// Since when it stands on this rung, or since when what it sees there is no better.
    since: Instant,
    /// Whether this rung's own doing is done.
    acted: bool,
    /// Whether asking has come to nothing.
    in_vain: bool,
    /// Whether the stop is on disk.
    accepted: bool,
    /// Whether whoever would start it again is told not to.
    told: bool,
    /// Since when nobody is there, of a stop.
    nobody_since: Option<Instant>,
    give_up_at: Option<Instant>,
}

impl Ladder {
    /// A climb to a restart that begins by asking; `wait` is how long it may take in all.
    #[must_use]
    pub fn new(patience: Patience, now: Instant, wait: Option<Duration>) -> Self {
        Self {
            wish: Wish::Restart,
            patience,
            rung: Rung::Ask,
            since: now,
            acted: false,
            in_vain: false,
            accepted: false,
            told: false,
            nobody_since: None,
            give_up_at: wait.map(|wait| now + wait),
        }
    }

    /// A climb to a stop that begins by asking; `wait` is how long it may take in all.
    #[must_use]
    pub fn to_stop(patience: Patience, now: Instant, wait: Option<Duration>) -> Self {
        Self { wish: Wish::Stop, ..Self::new(patience, now, wait) }
    }

    /// Where it stands.
    #[must_use]
    pub const fn rung(&self) -> Rung {
        self.rung
    }

    /// No answer will come to what it was asked.
    pub const fn asked_in_vain(&mut self) {
        self.in_vain = true;
    }

    /// Its stop is on disk: an end is what was wished, and is believed at once.
    pub const fn accepted(&mut self) {
        self.accepted = true;
    }

    /// Whoever would start it again was told not to; where there is nobody to tell, the process was.
    pub const fn told(&mut self) {
        self.told = true;
    }

    /// When a look that shows the same as before would lead on.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let patience = match self.rung {
            Rung::Ask => self.patience.answer,
            Rung::Terminate => self.patience.terminate,
            Rung::Kill => self.patience.kill,
            Rung::Start if !self.acted => self.patience.revive,
            Rung::Start | Rung::Wait => return self.give_up_at,
        };
        let missed = self.nobody_since.filter(|_| !self.told).map(|since| since + self.patience.gap);
        [Some(self.since + patience), missed, self.give_up_at].into_iter().flatten().min()
    }

    /// When it is given up, whatever is seen.
    #[must_use]
    pub const fn gives_up_at(&self) -> Option<Instant> {
        self.give_up_at
    }

    /// Somebody looked; what follows.
    pub fn saw(&mut self, now: Instant, sight: Sight) -> Step {
        if !matches!(sight, Sight::Gone | Sight::Paused) {
            self.nobody_since = None;
        }
        let sight = match (self.wish, sight) {
            (Wish::Stop, Sight::Gone | Sight::Paused) => match self.nobody(now, sight == Sight::Paused) {
                Some(as_if) => as_if,
                None => return Step::Done,
            },
            (Wish::Stop, Sight::Next { ready }) => {
                self.begin_anew(now);
                if ready { Sight::GettingOn } else { Sight::Starting }
            }
            (_, sight) => sight,
        };
        match sight {
            Sight::Next { ready: true } => return Step::Done,
            Sight::Next { ready: false } => self.climb(now, Rung::Wait),
            Sight::Gone | Sight::Paused if self.wish == Wish::Restart => self.climb(now, Rung::Start),
            Sight::GettingOn if self.rung <= Rung::Terminate => self.since = now,
            Sight::Starting if self.rung <= Rung::Terminate && self.patience.start.is_none() => self.since = now,
            Sight::GettingOn | Sight::Stuck | Sight::Silent | Sight::Starting | Sight::Gone | Sight::Paused => {}
        }
        if self.give_up_at.is_some_and(|at| at <= now) {
            return Step::GiveUp(self.rung);
        }
        let overdue = |patience: Duration| now >= self.since + patience;
        match self.rung {
            Rung::Ask if self.in_vain && sight == Sight::GettingOn => {
                self.in_vain = false;
                Step::Ask
            }
            Rung::Ask | Rung::Terminate | Rung::Kill if sight == Sight::Paused => self.tell(now),
            Rung::Ask if overdue(self.patience.answer) => self.next(now),
            Rung::Terminate if overdue(self.patience.terminate) => self.next(now),
            Rung::Kill if overdue(self.patience.kill) => Step::GiveUp(Rung::Kill),
            Rung::Start if !self.acted && overdue(self.patience.revive) => {
                self.acted = true;
                Step::Start
            }
            _ => Step::Look,
        }
    }

    /// Nobody is there for a stop to end: as what that is to be taken, and `None` where the stop is done.
    fn nobody(&mut self, now: Instant, paused: bool) -> Option<Sight> {
        let believed_at = *self.nobody_since.get_or_insert(now) + self.patience.gap;
        match (paused, self.told) {
            (false, told) if told || self.accepted => None,
            (true, true) => Some(Sight::Silent),
            _ if now < believed_at => {
                self.since = now;
                Some(Sight::Starting)
            }
            (false, _) => None,
            (true, false) => Some(Sight::Paused),
        }
    }

    /// The next rung of those that end the old process.
    fn next(&mut self, now: Instant) -> Step {
        let untold = self.wish == Wish::Stop && !self.told && !self.accepted;
        if untold || self.rung == Rung::Ask && self.patience.terminate > Duration::ZERO {
            self.tell(now)
        } else {
            self.climb(now, Rung::Kill);
            Step::Kill
        }
    }

    /// Another one has come for a stop to end, who has heard of nothing.
    fn begin_anew(&mut self, now: Instant) {
        (self.rung, self.since, self.in_vain) = (Rung::Ask, now, true);
        (self.accepted, self.told) = (false, false);
    }

    /// The mildest that needs no answer.
    fn tell(&mut self, now: Instant) -> Step {
        self.climb(now, Rung::Terminate);
        self.since = now;
        Step::Terminate
    }

    /// Up, never down.
    fn climb(&mut self, now: Instant, rung: Rung) {
        if rung > self.rung {
            (self.rung, self.since, self.acted) = (rung, now, false);
        } else if rung == Rung::Start && self.rung == Rung::Wait {
            // The one that was there has died before it was ready: whoever starts it has another go.
            (self.rung, self.since, self.acted) = (rung, now, false);
        }
    }
}

#[cfg(test)]
mod tests;
