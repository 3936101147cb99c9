//! Who keeps the agent's one process: starts it when a turn wants it, again after it has died (the later the more often it
//! has), and ends it in good order when no turn can come any more. It carries the turns' calls; it knows nothing of turns.

use super::errands::Answer as ErrandDone;
use super::inbox::Inbox;
use super::memory::Conversation;
use super::process::{Answer, By, Gone, News, Process, Unanswered};
use super::{ARGV, Settings, wire};
use crate::agent::group::Group;
use crate::agent::{Assignment, orphan, program};
use serde_json::Value;
use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// What may wait for the keeper; a turn that asks for more waits until it is taken.
const ASKS: usize = 256;
/// The first pause before a process is started again, doubled by each further death up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// A process that has lived so long has not died of its start.
const STABLE: Duration = Duration::from_secs(60);
/// How long an agent may take to end after its stdin was closed, and then after a SIGTERM.
const CLOSING: Duration = Duration::from_millis(1500);
const TERMINATING: Duration = Duration::from_millis(500);

/// Where the agents' children find their gateway.
#[derive(Clone, Debug)]
pub(super) struct Home {
    state_dir: PathBuf,
    control: PathBuf,
    generation: u64,
}

impl Home {
    /// As an assignment says it.
    pub(super) fn of(assignment: &Assignment) -> Self {
        Self {
            state_dir: assignment.state_dir.clone(),
            control: assignment.control.clone(),
            generation: assignment.generation,
        }
    }
}

/// What a turn asks of the keeper. `life` says of which process; another one's answers are of no use to it.
#[derive(Debug)]
enum Ask {
    Open { home: Home, conversation: Conversation, answer: oneshot::Sender<Result<Reached, Gone>> },
    Call { life: u64, method: &'static str, params: Value, answer: Answer },
    Write { life: u64, line: ErrandDone },
    Listen { life: u64, session: String, inbox: Arc<Inbox> },
    Remember { life: u64, conversation: Conversation, session: Option<String> },
    Kill { life: u64, why: String, by: By },
}

/// A process that a turn may use.
#[derive(Debug)]
pub(super) struct Reached {
    /// Which.
    life: u64,
    /// Whether it can take up sessions of an earlier one.
    pub(super) loads: bool,
    /// The agent's id of the turn's conversation, if it has that open.
    pub(super) session: Option<String>,
}

/// The way to the keeper, while there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Door(Arc<Mutex<Option<mpsc::Sender<Ask>>>>);

impl Door {
    fn set(&self, asks: Option<mpsc::Sender<Ask>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = asks;
    }

    /// The keeper, for one turn; `None` when there is none.
    pub(super) fn keeper(&self) -> Option<Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().map(Line)
    }
}

/// A turn's line to the keeper.
#[derive(Clone, Debug)]
pub(super) struct Line(mpsc::Sender<Ask>);

impl Line {
    /// Reaches a process that is ready, one that is started for this if need be.
    pub(super) async fn open(&self, home: Home, conversation: Conversation) -> Result<Reached, Gone> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Open { home, conversation, answer }).await;
        answered.await.unwrap_or_else(|_| Err(nobody()))
    }

    /// Calls the agent and waits for its answer.
    pub(super) async fn call(&self, peer: &Reached, method: &'static str, params: Value) -> Result<Value, Unanswered> {
        self.begin_call(peer, method, params).await.await.unwrap_or_else(|_| Err(Unanswered::Gone(nobody())))
    }

    /// Calls the agent, whose answer comes later.
    pub(super) async fn begin_call(
        &self,
        peer: &Reached,
        method: &'static str,
        params: Value,
    ) -> oneshot::Receiver<Result<Value, Unanswered>> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Call { life: peer.life, method, params, answer }).await;
        answered
    }

    /// Tells the agent to stop what it does in a session.
    pub(super) async fn cancel(&self, peer: &Reached, session: &str) {
        self.write(peer, wire::notification("session/cancel", &serde_json::json!({ "sessionId": session }))).await;
    }

    /// Answers a call of the agent's.
    pub(super) async fn answer(&self, peer: &Reached, id: &Value, result: &Value) {
        self.write(peer, wire::answer(id, result)).await;
    }

    /// Answers a call of the agent's that had something done.
    pub(super) async fn done(&self, peer: &Reached, done: ErrandDone) {
        self.ask(Ask::Write { life: peer.life, line: done }).await;
    }

    async fn write(&self, peer: &Reached, line: Vec<u8>) {
        self.done(peer, ErrandDone { line, room: None }).await;
    }

    /// Hears what the agent says in a session, for as long as the inbox is held.
    pub(super) async fn listen(&self, peer: &Reached, session: &str, inbox: &Arc<Inbox>) {
        self.ask(Ask::Listen { life: peer.life, session: session.to_owned(), inbox: Arc::clone(inbox) }).await;
    }

    /// Notes down which of the agent's sessions a conversation is; none, if it has to be opened anew.
    pub(super) async fn remember(&self, peer: &Reached, conversation: Conversation, session: Option<String>) {
        self.ask(Ask::Remember { life: peer.life, conversation, session }).await;
    }

    /// Ends the process. Calls that wait for it are then told so.
    pub(super) async fn kill(&self, peer: &Reached, why: String, by: By) {
        self.ask(Ask::Kill { life: peer.life, why, by }).await;
    }

    /// Nobody left to hear it is told by the missing answer.
    async fn ask(&self, ask: Ask) {
        let _nobody = self.0.send(ask).await;
    }
}

