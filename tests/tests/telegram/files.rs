//! Files that an agent hands out: each a message behind the text, once, whatever goes wrong on the way.

use super::{GUESTS, Said, bot_api, gateway_with_token};
use evergate_tests::PATIENCE;
use evergate_tests::bot_api::operator::{BotApi, TOKEN};
use evergate_tests::gateway::Builder;
use serde_json::json;

/// A gateway whose agent runs this script; it finds its prompt in `$prompt`.
fn gateway(server: &BotApi, script: &str) -> Builder {
    let script = format!("prompt=$(cat)\ncd \"$EVERGATE_OUTBOX\"\n{script}");
    gateway_with_token(server, TOKEN, "").command_agent(&script, "")
}

/// What was said, in short: the text, or how a file was sent with its name and its beginning.
fn told(said: &[Said]) -> Vec<String> {
    let one = |said: &Said| match &said.file {
        Some(name) => format!("{} {name} {}{}", said.content.0, said.content.2.trim_end(), said.text),
        None => said.text.clone(),
    };
    said.iter().map(one).collect()
}

const TWO_FILES: &str =
    "echo \"about $prompt\"; echo pixels > b.png; echo words > c.txt; head -c 3000000 /dev/zero > a.bin";

#[test]
fn a_picture_is_shown_as_one_and_anything_else_is_a_document() {
    let server = bot_api();
    let _gateway = gateway(&server, TWO_FILES).start();
    let asked = server.say(GUESTS[0], "sea");
    let said = server.await_said(GUESTS[0], "text and files", |said| said.len() == 4);
    let told = told(&said);
    assert_eq!(said[1].content.1, 3_000_000, "a large one is whole");
    assert_eq!((told[0].as_str(), said[1].file.as_deref()), ("about sea", Some("a.bin")));
    assert_eq!(told[2..], ["photo b.png pixels", "document c.txt words"]);
    assert_eq!((said[0].reply_to, said[1].reply_to), (Some(asked), None));
}

#[test]
fn a_file_alone_is_an_answer_and_stays_in_its_topic() {
    let server = bot_api();
    let _gateway = gateway(&server, "echo 1 > only.txt").start();
    let message = json!({"chat": -77, "from": GUESTS[0], "thread": 5, "text": "a file"});
    let asked = server.order("/message", &message)["message_id"].as_i64();
    let said = server.await_said(-77, "the file", |said| !said.is_empty());
    assert_eq!(told(&said), ["document only.txt 1"]);
    assert_eq!((said[0].thread, said[0].reply_to), (Some(5), asked));
}

#[test]
fn a_file_whose_sending_was_cut_is_sent_again_with_a_word_and_nothing_before_it_is() {
    let server = bot_api();
    let _gateway = gateway(&server, "echo look; echo pixels > b.png; echo words > c.txt").start();
    server.fault(&json!({"kind": "lose_answer", "method": "sendDocument"}));
    server.say(GUESTS[0], "sea");
    let said = server.await_said(GUESTS[0], "the repetition", |said| said.len() == 4);
    let words = "document c.txt words";
    assert_eq!(told(&said), ["look", "photo b.png pixels", words, &format!("{words}(possibly sent twice)")]);
}

#[test]
fn a_picture_that_the_server_cannot_show_is_a_document_and_one_that_it_does_not_take_is_said() {
    let server = bot_api();
    let _gateway = gateway(&server, "echo pixels > b.png").start();
    server.fault(&json!({"kind": "refuse", "method": "sendPhoto"}));
    server.say(GUESTS[0], "one");
    let said = server.await_said(GUESTS[0], "a document", |said| said.len() == 1);
    assert_eq!(told(&said), ["document b.png pixels"]);
    server.fault(&json!({"kind": "refuse", "method": "sendPhoto"}));
    server.fault(&json!({"kind": "refuse", "method": "sendDocument"}));
    server.say(GUESTS[0], "two");
    let said = server.await_said(GUESTS[0], "a line", |said| said.len() == 2);
    assert_eq!(said[1].text, "[b.png was left out: the server does not take it]");
}

