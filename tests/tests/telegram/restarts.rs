//! Restarts in the middle: nothing that people said is lost or answered twice, and a long answer stays one message.

use super::{GUESTS, OPERATOR, QUICK, bot_api, gateway, gateway_with_token, texts};
use evergate_tests::bot_api::operator::{BotApi, Said};
use evergate_tests::gateway::Gateway;
use evergate_tests::model::Model;
use evergate_tests::{PATIENCE, process};
use nix::sys::signal::Signal;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[test]
fn three_messages_that_came_while_nobody_was_there_are_answered() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).start();
    server.say(GUESTS[0], "before");
    server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    gateway.kill();
    let down = Instant::now();
    for (chat, text) in [(GUESTS[0], "one"), (GUESTS[1], "two"), (GUESTS[0], "three")] {
        server.say(chat, text);
    }
    std::thread::sleep(Duration::from_secs(10).saturating_sub(down.elapsed()));
    gateway.restart_process();
    let begun = Instant::now();
    let said = |said: &[Said], text: &str| said.iter().any(|said| said.text.contains(text));
    server.await_said(GUESTS[0], "both answers", |all| said(all, "one") && said(all, "three"));
    server.await_said(GUESTS[1], "an answer", |all| said(all, "two"));
    println!(
        "three messages sent while down for 10 s: all answered {} ms after the start",
        begun.elapsed().as_millis()
    );
    std::thread::sleep(Duration::from_millis(500));
    for (chat, text) in [(GUESTS[0], "one"), (GUESTS[1], "two"), (GUESTS[0], "three")] {
        let times = server.said(chat).iter().filter(|said| said.text.contains(text)).count();
        assert_eq!(times, 1, "{text}");
    }
}

/// The server is told to forget a message when it is on disk, and not before, however long that takes.
#[test]
fn the_offset_waits_for_a_disk_that_is_held_up_and_a_death_meanwhile_loses_nothing() {
    let server = bot_api();
    let config = format!("{QUICK}\n[debug]\nhooks = \"on\"\n[watchdog]\nfreeze = \"1h\"");
    let gateway = gateway(&server, &config).start();
    server.say(GUESTS[0], "before");
    server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    let confirmed = || {
        let account = server.order("/account", &json!({}));
        account["updates"]["confirmed"].as_i64()
    };
    let given = || server.calls("getUpdates").len();
    gateway.wait_for("the first message to be confirmed", PATIENCE, || (confirmed() > Some(0)).then_some(()));
    let (before, calls) = (confirmed(), given());
    gateway.freeze("journal", Duration::from_secs(600));
    server.say(GUESTS[0], "held up");
    gateway.wait_for("the message to be handed out", PATIENCE, || (given() > calls).then_some(()));
    // Whoever did not wait for the disk would have asked for what is behind it by now.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(confirmed(), before, "the message is confirmed and on no disk");
    gateway.restart_process();
    let said = server.await_said(GUESTS[0], "the answer", |said| said.len() == 2);
    assert_eq!(texts(&said), ["You said: before", "You said: held up"]);
    gateway.wait_for("the message to be confirmed", PATIENCE, || (confirmed() > before).then_some(()));
}

#[test]
fn what_the_server_gives_again_is_answered_once() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).start();
    // The answer that holds the message is cut off, or read and not confirmed by the time of the kill.
    server.fault(&json!({"kind": "lose_answer", "method": "getUpdates"}));
    server.say(GUESTS[0], "hello");
    server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    for _ in 0..3 {
        server.say(GUESTS[0], "and now");
        gateway.restart_process();
        gateway.await_ready();
    }
    let answered = |said: &[Said]| said.iter().map(|said| said.text.matches("and now").count()).sum::<usize>();
    let said = server.await_said(GUESTS[0], "all answers", |said| answered(said) >= 3);
    assert_eq!((answered(&said), said.iter().filter(|said| said.text.contains("hello")).count()), (3, 1), "{said:?}");
}

#[test]
fn an_answer_that_a_restart_cuts_goes_on_in_the_same_message() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).supervised(true).start();
    server.say(GUESTS[0], "take 5s one two three four five six seven eight");
    server.await_said(GUESTS[0], "a draft", |said| !said.is_empty());
    gateway.cli(&["restart", "--force"]);
    let full = "You said: take 5s one two three four five six seven eight";
    let said = server.await_said(GUESTS[0], "the whole answer", |said| said.iter().any(|said| said.text == full));
    let [answer, cut, back] = texts(&said)[..] else { panic!("one answer and two words about the restart: {said:?}") };
    assert_eq!(answer, full);
    assert!(cut.starts_with("Restarting:") && back.starts_with("Back:"), "{said:?}");
    assert!(gateway.generation() > 1);
}

