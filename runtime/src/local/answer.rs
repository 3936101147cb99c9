//! The error answers of the API: a status, and one sentence that says what happened and what to do.

use crate::driver::handle::Unavailable;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use evergate_core::effect::Refusal;
use serde_json::json;

/// An error with its sentence.
pub fn error(status: StatusCode, sentence: &str) -> Response {
    (status, axum::Json(json!({"error": sentence}))).into_response()
}

/// Gives the server's own complaints about a request (a path that is not UTF-8, say) the shape of all other errors.
pub async fn in_json(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !response.status().is_client_error() || json {
        return response;
    }
    let status = response.status();
    let said = axum::body::to_bytes(response.into_body(), 4096).await.unwrap_or_default();
    match String::from_utf8_lossy(&said).trim() {
        "" => error(status, "the request cannot be understood"),
        said => error(status, said),
    }
}

/// An error that passes: the client may come again after so many seconds.
pub fn later(status: StatusCode, seconds: u32, sentence: &str) -> Response {
    let mut response = error(status, sentence);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The driver is not to be had.
pub fn unavailable(unavailable: Unavailable) -> Response {
    let sentence = match unavailable {
        Unavailable::Busy => "the gateway is busy; try again",
        Unavailable::Over => "this generation of the gateway is over; try again when the next one serves",
        Unavailable::Stuck => {
            "the gateway does not answer in time; nothing is known about this call; try again with the same id"
        }
    };
    later(StatusCode::SERVICE_UNAVAILABLE, 1, sentence)
}

/// A message was refused.
pub fn refused(refusal: Refusal) -> Response {
    let (status, seconds, sentence) = match refusal {
        Refusal::Starting => (StatusCode::SERVICE_UNAVAILABLE, 1, "the gateway is starting; try again"),
        Refusal::Ending => (
            StatusCode::SERVICE_UNAVAILABLE,
            1,
            "this generation of the gateway is over; try again when the next one serves",
        ),
        Refusal::QueueFull => (
            StatusCode::SERVICE_UNAVAILABLE,
            5,
            "too many messages wait for an answer (limits.queued); try again later",
        ),
        Refusal::SessionQueueFull => (
            StatusCode::SERVICE_UNAVAILABLE,
            5,
            "too many messages of this session wait for an answer (limits.queued_per_session); try again later",
        ),
        Refusal::TooManySessions => (
            StatusCode::SERVICE_UNAVAILABLE,
            5,
            "too many sessions wait for answers (limits.sessions); try again later",
        ),
        Refusal::StorageFull => (
            StatusCode::INSUFFICIENT_STORAGE,
            5,
            "the message cannot be stored: the journal cannot be written (disk full?); it was not accepted; try again when there is space",
        ),
    };
    later(status, seconds, sentence)
}
