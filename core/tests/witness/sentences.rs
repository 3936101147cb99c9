//! The sentences of the witness, as they stand in its sources: whoever adds one has it in this list.

use evergate_core::invariant::Invariant;
use std::fmt;

const SOURCES: [&str; 4] = [
    include_str!("../../src/witness/mod.rs"),
    include_str!("../../src/witness/effects.rs"),
    include_str!("../../src/witness/plans.rs"),
    include_str!("../../src/witness/records.rs"),
];

/// What is said when a rule is found broken, with what is filled in left out.
#[derive(PartialEq, Eq)]
pub struct Sentence {
    rule: String,
    words: Vec<String>,
}

/// All of them.
pub fn all() -> Vec<Sentence> {
    SOURCES.iter().flat_map(|source| source.split("holds(").skip(1)).filter_map(Sentence::read).collect()
}

impl Sentence {
    /// Reads what stands behind `holds(`: the rule, and the first text after that.
    fn read(call: &str) -> Option<Self> {
        let rule = call.trim_start().strip_prefix("Invariant::")?;
        let rule = rule.split(|letter: char| !letter.is_alphanumeric()).next()?;
        let text = call.split('"').nth(1)?;
        let mut words = vec![String::new()];
        for part in text.split('{').enumerate() {
            match part {
                (0, start) => words[0] = start.to_owned(),
                (_, rest) => words.push(rest.split_once('}').map_or("", |(_, after)| after).to_owned()),
            }
        }
        Some(Self { rule: rule.to_uppercase(), words })
    }

    /// Whether this is what was found.
    pub fn says(&self, rule: Invariant, found: &str) -> bool {
        let (first, others) = self.words.split_first().expect("there is at least one");
        let Some(mut rest) = found.strip_prefix(first.as_str()).filter(|_| self.rule == rule.name()) else {
            return false;
        };
        let Some((last, middle)) = others.split_last() else { return rest.is_empty() };
        for words in middle {
            match rest.split_once(words.as_str()) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }

    /// How much of it is not filled in.
    pub fn own_words(&self) -> usize {
        self.words.iter().map(String::len).sum()
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.words.join("{}"))
    }
}
