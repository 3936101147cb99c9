//! An agent that asks before it does something, and a chat that answers: at once, after a restart, after `kill -9`, or never.

use super::{own, starts};
use evergate_tests::PATIENCE;
use evergate_tests::events::Event;
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::oracle::Words;
use evergate_tests::process;
use std::time::Instant;

/// Without sessions of its own the agent is told everything again after a restart, and asks again.
fn asking(test: &str, keys: &str) -> Option<Builder> {
    own(test, &[], &format!("permission = \"ask\"\n{keys}"))
}

fn asks(event: &Event) -> bool {
    event.is("notice") && event.data["question"].is_u64() && event.data["ruling"].is_null()
}

/// Waits for the question in the chat, and gives its number.
fn await_question(gateway: &Gateway) -> u64 {
    let events = gateway.events("main", None, "a question", |events| events.iter().any(asks));
    let asked = events.iter().find(|event| asks(event)).expect("there is one");
    let question = asked.data["question"].as_u64().expect("it has a number");
    let expected = format!(
        "The agent asks before it does this: rm -rf / (execute)\nAnswer /allow {question} or /deny {question}."
    );
    assert_eq!(asked.text(), expected);
    question
}

/// Since when somebody's word is waited for, which every status says.
fn waits_since(gateway: &Gateway, question: u64) -> u64 {
    let asks = gateway.status()["turns"][0]["asks"].clone();
    assert_eq!((asks.as_array().map(Vec::len), asks[0]["question"].as_u64()), (Some(1), Some(question)), "{asks}");
    let shown = String::from_utf8_lossy(&gateway.cli(&["status"]).stdout).into_owned();
    let (who, how) = ("waits for somebody's word since 20", format!("/allow {question} or /deny {question} there"));
    assert!(shown.contains(who) && shown.contains(&how), "{shown}");
    asks[0]["since_ms"].as_u64().expect("it is on disk")
}

/// What the chat was asked, and what became of it, in order.
fn story(gateway: &Gateway) -> Vec<String> {
    let events = gateway.complete_log("main");
    let told = events.iter().filter(|event| event.is("notice") && event.data["question"].is_u64());
    told.map(|event| event.data["ruling"].as_str().unwrap_or("asked").to_owned()).collect()
}

/// What the agent was told, in order, over all its processes.
fn outcomes(gateway: &Gateway) -> Vec<String> {
    let log = std::fs::read_to_string(gateway.room().join("agent/log")).unwrap_or_default();
    log.lines().filter_map(|line| line.strip_prefix("outcome ")).map(str::to_owned).collect()
}

#[test]
fn what_its_chat_says_is_what_the_agent_hears() {
    for (word, outcome, ruling) in [("/allow", "allow_once", "allowed"), ("/deny", "reject_once", "denied")] {
        let Some(builder) = asking("what_its_chat_says", "") else { return };
        let gateway = builder.start();
        let message = gateway.send("main", "ask", "ask");
        let question = await_question(&gateway);
        gateway.send("main", &format!("{word} {question}"), "answer");
        assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), outcome);
        gateway.send("main", &format!("/allow {question}"), "late");
        gateway.events("main", None, "word that it is too late", |events| {
            events.last().is_some_and(|event| event.text() == "No such question is open here.")
        });
        assert_eq!((story(&gateway), outcomes(&gateway)), (vec!["asked".into(), ruling.into()], vec![outcome.into()]));
        gateway.assert_answered_once(&[], Words::Any);
    }
}

