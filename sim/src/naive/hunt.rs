//! The hunt: for each flaw the shortest way to the rule that it breaks, and for the machine without flaws everything that
//! it can come to, in every room. The same answer on any number of threads.

use super::flaw::{Flaw, Flaws, Row};
use super::gateway::Naive;
use super::room::{self, Room};
use crate::explore::{Explored, explore_room};
use crate::story::Broken;
use crate::world::action::Step;

/// What came of looking for one flaw.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which.
    pub flaw: &'static Row,
    /// The rule that was found broken; `None` would mean that the checker is blind to this flaw.
    pub found: Option<Broken>,
    /// A shortest way there.
    pub way: Vec<Step>,
}

impl Finding {
    /// Whether the rule that was found broken is the one that this flaw breaks.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        self.found.as_ref().is_some_and(|broken| broken.invariant == self.flaw.breaks)
    }
}

/// Looks for every flaw, each alone, in its room.
#[must_use]
pub fn hunt(threads: usize) -> Vec<Finding> {
    Flaw::TABLE.iter().map(|row| find(row.flaw, threads)).collect()
}

/// Looks for one flaw in its room.
#[must_use]
pub fn find(flaw: Flaw, threads: usize) -> Finding {
    let flaw = flaw.row();
    let explored = explore_room::<Naive>(&flaw.room.to_explore(), &Flaws::only(flaw.flaw), threads);
    let (found, way) = explored.found.map_or((None, Vec::new()), |(broken, way)| (Some(broken), way));
    Finding { flaw, found, way }
}

/// Explores every room with all switches off: if something is found, the naive machine or the checker is wrong.
#[must_use]
pub fn flawless(threads: usize) -> Vec<(&'static Room, Explored)> {
    let explored = |room: &&'static Room| (*room, explore_room::<Naive>(&room.to_explore(), &Flaws::NONE, threads));
    room::ALL.iter().map(explored).collect()
}
