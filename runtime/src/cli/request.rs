//! Requests about the life cycle as the commands make and watch them: the body, the asking, and one look at how it goes.
//! What the look means for a restart or a stop is decided there.

use std::pin::Pin;
use std::time::Duration;

use evergate_core::ladder::GAP;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::CommandError;
use super::answers::{Accepted, Request, Status};
use super::call_error::CallError;
use super::client::Client;

/// How often the gateway is looked at.
pub const POLL: Duration = Duration::from_millis(50);

/// A call that is under way.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The answer to what is asked; where nothing is, there never is one.
pub async fn answer_to<T>(asking: &mut Option<Asking<'_, T>>) -> T {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

/// The body of a life-cycle request; `turn` is the turn that it is made from.
pub fn request_body(mode: &str, reason: Option<&str>, turn: Option<u64>) -> Value {
    let mut body = json!({"mode": mode});
    if let Some(reason) = reason {
        body["reason"] = json!(reason);
    }
    if let Some(turn) = turn {
        body["turn"] = json!(turn);
    }
    body
}

/// Makes a life-cycle request, again while the gateway says that it is busy or starting, or is away for a moment. A broken connection is not tried
/// again here: nobody knows whether the request was accepted, and a successor would be restarted a second time.
pub async fn ask(
    client: &Client,
    path: &str,
    body: &Value,
    deadline: Option<Instant>,
) -> Result<Accepted, CommandError> {
    // A gateway that is just being replaced is not absent.
    let absent_until = Instant::now() + GAP;
    loop {
        let error = match client.post(path, body).await {
            Ok(answer) => return Ok(answer.read(&format!("POST {path}"))?),
            Err(error) => error,
        };
        let pause = error.retry_pause().filter(|_| match error {
            CallError::Busy { .. } => true,
            CallError::NobodyRuns { .. } => Instant::now() < absent_until,
            _ => false,
        });
        match pause {
            Some(pause) if deadline.is_none_or(|end| Instant::now() + pause < end) => tokio::time::sleep(pause).await,
            _ => return Err(error.into()),
        }
    }
}

/// Makes once more a request of which nobody knows whether it was heard; `None` where that, too, comes to nothing. Only the
/// generation that was asked takes it, and joins the two if it has heard it already: no successor is restarted in its turn.
pub async fn ask_again(
    client: &Client,
    path: &str,
    body: &Value,
    generation: Option<u64>,
) -> Result<Option<Accepted>, CommandError> {
    tokio::time::sleep(POLL).await;
    let Some(generation) = generation else { return Ok(None) };
    let mut body = body.clone();
    body["generation"] = json!(generation);
    match client.post(path, &body).await {
        Ok(answer) => Ok(Some(answer.read(&format!("POST {path}"))?)),
        Err(_either_way) => Ok(None),
    }
}

/// What one look at the gateway showed.
pub enum Seen {
    /// It answered; the request is `None` when it does not know it.
    Answered { status: Box<Status>, request: Option<Request> },
    /// It did not.
    Absent(CallError),
}

/// Looks at the gateway and at one request. Failed calls are part of the picture while a gateway comes and goes; only an
/// answer that makes no sense is an error.
pub async fn look(client: &Client, id: u64) -> Result<Seen, CommandError> {
    match both(client, id).await {
        Ok((status, request)) => Ok(Seen::Answered { status: Box::new(status), request }),
        Err(CommandError::Call(error)) => Ok(Seen::Absent(error)),
        Err(error) => Err(error),
    }
}

async fn both(client: &Client, id: u64) -> Result<(Status, Option<Request>), CommandError> {
    let status = read_status(client).await?;
    // A request that is settled may have left the list.
    let request = match status.requests.iter().find(|request| request.request == id) {
        Some(request) => Some(request.clone()),
        None => read_request(client, id).await?,
    };
    Ok((status, request))
}

/// `GET /v1/status`.
pub async fn read_status(client: &Client) -> Result<Status, CommandError> {
    Ok(client.get("/v1/status").await?.read("GET /v1/status")?)
}

/// `GET /v1/requests/{id}`; `None` when the gateway does not know it.
pub async fn read_request(client: &Client, id: u64) -> Result<Option<Request>, CommandError> {
    match client.get(&format!("/v1/requests/{id}")).await {
        Ok(answer) => Ok(Some(answer.read("GET /v1/requests")?)),
        Err(CallError::Refused { status: 404, .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
