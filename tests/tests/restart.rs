//! Restarts of a working gateway: who is waited for, who is not, and that nobody's message or answer is lost or
//! doubled on the way from one generation to the next.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use evergate_tests::PATIENCE;
use evergate_tests::chat::EndOfTalk;
use evergate_tests::events::Event;
use evergate_tests::gateway::Gateway;
use evergate_tests::oracle::Words;
use evergate_tests::process::binary;
use serde_json::json;

/// The grace of the turn that asked, as configured below, and the two seconds that the rest of a restart may take.
const REQUESTER_BOUND: Duration = Duration::from_secs(2 + 2);

fn position(events: &[Event], what: &str, wanted: impl Fn(&Event) -> bool) -> usize {
    events.iter().position(wanted).unwrap_or_else(|| panic!("no {what} in {events:#?}"))
}

#[test]
fn a_restart_from_the_active_chat_does_not_wait_for_its_own_turn() {
    let drain = "[drain]\nbudget = \"30s\"\nrequester_grace = \"2s\"";
    let gateway = Gateway::builder().supervised(true).config(drain).start();
    let before = gateway.generation();
    let prompt = gateway.send("main", "take 60s and tell me a story", "story");
    let turn = gateway.await_running("main");

    let asked = Instant::now();
    gateway.send("main", "/restart", "restart");
    gateway.await_generation(before + 1);
    let took = asked.elapsed();
    assert!(took <= REQUESTER_BOUND, "the new generation was ready only after {took:?}");

    let reply = gateway.await_reply("main", prompt, Duration::from_secs(120));
    assert_eq!(reply.turn(), Some(turn), "the turn that was cut is the one that answers");
    assert_eq!(gateway.generation(), before + 1, "one restart is one generation");
    gateway.assert_answered_once(&[], Words::Echo);

    let log = gateway.complete_log("main");
    let accepted = position(&log, "notice about the request", |event| event.is("notice") && event.request().is_some());
    let request = log[accepted].request().expect("it was chosen for having one");
    let resumed = position(&log, "resumed turn", |event| event.is_turn("running") && event.data["resumed"] == true);
    assert_eq!(log[resumed].turn(), Some(turn));
    assert!(accepted < resumed, "the chat is told that the restart is accepted before it happens: {log:#?}");
    let told = log.iter().filter(|event| event.is("notice") && event.request() == Some(request)).count();
    assert_eq!(told, 2, "the chat is told that it is accepted, and once what became of it: {log:#?}");
    let outcome = gateway.outcome(request);
    assert_eq!(outcome["kind"], "restarted", "{outcome}");
    assert_eq!(outcome["generation"], before + 1, "{outcome}");
}

/// An agent that notes in its room that it is about to ask, asks for a restart under `condition` and waits for it.
fn agent_that_restarts(room: &Path, condition: &str) -> String {
    let (room, binary) = (room.display(), binary());
    format!(
        "prompt=$(cat)\nif {condition}; then\n: > '{room}/asking'\n'{}' restart --wait 60s > '{room}/restart.out' 2>&1\n\
         echo $? > '{room}/restart.status'\nfi\nprintf 'You said: %s' \"$prompt\"\n",
        binary.display()
    )
}

