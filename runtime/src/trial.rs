//! A start on trial: what is known of the starts of a program that has not proven itself yet, in the file `trial.json` of the
//! state directory. It is read and written at the entry of the process, before anything that could go wrong, so that a new
//! build that dies twice, parks or does not get ready gives way to the copy of the last good one under every supervisor that
//! starts the unit's program again. `evergate_core::rollback` decides, as it does for `evergate supervise`, which outlives
//! its children and so needs no file: of its child only what people are told is written down.

use crate::candidate::{self, SUPERVISOR_PROGRAM};
use crate::detect;
use crate::versions::{FOLDER, GoodCopy, ROLLED_BACK, build_of, rolled_back};
use evergate_core::respawn::ChildEnd;
use evergate_core::rollback::{Failure, Program, Rollback};
use evergate_core::supervisor::Supervisor;
use evergate_core::time::Instant;
use evergate_core::verdict::{PARK, RESTART, STOP, Verdict};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Set to `off`, it has the installed program run whatever became of it.
const SWITCH: &str = "EVERGATE_ROLLBACK";
const FILE: &str = "trial.json";
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Within one process only its own steps are told apart, and those by their order.
const NOW: Instant = Instant::from_millis(0);

/// What is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The boot of the machine in which it was written: who ends with the machine has not failed.
    boot_id: String,
    /// How many starts there were in a row of which none has served; 0 once one has.
    starts: u32,
    /// When the last of them began, in milliseconds since 1970.
    at_ms: u64,
    /// Why it gave up, if it said so.
    gave_up: Option<String>,
    rollback: Rollback,
}

/// The start of this process.
#[derive(Clone)]
pub struct Trial(Option<Arc<Open>>);

struct Open {
    state_dir: PathBuf,
    good: GoodCopy,
    decides: bool,
    installed: Option<PathBuf>,
    record: Mutex<Record>,
}

/// What is to run in place of the program that was started.
#[derive(Debug, PartialEq, Eq)]
pub struct InPlace {
    /// The copy of the last good build.
    pub program: PathBuf,
    /// What was installed, as far as that is known.
    pub installed: Option<PathBuf>,
    /// Why it does not run.
    pub why: String,
}

impl Trial {
    /// Of a start that cannot be told from others: nothing is known of it, and nothing is kept.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Begins, and says what is to run in place of this program. A directory that somebody holds is left alone: whoever starts there
    /// beside a gateway that lives is on no trial.
    #[must_use]
    pub fn begin(state_dir: &Path) -> (Self, Option<InPlace>) {
        let lock = File::open(state_dir.join("lock")).ok();
        // Let go at the end of this function.
        let held = lock.map(|lock| Flock::lock(lock, FlockArg::LockSharedNonblock));
        if held.as_ref().is_some_and(Result::is_err) {
            return (Self::none(), None);
        }
        let disabled = std::env::var_os(SWITCH).is_some_and(|said| said == "off");
        let open = Open {
            state_dir: state_dir.to_owned(),
            good: GoodCopy { folder: state_dir.join(FOLDER) },
            decides: !disabled && detect::supervisor() != Supervisor::Evergate,
            installed: std::env::var_os(SUPERVISOR_PROGRAM)
                .map(PathBuf::from)
                .or_else(candidate::program_of_this_process),
            record: Mutex::new(read(state_dir).unwrap_or_default()),
        };
        let in_place = open.enter();
        (Self(Some(Arc::new(open))), in_place)
    }

    /// The gateway serves.
    pub fn ready(&self) {
        self.change(|record| {
            record.starts = 0;
            record.rollback.ready(NOW);
        });
    }

    /// It has served for long enough, or is about to give way to another build: a copy of it is kept.
    pub fn stable(&self) {
        let Some(open) = self.0.as_deref().filter(|open| open.decides) else { return };
        let proven = |record: &mut Record| record.rollback.stable_at().and_then(|_| record.rollback.stable());
        let Some(build) = open.change(proven) else { return };
        match open.good.keep(std::process::id(), build) {
            Ok(path) => tracing::info!(copy = %path.display(), "the program has proven itself and is kept"),
            Err(error) => {
                let folder = open.good.folder.display();
                tracing::warn!(%error, %folder, "no copy of the program can be kept, so it could not be rolled back to");
            }
        }
    }

