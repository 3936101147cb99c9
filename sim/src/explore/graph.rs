//! Breadth first through all states that a world can come to. Each state is kept as its bytes, whole, so that two states
//! are one only if they are; and with its parent, so that the way to a violation is a shortest one. The result does not
//! depend on the number of threads.

use crate::subject::Subject;
use crate::world::action::Step;
use crate::world::memory::{Desk, Memory};
use crate::world::{Setting, World};
use evergate_core::invariant::{Checks, Invariant, Violation};
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// States that are expanded before their successors are sorted into what is known.
const BATCH: usize = 8_192;
/// States that a thread takes at a time.
const CHUNK: usize = 128;
/// Parts into which the known states are divided, so that threads do not stand in each other's way.
const SHARDS: usize = 16;
/// The number of a state that has none yet.
const UNNUMBERED: u32 = u32::MAX;
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
    pub violation: Violation,
}

/// A part of the known states.
#[derive(Default)]
struct Shard {
    table: HashTable<u32>,
    /// Where the bytes of each state end, and its number.
    entries: Vec<(usize, u32)>,
    bytes: Vec<u8>,
}

impl Shard {
    fn bytes_of(&self, entry: u32) -> &[u8] {
        let entry = entry as usize;
        let from = if entry == 0 { 0 } else { self.entries[entry - 1].0 };
        &self.bytes[from..self.entries[entry].0]
    }

    fn find(&self, hash: u64, bytes: &[u8]) -> Option<u32> {
        self.table.find(hash, |entry| self.bytes_of(*entry) == bytes).copied()
    }

