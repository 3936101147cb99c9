//! Who owns a state directory. The truth is a kernel lock on the file `lock`, held until the very end of the process; what
//! is written in that file only tells people who holds it, and a dead owner's words never block a start.

use super::Owner;
use crate::agent::orphan;
use evergate_core::id::GenerationId;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a start looks again whether a dying predecessor has let go.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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
        /// ` (PID 12, since …)`, as far as it is known.
        owner: String,
    },
}

impl Claim {
    /// Claims a state directory, waiting up to `patience` for a dying predecessor.
    pub fn take(state_dir: &Path, patience: Duration) -> Result<Self, ClaimError> {
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
                Ok(lock) => {
                    // What stands there is of the last owner, which may well have been this very process.
                    lock.set_len(0).map_err(unusable)?;
                    return Ok(Self { lock });
                }
                Err((mut back, nix::errno::Errno::EWOULDBLOCK)) if waited >= patience => {
                    let owner = read_owner(&mut back).map_or_else(String::new, |owner| describe(&owner));
                    return Err(ClaimError::Owned { path: state_dir.to_owned(), owner });
                }
                Err((back, nix::errno::Errno::EWOULDBLOCK | nix::errno::Errno::EINTR)) => file = back,
                Err((_, errno)) => return Err(unusable(errno.into())),
            }
            std::thread::sleep(LOOK_AGAIN);
            waited += LOOK_AGAIN;
        }
    }

    /// Writes down who owns it now, for people.
    pub fn record(&mut self, owner: &Owner) -> std::io::Result<()> {
        let text = serde_json::to_vec(owner)?;
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock.write_all(&text)
    }
}

fn read_owner(file: &mut File) -> Option<Owner> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn describe(owner: &Owner) -> String {
    let since = std::time::UNIX_EPOCH + Duration::from_millis(owner.since_ms.min(u64::from(u32::MAX) * 1000));
    format!(" (PID {}, {}, since {})", owner.pid, owner.generation, humantime::format_rfc3339_seconds(since))
}

impl Owner {
    /// This process, as the owner since `since_ms` (milliseconds since 1970).
    #[must_use]
    pub fn this_process(generation: GenerationId, since_ms: u64) -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let pid = nix::unistd::getpid().as_raw();
        let session_id = orphan::session_id();
        Self {
            boot_id,
            pid,
            start_time: orphan::started(pid).unwrap_or(0),
            session_id,
            generation,
            since_ms,
            supervisor: None,
            unit: None,
            predecessor_died_of: None,
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
}
