//! What an agent has the gateway do for it, as the agent sees it: files within its folder, and commands that end with the
//! turn however that ends.

use super::*;
use serde_json::{Value, json};

/// An agent that may do everything.
fn able() -> Option<Stage> {
    stage(&["loads"], |settings| {
        settings.offer = Offer { files: FileAccess::Write, terminals: Terminals::On };
    })
}

fn prompt(calls: &Value) -> String {
    format!("calls {calls}")
}

impl Stage {
    /// What the agent is answered to these calls in a turn of its own.
    async fn call(&self, turn: u64, calls: Value) -> Vec<Value> {
        match self.play("a", turn, &prompt(&calls)).await {
            End::Answered { reply } => results(&reply),
            other => panic!("no answer: {other:?}"),
        }
    }

    fn path(&self, name: &str) -> String {
        self.agent.settings.cwd.join(name).to_str().expect("a path in UTF-8").to_owned()
    }
}

fn results(reply: &str) -> Vec<Value> {
    reply.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

#[track_caller]
fn refused(result: &Value, code: i64, words: &str) {
    let message = result["error"]["message"].as_str().unwrap_or_default();
    assert!(result["error"]["code"] == code && message.contains(words), "{result}");
}

/// A command that writes down its process id and that of a child of its own, and then does nothing for long.
const LONG: &str = "echo $$ > pids; sleep 50 & echo $! >> pids; echo begun; wait";

fn long() -> Value {
    json!([["terminal/create", {"command": LONG}], ["until begun", {}]])
}

fn and_then(mut calls: Value, more: Value) -> Value {
    let calls = calls.as_array_mut().expect("a list");
    calls.extend(more.as_array().expect("a list").clone());
    json!(calls)
}

/// The processes of [`LONG`], which are there.
#[track_caller]
fn alive(stage: &Stage) -> Vec<String> {
    let pids: Vec<String> = read(stage.room.path(), "pids").lines().map(str::to_owned).collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| lives(pid)), "{pids:?}");
    pids
}

