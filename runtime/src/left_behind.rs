//! What a state directory tells in which no gateway runs: how the last generation ended, what is still owed to people, and which
//! command starts the next one. It reads, starts nothing, and finds nothing where somebody owns the directory.

use crate::journal::claim::Claim;
use crate::journal::store::Store;
use crate::journal::{Journal, JournalError, Owner, StoredGeneration};
use crate::last_words::{LastWords, Told};
use crate::lives::{self, Now};
use crate::native::journal_disk;
use crate::supervise::found;
use crate::systemd::Manager;
use evergate_core::recovery::Recovered;
use evergate_core::supervisor::Supervisor;
use evergate_core::verdict::{STOP, Verdict};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// How and when the last generation ended, as a sentence without its full stop.
    pub end: String,
    /// Whether it said so itself.
    pub ended: Ended,
    /// What is owed, in words; `None` if nothing is.
    pub owed: Option<String>,
    /// What starts the next one, as far as it is known how the last one was kept.
    pub start: String,
}

/// How a generation came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order, and for good.
    InOrder,
    /// In order, to be started again.
    ForAnother,
    /// It died.
    Died,
}

impl LeftBehind {
    /// What is left in `state_dir`; `None` where no generation has begun there, or where somebody holds it.
    pub fn of(state_dir: &Path) -> Result<Option<Self>, JournalError> {
        if !state_dir.join("journal.redb").exists() {
            return Ok(None);
        }
        let Ok(_claim) = Claim::borrow_at_once(state_dir) else { return Ok(None) };
        let store = Store::open(journal_disk(state_dir))?;
        let read = Self::read(&store, state_dir);
        // In order, so that the next start need not repair it.
        store.close();
        read
    }

    /// The same of a journal that is open.
    pub fn read(journal: &dyn Journal, state_dir: &Path) -> Result<Option<Self>, JournalError> {
        let Some(last) = journal.generations(1)?.into_iter().next() else { return Ok(None) };
        let recovered = Recovered::from_unfinished(&journal.unfinished()?);
        let start = start(last.owner.as_ref(), state_dir);
        let (end, ended) = end(journal, &last, state_dir)?;
        Ok(Some(Self { end, ended, owed: owed(&recovered), start }))
    }
}

fn end(journal: &dyn Journal, last: &StoredGeneration, state_dir: &Path) -> Result<(String, Ended), JournalError> {
    let generation = last.generation;
    if let Some(verdict) = last.verdict {
        let cause = lives::cause(journal, last, Now::Nobody(state_dir))?;
        let at = last.ended_at_ms.map_or_else(String::new, |at| format!(" at {}", instant(at)));
        let ended = match verdict {
            Verdict::Exit(STOP) | Verdict::StayUp => Ended::InOrder,
            Verdict::Exit(_) | Verdict::ReExec => Ended::ForAnother,
        };
        return Ok((format!("the last one, {generation}, ended{at}: {verdict}, {cause}"), ended));
    }
    let Told { why, at_ms } = LastWords::peek(generation, state_dir).unwrap_or_default();
    let when = match at_ms {
        Some(at) => format!("at {}", instant(at)),
        None => format!("some time after its last record, of {}", instant(last_sign(journal, last)?)),
    };
    let why = why.map_or_else(
        || ", without a word: it was killed, or its machine went down".to_owned(),
        |why| format!(": {why}"),
    );
    Ok((format!("the last one, {generation}, died {when}{why}"), Ended::Died))
}

/// When the last record of a journal was written, in milliseconds since 1970; lines are numbered without a gap.
fn last_sign(journal: &dyn Journal, last: &StoredGeneration) -> Result<u64, JournalError> {
    let line_after = |line: u64| Ok::<_, JournalError>(journal.history(line, 1)?.into_iter().next());
    let mut found = None;
    // There is a line behind `before`, none behind `after`.
    let (mut before, mut step) = (last.begun_in_line.saturating_sub(1), 1);
    while let Some(line) = line_after(before + step - 1)? {
        before = line.line;
        found = Some(line);
        step *= 2;
    }
    let mut after = before + step - 1;
    while before < after {
        let middle = before + (after - before) / 2;
        match line_after(middle)? {
            Some(line) => {
                before = line.line;
                found = Some(line);
            }
            None => after = middle,
        }
    }
    let known = last.begun_at_ms.max(last.ready_at_ms.unwrap_or(0));
    Ok(found.map_or(known, |line| line.at_ms.max(known)))
}

/// What is owed to people, in words.
fn owed(recovered: &Recovered) -> Option<String> {
    let cut = recovered.turns.len();
    let waiting: usize = recovered.sessions.values().map(|session| session.queue.len()).sum();
    let waiting = waiting + recovered.commands.len();
    let parts = [
        (cut, "answer that was cut", "answers that were cut"),
        (waiting, "message that waits", "messages that wait"),
        (recovered.deliveries.len(), "delivery", "deliveries"),
    ];
    let words: Vec<String> = parts
        .into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, one, many)| format!("{number} {}", if number == 1 { one } else { many }))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// The command that starts what the last owner was.
#[must_use]
pub fn start(owner: Option<&Owner>, state_dir: &Path) -> String {
    let supervisor = owner.and_then(|owner| owner.supervisor);
    match (supervisor, owner.and_then(|owner| owner.unit.as_ref())) {
        (Some(Supervisor::Systemd), Some(unit)) if unit.manager == Manager::User => {
            format!("systemctl --user start {}", unit.name)
        }
        (Some(Supervisor::Systemd), Some(unit)) => format!("systemctl start {}", unit.name),
        (Some(Supervisor::LaunchdKeepAlive | Supervisor::LaunchdSuccessfulExit), Some(job)) => {
            format!("launchctl kickstart {}", job.name)
        }
        // It only pauses.
        (Some(Supervisor::Evergate), _) if !found::supervisors(state_dir).is_empty() => {
            format!("evergate restart --state-dir {}", state_dir.display())
        }
        (Some(Supervisor::Evergate), _) => format!("evergate supervise --state-dir {}", state_dir.display()),
        _ => format!("evergate run --state-dir {}", state_dir.display()),
    }
}

fn instant(unix_ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(unix_ms.min(u64::from(u32::MAX) * 1000));
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergate_core::id::{DeliveryId, SessionId};
    use evergate_core::outbox::{Content, Notice};

    #[test]
    fn what_is_owed_is_told_kind_by_kind_and_nothing_is_nothing() {
        let mut recovered = Recovered::default();
        assert_eq!(owed(&recovered), None);
        recovered.deliveries.insert(DeliveryId(1), (SessionId(1), Content::Notice(Notice::Help)));
        assert_eq!(owed(&recovered).as_deref(), Some("1 delivery"));
        recovered.deliveries.insert(DeliveryId(2), (SessionId(1), Content::Notice(Notice::Help)));
        assert_eq!(owed(&recovered).as_deref(), Some("2 deliveries"));
    }

    #[test]
    fn a_directory_in_which_nothing_has_begun_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(LeftBehind::of(folder.path()).unwrap(), None);
        let store = Store::open(journal_disk(folder.path())).unwrap();
        store.close();
        drop(store);
        assert_eq!(LeftBehind::of(folder.path()).unwrap(), None);
    }
}
