//! Values that are kept once each and known by a number, and what was worked out once and is only looked up from then
//! on. All threads of an exploration share them. Which number a value gets depends on who came first; that two numbers
//! are the same if and only if their values are does not.

use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

/// Parts into which an index is divided, so that threads do not stand in each other's way.
const SHARDS: usize = 64;
/// What a thread remembers of a table without asking the others.
const CACHED: usize = 1 << 12;

/// A hash that costs little.
pub fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The number of a kept value.
pub struct Part<T> {
    number: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Part<T> {
    /// The value with this number.
    pub const fn numbered(number: u32) -> Self {
        Self { number, of: PhantomData }
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.number
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Part<T> {}

impl<T> PartialEq for Part<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Part<T> {}

impl<T> Hash for Part<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.number);
    }
}

/// The hashes and numbers of some values.
type Shard = Mutex<HashTable<(u64, u32)>>;

/// Values that only ever become more, by their numbers and by their hashes.
pub struct Table<V> {
    kept: boxcar::Vec<V>,
    shards: Box<[Shard]>,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { kept: boxcar::Vec::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl<V> Table<V> {
    /// The value with a number that this table gave.
    pub fn get(&self, number: u32) -> &V {
        &self.kept[number as usize]
    }

    /// The number of a value that is known.
    pub fn find(&self, hash: u64, same: impl Fn(&V) -> bool) -> Option<u32> {
        let shard = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        shard.find(hash, |(known, number)| *known == hash && same(self.get(*number))).map(|(_, number)| *number)
    }

    /// The same, asked of what this thread remembers first.
    pub fn recall(&self, cache: &mut Cache, hash: u64, same: impl Fn(&V) -> bool) -> Option<u32> {
        let slot = cache.slot(hash);
        if slot.0 == hash && slot.1 != NOTHING && same(self.get(slot.1)) {
            return Some(slot.1);
        }
        let number = self.find(hash, same)?;
        *slot = (hash, number);
        Some(number)
    }

    /// Keeps a value that was not known a moment ago, unless another thread has come first.
    pub fn add(&self, hash: u64, value: V, same: impl Fn(&V, &V) -> bool) -> u32 {
        let mut shard = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let known = shard.find(hash, |(known, number)| *known == hash && same(self.get(*number), &value));
        if let Some((_, number)) = known {
            return *number;
        }
        let number = u32::try_from(self.kept.push(value)).expect("memory ends long before so many are kept");
        shard.insert_unique(hash, (hash, number), |(hash, _)| *hash);
        number
    }

    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 20) as usize % SHARDS]
    }
}

/// No number of a value.
const NOTHING: u32 = u32::MAX;

/// What one thread has found in a table of late.
pub struct Cache(Box<[(u64, u32)]>);

impl Default for Cache {
    fn default() -> Self {
        Self(vec![(0, NOTHING); CACHED].into_boxed_slice())
    }
}

impl Cache {
    fn slot(&mut self, hash: u64) -> &mut (u64, u32) {
        &mut self.0[(hash >> 40) as usize % CACHED]
    }
}
