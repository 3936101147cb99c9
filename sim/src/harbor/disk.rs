//! A disk that holds one journal and forgets what a disk may forget. Writes stand in the page cache until a sync; a kill of the
//! process keeps the cache, a power cut keeps of each unsynced 512-byte sector the old bytes, the new ones, or some of both.

use super::dice::Dice;
use super::logbook::{Logbook, Mark};
use crate::story::{Kind, Lane};
use evergate::environment::Disk;
use redb::StorageBackend;
use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The kernel's number for an error of the device.
const EIO: i32 = 5;
/// The kernel's number for a device without room.
const ENOSPC: i32 = 28;
/// What a disk writes as a whole or not at all, if it is an honest one.
const SECTOR: usize = 512;

/// Whether a process is still there to do anything; shared with all that acts for it.
pub type Alive = Arc<AtomicBool>;

/// How a machine or process ends in the middle of what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    /// The process is gone; the machine and its page cache are not.
    Kill,
    /// The machine is gone: what was not synced may be, too.
    PowerCut,
}

/// How honest the disk is. A gateway has to live with all but the liar, which shows that the oracle sees a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Honesty {
    /// What was synced stays.
    #[default]
    Honest,
    /// It says that it has synced and has not.
    Lies,
    /// After a failed sync it takes the pages for clean, as some kernels do: the next sync succeeds without them.
    Forgets,
}

/// The platter, shared by all who have ever opened it.
pub struct Platter {
    journal: Option<Image>,
    /// What `create` is writing under another name.
    fresh: Option<Image>,
    dice: Dice,
    honesty: Honesty,
    /// Writes and syncs so far.
    operations: u64,
    /// The operation in which the owner dies.
    death: Option<(u64, Death)>,
    /// A death that has happened and that nobody has looked at yet.
    died: Option<Death>,
    owner: Alive,
    /// Syncs of a hundred that fail.
    pub failing_syncs: u64,
    /// Whether there is no room for any write.
    pub full: bool,
    logbook: Arc<Logbook>,
}

/// One file: as it would be found after a power cut, and as everybody sees it now.
#[derive(Default)]
struct Image {
    durable: Vec<u8>,
    cached: Vec<u8>,
    dirty: Vec<usize>,
    is_dirty: Vec<bool>,
}

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Journal,
    Fresh,
}

