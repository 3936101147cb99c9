//! The agent that speaks the Agent Client Protocol (version 1, JSON-RPC over stdio): one child process that lives on between
//! turns and serves all sessions. A turn (`acp/turn.rs`) opens its session in it, prompts and streams; a keeper
//! (`acp/keeper.rs`) owns the process and starts it again after a death. Files and commands are the agent's own business, unless
//! it is offered to have the gateway see to them (`acp/offer.rs`); then a turn does so (`acp/errands.rs`).

use super::{Agent, Assignment, BoxFuture, End, Report, Wish, report_end, report_files};
use crate::driver::handle::Handle;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

mod errand;
mod errands;
mod folder;
mod handout;
mod inbox;
mod keeper;
mod lines;
pub mod memory;
mod offer;
mod opening;
mod process;
mod question;
mod replay;
mod screen;
mod terminal;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod transcript;
mod turn;
mod wire;

pub use offer::{FileAccess, Offer, Terminals};

use errands::Room;
use keeper::{Door, Keeper};
use memory::{Durable, Forgetful, Memory};
use question::Questions;
use turn::Turn;

/// The setting that names the program.
const ARGV: &str = "agent.acp.argv";

/// How the agent is started and what it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The program and its arguments; no shell is involved.
    pub argv: Vec<String>,
    /// The folder it is started in and its sessions work in, absolute.
    pub cwd: PathBuf,
    /// Variables of its environment, beside the gateway's own.
    pub env: Vec<(String, String)>,
    /// How long it may take to introduce itself, and to open a session.
    pub start: Duration,
    /// A turn in which it says and does nothing for this long has failed; zero: never.
    pub silence: Duration,
    /// The longest reply.
    pub max_reply_bytes: usize,
    /// The largest file in bytes that it may hand out.
    pub max_file_bytes: u64,
    /// What it is answered when it asks before it does something.
    pub permission: Permission,
    /// What it may have the gateway do for it.
    pub offer: Offer,
}

/// What an agent is answered that asks before it does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// No.
    Deny,
    /// Yes, for this once.
    Allow,
    /// What somebody in its chat says.
    Ask,
}

/// An agent that speaks the Agent Client Protocol.
pub struct AcpAgent {
    settings: Arc<Settings>,
    memory: Mutex<Arc<dyn Memory>>,
    /// Where it may ask; nobody before it has met its gateway.
    gateway: Mutex<Option<Handle>>,
    door: Door,
    /// What its turns' errands share.
    room: Room,
}

impl AcpAgent {
    /// One that has no process yet, and no memory beyond this process before it [meets](Agent::meet) its gateway.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            memory: Mutex::new(Arc::<Forgetful>::default()),
            gateway: Mutex::default(),
            door: Door::default(),
            room: Room::default(),
        }
    }

    fn remembers_by(&self, memory: Arc<dyn Memory>) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = memory;
    }
}

impl Agent for AcpAgent {
    fn run(&self, assignment: Assignment, wish: watch::Receiver<Wish>, reports: mpsc::Sender<Report>) -> BoxFuture<()> {
        // Asked for now, not when the run is polled: from here on the keeper waits for this turn.
        let line = self.door.keeper();
        let memory = Arc::clone(&self.memory.lock().unwrap_or_else(PoisonError::into_inner));
        let gateway = self.gateway.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let questions = Questions::new(gateway, assignment.turn);
        let (settings, room) = (Arc::clone(&self.settings), self.room.clone());
        Box::pin(async move {
            let turn = assignment.turn;
            let mut playing = Turn::new(settings, memory, line, assignment, questions, reports.clone(), room);
            let mut end = playing.play(wish).await;
            if let End::Answered { reply } = &mut end {
                report_files(&reports, turn, playing.handed().await, reply).await;
            }
            report_end(&reports, turn, end).await;
            playing.clear().await;
        })
    }

    fn meet(&self, gateway: &Handle) {
        self.remembers_by(Arc::new(Durable::new(gateway.clone())));
        *self.gateway.lock().unwrap_or_else(PoisonError::into_inner) = Some(gateway.clone());
    }

    fn continues(&self) -> bool {
        true
    }

    fn tend(&self, close: oneshot::Receiver<()>) -> Option<BoxFuture<()>> {
        let keeper = Keeper::new(Arc::clone(&self.settings), self.door.clone());
        Some(Box::pin(keeper.keep(Some(close))))
    }
}
