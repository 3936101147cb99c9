//! The builds of the program, and those under `evergate supervise`: which file is installed, the copy of the last known good one, and
//! when a child of a new one is ready or overdue. It looks, copies and asks; `evergate_core::rollback` decides.

use crate::cli;
use evergate_core::respawn::ChildEnd;
use evergate_core::rollback::{Build, Failure, Program, Rollback};
use evergate_core::time::Instant;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time;

/// How often a child of a build that has not been good yet is asked whether it serves.
const GLANCE: Duration = Duration::from_millis(200);
/// The folder of the good copy, in the state directory.
pub(crate) const FOLDER: &str = "good";
/// The name of the good copy, before its build.
const COPY: &str = "evergate.";
/// In the environment of a child that runs from the good copy: why the installed program does not.
pub const ROLLED_BACK: &str = "EVERGATE_SUPERVISOR_ROLLED_BACK";

/// The build that is in this file, by its place, its size and the time of its last change; `None` when there is none.
#[must_use]
pub fn build_of(program: &Path) -> Option<Build> {
    let file = fs::metadata(program).ok().filter(fs::Metadata::is_file)?;
    let marks = [file.dev(), file.ino(), file.size(), file.mtime().cast_unsigned(), file.mtime_nsec().cast_unsigned()];
    // FNV-1a, since a build is written down and has to be the same number for every version of the program.
    let bytes = marks.iter().flat_map(|mark| mark.to_le_bytes());
    Some(Build(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))))
}

/// Why the installed program does not run, as a sentence without its end.
#[must_use]
pub fn rolled_back(installed: &Path, failure: Option<Failure>) -> String {
    let why = failure.map_or("is gone", Failure::clause);
    let installed = installed.display();
    format!(
        "the installed program {installed} {why}; the last known good one runs in its place until another is installed"
    )
}

/// The copy of the last known good build, in a state directory.
#[derive(Clone, Debug)]
pub(crate) struct GoodCopy {
    pub(crate) folder: PathBuf,
}

impl GoodCopy {
    /// The build that is kept, and where.
    pub(crate) fn find(&self) -> Option<(Build, PathBuf)> {
        let kept = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.strip_prefix(COPY)?.to_owned();
            Some((Build(u64::from_str_radix(&name, 16).ok()?), path))
        };
        // A death between two steps of `keep` leaves two of them; the later one is right.
        let entries = fs::read_dir(&self.folder).ok()?;
        let copies = entries.filter_map(|entry| kept(entry.ok()?.path()));
        copies.max_by_key(|(_, path)| path.metadata().and_then(|file| file.modified()).ok())
    }

    /// Keeps what a running process is executing, in place of what was kept before.
    pub(crate) fn keep(&self, pid: u32, build: Build) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let (path, fresh) = (self.folder.join(format!("{COPY}{:016x}", build.0)), self.folder.join("fresh"));
        fs::copy(format!("/proc/{pid}/exe"), &fresh)?;
        File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(&self.folder)?.sync_all()?;
        for entry in fs::read_dir(&self.folder)? {
            let other = entry?.path();
            if other != path {
                fs::remove_file(&other)?;
            }
        }
        Ok(path)
    }
}

/// The builds of one supervisor.
pub struct Versions {
    installed: PathBuf,
    good: GoodCopy,
    control: PathBuf,
    rollback: Rollback,
    begun: time::Instant,
    pid: Option<u32>,
    /// When the child is asked next whether it serves.
    look_at: time::Instant,
}

/// What to start.
pub struct Choice {
    /// This file.
    pub program: PathBuf,
    /// Its build.
    pub build: Option<Build>,
    /// Why it is not the installed one.
    pub rolled_back: Option<String>,
}

impl Versions {
    /// What a supervisor of `installed` finds in this state directory. Times count from `begun`.
    #[must_use]
    pub fn new(installed: PathBuf, state_dir: &Path, begun: time::Instant) -> Self {
        let good = GoodCopy { folder: state_dir.join(FOLDER) };
        let rollback = Rollback::new(good.find().map(|(build, _)| build));
        Self { installed, good, control: state_dir.join("control.sock"), rollback, begun, pid: None, look_at: begun }
    }

