//! One life of the agent's process: its lines in and out, the calls that wait for an answer, the sessions that turns
//! listen to. It owns the child from start to reaping; it never decides to start one, and never waits but in `next`.

use super::errand::{Errand, Refusal};
use super::errands::Answer as ErrandDone;
use super::inbox::{Heard, Inbox, Lost};
use super::lines::{Lines, Piece};
use super::memory::Conversation;
use super::offer::Offer;
use super::wire::{self, Introduced, Line, Permission, Refused, Told, Update};
use crate::agent::group::Group;
use crate::agent::printed::Tail;
use crate::agent::program::{Complaints, Ending};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::pending;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// What is read of an agent's output in one window; a flood is slowed down to that, so that it leaves room for the rest.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
const WINDOW: Duration = Duration::from_millis(100);
/// An agent that prints so much without one message of the protocol in it speaks something else.
const GARBAGE_BYTES: usize = 64 * 1024 * 1024;
/// An agent that leaves so much unread on its stdin is stuck.
const UNREAD_BYTES: usize = 64 * 1024 * 1024;
/// How long the streams of a reaped child are read on: a grandchild may keep them open for ever.
const LINGER: Duration = Duration::from_millis(500);
/// Sessions whose conversation is remembered; what is forgotten is loaded again.
const SESSIONS: usize = 10_000;

/// Where a call's answer goes.
pub(super) type Answer = oneshot::Sender<Result<Value, Unanswered>>;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The agent says no.
    Refused(Refused),
    /// The process is gone.
    Gone(Gone),
}

/// Why the process is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// A sentence for the operator and the chat.
    pub(super) why: String,
    /// Whose doing it was.
    pub(super) by: By,
}

/// Whose doing an end was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The agent's, or what it did could not be suffered.
    Agent,
    /// A turn's, whose wishes it did not obey: the others are not to blame.
    Turn,
}

/// A process and what hangs on it.
#[derive(Debug)]
pub(super) struct Process {
    group: Group,
    offer: Offer,
    stdin: Option<ChildStdin>,
    outgoing: VecDeque<u8>,
    /// What some of it takes up until the agent has read it, each with the bytes that are still to be written by then.
    rooms: VecDeque<(usize, OwnedSemaphorePermit)>,
    stdout: Listening<ChildStdout>,
    stderr: Listening<ChildStderr>,
    lines: Lines,
    complaints: Tail,
    /// Set once the child has been reaped.
    ended: Option<(io::Result<ExitStatus>, Instant)>,
    /// Why it was killed; the first reason stands.
    killed: Option<Gone>,
    calls: BTreeMap<u64, Answer>,
    last_call: u64,
    listeners: HashMap<String, Weak<Inbox>>,
    sessions: HashMap<Conversation, String>,
    garbage: usize,
    window: (Instant, usize),
    /// What it has said of itself, once it has.
    pub(super) introduced: Option<Introduced>,
    introduction: oneshot::Receiver<Result<Value, Unanswered>>,
}

/// One output stream; `None` once it has ended.
#[derive(Debug)]
struct Listening<S> {
    stream: Option<S>,
    buffer: Vec<u8>,
}

/// What happens next.
enum Event {
    Reaped(io::Result<ExitStatus>),
    Written(io::Result<usize>),
    Printed(io::Result<usize>),
    Complained(io::Result<usize>),
    Lingered,
    WindowOver,
}

impl Process {
    /// Takes charge of a group that has just been started, and introduces the gateway to it.
    pub(super) fn new(mut group: Group, offer: Offer) -> Self {
        let (stdin, stdout, stderr) = group.streams();
        let (answer, introduction) = oneshot::channel();
        let mut process = Self {
            group,
            offer,
            stdin,
            outgoing: VecDeque::new(),
            rooms: VecDeque::new(),
            stdout: Listening { stream: stdout, buffer: vec![0; READ_BYTES] },
            stderr: Listening { stream: stderr, buffer: vec![0; READ_BYTES / 8] },
            lines: Lines::default(),
            complaints: Tail::default(),
            ended: None,
            killed: None,
            calls: BTreeMap::new(),
            last_call: 0,
            listeners: HashMap::new(),
            sessions: HashMap::new(),
            garbage: 0,
            window: (Instant::now(), 0),
            introduced: None,
            introduction,
        };
        process.call("initialize", &wire::introduction(offer), answer);
        process
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        self.group.id()
    }

