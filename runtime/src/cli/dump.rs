//! `evergate journal dump`: prints the whole journal as JSON lines. A running gateway is asked for its own; without one
//! the file is claimed and read here. Nothing is changed.

use super::answers::JournalPage;
use super::call_error::CallError;
use super::client::Client;
use super::offline::{Offline, unusable};
use super::{CommandError, Global, print};
use crate::journal::{Cursor, Journal};
use std::process::ExitCode;

/// Lines read at once.
const PAGE: usize = 1000;

/// Prints the journal of the state directory.
#[must_use]
pub fn dump(global: &Global) -> ExitCode {
    super::report(try_dump(global))
}

fn try_dump(global: &Global) -> Result<(), CommandError> {
    let client = Client::new(global.control_socket()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Start)?;
    match runtime.block_on(from_gateway(&client)) {
        Err(CommandError::Call(CallError::NobodyRuns { .. })) => runtime.block_on(async { from_file(global) }),
        done => done,
    }
}

async fn from_gateway(client: &Client) -> Result<(), CommandError> {
    let mut cursor = Cursor::default().to_string();
    loop {
        let page: JournalPage = client.get(&format!("/v1/journal?cursor={cursor}")).await?.read("GET /v1/journal")?;
        print(&page.text)?;
        match page.next {
            Some(next) => cursor = next,
            None => return Ok(()),
        }
    }
}

fn from_file(global: &Global) -> Result<(), CommandError> {
    let offline = Offline::open(global)?;
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        let (text, next) = offline.journal.dump(at, PAGE).map_err(unusable)?;
        print(&text)?;
        cursor = next;
    }
    Ok(())
}