fn nobody() -> Gone {
    Gone { why: "the gateway's part that keeps the agent is gone; ask again".into(), by: By::Agent }
}

/// The keeper.
pub(super) struct Keeper {
    settings: Arc<Settings>,
    door: Door,
    asks: mpsc::Receiver<Ask>,
    process: Option<Process>,
    starting: Option<Starting>,
    /// Counts the processes.
    life: u64,
    begun: Instant,
    /// When the process has to have introduced itself.
    due: Option<Instant>,
    waiting: Vec<(Conversation, oneshot::Sender<Result<Reached, Gone>>)>,
    home: Option<Home>,
    pause: Duration,
    not_before: Option<Instant>,
}

/// The one thing to happen next.
enum Event {
    Close,
    Asked(Option<Ask>),
    Process(News),
    Start,
    Started(Result<Group, program::CannotStart>),
    Late,
}

/// A process that is being started.
type Starting = JoinHandle<Result<Group, program::CannotStart>>;

impl Keeper {
    /// A keeper without a process; from now on it can be reached through the door.
    pub(super) fn new(settings: Arc<Settings>, door: Door) -> Self {
        let (asking, asks) = mpsc::channel(ASKS);
        door.set(Some(asking));
        let now = Instant::now();
        Self {
            settings,
            door,
            asks,
            process: None,
            starting: None,
            life: 0,
            begun: now,
            due: None,
            waiting: Vec::new(),
            home: None,
            pause: Duration::ZERO,
            not_before: None,
        }
    }

    /// Keeps the process until `close` ends and no turn is left, and then ends it.
    pub(super) async fn keep(mut self, mut close: Option<oneshot::Receiver<()>>) {
        loop {
            match self.next(&mut close).await {
                Event::Close => {
                    // The lines of turns at work go on; when the last of them is dropped, no more asks can come.
                    close = None;
                    self.door.set(None);
                }
                Event::Asked(Some(ask)) => self.asked(ask),
                Event::Asked(None) => return self.end().await,
                Event::Process(news) => self.news(news).await,
                Event::Start => self.start(),
                Event::Started(started) => self.started(started),
                Event::Late => self.late(),
            }
        }
    }

    async fn next(&mut self, close: &mut Option<oneshot::Receiver<()>>) -> Event {
        let there = self.process.is_some() || self.starting.is_some();
        let start = self.not_before.filter(|_| !there && !self.waiting.is_empty());
        tokio::select! {
            biased;
            () = closed(close) => Event::Close,
            ask = self.asks.recv() => Event::Asked(ask),
            started = started(&mut self.starting) => Event::Started(started),
            () = at(start) => Event::Start,
            () = at(self.due) => Event::Late,
            news = attend(&mut self.process) => Event::Process(news),
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Open { home, conversation, answer } => {
                self.home = Some(home);
                self.waiting.push((conversation, answer));
                self.waiting.retain(|(_, answer)| !answer.is_closed());
                match &self.process {
                    Some(process) if process.introduced.is_some() => self.let_in(),
                    Some(_) => {}
                    None => self.not_before = Some(self.not_before.unwrap_or_else(Instant::now)),
                }
            }
            Ask::Call { life, method, params, answer } => match self.process_of(life) {
                Some(process) => process.call(method, &params, answer),
                // The turn may have gone away meanwhile.
                None => drop(answer.send(Err(Unanswered::Gone(nobody())))),
            },
            Ask::Write { life, line } => {
                if let Some(process) = self.process_of(life) {
                    process.answer(line);
                }
            }
            Ask::Listen { life, session, inbox } => {
                if let Some(process) = self.process_of(life) {
                    process.listen(session, &inbox);
                }
            }
            Ask::Remember { life, conversation, session } => match (self.process_of(life), session) {
                (Some(process), Some(session)) => process.remember(conversation, session),
                (Some(process), None) => process.forget(&conversation),
                (None, _) => {}
            },
            Ask::Kill { life, why, by } => {
                if let Some(process) = self.process_of(life) {
                    process.kill(&why, by);
                }
            }
        }
    }

    fn process_of(&mut self, life: u64) -> Option<&mut Process> {
        self.process.as_mut().filter(|_| self.life == life)
    }