#[test]
fn a_question_that_nobody_answers_in_time_is_a_no() {
    let Some(builder) = asking("a_question_that_nobody_answers", "[questions]\nexpire = \"300ms\"") else { return };
    let gateway = builder.start();
    let message = gateway.send("main", "ask", "ask");
    assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), "reject_once");
    assert_eq!(story(&gateway), ["asked", "expired"]);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn a_restart_does_not_wait_for_a_person_and_the_question_is_answered_afterwards() {
    let Some(builder) = asking("a_restart_does_not_wait", "[drain]\nbudget = \"10m\"") else { return };
    let gateway = builder.supervised(true).start();
    let message = gateway.send("main", "ask", "ask");
    let question = await_question(&gateway);
    let (since, waited) = (waits_since(&gateway, question), Instant::now());
    let before = gateway.generation();
    gateway.ask("restart", &serde_json::json!({"mode": "graceful"}));
    gateway.await_generation(before + 1);
    gateway.await_running("main");
    assert_eq!(waits_since(&gateway, question), since, "a person who is asked over a restart is asked once");
    let told = gateway.status()["turns"][0]["asks"][0]["for_ms"].as_u64().expect("it is known how long");
    assert!(told >= waited.elapsed().as_millis() as u64 / 2, "{told} ms of {:?}", waited.elapsed());
    gateway.send("main", "/allow", "answer");
    assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), "allow_once");
    assert_eq!(gateway.status()["turns"], serde_json::json!([]));
    assert_eq!(
        (story(&gateway), outcomes(&gateway)),
        (vec!["asked".into(), "allowed".into()], vec!["cancelled".into(), "allow_once".into()])
    );
    assert_eq!(starts(&gateway).len(), 2);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn kill_9_while_a_question_is_open_asks_nobody_twice() {
    let Some(builder) = asking("kill_9_while_a_question_is_open", "") else { return };
    let gateway = builder.start();
    let message = gateway.send("main", "ask", "ask");
    let question = await_question(&gateway);
    let list = gateway.client().get("/v1/sessions/main").expect("the gateway serves").json();
    assert_eq!(list["state"], "asking", "{list}");
    gateway.send("other", "/status", "status");
    let told =
        gateway.events("other", None, "the status", |events| events.last().is_some_and(|event| event.is("notice")));
    let expected = format!("s: answer there with /allow {question} or /deny {question}.");
    let told = told.last().map(|event| event.text().to_owned()).unwrap_or_default();
    assert!(
        told.contains("In main an agent has waited for somebody's word for ") && told.ends_with(&expected),
        "{told}"
    );
    gateway.restart_process();
    gateway.await_ready();
    // Whether or not the agent has asked again by then: the answer is kept for it.
    gateway.send("main", &format!("/allow {question}"), "answer");
    assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), "allow_once");
    assert_eq!(
        (story(&gateway), outcomes(&gateway)),
        (vec!["asked".into(), "allowed".into()], vec!["allow_once".into()])
    );
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn what_was_allowed_before_kill_9_is_not_asked_again_after_it() {
    let Some(builder) = asking("what_was_allowed_before_kill_9", "") else { return };
    let gateway = builder.start();
    let message = gateway.send("main", "ask linger", "ask");
    await_question(&gateway);
    gateway.send("main", "/allow", "answer");
    gateway.await_said("main", "allow_once");
    gateway.restart_process();
    let reply = gateway.await_reply("main", message, PATIENCE);
    assert!(reply.text().ends_with("allow_once"), "{}", reply.text());
    assert_eq!(story(&gateway), ["asked", "allowed"]);
    assert_eq!(outcomes(&gateway), ["allow_once", "allow_once"]);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn a_turn_that_is_stopped_takes_its_question_along() {
    let Some(builder) = asking("a_turn_that_is_stopped", "") else { return };
    let gateway = builder.start();
    let message = gateway.send("main", "ask", "ask");
    let question = await_question(&gateway);
    gateway.send("main", "/stop", "stop");
    let stopped = |events: &[Event]| events.iter().any(|event| event.is_turn("stopped"));
    gateway.events("main", None, "the end of the turn", stopped);
    gateway.send("main", &format!("/allow {question}"), "answer");
    gateway.events("main", None, "word that it is too late", |events| {
        events.last().is_some_and(|event| event.text() == "No such question is open here.")
    });
    assert_eq!((story(&gateway), outcomes(&gateway)), (vec!["asked".into()], vec!["cancelled".into()]));
    let log = gateway.complete_log("main");
    assert_eq!(log.iter().filter(|event| event.is("notice") && event.text() == "Stopped.").count(), 1);
    gateway.assert_answered_once(&[message], Words::Any);
    assert!(process::is_alive(starts(&gateway)[0]), "the agent itself goes on");
}
