//! A handle on a process: between the look at who it is and the signal its number cannot become somebody else's, where the
//! kernel gives such handles (Linux 5.3). Elsewhere the number has to do. It decides nothing.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

/// One process. Take the handle first, then look whether it is the one that is meant.
#[derive(Debug)]
pub struct Handle {
    pid: Pid,
    #[cfg(target_os = "linux")]
    held: Option<std::os::fd::OwnedFd>,
}

impl Handle {
    /// The process that has this number now, if there is one.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        Self {
            pid: Pid::from_raw(pid),
            #[cfg(target_os = "linux")]
            held: linux::open(pid),
        }
    }

    /// Sends it a signal. SIGKILL takes along what it has started in its own process group.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let leads = getpgid(Some(self.pid)) == Ok(self.pid);
        self.send(signal)?;
        if signal == Signal::SIGKILL && leads {
            // While a member lives, or its leader was not awaited, nobody else gets the group's number.
            match killpg(self.pid, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => tracing::warn!(%errno, group = self.pid.as_raw(), "what it has started cannot be killed"),
            }
        }
        Ok(())
    }

    fn send(&self, signal: Signal) -> Result<(), Errno> {
        #[cfg(target_os = "linux")]
        if let Some(held) = &self.held {
            return linux::send(held, signal);
        }
        kill(self.pid, signal)
    }
}

/// What `nix` does not have (pidfd_open(2), pidfd_send_signal(2)).
#[cfg(target_os = "linux")]
mod linux {
    use nix::errno::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal as Number, pidfd_open, pidfd_send_signal};
    use std::os::fd::OwnedFd;

    /// `None` where the kernel is older, or a container does not allow it.
    pub(super) fn open(pid: i32) -> Option<OwnedFd> {
        pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
    }

    pub(super) fn send(held: &OwnedFd, signal: nix::sys::signal::Signal) -> Result<(), Errno> {
        let number = Number::from_named_raw(signal as i32).ok_or(Errno::EINVAL)?;
        pidfd_send_signal(held, number).map_err(|errno| Errno::from_raw(errno.raw_os_error()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_handle_signals_the_process_it_was_taken_of_and_never_one_that_got_its_number() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let handle = Handle::of(i32::try_from(child.id()).unwrap());
        handle.signal(Signal::SIGTERM).unwrap();
        child.wait().unwrap();
        // Awaited, so that its number is free.
        assert_eq!(handle.signal(Signal::SIGKILL), Err(Errno::ESRCH));
    }
}
