//! Files that an agent hands out on the local platform: durable with the answer, and there for whoever has the token.

use evergate_tests::PATIENCE;
use evergate_tests::events::Event;
use evergate_tests::gateway::Gateway;
use evergate_tests::http::Client;
use serde_json::Value;

/// The agent hands out a page and a secret of its neighbour's.
const SCRIPT: &str = "cat > /dev/null; echo here; cd \"$EVERGATE_OUTBOX\"; echo '<b>page</b>' > page.html; \
                      ln -s \"$EVERGATE_STATE_DIR/token\" token; echo 1 > .hidden";

fn asked(gateway: &Gateway) -> Event {
    let message = gateway.send("main", "a file, please", "m1");
    gateway.await_reply("main", message, PATIENCE)
}

#[test]
fn a_file_goes_with_the_answer_outlives_a_kill_and_needs_the_token() {
    let gateway = Gateway::builder().command_agent(SCRIPT, "").start();
    let reply = asked(&gateway);
    assert_eq!(reply.text(), "here\n\n[token was left out: it is no plain file]");
    let files = reply.data["files"].as_array().expect("files are told").clone();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!((files[0]["name"].as_str(), files[0]["media_type"].as_str()), (Some("page.html"), Some("text/html")));
    gateway.restart_process();
    gateway.await_ready();
    let path = format!("/v1/files/{}/0", reply.data["turn"]);
    let answer = gateway.client().get(&path).expect("the gateway serves");
    assert_eq!((answer.status, answer.text.as_str()), (200, "<b>page</b>\n"));
    assert_eq!(Client::new(gateway.address(), None).get(&path).expect("it answers").status, 401);
    for (absent, status) in [("/v1/files/1/1", 404), ("/v1/files/77/0", 404), ("/v1/files/1/..%2Ftoken", 400)] {
        assert_eq!(gateway.client().get(absent).expect("it answers").status, status, "{absent}");
    }
    std::fs::remove_file(files[0]["path"].as_str().expect("a path")).expect("it is there");
    let gone = gateway.client().get(&path).expect("it answers");
    assert_eq!((gone.status, gone.error().contains("files.age")), (410, true));
}

#[test]
fn the_command_line_says_where_the_file_is() {
    let gateway = Gateway::builder().command_agent(SCRIPT, "").start();
    let sent = gateway.cli(&["send", "a file, please"]);
    let said = String::from_utf8_lossy(&sent.stdout).into_owned();
    let path = said.split("[file: ").nth(1).and_then(|rest| rest.split(" (text/html)]").next());
    assert_eq!(std::fs::read_to_string(path.unwrap_or(&said)).ok().as_deref(), Some("<b>page</b>\n"), "{said}");
}

#[test]
fn old_files_go_with_a_start_and_a_young_one_stays() {
    let gateway = Gateway::builder().command_agent(SCRIPT, "").start();
    let file = |reply: &Event| reply.data["files"][0]["path"].as_str().map(std::path::PathBuf::from).expect("a path");
    let old = file(&asked(&gateway));
    let message = gateway.send("main", "another", "m2");
    let young = file(&gateway.await_reply("main", message, PATIENCE));
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 24 * 3600);
    std::fs::File::options().write(true).open(&old).and_then(|old| old.set_modified(then)).expect("it is ours");
    gateway.restart_process();
    gateway.wait_for("the old file to go", PATIENCE, || (!old.exists()).then_some(()));
    assert!(young.exists());
    assert_ne!(gateway.status(), Value::Null);
}
