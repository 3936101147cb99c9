//! The table of supervisors against what supervisors do, from their manuals: for every request, every supervisor and every
//! way to die it is known whether another generation follows, and it follows exactly when it should.

use evergate_core::id::{SessionId, TurnId};
use evergate_core::request::{Origin, Signal, Wish};
use evergate_core::respawn::{ChildEnd, KILL_LIMIT, Next, Respawn};
use evergate_core::supervisor::{Contract, Death as Told, Park, Supervisor};
use evergate_core::time::Instant;
use evergate_core::verdict::{PARK, RESTART, STOP, Verdict};

/// The status of a Rust program whose main thread panicked.
const PANIC: u8 = 101;

/// How a process ended, as its parent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Exit(u8),
    Signal(i32),
}

/// Every origin that a request can have. The match fails to compile when one is added and not listed.
fn origins() -> Vec<Origin> {
    let (turn, session) = (TurnId(1), SessionId(1));
    let all = [
        Origin::Turn { turn, session },
        Origin::Session(session),
        Origin::Cli,
        Origin::Http,
        Origin::Signal(Signal::Terminate),
        Origin::Signal(Signal::Interrupt),
        Origin::Watchdog,
        Origin::Update,
    ];
    for origin in all {
        match origin {
            Origin::Turn { .. } | Origin::Session(_) | Origin::Cli | Origin::Http => {}
            Origin::Signal(Signal::Terminate | Signal::Interrupt) | Origin::Watchdog | Origin::Update => {}
        }
    }
    all.to_vec()
}

/// All that can end a process.
fn deaths() -> impl Iterator<Item = Death> {
    (0..=u8::MAX).map(Death::Exit).chain((1..=64).map(Death::Signal))
}

/// Whether a supervisor that was not asked to stop us starts us again.
fn starts_again(supervisor: Supervisor, death: Death) -> bool {
    match supervisor {
        // systemd.service(5): Restart=on-failure takes these four signals for a clean end; RestartPreventExitStatus=78.
        Supervisor::Systemd => !matches!(death, Death::Exit(0 | PARK) | Death::Signal(1 | 2 | 13 | 15)),
        // launchd.plist(5): KeepAlive true, and SuccessfulExit false.
        Supervisor::LaunchdKeepAlive => true,
        Supervisor::LaunchdSuccessfulExit => death != Death::Exit(0),
        // `--restart=on-failure`; with `always` the engine itself stops what is to stay down.
        Supervisor::Container => death != Death::Exit(0),
        // restartPolicy: Always, the only one of a Deployment.
        Supervisor::Kubernetes => true,
        // s6-supervise(8): always, unless the finish script ends with 125, which ours does for 0 and for 125.
        Supervisor::S6 => !matches!(death, Death::Exit(0 | 125)),
        Supervisor::Evergate => {
            let mut respawn = Respawn::new(KILL_LIMIT);
            respawn.started(Instant::from_millis(0));
            let ended = match death {
                Death::Exit(status) => ChildEnd::Exited(status),
                Death::Signal(signal) => ChildEnd::Signalled(signal),
            };
            matches!(respawn.ended(Instant::from_millis(1), ended).next, Next::Start { .. })
        }
        Supervisor::Nobody => false,
    }
}

/// Supervisors that start a process again after any end: they have to be told to stop, by whoever wants that.
fn insists(supervisor: Supervisor) -> bool {
    deaths().all(|death| starts_again(supervisor, death))
}

#[test]
fn a_restart_is_followed_by_another_generation_whoever_asked_and_whoever_supervises() {
    for contract in Contract::TABLE {
        for origin in origins() {
            let alone = contract.supervisor == Supervisor::Nobody;
            match contract.verdict(Wish::Restart, origin) {
                Verdict::ReExec => assert_ne!(
                    origin,
                    Origin::Signal(Signal::Terminate),
                    "{contract:?}: a process in place could outlive whoever sent the signal"
                ),
                Verdict::StayUp => panic!("{contract:?}, {origin:?}: a restart that stays as it is"),
                // Under nobody only SIGTERM leaves, and the shell sees that it was no stop.
                Verdict::Exit(status) => assert!(
                    starts_again(contract.supervisor, Death::Exit(status)) || (alone && status == RESTART),
                    "{contract:?}, {origin:?}: nobody starts it again after {status}"
                ),
            }
        }
    }
}

