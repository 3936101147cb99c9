//! One connection to a server. Whoever waits for something that comes through it drives it meanwhile.

use super::base::Base;
use super::error::chain;
use super::tls::Trust;
use super::upload::Upload;
use crate::environment::{Environment, Stream};
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// The end of a connection that has to be driven.
type Driven = Connection<TokioIo<Box<dyn Stream>>, Upload>;

/// One connection.
pub(super) struct Link {
    requests: SendRequest<Upload>,
    /// `None` once it has ended.
    connection: Option<Driven>,
}

/// A request that brought no answer.
pub(super) struct Lost {
    /// What happened.
    pub reason: String,
    /// Whether a byte of it may have left.
    pub sent: bool,
}

impl Link {
    /// Connects. An error says why there is no connection.
    pub async fn open(environment: &dyn Environment, base: &Base, trust: &Trust) -> Result<Self, String> {
        let mut stream = environment.connect(&base.host, base.port).await.map_err(|error| error.to_string())?;
        if base.encrypted {
            stream = trust.encrypt(&base.host, stream).await.map_err(|error| format!("TLS: {error}"))?;
        }
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| chain(&error))?;
        Ok(Self { requests, connection: Some(connection) })
    }

    /// Gets on with what the connection has to do.
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(context).is_ready()
        {
            // How it ended is told to whoever waits for an answer or a body.
            self.connection = None;
        }
    }

    /// Whether another request can go through it. A server that has closed it meanwhile is noticed here.
    pub fn is_free(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.drive(&mut context);
        self.connection.is_some() && matches!(self.requests.poll_ready(&mut context), Poll::Ready(Ok(())))
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn exchange(&mut self, request: Request<Upload>) -> Result<Response<Incoming>, Lost> {
        if let Err(error) = self.ready().await {
            return Err(Lost { reason: chain(&error), sent: false });
        }
        let mut answer = pin!(self.requests.try_send_request(request));
        let connection = &mut self.connection;
        poll_fn(|context| {
            if let Some(driven) = connection
                && Pin::new(driven).poll(context).is_ready()
            {
                *connection = None;
            }
            answer.as_mut().poll(context)
        })
        .await
        .map_err(|error| Lost { sent: error.message().is_none(), reason: chain(error.error()) })
    }

    async fn ready(&mut self) -> hyper::Result<()> {
        poll_fn(|context| {
            self.drive(context);
            self.requests.poll_ready(context)
        })
        .await
    }

    /// The next piece of an answer's body.
    pub async fn piece(&mut self, body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
        poll_fn(|context| {
            // What is there already is taken first, so that no more is read than somebody wants.
            if let Poll::Ready(piece) = Pin::new(&mut *body).poll_frame(context) {
                return Poll::Ready(piece);
            }
            self.drive(context);
            Pin::new(&mut *body).poll_frame(context)
        })
        .await
    }
}
