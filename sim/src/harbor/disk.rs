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
mod tests {
    use super::*;
    use evergate::journal::store::Store;
    use evergate::journal::{Batch, Body, Journal, Write};
    use evergate_core::drain::Report;
    use evergate_core::id::{GenerationId, Position};
    use evergate_core::record::Record;
    use evergate_core::verdict::Verdict;
    use std::sync::atomic::AtomicUsize;

    fn disk() -> (Arc<Mutex<Platter>>, Arc<Logbook>) {
        let logbook = Arc::new(Logbook::default());
        (Platter::new(Dice::apart(1, "disk"), Honesty::Honest, Arc::clone(&logbook)), logbook)
    }

    fn owner(platter: &Arc<Mutex<Platter>>) -> OpenDisk {
        let owner = Alive::new(true.into());
        locked(platter).take_over(&owner);
        OpenDisk { platter: Arc::clone(platter), owner }
    }

    /// A file of 64 sectors of ones, on disk.
    fn created(platter: &Arc<Mutex<Platter>>) -> Box<dyn StorageBackend> {
        let disk = owner(platter);
        let written = disk.create(&mut |file| {
            file.set_len(64 * SECTOR as u64)?;
            file.write(0, &[1; 64 * SECTOR])?;
            Ok(())
        });
        written.unwrap();
        disk.open().unwrap().unwrap()
    }

    fn contents(platter: &Arc<Mutex<Platter>>) -> Vec<u8> {
        let mut bytes = vec![0; 64 * SECTOR];
        owner(platter).open().unwrap().unwrap().read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_kill_keeps_what_was_written_and_a_power_cut_only_what_was_synced() {
        let (platter, logbook) = disk();
        let file = created(&platter);
        file.write(0, &[2; 64 * SECTOR]).unwrap();
        locked(&platter).die(Death::Kill);
        assert_eq!(contents(&platter), [2; 64 * SECTOR]);
        locked(&platter).die(Death::PowerCut);
        let left = contents(&platter);
        let whole = |byte| left.chunks(SECTOR).filter(|sector| sector.iter().all(|found| *found == byte)).count();
        let (lost, kept) = (whole(1), whole(2));
        assert!(lost > 10 && kept > 10 && lost + kept < 60, "{lost} lost, {kept} kept, the others torn");
        assert!(logbook.read().marks.contains_key(&Mark::TornSector));
        locked(&platter).die(Death::PowerCut);
        assert_eq!(contents(&platter), left, "what is left was on disk");
    }

    #[test]
    fn a_synced_write_outlives_a_power_cut_and_a_dead_process_writes_nothing() {
        let (platter, _) = disk();
        let file = created(&platter);
        file.write(0, &[2; 64 * SECTOR]).unwrap();
        file.sync_data().unwrap();
        locked(&platter).die(Death::PowerCut);
        for refused in [file.write(0, &[3; SECTOR]), file.sync_data(), file.set_len(0)] {
            refused.unwrap_err();
        }
        assert_eq!(contents(&platter), [2; 64 * SECTOR]);
    }

    #[test]
    fn who_reads_anew_sees_of_a_failed_sync_only_what_came_to_the_disk() {
        for (honesty, lost) in [(Honesty::Forgets, true), (Honesty::Honest, false)] {
            let (platter, _) = disk();
            let file = created(&platter);
            file.write(0, &[2; 64 * SECTOR]).unwrap();
            {
                let mut platter = locked(&platter);
                (platter.honesty, platter.failing_syncs) = (honesty, 100);
            }
            file.sync_data().unwrap_err();
            assert_eq!(contents(&platter), [2; 64 * SECTOR]);
            owner(&platter).read_anew().unwrap();
            let seen = contents(&platter);
            assert_eq!(seen.contains(&1), lost, "{honesty:?}");
            locked(&platter).heal();
            file.sync_data().unwrap();
            locked(&platter).die(Death::PowerCut);
            assert_eq!(contents(&platter), seen, "{honesty:?}");
        }
    }

    /// A disk one of whose syncs fails, and kills who asked for it.
    struct Doomed {
        disk: OpenDisk,
        /// The syncs until then.
        syncs: Arc<AtomicUsize>,
    }

    impl Disk for Doomed {
        fn open(&self) -> Result<Option<Box<dyn StorageBackend>>> {
            let OpenDisk { platter, owner } = &self.disk;
            let (platter, owner, syncs) = (Arc::clone(platter), Arc::clone(owner), Arc::clone(&self.syncs));
            let doomed = |file| Box::new(DoomedFile { file, platter, owner, syncs }) as Box<dyn StorageBackend>;
            Ok(self.disk.open()?.map(doomed))
        }
        fn create(
            &self,
            initialise: &mut dyn FnMut(Box<dyn StorageBackend>) -> std::result::Result<(), redb::Error>,
        ) -> std::result::Result<(), redb::Error> {
            self.disk.create(initialise)
        }
        fn name(&self) -> String {
            self.disk.name()
        }
    }

    struct DoomedFile {
        file: Box<dyn StorageBackend>,
        platter: Arc<Mutex<Platter>>,
        owner: Alive,
        syncs: Arc<AtomicUsize>,
    }

    impl std::fmt::Debug for DoomedFile {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.file.fmt(formatter)
        }
    }

