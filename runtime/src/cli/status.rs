//! `evergate status`: shows what the gateway says about itself, once or each second. It adds nothing of its own but the
//! layout.

use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

use super::answers::{Asked, Request, Status, Turn};
use super::call_error::{CallError, Told};
use super::client::Client;
use super::table::{count, duration, instant, one_line, table};
use super::{CommandError, print, print_json};
use crate::left_behind::LeftBehind;
use crate::trial;

/// How often `--watch` looks.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// Cursor to the top left, and everything below it away.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// The arguments of `evergate status`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Show it again each second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print the gateway's answer as JSON; with --watch one line a second
    #[arg(long)]
    json: bool,
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    if arguments.watch {
        return watch(client, arguments.json).await;
    }
    let answer = client.get("/v1/status").await.map_err(|error| with_what_is_left(error, client))?;
    if arguments.json {
        return print_json(&answer.body);
    }
    print(&screen(&answer.read("GET /v1/status")?, unix_ms()))
}

/// Where nobody runs: how the last generation ended, and what it has left to the next one.
fn with_what_is_left(error: CallError, client: &Client) -> CallError {
    let CallError::NobodyRuns { place, pid: None, told } = error else { return error };
    let state_dir = client.state_dir();
    // What cannot be read here is for `evergate doctor` to say.
    let Ok(Some(left)) = LeftBehind::of(state_dir) else { return CallError::NobodyRuns { place, pid: None, told } };
    let owed = match &left.owed {
        Some(owed) => format!("owed to people until one is started: {owed}"),
        None => "nothing is owed to anybody".to_owned(),
    };
    let last = trial::last_starts(state_dir);
    let told = Told::Words(format!("{last}; {}; {owed}; `{}` starts one", left.end, left.start));
    CallError::NobodyRuns { place, pid: None, told }
}

