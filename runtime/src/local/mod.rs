//! The local platform: HTTP and server-sent events for the chat page, for scripts and for the command line. It brings
//! messages in and shows what the journal keeps; it decides nothing about either.

mod access;
mod answer;
mod connection;
mod files;
mod generations;
mod lifecycle;
mod messages;
mod stream;

pub use access::{Access, Door};
pub use connection::serve;
pub use messages::is_session_name;

use crate::driver::handle::{Call, Handle};
use crate::platform::{Capabilities, Edits, Outbound, Replay, Threads};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post};
use evergate_core::gateway::Phase;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The platform's name.
pub const NAME: &str = "local";

/// What it can do. Its clients come over HTTP and are answered there, each refusal with a status of its own, so it takes
/// messages to the driver itself; and there is nothing to send, since clients read what is kept.
pub const CAPABILITIES: Capabilities = Capabilities {
    outbound: Outbound::Kept,
    replay: Replay::Sender,
    edits: Edits::No,
    threads: Threads::No,
    text_limit: None,
    pace: None,
};

/// What the routes share.
#[derive(Clone)]
pub struct Local {
    /// The way to the driver.
    pub handle: Handle,
    /// Who may come in.
    pub access: Arc<Access>,
    /// Which door this is.
    pub door: Door,
    /// The world, for clocks.
    pub environment: Arc<dyn crate::environment::Environment>,
}

/// The routes behind one door. Each request gets at what they share.
pub fn router(local: Local) -> Router {
    let local = Arc::new(local);
    let guarded = Router::new()
        .route("/v1/sessions", get(messages::sessions))
        .route("/v1/sessions/{session}", get(messages::session))
        .route("/v1/sessions/{session}/messages", post(messages::post))
        .route("/v1/sessions/{session}/events", get(stream::events))
        .route("/v1/status", get(status))
        .route("/v1/restart", post(lifecycle::restart))
        .route("/v1/stop", post(lifecycle::stop))
        .route("/v1/reload", post(lifecycle::reload))
        .route("/v1/breaker/reset", post(lifecycle::reset_breaker))
        .route("/v1/requests/{request}", get(lifecycle::request))
        .route("/v1/requests/{request}", delete(lifecycle::cancel))
        .route("/v1/generations", get(generations::generations))
        .route("/v1/generations/{generation}", get(generations::generation))
        .route("/v1/files/{turn}/{place}", get(files::file))
        .route("/v1/journal", get(journal))
        .route("/v1/link", post(access::link))
        .route("/v1/debug/freeze", post(lifecycle::freeze))
        .layer(middleware::from_fn_with_state(Arc::clone(&local), access::token));
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(|| async { axum::Json(json!({"alive": true})) }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/login", post(access::login))
        .merge(guarded)
        .fallback(|| async {
            answer::error(StatusCode::NOT_FOUND, "there is nothing at this path; the API is under /v1")
        })
        .method_not_allowed_fallback(|| async {
            answer::error(StatusCode::METHOD_NOT_ALLOWED, "this path exists, but not with this method")
        })
        .layer(middleware::from_fn(answer::in_json))
        .layer(middleware::from_fn_with_state(Arc::clone(&local), access::origin))
        .with_state(local)
}

/// The chat page: one file, which may load nothing from elsewhere.
async fn page() -> Response {
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                  img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let mut response = Html(include_str!("chat.html")).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

async fn readyz(State(local): State<Arc<Local>>) -> Response {
    let stage = local.handle.hub.stage();
    // What the phase was when the loop last said so is not what it is: a loop that stands still serves nobody.
    let (status, phase) = match stage.phase {
        Phase::Serving => match local.handle.answers().await {
            Ok(()) => (StatusCode::OK, stage.phase.name()),
            Err(phase) => (StatusCode::SERVICE_UNAVAILABLE, phase),
        },
        phase => (StatusCode::SERVICE_UNAVAILABLE, phase.name()),
    };
    // A gateway whose loop breaker is tripped is ready: it takes and answers messages.
    let breaker = local.handle.hub.breaker().name();
    let body = json!({"phase": phase, "generation": stage.generation, "breaker": breaker});
    (status, axum::Json(body)).into_response()
}

async fn metrics(State(local): State<Arc<Local>>) -> Response {
    // A driver that does not answer leaves the last ones.
    let _set = local.handle.call(Duration::from_secs(1), |answer| Call::Gauges { answer }).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], local.handle.metrics.text()).into_response()
}

async fn status(State(local): State<Arc<Local>>) -> axum::Json<Value> {
    axum::Json(local.handle.status().await)
}

/// A page of the journal: JSON lines, and where to go on.
async fn journal(State(local): State<Arc<Local>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let cursor = match query.get("cursor").map(|cursor| cursor.parse()) {
        None => crate::journal::Cursor::default(),
        Some(Ok(cursor)) => cursor,
        Some(Err(())) => return answer::error(StatusCode::BAD_REQUEST, "cursor is not what an earlier page gave"),
    };
    match local.handle.journal.dump(cursor, 500) {
        Err(error) => answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Ok((text, next)) => {
            axum::Json(json!({"text": text, "next": next.map(|next| next.to_string())})).into_response()
        }
    }
}
