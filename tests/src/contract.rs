//! What every platform's adapter has to hold to, whatever it speaks: each message is answered once, in order, however the
//! gateway or the platform's own server come and go meanwhile. A platform takes part by its [`Venue`]; the judge knows only
//! what the people in the chats see.
//!
//! `evergate_tests::contract!(venue)` makes a test of each case of the list. Which of them apply follows from what the
//! platform declares of itself, as the gateway's status tells it; one that does not is said aloud, with the reason.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::eventually;
use crate::gateway::{Builder, Gateway};

/// How long the last answers may take after everything has healed.
const REST: Duration = Duration::from_secs(90);
/// What stands before a text that may have come before, on a platform that cannot tell.
const TWICE: &str = "(possibly sent twice)\n";

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

/// What a platform can do, as the gateway's status tells it.
struct Declared(Value);

impl Declared {
    fn of(venue: &impl Venue, gateway: &Gateway) -> Self {
        let found = gateway.wait_for("the platform to be told of", crate::PATIENCE, || {
            let status = gateway.try_status()?;
            status["platforms"].as_array()?.iter().find(|told| told["platform"] == venue.platform()).cloned()
        });
        Self(found["capabilities"].clone())
    }

    fn sends(&self) -> bool {
        self.0["outbound"] != "kept"
    }

    fn is_blind(&self) -> bool {
        self.0["outbound"] == "blind"
    }
}

/// Whether a text may be shown a second time, with a word about that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    /// It may not.
    Never,
    /// On a platform that cannot tell a repeat it may.
    Marked,
}

/// How a gateway is sent away in the middle of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// `/restart` in the first chat.
    Chat,
    /// SIGTERM from outside.
    Term,
    /// SIGKILL.
    Kill,
}

/// How far an answer has come when the gateway is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its question was just asked.
    Asked,
    /// The agent is at work.
    Running,
    /// A part of it is shown.
    Shown,
    /// The platform has it, and has not said so.
    Sending,
    /// It is there, and the gateway knows.
    Settled,
}

/// A venue with a gateway.
struct Stage<V> {
    venue: V,
    gateway: Gateway,
    declared: Declared,
}

impl<V: Venue> Stage<V> {
    fn open(venue: V, supervised: bool) -> Self {
        let gateway = venue.gateway().supervised(supervised).start();
        venue.await_heard(&gateway);
        let declared = Declared::of(&venue, &gateway);
        // A case that does not apply is over at once, and its gateway's life is judged all the same.
        gateway.wait_for("the flight log to begin", crate::PATIENCE, || {
            std::fs::metadata(gateway.flight_log()).ok().filter(|log| log.len() > 0).map(drop)
        });
        Self { venue, gateway, declared }
    }

    /// Says that a case does not apply to this platform, because of what it declares; `false` when it does.
    fn spared(&self, case: &str, spared: bool, why: &str) -> bool {
        if spared {
            crate::aside(&format!("NOT APPLICABLE to {}, {case}: {why} ({})", self.venue.platform(), self.declared.0));
        }
        spared
    }

    fn nothing_is_sent(&self, case: &str) -> bool {
        self.spared(case, !self.declared.sends(), "what is kept is what its people see, and nothing is sent anywhere")
    }

    fn say(&self, chat: usize, text: &str) {
        self.venue.say(&self.gateway, chat, text);
    }

    fn answers(&self, chat: usize) -> Vec<String> {
        self.venue.answers(&self.gateway, chat)
    }

    fn platform(&self) -> Option<Value> {
        let status = self.gateway.try_status()?;
        status["platforms"].as_array()?.iter().find(|told| told["platform"] == self.venue.platform()).cloned()
    }

    fn await_platform(&self, what: &str, look: impl Fn(&Value) -> bool) {
        self.gateway.wait_for(what, crate::PATIENCE, || {
            std::thread::sleep(Duration::from_millis(20));
            self.platform().filter(&look).map(drop)
        });
    }

    fn await_running(&self) {
        self.gateway.wait_for("a running turn", crate::PATIENCE, || {
            let status = self.gateway.try_status()?;
            status["turns"].as_array().is_some_and(|turns| !turns.is_empty()).then_some(())
        });
    }

