//! Brings what happens in a session to whoever listens to it right now. It keeps nothing: kept events are in the journal,
//! and a listener that falls behind reads them there.

use crate::journal::Event;
use crate::platform::Switchboard;
use crate::watched::{Watched, Watcher};
use evergate_core::gateway::Phase;
use evergate_core::generation::Breaker;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// How many live events a slow listener may be behind before it has to read the journal again.
const BACKLOG: usize = 256;

/// One thing that a listener sees.
#[derive(Clone, Debug)]
pub enum Live {
    /// An event that the journal keeps.
    Kept(Event),
    /// A piece of a running answer, as a JSON object.
    Delta(std::sync::Arc<str>),
}

/// Where generation and phase stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which generation.
    pub generation: u64,
    /// Its phase.
    pub phase: Phase,
}

/// The listeners, by session name.
pub struct Hub {
    sessions: Mutex<HashMap<String, broadcast::Sender<Live>>>,
    /// What running turns have said so far, for listeners that come late: by session, the turn and its text.
    running: Mutex<HashMap<String, (u64, String)>>,
    /// The platforms' ids of the messages that running turns answer, the last of each, by session.
    answered: Mutex<HashMap<String, String>>,
    stage: Watched<Stage>,
    tripped: AtomicBool,
    /// Platforms, which show running answers too.
    switchboard: Arc<Switchboard>,
}

impl Hub {
    /// A hub without listeners.
    #[must_use]
    pub fn new(generation: u64, switchboard: Arc<Switchboard>) -> Self {
        Self {
            switchboard,
            sessions: Mutex::default(),
            running: Mutex::default(),
            answered: Mutex::default(),
            stage: Watched::new(Stage { generation, phase: Phase::Starting }),
            tripped: AtomicBool::new(false),
        }
    }

    /// The lines to the platforms.
    pub fn switchboard(&self) -> &Switchboard {
        &self.switchboard
    }

    /// Listens to a session, from now on.
    pub fn listen(&self, session: &str) -> broadcast::Receiver<Live> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.entry(session.to_owned()).or_insert_with(|| broadcast::channel(BACKLOG).0).subscribe()
    }

    /// Where generation and phase stand.
    pub fn stage(&self) -> Stage {
        self.stage.now()
    }

    /// Listens to generation and phase from now on, and gives where they stand.
    pub fn watch_stage(&self) -> (Stage, Watcher<Stage>) {
        self.stage.watch()
    }

    /// Stops listening; a session without listeners is forgotten.
    pub fn leave(&self, session: &str, listener: &mut broadcast::Receiver<Live>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        *listener = broadcast::channel(1).1;
        if sessions.get(session).is_some_and(|listeners| listeners.receiver_count() == 0) {
            sessions.remove(session);
        }
    }

    /// Tells the listeners of a session. A session that nobody listens to any more is forgotten.
    pub fn tell(&self, session: &str, live: impl FnOnce() -> Live) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listeners) = sessions.get(session)
            && listeners.send(live()).is_err()
        {
            sessions.remove(session);
        }
    }

    /// A turn begins; it has said this much in earlier attempts.
    pub fn begin(&self, session: &str, turn: u64, said: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(session.to_owned(), (turn, said.to_owned()));
        if !said.is_empty() {
            self.tell(session, || Live::Delta(serde_json::json!({"turn": turn, "text": said}).to_string().into()));
        }
        self.switchboard.stir(session);
    }

    /// Which message the turn that is about to begin in a session answers: its platform's id.
    pub fn answers(&self, session: &str, native: String) {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(session.to_owned(), native);
    }

    /// Which message a session's running turn answers.
    #[must_use]
    pub fn answered(&self, session: &str) -> Option<String> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).get(session).cloned()
    }

    /// A turn says more.
    pub fn say(&self, session: &str, turn: u64, text: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.get_mut(session) {
            Some((said_in, said)) if *said_in == turn => said.push_str(text),
            _ => drop(running.insert(session.to_owned(), (turn, text.to_owned()))),
        }
        // Told while the text is held, so that a listener who comes now sees this piece exactly once.
        self.tell(session, || Live::Delta(serde_json::json!({"turn": turn, "text": text}).to_string().into()));
        self.switchboard.stir(session);
    }

    /// A turn says no more.
    pub fn hush(&self, session: &str) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
        self.switchboard.stir(session);
    }

    /// What a session's running turn has said so far, and which it is.
    #[must_use]
    pub fn said(&self, session: &str) -> Option<(u64, String)> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(session).cloned()
    }

    /// Listens to a session from now on; gives what its running turn has said before, too.
    pub fn listen_from_the_middle(&self, session: &str) -> (broadcast::Receiver<Live>, Option<(u64, String)>) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        (self.listen(session), running.get(session).filter(|(_, said)| !said.is_empty()).cloned())
    }

    /// The loop breaker, for whoever asks.
    pub fn breaker(&self) -> Breaker {
        if self.tripped.load(Relaxed) { Breaker::Tripped } else { Breaker::Closed }
    }

    /// How the loop breaker stands; true if it stood otherwise before.
    pub fn set_breaker(&self, breaker: Breaker) -> bool {
        let tripped = breaker == Breaker::Tripped;
        self.tripped.swap(tripped, Relaxed) != tripped
    }

    /// Tells everybody the phase.
    pub fn enter(&self, phase: Phase) {
        self.stage.set(Stage { phase, ..self.stage.now() });
    }
}
