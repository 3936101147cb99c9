//! A value as bytes, so that two values have the same bytes if and only if they differ in nothing that matters: ids are
//! replaced by their rank among those in use, generations by their distance from the newest, times by their distance
//! from now. It uses what a value hashes, since no field can be forgotten there.
//!
//! The parts of a state are encoded one by one, each by itself; what is then left to say is how their ids lie between each
//! other, which [`Ids::between`] does.
//!
//! Sessions have no order at all: which is called what does not matter. A part is encoded under each way of naming them,
//! with what has no order sorted; the least of those bytes stands for all, and [`Variants`] says what each way makes of
//! it. Whoever puts parts together chooses one way for all of them.

use evergate_core::id::Kind;
use evergate_core::time::Instant;
use evergate_core::unordered::Mark;
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// The first of the kinds of ids that are replaced by their rank. The one before is that of sessions.
const FIRST: usize = Kind::Message as usize;
/// How many of them there are, generations among them. The kind of times is the last.
const KINDS: usize = Kind::Instant as usize - FIRST;
/// The place of generations among them.
const GENERATION: usize = Kind::Generation as usize - FIRST;

/// Sessions that are given each other's names; any others keep theirs.
const NAMED: usize = 3;
/// All ways of naming them: what the first, the second and the third session is called. Those that only concern the first
/// ones come first.
const NAMINGS: [[u8; NAMED]; 6] = [[1, 2, 3], [2, 1, 3], [1, 3, 2], [3, 2, 1], [2, 3, 1], [3, 1, 2]];

/// What becomes of a part under each way of naming the sessions: two parts whose least bytes are the same have the same
/// bytes under two ways if and only if the same number is here.
pub type Variants = [u8; NAMINGS.len()];

/// How many ways there are to name so many sessions.
pub const fn namings(sessions: u8) -> usize {
    match sessions {
        0 | 1 => 1,
        2 => 2,
        _ => NAMINGS.len(),
    }
}

/// When a world begins.
pub const BEGINNING: Instant = Instant::from_millis(1_000_000);
/// No rule looks further back than this: older times are alike. Longer than any grace, pause or probation of the scopes.
const LONGEST_MEMORY_MS: u64 = 60_000;

/// For each kind, the ids that are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    of: [u64; KINDS],
    /// The kinds of which any is, as bits.
    kinds: u8,
}

const _: () = assert!(KINDS <= u8::BITS as usize, "each kind has its bit");

impl Ids {
    /// None.
    pub const NONE: Self = Self { of: [0; KINDS], kinds: 0 };

    fn add(&mut self, kind: usize, id: u64) {
        assert!(id < u64::from(u64::BITS), "worlds count from 1, and the bounds of a scope end long before {id}");
        self.of[kind] |= 1 << id;
        self.kinds |= 1 << kind;
    }

    /// The highest that is in use.
    pub fn highest(&self, kind: Kind) -> Option<u64> {
        let ids = self.of.get((kind as usize).checked_sub(FIRST)?)?;
        ids.checked_ilog2().map(u64::from)
    }

    /// What stands for an id of these.
    fn short(&self, kind: usize, id: u32) -> u8 {
        let ids = self.of[kind];
        let short = if kind == GENERATION {
            ids.checked_ilog2().unwrap_or_default() - id
        } else {
            (ids & ((1 << id) - 1)).count_ones()
        };
        short as u8
    }

    /// How the ids of several parts lie between each other. Of two lists of parts that are alike one by one, the bytes are
    /// the same if and only if the lists are alike as a whole.
    pub fn between(parts: &[&Self], bytes: &mut Vec<u8>) {
        let (mut used, mut shared) = (0, 0);
        for part in parts {
            shared |= used & part.kinds;
            used |= part.kinds;
        }
        for kind in (0..KINDS).filter(|kind| shared & (1 << kind) != 0) {
            let users = || parts.iter().filter(|part| part.kinds & (1 << kind) != 0).map(|part| part.of[kind]);
            let all = users().fold(0, |all, ids| all | ids);
            for ids in users() {
                if kind == GENERATION {
                    bytes.push((ids.leading_zeros() - all.leading_zeros()) as u8);
                } else {
                    number(bytes, u128::from(ranks(ids, all)));
                }
            }
        }
    }
}

