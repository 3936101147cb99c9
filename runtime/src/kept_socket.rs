//! The listening socket of the network door, which outlives the process: it comes from whoever kept it (systemd,
//! `evergate supervise`, the image that this one replaced) and goes on to whoever comes next, so that a connection made in
//! between waits in the kernel's queue. It accepts nothing itself and decides nothing about who comes next.
//!
//! The protocol is systemd's (`sd_listen_fds(3)`) with two liberties that the crate `listenfd` takes as well: `LISTEN_PID` may
//! be missing, because nobody knows the id of a child before it is started, and the first descriptor may be named.

use crate::systemd::Notify;
use listenfd::ListenFd;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpSocket;

/// How many sockets are handed over.
const COUNT: &str = "LISTEN_FDS";
/// To whom, where that is known.
const HEIR: &str = "LISTEN_PID";
/// The number of the first of them, in place of 3.
const FIRST: &str = "LISTEN_FDS_FIRST_FD";
/// What they are called; we give no names.
const NAMES: &str = "LISTEN_FDNAMES";
/// What the socket is called where systemd keeps it.
const DOOR: &str = "door";
/// How many connections wait for a gateway that is not there yet; the kernel may allow fewer (`net.core.somaxconn`).
const BACKLOG: u32 = 1024;

/// The socket that is kept, or those that were handed over and of which one may be it. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct KeptSocket {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    sockets: Vec<TcpListener>,
    /// Whether one was closed because it is wanted no more.
    let_go: bool,
    /// Whether it was made by this process.
    made: bool,
}

impl KeptSocket {
    /// Takes what was handed to this process; nothing, mostly. From here on no child inherits it by accident.
    ///
    /// Call it once, before any thread is started and any file opened: it removes the variables that it has read, and trusts
    /// the numbers in them.
    #[must_use]
    pub fn from_environment() -> Self {
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for place in 0..handed.len() {
            match handed.take_tcp_listener(place) {
                Ok(socket) => sockets.extend(socket),
                Err(error) => {
                    // One of another kind is closed as well, lest every agent inherit it.
                    let _other = handed.take_unix_listener(place);
                    crate::logging::complain(&format_args!(
                        "a socket that was handed over is of no use: {error}. The gateway takes listening TCP sockets (ListenStream=ADDRESS:PORT, Accept=no)"
                    ));
                }
            }
        }
        Self { kept: Arc::new(Mutex::new(Kept { sockets, ..Kept::default() })) }
    }