fn a_child_restarts_the_gateway(condition: &str) {
    let builder = Gateway::builder().supervised(true);
    let room = builder.room().to_owned();
    let script = agent_that_restarts(&room, condition);
    let drain = "[drain]\nbudget = \"30s\"\nrequester_grace = \"2s\"";
    let gateway = builder.config(drain).command_agent(&script, "").start();
    let before = gateway.generation();

    let prompt = gateway.send("main", "restart yourself", "order");
    gateway.wait_for("the agent to ask", PATIENCE, || room.join("asking").exists().then_some(()));
    let asked = Instant::now();
    gateway.await_generation(before + 1);
    let took = asked.elapsed();
    assert!(took <= REQUESTER_BOUND, "the new generation was ready only after {took:?}");

    gateway.await_reply("main", prompt, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(gateway.generation(), before + 1, "one restart is one generation");
}

#[test]
fn a_restart_from_inside_a_turn_does_not_wait_for_that_turn() {
    a_child_restarts_the_gateway("[ -z \"$EVERGATE_RESUME\" ]");
}

#[test]
fn a_resumed_turn_that_asks_for_its_restart_again_does_not_loop() {
    a_child_restarts_the_gateway("true");
}

#[test]
fn a_drain_lets_work_end_inside_its_budget_and_cuts_what_does_not() {
    let drain = "[drain]\nbudget = \"4s\"\ninterrupt_grace = \"1s\"";
    let gateway = Gateway::builder().supervised(true).config(drain).start();
    let before = gateway.generation();
    gateway.send("short", "take 2s for this", "short-1");
    gateway.send("long", "take 12s for that", "long-1");
    gateway.await_running("short");
    gateway.await_running("long");

    let asked = Instant::now();
    gateway.send("main", "/restart", "restart");
    gateway.await_generation(before + 1);
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(3), "the long turn had a right to the budget, the drain took {took:?}");
    assert!(took <= Duration::from_secs(4 + 1 + 4), "the drain has a budget of 4 s and took {took:?}");

    gateway.assert_answered_once(&[], Words::Echo);
    let short = gateway.complete_log("short");
    let disturbed = short.iter().any(|event| event.is_turn("interrupted") || event.data["resumed"] == true);
    assert!(!disturbed, "the short turn fits into the budget: {short:#?}");
    let long = gateway.complete_log("long");
    let starts = long.iter().filter(|event| event.is_turn("running")).count();
    assert_eq!(starts, 2, "the long turn is cut at the budget and resumed once: {long:#?}");
}

#[test]
fn a_restart_is_told_where_it_was_asked_for_and_where_it_cuts_an_answer_and_nowhere_else() {
    let config = "[drain]\nbudget = \"2s\"\ninterrupt_grace = \"1s\"\n[agent.demo]\nwords_per_second = 0";
    let gateway = Gateway::builder().supervised(true).config(config).start();
    let before = gateway.generation();
    for session in ["asks", "idle"] {
        let hello = gateway.send(session, "hello", &format!("{session}-1"));
        gateway.await_reply(session, hello, PATIENCE);
    }
    let long = gateway.send("cut", "take 6s for that", "cut-1");
    let turn = gateway.await_running("cut");
    gateway.send("asks", "/restart", "restart");
    gateway.await_phase("draining");
    gateway.send("asks", "/status", "status");
    gateway.await_generation(before + 1);
    gateway.await_reply("cut", long, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);

    let log = gateway.complete_log("cut");
    let told: Vec<&Event> = log.iter().filter(|event| event.is("notice")).collect();
    let words: Vec<&str> = told.iter().filter_map(|event| event.data["lifecycle"].as_str()).collect();
    assert_eq!((told.len(), words), (2, vec!["restarting", "back"]), "{log:#?}");
    assert!(told.iter().all(|event| event.turn() == Some(turn)), "{log:#?}");
    let place = |what: &str, wanted: &dyn Fn(&Event) -> bool| position(&log, what, wanted);
    let resumed = place("resumed turn", &|event| event.is_turn("running") && event.data["resumed"] == true);
    let (down, back) =
        (place("first word", &|event| event.id == told[0].id), place("second word", &|event| event.id == told[1].id));
    assert!(down < resumed && resumed < back && back < place("reply", &|event| event.is("reply")), "{log:#?}");

    let asked = gateway.complete_log("asks");
    let told: Vec<&str> = asked.iter().filter(|event| event.is("notice")).map(Event::text).collect();
    let [accepted, status, outcome] = told[..] else { panic!("{asked:#?}") };
    assert!(accepted.starts_with("Restart accepted") && outcome.starts_with("Restarted"), "{asked:#?}");
    // The word about the request may be under way as well.
    let waits = format!("The drain waits for: turn {turn} of session cut (until its 2 s budget ends), ");
    assert!(status.contains("draining. Running: 1.") && status.contains(&waits), "how far the drain is: {status}");
    assert!(status.ends_with("for 2 s at most.") || status.ends_with("for 1 s at most."), "for how long: {status}");
    let idle = gateway.complete_log("idle");
    assert_eq!(idle.iter().filter(|event| event.is("notice")).count(), 0, "{idle:#?}");
}

