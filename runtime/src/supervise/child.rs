//! The child process: passing signals to it, killing what is left of its group, and how it ended.

use evergate_core::{respawn::ChildEnd, time::Instant};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{os::unix::process::ExitStatusExt, process::ExitStatus};
use tokio::process::Child;
use tracing::{info, warn};

/// A child process at the head of its own process group.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) pid: Pid,
    pub(super) started_at: Instant,
}

/// Sends a signal to the child's main process, which knows what to do about the rest of its group.
pub(super) fn pass_on(running: &Running, caught: Signal) {
    let pid = running.pid.as_raw();
    // Once the child was awaited its id is gone, and the number may be somebody else's.
    if running.child.id().is_none() {
        return;
    }
    match kill(running.pid, caught) {
        Ok(()) => info!(pid, signal = caught.as_str(), "signal passed to the child"),
        Err(error) => warn!(pid, signal = caught.as_str(), %error, "cannot pass the signal to the child"),
    }
}

/// Kills whatever is left of the child's process group. While a member lives the number cannot be given to anybody
/// else, and without members there is nobody to kill.
pub(super) fn kill_group(leader: Pid) {
    match killpg(leader, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => warn!(group = leader.as_raw(), %error, "cannot kill what is left of the child's process group"),
    }
}

pub(super) fn end_of(status: ExitStatus) -> ChildEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => ChildEnd::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal)) => ChildEnd::Signalled(signal),
        (None, None) => ChildEnd::Exited(u8::MAX),
    }
}