impl Platter {
    /// An empty disk.
    pub fn new(dice: Dice, honesty: Honesty, logbook: Arc<Logbook>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            journal: None,
            fresh: None,
            dice,
            honesty,
            operations: 0,
            death: None,
            died: None,
            owner: Alive::default(),
            failing_syncs: 0,
            full: false,
            logbook,
        }))
    }

    /// A process that lives as long as this says is the one that may write from now on.
    pub fn take_over(&mut self, owner: &Alive) {
        self.owner = Arc::clone(owner);
    }

    /// The owner dies in the middle of its `operations`th write or sync from now.
    pub fn die_after(&mut self, operations: u64, death: Death) {
        self.death = Some((self.operations + operations.max(1), death));
    }

    /// The death that happened since the last look.
    pub fn take_death(&mut self) -> Option<Death> {
        self.died.take()
    }

    /// No more faults of its own.
    pub fn heal(&mut self) {
        (self.failing_syncs, self.full, self.death) = (0, false, None);
    }

    /// The owner dies now, of something that it did itself; whoever looks next sees it.
    pub fn strike(&mut self, death: Death) {
        self.die(death);
        self.died = Some(death);
    }

    /// The owner dies now.
    pub fn die(&mut self, death: Death) {
        self.owner.store(false, Relaxed);
        self.death = None;
        if death == Death::Kill {
            return;
        }
        let Self { journal, fresh, dice, logbook, .. } = self;
        *fresh = None;
        if let Some(image) = journal {
            let lost = image.cut(dice);
            if lost.dirty > 0 {
                logbook.mark(Mark::PowerCutWithUnsyncedWrites);
            }
            if lost.torn > 0 {
                logbook.mark(Mark::TornSector);
            }
            let Lost { dirty, kept, torn } = lost;
            logbook.note(Lane::Disk, Kind::Fault, || format!("{dirty} unsynced sectors: {kept} kept, {torn} torn"));
        }
    }

    /// Counts a write or sync of `owner`; fails if there is nobody any more to do it, or from this one on.
    fn operation(&mut self, owner: &Alive) -> Result<()> {
        if !owner.load(Relaxed) {
            return Err(dead());
        }
        self.operations += 1;
        if let Some((at, death)) = self.death
            && self.operations >= at
        {
            self.strike(death);
            self.logbook.mark(Mark::DeathInsideCommit);
            return Err(dead());
        }
        Ok(())
    }

    fn image(&mut self, name: Name) -> Result<&mut Image> {
        match name {
            Name::Journal => self.journal.as_mut(),
            Name::Fresh => self.fresh.as_mut(),
        }
        .ok_or_else(dead)
    }

    fn sync(&mut self, name: Name) -> Result<()> {
        let (honesty, failing) = (self.honesty, self.failing_syncs);
        let fails = failing > 0 && self.dice.percent(failing);
        let mut dice = self.dice.clone();
        let image = self.image(name)?;
        let sectors = image.dirty.len();
        if fails {
            image.sync_some(&mut dice, honesty);
        } else if honesty != Honesty::Lies || name == Name::Fresh {
            image.sync();
        }
        self.dice = dice;
        if fails {
            self.logbook.mark(Mark::FsyncFailed);
            self.logbook.note(Lane::Disk, Kind::Fault, || format!("a sync of {sectors} sectors fails"));
            return Err(Error::from_raw_os_error(EIO));
        }
        self.logbook.note(Lane::Disk, Kind::Effect, || format!("{sectors} sectors are synced"));
        Ok(())
    }

    fn no_room(&self) -> Result<()> {
        if !self.full {
            return Ok(());
        }
        self.logbook.mark(Mark::DiskFullMet);
        Err(Error::from_raw_os_error(ENOSPC))
    }
}

/// What became of the unsynced sectors of a file.
struct Lost {
    dirty: usize,
    kept: usize,
    torn: usize,
}

impl Image {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        let end = offset + bytes.len();
        let place = self.cached.get_mut(offset..end).ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
        place.copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            self.touch(sector);
        }
        Ok(())
    }

    fn touch(&mut self, sector: usize) {
        if sector >= self.is_dirty.len() {
            self.is_dirty.resize(sector + 1, false);
        }
        if !self.is_dirty[sector] {
            self.is_dirty[sector] = true;
            self.dirty.push(sector);
        }
    }

    fn take_dirty(&mut self) -> Vec<usize> {
        for sector in &self.dirty {
            self.is_dirty[*sector] = false;
        }
        std::mem::take(&mut self.dirty)
    }

    fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for sector in self.take_dirty() {
            self.persist(sector, 0..SECTOR);
        }
    }

    /// Brings a part of a cached sector to the durable image, as far as both reach.
    fn persist(&mut self, sector: usize, part: std::ops::Range<usize>) {
        let end = (sector * SECTOR + part.end).min(self.cached.len()).min(self.durable.len());
        let start = (sector * SECTOR + part.start).min(end);
        self.durable[start..end].copy_from_slice(&self.cached[start..end]);
    }

    /// From now on everybody reads what the disk holds, but for what is still to be written.
    fn drop_clean(&mut self) {
        let mut held = self.durable.clone();
        held.resize(self.cached.len(), 0);
        for sector in &self.dirty {
            let start = (sector * SECTOR).min(held.len());
            let end = (start + SECTOR).min(held.len());
            held[start..end].copy_from_slice(&self.cached[start..end]);
        }
        self.cached = held;
    }

    /// A sync that failed half-way.
    fn sync_some(&mut self, dice: &mut Dice, honesty: Honesty) {
        self.durable.resize(self.cached.len(), 0);
        for sector in self.take_dirty() {
            if dice.percent(50) {
                self.persist(sector, 0..SECTOR);
            } else if honesty != Honesty::Forgets {
                self.touch(sector);
            }
        }
    }

    /// What a power cut leaves.
    fn cut(&mut self, dice: &mut Dice) -> Lost {
        let mut lost = Lost { dirty: self.dirty.len(), kept: 0, torn: 0 };
        if self.cached.len() != self.durable.len() && dice.percent(50) {
            self.durable.resize(self.cached.len(), 0);
        }
        for sector in self.take_dirty() {
            match dice.between(0, 4) {
                0 | 1 => {}
                2 | 3 => {
                    lost.kept += 1;
                    self.persist(sector, 0..SECTOR);
                }
                _ => {
                    lost.torn += 1;
                    let middle = usize::try_from(dice.between(1, SECTOR as u64 - 1)).unwrap_or(SECTOR / 2);
                    self.persist(sector, if dice.percent(50) { 0..middle } else { middle..SECTOR });
                }
            }
        }
        self.cached.clone_from(&self.durable);
        lost
    }
}

