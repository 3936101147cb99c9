//! The journal on redb: one table a noun, one transaction a batch, one fsync a transaction. Beside the full history
//! it keeps the rows of unfinished business as `evergate_core::record` defines them, so that a start reads what is open
//! and never what is long answered.

use super::backend::Backend;
use super::rows::{
    Counters, EVENTS, GENERATIONS, LOG, MESSAGES, META, NATIVES, OWED, REQUESTS, ROWS, SESSION_NAMES, SESSIONS,
    UNFINISHED, create_tables, from_json, get_json, read_counters, read_logged, slot_of, write_batch,
};
use super::{Batch, Event, Journal, JournalError, Logged, StoredGeneration, StoredMessage, StoredRequest};
use crate::environment::Disk;
use evergate_core::id::{DeliveryId, GenerationId, MessageId, RequestId, SessionId};
use evergate_core::record::Unfinished;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, RepairSession};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use super::rows::SCHEMA;

/// Pages kept in memory. More makes reads of long histories faster and an idle gateway larger.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Texts of events in one answer: the last one may go over it.
const EVENT_BYTES: usize = 256 * 1024;

/// A journal on redb. Writing after an I/O error opens the file anew, since redb refuses to go on with a handle that met one.
pub struct Store {
    disk: Box<dyn Disk>,
    database: RwLock<Option<Database>>,
    counters: Mutex<Counters>,
    closed: Mutex<bool>,
    unsettled: Mutex<Option<Unsettled>>,
    /// Whether the last commit was that of a generation's end, which leaves the file as a close would.
    sealed: AtomicBool,
    /// Whether nothing more reaches the file.
    shut: Arc<AtomicBool>,
}

impl Store {
    /// Opens the journal on this disk, creating it if there is none. Never panics, whatever is in the file.
    pub fn open(disk: Box<dyn Disk>) -> Result<Self, JournalError> {
        let file = disk.name();
        let shut = Arc::default();
        let database = guarded(&file, || open_database(&*disk, Missing::Create, &shut))?;
        let store = Self {
            disk,
            database: RwLock::new(Some(database)),
            counters: Mutex::default(),
            closed: Mutex::new(false),
            unsettled: Mutex::new(None),
            sealed: AtomicBool::new(false),
            shut,
        };
        guarded(&file, || store.check_schema())?;
        let counters = guarded(&file, || store.read(read_counters))?;
        *store.counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
        Ok(store)
    }

    fn check_schema(&self) -> Result<(), JournalError> {
        let found = self.read(|transaction| get_json::<&str, u64>(&transaction.open_table(META)?, "schema"))?;
        let file = self.disk.name();
        match found {
            Some(SCHEMA) => Ok(()),
            Some(found) if found > SCHEMA => Err(JournalError::Newer { file, found, known: SCHEMA }),
            _ => Err(JournalError::Damaged { file, why: "it holds no schema version".into() }),
        }
    }

    /// Runs one read over a consistent view.
    pub(super) fn read<T>(
        &self,
        body: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, JournalError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| JournalError::Read("it is closed after an I/O error".into()))?;
        let transaction = database.begin_read().map_err(|error| JournalError::Read(error.to_string()))?;
        body(&transaction).map_err(|error| JournalError::Read(error.to_string()))
    }

    /// Writes a batch. Its events are handed out in any case, since an error does not say whether the batch is on disk. The last
    /// of a generation takes along what redb writes at a close, while the doors are still open: nobody waits for that then.
    fn try_commit(&self, batch: &Batch, counters: &mut Counters, events: &mut Vec<Event>) -> Result<(), redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(redb::Error::PreviousIo)?;
        let last = batch.ends_generation();
        self.sealed.store(false, SeqCst);
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(last);
        *events = write_batch(&transaction, batch, counters)?;
        transaction.commit()?;
        self.sealed.store(last, SeqCst);
        Ok(())
    }

    /// Opens the file anew after an error. The old handle goes first, since two on one file would not see each other's
    /// pages; readers are refused meanwhile, and nobody waits for the repair.
    fn reopen(&self) -> Result<Counters, JournalError> {
        if *self.closed.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(JournalError::Write("it was closed at the end of this generation".into()));
        }
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        let opened = guarded(&self.disk.name(), || open_database(&*self.disk, Missing::Refuse, &self.shut))?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        let counters = self.read(read_counters)?;
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
        Ok(counters)
    }

    /// After a failed write: finds out whether the batch is on disk all the same (a failed fsync may have come after the
    /// pages), and has what is there synced before anybody relies on it.
    fn settle(&self, unsettled: Unsettled) -> Result<Option<Vec<Event>>, JournalError> {
        let found = self.reopen().and_then(|counters| {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let transaction = database.as_ref().map(Database::begin_write);
            match transaction {
                Some(Ok(transaction)) => {
                    transaction.commit().map(|()| counters).map_err(|error| JournalError::Write(error.to_string()))
                }
                Some(Err(error)) => Err(JournalError::Write(error.to_string())),
                None => Err(JournalError::Write("it is closed".into())),
            }
        });
        match found {
            Ok(counters) => Ok((counters.log > unsettled.log).then_some(unsettled.events)),
            Err(error) => {
                *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner) = Some(unsettled);
                Err(JournalError::Unsettled(error.to_string()))
            }
        }
    }
}

