//! Whether a recorded life of the gateway was what its core says: each step of a flight log is told to a core that was booted
//! alike, and what that wants is compared with what the gateway wanted then. `evergate-sim conform` stops at the first
//! difference; `evergate audit` holds the same steps against the rules. It runs nothing but the core.

use super::{Head, Step};
use evergate_core::effect::Effect;
use evergate_core::gateway::Gateway;
use evergate_core::id::GenerationId;
use evergate_core::input::Input;
use evergate_core::time::Instant;
use serde::Serialize;
use std::fmt;

/// The first place where the log and the core differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In this generation.
    pub generation: GenerationId,
    /// In this line of the log, counted from 1.
    pub line: u64,
    /// At this instant.
    pub at: Instant,
    /// After this input; `None` for the boot.
    pub input: Option<Input>,
    /// What the core makes of it.
    pub expected: String,
    /// What the log says.
    pub recorded: String,
    /// The version of the program that wrote the log.
    pub version: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, line, at, input, expected, recorded, version } = self;
        let input = input.as_ref().map_or_else(|| "the boot".to_owned(), json);
        write!(
            f,
            "{generation}, line {line}, at {} ms, after {input}\n  expected: {expected}\n  recorded: {recorded}\n  (recorded by evergate {version})",
            at.as_millis()
        )
    }
}

/// One generation, replayed.
pub struct Replay {
    core: Gateway,
    version: String,
    next: u64,
    last: Instant,
    /// Records that it wanted appended, and of which it was not told that they are on disk.
    appended: u32,
    ended: bool,
}

impl Replay {
    /// Boots the core as the gateway did.
    #[must_use]
    pub fn new(head: Head) -> Self {
        let (version, last) = (head.version.clone(), head.now);
        Self { core: head.boot(), version, next: 0, last, appended: 0, ended: false }
    }

    /// The core, as it stood after the last step.
    #[must_use]
    pub const fn core(&self) -> &Gateway {
        &self.core
    }

    /// Whether its end was among the steps.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes one step of the log, which stands in this line; an error is the first difference, and nothing after it can be
    /// replayed.
    pub fn step(&mut self, line: u64, step: &Step) -> Result<(), Box<Difference>> {
        let Step { step: number, at, input, effects } = step;
        self.check_and_handle(*number, *at, input.clone()).and_then(|()| self.compare(effects)).map_err(
            |Mismatch { expected, recorded }| {
                let (generation, version) = (self.core.generation(), self.version.clone());
                Box::new(Difference { generation, line, at: *at, input: input.clone(), expected, recorded, version })
            },
        )
    }

    /// Tells the core what happened, if a driver that keeps its contract could have.
    fn check_and_handle(&mut self, number: u64, at: Instant, input: Option<Input>) -> Result<(), Mismatch> {
        if number != self.next {
            return Mismatch::of(format!("step {}", self.next), format!("step {number}: lines are missing"));
        }
        if self.ended {
            return Mismatch::of("nothing after the end", "another step");
        }
        if at < self.last {
            return Mismatch::of(time("no earlier than", self.last), time("at", at));
        }
        self.next += 1;
        self.last = at;
        match input {
            None if number == 0 => {}
            Some(input) if number > 0 => {
                let timeout = self.core.poll_timeout();
                if input == Input::Elapsed && timeout.is_none_or(|timeout| at < timeout) {
                    let due = timeout.map_or_else(|| "no timeout".to_owned(), |timeout| time("a timeout at", timeout));
                    return Mismatch::of(due, time("time had elapsed at", at));
                }
                if let Input::Synced { records } = input {
                    let left = self.appended.checked_sub(records).filter(|_| records > 0);
                    let Some(left) = left else {
                        let most = format!("one to {} records on disk", self.appended);
                        return Mismatch::of(most, format!("{records} records on disk"));
                    };
                    self.appended = left;
                }
                self.core.handle(at, input);
            }
            None => return Mismatch::of("an input", "none"),
            Some(_) => return Mismatch::of("the boot, without an input", "an input"),
        }
        Ok(())
    }

    /// Drains the core fully and compares what it wants with what it wanted then.
    fn compare(&mut self, recorded: &[Effect]) -> Result<(), Mismatch> {
        let mut recorded = recorded.iter();
        loop {
            let (expected, recorded) = (self.core.poll(), recorded.next());
            if expected.as_ref() != recorded {
                return Mismatch::of(word(expected.as_ref()), word(recorded));
            }
            match expected {
                Some(Effect::End { .. }) => self.ended = true,
                Some(Effect::Append { .. }) => self.appended += 1,
                Some(Effect::Discard) => self.appended = 0,
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }
}

/// What was expected, and what stands in the log.
struct Mismatch {
    expected: String,
    recorded: String,
}

impl Mismatch {
    fn of<T>(expected: impl Into<String>, recorded: impl Into<String>) -> Result<T, Self> {
        Err(Self { expected: expected.into(), recorded: recorded.into() })
    }
}

/// An effect as it stands in a log.
fn word(effect: Option<&Effect>) -> String {
    effect.map_or_else(|| "nothing more".to_owned(), json)
}

fn time(what: &str, at: Instant) -> String {
    format!("{what} {} ms", at.as_millis())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("ids, words and numbers can always be written as JSON")
}
