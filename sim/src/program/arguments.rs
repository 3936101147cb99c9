//! What several commands take, and what is said of arguments that make no sense: always one sentence.

use super::Trouble;
use clap::error::{ContextKind, ContextValue};
use std::path::Path;

/// A seed.
pub fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

/// How often something is done, or which of several things is meant.
pub fn count(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "a whole number of at least 1 is wanted".to_owned())
}

/// On how many threads something is done.
pub fn threads(text: &str) -> Result<usize, String> {
    const MOST: usize = 1024;
    let threads = text.parse().ok().filter(|threads| (1..=MOST).contains(threads));
    threads.ok_or_else(|| format!("a whole number from 1 to {MOST} is wanted"))
}

/// As many threads as there are cores.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether traces can go there: asked before anything is begun, since what is found at the end is worth keeping.
pub fn directory(out: &Path) -> Result<(), Trouble> {
    match out.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Trouble::usage(format!("--out {} is no directory", out.display()))),
        Err(error) => Err(Trouble::usage(format!("--out {}: {error}", out.display()))),
    }
}

/// What is wrong with a command line, in one sentence: what clap says of it up to the first empty line, and what was meant
/// perhaps.
pub fn sentence(error: &clap::Error) -> String {
    let said = error.to_string();
    let lines = said.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    let mut sentence = lines.collect::<Vec<_>>().join(" ");
    if let Some(rest) = sentence.strip_prefix("error: ") {
        sentence = rest.to_owned();
    }
    let suggested = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    match suggested.into_iter().find_map(|kind| error.get(kind)) {
        Some(ContextValue::String(meant)) => sentence += &format!("; perhaps {meant} is meant"),
        Some(ContextValue::Strings(meant)) if !meant.is_empty() => {
            sentence += &format!("; perhaps {} is meant", meant.join(" or "));
        }
        _ => {}
    }
    sentence
}
