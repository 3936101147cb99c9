//! Requests about the life cycle that meet: redelivered, joined, upgraded, overruled, cancelled, made by signals. Each
//! requester gets exactly one outcome, and the generation changes as often as somebody really asked for it.

use std::time::{Duration, Instant};

use evergate_tests::PATIENCE;
use evergate_tests::events::Event;
use evergate_tests::gateway::Gateway;
use evergate_tests::oracle::Words;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// What a forced restart or stop may take here; the work it cuts short would take much longer.
const FORCED: Duration = Duration::from_secs(8);

/// How many notices of this log are about a request of the chat: one that accepts it, one with its outcome.
fn notices_about(log: &[Event], request: u64) -> usize {
    log.iter().filter(|event| event.is("notice") && event.request() == Some(request)).count()
}

/// Types `/restart` into a session and gives the number of the request that the chat was told.
fn restart_from_chat(gateway: &Gateway, session: &str, id: &str) -> u64 {
    let command = gateway.send(session, "/restart", id);
    let is_command = |event: &Event| event.is("message") && event.data["message"] == command;
    let answer = |events: &[Event]| {
        let place = events.iter().position(is_command)?;
        events[place..].iter().filter(|event| event.is("notice")).find_map(Event::request)
    };
    let events =
        gateway.events(session, None, "notice that the restart is accepted", |events| answer(events).is_some());
    answer(&events).expect("the events end with it")
}

