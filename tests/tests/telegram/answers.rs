//! What people see: answers, commands, topics, files, an answer that grows, and who gets none.

use super::{GUESTS, OPERATOR, QUICK, bot_api, gateway, texts};
use evergate_tests::eventually;
use serde_json::json;
use std::time::Duration;

#[test]
fn a_message_is_answered_and_a_command_is_carried_out() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).start();
    let asked = server.say(GUESTS[0], "hello");
    let said = server.await_said(GUESTS[0], "an answer", |said| !said.is_empty());
    assert_eq!(texts(&said), ["You said: hello"]);
    assert_eq!(said[0].reply_to, Some(asked), "it is seen what it answers");
    server.say(GUESTS[0], "/help@the_bot");
    let said = server.await_said(GUESTS[0], "help", |said| said.len() == 2);
    assert!(said[1].text.contains("/restart"), "{said:?}");
    server.say(GUESTS[0], "/restart");
    let said = server.await_said(GUESTS[0], "a refusal", |said| said.len() == 3);
    assert!(said[2].text.to_lowercase().contains("operator"), "a guest restarts nothing: {said:?}");
    let commands = eventually(Duration::from_secs(10), || {
        let commands = server.order("/commands", &json!({}));
        commands.as_array().is_some_and(|commands| !commands.is_empty()).then_some(commands)
    });
    let commands = commands.expect("the commands are registered").to_string();
    assert!(commands.contains("\"restart\"") && commands.contains("\"new\""), "{commands}");
    assert_eq!(gateway.generation(), 1);
}

#[test]
fn a_topic_is_a_conversation_of_its_own_and_its_answers_stay_in_it() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).start();
    let say = |thread: Option<i64>, text: &str| {
        let id = server.order("/message", &json!({"chat": -77, "from": GUESTS[0], "thread": thread, "text": text}));
        id["message_id"].as_i64()
    };
    let (one, two, none) = (say(Some(5), "in five"), say(Some(6), "in six"), say(None, "outside"));
    let said = server.await_said(-77, "three answers", |said| said.len() == 3);
    for (thread, asked, text) in [(Some(5), one, "in five"), (Some(6), two, "in six"), (None, none, "outside")] {
        let answer = said.iter().find(|said| said.text == format!("You said: {text}")).expect("each is answered");
        assert_eq!((answer.thread, answer.reply_to), (thread, asked), "{text}");
    }
    let sessions = String::from_utf8_lossy(&gateway.cli(&["sessions"]).stdout).into_owned();
    assert!(sessions.contains("telegram:-77:5") && sessions.contains("telegram:-77:6"), "{sessions}");
}

#[test]
fn who_says_something_while_an_answer_runs_is_told_what_becomes_of_it_once_for_all_that_wait() {
    let server = bot_api();
    let _gateway = gateway(&server, QUICK).start();
    for (chat, policy, word) in
        [(GUESTS[0], "queue", "waits for its turn"), (GUESTS[1], "collect", "answered together")]
    {
        server.say(chat, &format!("/busy {policy}"));
        server.await_said(chat, "the policy", |said| said.len() == 1);
        server.say(chat, "take 8s one two three four");
        server.await_said(chat, "the running answer", |said| said.len() == 2);
        let second = server.say(chat, "second");
        server.say(chat, "third");
        let said = server.await_said(chat, "the last answer", |said| {
            said.iter().any(|said| said.text.starts_with("You said") && said.text.ends_with("third"))
        });
        let told: Vec<_> = said.iter().filter(|said| said.text.starts_with("Noted")).collect();
        assert!(told.len() == 1 && told[0].text.contains(word), "{policy}: {said:?}");
        assert_eq!(told[0].reply_to, Some(second), "{policy}: it is seen what it is about");
    }
}

#[test]
fn strangers_get_nothing_or_one_polite_line() {
    let server = bot_api();
    let gateway = gateway(&server, &format!("stranger_reply = 'This bot is private.'\n{QUICK}")).start();
    server.say(666, "let me in");
    server.say(666, "/restart");
    server.say(OPERATOR, "hello");
    server.await_said(OPERATOR, "an answer", |said| said.len() == 1);
    assert_eq!(texts(&server.said(666)), ["This bot is private."]);
    let log = gateway.log();
    assert!(log.contains("666"), "the operator reads whom to allow");
    assert!(!log.contains("a-token-that-only"), "the token is in no log");
    assert!(!gateway.cli(&["config"]).stdout.windows(12).any(|bytes| bytes == b"a-token-that"));
}