    impl StorageBackend for DoomedFile {
        fn len(&self) -> Result<u64> {
            self.file.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
            self.file.read(offset, out)
        }
        fn set_len(&self, len: u64) -> Result<()> {
            self.file.set_len(len)
        }
        fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
            self.file.write(offset, data)
        }
        fn sync_data(&self) -> Result<()> {
            if self.syncs.fetch_sub(1, Relaxed) != 1 {
                return self.file.sync_data();
            }
            locked(&self.platter).failing_syncs = 100;
            let synced = self.file.sync_data();
            locked(&self.platter).failing_syncs = 0;
            self.owner.store(false, Relaxed);
            synced
        }
    }

    /// The kernel shows the pages of a sync that failed as if they were on disk. The commit that seals a journal is not repaired
    /// by who finds it, so nothing has it read anew.
    #[test]
    fn what_a_start_finds_behind_a_sync_of_the_seal_that_failed_is_what_a_power_cut_leaves() {
        let begun = |generation| Record::GenerationBegun { generation: GenerationId(generation), unproven: 0 };
        let verdict = Some(Verdict::ReExec);
        let end = || Record::GenerationEnded { generation: GenerationId(1), verdict, report: Report::default() };
        let batch = |record| {
            let write = Write { position: Position(1), record, body: Body::None };
            Batch { writes: vec![write], ..Batch::default() }
        };
        let seal = |failing: usize, seed| {
            let (platter, _) = disk();
            (locked(&platter).honesty, locked(&platter).dice) = (Honesty::Forgets, Dice::apart(seed, "disk"));
            let syncs = Arc::new(AtomicUsize::new(usize::MAX));
            let dying = Doomed { disk: owner(&platter), syncs: Arc::clone(&syncs) };
            let store = Store::open(Box::new(dying)).unwrap();
            store.commit(&batch(begun(1))).unwrap();
            syncs.store(failing, Relaxed);
            let sealed = store.commit(&batch(end())).is_ok();
            let lost = locked(&platter).journal.as_ref().is_some_and(|image| image.cached != image.durable);
            let found = Store::open(Box::new(owner(&platter))).unwrap();
            let shown = found.unfinished().unwrap();
            locked(&platter).die(Death::PowerCut);
            let left = Store::open(Box::new(owner(&platter))).unwrap();
            assert_eq!(left.unfinished().unwrap(), shown, "sync {failing}, seed {seed}");
            (sealed, lost)
        };
        let lives = |failing| (1..=10).map(move |seed| (failing, seed));
        let all = |failing: usize| lives(failing).map(|(failing, seed)| seal(failing, seed)).collect::<Vec<_>>();
        // The first is of a file that grows: nothing is written yet.
        assert_eq!(all(1), [(false, false); 10]);
        for of_its_two_phases in [2, 3] {
            let found = all(of_its_two_phases);
            assert!(found.iter().all(|(sealed, _)| !sealed) && found.iter().any(|(_, lost)| *lost), "{found:?}");
        }
        assert_eq!(all(4), [(true, false); 10]);
    }

    #[test]
    fn a_death_at_a_write_comes_at_that_write() {
        let (platter, _) = disk();
        let file = created(&platter);
        locked(&platter).die_after(2, Death::Kill);
        file.write(0, &[2; SECTOR]).unwrap();
        file.write(SECTOR as u64, &[2; SECTOR]).unwrap_err();
        assert_eq!(locked(&platter).take_death(), Some(Death::Kill));
        assert_eq!(contents(&platter)[..2 * SECTOR], [[2; SECTOR], [1; SECTOR]].concat());
    }

    #[test]
    fn a_full_disk_and_a_failing_sync_say_so_with_the_kernels_numbers() {
        let (platter, _) = disk();
        let file = created(&platter);
        locked(&platter).full = true;
        assert_eq!(file.write(0, &[2]).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(file.set_len(65 * SECTOR as u64).unwrap_err().kind(), ErrorKind::StorageFull);
        locked(&platter).heal();
        locked(&platter).failing_syncs = 100;
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(EIO));
    }
}
