//! The alarm over the first part of a start, before its watchdog stands: reading the configuration, say, from a disk that does
//! not answer. The kernel rings it and ends the process, like any death of a start; it outlasts an exec.

use crate::config::{KEYS, read_duration};
use nix::unistd::alarm;
use std::time::Duration;

/// The setting whose time holds here as well. The file that may say otherwise is not read yet; the environment is there.
const SETTING: &str = "watchdog.start";

/// Begins to count.
pub fn set() {
    alarm::set(seconds(within()));
}

/// The watchdog stands, or there is no start any more that could hang.
pub fn cancel() {
    alarm::cancel();
}

/// In whole seconds, which is all that the kernel counts here; never none, which would be no alarm.
fn seconds(within: Duration) -> u32 {
    u32::try_from(within.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}

fn within() -> Duration {
    let key = KEYS.iter().find(|key| key.name == SETTING).expect("the schema has this key");
    let said = std::env::var(key.environment()).ok().and_then(|text| read_duration(&text).ok());
    said.or_else(|| read_duration(key.default).ok()).expect("defaults are read by the tests of the schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shorter_than_a_second_is_one_and_nothing_is_none() {
        let in_seconds = [0, 1, 999, 1_000, 1_001, 300_000].map(|ms| seconds(Duration::from_millis(ms)));
        assert_eq!(in_seconds, [1, 1, 1, 1, 2, 300]);
        assert_eq!(seconds(Duration::MAX), u32::MAX);
        assert!(within() >= Duration::from_secs(1));
    }
}
