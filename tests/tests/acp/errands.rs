//! Files and commands that an agent has the gateway see to: only as configured, only in its folder, and no command outlives
//! its turn, whatever becomes of the turn, the agent or the gateway.

use super::{builder, example_agent, own, prompts, reply};
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::oracle::Words;
use evergate_tests::{PATIENCE, process};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Writes down its process id and those of two children of its own, one of which makes a process group of its own, and then
/// does nothing for long.
const LONG: &str =
    "echo $$ > pids; sleep 50 & echo $! >> pids; timeout 50 sleep 49 & echo $! >> pids; echo begun; wait";

fn able(test: &str, keys: &str) -> Option<Builder> {
    own(test, &["loads"], &format!("files = \"write\"\nterminals = \"on\"\n{keys}"))
}

fn path(gateway: &Gateway, name: &str) -> String {
    gateway.room().join("agent").join(name).to_str().expect("a path in UTF-8").to_owned()
}

/// What the agent is answered to these calls.
fn call(gateway: &Gateway, session: &str, calls: &Value) -> Vec<Value> {
    let message = gateway.send(session, &format!("calls {calls}"), "calls");
    let told = gateway.await_reply(session, message, PATIENCE).text().to_owned();
    told.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

/// A turn in which a command runs; its processes.
fn begin(gateway: &Gateway, session: &str) -> (u64, Vec<i32>) {
    let calls = json!([
        ["terminal/create", {"command": LONG}], ["until begun", {}], ["say waiting", {}],
        ["terminal/wait_for_exit", {"terminalId": "$"}], ["wait", {}],
    ]);
    let message = gateway.send(session, &format!("calls {calls}"), "long");
    gateway.await_said(session, "waiting");
    let pids = std::fs::read_to_string(path(gateway, "pids")).expect("the command has begun");
    let pids: Vec<i32> = pids.lines().map(|pid| pid.parse().expect("a process id")).collect();
    assert!(pids.len() == 3 && pids.iter().all(|pid| process::is_alive(*pid)), "{pids:?}");
    (message, pids)
}

#[track_caller]
fn dead(pids: &[i32]) {
    let left: Vec<_> = pids.iter().filter(|pid| process::is_alive(**pid)).collect();
    assert!(left.is_empty(), "{left:?} are left");
}

#[test]
fn files_and_terminals_are_off_unless_they_are_configured() {
    let Some(builder) = own("files_and_terminals_are_off", &[], "") else { return };
    let gateway = builder.start();
    let calls = json!([
        ["fs/read_text_file", {"path": path(&gateway, "log")}],
        ["fs/write_text_file", {"path": path(&gateway, "mine"), "content": "x"}],
        ["terminal/create", {"command": "touch mine"}],
    ]);
    let told = call(&gateway, "main", &calls);
    for (told, setting) in told.iter().zip(["files", "files", "terminals"]) {
        let message = told["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(told["error"]["code"], -32601, "{told}");
        assert!(message.contains(&format!("its setting agent.acp.{setting} is \"off\"")), "{told}");
    }
    assert!(!gateway.room().join("agent/mine").exists());
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn an_agent_works_in_its_folder_and_nobody_is_asked_about_what_it_has_done_there() {
    let Some(builder) = able("an_agent_works_in_its_folder", "permission = \"ask\"") else { return };
    let gateway = builder.start();
    std::os::unix::fs::symlink(gateway.room(), path(&gateway, "link")).expect("the folder is writable");
    let (token, notes) = (gateway.state_dir().join("token"), path(&gateway, "sub/notes.txt"));
    let calls = json!([
        ["fs/write_text_file", {"path": notes, "content": "one\ntwo\n"}],
        ["fs/read_text_file", {"path": notes, "line": 2}],
        ["terminal/create", {"command": "wc", "args": ["-l", "notes.txt"], "cwd": path(&gateway, "sub")}],
        ["terminal/wait_for_exit", {"terminalId": "$"}],
        ["terminal/output", {"terminalId": "$"}],
        ["fs/read_text_file", {"path": token}],
        ["fs/write_text_file", {"path": path(&gateway, "link/config.toml"), "content": ""}],
        ["fs/write_text_file", {"path": path(&gateway, "../escaped"), "content": ""}],
    ]);
    let told = call(&gateway, "main", &calls);
    let exit = json!({"exitCode": 0, "signal": null});
    assert_eq!((&told[0], &told[1], &told[3]), (&json!({}), &json!({"content": "two\n"}), &exit));
    assert_eq!(told[4], json!({"output": "2 notes.txt\n", "truncated": false, "exitStatus": exit}));
    for escape in &told[5..] {
        assert_eq!(escape["error"]["code"], -32602, "{escape}");
    }
    assert!(!gateway.room().join("escaped").exists() && gateway.config().metadata().is_ok_and(|found| found.len() > 0));
    let log = gateway.complete_log("main");
    assert!(log.iter().all(|event| !event.is("notice")), "{log:#?}");
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn a_command_ends_when_its_chat_stops_the_turn() {
    let Some(builder) = able("a_command_ends_when_its_chat_stops", "") else { return };
    let gateway = builder.start();
    let (message, pids) = begin(&gateway, "main");
    gateway.send("main", "/stop", "stop");
    let reply = gateway.await_reply("main", message, PATIENCE);
    assert!(reply.text().ends_with(r#"{"exitCode": null, "signal": "SIGTERM"}"#), "{}", reply.text());
    dead(&pids);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn a_command_ends_with_its_generation() {
    let Some(builder) = able("a_command_ends_with_its_generation", "[drain]\nbudget = \"300ms\"") else { return };
    let gateway = builder.supervised(true).start();
    for mode in ["graceful", "force"] {
        let (message, pids) = begin(&gateway, mode);
        let before = gateway.generation();
        gateway.ask("restart", &json!({"mode": mode}));
        gateway.await_generation(before + 1);
        dead(&pids);
        gateway.await_reply(mode, message, PATIENCE);
    }
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn a_command_that_outlives_a_killed_gateway_is_ended_before_its_turn_goes_on() {
    let Some(builder) = able("a_command_that_outlives_a_killed_gateway", "") else { return };
    let gateway = builder.start();
    let (message, pids) = begin(&gateway, "main");
    gateway.kill();
    assert!(pids.iter().all(|pid| process::is_alive(*pid)), "it outlives its gateway, or this tests nothing");
    gateway.restart_process();
    let reply = gateway.await_reply("main", message, PATIENCE);
    assert!(reply.text().contains("[Your answer to this was cut off by a restart of the chat."), "{}", reply.text());
    dead(&pids);
    assert_eq!(prompts(&gateway).iter().filter(|prompt| prompt.starts_with("calls")).count(), 1);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn a_command_ends_with_the_agent_that_runs_it() {
    let Some(builder) = able("a_command_ends_with_the_agent", "") else { return };
    let gateway = builder.start();
    let (message, pids) = begin(&gateway, "main");
    let agent = super::starts(&gateway)[0];
    process::send_signal(agent, Signal::SIGKILL);
    let log = gateway.events("main", None, "a notice", |events| events.last().is_some_and(|event| event.is("notice")));
    assert!(log.last().is_some_and(|notice| notice.text().contains("SIGKILL")), "{log:#?}");
    dead(&pids);
    gateway.assert_answered_once(&[message], Words::Any);
}

/// It says by itself whose turn it is, and so does not wait for that turn to end, which waits for it.
#[test]
fn a_restart_asked_for_by_a_command_of_the_turn_does_not_wait_for_it() {
    let keys = "[drain]\nbudget = \"10m\"";
    let Some(builder) = able("a_restart_asked_for_by_a_command", keys) else { return };
    let gateway = builder.supervised(true).start();
    let restart = format!("echo $$ > pid; exec {} restart --wait 5m", process::binary().display());
    let calls = json!([
        ["terminal/create", {"command": restart}], ["until asked from inside turn", {}], ["say asked", {}],
        ["terminal/wait_for_exit", {"terminalId": "$"}],
    ]);
    let before = gateway.generation();
    let asked = Instant::now();
    let message = gateway.send("main", &format!("calls {calls}"), "restart");
    gateway.await_generation(before + 1);
    assert!(asked.elapsed() < Duration::from_secs(25), "it took {:?}", asked.elapsed());
    let pid = std::fs::read_to_string(path(&gateway, "pid")).expect("the command has begun");
    dead(&[pid.trim().parse().expect("a process id")]);
    gateway.await_reply("main", message, PATIENCE);
    assert_eq!(gateway.generation(), before + 1, "once");
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn an_agent_on_the_sdk_finds_each_answer_as_its_schema_has_it() {
    let Some(agent) = example_agent("an_agent_on_the_sdk") else { return };
    let dist = agent.parent().and_then(|examples| examples.parent()).expect("it is in a folder of it");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/acp/errands.mjs");
    let argv = ["node", script, dist.to_str().expect("a path in UTF-8")];
    let gateway = builder(&argv, "files = \"write\"\nterminals = \"on\"").start();
    let told: Value = serde_json::from_str(&reply(&gateway, "main", "go")).expect("it tells JSON");
    let exit = json!({"exitCode": 3, "signal": null});
    let expected = json!({
        "offered": {"fs": {"readTextFile": true, "writeTextFile": true}, "terminal": true},
        "read": {"content": "two\n"}, "outside": -32602, "missing": -32002, "exit": exit,
        "output": {"output": "three\nsdk\n", "truncated": true, "exitStatus": exit}, "released": -32002,
        "running": {"output": "", "truncated": false}, "killed": {"exitCode": null, "signal": "SIGTERM"},
    });
    assert_eq!(told, expected, "{told:#}");
    gateway.assert_answered_once(&[], Words::Any);
}
