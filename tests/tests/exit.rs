//! How the processes end: the exit status that `run` leaves, what `supervise` makes of it, what the command line says.

use std::process::Output;
use std::time::Duration;

use evergate_tests::PATIENCE;
use evergate_tests::flight::assert_conformant;
use evergate_tests::flight::assert_kept_conformant;
use evergate_tests::gateway::{Gateway, free_address, take};
use evergate_tests::http::{Answer, Client};
use evergate_tests::oracle::Words;
use evergate_tests::process;
use nix::sys::signal::Signal;
use serde_json::json;

/// The status that asks the supervisor for another start (`EX_TEMPFAIL`).
const RESTART: i32 = 75;
/// The status that asks never to be started again like this (`EX_CONFIG`).
const PARK: i32 = 78;
/// The status of a command that finds no gateway (`EX_UNAVAILABLE`).
const NOBODY_THERE: i32 = 69;
/// A start may wait this long for a dying predecessor before it gives up.
const GIVES_UP: Duration = Duration::from_secs(60);

/// A gateway whose supervisor is this test, by the marks that `evergate supervise` sets.
fn supervised_by_this_test() -> Gateway {
    let pid = std::process::id().to_string();
    Gateway::builder().env("EVERGATE_SUPERVISOR", "supervise").env("EVERGATE_SUPERVISOR_PID", &pid).start()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_stop_ends_run_with_0() {
    let gateway = Gateway::builder().start();
    gateway.ask("stop", &json!({}));
    assert_eq!(gateway.exit_code(PATIENCE), 0);
}

#[test]
fn the_command_stop_returns_0_when_the_process_is_gone() {
    let gateway = Gateway::builder().start();
    let output = gateway.cli(&["stop", "--wait", "30s"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(gateway.exit_code(PATIENCE), 0);
}

#[test]
fn a_restart_under_a_supervisor_ends_run_with_75() {
    let gateway = supervised_by_this_test();
    assert_eq!(gateway.status()["supervisor"], "supervise");
    gateway.ask("restart", &json!({}));
    assert_eq!(gateway.exit_code(PATIENCE), RESTART);
}

#[test]
fn a_sigterm_that_nobody_announced_ends_run_with_75() {
    let gateway = supervised_by_this_test();
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.exit_code(PATIENCE), RESTART, "a stray kill must not leave a dead service");
}

#[test]
fn a_restart_that_nobody_supervises_happens_in_the_same_process() {
    let gateway = Gateway::builder().start();
    let (pid, before) = (gateway.pid(), gateway.generation());
    assert_eq!(gateway.status()["supervisor"], "nobody", "this test is about a gateway that nobody supervises");
    assert_eq!(pid, gateway.child_pid());
    gateway.ask("restart", &json!({}));
    gateway.await_generation(before + 1);
    assert_eq!(gateway.pid(), pid, "re-executed in place");
    gateway.send("main", "hello", "1");
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn supervise_starts_again_at_once_after_75() {
    let gateway = Gateway::builder().supervised(true).start();
    let (pid, before) = (gateway.pid(), gateway.generation());
    assert_ne!(pid, gateway.child_pid(), "the gateway is a child of its supervisor");
    gateway.ask("restart", &json!({}));
    gateway.await_generation(before + 1);
    assert_ne!(gateway.pid(), pid, "a new process");
    assert!(gateway.log().contains("75"), "supervise says why its child ended");
}

#[test]
fn supervise_starts_again_after_kill_9() {
    let gateway = Gateway::builder().supervised(true).start();
    let (pid, before) = (gateway.pid(), gateway.generation());
    process::send_signal(pid, Signal::SIGKILL);
    gateway.await_generation(before + 1);
    assert_ne!(gateway.pid(), pid);
    let answer = gateway.client().get("/v1/generations").expect("a ready gateway answers").json();
    let dead = answer["generations"].as_array().and_then(|all| all.iter().find(|one| one["generation"] == before));
    let cause = dead.and_then(|one| one["cause"].as_str()).unwrap_or_default();
    assert!(!cause.is_empty(), "the end of every generation has a recorded cause: {answer}");
    gateway.send("main", "hello", "1");
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn a_gateway_whose_supervise_has_died_restarts_in_place() {
    let gateway = Gateway::builder().supervised(true).start();
    let (pid, before) = (gateway.pid(), gateway.generation());
    gateway.kill();
    assert!(process::is_alive(pid), "it was the supervisor that was killed");
    let found = gateway.cli(&["doctor"]);
    assert!(
        found.status.code() == Some(1) && said(&found).contains("supervisor: the `evergate supervise`"),
        "{found:?}"
    );
    gateway.send("main", "take 2s to answer", "1");
    gateway.await_running("main");
    for mode in [&["restart"][..], &["restart", "--force"]] {
        let output = gateway.cli(mode);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(gateway.pid(), pid, "nobody else was there to start it");
        assert_eq!(gateway.status()["supervisor"], "nobody");
    }
    assert_eq!(gateway.generation(), before + 2);
    gateway.assert_answered_once(&[], Words::Echo);
    let output = gateway.cli(&["stop"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(process::belonging_to(gateway.state_dir()), Vec::<i32>::new(), "nothing of it is left");
}

#[test]
fn a_gateway_that_is_stopped_as_a_whole_and_whose_supervise_has_died_is_started_again_by_the_command() {
    let gateway = Gateway::builder().supervised(true).start();
    let (pid, before) = (gateway.pid(), gateway.generation());
    gateway.kill();
    process::send_signal(pid, Signal::SIGSTOP);
    let output = gateway.cli(&["restart", "--force"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!process::is_alive(pid) && gateway.generation() == before + 1, "{}", said(&output));
    let output = gateway.cli(&["stop"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn supervise_ends_with_0_after_a_stop() {
    let gateway = Gateway::builder().supervised(true).start();
    gateway.ask("stop", &json!({}));
    assert_eq!(gateway.exit_code(PATIENCE), 0);
    assert_eq!(process::belonging_to(gateway.state_dir()), Vec::<i32>::new(), "nothing of it is left");
}

#[test]
fn a_configuration_error_parks_run_and_supervise() {
    for supervised in [false, true] {
        let gateway = Gateway::builder().supervised(supervised).config("[drain]\nbudget = \"yesterday\"").spawn();
        assert_eq!(gateway.exit_code(PATIENCE), PARK, "{}", gateway.log());
        assert!(gateway.log().contains("budget"), "the message names the setting: {}", gateway.log());
    }
}

#[test]
fn supervise_takes_nothing_but_a_run() {
    for words in [&["--listen", "127.0.0.1:1"][..], &["foo"]] {
        let mut supervise = std::process::Command::new(process::binary());
        supervise.args(["supervise", "--"]).args(words).env_clear().env("HOME", "/nonexistent");
        let output = supervise.output().expect("the binary was just built");
        assert_eq!(output.status.code(), Some(PARK), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("evergate supervise -- run {}", words.join(" "))), "{said}");
    }
}

#[test]
fn a_state_directory_with_a_living_owner_parks_the_second_gateway_and_names_the_first() {
    let first = Gateway::builder().start();
    let owner = first.pid();
    let second = Gateway::builder().state_dir(first.state_dir()).spawn();
    assert_eq!(second.exit_code(GIVES_UP), PARK, "{}", second.log());
    let log = second.log();
    assert!(log.contains(&owner.to_string()), "the message names process {owner}: {log}");
    assert_eq!(first.pid(), owner, "the owner is not disturbed");
    first.send("main", "hello", "1");
    first.assert_answered_once(&[], Words::Echo);
}

/// Its file is all that a command line has of it; without, and with nobody who makes it again, the process itself is what is left.
#[test]
fn a_restart_gets_through_where_the_control_socket_is_gone() {
    let gateway = Gateway::builder().config("[watchdog]\nfreeze = \"1h\"\n[debug]\nhooks = \"on\"").start();
    let (before, prompt) = (gateway.generation(), gateway.send("main", "take 3s to say hello", "1"));
    gateway.await_running("main");
    gateway.freeze("control", Duration::from_secs(600));
    std::fs::remove_file(gateway.state_dir().join("control.sock")).expect("it was there");
    let asked = gateway.cli(&["stop", "--wait", "1s"]);
    assert_ne!(asked.status.code(), Some(0), "nobody was asked: {}", said(&asked));
    let restarted = gateway.cli(&["restart", "--force"]);
    assert_eq!(restarted.status.code(), Some(0), "{}", said(&restarted));
    assert!(gateway.generation() > before);
    gateway.await_reply("main", prompt, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
    assert!(gateway.cli(&["status"]).status.success(), "the successor has one again");
}

/// In a container every generation has the process id 1, and so has the record of the dead one: it is no identity.
#[test]
fn as_process_1_of_a_container_a_dead_owner_with_the_same_number_neither_blocks_a_start_nor_is_killed() {
    let test = "a gateway as process 1";
    if !nix::unistd::geteuid().is_root() {
        return evergate_tests::skipped(test, "it takes root to make a process namespace");
    }
    let (room, address) = (tempfile::tempdir().expect("there is a place for temporary folders"), free_address());
    let visitor = Client::new(address, None);
    let serves = |generation: u64| {
        let answers = |answer: Answer| answer.status == 200 && answer.json()["generation"] == generation;
        let ready = || visitor.get("/readyz").is_ok_and(answers).then_some(());
        evergate_tests::eventually(PATIENCE, ready).unwrap_or_else(|| panic!("generation {generation} never served"));
    };
    for generation in 1..=3 {
        let contained = std::process::Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .arg(process::binary())
            .args(["run", "--listen", &address.to_string(), "--state-dir"])
            .arg(room.path())
            .env("EVERGATE_STATE_DIR", room.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        let Ok(mut contained) = contained else { return evergate_tests::skipped(test, "unshare is not installed") };
        serves(generation);
        let token = std::fs::read_to_string(room.path().join("token")).expect("a gateway that serves has a token");
        let client = Client::new(address, Some(token.trim().to_owned()));
        let status = client.get("/v1/status").expect("it serves").json();
        assert_eq!((&status["pid"], &status["supervisor"]), (&json!(1), &json!("docker")));
        let owner = std::fs::read_to_string(room.path().join("lock")).expect("it is locked");
        assert!(owner.contains("\"pid\":1,"), "{owner}");
        // With a turn under way, so that the next one looks for what its agent may have left.
        let message = json!({"text": "take 60s to say hello", "id": generation.to_string()});
        let sent = client.post(&format!("/v1/sessions/s{generation}/messages"), &message).expect("it serves");
        assert_eq!(sent.status, 202);
        contained.kill().expect("it is our child");
        contained.wait().expect("it is our child");
    }
    process::end_all(room.path());
    assert_kept_conformant(room.path(), 3);
}

#[test]
fn a_port_that_stays_taken_parks_run() {
    let address = free_address();
    let _taken = take(address);
    let gateway = Gateway::builder().listen(address).spawn();
    assert_eq!(gateway.exit_code(GIVES_UP), PARK, "{}", gateway.log());
    assert!(gateway.log().contains(&address.to_string()), "the message names the address: {}", gateway.log());
}

#[test]
fn the_command_restart_returns_0_when_a_different_generation_is_ready() {
    for supervised in [true, false] {
        let gateway = Gateway::builder().supervised(supervised).start();
        let before = gateway.generation();
        let output = gateway.cli(&["restart", "--wait", "30s"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let answer = gateway.client().get("/readyz").expect("it is ready, the command said so");
        assert_eq!((answer.status, answer.json()["generation"].as_u64()), (200, Some(before + 1)));
    }
}

#[test]
fn the_command_send_prints_the_reply() {
    let gateway = Gateway::builder().config("[agent.demo]\nwords_per_second = 0").start();
    let output = gateway.cli(&["send", "--session", "main", "good morning"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "You said: good morning");
}

#[test]
fn commands_say_when_no_gateway_is_running() {
    let gateway = Gateway::builder().start();
    gateway.kill();
    for command in [["restart", "--wait", "5s"].as_slice(), &["send", "hello"]] {
        let output = gateway.cli(command);
        assert_eq!(output.status.code(), Some(NOBODY_THERE), "{command:?}: {}", said(&output));
        assert!(!output.stderr.is_empty(), "{command:?} says what is wrong");
    }
}

#[test]
fn a_log_that_nobody_reads_any_more_does_not_end_the_gateway() {
    let room = tempfile::tempdir().expect("there is a place for temporary folders");
    let address = free_address();
    let mut gateway = std::process::Command::new(process::binary())
        .args(["run", "--listen", &address.to_string(), "--flight-log", "flight/log", "--state-dir"])
        .arg(room.path())
        .current_dir(room.path())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let visitor = Client::new(address, None);
    let ready = || visitor.get("/readyz").is_ok_and(|answer| answer.status == 200).then_some(());
    evergate_tests::eventually(PATIENCE, ready).expect("it serves");
    drop(gateway.stderr.take());
    // Each phase of its end is a line of the log.
    process::send_signal(i32::try_from(gateway.id()).expect("a PID is small"), Signal::SIGTERM);
    let status = evergate_tests::eventually(PATIENCE, || gateway.try_wait().expect("it is our child"));
    if status.is_none() {
        gateway.kill().expect("it is our child");
        gateway.wait().expect("it is our child");
    }
    assert_eq!(status.and_then(|status| status.code()), Some(RESTART), "{status:?}");
    let found = assert_conformant(&room.path().join("flight/log"), 1);
    assert_eq!(found.without_end, 0, "its end is recorded: {found:?}");
}
