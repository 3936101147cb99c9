//! Collections whose order says nothing. Nothing in the core depends on the order of session ids, so two states that
//! differ only in which session is called what are alike; whoever compares states by what they hash can see here which
//! entries have no order of their own, and put them into one that does not hang on what their sessions are called.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

/// What stands around the entries of such a collection where it is hashed: one `u128`, as an id is, the mark above the
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// So many entries follow.
    Begins(u64),
    /// One of them ends here.
    EntryEnds,
}

/// Above all kinds of ids.
const BEGINS: u128 = 0x100;
const ENTRY_ENDS: u128 = 0x101;

impl Mark {
    /// The mark that was hashed as this; `None` if it is none.
    #[must_use]
    pub const fn of(hashed: u128) -> Option<Self> {
        match hashed >> 64 {
            // Truncation is meant: the number is the lower half.
            BEGINS => Some(Self::Begins(hashed as u64)),
            ENTRY_ENDS => Some(Self::EntryEnds),
            _ => None,
        }
    }

    fn hash_with<H: Hasher>(self, state: &mut H) {
        state.write_u128(match self {
            Self::Begins(entries) => BEGINS << 64 | u128::from(entries),
            Self::EntryEnds => ENTRY_ENDS << 64,
        });
    }
}

/// Hashes entries that have no order.
pub fn hash_entries<T: Hash, H: Hasher>(entries: impl ExactSizeIterator<Item = T>, state: &mut H) {
    Mark::Begins(entries.len() as u64).hash_with(state);
    for entry in entries {
        entry.hash(state);
        Mark::EntryEnds.hash_with(state);
    }
}

/// A collection whose order says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unordered<C>(C);

impl<C> Deref for Unordered<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

impl<C> DerefMut for Unordered<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.0
    }
}

impl<K: Hash, V: Hash> Hash for Unordered<BTreeMap<K, V>> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_entries(self.0.iter(), state);
    }
}

impl<K: Hash> Hash for Unordered<BTreeSet<K>> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_entries(self.0.iter(), state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Kind, SessionId};

    /// Keeps all large numbers that were hashed.
    #[derive(Default)]
    struct All(Vec<u128>);

    impl Hasher for All {
        fn write(&mut self, _: &[u8]) {}
        fn write_u128(&mut self, number: u128) {
            self.0.push(number);
        }
        fn finish(&self) -> u64 {
            0
        }
    }

    #[test]
    fn each_entry_is_marked_and_no_mark_is_taken_for_an_id() {
        let set = Unordered(BTreeSet::from([SessionId(u64::MAX), SessionId(3)]));
        let mut all = All::default();
        set.hash(&mut all);
        let found: Vec<_> = all.0.iter().map(|hashed| (Mark::of(*hashed), Kind::of(*hashed))).collect();
        let id = |number| (None, Some((Kind::Session, number)));
        let ends = (Some(Mark::EntryEnds), None);
        assert_eq!(found, [(Some(Mark::Begins(2)), None), id(3), ends, id(u64::MAX), ends]);
        assert_eq!(Mark::of(7), None);
        let map = Unordered(BTreeMap::from([(SessionId(5), SessionId(4))]));
        let mut all = All::default();
        map.hash(&mut all);
        let found: Vec<_> = all.0.iter().map(|hashed| (Mark::of(*hashed), Kind::of(*hashed))).collect();
        assert_eq!(found, [(Some(Mark::Begins(1)), None), id(5), id(4), ends]);
    }
}
