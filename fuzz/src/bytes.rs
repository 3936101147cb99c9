//! Bytes as a stream of small choices. It never fails: at the end of the bytes every choice is the first one.

/// What is left of the input.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of these, which are not none.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()].clone()
    }

    /// One of these ids, or, one time in eight, any number at all.
    pub fn id(&mut self, known: &[u64]) -> u64 {
        let choice = self.byte();
        match choice % 8 {
            0 => self.pick(&[0, 1, 1_000_000, u64::MAX - 1, u64::MAX]),
            _ if known.is_empty() => u64::from(choice),
            _ => known[usize::from(choice / 8) % known.len()],
        }
    }
}