/// A batch of which nobody knows yet whether it is on disk.
#[derive(Debug)]
struct Unsettled {
    /// The last line of the history before it.
    log: u64,
    /// The events that it made, if it is there.
    events: Vec<Event>,
}

impl Journal for Store {
    fn unfinished(&self) -> Result<Unfinished, JournalError> {
        guarded(&self.disk.name(), || {
            self.read(|transaction| {
                let mut unfinished =
                    Unfinished { highest: read_counters(transaction)?.highest, ..Unfinished::default() };
                for row in transaction.open_table(UNFINISHED)?.iter()? {
                    let (key, value) = row?;
                    if let Some(slot) = slot_of(key.value()) {
                        unfinished.rows.insert(slot, from_json(value.value())?);
                    }
                }
                Ok(unfinished)
            })
        })
    }

    fn commit(&self, batch: &Batch) -> Result<Vec<Event>, JournalError> {
        let unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(unsettled) = unsettled
            && let Some(events) = self.settle(unsettled)?
        {
            return Ok(events);
        }
        let before = *self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut after, mut events) = (before, Vec::new());
        let written = guarded(&self.disk.name(), || {
            self.try_commit(batch, &mut after, &mut events).map_err(|error| JournalError::Write(error.to_string()))
        });
        match written {
            Ok(()) => {
                *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = after;
                Ok(events)
            }
            Err(error) => self.settle(Unsettled { log: before.log, events })?.ok_or(error),
        }
    }

    fn last_session(&self) -> Result<SessionId, JournalError> {
        self.read(|transaction| {
            Ok(SessionId(transaction.open_table(SESSIONS)?.last()?.map_or(0, |(id, _)| id.value())))
        })
    }

    fn session(&self, name: &str) -> Result<Option<SessionId>, JournalError> {
        self.read(|transaction| Ok(transaction.open_table(SESSION_NAMES)?.get(name)?.map(|id| SessionId(id.value()))))
    }

    fn session_name(&self, session: SessionId) -> Result<Option<String>, JournalError> {
        self.read(|transaction| {
            Ok(transaction.open_table(SESSIONS)?.get(session.0)?.map(|name| name.value().to_owned()))
        })
    }

    fn sessions(&self, after: SessionId, limit: usize) -> Result<Vec<(SessionId, String, u64)>, JournalError> {
        self.read(|transaction| {
            let events = transaction.open_table(EVENTS)?;
            let mut sessions = Vec::new();
            for row in transaction.open_table(SESSIONS)?.range(after.0 + 1..)?.take(limit) {
                let (id, name) = row?;
                let id = id.value();
                let last = events
                    .range((id, 0)..=(id, u64::MAX))?
                    .next_back()
                    .transpose()?
                    .map_or(0, |(key, _)| key.value().1);
                sessions.push((SessionId(id), name.value().to_owned(), last));
            }
            Ok(sessions)
        })
    }

    fn known_message(&self, session: SessionId, native: &str) -> Result<Option<MessageId>, JournalError> {
        self.read(|transaction| {
            Ok(transaction.open_table(NATIVES)?.get((session.0, native))?.map(|id| MessageId(id.value())))
        })
    }

    fn message(&self, message: MessageId) -> Result<Option<StoredMessage>, JournalError> {
        self.read(|transaction| get_json(&transaction.open_table(MESSAGES)?, message.0))
    }

    fn request(&self, request: RequestId) -> Result<Option<StoredRequest>, JournalError> {
        self.read(|transaction| get_json(&transaction.open_table(REQUESTS)?, request.0))
    }

    fn generations(&self, limit: usize) -> Result<Vec<StoredGeneration>, JournalError> {
        self.read(|transaction| {
            let table = transaction.open_table(GENERATIONS)?;
            table.iter()?.rev().take(limit).map(|row| from_json(row?.1.value())).collect()
        })
    }

    fn generation(&self, generation: GenerationId) -> Result<Option<StoredGeneration>, JournalError> {
        self.read(|transaction| get_json(&transaction.open_table(GENERATIONS)?, generation.0))
    }

    fn history(&self, after: u64, limit: usize) -> Result<Vec<Logged>, JournalError> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        self.read(|transaction| {
            let table = transaction.open_table(LOG)?;
            let lines = table.range(first..)?.take(limit);
            lines
                .map(|row| row.map_err(Into::into).and_then(|(line, value)| read_logged(line.value(), value.value())))
                .collect()
        })
    }

    fn dump(&self, cursor: super::Cursor, limit: usize) -> Result<(String, Option<super::Cursor>), JournalError> {
        super::dump(self, cursor, limit)
    }

    fn row(&self, scope: &str, key: &str) -> Result<Option<String>, JournalError> {
        self.read(|transaction| {
            let table = there_or_not(transaction.open_table(ROWS))?;
            let row = table.map(|table| table.get((scope, key))).transpose()?.flatten();
            Ok(row.map(|value| value.value().to_owned()))
        })
    }

    fn rows(&self, scope: &str) -> Result<BTreeMap<String, String>, JournalError> {
        self.read(|transaction| {
            let mut rows = BTreeMap::new();
            let Some(table) = there_or_not(transaction.open_table(ROWS))? else { return Ok(rows) };
            for row in table.range((scope, "")..)? {
                let (key, value) = row?;
                let (of, key) = key.value();
                if of != scope {
                    break;
                }
                rows.insert(key.to_owned(), value.value().to_owned());
            }
            Ok(rows)
        })
    }

    fn owed_text(&self, delivery: DeliveryId) -> Result<Option<String>, JournalError> {
        self.read(|transaction| {
            let table = there_or_not(transaction.open_table(OWED))?;
            let row = table.map(|table| table.get(delivery.0)).transpose()?.flatten();
            Ok(row.map(|text| text.value().to_owned()))
        })
    }

    fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shut.store(self.sealed.load(SeqCst), SeqCst);
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn events(&self, session: SessionId, after: u64, limit: usize) -> Result<Vec<Event>, JournalError> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        self.read(|transaction| {
            let table = transaction.open_table(EVENTS)?;
            let (mut events, mut bytes) = (Vec::new(), 0);
            for row in table.range((session.0, first)..=(session.0, u64::MAX))?.take(limit) {
                let (key, text) = row?;
                bytes += text.value().len();
                events.push(Event { id: key.value().1, session, text: text.value().into() });
                if bytes >= EVENT_BYTES {
                    break;
                }
            }
            Ok(events)
        })
    }
}

