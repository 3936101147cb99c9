//! Who owns a state directory. The truth is a kernel lock on the file `lock`, held until the very end of the process; what
//! is written in that file only tells people who holds it, and a dead owner's words never block a start.

use super::Owner;
use crate::agent::orphan;
use crate::small_file::overwrite;
use evergate_core::id::GenerationId;
use evergate_core::life::{Life, Process};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a start looks again whether a dying predecessor has let go.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a start waits without a word.
pub const QUIETLY: Duration = Duration::from_secs(1);
/// How long a start waits for somebody who reads.
const READERS: Duration = Duration::from_secs(60);
/// How long one who reads waits for another.
const OTHER_READER: Duration = Duration::from_secs(2);

/// The lock on a state directory. Dropping it lets another process in.
#[derive(Debug)]
pub struct Claim {
    lock: Flock<File>,
}

/// Why a state directory could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It cannot be used.
    #[error(
        "the state directory {path} cannot be used: {error}. Make it writable for this user, or give another one with --state-dir"
    )]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A live process owns it.
    #[error(
        "the state directory {path} belongs to a running gateway{owner}. Stop it with `evergate stop --state-dir {path}`, or give another directory with --state-dir"
    )]
    Owned {
        /// Which.
        path: PathBuf,
        /// ` (PID 12, since …)`.
        owner: String,
    },
    /// Somebody who only reads it does not come to an end.
    #[error(
        "the state directory {path} is being read by another command (`evergate doctor`, `audit`, `journal dump`), and that takes long. Let it end, or end it"
    )]
    Read {
        /// Which.
        path: PathBuf,
    },
}

impl Claim {
    /// Claims a state directory for a gateway, waiting up to `patience` for a dying predecessor and longer for those who only
    /// read.
    pub fn take(state_dir: &Path, patience: Duration) -> Result<Self, ClaimError> {
        let unusable = |error| ClaimError::Unusable { path: state_dir.to_owned(), error };
        let mut claim = match Self::lock(state_dir, patience) {
            Err(ClaimError::Read { .. }) => {
                let seconds = READERS.as_secs();
                tracing::warn!(state_dir = %state_dir.display(), seconds, "waiting for a command that reads the state directory");
                Self::lock(state_dir, READERS)?
            }
            claim => claim?,
        };
        // What stands there is of the last owner, which may well have been this very process.
        overwrite(&mut claim.lock, Vec::new()).map_err(unusable)?;
        Ok(claim)
    }

    /// Holds a state directory in which no gateway runs for as long as it is read, and changes nothing in it. A gateway that is
    /// started meanwhile waits.
    pub fn borrow(state_dir: &Path) -> Result<Self, ClaimError> {
        Self::lock(state_dir, OTHER_READER)
    }

    /// The same, unless somebody else holds it right now.
    pub fn borrow_at_once(state_dir: &Path) -> Result<Self, ClaimError> {
        Self::lock(state_dir, Duration::ZERO)
    }

    fn lock(state_dir: &Path, patience: Duration) -> Result<Self, ClaimError> {
        let unusable = |error| ClaimError::Unusable { path: state_dir.to_owned(), error };
        let path = state_dir.join("lock");
        let mut waited = Duration::ZERO;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(unusable)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { lock }),
                Err((mut back, nix::errno::Errno::EWOULDBLOCK)) if waited >= patience => {
                    let path = state_dir.to_owned();
                    // A gateway writes down who it is as soon as it has the lock.
                    return Err(match read_owner(&mut back).filter(Owner::lives) {
                        Some(owner) => ClaimError::Owned { path, owner: describe(&owner) },
                        None => ClaimError::Read { path },
                    });
                }
                Err((mut back, nix::errno::Errno::EWOULDBLOCK | nix::errno::Errno::EINTR)) => {
                    if waited == QUIETLY
                        && let Some(owner) = read_owner(&mut back).filter(Owner::lives)
                    {
                        let (owner, left) = (describe(&owner), humantime::format_duration(patience - waited));
                        tracing::warn!(state_dir = %state_dir.display(), %left, "waiting for a running gateway{owner} to let go of the state directory");
                    }
                    file = back;
                }
                Err((_, errno)) => return Err(unusable(errno.into())),
            }
            std::thread::sleep(LOOK_AGAIN);
            waited += LOOK_AGAIN;
        }
    }

    /// Writes down who owns it now, for people.
    pub fn record(&mut self, owner: &Owner) -> std::io::Result<()> {
        overwrite(&mut self.lock, serde_json::to_vec(owner)?)
    }
}

