//! A server that refuses, slows down, vanishes or hides what it has done.

use super::{GUESTS, OPERATOR, QUICK, await_health, bot_api, gateway, gateway_with_token, health, texts};
use evergate_tests::bot_api::operator::TOKEN;
use evergate_tests::chat::Person;
use evergate_tests::gateway::Gateway;
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn a_wrong_token_is_told_once_and_the_rest_serves() {
    let server = bot_api();
    let gateway = gateway_with_token(&server, "4242:wrong", QUICK).start();
    await_health(&gateway, "parked", "token");
    let shown = String::from_utf8_lossy(&gateway.cli(&["status"]).stdout).into_owned();
    assert!(shown.contains("\nplatform     telegram parked since 20"), "{shown}");
    let answer = Person::new(&gateway, "main").say("hello", Instant::now() + Duration::from_secs(20));
    assert!(answer.is("reply"));
    let log = gateway.log();
    assert_eq!(log.matches("@BotFather").count(), 1, "{log}");
    assert!(!log.contains("4242:wrong"), "the token is in no log");
    assert!(server.calls("getMe").len() + server.calls("getUpdates").len() <= 1, "it does not knock again");
}

#[test]
fn a_token_in_the_environment_is_as_good_as_one_in_a_file_and_stands_in_no_log() {
    let server = bot_api();
    let config = format!(
        "[telegram]\ntoken_env = \"THE_TOKEN\"\napi_base = {:?}\nallowed_users = {GUESTS:?}\n{QUICK}",
        server.api_base()
    );
    let gateway = Gateway::builder().config(&config).env("THE_TOKEN", TOKEN).start();
    server.say(GUESTS[0], "hello");
    server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    assert!(!gateway.log().contains(TOKEN), "the token is logged");
}

#[test]
fn a_token_that_is_revoked_in_mid_run_parks_the_platform_and_the_rest_serves() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).start();
    server.say(GUESTS[0], "hello");
    server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    server.order("/settings", &json!({"revoked": true}));
    await_health(&gateway, "parked", "revoked");
    Person::new(&gateway, "main").say("hello", Instant::now() + Duration::from_secs(20));
    server.order("/settings", &json!({"revoked": false}));
    server.say(GUESTS[0], "back?");
    gateway.restart_process();
    let said = server.await_said(GUESTS[0], "an answer after a restart", |said| said.len() == 2);
    assert_eq!(said[1].text, "You said: back?");
}

#[test]
fn a_conflict_with_an_old_poll_is_waited_out_visibly() {
    let server = bot_api();
    server.order("/settings", &json!({"loser": "newer", "hold_vanished_ms": 6000}));
    let gateway = gateway(&server, QUICK).start();
    server.say(GUESTS[0], "one");
    server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    // The server goes on to hold the poll of the one that dies here.
    gateway.restart_process();
    await_health(&gateway, "waiting", "somebody else polls");
    server.say(GUESTS[0], "two");
    let said = server.await_said(GUESTS[0], "an answer", |said| said.len() == 2);
    assert_eq!(texts(&said), ["You said: one", "You said: two"]);
    await_health(&gateway, "up", "");
    let account = server.order("/account", &json!({}));
    assert!(account["conflicts"].as_u64().is_some_and(|conflicts| (1..=6).contains(&conflicts)), "{account}");
    assert_eq!(account["overlaps"], 0, "never two polls of ours at once");
}

#[test]
fn two_gateways_with_one_token_say_so() {
    let server = bot_api();
    let first = gateway(&server, QUICK).start();
    await_health(&first, "up", "");
    let second = gateway(&server, QUICK).start();
    await_health(&first, "waiting", "another gateway");
    drop(second);
    await_health(&first, "up", "");
    server.say(GUESTS[0], "alone again");
    server.await_said(GUESTS[0], "an answer", |said| texts(said).contains(&"You said: alone again"));
}