    /// Adds a state that is not known, and gives its entry.
    fn add(&mut self, hash: u64, bytes: &[u8]) -> u32 {
        let entry = self.entries.len() as u32;
        self.bytes.extend_from_slice(bytes);
        self.entries.push((self.bytes.len(), UNNUMBERED));
        let Self { table, entries, bytes } = self;
        table.insert_unique(hash, entry, |entry| {
            let entry = *entry as usize;
            let from = if entry == 0 { 0 } else { entries[entry - 1].0 };
            hash_of(&bytes[from..entries[entry].0])
        });
        entry
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

const fn shard_of(hash: u64) -> usize {
    (hash >> 20) as usize % SHARDS
}

/// A state that was not known when it was reached.
struct Candidate<S: Subject> {
    world: World<S>,
    looked: u32,
    rests: bool,
    hash: u64,
    /// Where its bytes end in those of its chunk.
    end: usize,
    /// Its entry in its shard, once that is known.
    entry: AtomicU32,
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

/// Explores everything, or until a violation is found, or until there are more states than `limit`.
pub fn explore<S: Subject>(setting: &Setting<S>, threads: usize, limit: usize) -> Graph {
    let memory = Memory::new(setting.clone());
    let desks = (0..threads.max(1)).map(|_| Desk::new(&memory)).collect();
    let mut search = Search { desks, graph: Graph::default(), shards: Vec::new(), spare: Mutex::default() };
    search.shards.resize_with(SHARDS, Shard::default);
    let (mut level, mut next) = (search.begin(), Vec::new());
    while !level.is_empty() && search.graph.found.is_none() && search.graph.parents.len() <= limit {
        search.expand(&level, &mut next);
        std::mem::swap(&mut level, &mut next);
        next.clear();
        search.graph.depth += usize::from(!level.is_empty());
    }
    search.graph.first_edge.push(search.graph.edges.len() as u32);
    search.graph.bytes = search.shards.iter().map(|shard| shard.bytes.len() as u64).sum();
    search.graph
}

struct Search<'m, S: Subject> {
    /// One for each thread.
    desks: Vec<Desk<'m, S>>,
    graph: Graph,
    shards: Vec<Shard>,
    /// Chunks that were done with.
    spare: Mutex<Vec<Chunk<S>>>,
}

impl<S: Subject> Search<'_, S> {
    fn begin(&mut self) -> Vec<Open<S>> {
        let world = World::new(&mut self.desks[0]);
        let bytes = self.desks[0].key(&world);
        let hash = hash_of(bytes);
        let shard = &mut self.shards[shard_of(hash)];
        let entry = shard.add(hash, bytes);
        shard.entries[entry as usize].1 = 0;
        self.graph.parents.push((0, 0));
        self.graph.rests.push(false);
        vec![(0, world)]
    }

    /// One level: all states that one more step leads to and that were not known.
    fn expand(&mut self, level: &[Open<S>], next: &mut Vec<Open<S>>) {
        for batch in level.chunks(BATCH) {
            let chunks = self.successors(batch);
            self.sort_in(&chunks);
            self.number(batch, chunks, next);
        }
    }

    /// Takes every step from every state of a batch, on all threads.
    fn successors(&mut self, batch: &[Open<S>]) -> Vec<Chunk<S>> {
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
        let mut chunks: Vec<(usize, Chunk<S>)> = match self.desks.as_mut_slice() {
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
    fn sort_in(&mut self, chunks: &[Chunk<S>]) {
        let share = SHARDS.div_ceil(self.desks.len());
        let sort = |first: usize, shards: &mut [Shard]| {
            for chunk in chunks {
                let mut from = 0;
                for candidate in &chunk.candidates {
                    let bytes = &chunk.bytes[from..candidate.end];
                    from = candidate.end;
                    let place = shard_of(candidate.hash).wrapping_sub(first);
                    if let Some(shard) = shards.get_mut(place) {
                        let known = shard.find(candidate.hash, bytes);
                        let entry = known.unwrap_or_else(|| shard.add(candidate.hash, bytes));
                        candidate.entry.store(entry, Ordering::Relaxed);
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
        let Candidate { world, looked, rests, hash, entry, .. } = candidate;
        let entry = entry.load(Ordering::Relaxed) as usize;
        let number = &mut self.shards[shard_of(*hash)].entries[entry].1;
        if *number == UNNUMBERED {
            *number = self.graph.parents.len() as u32;
            self.graph.parents.push((parent, ordinal));
            self.graph.rests.push(*rests);
            for invariant in Invariant::ALL {
                self.graph.looked[*invariant as usize] += u64::from(looked >> *invariant as u32 & 1);
            }
            next.push((*number, *world));
        }
        *number
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
        for (number, state) in states {
            let first = self.edges.len();
            state.steps(desk, |desk, step, world, mut checks| {
                let rests = world.rests(desk.memory(), &mut checks);
                if let (Some(violation), None) = (checks.broken(), &self.found) {
                    let ordinal = (self.edges.len() - first) as u16;
                    self.found = Some(Found { state: *number, step: Some(ordinal), violation: violation.clone() });
                }
                let target = self.target(desk, shards, world, &checks, rests);
                self.edges.push(target | if step.goes_forward() { FORWARD } else { 0 });
            });
            self.ends.push(self.edges.len());
        }
    }

    fn target(
        &mut self,
        desk: &mut Desk<'_, S>,
        shards: &[Shard],
        world: World<S>,
        checks: &Checks,
        rests: bool,
    ) -> u32 {
        let bytes = desk.key(&world);
        let hash = hash_of(bytes);
        let shard = &shards[shard_of(hash)];
        if let Some(entry) = shard.find(hash, bytes) {
            return shard.entries[entry as usize].1;
        }
        self.bytes.extend_from_slice(bytes);
        let (looked, end) = (checks.looked(), self.bytes.len());
        self.candidates.push(Candidate { world, looked, rests, hash, end, entry: AtomicU32::new(0) });
        CANDIDATE
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
        let mut seen = 0;
        let mut taken = None;
        world.steps(&mut desk, |_, step, to, _| {
            if seen == *ordinal {
                taken = Some((step, to));
            }
            seen += 1;
        });
        let Some((step, to)) = taken else { break };
        steps.push(step);
        world = to;
    }
    steps
}
