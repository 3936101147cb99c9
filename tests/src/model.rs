//! A model endpoint of our own: OpenAI's chat completions over plain HTTP on loopback, streaming at a pace, breaking on
//! order, and counting. It answers `ü0 ü1 …`, or repeats what it was asked; where it is handed the beginning of an answer, it
//! goes on behind that.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A status, with the seconds of a `Retry-After` if it has one.
    Status(u16, Option<u64>),
    /// This body of this content type with status 200.
    Body(&'static str, &'static str),
    /// The connection ends within a character, after this many words.
    CutInCharacter(usize),
    /// The stream ends in good order of HTTP, but within an event, after this many words.
    CutInEvent(usize),
    /// After this many words nothing comes any more.
    Stall(usize),
}

/// The endpoint; it ends with the test's process.
pub struct Model {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// One call: its messages as role and content.
pub type Asked = Vec<(String, String)>;

/// One call as it came, beside its messages.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it was whole.
    pub at: Instant,
    /// Its `Authorization`.
    pub authorization: Option<String>,
    /// Its body.
    pub body: Value,
}

/// How often a question was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// From its beginning.
    pub begun: usize,
    /// To go on behind the beginning of an answer.
    pub gone_on: usize,
}

/// How a question begins whose answer takes twelve seconds.
const LONG: &str = "take 12s";

/// How what asks a model to go on begins.
const GO_ON: &str = "[Your answer was cut off";

#[derive(Default)]
struct Shared {
    echoes: AtomicBool,
    /// How long each call took that was answered to its end.
    took: Mutex<Vec<Duration>>,
    asked: Mutex<Vec<Asked>>,
    requests: Mutex<Vec<Request>>,
    faults: Mutex<VecDeque<Fault>>,
    words: AtomicUsize,
    pace_ms: AtomicU64,
    aborted: AtomicUsize,
    connections: AtomicUsize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Model {
    /// One whose answers have so many words, one each `pace`.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start(words: usize, pace: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        let shared = Arc::<Shared>::default();
        shared.words.store(words, SeqCst);
        shared.pace_ms.store(u64::try_from(pace.as_millis()).unwrap_or(u64::MAX), SeqCst);
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                served.connections.fetch_add(1, SeqCst);
                let served = Arc::clone(&served);
                std::thread::spawn(move || {
                    if serve(&stream, &served).is_err() {
                        served.aborted.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        Self { address, shared }
    }

    /// One that answers `You said: …` and what it was asked: at once, or stretched over 12 seconds where that begins with
    /// `take 12s`, as the demo agent does.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn echoing() -> Self {
        let model = Self::start(0, Duration::ZERO);
        model.shared.echoes.store(true, SeqCst);
        model
    }

    /// How often each question was asked so far.
    #[must_use]
    pub fn questions(&self) -> BTreeMap<String, Times> {
        let mut questions = BTreeMap::<String, Times>::new();
        for asked in self.asked() {
            let times = questions.entry(question(&asked).to_owned()).or_default();
            if is_to_go_on(&asked) { times.gone_on += 1 } else { times.begun += 1 }
        }
        questions
    }

    /// Forgets what it was asked so far.
    pub fn count_anew(&self) {
        locked(&self.shared.asked).clear();
        self.shared.aborted.store(0, SeqCst);
    }

    /// Holds it that each of these questions reached it once: asked from its beginning once, and otherwise only to go on; and
    /// gives the figures of that.
    ///
    /// # Panics
    /// When one did not, or was asked anew more often than `again` allows over all of them; or one that takes long was, of whose
    /// answer a part is on disk.
    pub fn assert_asked_once<'a>(&self, texts: impl IntoIterator<Item = &'a String>, again: usize) -> String {
        let questions = self.questions();
        let mut repeated = 0;
        for text in texts {
            let times = questions.get(text).copied().unwrap_or_default();
            assert!(times.begun >= 1, "{text:?} never reached the model: {questions:#?}");
            assert!(times.begun == 1 || !text.starts_with(LONG), "{text:?} was thought again: {questions:#?}");
            repeated += times.begun - 1;
        }
        assert!(repeated <= again, "{repeated} questions were asked anew: {questions:#?}");
        let gone_on: usize = questions.values().map(|times| times.gone_on).sum();
        let (begun, aborted) = (self.asked().len(), self.aborted());
        format!("model calls begun {begun}, aborted {aborted}, gone on {gone_on}, repeated {repeated}")
    }

    /// The lines of a configuration that make it the agent.
    #[must_use]
    pub fn section(&self) -> String {
        format!("[agent]\nkind = \"openai\"\n[agent.openai]\nbase_url = {:?}\nmodel = \"tiny\"\n", self.base_url())
    }

    /// How long the calls took that were answered to their end, from the whole request to the last byte of the answer.
    #[must_use]
    pub fn took(&self) -> Vec<Duration> {
        locked(&self.shared.took).clone()
    }

    /// Where it is, for `agent.openai.base_url`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The whole answer to anything.
    #[must_use]
    pub fn answer(&self) -> String {
        (0..self.shared.words.load(SeqCst)).map(word).collect()
    }

    /// Has the next calls go wrong, each in its way.
    pub fn break_next(&self, faults: &[Fault]) {
        locked(&self.shared.faults).extend(faults.iter().cloned());
    }

    /// What it was asked so far, by call.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.shared.asked).clone()
    }

