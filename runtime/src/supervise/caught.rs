//! The signals that reach the supervisor: hearing them, and which of them mean that it is to stop.

use crate::systemd;
use nix::sys::signal::Signal;
use std::{fs, io, time::Duration};
use tokio::signal::unix::{self, SignalKind};
use tracing::warn;

/// Says that the child is to be started at once, if the supervisor only pauses. Whoever does not know that does nothing about it,
/// and goes on if it was stopped.
pub const START: Signal = Signal::SIGCONT;

/// How long systemd may take to say whether a SIGTERM was a stop of our unit.
const ASK_SYSTEMD: Duration = Duration::from_secs(5);

/// The signals as they arrive: those that are passed on, and [`START`].
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: Option<unix::Signal>,
    start: unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let hang_up = match ignores_hang_up() {
            true => None,
            false => Some(unix::signal(SignalKind::hangup())?),
        };
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hang_up,
            start: unix::signal(SignalKind::from_raw(START as i32))?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = hang_up => Signal::SIGHUP,
            _ = self.start.recv() => START,
        }
    }
}

/// Whether `nohup` or the like started us. A handler would undo that for the child too: an ignored signal stays ignored
/// over an exec, a handled one does not.
fn ignores_hang_up() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (Signal::SIGHUP as i32 - 1)) != 0)
}

/// Whether a signal to the supervisor means that it shall stop. One that systemd did not send with a stop of the unit
/// does not, see the top of this file.
pub(super) async fn means_stop(caught: Signal) -> bool {
    match caught {
        Signal::SIGTERM if systemd::is_our_supervisor() => {
            let stray = systemd::stop_job_pending(ASK_SYSTEMD).await == Some(false);
            if stray {
                warn!(
                    "SIGTERM, but systemd does not stop this unit: the child is told, and started again when it leaves"
                );
            }
            !stray
        }
        Signal::SIGTERM | Signal::SIGINT => true,
        _ => false,
    }
}
