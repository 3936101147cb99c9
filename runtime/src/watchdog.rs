//! The watchdog's thread: lets [`evergate_core::watchdog`] look at the [`Pulse`] and does what its findings ask for. It needs
//! nothing of the parts that it watches, and it decides nothing.

use crate::environment::{Environment, Told};
use crate::pulse::Pulse;
use evergate_core::request::{Origin, Wish};
use evergate_core::supervisor::Contract;
use evergate_core::watchdog::{Bounds, Finding, Part, Watchdog};
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
    /// How a restart that the watchdog asks for ends the process.
    pub contract: Contract,
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
            for finding in watchdog.look(self.environment.now(), &self.pulse.seen()) {
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

    fn act(&self, finding: Finding) {
        match finding {
            Finding::Frozen { .. } => {
                self.end(&format!("its loop got nowhere for {}", words(self.bounds.freeze)));
            }
            Finding::Late => self.end(&format!("it was not ready {} after its start", words(self.bounds.start))),
            Finding::Hung(part) => {
                tracing::error!(part = part.name(), "this part hangs and is started again; the rest goes on");
                self.pulse.start_again(part);
            }
            Finding::Slow(part) => {
                tracing::warn!(part = part.name(), "this part takes long; what depends on it waits, the rest goes on");
            }
            Finding::Well(part) => tracing::info!(part = part.name(), "this part gets on again"),
            Finding::Slept { by } => {
                tracing::info!(
                    ms = by.as_millis(),
                    "the machine slept or this process stood still; that counts for nobody"
                );
            }
        }
    }

    /// Ends the process as its guard would, or else so that it is started again.
    fn end(&self, why: &str) {
        let restart = self.contract.verdict(Wish::Restart, Origin::Watchdog);
        let verdict = self.pulse.armed().unwrap_or(restart);
        // Before anything that may stand still together with the loop: a disk, or a log that nobody reads.
        self.environment.guard(Some((self.environment.now() + LAST_WORDS, verdict)));
        (self.last_words)(why);
        tracing::error!(%verdict, why, "the watchdog ends this process");
        self.environment.guard(Some((self.environment.now(), verdict)));
    }
}

fn words(length: Duration) -> String {
    humantime::format_duration(length).to_string()
}
