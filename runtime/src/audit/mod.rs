//! The audit of a production journal: the rules of `core::invariant`, held against all that is on record. The history in the
//! journal is the spine; where a flight log covers a generation, what its core was told and wanted is woven in, as in a
//! simulation, with the core replayed beside it. It changes nothing, and takes a life that nobody recorded for what its
//! records say.

mod story;

pub use story::{Looked, Moment, Report, Story};

use crate::flight::reader::{Entry, LogError, Reader};
use crate::flight::replay::Replay;
use crate::flight::{Head, Step};
use crate::journal::Logged;
use evergate_core::effect::Effect;
use evergate_core::id::GenerationId;
use evergate_core::input::Input;
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::limits::Limits;
use evergate_core::record::{Record, Unfinished};
use evergate_core::recovery::Recovered;
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::witness::{View, Witness};
use std::collections::VecDeque;
use std::io::BufRead;

/// The rules that records alone say something about.
pub const FROM_RECORDS: [Invariant; 8] = [
    Invariant::Hygiene,
    Invariant::Reply,
    Invariant::Once,
    Invariant::Quar,
    Invariant::Notice,
    Invariant::Truth,
    Invariant::Rate,
    Invariant::Lock,
];

/// The time that is asked for. The rules need all that came before, so what lies outside is read and not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// All of it.
    Ever,
    /// From this generation on.
    Generation(GenerationId),
    /// From this time on, in milliseconds since 1970.
    Time(u64),
}

/// Whose journal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's: the last generation has ended.
    Nobody,
    /// A gateway's that runs: the last generation goes on while it is looked at.
    Running,
}

/// Why an audit cannot be finished.
#[derive(Debug, thiserror::Error)]
pub enum AuditError<E> {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(E),
    /// A flight log cannot be read.
    #[error(transparent)]
    Flight(LogError),
}

/// An audit under way. `history` gives the next lines of the journal behind the one it is told, none at its end.
pub struct Audit<H> {
    history: H,
    waiting: VecDeque<Logged>,
    /// The last line that was read.
    read: u64,
    owner: Owner,
    since: Since,
    witness: Witness,
    /// What the history so far leaves unfinished.
    unfinished: Unfinished,
    /// The generation whose records are being read.
    generation: GenerationId,
    at_ms: u64,
    /// The time of the commit whose records are being read one by one.
    commit: Option<u64>,
    flown: Option<Flown>,
    report: Report,
}

/// A generation with a flight log.
struct Flown {
    generation: GenerationId,
    /// The core beside it, until the two differ.
    replay: Option<Replay>,
    /// Records that it appended, and of which it was not told yet that they are on disk.
    pending: VecDeque<Record>,
    sight: Sight,
}

/// Whether a flight log and the journal still go together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    Clear,
    Lost,
}

impl<E, H: FnMut(u64) -> Result<Vec<Logged>, E>> Audit<H> {
    /// Begins at the first day of a journal.
    pub fn new(history: H, owner: Owner, since: Since) -> Self {
        Self {
            history,
            waiting: VecDeque::new(),
            read: 0,
            owner,
            since,
            // What these say is of no interest to records; a flight log brings its own.
            witness: Witness::new(Limits::default(), Contract::of(Supervisor::Nobody)),
            unfinished: Unfinished::default(),
            generation: GenerationId::default(),
            at_ms: 0,
            commit: None,
            flown: None,
            report: Report::default(),
        }
    }

    /// Says what cannot be looked at.
    pub fn note(&mut self, sentence: String) {
        self.report.notes.push(sentence);
    }

    /// Weaves in a flight log; several come in the order of their generations.
    pub fn flight(&mut self, log: impl BufRead) -> Result<(), AuditError<E>> {
        let mut log = Reader::new(log).map_err(AuditError::Flight)?;
        while let Some(entry) = log.entry().map_err(AuditError::Flight)? {
            self.entry(log.line(), entry).map_err(AuditError::Journal)?;
        }
        match log.left_out() {
            0 => {}
            generations => self.note(format!(
                "in a flight log, recorded by another version: {generations} of its generations, of which only the journal was read"
            )),
        }
        Ok(())
    }

    /// Weaves in what one line of a flight log says, or what was recorded in its place.
    pub fn entry(&mut self, line: u64, entry: Entry) -> Result<(), E> {
        match entry {
            Entry::Head(head) => self.boots(*head),
            Entry::Step(step) => self.step(line, &step),
            // What was not recorded any more may still be in the journal.
            Entry::CutHead | Entry::CutStep => Ok(()),
        }
    }

