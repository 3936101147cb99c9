//! The Matrix adapter against a real homeserver: what people in a room see. The contract that every platform holds to is in
//! `contract/`.

use std::time::Duration;

use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::matrix::{Rooms, Synapse};
use evergate_tests::model::Model;
use evergate_tests::{PATIENCE, eventually, skipped};
use nix::sys::signal::Signal;
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

/// Somebody says something in the first room, and it is answered.
fn is_answered(rooms: &Rooms, text: &str) {
    rooms.ann.say(&rooms.rooms[0], text, None);
    assert!(shows(rooms, 0, "m.text", text).is_some(), "{text:?} is not answered: {:?}", rooms.answers(0));
}

#[test]
fn a_room_is_a_chat_with_threads() {
    let Some(rooms) = rooms("a_room_is_a_chat_with_threads", 1) else { return };
    let gateway = gateway(&rooms).supervised(true).start();
    rooms.await_bot();
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

    let platform = &gateway.status()["platforms"][0];
    assert_eq!((platform["platform"].as_str(), platform["state"].as_str()), (Some("matrix"), Some("up")), "{platform}");
    assert!(!gateway.log().contains("correct horse"), "the password is never logged");
}

/// The demo agent's answer to this grows for four seconds.
const LONG: &str = "take 4s one two three four five six";

/// A room in which a part of that stands, and not the whole; `None`, said aloud, where no homeserver can be had.
fn growing(test: &str) -> Option<(Rooms, Gateway)> {
    let rooms = rooms(test, 1)?;
    let gateway = gateway(&rooms).start();
    rooms.await_bot();
    rooms.ann.say(&rooms.rooms[0], LONG, None);
    assert!(shows(&rooms, 0, "m.text", "You said: take").is_some(), "a running answer is shown");
    let answers = rooms.answers(0);
    assert!(!answers.iter().any(|answer| answer.contains("six")), "it is whole already: {answers:?}");
    Some((rooms, gateway))
}

/// In the end the whole answer stands in the first room, and nothing else of it.
fn is_one_whole(rooms: &Rooms) {
    let whole = format!("You said: {LONG}");
    assert!(shows(rooms, 0, "m.text", &whole).is_some(), "{:?}", rooms.answers(0));
    is_answered(rooms, "behind it");
    assert_eq!(rooms.answers(0), [whole, "You said: behind it".to_owned()]);
}

#[test]
fn a_homeserver_that_is_killed_in_mid_turn_and_comes_back_shows_one_answer() {
    let Some((rooms, gateway)) = growing("a_homeserver_that_is_killed_in_mid_turn") else { return };
    rooms.synapse.borrow_mut().kill();
    gateway.wait_for("the turn to end without its homeserver", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(50));
        let status = gateway.status();
        (status["turns"].as_array().is_some_and(Vec::is_empty) && status["owed"] != 0).then_some(())
    });
    rooms.synapse.borrow_mut().start_again();
    is_one_whole(&rooms);
}

#[test]
fn what_stood_of_an_answer_when_the_gateway_was_killed_becomes_the_whole_one() {
    let Some((rooms, gateway)) = growing("what_stood_of_an_answer_when_the_gateway_was_killed") else { return };
    gateway.restart_process();
    is_one_whole(&rooms);
}

#[test]
fn who_writes_while_an_answer_runs_is_told_that_it_waits() {
    let test = "who_writes_while_an_answer_runs_is_told_that_it_waits";
    let Some((rooms, _gateway)) = growing(test) else { return };
    let second = rooms.ann.say(&rooms.rooms[0], "second", None);
    assert!(shows(&rooms, 0, "m.notice", "waits for its turn").is_some(), "it is told");
    let events = rooms.ann.events(&rooms.rooms[0]);
    let notice = events.iter().find(|event| event["content"]["msgtype"] == "m.notice").expect("it was shown");
    let about = &notice["content"]["m.relates_to"]["m.in_reply_to"]["event_id"];
    assert_eq!(about.as_str(), Some(&*second), "it is seen what it is about: {notice}");
    assert!(shows(&rooms, 0, "m.text", "You said: second").is_some(), "{:?}", rooms.answers(0));
}

