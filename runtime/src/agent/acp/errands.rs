//! The errands of one turn: what the agent has the gateway do for it there. What waits for a disk is done in order, on
//! threads of its own; commands run beside it. All of it belongs to the turn and to one life of the agent's process: it ends
//! before the turn does, and dropping it kills what runs.

use super::errand::{Errand, Operation, Order, Refusal, done, line};
use super::folder::Folder;
use super::terminal::{News, Terminal, Told};
use crate::agent::{Assignment, orphan};
use crate::environment::BoxFuture;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Commands that one turn may have at a time, and all turns together.
const TERMINALS: usize = 16;
const TERMINALS_IN_ALL: usize = 64;
/// Files that are read at a time for all turns: what was read and the agent has not taken waits in memory.
const FILES_IN_ALL: usize = 4;
/// What may wait in one turn for the disk: errands, and what they carry in bytes.
const WAITING: usize = 64;
const WAITING_BYTES: usize = 16 << 20;

/// The room that all turns of an agent share.
#[derive(Clone, Debug)]
pub(super) struct Room {
    terminals: Arc<Semaphore>,
    files: Arc<Semaphore>,
}

/// The errands of a turn.
pub(super) struct Errands {
    turn: u64,
    generation: u64,
    control: PathBuf,
    places: Places,
    variables: Arc<Vec<(String, String)>>,
    room: Room,
    queue: VecDeque<(usize, BoxFuture<Finished>)>,
    terminals: Vec<Terminal>,
    /// Commands that are being started.
    starting: usize,
    /// Counts them.
    started: u64,
    standing: Standing,
}

/// Where files are read and written.
#[derive(Clone, Debug)]
struct Places {
    cwd: PathBuf,
    /// Closed to the agent, although its folder may hold it: who reads what is there may do everything.
    state_dir: PathBuf,
    /// Except for what came with the turn's messages.
    attachments: Arc<[PathBuf]>,
}

/// Whether commands may still be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    /// The turn was told to stop, or has ended.
    Closed,
}

/// An answer to a call of the agent's.
#[derive(Debug)]
pub(super) struct Answer {
    /// It, as a line.
    pub(super) line: Vec<u8>,
    /// What it takes up until the agent has it.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// What has waited for the disk.
enum Finished {
    Answered(Answer),
    Started(Value, Result<Box<Terminal>, Refusal>),
}

/// What happens next.
enum Event {
    Finished(Finished),
    Terminal(usize, News),
}

impl Default for Room {
    fn default() -> Self {
        let of = |most| Arc::new(Semaphore::new(most));
        Self { terminals: of(TERMINALS_IN_ALL), files: of(FILES_IN_ALL) }
    }
}

impl Errands {
    /// None yet, for a turn in this folder. `own` are the agent's own variables.
    pub(super) fn new(assignment: &Assignment, cwd: PathBuf, own: &[(String, String)], room: Room) -> Self {
        let attachments = assignment.attachments.iter().map(|file| file.path.clone()).collect();
        let places = Places { cwd, state_dir: assignment.state_dir.clone(), attachments };
        let variables = Arc::new([own, variables(assignment).as_slice()].concat());
        Self {
            turn: assignment.turn,
            generation: assignment.generation,
            control: assignment.control.clone(),
            places,
            variables,
            room,
            queue: VecDeque::new(),
            terminals: Vec::new(),
            starting: 0,
            started: 0,
            standing: Standing::Open,
        }
    }

    /// Takes one on; gives its answer if that is known at once.
    pub(super) fn take(&mut self, id: Value, errand: Errand) -> Option<Answer> {
        let result = match errand {
            Errand::Create(order) => self.create(&id, order),
            Errand::At(terminal, operation) => self.operate(&id, &terminal, operation),
            errand => self.touch(&id, errand),
        };
        result.map(|result| Answer { line: line(&id, result), room: None })
    }

    /// Reads or writes a file.
    fn touch(&mut self, id: &Value, errand: Errand) -> Option<Result<Value, Refusal>> {
        let size = errand.size();
        if !self.has_room_for(size) {
            return Some(Err(busy()));
        }
        let (id, places, turn, files) = (id.clone(), self.places.clone(), self.turn, Arc::clone(&self.room.files));
        let work = async move {
            let room = files.acquire_owned().await.ok();
            let call = id.clone();
            let line = apart(move || line(&call, touched(&places, turn, &errand))).await;
            Finished::Answered(Answer { line: line.unwrap_or_else(|broken| broken.line(&id)), room })
        };
        self.queue.push_back((size, Box::pin(work)));
        None
    }

