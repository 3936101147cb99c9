//! What the gateway adds to a chat: a Bot API server in a process of its own on one side, a model endpoint that answers at
//! once on the other, the real gateway with its Telegram adapter and its model agent between them. The yardsticks are the
//! same servers asked without a gateway, the disk, and a program that does nothing but ask.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, thread};

use evergate_tests::bot_api::command_line;
use evergate_tests::bot_api::operator::{BotApi, TOKEN};
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::http::Client;
use evergate_tests::model::Model;
use evergate_tests::process;
use serde_json::{Value, json};

use crate::connection::find;
use crate::history;
use crate::report::{Report, median, milliseconds};

/// The command by which `bench` starts itself as the Bot API server.
pub const COMMAND: &str = "bot-api";
/// The command by which `bench` starts itself as a program that asks the Bot API server once.
pub const CALL: &str = "call-once";

/// People who write; one after the other, so that the server's pace of a message a second in a chat is nobody's wait.
const CHATS: i64 = 10;
/// Turns that are measured.
const TURNS: i64 = 100;
/// From one to the next.
const PERIOD: Duration = Duration::from_millis(130);
/// What one conversation has behind it where it is long.
const LONG: u64 = 10_000;
/// Turns that are measured there, at the server's pace.
const LONG_TURNS: i64 = 10;
/// How often a start is measured.
const STARTS: usize = 11;
/// How often a growing answer is.
const GROWN: i64 = 5;
/// The goals.
const LATENCY_GOAL_MS: f64 = 10.0;
const RESIDENT_GOAL_MB: f64 = 20.0;
const START_GOAL_MS: f64 = 100.0;
/// What the server allows in one chat: a message, or a change of one, a second.
const PACE: Duration = Duration::from_secs(1);

/// Serves as the Bot API until whoever started it is gone.
pub fn serve(arguments: &[&str]) -> ExitCode {
    command_line::run(arguments.iter().map(|argument| (*argument).to_owned()))
}

