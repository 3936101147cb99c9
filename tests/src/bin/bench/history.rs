//! The journal that `recovery` starts from: a long history, and turns that were open when the process died. It is built
//! once, through the gateway's own store and with records in the order in which a gateway writes them, and kept beside the
//! build for later runs.

use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use evergate::journal::store::{SCHEMA, Store};
use evergate::journal::{Batch, Body, Journal, JournalError, MessageBody, Owner, Write};
use evergate::native::journal_disk;
use evergate_core::effect::Place;
use evergate_core::id::{DeliveryId, GenerationId, MessageId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Standing};
use evergate_core::outbox::{Content, Fate};
use evergate_core::record::Record;
use evergate_core::turn::Conclusion;
use redb::{Database, ReadableDatabase};

/// Messages whose turns ended long ago.
pub const ANSWERED: u64 = 1_000_000;
/// Turns that were open at the end, one a session.
pub const OPEN: u64 = 10_000;
/// Sessions that talk at the same time; their history goes to disk in one commit.
const TOGETHER: u64 = 100;
/// Answered messages of one session.
const IN_EACH: u64 = ANSWERED / OPEN;

/// The memory that redb alone may use to open the journal: as much as the gateway's own store gives it. With redb's
/// default it takes twice as long, for want of nothing but memory to fill.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// The command by which `bench` starts itself to build the journal in a folder.
pub const BUILD: &str = "build-history";
/// The command by which `bench` starts itself to open a journal with redb alone.
pub const OPEN_BARE: &str = "open-bare";

/// The folder for what is kept between runs: beside the running program.
pub fn folder() -> PathBuf {
    let itself = std::env::current_exe().expect("a running program has a path");
    itself.parent().expect("a program is in a folder").join("bench-journals")
}

/// The state directory with the history in it; builds it when there is none of this schema and size.
///
/// # Panics
/// When it cannot be built.
pub fn kept() -> PathBuf {
    let kept = folder().join(format!("history-{SCHEMA}-{ANSWERED}-{OPEN}"));
    if !kept.exists() {
        eprintln!("building a journal of {ANSWERED} messages in {}; later runs use it again", kept.display());
        let fresh = kept.with_extension("new");
        let _leftover = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).expect("the folder of the build is writable");
        let itself = std::env::current_exe().expect("a running program has a path");
        let built = Command::new(itself).arg(BUILD).arg(&fresh).status().expect("the program that runs can be started");
        assert!(built.success(), "the journal could not be built: {built}");
        fs::rename(&fresh, &kept).expect("the folder of the build is writable");
    }
    kept
}

/// Builds it in this folder and dies without closing it.
pub fn build(folder: &Path) -> ExitCode {
    let begun = Instant::now();
    let built = Store::open(journal_disk(folder)).and_then(|store| {
        let mut writer = Writer::new(store, "chat-");
        writer.history()?;
        Ok(writer.store)
    });
    match built {
        Ok(store) => {
            eprintln!("built in {:.0} s", begun.elapsed().as_secs_f64());
            // Like a process that is killed: a journal that was closed in order opens faster.
            mem::forget(store);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Puts a journal into a state directory in which one conversation, of the session `prefix` and 1, has so many answers.
///
/// # Panics
/// When it cannot be written.
pub fn conversation(state_dir: &Path, prefix: &'static str, answers: u64) {
    fs::create_dir_all(state_dir).expect("the room is writable");
    let store = Store::open(journal_disk(state_dir)).expect("the room is writable");
    let mut writer = Writer::new(store, prefix);
    writer.begin();
    for _ in 0..answers {
        writer.answered_turn(SessionId(1));
    }
    writer.commit().expect("the room is writable");
    writer.store.close();
}

/// Opens a journal with redb alone, prints how many nanoseconds that took, and dies without closing it, so that the next
/// one to open it finds it as it was.
pub fn open_bare(path: &Path) -> ExitCode {
    let begun = Instant::now();
    let opened =
        Database::builder().set_cache_size(CACHE_BYTES).open(path).map_err(redb::Error::from).and_then(|database| {
            let transaction = database.begin_read()?;
            println!("{}", begun.elapsed().as_nanos());
            mem::forget(transaction);
            mem::forget(database);
            Ok(())
        });
    match opened {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// Writes the history, one large batch after the other.
struct Writer {
    store: Store,
    batch: Batch,
    turn: u64,
    /// What the names of sessions begin with.
    prefix: &'static str,
}

impl Writer {
    fn new(store: Store, prefix: &'static str) -> Self {
        Self { store, batch: Batch::default(), turn: 0, prefix }
    }

    fn begin(&mut self) {
        let generation = GenerationId(1);
        let owner = Owner::this_process(generation, 0);
        self.push(Record::GenerationBegun { generation, unproven: 0 }, Body::Owner(Box::new(owner)));
    }

    fn history(&mut self) -> Result<(), JournalError> {
        self.begin();
        for group in 0..OPEN / TOGETHER {
            for _ in 0..IN_EACH {
                for member in 1..=TOGETHER {
                    self.answered_turn(SessionId(group * TOGETHER + member));
                }
            }
            self.commit()?;
        }
        for session in 1..=OPEN {
            self.open_turn(SessionId(session));
        }
        self.commit()
    }

    /// A message that came and was answered.
    fn answered_turn(&mut self, session: SessionId) {
        let (message, turn) = self.open_turn(session);
        let delivery = DeliveryId(turn.0);
        let content = Content::Reply { turn, messages: vec![message] };
        let reply = format!("You said: {}", text(message));
        self.push(Record::DeliveryOwed { delivery, session, content }, Body::Text(reply.into()));
        let conclusion = Conclusion::Answered;
        self.push(Record::TurnEnded { turn, session, messages: vec![message], attempt: 1, conclusion }, Body::None);
        self.push(Record::DeliverySettled { delivery, fate: Fate::Sent }, Body::None);
    }

    /// A message that came and whose turn began.
    fn open_turn(&mut self, session: SessionId) -> (MessageId, TurnId) {
        self.turn += 1;
        let (message, turn) = (MessageId(self.turn), TurnId(self.turn));
        let body = MessageBody {
            session: format!("{}{}", self.prefix, session.0),
            native: Some(format!("n{}", message.0)),
            text: text(message),
            from: "local".into(),
            attachments: Vec::new(),
        };
        let accepted = Record::MessageAccepted {
            message,
            session,
            asked: Asked::Prompt,
            standing: Standing::Operator,
            request: RequestId(0),
            place: Place::Running,
        };
        self.push(accepted, Body::Message(body.into()));
        let opened = Record::TurnOpened { turn, session, messages: vec![message], conversation: 0 };
        self.push(opened, Body::None);
        (message, turn)
    }

    fn push(&mut self, record: Record, body: Body) {
        self.batch.writes.push(Write { record, body });
    }

    fn commit(&mut self) -> Result<(), JournalError> {
        self.store.commit(&mem::take(&mut self.batch)).map(drop)
    }
}

fn text(message: MessageId) -> String {
    format!("what do you think about number {}, and what follows from it?", message.0)
}