    /// Starts a command.
    fn create(&mut self, id: &Value, order: Order) -> Option<Result<Value, Refusal>> {
        if self.standing == Standing::Closed {
            return Some(Err(Refusal::too_late("the turn was told to stop; no command is begun in it")));
        }
        if !self.has_room_for(0) {
            return Some(Err(busy()));
        }
        if self.terminals.len() + self.starting >= TERMINALS {
            let why = format!("this turn has {TERMINALS} terminals already; release one of them (terminal/release)");
            return Some(Err(Refusal::failed(why)));
        }
        let Ok(room) = Arc::clone(&self.room.terminals).try_acquire_owned() else {
            let why =
                format!("the agent has {TERMINALS_IN_ALL} terminals already, in all its turns; release one of them");
            return Some(Err(Refusal::failed(why)));
        };
        self.starting += 1;
        self.started += 1;
        let name = format!("terminal-{}-{}", self.turn, self.started);
        let (id, cwd, variables, turn) = (id.clone(), self.places.cwd.clone(), Arc::clone(&self.variables), self.turn);
        let work = async move {
            let started = apart(move || {
                let terminal = Terminal::start(name, &order, &Folder::open(&cwd)?, &variables, room)?;
                tracing::info!(turn, pid = terminal.pid(), command = order.command, "the agent runs a command");
                Ok(Box::new(terminal))
            });
            Finished::Started(id, started.await.and_then(|started| started))
        };
        self.queue.push_back((0, Box::pin(work)));
        None
    }

    fn operate(&mut self, id: &Value, name: &str, operation: Operation) -> Option<Result<Value, Refusal>> {
        let is_meant = |terminal: &Terminal| terminal.id == name && !terminal.is_released;
        let Some(place) = self.terminals.iter().position(is_meant) else {
            let name = super::wire::excerpt(name, 100);
            return Some(Err(Refusal::not_found(format!("this turn has no terminal `{name}`"))));
        };
        let terminal = &mut self.terminals[place];
        match operation {
            Operation::Output => Some(Ok(terminal.output())),
            Operation::Wait => terminal.wait(id, Told::Exit),
            Operation::Kill => {
                terminal.terminate();
                terminal.wait(id, Told::Done)
            }
            Operation::Release => {
                terminal.kill();
                terminal.is_released = true;
                let told = terminal.wait(id, Told::Done);
                if terminal.has_ended() {
                    self.terminals.remove(place);
                }
                // However many wait for it: it is released.
                told.map(|_| Ok(done()))
            }
        }
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        let waiting: usize = self.queue.iter().map(|(size, _)| size).sum();
        self.queue.len() < WAITING && waiting + bytes <= WAITING_BYTES
    }

    /// Commands are asked to end, and none is begun any more.
    pub(super) fn interrupt(&mut self) {
        self.standing = Standing::Closed;
        self.terminals.iter_mut().for_each(Terminal::terminate);
    }

    /// Commands are ended, and none is begun any more.
    pub(super) fn kill(&mut self) {
        self.standing = Standing::Closed;
        self.terminals.iter().for_each(Terminal::kill);
    }

    /// The answers that come next; none where a command has only printed something. Waits for ever while there is nothing
    /// to do. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Vec<Answer> {
        match self.event().await {
            Event::Finished(Finished::Answered(answer)) => vec![answer],
            Event::Finished(Finished::Started(id, started)) => {
                self.starting -= 1;
                vec![Answer { line: line(&id, started.map(|terminal| self.add(*terminal))), room: None }]
            }
            Event::Terminal(_, News::Printed) => Vec::new(),
            Event::Terminal(place, News::Ended) => {
                let told = self.terminals[place].told().into_iter();
                if self.terminals[place].is_released {
                    self.terminals.remove(place);
                }
                told.map(|(id, value)| Answer { line: line(&id, Ok(value)), room: None }).collect()
            }
        }
    }

