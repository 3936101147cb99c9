//! Agents that speak the Agent Client Protocol, behind the real gateway: an agent of our own that keeps its sessions, the
//! example agent of the protocol's own SDK, and a full agent that somebody else wrote. Over restarts and `kill -9`.

mod errands;
mod model;
mod questions;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::oracle::Words;
use evergate_tests::{PATIENCE, eventually, npm, process, skipped};

/// An agent for the gateway's own tests: it keeps sessions as files and does as the prompt says.
const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/src/agent/acp/tests/agent.py");

/// The last version of the SDK that ships its examples.
const SDK: &str = "@agentclientprotocol/sdk@1.9.0";

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn builder(argv: &[&str], keys: &str) -> Builder {
    let builder = Gateway::builder();
    let folder = builder.room().join("agent");
    std::fs::create_dir(&folder).expect("the room is writable");
    let table = format!("[agent]\nkind = \"acp\"\n[agent.acp]\nargv = {argv:?}\ncwd = {folder:?}\n{keys}");
    builder.config(&table)
}

/// A gateway with our own agent, whose files are in a folder of the room; `None` without Python.
fn own(test: &str, manners: &[&str], keys: &str) -> Option<Builder> {
    if !is_there("python3") {
        skipped(test, "there is no python3");
        return None;
    }
    Some(builder(&[&["python3", OWN, "."], manners].concat(), keys))
}

/// The processes that an agent of ours was, from the first to the last.
fn starts(gateway: &Gateway) -> Vec<i32> {
    let starts = std::fs::read_to_string(gateway.room().join("agent/starts")).unwrap_or_default();
    starts.lines().map(|line| line.parse().expect("a process id")).collect()
}

fn prompts(gateway: &Gateway) -> Vec<String> {
    let log = std::fs::read_to_string(gateway.room().join("agent/log")).unwrap_or_default();
    let prompts = log.lines().filter_map(|line| line.strip_prefix("prompt "));
    prompts.map(|text| serde_json::from_str(text).expect("the agent writes JSON")).collect()
}

fn reply(gateway: &Gateway, session: &str, text: &str) -> String {
    let message = gateway.send(session, text, &format!("{session}-{text}"));
    gateway.await_reply(session, message, PATIENCE).text().to_owned()
}

