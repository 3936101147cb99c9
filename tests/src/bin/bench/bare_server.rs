//! The yardsticks of `gap`: an HTTP server that does nothing, on a listening socket that never closes. When it is told to, it
//! gives way to another life of itself by a bare `exec`; or the systemd that holds the socket restarts it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use evergate_tests::http;
use evergate_tests::systemd::Systemd;
use listenfd::ListenFd;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tempfile::TempDir;

use crate::ready;

/// The command by which `bench` starts itself as this server.
pub const COMMAND: &str = "bare-server";
/// What it is told when it is to replace itself.
const REPLACE: &[u8] = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Answers every request on the socket that it was given with 200 and whose life this is, until it is told to replace itself or
/// killed.
pub fn serve(life: &str) -> ExitCode {
    let Ok(life) = life.parse::<u64>() else { return ExitCode::from(64) };
    let Ok(Some(listener)) = ListenFd::from_env().take_tcp_listener(0) else { return ExitCode::FAILURE };
    let body = format!("{}.{life}", std::process::id());
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes();
    for connection in listener.incoming().flatten() {
        // A client that leaves early is its own business.
        if respond(connection, &answer).is_ok_and(|asked| asked == Asked::ToBeReplaced) {
            let failed = std::env::current_exe()
                .and_then(|program| life_of(&program, &listener, life + 1))
                .map(|mut next| next.exec());
            eprintln!("the bare server cannot replace itself: {failed:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    ToBeReplaced,
}

fn respond(mut connection: TcpStream, answer: &[u8]) -> io::Result<Asked> {
    let mut request = [0; 1024];
    let read = connection.read(&mut request)?;
    connection.write_all(answer)?;
    Ok(if request[..read].starts_with(b"POST") { Asked::ToBeReplaced } else { Asked::Nothing })
}

/// A life of this server, on this socket.
fn life_of(program: &Path, listener: &TcpListener, life: u64) -> io::Result<Command> {
    fcntl(listener, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let mut command = Command::new(program);
    command.args([COMMAND, &life.to_string()]).stdin(Stdio::null()).env_remove("LISTEN_PID");
    command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", listener.as_raw_fd().to_string());
    Ok(command)
}

/// A bare server that replaces itself; its program is a copy, as the gateway's is.
pub struct BareServer {
    address: SocketAddr,
    child: Child,
    _room: TempDir,
}

impl BareServer {
    /// Starts one and waits until it answers.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let room = TempDir::with_prefix("evergate-bare-").expect("a temporary folder can be made");
        let program = room.path().join("bench");
        let child = std::env::current_exe()
            .and_then(|itself| fs::copy(itself, &program))
            .and_then(|_| life_of(&program, &listener, 1))
            .and_then(|mut first| first.spawn());
        let server = Self { address, child: child.expect("the program that runs can be started"), _room: room };
        ready::await_ready(address);
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it replace itself.
    pub fn replace(&self) {
        http::raw(self.address, REPLACE).expect("it answers before it goes");
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bare server that a systemd runs on a socket of its own.
pub struct BareService<'a> {
    systemd: &'a Systemd,
}

impl<'a> BareService<'a> {
    const UNIT: &'static str = "bare.service";

    /// Starts one at `address` and waits until it answers.
    pub fn start(systemd: &'a Systemd, address: SocketAddr) -> Self {
        let program = systemd.folder().join("bare-server");
        let copied = std::env::current_exe().and_then(|itself| fs::copy(itself, &program));
        copied.expect("a running program can be copied");
        let service = format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={} {COMMAND} 1\nStandardOutput=null\nStandardError=null\n",
            program.display()
        );
        systemd.write_unit(Self::UNIT, &service);
        systemd.write_unit("bare.socket", &format!("[Socket]\nListenStream={address}\n"));
        let started = systemd.systemctl(&["start", "bare.socket", Self::UNIT]);
        assert!(started.status.success(), "{}", started.text);
        ready::await_ready(address);
        Self { systemd }
    }

    /// Has systemd restart it.
    pub fn restart(&self) {
        let done = self.systemd.systemctl(&["restart", Self::UNIT]);
        assert!(done.status.success(), "{}", done.text);
    }
}
