//! A model as the agent, behind the real gateway: conversations out of the journal, answers that go on over restarts and
//! broken streams, and everything that an endpoint may say instead of an answer.

use std::time::Duration;

use evergate_tests::PATIENCE;
use evergate_tests::events::EventStream;
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::model::{Fault, Model};
use evergate_tests::oracle::Words;

fn builder(model: &Model, keys: &str) -> Builder {
    let base = model.base_url();
    let table = format!("[agent]\nkind = \"openai\"\n[agent.openai]\nbase_url = {base:?}\nmodel = \"tiny\"\n{keys}");
    Gateway::builder().config(&table)
}

fn reply(gateway: &Gateway, session: &str, text: &str) -> String {
    let message = gateway.send(session, text, &format!("{session}-{text}"));
    gateway.await_reply(session, message, PATIENCE).text().to_owned()
}

/// What the model was told in a call beside the system's words, joined.
fn told(model: &Model, call: usize) -> Vec<String> {
    let asked = model.asked();
    asked[call].iter().filter(|(role, _)| role != "system").map(|(role, text)| format!("{role}: {text}")).collect()
}

/// Waits until the running turn has said this, as far as a client hears that.
fn await_said(gateway: &Gateway, session: &str, text: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut said = String::new();
    let mut stream = EventStream::open(gateway.address(), &gateway.token(), session, None).expect("the gateway serves");
    while !said.contains(text) {
        let event = stream.next(deadline).expect("it lives").unwrap_or_else(|| panic!("it says only {said:?}"));
        if event.is("delta") {
            said.push_str(event.text());
        }
    }
}

/// The notice that a failed turn leaves.
fn failure(gateway: &Gateway, session: &str, text: &str) -> String {
    gateway.send(session, text, &format!("{session}-{text}"));
    let events = gateway.events(session, None, "a notice", |events| events.iter().any(|event| event.is("notice")));
    events.last().expect("the notice").text().to_owned()
}

