//! The program's log: readable on a terminal, JSON lines otherwise, on standard error.

use crate::config::{Log, LogFormat, LogLevel};
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use tracing_subscriber::{EnvFilter, reload};

/// Sets the log up, once, as configured.
pub fn start(log: &Log) {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let filter = EnvFilter::new(log.level.as_str());
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // Whoever read our log may go away; complaining about that on the same line would end the process.
        .log_internal_errors(false)
        .with_ansi(terminal && std::env::var_os("NO_COLOR").is_none());
    let set = if json {
        let builder = builder.json().flatten_event(true).with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        keep(move |filter| handle.reload(filter));
        builder.try_init()
    } else {
        let builder = builder.with_target(false).with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        keep(move |filter| handle.reload(filter));
        builder.try_init()
    };
    if let Err(error) = set {
        complain(&format_args!("the log is already set up: {error}"));
    }
    std::panic::set_hook(Box::new(|panic| {
        if !crate::journal::store::panics_are_answered() {
            tracing::error!(%panic, "a part of the program broke");
        }
    }));
}

/// What changes the filter of the log that is set up.
type Filter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;
static FILTER: OnceLock<Filter> = OnceLock::new();

fn keep(change: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static) {
    // A log is set up once; that it was before is said by `try_init`.
    let _before = FILTER.set(Box::new(change));
}

/// From now on logs what is at least so important. Without a log nothing happens.
pub fn set_level(level: LogLevel) {
    if let Some(Err(error)) = FILTER.get().map(|change| change(EnvFilter::new(level.as_str()))) {
        complain(&format_args!("the level of the log cannot be changed: {error}"));
    }
}

/// Something to be logged.
type Line = Box<dyn FnOnce() + Send>;
/// How many lines wait for a log that stands still; what comes then is not said.
const LINES: usize = 32;

/// Logs on a thread that does nothing else, one line after the other, for those who must not stand still together with a log
/// that nobody reads or whose disk takes its time. Without a thread to be had it is not said.
pub fn beside(say: impl FnOnce() + Send + 'static) {
    static LOG: OnceLock<Option<SyncSender<Line>>> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let (log, lines) = sync_channel::<Line>(LINES);
        let thread = crate::native::thread("log", move || lines.into_iter().for_each(|say| say()));
        thread.ok().map(|()| log)
    });
    if let Some(log) = log {
        let _unsaid = log.try_send(Box::new(say));
    }
}

/// Says something on standard error. With nobody left there to hear it, it is not said, and that is no error.
pub fn complain(what: &dyn std::fmt::Display) {
    let _unheard = writeln!(std::io::stderr(), "evergate: {what}");
}
