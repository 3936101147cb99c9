//! What stands in the journal's tables and how a batch of records becomes rows. It knows tables and keys; opening, closing
//! and failing are the business of `store`.

use super::event::TurnFacts;
use super::{Batch, Body, Event, FILES, Logged, StoredGeneration, StoredMessage, StoredRequest, Write};
use evergate_core::id::{DeliveryId, GenerationId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use evergate_core::outbox::Content;
use evergate_core::record::{Highest, Record, Slot, Subject};
use redb::{Database, ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the tables below. A higher one in a file means that a newer program wrote it.
pub const SCHEMA: u64 = 1;

pub const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
pub const UNFINISHED: TableDefinition<(u8, u64, u8), &[u8]> = TableDefinition::new("unfinished");
pub const SESSIONS: TableDefinition<u64, &str> = TableDefinition::new("sessions");
pub const SESSION_NAMES: TableDefinition<&str, u64> = TableDefinition::new("session_names");
pub const MESSAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("messages");
pub const NATIVES: TableDefinition<(u64, &str), u64> = TableDefinition::new("natives");
pub const REQUESTS: TableDefinition<u64, &[u8]> = TableDefinition::new("requests");
pub const GENERATIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("generations");
pub const EVENTS: TableDefinition<(u64, u64), &str> = TableDefinition::new("events");
/// Facts beside the records, by scope and key. Journals of earlier versions have neither this table nor the next.
pub const ROWS: TableDefinition<(&str, &str), &str> = TableDefinition::new("rows");
/// The texts that platforms still have to send, by delivery.
pub const OWED: TableDefinition<u64, &str> = TableDefinition::new("owed");

/// What the store itself counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// The highest ids ever written.
    pub highest: Highest,
    /// The last line of the history.
    pub log: u64,
    /// The last kept event.
    pub event: u64,
}

/// Makes all tables in an empty database.
pub fn create_tables(database: &Database) -> Result<(), redb::Error> {
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
    transaction.open_table(ROWS)?;
    transaction.open_table(OWED)?;
    transaction.commit()?;
    Ok(())
}

/// Reads how far a journal has counted.
pub fn read_counters(transaction: &ReadTransaction) -> Result<Counters, redb::Error> {
    let highest = get_json(&transaction.open_table(META)?, "highest")?.unwrap_or_default();
    let log = transaction.open_table(LOG)?.last()?.map_or(0, |(key, _)| key.value());
    let event = get_json(&transaction.open_table(META)?, "last_event")?.unwrap_or_default();
    Ok(Counters { highest, log, event })
}

/// Writes a batch, and makes its events.
pub fn write_batch(
    transaction: &WriteTransaction,
    batch: &Batch,
    counters: &mut Counters,
) -> Result<Vec<Event>, redb::Error> {
    write_rows(transaction, batch)?;
    let mut log = transaction.open_table(LOG)?;
    let mut unfinished = transaction.open_table(UNFINISHED)?;
    let mut events_table = transaction.open_table(EVENTS)?;
    let mut events = Vec::new();
    for write in &batch.writes {
        let record = to_json(&write.record);
        if let Some(mut event) = Event::of(write, |turn| turn_facts(&unfinished, turn), |id| owed(&unfinished, id)) {
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
        write_nouns(transaction, write, batch.at_ms, counters.log)?;
    }
    if let Some((generation, ready_at_ms)) = batch.ready {
        // It is ready again when its end is taken back: how long it took to be so is told by the first time.
        change_generation(transaction, generation, |stored| _ = stored.ready_at_ms.get_or_insert(ready_at_ms))?;
    }
    let mut meta = transaction.open_table(META)?;
    meta.insert("highest", to_json(&counters.highest).as_slice())?;
    meta.insert("last_event", to_json(&counters.event).as_slice())?;
    Ok(events)
}

/// Writes the facts beside the records.
fn write_rows(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    if batch.rows.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(ROWS)?;
    for ((scope, key), value) in &batch.rows {
        match value {
            Some(value) => drop(table.insert((scope.as_str(), key.as_str()), value.as_str())?),
            None => drop(table.remove((scope.as_str(), key.as_str()))?),
        }
    }
    Ok(())
}

/// A line of the history: the time, for people, and the record.
fn logged(at_ms: u64, record: &[u8]) -> Vec<u8> {
    let mut line = format!("{{\"at_ms\":{at_ms},\"record\":").into_bytes();
    line.extend_from_slice(record);
    line.push(b'}');
    line
}

/// Reads a line of the history.
pub fn read_logged(line: u64, value: &[u8]) -> Result<Logged, redb::Error> {
    #[derive(Deserialize)]
    struct Value {
        at_ms: u64,
        record: Record,
    }
    let Value { at_ms, record } = from_json(value)?;
    Ok(Logged { line, at_ms, record })
}

/// Keeps the nouns that people ask for by id; `line` is the record's place in the history.
fn write_nouns(transaction: &WriteTransaction, write: &Write, at_ms: u64, line: u64) -> Result<(), redb::Error> {
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
                attachments: body.attachments.clone(),
            };
            transaction.open_table(MESSAGES)?.insert(message.0, to_json(&stored).as_slice())?;
        }
        (Record::DeliveryOwed { delivery, content, .. }, Body::Owed(parcel) | Body::Text(parcel)) => {
            if matches!(write.body, Body::Owed(_)) {
                transaction.open_table(OWED)?.insert(delivery.0, &*parcel.text)?;
            }
            if let (Content::Reply { turn, .. }, false) = (content, parcel.files.is_empty()) {
                let files = String::from_utf8_lossy(&to_json(&parcel.files.to_vec())).into_owned();
                transaction.open_table(ROWS)?.insert((FILES, turn.0.to_string().as_str()), files.as_str())?;
            }
        }
        (Record::DeliverySettled { delivery, .. }, _) => {
            transaction.open_table(OWED)?.remove(delivery.0)?;
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
        (Record::GenerationBegun { generation, .. }, body) => {
            let owner = match body {
                Body::Owner(owner) => Some((**owner).clone()),
                _ => None,
            };
            let stored = StoredGeneration {
                generation: *generation,
                owner,
                begun_at_ms: at_ms,
                ready_at_ms: None,
                ended_at_ms: None,
                verdict: None,
                report: None,
                begun_in_line: line,
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
    let row = |fact| open_record(unfinished, (Subject::Turn(turn), fact));
    let Some(Record::TurnOpened { session, messages, .. }) = row(0) else { return None };
    let attempt = match row(1) {
        Some(Record::TurnResumed { attempt, .. }) => attempt,
        _ => 1,
    };
    Some(TurnFacts { session, messages, attempt })
}

/// That a delivery is owed.
fn owed(unfinished: &Table<(u8, u64, u8), &[u8]>, delivery: DeliveryId) -> Option<Record> {
    open_record(unfinished, (Subject::Delivery(delivery), 0))
}

fn open_record(unfinished: &Table<(u8, u64, u8), &[u8]>, slot: Slot) -> Option<Record> {
    from_json(unfinished.get(key_of(slot)).ok().flatten()?.value()).ok()
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
        Subject::Question(id) => (6, id.0, fact),
    }
}

/// A key as a slot; `None` for one that this version does not know.
pub const fn slot_of((kind, id, fact): (u8, u64, u8)) -> Option<Slot> {
    let subject = match kind {
        0 => Subject::Generation,
        1 => Subject::Session(SessionId(id)),
        2 => Subject::Message(MessageId(id)),
        3 => Subject::Turn(TurnId(id)),
        4 => Subject::Delivery(DeliveryId(id)),
        5 => Subject::Request(RequestId(id)),
        6 => Subject::Question(QuestionId(id)),
        _ => return None,
    };
    Some((subject, fact))
}

/// A row's bytes.
pub fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types have string keys and no failing serializers")
}

/// A row's value.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| redb::Error::Corrupted(format!("a row is not what its table says: {error}")))
}

/// The row with this key.
pub fn get_json<'k, K: redb::Key + 'static, T: DeserializeOwned>(
    table: &impl ReadableTable<K, &'static [u8]>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
) -> Result<Option<T>, redb::Error> {
    table.get(key)?.map(|value| from_json(value.value())).transpose()
}
