//! What is said while an answer is under way: what its sender is told, what becomes of the answer, and which turn it has,
//! over restarts and `kill -9`. And how the turns of many chats share the limit.

use evergate_tests::PATIENCE;
use evergate_tests::events::Event;
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::oracle::Words;
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

/// A gateway whose demo agent answers at once unless it is told to take its time.
fn demo(config: &str) -> Builder {
    Gateway::builder().config("[agent.demo]\nwords_per_second = 0").config(config)
}

/// Says something, and gives its number and what its sender was told.
fn told(gateway: &Gateway, session: &str, text: &str) -> (u64, String) {
    let message = gateway.send(session, text, text);
    // A repetition is told what was told first: the word binds.
    let again = gateway.try_send(session, text, text).expect("the gateway serves");
    assert_eq!((again.status, again.json()["message"].as_u64()), (200, Some(message)));
    (message, again.json()["state"].as_str().unwrap_or_default().to_owned())
}

/// Says these texts, each of which is told the same.
fn all_told(gateway: &Gateway, session: &str, texts: &[&str], state: &str) -> Vec<u64> {
    let one = |text: &&str| {
        let (message, told) = told(gateway, session, text);
        assert_eq!(told, state, "{text}");
        message
    };
    texts.iter().map(one).collect()
}

/// Says a command and waits for what the gateway says to it.
fn commanded(gateway: &Gateway, session: &str, command: &str, id: &str) -> String {
    let message = gateway.send(session, command, id);
    let is_command = |event: &Event| event.is("message") && event.data["message"] == message;
    let events = gateway.events(session, None, "a notice", |events| {
        events.last().is_some_and(|event| event.is("notice")) && events.iter().any(is_command)
    });
    events.last().map(|event| event.text().to_owned()).unwrap_or_default()
}

/// Which messages each reply of a session is to, in order.
fn answered(gateway: &Gateway, session: &str) -> Vec<Vec<u64>> {
    let events = gateway.complete_log(session);
    events.iter().filter(|event| event.is("reply")).map(Event::messages).collect()
}

/// Waits until a turn over these messages has begun.
fn await_turn(gateway: &Gateway, session: &str, messages: &[u64]) {
    let begun = |event: &Event| event.is_turn("running") && event.messages() == messages;
    gateway.events(session, None, &format!("a turn over {messages:?}"), |events| events.last().is_some_and(begun));
}

/// Sends the gateway away and waits until another generation serves.
fn send_away(gateway: &Gateway, signal: Option<Signal>) {
    let before = gateway.generation();
    match signal {
        Some(signal) => gateway.signal(signal),
        None => drop(gateway.ask("restart", &json!({"mode": "graceful"}))),
    }
    gateway.await_generation(before + 1);
}

