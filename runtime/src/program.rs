//! The command line, and what each command begins with.

mod child;
mod ending;

pub use ending::Successor;

use crate::candidate;
use crate::cli::{self, ClientCommand, Global};
use crate::config::{Config, FileSource, Sources, evergate_environment};
use crate::detect::Effective;
use crate::journal::claim::ClaimError;
use crate::kept_socket::KeptSocket;
use crate::native::Guard;
use crate::run::StartError;
use crate::trial::{Entry, Trial};
use crate::{doctor, install, logging, run, signals, systemd, takeover, unit_death};
use child::supervise_gateway;
use clap::{CommandFactory, Parser, Subcommand};
use ending::{again, park};
use evergate_core::verdict::PARK;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Evergate connects chat platforms to agents, and can be restarted, upgraded or killed at any instant without losing a
/// message, a conversation, or its own way back.
#[derive(Parser)]
#[command(name = "evergate", version, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway in the foreground: chat page, embedded journal, agent
    Run(RunArguments),
    /// Run the gateway under evergate's own supervisor: started again after a restart or a crash
    Supervise {
        /// What to run: `run` and its options
        #[arg(last = true, value_name = "run ...")]
        arguments: Vec<OsString>,
    },
    #[command(flatten)]
    Client(ClientCommand),
    /// Hold the journal, and the flight logs that there are, against the rules that must always hold
    ///
    /// A running gateway is asked for its journal; without one the file is read. Exit status: 0 nothing is broken, and what
    /// was looked at is said; 1 a rule is broken; 65 a journal or a flight log makes no sense; 69 there is no journal.
    Audit(cli::audit::Arguments),
    /// Write what a supervisor needs to keep the gateway: a unit, a plist, a service directory, a compose file, a manifest
    ///
    /// Nothing is started: the commands for that are printed. Exit status: 0 it is written; 64 the arguments do not go together;
    /// 73 a file is somebody else's, was changed by hand, or cannot be written; 78 the configuration is not valid.
    Install(install::Arguments),
    /// Remove exactly what `install` wrote
    ///
    /// Exit status: 0 nothing of it is left; 64 the arguments do not go together; 73 a file is somebody else's, was changed by
    /// hand, or cannot be removed.
    Uninstall(install::Removal),
    /// Look for what is wrong around the gateway: unit, supervisors, state directory, clock, configuration, agent
    ///
    /// Each finding comes with what follows from it and the command that mends it. Exit status: 0 all is well, or was mended;
    /// 1 something was found that still stands; 78 it cannot be told where the state directory is.
    Doctor(doctor::Arguments),
    /// Write down what systemd knows of the gateway's end, for the next one (the `ExecStopPost=` of a unit)
    #[command(hide = true)]
    LastWords,
    /// Look into the journal
    Journal {
        #[command(subcommand)]
        command: JournalCommand,
    },
    /// Show or check the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(clap::Args)]
struct RunArguments {
    /// Where the chat page and the API listen: a loopback address and port
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// Append to this file all that happens to the life cycle and all that is done about it, in place of the bounded logs
    /// in the folder `flight` of the state directory; no text is in it
    #[arg(long, value_name = "FILE", env = "EVERGATE_FLIGHT_LOG", hide_env_values = true)]
    flight_log: Option<PathBuf>,

    /// Only say whether a start would succeed while a gateway runs: exit status 0, 78 (configuration) or 65 (this program
    /// cannot read a journal of this SCHEMA). A running gateway asks this before it gives itself up for a restart
    #[arg(long, value_name = "SCHEMA", num_args = 0..=1, require_equals = true)]
    check_takeover: Option<Option<u64>>,
}

#[derive(Subcommand)]
enum JournalCommand {
    /// Print everything in it as JSON lines
    Dump,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the effective values and where each comes from
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether the configuration is valid, and what is wrong with it
    Check,
}