#[test]
fn a_conversation_goes_on_over_a_restart_and_the_agent_ends_with_its_generation() {
    let Some(builder) = own("a_conversation_goes_on_over_a_restart", &["loads"], "") else { return };
    let gateway = builder.supervised(true).start();
    assert_eq!(reply(&gateway, "main", "hello"), "heard 1: hello");
    let before = gateway.generation();
    gateway.ask("restart", &serde_json::json!({"mode": "graceful"}));
    gateway.await_generation(before + 1);
    let first = starts(&gateway)[0];
    assert!(!process::is_alive(first), "the agent of the generation before is left");
    assert_eq!(reply(&gateway, "main", "again"), "heard 2: again");
    assert_eq!(prompts(&gateway), ["hello", "again"]);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn after_kill_9_in_mid_turn_the_agent_goes_on_with_one_answer_and_is_not_asked_twice() {
    let Some(builder) = own("after_kill_9_in_mid_turn", &["loads"], "") else { return };
    let gateway = builder.start();
    assert_eq!(reply(&gateway, "main", "hello"), "heard 1: hello");
    let message = gateway.send("main", "wait", "cut");
    gateway.await_said("main", "waiting");
    gateway.restart_process();
    let reply = gateway.await_reply("main", message, PATIENCE);
    let asked = "[Your answer to this was cut off by a restart of the chat.";
    assert!(reply.text().contains(&format!("heard 3: {asked}")), "{}", reply.text());
    assert_eq!(prompts(&gateway).iter().filter(|prompt| prompt.as_str() == "wait").count(), 1);
    let starts = starts(&gateway);
    assert_eq!(starts.len(), 2);
    assert!(!process::is_alive(starts[0]), "the agent of the dead generation is left");
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn what_a_chat_has_seen_stays_the_beginning_after_kill_9_though_the_agent_kept_nothing_and_said_no_more() {
    for manners in [&[][..], &["loads"]] {
        let Some(builder) = own("what_a_chat_has_seen_stays_the_beginning", manners, "") else { return };
        let gateway = builder.start();
        let message = gateway.send("main", "wait", "cut");
        gateway.await_said("main", "waiting");
        gateway.await_kept("waiting");
        gateway.restart_process();
        let reply = gateway.await_reply("main", message, PATIENCE);
        let text = reply.text();
        assert!(text.starts_with("waiting") && text.contains("heard "), "{manners:?}: {text}");
        gateway.assert_answered_once(&[], Words::Any);
    }
}

#[test]
fn an_idle_agent_that_outlives_a_killed_gateway_is_ended_before_the_next_is_started() {
    let Some(builder) = own("an_idle_agent_that_outlives", &["loads", "stubborn"], "") else { return };
    let gateway = builder.start();
    assert_eq!(reply(&gateway, "main", "hello"), "heard 1: hello");
    gateway.restart_process();
    gateway.await_ready();
    assert!(process::is_alive(starts(&gateway)[0]), "a stubborn agent outlives its gateway, or this tests nothing");
    assert_eq!(reply(&gateway, "main", "again"), "heard 2: again");
    assert!(!process::is_alive(starts(&gateway)[0]));
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn an_agent_that_forgets_gets_the_transcript_after_a_restart() {
    let Some(builder) = own("an_agent_that_forgets", &[], "") else { return };
    let gateway = builder.start();
    assert_eq!(reply(&gateway, "main", "my name is Ada"), "heard 1: my name is Ada");
    gateway.send("main", "/new", "new");
    assert_eq!(reply(&gateway, "main", "no, Grace"), "heard 1: no, Grace");
    gateway.restart_process();
    let reply = reply(&gateway, "main", "who am I");
    assert!(reply.contains("User: no, Grace\n\nYou: heard 1: no, Grace\n\n"), "{reply}");
    assert!(reply.ends_with("who am I") && !reply.contains("Ada"), "{reply}");
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn an_agent_that_crashes_fails_its_turn_only() {
    let Some(builder) = own("an_agent_that_crashes", &["loads"], "") else { return };
    let gateway = builder.start();
    let crash = gateway.send("main", "crash", "crash");
    let log = gateway.events("main", None, "a notice", |events| events.last().is_some_and(|event| event.is("notice")));
    assert!(log.last().is_some_and(|notice| notice.text().contains("exit status 7")), "{log:#?}");
    assert_eq!(reply(&gateway, "main", "and now"), "heard 2: and now");
    gateway.assert_answered_once(&[crash], Words::Any);
}

/// What its chat is told when an agent misbehaves in this way; the next answer is that of an agent in good order.
fn misbehaves(test: &str, manners: &[&str], keys: &str, prompt: &str, telling: &str) {
    let Some(builder) = own(test, manners, keys) else { return };
    let gateway = builder.start();
    let bad = gateway.send("main", prompt, prompt);
    let log = gateway.events("main", None, "a notice", |events| events.last().is_some_and(|event| event.is("notice")));
    assert!(log.last().is_some_and(|notice| notice.text().contains(telling)), "{log:#?}");
    if manners.is_empty() {
        assert!(reply(&gateway, "other", "and now").ends_with("and now"));
    }
    assert_eq!(gateway.status()["phase"], "serving");
    gateway.assert_answered_once(&[bad], Words::Any);
}

#[test]
fn an_agent_that_speaks_garbage_fails_its_turn_and_another_is_started() {
    misbehaves("an_agent_that_speaks_garbage", &[], "", "garbage", "something else than the Agent Client Protocol");
}

#[test]
fn an_agent_that_floods_fails_its_turn_only() {
    misbehaves("an_agent_that_floods", &[], "max_reply_bytes = 10000", "flood", "raise agent.acp.max_reply_bytes");
}

#[test]
fn an_agent_that_never_introduces_itself_fails_its_turn_and_the_gateway_serves() {
    misbehaves(
        "an_agent_that_never_introduces_itself",
        &["mute"],
        "start = \"1s\"",
        "hello",
        "has not answered `initialize`",
    );
}

#[test]
fn a_stop_in_the_chat_cancels_the_turn_and_the_agent_goes_on_for_the_others() {
    let Some(builder) = own("a_stop_in_the_chat_cancels_the_turn", &["loads"], "") else { return };
    let gateway = builder.start();
    let other = gateway.send("other", "wait", "other");
    gateway.await_said("other", "waiting");
    let message = gateway.send("main", "wait", "main");
    gateway.await_said("main", "waiting");
    gateway.send("main", "/stop", "stop");
    assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), "waiting", "what it had said is kept");
    let log = std::fs::read_to_string(gateway.room().join("agent/log")).expect("it keeps one");
    assert_eq!(log.lines().filter(|line| line.starts_with("cancel ")).count(), 1, "{log}");
    assert_eq!(reply(&gateway, "main", "and now"), "heard 2: and now");
    gateway.await_running("other");
    gateway.send("other", "/stop", "stop-other");
    assert_eq!(gateway.await_reply("other", other, PATIENCE).text(), "waiting");
    assert_eq!(starts(&gateway).len(), 1, "one process serves all, and none of this ends it");
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn a_message_that_interrupts_cancels_the_turn_and_is_prompted_next() {
    let Some(builder) = own("a_message_that_interrupts", &["loads"], "[sessions]\nbusy = \"interrupt\"") else {
        return;
    };
    let gateway = builder.start();
    let first = gateway.send("main", "wait", "first");
    gateway.await_said("main", "waiting");
    let second = gateway.send("main", "and now", "second");
    assert_eq!(gateway.await_reply("main", first, PATIENCE).text(), "waiting");
    assert_eq!(gateway.await_reply("main", second, PATIENCE).text(), "heard 2: and now");
    assert_eq!(prompts(&gateway), ["wait", "and now"]);
    gateway.assert_answered_once(&[], Words::Any);
}

/// An agent that asks for a restart from inside its turn would wait for itself if it waited.
#[test]
fn a_restart_asked_for_by_the_agent_itself_does_not_wait_for_its_turn() {
    let keys = format!("env = [\"PROGRAM={}\"]", process::binary().display());
    let Some(builder) = own("a_restart_asked_for_by_the_agent", &["loads"], &keys) else { return };
    let gateway = builder.supervised(true).start();
    let before = gateway.generation();
    let asked = Instant::now();
    let reply = reply(&gateway, "main", "restart");
    assert!(reply.contains("is accepted; the gateway restarts when the turns in flight have ended"), "{reply}");
    gateway.await_generation(before + 1);
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
    gateway.assert_answered_once(&[], Words::Any);
}

/// The SDK's example agent, installed once; `None` where that cannot be done.
fn example_agent(test: &str) -> Option<PathBuf> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("acp-sdk-1.9.0");
        npm::installed(SDK, &folder, "@agentclientprotocol/sdk/dist/examples/agent.js")
    });
    installed.clone().inspect_err(|why| skipped(test, why)).ok()
}

