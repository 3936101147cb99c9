//! The agent that is a model behind an OpenAI-compatible endpoint. It owns the way from an assignment to a request, and from
//! the stream that comes back to a reply. The conversation is the journal's: between two turns nothing is remembered here but a
//! connection, and where the reading of each conversation can begin.
//!
//! What an earlier attempt has said is handed back to the model, which is asked to go on: an answer that a restart or a broken
//! stream cut is one answer.

mod ask;
mod conversation;
mod remarks;
mod stream;

use super::printed::Reply;
use super::teller::Teller;
use super::{Agent, Assignment, End, Report, Wish, report_end};
use crate::driver::handle::Handle;
use crate::environment::{BoxFuture, Environment};
use crate::http::{Base, Body, Client, Trust};
use crate::journal::reader::Reader;
use crate::secret::Secret;
use ask::Answered;
use conversation::Marks;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Pieces of an answer that may wait for their run.
const PIECES: usize = 64;
/// How long a server may take to end an answer that is told already, for its connection to be used again.
const LAST_BYTES: Duration = Duration::from_secs(1);
/// How much of a failed answer is told, in bytes.
const PARTIAL: usize = 8 * 1024;

/// How a model is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The endpoint, without `/chat/completions`.
    pub base: Base,
    /// The model's name.
    pub model: String,
    /// Where the key is; it is read anew for each turn.
    pub key: Key,
    /// What the model is told before everything else; empty for nothing.
    pub system: String,
    /// A file with that, instead.
    pub system_file: Option<PathBuf>,
    /// The most tokens of one answer.
    pub max_tokens: u64,
    /// The tokens that everything together may have that the model is told.
    pub context_tokens: u64,
    /// To connect.
    pub connect: Duration,
    /// Until the first words of an answer.
    pub first_token: Duration,
    /// Between two pieces of an answer.
    pub silence: Duration,
    /// For a turn with all its repetitions.
    pub turn: Duration,
    /// How often a request that failed is repeated in a turn.
    pub retries: u32,
    /// The longest reply in bytes.
    pub max_reply_bytes: usize,
}

/// Where the key for an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// It wants none.
    None,
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Environment(String),
}

impl Settings {
    /// What the model is told before everything else. An error says what is missing.
    fn read_system(&self) -> Result<String, String> {
        match &self.system_file {
            None => Ok(self.system.clone()),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                format!("{} cannot be read: {error}; correct agent.openai.system_file", path.display())
            }),
        }
    }

    /// Why no turn could be answered with these settings, as far as that is seen without asking the model.
    pub(crate) fn missing(&self) -> Option<String> {
        self.key.read().err().or_else(|| self.read_system().err())
    }
}

impl Key {
    /// The key, if there is to be one. An error says what is missing.
    pub fn read(&self) -> Result<Option<Secret>, String> {
        match self {
            Key::None => Ok(None),
            Key::File(path) => Secret::from_file(path)
                .map(Some)
                .map_err(|why| format!("the model's key is missing: {why}; correct agent.openai.key_file")),
            Key::Environment(name) => Secret::from_environment(name)
                .map(Some)
                .map_err(|why| format!("the model's key is missing: {why}; correct agent.openai.key_env")),
        }
    }
}

/// A model as an agent.
pub struct OpenAiAgent {
    settings: Arc<Settings>,
    world: OnceLock<Arc<World>>,
}

/// Where it works, and what it keeps from one turn to the next.
struct World {
    environment: Arc<dyn Environment>,
    reader: Reader,
    /// The endpoint; keys are each turn's own.
    client: Client,
    marks: Arc<Marks>,
}

impl OpenAiAgent {
    /// A model that is asked so.
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), world: OnceLock::new() }
    }
}