#[test]
fn a_redelivered_restart_restarts_once() {
    let gateway = Gateway::builder().supervised(true).start();
    let before = gateway.generation();
    for _ in 0..3 {
        gateway.send("main", "/restart", "once");
    }
    gateway.await_generation(before + 1);
    for _ in 3..10 {
        gateway.send("main", "/restart", "once");
    }
    let hello = gateway.send("main", "hello", "hello-1");
    gateway.await_reply("main", hello, PATIENCE);
    gateway.await_rest(PATIENCE);
    assert_eq!(gateway.generation(), before + 1, "ten deliveries of one message are one restart");

    gateway.send("main", "/restart", "another");
    gateway.await_generation(before + 2);
    let hello = gateway.send("main", "hello again", "hello-2");
    gateway.await_reply("main", hello, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(gateway.generation(), before + 2, "another message is another restart");
}

#[test]
fn a_stop_during_a_restarts_drain_overrules_it() {
    let drain = "[drain]\nbudget = \"3s\"\ninterrupt_grace = \"1s\"";
    let gateway = Gateway::builder().supervised(true).config(drain).start();
    gateway.send("work", "take 8s of work", "work-1");
    gateway.await_running("work");
    let restart = restart_from_chat(&gateway, "main", "restart");
    gateway.await_phase("draining");
    let stop = gateway.ask("stop", &json!({}));
    assert_eq!(gateway.exit_code(PATIENCE), 0, "a stop is final, for the supervisor too");

    gateway.restart_process();
    gateway.await_ready();
    assert_eq!(gateway.outcome(restart)["kind"], "overruled");
    assert_eq!(gateway.outcome(stop)["kind"], "stopped");
    gateway.assert_answered_once(&[], Words::Echo);
    let log = gateway.complete_log("main");
    assert_eq!(notices_about(&log, restart), 2, "accepted, and one outcome: {log:#?}");
}

#[test]
fn two_restarts_at_once_are_one_and_both_chats_hear_of_it() {
    let gateway = Gateway::builder().supervised(true).config("[drain]\nbudget = \"20s\"").start();
    let before = gateway.generation();
    gateway.send("work", "take 3s of work", "work-1");
    gateway.await_running("work");
    let requests = std::thread::scope(|scope| {
        let chats =
            ["one", "two"].map(|session| (session, scope.spawn(|| restart_from_chat(&gateway, session, "again"))));
        chats.map(|(session, chat)| (session, chat.join().expect("the chat is told of its request")))
    });
    gateway.await_generation(before + 1);
    gateway.assert_answered_once(&[], Words::Echo);
    for (session, request) in requests {
        assert_eq!(gateway.outcome(request)["kind"], "restarted");
        let log = gateway.complete_log(session);
        assert_eq!(notices_about(&log, request), 2, "{session} hears that it is accepted, and one outcome: {log:#?}");
    }
    assert_eq!(gateway.generation(), before + 1);
}

#[test]
fn two_restarts_over_http_are_one_and_both_have_its_outcome() {
    let gateway = Gateway::builder().supervised(true).config("[drain]\nbudget = \"20s\"").start();
    let before = gateway.generation();
    gateway.send("work", "take 3s of work", "work-1");
    gateway.await_running("work");
    let requests = std::thread::scope(|scope| {
        let calls = [(); 2].map(|()| scope.spawn(|| gateway.ask("restart", &json!({}))));
        calls.map(|call| call.join().expect("the request is accepted"))
    });
    gateway.await_generation(before + 1);
    for request in requests {
        let outcome = gateway.outcome(request);
        assert_eq!(outcome["kind"], "restarted", "{outcome}");
        assert_eq!(outcome["generation"], before + 1, "{outcome}");
    }
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(gateway.generation(), before + 1);
}

/// Whoever asks once more, because nobody knows what became of the first time, asks the one that it asked then.
#[test]
fn a_request_that_is_meant_for_one_generation_restarts_no_other() {
    let gateway = Gateway::builder().supervised(true).start();
    let before = gateway.generation();
    let ask = |generation: &Value| {
        let body = json!({"mode": "graceful", "generation": generation});
        gateway.client().post("/v1/restart", &body).expect("a living gateway answers")
    };
    assert_eq!(ask(&json!(before)).status, 202);
    gateway.await_generation(before + 1);
    let meant_for_the_dead = ask(&json!(before));
    assert_eq!(meant_for_the_dead.status, 409, "{meant_for_the_dead:?}");
    meant_for_the_dead.error();
    assert_eq!(ask(&json!("the next")).status, 400);
    let asked_for = gateway.status()["requests"].as_array().expect("a list").len();
    assert_eq!((asked_for, gateway.generation()), (0, before + 1), "nothing more is asked for");
}

#[test]
fn force_shortens_a_drain_that_has_begun() {
    let gateway = Gateway::builder().supervised(true).config("[drain]\nbudget = \"60s\"").start();
    let before = gateway.generation();
    gateway.send("work", "take 15s of work", "work-1");
    gateway.await_running("work");
    let graceful = gateway.ask("restart", &json!({"mode": "graceful"}));
    gateway.await_phase("draining");

    let forced = Instant::now();
    let output = gateway.cli(&["restart", "--force", "--wait", "30s"]);
    let took = forced.elapsed();
    assert!(output.status.success(), "{output:?}");
    assert!(took < FORCED, "a forced restart took {took:?}");
    assert_eq!(gateway.await_ready(), before + 1, "force hastens the one restart, it is no second one");
    assert_eq!(gateway.outcome(graceful)["kind"], "restarted");
    gateway.assert_answered_once(&[], Words::Echo);
}

/// Whether a generation's recorded cause speaks of this signal.
fn is_recorded(gateway: &Gateway, signal: &str) -> bool {
    let answer = gateway.client().get("/v1/generations").expect("a ready gateway answers").json();
    let generations = answer["generations"].as_array().unwrap_or_else(|| panic!("no generations in {answer}"));
    generations.iter().any(|one| one["cause"].as_str().is_some_and(|cause| cause.contains(signal)))
}

#[test]
fn a_second_sigterm_shortens_the_drain_and_the_gateway_comes_back() {
    let gateway = Gateway::builder().supervised(true).config("[drain]\nbudget = \"60s\"").start();
    let before = gateway.generation();
    gateway.send("work", "take 15s of work", "work-1");
    gateway.await_running("work");
    gateway.signal(Signal::SIGTERM);
    gateway.await_phase("draining");

    let second = Instant::now();
    gateway.signal(Signal::SIGTERM);
    gateway.await_generation(before + 1);
    let took = second.elapsed();
    assert!(took < FORCED, "the second signal asks for haste, it took {took:?}");
    assert!(is_recorded(&gateway, "SIGTERM"), "the generation's end names its cause");
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(gateway.generation(), before + 1, "two signals are one restart");
}

#[test]
fn sigint_on_a_terminal_is_a_stop_and_a_second_one_hastens_it() {
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return evergate_tests::skipped("sigint_on_a_terminal_is_a_stop", "there is no program `script` here");
    }
    let gateway = Gateway::builder().on_a_terminal().config("[drain]\nbudget = \"60s\"").start();
    gateway.send("work", "take 15s of work", "work-1");
    gateway.await_running("work");
    gateway.signal(Signal::SIGINT);
    gateway.await_phase("draining");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.exit_code(FORCED), 0);

    gateway.restart_process();
    gateway.await_ready();
    assert!(is_recorded(&gateway, "SIGINT"), "the generation's end names its cause");
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn a_cancelled_restart_leaves_the_generation_and_its_work_alone() {
    let gateway = Gateway::builder().supervised(true).config("[drain]\nbudget = \"60s\"").start();
    let before = gateway.generation();
    gateway.send("work", "take 5s of work", "work-1");
    gateway.await_running("work");
    let request = restart_from_chat(&gateway, "main", "restart");
    gateway.await_phase("draining");
    let waiting = gateway.send("main", "sent during the drain", "main-1");
    let answer = gateway.client().delete(&format!("/v1/requests/{request}")).expect("a living gateway answers");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(gateway.outcome(request)["kind"], "cancelled");
    gateway.await_phase("serving");
    gateway.await_reply("main", waiting, PATIENCE);

    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(gateway.generation(), before);
    let work = gateway.complete_log("work");
    assert_eq!(work.iter().filter(|event| event.is_turn("running")).count(), 1, "it was not disturbed: {work:#?}");
    let main = gateway.complete_log("main");
    assert_eq!(notices_about(&main, request), 2, "accepted, and one outcome: {main:#?}");
}

