//! A gateway that dies again and again: its loop breaker trips, everybody can read that, messages are still answered, and one
//! command has everything go on.

use evergate_tests::PATIENCE;
use evergate_tests::gateway::Gateway;
use evergate_tests::oracle::Words;
use serde_json::{Value, json};

/// As many generations in a row may die before one of them has brought a turn to its end.
const DEATHS: usize = 10;

/// A gateway that was killed until its breaker tripped, and the message whose turn is held.
fn tripped() -> (Gateway, u64) {
    let gateway = Gateway::builder().config("[recovery]\nattempts = 100").start();
    let held = gateway.send("slow", "take 4s to say this", "held");
    gateway.await_running("slow");
    for _ in 0..DEATHS {
        gateway.kill();
        gateway.restart_process();
        gateway.await_ready();
    }
    (gateway, held)
}

fn status(gateway: &Gateway) -> Value {
    gateway.client().get("/v1/status").expect("it serves").json()
}

fn ready(gateway: &Gateway) -> (u16, Value) {
    let answer = gateway.client().get("/readyz").expect("it serves");
    (answer.status, answer.json()["breaker"].clone())
}

#[test]
fn one_command_clears_a_tripped_loop_breaker_and_what_was_held_goes_on() {
    let (gateway, held) = tripped();
    assert_eq!(ready(&gateway), (200, json!("tripped")));
    let breaker = status(&gateway)["breaker"].clone();
    assert_eq!(breaker, json!({"state": "tripped", "deaths": DEATHS, "held": 1}));
    assert!(gateway.log().contains("the loop breaker is tripped"));
    let look = gateway.cli(&["breaker"]);
    assert_eq!(look.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&look.stderr).contains("tripped after 10 deaths in a row, holds 1 turn"));
    let told = String::from_utf8_lossy(&gateway.cli(&["status"]).stdout).into_owned();
    assert!(told.contains("breaker      tripped after 10 deaths in a row"), "{told}");
    let doctor = gateway.cli(&["doctor", "--json"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("evergate breaker reset"));
    // Who waits for the reply that is held is told what it waits for.
    let waits = ["send", "--session", "slow", "--id", "held", "--timeout", "5s", "take 4s to say this"];
    let waited = gateway.cli(&waits);
    let told = String::from_utf8_lossy(&waited.stderr).into_owned();
    assert_eq!(waited.status.code(), Some(75), "{told}");
    assert!(
        told.contains("tripped after 10 deaths in a row, holds 1 turn; clear it with `evergate breaker reset`"),
        "{told}"
    );

    let reset = gateway.cli(&["breaker", "reset"]);
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    assert!(String::from_utf8_lossy(&reset.stdout).starts_with("reset: generation "));
    gateway.await_reply("slow", held, PATIENCE);
    assert_eq!(ready(&gateway), (200, json!("closed")));

    let again = gateway.cli(&["breaker", "reset", "--json"]);
    assert!(again.status.success());
    assert!(String::from_utf8_lossy(&again.stdout).contains("\"reset\": false"));
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn a_reset_lasts_over_the_next_death() {
    let (gateway, held) = tripped();
    assert!(gateway.cli(&["breaker", "reset"]).status.success());
    gateway.kill();
    gateway.restart_process();
    gateway.await_ready();
    assert_eq!(ready(&gateway), (200, json!("closed")));
    gateway.await_reply("slow", held, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn a_tripped_gateway_answers_messages_and_that_closes_its_breaker_too() {
    let (gateway, held) = tripped();
    // That one waits for nobody, and is told nothing of what others wait for.
    let answered = gateway.cli(&["send", "--session", "other", "take 3s to say this"]);
    let told = String::from_utf8_lossy(&answered.stderr).into_owned();
    assert!(answered.status.success() && !told.contains("breaker"), "{told}");
    assert_eq!(ready(&gateway), (200, json!("closed")));
    gateway.await_reply("slow", held, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
}
