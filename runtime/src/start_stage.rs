//! The stages of a start, and a start that goes wrong in one of them for those who try out what happens then
//! (`debug.start_fails`). It decides nothing else.

use crate::config::{Debug, Hooks, StartFault, StartStage};
use crate::versions::ROLLED_BACK;
use nix::sys::signal::{Signal, raise};
use std::time::Duration;

/// What goes wrong, if anything.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    at: StartStage,
    fault: StartFault,
}

impl Faults {
    /// As configured. The last known good program, where it was rolled back to, has none: it stands for one without the fault.
    #[must_use]
    pub fn new(debug: &Debug) -> Self {
        let wanted = debug.hooks == Hooks::On && std::env::var_os(ROLLED_BACK).is_none();
        Self { at: if wanted { debug.start_fails } else { StartStage::Off }, fault: debug.start_fault }
    }

    /// The start has come so far.
    pub fn passed(self, stage: StartStage) {
        tracing::debug!(stage = stage.as_str(), "the start goes on");
        if stage != self.at || stage == StartStage::Off {
            return;
        }
        tracing::warn!(stage = stage.as_str(), fault = self.fault.as_str(), "the start goes wrong, as was asked for");
        match self.fault {
            StartFault::Die => {
                // Not a word more, as after a fault.
                let _dead = raise(Signal::SIGKILL);
            }
            StartFault::Break => std::panic::panic_any("it breaks, as was asked for"),
            StartFault::Hang => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
        }
    }
}
