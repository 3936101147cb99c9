//! The yardstick of `gap`: an HTTP server that does nothing, as a process of its own that is killed and started again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};

use evergate_tests::gateway::free_address;

use crate::ready;

/// The command by which `bench` starts itself as this server.
pub const COMMAND: &str = "bare-server";

/// Answers every request on this port with 200 and its process id, until it is killed.
pub fn serve(port: &str) -> ExitCode {
    let Ok(port) = port.parse::<u16>() else { return ExitCode::from(64) };
    let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else { return ExitCode::FAILURE };
    let body = std::process::id().to_string();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes();
    for connection in listener.incoming().flatten() {
        // A client that leaves early is its own business.
        let _gone = respond(connection, &answer);
    }
    ExitCode::SUCCESS
}

fn respond(mut connection: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _read = connection.read(&mut request)?;
    connection.write_all(answer)
}

/// A running bare server.
pub struct BareServer {
    address: SocketAddr,
    child: Child,
}

impl BareServer {
    /// Starts one and waits until it answers.
    pub fn start() -> Self {
        let address = free_address();
        let server = Self { address, child: spawn(address) };
        ready::await_ready(address);
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it and starts another one in its place.
    pub fn replace(&mut self) {
        self.end();
        self.child = spawn(self.address);
    }

    fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(address: SocketAddr) -> Child {
    let itself = std::env::current_exe().expect("a running program has a path");
    Command::new(itself)
        .args([COMMAND, &address.port().to_string()])
        .stdin(Stdio::null())
        .spawn()
        .expect("the program that runs can be started")
}
