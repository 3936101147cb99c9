//! `evergate restart --cancel`: takes open restart requests back, as long as the gateway lets it. It restarts nothing.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::answers::{Outcome, Request};
use super::client::Client;
use super::request::{POLL, read_request, read_status};
use super::table::one_line;
use super::{CommandError, exit, print};

/// How long a cancelled request may take to say so.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// Cancels every open restart request: those that joined each other would otherwise still restart.
pub async fn run(client: &Client, json: bool) -> Result<(), CommandError> {
    let status = read_status(client).await?;
    let is_open = |request: &&Request| request.kind == "restart" && request.outcome.is_none();
    let open: Vec<u64> = status.requests.iter().filter(is_open).map(|request| request.request).collect();
    if open.is_empty() {
        return Err(CommandError::ended(
            exit::REFUSED,
            format!("no restart is open in generation {}", status.generation),
        ));
    }
    for request in open {
        client.call(hyper::Method::DELETE, &format!("/v1/requests/{request}"), None).await?;
        let outcome = settled(client, request).await?;
        let kind = outcome.as_ref().map_or("pending", |outcome| outcome.kind.as_str());
        if json {
            print(&format!("{}\n", json!({"request": request, "outcome": kind, "generation": status.generation})))?;
        }
        if kind != "cancelled" {
            let clause = outcome.map_or_else(|| "is not settled yet".to_owned(), |outcome| outcome.clause());
            return Err(CommandError::ended(exit::REFUSED, format!("restart request {request} {}", one_line(&clause))));
        }
        if !json {
            print(&format!("restart request {request} is cancelled\n"))?;
        }
    }
    Ok(())
}

/// Waits a little for the outcome of a request.
async fn settled(client: &Client, request: u64) -> Result<Option<Outcome>, CommandError> {
    let end = Instant::now() + CANCEL_LIMIT;
    loop {
        let outcome = read_request(client, request).await?.and_then(|request| request.outcome);
        if outcome.is_some() || Instant::now() >= end {
            return Ok(outcome);
        }
        tokio::time::sleep(POLL).await;
    }
}
