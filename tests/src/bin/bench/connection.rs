//! A keep-alive connection as an efficient client holds it: the request is written in one piece, the answer is read into
//! one buffer. It works the same whether the socket blocks or not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One connection to the gateway.
pub struct Connection {
    stream: TcpStream,
    token: String,
    /// What came and was not used yet.
    pub received: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr, token: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, token: token.to_owned(), received: Vec::new() })
    }

    /// From now on reading gives what is there and does not wait.
    pub fn stop_blocking(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)
    }

    /// Sends a message.
    pub fn send_message(&mut self, session: &str, text: &str, id: &str) -> io::Result<()> {
        let body = format!(r#"{{"text":"{text}","id":"{id}"}}"#);
        let token = &self.token;
        let request = format!(
            "POST /v1/sessions/{session}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes())
    }

    /// Asks for a session's events, from its beginning on.
    pub fn ask_for_events(&mut self, session: &str) -> io::Result<()> {
        let token = &self.token;
        let request = format!(
            "GET /v1/sessions/{session}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes())
    }

    /// Reads once; how many bytes came, 0 if there are none now.
    ///
    /// # Errors
    /// When the connection broke or was closed.
    pub fn receive(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.received.extend_from_slice(&chunk[..count]);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Takes the next whole answer out of what was received and gives its status.
    pub fn take_answer(&mut self) -> Option<u16> {
        let head_end = find(&self.received, b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&self.received[..head_end]).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        })?;
        let end = head_end + length;
        (self.received.len() >= end).then(|| {
            self.received.drain(..end);
            status
        })
    }
}

/// Where some bytes stand in others.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
