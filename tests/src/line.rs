//! The chat server of the example adapter (`runtime/examples/line.rs`), in the test's own process: rooms with numbered
//! messages, deliveries known by their numbers, and faults on order.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::eventually;

/// How long a gateway may be silent before the server hangs up.
const SILENCE: Duration = Duration::from_secs(300);

/// All that the server knows.
#[derive(Debug, Default)]
struct World {
    /// What people said, in order: the room and the text. The number of a message is its place, from 1.
    said: Vec<(String, String)>,
    /// What was said to rooms: the room, the kind and the text.
    shown: Vec<(String, String, String)>,
    known: BTreeSet<u64>,
    connections: Vec<TcpStream>,
    down: bool,
    stranger: bool,
    lose_answer: bool,
    hold_answer: Option<Duration>,
    quiet: Option<(String, Instant)>,
}

/// A running server. It ends with this value.
pub struct LineServer {
    /// Where it is.
    pub address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl LineServer {
    /// A server in whose rooms nobody has said anything.
    ///
    /// # Panics
    /// When no port is left.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is left");
        let address = listener.local_addr().expect("it is bound");
        let world = Arc::new(Mutex::new(World::default()));
        let shared = Arc::downgrade(&world);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(world) = shared.upgrade() else { return };
                std::thread::spawn(move || drop(converse(stream, &world)));
            }
        });
        Self { address, world }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.world)
    }

    /// Somebody says something in a room.
    pub fn say(&self, room: &str, text: &str) {
        let mut world = self.world();
        world.said.push((room.to_owned(), text.to_owned()));
        let line = told(&world, world.said.len());
        world.tell(&line);
    }

    /// Says to whoever is connected all that was ever said.
    pub fn say_all_again(&self) {
        let mut world = self.world();
        for number in 1..=world.said.len() {
            let line = told(&world, number);
            world.tell(&line);
        }
    }

    /// What a room shows of this kind, `reply` or `notice`.
    #[must_use]
    pub fn shown(&self, room: &str, kind: &str) -> Vec<String> {
        let world = self.world();
        let here = world.shown.iter().filter(|(shown, of, _)| shown == room && of == kind);
        here.map(|(.., text)| text.clone()).collect()
    }

    /// Breaks every connection.
    pub fn break_all(&self) {
        self.world().hang_up();
    }

    /// Goes away, or comes back.
    pub fn set_down(&self, down: bool) {
        let mut world = self.world();
        world.down = down;
        world.hang_up();
    }

    /// Sends every gateway away from now on.
    pub fn send_away(&self) {
        self.world().stranger = true;
    }

    /// Shows the next message and hangs up before it says so.
    pub fn lose_answer(&self) {
        self.world().lose_answer = true;
    }

    /// Shows the next message and says so this much later.
    pub fn hold_answer(&self, length: Duration) {
        self.world().hold_answer = Some(length);
    }

    /// Refuses everything in a room for so long.
    pub fn ask_for_quiet(&self, room: &str, length: Duration) {
        self.world().quiet = Some((room.to_owned(), Instant::now() + length));
    }

    /// Waits until a gateway is there.
    ///
    /// # Panics
    /// When none comes.
    pub fn await_gateway(&self) {
        let there = eventually(crate::PATIENCE, || (!self.world().connections.is_empty()).then_some(()));
        assert!(there.is_some(), "no gateway came");
    }
}

impl Drop for LineServer {
    fn drop(&mut self) {
        self.set_down(true);
        let _woken = TcpStream::connect(self.address);
    }
}

impl World {
    fn tell(&mut self, line: &str) {
        self.connections.retain_mut(|connection| connection.write_all(line.as_bytes()).is_ok());
    }

    fn hang_up(&mut self) {
        for connection in self.connections.drain(..) {
            let _gone = connection.shutdown(Shutdown::Both);
        }
    }

    /// What is answered to a delivery; `None` when the line breaks instead.
    fn take(&mut self, number: u64, room: &str, kind: &str, text: &str) -> Option<String> {
        if self.quiet.as_ref().is_some_and(|(quiet, until)| quiet == room && Instant::now() < *until) {
            return Some(format!("later {number}\n"));
        }
        if self.known.insert(number) {
            self.shown.push((room.to_owned(), kind.to_owned(), text.to_owned()));
        }
        (!std::mem::take(&mut self.lose_answer)).then(|| format!("ok {number}\n"))
    }
}

fn locked(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

fn told(world: &World, number: usize) -> String {
    let (room, text) = &world.said[number - 1];
    format!("said {number} {room} \"ann\" {}\n", json!(text))
}

fn converse(stream: TcpStream, world: &Mutex<World>) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut stream = stream;
    let from = lines.next().transpose()?.unwrap_or_default();
    let from: usize = from.strip_prefix("from ").and_then(|number| number.parse().ok()).unwrap_or(0);
    {
        let mut world = locked(world);
        if world.down {
            return Ok(());
        }
        if world.stranger {
            return stream.write_all(b"go away \"no such bot\"\n");
        }
        for number in from + 1..=world.said.len() {
            let line = told(&world, number);
            stream.write_all(line.as_bytes())?;
        }
        world.connections.push(stream.try_clone()?);
    }
    for line in lines {
        let line = line?;
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        let ["say", number, room, kind, text] = words[..] else { continue };
        let text: String = serde_json::from_str(text).unwrap_or_default();
        let (answer, held) = {
            let mut world = locked(world);
            let answer = world.take(number.parse().unwrap_or(0), room, kind, &text);
            (answer, world.hold_answer.take())
        };
        let Some(answer) = answer else {
            let _gone = stream.shutdown(Shutdown::Both);
            return Ok(());
        };
        std::thread::sleep(held.unwrap_or_default());
        // People's words go out meanwhile, each in one piece.
        let _whole = locked(world);
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}
