//! The state directory: who may read it, whose it is, how much room there is, whether its journal can be read, and whether
//! the clock goes on from where the journal left off.

use super::gateway::Life;
use super::{Finding, Fix, Patient};
use crate::journal::claim::Claim;
use crate::journal::store::Store;
use crate::journal::{Journal, StoredGeneration};
use crate::left_behind::{Ended, LeftBehind};
use crate::native::journal_disk;
use crate::trial;
use nix::sys::statvfs::statvfs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Files that hold secrets or what people wrote.
const PRIVATE: [&str; 5] = ["journal.redb", "token", "lock", "control.sock", "config.toml"];
/// Less free space than this is close to none: a journal grows with what is said.
const ROOM_BYTES: u64 = 128 * 1024 * 1024;
/// How far a clock may be behind the journal without a word: clocks are set by small steps all the time.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// Why nothing at all can be told of a folder: it is closed to this user, or no folder.
pub(super) fn closed(state_dir: &Path) -> Option<Finding> {
    let error = std::fs::read_dir(state_dir).err()?;
    let (what, mend) = match error.kind() {
        ErrorKind::PermissionDenied => {
            let owner = std::fs::metadata(state_dir).map(|folder| format!("user {}", folder.uid()));
            let owner = owner.unwrap_or_else(|_| "another user".to_owned());
            (
                format!("{} is closed to this user: it is {owner}'s", state_dir.display()),
                "ask as its owner, or as root; or name your own folder with --state-dir".to_owned(),
            )
        }
        ErrorKind::NotADirectory => (
            format!("{} is no folder", state_dir.display()),
            "name the folder with --state-dir (or EVERGATE_STATE_DIR)".to_owned(),
        ),
        _ => return None,
    };
    Some(Finding::new("state directory", what, "nothing can be told of a gateway there", mend))
}

pub(super) fn check(patient: &Patient<'_>, life: &Life) -> Vec<Finding> {
    let state_dir = patient.state_dir;
    let Ok(folder) = std::fs::metadata(state_dir) else {
        return vec![Finding::new(
            "state directory",
            format!("there is no folder {}: no gateway has run there yet, or it is another one's", state_dir.display()),
            "nobody is answered from there",
            format!(
                "evergate run --state-dir {0}, which makes it; or name the right folder with --state-dir",
                state_dir.display()
            ),
        )];
    };
    let mut findings = Vec::new();
    findings.extend(mode(state_dir, folder.mode(), 0o700));
    if let (Life::Nobody, Some(why)) = (life, trial::gave_up(state_dir)) {
        findings.push(Finding::new(
            "start",
            format!("the last start gave up: {why}"),
            "so does the next one, as long as that is so",
            "do what it says, then start it again".to_owned(),
        ));
    }
    for file in PRIVATE.map(|name| state_dir.join(name)) {
        let Ok(there) = std::fs::symlink_metadata(&file) else { continue };
        if there.is_symlink() {
            continue;
        }
        findings.extend(mode(&file, there.mode(), 0o600));
        if there.uid() != folder.uid() {
            findings.push(Finding::new(
                "owner",
                format!("{} belongs to user {}, its folder to user {}", file.display(), there.uid(), folder.uid()),
                "the gateway cannot read or write it, and parks itself at the next start",
                format!("chown {} {}", folder.uid(), file.display()),
            ));
        }
    }
    findings.extend(space(state_dir));
    match life {
        Life::Nobody => findings.extend(journal(state_dir)),
        Life::Answers(status) if status["journal"] != "ok" => findings.push(Finding::new(
            "journal",
            format!("the gateway says of its journal: {}", status["journal"].as_str().unwrap_or("nothing")),
            "nothing new is accepted until it can be written",
            format!("make room on the disk of {}, or look after the disk", state_dir.display()),
        )),
        Life::Answers(_) | Life::Silent(_) => {}
    }
    findings
}

/// Whether others may look into it.
fn mode(path: &Path, mode: u32, wanted: u32) -> Option<Finding> {
    let found = mode & 0o7777;
    (found & 0o777 != wanted).then(|| {
        Finding::new(
            "mode",
            format!("{} has mode {found:04o}, not {wanted:04o}", path.display()),
            if found & 0o077 == 0 { "the gateway may not be able to use it" } else { "others may get at it" },
            format!("chmod {wanted:04o} {}", path.display()),
        )
        .with_fix(Fix::Mode(path.to_owned(), wanted))
    })
}

fn space(state_dir: &Path) -> Option<Finding> {
    let disk = statvfs(state_dir).ok()?;
    // Their width depends on the system.
    #[allow(clippy::useless_conversion)]
    let free = u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()));
    (free < ROOM_BYTES).then(|| {
        Finding::new(
            "space",
            format!("there are {} MiB free on the disk of {}", free >> 20, state_dir.display()),
            "when it is full, nothing new is accepted and no gateway can start",
            "make room on that disk".to_owned(),
        )
    })
}

/// Opens the journal as the next start would, repairing what a crash left; a directory that gets an owner meanwhile is its.
fn journal(state_dir: &Path) -> Vec<Finding> {
    if !state_dir.join("journal.redb").exists() {
        return Vec::new();
    }
    let Ok(claim) = Claim::borrow(state_dir) else { return Vec::new() };
    let last = Store::open(journal_disk(state_dir)).and_then(|store| {
        let last = store.generations(1).and_then(|last| Ok((last, LeftBehind::read(&store, state_dir)?)));
        store.close();
        last
    });
    drop(claim);
    match last {
        Ok((generations, left)) => {
            generations.first().and_then(clock).into_iter().chain(left.and_then(nobody)).collect()
        }
        Err(error) => vec![Finding::new(
            "journal",
            error.to_string(),
            "no gateway can start here",
            "do what it says; a copy of the folder first costs nothing".to_owned(),
        )],
    }
}

/// Whether somebody is missed where no gateway runs: one that was stopped and owes nobody anything is not.
fn nobody(left: LeftBehind) -> Option<Finding> {
    let consequence = match (&left.owed, left.ended) {
        (Some(owed), _) => format!("nobody is answered; owed to people until one is started: {owed}"),
        (None, Ended::Died) => "nobody is answered; nothing is owed from before".to_owned(),
        (None, Ended::ForAnother) => {
            "nobody has started it again, so nobody is answered; if that is as it should be, all is well".to_owned()
        }
        (None, Ended::InOrder) => return None,
    };
    Some(Finding::new("no gateway", format!("no gateway runs: {}", left.end), &consequence, left.start))
}

/// Whether the clock is behind what was written last.
fn clock(last: &StoredGeneration) -> Option<Finding> {
    let written = [Some(last.begun_at_ms), last.ready_at_ms, last.ended_at_ms].into_iter().flatten().max()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let behind = Duration::from_millis(written).saturating_sub(now);
    (behind > CLOCK_SLACK).then(|| {
        Finding::new(
            "clock",
            format!("the clock is {} s behind the last record of the journal", behind.as_secs()),
            "times in logs and in `evergate generations` run backwards; no message is lost by it",
            "set the clock: timedatectl set-ntp true".to_owned(),
        )
    })
}
