//! Agents that are missing, fail, print too much, print garbage or nothing for ever.

use evergate_tests::events::Event;
use evergate_tests::gateway::Gateway;
use evergate_tests::http::Client;
use evergate_tests::oracle::Words;
use evergate_tests::{PATIENCE, process};

use super::{GROWTH, PARK, assert_serves};

/// The events of a session up to the end of this message's turn: its reply, or its failure and a notice that tells why.
fn until_turn_ends(gateway: &Gateway, session: &str, message: u64) -> Vec<Event> {
    gateway.events(session, None, "end of the turn", |events| {
        let answered = events.iter().any(|event| event.is("reply") && event.messages().contains(&message));
        let failed = events.iter().any(|event| event.is_turn("failed"));
        answered || (failed && events.iter().any(|event| event.is("notice")))
    })
}

fn assert_failed(events: &[Event], telling: &str) {
    assert!(events.iter().any(|event| event.is_turn("failed")), "the turn fails: {events:#?}");
    assert!(!events.iter().any(|event| event.is("reply")), "a failed turn has no reply: {events:#?}");
    let told = events.iter().any(|event| event.is("notice") && event.text().contains(telling));
    assert!(told, "the chat is told of {telling:?}: {events:#?}");
}

#[test]
fn an_agent_program_that_is_missing_is_named() {
    let config = "[agent]\nkind = \"command\"\n[agent.command]\nargv = [\"/no/such/agent\", \"--now\"]";
    let gateway = Gateway::builder().config(config).spawn();
    let visitor = Client::new(gateway.address(), None);
    let ended = gateway.wait_for("ready or refused", PATIENCE, || match gateway.ended() {
        Some(status) => Some(Some(status)),
        None => visitor.get("/readyz").is_ok_and(|answer| answer.status == 200).then_some(None),
    });
    // Refusing at once is as clear as failing each turn; which of the two it is, is the gateway's business.
    if let Some(status) = ended {
        assert_eq!(status.code(), Some(PARK), "{}", gateway.log());
        assert!(gateway.log().contains("/no/such/agent"), "{}", gateway.log());
        return;
    }
    let message = gateway.send("main", "hello", "1");
    assert_failed(&until_turn_ends(&gateway, "main", message), "/no/such/agent");
    assert_eq!(gateway.status()["phase"], "serving");
}

/// An agent that does `misdeed` in the session `bad` and echoes in every other.
fn bad_agent(misdeed: &str, keys: &str) -> Gateway {
    let script = format!(
        "prompt=$(cat)\nif [ \"$EVERGATE_SESSION\" = bad ]; then {misdeed}; fi\nprintf 'You said: %s' \"$prompt\"\n"
    );
    Gateway::builder().command_agent(&script, keys).start()
}

#[test]
fn an_agent_that_fails_is_reported_with_the_end_of_its_stderr() {
    let gateway = bad_agent("echo 'the model has left' >&2; exit 3", "");
    let message = gateway.send("bad", "hello", "1");
    assert_failed(&until_turn_ends(&gateway, "bad", message), "the model has left");
    assert_serves(&gateway);
    gateway.assert_answered_once(&[message], Words::Echo);
}

#[test]
fn an_agent_that_prints_megabytes_is_cut_off() {
    const LARGEST: usize = 256 * 1024;
    let flood = "head -c 50000000 /dev/zero | tr '\\0' x; exit 0";
    let gateway = bad_agent(flood, &format!("max_reply_bytes = {LARGEST}"));
    let pid = gateway.pid();
    let before = process::resident_bytes(pid);
    let message = gateway.send("bad", "tell me everything", "1");
    let events = until_turn_ends(&gateway, "bad", message);
    assert_serves(&gateway);
    for reply in events.iter().filter(|event| event.is("reply")) {
        assert!(reply.text().len() <= LARGEST + 1024, "a reply of {} bytes", reply.text().len());
    }
    let grown = process::resident_bytes(pid).saturating_sub(before);
    assert!(grown < GROWTH, "it grew by {} MiB", grown >> 20);
    assert_eq!(gateway.pid(), pid);
}

#[test]
fn an_agent_that_prints_binary_garbage_ends_its_turn_like_any_other() {
    let gateway = bad_agent("head -c 100000 /dev/urandom; exit 0", "");
    let message = gateway.send("bad", "speak", "1");
    until_turn_ends(&gateway, "bad", message);
    assert_serves(&gateway);
    let log = gateway.complete_log("bad");
    let ends = log.iter().filter(|event| event.is_turn("answered") || event.is_turn("failed")).count();
    assert_eq!(ends, 1, "the turn ends once: {log:?}");
}

#[test]
fn an_agent_that_is_silent_for_ever_fails_its_turn_and_is_ended() {
    let gateway = bad_agent("sleep 3600", "silence = \"2s\"");
    let message = gateway.send("bad", "say something", "1");
    gateway.await_running("bad");
    assert_serves(&gateway);
    assert_failed(&until_turn_ends(&gateway, "bad", message), "");
    gateway.wait_for("the silent agent and its children to be gone", PATIENCE, || {
        (process::belonging_to(gateway.state_dir()) == [gateway.pid()]).then_some(())
    });
    gateway.assert_answered_once(&[message], Words::Echo);
}
