//! The program's log: readable on a terminal, JSON lines otherwise, on standard error.

use crate::config::{Log, LogFormat};
use std::io::{IsTerminal, Write};
use tracing_subscriber::EnvFilter;

/// Sets the log up, once, as configured.
pub fn start(log: &Log) {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // Whoever read our log may go away; complaining about that on the same line would end the process.
        .log_internal_errors(false)
        .with_env_filter(EnvFilter::new(log.level.as_str()))
        .with_ansi(terminal && std::env::var_os("NO_COLOR").is_none());
    let set = if json { builder.json().flatten_event(true).try_init() } else { builder.with_target(false).try_init() };
    if let Err(error) = set {
        complain(&format_args!("the log is already set up: {error}"));
    }
    std::panic::set_hook(Box::new(|panic| {
        if !crate::journal::store::panics_are_answered() {
            tracing::error!(%panic, "a part of the program broke");
        }
    }));
}

/// Says something on standard error. With nobody left there to hear it, it is not said, and that is no error.
pub fn complain(what: &dyn std::fmt::Display) {
    let _unheard = writeln!(std::io::stderr(), "evergate: {what}");
}
