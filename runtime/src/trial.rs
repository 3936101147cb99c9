//! A start on trial: what is known of the starts of a program that has not proven itself yet, in the file `trial.json` of the
//! state directory. It is read and written at the entry of the process, before anything that could go wrong, so that a new
//! build that dies twice, parks or does not get ready gives way to the copy of the last good one under every supervisor that
//! starts the unit's program again, and starts that die one after the other come to an end. `evergate_core::rollback` and
//! `evergate_core::starts` decide. `evergate supervise` outlives its children and so needs no file: of its child only what people are
//! told is written down.

use crate::agent::orphan;
use crate::candidate::{self, SUPERVISOR_PROGRAM};
use crate::detect;
use crate::small_file::overwrite;
use crate::start_count::{Counted, StartCount};
use crate::systemd;
use crate::versions::{FOLDER, GoodCopy, ROLLED_BACK, build_of, rolled_back};
use evergate_core::fault::Standing;
use evergate_core::respawn::ChildEnd;
use evergate_core::rollback::{Build, Failure, Program, Rollback};
use evergate_core::starts::{self, Permit, Starter, Starts};
use evergate_core::supervisor::Supervisor;
use evergate_core::time::Instant;
use evergate_core::verdict::{PARK, RESTART, STOP, Verdict};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// Set to `off`, it has the installed program run whatever became of it.
const SWITCH: &str = "EVERGATE_ROLLBACK";
/// Set to a number, it has so many starts in a row die before no more are made.
const ATTEMPTS_VARIABLE: &str = "EVERGATE_START_ATTEMPTS";
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
    /// The row that this start is in.
    #[serde(default)]
    row: Starts,
    /// The process of the last start.
    #[serde(default)]
    process: Option<(i32, u64)>,
    /// All starts on the directory.
    #[serde(default)]
    count: StartCount,
}

/// The start of this process.
#[derive(Clone)]
pub struct Trial(Option<Arc<Open>>);

struct Open {
    state_dir: PathBuf,
    good: GoodCopy,
    decides: bool,
    /// Whether this process has taken its own place before.
    in_place: bool,
    installed: Option<PathBuf>,
    record: Mutex<Record>,
}

/// What comes of a start at its entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// It goes on.
    Begin,
    /// Another program runs in its place.
    InPlace(InPlace),
    /// It waits first: starts before it have come to nothing.
    Pause {
        /// How long.
        pause: Duration,
        /// Why, for those who look.
        why: String,
    },
    /// It is not made: too many before it have died.
    Park {
        /// Why, for those who look.
        why: String,
    },
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

    /// Enters, and says what comes of this start; unless that is a park, [`Self::begun`] is to follow. A directory that somebody
    /// holds is left alone: whoever starts there beside a gateway that lives is on no trial.
    #[must_use]
    pub fn enter(state_dir: &Path) -> (Self, Entry) {
        let lock = File::open(state_dir.join("lock")).ok();
        // Let go at the end of this function.
        let held = lock.map(|lock| Flock::lock(lock, FlockArg::LockSharedNonblock));
        if held.as_ref().is_some_and(Result::is_err) {
            return (Self::none(), Entry::Begin);
        }
        let disabled = std::env::var_os(SWITCH).is_some_and(|said| said == "off");
        let record = read(state_dir).unwrap_or_default();
        let open = Open {
            state_dir: state_dir.to_owned(),
            good: GoodCopy { folder: state_dir.join(FOLDER) },
            decides: !disabled && detect::supervisor() != Supervisor::Evergate,
            installed: std::env::var_os(SUPERVISOR_PROGRAM)
                .map(PathBuf::from)
                .or_else(candidate::program_of_this_process),
            in_place: record.process.is_some() && record.process == this_process(),
            record: Mutex::new(record),
        };
        let entry = open.enter();
        // What begins says so itself, in the same breath.
        if entry != Entry::Begin {
            open.write(&open.lock());
        }
        (Self(Some(Arc::new(open))), entry)
    }

    /// The start is made.
    pub fn begun(&self) {
        let Some(open) = self.0.as_deref() else { return };
        // Where the first start dies, the second is to know.
        open.make_folder();
        let own = open.own_build();
        open.change(|record| {
            record.starts = record.starts.saturating_add(1);
            record.at_ms = u64::try_from(UNIX_EPOCH.elapsed().unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
            record.gave_up = None;
            record.process = this_process();
            record.count.begun(record.at_ms, open.in_place);
            record.row.begun();
            if let Some(own) = own {
                record.rollback.started(NOW, own);
            }
        });
    }

    /// The gateway serves.
    pub fn ready(&self) {
        self.change(|record| {
            record.starts = 0;
            record.row.served();
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
        self.change(|record| {
            if verdict != Verdict::ReExec {
                record.count.left();
            }
            record.row.ended();
            record.rollback.ended(ChildEnd::Exited(status))
        });
    }

    /// The start gives up: with [`PARK`] for good. Says whether its build is rolled back for that: then another start follows.
    #[must_use]
    pub fn gave_up(&self, why: &str, status: Option<u8>) -> bool {
        let ended = ChildEnd::Exited(status.unwrap_or(PARK));
        let decides = self.0.as_deref().is_some_and(|open| open.decides);
        if let Some(open) = self.0.as_deref() {
            open.make_folder();
        }
        let failure = self.change(|record| {
            record.gave_up = Some(why.to_owned());
            match status {
                Some(_) => record.row.gave_up(),
                None => record.row = Starts::default(),
            }
            record.rollback.ended(ended).1
        });
        decides && failure.flatten().is_some()
    }

    /// Whether anybody would miss this process, for what follows a fault in it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.0.as_deref().map_or(Standing::Unproven, |open| Standing::of(open.lock().starts, open.in_place))
    }

    /// Which of all starts on this directory it is, and the number of the last that lived and left in order, where they are counted.
    #[must_use]
    pub fn counted(&self) -> Option<Counted> {
        self.0.as_deref()?.lock().count.last()
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
        self.write(&record);
        given
    }

    fn write(&self, record: &Record) {
        if let Err(error) = write(&self.state_dir, record) {
            tracing::debug!(%error, "what became of this start cannot be written down");
        }
    }

    fn make_folder(&self) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.state_dir);
        let _told_by_the_write = made;
    }

    /// The build that this process runs.
    fn own_build(&self) -> Option<Build> {
        let own = fs::read_link(OWN_PROGRAM).ok();
        match self.good.find() {
            Some((build, path)) if own.as_ref() == Some(&path) => Some(build),
            _ => build_of(Path::new(OWN_PROGRAM)),
        }
    }

    fn enter(&self) -> Entry {
        let (kept, own) = (self.good.find(), self.own_build());
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let before = self.lock().clone();
        let same_boot = before.boot_id == boot_id;
        // Asking costs something, and changes nothing where all is well.
        let starter = if before.row == Starts::default() { Starter::Person } else { starter(before.process) };
        let mut record = self.lock();
        record.rollback.has_good(kept.as_ref().map(|(build, _)| *build));
        // Whoever ended in order has said so.
        let died = if same_boot { ChildEnd::Signalled(9) } else { ChildEnd::Exited(STOP) };
        let _told_below = record.rollback.ended(died);
        record.boot_id = boot_id;
        let (program, failure) = if self.decides { record.rollback.choose(own) } else { (Program::Installed, None) };
        if let (Program::Good, Some((_, program))) = (program, kept) {
            return Entry::InPlace(in_place(program, self.installed.clone(), failure));
        }
        let attempts = attempts();
        match record.row.wanted(starter, same_boot, attempts) {
            _ if detect::supervisor() == Supervisor::Evergate => Entry::Begin,
            Permit::Start { before: 0, .. } => Entry::Begin,
            Permit::Start { pause, before } => Entry::Pause { pause, why: waits(pause, before, attempts) },
            Permit::Park { died } => {
                let why = parked(died);
                record.gave_up = Some(why.clone());
                Entry::Park { why }
            }
        }
    }
}

