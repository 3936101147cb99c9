//! HTTP as a client of the gateway speaks it: JSON calls with a token, and raw bytes for what no decent client would
//! send. It never retries; who wants that says so in `chat`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Retry-After`, if there was one.
    pub retry_after: Option<String>,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON, `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The sentence of an error answer.
    ///
    /// # Panics
    /// When the body is not `{"error": "a sentence"}`: an error without one helps nobody.
    pub fn error(&self) -> String {
        let body = self.json();
        let sentence = body["error"].as_str().unwrap_or_default().trim().to_owned();
        assert!(!sentence.is_empty(), "an error answer says what is wrong: {self:?}");
        sentence
    }
}

/// A caller of one address, with or without a token. Each call uses a connection of its own, so that none is kept
/// across the death of a gateway.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    address: SocketAddr,
    token: Option<String>,
}

impl Client {
    /// A client of the gateway at `address`; no call takes longer than 10 s.
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .new_agent();
        Self { agent, address, token }
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        let mut call = self.agent.get(self.url(path));
        if let Some(token) = &self.token {
            call = call.header("authorization", format!("Bearer {token}"));
        }
        answer(call.call())
    }

    /// `DELETE path`.
    pub fn delete(&self, path: &str) -> io::Result<Answer> {
        let mut call = self.agent.delete(self.url(path));
        if let Some(token) = &self.token {
            call = call.header("authorization", format!("Bearer {token}"));
        }
        answer(call.call())
    }

    /// `POST path` with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.post_bytes(path, body.to_string().as_bytes())
    }

    /// `POST path` with any body, declared as JSON.
    pub fn post_bytes(&self, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut call = self.agent.post(self.url(path)).header("content-type", "application/json");
        if let Some(token) = &self.token {
            call = call.header("authorization", format!("Bearer {token}"));
        }
        answer(call.send(body))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> io::Result<Answer> {
    let mut response = result.map_err(|error| match error {
        ureq::Error::Io(error) => error,
        error => io::Error::other(error),
    })?;
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let retry_after = retry_after.map(str::to_owned);
    let bytes = response.body_mut().read_to_vec().map_err(io::Error::other)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer { status: response.status().as_u16(), retry_after, text })
}

/// Sends these very bytes on a connection of their own and reads the answer to its end. A gateway that answers before
/// it has read everything is within its rights, so a failing write is no error.
pub fn raw(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    connection.set_write_timeout(Some(Duration::from_secs(10)))?;
    let _ = connection.write_all(request);
    let mut bytes = Vec::new();
    let end = connection.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        end?;
        return Err(io::Error::other(format!("no answer to {:?}", String::from_utf8_lossy(request))));
    };
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status in {head:?}")))?;
    let retry_after = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("retry-after").then(|| value.trim().to_owned())
    });
    Ok(Answer { status, retry_after, text: body.to_owned() })
}
