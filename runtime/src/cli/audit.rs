//! `evergate audit`: holds the journal and the flight logs against the rules that must always hold, and tells what it found.
//! A running gateway is asked for its journal, page by page; without one the file is read. Nothing is changed.

use super::answers::JournalPage;
use super::call_error::CallError;
use super::client::{Client, Insistence};
use super::offline::{Offline, unusable};
use super::{CommandError, Global, exit, print};
use crate::audit::{Audit, AuditError, Owner, Report, Since};
use crate::flight::reader::LogError;
use crate::flight::store;
use crate::journal::{Cursor, Journal, Logged};
use evergate_core::id::GenerationId;
use evergate_core::record::Record;
use hyper::Method;
use serde::Deserialize;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// Lines of the history read at once from the file.
const PAGE: usize = 1000;
/// How long a gateway may be away in the middle, for a restart.
const AWAY: Duration = Duration::from_secs(10);

/// The arguments of `evergate audit`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Tell only what is broken since then: a length of time (`2h`), or the number of a generation
    #[arg(long, value_name = "DURATION|GENERATION")]
    since: Option<Back>,
    /// The flight log that belongs to the journal; those in the state directory when not given
    #[arg(long, value_name = "FILE")]
    flight: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    To(GenerationId),
    For(Duration),
}

impl std::str::FromStr for Back {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(number) = text.parse() {
            return Ok(Self::To(GenerationId(number)));
        }
        let length = humantime::parse_duration(text).map(Self::For);
        length.map_err(|_| "give the number of a generation, or a length of time like 2h or 90d".to_owned())
    }
}

/// Audits the journal of the state directory.
#[must_use]
pub fn audit(global: &Global, arguments: &Arguments) -> ExitCode {
    super::report(try_audit(global, arguments))
}

fn try_audit(global: &Global, arguments: &Arguments) -> Result<(), CommandError> {
    let client = Client::new(global.control_socket()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Start)?;
    let first = runtime.block_on(page(&client, 0, Insistence { absent_until: Some(Instant::now()), ..insistence() }));
    let report = match first {
        Err(CommandError::Call(CallError::NobodyRuns { .. })) => {
            let offline = Offline::open(global)?;
            let history = |after| offline.journal.history(after, PAGE).map_err(unusable);
            examine(global, arguments, history, Owner::Nobody)?
        }
        first => {
            first?;
            examine(global, arguments, from_gateway(&client, &runtime), Owner::Running)?
        }
    };
    if arguments.json {
        let text =
            serde_json::to_string(&report).map_err(|error| CommandError::ended(exit::BROKEN, error.to_string()))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&report.to_string())?;
    }
    match report.broken {
        0 => Ok(()),
        _ => Err(CommandError::ended(exit::REFUSED, "a rule is broken; the story is above")),
    }
}

fn from_gateway(client: &Client, runtime: &Runtime) -> impl FnMut(u64) -> Result<Vec<Logged>, CommandError> {
    |after| runtime.block_on(page(client, after, insistence()))
}

fn insistence() -> Insistence {
    Insistence { deadline: Some(Instant::now() + AWAY), absent_until: None }
}

/// The lines of a running gateway's history behind this one.
async fn page(client: &Client, after: u64, insistence: Insistence) -> Result<Vec<Logged>, CommandError> {
    #[derive(Deserialize)]
    struct Line {
        kind: String,
        id: u64,
        value: serde_json::Value,
    }
    #[derive(Deserialize)]
    struct Value {
        at_ms: u64,
        record: Record,
    }
    let path = format!("/v1/journal?cursor={}", Cursor::in_history(after));
    let answer = client.insist(Method::GET, &path, None, insistence).await?;
    let page: JournalPage = answer.read("GET /v1/journal")?;
    let unclear = |line: u64, error: serde_json::Error| {
        CommandError::ended(exit::BAD_DATA, format!("the journal behind line {line} cannot be understood: {error}"))
    };
    let mut lines = Vec::new();
    for text in page.text.lines() {
        let line: Line = serde_json::from_str(text).map_err(|error| unclear(after, error))?;
        if line.kind == "log" {
            let value = serde_json::from_value(line.value).map_err(|error| unclear(line.id - 1, error))?;
            let Value { at_ms, record } = value;
            lines.push(Logged { line: line.id, at_ms, record });
        }
    }
    Ok(lines)
}

fn examine(
    global: &Global,
    arguments: &Arguments,
    history: impl FnMut(u64) -> Result<Vec<Logged>, CommandError>,
    owner: Owner,
) -> Result<Report, CommandError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = match arguments.since {
        None => Since::Ever,
        Some(Back::To(generation)) => Since::Generation(generation),
        Some(Back::For(length)) => {
            Since::Time(u64::try_from(now.saturating_sub(length).as_millis()).unwrap_or(u64::MAX))
        }
    };
    let mut audit = Audit::new(history, owner, since);
    match &arguments.flight {
        Some(file) => weave(&mut audit, file)?.map_err(|error| unreadable(file, &error))?,
        // One of the gateway's own that a power cut has damaged leaves the journal to be read without it.
        None => {
            let mut of_others = 0;
            for file in store::logs(&global.state_dir()?.join(store::FOLDER)) {
                match weave(&mut audit, &file)? {
                    Ok(()) => {}
                    Err(LogError::Version { .. }) => of_others += 1,
                    Err(error) => {
                        audit.note(format!("{}: {error}; from there on only the journal was read", file.display()));
                    }
                }
            }
            if of_others > 0 {
                audit.note(format!(
                    "flight logs of another version, of whose generations only the journal was read: {of_others}"
                ));
            }
        }
    }
    let report = audit.finish()?;
    match arguments.since {
        // They are numbered from 1 without a gap.
        Some(Back::To(GenerationId(wanted))) if wanted > report.generations => {
            let known = report.generations;
            Err(CommandError::ended(exit::USAGE, format!("there is no generation {wanted}: the last one is {known}")))
        }
        _ => Ok(report),
    }
}

/// Weaves in one flight log; the inner error is the log's own.
fn weave(
    audit: &mut Audit<impl FnMut(u64) -> Result<Vec<Logged>, CommandError>>,
    file: &Path,
) -> Result<Result<(), LogError>, CommandError> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error.into())),
    };
    match audit.flight(BufReader::new(opened)) {
        Ok(()) => Ok(Ok(())),
        Err(AuditError::Flight(error)) => Ok(Err(error)),
        Err(AuditError::Journal(error)) => Err(error),
    }
}

fn unreadable(file: &Path, error: &LogError) -> CommandError {
    CommandError::ended(exit::BAD_DATA, format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_generation_or_a_length_of_time() {
        assert_eq!("12".parse(), Ok(Back::To(GenerationId(12))));
        assert_eq!("2h".parse(), Ok(Back::For(Duration::from_secs(7200))));
        assert!("yesterday".parse::<Back>().is_err());
    }
}