/// Who wants this start, as far as that can be told, after one in this process came to nothing.
fn starter(before: Option<(i32, u64)>) -> Starter {
    // Who replaces itself is no person.
    if before.is_some() && before == this_process() {
        return Starter::Supervisor;
    }
    match detect::supervisor() {
        Supervisor::Nobody => Starter::Person,
        Supervisor::Systemd if systemd::starts_by_itself() == Some(0) => Starter::Person,
        _ => Starter::Supervisor,
    }
}

fn this_process() -> Option<(i32, u64)> {
    let pid = nix::unistd::getpid().as_raw();
    orphan::started(pid).map(|started| (pid, started))
}

/// How many starts in a row may die before they serve.
#[must_use]
pub fn attempts() -> u32 {
    let said = std::env::var(ATTEMPTS_VARIABLE).ok().and_then(|said| said.parse().ok());
    said.filter(|attempts| *attempts > 0).unwrap_or(starts::ATTEMPTS)
}

fn waits(pause: Duration, before: u32, attempts: u32) -> String {
    let pause = humantime::format_duration(pause);
    format!("waiting for {pause} before the next start: {before} in a row came to nothing, of {attempts} at most")
}

/// Why no more starts are made.
#[must_use]
pub fn parked(died: u32) -> String {
    format!(
        "{died} starts in a row died before they served, so no more are made by themselves. Its log tells what they died of; then start it again"
    )
}

/// Writes down for people why `evergate supervise` makes no more starts.
pub fn say_parked(state_dir: &Path, why: &str) {
    let mut record = read(state_dir).unwrap_or_default();
    record.starts = record.starts.max(1);
    record.gave_up = Some(why.to_owned());
    if let Err(error) = write(state_dir, &record) {
        tracing::warn!(%error, "why it is parked cannot be written down");
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
        (None, starts) => format!(". The last {starts} starts, the latest at {at}, did not last"),
    }
}

/// Why the last start there gave up, if it did.
#[must_use]
pub fn gave_up(state_dir: &Path) -> Option<String> {
    read(state_dir).filter(|record| record.starts > 0)?.gave_up
}

fn read(state_dir: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(state_dir.join(FILE)).ok()?).ok()
}

fn write(state_dir: &Path, record: &Record) -> std::io::Result<()> {
    let path = state_dir.join(FILE);
    let mut options = OpenOptions::new();
    // Never through a link.
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let mut file = options.open(&path).or_else(|_| {
        // It is a link, or another user's: the folder is ours.
        fs::remove_file(&path)?;
        options.open(&path)
    })?;
    overwrite(&mut file, serde_json::to_vec(record)?)
}

#[cfg(test)]
mod tests;
