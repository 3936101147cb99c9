//! Messages on the control socket: each line is `METHOD PATH BODY`. Whatever they hold, each is answered in JSON and in bounded
//! time, and what was accepted comes true: a message is answered once, and an accepted restart or stop ends the gateway so.

use crate::gateway::{CONTRACT, Gateway, beside_a_gateway};
use crate::http_request::status;
use evergate::journal::Event;
use evergate::local::Door;
use evergate_core::id::SessionId;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// As many lines as are sent.
const LINES: usize = 12;

/// What was accepted and is still to come true.
#[derive(Default)]
struct Accepted {
    restarts: BTreeSet<u64>,
    stops: BTreeSet<u64>,
    messages: BTreeSet<u64>,
}

/// Sends each line over a connection of its own.
pub fn control_message(data: &[u8]) {
    beside_a_gateway(Door::Control, async |gateway| {
        let mut accepted = Accepted::default();
        for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(LINES) {
            send(gateway, line, &mut accepted).await;
        }
        if accepted.stops.is_empty() && accepted.restarts.is_empty() {
            // Somebody in a chat may have ended it all the same.
            let by_chat = String::from_utf8_lossy(data).to_ascii_lowercase().contains("restart");
            let verdict = gateway.ended_within(Duration::from_secs(300)).await;
            assert!(by_chat || verdict.is_none(), "it ended, and nobody had asked for that: {verdict:?}");
            if verdict.is_none() && !by_chat {
                each_is_answered_once(gateway, &accepted.messages);
            }
        } else {
            let verdict = gateway.ended_within(Duration::from_secs(300)).await;
            let verdict = verdict.expect("what was accepted comes true");
            let wanted = if accepted.stops.is_empty() { CONTRACT.restart } else { CONTRACT.stop };
            assert_eq!(verdict, wanted, "{:?} and {:?} were accepted", accepted.restarts, accepted.stops);
        }
    });
}

async fn send(gateway: &Gateway, line: &[u8], accepted: &mut Accepted) {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (method, path, body) = (words.next().unwrap_or(b""), words.next().unwrap_or(b"/"), words.next().unwrap_or(b""));
    let head = format!(" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = gateway.send(&[method, b" ", path, head.as_bytes(), body].concat()).await;
    if answer.is_empty() {
        // Only a gateway that has ended says nothing.
        let phase = gateway.handle.hub.stage().phase;
        return assert_eq!(
            phase,
            evergate_core::gateway::Phase::Ended,
            "no answer to {:?}",
            String::from_utf8_lossy(line)
        );
    }
    let status = status(&answer);
    assert!(![408, 500].contains(&status), "{status} to {:?}", String::from_utf8_lossy(line));
    let Some((head, body)) = split(&answer) else { return };
    if !head.contains("content-type: application/json") {
        return;
    }
    let body: Value = serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&answer)));
    assert!(status < 400 || body["error"].is_string(), "{status} without a sentence: {body}");
    if status != 202 {
        return;
    }
    match (method, body["request"].as_u64(), body["message"].as_u64()) {
        (b"DELETE", Some(request), _) => {
            accepted.restarts.remove(&request);
            accepted.stops.remove(&request);
        }
        (_, Some(request), _) if path.windows(5).any(|part| part == b"/stop") => drop(accepted.stops.insert(request)),
        (_, Some(request), _) => drop(accepted.restarts.insert(request)),
        (_, None, Some(message)) => drop(accepted.messages.insert(message)),
        (_, None, None) => panic!("accepted, and it is not said what: {body}"),
    }
}

fn split(answer: &[u8]) -> Option<(String, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase(), &answer[end + 4..]))
}

/// A gateway that has had time enough has answered each message in one reply, or said something else about it.
fn each_is_answered_once(gateway: &Gateway, messages: &BTreeSet<u64>) {
    let journal = &gateway.handle.journal;
    let sessions = journal.sessions(SessionId(0), 100).expect("the journal can be read");
    let mut answered = Vec::new();
    for (session, ..) in sessions {
        let (mut after, mut events) = (0, Vec::<Event>::new());
        loop {
            let page = journal.events(session, after, 100).expect("the journal can be read");
            let Some(last) = page.last() else { break };
            after = last.id;
            events.extend(page);
        }
        for event in events.iter().filter(|event| event.name() == "reply") {
            let data: Value = serde_json::from_str(event.data()).expect("an event holds JSON");
            answered.extend(data["messages"].as_array().into_iter().flatten().filter_map(Value::as_u64));
        }
    }
    for message in messages {
        let stored = journal.message(evergate_core::id::MessageId(*message)).expect("the journal can be read");
        let stored = stored.expect("what was accepted is kept");
        let times = answered.iter().filter(|answered| *answered == message).count();
        let wanted = usize::from(stored.asked == evergate_core::input::Asked::Prompt);
        // `/stop` in the same chat may have cut it.
        assert!(
            times == wanted || (times == 0 && stored.asked == evergate_core::input::Asked::Prompt),
            "{message}: {times} replies"
        );
    }
}
