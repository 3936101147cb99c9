//! What an operator can find out afterwards: who ended a generation, what became of each turn, and whether anything in the
//! journal and the flight log breaks a rule. Asked of a gateway that runs, and of the files alone.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::telegram;
use evergate::journal::store::Store;
use evergate::journal::{Batch, Body, Journal, Write};
use evergate::native::journal_disk;
use evergate_core::id::{DeliveryId, RequestId};
use evergate_core::outbox::Fate;
use evergate_core::record::Record;
use evergate_core::request::Outcome;
use evergate_tests::PATIENCE;
use evergate_tests::flight::assert_kept_conformant;
use evergate_tests::gateway::Gateway;
use evergate_tests::oracle::Words;
use serde_json::{Value, json};

/// A gateway that has been through a forced restart and a `kill -9` with a turn at work each time, and has answered it.
fn tried() -> Gateway {
    let gateway = Gateway::builder().start();
    gateway.send("main", "hello", "1");
    gateway.assert_answered_once(&[], Words::Echo);
    gateway.send("main", "take 2s to say this", "2");
    gateway.await_running("main");
    gateway.ask("restart", &json!({"mode": "force", "reason": "a new agent"}));
    gateway.await_generation(2);
    gateway.await_running("main");
    gateway.kill();
    gateway
}

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{}", stderr(output)))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn audit(gateway: &Gateway, flight: Option<&PathBuf>) -> (Option<i32>, Value) {
    let flight = flight.map(|path| path.display().to_string());
    let mut arguments = vec!["audit", "--json"];
    arguments.extend(flight.iter().flat_map(|path| ["--flight", path.as_str()]));
    let output = gateway.cli(&arguments);
    (output.status.code(), json_of(&output))
}

/// The rules of the stories.
fn rules(report: &Value) -> Vec<&str> {
    report["stories"].as_array().into_iter().flatten().filter_map(|story| story["rule"].as_str()).collect()
}

