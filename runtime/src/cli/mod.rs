//! The commands of `evergate` that talk to a running gateway: it owns their arguments, their words and their exit
//! statuses. They reach the gateway over the control socket alone, and read the journal themselves only where no gateway
//! runs and under its lock (`offline`); only `restart` and `stop` signal its process, and only `restart` starts one.

mod answers;
pub mod audit;
mod breaker;
mod call_error;
mod cancel;
mod chat;
mod client;
mod climb;
pub mod dump;
mod events;
mod generations;
mod halt;
mod keeper;
mod life;
mod link;
mod message;
mod offline;
mod owed;
mod patient;
pub mod place;
mod progress;
mod reload;
mod request;
mod restart;
mod send;
mod sessions;
mod status;
mod stop;
mod table;
mod transcript;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

pub use place::PlaceError;

use call_error::CallError;
use client::Client;

/// The options that every command takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Folder of the journal, the token and the control socket [env: EVERGATE_STATE_DIR] [default: $XDG_STATE_HOME/evergate, else ~/.local/state/evergate]
    // The variable is read in `place`, not by clap: a flag goes before EVERGATE_CONTROL, the variable does not.
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Configuration file; config.toml in the state directory when not given
    #[arg(long, global = true, value_name = "FILE", env = "EVERGATE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

impl Global {
    /// The state directory, as an absolute path: the flag, else `EVERGATE_STATE_DIR`, else `$XDG_STATE_HOME/evergate`,
    /// else `~/.local/state/evergate`. Fails when none of them is there to tell.
    pub fn state_dir(&self) -> Result<PathBuf, PlaceError> {
        place::state_dir(self.state_dir.as_deref(), environment)
    }

    /// The control socket: `control.sock` in the state directory. Inside a turn, where `EVERGATE_CONTROL` names the socket
    /// of the gateway that runs the turn, it is that one, unless `--state-dir` was given on the command line.
    pub fn control_socket(&self) -> Result<PathBuf, PlaceError> {
        place::control_socket(self.state_dir.as_deref(), environment)
    }
}

/// A length of time, as arguments name one.
fn length_of_time(text: &str) -> Result<std::time::Duration, String> {
    crate::config::read_duration(text).map_err(|why| format!("{why}; give a length of time such as 30s or 2m"))
}

/// Reads one variable of the process; an empty one counts as unset.
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The commands that talk to a running gateway.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ClientCommand {
    /// Show what the gateway is doing: phase, turns, queue, requests, drain
    Status(status::Arguments),
    /// Restart the gateway, and return when a new generation is ready
    ///
    /// Turns in flight get the drain budget to end; what is cut short is resumed by the new generation. A gateway that gets
    /// nowhere is sent SIGTERM, then SIGKILL, and started again by whoever supervises it; nothing that was accepted is lost by
    /// that. With --force it is killed after two seconds unless it obeys. Exit status:
    /// 0 a new generation is ready; 1 the request was overruled, cancelled or failed; 69 no gateway is running;
    /// 75 not ready in time; 78 refused, since the next start would fail (broken configuration or program); 130 you
    /// stopped waiting (the request stands).
    Restart(restart::Arguments),
    /// Stop the gateway, and return when it is gone
    ///
    /// Turns in flight get the drain budget to end; what is cut short is resumed at the next start. A gateway that gets nowhere
    /// is ended by whoever would start it again, who is told not to, and killed five seconds later (with --force, two);
    /// nothing that was accepted is lost by that. Exit status: 0 it is gone; 1 the request was cancelled or failed; 69 no gateway is running; 75 not gone in time;
    /// 130 you stopped waiting (the request stands).
    Stop(stop::Arguments),
    /// Have the gateway read its configuration again, without a restart
    ///
    /// Exit status: 0 it is in effect, or waits for a restart as said; 69 no gateway is running; 78 the configuration is
    /// refused, and nothing has changed.
    Reload(reload::Arguments),
    /// Look at the loop breaker, or clear it when it is tripped
    ///
    /// It trips when too many generations in a row died before one of them had brought a turn to its end: messages are
    /// answered, but what was cut is not resumed by itself and no restart is reported. `reset` vouches for the generation that
    /// runs: what is held goes on, and the deaths before it count no more. Exit status: 0 it is closed; 1 it is tripped;
    /// 69 no gateway is running.
    Breaker(breaker::Arguments),
    /// List the sessions
    Sessions(sessions::Arguments),
    /// List the generations, newest first, or show one in full: who ended it, why, and what became of each turn
    ///
    /// Without a running gateway the journal is read from its file. Exit status: 0 it is shown; 64 that is no number; 65 there is no
    /// such generation; 69 there is no journal.
    Generations(generations::Arguments),
    /// Chat with the agent in this terminal; /quit leaves, /help lists what the gateway understands
    Chat(chat::Arguments),
    /// Send one message and print the reply
    ///
    /// It lasts through a restart of the gateway. Exit status: 0 the reply came; 1 the turn failed or was stopped;
    /// 65 the gateway does not take such a message; 69 no gateway is running; 75 busy, or no reply in time.
    Send(send::Arguments),
    /// Print a fresh one-time link to the chat page
    Link(link::Arguments),
}

