//! What a gateway and the host of the agents say to each other: one JSON value a line, in order, over a connection that may
//! break at any time. The first line of a connection says what it is for.

use evergate::agent::Assignment;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a gateway says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// A turn is to be run, over this connection. It comes first.
    Run(Run),
    /// The turn is to end soon.
    Interrupt,
    /// The turn is to end now.
    Kill,
    /// These are to be ended. It comes first, and the answer when none of them is left.
    End(Whose),
}

/// One run of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Which one.
    pub which: Which,
    /// Whose messages are answered.
    pub session: String,
    /// Their texts.
    pub prompt: String,
}

/// What tells one run from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Which {
    /// The generation that runs it.
    pub generation: u64,
    /// The turn.
    pub turn: u64,
    /// Which attempt at it.
    pub attempt: u32,
}

/// Runs that are to be ended, also those of which nobody has heard yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// This one.
    Run(Which),
    /// All of earlier generations.
    Before(u64),
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It is at work.
    Began,
    /// A piece of its answer.
    Text(String),
    /// Nothing, but it could.
    Alive,
    /// What no gateway survives.
    Poison,
    /// Its last word: the answer.
    Answered(String),
    /// Its last word: why it failed, and what it had said by then.
    Failed(String, String),
    /// Its last word, because it was told to end: what it had said by then.
    Interrupted(String),
    /// Of those that were to be ended none is left; so many were running.
    Gone(usize),
}

impl Run {
    /// What is asked of an agent.
    #[must_use]
    pub fn of(assignment: Assignment) -> Self {
        let Assignment { generation, turn, attempt, session, prompt, .. } = assignment;
        Self { which: Which { generation, turn, attempt }, session, prompt }
    }
}

impl Whose {
    /// Whether this run is among them.
    #[must_use]
    pub fn counts(&self, which: &Which) -> bool {
        match self {
            Self::Run(run) => run == which,
            Self::Before(generation) => which.generation < *generation,
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "attempt {} at turn {} of generation {}", self.attempt, self.turn, self.generation)
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(which) => which.fmt(to),
            Self::Before(generation) => write!(to, "all before generation {generation}"),
        }
    }
}

/// One end of a connection.
pub struct Wire<S> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Over this stream.
    pub fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Says something. Whether it arrives is not known.
    pub async fn say(&mut self, what: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.stream.write_all(&line).await
    }

    /// The next thing that is said; an error when nothing can come any more. Nothing is lost if it is given up half-way.
    pub async fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let said = serde_json::from_slice(&self.unread[..end]);
                self.unread.drain(..=end);
                return Ok(said?);
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(Error::from(ErrorKind::UnexpectedEof));
            }
        }
    }
}