#[test]
fn what_is_queued_is_told_so_and_answered_one_by_one() {
    let gateway = demo("").start();
    let first = all_told(&gateway, "main", &["take 2s first"], "running");
    let later = all_told(&gateway, "main", &["second", "third"], "queued");
    gateway.await_reply("main", later[1], PATIENCE);
    assert_eq!(answered(&gateway, "main"), [first, vec![later[0]], vec![later[1]]]);
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn what_interrupts_ends_the_running_answer_and_is_next() {
    let gateway = demo("[sessions]\nbusy = \"interrupt\"").start();
    let begun = Instant::now();
    let whole = "take 60s one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen";
    let first = all_told(&gateway, "main", &[whole], "running");
    gateway.await_said("main", "You said:");
    let second = all_told(&gateway, "main", &["and now?"], "interrupting");
    assert_eq!(gateway.await_reply("main", second[0], PATIENCE).text(), "You said: and now?");
    assert!(begun.elapsed() < Duration::from_secs(55), "it has waited for the whole answer: {:?}", begun.elapsed());
    let events = gateway.complete_log("main");
    let cut = events.iter().find(|event| event.is("reply") && event.messages() == first).expect("what was said stands");
    assert!(format!("You said: {whole}").starts_with(cut.text()) && !cut.text().ends_with("fifteen"), "{}", cut.text());
    assert_eq!(events.iter().filter(|event| event.is_turn("superseded")).count(), 1);
    gateway.assert_answered_once(&[], Words::Any);
}

/// An agent that works on its first message without a word, does not hear a word either, and answers two at once.
const DEAF: &str = "trap '' TERM INT; prompt=$(cat)\n\
                    case $prompt in *second*) echo \"You said: $prompt\";; *) sleep 60;; esac";

#[test]
fn what_interrupts_before_the_first_word_shares_the_next_answer_with_what_it_interrupts() {
    let config = "[sessions]\nbusy = \"interrupt\"\n[drain]\ninterrupt_grace = \"500ms\"";
    let gateway = Gateway::builder().config(config).command_agent(DEAF, "").start();
    let first = all_told(&gateway, "main", &["first"], "running");
    gateway.await_running("main");
    let second = all_told(&gateway, "main", &["second"], "interrupting");
    let reply = gateway.await_reply("main", second[0], PATIENCE);
    assert_eq!(reply.text().trim_end(), "You said: first\n\nsecond");
    assert_eq!(answered(&gateway, "main"), [[first, second].concat()]);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn kill_9_between_a_message_that_interrupts_and_its_turn_answers_both_once() {
    let config = "[sessions]\nbusy = \"interrupt\"\n[drain]\ninterrupt_grace = \"30s\"";
    let gateway = Gateway::builder().config(config).command_agent(DEAF, "").start();
    let first = all_told(&gateway, "main", &["first"], "running");
    gateway.await_running("main");
    let second = all_told(&gateway, "main", &["second"], "interrupting");
    gateway.restart_process();
    let reply = gateway.await_reply("main", second[0], PATIENCE);
    assert_eq!(reply.text().trim_end(), "You said: first\n\nsecond");
    assert_eq!(answered(&gateway, "main"), [[first, second].concat()]);
    gateway.assert_answered_once(&[], Words::Any);
}

/// In the middle of a turn over collected messages the gateway goes: that turn stays one, and so does the next, though the
/// policy has changed since.
fn collected_over(signal: Option<Signal>) {
    let gateway = demo("[drain]\nbudget = \"500ms\"").supervised(true).start();
    let policy = commanded(&gateway, "main", "/busy collect", "policy");
    assert!(policy.contains("answered together in the next one"), "{policy}");
    let first = all_told(&gateway, "main", &["take 3s first"], "running");
    let together = all_told(&gateway, "main", &["take 6s a", "b", "c"], "collected");
    await_turn(&gateway, "main", &together);
    let next = all_told(&gateway, "main", &["d", "e"], "collected");
    let policy = commanded(&gateway, "main", "/busy queue", "another policy");
    assert!(policy.contains("wait for one of their own"), "{policy}");
    let alone = all_told(&gateway, "main", &["f", "g"], "queued");
    send_away(&gateway, signal);
    for message in [&together, &next].map(|all| all[0]).into_iter().chain(alone.clone()) {
        gateway.await_reply("main", message, PATIENCE);
    }
    gateway.await_rest(PATIENCE);
    assert_eq!(answered(&gateway, "main"), [first, together.clone(), next, vec![alone[0]], vec![alone[1]]]);
    let events = gateway.complete_log("main");
    let begun = events.iter().filter(|event| event.is_turn("running") && event.messages() == together);
    assert_eq!(begun.count(), 2, "the gateway went in the middle of the turn, or this tests nothing");
    let reply = events.iter().find(|event| event.is("reply") && event.messages() == together);
    assert_eq!(reply.map(Event::text), Some("You said: take 6s a\n\nb\n\nc"));
    let policy = commanded(&gateway, "main", "/busy", "which policy");
    assert!(policy.ends_with("(busy queue)."), "what was said last holds: {policy}");
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn what_is_collected_has_one_answer_over_a_restart() {
    collected_over(None);
}

#[test]
fn what_is_collected_has_one_answer_over_a_sigterm() {
    collected_over(Some(Signal::SIGTERM));
}

#[test]
fn what_is_collected_has_one_answer_over_kill_9() {
    collected_over(Some(Signal::SIGKILL));
}

#[test]
fn a_policy_that_a_chat_has_chosen_outlives_the_gateway_and_touches_no_other_chat() {
    let gateway = demo("[sessions]\nbusy = \"collect\"").supervised(true).start();
    commanded(&gateway, "one", "/busy queue", "policy");
    for signal in [None, Some(Signal::SIGKILL)] {
        send_away(&gateway, signal);
        let name = signal.map_or("restart", Signal::as_str);
        for (session, state) in [("one", "queued"), ("two", "collected")] {
            let texts = [format!("take 2s {name}"), format!("{name} during"), format!("{name} still")];
            all_told(&gateway, session, &[&texts[0]], "running");
            let later = all_told(&gateway, session, &[&texts[1], &texts[2]], state);
            gateway.await_reply(session, later[1], PATIENCE);
            let last = answered(&gateway, session).pop().unwrap_or_default();
            assert_eq!(last.len(), if state == "queued" { 1 } else { 2 }, "{session}");
        }
    }
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn as_many_turns_run_at_once_as_may_and_who_comes_later_is_told_to_wait() {
    let gateway = demo("[limits]\nturns = 2").start();
    let mut messages = Vec::new();
    for session in ["a", "b"] {
        messages.push((session, all_told(&gateway, session, &["take 6s at once"], "running")[0]));
    }
    for session in ["c", "d"] {
        messages.push((session, all_told(&gateway, session, &["take 1s later"], "queued")[0]));
    }
    let status = gateway.status();
    assert_eq!((status["turns"].as_array().map(Vec::len), status["queued"].as_u64()), (Some(2), Some(2)), "{status}");
    let mut replies = messages.iter().map(|(session, message)| gateway.await_reply(session, *message, PATIENCE).id);
    let [a, b, c, d] = [(); 4].map(|()| replies.next().flatten());
    assert!(a.max(b) < c.min(d), "{a:?} {b:?} {c:?} {d:?}");
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn chats_take_turns_however_much_one_of_them_says() {
    let gateway = demo("[limits]\nturns = 1").start();
    all_told(&gateway, "one", &["take 3s 1"], "running");
    let said = [("one", "2"), ("one", "3"), ("two", "1"), ("three", "1"), ("two", "2")];
    for (session, text) in said {
        all_told(&gateway, session, &[text], "queued");
    }
    gateway.await_rest(PATIENCE);
    let mut begun = Vec::new();
    for session in ["one", "two", "three"] {
        let events = gateway.complete_log(session);
        begun.extend(events.iter().filter(|event| event.is_turn("running")).map(|event| (event.id, session)));
    }
    begun.sort_unstable();
    let order: Vec<&str> = begun.into_iter().map(|(_, session)| session).collect();
    assert_eq!(order, ["one", "two", "three", "one", "two", "one"], "one turn each, whoever has more goes to the end");
    gateway.assert_answered_once(&[], Words::Echo);
}
