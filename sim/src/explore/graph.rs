//! Breadth first through all states that a world can come to. Each state is kept as its bytes, whole, so that two states
//! are one only if they are; and with its parent, so that the way to a violation is a shortest one. The result does not
//! depend on the number of threads.

use super::encode::Encoder;
use crate::subject::Subject;
use crate::world::action::Step;
use crate::world::{Setting, World};
use evergate_core::invariant::{Checks, Invariant, Violation};
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    world: Box<World<S>>,
    looked: u32,
    rests: bool,
    hash: u64,
    /// Where its bytes end in those of its chunk.
    end: usize,
    entry: u32,
}

/// What a chunk of states leads to.
struct Chunk<S: Subject> {
    /// Edges of each state, in order.
    /// The known state, or `None` for the next of the candidates; and whether it goes forward.
    edges: Vec<Vec<(Option<u32>, bool)>>,
    candidates: Vec<Candidate<S>>,
    bytes: Vec<u8>,
    found: Option<Found>,
}

/// Explores everything, or until a violation is found, or until there are more states than `limit`.
pub fn explore<S: Subject>(setting: &Setting<S>, threads: usize, limit: usize) -> Graph {
    let mut search = Search { setting, threads: threads.max(1), graph: Graph::default(), shards: Vec::new() };
    search.shards.resize_with(SHARDS, Shard::default);
    let mut level = search.begin();
    while !level.is_empty() && search.graph.found.is_none() && search.graph.parents.len() <= limit {
        level = search.expand(level);
        search.graph.depth += usize::from(!level.is_empty());
    }
    search.graph.first_edge.push(search.graph.edges.len() as u32);
    search.graph.bytes = search.shards.iter().map(|shard| shard.bytes.len() as u64).sum();
    search.graph
}

struct Search<'a, S: Subject> {
    setting: &'a Setting<S>,
    threads: usize,
    graph: Graph,
    shards: Vec<Shard>,
}

