//! Talking to a gateway: messages that are sent until they are accepted, events that are followed until something has
//! happened, requests that are followed until they are settled. Everything accepted is remembered for the oracle.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::events::{Event, EventStream, Follower};
use crate::gateway::Gateway;
use crate::http::{Answer, Client};
use crate::oracle::{self, Accepted, Words};

impl Gateway {
    /// Sends one message, once. What is accepted (200 or 202) and is no chat command is remembered for the oracle.
    pub fn try_send(&self, session: &str, text: &str, id: &str) -> io::Result<Answer> {
        self.send_with(&self.client(), session, text, id)
    }

    fn send_with(&self, client: &Client, session: &str, text: &str, id: &str) -> io::Result<Answer> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(session.to_owned());
        let body = json!({"text": text, "id": id});
        let answer = client.post(&format!("/v1/sessions/{session}/messages"), &body)?;
        if matches!(answer.status, 200 | 202) && !text.starts_with('/') {
            let message = message_id(&answer);
            let accepted = Accepted { session: session.to_owned(), message, text: text.to_owned() };
            let mut all = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
            if !all.contains(&accepted) {
                all.push(accepted);
            }
        }
        Ok(answer)
    }

    /// Sends a message with this id until it is accepted, as a good client does, and gives the gateway's id for it.
    ///
    /// # Panics
    /// When it is refused for good, or nobody accepts it in time.
    pub fn send(&self, session: &str, text: &str, id: &str) -> u64 {
        self.send_before(session, text, id, Instant::now() + PATIENCE)
    }

    /// [`send`](Self::send) with a deadline of the caller's.
    pub fn send_before(&self, session: &str, text: &str, id: &str, deadline: Instant) -> u64 {
        let client = self.client();
        let left = deadline.saturating_duration_since(Instant::now());
        self.wait_for(&format!("message {id} of {session} to be accepted"), left, || {
            let answer = self.send_with(&client, session, text, id).ok()?;
            match answer.status {
                200 | 202 => Some(message_id(&answer)),
                503 | 507 => None,
                _ => panic!("message {id} of {session} was refused: {answer:?}"),
            }
        })
    }

    /// A client that follows this session from behind `after`, or from its beginning.
    pub fn follow(&self, session: &str, after: Option<u64>) -> Follower {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(session.to_owned());
        Follower::new(self.address(), self.token(), session, after)
    }

    /// The kept events of a session from behind `after` up to the first with which `enough` is satisfied.
    ///
    /// # Panics
    /// When that takes longer than 30 s; the message shows what did come.
    pub fn events(
        &self,
        session: &str,
        after: Option<u64>,
        what: &str,
        enough: impl Fn(&[Event]) -> bool,
    ) -> Vec<Event> {
        self.events_before(session, after, what, Instant::now() + PATIENCE, enough)
    }

    /// [`events`](Self::events) with a deadline of the caller's.
    pub fn events_before(
        &self,
        session: &str,
        after: Option<u64>,
        what: &str,
        deadline: Instant,
        enough: impl Fn(&[Event]) -> bool,
    ) -> Vec<Event> {
        let mut follower = self.follow(session, after);
        let mut events = Vec::new();
        while !enough(&events) {
            match follower.next_kept(deadline) {
                Some(event) => events.push(event),
                None => panic!("in time there was no {what} in {session}; there was {events:#?}"),
            }
        }
        events
    }

    /// Waits for a turn of this session to be running and gives its number.
    pub fn await_running(&self, session: &str) -> u64 {
        let running = |status: &Value| {
            let turns = status["turns"].as_array()?;
            turns.iter().find(|turn| turn["session"] == session && turn["state"] == "running")?["turn"].as_u64()
        };
        self.wait_for(&format!("a running turn of {session}"), PATIENCE, || running(&self.try_status()?))
    }

    /// Waits until the running turn of a session has said this, as far as a client hears that.
    ///
    /// # Panics
    /// When it does not say so in time, or the gateway goes.
    pub fn await_said(&self, session: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut said = String::new();
        let mut stream = EventStream::open(self.address(), &self.token(), session, None).expect("the gateway serves");
        while !said.contains(text) {
            let event = stream.next(deadline).expect("the gateway lives");
            let event = event.unwrap_or_else(|| panic!("it says only {said:?}"));
            if event.is("delta") {
                said.push_str(event.text());
            }
        }
    }

    /// Waits for the reply that holds this message.
    pub fn await_reply(&self, session: &str, message: u64, patience: Duration) -> Event {
        let deadline = Instant::now() + patience;
        let answers = |event: &Event| event.is("reply") && event.messages().contains(&message);
        let what = format!("reply to message {message}");
        let events = self.events_before(session, None, &what, deadline, |events| events.last().is_some_and(answers));
        events.last().expect("it ends with the reply").clone()
    }

    /// Waits until it serves and owes nobody anything: no turn, no queued message, no delivery.
    pub fn await_rest(&self, patience: Duration) {
        self.wait_for("the gateway to come to rest", patience, || {
            let status = self.try_status()?;
            let idle = status["turns"].as_array().is_some_and(Vec::is_empty);
            (status["phase"] == "serving" && idle && status["queued"] == 0 && status["owed"] == 0).then_some(())
        });
    }

    /// Every kept event of a session, from its beginning to its last one. Ask at rest.
    pub fn complete_log(&self, session: &str) -> Vec<Event> {
        let answer = self.client().get("/v1/sessions").expect("a gateway at rest answers").json();
        let known = answer["sessions"].as_array().and_then(|all| all.iter().find(|one| one["session"] == session));
        let last = known.and_then(|one| one["last_event"].as_u64());
        let last = last.unwrap_or_else(|| panic!("no last event of {session} in {answer}"));
        self.events(session, None, &format!("event {last}"), |events| {
            events.last().and_then(|event| event.id) >= Some(last)
        })
    }

    /// Waits for rest, then judges the complete log of every session that was spoken to.
    ///
    /// # Panics
    /// With every complaint, when not each accepted message is answered exactly once, in order, with the prompt's
    /// words. The messages in `reported` have to be reported by a notice instead.
    pub fn assert_answered_once(&self, reported: &[u64], words: Words) {
        self.await_rest(PATIENCE);
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(!accepted.is_empty(), "nothing was accepted, so nothing was tested");
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut wrong = Vec::new();
        for session in sessions {
            let accepted: Vec<_> = accepted.iter().filter(|prompt| prompt.session == session).cloned().collect();
            if !accepted.is_empty() {
                let complaints = oracle::complaints(&accepted, reported, words, &self.complete_log(&session));
                wrong.extend(complaints.into_iter().map(|complaint| format!("{session}: {complaint}")));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Makes a request over HTTP (`restart` or `stop`) and gives its number.
    pub fn ask(&self, kind: &str, body: &Value) -> u64 {
        let answer = self.client().post(&format!("/v1/{kind}"), body).expect("a living gateway answers");
        assert_eq!(answer.status, 202, "{kind} is accepted: {answer:?}");
        answer.json()["request"].as_u64().unwrap_or_else(|| panic!("no request number in {answer:?}"))
    }

    /// Waits until a request is settled and gives its outcome.
    pub fn outcome(&self, request: u64) -> Value {
        self.wait_for(&format!("the outcome of request {request}"), PATIENCE, || {
            let answer = self.client().get(&format!("/v1/requests/{request}")).ok()?;
            let body = answer.json();
            (answer.status == 200 && body["state"] == "settled").then(|| body["outcome"].clone())
        })
    }
}

fn message_id(answer: &Answer) -> u64 {
    answer.json()["message"].as_u64().unwrap_or_else(|| panic!("no message id in {answer:?}"))
}

/// One person in one session who says the next thing when the last one is answered, whatever happens to the gateway.
pub struct Person<'a> {
    gateway: &'a Gateway,
    session: String,
    follower: Follower,
    said: u64,
}

impl<'a> Person<'a> {
    /// Somebody new in this session.
    pub fn new(gateway: &'a Gateway, session: &str) -> Self {
        Self { gateway, session: session.to_owned(), follower: gateway.follow(session, None), said: 0 }
    }

    /// Says something and waits for the reply to it.
    ///
    /// # Panics
    /// When it is not answered by the deadline.
    pub fn say(&mut self, text: &str, deadline: Instant) -> Event {
        self.said += 1;
        let id = format!("{}-{}", self.session, self.said);
        let message = self.gateway.send_before(&self.session, text, &id, deadline);
        loop {
            let Some(event) = self.follower.next_kept(deadline) else {
                panic!("{text:?} (message {message}) was not answered in time; last event {:?}", self.follower.last());
            };
            if event.is("reply") && event.messages().contains(&message) {
                return event;
            }
        }
    }
}

/// Raises a flag when it goes, so that the threads of a scope end too when the test fails in its middle.
pub struct EndOfTalk<'a>(pub &'a AtomicBool);

impl Drop for EndOfTalk<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
