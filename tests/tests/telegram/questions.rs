//! Buttons below an agent's question: pressed by whom the configuration lets in, over a death of the gateway, and gone
//! when they are spent.

use super::{GUESTS, bot_api, gateway};
use evergate_tests::bot_api::operator::BotApi;
use evergate_tests::gateway::Builder;
use evergate_tests::{PATIENCE, skipped};
use serde_json::json;

/// An agent for the gateway's own tests.
const AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/src/agent/acp/tests/agent.py");

/// A gateway whose agent asks; `None` without Python.
fn asking(test: &str, server: &BotApi) -> Option<Builder> {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        skipped(test, "there is no python3");
        return None;
    }
    let builder = gateway(server, "");
    let folder = builder.room().join("agent");
    std::fs::create_dir(&folder).expect("the room is writable");
    Some(builder.config(&format!(
        "[agent]\nkind = \"acp\"\n[agent.acp]\nargv = [\"python3\", {AGENT:?}, \".\"]\ncwd = {folder:?}\npermission = \"ask\""
    )))
}

#[test]
fn a_button_is_an_answer_and_goes_when_it_is_spent() {
    let server = bot_api();
    let Some(builder) = asking("a_button_is_an_answer", &server) else { return };
    let _gateway = builder.start();
    let guest = GUESTS[0];
    server.say(guest, "ask");
    let said = server.await_said(guest, "a question", |said| !said.is_empty());
    assert_eq!(said[0].buttons, ["Allow", "Deny"], "{said:?}");
    let message = said[0].message_id;
    // What a stranger presses is nobody's answer.
    server.order("/callback", &json!({"chat": guest, "from": 99, "message_id": message, "button": "Allow"}));
    server.order("/callback", &json!({"chat": guest, "message_id": message, "button": "Deny"}));
    let said = server.await_said(guest, "the answer", |said| said.len() == 3 && said[0].buttons.is_empty());
    assert_eq!((said[1].text.as_str(), said[2].text.as_str()), ("Denied (question 1).", "reject_once"));
    assert_eq!(server.calls("answerCallbackQuery").len(), 1);
}

#[test]
fn a_button_from_before_kill_9_still_answers() {
    let server = bot_api();
    let Some(builder) = asking("a_button_from_before_kill_9", &server) else { return };
    let gateway = builder.start();
    let guest = GUESTS[0];
    server.say(guest, "ask");
    let said = server.await_said(guest, "a question", |said| said.len() == 1);
    // Where the buttons are is kept behind the end of the delivery.
    gateway.wait_for("the send to be settled", PATIENCE, || (gateway.status()["owed"] == 0).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(200));
    gateway.restart_process();
    server.order("/callback", &json!({"chat": guest, "message_id": said[0].message_id, "button": "Allow"}));
    let said = server.await_said(guest, "the answer", |said| said.len() == 3 && said[0].buttons.is_empty());
    assert_eq!((said[1].text.as_str(), said[2].text.as_str()), ("Allowed (question 1).", "allow_once"));
    gateway.await_rest(PATIENCE);
}

#[test]
fn the_buttons_of_a_turn_that_is_stopped_go_with_it() {
    let server = bot_api();
    let Some(builder) = asking("the_buttons_of_a_turn", &server) else { return };
    let _gateway = builder.start();
    let guest = GUESTS[0];
    server.say(guest, "ask");
    let said = server.await_said(guest, "a question", |said| said.len() == 1);
    assert_eq!(said[0].buttons.len(), 2);
    server.say(guest, "/stop");
    let said = server.await_said(guest, "the end", |said| said.len() == 3 && said[0].buttons.is_empty());
    assert_eq!(said[2].text, "Stopped.");
}