/// The ranks of some ids among all, as a set.
const fn ranks(ids: u64, all: u64) -> u64 {
    let lowest = all.trailing_zeros();
    let (mut ids, all) = (ids >> lowest, all >> lowest);
    if all & all.wrapping_add(1) == 0 {
        return ids;
    }
    let mut ranks = 0;
    while ids != 0 {
        let id = ids.trailing_zeros();
        ranks |= 1 << (all & ((1 << id) - 1)).count_ones();
        ids &= ids - 1;
    }
    ranks
}

/// A number in as few bytes as it needs, so that what follows cannot be mistaken for a part of it.
fn number(bytes: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// A value as bytes.
pub struct Encoded<'a> {
    /// The ids in it.
    pub ids: Ids,
    /// Whether other bytes stand for it at another time.
    pub timed: bool,
    encoder: &'a mut Encoder,
}

impl Encoded<'_> {
    /// Whether it is about any session.
    pub fn has_sessions(&self) -> bool {
        !self.encoder.sessions.is_empty()
    }

    /// Its bytes with the sessions called as they are.
    pub fn bytes(&mut self) -> &[u8] {
        self.least(1).0
    }

    /// The least of its bytes under so many ways of naming the sessions, and what becomes of it under each.
    pub fn least(&mut self, namings: usize) -> (&[u8], Variants) {
        // What is about no session is the same whatever they are called.
        let namings = if self.has_sessions() { namings } else { 1 };
        let mut order: [usize; NAMINGS.len()] = std::array::from_fn(|naming| naming);
        let order = &mut order[..namings];
        order.iter().for_each(|naming| self.encoder.name(*naming));
        let ways = &self.encoder.ways;
        order.sort_by(|a, b| ways[*a].cmp(&ways[*b]));
        let mut variants = Variants::default();
        for pair in order.windows(2) {
            variants[pair[1]] = variants[pair[0]] + u8::from(ways[pair[0]] != ways[pair[1]]);
        }
        (&ways[order[0]], variants)
    }
}

/// Turns values into bytes, one after the other, reusing its memory.
#[derive(Default)]
pub struct Encoder {
    now: u64,
    bytes: Vec<u8>,
    /// Where an id stands in the bytes, its kind, and which.
    places: Vec<(u32, u8, u8)>,
    /// Where a session stands in the bytes, and which.
    sessions: Vec<(u32, u8)>,
    /// Entries without an order, by where they are in the bytes.
    entries: Vec<Range<usize>>,
    /// Which of those belong together, and where all of them are.
    unordered: Vec<(Range<usize>, Range<usize>)>,
    /// Where the entry begins that is being encoded, and how many follow it.
    open: Option<(usize, u64)>,
    /// The bytes under each way of naming the sessions.
    ways: [Vec<u8>; NAMINGS.len()],
    ids: Ids,
    timed: bool,
}