#[test]
fn a_restart_that_interrupts_already_cannot_be_cancelled() {
    let drain = "[drain]\nbudget = \"1s\"\ninterrupt_grace = \"5s\"";
    let stubborn = "prompt=$(cat)\nif [ -z \"$EVERGATE_RESUME\" ]; then trap '' TERM; sleep 20; fi\n\
                    printf 'You said: %s' \"$prompt\"\n";
    let gateway = Gateway::builder().supervised(true).config(drain).command_agent(stubborn, "").start();
    let before = gateway.generation();
    gateway.send("work", "hold on to it", "work-1");
    gateway.await_running("work");
    let request = gateway.ask("restart", &json!({}));
    gateway.await_phase("interrupting");
    let answer = gateway.client().delete(&format!("/v1/requests/{request}")).expect("a living gateway answers");
    assert_eq!(answer.status, 409, "{answer:?}");
    answer.error();
    gateway.await_generation(before + 1);
    assert_eq!(gateway.outcome(request)["kind"], "restarted");
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn two_restarts_from_the_command_line_at_once_both_see_a_new_generation_over_a_turn_that_is_cut() {
    let gateway = Gateway::builder().supervised(true).config("[drain]\nbudget = \"100ms\"").start();
    let message = gateway.send("main", "take 8s over and over", "1");
    gateway.await_running("main");
    for _ in 0..3 {
        let restart = || gateway.cli(&["restart", "--wait", "20s"]);
        let outputs = std::thread::scope(|scope| {
            let asked = [scope.spawn(restart), scope.spawn(restart)];
            asked.map(|asked| asked.join().expect("the command is run"))
        });
        for output in outputs {
            assert!(output.status.success(), "{output:?}");
        }
    }
    gateway.await_reply("main", message, evergate_tests::PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
}
