//! What the gateway adds to a chat: a Bot API server in a process of its own on one side, a model endpoint that answers at
//! once on the other, the real gateway with its Telegram adapter and its model agent between them. The yardsticks are the
//! same servers asked without a gateway, and the disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, thread};

use evergate_tests::bot_api::command_line;
use evergate_tests::bot_api::operator::{BotApi, TOKEN};
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::http::Client;
use evergate_tests::model::Model;
use evergate_tests::process;
use serde_json::json;

use crate::report::{Report, median, milliseconds};

/// The command by which `bench` starts itself as the Bot API server.
pub const COMMAND: &str = "bot-api";

/// People who write; one after the other, so that the server's pace of a message a second in a chat is nobody's wait.
const CHATS: i64 = 10;
/// Turns that are measured.
const TURNS: i64 = 60;
/// From one to the next.
const PERIOD: Duration = Duration::from_millis(130);
/// How often a start is measured.
const STARTS: usize = 11;
/// The goals.
const LATENCY_GOAL_MS: f64 = 10.0;
const RESIDENT_GOAL_MB: f64 = 20.0;
const START_GOAL_MS: f64 = 100.0;
/// What the server allows in one chat: a message, or a change of one, a second.
const PACE_MS: f64 = 1000.0;

/// Serves as the Bot API until whoever started it is gone.
pub fn serve(arguments: &[&str]) -> ExitCode {
    command_line::run(arguments.iter().map(|argument| (*argument).to_owned()))
}

/// Measures it.
pub fn measure() -> Report {
    let mut command = Command::new(env::current_exe().expect("a running program has a path"));
    command.arg(COMMAND);
    let server = BotApi::start_as(command);
    let mut report = Report::new("chat");

    let model = Model::start(20, Duration::ZERO);
    let gateway = builder(&server, &model).unrecorded().start();
    turn(&server, 1, "the first one");
    thread::sleep(Duration::from_secs(1));
    let idle = process::resident_bytes(gateway.child_pid()) as f64 / 1e6;
    let added = added(&server, &model);
    let after = process::resident_bytes(gateway.child_pid()) as f64 / 1e6;
    let starts: Vec<_> = (0..STARTS).map(|_| start(&server, &gateway)).collect();
    drop(gateway);
    let [first, change] = first_change(&server);

    report.durations(["turn added", "turn added at least", "turn added at most"], &added);
    yardsticks(&mut report, &server, &model);
    report.figure("first words shown after the message", first, "ms");
    report.figure("first change after that", change, "ms");
    report.figure("resident idle", idle, "MB");
    report.figure("resident after the turns", after, "MB");
    report.durations(["start to first poll", "start to first poll at least", "start to first poll at most"], &starts);
    report.figure("turns measured", TURNS as f64, "");
    report.figure("starts measured", STARTS as f64, "");
    report.at_most(
        "a warm turn takes this much longer than its model (ms)",
        milliseconds(median(&added)),
        LATENCY_GOAL_MS,
    );
    report.at_most("the first change comes as soon as the platform allows it (ms)", change, PACE_MS * 1.05);
    report.at_most("resident with Telegram and the model agent idle (MB)", idle, RESIDENT_GOAL_MB);
    report.at_most(
        "from the start of the process to its first poll (ms)",
        milliseconds(median(&starts)),
        START_GOAL_MS,
    );
    report
}

fn builder(server: &BotApi, model: &Model) -> Builder {
    let builder = Gateway::builder();
    let file = builder.room().join("telegram-token");
    std::fs::write(&file, TOKEN).expect("the room is writable");
    let people: Vec<i64> = (1..=CHATS).collect();
    builder.config(&format!(
        "[telegram]\ntoken_file = {file:?}\napi_base = {:?}\nallowed_users = {people:?}\n[agent]\nkind = \"openai\"\n\
         [agent.openai]\nbase_url = {:?}\nmodel = \"tiny\"",
        server.api_base(),
        model.base_url(),
    ))
}