impl Encoder {
    /// The bytes of a value at this time.
    pub fn encode(&mut self, now: Instant, value: &impl Hash) -> Encoded<'_> {
        self.now = now.as_millis();
        self.bytes.clear();
        self.places.clear();
        self.sessions.clear();
        self.entries.clear();
        self.unordered.clear();
        self.open = None;
        self.ids = Ids::default();
        self.timed = false;
        value.hash(self);
        for (place, kind, id) in &self.places {
            self.bytes[*place as usize] = self.ids.short(usize::from(*kind), u32::from(*id));
        }
        Encoded { ids: self.ids, timed: self.timed, encoder: self }
    }

    /// Writes down what the bytes are under a way of naming the sessions.
    fn name(&mut self, naming: usize) {
        for (place, session) in &self.sessions {
            let name = NAMINGS[naming].get(usize::from(*session).wrapping_sub(1));
            self.bytes[*place as usize] = *name.unwrap_or(session);
        }
        let Self { bytes, entries, unordered, ways, .. } = self;
        let way = &mut ways[naming];
        way.clear();
        let mut copied = 0;
        for (together, place) in unordered {
            let entries = &mut entries[together.clone()];
            entries.sort_unstable_by(|a, b| bytes[a.clone()].cmp(&bytes[b.clone()]));
            way.extend_from_slice(&bytes[copied..place.start]);
            entries.iter().for_each(|entry| way.extend_from_slice(&bytes[entry.clone()]));
            copied = place.end;
        }
        way.extend_from_slice(&bytes[copied..]);
    }

    fn mark(&mut self, mark: Mark) {
        match (mark, self.open) {
            (Mark::Begins(entries), None) => {
                self.number(entries);
                let (first, place) = (self.entries.len(), self.bytes.len());
                self.unordered.push((first..first, place..place));
                self.open = (entries > 0).then_some((self.bytes.len(), entries));
            }
            (Mark::EntryEnds, Some((from, left))) => {
                self.entries.push(from..self.bytes.len());
                if let Some((together, place)) = self.unordered.last_mut() {
                    (together.end, place.end) = (self.entries.len(), self.bytes.len());
                }
                self.open = (left > 1).then_some((self.bytes.len(), left - 1));
            }
            _ => {
                unreachable!("what has no order has nothing in it that has none either, and as many entries as it says")
            }
        }
    }

    fn number(&mut self, what: u64) {
        if what < 0x80 {
            self.bytes.push(what as u8);
        } else {
            number(&mut self.bytes, u128::from(what));
        }
    }

    fn instant(&mut self, at: u64) {
        // What was too long ago when the world began is so for ever.
        self.timed |= at + LONGEST_MEMORY_MS > BEGINNING.as_millis();
        if at >= self.now {
            self.number((at - self.now) * 2);
        } else {
            self.number((self.now - at).min(LONGEST_MEMORY_MS) * 2 + 1);
        }
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
            Some((Kind::Instant, at)) => self.instant(at),
            // None has this number: how far it is from the newest says nothing.
            Some((Kind::Generation, 0)) => self.bytes.push(u8::MAX),
            Some((Kind::Session, id)) => {
                let session = u8::try_from(id).expect("worlds count from 1, and have few sessions");
                self.sessions.push((self.bytes.len() as u32, session));
                self.bytes.push(session);
            }
            Some((kind, id)) => {
                let kind = kind as usize - FIRST;
                self.ids.add(kind, id);
                self.places.push((self.bytes.len() as u32, kind as u8, id as u8));
                self.bytes.push(0);
            }
            None => match Mark::of(hashed) {
                Some(mark) => self.mark(mark),
                None => self.bytes.extend_from_slice(&hashed.to_le_bytes()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergate_core::id::{GenerationId, SessionId, TurnId};
    use evergate_core::unordered::hash_entries;

    fn bytes(now: u64, value: &impl Hash) -> Vec<u8> {
        Encoder::default().encode(Instant::from_millis(now), value).bytes().to_vec()
    }

    /// Several parts, as the key of a state has them.
    fn together(parts: &[&[TurnId]]) -> Vec<u8> {
        let (mut all, mut ids) = (Vec::new(), Vec::new());
        for part in parts {
            let mut encoder = Encoder::default();
            let mut encoded = encoder.encode(BEGINNING, part);
            all.extend_from_slice(encoded.bytes());
            ids.push(encoded.ids);
        }
        Ids::between(&ids.iter().collect::<Vec<_>>(), &mut all);
        all
    }

    #[test]
    fn values_that_differ_in_numbering_only_have_the_same_bytes() {
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
        let none = GenerationId(0);
        assert_eq!(bytes(0, &[none, GenerationId(5)]), bytes(0, &[none, GenerationId(6)]));
        assert_ne!(bytes(0, &[none, GenerationId(5)]), bytes(0, &[GenerationId(5), GenerationId(5)]));
        let ids = |generation: u64| Encoder::default().encode(BEGINNING, &GenerationId(generation)).ids;
        let between = |a: u64, b: u64| {
            let mut bytes = Vec::new();
            Ids::between(&[&ids(a), &Ids::NONE, &ids(b)], &mut bytes);
            bytes
        };
        assert_eq!(between(1, 3), between(5, 7));
        assert_ne!(between(1, 3), between(1, 4));
    }

    #[test]
    fn parts_are_alike_together_if_their_ids_lie_alike_between_each_other() {
        let (one, two, three, four) = (TurnId(1), TurnId(2), TurnId(3), TurnId(4));
        assert_eq!(together(&[&[one, three], &[two]]), together(&[&[two, TurnId(60)], &[four]]));
        assert_ne!(together(&[&[one, three], &[two]]), together(&[&[one, two], &[three]]));
        assert_ne!(together(&[&[one], &[two]]), together(&[&[one], &[one]]));
        assert_eq!(together(&[&[one], &[], &[two]]), together(&[&[three], &[], &[four]]));
        assert_ne!(together(&[&[one, three], &[one, two]]), together(&[&[one, three], &[two, three]]));
    }

    /// What sessions have, in no order.
    struct Chats(Vec<(SessionId, u8)>);

    impl Hash for Chats {
        fn hash<H: Hasher>(&self, state: &mut H) {
            hash_entries(self.0.iter(), state);
        }
    }

    fn least(namings: usize, value: &impl Hash) -> (Vec<u8>, Variants) {
        let mut encoder = Encoder::default();
        let (mut encoded, mut all) = (encoder.encode(BEGINNING, value), Vec::new());
        let (bytes, variants) = encoded.least(namings);
        all.extend_from_slice(bytes);
        (all, variants)
    }

    #[test]
    fn values_that_differ_in_what_sessions_are_called_have_the_same_least_bytes() {
        let [one, two, three] = [1, 2, 3].map(SessionId);
        let chats = |all: [SessionId; 3]| Chats(all.into_iter().zip([7, 8, 9]).collect());
        let (bytes, variants) = least(namings(3), &chats([one, two, three]));
        let mut seen = variants;
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5], "each way of naming three that differ makes it another");
        for other in [[two, one, three], [one, three, two], [three, two, one], [two, three, one], [three, one, two]] {
            let (same, others) = least(namings(3), &chats(other));
            assert!(same == bytes && others != variants, "{other:?}");
        }
        assert_ne!(least(namings(2), &chats([three, two, one])).0, least(namings(2), &chats([one, two, three])).0);
        assert_eq!(least(namings(2), &chats([two, one, three])).0, least(namings(2), &chats([one, two, three])).0);
        assert_ne!(least(namings(1), &chats([two, one, three])).0, least(namings(1), &chats([one, two, three])).0);
    }

    #[test]
    fn sessions_that_have_the_same_make_no_difference_and_what_is_about_none_is_the_same_under_all_names() {
        let alike = Chats(vec![(SessionId(1), 7), (SessionId(2), 7)]);
        assert_eq!(least(namings(2), &alike).1, [0; 6]);
        let mixed = (Chats(vec![(SessionId(1), 7), (SessionId(2), 7)]), SessionId(2));
        assert_eq!(least(namings(2), &mixed).1, [1, 0, 0, 0, 0, 0], "one of them stands elsewhere too");
        assert_eq!(least(namings(3), &TurnId(4)).1, [0; 6]);
    }

    #[test]
    fn entries_without_an_order_are_alike_in_any_and_kept_apart() {
        let chats =
            |all: &[(u64, u8)]| least(1, &Chats(all.iter().map(|(id, has)| (SessionId(*id), *has)).collect())).0;
        assert_eq!(chats(&[(1, 7), (2, 8)]), chats(&[(2, 8), (1, 7)]));
        assert_ne!(chats(&[(1, 7), (2, 8)]), chats(&[(1, 8), (2, 7)]));
        assert_ne!(chats(&[]), chats(&[(1, 7)]));
    }

    #[test]
    fn only_a_time_that_somebody_could_look_back_to_makes_a_value_timed() {
        let timed = |at: u64| Encoder::default().encode(BEGINNING, &Instant::from_millis(at)).timed;
        assert!(!timed(0) && !timed(BEGINNING.as_millis() - LONGEST_MEMORY_MS));
        assert!(timed(BEGINNING.as_millis()) && timed(BEGINNING.as_millis() + 5));
    }
}