#[test]
fn the_example_agent_of_the_sdk_answers_asks_and_is_cut_and_resumed() {
    let Some(agent) = example_agent("the_example_agent_of_the_sdk") else { return };
    let begins = "I'll help you with that. Let me start by reading some files to understand the current situation. Now I \
                  understand the project structure. I need to make some changes to improve it.";
    let denied = " I understand you prefer not to make that change. I'll skip the configuration update.";
    let drain = "\n[drain]\nbudget = \"500ms\"";
    let gateway = builder(&["node", agent.to_str().expect("a path in UTF-8")], drain).supervised(true).start();
    assert_eq!(reply(&gateway, "main", "hello"), format!("{begins}{denied}"));
    // Cut in the middle of its four seconds; the agent cannot load sessions and begins afresh.
    let message = gateway.send("main", "again", "again");
    gateway.await_running("main");
    gateway.await_said("main", "current situation");
    let before = gateway.generation();
    gateway.ask("restart", &serde_json::json!({"mode": "graceful"}));
    gateway.await_generation(before + 1);
    let reply = gateway.await_reply("main", message, PATIENCE);
    assert!(reply.text().ends_with(denied), "{}", reply.text());
    gateway.assert_answered_once(&[], Words::Any);
    let left = eventually(PATIENCE, || (agents(&gateway, "agent.js").len() <= 1).then_some(()));
    assert!(left.is_some(), "more than one agent is left");
}

