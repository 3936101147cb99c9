//! The command line of `evergate-sim`: what each command takes, and its exit status. 0: nothing broken; 1: a violation; 2: given
//! up before everything was seen; 3: a violation that a trace tells of is gone; 64: the arguments make no sense; 65: a file
//! makes no sense.

pub mod arguments;
mod explore;
mod lacks;
pub mod rate;
mod replay;
mod swarm;

use crate::conform;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Nothing broken.
pub const NOTHING_BROKEN: u8 = 0;
/// A rule was broken.
pub const VIOLATION: u8 = 1;
/// Nothing broken as far as it went, and a bound ended it before everything was seen: no proof.
pub const UNFINISHED: u8 = 2;
/// A trace tells of a broken rule, and no rule breaks when it is taken again.
pub const GONE: u8 = 3;
/// The arguments make no sense (`EX_USAGE` of sysexits).
pub const USAGE: u8 = 64;
/// A file makes no sense (`EX_DATAERR` of sysexits).
pub const DATA: u8 = 65;

const STATUSES: &str = "Exit status:
  0   nothing is broken
  1   a rule is broken
  2   nothing is broken, and it was given up before everything was seen
  3   a trace tells of a broken rule, and replayed it breaks no more
  64  the arguments make no sense
  65  a file makes no sense";

/// Explores, shakes and replays the life cycle of Evergate.
#[derive(Parser)]
#[command(name = "evergate-sim", version, about, max_term_width = 100, after_help = STATUSES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Looks at every state that the life cycle can come to within bounds
    Explore(explore::Explore),
    /// Lists the bounds that there are
    Scopes,
    /// Takes a failure again, step by step
    Replay(replay::Replay),
    /// Lives through many random lives of the core in simulated time, each with its own faults, and heals them
    Swarm(swarm::Swarm),
    /// Replays a flight log of the real gateway through the core, and says where the two first differ
    Conform(conform::Arguments),
    Harbor(crate::harbor::Arguments),
}

/// Why a command could not do its work: one sentence and the exit status.
#[derive(Debug)]
pub struct Trouble {
    /// What, to what, and what to do next.
    pub sentence: String,
    /// The exit status.
    pub status: u8,
}

impl Trouble {
    /// The arguments make no sense.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), status: USAGE }
    }

    /// A file makes no sense.
    pub fn data(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), status: DATA }
    }
}

/// Runs the program; the whole of `main`.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(not_understood(&error)),
    };
    match run(arguments.command) {
        Ok(status) => ExitCode::from(status),
        Err(Trouble { sentence, status }) => {
            eprintln!("evergate-sim: {sentence}");
            ExitCode::from(status)
        }
    }
}

/// Says what clap made of a command line that is no command, and gives the exit status.
fn not_understood(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader who has seen enough (`| head`) is no error.
            let _unread = error.print();
            return NOTHING_BROKEN;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _unread = error.print();
        }
        _ => eprintln!("evergate-sim: {}", arguments::sentence(error)),
    }
    USAGE
}

fn run(command: Command) -> Result<u8, Trouble> {
    match command {
        Command::Explore(arguments) => explore::run(&arguments),
        Command::Scopes => {
            explore::scopes();
            Ok(NOTHING_BROKEN)
        }
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Swarm(arguments) => swarm::run(&arguments),
        Command::Conform(arguments) => conform::run(&arguments),
        Command::Harbor(arguments) => crate::harbor::command(&arguments),
    }
}
