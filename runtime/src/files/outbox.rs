//! What an agent hands out with its reply: files that it puts into a folder of its run. When the run has answered they are
//! taken out of there, synced, and kept under names that no later run of another turn shares; then the reply can be owed. Only
//! what lies in the folder itself is taken, and only plain files: no link and no folder leads anywhere else.

use super::fresh::sync_folders;
use super::{REPLIES, folder, media_type, safe_name, shown};
use crate::platform::Attachment;
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The most files that go with one reply.
const MOST: usize = 10;
/// The folder in the state directory with the folders of runs.
pub(super) const OUTBOX: &str = "outbox";

/// The folder of one run, empty at its beginning; it goes with this value.
#[derive(Debug)]
pub struct Outbox {
    path: PathBuf,
    state_dir: PathBuf,
    turn: u64,
}

/// What was in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// The files, by their names, in the state directory and synced.
    pub files: Vec<Attachment>,
    /// A line for each thing that is not among them.
    pub notes: Vec<String>,
}

impl Outbox {
    /// An empty folder for a run of this turn. What an earlier attempt has put there is gone: it did not answer.
    pub fn open(state_dir: &Path, turn: u64) -> io::Result<Self> {
        let runs = state_dir.join(OUTBOX);
        let path = runs.join(turn.to_string());
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A state directory that is not there is not made here.
        match fs::create_dir(&runs) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::create_dir(&path)?,
        }
        Ok(Self { path, state_dir: state_dir.to_owned(), turn })
    }

    /// The same, where a disk that takes its time holds up nobody but the run.
    pub async fn open_apart(state_dir: PathBuf, turn: u64) -> io::Result<Self> {
        let opened = tokio::task::spawn_blocking(move || Self::open(&state_dir, turn));
        opened.await.map_err(io::Error::other)?
    }

    /// Removes it there.
    pub async fn clear(self) {
        if let Err(error) = tokio::task::spawn_blocking(move || drop(self)).await {
            tracing::debug!(%error, "the folder of a run stays for now");
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes out what is there, each file of at most `limit` bytes. Names that begin with a dot are not meant to be seen.
    pub async fn take(&self, limit: u64) -> Handed {
        let (path, state_dir, turn) = (self.path.clone(), self.state_dir.clone(), self.turn);
        let taken = tokio::task::spawn_blocking(move || take(&path, &state_dir, turn, limit));
        let taken = taken.await.map_err(io::Error::other).and_then(|taken| taken);
        taken.unwrap_or_else(|error| {
            tracing::warn!(turn = self.turn, %error, "the files of a reply cannot be kept");
            Handed { files: Vec::new(), notes: vec![format!("[The files of this answer are missing: {error}]")] }
        })
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the folder of a run stays for now");
        }
    }
}

fn take(path: &Path, state_dir: &Path, turn: u64, limit: u64) -> io::Result<Handed> {
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    entries.sort_by_key(DirEntry::file_name);
    let (mut handed, kept) = (Handed::default(), folder(state_dir, REPLIES));
    if entries.is_empty() {
        return Ok(handed);
    }
    fs::create_dir_all(&kept)?;
    let beyond = entries.len().saturating_sub(MOST);
    for (place, entry) in entries.into_iter().take(MOST).enumerate() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match take_one(&entry, limit) {
            Ok(()) => {
                let kind = media_type(&name);
                let to = kept.join(format!("{turn}-{place}-{}", safe_name(Some(&name), kind)));
                fs::rename(entry.path(), &to)?;
                handed.files.push(Attachment { path: to, media_type: kind.into(), name: Some(shown(&name)) });
            }
            Err(why) => handed.notes.push(format!("[{} was left out: {why}]", shown(&name))),
        }
    }
    if beyond > 0 {
        handed.notes.push(format!("[{beyond} more files were left out: {MOST} go with an answer]"));
    }
    sync_folders(&kept)?;
    Ok(handed)
}

/// Has a file synced, if it is one that may be taken.
fn take_one(entry: &DirEntry, limit: u64) -> Result<(), String> {
    // This does not follow a link, which is none of the things below.
    let found = entry.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is no plain file".into());
    }
    if found.len() > limit {
        return Err(format!("it has {} bytes, and {limit} are the most (files.limit)", found.len()));
    }
    let sync = || {
        let file = File::open(entry.path())?;
        // Its age counts from now on.
        file.set_modified(SystemTime::now())?;
        file.sync_all()
    };
    sync().map_err(|error: io::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn only_plain_files_within_the_limit_are_taken_and_the_folder_goes() {
        let state = tempfile::tempdir().unwrap();
        let secret = state.path().join("token");
        fs::write(&secret, "secret").unwrap();
        let outbox = Outbox::open(state.path(), 7).unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(outbox.path().join(name), bytes).unwrap();
        put("b pic.png", b"pixels");
        put("a.txt", b"text");
        put(".draft", b"not yet");
        put("large.bin", &[0; 100]);
        symlink(&secret, outbox.path().join("link")).unwrap();
        fs::create_dir(outbox.path().join("folder")).unwrap();
        let handed = outbox.take(50).await;
        let told: Vec<_> = handed.files.iter().map(|file| (file.name.as_deref(), &*file.media_type)).collect();
        assert_eq!(told, [(Some("a.txt"), "text/plain"), (Some("b pic.png"), "image/png")]);
        assert_eq!(fs::read(&handed.files[1].path).unwrap(), b"pixels");
        assert!(handed.files.iter().all(|file| file.path.starts_with(state.path().join("files/replies"))));
        let notes = handed.notes.join("\n");
        assert_eq!(handed.notes.len(), 3, "{notes}");
        assert!(notes.contains("[link was left out: it is no plain file]") && notes.contains("100 bytes"), "{notes}");
        let path = outbox.path().to_owned();
        drop(outbox);
        assert!(!path.exists() && secret.exists());
    }

    #[tokio::test]
    async fn another_attempt_begins_with_nothing_and_too_many_files_are_counted() {
        let state = tempfile::tempdir().unwrap();
        let first = Outbox::open(state.path(), 7).unwrap();
        fs::write(first.path().join("old"), "1").unwrap();
        std::mem::forget(first);
        let second = Outbox::open(state.path(), 7).unwrap();
        assert_eq!(second.take(10).await, Handed::default());
        for number in 10..22 {
            fs::write(second.path().join(format!("{number}.txt")), "1").unwrap();
        }
        let handed = second.take(10).await;
        assert_eq!((handed.files.len(), handed.notes.len()), (10, 1));
        assert!(handed.notes[0].contains("2 more files"), "{:?}", handed.notes);
    }
}