    async fn event(&mut self) -> Event {
        let Self { queue, terminals, .. } = self;
        let finished = {
            let mut first = pin!(finish(queue.front_mut()));
            let mut attending: Vec<_> = terminals.iter_mut().map(|terminal| Box::pin(terminal.attend())).collect();
            poll_fn(move |context| {
                if let Poll::Ready(finished) = first.as_mut().poll(context) {
                    return Poll::Ready(Event::Finished(finished));
                }
                for (place, terminal) in attending.iter_mut().enumerate() {
                    if let Poll::Ready(news) = terminal.as_mut().poll(context) {
                        return Poll::Ready(Event::Terminal(place, news));
                    }
                }
                Poll::Pending
            })
            .await
        };
        if matches!(finished, Event::Finished(_)) {
            queue.pop_front();
        }
        finished
    }

    /// A command has been started. If the turn was told to stop meanwhile, so is it.
    fn add(&mut self, mut terminal: Terminal) -> Value {
        if self.standing == Standing::Closed {
            terminal.terminate();
        }
        let told = json!({"terminalId": terminal.id});
        self.terminals.push(terminal);
        told
    }

    /// Ends what the commands have put into process groups of their own.
    async fn end_what_is_left(&mut self) {
        if self.started == 0 {
            return;
        }
        let (control, generation, turn) = (self.control.clone(), self.generation, self.turn);
        let reaped = apart(move || orphan::end_turn(&control, generation, turn)).await.unwrap_or_default();
        for orphan in reaped.left {
            tracing::error!(turn, pid = orphan.pid, "a process of an agent's command cannot be ended");
        }
    }

    /// The turn has ended: what was asked for of files is done, commands are ended. The answers that come next, to be passed on at
    /// once: while one waits here, what it takes up is missed by the next. `None` when nothing is left. May be dropped.
    pub(super) async fn end(&mut self) -> Option<Vec<Answer>> {
        self.kill();
        self.terminals.iter_mut().for_each(|terminal| terminal.is_released = true);
        // One that has ended before has nothing more to tell.
        self.terminals.retain(|terminal| !terminal.has_ended());
        if self.queue.is_empty() && self.terminals.is_empty() {
            self.end_what_is_left().await;
            return None;
        }
        Some(self.next().await)
    }
}

async fn finish(first: Option<&mut (usize, BoxFuture<Finished>)>) -> Finished {
    match first {
        Some((_, work)) => work.await,
        None => pending().await,
    }
}

fn busy() -> Refusal {
    Refusal::failed("too much waits to be read and written in this turn already; wait for the answers first".into())
}

/// Does something on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Refusal::failed(format!("the gateway's part that does this broke: {error}")))
}

fn touched(places: &Places, turn: u64, errand: &Errand) -> Result<Value, Refusal> {
    let open = || Folder::open(&places.cwd).map(|folder| folder.without(&places.state_dir));
    match errand {
        Errand::Read { path, from, lines } => {
            tracing::debug!(turn, path = %path.display(), "the agent reads a file");
            let folder = match path.parent().filter(|_| places.attachments.contains(path)) {
                Some(folder) => Folder::open(folder)?,
                None => open()?,
            };
            folder.read(path, *from, *lines).map(|content| json!({"content": content}))
        }
        Errand::Write { path, content } => {
            tracing::info!(turn, path = %path.display(), bytes = content.len(), "the agent writes a file");
            open()?.write(path, content).map(|()| done())
        }
        Errand::Create(_) | Errand::At(..) => Err(Refusal::failed("that is no errand with a file".into())),
    }
}

/// What a command is told of the turn that runs it, as a program is that answers a turn by itself. So it can be told whose
/// it is: by the gateway that is asked for a restart by it, and by the next one if it outlives this.
fn variables(assignment: &Assignment) -> Vec<(String, String)> {
    let mut variables = vec![
        ("EVERGATE_SESSION", assignment.session.clone()),
        ("EVERGATE_TURN", assignment.turn.to_string()),
        ("EVERGATE_ATTEMPT", assignment.attempt.to_string()),
        ("EVERGATE_CONTROL", assignment.control.to_string_lossy().into_owned()),
        ("EVERGATE_STATE_DIR", assignment.state_dir.to_string_lossy().into_owned()),
        ("EVERGATE_GENERATION", assignment.generation.to_string()),
        ("EVERGATE_CONVERSATION", assignment.conversation.to_string()),
    ];
    variables.extend(assignment.resume.map(|resume| ("EVERGATE_RESUME", resume.as_str().to_owned())));
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
