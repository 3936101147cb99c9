//! Which messages of a chat still want an answer, told from confirmations and events in any order. It decides when a
//! chat through a pipe is over; it prints and sends nothing.

use std::collections::{BTreeMap, VecDeque};

use super::answers::{MessageEvent, NoticeEvent, SessionEvent};
use super::message::may_be_command;

/// How many settled messages are remembered, for confirmations that come after the reply.
const SETTLED_REMEMBERED: usize = 1000;

/// Which of our messages still want an answer.
#[derive(Debug, Default)]
pub struct Owed {
    /// Sent, and neither confirmed nor seen among the events.
    unconfirmed: VecDeque<String>,
    /// Stored and not answered; whether each may be a command, which a notice answers.
    open: BTreeMap<u64, bool>,
    /// The last ones that were answered.
    settled: VecDeque<u64>,
}

impl Owed {
    /// Nothing that was sent waits for an answer.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A text that is being sent.
    pub fn expect(&mut self, text: String) {
        self.unconfirmed.push_back(text);
    }

    /// A text that the gateway did not take, or that was seen.
    pub fn give_up(&mut self, text: &str) {
        if let Some(place) = self.unconfirmed.iter().position(|known| known == text) {
            self.unconfirmed.remove(place);
        }
    }

    /// The gateway confirmed it, before or after its events came.
    pub fn stored(&mut self, message: u64, text: &str) {
        if !self.settled.contains(&message) {
            self.open.entry(message).or_insert(may_be_command(text));
        }
    }

    /// A message among the events: ours when it says what we said next.
    pub fn reached(&mut self, event: &MessageEvent) -> bool {
        if self.open.contains_key(&event.message) {
            self.give_up(&event.text);
            return true;
        }
        let ours = self.unconfirmed.front().is_some_and(|text| text == event.text.trim());
        if ours {
            self.unconfirmed.pop_front();
            self.open.insert(event.message, may_be_command(&event.text));
        }
        ours
    }

    /// Settles what the event answers.
    pub fn take(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Reply(event) => event.messages.iter().for_each(|&message| self.settle(message)),
            SessionEvent::Turn(event) => {
                let is_over = matches!(event.state.as_str(), "failed" | "stopped" | "quarantined");
                for message in &event.messages {
                    if is_over {
                        self.settle(*message);
                    } else if let Some(may_be_command) = self.open.get_mut(message) {
                        // A text with a slash that gets a turn is no command.
                        *may_be_command = false;
                    }
                }
            }
            SessionEvent::Notice(event) => self.take_notice(event),
            SessionEvent::Message(_) | SessionEvent::Delta(_) | SessionEvent::Phase(_) | SessionEvent::Unknown => {}
        }
    }

    fn take_notice(&mut self, event: &NoticeEvent) {
        if event.lifecycle.is_some() {
            return;
        }
        let first_command =
            || self.open.iter().find(|(_, may_be_command)| **may_be_command).map(|(&message, _)| message);
        if let Some(message) = event.message.or_else(first_command) {
            self.settle(message);
        }
    }

    fn settle(&mut self, message: u64) {
        if self.settled.len() == SETTLED_REMEMBERED {
            self.settled.pop_front();
        }
        self.settled.push_back(message);
        self.open.remove(&message);
    }
}

#[cfg(test)]
mod tests {
    use super::super::answers::{ReplyEvent, TurnEvent};
    use super::*;

    fn message(message: u64, text: &str) -> MessageEvent {
        MessageEvent { message, text: text.to_owned(), from: None, state: None }
    }

    fn turn(state: &str, message: u64) -> SessionEvent {
        SessionEvent::Turn(TurnEvent {
            turn: 5,
            state: state.to_owned(),
            attempt: 1,
            messages: vec![message],
            resumed: false,
        })
    }

    fn notice() -> SessionEvent {
        SessionEvent::Notice(NoticeEvent { text: "so".to_owned(), message: None, lifecycle: None })
    }

    fn reply(message: u64) -> SessionEvent {
        SessionEvent::Reply(ReplyEvent { turn: 5, messages: vec![message], text: "so".to_owned(), files: Vec::new() })
    }

    #[test]
    fn a_reply_settles_its_message_even_when_the_confirmation_comes_later() {
        let mut owed = Owed::default();
        owed.expect("hi".to_owned());
        owed.take(&reply(7));
        owed.stored(7, "hi");
        assert!(owed.is_empty());
    }

    #[test]
    fn a_notice_settles_a_command_and_no_other_message() {
        let mut owed = Owed::default();
        for (number, text) in [(7, "hi"), (8, "/status")] {
            owed.expect(text.to_owned());
            assert!(owed.reached(&message(number, text)));
        }
        owed.take(&notice());
        assert_eq!(owed.open.keys().copied().collect::<Vec<u64>>(), [7]);
        owed.take(&turn("interrupted", 7));
        assert!(!owed.is_empty());
        owed.take(&turn("failed", 7));
        assert!(owed.is_empty());
    }

    #[test]
    fn the_messages_of_others_are_not_ours() {
        let mut owed = Owed::default();
        owed.expect("hi".to_owned());
        assert!(!owed.reached(&message(3, "hello")));
        owed.take(&turn("running", 3));
        assert!(owed.is_empty());
    }
}
