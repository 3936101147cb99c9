//! What can only be seen of the whole graph: from every state rest is reached, by steps that nobody has to take and
//! without anything breaking, and there is no circle of such steps. A death or a start as a rescue does not count.

use super::graph::{Found, Graph};
use crate::story::Broken;
use evergate_core::invariant::Invariant;

/// How far the search has come with a state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    /// On the way from the state where the search began.
    OnTheWay,
    Rests,
    Never,
}

/// A state on the way, those of its edges that are still to be looked at, and whether rest was reached over the others.
struct Open {
    state: u32,
    first: usize,
    left: usize,
    reached: bool,
}

/// The first state, by its number, from which rest is not reached or a circle is.
#[must_use]
pub fn broken(graph: &Graph) -> Option<Found> {
    let mut marks = vec![Mark::New; graph.states()];
    let mut way: Vec<Open> = Vec::new();
    for start in 0..graph.states() as u32 {
        if marks[start as usize] != Mark::New {
            continue;
        }
        visit(graph, &mut marks, &mut way, start);
        while let Some(open) = way.last_mut() {
            if open.left == open.first {
                let (state, reached) = (open.state, open.reached);
                marks[state as usize] = if reached { Mark::Rests } else { Mark::Never };
                way.pop();
                if let Some(before) = way.last_mut() {
                    before.reached |= reached;
                }
                continue;
            }
            open.left -= 1;
            let Some(to) = graph.forward(open.left) else { continue };
            match marks[to as usize] {
                Mark::New => visit(graph, &mut marks, &mut way, to),
                Mark::OnTheWay => {
                    return Some(found(
                        to,
                        "it can go round in a circle for ever, and nobody need do anything for that",
                    ));
                }
                Mark::Rests => open.reached = true,
                Mark::Never => {}
            }
        }
    }
    let never = marks.iter().position(|mark| *mark == Mark::Never)?;
    Some(found(never as u32, "from here it never comes to rest by itself"))
}

fn visit(graph: &Graph, marks: &mut [Mark], way: &mut Vec<Open>, state: u32) {
    marks[state as usize] = Mark::OnTheWay;
    let edges = graph.edges_of(state);
    way.push(Open { state, first: edges.start, left: edges.end, reached: graph.rests(state) });
}

fn found(state: u32, what: &str) -> Found {
    let broken = Broken { invariant: Invariant::Finite.name().to_owned(), what: what.to_owned() };
    Found { state, step: None, broken }
}