    /// It gives way to whatever is installed: if that is another build, this one is the best that is known.
    pub fn gives_way(&self) {
        let installed = self.0.as_deref().and_then(|open| open.installed.as_deref()).and_then(build_of);
        if installed != build_of(Path::new(OWN_PROGRAM)) {
            self.stable();
        }
    }

    /// It was not ready in time, and is being ended.
    pub fn not_ready(&self) {
        self.change(|record| record.rollback.not_ready());
    }

    /// How long a start may take that others would do better; `None` where nothing better is there.
    #[must_use]
    pub fn ready_within(&self) -> Option<Duration> {
        let open = self.0.as_deref().filter(|open| open.decides)?;
        open.lock().rollback.kill_at().map(|at| at - NOW)
    }

    /// The process ends with this verdict.
    pub fn ended(&self, verdict: Verdict) {
        let status = match verdict {
            Verdict::Exit(status) => status,
            Verdict::ReExec => RESTART,
            Verdict::StayUp => STOP,
        };
        self.change(|record| record.rollback.ended(ChildEnd::Exited(status)));
    }

    /// The start gives up: with [`PARK`] for good. Says whether its build is rolled back for that: then another start follows.
    #[must_use]
    pub fn gave_up(&self, why: &str, status: Option<u8>) -> bool {
        let ended = ChildEnd::Exited(status.unwrap_or(PARK));
        let decides = self.0.as_deref().is_some_and(|open| open.decides);
        if let Some(open) = self.0.as_deref() {
            // A first start may give up before it has made the folder.
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&open.state_dir);
            let _told_by_the_write = made;
        }
        let failure = self.change(|record| {
            record.gave_up = Some(why.to_owned());
            record.rollback.ended(ended).1
        });
        decides && failure.flatten().is_some()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> Option<T> {
        Some(self.0.as_deref()?.change(change))
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let mut record = self.lock();
        let given = change(&mut record);
        if let Err(error) = write(&self.state_dir, &record) {
            tracing::debug!(%error, "what became of this start cannot be written down");
        }
        given
    }

    fn enter(&self) -> Option<InPlace> {
        let kept = self.good.find();
        let own = fs::read_link(OWN_PROGRAM).ok();
        let own = match &kept {
            Some((build, path)) if own.as_ref() == Some(path) => Some(*build),
            _ => build_of(Path::new(OWN_PROGRAM)),
        };
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.change(|record| {
            record.rollback.has_good(kept.as_ref().map(|(build, _)| *build));
            // Whoever ended in order has said so.
            let died = if record.boot_id == boot_id { ChildEnd::Signalled(9) } else { ChildEnd::Exited(STOP) };
            let _told_below = record.rollback.ended(died);
            record.boot_id = boot_id;
            let (program, failure) =
                if self.decides { record.rollback.choose(own) } else { (Program::Installed, None) };
            if let (Program::Good, Some((_, program))) = (program, kept) {
                return Some(in_place(program, self.installed.clone(), failure));
            }
            record.starts = record.starts.saturating_add(1);
            record.at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            record.gave_up = None;
            if let Some(own) = own {
                record.rollback.started(NOW, own);
            }
            None
        })
    }
}

fn in_place(program: PathBuf, installed: Option<PathBuf>, failure: Option<Failure>) -> InPlace {
    let shown = installed.as_deref().unwrap_or(Path::new("evergate"));
    InPlace { program, why: rolled_back(shown, failure), installed }
}

impl InPlace {
    /// What the program that runs in place is told.
    pub fn tell(&self, command: &mut std::process::Command) {
        command.env(ROLLED_BACK, &self.why);
        command.envs(self.installed.as_ref().map(|installed| (SUPERVISOR_PROGRAM, installed)));
    }
}

