//! A state as bytes, so that two states have the same bytes if and only if they differ in nothing that matters: ids are
//! replaced by their rank among those in use, generations by their distance from the newest, times by their distance
//! from now. It uses what a state hashes, since no field can be forgotten there.

use evergate_core::id::Kind;
use evergate_core::time::Instant;
use std::hash::{Hash, Hasher};

/// Kinds of ids that are replaced by their rank, and generations.
const KINDS: usize = 9;

/// No rule looks further back than this: older times are alike. Longer than any grace, pause or probation of the scopes.
const LONGEST_MEMORY_MS: u64 = 60_000;

/// Turns states into bytes, one after the other, reusing its memory.
#[derive(Default)]
pub struct Encoder {
    now: u64,
    bytes: Vec<u8>,
    /// For each kind, where an id stands in the bytes, and which.
    places: [Vec<(u32, u64)>; KINDS],
    ids: Vec<u64>,
}

impl Encoder {
    /// The bytes of a state at this time.
    pub fn encode(&mut self, now: Instant, state: &impl Hash) -> &[u8] {
        self.now = now.as_millis();
        self.bytes.clear();
        self.places.iter_mut().for_each(Vec::clear);
        state.hash(self);
        for (kind, places) in self.places.iter().enumerate() {
            if places.is_empty() {
                continue;
            }
            self.ids.clear();
            self.ids.extend(places.iter().map(|(_, id)| *id));
            self.ids.sort_unstable();
            self.ids.dedup();
            let newest = self.ids.last().copied().unwrap_or_default();
            for (place, id) in places {
                let short = if kind == Kind::Generation as usize {
                    (newest - id).min(u64::from(u8::MAX))
                } else {
                    // The id is among the ids, since it was put there.
                    self.ids.partition_point(|other| other < id) as u64
                };
                // A scope has far fewer ids in use than a byte can tell apart.
                self.bytes[*place as usize] = u8::try_from(short).unwrap_or(u8::MAX);
            }
        }
        &self.bytes
    }

    /// A number in as few bytes as it needs, so that what follows cannot be mistaken for a part of it.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

impl Hasher for Encoder {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn write_u8(&mut self, number: u8) {
        self.bytes.push(number);
    }

    fn write_u32(&mut self, number: u32) {
        self.number(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.number(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.number(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        // Discriminants, which are small and not negative.
        self.number(number as u64);
    }

    fn write_u128(&mut self, hashed: u128) {
        match Kind::of(hashed) {
            Some((Kind::Instant, at)) if at >= self.now => self.number((at - self.now) * 2),
            Some((Kind::Instant, at)) => self.number((self.now - at).min(LONGEST_MEMORY_MS) * 2 + 1),
            Some((kind, id)) => {
                self.places[kind as usize].push((self.bytes.len() as u32, id));
                self.bytes.push(0);
            }
            None => self.bytes.extend_from_slice(&hashed.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergate_core::id::{GenerationId, TurnId};

    fn bytes(now: u64, state: &impl Hash) -> Vec<u8> {
        Encoder::default().encode(Instant::from_millis(now), state).to_vec()
    }

    #[test]
    fn states_that_differ_in_numbering_only_have_the_same_bytes() {
        let (a, b) = ([TurnId(7), TurnId(9), TurnId(7)], [TurnId(1), TurnId(2), TurnId(1)]);
        assert_eq!(bytes(0, &a), bytes(0, &b));
        assert_ne!(bytes(0, &a), bytes(0, &[TurnId(2), TurnId(1), TurnId(2)]));
        let at = Instant::from_millis;
        assert_eq!(bytes(100, &[at(90), at(130)]), bytes(1_100, &[at(1_090), at(1_130)]));
        assert_ne!(bytes(100, &at(90)), bytes(100, &at(110)));
    }

    #[test]
    fn generations_keep_their_distance() {
        let far = [GenerationId(1), GenerationId(5)];
        assert_ne!(bytes(0, &far), bytes(0, &[GenerationId(4), GenerationId(5)]));
        assert_eq!(bytes(0, &far), bytes(0, &[GenerationId(11), GenerationId(15)]));
    }
}
