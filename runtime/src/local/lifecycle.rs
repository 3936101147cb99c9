//! Wishes about the life cycle, and what became of them.

use super::messages::read_json;
use super::{Door, Local, answer};
use crate::config::Changes;
use crate::driver::handle::{By, Call, NewRequest, RequestAnswer};
use crate::driver::request_json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use evergate_core::effect::Answer;
use evergate_core::id::RequestId;
use evergate_core::request::{Mode, Wish};
use evergate_core::watchdog::Part;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a request may take to reach the disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest reason, in bytes.
const REASON: usize = 1024;

/// `POST /v1/restart`.
pub async fn restart(local: State<Arc<Local>>, body: Body) -> Response {
    ask(local, Wish::Restart, body).await
}

/// `POST /v1/stop`.
pub async fn stop(local: State<Arc<Local>>, body: Body) -> Response {
    ask(local, Wish::Stop, body).await
}

async fn ask(State(local): State<Arc<Local>>, wish: Wish, body: Body) -> Response {
    let generation = local.handle.hub.stage().generation;
    let new = match read(&local, wish, body, generation).await {
        Ok(new) => new,
        Err(refused) => return *refused,
    };
    match local.handle.call(PATIENCE, |answer| Call::Request { request: new, answer }).await {
        Err(unavailable) => answer::unavailable(unavailable),
        Ok(answer) => answered(&local, &answer, generation),
    }
}

async fn read(local: &Local, wish: Wish, body: Body, generation: u64) -> Result<NewRequest, Box<Response>> {
    let bad = |sentence: &str| Err(Box::new(answer::error(StatusCode::BAD_REQUEST, sentence)));
    let body = read_body(body).await?;
    let mode = match body.get("mode").map(Value::as_str) {
        None | Some(Some("graceful")) => Mode::Graceful,
        Some(Some("force")) => Mode::Force,
        Some(_) => return bad("\"mode\" is \"graceful\" or \"force\""),
    };
    let reason = match body.get("reason") {
        None | Some(Value::Null) => None,
        Some(Value::String(reason)) if reason.len() <= REASON => Some(reason.clone()),
        Some(_) => return bad("\"reason\" is a string of at most 1024 bytes"),
    };
    match body.get("generation") {
        None | Some(Value::Null) => {}
        Some(meant) if meant.as_u64() == Some(generation) => {}
        Some(meant) if meant.is_u64() => {
            let sentence = format!("this is generation {generation}, and the request is meant for generation {meant}");
            return Err(Box::new(answer::error(StatusCode::CONFLICT, &sentence)));
        }
        Some(_) => return bad("\"generation\" is the number of the generation that the request is meant for"),
    }
    Ok(NewRequest { wish, mode, by: by(local, &body)?, reason })
}

/// A body that may be empty.
async fn read_body(body: Body) -> Result<Map<String, Value>, Box<Response>> {
    match axum::body::HttpBody::size_hint(&body).exact() {
        Some(0) => Ok(Map::new()),
        _ => read_json(body).await,
    }
}

/// Through which door a wish came, and from which turn, as it says itself.
fn by(local: &Local, body: &Map<String, Value>) -> Result<By, Box<Response>> {
    let turn = match body.get("turn") {
        None | Some(Value::Null) => None,
        Some(turn) if turn.is_u64() => turn.as_u64(),
        Some(_) => {
            let sentence = "\"turn\" is the number of the turn that asks";
            return Err(Box::new(answer::error(StatusCode::BAD_REQUEST, sentence)));
        }
    };
    Ok(By { through_control: local.door == Door::Control, turn })
}

/// `POST /v1/breaker/reset`.
pub async fn reset_breaker(State(local): State<Arc<Local>>, body: Body) -> Response {
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let by = match by(&local, &body) {
        Ok(by) => by,
        Err(refused) => return *refused,
    };
    let generation = local.handle.hub.stage().generation;
    match local.handle.call(PATIENCE, |answer| Call::ResetBreaker { by, answer }).await {
        Err(unavailable) => answer::unavailable(unavailable),
        Ok(RequestAnswer { request, answer: Answer::Accepted, .. }) => {
            axum::Json(json!({"reset": true, "request": request, "generation": generation})).into_response()
        }
        Ok(RequestAnswer { answer: Answer::NotTripped, .. }) => {
            axum::Json(json!({"reset": false, "generation": generation})).into_response()
        }
        Ok(answer) => answered(&local, &answer, generation),
    }
}

/// `POST /v1/reload`.
pub async fn reload(State(local): State<Arc<Local>>) -> Response {
    match local.handle.call(PATIENCE, |answer| Call::Reload { answer }).await {
        Err(unavailable) => answer::unavailable(unavailable),
        Ok(Ok(Changes { effective, at_restart })) => {
            axum::Json(json!({"changed": effective, "needs_restart": at_restart})).into_response()
        }
        Ok(Err(why)) => {
            let sentence = format!("the configuration is refused, and nothing has changed: {why}");
            answer::error(StatusCode::PRECONDITION_FAILED, &sentence)
        }
    }
}

