//! The judge on the clients' side: it knows what they sent, what they were told, and what they saw, and nothing of what the
//! gateway is made of. Each accepted message is answered once, in order, or its failure is told; an event never changes.

use super::logbook::{Logbook, Mark};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an agent answers to a message; the judge finds the message in its answer by this.
#[must_use]
pub fn answer_to(text: &str) -> String {
    format!("[answer to {text}]")
}

/// The judge of one run.
pub struct Oracle {
    sessions: BTreeMap<String, Session>,
    requests: BTreeMap<u64, Asked>,
    /// The highest generation that ever answered.
    generation_seen: u64,
    logbook: Arc<Logbook>,
}

/// A session, as its clients know it.
#[derive(Default)]
struct Session {
    /// What was ever sent, by text.
    sent: BTreeSet<String>,
    /// By the sender's own id: the gateway's, and the text.
    accepted: BTreeMap<String, (u64, String)>,
    events: BTreeMap<u64, (String, Value)>,
    /// Texts that stand in a `message` event, by the gateway's id, in order of the events.
    messages: Vec<(u64, String)>,
    /// How the turn of each message ended.
    ended: BTreeMap<u64, String>,
    /// The order of that.
    order: Vec<u64>,
    replied: BTreeSet<u64>,
    /// Whether it was set aside, and nobody has asked anything since.
    set_aside: bool,
    /// How often the outcome of each request was told here.
    outcomes: BTreeMap<u64, u64>,
    /// The turns that are told to be cut, and not yet to go on.
    cut: BTreeSet<u64>,
}

/// A request, as its requester knows it.
struct Asked {
    generation: u64,
    outcome: Option<Value>,
}

impl Oracle {
    /// A judge who has seen nothing.
    #[must_use]
    pub fn new(logbook: Arc<Logbook>) -> Self {
        Self { sessions: BTreeMap::new(), requests: BTreeMap::new(), generation_seen: 0, logbook }
    }

    /// Somebody is about to say this.
    pub fn sent(&mut self, session: &str, text: &str) {
        self.sessions.entry(session.into()).or_default().sent.insert(text.into());
    }

    /// The gateway says that it has this message under that number.
    pub fn accepted(&mut self, session: &str, native: &str, text: &str, message: u64) {
        let known = self.sessions.entry(session.into()).or_default();
        if let Some((before, _)) = known.accepted.insert(native.into(), (message, text.into()))
            && before != message
        {
            let what = format!("{session}: {native} was accepted as message {before} and again as message {message}");
            self.logbook.broken("ONCE", what);
        }
    }

    /// A client sees a kept event.
    pub fn event(&mut self, session: &str, id: u64, name: &str, data: &Value) {
        let known = self.sessions.entry(session.into()).or_default();
        if let Some((before_name, before)) = known.events.get(&id) {
            if (before_name.as_str(), before) != (name, data) {
                let what = format!("{session}: event {id} was {before_name} {before} and is {name} {data}");
                self.logbook.broken("EVENT", what);
            }
            return;
        }
        if let Some((last, _)) = known.events.last_key_value().filter(|(last, _)| **last > id) {
            self.logbook.broken("EVENT", format!("{session}: event {id} appeared behind event {last}"));
        }
        known.events.insert(id, (name.into(), data.clone()));
        if let Err((invariant, what)) = known.take_in(name, data, &self.logbook) {
            self.logbook.broken(invariant, format!("{session}, event {id}: {what}"));
        }
        let said = data["text"].as_str().unwrap_or_default();
        if let Some(request) = data["request"].as_u64()
            && (said.starts_with("Restart accepted") || said.starts_with("Forced restart accepted"))
        {
            self.logbook.mark(Mark::RestartFromChat);
            self.requests.entry(request).or_insert(Asked { generation: 0, outcome: None });
        }
    }

    /// Whether this session was set aside and something waits there for a word of whoever speaks.
    #[must_use]
    pub fn waits_set_aside(&self, session: &str) -> bool {
        self.sessions.get(session).is_some_and(|known| known.set_aside && known.waits_for().is_some())
    }

    /// The last event that a client of this session has seen.
    #[must_use]
    pub fn last_event(&self, session: &str) -> Option<u64> {
        self.sessions.get(session)?.events.last_key_value().map(|(id, _)| *id)
    }

    /// A client has read a session again from its beginning, up to here: nothing that was seen may be missing.
    pub fn reread(&mut self, session: &str, ids: &[u64]) {
        let known = self.sessions.entry(session.into()).or_default();
        let through = ids.last().copied().unwrap_or(0);
        let seen: Vec<u64> = known.events.range(..=through).map(|(id, _)| *id).collect();
        if seen != ids {
            self.logbook.broken("EVENT", format!("{session}: events {seen:?} were seen and {ids:?} are there"));
        }
    }