#[test]
fn a_stop_is_followed_by_nothing() {
    for contract in Contract::TABLE {
        let supervisor = contract.supervisor;
        for origin in origins() {
            match contract.verdict(Wish::Stop, origin) {
                Verdict::ReExec => panic!("{contract:?}, {origin:?}: a stop that goes on"),
                Verdict::StayUp => assert!(insists(supervisor), "{contract:?}, {origin:?} could simply leave"),
                // Who sends SIGTERM to a process that its supervisor always starts again has that in mind.
                Verdict::Exit(STOP) if origin == Origin::Signal(Signal::Terminate) && insists(supervisor) => {}
                Verdict::Exit(status) => {
                    assert!(!starts_again(supervisor, Death::Exit(status)), "{contract:?}, {origin:?}");
                }
            }
        }
    }
}

#[test]
fn the_table_says_of_every_death_what_the_supervisor_does() {
    // systemd takes these for the end that somebody wanted, and so does whoever sent them.
    let clean = [1, 2, 13, 15].map(Death::Signal);
    for contract in Contract::TABLE {
        for death in deaths().filter(|death| !clean.contains(death)) {
            let told = match death {
                Death::Exit(status) => Told::Exited(status),
                Death::Signal(_) => Told::Killed,
            };
            assert_eq!(
                contract.revives(told),
                starts_again(contract.supervisor, death),
                "{contract:?} after {death:?}"
            );
        }
    }
}

#[test]
fn a_signal_behind_the_last_input_makes_it_leave_and_changes_no_exit_status() {
    for contract in Contract::TABLE {
        for (wish, origin) in origins().into_iter().flat_map(|origin| [(Wish::Restart, origin), (Wish::Stop, origin)]) {
            let verdict = contract.verdict(wish, origin);
            let at_last = contract.signalled_at_last(verdict);
            match verdict {
                Verdict::ReExec => {
                    assert_eq!(at_last, contract.verdict(Wish::Restart, Origin::Signal(Signal::Terminate)))
                }
                Verdict::StayUp => assert_eq!(at_last, Verdict::Exit(STOP)),
                Verdict::Exit(_) => assert_eq!(at_last, verdict),
            }
        }
    }
}

#[test]
fn an_unplanned_death_is_followed_by_another_generation_wherever_somebody_supervises() {
    // A panic, the statuses that shells and runtimes use for failures, and the signals that kill without asking.
    let unplanned = [PANIC, 1, 2, 70, 74, 134, 137, 139].map(Death::Exit).into_iter();
    for death in unplanned.chain([3, 4, 6, 7, 8, 9, 11, 24, 31].map(Death::Signal)) {
        for contract in Contract::TABLE.iter().filter(|contract| contract.supervisor != Supervisor::Nobody) {
            assert!(starts_again(contract.supervisor, death), "{contract:?} after {death:?}");
        }
    }
}

#[test]
fn no_status_of_ours_means_two_things() {
    for contract in Contract::TABLE {
        let park = match contract.park {
            Park::Exit(status) => status,
            Park::StayUp => PARK,
        };
        assert!(![RESTART, PANIC].contains(&park), "{contract:?}");
        assert_ne!(contract.leave, Verdict::Exit(STOP), "{contract:?}");
        assert_ne!(contract.restart, contract.stop, "{contract:?}");
    }
}

#[test]
fn who_parks_stays_parked() {
    for contract in Contract::TABLE {
        match contract.park {
            Park::Exit(status) => assert!(!starts_again(contract.supervisor, Death::Exit(status)), "{contract:?}"),
            Park::StayUp => assert!(insists(contract.supervisor), "{contract:?} could simply leave"),
        }
    }
}
