//! `evergate journal dump`: prints the whole journal as JSON lines. A running gateway is asked for its own; without one
//! the file is read here, and held only while a page is read: whoever looks at the output must not keep a gateway from
//! starting. Nothing is changed.

use super::answers::JournalPage;
use super::call_error::CallError;
use super::client::Client;
use super::offline::{Offline, unusable};
use super::{CommandError, Global, exit, print};
use crate::journal::{Cursor, Journal};
use std::process::ExitCode;

/// Lines read at once.
const PAGE: usize = 20_000;

/// Prints the journal of the state directory.
#[must_use]
pub fn dump(global: &Global) -> ExitCode {
    super::report(try_dump(global))
}

fn try_dump(global: &Global) -> Result<(), CommandError> {
    let client = Client::new(global.control_socket()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Start)?;
    runtime.block_on(async {
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            // Each page anew: a gateway may come or go between two of them.
            let (text, next) = match from_gateway(&client, at).await {
                Err(CommandError::Call(CallError::NobodyRuns { .. })) => from_file(global, at)?,
                page => page?,
            };
            print(&text)?;
            cursor = next;
        }
        Ok(())
    })
}

async fn from_gateway(client: &Client, at: Cursor) -> Result<(String, Option<Cursor>), CommandError> {
    let page: JournalPage = client.get(&format!("/v1/journal?cursor={at}")).await?.read("GET /v1/journal")?;
    let unreadable =
        || CommandError::ended(exit::BAD_DATA, "the gateway's page of the journal makes no sense".to_owned());
    let next = page.next.map(|next| next.parse().map_err(|_| unreadable())).transpose()?;
    Ok((page.text, next))
}

fn from_file(global: &Global, at: Cursor) -> Result<(String, Option<Cursor>), CommandError> {
    Offline::open(global)?.journal.dump(at, PAGE).map_err(unusable)
}