#[test]
fn too_many_requests_are_obeyed_in_their_chat_and_hold_up_no_other() {
    let server = bot_api();
    let _gateway = gateway(&server, QUICK).start();
    server.fault(&json!({"kind": "slow_down", "method": "sendMessage", "chat": GUESTS[0], "retry_after": 3}));
    server.say(GUESTS[0], "patience");
    server.await_said(GUESTS[0], "the refusal", |_| server.calls("sendMessage").iter().any(|call| call.2 == 429));
    server.say(GUESTS[1], "at once");
    let other = server.await_said(GUESTS[1], "an answer", |said| said.len() == 1);
    let said = server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    let calls = server.calls("sendMessage");
    let refused = calls.iter().find(|call| call.2 == 429).expect("it was refused once").0;
    assert!(said[0].at_ms >= refused + 2900, "it came back too early: {calls:?}");
    assert!(other[0].at_ms < refused + 2900, "the other chat waited along: {calls:?}");
}

#[test]
fn what_is_said_quickly_in_one_chat_keeps_its_order_and_its_pace() {
    let server = bot_api();
    let _gateway = gateway(&server, QUICK).start();
    for number in 0..4 {
        server.say(GUESTS[0], &format!("word {number}"));
    }
    let all = |said: &[super::Said]| {
        (0..4).all(|number| said.iter().any(|said| said.text.contains(&format!("word {number}"))))
    };
    let said = server.await_said(GUESTS[0], "all answers", all);
    for pair in said.windows(2) {
        assert!(pair[1].at_ms >= pair[0].at_ms + 900, "more than one message a second: {said:?}");
    }
}

#[test]
fn the_server_goes_away_and_comes_back() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).start();
    server.say(GUESTS[0], "before");
    server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    server.order("/down", &json!({"ms": 3000}));
    server.say(GUESTS[0], "meanwhile");
    await_health(&gateway, "waiting", "");
    let said = server.await_said(GUESTS[0], "an answer", |said| said.len() == 2);
    assert_eq!(texts(&said), ["You said: before", "You said: meanwhile"]);
    await_health(&gateway, "up", "");
}

#[test]
fn an_answer_that_may_have_arrived_is_said_again_with_a_word_about_that() {
    let server = bot_api();
    let _gateway = gateway(&server, QUICK).start();
    server.fault(&json!({"kind": "lose_answer", "method": "sendMessage"}));
    server.say(GUESTS[0], "hello");
    let said = server.await_said(GUESTS[0], "the repetition", |said| said.len() == 2);
    assert_eq!(texts(&said), ["You said: hello", "(possibly sent twice)\nYou said: hello"]);
}

#[test]
fn an_answer_that_may_have_arrived_is_not_said_again_where_it_is_to_be_dropped_and_a_word_says_so() {
    let server = bot_api();
    let config = format!("{QUICK}\n[delivery]\nuncertain = \"drop\"");
    let gateway = gateway(&server, &config).start();
    server.fault(&json!({"kind": "lose_answer", "method": "sendMessage"}));
    server.say(GUESTS[0], "hello");
    server.await_said(GUESTS[0], "the word", |said| said.len() == 2);
    gateway.restart_process();
    server.say(GUESTS[0], "and now");
    let said = server.await_said(GUESTS[0], "the next answer", |said| said.len() == 3);
    assert_eq!((said[0].text.as_str(), said[2].text.as_str()), ("You said: hello", "You said: and now"));
    assert!(said[1].text.starts_with("An answer may be missing"), "{said:?}");
}

#[test]
fn only_the_part_that_may_have_arrived_is_marked() {
    let server = bot_api();
    let _gateway = gateway(&server, QUICK).start();
    let words: Vec<_> = (0..700).map(|number| format!("word{number}")).collect();
    server.say(GUESTS[0], &words.join(" "));
    server.await_said(GUESTS[0], "the first part", |said| said.len() == 1);
    server.fault(&json!({"kind": "lose_answer", "method": "sendMessage"}));
    let said = server.await_said(GUESTS[0], "the repetition", |said| said.len() == 3);
    let marked: Vec<_> = said.iter().map(|said| said.text.starts_with("(possibly sent twice)")).collect();
    assert_eq!(marked, [false, false, true]);
    assert!(said[2].text.ends_with(&said[1].text), "{said:?}");
}

