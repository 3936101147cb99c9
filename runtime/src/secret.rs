//! Keys and tokens: read from the environment or a file, handed to what needs them, and never shown. Whoever builds a message for people
//! out of somebody else's words passes those through [`Secret::hide_in`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A text that nobody gets to see.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// This text; blanks around it are no part of it. `None` when nothing is left.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// What the environment variable `name` holds.
    pub fn from_environment(name: &str) -> Result<Self, String> {
        match std::env::var(name) {
            Ok(text) => Self::new(&text).ok_or_else(|| format!("the environment variable {name} is empty")),
            Err(std::env::VarError::NotPresent) => Err(format!("the environment variable {name} is not set")),
            Err(std::env::VarError::NotUnicode(_)) => Err(format!("the environment variable {name} is not UTF-8")),
        }
    }

    /// What the file holds.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        Self::new(&text).ok_or_else(|| format!("{} is empty", path.display()))
    }

    /// The text, for the one who needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is it; how much of a wrong one is right cannot be told from the time that it takes.
    pub fn is(&self, said: &[u8]) -> bool {
        let difference = self.0.bytes().zip(said).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
        self.0.len() == said.len() && difference == 0
    }

    /// `text` with this secret blotted out.
    pub fn hide_in(&self, text: &str) -> String {
        text.replace(&*self.0, "[secret]")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_to_nobody_who_does_not_ask_for_it() {
        let secret = Secret::new(" 12:abc\n").unwrap();
        assert_eq!(secret.reveal(), "12:abc");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret.hide_in("no bot 12:abc, 12:abcd"), "no bot [secret], [secret]d");
        assert!(Secret::new(" \n").is_none(), "an empty one would hide everything");
        assert!(secret.is(b"12:abc"));
        for wrong in [&b""[..], b"12:ab", b"12:abcd", b"12:abd", b"x"] {
            assert!(!secret.is(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = Secret::from_environment("EVERGATE_TEST_NO_SUCH_KEY").unwrap_err();
        assert!(missing.contains("EVERGATE_TEST_NO_SUCH_KEY"), "{missing}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(Secret::from_file(&path).unwrap_err().contains("key"));
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::from_file(&path).unwrap_err().contains("is empty"));
    }
}
