//! The local platform: its server is the gateway itself, and its people keep what they have to say until it is acked.

use evergate_tests::contract::Venue;
use evergate_tests::gateway::{Builder, Gateway};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

const SESSIONS: [&str; 3] = ["one", "two", "three"];

/// People with a good client: it sends a message again, under the same id, until the gateway has it.
#[derive(Default)]
struct Clients {
    /// What the gateway has not acked, and all that was ever said: session, body.
    unsent: Mutex<VecDeque<(usize, Value)>>,
    said: Mutex<Vec<(usize, Value)>>,
}

fn venue(_test: &str) -> Option<Clients> {
    Some(Clients::default())
}

evergate_tests::contract!(venue);

fn post(gateway: &Gateway, (chat, body): &(usize, Value)) -> bool {
    let answer = gateway.client().post(&format!("/v1/sessions/{}/messages", SESSIONS[*chat]), body);
    answer.is_ok_and(|answer| matches!(answer.status, 200 | 202))
}

impl Clients {
    /// Sends what the gateway takes, in order.
    fn flush(&self, gateway: &Gateway) {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        while unsent.front().is_some_and(|next| post(gateway, next)) {
            unsent.pop_front();
        }
    }
}

impl Venue for Clients {
    fn platform(&self) -> &'static str {
        "local"
    }

    fn gateway(&self) -> Builder {
        Gateway::builder().config("[agent.demo]\nwords_per_second = 0")
    }

    fn say(&self, gateway: &Gateway, chat: usize, text: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (chat, json!({"text": text, "id": format!("said-{}", said.len())}));
        said.push(next.clone());
        drop(said);
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner).push_back(next);
        self.flush(gateway);
    }

    fn answers(&self, gateway: &Gateway, chat: usize) -> Vec<String> {
        self.flush(gateway);
        let Ok(sessions) = gateway.client().get("/v1/sessions") else { return Vec::new() };
        let known = sessions.json()["sessions"].as_array().cloned().unwrap_or_default();
        if !known.iter().any(|known| known["session"] == SESSIONS[chat]) {
            return Vec::new();
        }
        let events = gateway.complete_log(SESSIONS[chat]);
        events.iter().filter(|event| event.is("reply")).map(|event| event.text().to_owned()).collect()
    }

    fn gives_again(&self, gateway: &Gateway) {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        gateway.wait_for("all to be taken again", evergate_tests::PATIENCE, || {
            said.iter().all(|said| post(gateway, said)).then_some(())
        });
    }
}
