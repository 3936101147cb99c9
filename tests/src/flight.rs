//! Whether a gateway under test did what its core says: its flight log, replayed through the core by `evergate-sim`. Every
//! gateway of [`crate::gateway`] records one and has it checked at its end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use evergate::audit::{Audit, Owner, Since};
use evergate::flight::reader::{Entry, LogError, Reader};
use evergate::flight::store;
use evergate::journal::store::Store;
use evergate::journal::{Journal, JournalError};
use evergate::native::journal_disk;
use evergate_core::id::GenerationId;
use evergate_sim::conform::{Conformity, Finding, conform};

/// Replays the log, which has to tell of each generation up to `served`; 0 when none came to serve, and there may be no log.
///
/// # Panics
/// When the log differs from the core, makes no sense, or leaves out a generation that served. The log is kept then, and
/// the message says where.
pub fn assert_conformant(log: &Path, served: u64) -> Conformity {
    if served == 0 && fs::metadata(log).map_or(0, |file| file.len()) == 0 {
        return Conformity::default();
    }
    let missing = |found: &Conformity| match told_of(log) {
        Ok(told) => left_out(&told, served).filter(|_| found.cut_lines.is_empty()),
        Err(error) => Some(error.to_string()),
    };
    let why = match read(log) {
        Ok(Finding::Conformant(found)) if found.last.0 < served => {
            format!("it ends with {}, and generation {served} has served", found.last)
        }
        Ok(Finding::Conformant(found)) => match missing(&found) {
            None => return found,
            Some(missing) => missing,
        },
        Ok(different) => different.to_string(),
        Err(error) => error.to_string(),
    };
    let kept = std::env::temp_dir().join(format!("evergate-flight-{}.jsonl", std::process::id()));
    let kept = fs::copy(log, &kept).map_or_else(|error| error.to_string(), |_| kept.display().to_string());
    panic!("the flight log of this gateway (kept: {kept}): {why}");
}

fn read(log: &Path) -> Result<Finding, LogError> {
    conform(BufReader::new(File::open(log)?))
}

/// The generations that a log tells of.
fn told_of(log: &Path) -> Result<BTreeSet<u64>, LogError> {
    let mut reader = Reader::new(BufReader::new(File::open(log)?))?;
    let mut told = BTreeSet::new();
    while let Some(entry) = reader.entry()? {
        if let Entry::Head(head) = entry {
            told.insert(head.generation.0);
        }
    }
    Ok(told)
}

/// The first generation that is missing between the first that is told of and the last that served.
fn left_out(told: &BTreeSet<u64>, served: u64) -> Option<String> {
    let first = *told.first()?;
    let missing = (first..=served).find(|generation| !told.contains(generation))?;
    Some(format!("it tells of generation {first} and of {served}, and not of {missing}"))
}

/// The same of a gateway that has no log but those that every gateway keeps below its state directory, one for each generation;
/// where it has ended its journal is held against the rules, too. For tests that start the program in a way of their own.
///
/// # Panics
/// When one of them differs from the core, or there is none of a generation up to `served`.
pub fn assert_kept_conformant(state_dir: &Path, served: u64) {
    let folder = state_dir.join(store::FOLDER);
    for generation in 1..=served {
        let log = store::log_of(&folder, GenerationId(generation));
        assert!(log.exists(), "generation {generation} has served and kept no flight log in {}", folder.display());
    }
    let logs = store::logs(&folder);
    for log in &logs {
        match read(log) {
            Ok(Finding::Conformant(_)) => {}
            Ok(different) => panic!("{}: {different}", log.display()),
            Err(error) => panic!("{}: {error}", log.display()),
        }
    }
    assert_sound(state_dir, &logs);
}

/// Holds the journal of a gateway that has ended, and its flight logs, against the rules. A journal that cannot be opened (a
/// test has damaged it, its disk is gone, or somebody has it) has nothing to be held against.
///
/// # Panics
/// When a rule is broken; the message is the audit's whole story.
pub fn assert_sound(state_dir: &Path, logs: &[PathBuf]) {
    if !state_dir.join("journal.redb").exists() {
        return;
    }
    let Ok(store) = Store::open(journal_disk(state_dir)) else { return };
    let mut audit = Audit::new(|after| store.history(after, 1000), Owner::Nobody, Since::Ever);
    let flown =
        logs.iter().filter_map(|log| File::open(log).ok()).try_for_each(|log| audit.flight(BufReader::new(log)));
    let report = audit.finish();
    store.close();
    match (flown, report) {
        (Err(error), _) => panic!("the flight log of this gateway: {error}"),
        (_, Err(error @ (JournalError::Write(_) | JournalError::Unsettled(_)))) => {
            panic!("nobody writes here: {error}")
        }
        (_, Ok(report)) => assert_eq!(report.broken, 0, "{report}"),
        // Its pages are damaged, which the test that did it looks at.
        (_, Err(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_never_served_needs_no_log() {
        assert_eq!(assert_conformant(Path::new("/nonexistent/flight"), 0), Conformity::default());
    }

    #[test]
    #[should_panic(expected = "No such file")]
    fn a_gateway_that_served_without_a_log_is_a_failure() {
        assert_conformant(Path::new("/nonexistent/flight"), 1);
    }
    #[test]
    fn a_generation_that_the_log_leaves_out_is_found() {
        assert_eq!(left_out(&BTreeSet::from([1, 2, 3]), 3), None);
        assert_eq!(left_out(&BTreeSet::from([2, 3]), 3), None, "it began before this log");
        let found = left_out(&BTreeSet::from([1, 3]), 3).expect("one is missing");
        assert_eq!(found, "it tells of generation 1 and of 3, and not of 2");
    }

    #[test]
    #[should_panic(expected = "generation 1 has served and kept no flight log")]
    fn a_gateway_that_kept_no_log_of_its_own_is_a_failure() {
        assert_kept_conformant(Path::new("/nonexistent"), 1);
    }
}