    fn send_away(&self, farewell: Farewell) {
        match farewell {
            Farewell::Chat => self.say(0, "/restart"),
            Farewell::Term => self.gateway.signal(Signal::SIGTERM),
            Farewell::Kill => self.gateway.signal(Signal::SIGKILL),
        }
    }

    /// The last answers in this chat are to these texts, each once and in order.
    fn expect(&self, chat: usize, said: &[String], repeats: Repeats) {
        let wanted: Vec<String> = said.iter().map(|text| format!("You said: {text}")).collect();
        let mut seen = Vec::new();
        let complete = eventually(REST, || {
            std::thread::sleep(Duration::from_millis(100));
            seen = self.answers(chat);
            self.without_repeats(&seen, repeats).ends_with(&wanted).then_some(())
        });
        assert!(
            complete.is_some(),
            "chat {chat}: wanted at the end: {wanted:#?}\nseen: {seen:#?}\n{}",
            self.gateway.report()
        );
        // What comes twice often comes a little later.
        std::thread::sleep(Duration::from_millis(500));
        let seen = self.answers(chat);
        let told = self.without_repeats(&seen, repeats);
        assert!(told.ends_with(&wanted), "chat {chat}: more came: {seen:#?}");
        for text in &wanted {
            let times = told.iter().filter(|answer| *answer == text).count();
            assert_eq!(times, 1, "chat {chat}: {text:?} came {times} times: {seen:#?}");
        }
    }

    /// The texts without those that stand there a second time and say so, where that may be.
    fn without_repeats(&self, seen: &[String], repeats: Repeats) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        for text in seen {
            match text.strip_prefix(TWICE).filter(|_| self.declared.is_blind() && repeats == Repeats::Marked) {
                Some(again) if told.last().is_some_and(|last| last == again) => {}
                Some(first) => told.push(first.to_owned()),
                None => told.push(text.clone()),
            }
        }
        told
    }
}

/// A text is answered.
///
/// # Panics
/// When it is not.
pub fn a_message_is_answered(venue: impl Venue) {
    let stage = Stage::open(venue, false);
    stage.say(0, "good morning");
    stage.expect(0, &["good morning".into()], Repeats::Never);
    stage.await_platform("the platform to be up", |told| told["state"] == "up");
}

/// What the platform hands out again, to the same generation and to later ones, is answered once.
///
/// # Panics
/// When it is answered twice, or not.
pub fn what_comes_again_is_answered_once(venue: impl Venue) {
    let stage = Stage::open(venue, false);
    let mut said = Vec::new();
    for round in 0..3 {
        said.push(format!("once and again {round}"));
        stage.say(0, &said[round]);
        stage.venue.gives_again(&stage.gateway);
        if round > 0 {
            stage.gateway.restart_process();
            stage.gateway.await_ready();
            stage.venue.gives_again(&stage.gateway);
        }
        stage.expect(0, &said, Repeats::Marked);
    }
}

/// What is written while no gateway runs is answered by the next one.
///
/// # Panics
/// When something is lost, doubled or out of order.
pub fn what_is_said_while_nobody_listens_is_answered_later(venue: impl Venue) {
    let stage = Stage::open(venue, false);
    let case = "what is said while nobody listens";
    if stage.spared(case, stage.declared.0["replay"] == "none", "such messages never come") {
        return;
    }
    stage.gateway.kill();
    let said: Vec<String> = (1..=3).map(|number| format!("while you were away {number}")).collect();
    for text in &said {
        stage.say(0, text);
    }
    std::thread::sleep(Duration::from_secs(3));
    stage.gateway.restart_process();
    stage.gateway.await_ready();
    stage.expect(0, &said, Repeats::Never);
}

/// The platform's server goes away in the middle of an answer; before it is back, the gateway is started anew and is ready
/// without it.
///
/// # Panics
/// When something is lost, doubled or out of order.
pub fn a_server_that_is_there_late_gets_all_and_tells_all(venue: impl Venue) {
    let mut stage = Stage::open(venue, true);
    if stage.nothing_is_sent("a server that is there late") {
        return;
    }
    let said = ["take 3s before and after".to_owned(), "afterwards".to_owned()];
    stage.say(0, &said[0]);
    stage.await_running();
    stage.venue.server_goes();
    let before = stage.gateway.generation();
    stage.gateway.signal(Signal::SIGKILL);
    stage.gateway.await_generation(before + 1);
    stage.await_platform("the platform to say that it waits", |told| told["state"] != "up");
    stage.venue.server_comes();
    stage.say(0, &said[1]);
    stage.expect(0, &said, Repeats::Marked);
    stage.await_platform("the platform to be up", |told| told["state"] == "up");
}

