//! Session names and ids, as far as this generation has met them. The journal is the truth; a name that is new gets its id
//! here and is written with its first message.

use super::Driver;
use crate::journal::JournalError;
use evergate_core::id::SessionId;
use std::collections::HashMap;
use std::sync::Arc;

/// Session names and ids, as far as this generation has met them.
pub struct Names {
    ids: HashMap<Arc<str>, SessionId>,
    names: HashMap<SessionId, Arc<str>>,
    last: SessionId,
}

/// Above this the known names are forgotten; they are in the journal.
const NAMES: usize = 50_000;

impl Names {
    /// No names yet, and the highest id in use.
    pub fn new(last: SessionId) -> Self {
        Self { ids: HashMap::new(), names: HashMap::new(), last }
    }
}

impl Driver {
    /// The id of a session; a new one gets the next.
    pub(super) fn session_id(&mut self, name: &str) -> Result<SessionId, JournalError> {
        if let Some(id) = self.names.ids.get(name) {
            return Ok(*id);
        }
        let id = match self.journal.session(name)? {
            Some(id) => id,
            None => {
                self.names.last = self.names.last.next();
                self.names.last
            }
        };
        if self.names.ids.len() >= NAMES
            && self.texts.is_empty()
            && self.batch.writes.is_empty()
            && !self.writer.is_busy()
        {
            self.names.ids.clear();
            self.names.names.clear();
        }
        let name: Arc<str> = name.into();
        self.names.ids.insert(Arc::clone(&name), id);
        self.names.names.insert(id, name);
        Ok(id)
    }

    /// The name of a session.
    pub(super) fn session_name(&mut self, session: SessionId) -> Option<Arc<str>> {
        if let Some(name) = self.names.names.get(&session) {
            return Some(Arc::clone(name));
        }
        let name: Arc<str> = self.journal.session_name(session).ok().flatten()?.into();
        self.names.ids.insert(Arc::clone(&name), session);
        self.names.names.insert(session, Arc::clone(&name));
        Some(name)
    }
}
