//! The socket at which the child says that it gets on, and that it has come to serve.

use crate::systemd;
use std::{io, process};
use tokio::net::UnixDatagram;
use tracing::warn;

/// What a child says.
pub(super) enum Heard {
    /// It gets on.
    GetsOn,
    /// It has come to serve.
    Serves,
}

/// Where the child says that it gets on.
pub(super) struct Keeper {
    socket: UnixDatagram,
    pub(super) name: String,
}

impl Keeper {
    /// A socket under a name that nobody can guess: it is the only thing that keeps others from speaking for the child.
    pub(super) fn open() -> io::Result<Self> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("evergate-{}-{secret}", process::id());
        let socket = std::os::unix::net::UnixDatagram::bind_addr(&systemd::abstract_address(name.as_bytes())?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixDatagram::from_std(socket)?, name: format!("@{name}") })
    }

    /// Waits until the child says something of itself.
    pub(super) async fn heard(keeper: &Option<Self>) -> Heard {
        let Some(keeper) = keeper else { return std::future::pending().await };
        let mut told = [0; 64];
        loop {
            match keeper.socket.recv(&mut told).await {
                Ok(length) if told[..length].starts_with(b"WATCHDOG=1") => return Heard::GetsOn,
                Ok(length) if told[..length].starts_with(b"READY=1") => return Heard::Serves,
                Ok(_) => {}
                Err(error) => {
                    warn!(%error, "whether the child gets on can no longer be heard");
                    return std::future::pending().await;
                }
            }
        }
    }
}
