//! What an audit has to say: what was looked at and how often, and for each rule that was found broken what stood before and
//! after it. It prints and serializes; it judges nothing.

use crate::flight::replay::Difference;
use crate::journal::Logged;
use evergate_core::effect::Effect;
use evergate_core::id::GenerationId;
use evergate_core::input::Input;
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::time::Instant;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, SystemTime};

/// Moments that are told before a broken rule, and behind it.
const BEFORE: usize = 5;
const BEHIND: usize = 3;
/// Stories that are told in full; what is broken at its root is broken in every line that follows.
const TOLD: usize = 20;

/// One thing that was seen.
#[derive(Clone, Debug)]
pub enum Moment {
    /// A record, in the journal.
    Record(Logged),
    /// Something that the core was told, in this line of a flight log.
    Input(u64, Instant, Input),
    /// Something that it wanted.
    Effect(u64, Instant, Effect),
    /// What it planned, once it had nothing more to do for now.
    Plans(u64, Instant),
    /// A generation began, or ended for whoever looks from outside.
    Edge(String),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(Logged { line, at_ms, record }) => {
                write!(f, "journal {line}, {}: {}", wall_clock(*at_ms), json(record))
            }
            Self::Input(line, at, input) => write!(f, "flight {line}, at {} ms: told {}", at.as_millis(), json(input)),
            Self::Effect(line, at, effect) => {
                write!(f, "flight {line}, at {} ms: wanted {}", at.as_millis(), json(effect))
            }
            Self::Plans(line, at) => {
                write!(f, "flight {line}, at {} ms: at rest until something happens", at.as_millis())
            }
            Self::Edge(what) => f.write_str(what),
        }
    }
}

/// A rule that was found broken, and what stood around it.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// Its name; `CORE` when the gateway did something else than its core.
    pub rule: &'static str,
    /// What must hold.
    pub sentence: &'static str,
    /// What was found.
    pub what: String,
    /// In this generation.
    pub generation: GenerationId,
    /// About then, in milliseconds since 1970: the time of the last record before.
    pub at_ms: u64,
    /// What came before, and last the moment itself.
    pub before: Vec<String>,
    /// What came then.
    pub behind: Vec<String>,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, sentence, what, generation, at_ms, before, behind } = self;
        writeln!(f, "BROKEN {rule}: {what}\n  rule: {sentence}\n  in {generation}, {}", wall_clock(*at_ms))?;
        let moment = before.len().saturating_sub(1);
        for (at, line) in before.iter().enumerate() {
            writeln!(f, "  {} {line}", if at == moment { '>' } else { ' ' })?;
        }
        behind.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// How often each rule was looked at.
#[derive(Clone, Debug, Default)]
pub struct Looked([u64; Invariant::ALL.len()]);

impl Looked {
    /// How often this one was.
    #[must_use]
    pub const fn at(&self, invariant: Invariant) -> u64 {
        self.0[invariant as usize]
    }
}

impl Serialize for Looked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Invariant::ALL.len()))?;
        for invariant in Invariant::ALL {
            map.serialize_entry(invariant.name(), &self.at(*invariant))?;
        }
        map.end()
    }
}

/// What an audit has found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Records of the journal that were read.
    pub records: u64,
    /// Generations whose beginning is in the journal.
    pub generations: u64,
    /// Those of them that a flight log covers, as far as it goes.
    pub flown: u64,
    /// Inputs and effects in these flight logs.
    pub inputs: u64,
    /// See `inputs`.
    pub effects: u64,
    /// In how many moments each rule was looked at.
    pub looked: Looked,
    /// What could not be looked at, and why, in sentences.
    pub notes: Vec<String>,
    /// Moments in which a rule was broken.
    pub broken: u64,
    /// The first of them in full.
    pub stories: Vec<Story>,
    #[serde(skip)]
    recent: VecDeque<Moment>,
}

