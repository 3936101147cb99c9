//! What comes in over HTTP: bodies, names, tokens, hosts, too much of it, and clients that do not listen.

use evergate_tests::PATIENCE;
use evergate_tests::events::EventStream;
use evergate_tests::gateway::Gateway;
use evergate_tests::http::{Answer, Client, raw};
use evergate_tests::oracle::Words;
use evergate_tests::process;
use serde_json::json;

use super::{GROWTH, assert_refused, assert_serves, instant_agent};

#[test]
fn bodies_that_make_no_sense_are_refused_with_a_reason() {
    let gateway = instant_agent().start();
    let client = gateway.client();
    let path = "/v1/sessions/main/messages";
    let text = |length: usize| json!({"text": "x".repeat(length)}).to_string().into_bytes();
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("text over the limit", text(70 * 1024), 413),
        ("body over the limit", text(200 * 1024), 413),
        ("no JSON", b"hello".to_vec(), 400),
        ("half a JSON", b"{\"text\": \"hel".to_vec(), 400),
        ("no UTF-8", b"{\"text\": \"\xff\xfe\"}".to_vec(), 400),
        ("no text", b"{}".to_vec(), 400),
        ("a text that is none", b"{\"text\": 7}".to_vec(), 400),
        ("an empty text", b"{\"text\": \"\"}".to_vec(), 400),
        ("a blank text", b"{\"text\": \" \\n\\t \"}".to_vec(), 400),
    ];
    for (case, body, status) in cases {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            gateway.address(),
            gateway.token(),
            body.len()
        );
        let request = [head.into_bytes(), body].concat();
        let answer = raw(gateway.address(), &request).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_refused(case, &answer, status);
    }
    let largest = client.post_bytes(path, &text(64 * 1024)).expect("a living gateway answers");
    assert_eq!(largest.status, 202, "the limit itself is allowed: {largest:?}");
    assert_serves(&gateway);
}

#[test]
fn session_names_outside_the_allowed_form_are_refused() {
    let gateway = instant_agent().start();
    let client = gateway.client();
    let too_long = "n".repeat(65);
    for name in ["two%20words", "%C3%A4", "a%2Fb", "a%00b", "semi%3Bcolon", "%3Cscript%3E", too_long.as_str()] {
        let path = format!("/v1/sessions/{name}/messages");
        let answer = client.post(&path, &json!({"text": "hello"})).expect("a living gateway answers");
        assert_refused(name, &answer, 400);
    }
    let longest = format!("/v1/sessions/{}/messages", "Az09._-".repeat(10).split_at(64).0);
    let answer = client.post(&longest, &json!({"text": "hello"})).expect("a living gateway answers");
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[test]
fn an_unknown_request_is_not_found() {
    let gateway = instant_agent().start();
    let answer = gateway.client().get("/v1/requests/999999").expect("a living gateway answers");
    assert_refused("an unknown request", &answer, 404);
}

#[test]
fn only_the_token_opens_what_is_under_v1() {
    let gateway = instant_agent().start();
    let stranger = Client::new(gateway.address(), None);
    let impostor = Client::new(gateway.address(), Some("not-the-token".to_owned()));
    for path in ["/v1/status", "/v1/sessions/main/events", "/v1/requests/1"] {
        assert_refused(path, &stranger.get(path).expect("a living gateway answers"), 401);
        assert_refused(path, &impostor.get(path).expect("a living gateway answers"), 403);
    }
    for path in ["/v1/sessions/main/messages", "/v1/restart", "/v1/stop"] {
        let body = json!({"text": "hello"});
        assert_refused(path, &stranger.post(path, &body).expect("a living gateway answers"), 401);
        assert_refused(path, &impostor.post(path, &body).expect("a living gateway answers"), 403);
    }
    for path in ["/", "/healthz", "/readyz", "/metrics"] {
        assert_eq!(stranger.get(path).expect("a living gateway answers").status, 200, "{path} is for everybody");
    }
    assert_eq!(gateway.status()["phase"], "serving", "nobody was let in");
}

#[test]
fn a_foreign_host_or_origin_is_refused_even_with_the_token() {
    let gateway = instant_agent().start();
    let own = gateway.address().to_string();
    let own_origin = format!("http://{own}");
    let cases = [
        ("evil.example", None, 403),
        ("evil.example:80", None, 403),
        (own.as_str(), Some("http://evil.example"), 403),
        (own.as_str(), Some("null"), 403),
        (own.as_str(), Some(own_origin.as_str()), 200),
        (own.as_str(), None, 200),
    ];
    for (host, origin, status) in cases {
        let origin_line = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /v1/status HTTP/1.1\r\nHost: {host}\r\n{origin_line}Authorization: Bearer {}\r\nConnection: close\r\n\r\n",
            gateway.token()
        );
        let answer = raw(gateway.address(), request.as_bytes()).expect("a living gateway answers");
        assert_eq!(answer.status, status, "Host {host}, Origin {origin:?}: {answer:?}");
    }
}