/// What became of the last starts on this directory, for people who find no gateway there; empty where nothing is known.
#[must_use]
pub fn last_starts(state_dir: &Path) -> String {
    let Some(record) = read(state_dir).filter(|record| record.starts > 0) else { return String::new() };
    let at = humantime::format_rfc3339_seconds(
        UNIX_EPOCH + Duration::from_millis(record.at_ms.min(u64::from(u32::MAX) * 1000)),
    );
    match (record.gave_up, record.starts) {
        (Some(why), _) => format!(". The last start, at {at}, gave up: {why}"),
        (None, 1) => format!(". The last start, at {at}, has not come to serve"),
        (None, starts) => format!(". The last {starts} starts, the latest at {at}, died before they served"),
    }
}

fn read(state_dir: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(state_dir.join(FILE)).ok()?).ok()
}

fn write(state_dir: &Path, record: &Record) -> std::io::Result<()> {
    let fresh = state_dir.join("trial.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    fs::rename(&fresh, state_dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergate_core::rollback::Build;

    /// Like a process of this very program, of which a copy of another build is kept.
    fn begin(state_dir: &Path) -> (Trial, Option<InPlace>) {
        Trial::begin(state_dir)
    }

    fn keep_another(state_dir: &Path) -> PathBuf {
        GoodCopy { folder: state_dir.join(FOLDER) }.keep(std::process::id(), Build(7)).unwrap()
    }

    #[test]
    fn a_build_that_dies_twice_gives_way_to_the_good_copy_and_one_that_ends_in_order_does_not() {
        let room = tempfile::tempdir().unwrap();
        let kept = keep_another(room.path());
        for _ in 0..3 {
            let (trial, in_place) = begin(room.path());
            assert_eq!(in_place, None);
            trial.ready();
            trial.ended(Verdict::ReExec);
        }
        assert_eq!(last_starts(room.path()), "");
        for _ in 0..2 {
            assert_eq!(begin(room.path()).1, None);
        }
        let told = last_starts(room.path());
        assert!(told.contains("The last 2 starts") && told.contains("died before they served"), "{told}");
        let (_, in_place) = begin(room.path());
        let in_place = in_place.expect("it has died twice");
        assert_eq!(in_place.program, kept);
        assert!(in_place.why.contains("died twice before it was stable"), "{}", in_place.why);
    }

    #[test]
    fn a_build_that_parks_or_is_not_ready_in_time_gives_way_at_once_where_there_is_a_good_one() {
        let room = tempfile::tempdir().unwrap();
        let (trial, _) = begin(room.path());
        assert!(!trial.gave_up("the port is taken", None), "nothing better is there");
        assert!(last_starts(room.path()).ends_with("gave up: the port is taken"), "{}", last_starts(room.path()));
        keep_another(room.path());
        let (trial, in_place) = begin(room.path());
        assert_eq!((in_place, trial.ready_within()), (None, Some(evergate_core::rollback::READY_WITHIN)));
        assert!(trial.gave_up("the port is taken", None));
        assert!(begin(room.path()).1.is_some_and(|in_place| in_place.why.contains("parked itself")));

        let room = tempfile::tempdir().unwrap();
        keep_another(room.path());
        begin(room.path()).0.not_ready();
        assert!(begin(room.path()).1.is_some_and(|in_place| in_place.why.contains("was not ready in time")));
    }

    #[test]
    fn who_starts_beside_a_gateway_that_lives_changes_nothing() {
        let room = tempfile::tempdir().unwrap();
        begin(room.path());
        let before = fs::read(room.path().join(FILE)).unwrap();
        let lock = File::create(room.path().join("lock")).unwrap();
        let _held = Flock::lock(lock, FlockArg::LockExclusiveNonblock).unwrap();
        let (trial, in_place) = begin(room.path());
        trial.ended(Verdict::Exit(PARK));
        assert_eq!((in_place, fs::read(room.path().join(FILE)).unwrap()), (None, before));
    }

    #[test]
    fn a_program_that_has_served_long_enough_is_kept_and_never_gives_way() {
        let room = tempfile::tempdir().unwrap();
        keep_another(room.path());
        let (trial, _) = begin(room.path());
        trial.stable();
        assert!(room.path().join(FOLDER).join("evergate.0000000000000007").exists(), "it has not served yet");
        trial.ready();
        trial.stable();
        assert!(!room.path().join(FOLDER).join("evergate.0000000000000007").exists());
        for _ in 0..5 {
            assert_eq!(begin(room.path()).1, None);
        }
    }
}