fn dead() -> Error {
    Error::other("simulated: nobody is there any more to do this")
}

fn locked(platter: &Mutex<Platter>) -> MutexGuard<'_, Platter> {
    platter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk as one process has it. When that process is dead nothing reaches the platter through it any more, whatever its
/// destructors still try.
pub struct OpenDisk {
    /// The platter.
    pub platter: Arc<Mutex<Platter>>,
    /// Whether its process lives.
    pub owner: Alive,
}

impl OpenDisk {
    fn file(&self, name: Name) -> Box<dyn StorageBackend> {
        Box::new(File { platter: Arc::clone(&self.platter), owner: Arc::clone(&self.owner), name })
    }
}

impl Disk for OpenDisk {
    fn open(&self) -> Result<Option<Box<dyn StorageBackend>>> {
        if !self.owner.load(Relaxed) {
            return Err(dead());
        }
        match &locked(&self.platter).journal {
            None => Ok(None),
            Some(image) if image.cached.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            Some(_) => Ok(Some(self.file(Name::Journal))),
        }
    }

    fn create(
        &self,
        initialise: &mut dyn FnMut(Box<dyn StorageBackend>) -> std::result::Result<(), redb::Error>,
    ) -> std::result::Result<(), redb::Error> {
        {
            let mut platter = locked(&self.platter);
            platter.operation(&self.owner)?;
            platter.fresh = Some(Image::default());
        }
        initialise(self.file(Name::Fresh))?;
        let mut platter = locked(&self.platter);
        platter.operation(&self.owner)?;
        platter.sync(Name::Fresh)?;
        platter.operation(&self.owner)?;
        platter.journal = platter.fresh.take();
        Ok(())
    }

    fn read_anew(&self) -> Result<()> {
        if !self.owner.load(Relaxed) {
            return Err(dead());
        }
        locked(&self.platter).image(Name::Journal).map(Image::drop_clean)
    }

    fn name(&self) -> String {
        "the simulated journal".into()
    }
}

/// One open file.
struct File {
    platter: Arc<Mutex<Platter>>,
    owner: Alive,
    name: Name,
}

impl std::fmt::Debug for File {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("File").field("name", &self.name).finish_non_exhaustive()
    }
}

impl StorageBackend for File {
    fn len(&self) -> Result<u64> {
        Ok(locked(&self.platter).image(self.name)?.cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut platter = locked(&self.platter);
        let start = place(offset)?;
        let image = platter.image(self.name)?;
        let bytes = image.cached.get(start..start + out.len()).ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut platter = locked(&self.platter);
        platter.operation(&self.owner)?;
        let len = place(len)?;
        if len > platter.image(self.name)?.cached.len() {
            platter.no_room()?;
        }
        platter.image(self.name)?.cached.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        let mut platter = locked(&self.platter);
        platter.operation(&self.owner)?;
        platter.sync(self.name)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut platter = locked(&self.platter);
        platter.operation(&self.owner)?;
        platter.no_room()?;
        platter.image(self.name)?.write(place(offset)?, data)
    }
}

fn place(offset: u64) -> Result<usize> {
    usize::try_from(offset).map_err(|_| Error::from(ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests;
