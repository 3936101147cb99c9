//! What the hosts of one run share: the plan, the disk, the logbook, the judge, and what the supervisor can see of the
//! gateway's process. It holds state and decides nothing.

use super::agents::Roster;
use super::dice::Dice;
use super::disk::Platter;
use super::logbook::Logbook;
use super::oracle::Oracle;
use super::plan::Plan;
use super::telegram::Books;
use evergate::flight::reader::Entry;
use evergate::journal::store::Store;
use evergate_core::request::Signal;
use evergate_core::verdict::Verdict;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::mpsc;

/// The world of one run.
pub struct World {
    /// What was chosen before it began.
    pub plan: Plan,
    /// What is written down.
    pub logbook: Arc<Logbook>,
    /// Who judges.
    pub oracle: Mutex<Oracle>,
    /// The disk.
    pub platter: Arc<Mutex<Platter>>,
    /// The gateway's process.
    pub process: Mutex<Process>,
    /// From now on nothing breaks any more.
    pub healed: AtomicBool,
    /// From now on nobody asks for anything; clients look once more at all that there is, and go.
    pub quiet: AtomicBool,
    /// The operators have found the gateway at rest.
    pub rested: AtomicBool,
    /// The agents that run.
    pub roster: Mutex<Roster>,
    /// What the Bot API's server knows.
    pub books: Mutex<Books>,
    /// Chats that have more to say.
    pub speaking: AtomicUsize,
    /// How long a write may take at the longest, in milliseconds.
    pub slow_ms: AtomicU64,
    /// How long writes take.
    pub pace: Mutex<Dice>,
    /// What the gateway's generations were told and wanted, one behind the other.
    pub flights: Mutex<Vec<Entry>>,
    /// The journal as the last generation has opened it.
    pub journal: Mutex<Option<Weak<Store>>>,
}

/// The gateway's process, as its supervisor and the kernel see it.
#[derive(Default)]
pub struct Process {
    /// How many starts in a row, the one that is running or due included, follow a death.
    pub revivals: u32,
    /// How many were started.
    pub started: u64,
    /// Which of them was the last to leave in order.
    pub left: u64,
    /// Whether the last of them has come to serve.
    pub served: bool,
    /// The phase that it told last.
    pub phase: &'static str,
    /// When it ends itself, in simulated milliseconds, and with which status.
    pub guard: Option<(u64, Verdict)>,
    /// How it ended, if it has.
    pub ended: Option<u8>,
    /// Its signals.
    pub signals: Option<mpsc::Sender<Signal>>,
    /// Whether it lives.
    pub alive: super::disk::Alive,
    /// The generation in which a stop was accepted, as its requester was told.
    pub stop_accepted_in: Option<u64>,
}

impl World {
    /// The world as a plan begins it.
    #[must_use]
    pub fn new(plan: Plan) -> Arc<Self> {
        let logbook = Arc::new(Logbook::default());
        Arc::new(Self {
            oracle: Mutex::new(Oracle::new(Arc::clone(&logbook))),
            platter: Platter::new(Dice::apart(plan.seed, "disk"), plan.disk, Arc::clone(&logbook)),
            process: Mutex::default(),
            healed: AtomicBool::default(),
            quiet: AtomicBool::default(),
            rested: AtomicBool::default(),
            roster: Mutex::default(),
            books: Mutex::default(),
            speaking: AtomicUsize::new(
                plan.sessions.len() + plan.telegram.as_ref().map_or(0, |telegram| telegram.chats.len()),
            ),
            slow_ms: AtomicU64::default(),
            pace: Mutex::new(Dice::apart(plan.seed, "pace")),
            flights: Mutex::default(),
            journal: Mutex::default(),
            logbook,
            plan,
        })
    }

    /// The judge.
    pub fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk.
    pub fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agents that run.
    pub fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the gateway's generations were told and wanted.
    pub fn flights(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal, while a generation has it open.
    pub fn open_journal(&self) -> Option<Arc<Store>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.upgrade()
    }

    /// A generation has opened it.
    pub fn opens_journal(&self, journal: &Arc<Store>) {
        *self.journal.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(journal));
    }

    /// What the Bot API's server knows.
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What somebody still waits for; `None` when nobody does.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        let waiting = self.books().waiting();
        let on_telegram = || (waiting > 0).then(|| format!("telegram: {waiting} updates were not confirmed"));
        self.oracle().waits_for().or_else(on_telegram)
    }

    /// The gateway's process.
    pub fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
