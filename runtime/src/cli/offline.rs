//! The journal of a state directory in which no gateway runs: held for as long as this value lives, and a gateway that is
//! started meanwhile waits. So it is kept no longer than it takes to read. Nothing in it is changed.

use super::{CommandError, Global, exit};
use crate::journal::claim::Claim;
use crate::journal::store::Store;
use crate::journal::{Journal, JournalError};
use crate::native::journal_disk;

/// A journal that is held.
pub struct Offline {
    /// The journal.
    pub journal: Store,
    _claim: Claim,
}

impl Offline {
    /// Holds the state directory and opens its journal; fails when there is none, or when a process owns it.
    pub fn open(global: &Global) -> Result<Self, CommandError> {
        let state_dir = global.state_dir()?;
        if !state_dir.join("journal.redb").exists() {
            let sentence = format!("there is no journal in {}; `evergate run` begins one", state_dir.display());
            return Err(CommandError::ended(exit::UNAVAILABLE, sentence));
        }
        let claim =
            Claim::borrow(&state_dir).map_err(|error| CommandError::ended(exit::CONFIGURATION, error.to_string()))?;
        let journal = Store::open(journal_disk(&state_dir)).map_err(unusable)?;
        Ok(Self { journal, _claim: claim })
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        // In order, so that the next start need not repair it.
        self.journal.close();
    }
}

/// A journal that cannot be opened or read.
pub fn unusable(error: JournalError) -> CommandError {
    let status = match error {
        JournalError::Damaged { .. } | JournalError::Read(_) => exit::BAD_DATA,
        _ => exit::CONFIGURATION,
    };
    CommandError::ended(status, error.to_string())
}