    /// A request was accepted by that generation.
    pub fn asked(&mut self, request: u64, generation: u64) {
        self.requests.entry(request).or_insert(Asked { generation, outcome: None });
    }

    /// Somebody looks at a request; `None` while it has no outcome. A request of which the gateway knows nothing was lost.
    pub fn looked_at(&mut self, request: u64, found: Option<&Value>) {
        let Some(asked) = self.requests.get_mut(&request) else { return };
        let Some(found) = found else {
            return self.logbook.broken("ACK", format!("request {request} was accepted and is not known any more"));
        };
        let outcome = &found["outcome"];
        match &asked.outcome {
            Some(before) if before != outcome => {
                let what = format!("request {request} had the outcome {before} and has {outcome}");
                self.logbook.broken("REQUEST", what);
            }
            None if !outcome.is_null() => {
                asked.outcome = Some(outcome.clone());
                if outcome["kind"] == "overruled" {
                    self.logbook.mark(Mark::RequestOverruled);
                }
                let by = outcome["generation"].as_u64();
                if outcome["kind"] == "restarted" && by.is_none_or(|by| by <= asked.generation) {
                    let what =
                        format!("request {request} of generation {} has the outcome {outcome}", asked.generation);
                    self.logbook.broken("READY", what);
                }
            }
            _ => {}
        }
    }

    /// The requests that have no outcome yet.
    #[must_use]
    pub fn open_requests(&self) -> Vec<u64> {
        self.requests.iter().filter(|(_, asked)| asked.outcome.is_none()).map(|(request, _)| *request).collect()
    }

    /// All requests that were ever accepted.
    #[must_use]
    pub fn requests(&self) -> Vec<u64> {
        self.requests.keys().copied().collect()
    }

    /// The gateway says which generation it is.
    pub fn generation(&mut self, generation: u64) {
        if generation < self.generation_seen {
            let what = format!("generation {generation} answers after generation {}", self.generation_seen);
            self.logbook.broken("LOCK", what);
        }
        self.generation_seen = self.generation_seen.max(generation);
    }

    /// What somebody still waits for; `None` when everything that was accepted has had its end.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        let session =
            self.sessions.iter().find_map(|(name, session)| Some(format!("{name}: {}", session.waits_for()?)));
        let request = || {
            let (request, _) = self.requests.iter().find(|(_, asked)| asked.outcome.is_none())?;
            Some(format!("request {request} has no outcome"))
        };
        session.or_else(request)
    }

    /// The last word, when nothing is going to happen any more.
    pub fn judge(&mut self) {
        for (name, session) in &self.sessions {
            for (invariant, what) in session.judge() {
                self.logbook.broken(invariant, format!("{name}: {what}"));
            }
        }
    }
}

/// Whether a text is for the agent. The texts of these runs are plain: what begins with a slash is a command.
fn is_prompt(text: &str) -> bool {
    !text.starts_with('/')
}

impl Session {
    fn take_in(&mut self, name: &str, data: &Value, logbook: &Logbook) -> Result<(), (&'static str, String)> {
        match name {
            "message" => self.message(data),
            "turn" => self.turn(data, logbook),
            "reply" => self.reply(data),
            "notice" if !data["lifecycle"].is_null() => self.lifecycle(data, true),
            "withdrawn" => self.lifecycle(data, false),
            "notice" => {
                let settled = ["Restarted:", "No restart:", "The gateway was stopped", "The restart was taken back"];
                if let (Some(request), Some(text)) = (data["request"].as_u64(), data["text"].as_str())
                    && settled.iter().any(|words| text.starts_with(words))
                {
                    let told = self.outcomes.entry(request).or_default();
                    *told += 1;
                    if *told > 1 {
                        return Err(("NOTICE", format!("the outcome of request {request} is told again: {text}")));
                    }
                }
                Ok(())
            }
            other => Err(("EVENT", format!("nobody knows events called {other}"))),
        }
    }

    /// "Back" follows "restarting", each once; so does the withdrawal of each the word itself.
    fn lifecycle(&mut self, data: &Value, said: bool) -> Result<(), (&'static str, String)> {
        let Some(turn) = data["turn"].as_u64() else {
            return Err(("EVENT", format!("a word about no turn: {data}")));
        };
        let cuts = (data["lifecycle"] == "back") != said;
        let changes = if cuts { self.cut.insert(turn) } else { self.cut.remove(&turn) };
        let what = if said { "said" } else { "withdrawn" };
        if changes { Ok(()) } else { Err(("NOTICE", format!("{what} out of turn: {data}"))) }
    }