    /// Reads the rest of the journal.
    pub fn finish(mut self) -> Result<Report, E> {
        if self.owner == Owner::Running {
            // It lives on behind the end of its flight log.
            self.flown = None;
            self.witness.loses_sight();
        }
        self.leaves()?;
        while let Some(logged) = self.next()? {
            self.unseen(logged);
        }
        self.whole();
        Ok(self.report)
    }
}

/// The history, line by line.
impl<E, H: FnMut(u64) -> Result<Vec<Logged>, E>> Audit<H> {
    fn peek(&mut self) -> Result<Option<&Logged>, E> {
        if self.waiting.is_empty() {
            self.waiting = (self.history)(self.read)?.into();
            self.read = self.waiting.back().map_or(self.read, |last| last.line);
        }
        Ok(self.waiting.front())
    }

    fn next(&mut self) -> Result<Option<Logged>, E> {
        self.peek()?;
        Ok(self.waiting.pop_front())
    }

    /// The generation that the next record begins, if it begins one. What a death left unsaid its successor says first.
    fn begins(&mut self) -> Result<Option<GenerationId>, E> {
        Ok(self.peek()?.and_then(|logged| match &logged.record {
            Record::GenerationBegun { generation, .. } => Some(*generation),
            Record::GenerationEnded { generation, verdict: None, .. } => Some(generation.next()),
            _ => None,
        }))
    }

    /// A record of a life that nobody recorded.
    fn unseen(&mut self, logged: Logged) {
        if self.commit != Some(logged.at_ms) {
            self.whole();
        }
        if matches!(logged.record, Record::GenerationBegun { .. }) {
            self.witness.loses_sight();
        }
        self.commit = Some(logged.at_ms);
        self.on_disk(logged);
    }

    /// A record is on disk.
    fn on_disk(&mut self, logged: Logged) {
        let mut checks = Checks::default();
        self.at_ms = logged.at_ms;
        self.report.records += 1;
        if let Record::GenerationBegun { generation, .. } = logged.record {
            checks.holds(Invariant::Lock, generation == self.generation.next(), || {
                format!("{generation} begins after {}", self.generation)
            });
            self.generation = generation;
            self.report.generations += 1;
        }
        self.unfinished.absorb(&logged.record);
        self.witness.synced(&mut checks, &logged.record);
        self.take(Moment::Record(logged), &checks);
    }

    /// The commit that was being read is whole.
    fn whole(&mut self) {
        if self.commit.take().is_some() {
            let mut checks = Checks::default();
            self.witness.committed(&mut checks);
            self.take_if_broken("a commit is whole", &checks);
        }
    }

    fn take(&mut self, moment: Moment, checks: &Checks) {
        let told = self.is_asked_for();
        self.report.take(moment, checks, self.generation, self.at_ms, told);
    }

    fn is_asked_for(&self) -> bool {
        match self.since {
            Since::Ever => true,
            Since::Generation(first) => self.generation >= first,
            Since::Time(first) => self.at_ms >= first,
        }
    }

    fn take_if_broken(&mut self, edge: &str, checks: &Checks) {
        if checks.broken().is_some() {
            self.take(Moment::Edge(edge.to_owned()), checks);
        }
    }
}

/// A flight log, woven in.
impl<E, H: FnMut(u64) -> Result<Vec<Logged>, E>> Audit<H> {
    fn boots(&mut self, head: Head) -> Result<(), E> {
        let generation = head.recovered.highest.generation.next();
        // One that died before its beginning was on disk has left its number to the next.
        let again = self.flown.as_ref().is_some_and(|flown| flown.generation == generation);
        if again {
            self.witness.leaves();
        } else {
            self.leaves()?;
            while self.begins()?.is_none_or(|next| next < generation) {
                match self.next()? {
                    Some(logged) => self.unseen(logged),
                    None => break,
                }
            }
            self.whole();
        }
        if self.begins()?.is_some_and(|next| next > generation) || self.generation >= generation {
            self.flown = None;
            self.note(format!(
                "a flight log of {generation} comes too late to belong to this journal, and was left out"
            ));
            return Ok(());
        }
        self.report.flown += u64::from(!again);
        let mut checks = Checks::default();
        self.witness.under(head.limits.clone(), head.contract);
        self.witness.boots(&mut checks, generation, head.recovered.start);
        let mut found = Recovered::from_unfinished(&self.unfinished);
        found.start = head.recovered.start;
        checks.holds(Invariant::Ledger, found == head.recovered, || {
            format!("{generation} was booted with other unfinished business than the history leaves")
        });
        self.take(Moment::Edge(format!("{generation} boots")), &checks);
        let replay = Some(Replay::new(head));
        self.flown = Some(Flown { generation, replay, pending: VecDeque::new(), sight: Sight::Clear });
        Ok(())
    }

