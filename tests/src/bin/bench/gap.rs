//! How long nobody answers while one generation follows another, under `evergate supervise` and in place: 1,000 sessions
//! known, 100 messages pending, a graceful restart. The yardstick is the kill and start of a server that does nothing.

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
    let supervised = gateway_gaps(true);
    let in_place = gateway_gaps(false);

    let mut report = Report::new("gap");
    report.durations(["gap", "gap at least", "gap at most"], &supervised);
    report.durations(["gap in place", "gap in place at least", "gap in place at most"], &in_place);
    report.durations(["yardstick bare server", "yardstick at least", "yardstick at most"], &bare);
    let ratio = median(&supervised).as_secs_f64() / median(&bare).as_secs_f64();
    let ratio_in_place = median(&in_place).as_secs_f64() / median(&bare).as_secs_f64();
    report.figure("ratio", ratio, "times");
    report.figure("ratio in place", ratio_in_place, "times");
    report.figure("runs of each", RUNS as f64, "");
    report.at_most(format!("the gap is within {FACTOR} times the yardstick"), ratio, FACTOR);
    report.at_most(format!("the gap in place is within {FACTOR} times the yardstick"), ratio_in_place, FACTOR);
    report
}

fn gateway_gaps(supervised: bool) -> Vec<std::time::Duration> {
    let gateway = pending_gateway(supervised);
    let gaps = (0..RUNS).map(|_| gap(&gateway)).collect();
    let status = gateway.status();
    let pending = status["turns_open"].as_u64().unwrap_or(0) + status["queued"].as_u64().unwrap_or(0);
    assert_eq!(pending, 2 * BUSY, "everything that was pending before the restarts is pending after them: {status}");
    gaps
}

fn bare_gaps() -> Vec<std::time::Duration> {
    let mut server = BareServer::start();
    let address = server.address();
    (0..RUNS).map(|_| ready::gap(address, |answer| answer.text.clone(), || server.replace())).collect()
}

/// A gateway with many sessions and some messages that stay pending over all restarts.
fn pending_gateway(supervised: bool) -> Gateway {
    let gateway = Gateway::builder()
        .unrecorded()
        .supervised(supervised)
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