    /// The program that is installed.
    #[must_use]
    pub fn installed(&self) -> &Path {
        &self.installed
    }

    /// What to start now.
    pub fn choose(&self) -> Choice {
        let installed = build_of(&self.installed);
        let (program, failure) = self.rollback.choose(installed);
        match (program, self.good.find()) {
            (Program::Good, Some((build, program))) => {
                Choice { program, build: Some(build), rolled_back: Some(rolled_back(&self.installed, failure)) }
            }
            _ => Choice { program: self.installed.clone(), build: installed, rolled_back: None },
        }
    }

    /// A child of this choice was started, or could not be.
    pub fn started(&mut self, choice: &Choice, pid: Option<u32>) {
        self.pid = pid;
        // Not at once: whoever has just been started has nothing to say yet, and the processor to use.
        self.look_at = time::Instant::now() + GLANCE;
        if let Some(build) = choice.build {
            self.rollback.started(self.now(), build);
        }
    }

    /// The child ended: gives the end as the supervisor is to take it.
    pub fn ended(&mut self, ended: ChildEnd) -> ChildEnd {
        self.pid = None;
        let (taken, failure) = self.rollback.ended(ended);
        if let Some(failure) = failure {
            let program = self.installed.display();
            tracing::error!(
                %program, why = failure.clause(),
                "the installed program is rolled back: the last known good one is started until another is installed"
            );
        }
        taken
    }

    /// Watches a child until it is overdue and to be killed. Keeps a copy of what has served long enough.
    pub async fn overdue(&mut self) {
        loop {
            if self.rollback.kill_at().is_some_and(|at| at <= self.now()) {
                self.rollback.not_ready();
                return;
            }
            if self.rollback.awaits_ready() {
                // The time is kept, since whoever waits for this is often interrupted.
                time::sleep_until(self.look_at).await;
                self.look_at = time::Instant::now() + GLANCE;
                if let Some(pid) = self.pid
                    && cli::serving_process(&self.control).await == Some(pid)
                {
                    self.rollback.ready(self.now());
                }
            } else if let Some(at) = self.rollback.stable_at() {
                time::sleep_until(self.begun + Duration::from_millis(at.as_millis())).await;
                self.keep();
            } else {
                std::future::pending::<()>().await;
            }
        }
    }

    fn keep(&mut self) {
        let (Some(build), Some(pid)) = (self.rollback.stable(), self.pid) else { return };
        match self.good.keep(pid, build) {
            Ok(path) => tracing::info!(copy = %path.display(), "the program has proven itself and is kept"),
            Err(error) => {
                let folder = self.good.folder.display();
                tracing::warn!(%error, %folder, "no copy of the program can be kept, so it could not be rolled back to");
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_another_one_as_soon_as_its_file_is() {
        let room = tempfile::tempdir().unwrap();
        let program = room.path().join("program");
        assert_eq!(build_of(&program), None);
        assert_eq!(build_of(room.path()), None);
        fs::write(&program, "one").unwrap();
        let before = build_of(&program);
        assert_eq!(build_of(&program), before);
        fs::write(room.path().join("fresh"), "one").unwrap();
        fs::rename(room.path().join("fresh"), &program).unwrap();
        assert_ne!(build_of(&program), before);
    }

    #[test]
    fn the_copy_that_is_kept_runs_and_takes_the_place_of_the_one_before() {
        let room = tempfile::tempdir().unwrap();
        let good = GoodCopy { folder: room.path().join(FOLDER) };
        assert_eq!(good.find(), None);
        for build in [Build(1), Build(u64::MAX)] {
            let path = good.keep(std::process::id(), build).unwrap();
            assert_eq!(good.find(), Some((build, path.clone())));
            let runs = std::process::Command::new(&path).arg("--list").output().unwrap();
            assert!(runs.status.success());
        }
        assert_eq!(fs::read_dir(&good.folder).unwrap().count(), 1);
    }
}