#[test]
fn a_send_that_never_left_is_repeated_in_silence() {
    let server = bot_api();
    let _gateway = gateway(&server, QUICK).start();
    server.fault(&json!({"kind": "slow_down", "method": "sendMessage", "retry_after": 1}));
    server.say(GUESTS[0], "hello");
    let said = server.await_said(GUESTS[0], "an answer", |said| !said.is_empty());
    assert_eq!(texts(&said), ["You said: hello"]);
}

#[test]
fn a_lost_answer_to_a_change_costs_nothing() {
    let server = bot_api();
    let _gateway = gateway(&server, QUICK).start();
    server.say(GUESTS[0], "take 4s one two three four five six");
    server.await_said(GUESTS[0], "a draft", |said| said.len() == 1);
    server.fault(&json!({"kind": "lose_answer", "method": "editMessageText", "times": 2}));
    let full = "You said: take 4s one two three four five six";
    let said = server.await_said(GUESTS[0], "the whole answer", |said| said.iter().any(|said| said.text == full));
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn a_person_who_blocked_the_bot_ends_the_delivery_and_the_others_are_served() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).start();
    server.order("/settings", &json!({"block": GUESTS[0]}));
    server.say(GUESTS[0], "hello?");
    server.say(OPERATOR, "hello");
    server.await_said(OPERATOR, "an answer", |said| said.len() == 1);
    gateway.wait_for("the end of the delivery", evergate_tests::PATIENCE, || {
        gateway.log().contains("blocked by the user").then_some(())
    });
    gateway.await_rest(Duration::from_secs(10));
    assert_eq!(server.calls("sendMessage").iter().filter(|call| call.2 == 403).count(), 1, "it is not tried again");
    let journal = String::from_utf8_lossy(&gateway.cli(&["journal", "dump"]).stdout).into_owned();
    assert_eq!(journal.matches("\"rejected\"").count(), 1, "the end of the delivery is recorded");
    assert_eq!(health(&gateway).0, "up");
}

#[test]
fn a_message_that_was_taken_with_an_answer_that_is_no_json_is_not_said_again() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).start();
    server.fault(&json!({"kind": "garble", "method": "sendMessage"}));
    server.say(GUESTS[0], "hello");
    server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    gateway.await_rest(Duration::from_secs(20));
    server.say(GUESTS[0], "and now?");
    let said = server.await_said(GUESTS[0], "another", |said| said.len() == 2);
    assert_eq!(texts(&said), ["You said: hello", "You said: and now?"]);
}

#[test]
fn a_server_that_fails_may_have_done_it_all_the_same() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).start();
    server.fault(&json!({"kind": "broken", "method": "sendMessage"}));
    server.say(GUESTS[0], "hello");
    let said = server.await_said(GUESTS[0], "an answer", |said| !said.is_empty());
    assert_eq!(texts(&said), ["(possibly sent twice)\nYou said: hello"]);
    gateway.await_rest(Duration::from_secs(20));
}

#[test]
fn a_webhook_is_taken_away_without_dropping_what_waits() {
    let server = bot_api();
    let set = format!("{}/bot{TOKEN}/setWebhook?url=https://example.org/", server.api_base());
    let path = set.strip_prefix("http://").and_then(|set| set.split_once('/')).expect("it is a URL");
    let address = path.0.parse().expect("it is an address");
    let answer = evergate_tests::http::Client::new(address, None).get(&format!("/{}", path.1)).expect("it answers");
    assert_eq!(answer.status, 200);
    server.say(GUESTS[0], "before");
    let _gateway = gateway(&server, QUICK).start();
    server.await_said(GUESTS[0], "an answer", |said| texts(said) == ["You said: before"]);
}
