//! The journal's file, damaged. Either it is refused with a sentence, or it is a store that can be read to its end and
//! written to. An input that begins with an even byte is the file itself; otherwise four bytes each are one damage to a file
//! that a gateway left behind: where (three bytes), and the bits that are turned (0 cuts the file there).

use crate::memory::Memory;
use evergate::journal::store::{Store, panics_are_answered};
use evergate::journal::{Batch, Body, Cursor, Journal, JournalError, MessageBody, Write};
use evergate_core::effect::Place;
use evergate_core::id::{DeliveryId, GenerationId, MessageId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Standing};
use evergate_core::outbox::Content;
use evergate_core::record::{Record, Unfinished};
use evergate_core::recovery::Recovered;
use evergate_core::turn::Conclusion;
use std::sync::{Arc, Once, OnceLock};

/// Opens the file that the bytes describe.
pub fn journal_bytes(data: &[u8]) {
    leave_answered_panics_alone();
    let Some((kind, rest)) = data.split_first() else { return };
    let file = if kind % 2 == 0 { rest.to_vec() } else { damaged(rest) };
    let whole = kind % 2 == 1 && rest.len() < 4;
    match read_all(&Memory::holding(file)) {
        Ok(unfinished) => assert!(!whole || unfinished == left_behind().1, "an undamaged file holds something else"),
        Err(error) => {
            assert!(!whole, "an undamaged file is refused: {error}");
            assert!(error.to_string().contains("journal"), "{error} says nothing");
        }
    }
}

/// Reads everything that a gateway reads, writes one more batch, and finds it again.
fn read_all(disk: &Memory) -> Result<Unfinished, JournalError> {
    let store = Store::open(disk.handle())?;
    let unfinished = store.unfinished()?;
    let _booted = Recovered::from_unfinished(&unfinished);
    let mut cursor = Cursor::default();
    while let (_, Some(next)) = store.dump(cursor, 100)? {
        assert_ne!(next, cursor, "the dump does not go on");
        cursor = next;
    }
    store.generations(10)?;
    for (session, name, _) in store.sessions(SessionId(0), 10)? {
        store.events(session, 0, 100)?;
        store.session(&name)?;
        store.known_message(session, "native-1")?;
    }
    store.message(MessageId(1))?;
    store.request(RequestId(1))?;
    let record = Record::SessionQuarantined { session: SessionId(7) };
    store.commit(&Batch { writes: vec![write(record.clone())], ..Batch::default() })?;
    store.close();
    let mut wanted = unfinished.clone();
    wanted.absorb(&record);
    let found = Store::open(disk.handle())?.unfinished()?;
    assert_eq!(found, wanted, "what was committed is not what is found");
    Ok(unfinished)
}

fn damaged(edits: &[u8]) -> Vec<u8> {
    let mut file = left_behind().0.clone();
    for edit in edits.chunks_exact(4) {
        let [high, middle, low, bits] = [edit[0], edit[1], edit[2], edit[3]].map(usize::from);
        let at = (high << 16 | middle << 8 | low) % file.len().max(1);
        match (bits, file.get_mut(at)) {
            (0, _) => file.truncate(at),
            (bits, Some(byte)) => *byte ^= bits as u8,
            (_, None) => {}
        }
    }
    file
}

/// The file of a gateway that died after a little life, and what it has left unfinished.
fn left_behind() -> &'static (Vec<u8>, Unfinished) {
    static FILE: OnceLock<(Vec<u8>, Unfinished)> = OnceLock::new();
    FILE.get_or_init(|| {
        let disk = Memory::default();
        let store = Store::open(disk.handle()).expect("an empty journal can be made");
        let mut unfinished = Unfinished::default();
        for records in batches() {
            records.iter().for_each(|record| unfinished.absorb(record));
            let writes = records.into_iter().map(write).collect();
            store.commit(&Batch { writes, ..Batch::default() }).expect("the disk has room");
        }
        // Read before the store is closed: that is what a death leaves.
        (disk.file(), unfinished)
    })
}

fn batches() -> Vec<Vec<Record>> {
    let session = SessionId(1);
    let mut batches = vec![vec![Record::GenerationBegun { generation: GenerationId(1), unproven: 0 }]];
    for id in 1..=12 {
        let (turn, messages) = (TurnId(id), vec![MessageId(id)]);
        batches.push(vec![
            Record::MessageAccepted {
                message: MessageId(id),
                session,
                asked: Asked::Prompt,
                standing: Standing::Operator,
                request: RequestId(id),
                place: Place::Running,
            },
            Record::TurnOpened { turn, session, messages: messages.clone(), conversation: 0 },
        ]);
        if id < 10 {
            let content = Content::Reply { turn, messages: messages.clone() };
            batches.push(vec![
                Record::DeliveryOwed { delivery: DeliveryId(id), session, content },
                Record::TurnEnded { turn, session, messages, attempt: 1, conclusion: Conclusion::Answered },
            ]);
        }
    }
    batches
}

fn write(record: Record) -> Write {
    let body = match &record {
        Record::MessageAccepted { message, .. } => Body::Message(Arc::new(MessageBody {
            session: "main".into(),
            native: Some(format!("native-{}", message.0)),
            text: "what was said".repeat(20),
            from: "somebody".into(),
            attachments: Vec::new(),
        })),
        _ => Body::Text("what was answered".into()),
    };
    Write { record, body }
}

/// libFuzzer ends the process at any panic; one that the store turns into a sentence is none.
fn leave_answered_panics_alone() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panics_are_answered() {
                before(panic);
            }
        }));
    });
}