/// Connections break while a message is received, while it is answered, and while nothing goes on.
///
/// # Panics
/// When something is lost, doubled or out of order.
pub fn connections_that_break_lose_nothing(venue: impl Venue) {
    let stage = Stage::open(venue, false);
    if stage.nothing_is_sent("connections that break") {
        return;
    }
    let mut said = Vec::new();
    for text in ["before", "take 2s in the middle", "after"] {
        stage.venue.breaks_connections();
        stage.say(0, text);
        stage.venue.breaks_connections();
        if text.starts_with("take") {
            stage.await_running();
            stage.venue.breaks_connections();
        }
        said.push(text.to_owned());
        stage.expect(0, &said, Repeats::Marked);
    }
}

/// A message was shown, and the gateway was never told: it says it again with a word about that, or not at all if the
/// platform can tell.
///
/// # Panics
/// When it is doubled in silence, or lost.
pub fn a_send_whose_answer_is_lost_is_not_repeated_in_silence(venue: impl Venue) {
    let stage = Stage::open(venue, false);
    if stage.nothing_is_sent("a send whose answer is lost") {
        return;
    }
    stage.venue.loses_an_answer();
    stage.say(0, "can you hear me?");
    stage.say(0, "still there?");
    let said = ["can you hear me?".to_owned(), "still there?".to_owned()];
    stage.expect(0, &said, Repeats::Marked);
    let marked = stage.answers(0).iter().filter(|text| text.starts_with(TWICE)).count();
    assert_eq!(marked, usize::from(stage.declared.is_blind()), "{:#?}", stage.answers(0));
}

/// "Too many requests" is obeyed in its chat, and holds up no other.
///
/// # Panics
/// When it is not.
pub fn a_platform_that_asks_for_quiet_gets_it_and_other_chats_do_not_wait(venue: impl Venue) {
    const SECONDS: u64 = 4;
    let stage = Stage::open(venue, false);
    if stage.nothing_is_sent("a platform that asks for quiet") {
        return;
    }
    stage.venue.asks_for_quiet(SECONDS);
    let begun = Instant::now();
    stage.say(0, "patience");
    // Whoever is served first here must be the one who is refused.
    std::thread::sleep(Duration::from_secs(1));
    stage.say(1, "at once");
    stage.expect(1, &["at once".into()], Repeats::Never);
    assert!(stage.answers(0).is_empty(), "{:?} after {:?}", stage.answers(0), begun.elapsed());
    stage.expect(0, &["patience".into()], Repeats::Never);
    // The second that it waited for counts, too.
    assert!(begun.elapsed() >= Duration::from_secs(SECONDS), "it came too early: {:?}", begun.elapsed());
}

/// Whoever the platform does not let in says so once, and serves the others.
///
/// # Panics
/// When it knocks on, or the rest does not serve.
pub fn a_gateway_that_is_not_let_in_parks_the_platform_and_serves_the_rest(venue: impl Venue) {
    let stage = Stage::open(venue, false);
    if stage.nothing_is_sent("a gateway that is not let in") {
        return;
    }
    let Stage { venue, gateway, declared } = stage;
    drop(gateway);
    let stage = Stage { gateway: venue.stranger().start(), venue, declared };
    stage.await_platform("the platform to park", |told| told["state"] == "parked");
    let why = stage.platform().unwrap_or_default()["why"].as_str().unwrap_or_default().to_owned();
    assert!(!why.is_empty(), "it says what to mend");
    let prompt = stage.gateway.send("main", "are you there?", "there");
    stage.gateway.await_reply("main", prompt, crate::PATIENCE);
}

