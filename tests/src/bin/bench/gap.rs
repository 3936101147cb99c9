//! How long nobody answers while one generation follows another: `evergate supervise`, 1,000 sessions known, 100 messages
//! pending, a graceful restart. The yardstick is the kill and start of a server that does nothing.

use serde_json::json;

use evergate_tests::PATIENCE;
use evergate_tests::gateway::Gateway;
use evergate_tests::http::Answer;

use crate::bare_server::BareServer;
use crate::report::{Report, median};
use crate::{ready, seed};

/// Sessions that have said something.
const SESSIONS: usize = 1000;
/// Sessions with two messages pending: one in a turn, one queued behind it.
const BUSY: u64 = 50;
/// How often each is measured.
const RUNS: usize = 11;
/// The goal: so many times the yardstick.
const FACTOR: f64 = 3.0;

/// Measures it.
pub fn measure() -> Report {
    let bare = bare_gaps();
    let gateway = pending_gateway();
    let gaps: Vec<_> = (0..RUNS).map(|_| gap(&gateway)).collect();
    let status = gateway.status();
    let pending = status["turns_open"].as_u64().unwrap_or(0) + status["queued"].as_u64().unwrap_or(0);
    assert_eq!(pending, 2 * BUSY, "everything that was pending before the restarts is pending after them: {status}");

    let mut report = Report::new("gap");
    report.durations(["gap", "gap at least", "gap at most"], &gaps);
    report.durations(["yardstick bare server", "yardstick at least", "yardstick at most"], &bare);
    let ratio = median(&gaps).as_secs_f64() / median(&bare).as_secs_f64();
    report.figure("ratio", ratio, "times");
    report.figure("runs of each", RUNS as f64, "");
    report.at_most(format!("the gap is within {FACTOR} times the yardstick"), ratio, FACTOR);
    report
}

fn bare_gaps() -> Vec<std::time::Duration> {
    let mut server = BareServer::start();
    let address = server.address();
    (0..RUNS).map(|_| ready::gap(address, |answer| answer.text.clone(), || server.replace())).collect()
}

/// A gateway with many sessions and some messages that stay pending over all restarts.
fn pending_gateway() -> Gateway {
    let gateway = Gateway::builder()
        .unrecorded()
        .supervised(true)
        .config("[drain]\nbudget = \"100ms\"\n[agent.demo]\nwords_per_second = 0")
        .start();
    seed::say_in_each(&gateway, 0..SESSIONS, "hello", "first");
    gateway.await_rest(PATIENCE);
    seed::say_in_each(&gateway, 0..BUSY as usize, "take 1h for this answer", "second");
    seed::say_in_each(&gateway, 0..BUSY as usize, "take 1h for this answer too", "third");
    gateway
}

/// One restart.
fn gap(gateway: &Gateway) -> std::time::Duration {
    let generation = |answer: &Answer| answer.json()["generation"].to_string();
    let gap = ready::gap(gateway.address(), generation, || {
        gateway.ask("restart", &json!({}));
    });
    // The next one begins when everything that was cut runs again.
    gateway
        .wait_for("the turns to be resumed", PATIENCE, || (gateway.try_status()?["turns_open"] == BUSY).then_some(()));
    gap
}
