//! The watchdog's thread: lets [`evergate_core::watchdog`] look at the [`Pulse`] and does what its findings ask for. It needs
//! nothing of the parts that it watches, and it decides nothing.

use crate::environment::{Environment, Told};
use crate::logging::beside;
use crate::pulse::Pulse;
use evergate_core::verdict::Verdict;
use evergate_core::watchdog::{Bounds, Finding, Part, Seen, Thread, Watchdog};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a process that is being ended may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a watchdog needs.
pub struct Watch {
    /// The world.
    pub environment: Arc<dyn Environment>,
    /// What is watched.
    pub pulse: Arc<Pulse>,
    /// How long what may take.
    pub bounds: Bounds,
    /// How a process ends that stands still, as things are then.
    pub ending: Box<dyn Fn() -> Verdict + Send>,
    /// Keeps why the process is about to be ended, for its successor and for people.
    pub last_words: Box<dyn Fn(&str) + Send>,
}

impl Watch {
    /// Watches until the loop has come to its end.
    pub async fn run(self) {
        let mut watchdog = Watchdog::new(self.bounds, self.environment.now());
        // At once: who watches from outside expects nothing of one that was never heard.
        self.environment.tell_supervisor(Told::Alive);
        loop {
            self.environment.sleep_until(self.environment.now() + watchdog.period()).await;
            if self.pulse.over() {
                return;
            }
            for finding in watchdog.look(self.environment.now(), &self.seen()) {
                self.act(finding);
            }
            // Before the loop turns there is only the start to be watched.
            if self.pulse.running() {
                self.pulse.ask(Part::Loop);
                self.pulse.ask(Part::Control);
            }
            if watchdog.is_well() {
                self.environment.tell_supervisor(Told::Alive);
            }
        }
    }

    fn seen(&self) -> Seen {
        let mut seen = self.pulse.seen();
        // Asking costs something, and changes nothing where all is well.
        if seen.done[Part::Loop as usize].is_some() {
            seen.thread = self.pulse.loop_thread().map_or(Thread::Free, |thread| state(thread));
        }
        seen
    }

    fn act(&self, finding: Finding) {
        match finding {
            Finding::Frozen { thread: Thread::Free, .. } => {
                self.end(&format!("its loop got nowhere for {}", words(self.bounds.freeze)));
            }
            Finding::Frozen { thread: Thread::OnDisk, .. } => {
                let length = words(self.bounds.disk.max(self.bounds.freeze));
                self.end(&format!("the disk that its loop waits for has not answered for {length}"));
            }
            Finding::Late => self.end(&format!("it was not ready {} after its start", words(self.bounds.start))),
            Finding::Hung(part) => {
                self.pulse.start_again(part);
                beside(move || {
                    tracing::error!(part = part.name(), "this part hangs and is started again; the rest goes on");
                });
            }
            Finding::Slow(part) => {
                self.pulse.found_slow(part, true);
                beside(move || {
                    tracing::warn!(
                        part = part.name(),
                        "this part takes long; what depends on it waits, the rest goes on"
                    );
                });
            }
            Finding::Well(part) => {
                self.pulse.found_slow(part, false);
                beside(move || tracing::info!(part = part.name(), "this part gets on again"));
            }
            Finding::Slept { by } => beside(move || {
                tracing::info!(
                    ms = by.as_millis(),
                    "the machine slept or this process stood still; that counts for nobody"
                );
            }),
        }
    }

    /// Ends the process as its guard would, or else so that it is started again.
    fn end(&self, why: &str) {
        let verdict = (self.ending)();
        // Before anything that may stand still together with the loop: a disk, or a log that nobody reads.
        self.environment.guard(Some((self.environment.now() + LAST_WORDS, verdict)));
        (self.last_words)(why);
        tracing::error!(%verdict, why, "the watchdog ends this process");
        self.environment.guard(Some((self.environment.now(), verdict)));
    }
}

/// Where the system shows the thread that asks; `None` where it shows none.
#[must_use]
pub fn this_thread() -> Option<PathBuf> {
    Some(Path::new("/proc").join(std::fs::read_link("/proc/thread-self").ok()?).join("stat"))
}

/// What a thread does, by proc(5): the letter behind its name, which may itself hold anything, brackets included.
fn state(thread: &Path) -> Thread {
    let stat = std::fs::read_to_string(thread).unwrap_or_default();
    match stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next() {
        Some('D') => Thread::OnDisk,
        _ => Thread::Free,
    }
}

fn words(length: Duration) -> String {
    humantime::format_duration(length).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_runs_or_sleeps_is_free_and_one_on_a_disk_is_told_whatever_it_is_called() {
        if let Some(this) = this_thread() {
            assert_eq!(state(&this), Thread::Free, "{}", this.display());
        }
        let folder = tempfile::tempdir().unwrap();
        let told = [("1 (a) S 1) D 1", Thread::OnDisk), ("1 (a) D 1) S 1", Thread::Free), ("", Thread::Free)];
        for (line, expected) in told {
            let path = folder.path().join("stat");
            std::fs::write(&path, line).unwrap();
            assert_eq!(state(&path), expected, "{line}");
        }
    }
}
