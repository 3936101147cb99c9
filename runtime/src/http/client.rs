//! The client of one server.

use super::base::Base;
use super::body::{Answer, Body};
use super::call::{Call, own_headers};
use super::error::{Error, Place, Stage};
use super::link::{Link, Lost};
use super::tls::Trust;
use super::upload::Upload;
use crate::environment::Environment;
use crate::secret::Secret;
use evergate_core::time::Instant;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response, Version};
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Largest answer that [`Client::json`] reads, in bytes.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// The client of one server. It keeps one connection between two calls; calls at the same time have connections of their own, of
/// which the last one free is kept. A clone keeps its own.
pub struct Client {
    environment: Arc<dyn Environment>,
    base: Base,
    trust: Trust,
    secrets: Arc<[Secret]>,
    kept: Kept,
}

/// The connection that is kept between two calls.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Option<Link>>>);

impl Kept {
    /// The kept connection, if it still holds.
    fn take(&self) -> Option<Link> {
        let link = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        link.and_then(|mut link| link.is_free().then_some(link))
    }

    /// Keeps this one, if it can be used again.
    pub(super) fn put(&self, mut link: Link) {
        if link.is_free() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
        }
    }
}

impl Client {
    /// A client of this server; connects to nothing yet.
    pub fn new(environment: Arc<dyn Environment>, base: Base, trust: Trust) -> Self {
        Self { environment, base, trust, secrets: Arc::default(), kept: Kept::default() }
    }

    /// With a secret that the server's words are cleared of before anybody sees them.
    #[must_use]
    pub fn hiding(mut self, secret: &Secret) -> Self {
        self.secrets = self.secrets.iter().chain([secret]).cloned().collect();
        self
    }

    /// The same client, that is to say with the same kept connection, which may be given secrets of its own.
    #[must_use]
    pub fn sharing(&self) -> Self {
        Self { kept: self.kept.clone(), ..self.clone() }
    }

    /// Where the server is.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Asks, and gives the answer's JSON if its status is a success.
    pub async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        self.send(call).await?.json(ANSWER_LIMIT).await
    }

    /// Asks, and gives the answer, whatever its status, as soon as its head is there.
    pub async fn send(&self, call: Call) -> Result<Answer, Error> {
        let place = Place { method: call.method.clone(), server: self.base.to_string(), name: call.name };
        let request = match self.request(&call) {
            Ok(request) => request,
            Err(reason) => return Err(Error::Unsendable { place, reason }),
        };
        let patience = call.patience;
        let end = patience.whole.map(|whole| (self.environment.now() + whole, whole));
        let (link, response) = self.exchange(&call, request, &place, end).await?;
        let (head, incoming) = response.into_parts();
        let status = head.status.as_u16();
        let body = Body {
            incoming,
            link: Some(link),
            kept: self.kept.clone(),
            environment: Arc::clone(&self.environment),
            place,
            status,
            silence: patience.silence,
            end,
            secrets: Arc::clone(&self.secrets),
        };
        Ok(Answer { status, headers: head.headers, body })
    }

    fn request(&self, call: &Call) -> Result<Request<Upload>, String> {
        if let Some(fault) = &call.fault {
            return Err(fault.clone());
        }
        let (body, content_type) = call.content(|bytes| self.environment.random(bytes));
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(self.base.target(&call.target))
            .version(Version::HTTP_11)
            .header(HOST, self.base.authority())
            .body(Upload::new(body))
            .map_err(|_| "its path is no path".to_owned())?;
        let headers = request.headers_mut();
        headers.extend(own_headers());
        headers.extend(call.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers.extend(content_type.map(|content_type| (CONTENT_TYPE, content_type)));
        Ok(request)
    }

    /// Sends the request through the kept connection or a new one. A kept one that turns out to be broken does not count, unless
    /// the request may have arrived and must not arrive twice.
    async fn exchange(
        &self,
        call: &Call,
        request: Request<Upload>,
        place: &Place,
        end: Option<(Instant, Duration)>,
    ) -> Result<(Link, Response<hyper::body::Incoming>), Error> {
        let mut kept = self.kept.take();
        loop {
            let again = kept.is_some();
            let mut link = match kept.take() {
                Some(link) => link,
                None => {
                    let opening = Link::open(&*self.environment, &self.base, &self.trust);
                    let opened = self.within(opening, call.patience.connect, end, place, Stage::Connect).await?;
                    opened.map_err(|reason| Error::Unreachable { place: place.clone(), reason })?
                }
            };
            let asking = link.exchange(request.clone());
            match self.within(asking, call.patience.answer, end, place, Stage::Answer).await? {
                Ok(response) => return Ok((link, response)),
                Err(Lost { sent, .. }) if again && (!sent || call.repeatable) => {}
                Err(Lost { sent: true, reason }) => return Err(Error::Unanswered { place: place.clone(), reason }),
                Err(Lost { sent: false, reason }) => return Err(Error::Unreachable { place: place.clone(), reason }),
            }
        }
    }

    /// Waits for something, but no longer than the stage and the whole call may take.
    async fn within<T>(
        &self,
        what: impl Future<Output = T>,
        limit: Duration,
        end: Option<(Instant, Duration)>,
        place: &Place,
        stage: Stage,
    ) -> Result<T, Error> {
        let stage_end = self.environment.now() + limit;
        let (until, limit) = match end {
            Some((end, whole)) if end < stage_end => (end, whole),
            _ => (stage_end, limit),
        };
        tokio::select! {
            biased;
            done = what => Ok(done),
            () = self.environment.sleep_until(until) => Err(Error::TimedOut { place: place.clone(), stage, limit }),
        }
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self {
            environment: Arc::clone(&self.environment),
            base: self.base.clone(),
            trust: self.trust.clone(),
            secrets: Arc::clone(&self.secrets),
            kept: Kept::default(),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.base)
    }
}
