//! A disk in memory whose power can go after any call. What was written since the last sync is then lost, kept or torn,
//! sector by sector, in any order; what was synced stays.

use evergate::environment::Disk;
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex};

/// What a disk writes as a whole; a torn sector is half of one.
const SECTOR: usize = 512;

/// One disk with one file. Its clones are the same disk.
#[derive(Clone, Debug)]
pub struct Sectors(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The file as it was after the last sync; `None` while there is none.
    synced: Option<Vec<u8>>,
    /// The file as the program sees it.
    seen: Vec<u8>,
    /// What has been done to it since the last sync, in order.
    unsynced: Vec<Change>,
    /// Calls until the power goes.
    left: Option<usize>,
    seed: u64,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize(usize),
}

impl Sectors {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { synced: None, seen: Vec::new(), unsynced: Vec::new(), left: None, seed })))
    }

    pub fn handle(&self) -> Box<dyn Disk> {
        Box::new(self.clone())
    }

    pub fn power_goes_after(&self, calls: usize) {
        self.0.lock().unwrap().left = Some(calls);
    }

    /// The machine starts again: what it finds is what was synced and some of the rest.
    pub fn power_comes_back(&self) {
        let mut state = self.0.lock().unwrap();
        state.left = None;
        let unsynced = std::mem::take(&mut state.unsynced);
        let Some(mut file) = state.synced.clone() else { return };
        for change in unsynced {
            match change {
                Change::Resize(len) if state.draw(2) == 0 => file.resize(len, 0),
                Change::Resize(_) => {}
                Change::Write { offset, bytes } => state.write_some(&mut file, offset, &bytes),
            }
        }
        state.seen.clone_from(&file);
        state.synced = Some(file);
    }

    /// Changes what is on the disk.
    pub fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock().unwrap();
        let mut file = state.synced.take().unwrap();
        change(&mut file);
        state.seen.clone_from(&file);
        state.synced = Some(file);
    }

    fn call(&self) -> io::Result<std::sync::MutexGuard<'_, State>> {
        let mut state = self.0.lock().unwrap();
        match &mut state.left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(state)
            }
            None => Ok(state),
        }
    }
}

impl State {
    fn draw(&mut self, sides: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % sides
    }

    /// Each sector of a write comes to the disk, or half of it, or nothing.
    fn write_some(&mut self, file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let size = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
            let written = match self.draw(3) {
                0 => 0,
                1 => size,
                _ => size / 2,
            };
            // A sector above the end that the disk knows of makes the file longer, as far as it was written.
            if written > 0 {
                let end = offset + at + written;
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[offset + at..end].copy_from_slice(&bytes[at..at + written]);
            }
            at += size;
        }
    }
}

impl Disk for Sectors {
    fn open(&self) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let there = self.call()?.synced.is_some();
        Ok(there.then(|| Box::new(self.clone()) as Box<dyn StorageBackend>))
    }

    /// The file under its other name is a disk of its own until it is renamed, which is durable at once.
    fn create(
        &self,
        initialise: &mut dyn FnMut(Box<dyn StorageBackend>) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let fresh = Self::new(0);
        fresh.0.lock().unwrap().left = self.0.lock().unwrap().left;
        initialise(Box::new(fresh.clone()))?;
        let left = fresh.0.lock().unwrap().left;
        self.0.lock().unwrap().left = left;
        let mut state = self.call()?;
        state.seen = std::mem::take(&mut fresh.0.lock().unwrap().seen);
        state.synced = Some(state.seen.clone());
        Ok(())
    }

    fn name(&self) -> String {
        "journal.redb".into()
    }
}

impl StorageBackend for Sectors {
    fn len(&self) -> io::Result<u64> {
        Ok(self.call()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let state = self.call()?;
        let found = state.seen.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut state = self.call()?;
        state.seen.resize(len, 0);
        state.unsynced.push(Change::Resize(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.call()?;
        state.unsynced.clear();
        state.synced = Some(state.seen.clone());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.call()?;
        let end = offset + data.len();
        if state.seen.len() < end {
            state.seen.resize(end, 0);
        }
        state.seen[offset..end].copy_from_slice(data);
        state.unsynced.push(Change::Write { offset, bytes: data.to_vec() });
        Ok(())
    }
}
