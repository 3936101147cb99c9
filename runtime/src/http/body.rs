//! An answer: its head, and its body as it comes.

use super::client::Kept;
use super::error::{Error, Place, Refusal, Stage, chain};
use super::link::Link;
use crate::environment::Environment;
use crate::secret::Secret;
use evergate_core::time::Instant;
use hyper::HeaderMap;
use hyper::body::{Body as _, Bytes, Incoming};
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Most of a refusal's body that is read, in bytes.
const REFUSAL_LIMIT: usize = 64 * 1024;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, which has not been read.
    pub body: Body,
}

/// A body as it comes. Read to its end it gives its connection back to the client; dropped before, it gives it up.
pub struct Body {
    pub(super) incoming: Incoming,
    pub(super) link: Option<Link>,
    pub(super) kept: Kept,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) place: Place,
    pub(super) status: u16,
    pub(super) silence: Duration,
    /// When the whole call must be over, and how long that was.
    pub(super) end: Option<(Instant, Duration)>,
    pub(super) secrets: Arc<[Secret]>,
}

impl Answer {
    /// This answer, if its status is a success (2xx). Otherwise the beginning of its body is read into the refusal.
    pub async fn successful(mut self) -> Result<Self, Error> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let mut bytes = Vec::new();
        // What broke off is as good as what is there: the status has been said.
        while let Ok(Some(piece)) = self.body.next().await {
            bytes.extend_from_slice(&piece);
            if bytes.len() >= REFUSAL_LIMIT {
                bytes.truncate(REFUSAL_LIMIT);
                break;
            }
        }
        let body = self.body.hide(&String::from_utf8_lossy(&bytes));
        let place = self.body.place.clone();
        Err(Error::Refused(Box::new(Refusal { place, status: self.status, headers: self.headers, body })))
    }

    /// The whole body of a success, if it is not longer than `limit` bytes.
    pub async fn bytes(self, limit: usize) -> Result<Bytes, Error> {
        self.successful().await?.body.read(limit).await
    }

    /// The whole body of a success as JSON, if it is not longer than `limit` bytes.
    pub async fn json<T: DeserializeOwned>(self, limit: usize) -> Result<T, Error> {
        let (place, status) = (self.body.place.clone(), self.status);
        let bytes = self.bytes(limit).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Broken {
            place,
            status,
            reason: format!("is not the JSON that it should be: {error}"),
        })
    }
}

impl Body {
    /// The next piece, as long as it may take; `None` at the end. Data that comes after an error is not read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(link) = &mut self.link else { return Ok(None) };
            let now = self.environment.now();
            let (until, limit) = match self.end {
                Some((end, limit)) if end < now + self.silence => (end, limit),
                _ => (now + self.silence, self.silence),
            };
            let piece = tokio::select! {
                biased;
                piece = link.piece(&mut self.incoming) => piece,
                () = self.environment.sleep_until(until) => {
                    self.link = None;
                    return Err(Error::TimedOut { place: self.place.clone(), stage: Stage::Body, limit });
                }
            };
            match piece {
                // Trailers say nothing that anybody here asks for.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => {
                    self.link = None;
                    return Err(self.broken(format!("broke off: {}", chain(&error))));
                }
                None => {
                    if let Some(link) = self.link.take() {
                        self.kept.put(link);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// All of it, if it is not longer than `limit` bytes.
    pub async fn read(mut self, limit: usize) -> Result<Bytes, Error> {
        let told = usize::try_from(self.incoming.size_hint().lower()).unwrap_or(usize::MAX);
        let too_long = |body: &Self| body.broken(format!("is longer than {limit} bytes"));
        if told > limit {
            return Err(too_long(&self));
        }
        let mut bytes = Vec::with_capacity(told);
        while let Some(piece) = self.next().await? {
            if bytes.len() + piece.len() > limit {
                return Err(too_long(&self));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.into())
    }

    /// An error about this body; `reason` is a clause.
    pub fn broken(&self, reason: String) -> Error {
        Error::Broken { place: self.place.clone(), status: self.status, reason }
    }

    /// A server's words with the client's secrets blotted out.
    pub fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| secret.hide_in(&text))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({})", self.place)
    }
}
