//! What stands on the screen after which events.

use super::super::events::Event;
use super::*;

fn tell(transcript: &mut Transcript, name: &str, data: &str) {
    let event = SessionEvent::read(&Event { id: None, name: name.to_owned(), data: data.to_owned() });
    assert_ne!(event, SessionEvent::Unknown, "{data}");
    transcript.event(&event);
}

fn told(events: &[(&str, &str)]) -> String {
    let mut transcript = Transcript::new(Style::default());
    for (name, data) in events {
        match *name {
            "rejoined" => transcript.rejoined(),
            name => tell(&mut transcript, name, data),
        }
    }
    transcript.take_text()
}

const RUNNING: (&str, &str) = ("turn", r#"{"turn":5,"state":"running","attempt":1,"messages":[7]}"#);
const REPLY: (&str, &str) = ("reply", r#"{"turn":5,"messages":[7],"text":"You said: hi"}"#);

fn delta(text: &'static str) -> (&'static str, &'static str) {
    ("delta", text)
}

#[test]
fn an_answer_stands_there_once_however_much_of_it_streamed() {
    let first = delta(r#"{"turn":5,"text":"You "}"#);
    let rest = delta(r#"{"turn":5,"text":"said: hi"}"#);
    for events in
        [vec![RUNNING, REPLY], vec![RUNNING, first, REPLY], vec![RUNNING, first, rest, REPLY], vec![first, REPLY]]
    {
        assert_eq!(told(&events), "agent: You said: hi\n");
    }
}

#[test]
fn what_is_said_during_an_answer_is_told_what_becomes_of_it() {
    for (state, remark) in [
        ("running", ""),
        ("queued", "(queued)\n"),
        ("collected", "(answered together with what else is said now)\n"),
        ("interrupting", "(next, the running answer ends)\n"),
    ] {
        let mut transcript = Transcript::new(Style::default());
        let message = MessageEvent { message: 8, text: "and".into(), from: None, state: Some(state.into()) };
        transcript.own_message(&message);
        assert_eq!(transcript.take_text(), format!("you: and\n{remark}"));
    }
}

#[test]
fn an_answer_that_a_message_ended_stands_there_once() {
    let superseded = ("turn", r#"{"turn":5,"state":"superseded","attempt":1,"messages":[7]}"#);
    let reply = ("reply", r#"{"turn":5,"messages":[7],"text":"You said:"}"#);
    let text = told(&[RUNNING, delta(r#"{"turn":5,"text":"You said:"}"#), reply, superseded]);
    assert_eq!(text, "agent: You said:\n");
}

#[test]
fn white_space_that_the_reply_lost_prints_nothing_again() {
    assert_eq!(told(&[RUNNING, delta(r#"{"turn":5,"text":"You said: hi\n"}"#), REPLY]), "agent: You said: hi\n");
}

#[test]
fn a_resumed_turn_says_so_and_begins_again_on_a_fresh_line() {
    let interrupted = ("turn", r#"{"turn":5,"state":"interrupted","attempt":1,"messages":[7]}"#);
    let resumed = ("turn", r#"{"turn":5,"state":"running","attempt":2,"messages":[7],"resumed":true}"#);
    let first = delta(r#"{"turn":5,"text":"You "}"#);
    let text = told(&[RUNNING, first, interrupted, ("rejoined", ""), resumed, first, REPLY]);
    assert_eq!(text, "agent: You \n(resumed after a restart)\nagent: You said: hi\n");
}

#[test]
fn pieces_missed_while_away_are_made_up_by_the_reply() {
    let text = told(&[
        RUNNING,
        delta(r#"{"turn":5,"text":"You "}"#),
        ("rejoined", ""),
        delta(r#"{"turn":5,"text":"hi"}"#),
        REPLY,
    ]);
    assert_eq!(text, "agent: You said: hi\n");
}

#[test]
fn a_piece_that_holds_the_answer_so_far_adds_only_what_is_new() {
    let so_far = delta(r#"{"turn":5,"text":"You said:","so_far":true}"#);
    let text = told(&[
        RUNNING,
        delta(r#"{"turn":5,"text":"You "}"#),
        ("rejoined", ""),
        so_far,
        delta(r#"{"turn":5,"text":" hi"}"#),
    ]);
    assert_eq!(text, "agent: You said: hi");
    assert_eq!(told(&[so_far, REPLY]), "agent: You said: hi\n");
}

#[test]
fn a_reply_that_differs_from_what_streamed_is_printed_whole() {
    let text = told(&[RUNNING, delta(r#"{"turn":5,"text":"Draft"}"#), REPLY]);
    assert_eq!(text, "agent: Draft\n(the whole answer)\nagent: You said: hi\n");
}

#[test]
fn a_stopped_turn_whose_partial_reply_comes_later_repeats_nothing() {
    let stopped = ("turn", r#"{"turn":5,"state":"stopped","attempt":1,"messages":[7]}"#);
    let partial = ("reply", r#"{"turn":5,"messages":[7],"text":"You "}"#);
    let notice = ("notice", r#"{"text":"stopped"}"#);
    assert_eq!(
        told(&[RUNNING, delta(r#"{"turn":5,"text":"You "}"#), stopped, partial, notice]),
        "agent: You \nstopped\n"
    );
}

#[test]
fn a_notice_in_the_middle_of_an_answer_has_its_own_line() {
    let notice = ("notice", r#"{"text":"accepted, request 12"}"#);
    let text = told(&[RUNNING, delta(r#"{"turn":5,"text":"You "}"#), notice, REPLY]);
    assert_eq!(text, "agent: You \naccepted, request 12\nsaid: hi\n");
}

#[test]
fn the_prompt_gives_way_and_comes_back() {
    let style = Style { colour: true, terminal: true, prompt: true };
    let mut transcript = Transcript::new(style);
    assert_eq!(transcript.take_text(), "> ");
    tell(&mut transcript, "notice", r#"{"text":"a\u001b[2J"}"#);
    assert_eq!(transcript.take_text(), "\r\x1b[K\x1b[2ma[2J\x1b[0m\n> ");
    transcript.typed();
    tell(&mut transcript, "delta", r#"{"turn":1,"text":"x"}"#);
    assert_eq!(transcript.take_text(), "\x1b[1magent:\x1b[0m x");
    tell(&mut transcript, "reply", r#"{"turn":1,"messages":[1],"text":"x"}"#);
    assert_eq!(transcript.take_text(), "\n> ");
}