/// Which boot of the machine this is.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn read_owner(file: &mut File) -> Option<Owner> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn describe(owner: &Owner) -> String {
    let since = std::time::UNIX_EPOCH + Duration::from_millis(owner.since_ms.min(u64::from(u32::MAX) * 1000));
    let life = match owner.generation {
        GenerationId(0) => "starting".to_owned(),
        generation => generation.to_string(),
    };
    format!(" (PID {}, {life}, since {})", owner.pid, humantime::format_rfc3339_seconds(since))
}

impl Owner {
    /// Who is written down in `state_dir` as its last owner, alive or dead; `None` where nobody is.
    #[must_use]
    pub fn recorded(state_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(state_dir.join("lock")).ok()?).ok()
    }

    /// Whether it was a process of this boot of the machine.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        boot_id() == self.boot_id
    }

    /// Whether this very process lives: a number alone may be somebody else's by now.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.is_of_this_boot() && orphan::lives(self.pid, self.start_time)
    }

    /// The life that it is, as one tells it from others.
    #[must_use]
    pub fn life(&self) -> Life {
        let generation = Some(self.generation).filter(|generation| generation.0 > 0);
        Life { generation, process: Some(Process { pid: self.pid, started: self.start_time }) }
    }

    /// This process, as the owner since `since_ms` (milliseconds since 1970).
    #[must_use]
    pub fn this_process(generation: GenerationId, since_ms: u64) -> Self {
        let boot_id = boot_id();
        let pid = nix::unistd::getpid().as_raw();
        let session_id = orphan::session_id();
        Self {
            boot_id,
            pid,
            start_time: orphan::started(pid).unwrap_or(0),
            session_id,
            generation,
            since_ms,
            start: None,
            supervisor: None,
            unit: None,
            predecessor_died_of: None,
            predecessor_died_at_ms: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rolled_back: std::env::var(crate::versions::ROLLED_BACK).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_claim_names_the_first_owner_and_a_dead_owners_words_block_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Claim::take(folder.path(), Duration::ZERO).unwrap();
        first.record(&Owner::this_process(GenerationId(3), 1_000)).unwrap();
        let refused = Claim::take(folder.path(), Duration::from_millis(30)).unwrap_err().to_string();
        assert!(refused.contains(&format!("PID {}", std::process::id())), "{refused}");
        drop(first);
        Claim::take(folder.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn nothing_is_left_of_a_longer_owner_nor_of_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let read = || std::fs::read(folder.path().join("lock")).unwrap();
        let short = Owner::this_process(GenerationId(3), 1_000);
        for length in [1, 100, 4096] {
            let mut claim = Claim::take(folder.path(), Duration::ZERO).unwrap();
            claim.record(&Owner { predecessor_died_of: Some("x".repeat(length)), ..short.clone() }).unwrap();
            claim.record(&short).unwrap();
            assert_eq!(serde_json::from_slice::<Owner>(&read()).unwrap(), short);
            drop(claim);
            let _starting = Claim::take(folder.path(), Duration::ZERO).unwrap();
            assert!(serde_json::from_slice::<Owner>(&read()).is_err(), "nobody is named");
        }
    }

    #[test]
    fn who_reads_leaves_the_last_owners_words_and_is_waited_for_by_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let dead = Owner { start_time: 1, ..Owner::this_process(GenerationId(3), 1_000) };
        Claim::take(folder.path(), Duration::ZERO).unwrap().record(&dead).unwrap();
        let reader = Claim::borrow(folder.path()).unwrap();
        let refused = Claim::lock(folder.path(), Duration::from_millis(30)).unwrap_err();
        assert!(matches!(refused, ClaimError::Read { .. }), "{refused}");
        let words = std::fs::read(folder.path().join("lock")).unwrap();
        assert_eq!(serde_json::from_slice::<Owner>(&words).unwrap(), dead);
        std::thread::scope(|scope| {
            let start = scope.spawn(|| Claim::take(folder.path(), Duration::ZERO).is_ok());
            std::thread::sleep(Duration::from_millis(200));
            drop(reader);
            assert!(start.join().unwrap(), "the start has waited");
        });
    }
}
