//! The gateway that `evergate supervise` starts: what it is started with, and what it inherits.

use super::{Arguments, Command, load, sources};
use crate::cli::Global;
use crate::config::Config;
use crate::kept_socket::KeptSocket;
use crate::{logging, supervise};
use clap::Parser;
use evergate_core::verdict::PARK;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

/// Supervises `run` with the same global options.
pub(super) fn supervise_gateway(global: &Global, child: Vec<OsString>, socket: KeptSocket) -> ExitCode {
    let (config, state_dir) = match load(global, None) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    logging::start(&config.log);
    let mut arguments = if child.is_empty() { vec!["run".into()] } else { child };
    if !arguments.iter().any(|argument| argument == "run") {
        logging::complain(&format_args!(
            "it is `evergate run` that is supervised: write `evergate supervise -- run {}`",
            arguments.join(OsStr::new(" ")).display()
        ));
        return ExitCode::from(PARK);
    }
    for (flag, value) in [("--state-dir", &global.state_dir), ("--config", &global.config)] {
        if let Some(value) = value
            && !arguments.iter().any(|argument| argument == flag)
        {
            arguments.extend([flag.into(), value.clone().into_os_string()]);
        }
    }
    let state_dir = state_dir_in(&arguments).unwrap_or(state_dir);
    // The watchdog inside comes first, where it still can: it goes by the child's own configuration.
    let freeze = config_of(&arguments).unwrap_or(config).watchdog.freeze;
    let silence = freeze + supervise::AFTER_THE_WATCHDOG;
    let child = arguments.clone();
    supervise::supervise(arguments, &state_dir, silence, move |command| endow(command, &socket, &child))
}

/// Gives the next child of a supervisor the socket that it is going to want, which is kept from one child to the next. A
/// child that wants any port finds its own.
fn endow(command: &mut std::process::Command, socket: &KeptSocket, child: &[OsString]) {
    match config_of(child).map(|config| config.local.listen).filter(|address| address.port() != 0) {
        Some(address) => {
            if let Err(error) = socket.listen(address) {
                if error.kind() == std::io::ErrorKind::AddrInUse {
                    tracing::info!(%address, "somebody else listens there; the child waits a while for them to let go of it");
                    return socket.hand_over(command, None);
                }
                tracing::warn!(%error, %address, "cannot listen for the child, which tries by itself; connections that are made while none runs are refused");
            }
        }
        None => socket.close(),
    }
    socket.hand_over(command, None);
}

/// The configuration that a gateway has that is started with these arguments, as things are now; `None` where that is not to be
/// known.
fn config_of(child: &[OsString]) -> Option<Config> {
    let words = std::iter::once(OsStr::new("evergate")).chain(child.iter().map(OsString::as_os_str));
    let Arguments { global, command: Command::Run(run) } = Arguments::try_parse_from(words).ok()? else { return None };
    let state_dir = global.state_dir().ok()?;
    Config::load(sources(&global, run.listen, &state_dir)).ok()
}

/// The state directory that the arguments of a child name themselves.
fn state_dir_in(arguments: &[OsString]) -> Option<PathBuf> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--state-dir" {
            return words.next().map(PathBuf::from);
        }
        if let Some(value) = word.to_str().and_then(|word| word.strip_prefix("--state-dir=")) {
            return Some(PathBuf::from(value));
        }
    }
    None
}
