//! What every platform's adapter has to hold to, whatever it speaks: each message is answered once, in order, however the
//! gateway or the platform's own server come and go meanwhile. A platform takes part by its [`Venue`]; the judge knows only
//! what the people in the chats see.
//!
//! `evergate_tests::contract!(venue)` makes a test of each case of the list. Which of them apply follows from what the
//! platform declares of itself, as the gateway's status tells it; one that does not is said aloud, with the reason.

mod cases;
mod stage;

pub use self::cases::*;
use crate::gateway::{Builder, Gateway};
use std::time::Duration;

/// A platform with three chats, and people in them who write and read. Whoever writes in the first may restart the gateway.
pub trait Venue {
    /// The platform's name.
    fn platform(&self) -> &'static str;
    /// A gateway that serves it, whose demo agent answers at once unless it is told to take its time.
    fn gateway(&self) -> Builder;
    /// Waits until the people in all chats can be heard.
    fn await_heard(&self, _gateway: &Gateway) {}
    /// Somebody writes; returns when the platform has it, or will keep offering it.
    fn say(&self, gateway: &Gateway, chat: usize, text: &str);
    /// The answers of the agent that the chat shows right now, oldest first: edited ones as they read at last, notices left out.
    fn answers(&self, gateway: &Gateway, chat: usize) -> Vec<String>;
    /// The platform hands out again what it has handed out.
    fn gives_again(&self, gateway: &Gateway);
    /// Takes the platform's server away.
    fn server_goes(&mut self) {
        unable(self.platform(), "take its server away");
    }
    /// Brings it back.
    fn server_comes(&mut self) {
        unable(self.platform(), "bring its server back");
    }
    /// Breaks every connection between the gateway and the server; new ones are made.
    fn breaks_connections(&self) {
        unable(self.platform(), "break connections");
    }
    /// The next message is shown, and the word of that is lost on its way to the gateway.
    fn loses_an_answer(&self) {
        unable(self.platform(), "lose an answer");
    }
    /// The next message is shown, and the word of that comes this much later.
    fn holds_an_answer(&self, _length: Duration) {
        unable(self.platform(), "hold an answer");
    }
    /// The next message in the first chat is refused: nothing there before so many seconds.
    fn asks_for_quiet(&self, _seconds: u64) {
        unable(self.platform(), "ask for quiet");
    }
    /// A gateway that the platform does not let in.
    fn stranger(&self) -> Builder {
        unable(self.platform(), "turn a gateway away")
    }
}

fn unable(platform: &str, what: &str) -> ! {
    panic!("{platform} declares what makes this case apply, and its venue cannot {what}: teach it")
}

/// Makes a test of each case, at the venue that `$venue(test)` gives; it gives `None` where that cannot be had here.
#[macro_export]
macro_rules! contract {
    ($venue:path) => {
        $crate::contract!(@ $venue:
            a_message_is_answered
            what_comes_again_is_answered_once
            what_is_said_while_nobody_listens_is_answered_later
            a_server_that_is_there_late_gets_all_and_tells_all
            connections_that_break_lose_nothing
            a_send_whose_answer_is_lost_is_not_repeated_in_silence
            a_platform_that_asks_for_quiet_gets_it_and_other_chats_do_not_wait
            a_gateway_that_is_not_let_in_parks_the_platform_and_serves_the_rest
            a_gateway_that_goes_in_any_state_of_an_answer_loses_nothing
            a_busy_gateway_is_restarted_from_a_chat
            a_busy_gateway_is_terminated
            a_busy_gateway_is_killed
        );
    };
    (@ $venue:path: $($case:ident)+) => { $(
        #[test]
        fn $case() {
            if let Some(venue) = $venue(stringify!($case)) {
                $crate::contract::$case(venue);
            }
        }
    )+ };
}