#[test]
fn files_that_are_owed_at_a_death_are_sent_by_the_next_generation() {
    let server = bot_api();
    let gateway = gateway(&server, "echo look; echo words > c.txt").start();
    server.fault(&json!({"kind": "slow_down", "method": "sendDocument", "retry_after": 3}));
    server.say(GUESTS[0], "sea");
    server.await_said(GUESTS[0], "the text", |said| said.len() == 1);
    gateway.wait_for("the refusal", evergate_tests::PATIENCE, || {
        server.calls("sendDocument").iter().any(|call| call.2 == 429).then_some(())
    });
    gateway.restart_process();
    let said = server.await_said(GUESTS[0], "the file", |said| said.iter().any(|said| said.file.is_some()));
    // That the text was there is known; that the file was not, nobody had the time to write down.
    let told = told(&said);
    assert!(told.len() == 2 && told[0] == "look" && told[1].starts_with("document c.txt words"), "{told:?}");
}

#[test]
fn a_voice_message_and_a_document_are_files_that_outlive_a_kill_and_go_when_they_are_old() {
    let server = bot_api();
    let gateway = super::gateway(&server, super::QUICK).start();
    let guest = GUESTS[0];
    server.say(guest, "take 3s first");
    let voice = json!({"kind": "voice", "content": "sounds"});
    server.order("/message", &json!({"chat": guest, "file": voice}));
    let list = json!({"kind": "document", "name": "list.csv", "mime_type": "text/csv", "content": "a,b"});
    server.order("/message", &json!({"chat": guest, "text": "sort this", "file": list}));
    gateway.wait_for("both to wait for their turns", PATIENCE, || {
        gateway.try_status().filter(|status| status["queued"] == 2).map(drop)
    });
    gateway.restart_process();
    let answers = |said: &[Said]| -> Vec<Said> {
        said.iter().filter(|said| said.text.starts_with("You said")).cloned().collect()
    };
    let said = answers(&server.await_said(guest, "three answers", |said| answers(said).len() == 3));
    let file = |text: &str, kind: &str| {
        let path = text.split("[file: ").nth(1).and_then(|rest| rest.split(&format!(" ({kind})]")).next());
        std::path::PathBuf::from(path.unwrap_or_else(|| panic!("path and type are given to the agent: {text}")))
    };
    let files = [file(&said[1].text, "audio/ogg"), file(&said[2].text, "text/csv")];
    let contents = files.each_ref().map(|path| std::fs::read_to_string(path).expect("it is there"));
    assert_eq!(contents, ["sounds", "a,b"]);
    assert!(said[2].text.starts_with("You said: sort this"), "{}", said[2].text);
    gateway.await_rest(PATIENCE);
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 24 * 3600);
    std::fs::File::options().write(true).open(&files[0]).and_then(|old| old.set_modified(then)).expect("it is ours");
    gateway.restart_process();
    gateway.wait_for("the old file to go", PATIENCE, || (!files[0].exists()).then_some(()));
    assert!(files[1].exists(), "a young one stays");
}

/// Trouble that passes holds a message up and takes nothing from it; a file that the server has no more is told of.
#[test]
fn a_file_that_cannot_be_had_for_a_while_is_waited_for() {
    let server = bot_api();
    let gateway = super::gateway(&server, super::QUICK).start();
    let guest = GUESTS[0];
    server.fault(&json!({"kind": "slow_down", "method": "getFile", "times": 3}));
    server.fault(&json!({"kind": "cut_before", "method": "getFile", "times": 2}));
    server.fault(&json!({"kind": "broken", "method": "getFile", "times": 2}));
    let list = |name: &str| json!({"kind": "document", "name": name, "mime_type": "text/csv", "content": "a,b"});
    server.order("/message", &json!({"chat": guest, "text": "sort this", "file": list("list.csv")}));
    super::await_health(&gateway, "waiting", "a file that came with a message cannot be had yet");
    let said = server.await_said(guest, "an answer", |said| said.len() == 1);
    assert!(said[0].text.contains("list.csv (text/csv)]"), "{}", said[0].text);
    assert!(!said[0].text.contains("left out"), "{}", said[0].text);
    server.fault(&json!({"kind": "refuse", "method": "getFile"}));
    server.order("/message", &json!({"chat": guest, "text": "and this", "file": list("more.csv")}));
    let said = server.await_said(guest, "another answer", |said| said.len() == 2);
    assert!(said[1].text.contains("[a file, more.csv, was left out: "), "{}", said[1].text);
}