#[test]
fn an_invitation_by_an_allowed_user_is_followed_and_a_strangers_is_declined() {
    let test = "an_invitation_by_an_allowed_user_is_followed_and_a_strangers_is_declined";
    let Some(rooms) = rooms(test, 1) else { return };
    let _gateway = gateway(&rooms).start();
    rooms.await_bot();
    let eve = rooms.synapse.borrow().person("eve");
    let hers = eve.invite_bot();
    let declined = eventually(PATIENCE, || (eve.bot_is(&hers) == "leave").then_some(()));
    assert!(declined.is_some(), "a stranger's invitation is declined: {}", eve.bot_is(&hers));
    let later = rooms.ann.invite_bot();
    let joined = eventually(PATIENCE, || (rooms.ann.bot_is(&later) == "join").then_some(()));
    assert!(joined.is_some(), "one that comes while it runs is followed, too: {}", rooms.ann.bot_is(&later));
}

#[test]
fn what_a_limited_timeline_leaves_out_is_fetched_page_by_page_and_answered_once() {
    /// More than a sync tells of a room, and more than a page has beside that.
    const MESSAGES: usize = 160;
    let test = "what_a_limited_timeline_leaves_out_is_fetched_page_by_page_and_answered_once";
    let Some(rooms) = rooms(test, 1) else { return };
    let gateway = gateway(&rooms).config("[limits]\nqueued_per_session = 1000").start();
    rooms.await_bot();
    is_answered(&rooms, "before all that");
    gateway.kill();
    for number in 0..MESSAGES {
        rooms.ann.say(&rooms.rooms[0], &format!("number {number}."), None);
    }
    gateway.restart_process();
    let times =
        |number: usize| rooms.answers(0).iter().filter(|text| text.contains(&format!("number {number}."))).count();
    let last = eventually(PATIENCE * 4, || {
        std::thread::sleep(Duration::from_millis(500));
        (times(MESSAGES - 1) > 0).then_some(())
    });
    assert!(last.is_some(), "the last is not answered: {:?}", rooms.answers(0));
    let answers = rooms.answers(0);
    let order: Vec<usize> = (0..MESSAGES)
        .map(|number| {
            let of_it = |text: &&String| text.contains(&format!("number {number}."));
            assert_eq!(answers.iter().filter(of_it).count(), 1, "number {number}");
            answers.iter().position(|text| of_it(&text)).unwrap_or_default()
        })
        .collect();
    assert!(order.is_sorted(), "in the order in which they were said");
}

/// A gateway whose agent answers at once, on the line that is looked at and broken.
fn watched(rooms: &Rooms) -> Builder {
    Gateway::builder().config("[agent.demo]\nwords_per_second = 0").config(&rooms.watched_section())
}

/// A gateway that was killed while 60 messages came into the first room, more than a sync tells of, and one into the second. It is
/// down.
fn behind_a_gap(rooms: &Rooms) -> Gateway {
    let gateway = watched(rooms).config("[limits]\nqueued_per_session = 1000").start();
    rooms.await_bot();
    is_answered(rooms, "before all that");
    gateway.kill();
    for number in 0..60 {
        rooms.ann.say(&rooms.rooms[0], &format!("number {number}."), None);
    }
    rooms.ann.say(&rooms.rooms[1], "and here", None);
    gateway
}

/// What is said there by itself is answered, and so are the others.
#[test]
fn a_room_that_does_not_let_us_look_back_holds_nobody_up() {
    let Some(rooms) = rooms("a_room_that_does_not_let_us_look_back", 2) else { return };
    let gateway = behind_a_gap(&rooms);
    rooms.answers_instead(
        "/messages?",
        "403 Forbidden",
        "application/json",
        r#"{"errcode": "M_FORBIDDEN", "error": "no"}"#,
    );
    gateway.restart_process();
    let says = |room: usize, what: &str| rooms.answers(room).iter().any(|answer| answer.contains(what));
    let done = eventually(PATIENCE, || (says(0, "number 59.") && says(1, "and here")).then_some(()));
    assert!(done.is_some(), "{:?} {:?}", rooms.answers(0), rooms.answers(1));
    assert!(gateway.log().contains("what was said before in this room is passed over"), "{}", gateway.log());
}

