//! The Matrix adapter against a real homeserver: what people in a room see, and the contract that every platform holds to.

use std::time::Duration;

use evergate_tests::contract::{self, Farewell, Venue};
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::matrix::{Rooms, Synapse};
use evergate_tests::{PATIENCE, eventually, skipped};
use serde_json::json;

/// A homeserver with so many rooms; `None`, said aloud, where it cannot be had.
fn rooms(test: &str, rooms: usize) -> Option<Rooms> {
    match Synapse::start() {
        Ok(synapse) => Some(Rooms::new(synapse, rooms)),
        Err(why) => {
            skipped(test, &why);
            None
        }
    }
}

/// A gateway on these rooms, whose demo agent answers at once unless it is told to take its time.
fn gateway(rooms: &Rooms) -> Builder {
    let agent = "[agent.demo]\nwords_per_second = 0\n";
    Gateway::builder().config(agent).config(&rooms.synapse.borrow().section())
}

fn shows(rooms: &Rooms, room: usize, message_type: &str, text: &str) -> Option<(String, Option<String>)> {
    eventually(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(100));
        rooms.ann.shown(&rooms.rooms[room], message_type).into_iter().find(|(shown, _)| shown.contains(text))
    })
}

#[test]
fn a_room_is_a_chat_with_threads_and_strangers_are_not_heard() {
    let Some(rooms) = rooms("a_room_is_a_chat_with_threads_and_strangers_are_not_heard", 1) else { return };
    let gateway = gateway(&rooms).supervised(true).start();
    rooms.await_bot();
    contract::a_message_is_answered(&rooms, &gateway);

    let room = &rooms.rooms[0];
    let root = rooms.ann.say(room, "take 4s one two three four", None);
    assert!(shows(&rooms, 0, "m.text", "You said: take").is_some(), "a running answer is shown");
    let thread = json!({"rel_type": "m.thread", "event_id": root});
    rooms.ann.say(room, "in a thread", Some(&thread));
    let in_thread = shows(&rooms, 0, "m.text", "in a thread").expect("it is answered");
    assert_eq!(in_thread.1.as_deref(), Some(&*root), "in its thread");
    let whole = "You said: take 4s one two three four";
    assert!(shows(&rooms, 0, "m.text", whole).is_some(), "the running answer became the whole one");
    let answers = rooms.answers(0);
    assert_eq!(answers.iter().filter(|answer| answer.contains("take 4s")).count(), 1, "{answers:#?}");

    rooms.ann.say(room, "/status", None);
    assert!(shows(&rooms, 0, "m.notice", "serving").is_some(), "the gateway's own words are notices");

    let eve = rooms.synapse.borrow().person("eve");
    let hers = eve.invite_bot();
    let declined = eventually(PATIENCE, || (eve.bot_is(&hers) == "leave").then_some(()));
    assert!(declined.is_some(), "a stranger's invitation is declined: {}", eve.bot_is(&hers));
    let platform = &gateway.status()["platforms"][0];
    assert_eq!((platform["platform"].as_str(), platform["state"].as_str()), (Some("matrix"), Some("up")), "{platform}");
    assert!(!gateway.log().contains("correct horse"), "the password is never logged");
}

#[test]
fn a_homeserver_that_comes_and_goes_and_a_gateway_that_does_lose_nothing() {
    let Some(mut rooms) = rooms("a_homeserver_that_comes_and_goes_and_a_gateway_that_does_lose_nothing", 1) else {
        return;
    };
    let gateway = gateway(&rooms).start();
    rooms.await_bot();
    contract::what_is_said_while_nobody_listens_is_answered_later(&rooms, &gateway, Duration::from_secs(10));
    drop(gateway);
    let gateway = self::gateway(&rooms).supervised(true).start();
    // It has a state of its own: what was said before its first sync was not said to it.
    gateway.wait_for("the platform to be up", PATIENCE, || {
        (gateway.try_status()?["platforms"][0]["state"] == "up").then_some(())
    });
    contract::the_server_comes_and_goes(&mut rooms, &gateway);
}

#[test]
fn a_busy_gateway_answers_everything_once_however_it_is_sent_away() {
    let Some(rooms) = rooms("a_busy_gateway_answers_everything_once_however_it_is_sent_away", 3) else { return };
    let gateway = gateway(&rooms).supervised(true).start();
    rooms.await_bot();
    for farewell in [Farewell::Chat, Farewell::Term, Farewell::Kill] {
        let took = contract::a_busy_gateway_is_sent_away(&rooms, &gateway, farewell);
        eprintln!("{farewell:?}: 24 of 24 answered once, the last {:.1} s after", took.as_secs_f64());
    }
}

#[test]
fn a_wrong_password_parks_the_platform_and_the_rest_serves() {
    let Some(rooms) = rooms("a_wrong_password_parks_the_platform_and_the_rest_serves", 0) else { return };
    let section = rooms.synapse.borrow().section().replace("user = \"bot\"", "user = \"nobody\"");
    let gateway = Gateway::builder().config(&section).start();
    let parked = gateway.wait_for("the platform to park", PATIENCE, || {
        let platform = gateway.try_status()?["platforms"][0].clone();
        (platform["state"] == "parked").then_some(platform)
    });
    let why = parked["why"].as_str().unwrap_or_default();
    assert!(why.contains("[matrix]"), "it says what to mend: {why}");
    let prompt = gateway.send("main", "are you there?", "there");
    gateway.await_reply("main", prompt, PATIENCE);
}