fn everything_sent_over_a_restart_is_answered(supervised: bool) {
    let config = "[drain]\nbudget = \"2s\"\ninterrupt_grace = \"1s\"\n[agent.demo]\nwords_per_second = 0";
    let gateway = Gateway::builder().supervised(supervised).config(config).start();
    let before = gateway.generation();
    gateway.send("busy", "take 6s of work", "busy-1");
    gateway.await_running("busy");

    let (over, accepted) = (AtomicBool::new(false), AtomicUsize::new(0));
    let await_more = |count: usize| {
        let goal = accepted.load(Ordering::Relaxed) + count;
        let what = format!("{count} more accepted messages");
        gateway.wait_for(&what, PATIENCE, || (accepted.load(Ordering::Relaxed) >= goal).then_some(()));
    };
    std::thread::scope(|scope| {
        let _end = EndOfTalk(&over);
        for number in 0..4 {
            let (gateway, over, accepted) = (&gateway, &over, &accepted);
            scope.spawn(move || talk_without_listening(gateway, &format!("talker-{number}"), over, accepted));
        }
        await_more(20);
        gateway.ask("restart", &json!({"reason": "a test"}));
        gateway.await_phase("draining");
        await_more(20);
        gateway.await_generation(before + 1);
        await_more(20);
    });
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(gateway.generation(), before + 1);
}

/// Sends on and on, each message twice with one id as a client does that has lost the first answer.
fn talk_without_listening(gateway: &Gateway, session: &str, over: &AtomicBool, accepted: &AtomicUsize) {
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let (text, id) = (format!("note {number}"), format!("{session}-{number}"));
        let message = gateway.send(session, &text, &id);
        assert_eq!(gateway.send(session, &text, &id), message, "a repeated id is the same message");
        accepted.fetch_add(1, Ordering::Relaxed);
        // The pace of a brisk talker; nothing is awaited here.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn everything_sent_through_drain_and_gap_is_answered_once_under_supervise() {
    everything_sent_over_a_restart_is_answered(true);
}

#[test]
fn everything_sent_through_drain_and_gap_is_answered_once_when_nobody_supervises() {
    everything_sent_over_a_restart_is_answered(false);
}

/// The agent has answered, and the disk takes its time over the commit that holds the answer.
#[test]
fn an_answer_that_was_produced_is_kept_by_a_forced_restart_and_not_produced_again() {
    let builder = Gateway::builder().supervised(true);
    let room = builder.room().display().to_string();
    let script = format!("cat; echo x >> '{room}/runs'\n");
    let gateway = builder.command_agent(&script, "").config("[debug]\nhooks = \"on\"").start();
    let before = gateway.generation();
    let runs = || std::fs::read_to_string(format!("{room}/runs")).unwrap_or_default().lines().count();
    for round in 1..=5 {
        let prompt = gateway.send("main", "what was that?", &round.to_string());
        gateway.wait_for("the agent to have answered", PATIENCE, || (runs() == round).then_some(()));
        gateway.freeze("journal", Duration::from_secs(1));
        let restarted = gateway.cli(&["restart", "--force"]);
        assert!(restarted.status.success(), "{}", String::from_utf8_lossy(&restarted.stderr));
        gateway.await_reply("main", prompt, PATIENCE);
        assert_eq!(runs(), round, "it is not asked again for what it has said");
    }
    assert_eq!(gateway.generation(), before + 5);
    gateway.assert_answered_once(&[], Words::Any);
}
