//! A disk's backend as one type that redb takes. Owns what reaches the file at all: nothing once it is shut, and nothing that it
//! has just been told.

use redb::StorageBackend;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The longest write that is remembered: redb's header, which it writes twice in the same words while it opens a file.
const REMEMBERED: usize = 512;

/// The file of one opening. Once it is shut, redb meets an error at the first thing that it writes and leaves the file as it is.
///
/// What follows itself is written once, and a sync behind which nothing was written is none: each start would wait for the disk
/// twice otherwise. What the file held before it was opened so is not known to be on disk: the first write and the first sync are
/// always done.
#[derive(Debug)]
pub struct Backend {
    file: Box<dyn StorageBackend>,
    shut: Arc<AtomicBool>,
    told: Mutex<Told>,
}

/// What the file was told, as far as that matters to what comes next.
#[derive(Debug, Default)]
struct Told {
    /// The last write, if it was short and well.
    last: Option<(u64, Vec<u8>)>,
    /// How often a write was begun or ended.
    writes: u64,
    /// How often by the last sync that was well, when that began: what was being written then may have come behind it.
    synced: Option<u64>,
}

impl Told {
    /// Something is about to be written, or was; gives how often that is so by now.
    fn next(&mut self) -> u64 {
        self.last = None;
        self.writes += 1;
        self.writes
    }
}

impl Backend {
    /// Of a file that was just opened. `shut` may be set at any time.
    pub fn new(file: Box<dyn StorageBackend>, shut: Arc<AtomicBool>) -> Self {
        Self { file, shut, told: Mutex::default() }
    }

    fn writable(&self) -> io::Result<(&dyn StorageBackend, MutexGuard<'_, Told>)> {
        if self.shut.load(SeqCst) {
            return Err(io::Error::other("the journal is sealed"));
        }
        Ok((&*self.file, self.told()))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (file, mut told) = self.writable()?;
        told.next();
        drop(told);
        let changed = file.set_len(len);
        self.told().next();
        changed
    }

    fn sync_data(&self) -> io::Result<()> {
        let (file, told) = self.writable()?;
        let writes = told.writes;
        if told.synced == Some(writes) {
            return Ok(());
        }
        // Whoever writes meanwhile does not wait for the disk.
        drop(told);
        let synced = file.sync_data();
        let mut told = self.told();
        match synced {
            Ok(()) => told.synced = told.synced.max(Some(writes)),
            // What became of what was written is not known.
            Err(_) => (told.last, told.synced) = (None, None),
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (file, mut told) = self.writable()?;
        if told.last.as_ref().is_some_and(|(at, last)| *at == offset && last == data) {
            return Ok(());
        }
        let begun = told.next();
        drop(told);
        let written = file.write(offset, data);
        let mut told = self.told();
        // Of two at a time nobody knows which was the last.
        let alone = told.writes == begun;
        told.next();
        if alone && written.is_ok() && data.len() <= REMEMBERED {
            told.last = Some((offset, data.to_vec()));
        }
        written
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;
    use std::sync::mpsc;

    /// A file that counts, and whose syncs fail when they are told to.
    #[derive(Debug, Default)]
    struct Counting {
        file: InMemoryBackend,
        seen: Arc<Mutex<Vec<&'static str>>>,
        fails: Arc<AtomicBool>,
    }

    impl Counting {
        fn saw(&self, what: &'static str) -> io::Result<()> {
            self.seen.lock().unwrap().push(what);
            if self.fails.load(SeqCst) { Err(io::Error::other("it fails")) } else { Ok(()) }
        }
    }

    impl StorageBackend for Counting {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.saw("length")?;
            self.file.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.saw("sync")
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.saw("write")?;
            self.file.write(offset, data)
        }
    }

    type Seen = Arc<Mutex<Vec<&'static str>>>;

    fn counting() -> (Backend, Seen, Arc<AtomicBool>, Arc<AtomicBool>) {
        let file = Counting::default();
        file.file.set_len(8_192).unwrap();
        let (seen, fails, shut) = (Arc::clone(&file.seen), Arc::clone(&file.fails), Arc::default());
        (Backend::new(Box::new(file), Arc::clone(&shut)), seen, fails, shut)
    }

    fn taken(seen: &Seen) -> Vec<&'static str> {
        std::mem::take(&mut seen.lock().unwrap())
    }

