//! The deadline of a start before its watchdog stands: reading the configuration, say, from a disk that does not answer. Owns the
//! thread that waits for it; what then becomes of the process is the core's decision, as for any start that stands still.

use crate::config::{KEYS, read_duration};
use crate::native::thread;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The setting whose time holds here as well. The file that may say otherwise is not read yet; the environment is there.
const SETTING: &str = "watchdog.start";

/// The deadline of one start. Clones are one and the same.
#[derive(Clone, Default)]
pub struct StartDeadline(Arc<State>);

#[derive(Default)]
struct State {
    /// When it is over; `None` once there is nothing to wait for.
    until: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl StartDeadline {
    /// Begins to count; `missed` is called, on a thread of its own, if nobody says in time that the watchdog stands.
    pub fn begin(missed: impl FnOnce(Duration) + Send + 'static) -> io::Result<Self> {
        Self::within(within(), missed)
    }

    fn within(limit: Duration, missed: impl FnOnce(Duration) + Send + 'static) -> io::Result<Self> {
        let deadline = Self::default();
        *deadline.until() = Instant::now().checked_add(limit);
        let watched = deadline.clone();
        thread("start", move || {
            if watched.is_missed() {
                missed(limit);
            }
        })?;
        Ok(deadline)
    }

    /// It waits on purpose, for so long: that does not count.
    pub fn put_off(&self, pause: Duration) {
        let mut until = self.until();
        *until = until.and_then(|until| until.checked_add(pause));
        self.0.changed.notify_all();
    }

    /// The watchdog stands, or there is no start any more that could hang.
    pub fn is_over(&self) {
        *self.until() = None;
        self.0.changed.notify_all();
    }

    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_missed(&self) -> bool {
        let mut until = self.until();
        loop {
            let Some(left) = until.map(|until| until.saturating_duration_since(Instant::now())) else { return false };
            if left.is_zero() {
                return true;
            }
            until = self.0.changed.wait_timeout(until, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn within() -> Duration {
    let key = KEYS.iter().find(|key| key.name == SETTING).expect("the schema has this key");
    let said = std::env::var(key.environment()).ok().and_then(|text| read_duration(&text).ok());
    said.or_else(|| read_duration(key.default).ok()).expect("defaults are read by the tests of the schema")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const SHORT: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn it_is_missed_once_unless_somebody_says_that_it_is_over() {
        let (missed, told) = mpsc::channel();
        let tell = missed.clone();
        let _counts = StartDeadline::within(SHORT, move |limit| tell.send(limit).unwrap()).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(SHORT));
        let deadline = StartDeadline::within(PATIENCE, move |limit| missed.send(limit).unwrap()).unwrap();
        deadline.is_over();
        assert!(told.recv_timeout(PATIENCE).is_err(), "its thread ends, and tells nobody");
    }

    #[test]
    fn a_pause_on_purpose_does_not_count() {
        let deadline = StartDeadline::default();
        *deadline.until() = Instant::now().checked_add(SHORT);
        let before = *deadline.until();
        deadline.put_off(PATIENCE);
        assert_eq!(deadline.until().zip(before).map(|(now, before)| now - before), Some(PATIENCE));
        assert!(within() >= Duration::from_secs(1));
    }
}
