//! The doors of the simulated gateway and the connections that came in through them or that it made. A process that dies in the middle of a
//! step says nothing any more, and its connections break in the order in which they came: tokio gives up the tasks of a dying
//! runtime in an order that depends on how many tasks this process has ever had, and one seed would not give one run.

use super::disk::Alive;
use evergate::environment::{Accepting, Listener, Stream};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// The connections of one process, in the order in which they came about. They break when the last of its parts is gone.
pub struct Berths {
    alive: Alive,
    streams: Mutex<(u64, BTreeMap<u64, TcpStream>)>,
}

impl Berths {
    /// For a process that lives as long as this says.
    #[must_use]
    pub fn new(alive: Alive) -> Self {
        Self { alive, streams: Mutex::default() }
    }

    fn streams(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, TcpStream>)> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection that came in or was made, and gives the process its end of it.
    pub fn moor(self: &Arc<Self>, stream: TcpStream) -> Box<dyn Stream> {
        let mut streams = self.streams();
        streams.0 += 1;
        let number = streams.0;
        streams.1.insert(number, stream);
        Box::new(Mortal { number, berths: Arc::clone(self) })
    }
}

/// A door.
pub struct Door {
    /// Where peers come in.
    pub listener: TcpListener,
    /// The address that the gateway believes to listen on.
    pub shown: Option<SocketAddr>,
    /// Where their connections are kept.
    pub berths: Arc<Berths>,
}

impl Listener for Door {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async {
            let (stream, _) = self.listener.accept().await?;
            Ok(self.berths.moor(stream))
        })
    }

    fn address(&self) -> Option<SocketAddr> {
        self.shown
    }
}

/// A connection of a process that may die.
struct Mortal {
    number: u64,
    berths: Arc<Berths>,
}

impl Mortal {
    fn stream<T>(&self, act: impl FnOnce(Pin<&mut TcpStream>) -> Poll<T>) -> Poll<T> {
        match self.berths.streams().1.get_mut(&self.number) {
            Some(stream) if self.berths.alive.load(Relaxed) => act(Pin::new(stream)),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if self.berths.alive.load(Relaxed) {
            let closed = self.berths.streams().1.remove(&self.number);
            drop(closed);
        }
    }
}

impl AsyncRead for Mortal {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream(|stream| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Mortal {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream(|stream| stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(|stream| stream.poll_shutdown(context))
    }
}