async fn watch(client: &Client, json: bool) -> Result<(), CommandError> {
    let redraws = std::io::stdout().is_terminal() && !json;
    loop {
        let block = block(client, json).await?;
        let before = if redraws { CLEAR_SCREEN } else { "" };
        let after = if redraws || json { "" } else { "\n" };
        print(&format!("{before}{block}{after}"))?;
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

/// One look for `--watch`, where a gateway that is away is news and no end.
async fn block(client: &Client, json: bool) -> Result<String, CommandError> {
    match client.get("/v1/status").await {
        Ok(answer) if json => Ok(format!("{}\n", answer.body)),
        Ok(answer) => Ok(screen(&answer.read("GET /v1/status")?, unix_ms())),
        Err(error) if error.retry_pause().is_none() => Err(error.into()),
        Err(error) => Ok(absent(&error, json)),
    }
}

fn absent(error: &CallError, json: bool) -> String {
    if json { format!("{}\n", serde_json::json!({"error": error.to_string()})) } else { format!("{error}\n") }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The status for people, as seen at `now_ms` (milliseconds since 1970).
fn screen(status: &Status, now_ms: u64) -> String {
    let mut text = String::new();
    for (name, value) in facts(status, now_ms) {
        text.push_str(&format!("{name:<12} {value}\n"));
    }
    if let Some(drain) = &status.drain {
        let left =
            drain.remaining_ms.map_or_else(String::new, |ms| format!(", {} left", duration(Duration::from_millis(ms))));
        text.push_str(&format!("\nDrain{left}\n"));
        for item in &drain.waiting_for {
            text.push_str(&format!("  waits for {}\n", one_line(item)));
        }
    }
    if !status.turns.is_empty() {
        let rows: Vec<Vec<String>> = status.turns.iter().map(turn_row).collect();
        text.push_str(&format!("\n{}", table(&["TURN", "SESSION", "STATE", "ATTEMPT", "FOR", "MESSAGES"], &rows)));
    }
    if !status.requests.is_empty() {
        let rows: Vec<Vec<String>> = status.requests.iter().map(request_row).collect();
        text.push_str(&format!("\n{}", table(&["REQUEST", "KIND", "MODE", "BY", "STATE", "REASON"], &rows)));
    }
    text
}

fn facts(status: &Status, now_ms: u64) -> Vec<(&'static str, String)> {
    let up = duration(Duration::from_millis(status.uptime_ms));
    let since = instant(Some(now_ms.saturating_sub(status.uptime_ms)));
    let queue = format!(
        "{} queued, {} owed, {} in flight, {}",
        count(status.queued, "message"),
        delivery_count(status.owed),
        count(status.turns.len() as u64, "turn"),
        count(status.sessions, "busy session"),
    );
    let mut facts = vec![
        ("gateway", format!("{}, generation {}", one_line(&status.phase), status.generation)),
        ("process", format!("{}, up {up}, since {since}", status.pid)),
        ("version", version(status)),
        ("supervisor", one_line(&status.supervisor)),
        ("work", queue),
        ("journal", one_line(&status.journal)),
    ];
    if let Some(listen) = &status.listen {
        facts.push(("listens on", format!("http://{}/", one_line(listen))));
    }
    // Where the local one listens has been said.
    for platform in
        status.platforms.iter().filter(|platform| (&*platform.platform, &*platform.state) != ("local", "up"))
    {
        let why = platform.why.as_ref().map_or_else(String::new, |why| format!(": {}", one_line(why)));
        let since = platform.since_ms.filter(|_| platform.state != "up");
        let since = since.map_or_else(String::new, |since| format!(" since {}", instant(Some(since))));
        facts.push(("platform", format!("{} {}{since}{why}", one_line(&platform.platform), one_line(&platform.state))));
    }
    if status.breaker.is_tripped() {
        facts.push(("breaker", status.breaker.sentence()));
    }
    if let Some(why) = &status.rolled_back {
        facts.push(("rolled back", one_line(why)));
    }
    for session in &status.quarantined {
        let session = one_line(session);
        facts.push(("quarantined", format!("{session}; any message there brings it back")));
    }
    for turn in &status.turns {
        facts.extend(turn.asks.iter().map(|asked| ("asks", asks(turn, asked))));
    }
    facts
}

/// What somebody has to answer, where, and since when.
fn asks(turn: &Turn, asked: &Asked) -> String {
    let length = asked.for_ms.map_or_else(String::new, |ms| format!(" ({})", duration(Duration::from_millis(ms))));
    let since = asked.since_ms.map_or_else(String::new, |since| format!(" since {}", instant(Some(since))));
    format!(
        "turn {} of {} waits for somebody's word{since}{length}: /allow {question} or /deny {question} there",
        turn.turn,
        one_line(&turn.session),
        question = asked.question,
    )
}

/// The version that runs, and the one on disk where that is another file.
fn version(status: &Status) -> String {
    let running = one_line(&status.version);
    match (status.on_disk.program.as_str(), &status.on_disk.version) {
        ("changed", Some(other)) => format!("{running}; another program is on disk: {}", one_line(other)),
        ("changed", None) => format!("{running}; another program is on disk"),
        ("gone", _) => format!("{running}; its file is gone"),
        _ => running,
    }
}

fn delivery_count(number: u64) -> String {
    if number == 1 { "1 delivery".to_owned() } else { format!("{number} deliveries") }
}

fn turn_row(turn: &Turn) -> Vec<String> {
    let messages: Vec<String> = turn.messages.iter().map(u64::to_string).collect();
    vec![
        turn.turn.to_string(),
        one_line(&turn.session),
        one_line(&turn.state),
        turn.attempt.to_string(),
        turn.elapsed_ms.map_or_else(|| "-".to_owned(), |elapsed| duration(Duration::from_millis(elapsed))),
        messages.join(" "),
    ]
}

fn request_row(request: &Request) -> Vec<String> {
    let state = match &request.outcome {
        Some(outcome) => format!("{}: {}", request.state, outcome.kind),
        None => request.state.clone(),
    };
    vec![
        request.request.to_string(),
        one_line(&request.kind),
        one_line(&request.mode),
        one_line(&request.by),
        one_line(&state),
        request.reason.as_deref().map_or_else(String::new, one_line),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(value: serde_json::Value) -> Status {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn the_screen_shows_turns_requests_and_what_the_drain_waits_for() {
        let status = status_of(serde_json::json!({
            "generation": 3, "phase": "draining", "pid": 41, "version": "0.1.0", "uptime_ms": 61_000, "supervisor": "supervise",
            "turns": [{"turn": 5, "session": "main", "state": "running", "attempt": 1, "messages": [7, 8], "elapsed_ms": 1500,
                       "asks": [{"question": 4, "since_ms": 1_699_999_999_000_u64, "for_ms": 1_200}]}],
            "queued": 1, "sessions": 2, "owed": 0, "quarantined": ["bad"],
            "requests": [{"request": 12, "kind": "restart", "mode": "graceful", "by": "session main", "reason": null, "state": "accepted", "outcome": null}],
            "drain": {"waiting_for": ["turn 5 of session main"], "remaining_ms": 12_000}, "journal": "ok", "listen": "127.0.0.1:8787",
            "platforms": [{"platform": "matrix", "state": "up", "why": null},
                          {"platform": "telegram", "state": "waiting", "why": "somebody else polls", "since_ms": 1_699_999_000_000_u64}],
        }));
        let expected = "\
gateway      draining, generation 3
process      41, up 1m 1s, since 2023-11-14T22:12:19Z
version      0.1.0
supervisor   supervise
work         1 message queued, 0 deliveries owed, 1 turn in flight, 2 busy sessions
journal      ok
listens on   http://127.0.0.1:8787/
platform     matrix up
platform     telegram waiting since 2023-11-14T21:56:40Z: somebody else polls
quarantined  bad; any message there brings it back
asks         turn 5 of main waits for somebody's word since 2023-11-14T22:13:19Z (1.2 s): /allow 4 or /deny 4 there

Drain, 12.0 s left
  waits for turn 5 of session main

TURN  SESSION  STATE    ATTEMPT  FOR    MESSAGES
5     main     running  1        1.5 s  7 8

REQUEST  KIND     MODE      BY            STATE     REASON
12       restart  graceful  session main  accepted
";
        assert_eq!(screen(&status, 1_700_000_000_000), expected);
    }

    #[test]
    fn a_status_of_another_version_is_still_shown() {
        let status = status_of(serde_json::json!({"generation": 9, "phase": "napping", "novelty": [1]}));
        assert!(screen(&status, 0).starts_with("gateway      napping, generation 9\n"));
    }
}
