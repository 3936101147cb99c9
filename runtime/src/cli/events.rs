//! Server-sent events of one session: it owns the parser (bytes in, events out, after the WHATWG HTML standard) and the
//! reader that connects again by itself, after the last event it saw. It never judges what an event means.

use std::collections::VecDeque;
use std::time::Duration;

use super::call_error::CallError;
use super::client::{Client, Stream, session_path};

/// Largest event in bytes; a reply of one MiB grows at most sixfold as JSON.
const EVENT_LIMIT: usize = 16 * 1024 * 1024;
/// The gateway sends a comment every 15 s; three of them missing is a dead connection.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// Asking a socket of the same machine costs next to nothing, and each moment away is a moment of the answer unheard.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Only kept events have one.
    pub id: Option<String>,
    /// The SSE name, `message` when the stream names none.
    pub name: String,
    /// The data, lines joined by `\n`.
    pub data: String,
}

/// The stream holds an event above the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream has more than {EVENT_LIMIT} bytes")]
pub struct TooLarge;

/// Turns the bytes of a stream into events, wherever the pieces are cut.
#[derive(Debug, Default)]
pub struct Parser {
    /// The unfinished line.
    line: Vec<u8>,
    /// The last byte was a `\r`: a `\n` after it belongs to the same line end.
    after_return: bool,
    /// No line was complete yet: the first one may begin with a byte order mark.
    past_first_line: bool,
    id: Option<String>,
    name: String,
    data: String,
    has_data: bool,
    finished: VecDeque<Event>,
}

impl Parser {
    /// Takes the next piece of the stream.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        for &byte in bytes {
            let continues_line_end = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if continues_line_end => {}
                b'\n' | b'\r' => self.end_line(),
                _ => self.line.push(byte),
            }
        }
        if self.line.len() + self.data.len() > EVENT_LIMIT { Err(TooLarge) } else { Ok(()) }
    }

    /// The next complete event.
    pub fn next_event(&mut self) -> Option<Event> {
        self.finished.pop_front()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let text = if self.past_first_line { &text } else { text.strip_prefix('\u{feff}').unwrap_or(&text) };
        self.past_first_line = true;
        if text.is_empty() {
            return self.end_event();
        }
        let (field, value) = match text.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (text, ""),
        };
        match field {
            "event" => self.name = value.to_owned(),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            // A comment has an empty field name; `retry` and unknown fields mean nothing to us.
            _ => {}
        }
    }

    fn end_event(&mut self) {
        let id = self.id.take();
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            let name = if name.is_empty() { "message".to_owned() } else { name };
            self.finished.push_back(Event { id, name, data });
        }
    }
}

/// What a reader has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next event.
    Event(Event),
    /// The connection is gone; why. The reader goes on trying.
    Lost(String),
    /// There is a connection: the first one, or one after a loss.
    Connected,
}

/// Reads a session's events for as long as it is asked, across restarts of the gateway.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    path: String,
    last_event: Option<String>,
    stream: Option<Stream>,
    parser: Parser,
    pause: Duration,
    /// The loss was told, or there was no connection yet.
    loss_is_told: bool,
}

impl Reader {
    /// A reader of everything after the kept event `after` (0: from the session's beginning).
    pub fn new(client: &Client, session: &str, after: u64) -> Self {
        Self {
            client: client.clone(),
            path: format!("{}?after={after}", session_path(session, "events")),
            last_event: None,
            stream: None,
            parser: Parser::default(),
            pause: Duration::ZERO,
            loss_is_told: true,
        }
    }

