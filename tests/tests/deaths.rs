//! What systemd knows of a death is told to the next generation, by a line of the unit that `evergate install` writes. Each test
//! boots a systemd of its own; on a machine that cannot, it says `SKIPPED`.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use evergate_tests::{
    PATIENCE, eventually,
    service::{Service, UNIT, was_resumed},
};
use serde_json::Value;

/// systemd's watchdog waits for ten seconds longer than the one inside.
const IMPATIENT: &str = "[watchdog]\nfreeze = \"1s\"\n";

/// The cause of a generation's end and its time in milliseconds since 1970, as the command line tells them.
fn end_of(service: &Service, generation: u64) -> (String, Option<u64>) {
    let shown = service.evergate(&["generations", "show", &generation.to_string(), "--json"]);
    let told: Value = serde_json::from_str(&shown.text).unwrap_or_else(|error| panic!("{error}: {}", shown.text));
    (told["cause"].as_str().unwrap_or_default().to_owned(), told["ended_at_ms"].as_u64())
}

fn now_ms() -> u64 {
    u64::try_from(UNIX_EPOCH.elapsed().unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[test]
fn a_process_that_systemd_saw_die_is_told_of_with_its_cause_and_its_time() {
    let Some(service) = Service::installed("deaths under systemd", IMPATIENT, |unit| unit) else { return };
    for (signal, cause) in [
        ("STOP", "systemd's watchdog ended it: it gave no sign of life for 11s"),
        ("KILL", "systemd saw it end with SIGKILL: somebody killed it, or the kernel did for want of memory"),
        ("ABRT", "systemd saw it end with SIGABRT"),
    ] {
        let generation = service.serving().expect("it serves");
        let question = service.send(signal, signal, "take 3s to say what hit you");
        service.await_running(signal, question);
        let before = now_ms();
        service.systemd.kill_main(UNIT, signal);
        service.await_generation_after(generation);
        let (told, at) = end_of(&service, generation);
        assert!(told.starts_with(cause), "SIG{signal}: {told}");
        assert!(at.is_some_and(|at| (before..=now_ms()).contains(&at)), "SIG{signal}: {at:?}, not after {before}");
        let events = service.await_only_reply(signal, question);
        assert!(was_resumed(&events, question), "{events:#?}");
        assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active");
    }
}

#[test]
fn what_was_said_of_an_end_from_inside_wins_and_an_end_in_order_leaves_nothing() {
    let Some(service) = Service::installed("last words under systemd", "", |unit| unit) else { return };
    let words = service.state.join("last-words.json");
    let generation = service.serving().expect("it serves");
    let question = service.send("main", "question", "take 3s to say what hit you");
    service.await_running("main", question);
    service.systemd.kill_main(UNIT, "STOP");
    let restarted = service.evergate(&["restart", "--force"]);
    assert!(restarted.status.success(), "{}", restarted.text);
    assert_eq!(service.serving(), Some(generation + 1));
    assert_eq!(end_of(&service, generation).0, "killed by `evergate restart`: it got nowhere");
    let events = service.await_only_reply("main", question);
    assert!(was_resumed(&events, question), "{events:#?}");

    service.survive("TERM");
    assert!(!words.exists(), "it left with 75");
    service.control("stop");
    assert!(!words.exists(), "it left with 0");
}

/// Whatever becomes of the command behind that line: the unit is started again, and in time.
#[test]
fn a_command_for_last_words_that_is_not_there_or_hangs_harms_nothing() {
    let gone = |unit: String| {
        assert!(unit.contains("ExecStopPost=-/"), "{unit}");
        unit.replace("ExecStopPost=-/", "ExecStopPost=-/nowhere/")
    };
    if let Some(service) = Service::installed("no command for last words", "", gone) {
        let generation = service.serving().expect("it serves");
        service.survive("KILL");
        assert_eq!(end_of(&service, generation).0, "died without a word");
    }

    let Some(service) = Service::installed("last words that hang", "", |unit| unit) else { return };
    let generation = service.serving().expect("it serves");
    let (lock, away) = (service.state.join("lock"), service.state.join("lock.away"));
    fs::rename(&lock, &away).expect("it is the test's folder");
    assert!(
        Command::new("mkfifo").arg(&lock).status().is_ok_and(|made| made.success()),
        "a pipe that nobody writes to"
    );
    service.systemd.kill_main(UNIT, "KILL");
    let reads = || (service.systemd.show(UNIT, "SubState") == "stop-post").then_some(());
    eventually(PATIENCE, reads).expect("systemd waits for it");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(service.systemd.show(UNIT, "SubState"), "stop-post", "it hangs");
    fs::rename(&away, &lock).expect("it is the test's folder");
    service.await_generation_after(generation);
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active");
}
