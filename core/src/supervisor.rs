//! What each supervisor makes of our exit status, as data. The verdict of a request is read off this table, and so is
//! everything else that has to agree with it; no other file knows a supervisor by name.

use crate::request::{Origin, Signal, Wish};
use crate::respawn::KILL_LIMIT;
use crate::verdict::{PARK, RESTART, STOP, Verdict};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Who starts us again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Park {
    /// Leave with this status.
    Exit(u8),
    /// Stay up and idle: this supervisor starts us again after any end.
    StayUp,
}

/// After which ends a supervisor starts us again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartsAgain {
    /// After any.
    Always,
    /// After any but an exit with the status of a stop.
    UnlessStopped,
    /// After any but an exit with the status of a stop or of parking.
    UnlessStoppedOrParked,
    /// After none.
    Never,
}

/// How a process ended, as its supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Death {
    /// It left with this exit status.
    Exited(u8),
    /// A signal or a fault ended it.
    Killed,
}

/// One supervisor's terms.
///
/// | supervisor | restart | unannounced SIGTERM | stop | park | kills after | starts us again after |
/// |---|---|---|---|---|---|---|
/// | systemd | in place | 75, or 0 if it says that it stops us (in place if it would not start us again) | 0 | 78 | 90 s | any end but 0 and 78 |
/// | launchd `KeepAlive=true` | 75 | 75 | stay up | stay up | 20 s | any end |
/// | launchd `SuccessfulExit=false` | 75 | 75 | 0 | 0 | 20 s | any end but 0 |
/// | Docker, Podman | 75 | 75 | 0 | 0 | 10 s | any end but 0 |
/// | Kubernetes | 75 | 75 | stay up | stay up | 30 s | any end |
/// | s6 | 75 | 75 | 0 | 125 | – | any end but 0 and 125 |
/// | `evergate supervise` | 75 | 75 | 0 | 78 | 90 s | any end but 0 and 78 |
/// | nobody | in place | 75 | 0 | 78 | – | none |
///
/// Where any end is followed by a start, a stop stays up, idle, until the job is unloaded: with exit status 0 the stop would
/// be undone at once. Under systemd a restart happens in place because exit 75 counts against the start limit of any unit that does not
/// switch it off (five in ten seconds by default, then the unit stays failed); in place it costs nothing. systemd alone gives more
/// than the time in the table to a process that gets on and says so, where the unit lets it speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Whether it gives more time to a process that it has told to leave, when that says in time that it gets on.
    #[serde(default)]
    pub extends: Extends,
    /// When it starts us again by itself.
    pub starts_again: StartsAgain,
}

/// Whether a supervisor tells us why it sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// It can be asked whether it is stopping us.
    WhenAsked,
    /// It says nothing.
    Never,
}

/// Whether a supervisor lets itself be talked into killing later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extends {
    /// Each time that it is told so, from then on (`EXTEND_TIMEOUT_USEC=` of `sd_notify(3)`).
    WhenTold,
    /// Its limit stands.
    #[default]
    Never,
}

impl Contract {
    /// The terms of every supervisor, in the order of [`Supervisor`].
    pub const TABLE: [Self; 8] = {
        use Answers::{Never as Mute, WhenAsked};
        use StartsAgain::{Always, Never, UnlessStopped, UnlessStoppedOrParked};
        use Supervisor::*;
        const LEAVE: Verdict = Verdict::Exit(RESTART);
        [
            Self::row(Systemd, Verdict::ReExec, Park::Exit(PARK), Some(90), WhenAsked, UnlessStoppedOrParked),
            Self::row(LaunchdKeepAlive, LEAVE, Park::StayUp, Some(20), Mute, Always),
            Self::row(LaunchdSuccessfulExit, LEAVE, Park::Exit(STOP), Some(20), Mute, UnlessStopped),
            Self::row(Container, LEAVE, Park::Exit(STOP), Some(10), Mute, UnlessStopped),
            Self::row(Kubernetes, LEAVE, Park::StayUp, Some(30), Mute, Always),
            Self::row(S6, LEAVE, Park::Exit(125), None, Mute, UnlessStoppedOrParked),
            Self::row(Evergate, LEAVE, Park::Exit(PARK), Some(KILL_LIMIT.as_secs()), Mute, UnlessStoppedOrParked),
            Self::row(Nobody, Verdict::ReExec, Park::Exit(PARK), None, Mute, Never),
        ]
    };

