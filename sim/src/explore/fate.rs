//! What becomes of one world when nothing is wished and nothing breaks any more. A replay has no graph, and so finds out
//! anew what [`super::liveness`] has read off one.

use crate::subject::Subject;
use crate::world::World;
use crate::world::action::Step;
use crate::world::memory::Desk;
use evergate_core::invariant::Checks;
use std::collections::{HashMap, HashSet};

/// More worlds than this behind one are not looked at.
const MOST: usize = 1_000_000;

/// What becomes of a world by itself.
pub(super) enum Outlook {
    /// It comes to rest on some way, and goes round on none.
    Rests,
    /// It comes to rest on no way.
    Never,
    /// It can go round for ever: these steps lead there, and these once around.
    Round { there: Vec<Step>, round: Vec<Step> },
    /// Too much follows to look at all of it.
    Unknown,
}

type Key = Box<[u8]>;

/// How far the search has come with a world.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    OnTheWay,
    Done,
}

/// A world on the way: the step that leads to it, and what is still to be looked at behind it.
struct Open<S: Subject> {
    key: Key,
    step: Option<Step>,
    left: Vec<(Step, World<S>)>,
}

/// Looks at everything that follows from a world by steps that nobody has to take.
pub(super) fn of<S: Subject>(desk: &mut Desk<'_, S>, world: World<S>) -> Outlook {
    let begin = world;
    let mut known: HashMap<Key, Mark> = HashMap::new();
    let mut rests = false;
    let mut way = vec![visit(desk, &mut known, &mut rests, world, None)];
    while let Some(open) = way.last_mut() {
        let Some((step, world)) = open.left.pop() else {
            known.insert(std::mem::take(&mut open.key), Mark::Done);
            way.pop();
            continue;
        };
        match known.get(desk.key(&world)) {
            Some(Mark::Done) => {}
            Some(Mark::OnTheWay) => {
                let first = way.iter().position(|open| *open.key == *desk.key(&world)).unwrap_or(0);
                if let Some(round) = once_around(desk, begin) {
                    return Outlook::Round { there: Vec::new(), round };
                }
                let (there, round) = way.split_at(first + 1);
                let steps = |way: &[Open<S>]| way.iter().filter_map(|open| open.step.clone()).collect::<Vec<_>>();
                return Outlook::Round { there: steps(there), round: [steps(round), vec![step]].concat() };
            }
            None if known.len() >= MOST => return Outlook::Unknown,
            None => {
                let open = visit(desk, &mut known, &mut rests, world, Some(step));
                way.push(open);
            }
        }
    }
    if rests { Outlook::Rests } else { Outlook::Never }
}

/// The fewest steps that lead from a world back to it, where any do. A counterexample ends in such a world, so that this is its
/// circle.
fn once_around<S: Subject>(desk: &mut Desk<'_, S>, begin: World<S>) -> Option<Vec<Step>> {
    let home: Key = desk.key(&begin).into();
    // Each world that was met, the one before it, and the step between them.
    let mut met: Vec<(World<S>, usize, Option<Step>)> = vec![(begin, 0, None)];
    let mut known = HashSet::from([home.clone()]);
    let mut at = 0;
    while at < met.len() && met.len() < MOST {
        let mut next = Vec::new();
        met[at].0.steps(desk, |_, step, to, _| {
            if step.goes_forward() {
                next.push((step, to));
            }
        });
        for (step, to) in next {
            let key = desk.key(&to);
            if *key == *home {
                let mut round = vec![step];
                while let (_, before, Some(step)) = &met[at] {
                    round.push(step.clone());
                    at = *before;
                }
                round.reverse();
                return Some(round);
            }
            if known.insert(key.into()) {
                met.push((to, at, Some(step)));
            }
        }
        at += 1;
    }
    None
}

fn visit<S: Subject>(
    desk: &mut Desk<'_, S>,
    known: &mut HashMap<Key, Mark>,
    rests: &mut bool,
    world: World<S>,
    step: Option<Step>,
) -> Open<S> {
    let key: Key = desk.key(&world).into();
    known.insert(key.clone(), Mark::OnTheWay);
    *rests |= world.rests(desk.memory(), &mut Checks::default());
    let mut left = Vec::new();
    world.steps(desk, |_, step, to, _| {
        if step.goes_forward() {
            left.push((step, to));
        }
    });
    // The first of them is looked at first.
    left.reverse();
    Open { key, step, left }
}
