//! The journal on redb: one table a noun, one transaction a batch, one fsync a transaction. Beside the full history
//! it keeps the rows of unfinished business as `evergate_core::record` defines them, so that a start reads what is open
//! and never what is long answered.

use super::event::TurnFacts;
use super::{Batch, Body, Event, Journal, JournalError, StoredGeneration, StoredMessage, StoredRequest, Write};
use crate::environment::Disk;
use evergate_core::id::{GenerationId, MessageId, RequestId, SessionId, TurnId};
use evergate_core::record::{Highest, Record, Slot, Subject, Unfinished};
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition,
    WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, RwLock};

/// The version of the tables below. A higher one in a file means that a newer program wrote it.
pub const SCHEMA: u64 = 1;

/// Pages kept in memory. More makes reads of long histories faster and an idle gateway larger.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
pub(super) const UNFINISHED: TableDefinition<(u8, u64, u8), &[u8]> = TableDefinition::new("unfinished");
pub(super) const SESSIONS: TableDefinition<u64, &str> = TableDefinition::new("sessions");
const SESSION_NAMES: TableDefinition<&str, u64> = TableDefinition::new("session_names");
pub(super) const MESSAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("messages");
const NATIVES: TableDefinition<(u64, &str), u64> = TableDefinition::new("natives");
pub(super) const REQUESTS: TableDefinition<u64, &[u8]> = TableDefinition::new("requests");
pub(super) const GENERATIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("generations");
pub(super) const EVENTS: TableDefinition<(u64, u64), &str> = TableDefinition::new("events");

/// A journal on redb. Writing after an I/O error opens the file anew, since redb refuses to go on with a handle that met one.
pub struct Store {
    disk: Box<dyn Disk>,
    database: RwLock<Option<Database>>,
    counters: Mutex<Counters>,
    closed: Mutex<bool>,
}

/// What the store itself counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    highest: Highest,
    log: u64,
    event: u64,
}

impl Store {
    /// Opens the journal on this disk, creating it if there is none. Never panics, whatever is in the file.
    pub fn open(disk: Box<dyn Disk>) -> Result<Self, JournalError> {
        let file = disk.name();
        let database = guarded(&file, || open_database(&*disk))?;
        let store =
            Self { disk, database: RwLock::new(Some(database)), counters: Mutex::default(), closed: Mutex::new(false) };
        guarded(&file, || store.check_schema())?;
        let counters = guarded(&file, || store.read(read_counters))?;
        *store.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = counters;
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
        let database = self.database.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| JournalError::Read("it is closed after an I/O error".into()))?;
        let transaction = database.begin_read().map_err(|error| JournalError::Read(error.to_string()))?;
        body(&transaction).map_err(|error| JournalError::Read(error.to_string()))
    }

    fn try_commit(&self, batch: &Batch) -> Result<(Counters, Vec<Event>), redb::Error> {
        let database = self.database.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let database = database.as_ref().ok_or(redb::Error::PreviousIo)?;
        let mut counters = *self.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let transaction = database.begin_write()?;
        let events = write_batch(&transaction, batch, &mut counters)?;
        transaction.commit()?;
        Ok((counters, events))
    }

    fn reopen(&self) -> Result<(), JournalError> {
        if *self.closed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            return Err(JournalError::Write("it was closed at the end of this generation".into()));
        }
        let mut database = self.database.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The old handle has to go first: two on one file would not see each other's pages.
        *database = None;
        *database = Some(guarded(&self.disk.name(), || open_database(&*self.disk))?);
        Ok(())
    }
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
        if self.database.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_none() {
            self.reopen()?;
        }
        match self.try_commit(batch) {
            Ok((counters, events)) => {
                *self.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = counters;
                Ok(events)
            }
            Err(error) => {
                if let Err(reopening) = self.reopen() {
                    tracing::warn!(%reopening, "the journal could not be opened again after a failed write");
                }
                Err(JournalError::Write(error.to_string()))
            }
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

    fn dump(&self, cursor: super::Cursor, limit: usize) -> Result<(String, Option<super::Cursor>), JournalError> {
        super::dump(self, cursor, limit)
    }

    fn close(&self) {
        *self.closed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        *self.database.write().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    fn events(&self, session: SessionId, after: u64, limit: usize) -> Result<Vec<Event>, JournalError> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        self.read(|transaction| {
            let table = transaction.open_table(EVENTS)?;
            let rows = table.range((session.0, first)..=(session.0, u64::MAX))?.take(limit);
            rows.map(|row| {
                let (key, text) = row?;
                Ok(Event { id: key.value().1, session, text: text.value().into() })
            })
            .collect()
        })
    }
}