/// Exit statuses of the commands; the names follow sysexits(3) where one fits.
mod exit {
    pub const DONE: u8 = 0;
    pub const REFUSED: u8 = 1;
    pub const USAGE: u8 = 64;
    pub const BAD_DATA: u8 = 65;
    pub const UNAVAILABLE: u8 = 69;
    pub const BROKEN: u8 = 70;
    pub const TRY_AGAIN: u8 = 75;
    pub const NO_PERMISSION: u8 = 77;
    pub const CONFIGURATION: u8 = 78;
    pub const INTERRUPTED: u8 = 130;
}

/// Why a command ends without having done what it was asked for.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("cannot read standard input: {0}")]
    Input(std::io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    /// The gateway did its part; what came of it is not what was asked for.
    #[error("{sentence}")]
    Ended { status: u8, sentence: String },
}

impl CommandError {
    fn ended(status: u8, sentence: impl Into<String>) -> Self {
        Self::Ended { status, sentence: sentence.into() }
    }

    fn exit_status(&self) -> u8 {
        match self {
            Self::Place(_) => exit::CONFIGURATION,
            Self::Call(error) => error.exit_status(),
            Self::Input(_) => exit::BAD_DATA,
            Self::Output(_) | Self::Start(_) => exit::BROKEN,
            Self::Ended { status, .. } => *status,
        }
    }
}

/// What came of one question to the gateway behind a control socket.
pub(crate) enum Asked {
    /// It answered.
    Answered(serde_json::Value),
    /// Nobody listens; in a sentence.
    Nobody(String),
    /// Somebody may be there, but gave no answer; in a sentence.
    Failed(String),
}

/// Asks the gateway behind `socket` once, for a command that is not only about the gateway.
pub(crate) fn ask(socket: &Path, path: &str) -> Asked {
    let ask = || {
        let client = Client::new(socket.to_owned())?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Start)?;
        Ok::<_, CommandError>(runtime.block_on(client.get(path))?.body)
    };
    match ask() {
        Ok(body) => Asked::Answered(body),
        Err(CommandError::Call(error @ CallError::NobodyRuns { .. })) => Asked::Nobody(error.to_string()),
        Err(error) => Asked::Failed(error.to_string()),
    }
}

/// Runs one command to its end and says how the process is to exit. Errors are told as one line on standard error.
pub fn run(global: &Global, command: ClientCommand) -> ExitCode {
    report(run_on_runtime(global, command))
}

/// Tells how a command ended: an error as one line on standard error, and the exit status.
fn report(outcome: Result<(), CommandError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::from(exit::DONE),
        // Whoever read our output has seen enough (`| head`).
        Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::from(exit::DONE)
        }
        Err(error) => {
            // A closed standard error leaves nobody to tell; the exit status still says it.
            let _ = writeln!(std::io::stderr(), "evergate: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

fn run_on_runtime(global: &Global, command: ClientCommand) -> Result<(), CommandError> {
    let client = Client::new(global.control_socket()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Start)?;
    let outcome = runtime.block_on(dispatch(global, &client, command));
    // A read of standard input that is still blocked must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// The process behind this control socket, while it serves.
pub(crate) async fn serving_process(socket: &Path) -> Option<u32> {
    let client = Client::new(socket.to_owned()).ok()?;
    let status = tokio::time::timeout(Duration::from_secs(1), request::read_status(&client)).await.ok()?.ok()?;
    u32::try_from(status.pid).ok().filter(|_| status.phase == "serving")
}

async fn dispatch(global: &Global, client: &Client, command: ClientCommand) -> Result<(), CommandError> {
    match command {
        ClientCommand::Status(arguments) => status::run(client, &arguments).await,
        ClientCommand::Restart(arguments) => restart::run(client, &arguments).await,
        ClientCommand::Stop(arguments) => stop::run(client, &arguments).await,
        ClientCommand::Reload(arguments) => reload::run(client, &arguments).await,
        ClientCommand::Breaker(arguments) => breaker::run(client, &arguments).await,
        ClientCommand::Sessions(arguments) => sessions::run(client, &arguments).await,
        ClientCommand::Generations(arguments) => generations::run(global, client, &arguments).await,
        ClientCommand::Chat(arguments) => chat::run(client, &arguments).await,
        ClientCommand::Send(arguments) => send::run(client, &arguments).await,
        ClientCommand::Link(arguments) => link::run(client, &arguments).await,
    }
}

/// Writes to standard output at once, so that a reader behind a pipe sees it now.
fn print(text: &str) -> Result<(), CommandError> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(CommandError::Output)
}

/// Prints an answer of the gateway as it came, for programs.
fn print_json(body: &serde_json::Value) -> Result<(), CommandError> {
    print(&format!("{body:#}\n"))
}
