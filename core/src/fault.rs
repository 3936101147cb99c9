//! How a process ends whose generation cannot say so itself any more: its loop broke or stands still, or its start came to
//! nothing. Owns that one decision, so that it does not matter who finds the fault: the loop's own end, the watchdog, or the entry of
//! the program. It ends nothing; the caller does, and has [`Contract::signalled_at_last`] look at it where a signal has come
//! by then.
//!
//! | terms                                              | an end was under way | fails, and nobody relies on it | fails, and somebody relies on it | stands still |
//! |----------------------------------------------------|----------------------|--------------------------------|----------------------------------|--------------|
//! | restarts by an exit                                | as it was to end     | exit, its own status           | exit, its own status             | exit 75      |
//! | restarts in place, leaves by an exit               | as it was to end     | exit, its own status           | in place                         | in place     |
//! | restarts in place, and leaves so: an exit may be the last | as it was to end | in place                      | in place                         | in place     |
//!
//! A failure that ends in an exit keeps a status of its own, which is no restart that was asked for: the supervisor sees, tells and
//! pauses. Where a restart happens in place, an exit would count against a start limit, or be the last (`Restart=no`), and
//! nobody is to be missed for that; the entry of the program counts and pauses there ([`starts`](crate::starts)). A start that nobody
//! relies on yet fails before the eyes of whoever makes it (`systemctl start`, a person where nobody supervises), and is theirs, unless
//! it would then be the last; one that stands still fails when nobody looks any more.

use crate::supervisor::Contract;
use crate::verdict::{RESTART, Verdict};

/// What has happened to a generation, or to the start of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It came to its end by itself: its loop broke, or its start gave up for what may pass.
    Failed {
        /// The exit status that tells of it.
        status: u8,
        /// Whether anybody would miss it.
        standing: Standing,
    },
    /// It gets nowhere, and its watchdog ends it.
    StandsStill,
}

/// Whether anybody would miss a process that does not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It has not come to serve, and took nobody's place.
    Unproven,
    /// It has served, or it stands where a process did that took its own place.
    ReliedOn,
}

impl Standing {
    /// That of a process behind so many starts in a row that have not served, its own included; `in_place` says whether it has
    /// taken its own place before.
    #[must_use]
    pub const fn of(starts: u32, in_place: bool) -> Self {
        match (starts, in_place) {
            (0, _) | (_, true) => Self::ReliedOn,
            (_, false) => Self::Unproven,
        }
    }
}

impl Fault {
    /// How the process ends under these terms, which are to be the effective ones; `armed` is how the end that was under way by
    /// then was to end it.
    #[must_use]
    pub const fn verdict(self, contract: &Contract, armed: Option<Verdict>) -> Verdict {
        match (armed, contract.restart, contract.leave, self) {
            (Some(verdict), ..) => verdict,
            (None, Verdict::ReExec, Verdict::Exit(_), Self::Failed { status, standing: Standing::Unproven }) => {
                Verdict::Exit(status)
            }
            (None, Verdict::ReExec, ..) => Verdict::ReExec,
            (None, Verdict::Exit(_) | Verdict::StayUp, _, Self::Failed { status, .. }) => Verdict::Exit(status),
            (None, Verdict::Exit(_) | Verdict::StayUp, _, Self::StandsStill) => Verdict::Exit(RESTART),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Origin, Wish};
    use crate::supervisor::{Death, Supervisor};
    use crate::verdict::STOP;
    use std::time::Duration;

    const FAILED_UNPROVEN: Fault = Fault::Failed { status: 70, standing: Standing::Unproven };
    const FAILED_RELIED_ON: Fault = Fault::Failed { status: 70, standing: Standing::ReliedOn };

    /// The table of every supervisor, and the terms by hand that a start may find.
    fn terms() -> Vec<(&'static str, Contract)> {
        let systemd = Contract::of(Supervisor::Systemd);
        let mut terms: Vec<_> = Contract::TABLE.iter().map(|row| (row.supervisor.name(), *row)).collect();
        terms.push(("systemd, not surely", systemd.that_goes_on_in_place()));
        terms.push(("systemd, 5 s", systemd.with_kill_after(Some(Duration::from_secs(5))).without_extension()));
        terms
    }

    #[test]
    fn the_table_holds_for_every_supervisor_as_it_is_drawn() {
        let drawn: Vec<String> = terms()
            .iter()
            .map(|(name, terms)| {
                let told = [
                    FAILED_RELIED_ON.verdict(terms, Some(Verdict::Exit(STOP))),
                    FAILED_UNPROVEN.verdict(terms, None),
                    FAILED_RELIED_ON.verdict(terms, None),
                    Fault::StandsStill.verdict(terms, None),
                ];
                format!("{name:<19} | {}", told.map(|verdict| format!("{:<7}", verdict.to_string())).join(" | "))
            })
            .collect();
        // An end under way | fails unproven | fails relied on | stands still.
        let expected = [
            "systemd             | exit 0  | exit 70 | re-exec | re-exec",
            "launchd             | exit 0  | exit 70 | exit 70 | exit 75",
            "launchd             | exit 0  | exit 70 | exit 70 | exit 75",
            "docker              | exit 0  | exit 70 | exit 70 | exit 75",
            "kubernetes          | exit 0  | exit 70 | exit 70 | exit 75",
            "s6                  | exit 0  | exit 70 | exit 70 | exit 75",
            "supervise           | exit 0  | exit 70 | exit 70 | exit 75",
            "nobody              | exit 0  | exit 70 | re-exec | re-exec",
            "systemd, not surely | exit 0  | re-exec | re-exec | re-exec",
            "systemd, 5 s        | exit 0  | exit 70 | re-exec | re-exec",
        ];
        assert_eq!(drawn, expected);
    }

    #[test]
    fn an_end_that_was_under_way_ends_as_it_was_to_whatever_happened() {
        for (name, terms) in terms() {
            for armed in [Verdict::Exit(STOP), Verdict::Exit(RESTART), Verdict::ReExec] {
                for fault in [FAILED_UNPROVEN, FAILED_RELIED_ON, Fault::StandsStill] {
                    assert_eq!(fault.verdict(&terms, Some(armed)), armed, "{name} {fault:?}");
                }
            }
        }
    }

    #[test]
    fn what_somebody_relies_on_is_followed_whatever_happened_and_whoever_supervises() {
        for (name, terms) in terms() {
            for fault in [FAILED_RELIED_ON, Fault::StandsStill] {
                let follows = match fault.verdict(&terms, None) {
                    Verdict::ReExec => true,
                    Verdict::Exit(status) => terms.revives(Death::Exited(status)),
                    Verdict::StayUp => false,
                };
                assert!(follows, "{name} {fault:?}");
            }
        }
    }

    #[test]
    fn a_watchdog_ends_what_stands_still_as_a_restart_would() {
        for (name, terms) in terms() {
            let restart = terms.verdict(Wish::Restart, Origin::Watchdog);
            assert_eq!(Fault::StandsStill.verdict(&terms, None), restart, "{name}");
        }
    }

    #[test]
    fn a_process_is_relied_on_once_it_served_or_stands_in_its_own_place() {
        use Standing::{ReliedOn, Unproven};
        let cases = [(0, false), (0, true), (1, false), (3, false), (1, true)];
        assert_eq!(
            cases.map(|(starts, in_place)| Standing::of(starts, in_place)),
            [ReliedOn, ReliedOn, Unproven, Unproven, ReliedOn]
        );
    }
}
