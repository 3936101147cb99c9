//! The judge of a session's whole log: what must stand in it, given what was accepted. It only reads, and it names
//! everything that is wrong at once.

use crate::events::Event;

/// A prompt that the gateway said it had accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The session it was sent to.
    pub session: String,
    /// The gateway's id for it.
    pub message: u64,
    /// What was said.
    pub text: String,
}

/// What the replies have to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// `You said: ` and the prompt, as the demo agent does.
    Echo,
    /// Anything.
    Any,
}

/// Everything wrong with the complete log of one session: nothing, if each accepted message stands in exactly one
/// reply, in the order of acceptance. A message of `reported` has to stand in no reply and a notice has to follow it.
pub fn complaints(accepted: &[Accepted], reported: &[u64], words: Words, events: &[Event]) -> Vec<String> {
    let mut complaints = ids_that_do_not_grow(events);
    let mut told = Vec::new();
    for event in events.iter().filter(|event| event.is("message")) {
        let id = event.data["message"].as_u64().unwrap_or(u64::MAX);
        if let Some(prompt) = accepted.iter().find(|prompt| prompt.message == id) {
            told.push(id);
            if event.text() != prompt.text {
                complaints.push(format!("message {id} reads {:?}, but sent was {:?}", event.text(), prompt.text));
            }
        }
    }
    let sent: Vec<u64> = accepted.iter().map(|prompt| prompt.message).collect();
    if told != sent {
        complaints.push(format!("accepted were the messages {sent:?}, the log has {told:?}"));
    }
    let owed: Vec<u64> = sent.iter().copied().filter(|id| !reported.contains(id)).collect();
    let answered: Vec<u64> = events.iter().filter(|event| event.is("reply")).flat_map(Event::messages).collect();
    if answered != owed {
        complaints.push(difference(&owed, &answered));
    }
    complaints.extend(
        reported
            .iter()
            .filter(|id| sent.contains(id) && !is_reported(**id, events))
            .map(|id| format!("message {id} has no reply, and no notice after it says so")),
    );
    if words == Words::Echo {
        complaints.extend(wrong_words(accepted, events));
    }
    complaints
}

fn ids_that_do_not_grow(events: &[Event]) -> Vec<String> {
    let pairs = events.windows(2).filter(|pair| pair[1].id <= pair[0].id);
    pairs.map(|pair| format!("event {:?} comes after event {:?}", pair[1].id, pair[0].id)).collect()
}

fn difference(owed: &[u64], answered: &[u64]) -> String {
    let lost: Vec<_> = owed.iter().filter(|id| !answered.contains(id)).collect();
    let twice: Vec<_> = owed.iter().filter(|id| answered.iter().filter(|other| other == id).count() > 1).collect();
    let foreign: Vec<_> = answered.iter().filter(|id| !owed.contains(id)).collect();
    format!(
        "never answered {lost:?}, answered more than once {twice:?}, answered though nobody asked {foreign:?}; \
         the order of acceptance is {owed:?}, the order of the replies {answered:?}"
    )
}

fn is_reported(message: u64, events: &[Event]) -> bool {
    let place = events.iter().position(|event| event.is("message") && event.data["message"] == message);
    let reports = |event: &Event| event.is("notice") && event.data["lifecycle"].is_null();
    place.is_some_and(|place| events[place..].iter().any(reports))
}

fn wrong_words(accepted: &[Accepted], events: &[Event]) -> Vec<String> {
    let mut complaints = Vec::new();
    for reply in events.iter().filter(|event| event.is("reply")) {
        let ids = reply.messages();
        let prompts: Vec<&str> =
            accepted.iter().filter(|p| ids.contains(&p.message)).map(|p| p.text.as_str()).collect();
        // How several messages make one prompt is the gateway's business, as long as it has them all.
        let right = match prompts.as_slice() {
            [prompt] => reply.text() == format!("You said: {prompt}"),
            several => reply.text().starts_with("You said: ") && several.iter().all(|text| reply.text().contains(text)),
        };
        if !right {
            complaints.push(format!("the reply to {prompts:?} reads {:?}", reply.text()));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Accepted, Words, complaints};
    use crate::events::Event;

    fn event(id: u64, name: &str, data: serde_json::Value) -> Event {
        Event { id: Some(id), name: name.to_owned(), data }
    }

    fn accepted(message: u64, text: &str) -> Accepted {
        Accepted { session: "main".to_owned(), message, text: text.to_owned() }
    }

    fn good_log() -> Vec<Event> {
        vec![
            event(1, "message", json!({"message": 7, "text": "a", "from": "x"})),
            event(2, "message", json!({"message": 8, "text": "b", "from": "x"})),
            event(3, "reply", json!({"turn": 1, "messages": [7], "text": "You said: a"})),
            event(5, "reply", json!({"turn": 2, "messages": [8], "text": "You said: b"})),
        ]
    }

    fn judge(events: &[Event], reported: &[u64]) -> Vec<String> {
        complaints(&[accepted(7, "a"), accepted(8, "b")], reported, Words::Echo, events)
    }

    #[test]
    fn a_log_in_which_each_message_is_answered_once_is_right() {
        assert_eq!(judge(&good_log(), &[]), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_wrong_log_is_complained_about() {
        let mut lost = good_log();
        lost.pop();
        let mut twice = good_log();
        twice.push(event(6, "reply", json!({"turn": 2, "messages": [8], "text": "You said: b"})));
        let mut swapped = good_log();
        swapped[2].data["messages"] = json!([8]);
        swapped[2].data["text"] = json!("You said: b");
        swapped[3].data["messages"] = json!([7]);
        swapped[3].data["text"] = json!("You said: a");
        let mut repeated_id = good_log();
        repeated_id[1].id = Some(1);
        let mut other_words = good_log();
        other_words[2].data["text"] = json!("You said: b");
        let mut forgotten = good_log();
        forgotten.remove(0);
        for log in [lost, twice, swapped, repeated_id, other_words, forgotten] {
            assert_ne!(judge(&log, &[]), Vec::<String>::new(), "{log:?}");
        }
    }

    #[test]
    fn a_message_without_reply_needs_a_notice() {
        let mut log = good_log();
        log.pop();
        assert_ne!(judge(&log, &[8]), Vec::<String>::new());
        log.push(event(5, "notice", json!({"text": "Back", "lifecycle": "back"})));
        assert_ne!(judge(&log, &[8]), Vec::<String>::new());
        log.push(event(6, "notice", json!({"text": "set aside"})));
        assert_eq!(judge(&log, &[8]), Vec::<String>::new());
    }
}