#[test]
fn a_conversation_is_kept_over_a_restart_and_new_begins_afresh() {
    let model = Model::start(3, Duration::ZERO);
    let gateway = builder(&model, "system = \"Be brief.\"").supervised(true).start();
    assert_eq!(reply(&gateway, "main", "one"), "ü0 ü1 ü2");
    reply(&gateway, "main", "two");
    assert_eq!(told(&model, 1), ["user: one", "assistant: ü0 ü1 ü2", "user: two"]);
    assert_eq!(model.asked()[1][0], ("system".to_owned(), "Be brief.".to_owned()));
    let before = gateway.generation();
    gateway.ask("restart", &serde_json::json!({"mode": "graceful"}));
    gateway.await_generation(before + 1);
    reply(&gateway, "main", "three");
    assert_eq!(told(&model, 2).len(), 5);
    reply(&gateway, "other", "alone");
    assert_eq!(told(&model, 3), ["user: alone"]);
    gateway.send("main", "/new", "new");
    gateway.events("main", None, "a new conversation", |events| {
        events.iter().any(|event| event.is("notice") && event.data["conversation"] == 1)
    });
    reply(&gateway, "main", "four");
    assert_eq!(told(&model, 4), ["user: four"]);
    reply(&gateway, "main", "five");
    assert_eq!(told(&model, 5), ["user: four", "assistant: ü0 ü1 ü2", "user: five"]);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn what_does_not_fit_is_left_out_and_the_model_is_told_so() {
    let model = Model::start(20, Duration::ZERO);
    let gateway = builder(&model, "context_tokens = 180").start();
    for text in ["one", "two", "three", "four"] {
        reply(&gateway, "main", text);
    }
    let last = model.asked().pop().expect("it was asked");
    assert!(last[0].0 == "system" && last[0].1.contains("left out"), "{last:?}");
    assert!(last.last().is_some_and(|(_, text)| text == "four") && last.len() < 8, "{last:?}");
    assert!(gateway.log().contains("does not fit and is not told to the model"));
}

#[test]
fn a_turn_cut_by_a_restart_goes_on_from_what_was_said_and_is_one_answer() {
    let model = Model::start(60, Duration::from_millis(50));
    let gateway = builder(&model, "[drain]\nbudget = \"0s\"").supervised(true).start();
    let message = gateway.send("main", "count", "count");
    await_said(&gateway, "main", "ü10");
    let before = gateway.generation();
    gateway.ask("restart", &serde_json::json!({"mode": "graceful"}));
    gateway.await_generation(before + 1);
    assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), model.answer());
    let asked = told(&model, 1);
    assert!(asked[0] == "user: count" && asked[1].starts_with("assistant: ü0 ü1 ü2"), "{asked:?}");
    assert!(asked[1].contains("ü10"), "nothing that was said is thought again: {asked:?}");
    assert_eq!(model.asked().len(), 2);
    assert!(model.aborted() >= 1, "the request of the cut turn goes on at the model");
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn a_turn_cut_by_kill_9_goes_on_from_what_was_kept_and_is_one_answer() {
    let model = Model::start(80, Duration::from_millis(50));
    let gateway = builder(&model, "").start();
    let message = gateway.send("main", "count", "count");
    await_said(&gateway, "main", "ü50");
    gateway.restart_process();
    assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), model.answer());
    let asked = told(&model, 1);
    assert!(asked.len() == 3 && asked[1].starts_with("assistant: ü0 ü1"), "it begins from nothing: {asked:?}");
    assert_eq!(model.asked().len(), 2);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn what_passes_is_tried_again_and_what_was_said_by_then_is_not_said_twice() {
    let model = Model::start(12, Duration::ZERO);
    let gateway = builder(&model, "first_token = \"1s\"\nsilence = \"1s\"").start();
    model.break_next(&[Fault::Status(429, Some(1)), Fault::CutInCharacter(4)]);
    assert_eq!(reply(&gateway, "main", "one"), model.answer());
    assert!(told(&model, 2).contains(&"assistant: ü0 ü1 ü2 ü3".to_owned()), "{:?}", told(&model, 2));
    model.break_next(&[Fault::Status(503, None), Fault::CutInEvent(5)]);
    assert_eq!(reply(&gateway, "two", "two"), model.answer());
    model.break_next(&[Fault::Stall(6), Fault::Body("text/event-stream", "data: {\"choices\":[{\n\n")]);
    assert_eq!(reply(&gateway, "three", "three"), model.answer());
    assert_eq!(model.asked().len(), 9);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn what_does_not_pass_fails_the_turn_with_a_reason_and_no_secret_in_it() {
    let model = Model::start(3, Duration::ZERO);
    let gateway = builder(&model, "key_env = \"THE_KEY\"").env("THE_KEY", "sk-test-77").start();
    let (json, stream) = ("application/json", "text/event-stream");
    let tools = r#"{"choices":[{"message":{"tool_calls":[{"id":"1"}]},"finish_reason":"tool_calls"}]}"#;
    for (session, fault, why) in [
        ("a", Fault::Status(401, None), "answered 401"),
        ("b", Fault::Body(stream, "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n"), "answered nothing"),
        ("c", Fault::Body(json, tools), "wants to call a tool"),
        ("d", Fault::Body(json, r#"{"error":{"message":"no such thing, sk-test-77"}}"#), "no such thing, [secret]"),
    ] {
        model.break_next(&[fault]);
        let told = failure(&gateway, session, "hello");
        assert!(told.contains(why) && !told.contains("sk-test"), "{session}: {told}");
    }
    let whole = r#"{"choices":[{"message":{"content":"at once"},"finish_reason":"stop"}]}"#;
    model.break_next(&[Fault::Body(json, whole)]);
    assert_eq!(reply(&gateway, "e", "hello"), "at once");
    assert!(!gateway.log().contains("sk-test"), "the key stands in the log");
}

#[test]
fn a_key_that_is_missing_fails_the_turn_and_not_the_gateway() {
    let model = Model::start(3, Duration::ZERO);
    let gateway = builder(&model, "key_file = \"/nowhere/key\"").start();
    let told = failure(&gateway, "main", "hello");
    assert!(told.contains("the model's key is missing: /nowhere/key cannot be read"), "{told}");
    assert!(model.asked().is_empty());
}