/// The messages of such a room wait on the homeserver, over a kill too, and none is lost, doubled or out of order.
#[test]
fn a_room_that_cannot_be_looked_back_in_for_a_while_is_caught_up_with_and_holds_nobody_up() {
    const FAILURES: usize = 4;
    let Some(rooms) = rooms("a_room_that_cannot_be_looked_back_in_for_a_while", 2) else { return };
    let gateway = behind_a_gap(&rooms);
    for _ in 0..FAILURES {
        rooms.answers_instead("/messages?", "502 Bad Gateway", "text/html", "<html>the worker is away</html>");
    }
    gateway.restart_process();
    let says = |room: usize, what: &str| rooms.answers(room).iter().any(|answer| answer.contains(what));
    let others = eventually(PATIENCE, || says(1, "and here").then_some(()));
    assert!(others.is_some(), "the other room waits: {:?}", rooms.answers(1));
    assert!(!says(0, "number 59."), "what is behind a gap waits for what is in it: {:?}", rooms.answers(0));
    let platform = &gateway.status()["platforms"][0];
    let why = platform["why"].as_str().unwrap_or_default();
    assert!(platform["state"] == "waiting" && why.contains(&rooms.rooms[0]), "it is said: {platform}");
    gateway.restart_process();
    rooms.ann.say(&rooms.rooms[0], "number 60.", None);
    let done = eventually(PATIENCE * 2, || says(0, "number 60.").then_some(()));
    assert!(done.is_some(), "{:?} {}", rooms.answers(0), gateway.log());
    let answers = rooms.answers(0).split_off(1);
    let expected: Vec<_> = (0..=60).map(|number| format!("You said: number {number}.")).collect();
    assert_eq!(answers, expected);
    gateway.wait_for("the platform to be up again", PATIENCE, || {
        (gateway.try_status()?["platforms"][0]["state"] == "up").then_some(())
    });
}

/// The homeserver of the room may be away for long; those who write meanwhile do not wait for it, and nor does the invitation
/// for another one.
#[test]
fn an_invitation_that_cannot_be_followed_yet_holds_nobody_up_and_is_followed_later() {
    let Some(rooms) = rooms("an_invitation_that_cannot_be_followed_yet", 1) else { return };
    let gateway = watched(&rooms).start();
    rooms.await_bot();
    for _ in 0..4 {
        rooms.answers_instead("/join", "502 Bad Gateway", "text/html", "<html>that server is away</html>");
    }
    let later = rooms.ann.invite_bot();
    is_answered(&rooms, "meanwhile");
    assert_ne!(rooms.ann.bot_is(&later), "join", "four tries take longer than that");
    gateway.restart_process();
    let joined = eventually(PATIENCE, || (rooms.ann.bot_is(&later) == "join").then_some(()));
    assert!(joined.is_some(), "{} {}", rooms.ann.bot_is(&later), gateway.log());
}

/// A proxy that is being set up answers for the homeserver, which would not have refused.
#[test]
fn a_refusal_that_is_not_the_homeservers_own_ends_no_delivery() {
    let Some(rooms) = rooms("a_refusal_that_is_not_the_homeservers_own", 1) else { return };
    let _gateway = watched(&rooms).start();
    rooms.await_bot();
    for status in ["404 Not Found", "403 Forbidden"] {
        rooms.answers_instead("/send/m.room.message/", status, "text/html", "<html>nobody is here</html>");
    }
    is_answered(&rooms, "said once");
    assert_eq!(rooms.answers(0).len(), 1, "{:?}", rooms.answers(0));
}

#[test]
fn the_device_and_its_token_are_kept_over_a_restart_and_a_kill() {
    let Some(rooms) = rooms("the_device_and_its_token_are_kept_over_a_restart_and_a_kill", 1) else { return };
    let gateway = gateway(&rooms).supervised(true).start();
    rooms.await_bot();
    is_answered(&rooms, "before the restart");
    let bot = rooms.synapse.borrow().person("bot");
    let device = bot.gateways();
    assert_eq!(device.len(), 1, "{device:?}");
    // Whoever had to sign in again could not.
    rooms.synapse.borrow().forget_password("another");
    assert!(gateway.cli(&["restart"]).status.success());
    is_answered(&rooms, "after the restart");
    let before = gateway.generation();
    gateway.signal(nix::sys::signal::Signal::SIGKILL);
    gateway.await_generation(before + 1);
    is_answered(&rooms, "after the kill");
    assert_eq!(bot.gateways(), device);
}

