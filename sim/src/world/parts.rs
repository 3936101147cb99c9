//! Values that are kept once each and known by a number. All threads of an exploration share them. Which number a value
//! gets depends on who came first; that two numbers are the same if and only if their values are does not.

use evergate_core::shared::Pool;
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::any::{Any, TypeId};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

/// Parts into which an index is divided, so that threads do not stand in each other's way.
pub(super) const SHARDS: usize = 64;

/// A hash that costs little.
pub fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Half of a hash, which is all that a table keeps of it.
pub(super) const fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The part, of so many, of an index that something with this half of a hash is in: by its highest bits, since the lowest say where
/// in it.
pub const fn shard_of(half: u32, shards: usize) -> usize {
    (half >> (u32::BITS - shards.ilog2())) as usize
}

/// As many bits as a table wants, from as many as it keeps.
pub const fn spread(half: u32) -> u64 {
    (half as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The number of a kept value.
pub struct Part<T> {
    /// One more than that, so that none at all takes no memory of its own.
    above: NonZero<u32>,
    of: PhantomData<fn() -> T>,
}

impl<T> Part<T> {
    /// The value with this number.
    pub const fn numbered(number: u32) -> Self {
        Self { above: NonZero::<u32>::MIN.saturating_add(number), of: PhantomData }
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.above.get() - 1
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
        self.above == other.above
    }
}

impl<T> Eq for Part<T> {}

impl<T> Hash for Part<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.above.get());
    }
}

/// Half of the hash of each of some values, and its number.
type Shard = Mutex<HashTable<(u32, u32)>>;

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
        let (half, shard) = (half(hash), self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner));
        let same = |(known, number): &(u32, u32)| *known == half && same(self.get(*number));
        shard.find(spread(half), same).map(|(_, number)| *number)
    }

    /// Keeps a value that was not known a moment ago, unless another thread has come first.
    pub fn add(&self, hash: u64, value: V, same: impl Fn(&V, &V) -> bool) -> u32 {
        let (half, mut shard) = (half(hash), self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner));
        let known = shard.find(spread(half), |(known, number)| *known == half && same(self.get(*number), &value));
        if let Some((_, number)) = known {
            return *number;
        }
        let number = u32::try_from(self.kept.push(value)).expect("memory ends long before so many are kept");
        shard.insert_unique(spread(half), (half, number), |(half, _)| spread(*half));
        number
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.kept.count()
    }

    /// With those values only that are in use, and the number that each has then by the one it had: that of no value, where it is
    /// gone.
    pub fn sifted(self, used: &[bool]) -> (Self, Vec<u32>) {
        let (sifted, mut numbers, mut next) = (Self::default(), Vec::with_capacity(used.len()), 0);
        for (value, used) in self.kept.into_iter().zip(used) {
            numbers.push(if *used { next } else { u32::MAX });
            if *used {
                sifted.kept.push(value);
                next += 1;
            }
        }
        for (from, to) in self.shards.into_iter().zip(&sifted.shards) {
            let (from, mut to) = (from.into_inner(), to.lock().unwrap_or_else(PoisonError::into_inner));
            for (half, number) in from.unwrap_or_else(PoisonError::into_inner) {
                if used[number as usize] {
                    to.insert_unique(spread(half), (half, numbers[number as usize]), |(half, _)| spread(*half));
                }
            }
        }
        (sifted, numbers)
    }

    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[shard_of(half(hash), SHARDS)]
    }
}

/// Parts that kept values share, each known once, as one thread has met them.
#[derive(Default)]
pub struct United(HashTable<(u64, Arc<dyn Any + Send + Sync>)>);

impl United {
    /// Forgets what nobody has any more.
    pub fn sift(&mut self) {
        self.0.retain(|(_, part)| Arc::strong_count(part) > 1);
    }
}

impl Pool for United {
    fn unite<T: Eq + Hash + Send + Sync + 'static>(&mut self, part: &mut Arc<T>) {
        // What is empty hashes the same whatever it is.
        let hash = hash_of(&(TypeId::of::<T>(), &**part));
        let equal =
            |known: &Arc<dyn Any + Send + Sync>| known.downcast_ref::<T>().is_some_and(|known| *known == **part);
        match self.0.find(hash, |(known, is)| *known == hash && equal(is)).cloned() {
            Some((_, is)) => *part = is.downcast().unwrap_or_else(|_| Arc::clone(part)),
            None => _ = self.0.insert_unique(hash, (hash, Arc::<T>::clone(part)), |(hash, _)| *hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_parts_one_is_kept_and_parts_of_two_kinds_are_never_equal() {
        let mut united = United::default();
        let (first, mut second, mut other) = (&mut Arc::new(7_u32), Arc::new(7_u32), Arc::new(8_u32));
        united.unite(first);
        united.unite(&mut second);
        united.unite(&mut other);
        assert!(Arc::ptr_eq(first, &second) && *other == 8);
        let mut kind = Arc::new([7_u32; 1]);
        united.unite(&mut kind);
        assert_eq!((united.0.len(), *kind), (3, [7]));
    }

    #[test]
    fn a_table_gives_a_value_the_number_that_it_has() {
        let table = Table::default();
        let number = |value: u64| table.add(hash_of(&value), value, |known, new| known == new);
        assert_eq!([5, 6, 5].map(number), [0, 1, 0]);
        let find = |value: u64| table.find(hash_of(&value), |known| *known == value);
        assert_eq!([6, 7].map(find), [Some(1), None]);
    }

    #[test]
    fn a_sifted_table_has_what_is_in_use_and_knows_it_by_its_new_number() {
        let table = Table::default();
        let add = |table: &Table<u64>, value| table.add(hash_of(&value), value, |known, new| known == new);
        (5..9).for_each(|value| _ = add(&table, value));
        let (table, numbers) = table.sifted(&[false, true, false, true]);
        assert_eq!((table.len(), numbers[1], numbers[3]), (2, 0, 1));
        assert_eq!([6, 8].map(|value| add(&table, value)), [0, 1]);
        assert_eq!(([0, 1].map(|number| *table.get(number)), add(&table, 5)), ([6, 8], 2));
    }

    #[test]
    fn what_nobody_has_any_more_is_forgotten() {
        let mut united = United::default();
        let (mut kept, mut gone) = (Arc::new(7_u32), Arc::new(8_u32));
        united.unite(&mut kept);
        united.unite(&mut gone);
        drop(gone);
        united.sift();
        let mut again = Arc::new(7_u32);
        united.unite(&mut again);
        assert!(Arc::ptr_eq(&kept, &again) && united.0.len() == 1);
    }
}
