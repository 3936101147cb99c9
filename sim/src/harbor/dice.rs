//! Chance, as a value: the same seed throws the same numbers on every machine. Nothing in a run may draw from elsewhere.

/// A source of numbers (SplitMix64: one multiplication chain, no table, and any seed is a good one).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice of their own for one purpose, so that drawing more for one thing changes nothing elsewhere.
    #[must_use]
    pub fn apart(seed: u64, purpose: &str) -> Self {
        let mut mixed = Self(seed);
        for byte in purpose.bytes() {
            mixed.0 ^= u64::from(byte);
            mixed.next();
        }
        Self(mixed.next())
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// Whether something with this many chances in a hundred happens.
    pub fn percent(&mut self, chances: u64) -> bool {
        self.next() % 100 < chances
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.next() % choices.len() as u64).expect("an index of a slice fits a usize")]
    }
}