/// The gateway goes, in each way, while an answer is in each state.
///
/// # Panics
/// When something is lost, doubled or out of order.
pub fn a_gateway_that_goes_in_any_state_of_an_answer_loses_nothing(venue: impl Venue) {
    let stage = Stage::open(venue, true);
    let mut said = Vec::new();
    for state in [State::Asked, State::Running, State::Shown, State::Sending, State::Settled] {
        let case = format!("a gateway that goes while an answer is {state:?}");
        let spared = match state {
            State::Shown => stage.spared(&case, stage.declared.0["edits"] == false, "what is sent cannot be changed"),
            State::Sending => stage.nothing_is_sent(&case),
            _ => false,
        };
        for farewell in [Farewell::Chat, Farewell::Term, Farewell::Kill] {
            if !spared {
                goes_in(&stage, state, farewell, &mut said);
            }
        }
    }
}

fn goes_in(stage: &Stage<impl Venue>, state: State, farewell: Farewell, said: &mut Vec<String>) {
    stage.gateway.await_rest(crate::PATIENCE);
    let before = stage.gateway.generation();
    let words = match state {
        State::Running => "take 2s ",
        State::Shown => "take 5s one two three four five six seven ",
        _ => "",
    };
    let text = format!("{words}{state:?} {farewell:?}");
    if state == State::Sending {
        stage.venue.holds_an_answer(Duration::from_secs(3));
    }
    stage.say(0, &text);
    said.push(text.clone());
    match state {
        State::Asked => {}
        State::Running => stage.await_running(),
        State::Shown => {
            let part = format!("You said: {}", words.split(" two").next().unwrap_or_default());
            stage.gateway.wait_for("a part of the answer", crate::PATIENCE, || {
                std::thread::sleep(Duration::from_millis(50));
                stage.answers(0).last()?.starts_with(&part).then_some(())
            });
        }
        State::Sending => stage.gateway.wait_for("the answer to be there", crate::PATIENCE, || {
            std::thread::sleep(Duration::from_millis(50));
            stage.answers(0).last()?.ends_with(&text).then_some(())
        }),
        State::Settled => {
            stage.expect(0, said, Repeats::Marked);
            stage.gateway.await_rest(crate::PATIENCE);
        }
    }
    stage.send_away(farewell);
    stage.gateway.await_generation(before + 1);
    stage.expect(0, said, Repeats::Marked);
}

/// A busy gateway is restarted from a chat; see [`busy`].
///
/// # Panics
/// When something is lost, doubled or out of order.
pub fn a_busy_gateway_is_restarted_from_a_chat(venue: impl Venue) {
    busy(venue, Farewell::Chat);
}

/// A busy gateway gets SIGTERM; see [`busy`].
///
/// # Panics
/// When something is lost, doubled or out of order.
pub fn a_busy_gateway_is_terminated(venue: impl Venue) {
    busy(venue, Farewell::Term);
}

/// A busy gateway gets SIGKILL; see [`busy`].
///
/// # Panics
/// When something is lost, doubled or out of order.
pub fn a_busy_gateway_is_killed(venue: impl Venue) {
    busy(venue, Farewell::Kill);
}

/// 24 messages, two a second, over three chats; after the eighth the gateway is sent away, while the first chat's turn of 12
/// seconds runs.
fn busy(venue: impl Venue, farewell: Farewell) {
    let stage = Stage::open(venue, true);
    let mut said = vec![Vec::new(); 3];
    let mut speak = |chat: usize, text: String| {
        stage.say(chat, &text);
        said[chat].push(text);
    };
    let before = stage.gateway.generation();
    speak(0, format!("take 12s {farewell:?} number 0"));
    let mut sent_away = Instant::now();
    for number in 1..24 {
        std::thread::sleep(Duration::from_millis(500));
        speak(number % 3, format!("{farewell:?} number {number}"));
        if number == 8 {
            sent_away = Instant::now();
            stage.send_away(farewell);
        }
    }
    stage.gateway.await_generation(before + 1);
    let repeats = if farewell == Farewell::Kill { Repeats::Marked } else { Repeats::Never };
    for (chat, said) in said.iter().enumerate() {
        stage.expect(chat, said, repeats);
    }
    crate::aside(&format!(
        "{}, {farewell:?}: 24 of 24 answered once, the last {:.1} s after",
        stage.venue.platform(),
        sent_away.elapsed().as_secs_f64()
    ));
}
