//! Updates that the server brings: what is taken, from whom, and the way there and back to polling. That nothing is lost is
//! the contract's business.

use super::{GUESTS, OPERATOR, QUICK, await_health, bot_api, gateway, health, texts};
use evergate_tests::bot_api::operator::BotApi;
use evergate_tests::gateway::free_address;
use evergate_tests::http::{Answer, raw};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

/// A webhook's configuration; the server reaches the gateway without anything between.
fn hooked(address: SocketAddr) -> String {
    format!("webhook = 'http://{address}/hook'\nwebhook_listen = '{address}'\n{QUICK}")
}

/// What the server was told.
fn told(server: &BotApi) -> (String, String) {
    let told = server.order("/webhook", &json!({}));
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    (text("url"), text("secret"))
}

fn visit(address: SocketAddr, secret: Option<&str>, body: &[u8]) -> Answer {
    try_visit(address, secret, body).expect("the address answers")
}

fn try_visit(address: SocketAddr, secret: Option<&str>, body: &[u8]) -> std::io::Result<Answer> {
    let secret = secret.map_or_else(String::new, |secret| format!("x-telegram-bot-api-secret-token: {secret}\r\n"));
    let head = format!(
        "POST /hook HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{secret}content-length: {}\r\n\r\n",
        body.len()
    );
    raw(address, &[head.as_bytes(), body].concat())
}

#[test]
fn updates_are_brought_and_nobody_polls() {
    let (server, address) = (bot_api(), free_address());
    let gateway = gateway(&server, &hooked(address)).start();
    await_health(&gateway, "up", "");
    server.say(GUESTS[0], "hello");
    let said = server.await_said(GUESTS[0], "an answer", |said| !said.is_empty());
    assert_eq!(texts(&said), ["You said: hello"]);
    assert!(server.calls("getUpdates").is_empty());
    assert_eq!(gateway.status()["platforms"][0]["capabilities"]["replay"], "sender");
    let (url, secret) = told(&server);
    assert_eq!(url, format!("http://{address}/hook"));
    assert!(secret.len() >= 32 && !gateway.log().contains(&secret), "nobody reads the secret");
}

/// What the server is told is taken it forgets.
#[test]
fn an_update_is_taken_when_it_is_on_disk_and_not_before() {
    let (server, address) = (bot_api(), free_address());
    let config = format!("{}\n[debug]\nhooks = \"on\"\n[watchdog]\nfreeze = \"1h\"", hooked(address));
    let gateway = gateway(&server, &config).start();
    await_health(&gateway, "up", "");
    let (_, secret) = told(&server);
    let brought = |number: i64| {
        let update = json!({"update_id": number, "message": {
            "message_id": number, "chat": {"id": GUESTS[0]}, "from": {"id": GUESTS[0], "first_name": "x"}, "text": "hello",
        }})
        .to_string();
        let secret = secret.clone();
        move || try_visit(address, Some(&secret), update.as_bytes()).map(|answer| answer.status)
    };
    assert_eq!(brought(77)().ok(), Some(200));
    gateway.freeze("journal", Duration::from_secs(600));
    let visit = std::thread::spawn(brought(78));
    // Whoever did not wait for the disk would have taken it by now.
    std::thread::sleep(Duration::from_secs(1));
    assert!(!visit.is_finished(), "it is taken and on no disk");
    gateway.kill();
    assert!(visit.join().expect("it only visits").is_err(), "nobody has answered");
}

#[test]
fn a_restart_in_place_keeps_both_doors() {
    let (server, address) = (bot_api(), free_address());
    let gateway = gateway(&server, &hooked(address)).start();
    await_health(&gateway, "up", "");
    server.order("/message", &json!({"chat": OPERATOR, "text": "/restart"}));
    gateway.await_generation(2);
    server.say(GUESTS[0], "hello");
    server.await_said(GUESTS[0], "an answer", |said| texts(said) == ["You said: hello"]);
    let warnings = gateway.log().matches("listens elsewhere").count();
    assert_eq!(warnings, 0, "{}", gateway.log());
}

