//! What comes of what: worked out once, and only looked up from then on. All threads of an exploration share it, and each
//! remembers by itself what it has met of late. Keys and what comes of them lie side by side, so that to look one up is to
//! wait for memory once.

use super::parts::{SHARDS, half, hash_of, shard_of, spread};
use hashbrown::HashTable;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// What a thread remembers without asking the others.
const CACHED: usize = 1 << 12;

/// Some keys, each with what comes of it.
type Shard<K, V> = Mutex<HashTable<(K, V)>>;

/// What is known to come of each key.
pub struct Memo<K, V> {
    shards: Box<[Shard<K, V>]>,
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl<K: Clone + Eq + Hash, V: Copy> Memo<K, V> {
    /// What comes of a key, if that is known.
    pub fn recall(&self, recent: &mut Recent<K, V>, key: &K) -> Option<V> {
        let hash = hash_of(key);
        recent.recall(hash, key).or_else(|| {
            let shard = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
            let (_, value) = shard.find(spread(half(hash)), |(known, _)| known == key)?;
            Some(recent.keep(hash, key, *value))
        })
    }

    /// Keeps what comes of a key, and gives it back. Another thread may have come first, with the same.
    pub fn add(&self, key: K, value: V) -> V {
        let hash = hash_of(&key);
        let mut shard = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.find(spread(half(hash)), |(known, _)| *known == key).is_none() {
            shard.insert_unique(spread(half(hash)), (key, value), |(key, _)| spread(half(hash_of(key))));
        }
        value
    }

    fn shard(&self, hash: u64) -> &Shard<K, V> {
        &self.shards[shard_of(half(hash), SHARDS)]
    }
}

/// What one thread has met of late.
pub struct Recent<K, V>(Box<[Option<(K, V)>]>);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self((0..CACHED).map(|_| None).collect())
    }
}

impl<K: Clone + Eq, V: Copy> Recent<K, V> {
    /// What comes of a key with this hash, if that was met of late.
    pub fn recall(&mut self, hash: u64, key: &K) -> Option<V> {
        self.slot(hash).as_ref().filter(|(known, _)| known == key).map(|(_, value)| *value)
    }

    /// Keeps what comes of a key with this hash for a while, and gives it back.
    pub fn keep(&mut self, hash: u64, key: &K, value: V) -> V {
        *self.slot(hash) = Some((key.clone(), value));
        value
    }

    fn slot(&mut self, hash: u64) -> &mut Option<(K, V)> {
        &mut self.0[(hash >> 40) as usize % CACHED]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_of_a_key_is_known_once_it_was_worked_out() {
        let (memo, mut recent) = (Memo::default(), Recent::default());
        assert_eq!(memo.recall(&mut recent, &7_u64), None);
        assert_eq!(memo.add(7, 49), 49);
        assert_eq!([7, 7, 8].map(|key| memo.recall(&mut recent, &key)), [Some(49), Some(49), None]);
    }

    #[test]
    fn each_of_many_keys_has_what_comes_of_it() {
        let (memo, mut recent) = (Memo::default(), Recent::default());
        for key in 0..3 * CACHED as u64 {
            memo.add(key, key * key);
        }
        for key in (0..3 * CACHED as u64).chain(0..3) {
            assert_eq!(memo.recall(&mut recent, &key), Some(key * key));
        }
    }
}