/// Asks the Bot API server at this address once.
pub fn call(address: &str) -> ExitCode {
    match TcpStream::connect(address).and_then(|mut connection| ask(&mut connection, &bot("getMe"), &json!({}))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures it.
pub fn measure() -> Report {
    let mut command = Command::new(env::current_exe().expect("a running program has a path"));
    command.arg(COMMAND);
    let server = BotApi::start_as(command);
    let mut report = Report::new("chat");

    let model = Model::start(20, Duration::ZERO);
    let gateway = builder(&server, &model).unrecorded().start();
    for chat in 1..=CHATS {
        turn(&server, chat, "the first one");
    }
    thread::sleep(Duration::from_secs(2));
    let idle = resident(&gateway);
    let added = added(&server, &model, TURNS, PERIOD, |number| number % CHATS + 1);
    let after = resident(&gateway);
    let starts: Vec<_> = (0..STARTS).map(|_| start(&server, &gateway)).collect();
    drop(gateway);
    let (cold, warm) = in_a_long_conversation(&server, &model);
    let (first, change) = growing(&server);

    report.tail(["turn added, p50", "turn added, p95", "turn added at most"], &added);
    yardsticks(&mut report, &server, &model);
    report.figure("turn added, 10000 answers behind it, first after a start", milliseconds(cold), "ms");
    report.figure("turn added, 10000 answers behind it, p50", milliseconds(median(&warm)), "ms");
    report.figure("first words shown after the message", milliseconds(first), "ms");
    report.figure("first change after that", milliseconds(change), "ms");
    report.figure("resident idle", idle, "MB");
    report.figure("resident after the turns", after, "MB");
    report.durations(["start to first poll", "start to first poll at least", "start to first poll at most"], &starts);
    let bare: Vec<_> = (0..STARTS).map(|_| bare_start(&server)).collect();
    report.figure("yardstick start of a program to its first call", milliseconds(median(&bare)), "ms");
    report.figure("turns measured", TURNS as f64, "");
    report.figure("starts measured", STARTS as f64, "");
    report.at_most(
        "a warm turn takes this much longer than its model (ms)",
        milliseconds(median(&added)),
        LATENCY_GOAL_MS,
    );
    report.at_most(
        "the first change comes as soon as the platform allows it (ms)",
        milliseconds(change),
        milliseconds(PACE) * 1.05,
    );
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
    builder
        .config(&format!(
            "[telegram]\ntoken_file = {file:?}\napi_base = {:?}\nallowed_users = {people:?}",
            server.api_base()
        ))
        .config(&model.section())
}

fn resident(gateway: &Gateway) -> f64 {
    process::resident_bytes(gateway.child_pid()) as f64 / 1e6
}

/// One turn in a chat: from the server having the message to it having the whole answer, by its own clock.
fn turn(server: &BotApi, chat: i64, text: &str) -> Duration {
    let before = server.said(chat).len();
    // Before the server has it, so what the order itself takes counts against the gateway.
    let begun = now_ms();
    server.order("/message", &json!({"chat": chat, "text": text}));
    let answered = server.await_said(chat, "an answer", |said| said.len() > before);
    Duration::from_millis(answered[before].at_ms.saturating_sub(begun))
}

/// How much longer each turn took than its model. The clock counts whole milliseconds.
fn added(server: &BotApi, model: &Model, turns: i64, period: Duration, chat: impl Fn(i64) -> i64) -> Vec<Duration> {
    (0..turns)
        .map(|number| {
            let begun = Instant::now();
            let took = turn(server, chat(number), &format!("message {number}"));
            let thought = model.took().last().copied().unwrap_or_default();
            thread::sleep(period.saturating_sub(begun.elapsed()));
            took.saturating_sub(thought)
        })
        .collect()
}

/// The same where much has been said before: the first turn after a start, and those after it.
fn in_a_long_conversation(server: &BotApi, model: &Model) -> (Duration, Vec<Duration>) {
    let builder = builder(server, model).unrecorded();
    history::conversation(&builder.room().join("state"), "telegram:", LONG);
    let gateway = builder.start();
    gateway.await_ready();
    let mut added = added(server, model, LONG_TURNS + 1, PACE + PERIOD, |_| 1);
    (added.remove(0), added)
}

/// From the start of another process on the same journal to its first poll.
fn start(server: &BotApi, gateway: &Gateway) -> Duration {
    gateway.kill();
    let polls = server.calls("getUpdates").len();
    let begun = now_ms();
    gateway.restart_process();
    gateway.await_ready();
    let first = gateway.wait_for("a poll", Duration::from_secs(30), || {
        thread::sleep(Duration::from_millis(5));
        server.calls("getUpdates").get(polls).copied()
    });
    Duration::from_millis(first.0.saturating_sub(begun))
}

/// From the start of a program that only asks to its question.
fn bare_start(server: &BotApi) -> Duration {
    let calls = server.calls("getMe").len();
    let begun = now_ms();
    let itself = env::current_exe().expect("a running program has a path");
    let asked = Command::new(itself).args([CALL, &server.address().to_string()]).stdin(Stdio::null()).status();
    assert!(asked.is_ok_and(|status| status.success()), "the Bot API's server answers");
    Duration::from_millis(server.calls("getMe").get(calls).map_or(0, |call| call.0).saturating_sub(begun))
}

/// Slow answers: how long after the message the first words are shown, and how long after that they are changed; medians.
fn growing(server: &BotApi) -> (Duration, Duration) {
    let model = Model::start(40, Duration::from_millis(100));
    let gateway = builder(server, &model).unrecorded().start();
    gateway.await_ready();
    let (first, change) = (1..=GROWN)
        .map(|chat| {
            let before = server.said(chat).len();
            let begun = now_ms();
            server.order("/message", &json!({"chat": chat, "text": "slowly"}));
            let said = server.await_said(chat, "the answer to change", |said| {
                said.get(before).is_some_and(|said| !said.edits.is_empty())
            });
            let (shown, changed) = (said[before].at_ms, said[before].edits[0].0);
            let between = |from: u64, to: u64| Duration::from_millis(to.saturating_sub(from));
            (between(begun, shown), between(shown, changed))
        })
        .collect::<(Vec<_>, Vec<_>)>();
    (median(&first), median(&change))
}

/// What the parts of a turn take without a gateway: the calls, on connections that are kept as the gateway's are, and on new ones;
/// and a write that is on disk.
fn yardsticks(report: &mut Report, server: &BotApi, model: &Model) {
    let say = json!({"chat_id": 99, "text": "a text of some words"});
    let question = json!({"model": "tiny", "stream": true, "messages": [{"role": "user", "content": "a question"}]});
    let kept = |address, path: &str, body: &Value| {
        let mut connection = TcpStream::connect(address).expect("the server listens");
        connection.set_nodelay(true).expect("it is a socket");
        milliseconds(median(&times(|| ask(&mut connection, path, body).expect("the server answers"))))
    };
    let fresh = |address, path: &str, body: &Value| {
        let client = Client::new(address, None);
        milliseconds(median(&times(|| {
            assert!(client.post(path, body).is_ok_and(|answer| answer.status == 200), "the server answers");
        })))
    };
    // The chat has to be one in which somebody has spoken.
    server.say(99, "hello");
    let (telegram, endpoint) = (server.address(), model.address());
    let polled = kept(telegram, &bot("getMe"), &json!({}));
    let sent = kept(telegram, &bot("sendMessage"), &say);
    let answered = kept(endpoint, "/v1/chat/completions", &question);
    let connected = fresh(telegram, &bot("getMe"), &json!({}));
    report.figure("yardstick bare round trip: call of the bot", polled, "ms");
    report.figure("yardstick bare round trip: sendMessage", sent, "ms");
    report.figure("yardstick bare round trip: whole answer of the model", answered, "ms");
    report.figure("yardstick bare round trip: call on a new connection", connected, "ms");
    let room = tempfile::tempdir().expect("a folder can be made");
    let path = room.path().join("file");
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file can be made");
    let sync = times(|| {
        file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).expect("the disk takes a few bytes");
    });
    report.figure("yardstick one synced write", milliseconds(median(&sync)), "ms");
}

fn bot(method: &str) -> String {
    format!("/bot{TOKEN}/{method}")
}

/// One call and the whole of its answer, on a connection that stays open.
fn ask(connection: &mut TcpStream, path: &str, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes())?;
    let (mut received, mut piece) = (Vec::new(), [0; 16 * 1024]);
    while !is_whole(&received) {
        match connection.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&piece[..count]),
        }
    }
    if received.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = find(answer, b"\r\n\r\n").map(|end| end + 4) else { return false };
    let length = String::from_utf8_lossy(&answer[..head]).lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.map_or_else(|| answer.ends_with(b"0\r\n\r\n"), |length| answer.len() >= head + length)
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
