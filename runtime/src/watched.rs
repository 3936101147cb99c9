//! One small value that many watch: the phase, and whether the platforms are open. Its watchers wake in the order in which
//! they began to wait. tokio's `watch` wakes them in random order, and then one seed would not give one run.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The value, in the hands of the one who sets it. Dropping it tells the watchers that there is nothing more to come.
pub struct Watched<T>(Arc<Shared<T>>);

/// One who watches.
#[derive(Clone)]
pub struct Watcher<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Clone, Copy)]
struct State<T> {
    value: T,
    /// Counts the settings.
    version: u64,
    /// Whether somebody can still set it.
    over: bool,
}

impl<T: Copy> Watched<T> {
    /// A value that nobody watches yet.
    #[must_use]
    pub fn new(value: T) -> Self {
        let state = Mutex::new(State { value, version: 0, over: false });
        Self(Arc::new(Shared { state, changed: Notify::new() }))
    }

    /// The value as it is.
    #[must_use]
    pub fn now(&self) -> T {
        self.0.state().value
    }

    /// Sets the value and wakes everybody who waits for that.
    pub fn set(&self, value: T) {
        {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.value, state.version) = (value, state.version + 1);
        }
        self.0.changed.notify_waiters();
    }

    /// Watches from now on; gives the value as it is, too, so that no change falls between the two.
    #[must_use]
    pub fn watch(&self) -> (T, Watcher<T>) {
        let State { value, version, .. } = self.0.state();
        (value, Watcher { shared: Arc::clone(&self.0), seen: version })
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.0.changed.notify_waiters();
    }
}

impl<T: Copy> Shared<T> {
    fn state(&self) -> State<T> {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Copy> Watcher<T> {
    /// The value as it is, whether or not [`Self::changed`] has given it.
    #[must_use]
    pub fn now(&self) -> T {
        self.shared.state().value
    }

    /// The value once it was set again; of several settings the last. `None` when nobody can set it any more.
    pub async fn changed(&mut self) -> Option<T> {
        loop {
            // Begins to wait before it looks, so that no setting falls between the two.
            let notified = self.shared.changed.notified();
            let State { value, version, over } = self.shared.state();
            if version != self.seen {
                self.seen = version;
                return Some(value);
            }
            if over {
                return None;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::task::JoinSet;

    #[tokio::test]
    async fn watchers_wake_in_the_order_in_which_they_began_to_wait() {
        let watched = Watched::new(0);
        let (woken, order) = mpsc::channel();
        let mut watchers = JoinSet::new();
        for number in 0..32 {
            let (_, mut watcher) = watched.watch();
            let woken = woken.clone();
            watchers.spawn(async move {
                assert_eq!(watcher.changed().await, Some(1));
                woken.send(number).unwrap();
                assert_eq!(watcher.changed().await, None, "it was dropped");
            });
        }
        tokio::task::yield_now().await;
        watched.set(1);
        drop(watched);
        while let Some(ended) = watchers.join_next().await {
            ended.unwrap();
        }
        assert_eq!(order.try_iter().collect::<Vec<_>>(), (0..32).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_was_set_before_the_end_is_still_seen_and_a_late_watcher_sees_no_old_change() {
        let watched = Watched::new('a');
        let (value, mut early) = watched.watch();
        assert_eq!(value, 'a');
        watched.set('b');
        let (value, mut late) = watched.watch();
        assert_eq!((value, watched.now(), early.now()), ('b', 'b', 'b'));
        drop(watched);
        assert_eq!((early.changed().await, early.changed().await), (Some('b'), None));
        assert_eq!(late.changed().await, None);
    }
}
