//! The lives of the gateway as its journal tells them, as JSON for the API and the command line: all of them in a list, and
//! one in full. It reads the journal page by page and changes nothing; what an end *means* was decided when it happened.

use crate::driver::{by, request_json, wish};
use crate::journal::{Journal, JournalError, Logged, StoredGeneration};
use evergate_core::drain::{Report, TurnFate};
use evergate_core::id::{DeliveryId, GenerationId, SessionId, TurnId};
use evergate_core::outbox::Fate;
use evergate_core::record::{Record, Subject};
use evergate_core::turn::Conclusion;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Generations in one list at most.
const LISTED: usize = 100;
/// Lines of the history read at once; between two pages others have their turn.
const PAGE: usize = 500;

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

/// The last generations, newest first, as `{"generations": […]}`; `alive` is the one that lives.
pub fn list(journal: &dyn Journal, alive: Option<GenerationId>) -> Result<Value, JournalError> {
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
                "ended_at_ms": ended(journal, &stored)?.at_ms(),
                "ended_before_ms": ended(journal, &stored)?.before_ms(),
                "cause": cause(journal, &stored, alive)?,
                "verdict": stored.verdict.map(|verdict| verdict.to_string()),
            }))
        })
        .collect::<Result<_, JournalError>>()?;
    Ok(json!({"generations": list}))
}

