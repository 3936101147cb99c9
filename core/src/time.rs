//! The core's notion of time: a count of milliseconds that the caller hands in. Nothing here reads a clock, so a test
//! can construct any instant and two runs with the same inputs see the same times.

use crate::id::Kind;
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: milliseconds since an origin that the caller chose once (the runtime takes its own process start).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Instant(u64);

impl Hash for Instant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Kind::Instant.hash_with(self.0, state);
    }
}

impl Instant {
    /// The instant `millis` milliseconds after the caller's origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the caller's origin.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates: an instant too far away to be counted is the last one there is.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Saturates: a caller whose time went backwards sees no time pass.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
