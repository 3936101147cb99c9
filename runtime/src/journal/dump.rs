//! The journal as JSON lines for people, page by page, so that a running gateway can print its own without holding it all.

use super::JournalError;
use super::rows::{EVENTS, GENERATIONS, LOG, MESSAGES, REQUESTS, SESSIONS};
use super::store::Store;
use redb::{ReadTransaction, TableDefinition};
use std::fmt::Write as _;

/// Where a dump goes on: the table, and the last key that was printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    table: usize,
    after: (u64, u64),
}

impl Cursor {
    /// In the history, behind this line.
    #[must_use]
    pub const fn in_history(line: u64) -> Self {
        Self { table: JSON_TABLES.len(), after: (line, 0) }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.table, self.after.0, self.after.1)
    }
}

impl std::str::FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.').map(str::parse::<u64>);
        let mut next = || parts.next().and_then(Result::ok).ok_or(());
        let (table, first, second) = (next()?, next()?, next()?);
        Ok(Self { table: usize::try_from(table).map_err(|_| ())?, after: (first, second) })
    }
}

/// Behind the sessions and before the events; the history comes last.
const JSON_TABLES: [(&str, TableDefinition<u64, &[u8]>); 4] =
    [("generation", GENERATIONS), ("request", REQUESTS), ("message", MESSAGES), ("log", LOG)];

/// Up to `limit` lines from `cursor` on, and where to go on; `None` after the last.
pub fn dump(store: &Store, cursor: Cursor, limit: usize) -> Result<(String, Option<Cursor>), JournalError> {
    store.read(|transaction| {
        let mut text = String::new();
        let mut last = cursor;
        let lines = page(transaction, cursor, limit, &mut text, &mut last)?;
        let next = match (lines == limit, last.table < JSON_TABLES.len() + 1) {
            (true, _) => Some(last),
            (false, true) => Some(Cursor { table: last.table + 1, after: (0, 0) }),
            (false, false) => None,
        };
        Ok((text, next))
    })
}

fn page(
    transaction: &ReadTransaction,
    cursor: Cursor,
    limit: usize,
    text: &mut String,
    last: &mut Cursor,
) -> Result<usize, redb::Error> {
    let mut lines = 0;
    // Ids begin at 1, so "after 0" is the whole table.
    let from = cursor.after.0.saturating_add(1);
    match cursor.table {
        0 => {
            for row in transaction.open_table(SESSIONS)?.range(from..)?.take(limit) {
                let (id, name) = row?;
                line(
                    text,
                    "session",
                    &format!("{{\"session\":{},\"name\":{}}}", id.value(), serde_json::json!(name.value())),
                    id.value(),
                );
                last.after.0 = id.value();
                lines += 1;
            }
        }
        table if table <= JSON_TABLES.len() => {
            let (name, definition) = JSON_TABLES[table - 1];
            for row in transaction.open_table(definition)?.range(from..)?.take(limit) {
                let (id, value) = row?;
                line(text, name, &String::from_utf8_lossy(value.value()), id.value());
                last.after.0 = id.value();
                lines += 1;
            }
        }
        _ => {
            let (session, event) = cursor.after;
            for row in transaction.open_table(EVENTS)?.range((session, event.saturating_add(1))..)?.take(limit) {
                let (key, value) = row?;
                let (session, id) = key.value();
                let (name, data) = value.value().split_once('\n').unwrap_or((value.value(), "null"));
                let value = format!("{{\"session\":{session},\"name\":\"{name}\",\"data\":{data}}}");
                line(text, "event", &value, id);
                last.after = (session, id);
                lines += 1;
            }
        }
    }
    Ok(lines)
}

fn line(text: &mut String, kind: &str, value: &str, id: u64) {
    writeln!(text, "{{\"kind\":\"{kind}\",\"id\":{id},\"value\":{value}}}").expect("a String takes any text");
}