    /// Listens at `address` with the kept socket, or with a new one that is kept from now on. Whatever else was kept is
    /// closed: a client of it would wait for nobody.
    ///
    /// Needs tokio's runtime. Port 0 takes any port of this host that is kept, so that it stays the same.
    pub fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let mut kept = self.lock();
        let Kept { sockets, let_go, made } = &mut *kept;
        sockets.retain(|socket| {
            let kept = socket.local_addr();
            let fits = kept.as_ref().is_ok_and(|kept| serves(*kept, address));
            if !fits {
                tracing::warn!(?kept, wanted = %address, "a socket that was kept or handed over listens elsewhere and is closed");
                *let_go = true;
            }
            fits
        });
        sockets.truncate(1);
        match sockets.first() {
            Some(socket) => {
                // Whoever made it may have left it blocking.
                socket.set_nonblocking(true)?;
                socket.try_clone()
            }
            None => {
                let listener = bind(address)?;
                sockets.push(listener.try_clone()?);
                *made = true;
                Ok(listener)
            }
        }
    }

    /// Has `command` start with the socket, and with no other that was handed to us; `heir` is the id of the process that
    /// it will be, where that is known. The socket is inherited by every child from here on, so this is for a process that is
    /// about to be replaced, or that has no other children.
    pub fn hand_over(&self, command: &mut Command, heir: Option<u32>) {
        say_nothing(command);
        let kept = self.lock();
        let Some(socket) = kept.sockets.first() else { return };
        match fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty())) {
            Ok(_) => {
                command.env(COUNT, "1").env(FIRST, socket.as_raw_fd().to_string());
                command.envs(heir.map(|heir| (HEIR, heir.to_string())));
            }
            Err(error) => tracing::warn!(%error, "the listening socket cannot be handed over; it is bound anew"),
        }
    }

    /// Whether it is another than the one that was handed to this process.
    #[must_use]
    pub fn is_another(&self) -> bool {
        let kept = self.lock();
        kept.made || kept.let_go
    }

    /// Has systemd hold it as well, until the service is down for good; the next process is given it, whatever became of this one.
    pub fn entrust(&self, systemd: &Notify) {
        let mut kept = self.lock();
        if std::mem::take(&mut kept.let_go) {
            systemd.forget(DOOR);
        }
        if let Some(socket) = kept.sockets.first() {
            systemd.keep(socket.as_fd(), DOOR);
        }
    }

    /// Closes it, where this process stays and nobody comes next: clients are refused then and do not wait in vain.
    pub fn close(&self) {
        self.lock().sockets.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has `command` start without word of any socket: what was handed to somebody else is not there for it.
pub fn say_nothing(command: &mut Command) {
    for variable in [COUNT, HEIR, FIRST, NAMES] {
        command.env_remove(variable);
    }
}

/// Whether a socket at `kept` is what somebody wants who asks for `wanted`.
fn serves(kept: SocketAddr, wanted: SocketAddr) -> bool {
    kept.ip() == wanted.ip() && (kept.port() == wanted.port() || wanted.port() == 0)
}

/// Listens at `address` with a socket that is nobody else's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of a predecessor that linger in TIME_WAIT are no reason to wait.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::net::TcpStream;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn told(command: &Command, name: &str) -> Option<String> {
        let value = command.get_envs().find(|(variable, _)| *variable == OsStr::new(name))?.1?;
        value.to_str().map(str::to_owned)
    }

    #[tokio::test]
    async fn a_connection_made_while_nobody_listens_waits_for_the_next_who_does() {
        let kept = KeptSocket::default();
        let first = kept.listen(ANY).unwrap();
        let address = first.local_addr().unwrap();
        drop(first);
        let client = TcpStream::connect(address).expect("it is not refused");
        assert!(kept.is_another(), "nobody has handed it over");
        let second = kept.listen(address).unwrap();
        let (_, peer) = tokio::net::TcpListener::from_std(second).unwrap().accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(kept.listen(ANY).unwrap().local_addr().unwrap(), address, "any port will do: the same one");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_wanted_any_more_is_closed() {
        let kept = KeptSocket::default();
        let former = kept.listen(ANY).unwrap().local_addr().unwrap();
        let elsewhere = SocketAddr::new([127, 0, 0, 2].into(), 0);
        let now = kept.listen(elsewhere).unwrap().local_addr().unwrap();
        assert_eq!(now.ip(), elsewhere.ip());
        assert!(TcpStream::connect(former).is_err(), "nobody listens there");
        kept.close();
        assert!(TcpStream::connect(now).is_err(), "nor there");
    }

    #[tokio::test]
    async fn the_heir_is_told_of_the_socket_and_inherits_it() {
        let kept = KeptSocket::default();
        let mut command = Command::new("sh");
        kept.hand_over(&mut command, None);
        assert_eq!(told(&command, COUNT), None, "there is none yet");
        drop(kept.listen(ANY).unwrap());
        kept.hand_over(&mut command, Some(7));
        assert_eq!(told(&command, HEIR).as_deref(), Some("7"));
        kept.hand_over(&mut command, None);
        assert_eq!(told(&command, COUNT).as_deref(), Some("1"));
        assert_eq!(told(&command, HEIR), None, "nobody knows a child's id beforehand");
        let inherits = ["-c", "readlink /proc/self/fd/$LISTEN_FDS_FIRST_FD"];
        let link = command.args(inherits).output().unwrap().stdout;
        assert!(link.starts_with(b"socket:"), "{}", String::from_utf8_lossy(&link));
    }
}
