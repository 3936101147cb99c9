//! What every platform's adapter has to hold to, whatever it speaks: each message is answered once, in order, however the
//! gateway or the platform's own server come and go meanwhile. A platform takes part by its [`Venue`]; the judge knows only
//! what the people in the chats see.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::eventually;
use crate::gateway::Gateway;

/// How long the last answers may take after everything has healed.
const REST: Duration = Duration::from_secs(90);

/// A platform with some chats, and people in them who write and read.
pub trait Venue {
    /// How many chats there are.
    fn chats(&self) -> usize;
    /// Somebody writes; returns when the platform has it. A server that is away is waited for.
    fn say(&self, chat: usize, text: &str);
    /// The answers of the agent that the chat shows right now, oldest first: edited ones as they read at last, notices left out.
    fn answers(&self, chat: usize) -> Vec<String>;
    /// Takes the platform's server away; false if it has none of its own.
    fn server_goes(&mut self) -> bool;
    /// Brings it back.
    fn server_comes(&mut self);
}

/// How a gateway is sent away in the middle of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// `/restart` in a chat.
    Chat,
    /// SIGTERM from outside.
    Term,
    /// SIGKILL.
    Kill,
}

/// A text is answered, in a chat where nothing else was said.
///
/// # Panics
/// When it is not.
pub fn a_message_is_answered(venue: &impl Venue, gateway: &Gateway) {
    venue.say(0, "good morning");
    expect(venue, gateway, 0, &["good morning".into()]);
}

/// What is written while no gateway runs is answered by the next one. The gateway must not be supervised.
///
/// # Panics
/// When something is lost, doubled or out of order.
pub fn what_is_said_while_nobody_listens_is_answered_later(venue: &impl Venue, gateway: &Gateway, away: Duration) {
    gateway.kill();
    let texts: Vec<String> = (1..=3).map(|number| format!("while you were away {number}")).collect();
    let begun = Instant::now();
    for text in &texts {
        venue.say(0, text);
    }
    std::thread::sleep(away.saturating_sub(begun.elapsed()));
    gateway.restart_process();
    gateway.await_ready();
    expect(venue, gateway, 0, &texts);
}

/// The platform's server goes away in the middle of an answer and comes back; before it does, the gateway is started anew, so that
/// it finds no server. Does nothing where the platform has no server of its own.
///
/// # Panics
/// When something is lost, doubled or out of order.
pub fn the_server_comes_and_goes(venue: &mut impl Venue, gateway: &Gateway) {
    let texts = ["take 3s before and after".to_owned(), "afterwards".to_owned()];
    venue.say(0, &texts[0]);
    gateway.wait_for("the turn to run", crate::PATIENCE, || {
        let status = gateway.try_status()?;
        status["turns"].as_array().is_some_and(|turns| !turns.is_empty()).then_some(())
    });
    if !venue.server_goes() {
        expect(venue, gateway, 0, &texts[..1]);
        return;
    }
    let before = gateway.generation();
    gateway.signal(Signal::SIGKILL);
    gateway.await_generation(before + 1);
    venue.server_comes();
    venue.say(0, &texts[1]);
    expect(venue, gateway, 0, &texts);
}

/// 24 messages, two a second, over three chats; after the eighth the gateway is sent away, while the first chat's turn of 12
/// seconds runs. The gateway must be supervised. Gives how long that took from the farewell to the last answer.
///
/// # Panics
/// When something is lost, doubled or out of order.
pub fn a_busy_gateway_is_sent_away(venue: &impl Venue, gateway: &Gateway, farewell: Farewell) -> Duration {
    let chats = venue.chats().min(3);
    let mut said = vec![Vec::new(); chats];
    let mut speak = |chat: usize, text: String| {
        venue.say(chat, &text);
        said[chat].push(text);
    };
    let before = gateway.generation();
    speak(0, format!("take 12s {farewell:?} number 0"));
    let mut sent_away = Instant::now();
    for number in 1..24 {
        std::thread::sleep(Duration::from_millis(500));
        speak(number % chats, format!("{farewell:?} number {number}"));
        if number == 8 {
            sent_away = Instant::now();
            match farewell {
                Farewell::Chat => venue.say(0, "/restart"),
                Farewell::Term => gateway.signal(Signal::SIGTERM),
                Farewell::Kill => gateway.signal(Signal::SIGKILL),
            }
        }
    }
    gateway.await_generation(before + 1);
    for (chat, said) in said.iter().enumerate() {
        expect(venue, gateway, chat, said);
    }
    sent_away.elapsed()
}

/// The last answers in this chat are to these texts, each once and in order.
fn expect(venue: &impl Venue, gateway: &Gateway, chat: usize, said: &[String]) {
    let wanted: Vec<String> = said.iter().map(|text| format!("You said: {text}")).collect();
    let mut seen = Vec::new();
    let complete = eventually(REST, || {
        std::thread::sleep(Duration::from_millis(100));
        seen = venue.answers(chat);
        seen.ends_with(&wanted).then_some(())
    });
    assert!(complete.is_some(), "chat {chat}: wanted at the end: {wanted:#?}\nseen: {seen:#?}\n{}", gateway.report());
    // What comes twice often comes a little later.
    std::thread::sleep(Duration::from_millis(500));
    let seen = venue.answers(chat);
    assert!(seen.ends_with(&wanted), "chat {chat}: more came: {seen:#?}");
    for text in &wanted {
        let times = seen.iter().filter(|answer| *answer == text).count();
        assert_eq!(times, 1, "chat {chat}: {text:?} came {times} times: {seen:#?}");
    }
}