impl<S: Subject> Search<'_, S> {
    fn begin(&mut self) -> Vec<(u32, Box<World<S>>)> {
        let world = World::new(self.setting);
        let mut encoder = Encoder::default();
        let bytes = encoder.encode(world.now(), &world);
        let hash = hash_of(bytes);
        let shard = &mut self.shards[shard_of(hash)];
        let entry = shard.add(hash, bytes);
        shard.entries[entry as usize].1 = 0;
        self.graph.parents.push((0, 0));
        self.graph.rests.push(false);
        vec![(0, Box::new(world))]
    }

    /// One level: all states that one more step leads to and that were not known.
    fn expand(&mut self, level: Vec<(u32, Box<World<S>>)>) -> Vec<(u32, Box<World<S>>)> {
        let mut next = Vec::new();
        let mut level = level.into_iter();
        loop {
            let batch: Vec<_> = level.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return next;
            }
            let mut chunks = self.successors(&batch);
            self.sort_in(&mut chunks);
            self.number(&batch, chunks, &mut next);
        }
    }

    /// Takes every step from every state of a batch, on all threads.
    fn successors(&self, batch: &[(u32, Box<World<S>>)]) -> Vec<Chunk<S>> {
        let taken = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            let mut encoder = Encoder::default();
            loop {
                let index = taken.fetch_add(1, Ordering::Relaxed);
                let from = index * CHUNK;
                if from >= batch.len() {
                    return done;
                }
                done.push((index, self.chunk(&mut encoder, &batch[from..batch.len().min(from + CHUNK)])));
            }
        };
        let mut chunks: Vec<(usize, Chunk<S>)> = if self.threads == 1 || batch.len() <= CHUNK {
            work()
        } else {
            std::thread::scope(|scope| {
                let others: Vec<_> = (1..self.threads).map(|_| scope.spawn(work)).collect();
                let mut chunks = work();
                for other in others {
                    chunks.extend(
                        other.join().expect("a thread that explores does not panic, or the exploration is void"),
                    );
                }
                chunks
            })
        };
        chunks.sort_unstable_by_key(|(index, _)| *index);
        chunks.into_iter().map(|(_, chunk)| chunk).collect()
    }

    fn chunk(&self, encoder: &mut Encoder, states: &[(u32, Box<World<S>>)]) -> Chunk<S> {
        let mut chunk =
            Chunk { edges: Vec::with_capacity(states.len()), candidates: Vec::new(), bytes: Vec::new(), found: None };
        for (number, state) in states {
            let mut edges = Vec::with_capacity(8);
            state.steps(self.setting, |step, world, mut checks| {
                let rests = world.rests(&mut checks);
                let ordinal = edges.len() as u16;
                if let (Some(violation), None) = (checks.broken(), &chunk.found) {
                    chunk.found = Some(Found { state: *number, step: Some(ordinal), violation: violation.clone() });
                }
                let target = self.target(&mut chunk, encoder, world, &checks, rests);
                edges.push((target, step.goes_forward()));
            });
            chunk.edges.push(edges);
        }
        chunk
    }

    fn target(
        &self,
        chunk: &mut Chunk<S>,
        encoder: &mut Encoder,
        world: World<S>,
        checks: &Checks,
        rests: bool,
    ) -> Option<u32> {
        let bytes = encoder.encode(world.now(), &world);
        let hash = hash_of(bytes);
        let shard = &self.shards[shard_of(hash)];
        if let Some(entry) = shard.find(hash, bytes) {
            return Some(shard.entries[entry as usize].1);
        }
        chunk.bytes.extend_from_slice(bytes);
        let (looked, end) = (checks.looked(), chunk.bytes.len());
        chunk.candidates.push(Candidate { world: Box::new(world), looked, rests, hash, end, entry: 0 });
        None
    }

    /// Finds out which candidates are the same, each thread in its own shards.
    fn sort_in(&mut self, chunks: &mut [Chunk<S>]) {
        let sort = |shards: &mut [(usize, &mut Shard)]| {
            let mut entries = Vec::new();
            for (chunk_index, chunk) in chunks.iter().enumerate() {
                let mut from = 0;
                for (index, candidate) in chunk.candidates.iter().enumerate() {
                    let bytes = &chunk.bytes[from..candidate.end];
                    from = candidate.end;
                    let of = shard_of(candidate.hash);
                    if let Some((_, shard)) = shards.iter_mut().find(|(index, _)| *index == of) {
                        let entry =
                            shard.find(candidate.hash, bytes).unwrap_or_else(|| shard.add(candidate.hash, bytes));
                        entries.push((chunk_index, index, entry));
                    }
                }
            }
            entries
        };
        let mut numbered: Vec<(usize, &mut Shard)> = self.shards.iter_mut().enumerate().collect();
        let share = SHARDS.div_ceil(self.threads);
        let results: Vec<Vec<(usize, usize, u32)>> = if self.threads == 1 {
            vec![sort(&mut numbered)]
        } else {
            std::thread::scope(|scope| {
                let parts: Vec<_> = numbered.chunks_mut(share).map(|part| scope.spawn(|| sort(part))).collect();
                parts.into_iter().map(|part| part.join().expect("a thread that sorts does not panic")).collect()
            })
        };
        for (chunk, candidate, entry) in results.into_iter().flatten() {
            chunks[chunk].candidates[candidate].entry = entry;
        }
    }

    /// Gives new states their numbers, in the order in which they were reached, and writes the edges down.
    fn number(&mut self, batch: &[(u32, Box<World<S>>)], chunks: Vec<Chunk<S>>, next: &mut Vec<(u32, Box<World<S>>)>) {
        let mut parents = batch.iter().map(|(number, _)| *number);
        for chunk in chunks {
            if self.graph.found.is_none() {
                self.graph.found = chunk.found;
            }
            let mut candidates = chunk.candidates.into_iter();
            for edges in chunk.edges {
                let parent = parents.next().unwrap_or_default();
                self.graph.first_edge.push(self.graph.edges.len() as u32);
                for (ordinal, (target, forward)) in edges.into_iter().enumerate() {
                    let number = match target {
                        Some(number) => number,
                        None => match candidates.next() {
                            Some(candidate) => self.settle(candidate, parent, ordinal as u16, next),
                            None => continue,
                        },
                    };
                    self.graph.edges.push(number | if forward { FORWARD } else { 0 });
                }
            }
        }
    }

    fn settle(
        &mut self,
        candidate: Candidate<S>,
        parent: u32,
        ordinal: u16,
        next: &mut Vec<(u32, Box<World<S>>)>,
    ) -> u32 {
        let Candidate { world, looked, rests, hash, entry, .. } = candidate;
        let number = &mut self.shards[shard_of(hash)].entries[entry as usize].1;
        if *number == UNNUMBERED {
            *number = self.graph.parents.len() as u32;
            self.graph.parents.push((parent, ordinal));
            self.graph.rests.push(rests);
            for invariant in Invariant::ALL {
                self.graph.looked[*invariant as usize] += u64::from(looked >> *invariant as u32 & 1);
            }
            next.push((*number, world));
        }
        *number
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

    /// Where the steps that go forward by themselves lead from a state.
    pub(super) fn forward(&self, state: u32) -> impl Iterator<Item = u32> + '_ {
        let state = state as usize;
        let edges = match (self.first_edge.get(state), self.first_edge.get(state + 1)) {
            (Some(from), Some(to)) => &self.edges[*from as usize..*to as usize],
            _ => &[],
        };
        edges.iter().filter(|edge| **edge & FORWARD != 0).map(|edge| edge & !FORWARD)
    }

    /// Whether a state is at rest.
    pub(super) fn rests(&self, state: u32) -> bool {
        self.rests[state as usize]
    }
}

/// The steps that lead along this way.
#[must_use]
pub fn steps_along<S: Subject>(setting: &Setting<S>, way: &[u16]) -> Vec<Step> {
    let mut world = World::new(setting);
    let mut steps = Vec::new();
    for ordinal in way {
        let mut seen = 0;
        let mut taken = None;
        world.steps(setting, |step, to, _| {
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