    /// Waits for the next thing to tell; fails only when the gateway refuses the stream for good. Safe to drop and call
    /// again.
    pub async fn next(&mut self) -> Result<Heard, CallError> {
        loop {
            if let Some(event) = self.parser.next_event() {
                self.remember(&event);
                return Ok(Heard::Event(event));
            }
            let outcome = match self.stream.as_mut() {
                Some(stream) => read_piece(stream, &mut self.parser).await,
                None => match self.connect().await {
                    Ok(()) => return Ok(Heard::Connected),
                    Err(error) if error.retry_pause().is_none() => return Err(error),
                    Err(error) => Err(error.to_string()),
                },
            };
            if let Err(reason) = outcome
                && let Some(loss) = self.lose(reason)
            {
                return Ok(loss);
            }
        }
    }

    fn remember(&mut self, event: &Event) {
        if event.id.is_some() {
            self.last_event.clone_from(&event.id);
        }
    }

    async fn connect(&mut self) -> Result<(), CallError> {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let stream = self.client.stream(&self.path, self.last_event.as_deref()).await?;
        self.stream = Some(stream);
        self.parser = Parser::default();
        self.pause = SHORTEST_PAUSE;
        self.loss_is_told = false;
        Ok(())
    }

    /// Drops the connection; a loss is told once.
    fn lose(&mut self, reason: String) -> Option<Heard> {
        self.stream = None;
        let told = std::mem::replace(&mut self.loss_is_told, true);
        (!told).then_some(Heard::Lost(reason))
    }
}

async fn read_piece(stream: &mut Stream, parser: &mut Parser) -> Result<(), String> {
    match tokio::time::timeout(SILENCE_LIMIT, stream.chunk()).await {
        Ok(Ok(Some(bytes))) => parser.feed(&bytes).map_err(|error| error.to_string()),
        Ok(Ok(None)) => Err("the gateway closed the stream".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("nothing came for {} s", SILENCE_LIMIT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<Event> {
        let mut parser = Parser::default();
        for piece in pieces {
            parser.feed(piece).expect("small");
        }
        std::iter::from_fn(|| parser.next_event()).collect()
    }

    fn event(id: Option<&str>, name: &str, data: &str) -> Event {
        Event { id: id.map(str::to_owned), name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn an_event_is_its_id_name_and_data() {
        let events = parse(&[b"id: 7\nevent: reply\ndata: {\"turn\":1}\n\n"]);
        assert_eq!(events, [event(Some("7"), "reply", "{\"turn\":1}")]);
    }

    #[test]
    fn wherever_the_stream_is_cut_the_events_are_the_same() {
        let stream =
            "\u{feff}: hi\r\nid:1\r\nevent: delta\r\ndata: \u{e4}\u{1f389}\r\ndata: zwei\r\n\r\ndata: x\n\n".as_bytes();
        let whole = parse(&[stream]);
        assert_eq!(whole, [event(Some("1"), "delta", "\u{e4}\u{1f389}\nzwei"), event(None, "message", "x")]);
        for cut in 0..=stream.len() {
            assert_eq!(parse(&[&stream[..cut], &stream[cut..]]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(parse(&bytes), whole);
    }

    #[test]
    fn lines_may_end_in_carriage_returns_alone() {
        assert_eq!(parse(&[b"data: a\rdata: b\r\r"]), [event(None, "message", "a\nb")]);
    }

    #[test]
    fn comments_and_unknown_fields_are_no_events() {
        assert_eq!(parse(&[b": keep alive\n\nretry: 5\n\nevent: reply\n\n"]), []);
    }

    #[test]
    fn only_one_space_after_the_colon_is_taken_away() {
        assert_eq!(parse(&[b"data:  a\n\n"]), [event(None, "message", " a")]);
        assert_eq!(parse(&[b"data\n\n"]), [event(None, "message", "")]);
    }

    #[test]
    fn an_id_does_not_leak_into_the_next_event() {
        assert_eq!(
            parse(&[b"id: 3\ndata: a\n\ndata: b\n\n"]),
            [event(Some("3"), "message", "a"), event(None, "message", "b")]
        );
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; EVENT_LIMIT];
        parser.feed(b"data: ").expect("small");
        assert_eq!(parser.feed(&piece), Err(TooLarge));
    }
}
