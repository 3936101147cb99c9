//! HTTP over the control socket: it owns the connection of each call, its time limit, and the errors that a person can act
//! on. It knows no command, and it never keeps a connection between two calls, so a restart in between goes unnoticed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::http::response::Parts;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::call_error::{ABSENT_PAUSE, CallError};
use crate::logging;

/// How long one call may take unless it says otherwise.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Largest answer that is read into memory, in bytes.
const ANSWER_LIMIT: usize = 256 * 1024 * 1024;
/// Longest path of a Unix socket in bytes: `sun_path` without its final zero (unix(7)).
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A successful answer (status below 400).
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; `null` when it was empty.
    pub body: Value,
}

impl Answer {
    /// Reads the body as `T`; `call` names the call in the error.
    pub fn read<T: serde::de::DeserializeOwned>(self, call: &str) -> Result<T, CallError> {
        serde_json::from_value(self.body)
            .map_err(|error| CallError::Nonsense { call: call.to_owned(), reason: error.to_string() })
    }
}

/// How long a call is repeated while the gateway is away or busy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Insistence {
    /// No try begins after this; `None` repeats for ever.
    pub deadline: Option<Instant>,
    /// From then on "nobody runs" is final; `None` treats it like any other absence.
    pub absent_until: Option<Instant>,
}

/// The gateway behind one control socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    place: String,
}

impl Client {
    /// A client for the gateway behind `socket`; connects to nothing yet. Fails when no socket can have that path.
    pub fn new(socket: PathBuf) -> Result<Self, CallError> {
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_PATH_LIMIT {
            return Err(CallError::PathTooLong { path: socket.display().to_string(), bytes, limit: SOCKET_PATH_LIMIT });
        }
        let place = socket.parent().unwrap_or(&socket).display().to_string();
        Ok(Self { socket, place })
    }

    /// The control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        self.socket.parent().unwrap_or(&self.socket)
    }

    /// The state directory, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Result<Answer, CallError> {
        self.call(Method::GET, path, None).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, CallError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// One call on a connection of its own, answered within five seconds or not at all.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, CallError> {
        let request = self.request(method, path, body, &[])?;
        let mut pid = None;
        match tokio::time::timeout(CALL_LIMIT, self.exchange(request, &mut pid)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.timed_out(pid)),
        }
    }

    /// `call` again and again while the gateway is away or busy; for calls that may be carried out twice. Of one that is there and
    /// says nothing a person is told, once.
    pub async fn insist(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        insistence: Insistence,
    ) -> Result<Answer, CallError> {
        let mut told = false;
        loop {
            let error = match self.call(method.clone(), path, body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(pause) = error.retry_pause() else {
                return Err(error);
            };
            let now = Instant::now();
            let absent = matches!(error, CallError::NobodyRuns { .. });
            if absent && insistence.absent_until.is_some_and(|end| now >= end) {
                return Err(error);
            }
            if insistence.deadline.is_some_and(|end| now + pause >= end) {
                return Err(error);
            }
            if matches!(error, CallError::TimedOut { .. }) && !std::mem::replace(&mut told, true) {
                logging::complain(&format_args!("{error}. The call is repeated until the gateway answers"));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Opens a stream of server-sent events; `last_event` is the id of the last one that was seen.
    pub async fn stream(&self, path: &str, last_event: Option<&str>) -> Result<Stream, CallError> {
        let accept = ("accept", "text/event-stream");
        let last = last_event.map(|id| ("last-event-id", id));
        let headers: Vec<(&str, &str)> = [Some(accept), last].into_iter().flatten().collect();
        let request = self.request(Method::GET, path, None, &headers)?;
        let mut pid = None;
        let open = async {
            let (response, connection) = self.begin(request, &mut pid).await?;
            if response.status().as_u16() >= 400 {
                let (head, body) = response.into_parts();
                return Err(refusal(&head, &self.collect(body).await?, &format!("GET {path}")));
            }
            Ok(Stream { body: response.into_body(), place: self.place.clone(), _connection: connection })
        };
        match tokio::time::timeout(CALL_LIMIT, open).await {
            Ok(stream) => stream,
            Err(_) => Err(self.timed_out(pid)),
        }
    }

    fn timed_out(&self, pid: Option<i32>) -> CallError {
        CallError::TimedOut { place: self.place.clone(), limit: CALL_LIMIT, pid }
    }

    fn lost(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CallError {
        CallError::Lost { place: self.place.clone(), source: source.into() }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let call = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        request.body(Full::new(bytes)).map_err(|error| CallError::Nonsense { call, reason: error.to_string() })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, pid: &mut Option<i32>) -> Result<Answer, CallError> {
        let call = format!("{} {}", request.method(), request.uri());
        let (response, _connection) = self.begin(request, pid).await?;
        self.finish(response, &call).await
    }

    /// Connects and sends the request; the connection lives as long as the returned set.
    async fn begin(
        &self,
        request: Request<Full<Bytes>>,
        pid: &mut Option<i32>,
    ) -> Result<(Response<Incoming>, JoinSet<()>), CallError> {
        let stream = self.connect().await?;
        *pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.lost(error))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // What ends the connection reaches the caller through the response or its body.
            let _ = connection.await;
        });
        let response = sender.send_request(request).await.map_err(|error| self.lost(error))?;
        Ok((response, tasks))
    }

    async fn connect(&self) -> Result<UnixStream, CallError> {
        loop {
            let error = match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
                    return Err(CallError::nobody_runs(&self.place, self.socket.parent().unwrap_or(&self.socket)));
                }
                // The queue of the listener is full: somebody is there and does not accept. The caller's limit ends this.
                ErrorKind::WouldBlock => tokio::time::sleep(ABSENT_PAUSE).await,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Err(self.lost(error)),
                _ => {
                    return Err(CallError::Unreachable { place: self.place.clone(), source: error });
                }
            }
        }
    }

    async fn finish(&self, response: Response<Incoming>, call: &str) -> Result<Answer, CallError> {
        let (head, body) = response.into_parts();
        let bytes = self.collect(body).await?;
        if head.status.as_u16() >= 400 {
            return Err(refusal(&head, &bytes, call));
        }
        Ok(Answer { status: head.status.as_u16(), body: body_of(&bytes, call)? })
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes, CallError> {
        let collected = Limited::new(body, ANSWER_LIMIT).collect().await;
        Ok(collected.map_err(|error| self.lost(error))?.to_bytes())
    }
}

