//! One command that an agent has the gateway run: a child process in a group of its own, with nothing to read and one pipe
//! for all that it prints, in the order in which it prints it. It owns the group from the start until all of it is gone,
//! keeps the end of the output, and knows who waits for it; it never decides when the command ends.

use super::errand::{Order, Refusal, done};
use super::folder::Folder;
use super::screen::Screen;
use super::wire::excerpt;
use crate::agent::group::Group;
use crate::agent::program;
use crate::signals;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::future::pending;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long a command may take to end that was asked to, before it is killed.
const TERMINATING: Duration = Duration::from_secs(1);
/// How long the output of a command that has ended is read on: a process outside of its group may keep it open for ever.
const LINGER: Duration = Duration::from_millis(500);
/// How long killed processes may take to go.
const GOING: Duration = Duration::from_secs(2);
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// What is read of a command's output in one window; a flood is slowed down to that.
const WINDOW_BYTES: usize = 512 * 1024;
const WINDOW: Duration = Duration::from_millis(100);
/// Calls that may wait for one command.
const WAITING: usize = 64;
/// What runs a line that is no program.
const SHELL: &str = "/bin/sh";

/// A command.
#[derive(Debug)]
pub(super) struct Terminal {
    /// Its name for the agent.
    pub(super) id: String,
    /// Whether the agent has given it up: then it goes once it is gone.
    pub(super) is_released: bool,
    group: Group,
    /// `None` once it has ended.
    output: Option<pipe::Receiver>,
    buffer: Box<[u8]>,
    screen: Screen,
    window: (Instant, usize),
    /// Set once the command has been reaped.
    reaped: Option<(io::Result<ExitStatus>, Instant)>,
    kill_at: Option<Instant>,
    /// How it ended, once nothing of it lives.
    exit: Option<Value>,
    waiting: Vec<(Value, Told)>,
    _room: OwnedSemaphorePermit,
}

/// What a call is told that waits for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// How the command ended.
    Exit,
    /// That it has.
    Done,
}

/// What a terminal tells those who attend to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It has printed something.
    Printed,
    /// The command has ended and nothing of it lives.
    Ended,
}

/// What happens next.
enum Event {
    Reaped(io::Result<ExitStatus>),
    Printed(io::Result<usize>),
    Late,
    Lingered,
    WindowOver,
}

impl Terminal {
    /// Starts a command in this folder, with these variables beside the gateway's own. It waits for the disk: to be called
    /// on a thread of its own.
    pub(super) fn start(
        id: String,
        order: &Order,
        folder: &Folder,
        variables: &[(String, String)],
        room: OwnedSemaphorePermit,
    ) -> Result<Self, Refusal> {
        let place = folder.inner(order.cwd.as_deref())?;
        let argv = argv(order, &place);
        let start = || {
            let (input, output) = pipe::pipe()?;
            let input = input.into_blocking_fd()?;
            let mut command = program::command(&argv, "command").map_err(io::Error::other)?;
            command.current_dir(&place).stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
            command.envs(order.env.iter().map(|variable| (&variable.name, &variable.value)));
            // These last: whose turn this is decides who ends it.
            command.envs(variables.iter().map(|(name, value)| (name, value)));
            Ok((signals::unblocked(|| Group::lead(command))?, output))
        };
        let (group, output) = start().map_err(|error: io::Error| {
            let program = excerpt(&argv[0], 200);
            Refusal::failed(format!("`{program}` cannot be started in `{}`: {error}", place.display()))
        })?;
        Ok(Self {
            id,
            is_released: false,
            group,
            output: Some(output),
            buffer: vec![0; READ_BYTES].into(),
            screen: Screen::new(order.output_byte_limit),
            window: (Instant::now(), 0),
            reaped: None,
            kill_at: None,
            exit: None,
            waiting: Vec::new(),
            _room: room,
        })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        self.group.id()
    }

    /// What it has printed, and how it ended if it has.
    pub(super) fn output(&mut self) -> Value {
        let (output, truncated) = self.screen.text(self.output.is_some());
        match &self.exit {
            Some(exit) => json!({"output": output, "truncated": truncated, "exitStatus": exit}),
            None => json!({"output": output, "truncated": truncated}),
        }
    }

