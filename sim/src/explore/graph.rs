//! Breadth first through all states that a world can come to. Each state is kept as its bytes, whole, so that two states
//! are one only if they are, whatever their sessions are called; and with its parent, so that the way to a violation is a shortest one. The result does not
//! depend on the number of threads. A panic is a violation like any other.

use super::known::{Shard, UNNUMBERED, hash_of};
use crate::panics;
use crate::story::Broken;
use crate::subject::Subject;
use crate::world::action::Step;
use crate::world::memory::{Desk, Memory};
use crate::world::parts::{United, shard_of};
use crate::world::{Setting, World};
use evergate_core::invariant::Checks;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// States that are expanded before their successors are sorted into what is known.
const BATCH: usize = 8_192;
/// States that a thread takes at a time.
const CHUNK: usize = 128;
/// Parts into which the known states are divided, so that threads do not stand in each other's way.
const SHARDS: usize = 16;
/// Large parts that are kept before those that no open state is made of are forgotten: few enough to take less memory than the
/// states of the largest rooms, and more than most rooms have, where everything that was worked out stays known.
const CROWD: usize = 1 << 18;
/// The bit of an edge that says that it goes forward by itself.
const FORWARD: u32 = 1 << 31;
/// In place of where an edge leads: to the next of the candidates.
const CANDIDATE: u32 = FORWARD - 1;

/// All states of one exploration, as a graph.
#[derive(Debug, Default)]
pub struct Graph {
    /// For each state, the one before it on a shortest way, and which of its steps leads here.
    parents: Vec<(u32, u16)>,
    /// For each expanded state, where its edges begin.
    first_edge: Vec<u32>,
    /// Where each edge leads, and whether it goes forward.
    edges: Vec<u32>,
    /// Whether a state is at rest.
    rests: Vec<bool>,
    /// The longest of the shortest ways.
    pub depth: usize,
    /// For each rule, the states on whose way here it was looked at.
    pub looked: [u64; 32],
    /// Bytes that all states take together.
    pub bytes: u64,
    /// The first violation, and the state and step that lead to it.
    pub found: Option<Found>,
}

/// A violation, and how to get there.
#[derive(Clone, Debug)]
pub struct Found {
    /// The state before the step.
    pub state: u32,
    /// Which of its steps; `None` if the state itself is wrong.
    pub step: Option<u16>,
    /// What is broken.
    pub broken: Broken,
}

/// A state that was not known when it was reached.
struct Candidate<S: Subject> {
    world: World<S>,
    looked: u32,
    rests: bool,
    hash: u32,
    /// Where its bytes are in those of its chunk.
    bytes: (u32, u32),
    /// Its place in its shard, once that is known.
    place: AtomicU32,
    /// Which of the edges of its chunk leads here.
    edge: u32,
}

/// What a chunk of states leads to. Its memory is used again and again.
struct Chunk<S: Subject> {
    /// The edges of all its states, in order: the number of a known state or `CANDIDATE`, and whether it goes forward.
    edges: Vec<u32>,
    /// Where the edges of each state end.
    ends: Vec<usize>,
    candidates: Vec<Candidate<S>>,
    bytes: Vec<u8>,
    found: Option<Found>,
}

/// A numbered state that is still to be expanded.
type Open<S> = (u32, World<S>);

/// Explores everything, or until a violation is found, or until `enough` says so of the number of states.
pub fn explore<S: Subject>(setting: &Setting<S>, threads: usize, enough: impl FnMut(usize) -> bool) -> Graph {
    explore_in_crowds(setting, threads, CROWD, enough)
}

/// The same, and no more than so many large parts are kept, or twice as many as are needed where that is more.
fn explore_in_crowds<S: Subject>(
    setting: &Setting<S>,
    threads: usize,
    crowd: usize,
    mut enough: impl FnMut(usize) -> bool,
) -> Graph {
    let mut memory = Memory::new(setting.clone());
    let mut united: Vec<United> = (0..threads.max(1)).map(|_| United::default()).collect();
    let mut search = Search::default();
    loop {
        let crowd = crowd.max(2 * memory.large());
        let mut desks: Vec<_> = united.drain(..).map(|united| Desk::with(&memory, united)).collect();
        if search.graph.parents.is_empty() {
            search.begin(&mut desks[0]);
        }
        let goes_on = search.expand_all(&mut desks, crowd, &mut enough);
        united.extend(desks.into_iter().map(Desk::into_united));
        if !goes_on {
            return search.whole();
        }
        let mut open: Vec<_> = search.level.iter_mut().map(|(_, world)| world).collect();
        memory = memory.renewed(&mut open);
        united.iter_mut().for_each(United::sift);
    }
}