/// A disk's backend as one type that redb takes.
#[derive(Debug)]
struct Backend(Box<dyn StorageBackend>);

impl StorageBackend for Backend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
    fn close(&self) -> std::io::Result<()> {
        self.0.close()
    }
}

fn open_database(disk: &dyn Disk) -> Result<Database, JournalError> {
    let damaged = |error: &dyn std::fmt::Display| JournalError::Damaged { file: disk.name(), why: error.to_string() };
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    let mut backend = disk.open().map_err(|error| damaged(&error))?;
    if backend.is_none() {
        disk.create(&mut |backend| create_tables(&builder, backend)).map_err(|error| damaged(&error))?;
        backend = disk.open().map_err(|error| damaged(&error))?;
    }
    let backend = backend.ok_or_else(|| damaged(&"it vanished right after it was created"))?;
    builder.create_with_backend(Backend(backend)).map_err(|error| damaged(&error))
}

fn create_tables(builder: &Builder, backend: Box<dyn StorageBackend>) -> Result<(), redb::Error> {
    let database = builder.create_with_backend(Backend(backend))?;
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("schema", to_json(&SCHEMA).as_slice())?;
    transaction.open_table(LOG)?;
    transaction.open_table(UNFINISHED)?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(SESSION_NAMES)?;
    transaction.open_table(MESSAGES)?;
    transaction.open_table(NATIVES)?;
    transaction.open_table(REQUESTS)?;
    transaction.open_table(GENERATIONS)?;
    transaction.open_table(EVENTS)?;
    transaction.commit()?;
    Ok(())
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

fn read_counters(transaction: &ReadTransaction) -> Result<Counters, redb::Error> {
    let highest = get_json(&transaction.open_table(META)?, "highest")?.unwrap_or_default();
    let log = transaction.open_table(LOG)?.last()?.map_or(0, |(key, _)| key.value());
    let event = get_json(&transaction.open_table(META)?, "last_event")?.unwrap_or_default();
    Ok(Counters { highest, log, event })
}

fn write_batch(
    transaction: &WriteTransaction,
    batch: &Batch,
    counters: &mut Counters,
) -> Result<Vec<Event>, redb::Error> {
    let mut log = transaction.open_table(LOG)?;
    let mut unfinished = transaction.open_table(UNFINISHED)?;
    let mut events_table = transaction.open_table(EVENTS)?;
    let mut events = Vec::new();
    for write in &batch.writes {
        let record = to_json(&write.record);
        if let Some(mut event) = Event::of(write, |turn| turn_facts(&unfinished, turn)) {
            counters.event += 1;
            event.id = counters.event;
            events_table.insert((event.session.0, event.id), &*event.text)?;
            events.push(event);
        }
        for slot in write.record.clears() {
            unfinished.remove(key_of(slot))?;
        }
        if let Some(slot) = write.record.slot() {
            unfinished.insert(key_of(slot), record.as_slice())?;
        }
        counters.log += 1;
        log.insert(counters.log, logged(batch.at_ms, &record).as_slice())?;
        counters.highest.observe(&write.record);
        write_nouns(transaction, write, batch.at_ms)?;
    }
    if let Some((generation, ready_at_ms)) = batch.ready {
        change_generation(transaction, generation, |stored| stored.ready_at_ms = Some(ready_at_ms))?;
    }
    let mut meta = transaction.open_table(META)?;
    meta.insert("highest", to_json(&counters.highest).as_slice())?;
    meta.insert("last_event", to_json(&counters.event).as_slice())?;
    Ok(events)
}

/// A line of the history: the time, for people, and the record.
fn logged(at_ms: u64, record: &[u8]) -> Vec<u8> {
    let mut line = format!("{{\"at_ms\":{at_ms},\"record\":").into_bytes();
    line.extend_from_slice(record);
    line.push(b'}');
    line
}

/// Keeps the nouns that people ask for by id.
fn write_nouns(transaction: &WriteTransaction, write: &Write, at_ms: u64) -> Result<(), redb::Error> {
    match (&write.record, &write.body) {
        (Record::MessageAccepted { message, session, asked, standing, place, .. }, Body::Message(body)) => {
            let mut names = transaction.open_table(SESSION_NAMES)?;
            if names.get(body.session.as_str())?.is_none() {
                names.insert(body.session.as_str(), session.0)?;
                transaction.open_table(SESSIONS)?.insert(session.0, body.session.as_str())?;
            }
            if let Some(native) = &body.native {
                transaction.open_table(NATIVES)?.insert((session.0, native.as_str()), message.0)?;
            }
            let stored = StoredMessage {
                session: *session,
                native: body.native.clone(),
                text: body.text.clone(),
                from: body.from.clone(),
                asked: *asked,
                standing: *standing,
                place: *place,
                at_ms,
            };
            transaction.open_table(MESSAGES)?.insert(message.0, to_json(&stored).as_slice())?;
        }
        (Record::RequestMade { request, made }, body) => {
            let reason = match body {
                Body::Request(body) => body.reason.clone(),
                _ => None,
            };
            let mut table = transaction.open_table(REQUESTS)?;
            let earlier: Option<StoredRequest> = get_json(&table, request.0)?;
            let (reason, made_at_ms) = earlier.map_or((reason, at_ms), |earlier| (earlier.reason, earlier.made_at_ms));
            let stored = StoredRequest { made: *made, reason, made_at_ms, outcome: None, settled_at_ms: None };
            table.insert(request.0, to_json(&stored).as_slice())?;
        }
        (Record::RequestSettled { request, outcome }, _) => {
            let mut table = transaction.open_table(REQUESTS)?;
            let stored: Option<StoredRequest> = get_json(&table, request.0)?;
            if let Some(mut stored) = stored {
                stored.outcome = Some(*outcome);
                stored.settled_at_ms = Some(at_ms);
                table.insert(request.0, to_json(&stored).as_slice())?;
            }
        }
        (Record::GenerationBegun { generation }, body) => {
            let owner = match body {
                Body::Owner(owner) => Some((**owner).clone()),
                _ => None,
            };
            if let Some(owner) = &owner {
                transaction.open_table(META)?.insert("owner", to_json(owner).as_slice())?;
            }
            let stored = StoredGeneration {
                generation: *generation,
                owner,
                begun_at_ms: at_ms,
                ready_at_ms: None,
                ended_at_ms: None,
                verdict: None,
                report: None,
            };
            transaction.open_table(GENERATIONS)?.insert(generation.0, to_json(&stored).as_slice())?;
        }
        (Record::GenerationEnded { generation, verdict, report }, _) => {
            change_generation(transaction, *generation, |stored| {
                stored.ended_at_ms = Some(at_ms);
                stored.verdict = *verdict;
                stored.report = Some(report.clone());
            })?;
        }
        _ => {}
    }
    Ok(())
}

fn change_generation(
    transaction: &WriteTransaction,
    generation: GenerationId,
    change: impl FnOnce(&mut StoredGeneration),
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(GENERATIONS)?;
    let stored: Option<StoredGeneration> = get_json(&table, generation.0)?;
    if let Some(mut stored) = stored {
        change(&mut stored);
        table.insert(generation.0, to_json(&stored).as_slice())?;
    }
    Ok(())
}

fn turn_facts(unfinished: &Table<(u8, u64, u8), &[u8]>, turn: TurnId) -> Option<TurnFacts> {
    let row = |fact| {
        let value = unfinished.get(key_of((Subject::Turn(turn), fact))).ok().flatten()?;
        from_json::<Record>(value.value()).ok()
    };
    let Some(Record::TurnOpened { session, messages, .. }) = row(0) else { return None };
    let attempt = match row(1) {
        Some(Record::TurnResumed { attempt, .. }) => attempt,
        _ => 1,
    };
    Some(TurnFacts { session, messages, attempt })
}

/// A slot as a key: the same order as in the core.
const fn key_of((subject, fact): Slot) -> (u8, u64, u8) {
    match subject {
        Subject::Generation => (0, 0, fact),
        Subject::Session(id) => (1, id.0, fact),
        Subject::Message(id) => (2, id.0, fact),
        Subject::Turn(id) => (3, id.0, fact),
        Subject::Delivery(id) => (4, id.0, fact),
        Subject::Request(id) => (5, id.0, fact),
    }
}

const fn slot_of((kind, id, fact): (u8, u64, u8)) -> Option<Slot> {
    use evergate_core::id::DeliveryId;
    let subject = match kind {
        0 => Subject::Generation,
        1 => Subject::Session(SessionId(id)),
        2 => Subject::Message(MessageId(id)),
        3 => Subject::Turn(TurnId(id)),
        4 => Subject::Delivery(DeliveryId(id)),
        5 => Subject::Request(RequestId(id)),
        _ => return None,
    };
    Some((subject, fact))
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types have string keys and no failing serializers")
}

pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| redb::Error::Corrupted(format!("a row is not what its table says: {error}")))
}

pub(super) fn get_json<'k, K: redb::Key + 'static, T: DeserializeOwned>(
    table: &impl ReadableTable<K, &'static [u8]>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
) -> Result<Option<T>, redb::Error> {
    table.get(key)?.map(|value| from_json(value.value())).transpose()
}
