//! The journal on redb when the power goes at any moment, or the file loses its tail: random lives of the core are written
//! through the real store, the disk is cut, and what is found afterwards is compared with what was synced.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod disk;
#[path = "../../../core/tests/world/mod.rs"]
mod world;

use disk::Sectors;
use evergate::journal::store::Store;
use evergate::journal::{Batch, Body, Cursor, Journal, MessageBody, Write};
use evergate_core::record::{Record, Unfinished};
use evergate_core::supervisor::Supervisor;
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::Arc;
use world::World;

fn life(choices: &[u8]) -> World {
    World::new(Supervisor::Evergate).live(choices)
}

/// The batches of a life, as a driver writes them.
fn batches(world: &World) -> Vec<Batch> {
    let starts = &world.journal.batches;
    let ends = starts.iter().copied().skip(1).chain([world.journal.history.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| Batch {
            writes: world.journal.history[*start..end].iter().map(write).collect(),
            ..Batch::default()
        })
        .collect()
}

fn write(record: &Record) -> Write {
    let body = match record {
        Record::MessageAccepted { message, session, .. } => Body::Message(Arc::new(MessageBody {
            session: format!("chat-{}", session.0),
            native: Some(format!("native-{}", message.0)),
            text: "a text that is longer than nothing ".repeat(3),
            from: "somebody".into(),
            attachments: Vec::new(),
        })),
        Record::DeliveryOwed { .. } => Body::Text("an answer".into()),
        _ => Body::None,
    };
    Write { record: record.clone(), body }
}

/// What a store holds after these batches.
fn model(batches: &[Batch]) -> Unfinished {
    let mut model = Unfinished::default();
    for write in batches.iter().flat_map(|batch| &batch.writes) {
        model.absorb(&write.record);
    }
    model
}

/// Writes batches until one fails; says how many were acknowledged.
fn write_all(disk: &Sectors, batches: &[Batch]) -> usize {
    let Ok(store) = Store::open(disk.handle()) else { return 0 };
    batches.iter().take_while(|batch| store.commit(batch).is_ok()).count()
}

/// The records in the full history, as they were written.
fn history(store: &Store) -> Vec<Record> {
    let (mut cursor, mut records) = (Cursor::default(), Vec::new());
    loop {
        let (text, next) = store.dump(cursor, 1_000).unwrap();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line["kind"] == "log" {
                records.push(serde_json::from_value(line["value"]["record"].clone()).unwrap());
            }
        }
        match next {
            Some(next) => cursor = next,
            None => return records,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_power_cut_every_synced_record_is_there_and_the_gateway_comes_to_rest(
        choices in proptest::collection::vec(any::<u8>(), 0..80),
        calls in prop_oneof![0..60usize, 0..3_000usize], again in proptest::collection::vec(0..12usize, 0..3), seed: u64,
    ) {
        let world = life(&choices);
        let batches = batches(&world);
        let disk = Sectors::new(seed);
        disk.power_goes_after(calls);
        let synced = write_all(&disk, &batches);
        disk.power_comes_back();
        // The power may go again while the file is being repaired.
        for calls in again {
            disk.power_goes_after(calls);
            drop(Store::open(disk.handle()));
            disk.power_comes_back();
        }
        let store = Store::open(disk.handle()).unwrap();
        let records = history(&store);
        // The batch that was being written is there as a whole or not at all; nobody was promised anything about it.
        let sizes = batches.iter().map(|batch| batch.writes.len());
        let size = |batches: usize| sizes.clone().take(batches).sum::<usize>();
        prop_assert!([size(synced), size(synced + 1)].contains(&records.len()), "{} records, {synced} batches", records.len());
        prop_assert_eq!(&records[..], &world.journal.history[..records.len()]);
        let found = if records.len() == size(synced) { synced } else { synced + 1 };
        prop_assert_eq!(store.unfinished().unwrap(), model(&batches[..found]));
        for record in &records {
            if let Record::MessageAccepted { message, session, .. } = record {
                let native = format!("native-{}", message.0);
                prop_assert_eq!(store.known_message(*session, &native).unwrap(), Some(*message));
            }
        }
        // A store that was repaired goes on where it stopped.
        for batch in &batches[found..] {
            store.commit(batch).unwrap();
        }
        prop_assert_eq!(store.unfinished().unwrap(), model(&batches));
        world.cut_back(records.len()).heal();
    }

    #[test]
    fn a_file_that_lost_its_tail_or_has_bad_sectors_is_refused_with_a_sentence_or_is_whole_up_to_a_batch(
        choices in proptest::collection::vec(any::<u8>(), 0..40), cut: Index, scrambled in proptest::collection::vec(any::<Index>(), 0..4),
        closed: bool,
    ) {
        let world = life(&choices);
        let batches = batches(&world);
        let disk = Sectors::new(0);
        let store = Store::open(disk.handle()).unwrap();
        for batch in &batches {
            store.commit(batch).unwrap();
        }
        if closed {
            store.close();
        } else {
            disk.power_goes_after(0);
        }
        drop(store);
        disk.power_comes_back();
        disk.damage(|bytes| {
            for sector in &scrambled {
                let at = sector.index(bytes.len() / 512) * 512;
                bytes[at..at + 512].iter_mut().enumerate().for_each(|(index, byte)| *byte ^= index as u8 | 1);
            }
            if scrambled.is_empty() {
                bytes.truncate(cut.index(bytes.len()));
            }
        });
        match Store::open(disk.handle()).and_then(|store| store.unfinished()) {
            Err(error) => prop_assert!(error.to_string().contains("journal"), "{error}"),
            Ok(found) => {
                let states = (0..=batches.len()).map(|count| model(&batches[..count]));
                prop_assert!(states.into_iter().any(|state| state == found), "neither refused nor whole: {found:#?}");
            }
        }
    }
}
