//! Why a process was ended that could not say so itself: a file in the state directory that its successor reads, since a
//! stuck loop can write nothing into the journal. Nothing relies on it but what people are told.

use crate::journal::Owner;
use evergate_core::id::GenerationId;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Tells the next child of our supervisor of the ends of those before it, back to the last that had come to serve.
pub const DEATHS: &str = "EVERGATE_DEATHS";

/// The end of a process, as its supervisor saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Which process.
    pub pid: i32,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Why, unless that was its own business.
    pub why: Option<String>,
}

/// What is known of a generation's end from outside of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What it died of.
    pub why: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: Option<u64>,
}

/// What a generation says when it is ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWords {
    /// Which.
    pub generation: GenerationId,
    /// Why.
    pub why: String,
    /// Where more is written.
    pub diagnosis: Option<PathBuf>,
    /// When, in milliseconds since 1970.
    #[serde(default)]
    pub at_ms: Option<u64>,
}

impl LastWords {
    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("last-words.json")
    }

    /// Writes them down.
    pub fn write(&self, state_dir: &Path) -> std::io::Result<()> {
        let path = Self::path(state_dir);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(&serde_json::to_vec(self)?)
    }

    /// Last words that are said now.
    #[must_use]
    pub fn now(generation: GenerationId, why: String, diagnosis: Option<PathBuf>) -> Self {
        Self { generation, why, diagnosis, at_ms: Some(unix_ms()) }
    }

    /// Leaves them to the generation that the process `pid` was, for whoever saw it end. What it left itself stands, and a start
    /// that never got a number has no place in anybody's history.
    pub fn leave(state_dir: &Path, pid: i32, why: &str) -> std::io::Result<()> {
        let dead = Owner::recorded(state_dir).filter(|last| last.pid == pid && last.generation.0 > 0 && !last.lives());
        match dead {
            Some(dead) if Self::peek(dead.generation, state_dir).is_none() => {
                Self::now(dead.generation, why.to_owned(), None).write(state_dir)
            }
            _ => Ok(()),
        }
    }

    /// What stands there of `generation`, which is left there.
    #[must_use]
    pub fn peek(generation: GenerationId, state_dir: &Path) -> Option<Told> {
        let words: Self = serde_json::from_slice(&std::fs::read(Self::path(state_dir)).ok()?).ok()?;
        (words.generation == generation).then(|| words.told())
    }

    fn told(self) -> Told {
        let why = match self.diagnosis {
            Some(diagnosis) => format!("{}; see {}", self.why, diagnosis.display()),
            None => self.why,
        };
        Told { why: Some(why), at_ms: self.at_ms }
    }

    /// What `generation`, the process `pid`, died of and when, as far as somebody outside the journal knows: its own last words, else
    /// what its supervisor tells. The file is taken away: it speaks of one death.
    #[must_use]
    pub fn of(generation: GenerationId, pid: Option<i32>, state_dir: &Path) -> Told {
        let path = Self::path(state_dir);
        let words: Option<Self> = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %path.display(), "the last words of an earlier generation cannot be removed");
        }
        let own = words.filter(|words| words.generation == generation).map(Self::told).unwrap_or_default();
        let deaths = std::env::var(DEATHS).unwrap_or_default();
        let deaths: Vec<Death> = serde_json::from_str(&deaths).unwrap_or_default();
        let seen = deaths.into_iter().rev().find(|death| Some(death.pid) == pid);
        // Who sees it end knows best when that was.
        let at_ms = seen.as_ref().map(|death| death.at_ms).or(own.at_ms);
        Told { why: own.why.or_else(|| seen.and_then(|death| death.why)), at_ms }
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::claim::Claim;

    #[test]
    fn whoever_saw_a_process_end_speaks_for_it_alone_and_only_where_it_did_not_itself() {
        let folder = tempfile::tempdir().unwrap();
        let mut claim = Claim::take(folder.path(), std::time::Duration::ZERO).unwrap();
        let lives = Owner::this_process(GenerationId(3), 1_000);
        let dead = Owner { start_time: lives.start_time + 1, ..lives.clone() };
        let said = |claim: &mut Claim, owner: &Owner, pid: i32| {
            claim.record(owner).unwrap();
            LastWords::leave(folder.path(), pid, "SIGKILL").unwrap();
            LastWords::peek(owner.generation, folder.path()).and_then(|told| told.why)
        };
        let unnumbered = Owner { generation: GenerationId(0), ..dead.clone() };
        for (owner, pid) in [(&lives, lives.pid), (&dead, dead.pid + 1), (&unnumbered, dead.pid)] {
            assert_eq!(said(&mut claim, owner, pid), None);
        }
        assert_eq!(said(&mut claim, &dead, dead.pid), Some("SIGKILL".into()));
        LastWords::now(GenerationId(3), "it was stuck".into(), None).write(folder.path()).unwrap();
        assert_eq!(said(&mut claim, &dead, dead.pid), Some("it was stuck".into()));
    }

    #[test]
    fn last_words_are_read_once_and_only_of_the_generation_that_said_them() {
        let folder = tempfile::tempdir().unwrap();
        let words = LastWords::now(GenerationId(4), "it was stuck".into(), None);
        let expected = Told { why: Some("it was stuck".into()), at_ms: words.at_ms };
        words.write(folder.path()).unwrap();
        assert_eq!(LastWords::peek(GenerationId(4), folder.path()), Some(expected.clone()));
        assert_eq!(LastWords::of(GenerationId(4), None, folder.path()), expected);
        assert_eq!(LastWords::of(GenerationId(4), None, folder.path()), Told::default());
        words.write(folder.path()).unwrap();
        assert_eq!(LastWords::peek(GenerationId(5), folder.path()), None);
        assert_eq!(LastWords::of(GenerationId(5), None, folder.path()), Told::default());
    }
}
