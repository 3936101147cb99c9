//! The explorer: every state that a world within the bounds of a scope can come to, looked at with every rule. What it
//! finds is the shortest way there, as steps that can be taken again.

#[cfg(test)]
mod alike;
pub mod bounds;
pub mod coverage;
mod fate;
pub mod graph;
mod known;
pub mod liveness;
mod orphaned;
#[cfg(test)]
mod restless;
pub mod scope;
mod tell;
mod variants;

use crate::naive::flaw::{Flaw, Flaws};
use crate::naive::gateway::Naive;
use crate::replay::Again;
use crate::story::{Broken, Moment, Story};
use crate::subject::Subject;
use crate::trace::{self, Named, Trace, TraceError};
use crate::world::action::Step;
use bounds::{Bound, Bounds};
use evergate_core::gateway::Gateway;
use evergate_core::invariant::Invariant;
use evergate_core::supervisor::Supervisor;
use scope::{Room, Scope, Shape};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, Instant};

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
    pub found: Option<(Broken, Vec<Step>)>,
    /// The bound at which it was given up, if it was: then not all states were seen, and it is no proof.
    pub cut: Option<Bound>,
}

/// Explores one room with a subject.
pub fn explore_room<S: Subject>(room: &Room, subject: &S::Setting, threads: usize) -> Explored {
    explore_within::<S>(room, subject, threads, &Bounds::default())
}

/// The same, and gives it up at these bounds.
pub fn explore_within<S: Subject>(room: &Room, subject: &S::Setting, threads: usize, bounds: &Bounds) -> Explored {
    let setting = room.setting::<S>(subject.clone());
    let mut cut = None;
    let graph = graph::explore(&setting, threads, |states| {
        cut = bounds.reached(states);
        cut.is_some()
    });
    // What was not followed to its end says nothing about rest.
    let found = graph.found.clone().or_else(|| if cut.is_some() { None } else { liveness::broken(&graph) });
    let found = found.map(|found| {
        let mut way = graph.way_to(found.state);
        way.extend(found.step);
        (found.broken, graph::steps_along(&setting, &way))
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
    /// Each room, in the order of the table. Behind the first in which something is broken none was entered, nor any once
    /// time was over.
    pub rooms: Vec<Explored>,
    /// How many were not entered because time was over.
    pub left_out: usize,
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

    /// Whether everything was seen, or something was broken before that.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.left_out == 0 && self.rooms.iter().all(|room| room.cut.is_none())
    }

    /// The rooms, by their numbers from 1, that have grown or shrunk since somebody counted; nothing is said of those that were
    /// given up.
    #[must_use]
    pub fn misshapen(&self, scope: &Scope) -> Vec<(usize, Shape, Shape)> {
        let unknown = Shape { states: 0, edges: 0 };
        let shapes = scope.shapes.iter().copied().chain(std::iter::repeat(unknown));
        let shapes = self.rooms.iter().zip(shapes).enumerate();
        let now = |room: &Explored| Shape { states: room.states, edges: room.edges };
        let whole = shapes.filter(|(_, (room, _))| room.cut.is_none() && room.found.is_none());
        whole.map(|(index, (room, shape))| (index + 1, shape, now(room))).filter(|(_, was, is)| was != is).collect()
    }

    /// The first thing that is broken, the room, and the way there.
    #[must_use]
    pub fn found(&self) -> Option<(&Room, &Broken, &[Step])> {
        self.rooms.iter().find_map(|room| room.found.as_ref().map(|(broken, way)| (&room.room, broken, way.as_slice())))
    }
}

/// All scopes: those of [`scope::table`], and in `ci` the supervisors that are not as their row of the table says, and the
/// wishes that are left, a loop that waits for a disk, operators who climb to a stop, and a supervisor that is killed.
#[must_use]
pub fn table() -> Vec<Scope> {
    let mut scopes = scope::table();
    for ci in scopes.iter_mut().filter(|scope| scope.name == "ci") {
        ci.rooms.extend(variants::rooms());
        ci.rooms.extend(scope::wishes_left());
        ci.rooms.push(scope::disk_waits(Supervisor::Nobody, 2));
        ci.rooms.extend(scope::stops());
        ci.rooms.extend(scope::three_have_spoken());
        ci.rooms.extend(orphaned::rooms());
    }
    scopes
}

/// Explores all rooms of a scope with the production gateway, telling of each as it is done.
pub fn explore(scope: &Scope, threads: usize, bounds: &Bounds, mut done: impl FnMut(&Explored)) -> Report {
    let begun = Instant::now();
    let mut rooms = Vec::new();
    let mut left_out = 0;
    for (index, room) in scope.rooms.iter().enumerate() {
        if bounds.time_is_over() {
            left_out = scope.rooms.len() - index;
            break;
        }
        let explored = explore_within::<Gateway>(room, &(), threads, bounds);
        done(&explored);
        let broken = explored.found.is_some();
        rooms.push(explored);
        if broken {
            break;
        }
    }
    Report { scope: scope.name, rooms, left_out, took: begun.elapsed() }
}

/// Which subject a trace is about, and in which room, as it stands in its head.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    subject: String,
    room: Room,
}