/// A token that counts no more is nothing to a gateway that knows the password.
#[test]
fn who_is_signed_out_in_mid_run_signs_in_again_with_the_password_and_loses_nothing() {
    let Some(rooms) = rooms("who_is_signed_out_in_mid_run_signs_in_again", 1) else { return };
    let gateway = gateway(&rooms).start();
    rooms.await_bot();
    is_answered(&rooms, "before");
    let bot = rooms.synapse.borrow().person("bot");
    bot.sign_out_everywhere();
    is_answered(&rooms, "after");
    assert_eq!(rooms.answers(0), ["You said: before", "You said: after"]);
    assert!(gateway.log().contains("signed out; signing in again"), "{}", gateway.log());
}

/// It is said once what is wrong; the rest of the gateway serves.
#[test]
fn a_token_that_is_wrong_or_revoked_in_mid_run_parks_the_platform() {
    let Some(rooms) = rooms("a_token_that_is_wrong_or_revoked", 1) else { return };
    let bot = rooms.synapse.borrow().person("bot");
    for revoked in [false, true] {
        let agent = Gateway::builder().config("[agent.demo]\nwords_per_second = 0\n");
        let file = agent.room().join("token");
        std::fs::write(&file, if revoked { &bot.token } else { "syt_nobodys" }).expect("the room is writable");
        let section = rooms.synapse.borrow().section();
        let with_token: String = section
            .lines()
            .map(|line| if line.starts_with("password_file") { format!("token_file = {file:?}") } else { line.to_owned() } + "\n")
            .collect();
        let gateway = agent.config(&with_token).start();
        if revoked {
            rooms.await_bot();
            is_answered(&rooms, "with a token");
            bot.sign_out_everywhere();
        }
        gateway.wait_for("the platform to be parked", PATIENCE, || {
            (gateway.try_status()?["platforms"][0]["state"] == "parked").then_some(())
        });
        let why = gateway.status()["platforms"][0]["why"].to_string();
        assert!(why.contains("token") || why.contains("[matrix]"), "it says what to do: {why}");
        assert_eq!(gateway.log().matches("\"state\":\"parked\"").count(), 1, "once: {}", gateway.log());
        assert!(!gateway.log().contains(&bot.token) && !gateway.log().contains("syt_nobodys"), "a token is told");
        let message = gateway.send("main", "and here", "local");
        assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), "You said: and here");
    }
}

/// The sync's token is kept behind what it tells: a kill between the two loses nothing.
#[test]
fn who_dies_over_a_message_that_is_not_taken_in_yet_is_told_of_it_again() {
    let Some(rooms) = rooms("who_dies_over_a_message_that_is_not_taken_in_yet", 1) else { return };
    let gateway = watched(&rooms).start();
    rooms.await_bot();
    is_answered(&rooms, "before");
    rooms.holds("/download/", Duration::from_secs(60));
    rooms.ann.show(&rooms.rooms[0], "m.audio", "voice.ogg", b"sounds", "listen to this");
    let begun = gateway.state_dir().join("files/matrix");
    gateway.wait_for("the file to be asked for", PATIENCE, || begun.read_dir().ok()?.next().map(drop));
    std::thread::sleep(Duration::from_millis(500));
    gateway.restart_process();
    let answer = shows(&rooms, 0, "m.text", "listen to this").expect("it is answered");
    assert!(answer.0.contains("(audio/ogg)"), "with the file that came with it: {}", answer.0);
    is_answered(&rooms, "behind it");
    assert_eq!(rooms.answers(0).len(), 3, "{:?}", rooms.answers(0));
}