    /// Has a call wait for the end; gives back what it is told if it need not, and an error if too many wait already.
    pub(super) fn wait(&mut self, call: &Value, told: Told) -> Option<Result<Value, Refusal>> {
        if let Some(exit) = &self.exit {
            return Some(Ok(told.of(exit)));
        }
        if self.waiting.len() >= WAITING {
            return Some(Err(Refusal::failed(format!("{WAITING} calls wait for this terminal already"))));
        }
        self.waiting.push((call.clone(), told));
        None
    }

    /// Asks the command to end, and sees to it that it does.
    pub(super) fn terminate(&mut self) {
        self.group.terminate();
        self.kill_at = self.kill_at.or(Some(Instant::now() + TERMINATING));
    }

    /// Whether nothing of it lives any more.
    pub(super) fn has_ended(&self) -> bool {
        self.exit.is_some()
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        self.group.kill();
    }

    /// The calls that waited for the end, each with what it is told.
    pub(super) fn told(&mut self) -> Vec<(Value, Value)> {
        let Some(exit) = &self.exit else { return Vec::new() };
        self.waiting.drain(..).map(|(call, told)| (call, told.of(exit))).collect()
    }

    /// Attends to it until there is something to tell; for ever once it has ended. May be dropped and called again.
    pub(super) async fn attend(&mut self) -> News {
        if self.exit.is_some() {
            return pending().await;
        }
        loop {
            if let (Some((status, at)), None) = (&self.reaped, &self.output) {
                if timeout_at(*at + LINGER + GOING, self.group.gone()).await != Ok(true) {
                    tracing::warn!(pid = self.pid(), "a command of an agent's was killed but is not gone");
                }
                self.exit = Some(exit(status.as_ref().ok()));
                return News::Ended;
            }
            let event = self.next().await;
            if self.handle(event) {
                return News::Printed;
            }
        }
    }

    async fn next(&mut self) -> Event {
        let linger = self.reaped.as_ref().map(|(_, at)| *at + LINGER);
        let (window, bytes) = self.window;
        let slowed = (bytes >= WINDOW_BYTES).then_some(window + WINDOW);
        tokio::select! {
            biased;
            status = self.group.ended(), if self.reaped.is_none() => Event::Reaped(status),
            () = at(self.kill_at), if self.reaped.is_none() => Event::Late,
            () = at(slowed) => Event::WindowOver,
            () = at(linger) => Event::Lingered,
            read = read(&mut self.output, &mut self.buffer), if slowed.is_none() => Event::Printed(read),
        }
    }

    /// Whether it has printed something.
    fn handle(&mut self, event: Event) -> bool {
        match event {
            Event::Reaped(status) => self.reaped = Some((status, Instant::now())),
            Event::Late => {
                self.kill_at = None;
                self.group.kill();
            }
            Event::WindowOver => self.window = (Instant::now(), 0),
            Event::Printed(Ok(count)) if count > 0 => {
                if self.window.0.elapsed() >= WINDOW {
                    self.window = (Instant::now(), 0);
                }
                self.window.1 += count;
                self.screen.hear(&self.buffer[..count]);
                return true;
            }
            Event::Printed(_) | Event::Lingered => self.output = None,
        }
        false
    }
}

impl Told {
    fn of(self, exit: &Value) -> Value {
        match self {
            Self::Exit => exit.clone(),
            Self::Done => done(),
        }
    }
}

/// The program and its arguments. Agents put a whole line for a shell where a program is expected.
fn argv(order: &Order, folder: &Path) -> Vec<String> {
    let named = if order.command.contains('/') {
        folder.join(&order.command).to_string_lossy().into_owned()
    } else {
        order.command.clone()
    };
    let path = std::env::var_os("PATH");
    if order.args.is_empty() && program::program_file(&named, path.as_deref()).is_none() {
        return vec![SHELL.into(), "-c".into(), order.command.clone()];
    }
    [std::slice::from_ref(&named), &order.args].concat()
}

/// How a command ended, as the protocol says it; nothing of it where nobody knows.
fn exit(status: Option<&ExitStatus>) -> Value {
    let signal = status.and_then(ExitStatus::signal);
    let name = signal.map(|number| Signal::try_from(number).map_or(number.to_string(), |signal| signal.to_string()));
    json!({"exitCode": status.and_then(ExitStatus::code), "signal": name})
}

async fn read(output: &mut Option<pipe::Receiver>, buffer: &mut [u8]) -> io::Result<usize> {
    match output {
        Some(output) => output.read(buffer).await,
        None => pending().await,
    }
}

/// Waits until `deadline`; for ever when there is none.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
