//! Rooms whose supervisor is not as its row of the table says: units by hand, limits that somebody chose, a systemd that does
//! not listen. What the gateway is told of each is worked out by the code that a real start uses; what is done after an end
//! is what the unit says.

use super::scope::{Room, Size, room, with};
use crate::world::Manner;
use crate::world::supervision::{Policy, Variant};
use evergate::detect::Found;
use evergate::systemd::{StopLimit, Terms};
use evergate::unit_state::UnitState;
use evergate_core::supervisor::{Death, Supervisor};
use evergate_core::verdict::STOP;

/// A stop and a restart of each kind that such terms make a difference to.
const WISHES: [Manner; 6] =
    [Manner::Restart, Manner::Force, Manner::Stop, Manner::TurnRestartWaits, Manner::Terminate, Manner::SupervisorStop];

/// What our own unit says of ends.
const OURS: &str = "Restart=on-failure RestartPreventExitStatus=78 RestartForceExitStatus=75 SuccessExitStatus=75 \
                    StartLimitIntervalUSec=0";

/// Whether systemd listens to what runs in a unit (`NotifyAccess=`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listens {
    Yes,
    No,
}

/// A unit as `systemctl show` prints it, but in one line.
fn unit(ends: &str, stop_limit: &str, listens: Listens) -> Variant {
    let name = format!("{ends} TimeoutStopUSec={stop_limit}");
    let state = UnitState::parse(&format!("{}\nTimeoutStopUSec={stop_limit}", ends.replace(' ', "\n")));
    let found = Found { heard: listens == Listens::Yes, systemd: Terms::of(&state), limit_beside_us: None };
    let policy = Policy {
        statuses: (0..=u8::MAX).filter(|status| state.revives(Death::Exited(*status))).collect(),
        killed: state.revives(Death::Killed),
        limited: state.limits_starts(),
    };
    let name = if found.heard { name } else { format!("{name}, not heard") };
    Variant { name, contract: found.terms(Supervisor::Systemd), policy: Some(policy) }
}

/// A unit that says nothing but when it is started again: systemd limits the starts.
fn by_hand(policy: &str) -> Variant {
    let ends = format!("Restart={policy} StartLimitIntervalUSec=10s StartLimitBurst=5");
    unit(&ends, "1min 30s", Listens::No)
}

/// Somebody who cannot be asked, beside whom a unit of ours tells the limit.
fn limited(supervisor: Supervisor, limit: &str) -> Variant {
    let found = Found { limit_beside_us: StopLimit::parse(limit), ..Found::default() };
    Variant { name: format!("kills after {limit}"), contract: found.terms(supervisor), policy: None }
}

fn under(variant: Variant) -> Room {
    // Such a unit undoes an `evergate stop`, which no exit status prevents: `evergate doctor` finds it, and nobody wishes it here.
    let undoes_stops = variant.policy.as_ref().is_some_and(|policy| policy.revives(Death::Exited(STOP)));
    let wishes: Vec<Manner> = WISHES.into_iter().filter(|wish| *wish != Manner::Stop || !undoes_stops).collect();
    Room { variant: Some(variant.clone()), ..room(variant.contract.supervisor, Size(1, 1, 2, 1, 0), &wishes) }
}

/// All of them, as the table of `ci` names them.
pub fn rooms() -> Vec<Room> {
    use Supervisor::{Container, Kubernetes, LaunchdSuccessfulExit, S6};
    let mut rooms = vec![
        under(unit(OURS, "1min 30s", Listens::Yes)),
        with(under(unit(OURS, "12s", Listens::Yes)), |budget| (budget.progress, budget.slow) = (1, 1)),
        under(unit(OURS, "infinity", Listens::Yes)),
        under(unit("Restart=on-failure StartLimitIntervalUSec=0", "5s", Listens::No)),
    ];
    // Whether it is being stopped is what such a gateway asks, and systemd may be late to say so.
    rooms.extend(["on-failure", "no"].map(by_hand).map(|variant| with(under(variant), |budget| budget.slow = 1)));
    rooms.extend(["always", "on-success", "on-abnormal"].map(by_hand).map(under));
    rooms.extend([
        under(limited(Container, "45s")),
        under(limited(LaunchdSuccessfulExit, "5s")),
        under(limited(Kubernetes, "infinity")),
        under(limited(S6, "8s")),
    ]);
    rooms
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergate_core::supervisor::{Contract, Extends};
    use evergate_core::verdict::Verdict;
    use std::time::Duration;

    #[test]
    fn our_own_unit_comes_to_the_terms_of_the_table() {
        let ours = unit(OURS, "1min 30s", Listens::Yes);
        assert_eq!(ours.contract, Contract::of(Supervisor::Systemd));
        let policy = ours.policy.expect("it is a unit's to say");
        assert!(
            !policy.limited
                && (0..=u8::MAX).all(|status| {
                    policy.revives(Death::Exited(status)) == ours.contract.revives(Death::Exited(status))
                })
        );
    }

    #[test]
    fn each_way_of_finding_out_is_explored() {
        let contracts: Vec<Contract> = rooms().into_iter().filter_map(|room| Some(room.variant?.contract)).collect();
        let differs = |other: fn(&Contract, &Contract) -> bool| {
            contracts.iter().any(|contract| other(contract, &Contract::of(contract.supervisor)))
        };
        assert!(differs(|is, row| is.kill_after < row.kill_after && is.kill_after > Some(Duration::ZERO)));
        assert!(differs(|is, row| is.kill_after > row.kill_after));
        assert!(differs(|is, row| is.kill_after.is_none() && row.kill_after.is_some()));
        assert!(differs(|is, row| is.extends == Extends::Never && row.extends == Extends::WhenTold));
        assert!(differs(|is, row| is.leave == Verdict::ReExec && row.leave != Verdict::ReExec));
    }
}
