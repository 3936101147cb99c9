//! The sentences that the gateway itself says in a chat.

use crate::command::{HELP, usage};
use evergate_core::busy::Busy;
use evergate_core::id::RequestId;
use evergate_core::outbox::Notice;
use evergate_core::question::Ruling;
use evergate_core::request::{Mode, Outcome, Wish};
use serde_json::Value;

/// What a notice has to know beside itself.
pub struct Facts<'a> {
    /// Why the turn failed, with the last words of its agent.
    pub failure: Option<&'a str>,
    /// Why what would be started next could not take over.
    pub unfit: Option<&'a str>,
    /// What the agent asks.
    pub question: Option<&'a str>,
    /// Why it is not the installed program that serves.
    pub rolled_back: Option<&'a str>,
    /// The status, for `/status`.
    pub status: &'a Value,
}

/// The text of a notice.
#[must_use]
pub fn text(notice: Notice, facts: &Facts<'_>) -> String {
    match notice {
        Notice::RestartAccepted { request, mode: Mode::Graceful } => format!(
            "Restart accepted (request {}). Messages are still taken; whatever is running may finish or is resumed afterwards.",
            request.0
        ),
        Notice::RestartAccepted { request, mode: Mode::Force } => {
            format!("Forced restart accepted (request {}). Whatever is running is resumed afterwards.", request.0)
        }
        Notice::RestartRefused { .. } => {
            let why = facts.unfit.unwrap_or("the next start would fail");
            format!("No restart, since the next start would fail: {why}. Nothing was interrupted.")
        }
        Notice::RequestSettled { request, outcome } => settled(request, outcome, facts.rolled_back),
        Notice::TurnFailed { turn } => {
            let why = facts.failure.unwrap_or("the agent failed");
            format!("No answer (turn {}): {why}", turn.0)
        }
        Notice::TurnCut { wish: Wish::Restart, .. } => {
            "Restarting: this answer is taken up again afterwards, by itself.".into()
        }
        Notice::TurnCut { wish: Wish::Stop, .. } => {
            "The gateway is being stopped: this answer is taken up again, by itself, once it is started.".into()
        }
        Notice::TurnBack { .. } => "Back: the answer is taken up again.".into(),
        Notice::Stopping { .. } => "Stopping this answer.".into(),
        Notice::TurnStopped { .. } => "Stopped.".into(),
        Notice::NothingToStop => "Nothing is running here.".into(),
        Notice::Quarantined { turn, attempts } => format!(
            "This conversation is set aside: the gateway died {attempts} times while answering your last message (turn {}), \
             so that message is not tried again. What else was said here waits; other conversations go on. Send any message \
             to bring this one back: what waits is then answered, in order.",
            turn.0
        ),
        Notice::Status => status(facts.status),
        Notice::Help => HELP.into(),
        Notice::Renewed { conversation } => {
            format!("A new conversation has begun (number {}).", u64::from(conversation) + 1)
        }
        Notice::Busy { busy: Busy::Queue } => {
            "Messages that arrive during an answer wait for one of their own (busy queue).".into()
        }
        Notice::Busy { busy: Busy::Interrupt } => {
            "A message that arrives during an answer ends it, and is next (busy interrupt).".into()
        }
        Notice::Busy { busy: Busy::Collect } => {
            "Messages that arrive during an answer are answered together in the next one (busy collect).".into()
        }
        Notice::MayBeMissing { turn } => format!(
            "An answer may be missing here (turn {}): its sending was cut off, and nobody can know whether it arrived. \
             Ask again if it did not.",
            turn.0
        ),
        Notice::Asks { question, .. } => {
            let asked = facts.question.unwrap_or("a step that it does not name");
            format!("The agent asks before it does this: {asked}\nAnswer /allow {0} or /deny {0}.", question.0)
        }
        Notice::Ruled { question, ruling, .. } => match ruling {
            Ruling::Allowed => format!("Allowed (question {}).", question.0),
            Ruling::Denied => format!("Denied (question {}).", question.0),
            Ruling::Expired => {
                format!("Nobody has answered in time, so the agent was told no (question {}).", question.0)
            }
        },
        Notice::NoQuestion => "No such question is open here.".into(),
        Notice::WhichQuestion => "It is not clear which question that answers: say its number, as in /allow 7.".into(),
        Notice::NotAllowed => "Only operators may do that.".into(),
        Notice::Usage { command } => format!("That command is used in this way:\n{}", usage(command)),
        Notice::UnknownCommand => format!("There is no such command. These there are:\n{HELP}"),
    }
}

