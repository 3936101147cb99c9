//! What a benchmark found, for people and for programs: figures with their units, and goals with what was measured
//! against them. It measures nothing itself.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// What one benchmark found.
pub struct Report {
    name: &'static str,
    figures: Vec<Figure>,
    goals: Vec<Goal>,
    /// What could not be measured here, and why.
    skipped: Vec<String>,
}

struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
}

struct Goal {
    /// What is to be so, as a sentence.
    sentence: String,
    measured: f64,
    limit: f64,
    side: Side,
}

/// On which side of its limit a goal is met.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    AtMost,
    AtLeast,
}

impl Report {
    /// Nothing found yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, figures: Vec::new(), goals: Vec::new(), skipped: Vec::new() }
    }

    /// Adds a figure; the names are words joined by blanks.
    pub fn figure(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.figures.push(Figure { name, value, unit });
    }

    /// Adds the median of some durations, and between which they were.
    pub fn durations(&mut self, [median, least, most]: [&'static str; 3], durations: &[Duration]) {
        let mut sorted: Vec<f64> = durations.iter().map(|duration| milliseconds(*duration)).collect();
        sorted.sort_by(f64::total_cmp);
        self.figure(median, sorted[sorted.len() / 2], "ms");
        self.figure(least, sorted[0], "ms");
        self.figure(most, sorted[sorted.len() - 1], "ms");
    }

    /// Adds the median of some durations, the one that a twentieth of them exceeds, and the longest.
    pub fn tail(&mut self, [median, high, most]: [&'static str; 3], durations: &[Duration]) {
        let mut sorted: Vec<f64> = durations.iter().map(|duration| milliseconds(*duration)).collect();
        sorted.sort_by(f64::total_cmp);
        self.figure(median, sorted[sorted.len() / 2], "ms");
        self.figure(high, sorted[sorted.len() * 19 / 20], "ms");
        self.figure(most, sorted[sorted.len() - 1], "ms");
    }

    /// Adds a goal that is met when the measured value is not above the limit.
    pub fn at_most(&mut self, sentence: impl Into<String>, measured: f64, limit: f64) {
        self.goals.push(Goal { sentence: sentence.into(), measured, limit, side: Side::AtMost });
    }

    /// Adds a goal that is met when the measured value is not below the limit.
    pub fn at_least(&mut self, sentence: impl Into<String>, measured: f64, limit: f64) {
        self.goals.push(Goal { sentence: sentence.into(), measured, limit, side: Side::AtLeast });
    }

    /// Says that something could not be measured on this machine, and why.
    pub fn skipped(&mut self, why: String) {
        self.skipped.push(why);
    }

    /// Whether a goal was missed.
    pub fn misses(&self) -> bool {
        self.goals.iter().any(|goal| !goal.is_met())
    }

    /// All of it as one JSON object.
    pub fn json(&self) -> Value {
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|figure| (figure.name.replace(' ', "_"), json!({"value": rounded(figure.value), "unit": figure.unit})))
            .collect();
        let goals: Vec<Value> = self
            .goals
            .iter()
            .map(|goal| {
                json!({
                    "goal": goal.sentence, "measured": rounded(goal.measured), "limit": rounded(goal.limit),
                    "met": goal.is_met(),
                })
            })
            .collect();
        json!({"bench": self.name, "figures": figures, "goals": goals, "skipped": self.skipped})
    }
}

impl Goal {
    fn is_met(&self) -> bool {
        match self.side {
            Side::AtMost => self.measured <= self.limit,
            Side::AtLeast => self.measured >= self.limit,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.name)?;
        for Figure { name, value, unit } in &self.figures {
            writeln!(formatter, "  {name:<58} {value:>12.2} {unit}")?;
        }
        for goal in &self.goals {
            let verdict = if goal.is_met() { "met" } else { "MISSED" };
            let Goal { sentence, measured, limit, .. } = goal;
            writeln!(formatter, "  goal: {sentence}: {measured:.2} against {limit:.2}, {verdict}")?;
        }
        for why in &self.skipped {
            writeln!(formatter, "  SKIPPED {why}")?;
        }
        Ok(())
    }
}

/// The middle one of some durations.
pub fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

/// A duration in milliseconds, with its fraction.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
