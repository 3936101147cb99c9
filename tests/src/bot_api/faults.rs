//! What goes wrong on order: each fault waits for calls of its method (and chat), happens a number of times and is gone.

use super::answer::Answer;
use serde_json::Value;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 429 with this `retry_after`, in seconds; nothing is done.
    SlowDown(u64),
    /// It is done, and the connection is cut before the answer.
    LoseAnswer,
    /// The connection is cut before anything is done.
    CutBefore,
    /// It is done, and the answer is no JSON.
    Garble,
    /// 500; nothing is done.
    Broken,
    /// 400, as for a picture that the server cannot show; nothing is done.
    Refuse,
    /// It is done and answered, this many milliseconds later.
    Stall(u64),
    /// It is taken and never answered; the connection stays.
    Mute,
}

/// One fault in waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    method: Option<String>,
    chat: Option<i64>,
    kind: Kind,
    times: u64,
}

/// All faults in waiting.
#[derive(Debug, Default)]
pub struct Faults {
    waiting: Vec<Fault>,
}

impl Faults {
    /// Orders one: `{"kind": "lose_answer", "method"?, "chat"?, "times"?, "retry_after"?, "ms"?}`.
    pub fn order(&mut self, order: &Value) -> Result<(), String> {
        let kind = match order["kind"].as_str().unwrap_or_default() {
            "slow_down" => Kind::SlowDown(order["retry_after"].as_u64().unwrap_or(1)),
            "lose_answer" => Kind::LoseAnswer,
            "cut_before" => Kind::CutBefore,
            "garble" => Kind::Garble,
            "broken" => Kind::Broken,
            "refuse" => Kind::Refuse,
            "mute" => Kind::Mute,
            "stall" => Kind::Stall(order["ms"].as_u64().unwrap_or(1000)),
            unknown => return Err(format!("there is no fault {unknown:?}")),
        };
        self.waiting.push(Fault {
            method: order["method"].as_str().map(str::to_lowercase),
            chat: order["chat"].as_i64(),
            kind,
            times: order["times"].as_u64().unwrap_or(1),
        });
        Ok(())
    }

    /// What goes wrong with this call.
    pub fn strike(&mut self, method: &str, chat: Option<i64>) -> Option<Kind> {
        let place = self.waiting.iter().position(|fault| {
            fault.method.as_deref().is_none_or(|wanted| wanted == method)
                && fault.chat.is_none_or(|wanted| Some(wanted) == chat)
        })?;
        let fault = &mut self.waiting[place];
        let kind = fault.kind;
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.waiting.remove(place);
        }
        Some(kind)
    }

    /// Nothing more goes wrong.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// How many are still to happen.
    pub fn left(&self) -> u64 {
        self.waiting.iter().map(|fault| fault.times).sum()
    }
}

impl Kind {
    /// The answer that stands in for doing it; `None` when it is done all the same.
    pub fn instead(self) -> Option<Answer> {
        match self {
            Self::SlowDown(seconds) => Some(Answer::slow_down(seconds)),
            Self::CutBefore => Some(Answer::Cut),
            Self::Broken => Some(Answer::refused(500, "Internal Server Error")),
            Self::Refuse => Some(Answer::bad_request("PHOTO_INVALID_DIMENSIONS")),
            Self::LoseAnswer | Self::Garble | Self::Stall(_) | Self::Mute => None,
        }
    }

    /// What becomes of the answer to what was done.
    pub fn spoil(self, answer: Answer) -> Answer {
        match self {
            Self::LoseAnswer => Answer::Cut,
            Self::Garble => Answer::Garbage,
            _ => answer,
        }
    }
}
