//! The cases, each named by what it holds a platform to.

use super::Venue;
use super::stage::{Farewell, REST, Repeats, Stage, TWICE};
use crate::eventually;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

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
    // What is said during a turn is acknowledged by a message of its own, and the answer that is lost would be that to it.
    eventually(REST, || (!stage.answers(0).is_empty()).then_some(())).expect("the first answer is shown");
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
