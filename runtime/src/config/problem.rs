//! What is wrong with a configuration, said so that the operator can put it right: the place, the
//! mistake, and what to write instead. It decides nothing; the readers do.

use std::fmt;

use super::Origin;

/// Longer reports than this are cut: the first mistakes matter, and a log line has an end.
const MOST_SHOWN: usize = 20;

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", report(.problems))]
pub struct ConfigError {
    /// At least one problem; those of the file first, by line, then environment, then flags.
    pub problems: Vec<Problem>,
}

/// One mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `FILE`, `FILE:LINE`, `FILE:LINE:COLUMN`, a variable's name or a flag's name.
    pub place: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// `place` is printed in front of the message.
    pub(super) fn new(place: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { place: place.to_string(), message: message.into() }
    }

    /// A value that breaks its form.
    pub(super) fn value(origin: &Origin, name: &str, wrong: &str, expected: &str, example: &str) -> Self {
        Self::new(origin, format!("{name}: {wrong}; write {expected}, such as {example}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.message)
    }
}

fn report(problems: &[Problem]) -> String {
    if let [problem] = problems {
        return format!("the configuration is not valid: {problem}");
    }
    let mut text = format!("the configuration has {} problems:", problems.len());
    for problem in problems.iter().take(MOST_SHOWN) {
        text.push_str(&format!("\n  {problem}"));
    }
    if problems.len() > MOST_SHOWN {
        text.push_str(&format!("\n  and {} more", problems.len() - MOST_SHOWN));
    }
    text
}

/// Text from outside on one line, without anything that moves a terminal's cursor or ends a comment.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// Text from outside in quotes, cut if it is long.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?} (cut)", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The candidate that is fewest edits away from what was written; `None` only without candidates.
pub(super) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Beyond this length nothing is near; cutting keeps a hostile file from costing seconds.
    let written: String = written.chars().take(80).collect::<String>().to_lowercase().replace('-', "_");
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    candidates.into_iter().min_by_key(|candidate| {
        let name = candidate.to_lowercase();
        // A right name in the wrong section is one mistake, however long the section's name is.
        let whole = strsim::osa_distance(&written, &name);
        let misplaced = strsim::osa_distance(&last(&written), &last(&name)) + 1;
        (whole.min(misplaced), whole)
    })
}
