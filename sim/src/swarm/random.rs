//! The only source of chance: a small generator (SplitMix64) whose streams are named, so that taking one thing out of a
//! run leaves the chances of all others as they were. It never asks the machine for anything.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of one thing: of this seed, about this subject, for the thing with this number.
    #[must_use]
    pub const fn of(seed: u64, subject: u64, number: u64) -> Self {
        Self(mix(mix(seed ^ 0x5851_F42D_4C95_7F2D) ^ mix(subject) ^ mix(number).rotate_left(17)))
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number from 0 up to, and without, this one; 0 when there is none.
    pub const fn below(&mut self, end: u64) -> u64 {
        ((self.bits() as u128 * end as u128) >> 64) as u64
    }

    /// A number between two, both included.
    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number between two whose size, and not whose value, is spread evenly: small ones are as likely as large ones.
    pub const fn spread(&mut self, low: u64, high: u64) -> u64 {
        let unit = if low > 0 { low } else { 1 };
        let doublings = (high / unit + 1).ilog2() as u64 + 1;
        let width = unit << self.between(0, doublings);
        let number = self.between(low, low + width);
        if number < high { number } else { high }
    }

    /// Whether something happens that happens so often in a thousand times.
    pub const fn hits(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < per_mille as u64
    }

    /// One of these, of which there is at least one.
    pub const fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// SplitMix64's finalizer: every bit of the argument changes about half of the result's.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_between_their_bounds_and_reach_both() {
        let mut random = Random::of(1, 2, 3);
        let (mut between, mut spread): (Vec<u64>, Vec<u64>) =
            (0..2_000).map(|_| (random.between(3, 6), random.spread(3, 60))).unzip();
        between.sort_unstable();
        spread.sort_unstable();
        assert_eq!((between[0], between[1_999]), (3, 6));
        assert_eq!((spread[0], spread[1_999]), (3, 60));
        assert!(spread[1_000] < 20, "half of them are small: {}", spread[1_000]);
    }
}
