//! A file on its way to disk: written beside its name, and under it only when it is whole and synced, so that nobody ever
//! reads half a file and a power cut takes nothing that a message was acked with.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is not whole yet. Dropped before it is [finished](Self::finish) it leaves nothing.
#[derive(Debug)]
pub struct Fresh {
    file: Option<File>,
    path: PathBuf,
    part: PathBuf,
    left: u64,
}

impl Fresh {
    /// Begins a file of at most `limit` bytes that is going to be at `path`; what is there is replaced in the end.
    pub fn create(path: &Path, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(folder_of(path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!(".{name}.part"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        Ok(Self { file: Some(file), path: path.to_owned(), part, left: limit })
    }

    /// Adds the next bytes. [`io::ErrorKind::FileTooLarge`] says that they are too many.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let size = bytes.len() as u64;
        self.left = self.left.checked_sub(size).ok_or(io::ErrorKind::FileTooLarge)?;
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    /// Gives it its name. Once this has returned it outlives a power cut.
    pub async fn finish(mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let (part, path) = (self.part.clone(), self.path.clone());
        // A disk may take its time, and the loop has others to attend to.
        let synced = tokio::task::spawn_blocking(move || {
            file.sync_all()?;
            fs::rename(&part, &path)?;
            sync_folders(folder_of(&path))
        });
        synced.await.map_err(io::Error::other)?
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // After its rename there is none.
        let _gone = fs::remove_file(&self.part);
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Makes the names in this folder durable, its own in `files/`, and that of `files/` itself.
pub(super) fn sync_folders(folder: &Path) -> io::Result<()> {
    folder.ancestors().take(3).try_for_each(|folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_has_its_name_only_when_it_is_whole_and_within_its_limit() {
        let state = tempfile::tempdir().unwrap();
        let folder = super::super::folder(state.path(), "somewhere");
        let path = folder.join("a.txt");
        let mut fresh = Fresh::create(&path, 5).unwrap();
        fresh.write(b"123").unwrap();
        assert!(!path.exists());
        fresh.write(b"45").unwrap();
        fresh.finish().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"12345");
        let mut long = Fresh::create(&path, 5).unwrap();
        long.write(b"1234").unwrap();
        assert_eq!(long.write(b"56").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        drop(long);
        let left: Vec<_> = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!((left, fs::read(&path).unwrap()), (vec!["a.txt".into()], b"12345".to_vec()));
    }
}