    #[test]
    fn what_follows_itself_reaches_the_file_once_and_what_is_synced_is_not_synced_again() {
        let (backend, seen, ..) = counting();
        backend.sync_data().unwrap();
        assert_eq!(taken(&seen), ["sync"], "what was there before is not known to be on disk");
        for _ in 0..2 {
            backend.write(0, b"head").unwrap();
            backend.sync_data().unwrap();
        }
        assert_eq!(taken(&seen), ["write", "sync"]);
        for (offset, data) in [(0, b"tail"), (4, b"tail"), (0, b"tail"), (0, b"head")] {
            backend.write(offset, data).unwrap();
        }
        backend.sync_data().unwrap();
        assert_eq!(taken(&seen), ["write", "write", "write", "write", "sync"], "each is another than the last");
        let mut read = [0; 8];
        backend.read(0, &mut read).unwrap();
        assert_eq!(&read, b"headtail");
        let page = vec![7; REMEMBERED + 1];
        backend.write(0, &page).unwrap();
        backend.write(0, &page).unwrap();
        assert_eq!(taken(&seen), ["write", "write"], "what is long is not remembered");
        backend.sync_data().unwrap();
        backend.set_len(4_096).unwrap();
        backend.sync_data().unwrap();
        assert_eq!(taken(&seen), ["sync", "length", "sync"]);
    }

    #[test]
    fn what_failed_is_done_again() {
        let (backend, seen, fails, _) = counting();
        backend.write(0, b"head").unwrap();
        backend.sync_data().unwrap();
        fails.store(true, SeqCst);
        assert!(backend.write(0, b"tail").is_err());
        fails.store(false, SeqCst);
        backend.write(0, b"tail").unwrap();
        taken(&seen);
        fails.store(true, SeqCst);
        assert!(backend.sync_data().is_err());
        fails.store(false, SeqCst);
        backend.write(0, b"tail").unwrap();
        backend.sync_data().unwrap();
        assert_eq!(taken(&seen), ["sync", "write", "sync"], "the page that failed may be lost");
    }

    /// A file whose writes wait to be let go.
    #[derive(Debug)]
    struct Slow {
        file: Counting,
        begun: mpsc::Sender<()>,
        go: Mutex<mpsc::Receiver<()>>,
    }

    impl StorageBackend for Slow {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.file.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.file.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.begun.send(()).unwrap();
            self.go.lock().unwrap().recv().unwrap();
            self.file.write(offset, data)
        }
    }

    #[test]
    fn what_was_being_written_during_a_sync_is_not_taken_for_synced() {
        let (begun, is_begun) = mpsc::channel();
        let (let_go, go) = mpsc::channel();
        let file = Counting::default();
        file.file.set_len(8_192).unwrap();
        let seen = Arc::clone(&file.seen);
        let backend = Backend::new(Box::new(Slow { file, begun, go: Mutex::new(go) }), Arc::default());
        std::thread::scope(|scope| {
            let write = scope.spawn(|| backend.write(0, b"head"));
            is_begun.recv().unwrap();
            backend.sync_data().unwrap();
            let_go.send(()).unwrap();
            write.join().unwrap().unwrap();
        });
        backend.sync_data().unwrap();
        backend.sync_data().unwrap();
        assert_eq!(taken(&seen), ["sync", "write", "sync"]);
    }

    #[test]
    fn nothing_reaches_a_file_that_is_shut() {
        let (backend, seen, _, shut) = counting();
        shut.store(true, SeqCst);
        assert!(backend.write(0, b"head").is_err() && backend.sync_data().is_err() && backend.set_len(0).is_err());
        assert_eq!((taken(&seen).len(), backend.len().unwrap()), (0, 8_192));
    }
}