/// What the agent wrote into its log, once it has.
async fn logged(stage: &Stage, what: &str) -> Value {
    let told = async {
        loop {
            if let Some(told) = read(stage.room.path(), "log").lines().find_map(|line| line.strip_prefix(what)) {
                return serde_json::from_str(told).expect("the agent writes JSON");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("an answer in time")
}

#[track_caller]
fn dead(pids: &[String]) {
    let left: Vec<_> = pids.iter().filter(|pid| lives(pid)).collect();
    assert!(left.is_empty(), "{left:?} are left");
}

#[tokio::test]
async fn an_agent_is_told_what_it_may_have_done_and_the_rest_is_answered_with_the_setting() {
    for (files, expected) in [(FileAccess::Read, [true, false]), (FileAccess::Write, [true, true])] {
        let Some(stage) = stage(&[], |settings| settings.offer = Offer { files, terminals: Terminals::Off }) else {
            return;
        };
        std::fs::write(stage.path("a.txt"), "one\ntwo\nthree\n").unwrap();
        let calls = json!([
            ["fs/read_text_file", {"path": stage.path("a.txt"), "line": 2, "limit": 1}],
            ["fs/write_text_file", {"path": stage.path("sub/b.txt"), "content": "é"}],
            ["terminal/create", {"command": "id"}],
            ["fs/rename", {}],
        ]);
        let told = stage.call(1, calls).await;
        assert_eq!(told[0], json!({"content": "two\n"}));
        match files {
            FileAccess::Write => assert_eq!((&told[1], read(stage.room.path(), "sub/b.txt")), (&json!({}), "é".into())),
            _ => {
                refused(&told[1], -32601, "agent.acp.files is \"read\"");
                assert!(!stage.room.path().join("sub").exists());
            }
        }
        refused(&told[2], -32601, "agent.acp.terminals is \"off\"");
        refused(&told[3], -32601, "`fs/rename` is not offered by this client");
        let log = stage.end().await;
        let offered = log.lines().find_map(|line| line.strip_prefix("capabilities ")).expect("it was introduced to us");
        let offered: Value = serde_json::from_str(offered).expect("the agent writes JSON");
        let [reads, writes] = expected;
        assert_eq!(offered, json!({"fs": {"readTextFile": reads, "writeTextFile": writes}, "terminal": false}));
    }
}

#[tokio::test]
async fn what_is_refused_says_why_and_nothing_outside_of_the_folder_is_touched() {
    let Some(stage) = able() else { return };
    let outside = TempDir::new().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(outside.path(), stage.path("link")).unwrap();
    let calls = json!([
        ["fs/read_text_file", {"path": secret}],
        ["fs/read_text_file", {"path": stage.path("link/secret")}],
        ["fs/write_text_file", {"path": stage.path("link/secret"), "content": "mine"}],
        ["fs/write_text_file", {"path": stage.path("../escaped"), "content": "mine"}],
        ["terminal/create", {"command": "touch escaped", "cwd": outside.path()}],
        ["fs/read_text_file", {"path": stage.path("none")}],
        ["fs/read_text_file", {"path": stage.path("log"), "line": -1}],
        ["fs/read_text_file", {"path": "log"}],
        ["terminal/output", {"terminalId": "terminal-1-1"}],
        ["terminal/create", {"command": "/no/such/program", "args": ["x"]}],
        ["terminal/create", {"command": "true", "env": [{"name": "EVERGATE_TURN", "value": "9"}]}],
    ]);
    let told = stage.call(1, calls).await;
    for escape in &told[..5] {
        refused(escape, -32602, "the folder of this session");
    }
    refused(&told[5], -32002, "is not there");
    refused(&told[6], -32602, "invalid value");
    refused(&told[7], -32602, "is not absolute");
    refused(&told[8], -32002, "this turn has no terminal `terminal-1-1`");
    refused(&told[9], -32603, "`/no/such/program` cannot be started");
    refused(&told[10], -32602, "EVERGATE_TURN is a variable that the gateway sets itself");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert!(!stage.room.path().parent().unwrap().join("escaped").exists());
    stage.end().await;
}

#[tokio::test]
async fn of_the_state_directory_an_agent_reads_what_came_with_its_messages_and_nothing_else() {
    let Some(stage) = able() else { return };
    // It works in a folder that holds everything.
    let state = stage.room.path().canonicalize().unwrap().join("state");
    let (sent, token) = (state.join("files/telegram/sent.txt"), state.join("token"));
    std::fs::create_dir_all(sent.parent().unwrap()).unwrap();
    for file in [&sent, &token] {
        std::fs::write(file, "words").unwrap();
    }
    let calls = json!([
        ["fs/read_text_file", {"path": sent}],
        ["fs/write_text_file", {"path": sent, "content": "mine"}],
        ["fs/read_text_file", {"path": token}],
        ["fs/write_text_file", {"path": state.join("new/config.toml"), "content": "mine"}],
    ]);
    let attachment = crate::platform::Attachment { path: sent.clone(), media_type: "text/plain".into(), name: None };
    let assignment =
        Assignment { state_dir: state.clone(), attachments: vec![attachment], ..assignment("a", 1, &prompt(&calls)) };
    let End::Answered { reply } = stage.start(assignment).rest().await.1 else { panic!("no answer") };
    let told = results(&reply);
    assert_eq!(told[0], json!({"content": "words"}));
    told[1..].iter().for_each(|told| refused(told, -32602, "is the gateway's own"));
    assert_eq!(std::fs::read_to_string(&sent).unwrap(), "words");
    assert!(!state.join("new").exists());
    stage.end().await;
}

#[tokio::test]
async fn a_command_prints_ends_and_is_forgotten() {
    let Some(stage) = able() else { return };
    std::fs::create_dir(stage.path("sub")).unwrap();
    let line = "echo out; echo err >&2; echo more; pwd; cat; exit 3";
    let variables = json!([{"name": "MINE", "value": "c d"}]);
    let names =
        "echo $OWN,$MINE,$EVERGATE_SESSION,$EVERGATE_TURN,$EVERGATE_GENERATION,$EVERGATE_CONTROL,$EVERGATE_AGENT";
    let calls = json!([
        ["terminal/create", {"command": line, "cwd": stage.path("sub")}],
        ["terminal/wait_for_exit", {"terminalId": "$"}],
        ["terminal/wait_for_exit", {"terminalId": "$"}],
        ["terminal/output", {"terminalId": "$"}],
        ["terminal/kill", {"terminalId": "$"}],
        ["terminal/release", {"terminalId": "$"}],
        ["terminal/output", {"terminalId": "$"}],
        ["terminal/create", {"command": "sh", "args": ["-c", names], "env": variables}],
        ["terminal/wait_for_exit", {"terminalId": "$"}],
        ["terminal/output", {"terminalId": "$"}],
    ]);
    let told = stage.call(7, calls).await;
    let exit = json!({"exitCode": 3, "signal": null});
    assert_eq!((&told[1], &told[2]), (&exit, &exit));
    let printed = format!("out\nerr\nmore\n{}\n", stage.path("sub"));
    assert_eq!(told[3], json!({"output": printed, "truncated": false, "exitStatus": exit}));
    assert_eq!((&told[4], &told[5]), (&json!({}), &json!({})));
    refused(&told[6], -32002, "this turn has no terminal");
    assert_ne!(told[7], told[0], "each has a name of its own");
    assert_eq!(told[9]["output"], format!("a=b,c d,a,7,4,{},\n", stage.path("control.sock")));
    stage.end().await;
}

#[tokio::test]
async fn a_command_that_is_killed_says_so_and_one_that_is_released_is_gone() {
    let Some(stage) = able() else { return };
    let kill = json!([
        ["terminal/output", {"terminalId": "$"}],
        ["terminal/kill", {"terminalId": "$"}],
        ["terminal/wait_for_exit", {"terminalId": "$"}],
        ["terminal/output", {"terminalId": "$"}],
        ["wait", {}],
    ]);
    let mut killed = stage.begin("a", 1, &prompt(&and_then(long(), kill)));
    let mut texts = String::new();
    while texts.lines().count() < 5 {
        texts.push_str(&killed.text().await);
    }
    let told = results(&texts);
    assert_eq!(told[1], json!({"output": "begun\n", "truncated": false}));
    assert_eq!(told[3], json!({"exitCode": null, "signal": "SIGTERM"}));
    assert_eq!(told[4]["exitStatus"]["signal"], "SIGTERM");
    let pids: Vec<String> = read(stage.room.path(), "pids").lines().map(str::to_owned).collect();
    assert_eq!(pids.len(), 2);
    dead(&pids);
    killed.wish.send(Wish::Interrupt).unwrap();
    killed.rest().await;

    let stubborn = "trap '' TERM; echo $$ > pid; echo begun; while :; do sleep 0.05; done";
    let calls = json!([
        ["terminal/create", {"command": stubborn}], ["until begun", {}], ["terminal/kill", {"terminalId": "$"}],
        ["terminal/wait_for_exit", {"terminalId": "$"}],
        ["terminal/create", {"command": LONG}], ["until begun", {}], ["terminal/release", {"terminalId": "$"}],
        ["wait", {}],
    ]);
    let mut released = stage.begin("a", 2, &prompt(&calls));
    let mut texts = String::new();
    while texts.lines().count() < 5 {
        texts.push_str(&released.text().await);
    }
    assert_eq!(results(&texts)[2], json!({"exitCode": null, "signal": "SIGKILL"}), "who does not obey is killed");
    let pids: Vec<String> = read(stage.room.path(), "pids").lines().map(str::to_owned).collect();
    dead(&pids);
    released.wish.send(Wish::Interrupt).unwrap();
    released.rest().await;
    stage.end().await;
}

/// As threads of a gateway are that have been started before it listens for signals.
#[tokio::test]
async fn a_command_hears_that_it_is_to_end_whatever_the_thread_has_blocked_that_starts_it() {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};
    let Some(stage) = able() else { return };
    let all: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    let before = all.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
    // The pool has a thread from now on that blocks them, and commands are started there.
    tokio::task::spawn_blocking(|| ()).await.unwrap();
    before.thread_set_mask().unwrap();
    let calls = json!([
        ["terminal/create", {"command": "grep SigBlk /proc/self/status"}],
        ["terminal/wait_for_exit", {"terminalId": "$"}],
        ["terminal/output", {"terminalId": "$"}],
    ]);
    assert_eq!(stage.call(1, calls).await[2]["output"], "SigBlk:\t0000000000000000\n");
    stage.end().await;
}

#[tokio::test]
async fn of_a_flood_the_end_is_kept_within_the_limit() {
    let Some(stage) = able() else { return };
    let calls = json!([
        ["terminal/create", {"command": "yes é | head -c 3000000; echo end", "outputByteLimit": 1000}],
        ["terminal/wait_for_exit", {"terminalId": "$"}],
        ["terminal/output", {"terminalId": "$"}],
        ["terminal/create", {"command": "yes é"}],
        ["until é", {}],
        ["terminal/release", {"terminalId": "$"}],
    ]);
    let told = stage.call(1, calls).await;
    assert_eq!(told[2]["truncated"], true);
    let output = told[2]["output"].as_str().expect("a text");
    assert!(output.ends_with("é\nend\n") && (990..=1000).contains(&output.len()), "{output}");
    assert!(!output.contains('\u{FFFD}'));
    assert_eq!(told[4], json!({}));
    stage.end().await;
}

#[tokio::test]
async fn a_turn_has_so_many_terminals_and_gets_another_for_each_that_it_releases() {
    let Some(stage) = able() else { return };
    let create = || json!(["terminal/create", {"command": "sleep 50"}]);
    let mut calls: Vec<Value> = (0..17).map(|_| create()).collect();
    calls.extend([json!(["terminal/release", {"terminalId": "$"}]), create(), create()]);
    let told = stage.call(1, json!(calls)).await;
    assert!(told[..16].iter().all(|created| created["terminalId"].is_string()), "{told:?}");
    refused(&told[16], -32603, "16 terminals already");
    assert_eq!(told[17], json!({}));
    assert!(told[18]["terminalId"].is_string());
    refused(&told[19], -32603, "16 terminals already");
    // None of them has outlived its turn, so the next one has them all again.
    let told = stage.call(2, json!([create(), create()])).await;
    assert!(told.iter().all(|created| created["terminalId"].is_string()), "{told:?}");
    stage.end().await;
}

#[tokio::test]
async fn a_flood_of_calls_is_answered_as_far_as_there_is_room_and_the_turn_goes_on() {
    let Some(stage) = able() else { return };
    let read = json!(["fs/read_text_file", {"path": stage.path("log")}]);
    let mut calls = vec![json!(["flood 3000", read])];
    calls.push(json!(["flood 12000", ["terminal/output", {"terminalId": "none"}]]));
    calls.push(json!(["say {}", {}]));
    assert_eq!(stage.call(1, json!(calls)).await, [json!({})]);
    assert_eq!(stage.call(2, json!([read])).await.len(), 1, "another turn finds room again");
    assert_eq!(stage.starts().len(), 1);
    stage.end().await;
}

#[tokio::test]
async fn a_command_does_not_outlive_its_turn_however_that_ends() {
    let Some(stage) = able() else { return };
    // It answers.
    stage.call(1, long()).await;
    let pids: Vec<String> = read(stage.room.path(), "pids").lines().map(str::to_owned).collect();
    assert_eq!(pids.len(), 2);
    dead(&pids);
    // It is interrupted; the commands are, too, so an agent that waits for one hears of its end.
    let waits = json!([["say waiting", {}], ["terminal/wait_for_exit", {"terminalId": "$"}], ["wait", {}]]);
    let mut cut = stage.begin("a", 2, &prompt(&and_then(long(), waits.clone())));
    while !cut.text().await.contains("waiting") {}
    let pids = alive(&stage);
    cut.wish.send(Wish::Interrupt).unwrap();
    let End::Interrupted { partial } = cut.rest().await.1 else { panic!("it was interrupted") };
    assert!(partial.ends_with(r#"{"exitCode": null, "signal": "SIGTERM"}"#), "{partial}");
    dead(&pids);
    // The agent dies.
    let mut crash = stage.begin("a", 3, &prompt(&and_then(long(), waits.clone())));
    while !crash.text().await.contains("waiting") {}
    let pids = alive(&stage);
    failed(stage.play("b", 4, "crash").await);
    failed(crash.rest().await.1);
    dead(&pids);
    // It is killed.
    let mut deaf = stage.begin("a", 5, &prompt(&and_then(long(), waits.clone())));
    while !deaf.text().await.contains("waiting") {}
    let pids = alive(&stage);
    deaf.wish.send(Wish::Kill).unwrap();
    assert!(matches!(deaf.rest().await.1, End::Interrupted { .. }));
    dead(&pids);
    // Nobody wants it any more.
    let mut dropped = stage.begin("a", 6, &prompt(&and_then(long(), waits)));
    while !dropped.text().await.contains("waiting") {}
    let pids = alive(&stage);
    dropped.task.abort();
    assert!(dropped.task.await.expect_err("it is dropped").is_cancelled());
    let gone = async {
        while pids.iter().any(|pid| lives(pid)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("what is dropped dies");
    stage.end().await;
}

/// What `timeout` starts is in a group of its own; the commands begin before the call is answered.
/// More calls wait for its end than may: those that do are told of it all the same.
#[tokio::test]
async fn a_terminal_that_is_released_tells_all_who_wait_for_its_end() {
    let Some(stage) = able() else { return };
    let wait = json!(["terminal/wait_for_exit", {"terminalId": "$"}]);
    let calls = json!([
        ["terminal/create", {"command": LONG}], ["until begun", {}], ["later", wait], ["say later", {}], ["pause", {}],
        ["flood 100", wait], ["terminal/release", {"terminalId": "$"}],
    ]);
    let End::Answered { reply } = stage.play("a", 1, &prompt(&calls)).await else { panic!("no answer") };
    assert!(reply.ends_with("{}"), "{reply}");
    assert_eq!(logged(&stage, "later ").await, json!({"exitCode": null, "signal": "SIGKILL"}));
    stage.end().await;
}

#[tokio::test]
async fn a_command_ends_with_its_turn_in_whatever_process_group_it_is() {
    let Some(stage) = able() else { return };
    let moved = "timeout 50 sh -c 'echo $$ > pids; sleep 50 & echo $! >> pids; echo begun; wait' & wait";
    stage.call(1, json!([["terminal/create", {"command": moved}], ["until begun", {}]])).await;
    let pids: Vec<String> = read(stage.room.path(), "pids").lines().map(str::to_owned).collect();
    assert_eq!(pids.len(), 2);
    dead(&pids);
    stage.end().await;
}

/// The end of this turn takes a moment: somebody who has left for good holds on to what the command prints to.
#[tokio::test]
async fn a_call_that_comes_while_a_turn_ends_is_answered() {
    let Some(stage) = able() else { return };
    let command = "setsid sleep 2 & echo begun; wait";
    let output = json!(["terminal/output", {"terminalId": "$"}]);
    stage.call(1, json!([["terminal/create", {"command": command}], ["until begun", {}], ["behind", output]])).await;
    refused(&logged(&stage, "behind ").await, -32800, "the turn has ended");
    stage.end().await;
}

#[tokio::test]
async fn a_turn_whose_command_prints_is_not_silent() {
    let offer = Offer { terminals: Terminals::On, ..Offer::default() };
    let silence = Duration::from_secs(2);
    let Some(stage) = stage(&[], |settings| (settings.offer, settings.silence) = (offer, silence)) else { return };
    let wait = |command: &str| json!([["terminal/create", {"command": command}], ["terminal/wait_for_exit", {"terminalId": "$"}]]);
    let told = stage.call(1, wait("for second in 1 2 3 4 5 6; do echo on; sleep 0.5; done")).await;
    assert_eq!(told[1]["exitCode"], 0, "it took three seconds");
    let why = failed(stage.play("a", 2, &prompt(&wait("sleep 50"))).await);
    assert!(why.contains("raise agent.acp.silence"), "{why}");
    stage.end().await;
}

#[tokio::test]
async fn a_turn_that_is_told_to_stop_begins_no_command() {
    let Some(stage) = able() else { return };
    let calls = json!([["say waiting", {}], ["wait", {}], ["terminal/create", {"command": "touch begun"}]]);
    let mut cut = stage.begin("a", 1, &prompt(&calls));
    assert_eq!(cut.text().await, "waiting");
    cut.wish.send(Wish::Interrupt).unwrap();
    let End::Interrupted { partial } = cut.rest().await.1 else { panic!("it was interrupted") };
    assert!(partial.contains("-32800") && partial.contains("no command is begun in it"), "{partial}");
    assert!(!stage.room.path().join("begun").exists());
    stage.end().await;
}

#[tokio::test]
async fn nothing_is_done_for_an_agent_outside_of_a_turn() {
    let Some(stage) = able() else { return };
    assert_eq!(stage.play("a", 1, "afterwards").await, answered(""));
    refused(&logged(&stage, "afterwards ").await, -32602, "no turn is at work in this session");
    stage.end().await;
}

#[tokio::test]
async fn what_was_asked_for_before_the_end_of_a_turn_is_done_by_its_end() {
    let Some(stage) = able() else { return };
    let write = json!(["fs/write_text_file", {"path": stage.path("late"), "content": "done"}]);
    assert_eq!(stage.play("a", 1, &prompt(&json!([["flood 1", write]]))).await, answered(""));
    assert_eq!(read(stage.room.path(), "late"), "done");
    stage.end().await;
}

/// More than may be on its way to the agent at a time: each makes room for the next.
#[tokio::test]
async fn many_files_that_were_asked_for_before_the_end_of_a_turn_are_read_by_its_end() {
    let Some(stage) = able() else { return };
    for turn in 1..=5 {
        let flood = json!(["flood 60", ["fs/read_text_file", {"path": stage.path("log")}]]);
        assert_eq!(stage.play("a", turn, &prompt(&json!([flood]))).await, answered(""));
    }
    stage.end().await;
}
