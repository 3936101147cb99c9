//! Reading a flight log again, entry by entry, however long it is. It knows what a death leaves behind (a line that is cut)
//! and what an update leaves behind (generations that another version has recorded) from what is wrong (anything else), and
//! judges nothing of what the entries say.

use super::{Head, Step, VERSION};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io::{self, BufRead};

/// How the head of a generation begins, in a log of any version.
const HEAD: &[u8] = b"{\"evergate_flight\":";

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system does not give it.
    #[error("the flight log cannot be read: {0}")]
    Read(#[from] io::Error),
    /// There is nothing in it.
    #[error("the flight log is empty: no gateway has written to it")]
    Empty,
    /// It is something else.
    #[error("this is no flight log of evergate: it does not begin with the head of a generation")]
    Foreign,
    /// Another version wrote all of it.
    #[error(
        "line {line} is of version {version} of the flight log, and only version {VERSION} can be replayed: take the programs that belong to that gateway"
    )]
    Version {
        /// Counted from 1.
        line: u64,
        /// Which.
        version: u64,
    },
    /// A line that no death has cut makes no sense.
    #[error("line {line} of the flight log cannot be understood: {error}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What the parser said.
        error: serde_json::Error,
    },
}

/// One line of a log.
#[derive(Debug)]
pub enum Entry {
    /// A generation begins.
    Head(Box<Head>),
    /// Something happened in it.
    Step(Step),
    /// A generation begins, and a death has cut its head: nothing of it follows.
    CutHead,
    /// A death has cut this step: nothing of its generation follows.
    CutStep,
}

/// A log that is being read.
pub struct Reader<R> {
    log: R,
    line: u64,
    text: Vec<u8>,
    /// A line that is cut, and why it cannot be read: an error if its generation goes on.
    cut: Option<(u64, serde_json::Error)>,
    /// Whether any generation could be read.
    readable: bool,
    /// The line and version of the first generation that another version has recorded, and how many there are.
    left_out: Option<(u64, u64, u64)>,
    /// Whether it is within such a generation.
    passes: bool,
}

impl<R: BufRead> Reader<R> {
    /// Begins with a log; fails at once when it is none.
    pub fn new(mut log: R) -> Result<Self, LogError> {
        let start = log.fill_buf()?;
        if start.is_empty() {
            return Err(LogError::Empty);
        }
        // Asked before anything is read as a line: a foreign file may be one line without an end.
        if !start.starts_with(HEAD) {
            return Err(LogError::Foreign);
        }
        let (text, readable, left_out, passes) = (Vec::new(), false, None, false);
        Ok(Self { log, line: 0, text, cut: None, readable, left_out, passes })
    }

    /// The line of the last entry, counted from 1.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// How many generations so far were left out, since another version has recorded them: a log to which a gateway appends
    /// has both behind an update.
    pub fn left_out(&self) -> u64 {
        self.left_out.map_or(0, |(_, _, generations)| generations)
    }

    /// The next entry; `None` behind the last. Fails there if all that is in it was left out.
    pub fn entry(&mut self) -> Result<Option<Entry>, LogError> {
        while self.next_line()? {
            let begins = self.text.starts_with(HEAD);
            if self.passes && !begins {
                continue;
            }
            if begins {
                self.cut = None;
            }
            match self.read(begins) {
                Err(LogError::Version { line, version }) => {
                    let (line, version, generations) = self.left_out.unwrap_or((line, version, 0));
                    self.left_out = Some((line, version, generations + 1));
                    self.passes = true;
                }
                read => {
                    self.readable |= matches!(read, Ok(Entry::Head(_)));
                    self.passes = false;
                    return read.map(Some);
                }
            }
        }
        match self.left_out {
            Some((line, version, _)) if !self.readable => Err(LogError::Version { line, version }),
            _ => Ok(None),
        }
    }

    fn next_line(&mut self) -> io::Result<bool> {
        self.text.clear();
        if self.log.read_until(b'\n', &mut self.text)? == 0 {
            return Ok(false);
        }
        self.line += 1;
        // Not part of it: within a string that was cut it would be a mistake of another kind.
        if self.text.ends_with(b"\n") {
            self.text.pop();
        }
        Ok(true)
    }

    /// What a line says, which begins a generation or not.
    fn read(&mut self, begins: bool) -> Result<Entry, LogError> {
        let read = if begins {
            head(self.line, &self.text).map(|head| Entry::Head(Box::new(head)))
        } else {
            step(self.line, &self.text)
        };
        match read {
            Err(LogError::Line { line, error }) if is_cut(&self.text) => {
                self.cut = Some((line, error));
                Ok(if begins { Entry::CutHead } else { Entry::CutStep })
            }
            Ok(Entry::Step(_)) if self.cut.is_some() => {
                let (line, error) = self.cut.take().expect("asked for just now");
                Err(LogError::Line { line, error })
            }
            read => read,
        }
    }
}

/// Reads the head of a generation.
fn head(line: u64, text: &[u8]) -> Result<Head, LogError> {
    #[derive(Deserialize)]
    struct Mark {
        evergate_flight: u64,
    }
    let unclear = |error| LogError::Line { line, error };
    let Mark { evergate_flight: version } = serde_json::from_slice(text).map_err(unclear)?;
    if version != u64::from(VERSION) {
        return Err(LogError::Version { line, version });
    }
    serde_json::from_slice(text).map_err(unclear)
}

fn step(line: u64, text: &[u8]) -> Result<Entry, LogError> {
    serde_json::from_slice(text).map(Entry::Step).map_err(|error| LogError::Line { line, error })
}

/// Whether a line ends before it is whole, whatever it says up to there.
fn is_cut(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
}
