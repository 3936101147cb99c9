//! A disk in memory that holds one journal file. It has no faults of its own: what is wrong with the file was handed in.

use evergate::environment::Disk;
use evergate::journal::Journal;
use evergate::journal::store::Store;
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// One disk. Its clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Option<Vec<u8>>>>);

impl Memory {
    /// A disk with this file.
    pub fn holding(file: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Some(file))))
    }

    /// A disk with an empty journal, which was made once.
    pub fn with_an_empty_journal() -> Self {
        static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
        let make = || {
            let disk = Self::default();
            let store = Store::open(disk.handle()).expect("an empty journal can be made");
            store.close();
            disk.file()
        };
        Self::holding(EMPTY.get_or_init(make).clone())
    }

    /// The disk as a store takes it.
    pub fn handle(&self) -> Box<dyn Disk> {
        Box::new(self.clone())
    }

    /// What is on it.
    pub fn file(&self) -> Vec<u8> {
        self.lock().clone().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for Memory {
    fn open(&self) -> io::Result<Option<Box<dyn StorageBackend>>> {
        match &*self.lock() {
            None => Ok(None),
            Some(file) if file.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) => Ok(Some(Box::new(self.clone()))),
        }
    }

    fn create(
        &self,
        initialise: &mut dyn FnMut(Box<dyn StorageBackend>) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        initialise(Box::new(self.clone()))
    }

    fn name(&self) -> String {
        "journal.redb".into()
    }
}

fn place(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    let end = start.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(start..end)
}

/// Larger files than this are not kept in memory: a real disk would be full.
const FULL: usize = 64 * 1024 * 1024;

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().as_ref().map_or(0, Vec::len) as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let place = place(offset, out.len())?;
        let file = self.lock();
        let found = file.as_ref().and_then(|file| file.get(place)).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = place(len, 0)?.start;
        if len > FULL {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.lock().get_or_insert_default().resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let place = place(offset, data.len())?;
        if place.end > FULL {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut file = self.lock();
        let file = file.get_or_insert_default();
        if file.len() < place.end {
            file.resize(place.end, 0);
        }
        file[place].copy_from_slice(data);
        Ok(())
    }
}
