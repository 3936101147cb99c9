//! How the process ends. This is the only place that turns a verdict into an exit status or a re-exec.

use super::unblock;
use crate::candidate::SUPERVISOR_PROGRAM;
use crate::detect::{self, Effective};
use crate::kept_socket::KeptSocket;
use crate::trial::Trial;
use crate::versions::ROLLED_BACK;
use crate::{last_words, logging, signals, supervise, systemd};
use evergate_core::fault::Fault;
use evergate_core::supervisor::{Contract, Park, Supervisor};
use evergate_core::verdict::{RESTART, Verdict};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// What takes the place of this process when it is replaced.
#[derive(Clone)]
pub struct Successor {
    /// The program, as far as this process knows its own.
    pub program: Option<PathBuf>,
    /// What it inherits.
    pub socket: KeptSocket,
    /// The start of this process.
    pub trial: Trial,
    /// The terms of whoever supervises it.
    pub terms: Effective,
}

/// The pause of a process that follows itself, so that one which breaks again and again leaves room for others.
const FOLLOWS_AFTER: Duration = Duration::from_secs(1);

impl Successor {
    /// Ends this process as its generation has ended.
    pub(super) fn end(&self, verdict: Verdict) -> ExitCode {
        if verdict == Verdict::ReExec {
            self.trial.gives_way();
        }
        self.trial.ended(verdict);
        match verdict {
            Verdict::Exit(status) => ExitCode::from(status),
            Verdict::ReExec => {
                self.replace(|command| self.terms.hand_over(command));
                ExitCode::from(RESTART)
            }
            Verdict::StayUp => stay_up(
                &self.socket,
                "stopped. This supervisor starts it again after any end, so the process stays, idle: unload its job to end it",
            ),
        }
    }

    /// Ends a start that cannot go on, and has that be known: with a status after which it is tried again, or parked. A build that
    /// gives way to the last good one for that does so at once.
    pub(super) fn give_up(&self, why: &str, try_again: Option<u8>) -> ExitCode {
        systemd::Notify::from_environment("NOTIFY_SOCKET").status(why);
        if self.trial.gave_up(why, try_again) {
            self.replace_this_process();
        }
        let Some(status) = try_again else { return park(&self.socket) };
        let fault = Fault::Failed { status, standing: self.trial.standing() };
        self.follow(fault.verdict(&self.terms.contract(), None))
    }

    /// Ends a process that a fault has hit. Where it follows itself, its entry counts how often that comes to nothing, and gives way to
    /// the last good build.
    pub(super) fn follow(&self, verdict: Verdict) -> ExitCode {
        match verdict {
            Verdict::Exit(status) => ExitCode::from(status),
            Verdict::StayUp => park(&self.socket),
            Verdict::ReExec => {
                // One that comes before the new image listens would kill it.
                if let Err(error) = signals::block() {
                    logging::complain(&format_args!("signals cannot be blocked: {error}"));
                }
                std::thread::sleep(FOLLOWS_AFTER);
                self.replace_this_process();
                ExitCode::from(RESTART)
            }
        }
    }

    /// Replaces this process by a fresh start of the program: same PID, same command line. Signals have been blocked
    /// before and stay so over the exec, since one that comes before the new image listens would kill it. The listening socket stays open
    /// all the time, so that whoever connects meanwhile waits. Comes back only when that is not possible.
    pub(crate) fn replace_this_process(&self) {
        self.replace(|_| ());
    }

    /// The same, by one who `is_told` something.
    fn replace(&self, is_told: impl Fn(&mut Command)) {
        let itself = Path::new("/proc/self/exe");
        let left_alone = self.terms.is_left_alone();
        if left_alone {
            tracing::warn!(
                "the `evergate supervise` that started this process is gone: it starts itself again, in place"
            );
        }
        for program in self.program.as_deref().into_iter().chain([itself]) {
            let mut command = again(program);
            if left_alone {
                supervise::NAMES.iter().for_each(|name| _ = command.env_remove(name));
                // Whose child it is by now says nothing of who keeps it.
                command.env(detect::SUPERVISOR, Supervisor::Nobody.name());
            }
            is_told(&mut command);
            self.socket.hand_over(&mut command, Some(std::process::id()));
            let error = command.exec();
            tracing::error!(%error, program = %program.display(), "the program cannot be started again in place");
        }
    }
}

/// Ends so that the supervisor does not start us again as we are; where any end would be followed by a start, does not end.
pub(super) fn park(socket: &KeptSocket) -> ExitCode {
    match Contract::of(detect::supervisor()).park {
        Park::Exit(status) => ExitCode::from(status),
        Park::StayUp => stay_up(
            socket,
            "parked: this supervisor would only start it again. Mend what is said above, then restart it",
        ),
    }
}

/// Does nothing until a signal ends the process.
fn stay_up(socket: &KeptSocket, why: &str) -> ExitCode {
    socket.close();
    logging::complain(&why);
    unblock();
    loop {
        std::thread::park();
    }
}

pub(super) fn again(program: &Path) -> Command {
    let mut words = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command.args(words).env_remove("EVERGATE_REVIVED").env_remove(last_words::DEATHS).env_remove(systemd::HEARD);
    if detect::supervisor() != Supervisor::Evergate {
        // Said by a start to the build that runs in its place; the next start says it anew.
        command.env_remove(ROLLED_BACK).env_remove(SUPERVISOR_PROGRAM);
    }
    command
}
