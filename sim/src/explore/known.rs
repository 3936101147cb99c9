//! The states that are known, each as its bytes, and with its number once it has one.

use crate::world::parts::spread;
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// The number of a state that has none yet.
pub(super) const UNNUMBERED: u32 = u32::MAX;

/// A part of the known states.
#[derive(Default)]
pub(super) struct Shard {
    /// Half of the hash of each state, and its place.
    table: HashTable<(u32, u32)>,
    /// At the place of each state its number, the length of its bytes, and those.
    arena: Vec<u8>,
}

impl Shard {
    /// Bytes that all its states take.
    pub(super) fn bytes(&self) -> u64 {
        self.arena.len() as u64
    }

    fn bytes_at(&self, place: u32) -> &[u8] {
        let (_, rest) = self.arena.split_at(place as usize + 4);
        match rest.split_first_chunk() {
            Some((length, rest)) => rest.get(..usize::from(u16::from_le_bytes(*length))).unwrap_or_default(),
            None => &[],
        }
    }

    /// The number of the state at a place.
    pub(super) fn number_at(&self, place: u32) -> u32 {
        let number = self.arena[place as usize..].first_chunk();
        u32::from_le_bytes(*number.expect("each place begins with four bytes"))
    }

    /// Gives the state at a place its number.
    pub(super) fn set_number_at(&mut self, place: u32, number: u32) {
        self.arena[place as usize..place as usize + 4].copy_from_slice(&number.to_le_bytes());
    }

    /// The place of a state that is known.
    pub(super) fn find(&self, hash: u32, bytes: &[u8]) -> Option<u32> {
        let same = |(known, place): &(u32, u32)| *known == hash && self.bytes_at(*place) == bytes;
        self.table.find(spread(hash), same).map(|(_, place)| *place)
    }

    /// Adds a state that is not known, and gives its place.
    pub(super) fn add(&mut self, hash: u32, bytes: &[u8]) -> u32 {
        let place = u32::try_from(self.arena.len()).expect("a room is given up long before it has so many states");
        let length = u16::try_from(bytes.len()).expect("a state is a few parts, of some bytes each");
        self.arena.extend_from_slice(&UNNUMBERED.to_le_bytes());
        self.arena.extend_from_slice(&length.to_le_bytes());
        self.arena.extend_from_slice(bytes);
        self.table.insert_unique(spread(hash), (hash, place), |(hash, _)| spread(*hash));
        place
    }
}

/// What a table keeps of the hash of a state.
pub(super) fn hash_of(bytes: &[u8]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    (hasher.finish() >> 32) as u32
}