    /// Calls the agent; the answer comes as it comes.
    pub(super) fn call(&mut self, method: &str, params: &Value, answer: Answer) {
        self.last_call += 1;
        self.calls.insert(self.last_call, answer);
        self.write(wire::call(self.last_call, method, params));
    }

    /// Writes a line, as soon as the agent reads it.
    pub(super) fn write(&mut self, line: Vec<u8>) {
        if self.stdin.is_none() {
            return;
        }
        if self.outgoing.len() + line.len() > UNREAD_BYTES {
            return self.kill(&format!("the agent has not read {UNREAD_BYTES} bytes of what it was told"), By::Agent);
        }
        self.outgoing.extend(line);
    }

    /// Writes the answer to an errand, as soon as the agent reads it.
    pub(super) fn answer(&mut self, answer: ErrandDone) {
        self.write(answer.line);
        let left = self.outgoing.len();
        self.rooms.extend(answer.room.filter(|_| left > 0).map(|room| (left, room)));
    }

    fn written(&mut self, count: usize) {
        self.outgoing.drain(..count);
        self.rooms.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(count));
        self.rooms.retain(|(left, _)| *left > 0);
    }

    /// From now on what the agent says in this session goes there.
    pub(super) fn listen(&mut self, session: String, inbox: &Arc<Inbox>) {
        self.listeners.retain(|_, inbox| inbox.strong_count() > 0);
        self.listeners.insert(session, Arc::downgrade(inbox));
    }

    /// The agent's id of a conversation that it has open.
    pub(super) fn session(&self, conversation: &Conversation) -> Option<&String> {
        self.sessions.get(conversation)
    }

    /// The agent has this conversation open under this id.
    pub(super) fn remember(&mut self, conversation: Conversation, session: String) {
        if self.sessions.len() >= SESSIONS {
            self.sessions.clear();
        }
        self.sessions.insert(conversation, session);
    }

    /// This conversation is opened anew next time.
    pub(super) fn forget(&mut self, conversation: &Conversation) {
        self.sessions.remove(conversation);
    }

    /// Says that nothing more will come: a well-behaved agent finishes, stores and ends.
    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
        self.outgoing.clear();
        self.rooms.clear();
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        self.group.terminate();
    }

    /// Ends it.
    pub(super) fn kill(&mut self, why: &str, by: By) {
        if self.killed.is_none() && self.ended.is_none() {
            tracing::warn!(pid = self.pid(), why, "the agent's process is killed");
            self.killed = Some(Gone { why: why.to_owned(), by });
        }
        self.group.kill();
    }

    /// Attends to it until something has to be decided: it has introduced itself, or is gone.
    pub(super) async fn attend(&mut self) -> News {
        loop {
            if self.is_over() {
                return News::Gone;
            }
            let event = self.next().await;
            self.handle(event);
            if self.introduced.is_none()
                && let Ok(introduction) = self.introduction.try_recv()
            {
                return self.introduced(introduction);
            }
        }
    }

    fn introduced(&mut self, introduction: Result<Value, Unanswered>) -> News {
        match introduction.map(serde_json::from_value::<Introduced>) {
            Ok(Ok(introduced)) if introduced.protocol_version == wire::VERSION => {
                let named = introduced.agent_info.as_ref().map(|named| format!("{} {}", named.name, named.version));
                tracing::info!(
                    pid = self.pid(),
                    agent = named.map(|named| wire::excerpt(&named, 100)),
                    loads_sessions = introduced.agent_capabilities.load_session,
                    "the agent is ready"
                );
                self.introduced = Some(introduced);
                News::Introduced
            }
            Ok(Ok(introduced)) => self.unsuitable(&format!(
                "the agent speaks version {} of the Agent Client Protocol, this gateway version {}; install versions that go together",
                introduced.protocol_version,
                wire::VERSION
            )),
            Ok(Err(error)) => self.unsuitable(&format!("the agent introduces itself in no way that is understood ({error})")),
            Err(Unanswered::Refused(refused)) => {
                self.unsuitable(&format!("the agent refuses to be initialised: {}", refused.words()))
            }
            Err(Unanswered::Gone(_)) => News::Gone,
        }
    }

    fn unsuitable(&mut self, why: &str) -> News {
        self.kill(why, By::Agent);
        News::Unsuitable
    }

    async fn next(&mut self) -> Event {
        let linger = self.ended.as_ref().map(|(_, at)| *at + LINGER);
        let (window, bytes) = self.window;
        let slowed = (bytes >= WINDOW_BYTES && self.ended.is_none()).then_some(window + WINDOW);
        let outgoing = self.outgoing.as_slices().0;
        tokio::select! {
            biased;
            status = self.group.ended(), if self.ended.is_none() => Event::Reaped(status),
            written = write(&mut self.stdin, outgoing) => Event::Written(written),
            () = at(slowed) => Event::WindowOver,
            read = self.stdout.read(), if slowed.is_none() => Event::Printed(read),
            () = at(linger) => Event::Lingered,
            read = self.stderr.read() => Event::Complained(read),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Reaped(status) => {
                self.ended = Some((status, Instant::now()));
                self.close_stdin();
            }
            Event::Written(Ok(count)) => self.written(count),
            // It does not listen any more; whether it still lives shows by itself.
            Event::Written(Err(_)) => self.close_stdin(),
            Event::Printed(Ok(count)) if count > 0 => self.hear(count),
            Event::Printed(_) => {
                self.stdout.stream = None;
                if self.ended.is_none() && self.stdin.is_some() {
                    // Without a voice it is of no use. It may be ending, and says why by its status if it is.
                    self.close_stdin();
                    self.terminate();
                }
            }
            Event::Complained(Ok(count)) if count > 0 => self.complaints.hear(&self.stderr.buffer[..count]),
            Event::Complained(_) => self.stderr.stream = None,
            Event::Lingered => (self.stdout.stream, self.stderr.stream) = (None, None),
            Event::WindowOver => self.window = (Instant::now(), 0),
        }
    }

    fn hear(&mut self, count: usize) {
        if self.window.0.elapsed() >= WINDOW {
            self.window = (Instant::now(), 0);
        }
        self.window.1 += count;
        self.garbage += count;
        for piece in self.lines.hear(&self.stdout.buffer[..count]) {
            match piece {
                Piece::Line(line) => self.line(&line),
                Piece::TooLong => {
                    tracing::warn!(pid = self.pid(), "the agent printed a line that is too long; it is passed over")
                }
            }
        }
        if self.garbage > GARBAGE_BYTES {
            let why = "the agent prints something else than the Agent Client Protocol; look at what it is started as (agent.acp.argv)";
            self.kill(why, By::Agent);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let message = Line::read(line);
        if message != Line::Garbage {
            self.garbage = 0;
        }
        match message {
            Line::Response { id, result } => match self.calls.remove(&id) {
                // Whoever called may have gone away meanwhile.
                Some(answer) => drop(answer.send(result.map_err(Unanswered::Refused))),
                None => tracing::debug!(pid = self.pid(), id, "the agent answers what it was not asked"),
            },
            Line::Call { id, method, params } => self.called(id, &method, params),
            Line::Notification { method, params } if method == "session/update" => self.update(&params),
            Line::Notification { method, .. } => {
                tracing::debug!(pid = self.pid(), method, "the agent tells something unknown")
            }
            Line::Garbage => {
                let text = wire::excerpt(&String::from_utf8_lossy(&line[..line.len().min(800)]), 200);
                tracing::debug!(pid = self.pid(), text, "the agent printed a line that is no message");
            }
        }
    }

    /// The agent calls us.
    fn called(&mut self, id: Value, method: &str, params: Value) {
        if method != "session/request_permission" {
            return self.wanted(id, method, params);
        }
        let Ok(permission) = serde_json::from_value::<Permission>(params) else {
            return self.write(wire::refusal(&id, wire::BAD_PARAMETERS, "this permission cannot be understood"));
        };
        let listener = self.listener(&permission.session_id);
        let taken = listener.is_some_and(|inbox| inbox.put(Heard::Asked(id.clone(), permission)).is_ok());
        if !taken {
            self.write(wire::answer(&id, &wire::cancelled()));
        }
    }

    /// The agent wants something done: by the turn that is at work in the session, if that is offered.
    fn wanted(&mut self, id: Value, method: &str, params: Value) {
        if let Some(why) = self.offer.lacks(method) {
            return self.write(wire::refusal(&id, wire::NO_SUCH_METHOD, &why));
        }
        let (session, errand) = match Errand::read(method, params) {
            Ok(read) => read,
            Err(why) => return self.write(wire::refusal(&id, wire::BAD_PARAMETERS, &why)),
        };
        let refusal = match self.listener(&session) {
            None => {
                Refusal::not_allowed("no turn is at work in this session, and what is done is done in a turn".into())
            }
            Some(inbox) => match inbox.put(Heard::Wanted(id.clone(), errand)) {
                Ok(()) => return,
                Err(Lost::Closed) => Refusal::too_late("the turn has ended; nothing more is done in it"),
                Err(Lost::NoRoom) => Refusal::failed("too much waits to be done in this session already".into()),
            },
        };
        self.write(refusal.line(&id));
    }

    fn update(&mut self, params: &Value) {
        let Some(Update { session, what }) = Update::read(params) else {
            return tracing::debug!(pid = self.pid(), "the agent tells something of a session that makes no sense");
        };
        let heard = match what {
            Told::User(text) => Heard::User(text),
            Told::Agent(text) => Heard::Agent(text),
            Told::File(blob) => Heard::File(blob),
            Told::Step => Heard::Step,
            Told::Other => return,
        };
        if let Some(inbox) = self.listener(&session) {
            // One that is full says so to its turn.
            let _flood = inbox.put(heard);
        }
    }

    fn listener(&self, session: &str) -> Option<Arc<Inbox>> {
        self.listeners.get(session)?.upgrade()
    }

    fn is_over(&self) -> bool {
        self.ended.is_some() && self.stdout.stream.is_none() && self.stderr.stream.is_none()
    }

    /// What was left of it is gone, and those who wait for answers are told why there are none. Only to be called once it is
    /// over.
    pub(super) async fn bury(mut self) -> Gone {
        if !self.group.gone().await {
            tracing::warn!(pid = self.pid(), "a process of the agent was killed but is not gone after 2 s");
        }
        let complaints = self.complaints.text();
        let gone = self.killed.take().unwrap_or_else(|| Gone {
            why: match &self.ended {
                Some((Ok(status), _)) => format!("the agent {}{}", Ending(*status), Complaints(&complaints)),
                _ => "the agent is gone but its exit status is not known".into(),
            },
            by: By::Agent,
        });
        for (_, answer) in std::mem::take(&mut self.calls) {
            // Whoever called may have gone away meanwhile.
            let _gone = answer.send(Err(Unanswered::Gone(gone.clone())));
        }
        gone
    }
}

/// What has to be decided about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is ready.
    Introduced,
    /// It cannot be used, and was killed for that.
    Unsuitable,
    /// It is gone.
    Gone,
}

impl<S: AsyncRead + Unpin> Listening<S> {
    async fn read(&mut self) -> io::Result<usize> {
        match &mut self.stream {
            Some(stream) => stream.read(&mut self.buffer).await,
            None => pending().await,
        }
    }
}

/// Writes some of `rest`; never ends when there is nothing to write, or nowhere.
async fn write(stdin: &mut Option<ChildStdin>, rest: &[u8]) -> io::Result<usize> {
    match stdin {
        Some(stdin) if !rest.is_empty() => stdin.write(rest).await,
        _ => pending().await,
    }
}

/// Waits until `deadline`; for ever when there is none.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