    /// The calls as they came, beside their messages.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.shared.requests).clone()
    }

    /// How many connections were made to it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// How many answers nobody heard to the end.
    #[must_use]
    pub fn aborted(&self) -> usize {
        self.shared.aborted.load(SeqCst)
    }
}

fn is_to_go_on(asked: &[(String, String)]) -> bool {
    asked.last().is_some_and(|(_, text)| text.starts_with(GO_ON))
}

/// What is to be answered.
fn question(asked: &[(String, String)]) -> &str {
    let question = asked.iter().rfind(|(role, text)| role == "user" && !text.starts_with(GO_ON));
    question.map_or("", |(_, text)| text)
}

/// The words of an answer, and the time from one to the next.
fn words(shared: &Shared, asked: &[(String, String)]) -> (Vec<String>, Duration) {
    if !shared.echoes.load(SeqCst) {
        let words = (0..shared.words.load(SeqCst)).map(word).collect();
        return (words, Duration::from_millis(shared.pace_ms.load(SeqCst)));
    }
    let answer = format!("You said: {}", question(asked));
    let spaced = |(number, word): (usize, &str)| if number == 0 { word.to_owned() } else { format!(" {word}") };
    let words: Vec<_> = answer.split(' ').enumerate().map(spaced).collect();
    let takes = if question(asked).starts_with(LONG) { Duration::from_secs(12) } else { Duration::ZERO };
    let pace = takes / u32::try_from(words.len()).unwrap_or(u32::MAX);
    (words, pace)
}

fn word(number: usize) -> String {
    if number == 0 { "ü0".to_owned() } else { format!(" ü{number}") }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = hear(&mut reader)? {
        let asked: Asked = request.body["messages"].as_array().into_iter().flatten().map(said).collect();
        locked(&shared.asked).push(asked.clone());
        locked(&shared.requests).push(request);
        let fault = locked(&shared.faults).pop_front();
        let begun = Instant::now();
        answer(stream, shared, &asked, fault)?;
        locked(&shared.took).push(begun.elapsed());
    }
    Ok(())
}

fn said(message: &Value) -> (String, String) {
    let field = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    (field("role"), field("content"))
}

/// The next request; `None` when the client has gone.
fn hear(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let (mut length, mut lines, mut authorization) = (0, 0, None);
    loop {
        let mut line = String::new();
        // Between two requests a client may go as it likes, or stay away for long.
        let heard = if lines == 0 { reader.read_line(&mut line).unwrap_or(0) } else { reader.read_line(&mut line)? };
        if heard == 0 {
            return Ok(None);
        }
        lines += 1;
        if line.trim().is_empty() && lines > 1 {
            break;
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap_or(0);
            }
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.trim().to_owned());
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).map_err(io::Error::other)?;
    Ok(Some(Request { at: Instant::now(), authorization, body }))
}

fn answer(mut stream: &TcpStream, shared: &Shared, asked: &[(String, String)], fault: Option<Fault>) -> io::Result<()> {
    match &fault {
        Some(Fault::Status(status, pause)) => {
            let pause = pause.map(|pause| format!("Retry-After: {pause}\r\n")).unwrap_or_default();
            let body = r#"{"error":{"message":"not now, sk-test-77"}}"#;
            let length = body.len();
            let head = format!("HTTP/1.1 {status} No\r\n{pause}Content-Length: {length}\r\n\r\n");
            return stream.write_all(format!("{head}{body}").as_bytes());
        }
        Some(Fault::Body(kind, body)) => {
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
            return stream.write_all(format!("{head}{body}").as_bytes());
        }
        _ => {}
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let handed_back = asked.iter().rev().nth(1).filter(|(role, _)| role == "assistant");
    let begin = handed_back.filter(|_| is_to_go_on(asked)).map_or(0, |(_, text)| text.split_whitespace().count());
    let (words, pace) = words(shared, asked);
    for (spoken, word) in words.iter().skip(begin).enumerate() {
        let event = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": word}}]}));
        match fault {
            Some(Fault::CutInCharacter(words)) if words == spoken => {
                let within = event.find('ü').map_or(0, |at| at + 1);
                let half = [format!("{:x}\r\n", event.len()).as_bytes(), &event.as_bytes()[..within]].concat();
                stream.write_all(&half)?;
                return stream.shutdown(std::net::Shutdown::Both);
            }
            Some(Fault::CutInEvent(words)) if words == spoken => {
                chunk(stream, &event[..event.len() / 2])?;
                return stream.write_all(b"0\r\n\r\n");
            }
            Some(Fault::Stall(words)) if words == spoken => {
                // Until the client gives up.
                return stream.read(&mut [0; 16]).map(|_| ());
            }
            _ => {}
        }
        chunk(stream, &event)?;
        std::thread::sleep(pace);
    }
    chunk(stream, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")?;
    stream.write_all(b"0\r\n\r\n")
}

fn chunk(mut stream: &TcpStream, text: &str) -> io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
}