impl Agent for OpenAiAgent {
    fn run(&self, assignment: Assignment, wish: watch::Receiver<Wish>, reports: mpsc::Sender<Report>) -> BoxFuture<()> {
        let (settings, world) = (Arc::clone(&self.settings), self.world.get().cloned());
        Box::pin(async move {
            let turn = assignment.turn;
            let Some(world) = world else {
                let why = "the model was asked before the gateway stood".to_owned();
                return report_end(&reports, turn, End::Failed { why, partial: assignment.said }).await;
            };
            let (end, rest) = answer(&settings, &world, &assignment, wish, &reports).await;
            report_end(&reports, turn, end).await;
            if let Some(rest) = rest {
                hear_out(&world, rest).await;
            }
        })
    }

    fn meet(&self, gateway: &Handle) {
        let environment = Arc::clone(&gateway.environment);
        let client = Client::new(Arc::clone(&environment), self.settings.base.clone(), Trust::system());
        let world = World { environment, reader: gateway.reader.clone(), client, marks: Arc::default() };
        // The same gateway again after a reload.
        let _known = self.world.set(Arc::new(world));
    }

    fn continues(&self) -> bool {
        true
    }
}

/// What had been said when a run failed: nobody else keeps it, so it is told with the reason.
fn with_what_was_said(why: &str, partial: &str) -> String {
    let said = partial.trim();
    if said.is_empty() {
        return why.to_owned();
    }
    let end = said.floor_char_boundary(PARTIAL);
    let more = if end < said.len() { "…" } else { "" };
    format!("{why}\n\nBy then it had said:\n\n{}{more}", &said[..end])
}

/// Hears a server out that has said all of its answer, so that the next turn need not connect anew. Nobody waits for this.
async fn hear_out(world: &World, mut rest: Body) {
    let until = world.environment.now() + LAST_BYTES;
    tokio::select! {
        biased;
        () = async { while let Ok(Some(_)) = rest.next().await {} } => {}
        () = world.environment.sleep_until(until) => {}
    }
}

/// One run: the asking, and the telling beside it; gives what the server has not said yet, too. Dropping the asking ends the request.
async fn answer(
    settings: &Settings,
    world: &World,
    assignment: &Assignment,
    mut wish: watch::Receiver<Wish>,
    reports: &mpsc::Sender<Report>,
) -> (End, Option<Body>) {
    let mut reply = Reply::new(settings.max_reply_bytes).continuing(&assignment.said);
    let mut teller = Teller::new(assignment.turn, reports.clone());
    let (say, mut heard) = mpsc::channel::<String>(PIECES);
    let mut asking = pin!(ask::ask(settings, world, assignment, say));
    let too_long = format!(
        "the model's answer is longer than {} bytes; raise agent.openai.max_reply_bytes or lower agent.openai.max_tokens",
        settings.max_reply_bytes
    );
    let failed = |why: &str, reply: Reply| {
        let partial = reply.into_text();
        End::Failed { why: with_what_was_said(why, &partial), partial }
    };
    let asked = loop {
        teller.queue(&reply);
        tokio::select! {
            biased;
            () = told_to_end(&mut wish) => return (End::Interrupted { partial: reply.into_text() }, None),
            slot = teller.slot() => if teller.tell(slot, &mut reply).is_err() {
                return (End::Interrupted { partial: reply.into_text() }, None);
            },
            Some(text) = heard.recv(), if !teller.is_behind(&reply) => reply.hear(text.as_bytes()),
            asked = asking.as_mut() => break asked,
        }
        if reply.is_too_long() {
            return (failed(&too_long, reply), None);
        }
    };
    while let Ok(text) = heard.try_recv() {
        reply.hear(text.as_bytes());
    }
    match asked {
        Ok(_) if reply.is_too_long() => (failed(&too_long, reply), None),
        Ok(Answered { remarks, rest }) => (End::Answered { reply: remarks.behind(reply.into_text()) }, rest),
        Err(why) => (failed(&why, reply), None),
    }
}

/// Ends when the driver wishes the run to end; never when nobody is left to wish anything.
async fn told_to_end(wish: &mut watch::Receiver<Wish>) {
    if wish.wait_for(|wish| *wish != Wish::Run).await.is_err() {
        std::future::pending::<()>().await;
    }
}
