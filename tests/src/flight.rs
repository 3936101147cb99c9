//! Whether a gateway under test did what its core says: its flight log, replayed through the core by `evergate-sim`. Every
//! gateway of [`crate::gateway`] records one and has it checked at its end.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use evergate::audit::{Audit, Owner, Since};
use evergate::journal::store::Store;
use evergate::journal::{Journal, JournalError};
use evergate::native::journal_disk;
use evergate_sim::conform::{Conformity, Finding, conform};

/// Replays the log, which has to reach at least generation `served`; 0 when none came to serve, and there may be no log.
///
/// # Panics
/// When the log differs from the core, makes no sense, or leaves out a generation that served. The log is kept then, and
/// the message says where.
pub fn assert_conformant(log: &Path, served: u64) -> Conformity {
    if served == 0 && fs::metadata(log).map_or(0, |file| file.len()) == 0 {
        return Conformity::default();
    }
    let why = match File::open(log).map_err(Into::into).and_then(|file| conform(BufReader::new(file))) {
        Ok(Finding::Conformant(found)) if found.last.0 >= served => return found,
        Ok(Finding::Conformant(found)) => format!("it ends with {}, and generation {served} has served", found.last),
        Ok(different) => different.to_string(),
        Err(error) => error.to_string(),
    };
    let kept = std::env::temp_dir().join(format!("evergate-flight-{}.jsonl", std::process::id()));
    let kept = fs::copy(log, &kept).map_or_else(|error| error.to_string(), |_| kept.display().to_string());
    panic!("the flight log of this gateway (kept: {kept}): {why}");
}

/// Holds the journal of a gateway that has ended, and its flight log, against the rules. A journal that cannot be opened (a
/// test has damaged it, or its disk is gone) has nothing to be held against.
///
/// # Panics
/// When a rule is broken; the message is the audit's whole story.
pub fn assert_sound(state_dir: &Path, log: &Path) {
    if !state_dir.join("journal.redb").exists() {
        return;
    }
    let Ok(store) = Store::open(journal_disk(state_dir)) else { return };
    let mut audit = Audit::new(|after| store.history(after, 1000), Owner::Nobody, Since::Ever);
    let flown = File::open(log).map(|log| audit.flight(BufReader::new(log)));
    let report = audit.finish();
    store.close();
    match (flown, report) {
        (Ok(Err(error)), _) => panic!("the flight log of this gateway: {error}"),
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
}
