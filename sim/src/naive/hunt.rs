//! The hunt: for each flaw the shortest way to the rule that it breaks, and for the machine without flaws everything that
//! it can come to, in every room. The same answer on any number of threads.

use super::flaw::{Flaw, Flaws, Row};
use super::gateway::Naive;
use super::room::{self, Room};
use crate::explore::graph::{self, Graph};
use crate::explore::liveness;
use crate::world::Setting;
use crate::world::action::Step;
use evergate_core::invariant::Violation;

/// More states than any of the rooms has.
const LIMIT: usize = 4_000_000;

/// What came of looking for one flaw.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which.
    pub flaw: &'static Row,
    /// The rule that was found broken; `None` would mean that the checker is blind to this flaw.
    pub found: Option<Violation>,
    /// A shortest way there.
    pub way: Vec<Step>,
}

/// What came of looking for flaws where there are none.
#[derive(Clone, Debug)]
pub struct Clean {
    /// Where.
    pub room: &'static Room,
    /// All states of it.
    pub states: usize,
    /// All edges between them.
    pub edges: usize,
    /// What was found broken, and the way there: nothing, or the naive machine or the checker is wrong.
    pub found: Option<(Violation, Vec<Step>)>,
}

/// Looks for every flaw, each alone, in its room.
#[must_use]
pub fn hunt(threads: usize) -> Vec<Finding> {
    Flaw::TABLE.iter().map(|row| find(row.flaw, threads)).collect()
}

/// Looks for one flaw in its room.
#[must_use]
pub fn find(flaw: Flaw, threads: usize) -> Finding {
    let row = flaw.row();
    let (_, found) = search(row.room, Flaws::only(flaw), threads);
    let (found, way) = found.map_or((None, Vec::new()), |(violation, way)| (Some(violation), way));
    Finding { flaw: row, found, way }
}

/// Explores every room with all switches off.
#[must_use]
pub fn flawless(threads: usize) -> Vec<Clean> {
    let explored = room::ALL.iter().map(|room| {
        let (graph, found) = search(room, Flaws::NONE, threads);
        Clean { room, states: graph.states(), edges: graph.edges(), found }
    });
    explored.collect()
}

fn search(room: &Room, flaws: Flaws, threads: usize) -> (Graph, Option<(Violation, Vec<Step>)>) {
    let setting: Setting<Naive> = room.to_explore().setting(flaws);
    let graph = graph::explore(&setting, threads, LIMIT);
    let found = graph.found.clone().or_else(|| liveness::broken(&graph)).map(|found| {
        let mut way = graph.way_to(found.state);
        way.extend(found.step);
        (found.violation, graph::steps_along(&setting, &way))
    });
    (graph, found)
}
