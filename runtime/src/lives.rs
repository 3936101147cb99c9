//! The lives of the gateway as its journal tells them, as JSON for the API and the command line: all of them in a list, and
//! one in full (`life`). It reads the journal page by page and changes nothing; what an end *means* was decided when it happened.

mod life;

use crate::driver::{by, wish};
use crate::journal::{Journal, JournalError, StoredGeneration};
use crate::last_words::{LastWords, Told};
use evergate_core::id::GenerationId;
use life::Life;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

/// Generations in one list at most.
const LISTED: usize = 100;
/// Lines of the history read at once; between two pages others have their turn.
const PAGE: usize = 500;

/// What the reader of a journal knows beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now<'a> {
    /// This generation lives.
    Alive(GenerationId),
    /// None does; last words may lie in this state directory.
    Nobody(&'a Path),
}

impl Now<'_> {
    /// What a generation that has not ended yet, as far as the journal knows, died of.
    fn last_words(self, stored: &StoredGeneration) -> Option<Told> {
        match self {
            Self::Nobody(state_dir) if stored.verdict.is_none() => LastWords::peek(stored.generation, state_dir),
            _ => None,
        }
    }
}

/// Which generation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The last that has ended.
    Last,
    /// This one.
    This(GenerationId),
}

impl Asked {
    /// The sentence for somebody who asks for a generation that is not there.
    #[must_use]
    pub fn missing(self) -> String {
        match self {
            Self::Last => "no generation has ended yet".to_owned(),
            Self::This(generation) => format!("the journal knows no {generation}; `evergate generations` lists them"),
        }
    }
}

impl std::str::FromStr for Asked {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "last" { Ok(Self::Last) } else { text.parse().map(|number| Self::This(GenerationId(number))) }
    }
}

/// The last generations, newest first, as `{"generations": […]}`; `now` is what its reader knows besides.
pub fn list(journal: &dyn Journal, now: Now<'_>) -> Result<Value, JournalError> {
    let list: Vec<Value> = journal
        .generations(LISTED)?
        .into_iter()
        .map(|stored| {
            Ok(json!({
                "generation": stored.generation,
                "pid": stored.owner.as_ref().map(|owner| owner.pid),
                "version": stored.owner.as_ref().map(|owner| &owner.version),
                "rolled_back": stored.owner.as_ref().and_then(|owner| owner.rolled_back.as_deref()),
                "begun_at_ms": stored.begun_at_ms,
                "ready_at_ms": stored.ready_at_ms,
                "ended_at_ms": ended(journal, &stored, now)?.at_ms(),
                "ended_before_ms": ended(journal, &stored, now)?.before_ms(),
                "cause": cause(journal, &stored, now)?,
                "verdict": stored.verdict.map(|verdict| verdict.to_string()),
            }))
        })
        .collect::<Result<_, JournalError>>()?;
    Ok(json!({"generations": list}))
}

/// Why it ended, in words.
pub fn cause(journal: &dyn Journal, stored: &StoredGeneration, now: Now<'_>) -> Result<String, JournalError> {
    let asked = stored.report.iter().flat_map(|report| &report.requests);
    let causes: Vec<String> =
        asked.map(|(id, made)| format!("{} {id} from {}", wish(made.wish), by(journal, made.origin))).collect();
    Ok(match End::of(stored, now) {
        _ if !causes.is_empty() => causes.join(", "),
        End::Alive => "still running".into(),
        End::InOrder | End::Died => {
            let next = journal.generation(stored.generation.next())?;
            let told = next.and_then(|next| next.owner?.predecessor_died_of);
            let told = told.or_else(|| now.last_words(stored)?.why);
            told.unwrap_or_else(|| "died without a word".into())
        }
    })
}

/// When a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It has not, or nobody has found out yet.
    NotYet,
    /// Then, by its own account, or as somebody saw it die.
    At(u64),
    /// Some time before then, when its successor found it dead.
    Before(u64),
}

impl Ended {
    const fn at_ms(self) -> Option<u64> {
        match self {
            Self::At(at) => Some(at),
            Self::NotYet | Self::Before(_) => None,
        }
    }

    const fn before_ms(self) -> Option<u64> {
        match self {
            Self::Before(then) => Some(then),
            Self::NotYet | Self::At(_) => None,
        }
    }
}

fn ended(journal: &dyn Journal, stored: &StoredGeneration, now: Now<'_>) -> Result<Ended, JournalError> {
    let Some(written) = stored.ended_at_ms else {
        let told = now.last_words(stored).and_then(|told| told.at_ms);
        return Ok(told.map_or(Ended::NotYet, Ended::At));
    };
    if stored.verdict.is_some() {
        return Ok(Ended::At(written));
    }
    let next = journal.generation(stored.generation.next())?;
    let told = next.and_then(|next| next.owner?.predecessor_died_at_ms);
    Ok(told.map_or(Ended::Before(written), Ended::At))
}

/// How a generation has ended, if it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Alive,
    InOrder,
    Died,
}

impl End {
    fn of(stored: &StoredGeneration, now: Now<'_>) -> Self {
        match (stored.verdict, stored.ended_at_ms) {
            (Some(_), _) => Self::InOrder,
            (None, None) if now == Now::Alive(stored.generation) => Self::Alive,
            (None, _) => Self::Died,
        }
    }
}

/// One generation in full: who asked for its end and why, its stages, what became of its turns and of its deliveries, and how
/// long users had nobody; `None` when the journal does not know it. `now` is what its reader knows besides.
pub async fn tell(journal: &dyn Journal, asked: Asked, now: Now<'_>) -> Result<Option<Value>, JournalError> {
    let stored = match asked {
        Asked::This(generation) => journal.generation(generation)?,
        Asked::Last => {
            let newest = journal.generations(2)?;
            newest.into_iter().find(|stored| End::of(stored, now) != End::Alive)
        }
    };
    let Some(stored) = stored else { return Ok(None) };
    let mut life = Life::new(&stored);
    let mut after = handed_on_from(journal, &stored)?.saturating_sub(1);
    'history: loop {
        let page = journal.history(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.line;
        for logged in &page {
            if !life.take(logged) {
                break 'history;
            }
        }
        tokio::task::yield_now().await;
    }
    life.name_what_is_open(journal)?;
    let successor = successor(journal, stored.generation)?;
    life.json(journal, &stored, now, successor.as_ref()).map(Some)
}

/// The line of the history that begins the first of the generations that may have left this one something to deliver.
fn handed_on_from(journal: &dyn Journal, stored: &StoredGeneration) -> Result<u64, JournalError> {
    let (mut line, mut generation) = (stored.begun_in_line, stored.generation);
    while let Some(before) = generation.0.checked_sub(1).map(GenerationId) {
        let Some(stored) = journal.generation(before)? else { break };
        // What is kept as the account of one that died is nobody's.
        if stored.verdict.is_some() && stored.report.is_some_and(|report| report.owed == 0) {
            break;
        }
        (line, generation) = (stored.begun_in_line, before);
    }
    Ok(line)
}

/// The first generation after this one that could serve.
fn successor(journal: &dyn Journal, generation: GenerationId) -> Result<Option<StoredGeneration>, JournalError> {
    let mut next = generation.next();
    while let Some(stored) = journal.generation(next)? {
        if stored.ready_at_ms.is_some() {
            return Ok(Some(stored));
        }
        next = next.next();
    }
    Ok(None)
}
