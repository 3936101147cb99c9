//! A client of the gateway's HTTP API inside the simulation: hyper over turmoil's sockets. Every call ends within its
//! patience; what it does not know it does not guess.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;
use turmoil::net::TcpStream;

/// The host that the gateway runs on.
pub const GATEWAY: &str = "gateway";
/// The port of the local platform.
pub const NETWORK_PORT: u16 = 8787;
/// The port that stands for the control socket.
pub const CONTROL_PORT: u16 = 8788;
/// The text of the file `token`.
pub const TOKEN: &str = "the-token-of-the-harbor";

/// How long one call may take.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The network door, with the token.
    Network,
    /// The control socket.
    Control,
}

/// No answer came; whether the call arrived is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// One connection.
pub struct Link {
    requests: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

impl Link {
    /// Connects.
    pub async fn open(way: Way) -> Result<Self, Lost> {
        let connect = async {
            let stream = match way {
                Way::Network => TcpStream::connect((GATEWAY, NETWORK_PORT)).await,
                Way::Control => TcpStream::connect((GATEWAY, CONTROL_PORT)).await,
            };
            let (requests, connection) = handshake(TokioIo::new(stream.map_err(|_| Lost)?)).await.map_err(|_| Lost)?;
            let mut task = JoinSet::new();
            task.spawn(async move {
                // A broken connection is seen by the call that waits on it.
                let _broken = connection.await;
            });
            Ok(Self { requests, _connection: task })
        };
        timeout(PATIENCE, connect).await.map_err(|_| Lost)?
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        after: Option<u64>,
        body: Option<Value>,
    ) -> Result<Response<Incoming>, Lost> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("127.0.0.1:{NETWORK_PORT}"))
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(Full::new(body)).map_err(|_| Lost)?;
        timeout(PATIENCE, self.requests.send_request(request)).await.map_err(|_| Lost)?.map_err(|_| Lost)
    }

    /// A whole call: the status and the JSON of its answer.
    pub async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<(u16, Value), Lost> {
        let response = self.send(method, path, None, body).await?;
        let status = response.status().as_u16();
        let body = timeout(PATIENCE, response.into_body().collect()).await.map_err(|_| Lost)?.map_err(|_| Lost)?;
        let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
        Ok((status, body))
    }
}

/// A whole call on a connection of its own.
pub async fn call(way: Way, method: Method, path: &str, body: Option<Value>) -> Result<(u16, Value), Lost> {
    Link::open(way).await?.call(method, path, body).await
}

/// The kept events of a session, as they come: `(id, name, JSON)`. A stream that says nothing for `silence` is given up.
pub struct Events {
    body: Incoming,
    _link: Link,
    unread: Vec<u8>,
    silence: Duration,
}

impl Events {
    /// Opens the stream behind the event `after`, or from the beginning.
    pub async fn open(session: &str, after: Option<u64>, silence: Duration) -> Result<Self, Lost> {
        let mut link = Link::open(Way::Network).await?;
        let response = link.send(Method::GET, &format!("/v1/sessions/{session}/events"), after, None).await?;
        match response.status().as_u16() {
            200 => Ok(Self { body: response.into_body(), _link: link, unread: Vec::new(), silence }),
            _ => Err(Lost),
        }
    }

    /// The next kept event; `Err` when the stream is over.
    pub async fn next(&mut self) -> Result<(u64, String, Value), Over> {
        loop {
            while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let event = read(&String::from_utf8_lossy(&self.unread[..end]));
                self.unread.drain(..end + 2);
                if let Some(event) = event {
                    return Ok(event);
                }
            }
            let frame = timeout(self.silence, self.body.frame()).await.map_err(|_| Over::Silent)?;
            let frame = frame.ok_or(Over::Cut)?.map_err(|_| Over::Cut)?;
            if let Some(bytes) = frame.data_ref() {
                self.unread.extend_from_slice(bytes);
            }
        }
    }
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nothing came for as long as its reader listens.
    Silent,
    /// The gateway ended it, or the way there is broken: what was to come is still to be had.
    Cut,
}

/// One event of a stream; `None` for one that is not kept, and for a comment.
fn read(text: &str) -> Option<(u64, String, Value)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let id = field("id: ")?.parse().ok()?;
    Some((id, field("event: ")?.to_owned(), serde_json::from_str(field("data: ")?).ok()?))
}
