//! Rooms on a homeserver, and the line between that and the gateway.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::json;

use super::{Person, Synapse};
use crate::between::{Between, Fault};
use crate::contract::Venue;
use crate::gateway::{Builder, Gateway};
use crate::{PATIENCE, eventually};

/// Rooms with one person and the gateway's user in each.
pub struct Rooms {
    /// The server.
    pub synapse: RefCell<Synapse>,
    /// The person.
    pub ann: Person,
    /// The rooms.
    pub rooms: Vec<String>,
    /// What lies between the gateway and the server.
    between: Between,
}

impl Rooms {
    /// So many rooms, to all of which the gateway's user is invited.
    #[must_use]
    pub fn new(synapse: Synapse, rooms: usize) -> Self {
        let ann = synapse.person("ann");
        let rooms = (0..rooms).map(|_| ann.invite_bot()).collect();
        let between = Between::new(synapse.address);
        Self { synapse: RefCell::new(synapse), ann, rooms, between }
    }

    /// The section of a configuration that makes a gateway its user `bot`, over a line that counts how long nobody polls.
    ///
    /// # Panics
    /// When the room cannot be written.
    #[must_use]
    pub fn watched_section(&self) -> String {
        self.between.watch("/sync?");
        self.synapse.borrow().section_at(self.between.address, "bot")
    }

    /// The longest time in which nobody polled over that line, since the last time this was asked.
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        self.between.longest_silence()
    }

    /// The next two answers to polls over that line are no JSON: one is cut, one is a proxy's own page.
    pub fn garbles_polls(&self) {
        for (kind, body) in [("application/json", "{\"next_batch\": \"s1"), ("text/html", "<html>hello</html>")] {
            self.answers_instead("/sync?", "200 OK", kind, body);
        }
    }

    /// The homeserver does not hear of the next request over that line that has this in its path; this is the answer.
    pub fn answers_instead(&self, path: &str, status: &str, kind: &str, body: &str) {
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}", body.len());
        self.between.order(path, Fault::Instead(format!("{head}\r\n\r\n{body}")));
    }

    /// The answer to the next request over that line that has this in its path comes so much later.
    pub fn holds(&self, path: &str, length: Duration) {
        self.between.order(path, Fault::Hold(length));
    }

    /// Waits until the gateway's user has come into all rooms.
    ///
    /// # Panics
    /// When it does not.
    pub fn await_bot(&self) {
        for room in &self.rooms {
            let joined = eventually(PATIENCE, || {
                std::thread::sleep(Duration::from_millis(100));
                (self.ann.bot_is(room) == "join").then_some(())
            });
            assert!(joined.is_some(), "the gateway does not follow its invitation to {room}");
        }
    }
}

impl Rooms {
    /// The answers of the agent that a room shows right now, oldest first.
    #[must_use]
    pub fn answers(&self, room: usize) -> Vec<String> {
        self.ann.shown(&self.rooms[room], "m.text").into_iter().map(|(text, _)| text).collect()
    }
}

impl Venue for Rooms {
    fn platform(&self) -> &'static str {
        "matrix"
    }

    fn gateway(&self) -> Builder {
        let section = self.synapse.borrow().section_at(self.between.address, "bot");
        Gateway::builder().config("[agent.demo]\nwords_per_second = 0\n").config(&section)
    }

    fn await_heard(&self, _gateway: &Gateway) {
        self.await_bot();
    }

    fn say(&self, _gateway: &Gateway, chat: usize, text: &str) {
        self.ann.say(&self.rooms[chat], text, None);
    }

    fn answers(&self, _gateway: &Gateway, chat: usize) -> Vec<String> {
        Self::answers(self, chat)
    }

    fn gives_again(&self, _gateway: &Gateway) {
        // The homeserver has done all of it, and the gateway does not hear so: it asks from the same token again.
        self.between.order("/sync?", Fault::LoseAnswer);
        self.between.break_all();
    }

    fn server_goes(&mut self) {
        self.synapse.get_mut().end();
    }

    fn server_comes(&mut self) {
        self.synapse.get_mut().start_again();
    }

    fn breaks_connections(&self) {
        self.between.break_all();
    }

    fn loses_an_answer(&self) {
        self.between.order("/send/m.room.message/", Fault::LoseAnswer);
    }

    fn holds_an_answer(&self, length: Duration) {
        self.between.order("/send/m.room.message/", Fault::Hold(length));
    }

    fn asks_for_quiet(&self, seconds: u64) {
        let body =
            json!({"errcode": "M_LIMIT_EXCEEDED", "error": "too many", "retry_after_ms": seconds * 1000}).to_string();
        let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json";
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.between.order("/send/m.room.message/", Fault::Instead(answer));
    }

    fn stranger(&self) -> Builder {
        Gateway::builder().config(&self.synapse.borrow().section_at(self.between.address, "nobody"))
    }
}
