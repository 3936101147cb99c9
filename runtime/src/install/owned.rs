//! Files that we write for others to read, and whose they are. A line near the top says that we wrote the file, with which
//! version, and a checksum of the rest: a file without that line is a stranger's, and one whose rest has changed is its
//! editor's. Neither is ever overwritten or removed.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// What the line begins with, behind whatever makes it a comment.
const MARK: &str = "Written by evergate install, version ";
/// In how many lines it is looked for: a script and an XML file have a first line of their own.
const HEAD: usize = 3;

/// The version that writes.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How a comment looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comment {
    /// `# …`
    Hash,
    /// `<!-- … -->`
    Xml,
}

/// One file of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFile {
    /// Where it goes.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// A line that has to be the first.
    pub first_line: Option<&'static str>,
    /// How it is marked.
    pub comment: Comment,
    /// All the rest.
    pub text: String,
}

/// Whose the file at that path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// There is none.
    Absent,
    /// Ours, as we wrote it.
    Ours {
        /// The version that wrote it.
        version: String,
    },
    /// Ours once; somebody has changed it since.
    Edited,
    /// We never wrote it.
    Stranger,
}

/// Why a file was left alone.
#[derive(Debug, thiserror::Error)]
pub enum OwnedError {
    /// It is somebody else's.
    #[error("{0} was not written by evergate: it is left alone. Move it away, then try again")]
    Stranger(PathBuf),
    /// It was changed by hand.
    #[error("{0} was changed since evergate wrote it: it is left alone. Move it away, then try again")]
    Edited(PathBuf),
    /// The system refused.
    #[error("{path} cannot be {what}: {error}")]
    Refused {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
}

impl UnitFile {
    /// The whole file.
    #[must_use]
    pub fn full_text(&self) -> String {
        let first = self.first_line.map_or_else(String::new, |line| format!("{line}\n"));
        let sum = checksum(&format!("{first}{}", self.text));
        let mark = format!("{MARK}{VERSION}, checksum {sum:016x}. A changed file is never overwritten or removed.");
        let mark = match self.comment {
            Comment::Hash => format!("# {mark}\n"),
            Comment::Xml => format!("<!-- {mark} -->\n"),
        };
        format!("{first}{mark}{}", self.text)
    }

    /// Whose the file is that stands there now.
    pub fn ownership(&self) -> Result<Ownership, OwnedError> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(ownership_of(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Ownership::Absent),
            Err(error) => Err(self.refused("read", error)),
        }
    }

    /// Whether nobody else's file would be lost.
    pub fn may_be_written(&self) -> Result<(), OwnedError> {
        match self.ownership()? {
            Ownership::Absent | Ownership::Ours { .. } => Ok(()),
            Ownership::Edited => Err(OwnedError::Edited(self.path.clone())),
            Ownership::Stranger => Err(OwnedError::Stranger(self.path.clone())),
        }
    }

    /// The same question: what may be written anew may go, and what is not there cannot be lost.
    pub fn may_be_removed(&self) -> Result<(), OwnedError> {
        self.may_be_written()
    }

    /// Writes it, whole or not at all.
    pub fn write(&self) -> Result<(), OwnedError> {
        self.may_be_written()?;
        let folder = self.path.parent().unwrap_or(&self.path);
        // It may be the state directory that is made here, and that is for one user alone.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| OwnedError::Refused {
            path: folder.to_owned(),
            what: "made",
            error,
        })?;
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let write = || {
            // What lies there may be a link of somebody who wants another file overwritten.
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(self.mode).open(&fresh)?;
            // The mode of `open` is subject to the umask, and does nothing to a file that was there.
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(self.mode))?;
            file.write_all(self.full_text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)
        };
        write().map_err(|error| self.refused("written", error))
    }

    /// Removes it, if it is ours.
    pub fn remove(&self) -> Result<(), OwnedError> {
        self.may_be_removed()?;
        fs::remove_file(&self.path).map_err(|error| self.refused("removed", error))
    }

    fn refused(&self, what: &'static str, error: std::io::Error) -> OwnedError {
        OwnedError::Refused { path: self.path.clone(), what, error }
    }
}