fn answered(local: &Local, answer: &RequestAnswer, generation: u64) -> Response {
    let RequestAnswer { request, answer, why } = answer;
    match *answer {
        Answer::Accepted | Answer::Cancelled => {
            (StatusCode::ACCEPTED, axum::Json(json!({"request": request, "generation": generation}))).into_response()
        }
        Answer::AlreadyDone(earlier) => match local.handle.journal.request(earlier) {
            Ok(Some(stored)) => {
                let outcome = request_json(&*local.handle.journal, earlier, &stored)["outcome"].take();
                let body = json!({"request": earlier, "already": true, "generation": generation, "outcome": outcome});
                axum::Json(body).into_response()
            }
            _ => answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the earlier request of this turn cannot be read"),
        },
        Answer::TooLate => answer::error(
            StatusCode::CONFLICT,
            "too late: work has been interrupted for it already, or the process was sent a signal to leave",
        ),
        Answer::TooMany => answer::later(
            StatusCode::SERVICE_UNAVAILABLE,
            1,
            "too many requests are open already; wait for their outcome (GET /v1/status)",
        ),
        Answer::NotTripped => answer::error(StatusCode::CONFLICT, "the loop breaker is not tripped"),
        Answer::Unknown => answer::error(StatusCode::NOT_FOUND, "there is no open request with this number"),
        Answer::Ending => answer::refused(evergate_core::effect::Refusal::Ending),
        Answer::Unfit(_) => {
            let why = why.as_deref().unwrap_or("the reason is in the gateway's log");
            let sentence = format!("no restart, since the next start would fail: {why}. The gateway goes on as it is");
            answer::error(StatusCode::PRECONDITION_FAILED, &sentence)
        }
        Answer::StorageFull => answer::later(
            StatusCode::INSUFFICIENT_STORAGE,
            5,
            "the request cannot be stored: the journal cannot be written (disk full?); it was not accepted",
        ),
    }
}

/// `POST /v1/debug/freeze`: has a part stand still, or break, or the loop get nowhere although it turns, where the configuration
/// lets people try that out.
pub async fn freeze(State(local): State<Arc<Local>>, body: Body) -> Response {
    if local.door != Door::Control || !local.handle.pulse.has_hooks() {
        return answer::error(
            StatusCode::NOT_FOUND,
            "this is only there through the control socket with [debug] hooks = \"on\"",
        );
    }
    let body = match read_json(body).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let named = body.get("part").and_then(Value::as_str).unwrap_or_default();
    let length = body.get("ms").and_then(Value::as_u64).map(Duration::from_millis);
    let part = Part::ALL.into_iter().find(|part| part.name() == named);
    let wants = |what: &str| body.get(what).and_then(Value::as_bool) == Some(true);
    match (part, local.handle.hub.switchboard().line(named), length) {
        (Some(part), _, _) if wants("break") => local.handle.pulse.break_down(part),
        (Some(Part::Loop), _, _) if wants("spin") => local.handle.pulse.spin(),
        (Some(part), _, Some(length)) => local.handle.pulse.freeze(part, length),
        (None, Some(platform), Some(length)) => platform.freeze(length),
        _ => {
            let wanted =
                "\"part\" is \"loop\", \"journal\", \"control\" or a platform's name, \"ms\" a number of milliseconds";
            return answer::error(StatusCode::BAD_REQUEST, wanted);
        }
    }
    (StatusCode::ACCEPTED, axum::Json(json!({"part": named, "ms": body.get("ms")}))).into_response()
}

/// `GET /v1/requests/{id}`.
pub async fn request(State(local): State<Arc<Local>>, Path(request): Path<String>) -> Response {
    let Ok(id) = request.parse().map(RequestId) else {
        return answer::error(StatusCode::NOT_FOUND, "there is no such request: its name is a number");
    };
    match local.handle.journal.request(id) {
        Ok(Some(stored)) => axum::Json(request_json(&*local.handle.journal, id, &stored)).into_response(),
        Ok(None) => answer::error(StatusCode::NOT_FOUND, "there is no request with this number"),
        Err(error) => answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// `DELETE /v1/requests/{id}`.
pub async fn cancel(State(local): State<Arc<Local>>, Path(request): Path<String>) -> Response {
    let Ok(id) = request.parse().map(RequestId) else {
        return answer::error(StatusCode::NOT_FOUND, "there is no such request: its name is a number");
    };
    let generation = local.handle.hub.stage().generation;
    match local.handle.call(PATIENCE, |answer| Call::Cancel { request: id, answer }).await {
        Err(unavailable) => answer::unavailable(unavailable),
        Ok(answer) => answered(&local, &answer, generation),
    }
}
