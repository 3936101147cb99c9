//! Records as the journal keeps them: a line of JSON each. What is a record comes back as it was, the store keeps of any
//! list of records what the core says, and no list keeps a gateway from beginning. What is none is refused.

use crate::memory::Memory;
use evergate::journal::store::Store;
use evergate::journal::{Batch, Body, Journal, Write};
use evergate_core::effect::Effect;
use evergate_core::gateway::Gateway;
use evergate_core::input::Input;
use evergate_core::limits::Limits;
use evergate_core::record::{Record, Unfinished};
use evergate_core::recovery::Recovered;
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::time::Instant;
use redb::{Database, TableDefinition};

/// The table of unfinished business: the version of the file that is out there, not what the code says today.
const UNFINISHED: TableDefinition<(u8, u64, u8), &[u8]> = TableDefinition::new("unfinished");

/// Reads the lines as records and lives on with those that are.
pub fn records(data: &[u8]) {
    let mut records = Vec::new();
    let mut others = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        match serde_json::from_slice::<Record>(line) {
            Err(_) => others.push(line),
            Ok(record) => {
                let written = serde_json::to_vec(&record).expect("a record can be written");
                let again: Record = serde_json::from_slice(&written).expect("what was written can be read");
                assert_eq!(again, record);
                records.push(record);
            }
        }
    }
    if !records.is_empty() {
        kept_as_the_core_says(&records);
        boots(&records);
    }
    for other in others.into_iter().filter(|other| !other.is_empty()).take(1) {
        a_row_that_is_no_record_is_refused(other);
    }
}

fn kept_as_the_core_says(records: &[Record]) {
    let disk = Memory::with_an_empty_journal();
    let store = Store::open(disk.handle()).expect("the empty journal can be opened");
    let write = |record: &Record| Write { record: record.clone(), body: Body::Text("text".into()) };
    let batch = Batch { writes: records.iter().map(write).collect(), ..Batch::default() };
    store.commit(&batch).expect("the disk has room");
    store.close();
    let mut model = Unfinished::default();
    records.iter().for_each(|record| model.absorb(record));
    let found = Store::open(disk.handle()).and_then(|store| store.unfinished());
    assert_eq!(found.expect("what was closed can be opened"), model);
}

/// A gateway begins with whatever a journal says, lives a little, and ends.
fn boots(records: &[Record]) {
    let mut unfinished = Unfinished::default();
    let mut replayed = Recovered::default();
    for record in records {
        unfinished.absorb(record);
        replayed.apply(record);
    }
    for recovered in [Recovered::from_unfinished(&unfinished), replayed] {
        let turns: Vec<_> = recovered.turns.keys().copied().collect();
        let now = Instant::from_millis(1);
        let mut gateway = Gateway::boot(Limits::default(), Contract::of(Supervisor::Nobody), recovered, now);
        let mut tell = |input: Option<Input>, at| {
            if let Some(input) = input {
                gateway.handle(at, input);
            }
            for _ in 0..100 {
                let effects = std::iter::from_fn(|| gateway.poll());
                let records = effects.filter(|effect| matches!(effect, Effect::Append { .. })).count();
                if records == 0 {
                    break;
                }
                gateway.handle(at, Input::Synced { records: records as u32 });
            }
        };
        tell(None, now);
        tell(Some(Input::PlatformsOpen), now);
        for turn in turns {
            tell(Some(Input::TurnGone { turn }), now);
        }
        for millis in [1_000, 10_000, 100_000, 1_000_000] {
            tell(Some(Input::Elapsed), Instant::from_millis(millis));
        }
    }
}

/// The row is put beside the store, as a program that we do not know might.
fn a_row_that_is_no_record_is_refused(value: &[u8]) {
    let disk = Memory::with_an_empty_journal();
    let database = Database::builder().create_with_backend(disk.clone()).expect("a closed file can be opened");
    let transaction = database.begin_write().expect("nobody else writes");
    transaction
        .open_table(UNFINISHED)
        .and_then(|mut table| table.insert((3, 1, 0), value).map(drop).map_err(Into::into))
        .expect("the table takes bytes");
    transaction.commit().expect("the disk has room");
    drop(database);
    let store = Store::open(disk.handle()).expect("only one row is wrong");
    let refused = store.unfinished().expect_err("a row that is no record was read as one");
    assert!(refused.to_string().contains("journal"), "{refused}");
}
