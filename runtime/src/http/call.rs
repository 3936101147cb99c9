//! One call: what is asked of a server, and how long it may take.

use super::form::{self, Part};
use super::upload::Piece;
use crate::secret::Secret;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// What a segment of a path or a query may hold as it is (RFC 3986, 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as one segment of a path or one value of a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// How long a call may take, in the environment's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// To find the server, connect, and agree on TLS.
    pub connect: Duration,
    /// From the connection until the head of the answer is there. A long poll waits here.
    pub answer: Duration,
    /// Between two pieces of the body.
    pub silence: Duration,
    /// For everything together, the body included; `None` for a stream that may last.
    pub whole: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(10), answer: seconds(30), silence: seconds(30), whole: Some(seconds(60)) }
    }
}

/// What is asked of a server.
#[derive(Clone)]
pub struct Call {
    pub(super) method: Method,
    pub(super) name: &'static str,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Content,
    pub(super) patience: Patience,
    pub(super) repeatable: bool,
    /// What could not be put into the call: it is told when it is sent.
    pub(super) fault: Option<String>,
}

/// What a call carries.
#[derive(Clone)]
pub(super) enum Content {
    Piece(Piece),
    /// Written when the call is sent: its boundary is random.
    Form(Vec<Part>),
}

impl Call {
    /// A call named `name` in messages, to this path below the client's base; it begins with a slash, its segments are
    /// [encoded](encode).
    pub fn new(method: Method, name: &'static str, path: &str) -> Self {
        let repeatable = matches!(method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE);
        Self {
            method,
            name,
            target: path.to_owned(),
            headers: HeaderMap::new(),
            body: Content::Piece(Piece::Bytes(Bytes::new())),
            patience: Patience::default(),
            repeatable,
            fault: None,
        }
    }

    /// A `GET`.
    pub fn get(name: &'static str, path: &str) -> Self {
        Self::new(Method::GET, name, path)
    }

    /// A `POST`.
    pub fn post(name: &'static str, path: &str) -> Self {
        Self::new(Method::POST, name, path)
    }

    /// With one more value in the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        self.target = format!("{}{separator}{}={}", self.target, encode(name), encode(value));
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => {
                self.headers.insert(name, value);
            }
            Err(_) => self.fault = Some(format!("the header {name} would hold characters that no header may hold")),
        }
        self
    }

    /// With a key, as `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(mut self, key: &Secret) -> Self {
        match HeaderValue::from_str(&format!("Bearer {}", key.reveal())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(AUTHORIZATION, value);
            }
            Err(_) => self.fault = Some("the key holds characters that no header may hold".to_owned()),
        }
        self
    }

    /// With a body of JSON.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => {
                self.body = Content::Piece(Piece::Bytes(bytes.into()));
                self.header(CONTENT_TYPE, "application/json")
            }
            Err(error) => {
                self.fault = Some(format!("its body cannot be written as JSON: {error}"));
                self
            }
        }
    }

    /// With a body of these bytes.
    #[must_use]
    pub fn bytes(mut self, content_type: &str, body: Bytes) -> Self {
        self.body = Content::Piece(Piece::Bytes(body));
        self.header(CONTENT_TYPE, content_type)
    }

    /// With a file of so many bytes as its body, which is read while it is sent.
    #[must_use]
    pub fn file(mut self, content_type: &str, path: &Path, size: u64) -> Self {
        self.body = Content::Piece(Piece::File(path.into(), size));
        self.header(CONTENT_TYPE, content_type)
    }

    /// With a form of several parts, files among them (`multipart/form-data`, RFC 7578).
    #[must_use]
    pub fn form(mut self, parts: Vec<Part>) -> Self {
        self.body = Content::Form(parts);
        self
    }

    /// With these time-outs.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// May arrive twice without harm: it is said again, once, when a kept connection turns out to be broken. `GET`, `HEAD`, `PUT` and `DELETE` are so
    /// by themselves (RFC 9110, 9.2.2).
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// The body, and with a form its content type.
    pub(super) fn content(&self, random: impl FnOnce(&mut [u8])) -> (Vec<Piece>, Option<HeaderValue>) {
        match &self.body {
            Content::Piece(piece) => (vec![piece.clone()], None),
            Content::Form(parts) => {
                let (pieces, content_type) = form::write(parts, random);
                (pieces, HeaderValue::from_str(&content_type).ok())
            }
        }
    }
}

/// Neither target nor headers are shown: both may hold secrets.
impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({} {})", self.method, self.name)
    }
}

/// The headers that every call carries unless it has its own.
pub(super) fn own_headers() -> [(HeaderName, HeaderValue); 2] {
    const AGENT: &str = concat!("evergate/", env!("CARGO_PKG_VERSION"));
    [(header::USER_AGENT, HeaderValue::from_static(AGENT)), (header::ACCEPT, HeaderValue::from_static("*/*"))]
}