fn settled(request: RequestId, outcome: Outcome, rolled_back: Option<&str>) -> String {
    match outcome {
        Outcome::Restarted { generation } => {
            let but = rolled_back.map_or_else(String::new, |why| {
                format!(" But it is the last good program, since the one on disk is rolled back: {why}.")
            });
            format!("Restarted: generation {} serves (request {}).{but}", generation.0, request.0)
        }
        Outcome::Stopped => format!("The gateway was stopped (request {}).", request.0),
        Outcome::Overruled { by } => {
            format!("No restart: the gateway is being stopped (request {} overrules request {}).", by.0, request.0)
        }
        Outcome::Cancelled => format!("The restart was taken back (request {}).", request.0),
    }
}

/// How the gateway is doing, in a few sentences; what is well is said in numbers, what wants somebody by name.
fn status(status: &Value) -> String {
    let count = |name: &str| status[name].as_u64().unwrap_or(0);
    let list = |name: &str| status[name].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let mut text = format!(
        "Generation {}, {}. Running: {}. Waiting messages: {}. Set aside: {}.",
        count("generation"),
        word(&status["phase"]),
        list("turns").len(),
        count("queued"),
        list("quarantined").len() as u64 + status["elsewhere"]["set_aside"].as_u64().unwrap_or(0),
    );
    if let Some(waiting) = status["drain"]["waiting_for"].as_array() {
        let waiting: Vec<&str> = waiting.iter().filter_map(Value::as_str).collect();
        text.push_str(" The drain waits for: ");
        text.push_str(if waiting.is_empty() { "nothing" } else { "" });
        text.push_str(&waiting.join(", "));
        let left = seconds(&status["drain"]["remaining_ms"]);
        text.push_str(&if waiting.is_empty() { ".".to_owned() } else { format!(", for {left} s at most.") });
    }
    for turn in list("turns") {
        for asked in turn["asks"].as_array().into_iter().flatten() {
            // Since when, only the version that has asked can know.
            let waits = match &asked["for_ms"] {
                Value::Null => "waits for somebody's word".to_owned(),
                length => format!("has waited for somebody's word for {} s", seconds(length)),
            };
            let (chat, question) = (word(&turn["session"]), asked["question"].as_u64().unwrap_or(0));
            text.push_str(&format!(
                "\nIn {chat} an agent {waits}: answer there with /allow {question} or /deny {question}."
            ));
        }
    }
    match status["elsewhere"]["asking"].as_u64().unwrap_or(0) {
        0 => {}
        questions => text.push_str(&format!("\nIn other chats agents wait for somebody's word: {questions}.")),
    }
    for session in list("quarantined") {
        text.push_str(&format!("\n{} is set aside: any message there brings it back.", word(session)));
    }
    for platform in list("platforms").iter().filter(|platform| platform["state"] != "up") {
        let why = platform["why"].as_str().map_or_else(String::new, |why| format!(": {why}"));
        text.push_str(&format!("\n{} is {}{why}.", word(&platform["platform"]), word(&platform["state"])));
    }
    if status["breaker"]["state"] == "tripped" {
        text.push_str(
            "\nThe loop breaker is tripped: what was cut waits for a turn that ends, or `evergate breaker reset`.",
        );
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

fn seconds(milliseconds: &Value) -> u64 {
    milliseconds.as_u64().unwrap_or(0).div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::status::as_a_guest_sees_it;
    use evergate_core::id::{GenerationId, TurnId};
    use serde_json::json;

    fn said(notice: Notice, status: &Value) -> String {
        text(notice, &Facts { failure: None, unfit: None, question: None, rolled_back: None, status })
    }

    #[test]
    fn the_status_of_a_gateway_that_is_well_is_one_line() {
        let status = json!({
            "generation": 3, "phase": "serving", "turns": [{"session": "main", "asks": []}], "queued": 2, "quarantined": [],
            "drain": null, "platforms": [{"platform": "telegram", "state": "up", "why": null}], "breaker": {"state": "closed"},
        });
        assert_eq!(
            said(Notice::Status, &status),
            "Generation 3, serving. Running: 1. Waiting messages: 2. Set aside: 0."
        );
    }

    #[test]
    fn the_status_names_what_wants_somebody_and_the_way_out() {
        let asks = json!([
            {"question": 7, "since_ms": 1, "for_ms": 61_500}, {"question": 8, "since_ms": null, "for_ms": null},
        ]);
        let status = json!({
            "generation": 3, "phase": "serving", "turns": [{"session": "main", "asks": asks}], "queued": 0,
            "quarantined": ["bad"], "drain": null, "breaker": {"state": "tripped"}, "platforms": [
                {"platform": "matrix", "state": "connecting", "why": null},
                {"platform": "telegram", "state": "parked", "why": "the server does not know the token"},
            ],
        });
        let expected = "Generation 3, serving. Running: 1. Waiting messages: 0. Set aside: 1.\n\
            In main an agent has waited for somebody's word for 62 s: answer there with /allow 7 or /deny 7.\n\
            In main an agent waits for somebody's word: answer there with /allow 8 or /deny 8.\n\
            bad is set aside: any message there brings it back.\n\
            matrix is connecting.\n\
            telegram is parked: the server does not know the token.\n\
            The loop breaker is tripped: what was cut waits for a turn that ends, or `evergate breaker reset`.";
        assert_eq!(said(Notice::Status, &status), expected);
    }

    fn status_with(drain: &Value) -> Value {
        json!({"generation": 3, "phase": "draining", "turns": [{}, {}], "queued": 4, "quarantined": [], "drain": drain})
    }

    #[test]
    fn a_guest_hears_of_other_chats_no_more_than_how_many_there_are() {
        let asks = |question: u64| json!([{"question": question, "since_ms": 1, "for_ms": 61_500}]);
        let status = json!({
            "generation": 3, "phase": "draining", "queued": 0, "quarantined": ["telegram:8"], "breaker": {"state": "closed"},
            "turns": [{"session": "telegram:7", "asks": asks(7)}, {"session": "telegram:77", "asks": asks(8)}],
            "drain": {"waiting_for": ["turn 1 of session telegram:7", "turn 2 of session telegram:77"], "remaining_ms": 9},
            "platforms": [{"platform": "matrix", "state": "parked", "why": "the server does not know the token"}],
        });
        let seen = as_a_guest_sees_it(status, "telegram:7");
        let expected = "Generation 3, draining. Running: 2. Waiting messages: 0. Set aside: 1. \
            The drain waits for: turn 1 of session telegram:7, 1 of other chats, for 1 s at most.\n\
            In telegram:7 an agent has waited for somebody's word for 62 s: answer there with /allow 7 or /deny 7.\n\
            In other chats agents wait for somebody's word: 1.\n\
            matrix is parked.";
        assert_eq!(said(Notice::Status, &seen), expected);
    }

    #[test]
    fn a_status_tells_how_far_a_drain_is() {
        let calm = said(Notice::Status, &status_with(&Value::Null));
        assert_eq!(calm, "Generation 3, draining. Running: 2. Waiting messages: 4. Set aside: 0.");
        let waiting =
            said(Notice::Status, &status_with(&json!({"waiting_for": ["this", "that"], "remaining_ms": 4_001})));
        assert_eq!(waiting, format!("{calm} The drain waits for: this, that, for 5 s at most."));
        let nothing = said(Notice::Status, &status_with(&json!({"waiting_for": [], "remaining_ms": 4_001})));
        assert_eq!(nothing, format!("{calm} The drain waits for: nothing."));
    }

    #[test]
    fn one_message_explains_why_a_conversation_is_set_aside_what_is_lost_and_the_way_back() {
        let text = said(Notice::Quarantined { turn: TurnId(7), attempts: 5 }, &Value::Null);
        for part in ["set aside", "died 5 times", "(turn 7)", "not tried again", "waits", "Send any message"] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
    }

    #[test]
    fn a_restart_onto_a_program_that_is_rolled_back_is_told_with_the_reason_and_no_other_outcome_is() {
        let told = |outcome, rolled_back| {
            let facts = Facts { failure: None, unfit: None, question: None, rolled_back, status: &Value::Null };
            text(Notice::RequestSettled { request: RequestId(7), outcome }, &facts)
        };
        let restarted = Outcome::Restarted { generation: GenerationId(3) };
        assert_eq!(told(restarted, None), "Restarted: generation 3 serves (request 7).");
        assert_eq!(
            told(restarted, Some("it died twice")),
            "Restarted: generation 3 serves (request 7). But it is the last good program, since the one on disk is rolled \
             back: it died twice."
        );
        for outcome in [Outcome::Stopped, Outcome::Cancelled, Outcome::Overruled { by: RequestId(8) }] {
            assert_eq!(told(outcome, Some("it died twice")), told(outcome, None));
        }
    }

    #[test]
    fn a_cut_answer_is_announced_as_what_it_is_cut_for() {
        let cut = |wish| said(Notice::TurnCut { turn: TurnId(7), wish }, &Value::Null);
        assert!(cut(Wish::Restart).starts_with("Restarting:"));
        assert!(cut(Wish::Stop).contains("stopped"));
        assert!([Wish::Restart, Wish::Stop].map(cut).iter().all(|text| text.contains("is taken up again")));
        assert!(said(Notice::TurnBack { turn: TurnId(7) }, &Value::Null).starts_with("Back:"));
    }
}