/// One turn in a chat: from the server having the message to it having the whole answer, by its own clock.
fn turn(server: &BotApi, chat: i64, text: &str) -> Duration {
    let before = server.said(chat).len();
    let said = server.order("/message", &json!({"chat": chat, "text": text}));
    let answered = server.await_said(chat, "an answer", |said| said.len() > before);
    let begun = said["now_ms"].as_u64().unwrap_or_default();
    Duration::from_millis(answered[before].at_ms.saturating_sub(begun))
}

/// How much longer each turn took than its model. The server counts whole milliseconds at both ends.
fn added(server: &BotApi, model: &Model) -> Vec<Duration> {
    (0..TURNS)
        .map(|number| {
            let begun = Instant::now();
            let took = turn(server, number % CHATS + 1, &format!("message {number}"));
            let thought = model.took().last().copied().unwrap_or_default();
            thread::sleep(PERIOD.saturating_sub(begun.elapsed()));
            took.saturating_sub(thought)
        })
        .collect()
}

/// From the start of another process on the same journal to its first poll.
fn start(server: &BotApi, gateway: &Gateway) -> Duration {
    gateway.kill();
    let polls = server.calls("getUpdates").len();
    let begun = now_ms();
    gateway.restart_process();
    gateway.await_ready();
    let first = gateway.wait_for("a poll", Duration::from_secs(30), || server.calls("getUpdates").get(polls).copied());
    Duration::from_millis(first.0.saturating_sub(begun))
}

/// A slow answer: how long after the message its first words are shown, and how long after that they are changed.
fn first_change(server: &BotApi) -> [f64; 2] {
    let pace = Duration::from_millis(100);
    let model = Model::start(50, pace);
    let gateway = builder(server, &model).unrecorded().start();
    gateway.await_ready();
    let chat = CHATS;
    let before = server.said(chat).len();
    let begun = server.order("/message", &json!({"chat": chat, "text": "slowly"}))["now_ms"].as_u64().unwrap_or(0);
    let said = server
        .await_said(chat, "the answer to change", |said| said.get(before).is_some_and(|said| !said.edits.is_empty()));
    let (shown, changed) = (said[before].at_ms, said[before].edits[0].0);
    [shown.saturating_sub(begun) as f64, changed.saturating_sub(shown) as f64]
}

/// What the parts of a turn take without a gateway: each call on a connection of its own, and a write that is on disk.
fn yardsticks(report: &mut Report, server: &BotApi, model: &Model) {
    let bot = Client::new(server.address(), None);
    let send = times(|| {
        let said =
            bot.post(&format!("/bot{TOKEN}/sendMessage"), &json!({"chat_id": 99, "text": "a text of some words"}));
        assert!(said.is_ok_and(|said| said.status == 200), "the Bot API's server answers");
    });
    let poll = times(|| {
        let given = bot.post(&format!("/bot{TOKEN}/getMe"), &json!({}));
        assert!(given.is_ok_and(|given| given.status == 200), "the Bot API's server answers");
    });
    let endpoint = Client::new(model.address(), None);
    let ask = times(|| {
        let body = json!({"model": "tiny", "stream": true, "messages": [{"role": "user", "content": "a question"}]});
        let answered = endpoint.post("/v1/chat/completions", &body);
        assert!(answered.is_ok_and(|answered| answered.status == 200), "the model answers");
    });
    let room = tempfile::tempdir().expect("a folder can be made");
    let path = room.path().join("file");
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file can be made");
    let sync = times(|| {
        file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).expect("the disk takes a few bytes");
    });
    report.figure("yardstick bare round trip: call of the bot", milliseconds(median(&poll)), "ms");
    report.figure("yardstick bare round trip: sendMessage", milliseconds(median(&send)), "ms");
    report.figure("yardstick bare round trip: whole answer of the model", milliseconds(median(&ask)), "ms");
    report.figure("yardstick one synced write", milliseconds(median(&sync)), "ms");
}

fn times(mut act: impl FnMut()) -> Vec<Duration> {
    let mut timed = || {
        let begun = Instant::now();
        act();
        begun.elapsed()
    };
    (0..100).map(|_| timed()).collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
