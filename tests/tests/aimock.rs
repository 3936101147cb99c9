//! A model as the agent, against an endpoint that we did not write: what `model.rs` shows with ours holds with aimock, too.

use std::path::Path;
use std::time::{Duration, Instant};

use evergate_tests::PATIENCE;
use evergate_tests::aimock::AiMock;
use evergate_tests::events::EventStream;
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::oracle::Words;
use evergate_tests::{process, skipped};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// What it says when it is asked to count; in pieces of four characters, which end within words.
const COUNT: &str =
    "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn";
/// What it says when it is asked to go on.
const REST: &str = " … und so weiter";

/// aimock with these fixtures; `None`, said aloud, where it cannot be had.
fn aimock(test: &str, fixtures: &[Value], pace: Duration) -> Option<AiMock> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    match AiMock::start(folder, &json!({"fixtures": fixtures}), pace) {
        Ok(mock) => Some(mock),
        Err(why) => {
            skipped(test, &why);
            None
        }
    }
}

fn gateway(model: &AiMock, keys: &str) -> Builder {
    Gateway::builder().config(&model.section()).config(keys)
}

/// The pieces of a turn's answer as a client hears them, up to its reply or notice, and that.
fn heard(gateway: &Gateway, text: &str) -> (Vec<String>, String) {
    let deadline = Instant::now() + PATIENCE;
    let message = gateway.send("main", text, text);
    let mut stream = EventStream::open(gateway.address(), &gateway.token(), "main", None).expect("the gateway serves");
    let mut pieces = Vec::new();
    loop {
        let event = stream.next(deadline).expect("the gateway lives").unwrap_or_else(|| panic!("only {pieces:?}"));
        if event.is("delta") {
            pieces.push(event.text().to_owned());
        } else if event.is("turn") && event.data["state"] == "running" {
            pieces.clear();
        } else if event.is("notice") || event.is("reply") && event.data["messages"] == json!([message]) {
            return (pieces, event.text().to_owned());
        }
    }
}

#[test]
fn an_answer_streams_and_a_conversation_is_kept_over_a_restart() {
    // Only as deep in a conversation as it should be is a question answered.
    let fixtures = [
        json!({"match": {"userMessage": "I am Ann", "turnIndex": 0}, "response": {"content": "Grüß dich, Ann; was möchtest du wissen?"}}),
        json!({"match": {"userMessage": "who am I", "turnIndex": 1}, "response": {"content": "You are Ann."}}),
        json!({"match": {"userMessage": "and now", "turnIndex": 2}, "response": {"content": "Still Ann."}}),
        json!({"match": {"userMessage": "tell me", "turnIndex": 0}, "response": {"content": "I do not know."}}),
    ];
    let test = "an_answer_streams_and_a_conversation_is_kept_over_a_restart";
    let Some(model) = aimock(test, &fixtures, Duration::from_millis(60)) else { return };
    let gateway = gateway(&model, "system = \"Be brief.\"").supervised(true).start();
    let (pieces, reply) = heard(&gateway, "I am Ann");
    assert_eq!(reply, "Grüß dich, Ann; was möchtest du wissen?");
    assert!(pieces.len() >= 4, "it comes as it is said: {pieces:?}");
    assert!(reply.starts_with(&pieces.concat()), "{pieces:?}");
    assert_eq!(heard(&gateway, "who am I?").1, "You are Ann.");
    let before = gateway.generation();
    gateway.ask("restart", &json!({"mode": "graceful"}));
    gateway.await_generation(before + 1);
    assert_eq!(heard(&gateway, "and now?").1, "Still Ann.");
    gateway.send("main", "/new", "new");
    gateway.events("main", None, "a new conversation", |events| {
        events.iter().any(|event| event.is("notice") && event.data["conversation"] == 1)
    });
    let message = gateway.send("main", "tell me who I am", "tell");
    assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), "I do not know.");
    let asked = model.asked();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(asked[3], ["system: Be brief.", "user: tell me who I am"]);
    gateway.assert_answered_once(&[], Words::Any);
}

/// Cuts an answer in its middle, and looks at what becomes of it.
fn cut(test: &str, keys: &str, blow: impl FnOnce(&Gateway)) {
    let fixtures = [
        json!({"match": {"userMessage": "Your answer was cut off"}, "response": {"content": REST}}),
        json!({"match": {"userMessage": "count", "turnIndex": 0}, "response": {"content": COUNT}}),
    ];
    let Some(model) = aimock(test, &fixtures, Duration::from_millis(150)) else { return };
    let gateway = gateway(&model, keys).supervised(true).start();
    let message = gateway.send("main", "count", "count");
    gateway.await_said("main", "sechs");
    let before = gateway.generation();
    blow(&gateway);
    gateway.await_generation(before + 1);
    let reply = gateway.await_reply("main", message, PATIENCE).text().to_owned();
    let asked = model.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!((&*asked[1][0], asked[1].len()), ("user: count", 3), "{asked:?}");
    let handed = asked[1][1].strip_prefix("assistant: ").unwrap_or_else(|| panic!("{asked:?}"));
    assert!(handed.starts_with("eins zwei") && COUNT.starts_with(handed) && handed != COUNT, "{handed:?}");
    assert_eq!(reply, format!("{handed}{REST}"), "it is one answer");
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn an_answer_that_a_restart_cuts_is_one_answer() {
    cut("an_answer_that_a_restart_cuts_is_one_answer", "[drain]\nbudget = \"0s\"", |gateway| {
        gateway.ask("restart", &json!({"mode": "graceful"}));
    });
}

#[test]
fn an_answer_that_kill_9_cuts_is_one_answer() {
    cut("an_answer_that_kill_9_cuts_is_one_answer", "", |gateway| {
        process::send_signal(gateway.pid(), Signal::SIGKILL);
    });
}

#[test]
fn an_endpoint_that_is_busy_is_asked_again_and_a_tool_is_not_called() {
    let busy = json!({"error": {"message": "Rate limited", "type": "rate_limit_error"}, "status": 429});
    let fixtures = [
        json!({"match": {"userMessage": "are you busy", "sequenceIndex": 0}, "response": busy}),
        json!({"match": {"userMessage": "are you busy"}, "response": {"content": "Not any more."}}),
        json!({"match": {"userMessage": "what time"}, "response": {"toolCalls": [{"name": "clock", "arguments": {}}]}}),
    ];
    let test = "an_endpoint_that_is_busy_is_asked_again_and_a_tool_is_not_called";
    let Some(model) = aimock(test, &fixtures, Duration::ZERO) else { return };
    let gateway = gateway(&model, "").start();
    assert_eq!(heard(&gateway, "are you busy?").1, "Not any more.");
    let told = heard(&gateway, "what time is it?").1;
    assert!(told.contains("wants to call a tool"), "{told}");
    assert_eq!(model.asked().len(), 3);
}