/// One step of a trace, and all that happened in it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    step: Step,
    told: Vec<Moment>,
}

/// A way to what is broken, as a file that can be replayed, and told. The subject is `gateway`, or `naive:` and the name of its
/// flaw.
pub fn trace(subject: &str, room: &Room, broken: &Broken, way: &[Step]) -> (Trace, Story) {
    let head = Head { subject: subject.to_owned(), room: room.clone() };
    let config = plain(&head);
    let told = retell(&head, way, Some(&broken.invariant)).unwrap_or_default();
    let steps = way.iter().enumerate().map(|(index, step)| {
        let told = told.steps.get(index).cloned().unwrap_or_default();
        plain(&Line { step: step.clone(), told })
    });
    let broken = Some(Named::after(way.len(), broken.clone()));
    (Trace { kind: trace::Kind::Explore, broken, config, steps: steps.collect() }, story(&head, told))
}

/// Takes the steps of a trace again.
pub fn again(trace: &Trace) -> Result<Again, TraceError> {
    let head = serde_json::from_value(trace.config.clone()).map_err(|error| TraceError::Head(error.to_string()))?;
    let mut way = Vec::new();
    for (index, line) in trace.steps.iter().enumerate() {
        let Line { step, .. } = serde_json::from_value(line.clone())
            .map_err(|error| TraceError::Step { step: index + 1, why: error.to_string() })?;
        way.push(step);
    }
    let asked = trace.broken.as_ref().map(|broken| broken.invariant.as_str());
    let told = retell(&head, &way, asked)?;
    let lines = way.into_iter().zip(&told.steps).map(|(step, told)| plain(&Line { step, told: told.clone() }));
    Ok(Again { steps: lines.collect(), stuck: told.stuck.clone(), story: story(&head, told) })
}

/// Takes the steps with the subject that the head names.
fn retell(Head { subject, room }: &Head, way: &[Step], asked: Option<&str>) -> Result<tell::Told, TraceError> {
    Ok(match subject.split_once(':') {
        None if subject == "gateway" => tell::tell::<Gateway>(&room.setting(()), way, asked),
        Some(("naive", "")) => tell::tell::<Naive>(&room.setting(Flaws::NONE), way, asked),
        Some(("naive", name)) => match Flaw::named(name) {
            Some(flaw) => tell::tell::<Naive>(&room.setting(Flaws::only(flaw)), way, asked),
            None => return Err(TraceError::Head(format!("there is no flaw {name:?}"))),
        },
        _ => return Err(TraceError::Head(format!("there is no subject {subject:?}"))),
    })
}

fn story(Head { subject, room }: &Head, told: tell::Told) -> Story {
    let title = format!("explore, {subject}, supervised by {}", room.supervisor.name());
    let moments = [told.steps.concat(), told.behind].concat();
    Story { title, setting: plain(room).to_string(), moments, broken: told.broken }
}

fn plain(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("rooms, steps and moments are plain data")
}