/// Why it ended, in words.
pub fn cause(
    journal: &dyn Journal,
    stored: &StoredGeneration,
    alive: Option<GenerationId>,
) -> Result<String, JournalError> {
    let asked = stored.report.iter().flat_map(|report| &report.requests);
    let causes: Vec<String> =
        asked.map(|(id, made)| format!("{} {id} from {}", wish(made.wish), by(journal, made.origin))).collect();
    Ok(match End::of(stored, alive) {
        _ if !causes.is_empty() => causes.join(", "),
        End::Alive => "still running".into(),
        End::InOrder | End::Died => {
            let next = journal.generation(stored.generation.next())?;
            let told = next.and_then(|next| next.owner?.predecessor_died_of);
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

fn ended(journal: &dyn Journal, stored: &StoredGeneration) -> Result<Ended, JournalError> {
    let Some(written) = stored.ended_at_ms else { return Ok(Ended::NotYet) };
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
    fn of(stored: &StoredGeneration, alive: Option<GenerationId>) -> Self {
        match (stored.verdict, stored.ended_at_ms) {
            (Some(_), _) => Self::InOrder,
            (None, None) if alive == Some(stored.generation) => Self::Alive,
            (None, _) => Self::Died,
        }
    }
}

/// One generation in full: who asked for its end and why, its stages, what became of each turn in flight and of what was
/// owed, and how long users had nobody; `None` when the journal does not know it. `alive` is the one that lives.
pub async fn tell(
    journal: &dyn Journal,
    asked: Asked,
    alive: Option<GenerationId>,
) -> Result<Option<Value>, JournalError> {
    let stored = match asked {
        Asked::This(generation) => journal.generation(generation)?,
        Asked::Last => {
            let newest = journal.generations(2)?;
            newest.into_iter().find(|stored| End::of(stored, alive) != End::Alive)
        }
    };
    let Some(stored) = stored else { return Ok(None) };
    let mut life = Life::new(&stored);
    let mut after = stored.begun_in_line.saturating_sub(1);
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
    life.json(journal, &stored, End::of(&stored, alive), successor.as_ref()).map(Some)
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

/// A turn that was in flight when the generation ended.
#[derive(Default)]
struct Turn {
    session: Option<SessionId>,
    attempt: u32,
    fate: Option<TurnFate>,
    resumed: Option<(u32, GenerationId)>,
    concluded: Option<(Conclusion, GenerationId)>,
}

/// Something that was owed when the generation ended.
struct Owed {
    session: SessionId,
    settled: Option<(Fate, GenerationId)>,
}

/// Where the reading of the history stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Within,
    /// In the life of this later generation, or just before its beginning.
    Behind(GenerationId),
}

/// A life, as far as it was read.
struct Life {
    generation: GenerationId,
    in_order: bool,
    place: Place,
    /// The last record that it wrote itself.
    last_sign_at_ms: u64,
    turns: BTreeMap<TurnId, Turn>,
    owed: BTreeMap<DeliveryId, Owed>,
}

impl Life {
    fn new(stored: &StoredGeneration) -> Self {
        let fates = stored.report.iter().flat_map(|report| &report.turns);
        let turns = fates.map(|(id, fate)| (*id, Turn { fate: Some(*fate), attempt: 1, ..Turn::default() })).collect();
        Self {
            generation: stored.generation,
            in_order: stored.verdict.is_some(),
            place: Place::Before,
            last_sign_at_ms: stored.begun_at_ms.max(stored.ready_at_ms.unwrap_or(0)),
            turns,
            owed: BTreeMap::new(),
        }
    }

    /// Takes the next line of the history; `false` once nothing more is to be learnt.
    fn take(&mut self, logged: &Logged) -> bool {
        self.place = match (&logged.record, self.place) {
            (Record::GenerationBegun { generation, .. }, Place::Before) if *generation == self.generation => {
                Place::Within
            }
            (Record::GenerationBegun { generation, .. }, Place::Within | Place::Behind(_))
                if *generation != self.generation =>
            {
                Place::Behind(*generation)
            }
            // A dead generation's end is the first that its successor writes.
            (Record::GenerationEnded { verdict: None, generation, .. }, Place::Within | Place::Behind(_)) => {
                Place::Behind(generation.next())
            }
            (_, place) => place,
        };
        match self.place {
            Place::Before => true,
            Place::Within => {
                self.last_sign_at_ms = self.last_sign_at_ms.max(logged.at_ms);
                self.within(&logged.record);
                true
            }
            Place::Behind(generation) => {
                self.behind(&logged.record, generation);
                self.turns.values().any(|turn| turn.concluded.is_none())
                    || self.owed.values().any(|owed| owed.settled.is_none())
            }
        }
    }

    /// One of its own records. Of one that ended in order only the turns that its account names are of interest.
    fn within(&mut self, record: &Record) {
        match record {
            Record::TurnOpened { turn, session, .. } => self.starts(*turn, Some(*session), 1),
            Record::TurnResumed { turn, attempt, .. } => self.starts(*turn, None, *attempt),
            Record::TurnEnded { turn, session, attempt, conclusion, .. } => match self.turns.get_mut(turn) {
                Some(ended) if self.in_order => {
                    ended.session = Some(*session);
                    ended.attempt = *attempt;
                    ended.concluded = Some((*conclusion, self.generation));
                }
                _ => {
                    self.turns.remove(turn);
                }
            },
            Record::DeliveryOwed { delivery, session, .. } => {
                self.owed.insert(*delivery, Owed { session: *session, settled: None });
            }
            Record::DeliverySettled { delivery, .. } => {
                self.owed.remove(delivery);
            }
            _ => {}
        }
    }

    fn starts(&mut self, turn: TurnId, session: Option<SessionId>, attempt: u32) {
        if self.in_order && !self.turns.contains_key(&turn) {
            return;
        }
        let started = self.turns.entry(turn).or_default();
        started.session = session.or(started.session);
        started.attempt = attempt;
    }

    /// A record of a later generation: where things went on.
    fn behind(&mut self, record: &Record, generation: GenerationId) {
        match record {
            Record::TurnResumed { turn, attempt, .. } => {
                if let Some(turn) = self.turns.get_mut(turn) {
                    turn.resumed.get_or_insert((*attempt, generation));
                }
            }
            Record::TurnEnded { turn, session, conclusion, .. } => {
                if let Some(turn) = self.turns.get_mut(turn) {
                    turn.session = Some(*session);
                    turn.concluded.get_or_insert((*conclusion, generation));
                }
            }
            Record::DeliverySettled { delivery, fate } => {
                if let Some(owed) = self.owed.get_mut(delivery) {
                    owed.settled.get_or_insert((*fate, generation));
                }
            }
            _ => {}
        }
    }

    /// A turn that was opened by an earlier generation and has not ended yet says its session only in its open row.
    fn name_what_is_open(&mut self, journal: &dyn Journal) -> Result<(), JournalError> {
        if self.turns.values().all(|turn| turn.session.is_some()) {
            return Ok(());
        }
        for (slot, record) in journal.unfinished()?.rows {
            if let ((Subject::Turn(id), 0), Record::TurnOpened { session, .. }) = (slot, record)
                && let Some(turn) = self.turns.get_mut(&id)
            {
                turn.session = Some(session);
            }
        }
        Ok(())
    }

    fn json(
        &self,
        journal: &dyn Journal,
        stored: &StoredGeneration,
        end: End,
        successor: Option<&StoredGeneration>,
    ) -> Result<Value, JournalError> {
        let mut requests = Vec::new();
        for id in stored.report.iter().flat_map(|report| report.requests.keys()) {
            requests.extend(journal.request(*id)?.map(|kept| request_json(journal, *id, &kept)));
        }
        let in_order = stored.report.as_ref().filter(|_| end == End::InOrder);
        let ended = ended(journal, stored)?;
        let ended_at_ms = ended.at_ms();
        let next = successor.map(|next| {
            let ready = next.ready_at_ms.unwrap_or(next.begun_at_ms);
            let gap = ready.saturating_sub(ended_at_ms.unwrap_or(self.last_sign_at_ms));
            json!({"generation": next.generation, "ready_at_ms": ready, "gap_ms": gap})
        });
        Ok(json!({
            "generation": stored.generation,
            "end": end,
            "cause": cause(journal, stored, (end == End::Alive).then_some(stored.generation))?,
            "verdict": stored.verdict.map(|verdict| verdict.to_string()),
            "pid": stored.owner.as_ref().map(|owner| owner.pid),
            "version": stored.owner.as_ref().map(|owner| &owner.version),
            "rolled_back": stored.owner.as_ref().and_then(|owner| owner.rolled_back.as_deref()),
            "begun_at_ms": stored.begun_at_ms,
            "ready_at_ms": stored.ready_at_ms,
            "last_sign_at_ms": self.last_sign_at_ms,
            "ended_at_ms": ended_at_ms,
            "ended_before_ms": ended.before_ms(),
            "requests": requests,
            "stages": in_order.map(|Report { drain_ms, interrupt_ms, close_ms, .. }| {
                json!({"drain_ms": drain_ms, "interrupt_ms": interrupt_ms, "close_ms": close_ms})
            }),
            "turns": self.turns_json(journal, end),
            "owed": in_order.map_or(self.owed.len(), |report| report.owed),
            "deliveries": self.deliveries_json(journal),
            "next": next,
        }))
    }

    fn turns_json(&self, journal: &dyn Journal, end: End) -> Vec<Value> {
        let fate = |turn: &Turn| match (turn.fate, end) {
            (Some(fate), _) => json!(fate),
            (None, End::Alive) => json!("running"),
            (None, _) => json!("cut"),
        };
        self.turns
            .iter()
            .map(|(id, turn)| {
                json!({
                    "turn": id,
                    "session": turn.session.map(|session| session_name(journal, session)),
                    "attempt": turn.attempt,
                    "fate": fate(turn),
                    "resumed": turn.resumed.map(|(attempt, generation)| {
                        json!({"attempt": attempt, "generation": generation})
                    }),
                    "concluded": turn.concluded.map(|(how, generation)| json!({"how": how, "generation": generation})),
                })
            })
            .collect()
    }

    fn deliveries_json(&self, journal: &dyn Journal) -> Vec<Value> {
        self.owed
            .iter()
            .map(|(id, owed)| {
                json!({
                    "delivery": id,
                    "session": session_name(journal, owed.session),
                    "settled": owed.settled.map(|(fate, generation)| json!({"fate": fate, "generation": generation})),
                })
            })
            .collect()
    }
}

fn session_name(journal: &dyn Journal, session: SessionId) -> String {
    journal.session_name(session).ok().flatten().unwrap_or_else(|| session.to_string())
}