fn refusal(head: &Parts, bytes: &[u8], call: &str) -> CallError {
    let status = head.status.as_u16();
    let sentence =
        sentence_of(bytes).unwrap_or_else(|| format!("the gateway refused `{call}` with HTTP status {status}"));
    let retry_after = head.headers.get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match status {
        503 | 507 => CallError::Busy { sentence, retry_after: retry_after.map(Duration::from_secs) },
        _ => CallError::Refused { status, sentence },
    }
}

fn body_of(bytes: &[u8], call: &str) -> Result<Value, CallError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes)
        .map_err(|error| CallError::Nonsense { call: call.to_owned(), reason: error.to_string() })
}

/// The gateway's own words in a refusal, `{"error": "..."}`.
fn sentence_of(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice::<Value>(bytes).ok()?.get("error")?.as_str().map(str::to_owned)
}

/// The body of an answer that goes on for as long as both ends live.
#[derive(Debug)]
pub struct Stream {
    body: Incoming,
    place: String,
    _connection: JoinSet<()>,
}

impl Stream {
    /// The next piece; `None` at a clean end. May be dropped and asked again without losing a byte.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => {
                    return Err(CallError::Lost { place: self.place.clone(), source: error.into() });
                }
            }
        }
    }
}

/// The path of `leaf` below a session, whatever the session is called; the gateway judges the name.
pub fn session_path(session: &str, leaf: &str) -> String {
    let mut path = String::from("/v1/sessions/");
    for byte in session.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'~' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path.push('/');
    path.push_str(leaf);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_name_cannot_leave_its_place_in_the_path() {
        assert_eq!(session_path("main", "events"), "/v1/sessions/main/events");
        assert_eq!(session_path("a/b ?é", "messages"), "/v1/sessions/a%2Fb%20%3F%C3%A9/messages");
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_told_with_its_length() {
        let error = Client::new(PathBuf::from("/".to_owned() + &"x".repeat(107))).expect_err("108 bytes");
        assert_eq!(error.exit_status(), super::super::exit::CONFIGURATION);
        assert!(error.to_string().contains("108 bytes"), "{error}");
    }
}