fn assert_busy(case: &str, answer: &Answer) {
    assert_refused(case, answer, 503);
    assert!(answer.retry_after.is_some(), "{case}: the client is told when to come again: {answer:?}");
}

#[test]
fn one_session_too_many_is_told_to_come_again() {
    let gateway = instant_agent().config("[limits]\nsessions = 2").start();
    gateway.send("one", "take 3s for this", "1");
    gateway.send("two", "take 3s for this", "2");
    assert_busy("a third session", &gateway.try_send("three", "hello", "3").expect("a living gateway answers"));
    gateway.send("one", "the known ones are served", "4");
    gateway.await_rest(evergate_tests::PATIENCE);
    gateway.send("three", "an answered session makes room", "5");
    gateway.assert_answered_once(&[], Words::Echo);
}

/// Sends to these sessions in turn until one is refused, which has to happen before `most` are accepted.
fn fill(gateway: &Gateway, sessions: &[&str], most: usize) -> Answer {
    for number in 0..=most {
        let session = sessions[number % sessions.len()];
        let answer = gateway.try_send(session, &format!("number {number}"), &format!("fill-{number}"));
        let answer = answer.expect("a living gateway answers");
        if !matches!(answer.status, 200 | 202) {
            return answer;
        }
    }
    panic!("more than {most} messages were accepted, the limits are smaller");
}

#[test]
fn one_message_too_many_for_a_session_is_told_to_come_again() {
    let gateway = Gateway::builder().config("[limits]\nqueued_per_session = 2").start();
    gateway.send("main", "take 4s for this", "first");
    gateway.await_running("main");
    assert_busy("a full session", &fill(&gateway, &["main"], 3));
    gateway.send("other", "other sessions are served", "1");
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn one_message_too_many_for_the_gateway_is_told_to_come_again() {
    let gateway = Gateway::builder().config("[limits]\nqueued = 4\nturns = 2").start();
    for session in ["one", "two"] {
        gateway.send(session, "take 4s for this", "first");
        gateway.await_running(session);
    }
    assert_busy("a full gateway", &fill(&gateway, &["one", "two", "three"], 7));
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn clients_that_never_read_their_events_cost_the_others_nothing() {
    let gateway = instant_agent().start();
    gateway.send("flood", "hello", "first");
    let (pid, token) = (gateway.pid(), gateway.token());
    let before = process::resident_bytes(pid);
    let deaf: Vec<_> = (0..40)
        .map(|_| EventStream::open(gateway.address(), &token, "flood", None).expect("a living gateway answers"))
        .collect();
    let long = "x".repeat(60_000);
    let mut last = 0;
    for number in 0..60 {
        last = gateway.send("flood", &format!("{number} {long}"), &format!("flood-{number}"));
    }
    gateway.await_reply("flood", last, PATIENCE * 2);
    assert_serves(&gateway);
    let grown = process::resident_bytes(pid).saturating_sub(before);
    assert!(grown < GROWTH, "it grew by {} MiB for {} deaf clients", grown >> 20, deaf.len());
    assert_eq!(gateway.pid(), pid);
}