    const fn row(
        supervisor: Supervisor,
        restart: Verdict,
        park: Park,
        kill_after_s: Option<u64>,
        answers: Answers,
        starts_again: StartsAgain,
    ) -> Self {
        let kill_after = match kill_after_s {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => None,
        };
        let stop = match starts_again {
            StartsAgain::Always => Verdict::StayUp,
            _ => Verdict::Exit(STOP),
        };
        let extends = match supervisor {
            Supervisor::Systemd => Extends::WhenTold,
            _ => Extends::Never,
        };
        Self {
            supervisor,
            restart,
            leave: Verdict::Exit(RESTART),
            stop,
            park,
            kill_after,
            answers,
            extends,
            starts_again,
        }
    }

    /// The terms of one supervisor.
    #[must_use]
    pub const fn of(supervisor: Supervisor) -> Self {
        Self::TABLE[supervisor as usize]
    }

    /// The same terms with the limit that really holds, where somebody has found it out; `None`: it never kills.
    #[must_use]
    pub const fn with_kill_after(self, effective: Option<Duration>) -> Self {
        Self { kill_after: effective, ..self }
    }

    /// The same terms where an exit is not surely followed by a start, whatever its status: who was told to leave goes on in
    /// place, and asks once more there whether it is being stopped.
    #[must_use]
    pub const fn that_goes_on_in_place(self) -> Self {
        Self { leave: Verdict::ReExec, ..self }
    }

    /// The same terms of a supervisor that does not listen to us: its limit stands.
    #[must_use]
    pub const fn without_extension(self) -> Self {
        Self { extends: Extends::Never, ..self }
    }

    /// How a request of this kind ends the process. Total: every wish from every origin has a verdict.
    #[must_use]
    pub const fn verdict(&self, wish: Wish, origin: Origin) -> Verdict {
        match (wish, origin) {
            // Who is told to leave leaves, even where it could be started again: that is the signaller's business.
            (Wish::Stop, Origin::Signal(Signal::Terminate)) => Verdict::Exit(STOP),
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
            Verdict::StayUp => Verdict::Exit(STOP),
            Verdict::Exit(_) => verdict,
        }
    }

    /// How the process ends after all, whatever was decided before: a signal is heeded first. Where none has come and whoever was to
    /// start it again is gone, which makes it `left_alone`, a restart happens in place, as where there is nobody.
    #[must_use]
    pub const fn at_last(&self, verdict: Verdict, signalled: bool, left_alone: bool) -> Verdict {
        match (verdict, signalled, left_alone) {
            (_, true, _) => self.signalled_at_last(verdict),
            (Verdict::Exit(RESTART), false, true) => Self::of(Supervisor::Nobody).restart,
            (_, false, _) => verdict,
        }
    }