#[test]
fn whoever_does_not_know_the_secret_is_not_heard() {
    let (server, address) = (bot_api(), free_address());
    let gateway = gateway(&server, &hooked(address)).start();
    await_health(&gateway, "up", "");
    let forged = json!({"update_id": 1, "message": {
        "message_id": 1, "chat": {"id": GUESTS[0]}, "from": {"id": GUESTS[0], "first_name": "x"}, "text": "let me in",
    }});
    let (_, secret) = told(&server);
    let near = format!("{}x", &secret[..secret.len() - 1]);
    for wrong in [None, Some(""), Some("wrong"), Some(&*near), Some(&secret[1..])] {
        assert_eq!(visit(address, wrong, forged.to_string().as_bytes()).status, 401, "{wrong:?}");
    }
    server.say(GUESTS[0], "hello");
    let said = server.await_said(GUESTS[0], "an answer", |said| !said.is_empty());
    assert_eq!(texts(&said), ["You said: hello"]);
}

#[test]
fn what_is_no_update_is_refused_and_an_unknown_kind_is_passed_over() {
    let (server, address) = (bot_api(), free_address());
    let gateway = gateway(&server, &hooked(address)).start();
    await_health(&gateway, "up", "");
    let (_, secret) = told(&server);
    let brought = |body: &[u8]| visit(address, Some(&secret), body).status;
    assert_eq!(brought(b"{\"update_id\":"), 400);
    assert_eq!(brought(b"\xff\xfe"), 400);
    assert_eq!(brought(b""), 400);
    assert_eq!(brought(b"[1, 2]"), 400);
    assert_eq!(brought(b"{\"message\": {}}"), 400, "an update has a number");
    assert_eq!(brought(&vec![b' '; 3 << 20]), 413);
    assert_eq!(brought(b"{\"update_id\": 5, \"brand_new_kind\": {}}"), 200);
    assert_eq!(
        brought(b"{\"update_id\": 6, \"message\": {\"message_id\": \"x\"}}"),
        200,
        "it would never become better"
    );
    let get = raw(address, b"GET /hook HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it answers");
    assert_eq!(get.status, 405);
    server.say(GUESTS[0], "still there?");
    server.await_said(GUESTS[0], "an answer", |said| texts(said) == ["You said: still there?"]);
    assert_eq!(health(&gateway).0, "up");
}

#[test]
fn an_update_whose_answer_is_lost_is_brought_again_and_answered_once() {
    let (server, address) = (bot_api(), free_address());
    let gateway = gateway(&server, &hooked(address)).start();
    await_health(&gateway, "up", "");
    server.fault(&json!({"kind": "lose_answer", "method": "push", "times": 2}));
    server.say(GUESTS[0], "hello");
    server.say(GUESTS[1], "and I?");
    server.await_said(GUESTS[1], "an answer", |said| said.len() == 1);
    server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(server.said(GUESTS[0]).len(), 1);
    assert!(server.calls("push").len() >= 4, "twice in vain, and once each");
}

#[test]
fn a_gateway_that_polls_again_takes_its_webhook_away_and_loses_nothing() {
    let (server, address) = (bot_api(), free_address());
    let first = gateway(&server, &hooked(address)).start();
    server.say(GUESTS[0], "brought");
    server.await_said(GUESTS[0], "an answer", |said| said.len() == 1);
    first.kill();
    server.say(GUESTS[0], "polled");
    let again = gateway(&server, QUICK).state_dir(first.state_dir()).start();
    let said = server.await_said(GUESTS[0], "an answer", |said| said.len() == 2);
    assert_eq!(texts(&said), ["You said: brought", "You said: polled"]);
    assert_eq!(told(&server).0, "");
    assert!(server.calls("getUpdates").iter().all(|call| call.2 != 409), "it knew, and did not have to be told");
    drop(again);
}

#[test]
fn a_webhook_that_the_server_does_not_take_parks_the_platform() {
    let (server, address) = (bot_api(), free_address());
    server.fault(&json!({"kind": "refuse", "method": "setWebhook"}));
    let gateway = gateway(&server, &hooked(address)).start();
    await_health(&gateway, "parked", "telegram.webhook");
}

#[test]
fn a_token_that_is_revoked_under_a_webhook_parks_the_platform() {
    let (server, address) = (bot_api(), free_address());
    server.order("/settings", &json!({"revoked": true}));
    let gateway = gateway(&server, &hooked(address)).start();
    await_health(&gateway, "parked", "token");
}