    fn message(&mut self, data: &Value) -> Result<(), (&'static str, String)> {
        let (Some(message), Some(text)) = (data["message"].as_u64(), data["text"].as_str()) else {
            return Err(("EVENT", format!("a message without id or text: {data}")));
        };
        if !self.sent.contains(text) {
            return Err(("ACK", format!("nobody ever said {text:?}")));
        }
        if let Some((before, _)) =
            self.messages.iter().find(|(before, known)| *before == message || (is_prompt(text) && known == text))
        {
            return Err((
                "ONCE",
                format!("message {message} ({text}) is there a second time, before as message {before}"),
            ));
        }
        // A command brings nothing back.
        self.set_aside &= !is_prompt(text);
        self.messages.push((message, text.into()));
        Ok(())
    }

    fn turn(&mut self, data: &Value, logbook: &Logbook) -> Result<(), (&'static str, String)> {
        let state = data["state"].as_str().unwrap_or_default();
        match state {
            "running" if data["resumed"] == true => logbook.mark(Mark::TurnResumed),
            "failed" => logbook.mark(Mark::TurnFailed),
            "stopped" => logbook.mark(Mark::TurnStopped),
            "quarantined" => {
                self.set_aside = true;
                logbook.mark(Mark::Quarantined);
            }
            _ => {}
        }
        if matches!(state, "running" | "interrupted") {
            return Ok(());
        }
        for message in ids(data) {
            self.order.push(message);
            if let Some(before) = self.ended.insert(message, state.into()) {
                let what = format!("message {message} is {state} and was {before} before");
                return Err(("REPLY", what));
            }
        }
        Ok(())
    }

    fn reply(&mut self, data: &Value) -> Result<(), (&'static str, String)> {
        let messages = ids(data);
        for message in messages {
            if !self.replied.insert(message) {
                return Err(("REPLY", format!("message {message} is answered a second time")));
            }
            let Some((_, text)) = self.messages.iter().find(|(known, _)| *known == message) else {
                return Err(("REPLY", format!("message {message} is answered and was never there")));
            };
            let reply = data["text"].as_str().unwrap_or_default();
            // What a stopped turn had said by then is a piece of an answer.
            if !reply.contains(&answer_to(text)) && !reply.ends_with("...") {
                return Err(("REPLY", format!("message {message} ({text}) is answered by {reply:?}")));
            }
        }
        Ok(())
    }

    fn waits_for(&self) -> Option<String> {
        self.accepted.iter().find_map(|(native, (message, text))| {
            let seen = self.messages.iter().any(|(known, _)| known == message);
            let ended = !is_prompt(text) || self.ended.contains_key(message);
            match (seen, ended) {
                (false, _) => Some(format!("{native} was accepted as message {message} and is not in the chat")),
                (true, false) => Some(format!("{native} (message {message}) is not answered")),
                (true, true) => None,
            }
        })
    }

    fn judge(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if let Some(what) = self.waits_for() {
            found.push(("ACK", what));
        }
        let said: Vec<u64> = self.messages.iter().filter(|(_, text)| is_prompt(text)).map(|(id, _)| *id).collect();
        let ended: Vec<u64> = self.order.iter().copied().filter(|id| said.contains(id)).collect();
        if !said.starts_with(&ended) {
            found.push((
                "REPLY",
                format!("messages were said in the order {said:?} and answered in the order {ended:?}"),
            ));
        }
        for (message, state) in &self.ended {
            match (state.as_str(), self.replied.contains(message)) {
                ("answered", false) => found.push(("REPLY", format!("message {message} is answered by nothing"))),
                ("failed" | "quarantined", true) => {
                    found.push(("REPLY", format!("message {message} is {state} and has a reply")));
                }
                _ => {}
            }
        }
        for (native, (message, text)) in &self.accepted {
            if let Some((_, other)) = self.messages.iter().find(|(known, other)| known == message && other != text) {
                found.push(("ACK", format!("{native} said {text:?} and the chat shows {other:?}")));
            }
        }
        found
    }
}

