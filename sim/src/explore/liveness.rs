//! What can only be seen of the whole graph: from every state rest is reached, by steps that nobody has to take and
//! without anything breaking, and there is no circle of such steps. A death or a start as a rescue does not count. Where there are
//! circles, a shortest of all is what is found, at the one of its states that is reached first.

use super::graph::{Found, Graph};
use crate::story::Broken;
use evergate_core::invariant::Invariant;
use std::collections::{BTreeSet, VecDeque};

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
                    let ways = |state: u32| graph.edges_of(state).filter_map(|edge| graph.forward(edge));
                    let nearest = on_a_shortest_circle(graph.states(), ways).unwrap_or(to);
                    return Some(found(
                        nearest,
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

/// The first state, by its number, of those that are on a circle than which none is shorter. States are numbered as the search
/// has come to them, so that this one is as near to the beginning as any.
fn on_a_shortest_circle<W: Iterator<Item = u32>>(states: usize, ways: impl Fn(u32) -> W) -> Option<u32> {
    let mut best: Option<(usize, u32)> = None;
    for state in on_circles(states, &ways) {
        let below = best.map_or(usize::MAX, |(length, _)| length);
        if let Some(length) = once_around(state, below, &ways) {
            best = Some((length, state));
        }
    }
    best.map(|(_, state)| state)
}

/// How many steps lead from a state back to it, if fewer than this do.
fn once_around<W: Iterator<Item = u32>>(state: u32, below: usize, ways: &impl Fn(u32) -> W) -> Option<usize> {
    let (mut known, mut next) = (BTreeSet::from([state]), VecDeque::from([(state, 1)]));
    while let Some((from, length)) = next.pop_front().filter(|(_, length)| *length < below) {
        for to in ways(from) {
            if to == state {
                return Some(length);
            }
            if known.insert(to) {
                next.push_back((to, length + 1));
            }
        }
    }
    None
}

/// The states from which one can come back, and some between them: what is left when all are taken away to which nothing leads,
/// and all from which nothing leads on, again and again.
fn on_circles<W: Iterator<Item = u32>>(states: usize, ways: &impl Fn(u32) -> W) -> Vec<u32> {
    let all = || 0..states as u32;
    let mut backwards = vec![Vec::new(); states];
    for (from, to) in all().flat_map(|from| ways(from).map(move |to| (from, to))) {
        backwards[to as usize].push(from);
    }
    let (mut into, mut out): (Vec<usize>, Vec<usize>) =
        (backwards.iter().map(Vec::len).collect(), all().map(|state| ways(state).count()).collect());
    let mut left = vec![true; states];
    let mut to_take: Vec<u32> = all().collect();
    while let Some(state) = to_take.pop() {
        let index = state as usize;
        if !left[index] || (into[index] > 0 && out[index] > 0) {
            continue;
        }
        left[index] = false;
        for to in ways(state) {
            into[to as usize] -= 1;
            to_take.push(to);
        }
        for from in &backwards[index] {
            out[*from as usize] -= 1;
            to_take.push(*from);
        }
    }
    all().filter(|state| left[*state as usize]).collect()
}

fn found(state: u32, what: &str) -> Found {
    let broken = Broken { invariant: Invariant::Finite.name().to_owned(), what: what.to_owned() };
    Found { state, step: None, broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(ways: &[&[u32]]) -> Option<u32> {
        on_a_shortest_circle(ways.len(), |state| ways[state as usize].iter().copied())
    }

    #[test]
    fn of_several_circles_the_shortest_is_found_and_of_those_the_nearest() {
        // Round 1, 2, 3, which a search from the beginning meets first; round 4, 5, behind it; and round 6, 7, further off.
        let ways: [&[u32]; 8] = [&[1], &[2], &[3, 4], &[1], &[5], &[4, 6], &[7], &[6]];
        assert_eq!(nearest(&ways), Some(4));
        assert_eq!(nearest(&[&[1], &[2], &[0, 2]]), Some(2), "one step is the shortest there is");
        assert_eq!(nearest(&[&[1, 2], &[2], &[]]), None);
        let ways: [&[u32]; 6] = [&[1], &[0, 2], &[3], &[4], &[3, 5], &[]];
        assert_eq!(nearest(&ways), Some(0), "as short as another, and nearer");
    }
}