#[test]
fn a_cut_answer_is_announced_in_its_topic_once_and_other_topics_and_chats_hear_nothing() {
    let server = bot_api();
    let gateway = gateway(&server, &format!("{QUICK}\n[drain]\nbudget = \"1s\"")).supervised(true).start();
    let say = |thread: u32, text: &str| {
        server.order("/message", &json!({"chat": -9, "from": GUESTS[0], "thread": thread, "text": text}));
    };
    server.say(GUESTS[1], "hello");
    server.await_said(GUESTS[1], "an answer", |said| said.len() == 1);
    say(5, "hello");
    server.await_said(-9, "an answer", |said| said.len() == 1);
    say(4, "take 6s for this");
    gateway.await_running("telegram:-9:4");
    server.say(OPERATOR, "/restart");
    gateway.await_generation(2);
    let full = "You said: take 6s for this";
    let said = server.await_said(-9, "the whole answer", |said| said.iter().any(|said| said.text == full));
    let (cut, other): (Vec<_>, Vec<_>) = said.iter().partition(|said| said.thread == Some(4));
    let cut: Vec<_> = cut.into_iter().map(|said| said.text.as_str()).collect();
    assert!(
        matches!(cut[..], [down, back, answer] if down.starts_with("Restarting:") && back.starts_with("Back:") && answer == full),
        "{cut:?}"
    );
    assert_eq!((other.len(), server.said(GUESTS[1]).len()), (1, 1), "{said:?}");
    let asked = server.await_said(OPERATOR, "the outcome", |said| said.len() >= 2);
    assert!(asked.len() == 2 && asked[1].text.starts_with("Restarted"), "{asked:?}");
}

/// The server has refused it for now and it waits in the adapter: the successor sends it, once; with a word about a possible
/// repetition, since it cannot know that. Once after a gateway that obeys, once after one that has to be killed.
#[test]
fn an_answer_that_is_owed_at_a_forced_restart_is_sent_once_by_the_successor() {
    for loop_turns in [true, false] {
        let server = bot_api();
        let gateway = gateway(&server, &format!("{QUICK}\n[debug]\nhooks = \"on\"")).supervised(true).start();
        server.fault(&json!({"kind": "slow_down", "method": "sendMessage", "chat": GUESTS[0], "retry_after": 60}));
        server.say(GUESTS[0], "what do you owe me?");
        let refused = |_: &[Said]| server.calls("sendMessage").iter().any(|call| call.2 == 429);
        server.await_said(GUESTS[0], "the refusal", refused);
        let owed = || gateway.try_status().filter(|status| status["owed"] == 1 && status["turns_open"] == 0);
        gateway.wait_for("the answer to be owed", PATIENCE, owed);
        assert_eq!(server.said(GUESTS[0]), []);
        if !loop_turns {
            gateway.freeze("loop", Duration::from_secs(600));
        }
        let begun = Instant::now();
        let restarted = gateway.cli(&["restart", "--force"]);
        assert!(restarted.status.success(), "{}", String::from_utf8_lossy(&restarted.stderr));
        println!("restart --force with an answer owed, loop turns: {loop_turns}: {} ms", begun.elapsed().as_millis());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        server.await_said(GUESTS[0], "the answer", |said| !said.is_empty());
        std::thread::sleep(Duration::from_secs(2));
        let said = server.said(GUESTS[0]);
        assert_eq!(said.len(), 1, "loop turns: {loop_turns}: {said:?}");
        assert!(said[0].text.ends_with("You said: what do you owe me?"), "{said:?}");
        assert_eq!(gateway.generation(), 2);
    }
}

/// How the gateway is brought down in the middle.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Command,
    Terminate,
    Kill,
}

#[test]
fn all_of_24_messages_are_answered_once_over_a_restart_from_the_chat() {
    twenty_four(Blow::Command);
}

#[test]
fn all_of_24_messages_are_answered_once_over_a_sigterm() {
    twenty_four(Blow::Terminate);
}

#[test]
fn all_of_24_messages_are_answered_once_over_a_sigkill() {
    twenty_four(Blow::Kill);
}

#[test]
fn all_of_24_messages_reach_the_model_once_over_a_restart_from_the_chat() {
    twenty_four_to_a_model(Blow::Command);
}

#[test]
fn all_of_24_messages_reach_the_model_once_over_a_sigterm() {
    twenty_four_to_a_model(Blow::Terminate);
}

#[test]
fn all_of_24_messages_reach_the_model_once_over_a_sigkill() {
    twenty_four_to_a_model(Blow::Kill);
}

fn twenty_four(blow: Blow) {
    let (gateway, longest, _) = twenty_four_with(blow, QUICK);
    tell(&gateway, blow, longest);
}

fn twenty_four_to_a_model(blow: Blow) {
    let model = Model::echoing();
    let (gateway, longest, asked) = twenty_four_with(blow, &model.section());
    // A kill may come while a quick question is with the model and nothing of its answer is on disk.
    let figures = model.assert_asked_once(&asked, usize::from(matches!(blow, Blow::Kill)));
    println!(
        "24 messages to a model over {blow:?}, on Telegram: longest silence of the poller {} ms; {figures}",
        longest.as_millis()
    );
    drop(gateway);
}

