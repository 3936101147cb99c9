//! How far each part of a gateway has come, in numbers that the watchdog reads from a thread of its own, and what else can be
//! looked at from there. A part counts what it has really done; nothing here is a sign of life for its own sake, and nothing
//! here decides anything.

use crate::flight::Ring;
use crate::metrics::Metrics;
use evergate_core::verdict::Verdict;
use evergate_core::watchdog::{Bounds, Part, Seen};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Tells how many wait in each queue, and how many may.
pub type Depths = Box<dyn Fn() -> Vec<(&'static str, usize, usize)> + Send + Sync>;

/// What the parts of one process have done.
#[derive(Default)]
pub struct Pulse {
    beats: [Beat; 3],
    running: AtomicBool,
    ready: AtomicBool,
    over: AtomicBool,
    /// Whether the loop is to turn without getting anywhere: for trying out what happens then.
    spins: AtomicBool,
    armed: Mutex<Option<Verdict>>,
    hooks: bool,
    /// How long what may take.
    pub bounds: Bounds,
    /// Where the system shows the loop's thread.
    loop_thread: OnceLock<PathBuf>,
    depths: OnceLock<Depths>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The last of what the core was told and wanted.
    pub ring: Ring,
}

/// One part's account.
#[derive(Default)]
struct Beat {
    /// How often it was given something to do.
    asked: AtomicU64,
    /// Up to which of these it is done.
    done: AtomicU64,
    /// Wakes it when it is asked.
    knock: Notify,
    /// For how long it is to stand still the next time it comes by, in milliseconds: for trying out what happens then.
    nap_ms: AtomicU64,
    /// Whether it is to break the next time it comes by.
    breaks: AtomicBool,
    /// Starts it again, it alone.
    again: Notify,
    /// Whether it is waited for by now.
    slow: AtomicBool,
}

impl Pulse {
    /// One whose parts can be made to stand still, if `hooks` says so.
    #[must_use]
    pub fn new(hooks: bool, bounds: Bounds) -> Self {
        Self { hooks, bounds, ..Self::default() }
    }

    /// From now on this tells how full the loop's queues are, without asking the loop.
    pub fn tell_depths(&self, depths: Depths) {
        let _the_first_holds = self.depths.set(depths);
    }

    /// How full the loop's queues are; empty before there are any.
    #[must_use]
    pub fn depths(&self) -> Vec<(&'static str, usize, usize)> {
        self.depths.get().map(|depths| depths()).unwrap_or_default()
    }

    /// The loop is going to turn on the thread that the system shows there.
    pub fn loop_turns_on(&self, thread: PathBuf) {
        let _the_first_holds = self.loop_thread.set(thread);
    }

    /// Where the system shows the thread of the loop, if it does.
    #[must_use]
    pub fn loop_thread(&self) -> Option<&PathBuf> {
        self.loop_thread.get()
    }

    /// Whether its parts can be made to stand still.
    #[must_use]
    pub const fn has_hooks(&self) -> bool {
        self.hooks
    }

    fn beat(&self, part: Part) -> &Beat {
        &self.beats[part as usize]
    }

    /// A part is given something to do.
    pub fn ask(&self, part: Part) {
        self.beat(part).asked.fetch_add(1, SeqCst);
        self.beat(part).knock.notify_one();
    }

    /// It has done all that it was asked.
    pub fn done(&self, part: Part) {
        let beat = self.beat(part);
        beat.done.store(beat.asked.load(SeqCst), SeqCst);
    }

    /// Waits until this part is asked.
    pub async fn asked(&self, part: Part) {
        self.beat(part).knock.notified().await;
    }

    /// A part hangs: whoever can starts it again.
    pub fn start_again(&self, part: Part) {
        self.beat(part).again.notify_one();
    }

    /// Waits until this part is to be started again.
    pub async fn starts_again(&self, part: Part) {
        self.beat(part).again.notified().await;
    }

    /// Whether a part was found to take long, and has not got on since; for people.
    pub fn found_slow(&self, part: Part, slow: bool) {
        self.beat(part).slow.store(slow, SeqCst);
    }

    /// The same.
    #[must_use]
    pub fn is_slow(&self, part: Part) -> bool {
        self.beat(part).slow.load(SeqCst)
    }

    /// Has a part stand still for a while.
    pub fn freeze(&self, part: Part, length: Duration) {
        self.beat(part).nap_ms.store(u64::try_from(length.as_millis()).unwrap_or(u64::MAX), SeqCst);
        self.beat(part).knock.notify_one();
    }

    /// Has a part break, as by a mistake in the program.
    pub fn break_down(&self, part: Part) {
        self.beat(part).breaks.store(true, SeqCst);
        self.beat(part).knock.notify_one();
    }

    /// Has the loop turn for ever without getting anywhere.
    pub fn spin(&self) {
        self.spins.store(true, SeqCst);
        self.beat(Part::Loop).knock.notify_one();
    }

    /// Whether it is to.
    #[must_use]
    pub fn spins(&self) -> bool {
        self.spins.load(SeqCst)
    }

    /// The part is here, and stands still if somebody wants to see what happens then. Nothing else on its thread goes on.
    pub fn nap(&self, part: Part) {
        if self.beat(part).breaks.swap(false, SeqCst) {
            std::panic::panic_any("it breaks, as was asked for");
        }
        let nap_ms = self.beat(part).nap_ms.swap(0, SeqCst);
        if nap_ms > 0 {
            tracing::warn!(part = part.name(), nap_ms, "standing still, as was asked for");
            std::thread::sleep(Duration::from_millis(nap_ms));
        }
    }

    /// The loop turns: from now on it can be asked.
    pub fn is_running(&self) {
        self.running.store(true, SeqCst);
    }

    /// Whether the loop turns.
    #[must_use]
    pub fn running(&self) -> bool {
        self.running.load(SeqCst)
    }

    /// The gateway is ready.
    pub fn is_ready(&self) {
        self.ready.store(true, SeqCst);
    }

    /// Whether it is.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ready.load(SeqCst)
    }

    /// The loop has come to its end: from now on nobody owes anything.
    pub fn is_over(&self) {
        self.over.store(true, SeqCst);
    }

    /// Whether the loop has come to its end.
    #[must_use]
    pub fn over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// How the guard that is armed would end the process.
    pub fn arm(&self, verdict: Option<Verdict>) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
    }

    /// The same.
    #[must_use]
    pub fn armed(&self) -> Option<Verdict> {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a look sees.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let done = Part::ALL.map(|part| {
            let (asked, done) = (self.beat(part).asked.load(SeqCst), self.beat(part).done.load(SeqCst));
            (asked != done).then_some(done)
        });
        Seen { ready: self.ready.load(SeqCst), done, ..Seen::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_owes_from_the_question_to_the_answer() {
        let pulse = Pulse::default();
        assert_eq!(pulse.seen().done, [None; 3]);
        pulse.ask(Part::Journal);
        assert_eq!(pulse.seen().done, [None, Some(0), None]);
        pulse.done(Part::Journal);
        pulse.ask(Part::Loop);
        pulse.ask(Part::Loop);
        assert_eq!(pulse.seen().done, [Some(0), None, None]);
        pulse.done(Part::Loop);
        assert_eq!(pulse.seen().done, [None; 3]);
    }
}
