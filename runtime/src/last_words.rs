//! Why a process was ended that could not say so itself: a file in the state directory that its successor reads, since a
//! stuck loop can write nothing into the journal. Nothing relies on it but what people are told.

use evergate_core::id::GenerationId;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Tells the next child of a supervisor what the one before died of.
pub const DIED_OF: &str = "EVERGATE_DIED_OF";

/// What a generation says when it is ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWords {
    /// Which.
    pub generation: GenerationId,
    /// Why.
    pub why: String,
    /// Where more is written.
    pub diagnosis: Option<PathBuf>,
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

    /// What `generation` died of as far as somebody outside the journal knows: its own last words, else what its supervisor
    /// tells. The file is taken away: it speaks of one death.
    pub fn of(generation: GenerationId, state_dir: &Path) -> Option<String> {
        let path = Self::path(state_dir);
        let words: Option<Self> = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %path.display(), "the last words of an earlier generation cannot be removed");
        }
        let own = words.filter(|words| words.generation == generation).map(|words| match words.diagnosis {
            Some(diagnosis) => format!("{}; see {}", words.why, diagnosis.display()),
            None => words.why,
        });
        own.or_else(|| std::env::var(DIED_OF).ok().filter(|told| !told.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_read_once_and_only_of_the_generation_that_said_them() {
        let folder = tempfile::tempdir().unwrap();
        let words = LastWords { generation: GenerationId(4), why: "it was stuck".into(), diagnosis: None };
        words.write(folder.path()).unwrap();
        let told = LastWords::of(GenerationId(4), folder.path());
        assert_eq!(told.as_deref(), Some("it was stuck"));
        assert_eq!(LastWords::of(GenerationId(4), folder.path()), None);
        words.write(folder.path()).unwrap();
        assert_eq!(LastWords::of(GenerationId(5), folder.path()), None);
    }
}