/// Whether this version is a later one. What cannot be compared is not earlier.
#[must_use]
pub fn is_earlier(version: &str) -> bool {
    let numbers = |version: &str| version.split('.').map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<u64>>>();
    matches!((numbers(version), numbers(VERSION)), (Some(earlier), Some(this)) if earlier < this)
}

/// Whose a text is.
#[must_use]
pub fn ownership_of(text: &str) -> Ownership {
    let Some((at, mark)) = text.lines().take(HEAD).enumerate().find(|(_, line)| line.contains(MARK)) else {
        return Ownership::Stranger;
    };
    let said = mark.split_once(MARK).map_or("", |(_, said)| said);
    let (version, rest) = said.split_once(", checksum ").unwrap_or((said, ""));
    let sum = u64::from_str_radix(rest.get(..16).unwrap_or(""), 16).ok();
    if sum == Some(checksum(&without_line(text, at))) {
        Ownership::Ours { version: version.to_owned() }
    } else {
        Ownership::Edited
    }
}

/// The text but for the line that says who wrote it.
#[must_use]
pub fn without_mark(text: &str) -> String {
    let at = text.lines().take(HEAD).position(|line| line.contains(MARK));
    at.map_or_else(|| text.to_owned(), |at| without_line(text, at))
}

fn without_line(text: &str, at: usize) -> String {
    text.split_inclusive('\n').enumerate().filter(|(line, _)| *line != at).map(|(_, line)| line).collect()
}

/// FNV-1a: it is to notice an editor, not an enemy.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &std::path::Path) -> UnitFile {
        let first_line = Some("#!/bin/sh");
        UnitFile {
            path: folder.join("deep/run"),
            mode: 0o755,
            first_line,
            comment: Comment::Hash,
            text: "x\ny\n".into(),
        }
    }

    #[test]
    fn what_we_wrote_is_ours_until_somebody_changes_it_and_a_stranger_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        assert_eq!(file.ownership().unwrap(), Ownership::Absent);
        file.write().unwrap();
        file.write().unwrap();
        assert_eq!(file.ownership().unwrap(), Ownership::Ours { version: VERSION.into() });
        let text = fs::read_to_string(&file.path).unwrap();
        assert!(text.starts_with("#!/bin/sh\n# Written by evergate install"), "{text}");

        for (changed, whose) in [
            (format!("{text}z\n"), Ownership::Edited),
            (text.replace("#!/bin/sh", "#!/bin/ksh"), Ownership::Edited),
            ("x\ny\n".to_owned(), Ownership::Stranger),
            (String::new(), Ownership::Stranger),
        ] {
            fs::write(&file.path, &changed).unwrap();
            assert_eq!(file.ownership().unwrap(), whose, "{changed}");
            file.write().unwrap_err();
            file.remove().unwrap_err();
            assert_eq!(fs::read_to_string(&file.path).unwrap(), changed);
        }
        fs::write(&file.path, text).unwrap();
        file.remove().unwrap();
        assert_eq!(file.ownership().unwrap(), Ownership::Absent);
    }

    #[test]
    fn a_file_of_an_older_version_is_ours_and_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let older = file(folder.path()).full_text().replace(VERSION, "0.0.9");
        assert_eq!(ownership_of(&older), Ownership::Ours { version: "0.0.9".into() });
        assert!(is_earlier("0.0.9") && !is_earlier(VERSION) && !is_earlier("9.0.0") && !is_earlier("0.0.9-rc1"));
    }

    #[test]
    fn a_link_in_the_way_is_replaced_and_what_it_leads_to_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        let other = folder.path().join("other");
        fs::write(&other, "precious").unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join("deep/run.new")).unwrap();
        file.write().unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert_eq!(file.ownership().unwrap(), Ownership::Ours { version: VERSION.into() });
    }
}