impl Report {
    /// Takes note of a moment and of what was looked at in it. `told` says whether it lies in the time that is asked for.
    pub(super) fn take(&mut self, moment: Moment, checks: &Checks, generation: GenerationId, at_ms: u64, told: bool) {
        for invariant in checks.looked_at() {
            self.looked.0[invariant as usize] += 1;
        }
        // That it came to rest is worth a line only where that is what is wrong.
        if matches!(moment, Moment::Plans(..)) && checks.broken().is_none() {
            return;
        }
        for story in self.stories.iter_mut().filter(|story| story.behind.len() < BEHIND) {
            story.behind.push(moment.to_string());
        }
        if self.recent.len() > BEFORE {
            self.recent.pop_front();
        }
        self.recent.push_back(moment);
        if let Some(broken) = checks.broken().filter(|_| told) {
            self.tell(broken.invariant.name(), broken.invariant.sentence(), broken.what.clone(), generation, at_ms);
        }
    }

    /// The gateway did something else than its core would have.
    pub(super) fn differs(&mut self, difference: &Difference, at_ms: u64) {
        let sentence = "What a gateway does is what its core says; without that its plans cannot be looked at.";
        self.tell("CORE", sentence, difference.to_string(), difference.generation, at_ms);
    }

    fn tell(&mut self, rule: &'static str, sentence: &'static str, what: String, generation: GenerationId, at_ms: u64) {
        self.broken += 1;
        if self.stories.len() < TOLD {
            let before = self.recent.iter().map(Moment::to_string).collect();
            self.stories.push(Story { rule, sentence, what, generation, at_ms, before, behind: Vec::new() });
        }
    }

    /// The rules that were looked at, with how often, and those that were not.
    fn rules(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rules looked at, and in how many moments:")?;
        let looked: Vec<String> = Invariant::ALL
            .iter()
            .filter(|rule| self.looked.at(**rule) > 0)
            .map(|rule| format!("{:<8} {:>7}", rule.name(), self.looked.at(*rule)))
            .collect();
        for row in looked.chunks(4) {
            writeln!(f, "  {}", row.join("  ").trim_end())?;
        }
        for (why, rules) in self.not_looked_at() {
            writeln!(f, "not looked at, {why}: {}", rules.join(", "))?;
        }
        Ok(())
    }

    /// The rules that were not looked at, by the reason.
    fn not_looked_at(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        let missing = |reason: Reason| {
            let rules = Invariant::ALL.iter().filter(|rule| self.looked.at(**rule) == 0);
            rules.filter(|rule| Reason::of(**rule, self.flown > 0) == reason).map(|rule| rule.name()).collect()
        };
        [
            ("since nothing happened that they are about", missing(Reason::NoOccasion)),
            ("since that takes a flight log", missing(Reason::NoFlight)),
            ("since a life that went on says nothing about it", missing(Reason::Never)),
        ]
        .into_iter()
        .filter(|(_, rules): &(_, Vec<_>)| !rules.is_empty())
        .collect()
    }
}

/// Why a rule was not looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    NoOccasion,
    NoFlight,
    Never,
}

impl Reason {
    fn of(rule: Invariant, flown: bool) -> Self {
        match rule {
            // What would happen without further faults is a question for the explorer.
            Invariant::Finite => Self::Never,
            rule if flown || super::FROM_RECORDS.contains(&rule) => Self::NoOccasion,
            _ => Self::NoFlight,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for story in &self.stories {
            writeln!(f, "{story}")?;
        }
        let untold = self.broken.saturating_sub(self.stories.len() as u64);
        if untold > 0 {
            writeln!(f, "and {untold} more moments in which a rule was broken\n")?;
        }
        let Self { records, generations, flown, inputs, effects, .. } = self;
        writeln!(
            f,
            "covered: {records} records, {generations} generations; {flown} of them with a flight log: {inputs} inputs, {effects} effects"
        )?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        self.rules(f)?;
        match self.broken {
            0 => writeln!(f, "nothing broken"),
            broken => writeln!(f, "BROKEN in {broken} moments"),
        }
    }
}

fn wall_clock(at_ms: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at_ms));
    time.map_or_else(|| "-".to_owned(), |time| humantime::format_rfc3339_millis(time).to_string())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("ids, words and numbers can always be written as JSON")
}
