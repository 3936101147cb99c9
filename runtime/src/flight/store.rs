//! The flight logs that a gateway keeps by itself: one file a generation in a folder of the state directory, bounded in
//! number and size, the oldest removed first. It knows files and names; what is in them is `flight`'s.

use super::{Head, Recorder, append_to};
use evergate_core::id::GenerationId;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The folder, in the state directory.
pub const FOLDER: &str = "flight";
/// Logs that are kept, the one of the generation that lives included.
const FILES: usize = 16;
/// Bytes in all of them together: half for the generation that lives, half for those before.
const BYTES: u64 = 64 * 1024 * 1024;

/// Records a generation in the folder, which is made if it is not there. Records nothing, and says so once, if that cannot
/// be done.
#[must_use]
pub fn record(folder: &Path, head: &Head) -> Recorder {
    let path = log_of(folder, head.generation);
    Recorder::begin(&path, make_room(folder, BYTES).and_then(|()| Bounded::open(&path, BYTES / 2)), head)
}

/// The log of this generation.
#[must_use]
pub fn log_of(folder: &Path, generation: GenerationId) -> PathBuf {
    folder.join(format!("{}.jsonl", generation.0))
}

/// The logs in the folder, in the order of their generations; none when there is no such folder.
#[must_use]
pub fn logs(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<(u64, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let generation = name.strip_suffix(".jsonl")?.parse().ok()?;
            Some((generation, path))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Removes the oldest logs until there is room for one more file, and half of the bytes are free.
fn make_room(folder: &Path, bytes: u64) -> io::Result<()> {
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    let mut kept: Vec<(PathBuf, u64)> = logs(folder).into_iter().map(|path| (path.clone(), size(&path))).collect();
    while kept.len() >= FILES || kept.iter().map(|(_, size)| size).sum::<u64>() > bytes / 2 {
        let (oldest, _) = kept.remove(0);
        fs::remove_file(oldest)?;
    }
    Ok(())
}

/// A file that takes so many bytes and no more.
struct Bounded {
    file: File,
    left: u64,
}

impl Bounded {
    fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let file = append_to(path)?;
        let left = bytes.saturating_sub(file.metadata()?.len());
        Ok(Self { file, left })
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has reached the size that a log may have"));
        }
        let written = self.file.write(&bytes[..room])?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergate_core::input::Input;
    use evergate_core::limits::Limits;
    use evergate_core::recovery::Recovered;
    use evergate_core::supervisor::{Contract, Supervisor};
    use evergate_core::time::Instant;
    use std::os::unix::fs::PermissionsExt;

    fn head(last: u64) -> Head {
        let mut recovered = Recovered::default();
        recovered.highest.generation = GenerationId(last);
        Head::new(Limits::default(), Contract::of(Supervisor::Nobody), recovered, Instant::default())
    }

    #[test]
    fn each_generation_has_a_log_of_its_own_for_this_user_alone_and_the_oldest_go_first() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join(FOLDER);
        for last in 0..20 {
            record(&folder, &head(last)).flush();
        }
        let kept = logs(&folder);
        assert_eq!(kept.len(), FILES);
        assert_eq!((kept.first(), kept.last()), (Some(&folder.join("5.jsonl")), Some(&folder.join("20.jsonl"))));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&kept[0])), (0o700, 0o600));
    }

    #[test]
    fn logs_that_are_too_large_together_make_room_for_the_next_and_other_files_stay() {
        let state = tempfile::tempdir().unwrap();
        for (name, size) in [("9.jsonl", 40), ("10.jsonl", 30), ("11.jsonl", 20), ("notes", 1000)] {
            fs::write(state.path().join(name), vec![b'x'; size]).unwrap();
        }
        make_room(state.path(), 110).unwrap();
        assert_eq!(logs(state.path()), [state.path().join("10.jsonl"), state.path().join("11.jsonl")]);
        assert!(state.path().join("notes").exists());
    }

    #[test]
    fn a_log_that_has_reached_its_size_ends_the_recording() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("1.jsonl");
        let bytes = serde_json::to_vec(&head(0)).unwrap().len() as u64 + 100;
        let mut recorder = Recorder::begin(&path, Bounded::open(&path, bytes), &head(0));
        for _ in 0..100 {
            recorder.input(Instant::default(), &Input::PlatformsOpen);
            recorder.flush();
        }
        // Dropped, so that all is written.
        drop(recorder);
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
        assert!(Bounded::open(&path, bytes).unwrap().write(b"x").is_err());
    }
}
