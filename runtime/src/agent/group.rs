//! One child process that leads a process group of its own, and the promise that the group does not outlive its owner.
//! It knows how to signal, sweep and await the group; it never decides when.

use crate::signals;
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

/// The pauses between two looks at a killed group, in milliseconds: about two seconds in all.
const LOOKS_MS: [u64; 10] = [1, 2, 5, 12, 30, 50, 100, 300, 500, 1000];

/// A child process and its group. Dropping it kills whatever is left of them.
#[derive(Debug)]
pub(super) struct Group {
    leader: Child,
    id: Pid,
}

impl Group {
    /// Starts `command` as the leader of a new group, with pipes to all three of its streams.
    pub(super) fn start(mut command: Command) -> io::Result<Group> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::lead(command)
    }

    /// Starts `command` as the leader of a new group, with the streams that it has.
    pub(super) fn lead(mut command: Command) -> io::Result<Group> {
        command.process_group(0).kill_on_drop(true);
        let leader = command.spawn()?;
        let id = leader.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::other("the child has no process id"))?;
        Ok(Group { leader, id })
    }

    /// Has `start` make one on a thread where a disk that takes its time holds up nobody else: until the program is loaded the thread
    /// stands still. If nobody waits for it any more, the group is ended as soon as it is there.
    pub(super) fn start_apart<E: Send + 'static>(
        start: impl FnOnce() -> Result<Group, E> + Send + 'static,
    ) -> JoinHandle<Result<Group, E>> {
        tokio::task::spawn_blocking(move || signals::unblocked(start))
    }

    /// The leader's process id, which is the group's number.
    pub(super) fn id(&self) -> i32 {
        self.id.as_raw()
    }

    /// Our ends of the child's stdin, stdout and stderr; each `None` from the second call on.
    pub(super) fn streams(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        (self.leader.stdin.take(), self.leader.stdout.take(), self.leader.stderr.take())
    }

    /// Asks the group to end. Stopped processes are woken, or they could not hear it.
    pub(super) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT);
    }

    /// Ends the group.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Signals the group while its leader has not been reaped: until then the number can be nobody else's.
    fn signal(&self, signal: Signal) {
        if self.leader.id().is_some() {
            self.signal_whoever_is_left(signal);
        }
    }

    fn signal_whoever_is_left(&self, signal: Signal) {
        match killpg(self.id, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => {
                tracing::warn!(group = self.id.as_raw(), %signal, %error, "cannot signal an agent's process group")
            }
        }
    }

    /// Waits until the leader has ended, reaps it, and kills the rest of the group. May be dropped and called again; not
    /// to be called again once it has answered.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.leader.wait().await;
        // The group's number stays taken while a member lives, and the kernel hands numbers out in rotation: right after
        // the reaping, with no await between, this meets the rest of our group or nobody.
        self.signal_whoever_is_left(Signal::SIGKILL);
        status
    }

    /// Waits until no member of the ended group lives, for two seconds at most (a process stuck in the kernel dies when
    /// it comes back, and runs none of its own code before); says whether all are gone.
    pub(super) async fn gone(&self) -> bool {
        for (look, pause_ms) in LOOKS_MS.into_iter().enumerate() {
            self.reap_adopted();
            if killpg(self.id, None) == Err(Errno::ESRCH) {
                return true;
            }
            // Dead members that their new parent has not reaped yet still count for `killpg`. Looking closer costs a walk
            // through /proc, so their parent gets a moment first.
            if look >= 3 && !super::orphan::group_lives(self.id.as_raw()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        false
    }

    /// Reaps dead members that became our own children: the first process of a container adopts every orphan.
    fn reap_adopted(&self) {
        let members = Pid::from_raw(-self.id.as_raw());
        while matches!(waitpid(members, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
