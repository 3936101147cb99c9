//! The journal on redb holds what the core's specification of a store says, over closes and openings.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use evergate::environment::Disk;
use evergate::journal::store::Store;
use evergate::journal::{Batch, Body, Journal, MessageBody, Write};
use evergate::native::journal_disk;
use evergate::run::StartError;
use evergate_core::cut::Told;
use evergate_core::drain::Report;
use evergate_core::effect::Place;
use evergate_core::id::{DeliveryId, GenerationId, MessageId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Standing};
use evergate_core::outbox::{Content, Fate, Notice};
use evergate_core::record::{Record, Unfinished};
use evergate_core::request::{Mode, Origin, Outcome, Request, Wish};
use evergate_core::turn::Conclusion;
use evergate_core::verdict::Verdict;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

fn open(folder: &Path) -> Store {
    Store::open(journal_disk(folder)).unwrap()
}

fn message(id: u64) -> Write {
    let body = MessageBody {
        session: "main".into(),
        native: Some(format!("n{id}")),
        text: format!("text {id}"),
        from: "me".into(),
        attachments: Vec::new(),
    };
    let record = Record::MessageAccepted {
        message: MessageId(id),
        session: SessionId(1),
        asked: Asked::Prompt,
        standing: Standing::Operator,
        request: RequestId(0),
        place: Place::Queued,
    };
    Write { record, body: Body::Message(Arc::new(body)) }
}

fn plain(record: Record) -> Write {
    Write { record, body: Body::Text("said".into()) }
}

/// A life with one of everything: answered, open, owed, requested, set aside.
fn life() -> Vec<Vec<Write>> {
    let (session, turn) = (SessionId(1), TurnId(1));
    let made = Request {
        wish: Wish::Restart,
        mode: Mode::Graceful,
        origin: Origin::Session(session),
        generation: GenerationId(1),
        verdict: Verdict::ReExec,
    };
    let owed = |delivery, content| plain(Record::DeliveryOwed { delivery: DeliveryId(delivery), session, content });
    let opened = |turn, message| {
        plain(Record::TurnOpened { turn: TurnId(turn), session, messages: vec![MessageId(message)], conversation: 0 })
    };
    vec![
        vec![plain(Record::GenerationBegun { generation: GenerationId(1), unproven: 0 })],
        vec![message(1), opened(1, 1), message(2), message(3)],
        vec![
            owed(1, Content::Reply { turn, messages: vec![MessageId(1)] }),
            plain(Record::TurnEnded {
                turn,
                session,
                messages: vec![MessageId(1)],
                attempt: 1,
                conclusion: Conclusion::Answered,
            }),
            opened(2, 2),
        ],
        vec![plain(Record::DeliverySettled { delivery: DeliveryId(1), fate: Fate::Sent })],
        vec![
            plain(Record::TurnInterrupted { turn: TurnId(2) }),
            plain(Record::RequestMade { request: RequestId(4), made }),
        ],
        vec![plain(Record::TurnCutTold { turn: TurnId(2) })],
        vec![plain(Record::TurnUnsaid { turn: TurnId(2), told: Told::GoingDown })],
        vec![plain(Record::TurnResumed { turn: TurnId(2), attempt: 2, charged: 1, generation: GenerationId(1) })],
        vec![plain(Record::RequestSettled { request: RequestId(4), outcome: Outcome::Cancelled })],
        vec![
            plain(Record::SessionQuarantined { session }),
            plain(Record::SessionRenewed { session, conversation: 3 }),
            owed(2, Content::Notice(Notice::Help)),
        ],
    ]
}

#[test]
fn what_is_unfinished_is_what_the_core_says_however_often_it_is_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Unfinished::default();
    for writes in life() {
        let store = open(folder.path());
        writes.iter().for_each(|write| model.absorb(&write.record));
        store.commit(&Batch { writes, ..Batch::default() }).unwrap();
        store.close();
        assert_eq!(open(folder.path()).unfinished().unwrap(), model);
    }
}

#[test]
fn kept_events_have_one_id_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    for writes in life() {
        let store = open(folder.path());
        told.extend(store.commit(&Batch { writes, ..Batch::default() }).unwrap());
        store.close();
    }
    let names: Vec<&str> = told.iter().map(|event| event.name()).collect();
    assert_eq!(names, ["message", "turn", "message", "message", "reply", "turn", "turn", "turn", "turn", "notice"]);
    let store = open(folder.path());
    assert_eq!(store.events(SessionId(1), 0, 100).unwrap(), told);
    assert_eq!(store.events(SessionId(1), told[3].id, 2).unwrap(), told[4..6]);
    assert_eq!(store.events(SessionId(2), 0, 100).unwrap(), []);
}