#[test]
fn a_long_answer_comes_in_parts_and_a_growing_one_is_one_message() {
    let server = bot_api();
    let _gateway = gateway(&server, QUICK).start();
    let long: Vec<_> = (0..1200).map(|number| format!("word{number}")).collect();
    server.say(GUESTS[0], &long.join(" "));
    let said = server.await_said(GUESTS[0], "all parts", |said| said.iter().any(|said| said.text.contains("word1199")));
    assert!(said.len() >= 3, "{} parts", said.len());
    let words: Vec<_> = said.iter().flat_map(|said| said.text.split_whitespace()).skip(2).collect();
    assert_eq!(words, long, "no word is broken, lost or doubled");

    server.say(GUESTS[1], "take 5s one two three four five six seven eight nine ten");
    let full = "You said: take 5s one two three four five six seven eight nine ten";
    let said = server.await_said(GUESTS[1], "the whole answer", |said| said.iter().any(|said| said.text == full));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].reply_to.is_some(), "{said:?}");
    assert!((2..=6).contains(&said[0].edits.len()), "changed at a decent rate: {said:?}");
    for pair in said[0].edits.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 900, "more than one change a second: {said:?}");
        assert!(pair[1].1.starts_with(&pair[0].1), "it only grows: {said:?}");
    }
    let actions = server.order("/chat", &json!({"chat": GUESTS[1]}))["actions"].as_array().map_or(0, Vec::len);
    assert!((1..=3).contains(&actions), "it is seen that something is being written: {actions}");
}

#[test]
fn a_file_arrives_in_the_state_directory_and_a_pressed_button_speaks() {
    let server = bot_api();
    let gateway = gateway(&server, &format!("{QUICK}\n[files]\nlimit = 1000")).start();
    let guest = GUESTS[0];
    server.order("/message", &json!({"chat": guest, "text": "look", "file": {"kind": "photo", "content": "pixels"}}));
    let said = server.await_said(guest, "an answer", |said| said.len() == 1);
    let path = said[0].text.split("[file: ").nth(1).and_then(|rest| rest.split(" (image/jpeg)").next());
    let path = path.unwrap_or_else(|| panic!("path and type are given to the agent: {said:?}"));
    assert!(path.starts_with(&gateway.state_dir().display().to_string()), "{path}");
    assert_eq!(std::fs::read_to_string(path).expect("it is there"), "pixels");
    let large = json!({"kind": "document", "name": "large.bin", "size": 5000});
    server.order("/message", &json!({"chat": guest, "text": "and this", "file": large}));
    let said = server.await_said(guest, "an answer", |said| said.len() == 2);
    assert!(said[1].text.contains("large.bin, was left out"), "{said:?}");
    let liar = json!({"kind": "document", "name": "liar.bin", "size": 5000, "announced": 10});
    server.order("/message", &json!({"chat": GUESTS[1], "text": "and that", "file": liar}));
    let said_there = server.await_said(GUESTS[1], "an answer", |said| said.len() == 1);
    assert!(said_there[0].text.contains("liar.bin, was left out"), "{said_there:?}");
    let kept: Vec<_> = std::fs::read_dir(gateway.state_dir().join("files/telegram")).expect("it is there").collect();
    assert_eq!(kept.len(), 1, "nothing is left of those that are too large: {kept:?}");
    server.order("/callback", &json!({"chat": guest, "message_id": said[0].message_id, "data": "yes please"}));
    let said = server.await_said(guest, "an answer", |said| said.len() == 3);
    assert_eq!(said[2].text, "You said: yes please");
    assert_eq!(server.calls("answerCallbackQuery").len(), 1);
}

#[test]
fn unknown_and_broken_updates_are_passed_over() {
    let server = bot_api();
    let _gateway = gateway(&server, QUICK).start();
    server.order("/update", &json!({"brand_new_kind": {"x": [1, 2]}}));
    server.order("/update", &json!({"message": {"message_id": "seventeen", "chat": []}}));
    server.order("/update", &json!({"message": 5}));
    server.order("/message", &json!({"chat": GUESTS[0], "text": "changed", "edited": true}));
    server.fault(&json!({"kind": "garble", "method": "getUpdates"}));
    server.say(GUESTS[0], "still there?");
    let said = server.await_said(GUESTS[0], "an answer", |said| !said.is_empty());
    assert_eq!(texts(&said), ["You said: still there?"]);
}

#[test]
fn nothing_is_kept_of_an_answer_that_ended_however_it_ended() {
    let server = bot_api();
    let script = "read -r prompt; printf 'one two'; sleep 3; case $prompt in *well*) exit 0;; *) exit 1;; esac";
    let gateway = gateway(&server, "").command_agent(script, "").start();
    for (number, (prompt, words)) in
        [("end well", "one two"), ("fail", "no answer"), ("be stopped", "stop")].into_iter().enumerate()
    {
        let chat = GUESTS[number % 2];
        let before = server.said(chat).len();
        server.say(chat, prompt);
        server.await_said(chat, "a draft", |said| said.len() > before);
        if prompt.contains("stopped") {
            server.say(chat, "/stop");
        }
        let told = |said: &[super::Said]| said[before..].iter().any(|said| said.text.to_lowercase().contains(words));
        server.await_said(chat, words, told);
    }
    gateway.await_rest(Duration::from_secs(20));
    // The row goes a moment after the delivery.
    std::thread::sleep(Duration::from_millis(300));
    gateway.kill();
    let kept = gateway.kept_by("telegram");
    assert!(!kept.is_empty(), "the adapter keeps its own name, at least");
    assert!(kept.keys().all(|key| !key.starts_with("turn.") && !key.starts_with("delivery.")), "{kept:?}");
}
