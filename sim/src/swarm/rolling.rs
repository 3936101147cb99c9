//! A hash that rolls over everything that goes into and comes out of the gateways of a run. Two runs with the same hash
//! had the same trace; it is cheap enough to be kept of every run, and no text of a run has to be.

use std::hash::Hasher;

/// The hash so far. It is no defence against anybody who wants two runs to look alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rolling(u64);

impl Rolling {
    const FACTOR: u64 = 0xF135_7AEA_2E62_A9C5;
}

impl Hasher for Rolling {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(Self::FACTOR);
    }

    fn write_u128(&mut self, number: u128) {
        // The upper half is a kind, a small number: one round is enough for both.
        self.write_u64((number as u64) ^ ((number >> 64) as u64).rotate_left(56));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}