/// The exit status for a command line that makes no sense (`EX_USAGE` of sysexits).
const USAGE: u8 = 64;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything else, so that a re-exec finds the program even after its file was replaced or removed.
    let program = candidate::program_of_this_process();
    // Before any thread: a signal that comes before somebody listens must wait, not kill.
    if let Err(error) = signals::block() {
        logging::complain(&format_args!("signals cannot be blocked: {error}"));
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match arguments.command {
        Command::Run(RunArguments { check_takeover: Some(schema), listen, .. }) => {
            unblock();
            answer_for_takeover(&arguments.global, listen, schema)
        }
        Command::Run(run) => {
            let program = std::env::var_os(candidate::SUPERVISOR_PROGRAM).map(PathBuf::from).or(program);
            let socket = KeptSocket::from_environment();
            let terms = Effective::of_this_process();
            let successor = Successor { program, socket, trial: Trial::none(), terms };
            // Before anything else, since whatever comes next may be what this build does wrong.
            match enter(&arguments.global, &successor.socket) {
                Ok(trial) => gateway(&arguments.global, run, &Successor { trial, ..successor }),
                Err(why) => {
                    logging::complain(&why);
                    systemd::Notify::from_environment("NOTIFY_SOCKET").status(&why);
                    park(&successor.socket)
                }
            }
        }
        Command::Supervise { arguments: child } => {
            let socket = KeptSocket::from_environment();
            unblock();
            supervise_gateway(&arguments.global, child, socket)
        }
        Command::Client(command) => {
            unblock();
            cli::run(&arguments.global, command)
        }
        Command::Audit(audit) => {
            unblock();
            cli::audit::audit(&arguments.global, &audit)
        }
        Command::Install(chosen) => {
            unblock();
            install::install(&arguments.global, &chosen)
        }
        Command::Uninstall(chosen) => {
            unblock();
            install::uninstall(&arguments.global, &chosen)
        }
        Command::Doctor(chosen) => {
            unblock();
            doctor::run(&arguments.global, &chosen)
        }
        Command::LastWords => {
            unblock();
            unit_death::write_down(&arguments.global)
        }
        Command::Journal { command: JournalCommand::Dump } => {
            unblock();
            cli::dump::dump(&arguments.global)
        }
        Command::Config { command } => {
            unblock();
            configuration(&arguments.global, &command)
        }
        Command::Completions { shell } => {
            unblock();
            clap_complete::generate(shell, &mut Arguments::command(), "evergate", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Command::Man => {
            unblock();
            manual()
        }
    }
}

/// What is wrong with the command line, or the help that was asked for. A gateway that was started in a wrong way must not
/// be started so again.
fn usage(error: &clap::Error) -> ExitCode {
    let _unread = error.print();
    let starts = std::env::args_os().any(|word| word == "run" || word == "supervise");
    match (error.use_stderr(), starts) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => ExitCode::from(PARK),
        (true, false) => ExitCode::from(USAGE),
    }
}

/// Lets signals do what they do by default again, for commands that do not answer them.
fn unblock() {
    if let Err(error) = signals::unblock() {
        logging::complain(&format_args!("signals cannot be unblocked: {error}"));
    }
}

fn load(global: &Global, listen: Option<String>) -> Result<(Config, PathBuf), ExitCode> {
    read(global, listen).map_err(|error| complain(&error))
}

/// The configuration and the state directory, or what is wrong with either.
fn read(global: &Global, listen: Option<String>) -> Result<(Config, PathBuf), String> {
    let state_dir = global.state_dir().map_err(|error| error.to_string())?;
    let config = Config::load(sources(global, listen, &state_dir)).map_err(|error| error.to_string())?;
    Ok((config, state_dir))
}

/// Where the configuration comes from, as the command line and the environment say.
fn sources(global: &Global, listen: Option<String>, state_dir: &Path) -> Sources {
    let file = match &global.config {
        Some(path) => FileSource::Explicit(path.clone()),
        None => FileSource::Default(state_dir.join("config.toml")),
    };
    let flags = listen.map(|listen| ("local.listen".to_owned(), listen)).into_iter().collect();
    Sources { file, environment: evergate_environment(), flags }
}

/// Says what is wrong; the status asks the supervisor not to try again as things are.
fn complain(error: &dyn std::fmt::Display) -> ExitCode {
    logging::complain(error);
    ExitCode::from(PARK)
}

/// Whether this program could take over from a running gateway, as an exit status and a sentence.
fn answer_for_takeover(global: &Global, listen: Option<String>, schema: Option<u64>) -> ExitCode {
    let config = match load(global, listen) {
        Ok((config, _)) => config,
        Err(status) => return status,
    };
    let served = std::env::var(candidate::SERVED).ok().and_then(|address| address.parse().ok());
    let fit = takeover::check(&config, std::env::var_os("PATH").as_deref(), schema);
    match fit.and_then(|()| takeover::check_address(config.local.listen, served)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(unfit) => {
            logging::complain(&unfit);
            ExitCode::from(unfit.status())
        }
    }
}

/// What systemd is asked to wait for a start after its pause, as far as its own limit is not longer: the configuration, which
/// may ask for more, is not read yet.
const START_AFTER_PAUSE: Duration = Duration::from_secs(310);

/// Puts this start on trial. Comes back when it is this build that is to run, or with why no start is made.
fn enter(global: &Global, socket: &KeptSocket) -> Result<Trial, String> {
    let Ok(state_dir) = global.state_dir() else { return Ok(Trial::none()) };
    let (trial, entry) = Trial::enter(&state_dir);
    match entry {
        Entry::Begin => {}
        Entry::InPlace(in_place) => {
            logging::complain(&in_place.why);
            let mut command = again(&in_place.program);
            in_place.tell(&mut command);
            socket.hand_over(&mut command, Some(std::process::id()));
            let error = command.exec();
            logging::complain(&format_args!("{} cannot be started: {error}", in_place.program.display()));
        }
        Entry::Pause { pause, why } => {
            logging::complain(&why);
            let notify = systemd::Notify::from_environment("NOTIFY_SOCKET");
            notify.status(&why);
            notify.extend(pause + START_AFTER_PAUSE);
            // Whoever ends it meanwhile is not to wait for that.
            unblock();
            std::thread::sleep(pause);
        }
        Entry::Park { why } => return Err(why),
    }
    trial.begun();
    Ok(trial)
}

fn gateway(global: &Global, arguments: RunArguments, successor: &Successor) -> ExitCode {
    // The configuration may lie on a disk that does not answer.
    let guard = match Guard::over_a_start(successor.clone()) {
        Ok(guard) => guard,
        Err(error) => {
            let error = StartError::System { what: "a thread cannot be started", error };
            logging::complain(&error);
            return successor.give_up(&error.to_string(), error.try_again());
        }
    };
    let (config, state_dir) = match read(global, arguments.listen.clone()) {
        Ok(loaded) => loaded,
        Err(error) => {
            guard.stands_down();
            logging::complain(&error);
            return successor.give_up(&error, None);
        }
    };
    logging::start(&config.log);
    let again = sources(global, arguments.listen, &state_dir);
    let load = Box::new(move || Config::load(again.clone()));
    match run::run(&config, load, &state_dir, arguments.flight_log.as_deref(), Arc::clone(&guard)) {
        Ok(verdict) => successor.end(verdict),
        Err(error) => {
            guard.stands_down();
            if tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!(%error, "{}", error.what());
            } else {
                logging::complain(&error);
            }
            // Somebody else's life is no matter of ours.
            match error {
                StartError::Claim(ClaimError::Owned { .. }) => park(&successor.socket),
                // Like a death without a word, which the next start counts.
                StartError::Broke { verdict, .. } => successor.follow(verdict),
                error => successor.give_up(&error.to_string(), error.try_again()),
            }
        }
    }
}

fn configuration(global: &Global, command: &ConfigCommand) -> ExitCode {
    let (config, _) = match load(global, None) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    match command {
        ConfigCommand::Show { json: true } => say(&format!("{}\n", config.show_json())),
        ConfigCommand::Show { json: false } => say(&config.show()),
        ConfigCommand::Check => say("the configuration is valid\n"),
    }
    ExitCode::SUCCESS
}

/// Prints; a reader who has seen enough (`| head`) is no error.
fn say(text: &str) {
    let _unread = std::io::stdout().write_all(text.as_bytes());
}

fn manual() -> ExitCode {
    match clap_mangen::Man::new(Arguments::command()).render(&mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader who has seen enough (`| head`) is no error.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}
