//! A line between a gateway and a server that we did not write, which goes wrong on order: answers are lost or late, requests
//! are refused, connections break; and that counts how long nobody waits at the server. It reads just enough of HTTP/1.1 to know
//! one request from the next.

use crate::bot_api::silence::Silence;
use crate::bot_api::world::now_ms;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a side may be silent before the line hangs up.
const SILENCE: Duration = Duration::from_secs(120);

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server does it, and the connection breaks before its answer.
    LoseAnswer,
    /// The server does it, and its answer comes so much later.
    Hold(Duration),
    /// The server does not hear of it; this is the answer (status line, headers and body).
    Instead(String),
}

#[derive(Debug, Default)]
struct Faults {
    /// What goes wrong with the next request that has this in its first line.
    waiting: Vec<(String, Fault)>,
    open: Vec<TcpStream>,
    /// What a poll has in its first line.
    polls: Option<String>,
    silence: Silence,
}

/// The line. It ends with this value.
pub struct Between {
    /// Where the gateway finds the server.
    pub address: SocketAddr,
    faults: Arc<Mutex<Faults>>,
    over: Arc<AtomicBool>,
}

impl Between {
    /// A line to this server.
    ///
    /// # Panics
    /// When no port is left.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is left");
        let address = listener.local_addr().expect("it is bound");
        let (faults, over) = (Arc::new(Mutex::new(Faults::default())), Arc::new(AtomicBool::new(false)));
        let (shared, end) = (Arc::clone(&faults), Arc::clone(&over));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A server that is away hangs up at once, as it would without us.
                std::thread::spawn(move || {
                    let _broken = TcpStream::connect(server).and_then(|server| connect(client, server, &shared));
                });
            }
        });
        Self { address, faults, over }
    }

    /// Orders a fault for the next request whose first line has these words in it.
    pub fn order(&self, words: &str, fault: Fault) {
        locked(&self.faults).waiting.push((words.to_owned(), fault));
    }

    /// From now on requests with these words in their first line are the gateway's polls.
    pub fn watch(&self, words: &str) {
        locked(&self.faults).polls = Some(words.to_owned());
    }

    /// The longest time in which the server held no poll, since the last time this was asked.
    pub fn longest_silence(&self) -> Duration {
        let silence = &mut locked(&self.faults).silence;
        let longest = silence.account(now_ms())["longest_ms"].as_u64().unwrap_or_default();
        silence.reset(now_ms());
        Duration::from_millis(longest)
    }

    /// Breaks every connection.
    pub fn break_all(&self) {
        for stream in locked(&self.faults).open.drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.break_all();
        // It waits for a last visitor.
        let _woken = TcpStream::connect(self.address);
    }
}

fn locked(faults: &Mutex<Faults>) -> MutexGuard<'_, Faults> {
    faults.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What becomes of the answer that is on its way.
#[derive(Debug, Default)]
struct Answer {
    lost: AtomicBool,
    held: Mutex<Option<Duration>>,
    /// Whether it is that of a poll.
    polled: AtomicBool,
}

impl Answer {
    /// The poll is answered, or its client is gone.
    fn over(&self, shared: &Mutex<Faults>) {
        if self.polled.swap(false, Ordering::SeqCst) {
            locked(shared).silence.over(now_ms());
        }
    }
}

fn connect(client: TcpStream, server: TcpStream, shared: &Arc<Mutex<Faults>>) -> io::Result<()> {
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_nodelay(true)?;
        locked(shared).open.push(stream.try_clone()?);
    }
    let answer = Arc::new(Answer::default());
    let back = (server.try_clone()?, client.try_clone()?, Arc::clone(&answer), Arc::clone(shared));
    std::thread::spawn(move || {
        let (mut from, mut to, answer, shared) = back;
        let _broken = answers(&mut from, &mut to, &answer, &shared);
        answer.over(&shared);
        let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
    let done = requests(client.try_clone()?, server.try_clone()?, shared, &answer);
    answer.over(shared);
    let _gone = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    done
}

fn requests(client: TcpStream, mut server: TcpStream, shared: &Mutex<Faults>, answer: &Answer) -> io::Result<()> {
    let mut to_client = client.try_clone()?;
    let mut client = BufReader::new(client);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let begun = head.len();
            if client.read_line(&mut head)? == 0 {
                return Ok(());
            }
            let line = head[begun..].trim().to_ascii_lowercase();
            if let Some(number) = line.strip_prefix("content-length:") {
                length = number.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        client.read_exact(&mut body)?;
        let first = head.lines().next().unwrap_or_default();
        let fault = {
            let mut faults = locked(shared);
            let is_poll = faults.polls.as_ref().is_some_and(|words| first.contains(&**words));
            if is_poll && !answer.polled.swap(true, Ordering::SeqCst) {
                faults.silence.begun(now_ms());
            }
            let struck = faults.waiting.iter().position(|(words, _)| first.contains(&**words));
            struck.map(|place| faults.waiting.remove(place).1)
        };
        match fault {
            Some(Fault::Instead(said)) => {
                to_client.write_all(said.as_bytes())?;
                continue;
            }
            Some(Fault::LoseAnswer) => answer.lost.store(true, Ordering::SeqCst),
            Some(Fault::Hold(length)) => {
                *answer.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(length);
            }
            None => {}
        }
        server.write_all(head.as_bytes())?;
        server.write_all(&body)?;
    }
}

fn answers(server: &mut TcpStream, client: &mut TcpStream, answer: &Answer, shared: &Mutex<Faults>) -> io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    loop {
        let length = server.read(&mut bytes)?;
        answer.over(shared);
        if length == 0 || answer.lost.load(Ordering::SeqCst) {
            return Ok(());
        }
        let held = answer.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(held) = held {
            std::thread::sleep(held);
        }
        client.write_all(&bytes[..length])?;
    }
}
