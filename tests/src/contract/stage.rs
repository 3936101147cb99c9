//! A venue with a gateway, and what the judge sees there.

use super::Venue;
use crate::eventually;
use crate::gateway::Gateway;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Duration;

/// How long the last answers may take after everything has healed.
pub(super) const REST: Duration = Duration::from_secs(90);
/// What stands before a text that may have come before, on a platform that cannot tell.
pub(super) const TWICE: &str = "(possibly sent twice)\n";

/// What a platform can do, as the gateway's status tells it.
pub(super) struct Declared(pub(super) Value);

impl Declared {
    pub(super) fn of(venue: &impl Venue, gateway: &Gateway) -> Self {
        let found = gateway.wait_for("the platform to be told of", crate::PATIENCE, || {
            let status = gateway.try_status()?;
            status["platforms"].as_array()?.iter().find(|told| told["platform"] == venue.platform()).cloned()
        });
        Self(found["capabilities"].clone())
    }

    pub(super) fn sends(&self) -> bool {
        self.0["outbound"] != "kept"
    }

    pub(super) fn is_blind(&self) -> bool {
        self.0["outbound"] == "blind"
    }
}

/// Whether a text may be shown a second time, with a word about that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    /// It may not.
    Never,
    /// On a platform that cannot tell a repeat it may.
    Marked,
}

/// How a gateway is sent away in the middle of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// `/restart` in the first chat.
    Chat,
    /// SIGTERM from outside.
    Term,
    /// SIGKILL.
    Kill,
}

/// A venue with a gateway.
pub(super) struct Stage<V> {
    pub(super) venue: V,
    pub(super) gateway: Gateway,
    pub(super) declared: Declared,
}

impl<V: Venue> Stage<V> {
    pub(super) fn open(venue: V, supervised: bool) -> Self {
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
    pub(super) fn spared(&self, case: &str, spared: bool, why: &str) -> bool {
        if spared {
            crate::aside(&format!("NOT APPLICABLE to {}, {case}: {why} ({})", self.venue.platform(), self.declared.0));
        }
        spared
    }

    pub(super) fn nothing_is_sent(&self, case: &str) -> bool {
        self.spared(case, !self.declared.sends(), "what is kept is what its people see, and nothing is sent anywhere")
    }

    pub(super) fn say(&self, chat: usize, text: &str) {
        self.venue.say(&self.gateway, chat, text);
    }

    pub(super) fn answers(&self, chat: usize) -> Vec<String> {
        self.venue.answers(&self.gateway, chat)
    }

    pub(super) fn platform(&self) -> Option<Value> {
        let status = self.gateway.try_status()?;
        status["platforms"].as_array()?.iter().find(|told| told["platform"] == self.venue.platform()).cloned()
    }

    pub(super) fn await_platform(&self, what: &str, look: impl Fn(&Value) -> bool) {
        self.gateway.wait_for(what, crate::PATIENCE, || {
            std::thread::sleep(Duration::from_millis(20));
            self.platform().filter(&look).map(drop)
        });
    }

    pub(super) fn await_running(&self) {
        self.gateway.wait_for("a running turn", crate::PATIENCE, || {
            let status = self.gateway.try_status()?;
            status["turns"].as_array().is_some_and(|turns| !turns.is_empty()).then_some(())
        });
    }

    pub(super) fn send_away(&self, farewell: Farewell) {
        match farewell {
            Farewell::Chat => self.say(0, "/restart"),
            Farewell::Term => self.gateway.signal(Signal::SIGTERM),
            Farewell::Kill => self.gateway.signal(Signal::SIGKILL),
        }
    }

    /// The last answers in this chat are to these texts, each once and in order.
    pub(super) fn expect(&self, chat: usize, said: &[String], repeats: Repeats) {
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
    pub(super) fn without_repeats(&self, seen: &[String], repeats: Repeats) -> Vec<String> {
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
