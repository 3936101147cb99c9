//! The flight log of a real gateway: what is in it after kills and restarts, what is found in one that somebody changed,
//! and that a gateway does not need it. That every other gateway under test conforms is checked by the harness.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;

use evergate_sim::conform::{Finding, conform};
use evergate_tests::flight::assert_conformant;
use evergate_tests::gateway::Gateway;
use evergate_tests::oracle::Words;
use evergate_tests::{PATIENCE, eventually};
use serde_json::json;

/// The effect that acks the first message of all.
const ACK: &str = "{\"ack\":{\"message\":1}}";

/// Whether a replay finds a difference in these lines.
fn differs(lines: &[&str]) -> bool {
    let log = lines.join("\n");
    matches!(conform(log.as_bytes()).expect("it is a flight log"), Finding::Different(_))
}

#[test]
fn a_log_over_kill_cut_and_restart_is_conformant_without_a_word_of_the_chats_and_a_changed_one_is_not() {
    let gateway = Gateway::builder().start();
    let log = gateway.flight_log();
    gateway.send("main", "take 2s to keep my secret", "1");
    gateway.await_running("main");
    // The log is written behind the gateway.
    let ends_whole = |text: &str| text.split_once(ACK).is_some_and(|(_, behind)| behind.lines().count() > 1);
    let written = || fs::read_to_string(&log).ok().filter(|text| ends_whole(text));
    eventually(PATIENCE, written).expect("the message that was acked is in the log");
    gateway.kill();
    // What a kill in the middle of a write leaves behind.
    let file = OpenOptions::new().write(true).open(&log).expect("it recorded");
    let length = file.metadata().expect("it is open").len();
    file.set_len(length - 7).expect("a file can be shortened");

    gateway.restart_process();
    gateway.await_generation(2);
    gateway.ask("restart", &json!({"mode": "force"}));
    gateway.await_generation(3);
    gateway.assert_answered_once(&[], Words::Echo);
    gateway.ask("stop", &json!({}));
    assert_eq!(gateway.exit_code(PATIENCE), 0);

    let found = assert_conformant(&log, 3);
    assert_eq!((found.generations, found.without_end, found.cut_lines.len()), (3, 1, 1), "{found:?}");
    assert!(found.inputs > 10 && found.effects > 30, "{found:?}");
    let text = fs::read_to_string(&log).expect("it is there");
    assert!(!text.contains("secret"), "a flight log holds no text of a chat");
    assert_eq!(fs::metadata(&log).expect("it is there").permissions().mode() & 0o777, 0o600);

    let lines: Vec<&str> = text.lines().collect();
    assert!(!differs(&lines));
    let acked = lines.iter().position(|line| line.contains(ACK)).expect("a message was acked");
    let changed = lines[acked].replace(ACK, "\"ignored\"");
    let mut tampered = lines.clone();
    tampered[acked] = &changed;
    assert!(differs(&tampered), "an effect was changed: {changed}");
    let mut tampered = lines.clone();
    tampered.remove(acked - 1);
    assert!(differs(&tampered), "an input was dropped");
}

#[test]
fn a_gateway_whose_flight_log_cannot_be_written_warns_once_and_serves() {
    for (log, warning) in [("/dev/full", "cannot be written"), ("/proc/flight", "cannot be opened")] {
        let gateway = Gateway::builder().unrecorded().env("EVERGATE_FLIGHT_LOG", log).start();
        gateway.send("main", "hello", "1");
        gateway.assert_answered_once(&[], Words::Echo);
        let said = gateway.log();
        assert_eq!(said.matches("the flight log").count(), 1, "{said}");
        assert!(said.contains(warning) && said.contains(log), "{said}");
    }
}
