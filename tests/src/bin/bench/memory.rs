//! How much memory the gateway keeps resident: idle, and with 10,000 sessions known and 1,000 turns in flight.

use std::thread;
use std::time::Duration;

use evergate_tests::gateway::Gateway;
use evergate_tests::{PATIENCE, process};

use crate::report::Report;
use crate::seed;

/// Sessions that have said something.
const SESSIONS: usize = 10_000;
/// Turns in flight.
const TURNS: usize = 1000;
/// After a change it is left alone for so long before it is looked at.
const REST: Duration = Duration::from_secs(1);
/// The goals, in megabytes.
const IDLE_GOAL: f64 = 15.0;
const LOADED_GOAL: f64 = 64.0;

/// Measures it.
pub fn measure() -> Report {
    let config = format!("[limits]\nturns = {TURNS}\n[agent.demo]\nwords_per_second = 0");
    let gateway = Gateway::builder().unrecorded().config(&config).start();
    let pid = gateway.child_pid();
    let resident = || {
        thread::sleep(REST);
        process::resident_bytes(pid) as f64 / 1e6
    };
    let idle = resident();
    seed::say_in_each((gateway.address(), &gateway.token()), 0..SESSIONS, "hello there, how are you today?", "first");
    gateway.await_rest(PATIENCE);
    let known = resident();
    seed::say_in_each(
        (gateway.address(), &gateway.token()),
        0..TURNS,
        "take 1h for an answer of a few words",
        "second",
    );
    gateway.wait_for("the turns to run", PATIENCE, || (gateway.try_status()?["turns_open"] == TURNS).then_some(()));
    let loaded = resident();

    let mut report = Report::new("memory");
    report.figure("resident idle", idle, "MB");
    report.figure("resident with 10000 sessions known", known, "MB");
    report.figure("resident with 10000 sessions known and 1000 turns", loaded, "MB");
    report.at_most("idle", idle, IDLE_GOAL);
    report.at_most("10,000 sessions known and 1,000 turns in flight", loaded, LOADED_GOAL);
    report
}
