//! What a unit (a plist, a service directory, a manifest) has to say so that its supervisor keeps the terms that the table
//! in [`supervisor`](crate::supervisor) gives it. Numbers only, derived from that table and from the configured limits;
//! how a supervisor wants them written is for whoever writes the file.

use crate::budget::Deadlines;
use crate::limits::Limits;
use crate::supervisor::{Contract, Park, Supervisor};
use crate::verdict::{PARK, STOP};
use crate::watchdog::Bounds;
use std::collections::BTreeSet;
use std::time::Duration;

/// The numbers of a unit that we write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The terms that it makes true.
    pub contract: Contract,
    /// What an end needs with nothing shortened, in whole seconds.
    pub room: Duration,
    /// From SIGTERM to SIGKILL, in whole seconds; `None` where the supervisor is not to kill at all.
    pub kill_after: Option<Duration>,
    /// From an end to the next start.
    pub pause: Duration,
    /// A gateway that shows no progress for this long is killed, where this supervisor looks after that.
    pub watchdog: Option<Duration>,
    /// How long a start may take until the gateway serves.
    pub start: Duration,
}

impl Unit {
    /// How much later a supervisor loses patience than the watchdog inside, which knows what is stuck and writes it down.
    const BEHIND: Duration = Duration::from_secs(10);

    /// The unit for this supervisor, with room for the configured budgets as far as it grants that.
    #[must_use]
    pub fn new(supervisor: Supervisor, limits: &Limits, bounds: Bounds) -> Self {
        let contract = Contract::of(supervisor);
        let room = whole_seconds(Deadlines::room(limits));
        // Never below what we count on where nobody tells us the unit's own number.
        let kill_after = contract.kill_after.map(|counted_on| {
            let wanted = room.max(counted_on);
            supervisor.longest_kill_after().map_or(wanted, |longest| wanted.min(longest))
        });
        let behind = |bound| whole_seconds(bound + Self::BEHIND);
        let watchdog = supervisor.watches().then(|| behind(bounds.freeze));
        Self { contract, room, kill_after, pause: supervisor.pause(), watchdog, start: behind(bounds.start) }
    }

    /// The kill limit, where it does not leave room for the configured budgets: they will be shortened.
    #[must_use]
    pub fn too_short(&self) -> Option<Duration> {
        self.kill_after.filter(|limit| *limit < self.room)
    }

    /// The statuses after which the gateway is to stay down. [`PARK`] is always among them: it is what a command line that
    /// makes no sense ends with, before it is known who supervises.
    #[must_use]
    pub fn stays_down_after(&self) -> BTreeSet<u8> {
        let parked = match self.contract.park {
            Park::Exit(status) => Some(status),
            Park::StayUp => None,
        };
        [STOP, PARK].into_iter().chain(parked).collect()
    }
}

fn whole_seconds(length: Duration) -> Duration {
    Duration::from_secs(length.as_secs() + u64::from(length.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Mode;
    use crate::time::Instant;

    const BOUNDS: Bounds = Bounds {
        freeze: Duration::from_secs(20),
        disk: Duration::from_secs(600),
        start: Duration::from_secs(300),
        platform: Duration::from_secs(180),
    };

    fn patient(drain_ms: u64) -> Limits {
        Limits { drain: Duration::from_millis(drain_ms), ..Limits::default() }
    }

    #[test]
    fn a_unit_leaves_every_configured_budget_as_it_is_unless_it_says_so() {
        for contract in Contract::TABLE {
            for drain_ms in [0, 1, 999, 30_000, 30_001, 86_400_000] {
                let limits = patient(drain_ms);
                let unit = Unit::new(contract.supervisor, &limits, BOUNDS);
                let now = Instant::from_millis(0);
                let free = Deadlines::new(&limits, Mode::Graceful, None, now);
                let under_it = Deadlines::new(&limits, Mode::Graceful, unit.kill_after, now);
                assert_eq!(unit.too_short().is_none(), free == under_it, "{unit:?}");
                assert!(unit.kill_after.is_none_or(|limit| now + limit > under_it.self_kill), "{unit:?}");
            }
        }
    }

    #[test]
    fn a_unit_is_written_in_whole_seconds_and_none_more_than_it_takes() {
        let lengths = [0, 1, 999, 1_000, 1_001].map(Duration::from_millis);
        assert_eq!(lengths.map(|length| whole_seconds(length).as_millis()), [0, 1_000, 1_000, 1_000, 2_000]);
    }

    #[test]
    fn a_supervisor_loses_patience_after_the_watchdog_inside() {
        for contract in Contract::TABLE {
            let unit = Unit::new(contract.supervisor, &Limits::default(), BOUNDS);
            assert!(unit.start > BOUNDS.start && unit.watchdog.is_none_or(|limit| limit > BOUNDS.freeze), "{unit:?}");
        }
    }

    #[test]
    fn a_supervisor_that_grants_only_so_much_is_asked_for_no_more() {
        let unit = Unit::new(Supervisor::LaunchdSuccessfulExit, &patient(120_000), BOUNDS);
        assert_eq!(unit.kill_after, Supervisor::LaunchdSuccessfulExit.longest_kill_after());
        assert_eq!(unit.too_short(), unit.kill_after);
    }

    #[test]
    fn a_gateway_stays_down_after_its_stop_and_its_park_and_never_after_a_restart() {
        for contract in Contract::TABLE {
            let stays_down = Unit::new(contract.supervisor, &Limits::default(), BOUNDS).stays_down_after();
            assert!(stays_down.contains(&STOP) && stays_down.contains(&PARK), "{contract:?}");
            assert!(!stays_down.contains(&crate::verdict::RESTART), "{contract:?}");
        }
        assert!(Unit::new(Supervisor::S6, &Limits::default(), BOUNDS).stays_down_after().contains(&125));
    }
}