/// Three chats, two messages a second; in the one that restarts a turn of 12 s runs and two more messages wait.
fn twenty_four_with(blow: Blow, agent: &str) -> (Gateway, Duration, Vec<String>) {
    const CHATS: [i64; 3] = [OPERATOR, GUESTS[0], GUESTS[1]];
    let server = bot_api();
    let gateway = gateway(&server, agent).supervised(true).start();
    server.say(OPERATOR, "warm up");
    server.await_said(OPERATOR, "an answer", |said| said.len() == 1);
    server.longest_silence();
    let long = "take 12s the long one a b c d e f g h i j k l";
    let (mut asked, begun) = (BTreeMap::<i64, Vec<String>>::new(), Instant::now());
    for number in 0..24_u32 {
        let chat = CHATS[number as usize % 3];
        // Of the restarting chat the first is the long one; the next two wait behind it.
        let text = if number == 0 { long.to_owned() } else { format!("message number {number};") };
        server.say(chat, &text);
        asked.entry(chat).or_default().push(text);
        if number == 8 {
            bring_down(&server, &gateway, blow);
        }
        std::thread::sleep(
            (begun + Duration::from_millis(500) * (number + 1)).saturating_duration_since(Instant::now()),
        );
    }
    for (chat, asked) in &asked {
        server.await_said(*chat, "an answer to each", |said| asked.iter().all(|text| times(said, text) >= 1));
    }
    std::thread::sleep(Duration::from_secs(2));
    let longest = server.longest_silence();
    for (chat, asked) in &asked {
        let said = server.said(*chat);
        for text in asked {
            assert_eq!(times(&said, text), 1, "{text:?} in chat {chat}: {said:#?}");
        }
    }
    let said = server.said(OPERATOR);
    let of_long = said.iter().filter(|said| said.text.contains("take 12s")).count();
    assert_eq!(of_long, 1, "what the user sees of the long turn is one answer: {said:#?}");
    gateway.wait_for("another generation", PATIENCE, || (gateway.generation() > 1).then_some(()));
    (gateway, longest, asked.into_values().flatten().collect())
}

/// How often a message is answered in what was said: each text is in its answer once.
fn times(said: &[Said], text: &str) -> usize {
    said.iter().filter(|said| said.text.contains("You said:")).map(|said| said.text.matches(text).count()).sum()
}

fn bring_down(server: &BotApi, gateway: &Gateway, blow: Blow) {
    match blow {
        Blow::Command => {
            server.say(OPERATOR, "/restart");
        }
        Blow::Terminate => process::send_signal(gateway.pid(), Signal::SIGTERM),
        Blow::Kill => process::send_signal(gateway.pid(), Signal::SIGKILL),
    }
}

/// The figures of one run, from the journal's events.
fn tell(gateway: &Gateway, blow: Blow, longest: Duration) {
    let events: Vec<_> = [OPERATOR, GUESTS[0], GUESTS[1]]
        .iter()
        .flat_map(|chat| gateway.complete_log(&format!("telegram:{chat}")))
        .collect();
    let turns = |state: &str| events.iter().filter(|event| event.is("turn") && event.data["state"] == state).count();
    let resumed = events.iter().filter(|event| event.is("turn") && event.data["resumed"] == true).count();
    gateway.wait_for("another generation", PATIENCE, || (gateway.generation() > 1).then_some(()));
    println!(
        "24 messages over {blow:?}: 24 answered once; longest silence of the poller {} ms; turns begun {}, cut in order {}, run again {resumed}",
        longest.as_millis(),
        turns("running"),
        turns("interrupted"),
    );
}

#[test]
fn the_chat_that_asked_for_a_restart_is_told_in_the_same_topic_and_once() {
    let server = bot_api();
    let gateway = gateway(&server, QUICK).supervised(true).start();
    server.order("/message", &json!({"chat": -9, "from": OPERATOR, "thread": 4, "text": "/restart"}));
    gateway.await_generation(2);
    let said = server.await_said(-9, "both notices", |said| said.iter().any(|said| said.text.starts_with("Restarted")));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|said| said.thread == Some(4)), "{said:?}");
    assert!(texts(&said)[0].starts_with("Restart accepted"), "{said:?}");
}

/// Each bot numbers the messages of its chats from 1.
#[test]
fn what_is_said_to_another_bot_is_no_repetition_of_what_was_said_to_the_first() {
    const OTHER: &str = "4343:a-token-of-another-bot";
    let state = tempfile::tempdir().expect("a folder can be made");
    let first = bot_api();
    let running = gateway(&first, QUICK).state_dir(state.path()).start();
    let asked = first.say(GUESTS[0], "one");
    first.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    drop(running);
    let second = BotApi::start_for(env!("CARGO_BIN_EXE_bot-api"), OTHER);
    let running = gateway_with_token(&second, OTHER, QUICK).state_dir(state.path()).start();
    assert_eq!(second.say(GUESTS[0], "two"), asked, "they are numbered alike");
    let said = second.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    assert_eq!((texts(&said), said[0].reply_to), (vec!["You said: two"], Some(asked)));
    running.wait_for("the commands to be told to this bot, too", PATIENCE, || {
        (second.calls("setMyCommands").len() == 1).then_some(())
    });
}