    /// One thing that happened, and all that the gateway wanted.
    fn step(&mut self, line: u64, step: &Step) -> Result<(), E> {
        if let Some(Input::Synced { records }) = step.input
            && self.sees()
        {
            self.come_to_disk(records)?;
        }
        if !self.sees() {
            return Ok(());
        }
        if let Some(input) = &step.input {
            let mut checks = Checks::default();
            if let Input::DeliverySent { delivery } = input {
                self.witness.arrived(&mut checks, *delivery);
            }
            self.witness.input(step.at, input);
            self.report.inputs += 1;
            self.take(Moment::Input(line, step.at, input.clone()), &checks);
        }
        let Some(mut flown) = self.flown.take() else { return Ok(()) };
        if let Some(Err(difference)) = flown.replay.as_mut().map(|replay| replay.step(line, step)) {
            if self.is_asked_for() {
                self.report.differs(&difference, self.at_ms);
            }
            flown.replay = None;
        }
        for effect in &step.effects {
            let mut checks = Checks::default();
            match effect {
                Effect::Append { record } => flown.pending.push_back(record.clone()),
                Effect::Discard => flown.pending.clear(),
                _ => {}
            }
            let drain = flown.replay.as_ref().and_then(|replay| replay.core().drain());
            self.witness.effect(&mut checks, step.at, effect, drain);
            self.report.effects += 1;
            self.take(Moment::Effect(line, step.at, effect.clone()), &checks);
        }
        if let Some(replay) = flown.replay.as_ref().filter(|replay| !replay.has_ended()) {
            let mut checks = Checks::default();
            self.witness.between_inputs(&mut checks, step.at, &View::of(replay.core()));
            self.take(Moment::Plans(line, step.at), &checks);
        }
        self.flown = Some(flown);
        Ok(())
    }

    /// The gateway is told that so many more of its records are on disk: there they must be.
    fn come_to_disk(&mut self, records: u32) -> Result<(), E> {
        for place in 1..=records {
            let appended = self.flown.as_mut().and_then(|flown| flown.pending.pop_front());
            if appended.is_some() && self.peek()?.map(|logged| &logged.record) == appended.as_ref() {
                if let Some(logged) = self.next()? {
                    self.commit = Some(logged.at_ms);
                    self.on_disk(logged);
                }
                continue;
            }
            let mut checks = Checks::default();
            let there = self.peek()?.map(|logged| Moment::Record(logged.clone()).to_string());
            checks.holds(Invariant::Ack, false, || {
                let but = match (&appended, there) {
                    (None, _) => "no more were appended".to_owned(),
                    (_, None) => "the journal has nothing more".to_owned(),
                    (_, Some(there)) => format!("the journal has there: {there}"),
                };
                format!("record {place} of {records} was taken for on disk, and {but}")
            });
            self.take(
                Moment::Edge(format!("record {place} of {records} is on disk, as the gateway was told")),
                &checks,
            );
            if let Some(generation) = self.flown.as_ref().map(|flown| flown.generation) {
                self.note(format!("from there on the flight log of {generation} is not looked at, only its journal"));
            }
            self.loses_sight();
            break;
        }
        self.whole();
        Ok(())
    }

    /// Whether what a flight log says is still about what the journal has.
    fn sees(&self) -> bool {
        self.flown.as_ref().is_some_and(|flown| flown.sight == Sight::Clear)
    }

    fn loses_sight(&mut self) {
        self.witness.loses_sight();
        if let Some(flown) = &mut self.flown {
            flown.sight = Sight::Lost;
        }
    }

    /// The flight of this generation is over. What it wrote last it may not have been told of any more; what it wrote and
    /// did not record is read without it.
    fn leaves(&mut self) -> Result<(), E> {
        let Some(generation) = self.flown.as_ref().map(|flown| flown.generation) else { return Ok(()) };
        while self.begins()?.is_none_or(|next| next <= generation) {
            let Some(logged) = self.next()? else { break };
            let Some(flown) = &mut self.flown else { break };
            let recorded = flown.pending.pop_front().is_some_and(|record| record == logged.record);
            if recorded && flown.sight == Sight::Clear {
                if self.commit != Some(logged.at_ms) {
                    self.whole();
                }
                self.commit = Some(logged.at_ms);
                self.on_disk(logged);
            } else {
                if flown.sight == Sight::Clear {
                    self.note(format!(
                        "{generation} wrote more than its flight log says; the rest was read from the journal alone"
                    ));
                    self.loses_sight();
                }
                self.unseen(logged);
            }
        }
        self.whole();
        if self.flown.take().is_some_and(|flown| flown.sight == Sight::Clear) {
            self.witness.leaves();
        }
        Ok(())
    }
}