#[test]
fn files_come_into_the_state_directory_and_go_out_as_what_they_are_once() {
    let Some(rooms) = rooms("files_come_into_the_state_directory_and_go_out_as_what_they_are_once", 1) else { return };
    let script = "prompt=$(cat); echo \"$prompt\"; cd \"$EVERGATE_OUTBOX\"\n\
                  case $prompt in *back*) echo pixels > b.png; echo words > c.txt;; esac";
    let section = rooms.synapse.borrow().section();
    let gateway = Gateway::builder().config(&section).config("[files]\nlimit = 1000").command_agent(script, "").start();
    rooms.await_bot();
    is_answered(&rooms, "before the files");

    let room = &rooms.rooms[0];
    rooms.ann.show(room, "m.image", "pic.png", b"their pixels", "what is this");
    let (told, _) = shows(&rooms, 0, "m.text", "what is this").expect("it is answered");
    let path = told.split("[file: ").nth(1).and_then(|rest| rest.split(" (image/png)]").next());
    let path = path.unwrap_or_else(|| panic!("path and type are given to the agent: {told}"));
    assert!(path.starts_with(&gateway.state_dir().join("files/matrix").display().to_string()), "{path}");
    assert_eq!(std::fs::read_to_string(path).expect("it is there"), "their pixels");

    rooms.ann.show(room, "m.file", "large.bin", &[b'x'; 2000], "");
    assert!(shows(&rooms, 0, "m.text", "large.bin, was left out: more than 1000 bytes").is_some());

    let root = rooms.ann.say(room, "give something back", None);
    let files = eventually(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(100));
        Some(rooms.ann.files(room)).filter(|files| files.len() >= 2)
    });
    let file = |kind: &str, name: &str, bytes: &str| (kind.to_owned(), name.to_owned(), bytes.to_owned());
    let expected = [file("m.image", "b.png", "pixels\n"), file("m.file", "c.txt", "words\n")];
    assert_eq!(files.as_deref(), Some(&expected[..]));
    let events = rooms.ann.events(room);
    let picture =
        events.iter().find(|event| event["content"]["msgtype"] == "m.image" && event["sender"] == "@bot:localhost");
    let relation = picture.map(|event| event["content"]["m.relates_to"]["m.in_reply_to"]["event_id"].clone());
    assert_eq!(relation, Some(json!(root)), "it shows what it answers");
    gateway.restart_process();
    gateway.await_ready();
    is_answered(&rooms, "after the files");
    assert_eq!(rooms.ann.files(room).len(), 2, "nothing is sent again");
}

#[test]
fn polls_that_are_answered_with_no_json_are_repeated_and_lose_nothing() {
    let Some(rooms) = rooms("polls_that_are_answered_with_no_json", 1) else { return };
    let gateway = watched(&rooms).start();
    rooms.await_bot();
    is_answered(&rooms, "before the garbage");
    rooms.garbles_polls();
    is_answered(&rooms, "in its middle");
    is_answered(&rooms, "behind it");
    assert_eq!(rooms.answers(0).len(), 3, "{:?}", rooms.answers(0));
    assert!(gateway.log().contains("is not the JSON that it should be"), "{}", gateway.log());
}

/// 24 messages, two a second, over three rooms; after the eighth the gateway is sent away by `/restart` or a signal, while the
/// first room's turn of 12 seconds runs.
#[test]
fn what_24_messages_ask_the_model_is_asked_once_however_the_gateway_is_sent_away() {
    let Some(rooms) = rooms("what_24_messages_ask_the_model_is_asked_once_however_the_gateway_is_sent_away", 3) else {
        return;
    };
    let model = Model::echoing();
    let gateway = Gateway::builder().config(&rooms.watched_section()).config(&model.section()).supervised(true).start();
    rooms.await_bot();
    for farewell in [None, Some(Signal::SIGTERM), Some(Signal::SIGKILL)] {
        let name = farewell.map_or("RESTART", Signal::as_str);
        let (before, mut said) = (gateway.generation(), Vec::new());
        model.count_anew();
        let _before = rooms.longest_silence();
        for number in 0..24 {
            let text = if number == 0 { format!("take 12s {name} 0.") } else { format!("{name} {number}.") };
            rooms.ann.say(&rooms.rooms[number % 3], &text, None);
            said.push(text);
            if number == 8 {
                match farewell {
                    None => drop(rooms.ann.say(&rooms.rooms[0], "/restart", None)),
                    Some(signal) => gateway.signal(signal),
                }
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        gateway.await_generation(before + 1);
        let answers = |place: usize, text: &str| {
            let wanted = format!("You said: {text}");
            rooms.answers(place % 3).iter().filter(|answer| **answer == wanted).count()
        };
        for (place, text) in said.iter().enumerate() {
            let answered = eventually(PATIENCE, || {
                std::thread::sleep(Duration::from_millis(100));
                (answers(place, text) > 0).then_some(())
            });
            assert!(answered.is_some(), "{text:?} is not answered: {:#?}", rooms.answers(place % 3));
        }
        for (place, text) in said.iter().enumerate() {
            assert_eq!(answers(place, text), 1, "{text:?}: {:#?}", rooms.answers(place % 3));
        }
        // A kill may come while a quick question is with the model and nothing of its answer is on disk.
        let again = usize::from(farewell == Some(Signal::SIGKILL));
        println!(
            "24 messages to a model over {name}, on Matrix: longest silence of the poller {} ms; {}",
            rooms.longest_silence().as_millis(),
            model.assert_asked_once(&said, again)
        );
    }
}