/// The path of a `hermes-acp` to try, which is too large to be installed by a test. Version 0.19.0 of `hermes-agent` passes.
const HERMES: &str = "EVERGATE_TEST_HERMES_ACP";

fn hermes(test: &str) -> Option<(model::Model, Builder)> {
    let Some(program) = std::env::var_os(HERMES) else {
        let how = "python3 -m venv v && v/bin/pip install 'hermes-agent[acp]'";
        skipped(test, &format!("{HERMES} is not set: install it ({how}), and give the path of v/bin/hermes-acp"));
        return None;
    };
    let (model, program) = (model::Model::start(), program.into_string().expect("a path in UTF-8"));
    let mut builder = builder(&[&program], "[drain]\nbudget = \"500ms\"");
    let home = builder.room().join("hermes");
    std::fs::create_dir(&home).expect("the room is writable");
    let settings =
        format!("model:\n  default: fake\n  provider: custom\n  base_url: {}\n  api_key: none\n", model.base_url());
    std::fs::write(home.join("config.yaml"), settings).expect("the room is writable");
    builder = builder.env("HERMES_HOME", home.to_str().expect("a path in UTF-8"));
    Some((model, builder))
}

/// Cuts a turn of three seconds in its middle, and looks at what its chat and its model have seen in the end.
fn hermes_is_cut(test: &str, cut: impl FnOnce(&Gateway)) {
    let Some((model, builder)) = hermes(test) else { return };
    let gateway = builder.supervised(true).start();
    let whole: Vec<String> = (0..30).map(|word| format!("w{word}")).collect();
    assert_eq!(reply(&gateway, "main", "hello there").trim_end(), whole.join(" "));
    let message = gateway.send("main", "tell me more", "cut");
    gateway.await_said("main", "w5");
    cut(&gateway);
    let reply = gateway.await_reply("main", message, PATIENCE).text().to_owned();
    eprintln!("{test}: the chat has seen {reply:?}");
    for (number, messages) in model.asked().iter().enumerate() {
        eprintln!("{test}: call {number} of the model: {messages:?}");
    }
    assert!(reply.starts_with("w0 w1 w2 w3 w4 ") && reply.trim_end().ends_with("w28 w29"), "{reply}");
    let calls = model.asked();
    let last = calls.iter().rev().find(|messages| messages.iter().any(|(_, text)| text.contains("tell me more")));
    let repeated = last.map_or(0, |messages| messages.iter().filter(|(_, text)| text.contains("tell me more")).count());
    assert_eq!(repeated, 1, "the prompt stands once in what the model was asked last");
    gateway.assert_answered_once(&[], Words::Any);
    let left = agents(&gateway, "hermes-acp");
    assert_eq!(left.len(), 1, "one agent is left: {left:?}");
}

#[test]
fn hermes_goes_on_with_its_answer_after_a_restart() {
    hermes_is_cut("hermes_goes_on_after_a_restart", |gateway| {
        let before = gateway.generation();
        gateway.ask("restart", &serde_json::json!({"mode": "graceful"}));
        gateway.await_generation(before + 1);
    });
}

#[test]
fn hermes_goes_on_with_its_answer_after_kill_9() {
    hermes_is_cut("hermes_goes_on_after_kill_9", |gateway| {
        let (before, pid) = (gateway.generation(), gateway.pid());
        process::send_signal(pid, nix::sys::signal::Signal::SIGKILL);
        gateway.await_generation(before + 1);
    });
}

/// The living processes of a gateway with this in their command line.
fn agents(gateway: &Gateway, name: &str) -> Vec<i32> {
    let is_one = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        process::is_alive(*pid) && String::from_utf8_lossy(&line).contains(name)
    };
    process::belonging_to(gateway.state_dir()).into_iter().filter(is_one).collect()
}
