//! Messages in, and the list of sessions.

use super::{Door, Local, answer};
use crate::driver::handle::{Call, MessageAnswer, NewMessage};
use crate::platform::Chat;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use evergate_core::id::SessionId;
use evergate_core::input::Standing;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The largest body that is read.
const BODY: usize = 80 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The longest id that a client may give a message, in bytes.
const NATIVE: usize = 256;
/// Sessions in one list at most.
const SESSIONS: usize = 10_000;

/// Takes a message: 202 once it is on disk, 200 if it was there before.
pub async fn post(State(local): State<Arc<Local>>, Path(session): Path<String>, body: Body) -> Response {
    let new = match read(&local, session, body).await {
        Ok(new) => new,
        Err(refused) => return *refused,
    };
    match local.handle.say(new).await {
        Err(unavailable) => answer::unavailable(unavailable),
        Ok(MessageAnswer::Refused(refusal)) => answer::refused(refusal),
        Ok(MessageAnswer::Accepted { message, place, again }) => {
            let status = if again { StatusCode::OK } else { StatusCode::ACCEPTED };
            (status, axum::Json(json!({"message": message, "state": place}))).into_response()
        }
    }
}

async fn read(local: &Local, session: String, body: Body) -> Result<NewMessage, Box<Response>> {
    let bad = |sentence: &str| Err(Box::new(answer::error(StatusCode::BAD_REQUEST, sentence)));
    if !is_session_name(&session) {
        return bad("a session name is 1 to 64 letters, digits, dots, dashes or underscores");
    }
    let body = read_json(body).await?;
    let text = match body.get("text") {
        Some(Value::String(text)) => text,
        _ => return bad("\"text\" is needed: a string with what is to be said"),
    };
    if text.trim().is_empty() {
        return bad("\"text\" is empty: there is nothing to answer");
    }
    if text.len() > NewMessage::LONGEST {
        return Err(Box::new(answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the text is longer than 64 KiB; send it in parts",
        )));
    }
    let native = match body.get("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if !id.is_empty() && id.len() <= NATIVE => Some(id.clone()),
        Some(_) => return bad("\"id\" is a string of 1 to 256 bytes, or left out"),
    };
    let from = if local.door == Door::Control { "terminal" } else { "local" };
    // Whoever came through either door holds the authority of the state directory.
    let (text, from) = (text.clone(), from.into());
    Ok(NewMessage { session, native, text, from, standing: Standing::Operator, attachments: Vec::new() })
}

/// Reads a JSON object of bounded size.
pub async fn read_json(body: Body) -> Result<serde_json::Map<String, Value>, Box<Response>> {
    let read = tokio::time::timeout(BODY_TIME, to_bytes(body, BODY)).await;
    let Ok(read) = read else {
        let sentence = "the body did not arrive in time; send it again";
        return Err(Box::new(answer::error(StatusCode::REQUEST_TIMEOUT, sentence)));
    };
    let bytes = read.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        Box::new(if too_large {
            answer::error(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 80 KiB; send the text in parts")
        } else {
            answer::error(StatusCode::BAD_REQUEST, "the body broke off before its end")
        })
    })?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Box::new(answer::error(StatusCode::BAD_REQUEST, "the body is not a JSON object"))),
        Err(error) => {
            let sentence = format!("the body is not valid JSON in UTF-8: {error}");
            Err(Box::new(answer::error(StatusCode::BAD_REQUEST, &sentence)))
        }
    }
}

/// Whether a session may be called so.
pub fn is_session_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Whether there may be a session of that name, on whatever platform. Only its own platform speaks in it.
pub fn may_be_read(name: &str) -> bool {
    is_session_name(name) || Chat::of_session(name).is_some()
}

/// The sessions there are, each with its last event.
pub async fn sessions(State(local): State<Arc<Local>>) -> Response {
    match local.handle.journal.sessions(SessionId(0), SESSIONS) {
        Err(error) => answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Ok(sessions) => {
            let doing = doing(&local).await;
            let sessions: Vec<Value> = sessions
                .into_iter()
                .map(|(id, name, last_event)| {
                    let state = doing.get(&id).copied().unwrap_or("idle");
                    json!({"session": name, "last_event": last_event, "state": state})
                })
                .collect();
            axum::Json(json!({"sessions": sessions})).into_response()
        }
    }
}

/// One session; one that nobody has spoken in yet has no events.
pub async fn session(State(local): State<Arc<Local>>, Path(name): Path<String>) -> Response {
    if !may_be_read(&name) {
        return answer::error(
            StatusCode::BAD_REQUEST,
            "a session name is 1 to 64 letters, digits, dots, dashes or underscores",
        );
    }
    let journal = &local.handle.journal;
    let last = journal.session(&name).and_then(|id| match id {
        Some(SessionId(id)) => journal.sessions(SessionId(id.saturating_sub(1)), 1),
        None => Ok(Vec::new()),
    });
    match last {
        Err(error) => answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Ok(found) => {
            let (id, last_event) = found.first().map_or((SessionId(0), 0), |(id, _, last)| (*id, *last));
            let state = doing(&local).await.get(&id).copied().unwrap_or("idle");
            axum::Json(json!({"session": name, "last_event": last_event, "state": state})).into_response()
        }
    }
}

/// What sessions are doing; nothing is known of them while the driver does not answer.
async fn doing(local: &Local) -> HashMap<SessionId, &'static str> {
    local.handle.call(Duration::from_secs(1), |answer| Call::Doing { answer }).await.unwrap_or_default()
}