    /// Hands the process to all who wait for it.
    fn let_in(&mut self) {
        let Some(process) = &self.process else { return };
        let loads = process.introduced.as_ref().is_some_and(|introduced| introduced.agent_capabilities.load_session);
        for (conversation, answer) in self.waiting.drain(..) {
            let session = process.session(&conversation).cloned();
            // A turn that was interrupted meanwhile needs it no longer.
            let _gone = answer.send(Ok(Reached { life: self.life, loads, session }));
        }
    }

    fn start(&mut self) {
        self.not_before = None;
        let Some(home) = self.home.clone() else { return };
        let settings = Arc::clone(&self.settings);
        self.starting = Some(Group::start_apart(move || start(&settings, &home)));
        self.due = Some(Instant::now() + self.settings.start);
    }

    fn started(&mut self, started: Result<Group, program::CannotStart>) {
        self.starting = None;
        self.due = None;
        self.not_before = None;
        match started {
            Ok(group) => {
                let process = Process::new(group, self.settings.offer);
                let pid = process.pid();
                tracing::info!(
                    pid,
                    start_time = orphan::started(pid),
                    program = self.settings.argv[0],
                    "the agent is started"
                );
                self.life += 1;
                self.begun = Instant::now();
                self.due = Some(self.begun + self.settings.start);
                self.process = Some(process);
            }
            Err(why) => self.failed(&Gone { why: why.to_string(), by: By::Agent }),
        }
    }

    async fn news(&mut self, news: News) {
        match news {
            News::Introduced => {
                self.due = None;
                self.let_in();
            }
            News::Unsuitable => self.due = None,
            News::Gone => {
                self.due = None;
                if let Some(process) = self.process.take() {
                    let gone = process.bury().await;
                    if self.begun.elapsed() >= STABLE || gone.by == By::Turn {
                        self.pause = Duration::ZERO;
                    }
                    tracing::warn!(why = gone.why, "the agent's process has ended");
                    self.failed(&gone);
                }
            }
        }
    }

    /// The process has died, or could not be started: those who wait for it are told, and the next one is started later.
    fn failed(&mut self, gone: &Gone) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
        for (_, answer) in self.waiting.drain(..) {
            // A turn that was interrupted meanwhile need not know.
            let _gone = answer.send(Err(gone.clone()));
        }
    }

    fn late(&mut self) {
        self.due = None;
        if self.starting.take().is_some() {
            let after = humantime::format_duration(self.settings.start);
            let program = &self.settings.argv[0];
            let why = format!("the agent program `{program}` was not loaded within {after}: its disk does not answer");
            self.failed(&Gone { why, by: By::Agent });
        } else if let Some(process) = &mut self.process {
            let why = format!(
                "the agent has not answered `initialize` within {}; look whether it speaks the Agent Client Protocol \
                 (agent.acp.argv), or raise agent.acp.start",
                humantime::format_duration(self.settings.start)
            );
            process.kill(&why, By::Agent);
        }
    }

    /// Ends the process: by closing its stdin, upon which it may finish what it does, then by SIGTERM, then by SIGKILL.
    async fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.close_stdin();
        if !is_gone_within(CLOSING, &mut process).await {
            process.terminate();
            if !is_gone_within(TERMINATING, &mut process).await {
                process.kill("the agent did not end when it was told to", By::Agent);
                while process.attend().await != News::Gone {}
            }
        }
        process.bury().await;
    }
}

/// Starts the agent's program.
fn start(settings: &Settings, home: &Home) -> Result<Group, program::CannotStart> {
    let folder = &settings.cwd;
    // The system would say of the program that it is not there.
    if !folder.is_dir() {
        return Err(program::CannotStart::NoFolder { folder: folder.clone(), key: "agent.acp.cwd" });
    }
    let mut command = program::command(&settings.argv, ARGV)?;
    command
        .env(orphan::AGENT, "acp")
        .env("EVERGATE_CONTROL", &home.control)
        .env("EVERGATE_STATE_DIR", &home.state_dir)
        .env("EVERGATE_GENERATION", home.generation.to_string())
        .envs(settings.env.iter().map(|(name, value)| (name, value)))
        .current_dir(folder);
    Group::start(command).map_err(|error| program::explain(&settings.argv[0], ARGV, error))
}

/// Ends with what comes of a start; never where none is under way.
async fn started(starting: &mut Option<Starting>) -> Result<Group, program::CannotStart> {
    match starting {
        Some(starting) => match starting.await {
            Ok(started) => started,
            Err(error) => Err(program::explain("the agent", ARGV, std::io::Error::other(error))),
        },
        None => pending().await,
    }
}

async fn is_gone_within(patience: Duration, process: &mut Process) -> bool {
    let gone = async { while process.attend().await != News::Gone {} };
    tokio::time::timeout(patience, gone).await.is_ok()
}

/// Ends when the keeper is to close, whoever dropped the other end; never once it has.
async fn closed(close: &mut Option<oneshot::Receiver<()>>) {
    match close {
        Some(close) => drop(close.await),
        None => pending().await,
    }
}

async fn attend(process: &mut Option<Process>) -> News {
    match process {
        Some(process) => process.attend().await,
        None => pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
