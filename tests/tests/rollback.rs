//! A program that shows only after it was started that it is no good: it dies, parks, hangs or crashes before it is stable. The
//! last one that was good takes its place, and who asked for the restart is told.

use std::fs;
use std::time::{Duration, Instant};

use evergate_tests::PATIENCE;
use evergate_tests::events::Event;
use evergate_tests::gateway::Gateway;
use evergate_tests::oracle::Words;
use serde_json::json;

/// A program that says it could take over, and then does this.
fn traitor(then: &str) -> Vec<u8> {
    let script = "#!/bin/sh\nfor word; do case $word in --check-takeover*) exit 0;; esac; done\n";
    format!("{script}{then}\n").into_bytes()
}

/// A supervised gateway whose program has proven itself.
fn proven() -> Gateway {
    let gateway = Gateway::builder().own_program().supervised(true).start();
    let kept = || fs::read_dir(gateway.state_dir().join("good")).is_ok_and(|mut folder| folder.next().is_some());
    gateway.wait_for("the copy of the good program", PATIENCE, || kept().then_some(()));
    gateway
}

/// Which program serves first after a restart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Installed,
    LastGood,
}

/// Everything that a chat has been told of the requests it made, but that they were accepted. Of a gateway at rest.
fn outcomes(gateway: &Gateway, session: &str) -> Vec<String> {
    gateway.await_rest(PATIENCE);
    let outcome = |event: &&Event| event.request().is_some() && !event.text().contains("accepted");
    gateway.complete_log(session).iter().filter(outcome).map(|event| event.text().to_owned()).collect()
}

/// Restarts, out of a chat, onto a program that does not prove itself: the last good one serves again, and says so everywhere. The
/// chat hears how its restart ended from whoever is the first to serve.
fn is_rolled_back(then: &str, why: &str, first: First) {
    let good = fs::read(evergate_tests::process::binary()).expect("the program was just built");
    let gateway = proven();
    let before = gateway.generation();
    let work = gateway.send("work", "take 4s of work", "work");
    gateway.await_running("work");
    gateway.install(&traitor(then));
    // Not by the command line, which gives up on a supervisor that takes a minute to come back.
    gateway.send("operator", "/restart force", "restart");
    // It is kept on a socket that nobody closes, and answered by who comes back.
    let meanwhile =
        gateway.send_before("visit", "are you there?", "meanwhile", Instant::now() + Duration::from_secs(100));
    let rolled_back = || gateway.try_status().filter(|status| status["rolled_back"].is_string());
    let status = gateway.wait_for("the last good program", Duration::from_secs(100), rolled_back);
    assert!(status["rolled_back"].as_str().is_some_and(|told| told.contains(why)), "{status}");
    let found = String::from_utf8_lossy(&gateway.cli(&["doctor"]).stdout).into_owned();
    assert!(found.contains("rolled back: ") && found.contains(why), "{found}");
    assert_eq!(status["on_disk"]["program"], "changed");
    gateway.await_generation(before + 1);
    gateway.await_reply("work", work, PATIENCE);
    gateway.await_reply("visit", meanwhile, PATIENCE);
    let hello = gateway.send("main", "hello", "hello");
    gateway.await_reply("main", hello, PATIENCE);
    for command in ["status", "generations"] {
        let shown = String::from_utf8_lossy(&gateway.cli(&[command]).stdout).into_owned();
        assert!(shown.contains("rolled back") && shown.contains(why), "{shown}");
    }
    assert!(gateway.log().contains("is rolled back"), "supervise says so");
    let outcomes = || outcomes(&gateway, "operator");
    let told = outcomes();
    let [told] = &told[..] else { panic!("one outcome, not {told:?}") };
    let is_told_why = told.contains("rolled back") && told.contains(why);
    assert!(told.starts_with("Restarted: ") && is_told_why == (first == First::LastGood), "{told}");

    gateway.install(&good);
    assert_eq!(gateway.cli(&["restart"]).status.code(), Some(0));
    let status = gateway.status();
    assert_eq!((&status["rolled_back"], &status["on_disk"]["program"]), (&json!(null), &json!("same")), "{status}");
    assert_eq!(outcomes(), [told.as_str()], "told once, and not of the restart that somebody else made");
    gateway.assert_answered_once(&[], Words::Echo);
}

/// Whoever waits for the new program hears that it is not the one that serves.
#[test]
fn who_restarts_onto_a_program_that_is_rolled_back_is_told_so() {
    let gateway = proven();
    gateway.install(&traitor("exit 3"));
    let restarted = gateway.cli(&["restart", "--wait", "100s"]);
    let said = String::from_utf8_lossy(&restarted.stdout).into_owned();
    let last = said.lines().last().unwrap_or_default();
    assert!(restarted.status.success(), "{said}{}", String::from_utf8_lossy(&restarted.stderr));
    assert!(last.starts_with("restarted: ") && last.contains("rolled back") && last.contains("died twice"), "{said}");
}

#[test]
fn a_program_that_dies_at_once_is_rolled_back() {
    is_rolled_back("exit 3", "died twice", First::LastGood);
}

#[test]
fn a_program_that_crashes_after_it_was_ready_is_rolled_back() {
    let real = evergate_tests::process::binary();
    let then = format!("(sleep 2; kill -9 $$) & exec '{}' \"$@\"", real.display());
    is_rolled_back(&then, "died twice", First::Installed);
}

#[test]
fn a_program_that_parks_is_rolled_back() {
    is_rolled_back("exit 78", "parked itself", First::LastGood);
}

#[test]
fn a_program_that_hangs_before_it_is_ready_is_rolled_back() {
    is_rolled_back("sleep 1000", "was not ready in time", First::LastGood);
}