#[test]
fn a_word_that_is_withdrawn_is_an_event_that_names_it() {
    let (session, turn) = (SessionId(1), TurnId(1));
    let cut = Notice::TurnCut { turn, wish: Wish::Restart };
    for (notice, fate, events) in [
        (cut, Fate::Withdrawn, vec!["notice restarting", "withdrawn restarting"]),
        (Notice::TurnBack { turn }, Fate::Withdrawn, vec!["notice back", "withdrawn back"]),
        (cut, Fate::Sent, vec!["notice restarting"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let (delivery, content) = (DeliveryId(1), Content::Notice(notice));
        let owed = plain(Record::DeliveryOwed { delivery, session, content });
        let settled = plain(Record::DeliverySettled { delivery, fate });
        store.commit(&Batch { writes: vec![owed], ..Batch::default() }).unwrap();
        store.commit(&Batch { writes: vec![settled], ..Batch::default() }).unwrap();
        let told: Vec<_> = store.events(session, 0, 100).unwrap();
        let told = told.iter().map(|event| {
            let data: serde_json::Value = serde_json::from_str(event.data()).unwrap();
            assert_eq!(data["turn"], 1);
            format!("{} {}", event.name(), data["lifecycle"].as_str().unwrap_or("nothing"))
        });
        assert_eq!(told.collect::<Vec<_>>(), events);
    }
}

#[test]
fn a_batch_after_close_is_refused_and_nothing_of_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.close();
    assert!(store.commit(&Batch { writes: vec![message(1)], ..Batch::default() }).is_err());
    assert_eq!(open(folder.path()).known_message(SessionId(1), "n1").unwrap(), None);
}

#[test]
fn behind_the_end_of_a_generation_a_close_writes_nothing_and_the_next_start_repairs_nothing() {
    /// A real disk that notes when it is read anew, as before a repair.
    struct Noting(Box<dyn Disk>, Arc<AtomicBool>);
    impl Disk for Noting {
        fn open(&self) -> std::io::Result<Option<Box<dyn redb::StorageBackend>>> {
            self.0.open()
        }
        fn create(
            &self,
            initialise: &mut dyn FnMut(Box<dyn redb::StorageBackend>) -> Result<(), redb::Error>,
        ) -> Result<(), redb::Error> {
            self.0.create(initialise)
        }
        fn read_anew(&self) -> std::io::Result<()> {
            self.1.store(true, Relaxed);
            self.0.read_anew()
        }
        fn name(&self) -> String {
            self.0.name()
        }
    }
    let ended = |verdict| {
        let (generation, report) = (GenerationId(1), Report::default());
        plain(Record::GenerationEnded { generation, verdict, report })
    };
    let end = || ended(Some(Verdict::ReExec));
    let life = |writes: Vec<Vec<Write>>, close: bool| {
        let folder = tempfile::tempdir().unwrap();
        let file = || std::fs::read(folder.path().join("journal.redb")).unwrap();
        let store = open(folder.path());
        let mut model = Unfinished::default();
        for writes in writes {
            writes.iter().for_each(|write| model.absorb(&write.record));
            store.commit(&Batch { writes, ..Batch::default() }).unwrap();
        }
        let before = file();
        if close {
            store.close();
        } else {
            // As it is found behind a process that was killed.
            let killed = tempfile::tempdir().unwrap();
            std::fs::copy(folder.path().join("journal.redb"), killed.path().join("journal.redb")).unwrap();
            drop(store);
            std::fs::copy(killed.path().join("journal.redb"), folder.path().join("journal.redb")).unwrap();
        }
        let wrote = file() != before;
        let anew = Arc::new(AtomicBool::new(false));
        let store = Store::open(Box::new(Noting(journal_disk(folder.path()), Arc::clone(&anew)))).unwrap();
        assert_eq!(store.unfinished().unwrap(), model);
        // What was sealed goes on like any other, and no page of it is taken for a free one.
        for id in 10..60 {
            store.commit(&Batch { writes: vec![message(id)], ..Batch::default() }).unwrap();
        }
        store.close();
        let file = folder.path().join("journal.redb");
        assert!(redb::Database::open(&file).unwrap().check_integrity().unwrap(), "a page is lost, or used twice");
        assert_eq!(open(folder.path()).known_message(SessionId(1), "n59").unwrap(), Some(MessageId(59)));
        (wrote, anew.load(Relaxed))
    };
    assert_eq!(life(vec![vec![message(1)], vec![end()]], true), (false, false));
    assert_eq!(life(vec![vec![message(1)], vec![end()]], false), (false, false), "killed behind its end");
    assert_eq!(life(vec![vec![end()], vec![message(1)]], true), (true, false), "its end was not the last");
    assert_eq!(life(vec![vec![end()], vec![message(1)]], false), (false, true), "killed");
    assert_eq!(life(vec![vec![message(1)], vec![ended(None)]], true), (true, false), "the end of one that is dead");
}

#[test]
fn a_disk_that_is_full_or_fails_for_now_is_not_called_a_damaged_journal() {
    /// A disk that answers every opening with this error.
    struct Broken(std::io::Error);
    impl Disk for Broken {
        fn open(&self) -> std::io::Result<Option<Box<dyn redb::StorageBackend>>> {
            Err(self.0.raw_os_error().map_or(self.0.kind().into(), std::io::Error::from_raw_os_error))
        }
        fn create(
            &self,
            _: &mut dyn FnMut(Box<dyn redb::StorageBackend>) -> Result<(), redb::Error>,
        ) -> Result<(), redb::Error> {
            unreachable!("nobody creates a journal on a disk that cannot be read")
        }
        fn name(&self) -> String {
            "journal.redb".into()
        }
    }
    let try_again = |error: std::io::Error| {
        let refused = Store::open(Box::new(Broken(error))).map(drop).unwrap_err();
        StartError::Journal(refused).try_again()
    };
    let errno = std::io::Error::from_raw_os_error;
    assert_eq!(try_again(errno(nix::errno::Errno::ENOSPC as i32)), Some(74), "room may be made");
    assert_eq!(try_again(errno(nix::errno::Errno::EIO as i32)), Some(74), "the device may come back");
    assert_eq!(try_again(errno(nix::errno::Errno::EACCES as i32)), None, "somebody has to give the right");
    assert_eq!(try_again(std::io::ErrorKind::UnexpectedEof.into()), None, "a cut file does not grow again");
}

#[test]
fn a_creation_that_was_cut_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("journal.new"), b"half a page").unwrap();
    assert_eq!(open(folder.path()).unfinished().unwrap(), Unfinished::default());
}
