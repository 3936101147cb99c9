use super::*;
use evergate::journal::store::Store;
use evergate::journal::{Batch, Body, Journal, Write};
use evergate_core::drain::Report;
use evergate_core::id::GenerationId;
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
        let write = Write { record, body: Body::None };
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