fn ids(data: &Value) -> Vec<u64> {
    data["messages"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A chat in which two messages were accepted and the first was answered.
    fn chat() -> (Oracle, Arc<Logbook>) {
        let logbook = Arc::new(Logbook::default());
        let mut oracle = Oracle::new(Arc::clone(&logbook));
        for (message, text) in [(1, "one"), (2, "two")] {
            oracle.sent("chat", text);
            oracle.accepted("chat", text, text, message);
            oracle.event("chat", message, "message", &json!({"message": message, "text": text}));
        }
        answer(&mut oracle, 3, 1, "one");
        (oracle, logbook)
    }

    fn answer(oracle: &mut Oracle, event: u64, message: u64, text: &str) {
        oracle.event("chat", event, "reply", &json!({"messages": [message], "text": answer_to(text)}));
        oracle.event("chat", event + 1, "turn", &json!({"messages": [message], "state": "answered"}));
    }

    /// What the judge has to say after this.
    fn found(after: impl FnOnce(&mut Oracle)) -> Vec<String> {
        let (mut oracle, logbook) = chat();
        after(&mut oracle);
        oracle.judge();
        logbook.read().broken.into_iter().map(|broken| broken.invariant).collect()
    }

    #[test]
    fn a_chat_in_which_everything_is_answered_in_order_is_in_order() {
        assert_eq!(found(|oracle| answer(oracle, 5, 2, "two")), [""; 0]);
    }

    #[test]
    fn an_accepted_message_without_an_answer_is_found() {
        assert_eq!(found(|_| {}), ["ACK"]);
    }

    #[test]
    fn a_message_that_is_answered_twice_is_found() {
        let twice = |oracle: &mut Oracle| {
            answer(oracle, 5, 2, "two");
            oracle.event("chat", 7, "reply", &json!({"messages": [2], "text": answer_to("two")}));
        };
        assert_eq!(found(twice), ["REPLY"]);
    }

    #[test]
    fn an_answer_to_something_else_is_found() {
        assert_eq!(found(|oracle| answer(oracle, 5, 2, "one")), ["REPLY"]);
    }

    #[test]
    fn a_message_that_is_accepted_under_two_numbers_is_found() {
        let again = |oracle: &mut Oracle| {
            answer(oracle, 5, 2, "two");
            oracle.accepted("chat", "two", "two", 9);
            oracle.event("chat", 7, "message", &json!({"message": 9, "text": "two"}));
            answer(oracle, 8, 9, "two");
        };
        assert_eq!(found(again), ["ONCE", "ONCE", "REPLY", "ACK"]);
    }

    #[test]
    fn an_event_that_changes_or_comes_late_or_goes_is_found() {
        let changes = |oracle: &mut Oracle| {
            oracle.event("chat", 6, "notice", &json!({"text": "hello"}));
            oracle.event("chat", 6, "notice", &json!({"text": "good bye"}));
            oracle.event("chat", 5, "notice", &json!({"text": "late"}));
            answer(oracle, 7, 2, "two");
            oracle.reread("chat", &[1, 2, 3, 4, 5, 6, 8]);
        };
        assert_eq!(found(changes), ["EVENT", "EVENT", "EVENT"]);
    }

    #[test]
    fn answers_out_of_order_are_found() {
        let third = |oracle: &mut Oracle| {
            oracle.sent("chat", "three");
            oracle.event("chat", 5, "message", &json!({"message": 3, "text": "three"}));
            answer(oracle, 6, 3, "three");
            answer(oracle, 8, 2, "two");
        };
        assert_eq!(found(third), ["REPLY"]);
    }

    #[test]
    fn a_request_that_changes_its_outcome_or_restarts_nothing_or_is_forgotten_is_found() {
        let requests = |oracle: &mut Oracle| {
            answer(oracle, 5, 2, "two");
            oracle.asked(1, 4);
            oracle.looked_at(1, Some(&json!({"outcome": null})));
            oracle.looked_at(1, Some(&json!({"outcome": {"kind": "restarted", "generation": 4}})));
            oracle.looked_at(1, Some(&json!({"outcome": {"kind": "stopped"}})));
            oracle.looked_at(1, None);
        };
        assert_eq!(found(requests), ["READY", "REQUEST", "ACK"]);
    }

    #[test]
    fn a_word_of_a_cut_out_of_turn_is_found_and_one_that_was_withdrawn_counts_for_nothing() {
        let words = |words: &[(&str, &str)]| {
            found(|oracle| {
                answer(oracle, 5, 2, "two");
                for (event, (name, lifecycle)) in (7..).zip(words) {
                    oracle.event("chat", event, name, &json!({"turn": 9, "lifecycle": lifecycle}));
                }
            })
        };
        let (cut, back) = (("notice", "restarting"), ("notice", "back"));
        assert_eq!(words(&[cut, back, cut, back]), [""; 0]);
        assert_eq!(words(&[cut, ("withdrawn", "restarting"), cut, back, ("withdrawn", "back"), back]), [""; 0]);
        assert_eq!(words(&[cut, cut]), ["NOTICE"]);
        assert_eq!(words(&[back]), ["NOTICE"]);
        assert_eq!(words(&[("withdrawn", "restarting")]), ["NOTICE"]);
        assert_eq!(words(&[cut, ("withdrawn", "back")]), ["NOTICE"]);
    }

    #[test]
    fn an_outcome_that_is_told_twice_and_a_generation_that_comes_back_are_found() {
        let twice = |oracle: &mut Oracle| {
            answer(oracle, 5, 2, "two");
            for event in [7, 8] {
                let text = "Restarted: generation 2 serves (request 1).";
                oracle.event("chat", event, "notice", &json!({"text": text, "request": 1}));
            }
            oracle.generation(3);
            oracle.generation(2);
        };
        assert_eq!(found(twice), ["NOTICE", "LOCK"]);
    }
}
