//! The smallest whole adapter, and a gateway that serves it: a chat server that speaks lines over TCP. Copy it to begin one
//! of your own; `evergate::platform` has the contract in prose, and each number below is a number there.
//!
//! ```text
//! gateway: from 17                           give me what was said after the 17th message, and what comes
//! server:  said 18 lobby "ann" "hello"       the 18th message: in this room, by this person, this text
//! gateway: say 5 lobby reply "You said: …"   delivery 5; the same number again says nothing
//! server:  ok 5                              it is in the room;  or: later 5;  or: never 5 "the room is closed"
//! server:  go away "no such bot"             a person has to mend something first
//! ```
//!
//! `EVERGATE_LINE=127.0.0.1:7777 cargo run --example line -- run` serves the server at that address.

use evergate::platform::{
    Capabilities, Chat, Edits, Ended, Health, Inbound, Outbound, Outcome, Outgoing, Platform, Port, Refused, Replay,
    Saying, Threads, missing,
};
use evergate_core::input::Standing;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// The longest line that is read: a server that never ends one must not fill the memory.
const LINE: u64 = 256 * 1024;
/// The pause before the server is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The adapter. It knows where its server is, and nothing else: whatever has to last is in the journal.
pub struct Line {
    /// The server's host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Platform for Line {
    fn name(&self) -> &'static str {
        "line"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // The server knows a delivery by its number, so one whose fate is unknown is simply sent again.
            outbound: Outbound::Idempotent,
            // It gives everything again from a number on.
            replay: Replay::Cursor,
            edits: Edits::No,
            threads: Threads::No,
            text_limit: None,
            pace: None,
        }
    }

    fn run(&self, port: Port) -> Pin<Box<dyn Future<Output = Ended> + Send + '_>> {
        Box::pin(async move {
            loop {
                let broken = tokio::select! {
                    biased;
                    // 6. The end: nothing is to be tidied up. What was in hand counts as unknown.
                    () = port.closing() => return Ended::Closed,
                    broken = self.converse(&port) => broken,
                };
                match broken {
                    // A person has to mend something; the rest of the gateway serves on.
                    Ok(why) => return Ended::Parked { why },
                    // Anything else may pass. 5. Health: who waits says for what, and until when.
                    Err(error) => {
                        let until = port.environment().now() + PAUSE;
                        port.health(Health::Waiting { why: error.to_string(), until });
                        tokio::select! {
                            biased;
                            () = port.closing() => return Ended::Closed,
                            () = port.environment().sleep_until(until) => {}
                        }
                    }
                }
            }
        })
    }
}

impl Line {
    /// One connection, until it breaks or the server sends us away.
    async fn converse(&self, port: &Port) -> io::Result<String> {
        // Sockets and clocks are the environment's: so an adapter runs in a simulation, too.
        let stream = port.environment().connect(&self.host, self.port).await?;
        let (incoming, mut outgoing) = tokio::io::split(stream);
        // 4. State of its own: the number of the last message that is on disk.
        let cursor = port.kept("cursor").await.map_err(io::Error::other)?.unwrap_or_else(|| "0".into());
        outgoing.write_all(format!("from {cursor}\n").as_bytes()).await?;
        port.health(Health::Up);
        let ended = tokio::select! {
            biased;
            ended = receive(BufReader::new(incoming), port) => ended,
            broken = speak(outgoing, port) => broken,
        };
        // What the server has not answered is handed out again; it knows what it has.
        port.give_back().await;
        ended
    }
}

/// Reads what the server says. It never ends well: it gives why the server sends us away, or what broke.
async fn receive(mut server: BufReader<impl AsyncRead + Unpin>, port: &Port) -> io::Result<String> {
    loop {
        let mut line = String::new();
        (&mut server).take(LINE).read_line(&mut line).await?;
        let Some(line) = line.strip_suffix('\n') else { return Err(io::Error::other("the server has hung up")) };
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        let number = |word: &str| word.parse().map_err(|_| io::Error::other(format!("the server says {line:?}")));
        match (word(), word(), word()) {
            ("said", which, rest) => {
                // 1. In: hand it in, and move the cursor when it is on disk.
                hear(port, which, rest).await?;
                port.keep([("cursor".to_owned(), Some(which.to_owned()))]).await.map_err(io::Error::other)?;
            }
            ("ok", which, _) => port.settle(number(which)?, Outcome::Sent).await,
            // It is handed out again in a moment.
            ("later", which, _) => port.settle(number(which)?, Outcome::Failed).await,
            ("never", which, why) => port.settle(number(which)?, Outcome::Rejected { why: why.to_owned() }).await,
            ("go", "away", why) => return Ok(format!("the line server sends us away: {why}")),
            // A newer server may say more.
            _ => {}
        }
    }
}

/// Hands in one message, until it is on disk or will never be.
async fn hear(port: &Port, number: &str, rest: &str) -> io::Result<()> {
    let (room, said) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut texts = serde_json::Deserializer::from_str(said).into_iter::<String>();
    let (Some(Ok(from)), Some(Ok(text))) = (texts.next(), texts.next()) else {
        // Nobody can mend it, and it must not stand in the way of what follows. An adapter of yours will want to log that.
        return Ok(());
    };
    let chat = Chat { platform: "line".into(), chat: room.to_owned(), thread: None };
    // Everybody here may do everything. An adapter of yours will want to know who they are.
    let standing = Standing::Operator;
    let inbound = Inbound { chat, native: number.to_owned(), text, from, standing, attachments: Vec::new() };
    loop {
        match port.accept(inbound.clone()).await {
            // What comes twice is known by its number, and does nothing.
            Ok(_) | Err(Refused::ChatFull | Refused::TooLong) => return Ok(()),
            Err(Refused::Over) => return Err(io::Error::other("this generation takes nothing more")),
            Err(Refused::Later) => {
                let soon = port.environment().now() + Duration::from_millis(100);
                port.environment().sleep_until(soon).await;
            }
        }
    }
}

/// 2. Out: says what chats are owed. The server answers in [`receive`].
async fn speak(mut server: impl AsyncWrite + Unpin, port: &Port) -> io::Result<String> {
    loop {
        let Outgoing { delivery, chat, what, mut text, files, .. } = port.outgoing().await;
        // A platform that takes files would send each behind the text.
        for file in &files {
            text = format!("{text}\n{}", missing(file, "files are not sent here"));
        }
        let kind = if matches!(what, Saying::Reply { .. }) { "reply" } else { "notice" };
        let line = format!("say {delivery} {} {kind} {}\n", chat.chat, serde_json::json!(text));
        server.write_all(line.as_bytes()).await?;
    }
}

/// The adapter for the server that the environment names.
fn platforms() -> Vec<Arc<dyn Platform>> {
    let server = std::env::var("EVERGATE_LINE").unwrap_or_default();
    let server = server.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    server.into_iter().map(|(host, port)| Arc::new(Line { host, port }) as Arc<dyn Platform>).collect()
}

// A gateway like any other, with one platform more.
fn main() -> ExitCode {
    evergate::platform::serve_also(platforms);
    evergate::program::main()
}
