//! What people are told where something is out of the ordinary: nobody runs, a word is misspelt, a start has to wait, a pipe takes
//! the place of a terminal. Each is one clear sentence, with what to do about it, and the exit status that the tables name.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use evergate_tests::PATIENCE;
use evergate_tests::gateway::{Gateway, free_address, take};
use evergate_tests::oracle::Words;
use evergate_tests::process;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `evergate doctor` finds, by check, with what is so and what comes of it.
fn findings(output: &Output) -> Vec<(String, String)> {
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let findings = said["findings"].as_array().expect("there is a list").iter();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let words = ["what", "consequence", "mend"];
    findings.map(|finding| (text(finding, "check"), words.map(|word| text(finding, word)).join("; "))).collect()
}

#[test]
fn where_nobody_runs_status_and_doctor_tell_how_the_last_one_ended_what_is_owed_and_what_starts_the_next() {
    let gateway = Gateway::builder().start();
    gateway.send("main", "take 60s to say this", "1");
    gateway.await_running("main");
    gateway.kill();
    let status = gateway.cli(&["status"]);
    assert_eq!(status.status.code(), Some(69));
    let said = told(&status);
    assert!(said.contains("the last one, generation 1, died some time after its last record, of 2"), "{said}");
    assert!(said.contains("owed to people until one is started: 1 answer that was cut"), "{said}");
    assert!(said.contains("`evergate run --state-dir "), "{said}");
    let doctor = gateway.cli(&["doctor", "--json"]);
    let found = findings(&doctor);
    assert_eq!((found.len(), doctor.status.code()), (1, Some(1)), "{found:?}");
    assert_eq!(found[0].0, "no gateway");
    assert!(found[0].1.contains("generation 1, died") && found[0].1.contains("1 answer that was cut"), "{found:?}");
    assert!(found[0].1.contains("evergate run --state-dir "), "{found:?}");

    // Whoever was stopped, and has left nothing, is missed by nobody.
    gateway.restart_process();
    gateway.await_generation(2);
    gateway.send("main", "/stop", "2");
    gateway.await_rest(PATIENCE);
    assert!(gateway.cli(&["stop"]).status.success());
    gateway.exit_code(PATIENCE);
    let said = told(&gateway.cli(&["status"]));
    assert!(said.contains("exit 0, stop request") && said.contains("nothing is owed to anybody"), "{said}");
    let doctor = gateway.cli(&["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.starts_with("all is well with ") && said.contains("no gateway runs"), "{said}");
    assert_eq!(doctor.status.code(), Some(0));
}

#[test]
fn a_state_directory_that_is_not_there_is_a_finding_with_the_command_that_makes_it() {
    let room = tempfile::tempdir().expect("there is a place for temporary folders");
    let doctor = Command::new(process::binary())
        .args(["doctor", "--json", "--state-dir"])
        .arg(room.path().join("nowhere"))
        .env_clear()
        .env("HOME", room.path())
        .output()
        .expect("the binary was just built");
    let found = findings(&doctor);
    assert_eq!((found.len(), doctor.status.code()), (1, Some(1)), "{found:?}");
    assert!(found[0].0 == "state directory" && found[0].1.contains("evergate run --state-dir "), "{found:?}");
}

/// The row of a generation in the list.
fn listed(gateway: &Gateway, generation: u64) -> Value {
    let list = gateway.client().get("/v1/generations").expect("it serves").json();
    let of = |entry: &&Value| entry["generation"] == generation;
    list["generations"].as_array().and_then(|list| list.iter().find(of)).expect("it is known").clone()
}

fn unix_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970");
    u64::try_from(since.as_millis()).expect("it is not that late")
}

#[test]
fn the_time_of_a_death_is_its_own_where_somebody_saw_it_and_otherwise_the_latest_that_it_can_be() {
    let gateway = Gateway::builder().supervised(true).start();
    let killed_at = unix_ms();
    process::send_signal(gateway.pid(), Signal::SIGKILL);
    gateway.await_generation(2);
    let (row, now) = (listed(&gateway, 1), unix_ms());
    let ended = row["ended_at_ms"].as_u64().unwrap_or_else(|| panic!("its supervisor saw it: {row}"));
    assert!((killed_at..now).contains(&ended) && row["ended_before_ms"].is_null(), "{killed_at} {now} {row}");
    let text = gateway.cli(&["generations", "show", "1"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("ms from its end, until generation 2 was ready"), "{text}");

    let gateway = Gateway::builder().start();
    gateway.kill();
    gateway.restart_process();
    gateway.await_generation(2);
    let row = listed(&gateway, 1);
    assert!(row["ended_at_ms"].is_null() && row["ended_before_ms"].as_u64().is_some(), "{row}");
    let list = gateway.cli(&["generations"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("  before 2"), "{list}");
}

#[test]
fn a_generation_that_there_is_not_is_one_sentence_whether_somebody_runs_or_not() {
    let gateway = Gateway::builder().start();
    for runs in [true, false] {
        if !runs {
            assert!(gateway.cli(&["stop"]).status.success());
            gateway.exit_code(PATIENCE);
        }
        for (number, status, words) in
            [("abc", 64, "`abc` is no number of a generation"), ("99", 65, "the journal knows no generation 99")]
        {
            let shown = gateway.cli(&["generations", "show", number]);
            let said = told(&shown);
            assert_eq!(shown.status.code(), Some(status), "{number}, runs: {runs}: {said}");
            assert!(said.contains(words) && said.lines().count() == 1, "{number}, runs: {runs}: {said}");
        }
    }
}

#[test]
fn a_command_with_words_that_it_does_not_take_is_answered_with_its_usage() {
    let gateway = Gateway::builder().start();
    for (text, usage) in [("/busy nonsense", "/busy collect: "), ("/stop now", "/stop: "), ("/deny it", "/deny: ")] {
        gateway.send("main", text, text);
        let events = gateway.events("main", None, text, |events| {
            events.iter().any(|event| event.is("notice") && event.text().contains(usage))
        });
        let said = events.last().expect("it ends with the notice").text().to_owned();
        assert!(said.starts_with("That command is used in this way:") && !said.contains("/help"), "{said}");
    }
}

#[test]
fn a_status_in_a_drain_does_not_count_itself() {
    let gateway = Gateway::builder().config("[drain]\nbudget = \"60s\"").start();
    gateway.send("busy", "take 60s to say this", "1");
    gateway.await_running("busy");
    gateway.ask("restart", &json!({}));
    gateway.await_phase("draining");
    gateway.send("asks", "/status", "2");
    let events = gateway.events("asks", None, "the status", |events| events.iter().any(|event| event.is("notice")));
    let said = events.last().expect("it ends with the notice").text().to_owned();
    assert!(said.contains("The drain waits for: turn 1 of session busy") && !said.contains("delivery"), "{said}");
}

#[test]
fn a_chat_through_a_pipe_begins_with_what_is_new() {
    let gateway = Gateway::builder().config("[agent.demo]\nwords_per_second = 0").start();
    gateway.send("main", "something old", "1");
    gateway.assert_answered_once(&[], Words::Echo);
    let mut chat = Command::new(process::binary())
        .args(["chat", "main", "--state-dir"])
        .arg(gateway.state_dir())
        .env_clear()
        .env("HOME", gateway.room())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was just built");
    let mut lines = chat.stdin.take().expect("it is piped");
    lines.write_all(b"something new\n/quit now\n").expect("it reads");
    drop(lines);
    let output = chat.wait_with_output().expect("it ends with its input");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("You said: something new") && !said.contains("something old"), "{said}");
    assert!(said.contains("/quit takes no words behind it"), "{said}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_start_that_has_to_wait_says_for_what_before_it_gives_up() {
    let first = Gateway::builder().start();
    let owner = first.pid();
    let second = Gateway::builder().state_dir(first.state_dir()).spawn();
    assert_eq!(second.exit_code(Duration::from_secs(60)), 78, "{}", second.log());
    let log = second.log();
    let waits = log.find(&format!("waiting for a running gateway (PID {owner},"));
    assert!(waits.is_some() && waits < log.find("belongs to a running gateway"), "{log}");

    let address = free_address();
    let _taken = take(address);
    for supervised in [false, true] {
        let gateway = Gateway::builder().supervised(supervised).listen(address).spawn();
        assert_eq!(gateway.exit_code(Duration::from_secs(60)), 78, "{}", gateway.log());
        let log = gateway.log();
        let waits = log.find("somebody else listens at the address of the chat page");
        assert!(waits.is_some() && waits < log.find("cannot listen on"), "supervised: {supervised}: {log}");
        assert!(!log.contains("cannot listen for the child"), "supervised: {supervised}: {log}");
    }
}

#[test]
fn a_restart_in_order_never_says_that_nobody_answers() {
    for supervised in [false, true] {
        let gateway = Gateway::builder().supervised(supervised).start();
        for _ in 0..5 {
            let restarted = gateway.cli(&["restart"]);
            let said = String::from_utf8_lossy(&restarted.stdout).into_owned();
            assert!(restarted.status.success() && !said.contains("does not answer"), "{supervised}: {said}");
        }
    }
}
