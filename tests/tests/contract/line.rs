//! The example that newcomers begin with, served by a gateway with one platform more.

use evergate_tests::contract::Venue;
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::line::LineServer;
use std::time::Duration;

const ROOMS: [&str; 3] = ["lobby", "library", "attic"];

struct Lines(LineServer);

fn venue(_test: &str) -> Option<Lines> {
    Some(Lines(LineServer::start()))
}

evergate_tests::contract!(venue);

impl Venue for Lines {
    fn platform(&self) -> &'static str {
        "line"
    }

    fn gateway(&self) -> Builder {
        Gateway::builder()
            .program(env!("CARGO_BIN_EXE_line-gateway"))
            .env("EVERGATE_LINE", &self.0.address.to_string())
            .config("[agent.demo]\nwords_per_second = 0")
    }

    fn await_heard(&self, _gateway: &Gateway) {
        self.0.await_gateway();
    }

    fn say(&self, _gateway: &Gateway, chat: usize, text: &str) {
        self.0.say(ROOMS[chat], text);
    }

    fn answers(&self, _gateway: &Gateway, chat: usize) -> Vec<String> {
        self.0.shown(ROOMS[chat], "reply")
    }

    fn gives_again(&self, _gateway: &Gateway) {
        self.0.say_all_again();
    }

    fn server_goes(&mut self) {
        self.0.set_down(true);
    }

    fn server_comes(&mut self) {
        self.0.set_down(false);
    }

    fn breaks_connections(&self) {
        self.0.break_all();
    }

    fn loses_an_answer(&self) {
        self.0.lose_answer();
    }

    fn holds_an_answer(&self, length: Duration) {
        self.0.hold_answer(length);
    }

    fn asks_for_quiet(&self, seconds: u64) {
        self.0.ask_for_quiet(ROOMS[0], Duration::from_secs(seconds));
    }

    fn stranger(&self) -> Builder {
        self.0.send_away();
        self.gateway()
    }
}
