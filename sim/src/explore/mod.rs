//! The explorer: every state that a world within the bounds of a scope can come to, looked at with every rule. What it
//! finds is the shortest way there, as steps that can be taken again.

#[cfg(test)]
mod alike;
pub mod graph;
pub mod liveness;
pub mod scope;
mod tell;

use crate::naive::flaw::{Flaw, Flaws};
use crate::naive::gateway::Naive;
use crate::story::Story;
use crate::subject::Subject;
use crate::trace::{self, Trace, TraceError};
use crate::world::action::Step;
use evergate_core::gateway::Gateway;
use evergate_core::invariant::{Invariant, Violation};
use scope::{Room, Scope, Shape};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// More states than this and a room is given up: its bounds are too wide for this machine's memory.
const MOST_STATES: usize = 60_000_000;

/// What was found in one room.
#[derive(Clone, Debug)]
pub struct Explored {
    /// The room.
    pub room: Room,
    /// How many states it has.
    pub states: usize,
    /// How many edges.
    pub edges: usize,
    /// The length of the longest shortest way.
    pub depth: usize,
    /// Bytes that its states take.
    pub bytes: u64,
    /// For each rule, in how many states it was looked at.
    pub looked: Vec<(Invariant, u64)>,
    /// What is broken, and the steps that lead there.
    pub found: Option<(Violation, Vec<Step>)>,
    /// Whether there were too many states to see them all.
    pub cut: bool,
}

/// Explores one room with a subject.
pub fn explore_room<S: Subject>(room: &Room, subject: &S::Setting, threads: usize) -> Explored {
    let setting = room.setting::<S>(subject.clone());
    let graph = graph::explore(&setting, threads, MOST_STATES);
    let cut = graph.states() > MOST_STATES;
    let found = graph.found.clone().or_else(|| if cut { None } else { liveness::broken(&graph) });
    let found = found.map(|found| {
        let mut way = graph.way_to(found.state);
        way.extend(found.step);
        (found.violation, graph::steps_along(&setting, &way))
    });
    Explored {
        room: room.clone(),
        states: graph.states(),
        edges: graph.edges(),
        depth: graph.depth,
        bytes: graph.bytes,
        looked: Invariant::ALL.iter().map(|rule| (*rule, graph.looked[*rule as usize])).collect(),
        found,
        cut,
    }
}

/// What was found in a whole scope.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its name.
    pub scope: &'static str,
    /// Each room, in the order of the table. Behind the first in which something is broken none was entered.
    pub rooms: Vec<Explored>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// How many states all rooms have.
    #[must_use]
    pub fn states(&self) -> usize {
        self.rooms.iter().map(|room| room.states).sum()
    }

    /// How many edges.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.rooms.iter().map(|room| room.edges).sum()
    }

    /// For each rule, in how many states it was looked at.
    #[must_use]
    pub fn looked(&self) -> Vec<(Invariant, u64)> {
        let of = |rule: Invariant| {
            self.rooms
                .iter()
                .flat_map(|room| &room.looked)
                .filter(move |(looked, _)| *looked == rule)
                .map(|(_, times)| times)
        };
        Invariant::ALL.iter().map(|rule| (*rule, of(*rule).sum())).collect()
    }

    /// The rules that never had anything to look at: such a proof is none.
    #[must_use]
    pub fn vacuous(&self) -> Vec<Invariant> {
        self.looked().into_iter().filter(|(_, times)| *times == 0).map(|(rule, _)| rule).collect()
    }

    /// The rooms, by their numbers from 1, that have grown or shrunk since somebody counted.
    #[must_use]
    pub fn misshapen(&self, scope: &Scope) -> Vec<(usize, Shape, Shape)> {
        let unknown = Shape { states: 0, edges: 0 };
        let shapes = scope.shapes.iter().copied().chain(std::iter::repeat(unknown));
        let rooms = if scope.shapes.is_empty() { &[] } else { self.rooms.as_slice() };
        let shapes = rooms.iter().zip(shapes).enumerate();
        let now = |room: &Explored| Shape { states: room.states, edges: room.edges };
        shapes.map(|(index, (room, shape))| (index + 1, shape, now(room))).filter(|(_, was, is)| was != is).collect()
    }

    /// The first thing that is broken, the room, and the way there.
    #[must_use]
    pub fn found(&self) -> Option<(&Room, &Violation, &[Step])> {
        self.rooms
            .iter()
            .find_map(|room| room.found.as_ref().map(|(violation, way)| (&room.room, violation, way.as_slice())))
    }
}

/// Explores all rooms of a scope with the production gateway, telling of each as it is done.
pub fn explore(scope: &Scope, threads: usize, mut done: impl FnMut(&Explored)) -> Report {
    let begun = Instant::now();
    let mut rooms = Vec::new();
    for room in &scope.rooms {
        let explored = explore_room::<Gateway>(room, &(), threads);
        done(&explored);
        let broken = explored.found.is_some();
        rooms.push(explored);
        if broken {
            break;
        }
    }
    Report { scope: scope.name, rooms, took: begun.elapsed() }
}

/// Which subject a trace is about, as it stands in its head.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    subject: String,
    room: Room,
}

/// A way as a file that can be replayed.
#[must_use]
pub fn trace(subject: &str, room: &Room, way: &[Step]) -> Trace {
    let head = Head { subject: subject.to_owned(), room: room.clone() };
    let json = |value: serde_json::Result<serde_json::Value>| value.expect("a room and its steps are plain data");
    Trace {
        kind: trace::Kind::Explore,
        config: json(serde_json::to_value(head)),
        steps: way.iter().map(|step| json(serde_json::to_value(step))).collect(),
    }
}

/// Takes the steps of a trace again, and tells what happens.
pub fn replay(trace: &Trace) -> Result<Story, TraceError> {
    let head: Head =
        serde_json::from_value(trace.config.clone()).map_err(|error| TraceError::Head(error.to_string()))?;
    let mut way = Vec::new();
    for (index, step) in trace.steps.iter().enumerate() {
        let step: Step = serde_json::from_value(step.clone())
            .map_err(|error| TraceError::Step { step: index + 1, why: error.to_string() })?;
        way.push(step);
    }
    let title = format!("explore, {}, supervised by {}", head.subject, head.room.supervisor.name());
    match head.subject.as_str().split_once(':') {
        None if head.subject == "gateway" => tell::tell::<Gateway>(&head.room.setting(()), &way, title),
        Some(("naive", "")) => tell::tell::<Naive>(&head.room.setting(Flaws::NONE), &way, title),
        Some(("naive", name)) => match Flaw::TABLE.iter().find(|row| row.name == name) {
            Some(row) => tell::tell::<Naive>(&head.room.setting(Flaws::only(row.flaw)), &way, title),
            None => Err(TraceError::Head(format!("there is no flaw {name:?}"))),
        },
        _ => Err(TraceError::Head(format!("there is no subject {:?}", head.subject))),
    }
}