struct Search<S: Subject> {
    graph: Graph,
    shards: Vec<Shard>,
    /// What is to be expanded next.
    level: Vec<Open<S>>,
    /// Chunks that were done with.
    spare: Mutex<Vec<Chunk<S>>>,
}

impl<S: Subject> Default for Search<S> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { graph: Graph::default(), shards, level: Vec::new(), spare: Mutex::default() }
    }
}

impl<S: Subject> Search<S> {
    fn begin(&mut self, desk: &mut Desk<'_, S>) {
        let world = World::new(desk);
        let bytes = desk.key(&world);
        let hash = hash_of(bytes);
        let shard = &mut self.shards[shard_of(hash, SHARDS)];
        let place = shard.add(hash, bytes);
        shard.set_number_at(place, 0);
        self.graph.parents.push((0, 0));
        self.graph.rests.push(false);
        self.level.push((0, world));
    }

    /// Level by level until all is known or something found, or until so many large parts are kept. Says whether it is to go on.
    fn expand_all(&mut self, desks: &mut [Desk<'_, S>], crowd: usize, enough: &mut impl FnMut(usize) -> bool) -> bool {
        let mut next = Vec::new();
        while !self.level.is_empty() && self.graph.found.is_none() {
            if desks[0].memory().large() > crowd {
                return true;
            }
            if !self.expand(desks, &mut next, enough) {
                return false;
            }
            self.graph.depth += usize::from(!next.is_empty());
            std::mem::swap(&mut self.level, &mut next);
            next.clear();
        }
        false
    }

    /// The graph, once nothing is added to it.
    fn whole(mut self) -> Graph {
        self.graph.first_edge.push(self.graph.edges.len() as u32);
        self.graph.bytes = self.shards.iter().map(|shard| shard.bytes()).sum();
        self.graph
    }

    /// One level: all states that one more step leads to and that were not known. Says whether it saw the whole level.
    fn expand(
        &mut self,
        desks: &mut [Desk<'_, S>],
        next: &mut Vec<Open<S>>,
        enough: &mut impl FnMut(usize) -> bool,
    ) -> bool {
        let level = std::mem::take(&mut self.level);
        for batch in level.chunks(BATCH) {
            if enough(self.graph.parents.len()) {
                return false;
            }
            let chunks = self.successors(desks, batch);
            self.sort_in(desks.len(), &chunks);
            self.number(batch, chunks, next);
        }
        true
    }

    /// Takes every step from every state of a batch, on all threads.
    fn successors(&self, desks: &mut [Desk<'_, S>], batch: &[Open<S>]) -> Vec<Chunk<S>> {
        let (taken, shards, spare) = (AtomicUsize::new(0), &self.shards, &self.spare);
        let work = |desk: &mut Desk<'_, S>| {
            let mut done = Vec::new();
            loop {
                let index = taken.fetch_add(1, Ordering::Relaxed);
                let from = index * CHUNK;
                if from >= batch.len() {
                    return done;
                }
                let chunk = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut chunk = chunk.unwrap_or_default();
                chunk.fill(&batch[from..batch.len().min(from + CHUNK)], desk, shards);
                done.push((index, chunk));
            }
        };
        let mut chunks: Vec<(usize, Chunk<S>)> = match desks {
            [mine, others @ ..] if !others.is_empty() && batch.len() > CHUNK => std::thread::scope(|scope| {
                let others: Vec<_> = others.iter_mut().map(|desk| scope.spawn(|| work(desk))).collect();
                let mut chunks = work(mine);
                for other in others {
                    chunks.extend(
                        other.join().expect("a thread that explores does not panic, or the exploration is void"),
                    );
                }
                chunks
            }),
            desks => desks.first_mut().map(work).unwrap_or_default(),
        };
        chunks.sort_unstable_by_key(|(index, _)| *index);
        chunks.into_iter().map(|(_, chunk)| chunk).collect()
    }

    /// Finds out which candidates are the same, each thread in its own shards.
    fn sort_in(&mut self, threads: usize, chunks: &[Chunk<S>]) {
        let share = SHARDS.div_ceil(threads);
        let sort = |first: usize, shards: &mut [Shard]| {
            for chunk in chunks {
                for candidate in &chunk.candidates {
                    if let Some(shard) = shards.get_mut(shard_of(candidate.hash, SHARDS).wrapping_sub(first)) {
                        let bytes = chunk.bytes_of(candidate);
                        let known = shard.find(candidate.hash, bytes);
                        let place = known.unwrap_or_else(|| shard.add(candidate.hash, bytes));
                        candidate.place.store(place, Ordering::Relaxed);
                    }
                }
            }
        };
        let parts = self.shards.chunks_mut(share).enumerate();
        if share == SHARDS || chunks.len() < 2 {
            parts.for_each(|(index, part)| sort(index * share, part));
        } else {
            std::thread::scope(|scope| {
                parts.for_each(|(index, part)| _ = scope.spawn(move || sort(index * share, part)))
            });
        }
    }

    /// Gives new states their numbers, in the order in which they were reached, and writes the edges down.
    fn number(&mut self, batch: &[Open<S>], chunks: Vec<Chunk<S>>, next: &mut Vec<Open<S>>) {
        let mut parents = batch.iter().map(|(number, _)| *number);
        for mut chunk in chunks {
            if self.graph.found.is_none() {
                self.graph.found = chunk.found.take();
            }
            let mut candidates = chunk.candidates.iter();
            let mut from = 0;
            for end in &chunk.ends {
                let parent = parents.next().unwrap_or_default();
                self.graph.first_edge.push(self.graph.edges.len() as u32);
                for (ordinal, edge) in chunk.edges[from..*end].iter().enumerate() {
                    let number = match edge & !FORWARD {
                        CANDIDATE => match candidates.next() {
                            Some(candidate) => self.settle(candidate, parent, ordinal as u16, next),
                            None => continue,
                        },
                        number => number,
                    };
                    self.graph.edges.push(number | edge & FORWARD);
                }
                from = *end;
            }
            self.spare.get_mut().unwrap_or_else(PoisonError::into_inner).push(chunk);
        }
    }

    fn settle(&mut self, candidate: &Candidate<S>, parent: u32, ordinal: u16, next: &mut Vec<Open<S>>) -> u32 {
        let Candidate { world, looked, rests, hash, place, .. } = candidate;
        let (place, shard) = (place.load(Ordering::Relaxed), &mut self.shards[shard_of(*hash, SHARDS)]);
        let mut number = shard.number_at(place);
        if number == UNNUMBERED {
            number = self.graph.parents.len() as u32;
            shard.set_number_at(place, number);
            self.graph.parents.push((parent, ordinal));
            self.graph.rests.push(*rests);
            let mut looked = *looked;
            while looked != 0 {
                self.graph.looked[looked.trailing_zeros() as usize] += 1;
                looked &= looked - 1;
            }
            next.push((number, *world));
        }
        number
    }
}

impl<S: Subject> Default for Chunk<S> {
    fn default() -> Self {
        Self { edges: Vec::new(), ends: Vec::new(), candidates: Vec::new(), bytes: Vec::new(), found: None }
    }
}

impl<S: Subject> Chunk<S> {
    /// Takes every step from some states.
    fn fill(&mut self, states: &[Open<S>], desk: &mut Desk<'_, S>, shards: &[Shard]) {
        self.edges.clear();
        self.ends.clear();
        self.candidates.clear();
        self.bytes.clear();
        let expanded = panics::caught(|| {
            for (number, state) in states {
                let first = self.edges.len();
                state.steps(desk, |desk, step, world, mut checks| {
                    let rests = world.rests(desk.memory(), &mut checks);
                    if let Some(violation) = checks.broken() {
                        self.finds(*number, first, || Broken::from(violation));
                    }
                    self.reach(desk, world, &checks, rests);
                    self.edges.push(CANDIDATE | if step.goes_forward() { FORWARD } else { 0 });
                });
                self.ends.push(self.edges.len());
            }
        });
        if let Err(what) = expanded {
            let first = self.ends.last().copied().unwrap_or_default();
            let number = states.get(self.ends.len()).map_or(0, |(number, _)| *number);
            self.finds(number, first, || Broken::panic(what));
            // Nobody goes on from here: the states behind it keep their places.
            self.ends.resize(states.len(), self.edges.len());
        }
        self.look_up(shards);
    }

    /// Something is broken by the next of the edges of a state, which begin there.
    fn finds(&mut self, state: u32, first_edge: usize, broken: impl FnOnce() -> Broken) {
        if self.found.is_none() {
            let step = Some((self.edges.len() - first_edge) as u16);
            self.found = Some(Found { state, step, broken: broken() });
        }
    }

    fn reach(&mut self, desk: &mut Desk<'_, S>, world: World<S>, checks: &Checks, rests: bool) {
        let (bytes, from) = (desk.key(&world), self.bytes.len() as u32);
        let hash = hash_of(bytes);
        self.bytes.extend_from_slice(bytes);
        let (looked, bytes, edge) = (checks.looked(), (from, self.bytes.len() as u32), self.edges.len() as u32);
        self.candidates.push(Candidate { world, looked, rests, hash, bytes, place: AtomicU32::default(), edge });
    }

    /// Leaves the candidates that are not known yet. All are looked up in one go, so that the memory they are looked up in is
    /// waited for only once.
    fn look_up(&mut self, shards: &[Shard]) {
        let Self { candidates, edges, bytes, .. } = self;
        candidates.retain(|candidate| {
            let (from, to) = candidate.bytes;
            let shard = &shards[shard_of(candidate.hash, SHARDS)];
            let known = shard.find(candidate.hash, &bytes[from as usize..to as usize]);
            if let Some(place) = known {
                let edge = &mut edges[candidate.edge as usize];
                *edge = *edge & FORWARD | shard.number_at(place);
            }
            known.is_none()
        });
    }

    fn bytes_of(&self, candidate: &Candidate<S>) -> &[u8] {
        let (from, to) = candidate.bytes;
        &self.bytes[from as usize..to as usize]
    }
}

impl Graph {
    /// How many states there are.
    #[must_use]
    pub fn states(&self) -> usize {
        self.parents.len()
    }

    /// How many edges there are.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// The numbers of the steps that lead from the beginning to a state.
    #[must_use]
    pub fn way_to(&self, mut state: u32) -> Vec<u16> {
        let mut way = Vec::new();
        while state != 0 {
            let (parent, ordinal) = self.parents[state as usize];
            way.push(ordinal);
            state = parent;
        }
        way.reverse();
        way
    }

    /// The edges of a state, by their numbers.
    pub(super) fn edges_of(&self, state: u32) -> std::ops::Range<usize> {
        let state = state as usize;
        match (self.first_edge.get(state), self.first_edge.get(state + 1)) {
            (Some(from), Some(to)) => *from as usize..*to as usize,
            _ => 0..0,
        }
    }

    /// Where an edge leads, if it goes forward by itself.
    pub(super) fn forward(&self, edge: usize) -> Option<u32> {
        let edge = self.edges[edge];
        (edge & FORWARD != 0).then_some(edge & !FORWARD)
    }

    /// Whether a state is at rest.
    pub(super) fn rests(&self, state: u32) -> bool {
        self.rests[state as usize]
    }
}

/// The steps that lead along this way.
#[must_use]
pub fn steps_along<S: Subject>(setting: &Setting<S>, way: &[u16]) -> Vec<Step> {
    let memory = Memory::new(setting.clone());
    let mut desk = Desk::new(&memory);
    let mut world = World::new(&mut desk);
    let mut steps = Vec::new();
    for ordinal in way {
        let (mut announced, mut reached, mut seen) = (None, None, 0);
        let announce = |step: &Step| announced = Some(step.clone());
        let panicked = panics::caught(|| {
            world.announced_steps(&mut desk, announce, |_, step, to, _| {
                if seen == *ordinal {
                    reached = Some((step, to));
                }
                seen += 1;
            });
        });
        match reached {
            Some((step, to)) => {
                steps.push(step);
                world = to;
            }
            // It is the one that panics, and so the last.
            None => {
                steps.extend(announced.filter(|_| panicked.is_err()));
                break;
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::scope::{self, Size};
    use crate::world::Manner;
    use evergate_core::gateway::Gateway;
    use evergate_core::supervisor::Supervisor;

    #[test]
    fn what_is_forgotten_on_the_way_is_missed_by_nobody() {
        let room = scope::room(Supervisor::Evergate, Size(2, 2, 1, 1, 0), &[Manner::Restart, Manner::SpeakEarly]);
        let all = explore(&room.setting::<Gateway>(()), 2, |_| false);
        let few = explore_in_crowds(&room.setting::<Gateway>(()), 2, 0, |_| false);
        assert!(all.states() > 10_000 && all.parents == few.parents && all.rests == few.rests);
        assert!(all.first_edge == few.first_edge && all.edges == few.edges && all.looked == few.looked);
        assert_eq!((all.depth, all.bytes, all.found.is_some()), (few.depth, few.bytes, few.found.is_some()));
    }
}
