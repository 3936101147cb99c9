//! A session's events as a client follows them: server-sent events over a plain connection, resumed by their ids after
//! every break. It holds the promise of the stream (ids only grow, nothing comes twice) and judges nothing else.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// One event of a session.
#[derive(Clone, Debug)]
pub struct Event {
    /// The id of a kept event; a `delta` or a `phase` has none.
    pub id: Option<u64>,
    /// `message`, `turn`, `delta`, `reply`, `notice` or `phase`.
    pub name: String,
    /// What it says.
    pub data: Value,
}

impl Event {
    /// Whether it has this name.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Whether it is a `turn` event with this state.
    pub fn is_turn(&self, state: &str) -> bool {
        self.is("turn") && self.data["state"] == state
    }

    /// The turn it is about.
    pub fn turn(&self) -> Option<u64> {
        self.data["turn"].as_u64()
    }

    /// Its text, empty when it has none.
    pub fn text(&self) -> &str {
        self.data["text"].as_str().unwrap_or_default()
    }

    /// The request a notice is about.
    pub fn request(&self) -> Option<u64> {
        self.data["request"].as_u64()
    }

    /// The messages a turn or a reply stands for.
    pub fn messages(&self) -> Vec<u64> {
        self.data["messages"].as_array().map(|ids| ids.iter().filter_map(Value::as_u64).collect()).unwrap_or_default()
    }
}

/// One connection to a session's events.
pub struct EventStream {
    reader: BufReader<Body>,
}

impl EventStream {
    /// Opens the stream behind the event `after`, or at the session's beginning.
    ///
    /// # Errors
    /// When nobody listens, or the answer is no stream.
    pub fn open(address: SocketAddr, token: &str, session: &str, after: Option<u64>) -> io::Result<Self> {
        let connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        let last = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /v1/sessions/{session}/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Accept: text/event-stream\r\n{last}\r\n"
        );
        (&connection).write_all(request.as_bytes())?;
        let mut reader = BufReader::new(connection);
        let status = read_line(&mut reader)?;
        let mut chunked = false;
        loop {
            let header = read_line(&mut reader)?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
        }
        if status.split(' ').nth(1) != Some("200") {
            return Err(io::Error::other(format!("no events: {status}")));
        }
        Ok(Self { reader: BufReader::new(Body { connection: reader, chunked, left: 0, size_line: Vec::new() }) })
    }

    /// The next event, or `None` when the deadline passes first.
    ///
    /// # Errors
    /// When the connection ends or breaks.
    pub fn next(&mut self, deadline: Instant) -> io::Result<Option<Event>> {
        let (mut id, mut name, mut data) = (None, String::from("message"), String::new());
        loop {
            let line = match self.read_line_until(deadline)? {
                None => return Ok(None),
                Some(line) => line,
            };
            if line.is_empty() {
                if data.is_empty() {
                    continue;
                }
                let data = serde_json::from_str(&data).map_err(io::Error::other)?;
                return Ok(Some(Event { id, name, data }));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => id = value.parse().ok(),
                "event" => name = value.to_owned(),
                "data" => data.push_str(value),
                _ => {}
            }
        }
    }

    /// A line without its end, or `None` at the deadline. Bytes of an unfinished line are kept over a time-out.
    fn read_line_until(&mut self, deadline: Instant) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.reader.get_ref().connection.get_ref().set_read_timeout(Some(left))?;
            match self.reader.read_until(b'\n', &mut bytes) {
                Ok(_) if bytes.ends_with(b"\n") => break,
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let line = String::from_utf8(bytes).map_err(io::Error::other)?;
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The body of a response, out of its chunks.
struct Body {
    connection: BufReader<TcpStream>,
    chunked: bool,
    /// Bytes left in the current chunk.
    left: usize,
    /// The next chunk's size line as far as it came; a time-out may fall between two bytes of it.
    size_line: Vec<u8>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.chunked {
            return self.connection.read(buffer);
        }
        while self.left == 0 {
            self.connection.read_until(b'\n', &mut self.size_line)?;
            if !self.size_line.ends_with(b"\n") {
                return Ok(0);
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.size_line)).trim().to_owned();
            // The empty line is the end of the chunk before.
            if !line.is_empty() {
                self.left = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
                if self.left == 0 {
                    return Ok(0);
                }
            }
        }
        let wanted = buffer.len().min(self.left);
        let got = self.connection.read(&mut buffer[..wanted])?;
        self.left -= got;
        Ok(got)
    }
}

/// A client that follows a session's kept events through every restart, as the page and the terminal do.
pub struct Follower {
    address: SocketAddr,
    token: String,
    session: String,
    last: Option<u64>,
    stream: Option<EventStream>,
}

impl Follower {
    /// Follows `session` from behind the event `after`, or from its beginning.
    pub fn new(address: SocketAddr, token: String, session: &str, after: Option<u64>) -> Self {
        Self { address, token, session: session.to_owned(), last: after, stream: None }
    }

    /// The id of the last kept event seen.
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// The next kept event, or `None` when the deadline passes first. Reconnects as often as it takes.
    ///
    /// # Panics
    /// When an id does not grow: the stream repeats itself or runs backwards.
    pub fn next_kept(&mut self, deadline: Instant) -> Option<Event> {
        while Instant::now() < deadline {
            let Some(stream) = &mut self.stream else {
                self.stream = EventStream::open(self.address, &self.token, &self.session, self.last).ok();
                if self.stream.is_none() {
                    std::thread::sleep(crate::GLANCE);
                }
                continue;
            };
            match stream.next(deadline) {
                Ok(Some(event)) if event.id.is_some() => {
                    assert!(event.id > self.last, "{}: after event {:?} came {event:?}", self.session, self.last);
                    self.last = event.id;
                    return Some(event);
                }
                Ok(Some(_)) => {}
                // What was half read at the deadline comes again with the next connection.
                Ok(None) | Err(_) => self.stream = None,
            }
        }
        None
    }
}
