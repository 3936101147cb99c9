//! Files beside the journal, below the state directory: those that came with messages (`files/PLATFORM/`) and those that go
//! with replies (`files/replies/`). A file is synced before anything in the journal relies on it ([`fresh`], [`outbox`]), and
//! is removed by age, unless something unfinished still needs it ([`clean`]). What is in a file is nobody's business here.

pub mod clean;
mod fresh;
mod kind;
mod outbox;

pub use fresh::Fresh;
pub use kind::{ending, media_type};
pub use outbox::{Handed, Outbox};

use std::path::{Path, PathBuf};

/// The folder below `files/` with what goes with replies.
pub const REPLIES: &str = "replies";
/// The longest name of a file that is kept, in characters.
const NAME: usize = 80;

/// Where the files of a platform, or of [`REPLIES`], are.
#[must_use]
pub fn folder(state_dir: &Path, of: &str) -> PathBuf {
    state_dir.join("files").join(of)
}

/// A name that holds nothing that a path could trip over, made of what somebody called a file of this type.
#[must_use]
pub fn safe_name(called: Option<&str>, media_type: &str) -> String {
    let letters = called.unwrap_or_default().chars();
    let plain: String =
        letters.map(|one| if one.is_ascii_alphanumeric() || "._-".contains(one) { one } else { '_' }).collect();
    let plain = plain.trim_start_matches('.');
    // The end of a name says what it is.
    let plain: String = plain.chars().skip(plain.len().saturating_sub(NAME)).collect();
    if plain.is_empty() { format!("file.{}", ending(media_type)) } else { plain }
}

/// What somebody called a file or its type, fit to be shown.
#[must_use]
pub fn shown(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_file_leaves_its_folder() {
        for (given, made) in [
            ("a.txt", "a.txt"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("..", "file.bin"),
            ("", "file.bin"),
            ("sea shells.pdf\0", "sea_shells.pdf_"),
        ] {
            assert_eq!(safe_name(Some(given), "text/x-unknown"), made);
        }
        let long = safe_name(Some(&format!("{}.pdf", "x".repeat(500))), "application/pdf");
        assert!(long.len() <= NAME && long.ends_with("x.pdf"), "{long}");
        assert_eq!(safe_name(None, "image/jpeg"), "file.jpg");
    }
}