    /// Whether this supervisor, left to itself, starts us again after such an end.
    #[must_use]
    pub fn revives(&self, death: Death) -> bool {
        match self.starts_again {
            StartsAgain::Always => true,
            StartsAgain::UnlessStopped => death != Death::Exited(STOP),
            StartsAgain::UnlessStoppedOrParked => {
                death != Death::Exited(STOP)
                    && !matches!((death, self.park), (Death::Exited(status), Park::Exit(park)) if status == park)
            }
            StartsAgain::Never => false,
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

    /// From an end to the next start: launchd's throttle and s6's second are their own; under systemd it is the `RestartSec`
    /// of our unit. That is short, since a gateway that dies again and again pauses by itself ([`starts`](crate::starts)), and not
    /// nothing, for programs that do not come so far.
    #[must_use]
    pub const fn pause(self) -> Duration {
        match self {
            Self::Systemd => Duration::from_millis(250),
            Self::S6 => Duration::from_secs(1),
            Self::LaunchdKeepAlive | Self::LaunchdSuccessfulExit => Duration::from_secs(10),
            Self::Container | Self::Kubernetes | Self::Evergate | Self::Nobody => Duration::ZERO,
        }
    }

    /// The longest time from SIGTERM to SIGKILL that it can be told to leave us; `None` where any number is taken.
    #[must_use]
    pub const fn longest_kill_after(self) -> Option<Duration> {
        match self {
            // Newer versions of macOS cut a longer `ExitTimeOut` of a user's job down to this.
            Self::LaunchdKeepAlive | Self::LaunchdSuccessfulExit => Some(Duration::from_secs(60)),
            _ => None,
        }
    }

    /// Whether it looks after the progress of a gateway that runs, and kills one that shows none.
    #[must_use]
    pub const fn watches(self) -> bool {
        matches!(self, Self::Systemd | Self::Kubernetes)
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
    fn the_limit_that_was_found_out_holds_and_the_other_terms_stay() {
        let table = Contract::of(Supervisor::Container);
        for limit in [None, Some(Duration::from_secs(3))] {
            let effective = table.with_kill_after(limit);
            assert_eq!(effective.kill_after, limit);
            assert_eq!(effective.with_kill_after(table.kill_after), table);
        }
    }

    #[test]
    fn who_is_left_alone_restarts_in_place_and_ends_otherwise_as_it_was_to_end() {
        let supervise = Contract::of(Supervisor::Evergate);
        let of = |wish| supervise.at_last(supervise.verdict(wish, Origin::Cli), false, true);
        assert_eq!((of(Wish::Restart), of(Wish::Stop)), (Verdict::ReExec, Verdict::Exit(STOP)));
        for verdict in [Verdict::ReExec, Verdict::StayUp, Verdict::Exit(PARK), Verdict::Exit(70)] {
            assert_eq!(supervise.at_last(verdict, false, true), verdict);
        }
        for (contract, alone) in Contract::TABLE.into_iter().flat_map(|contract| [(contract, true), (contract, false)])
        {
            for verdict in [Verdict::ReExec, Verdict::StayUp, Verdict::Exit(RESTART), Verdict::Exit(STOP)] {
                let signalled = contract.signalled_at_last(verdict);
                assert_eq!(contract.at_last(verdict, true, alone), signalled, "a signal is heeded first");
                assert!(alone || contract.at_last(verdict, false, false) == verdict);
            }
        }
    }

    #[test]
    fn supervisors_are_called_as_status_calls_them_and_two_look_after_progress() {
        let names = Contract::TABLE.map(|row| row.supervisor.name());
        assert_eq!(names, ["systemd", "launchd", "launchd", "docker", "kubernetes", "s6", "supervise", "nobody"]);
        let watching = Contract::TABLE.into_iter().filter(|row| row.supervisor.watches());
        assert!(watching.map(|row| row.supervisor).eq([Supervisor::Systemd, Supervisor::Kubernetes]));
    }

    #[test]
    fn no_supervisor_takes_a_restart_for_a_stop_or_a_stop_for_a_restart() {
        for contract in Contract::TABLE {
            for origin in
                [Origin::Cli, Origin::Http, Origin::Signal(Signal::Terminate), Origin::Signal(Signal::Interrupt)]
            {
                for wish in [Wish::Stop, Wish::Restart] {
                    let runs_again = match contract.verdict(wish, origin) {
                        Verdict::ReExec => true,
                        Verdict::StayUp => false,
                        Verdict::Exit(status) => contract.revives(Death::Exited(status)),
                    };
                    // What a SIGTERM leads to is not always ours to choose: with nobody there, or with somebody who always is.
                    let wanted = match (origin, contract.starts_again) {
                        (Origin::Signal(Signal::Terminate), StartsAgain::Never) => false,
                        (Origin::Signal(Signal::Terminate), StartsAgain::Always) => true,
                        _ => wish == Wish::Restart,
                    };
                    assert_eq!(runs_again, wanted, "{wish:?} {origin:?} {contract:?}");
                }
            }
        }
    }
}