/// A table that journals of earlier versions do not have before they are written.
fn there_or_not<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, redb::TableError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a missing file means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// An empty journal is to be made.
    Create,
    /// It was taken away under us.
    Refuse,
}

fn open_database(disk: &dyn Disk, missing: Missing, shut: &Arc<AtomicBool>) -> Result<Database, JournalError> {
    let unusable = |error: redb::Error| {
        let (file, why) = (disk.name(), error.to_string());
        match error {
            redb::Error::Io(error) if passes(&error) => JournalError::OutOfReach { file, why },
            _ => JournalError::Damaged { file, why },
        }
    };
    let backend = |file| Backend::new(file, Arc::clone(shut));
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    let open = |builder: &Builder| match disk.open() {
        Ok(Some(file)) => builder.create_with_backend(backend(file)).map(Some).map_err(redb::Error::from),
        Ok(None) => Ok(None),
        Err(error) => Err(error.into()),
    };
    // One that was closed in good order is what was synced, and so is one that is sealed but for its first sector, which opening it
    // writes and syncs once more. Of any other only the disk itself knows.
    builder.set_repair_callback(RepairSession::abort);
    let mut opened = open(&builder);
    if matches!(opened, Ok(None)) && missing == Missing::Create {
        disk.create(&mut |file| create_tables(&builder.create_with_backend(backend(file))?)).map_err(unusable)?;
        opened = open(&builder);
    }
    if matches!(opened, Err(redb::Error::RepairAborted)) {
        disk.read_anew().map_err(|error| unusable(error.into()))?;
        builder.set_repair_callback(|_| {});
        opened = open(&builder);
    }
    let gone = || JournalError::Damaged { file: disk.name(), why: "it is not there any more".into() };
    opened.map_err(unusable)?.ok_or_else(gone)
}

/// Whether an error is of the disk and its room, not of what the file holds: another try may find it mended.
fn passes(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{OutOfMemory, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | OutOfMemory)
        || error.raw_os_error() == Some(nix::errno::Errno::EIO as i32)
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread becomes a [`JournalError`]; the panic hook has nothing to add then.
#[must_use]
pub fn panics_are_answered() -> bool {
    GUARDED.get()
}

/// redb's own debug assertions may panic on a damaged file; an operator gets a sentence instead.
fn guarded<T>(file: &str, body: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
    GUARDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(body));
    GUARDED.set(false);
    outcome.unwrap_or_else(|_| {
        Err(JournalError::Damaged { file: file.to_owned(), why: "its pages contradict each other".into() })
    })
}
