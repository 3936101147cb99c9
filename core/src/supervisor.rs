//! What each supervisor makes of our exit status, as data. The verdict of a request is read off this table, and so is
//! everything else that has to agree with it; no other file knows a supervisor by name.

use crate::request::{Origin, Signal, Wish};
use crate::respawn::KILL_LIMIT;
use crate::verdict::{PARK, RESTART, STOP, Verdict};
use std::time::Duration;

/// Who starts us again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Supervisor {
    /// systemd, whatever its unit says: every restart that we are asked for happens in place.
    Systemd,
    /// launchd with `KeepAlive=true`: starts us again after any end.
    LaunchdKeepAlive,
    /// launchd with `SuccessfulExit=false`: starts us again after a non-zero end.
    LaunchdSuccessfulExit,
    /// Docker or Podman with a restart policy.
    Container,
    /// Kubernetes.
    Kubernetes,
    /// s6.
    S6,
    /// `evergate supervise`.
    Evergate,
    /// Nobody: a terminal, `nohup`, a plain script.
    Nobody,
}

/// What "never start me again as I am" takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Park {
    /// Leave with this status.
    Exit(u8),
    /// Stay up and idle: this supervisor starts us again after any end.
    StayUp,
}

/// One supervisor's terms.
///
/// | supervisor | restart | unannounced SIGTERM | stop | park | kills after |
/// |---|---|---|---|---|---|
/// | systemd | in place | 75, or 0 if it says that it stops us | 0 | 78 | 90 s |
/// | launchd `KeepAlive=true` | 75 | 75 | 0 | stay up | 20 s |
/// | launchd `SuccessfulExit=false` | 75 | 75 | 0 | 0 | 20 s |
/// | Docker, Podman | 75 | 75 | 0 | 0 | 10 s |
/// | Kubernetes | 75 | 75 | 0 | stay up | 30 s |
/// | s6 | 75 | 75 | 0 | 125 | – |
/// | `evergate supervise` | 75 | 75 | 0 | 78 | 90 s |
/// | nobody | in place | 75 | 0 | 78 | – |
///
/// Under systemd a restart happens in place because exit 75 counts against the start limit of any unit that does not
/// switch it off (five in ten seconds by default, then the unit stays failed); in place it costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Contract {
    /// Whose terms these are.
    pub supervisor: Supervisor,
    /// How a restart that somebody asked for ends the process.
    pub restart: Verdict,
    /// How a SIGTERM that nobody announced ends it.
    pub leave: Verdict,
    /// How a deliberate stop ends it.
    pub stop: Verdict,
    /// How a start that can not succeed ends it.
    pub park: Park,
    /// From SIGTERM to SIGKILL, where this supervisor does that.
    pub kill_after: Option<Duration>,
    /// Whether it can be asked if a SIGTERM came from it.
    pub answers: Answers,
}

/// Whether a supervisor tells us why it sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answers {
    /// It can be asked whether it is stopping us.
    WhenAsked,
    /// It says nothing.
    Never,
}

impl Contract {
    /// The terms of every supervisor, in the order of [`Supervisor`].
    pub const TABLE: [Self; 8] = [
        Self::row(Supervisor::Systemd, Verdict::ReExec, Park::Exit(PARK), Some(90), Answers::WhenAsked),
        Self::row(Supervisor::LaunchdKeepAlive, Verdict::Exit(RESTART), Park::StayUp, Some(20), Answers::Never),
        Self::row(Supervisor::LaunchdSuccessfulExit, Verdict::Exit(RESTART), Park::Exit(0), Some(20), Answers::Never),
        Self::row(Supervisor::Container, Verdict::Exit(RESTART), Park::Exit(0), Some(10), Answers::Never),
        Self::row(Supervisor::Kubernetes, Verdict::Exit(RESTART), Park::StayUp, Some(30), Answers::Never),
        Self::row(Supervisor::S6, Verdict::Exit(RESTART), Park::Exit(125), None, Answers::Never),
        Self::row(
            Supervisor::Evergate,
            Verdict::Exit(RESTART),
            Park::Exit(PARK),
            Some(KILL_LIMIT.as_secs()),
            Answers::Never,
        ),
        Self::row(Supervisor::Nobody, Verdict::ReExec, Park::Exit(PARK), None, Answers::Never),
    ];

    const fn row(
        supervisor: Supervisor,
        restart: Verdict,
        park: Park,
        kill_after_s: Option<u64>,
        answers: Answers,
    ) -> Self {
        let kill_after = match kill_after_s {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => None,
        };
        Self {
            supervisor,
            restart,
            leave: Verdict::Exit(RESTART),
            stop: Verdict::Exit(STOP),
            park,
            kill_after,
            answers,
        }
    }

    /// The terms of one supervisor.
    #[must_use]
    pub const fn of(supervisor: Supervisor) -> Self {
        Self::TABLE[supervisor as usize]
    }

    /// How a request of this kind ends the process. Total: every wish from every origin has a verdict.
    #[must_use]
    pub const fn verdict(&self, wish: Wish, origin: Origin) -> Verdict {
        match (wish, origin) {
            (Wish::Stop, _) => self.stop,
            (Wish::Restart, Origin::Signal(Signal::Terminate)) => self.leave,
            (Wish::Restart, _) => self.restart,
        }
    }

    /// How the process ends after all when a signal arrives behind the last input: it must leave, since replacing itself in
    /// place could outlive whoever sent that signal.
    #[must_use]
    pub const fn signalled_at_last(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::ReExec => self.leave,
            Verdict::Exit(_) => verdict,
        }
    }

    /// The supervisor's limit on an end that `origin` began: its clock runs only when it sent the signal itself.
    #[must_use]
    pub const fn limit(&self, origin: Origin) -> Option<Duration> {
        match origin {
            Origin::Signal(_) => self.kill_after,
            _ => None,
        }
    }
}

impl Supervisor {
    /// The name that status and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::LaunchdKeepAlive | Self::LaunchdSuccessfulExit => "launchd",
            Self::Container => "docker",
            Self::Kubernetes => "kubernetes",
            Self::S6 => "s6",
            Self::Evergate => "supervise",
            Self::Nobody => "nobody",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_table_stands_at_its_supervisor() {
        for row in Contract::TABLE {
            assert_eq!(Contract::of(row.supervisor), row);
        }
    }

    #[test]
    fn no_supervisor_takes_a_restart_for_a_stop_or_a_stop_for_a_restart() {
        for contract in Contract::TABLE {
            for origin in
                [Origin::Cli, Origin::Http, Origin::Signal(Signal::Terminate), Origin::Signal(Signal::Interrupt)]
            {
                assert_eq!(contract.verdict(Wish::Stop, origin), Verdict::Exit(STOP));
                assert_ne!(contract.verdict(Wish::Restart, origin), Verdict::Exit(STOP));
            }
        }
    }
}