#[test]
fn a_life_is_told_with_who_ended_it_and_where_its_turns_went_on_with_and_without_a_gateway() {
    let gateway = tried();
    let offline = json_of(&gateway.cli(&["generations", "show", "--json"]));
    assert_eq!((&offline["generation"], &offline["end"]), (&json!(2), &json!("died")), "{offline}");
    assert_eq!(offline["turns"][0]["fate"], "cut", "{offline}");
    assert_eq!((&offline["turns"][0]["resumed"], &offline["next"]), (&Value::Null, &Value::Null), "{offline}");

    gateway.restart_process();
    gateway.await_generation(3);
    gateway.assert_answered_once(&[], Words::Echo);
    let first = json_of(&gateway.cli(&["generations", "show", "1", "--json"]));
    assert_eq!(first["end"], "in_order", "{first}");
    let asked = &first["requests"][0];
    assert_eq!(
        (&asked["by"], &asked["mode"], &asked["reason"]),
        (&json!("http"), &json!("force"), &json!("a new agent"))
    );
    assert_eq!(asked["outcome"], json!({"kind": "restarted", "generation": 2}));
    let turn = &first["turns"][0];
    assert_eq!((&turn["session"], &turn["fate"]), (&json!("main"), &json!("interrupted")), "{first}");
    assert_eq!(turn["resumed"], json!({"attempt": 2, "generation": 2}), "{first}");
    assert_eq!(turn["concluded"], json!({"how": "answered", "generation": 3}), "{first}");
    assert!(first["next"]["gap_ms"].as_u64().is_some_and(|gap| gap < 20_000), "{first}");
    assert!(first["stages"]["drain_ms"].as_u64().is_some(), "{first}");
    let second = gateway.client().get("/v1/generations/last").expect("it answers").json();
    assert_eq!((&second["generation"], &second["end"]), (&json!(2), &json!("died")), "{second}");
    assert_eq!(second["turns"][0]["resumed"], json!({"attempt": 3, "generation": 3}), "{second}");
    assert_eq!(gateway.client().get("/v1/generations/9").expect("it answers").status, 404);

    let text = gateway.cli(&["generations", "show", "1"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("forced restart 1 from http, \"a new agent\""), "{text}");
    gateway.ask("stop", &json!({}));
    assert_eq!(gateway.exit_code(PATIENCE), 0);
    assert_eq!(json_of(&gateway.cli(&["generations", "show", "1", "--json"])), first, "the file tells the same");
    assert_eq!(gateway.cli(&["generations", "show", "9"]).status.code(), Some(65));
}

/// Over a restart and a `kill -9`, with a turn at work and an answer owed to a chat that cannot be reached, each time.
#[test]
fn the_fate_of_each_turn_and_of_each_delivery_is_told() {
    let (server, guest) = (telegram::bot_api(), telegram::GUESTS[0]);
    let gateway = telegram::gateway(&server, "").start();
    let hello = gateway.send("main", "hello", "1");
    gateway.await_reply("main", hello, PATIENCE);
    let refusal = json!({"kind": "slow_down", "method": "sendMessage", "chat": guest, "retry_after": 60, "times": 2});
    server.fault(&refusal);
    let refused = |times| {
        let refused = || server.calls("sendMessage").iter().filter(|call| call.2 == 429).count();
        let owed = || gateway.try_status().filter(|status| status["owed"] == 1 && refused() == times);
        gateway.wait_for("the answer to be refused and owed", PATIENCE, owed);
    };
    server.say(guest, "what do you owe me?");
    refused(1);
    let work = gateway.send("main", "take 3s to say this", "2");
    let turn = gateway.await_running("main");
    gateway.ask("restart", &json!({"mode": "force"}));
    gateway.await_generation(2);
    gateway.await_running("main");
    refused(2);
    gateway.kill();
    gateway.restart_process();
    gateway.await_generation(3);
    server.await_said(guest, "the answer", |said| !said.is_empty());
    gateway.await_reply("main", work, PATIENCE);
    gateway.await_rest(PATIENCE);

    let show = |generation: &str| json_of(&gateway.cli(&["generations", "show", generation, "--json"]));
    let cut = |life: &Value, fate: &str, next: u64| {
        let resumed = json!({"attempt": next, "generation": next});
        let concluded = json!({"how": "answered", "generation": 3});
        let expected = json!([{
            "turn": turn, "session": "main", "attempt": next - 1, "fate": fate, "resumed": resumed, "concluded": concluded,
        }]);
        assert_eq!(life["turns"], expected, "{life}");
    };
    let handed_on = |life: &Value, owed: u64| {
        let deliveries = life["deliveries"].as_array().cloned().unwrap_or_default();
        let [delivery] = &deliveries[..] else { panic!("the answer and nothing else: {life}") };
        assert_eq!(delivery["session"], format!("telegram:{guest}"), "{life}");
        assert_eq!(delivery["owed_in"], 1, "{life}");
        assert_eq!(delivery["settled"], json!({"fate": "sent", "generation": 3}), "{life}");
        assert_eq!(life["owed"], owed, "{life}");
    };
    let (first, second, third) = (show("1"), show("2"), show("3"));
    cut(&first, "interrupted", 2);
    handed_on(&first, 1);
    assert_eq!(first["turns_concluded"], json!({"answered": 2}), "{first}");
    // The answer to "hello", and the word that the other one is cut.
    assert_eq!(first["deliveries_settled"], json!({"sent": 2}), "{first}");
    cut(&second, "cut", 3);
    handed_on(&second, 1);
    assert_eq!(second["turns_concluded"], json!({}), "{second}");
    assert_eq!(second["deliveries_settled"], json!({"sent": 1}), "the word that it goes on: {second}");
    assert_eq!((&third["turns"], &third["turns_concluded"]), (&json!([]), &json!({"answered": 1})), "{third}");
    handed_on(&third, 0);
    assert_eq!(third["deliveries_settled"], json!({"sent": 2}), "that answer, and the other: {third}");

    let text = String::from_utf8_lossy(&gateway.cli(&["generations", "show", "2"]).stdout).into_owned();
    for told in ["deliveries   settled here: 1 sent; owed at its end: 1", "generation 1  sent in generation 3"] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

/// Whoever asked is told even where the end that was asked for never came.
#[test]
fn a_restart_that_a_kill_overtakes_is_told_of_the_life_that_was_to_end_by_it() {
    let gateway = Gateway::builder().config("[drain]\nbudget = \"60s\"").start();
    gateway.send("main", "take 20s to say this", "1");
    gateway.await_running("main");
    gateway.ask("restart", &json!({"mode": "graceful", "reason": "a new agent"}));
    gateway.await_phase("draining");
    gateway.kill();
    let life = json_of(&gateway.cli(&["generations", "show", "1", "--json"]));
    assert_eq!((&life["end"], &life["turns"][0]["fate"]), (&json!("died"), &json!("cut")), "{life}");
    let asked = &life["requests"][0];
    let told = (&asked["by"], &asked["mode"], &asked["reason"], &asked["outcome"]);
    assert_eq!(told, (&json!("http"), &json!("graceful"), &json!("a new agent"), &Value::Null), "{life}");
    gateway.restart_process();
    gateway.await_generation(2);
    // It is there before it is ready, and only then is anybody told.
    let outcome = gateway.wait_for("the outcome", PATIENCE, || {
        let life = json_of(&gateway.cli(&["generations", "show", "1", "--json"]));
        Some(life["requests"][0]["outcome"].clone()).filter(|outcome| !outcome.is_null())
    });
    assert_eq!(outcome, json!({"kind": "restarted", "generation": 2}));
}

#[test]
fn the_audit_of_a_good_life_is_clean_and_says_what_it_covered_and_what_it_could_not() {
    let gateway = tried();
    gateway.restart_process();
    gateway.await_generation(3);
    gateway.assert_answered_once(&[], Words::Echo);
    let log = gateway.flight_log();
    for way in ["of a gateway that runs", "of the files"] {
        let (status, report) = audit(&gateway, Some(&log));
        assert_eq!((status, &report["broken"]), (Some(0), &json!(0)), "{way}: {report}");
        assert_eq!((&report["generations"], &report["flown"]), (&json!(3), &json!(3)), "{way}: {report}");
        for rule in ["EXIT", "BUDGET", "MARK", "ACK", "REPLY", "ONCE", "ADMIT", "ORPHAN", "LEDGER", "TRUTH", "READY"] {
            assert!(report["looked"][rule].as_u64() > Some(0), "{way}: {rule} was not looked at: {report}");
        }
        if way == "of a gateway that runs" {
            gateway.ask("stop", &json!({}));
            assert_eq!(gateway.exit_code(PATIENCE), 0);
        }
    }
    assert_eq!(gateway.cli(&["audit", "--since", "yesterday"]).status.code(), Some(64));
    let foreign = gateway.room().join("config.toml").display().to_string();
    fs::write(gateway.room().join("config.toml"), "[log]\n").expect("the room is writable");
    let output = gateway.cli(&["audit", "--flight", &foreign]);
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    assert!(stderr(&output).contains("no flight log of evergate"), "{}", stderr(&output));
}

/// An update must not make every audit of what was before it a finding.
#[test]
fn what_another_version_has_recorded_is_left_out_and_no_finding() {
    let gateway = tried();
    let text = fs::read_to_string(gateway.flight_log()).expect("it recorded");
    let second = text.rfind("{\"evergate_flight\":2").filter(|second| *second > 0).expect("two generations recorded");
    let (first, second) = text.split_at(second);
    let first = first.replace("\"evergate_flight\":2", "\"evergate_flight\":1").replace("\"records\":", "\"through\":");
    let log = gateway.room().join("updated.jsonl");
    fs::write(&log, format!("{first}{second}")).expect("the room is writable");
    let (status, report) = audit(&gateway, Some(&log));
    assert_eq!((status, &report["broken"], &report["flown"]), (Some(0), &json!(0), &json!(1)), "{report}");
    let note = "in a flight log, recorded by another version: 1 of its generations, of which only the journal was read";
    assert_eq!(report["notes"], json!([note]), "{report}");

    fs::write(&log, first).expect("the room is writable");
    let output = gateway.cli(&["audit", "--flight", &log.display().to_string()]);
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    assert!(stderr(&output).contains("line 1 is of version 1 of the flight log"), "{}", stderr(&output));
    let own = gateway.state_dir().join("flight/1.jsonl");
    fs::create_dir_all(own.parent().expect("it is in a folder")).expect("the room is writable");
    fs::rename(&log, &own).expect("the room is writable");
    let (status, report) = audit(&gateway, None);
    assert_eq!((status, &report["broken"], &report["flown"]), (Some(0), &json!(0), &json!(0)), "{report}");
    let notes = report["notes"].to_string();
    assert!(notes.contains("flight logs of another version") && notes.contains("only the journal was read"), "{notes}");
}

#[test]
fn a_gateway_that_took_more_for_on_disk_than_it_appended_is_found_in_its_flight_log() {
    let gateway = tried();
    let text = fs::read_to_string(gateway.flight_log()).expect("it recorded");
    let told = "{\"synced\":{\"records\":1}}";
    assert!(text.contains(told), "{text}");
    let doctored = gateway.room().join("doctored.jsonl");
    fs::write(&doctored, text.replacen(told, "{\"synced\":{\"records\":2}}", 1)).expect("the room is writable");
    let (status, report) = audit(&gateway, Some(&doctored));
    assert_eq!((status, rules(&report)), (Some(1), vec!["ACK"]), "{report}");
    let what = &report["stories"][0]["what"];
    assert_eq!(what, "record 2 of 2 was taken for on disk, and no more were appended", "{report}");
}

#[test]
fn a_send_that_nobody_owed_is_found_in_a_flight_log() {
    let gateway = tried();
    let text = fs::read_to_string(gateway.flight_log()).expect("it recorded");
    let acked = "{\"ack\":{\"message\":1}}";
    let send = "{\"send\":{\"delivery\":77,\"session\":1,\"content\":{\"reply\":{\"turn\":1,\"messages\":[1]}}}}";
    assert!(text.contains(acked), "{text}");
    let doctored = gateway.room().join("doctored.jsonl");
    fs::write(&doctored, text.replacen(acked, &format!("{acked},{send}"), 1)).expect("the room is writable");
    let (status, report) = audit(&gateway, Some(&doctored));
    assert_eq!(status, Some(1), "{report}");
    assert!(rules(&report).contains(&"REPLY") && rules(&report).contains(&"CORE"), "{report}");
    let story = report["stories"].as_array().expect("stories").iter().find(|story| story["rule"] == "REPLY");
    let what = story.and_then(|story| story["what"].as_str()).unwrap_or_default();
    assert_eq!(what, "delivery 77 is sent and not owed on disk", "{report}");
    // What lies before the time that is asked for is not told.
    let since = ["audit", "--flight", &doctored.display().to_string(), "--since", "2"].map(str::to_owned);
    let output = gateway.cli(&since.each_ref().map(String::as_str));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_second_outcome_and_a_delivery_out_of_nowhere_are_found_in_a_journal() {
    let gateway = tried();
    let write = |record| Write { record, body: Body::None };
    {
        let store = Store::open(journal_disk(gateway.state_dir())).expect("nobody owns it");
        let writes = vec![
            write(Record::RequestSettled { request: RequestId(1), outcome: Outcome::Cancelled }),
            write(Record::DeliverySettled { delivery: DeliveryId(77), fate: Fate::Sent }),
        ];
        store.commit(&Batch { writes, at_ms: 4_000_000_000_000, ..Batch::default() }).expect("the disk has room");
        store.close();
    }
    for flight in [Some(gateway.flight_log()), None] {
        let (status, report) = audit(&gateway, flight.as_ref());
        assert_eq!(status, Some(1), "{report}");
        assert_eq!(rules(&report), ["ONCE", "REPLY"], "{report}");
    }
    let text = gateway.cli(&["audit"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("BROKEN ONCE: request 1 has another outcome"), "{text}");
    assert!(text.contains("not looked at, since that takes a flight log: EXIT"), "{text}");
    // It was made up, and is not to be held against this gateway once more.
    fs::remove_file(gateway.state_dir().join("journal.redb")).expect("it is ours");
}

#[test]
fn each_generation_keeps_a_flight_log_of_its_own_and_one_that_cannot_serves_all_the_same() {
    let gateway = Gateway::builder().unrecorded().start();
    gateway.send("main", "hello", "1");
    gateway.assert_answered_once(&[], Words::Echo);
    gateway.ask("restart", &json!({"mode": "force"}));
    gateway.await_generation(2);
    let folder = gateway.state_dir().join("flight");
    assert!(folder.join("1.jsonl").exists() && folder.join("2.jsonl").exists());
    let (status, report) = audit(&gateway, None);
    assert_eq!((status, &report["flown"], &report["notes"]), (Some(0), &json!(2), &json!([])), "{report}");

    gateway.kill();
    assert_kept_conformant(gateway.state_dir(), 2);
    fs::remove_dir_all(&folder).expect("it is ours");
    fs::write(&folder, "in the way").expect("the state directory is writable");
    gateway.restart_process();
    gateway.await_generation(3);
    gateway.send("main", "hello again", "2");
    gateway.assert_answered_once(&[], Words::Echo);
    let said = gateway.log();
    assert_eq!(said.matches("the flight log cannot be opened").count(), 1, "{said}");
}
