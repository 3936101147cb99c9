//! `evergate supervise`: starts the gateway as its child, passes signals on, and starts it again as
//! [`evergate_core::respawn`] decides. Owns the child process, its process group and the socket at which it hears that the
//! child gets on; which program it starts is the business of `versions`. It decides nothing by itself.
//!
//! | signal to the supervisor | the child (its main process only) | the supervisor                                   |
//! |--------------------------|-----------------------------------|--------------------------------------------------|
//! | SIGTERM, SIGINT          | gets it                           | waits for its end, then ends with 0              |
//! | SIGTERM, stray (systemd) | gets it                           | starts it again when it left for a restart       |
//! | SIGHUP                   | gets it                           | goes on; ignored by both when `nohup` says so    |
//! | SIGCONT                  | –                                 | starts it at once, if it only pauses             |
//!
//! Under systemd a SIGTERM is a stop only if systemd says that it is stopping the unit: a stray `kill` must not leave
//! a dead service. `NOTIFY_SOCKET` stays with the child, so its `READY=1` is the unit's; a unit with `Type=notify`
//! needs `NotifyAccess=all` for that, since the child is not the main process.

mod caught;
mod child;
pub mod found;
mod keeper;
#[cfg(test)]
mod tests;

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{self, ExitCode, Stdio},
    time::Duration,
};

use evergate_core::{
    respawn::{ChildEnd, Decision, KILL_LIMIT, Kill, Next, Reason, Respawn},
    time::Instant,
};
use nix::{
    sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    runtime, time,
};
use tracing::{error, info, warn};

use self::{
    caught::{START, Signals, means_stop},
    child::{Running, end_of, kill_group, pass_on},
    keeper::{Heard, Keeper},
};
use crate::{
    candidate::{self, SUPERVISOR_PROGRAM},
    detect::{SUPERVISOR, SUPERVISOR_PID},
    last_words::{DEATHS, Death, LastWords, unix_ms},
    systemd::{self, KEEPER},
    trial,
    versions::{ROLLED_BACK, Versions},
};

/// How much longer than its own watchdog a child is given to say that it gets on.
pub const AFTER_THE_WATCHDOG: Duration = Duration::from_secs(5);
/// What a child hears of its supervisor alone, and what is untrue once that is gone.
pub const NAMES: [&str; 3] = [SUPERVISOR, SUPERVISOR_PID, KEEPER];
/// How many ends of children a child is told of at most; of those that are longer ago nobody knows any more.
const DEATHS_TOLD: usize = 8;
/// The running program itself, which can be executed even after its file was removed (Linux).
const RUNNING_PROGRAM: &str = "/proc/self/exe";
/// Behind the number of starts in a row after a death that a child is told of.
const IN_A_ROW: &str = " in a row";
/// Signals that are passed on. They wait while no handler stands, so that none kills the supervisor silently.
const PASSED_ON: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// Runs the gateway with `arguments` (`run` when there are none) until it is stopped or parks itself, and answers the
/// exit status: 0 after a stop, 78 when the child parked itself, 71 when the supervisor itself could not be set up.
/// A child that is told to stop has [`KILL_LIMIT`] for it, which its own deadlines nest below. One that has said that it gets on,
/// and does not say so for `silence`, is killed and started again.
///
/// `endow` gives each child what it inherits, right before it is started.
///
/// Call it before any thread is started: the signal mask it sets is the calling thread's.
/// A new build of the program that does not prove itself gives way to the copy of the last good one in `state_dir`.
pub fn supervise(
    arguments: Vec<OsString>,
    state_dir: &Path,
    silence: Duration,
    endow: impl FnMut(&mut process::Command) + 'static,
) -> ExitCode {
    let arguments = if arguments.is_empty() { vec![OsString::from("run")] } else { arguments };
    match run(arguments, state_dir, KILL_LIMIT, silence, Box::new(endow)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            error!(%error, "cannot supervise: the operating system refused signals, a runtime or our own path");
            ExitCode::from(71)
        }
    }
}

fn run(
    arguments: Vec<OsString>,
    state_dir: &Path,
    kill_limit: Duration,
    silence: Duration,
    endow: Endow,
) -> io::Result<u8> {
    // SIGCHLD may come blocked from whoever executed us, and the end of a child would then go unseen.
    let all: SigSet = PASSED_ON.into_iter().chain([Signal::SIGCHLD]).collect();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None)?;
    let program = match candidate::program_of_this_process() {
        Some(program) => program,
        None => env::current_exe()?,
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&all), None)?;
        info!(pid = process::id(), program = %program.display(), ?arguments, "supervising");
        let mut supervisor = Supervisor::new(program, arguments, state_dir, kill_limit);
        supervisor.respawn = supervisor.respawn.clone().watching(silence).giving_up_after(trial::attempts());
        supervisor.endow = endow;
        supervisor.keeper =
            Keeper::open().inspect_err(|error| warn!(%error, "cannot hear whether the child gets on")).ok();
        Ok(supervisor.watch(async || signals.next().await).await)
    })
}

/// Gives a child what it inherits.
type Endow = Box<dyn FnMut(&mut process::Command)>;

struct Supervisor {
    state_dir: PathBuf,
    versions: Versions,
    arguments: Vec<OsString>,
    respawn: Respawn,
    begun_at: time::Instant,
    keeper: Option<Keeper>,
    endow: Endow,
    /// How the last children ended, back to the last that had come to serve.
    deaths: Vec<Death>,
}

impl Supervisor {
    fn new(program: PathBuf, arguments: Vec<OsString>, state_dir: &Path, kill_limit: Duration) -> Self {
        let begun_at = time::Instant::now();
        Self {
            state_dir: state_dir.to_owned(),
            versions: Versions::new(program, state_dir, begun_at),
            arguments,
            respawn: Respawn::new(kill_limit),
            begun_at,
            keeper: None,
            endow: Box::new(|_| {}),
            deaths: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.begun_at.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn clock(&self, at: Instant) -> time::Instant {
        self.begun_at + (at - Instant::from_millis(0))
    }

    /// Starts children until one of them, or somebody, ends it; answers the supervisor's exit status.
    async fn watch(&mut self, mut signal: impl AsyncFnMut() -> Signal) -> u8 {
        let mut next = Next::Start { at: self.now(), revivals: 0 };
        loop {
            next = match next {
                Next::End { status } => return status,
                Next::Start { at, revivals } => match self.pause(at, &mut signal).await {
                    Some(decision) => {
                        info!(reason = decision.reason.sentence(), "the pause between two children is over");
                        decision.next
                    }
                    None => self.live(revivals, &mut signal).await,
                },
            };
        }
    }

    /// Waits until `at`; answers what comes instead when a stop or a start is wanted meanwhile.
    async fn pause(&mut self, at: Instant, signal: &mut impl AsyncFnMut() -> Signal) -> Option<Decision> {
        loop {
            let caught = tokio::select! {
                biased;
                caught = signal() => caught,
                // tokio rounds a sleep up to its next tick; one that is over already must not cost that.
                () = async {
                    if at > self.now() {
                        time::sleep_until(self.clock(at)).await;
                    }
                } => return None,
            };
            if caught == START {
                return self.respawn.start_wanted(self.now());
            }
            if means_stop(caught).await {
                return self.respawn.stop_wanted(self.now());
            }
        }
    }

    /// One life of the child, from its start to what comes after its end.
    async fn live(&mut self, revivals: u32, signal: &mut impl AsyncFnMut() -> Signal) -> Next {
        match self.start(revivals) {
            Ok(mut running) => {
                info!(pid = running.pid.as_raw(), revived = revivals > 0, "child started");
                let ended = self.attend(&mut running, signal).await;
                kill_group(running.pid);
                let lived = self.now() - running.started_at;
                let taken = self.versions.ended(ended);
                let decision = self.respawn.ended(self.now(), taken);
                self.say_parked(decision);
                self.report(running.pid, ended, lived, decision);
                decision.next
            }
            Err(error) => {
                let taken = self.versions.ended(ChildEnd::NeverStarted);
                let decision = self.respawn.ended(self.now(), taken);
                let next_in_ms = self.until(decision.next);
                self.say_parked(decision);
                error!(%error, program = %self.versions.installed().display(), next_in_ms, "cannot start the child; trying again");
                decision.next
            }
        }
    }

    fn start(&mut self, revivals: u32) -> io::Result<Running> {
        let choice = self.versions.choose();
        let program = if choice.program.exists() { choice.program.as_path() } else { Path::new(RUNNING_PROGRAM) };
        let mut command = Command::new(program);
        command.args(&self.arguments).stdin(Stdio::null()).process_group(0);
        command.env(SUPERVISOR, "supervise").env(SUPERVISOR_PID, process::id().to_string());
        if let Some(keeper) = &self.keeper {
            command.env(KEEPER, &keeper.name);
        }
        command.env(DEATHS, serde_json::to_string(&self.deaths).unwrap_or_default());
        command.env(SUPERVISOR_PROGRAM, self.versions.installed());
        match &choice.rolled_back {
            Some(why) => command.env(ROLLED_BACK, why),
            None => command.env_remove(ROLLED_BACK),
        };
        match revivals {
            0 => command.env_remove("EVERGATE_REVIVED"),
            _ => command.env("EVERGATE_REVIVED", format!("{revivals}{IN_A_ROW}")),
        };
        (self.endow)(command.as_std_mut());
        let child = command.spawn();
        self.versions.started(&choice, child.as_ref().ok().and_then(Child::id));
        let child = child?;
        let id = child.id().expect("a child that was not awaited has its id");
        let pid = Pid::from_raw(i32::try_from(id).expect("process ids fit an i32 on every Unix"));
        let started_at = self.now();
        self.respawn.started(started_at);
        Ok(Running { child, pid, started_at })
    }

    /// Passes signals to the running child and kills its group at the limit, until it has ended.
    async fn attend(&mut self, running: &mut Running, signal: &mut impl AsyncFnMut() -> Signal) -> ChildEnd {
        loop {
            let kill_at = self.respawn.kill_at().map(|at| self.clock(at));
            let limit = async {
                match kill_at {
                    Some(kill_at) => time::sleep_until(kill_at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // What is caught beside its end is for the pause.
                status = running.child.wait() => match status {
                    Ok(status) => return end_of(status),
                    Err(error) => {
                        error!(%error, pid = running.pid.as_raw(), "cannot wait for the child; killing its group");
                        return ChildEnd::Signalled(Signal::SIGKILL as i32);
                    }
                },
                // One that runs needs no start.
                caught = signal() => if caught != START {
                    pass_on(running, caught);
                    if means_stop(caught).await {
                        self.respawn.stop_wanted(self.now());
                    }
                },
                heard = Keeper::heard(&self.keeper) => match heard {
                    Heard::GetsOn => self.respawn.heard(self.now()),
                    Heard::Serves => {
                        self.deaths.clear();
                        self.respawn.serves();
                    }
                },
                () = self.versions.overdue() => {
                    error!(pid = running.pid.as_raw(), "a new program was not ready in time; killing its process group");
                    kill_group(running.pid);
                }
                () = limit => if let Some(why) = self.respawn.kill(self.now()) {
                    let pid = running.pid.as_raw();
                    match why {
                        Kill::Limit => warn!(pid, "child did not end in time; killing its process group"),
                        Kill::Silent => error!(pid, "child gives no sign of life; killing its process group"),
                    }
                    kill_group(running.pid);
                }
            }
        }
    }

    /// Tells those who look why no more starts are made.
    fn say_parked(&self, decision: Decision) {
        if decision.reason == Reason::NeverServed {
            let why = trial::parked(self.respawn.unserved());
            trial::say_parked(&self.state_dir, &why);
            systemd::Notify::from_environment("NOTIFY_SOCKET").status(&why);
        }
    }

    fn until(&self, next: Next) -> Option<u64> {
        match next {
            Next::Start { at, .. } => u64::try_from((at - self.now()).as_millis()).ok(),
            Next::End { .. } => None,
        }
    }

    fn report(&mut self, pid: Pid, ended: ChildEnd, lived: Duration, decision: Decision) {
        let pid = pid.as_raw();
        let lived_ms = u64::try_from(lived.as_millis()).unwrap_or(u64::MAX);
        let status = match ended {
            ChildEnd::Exited(status) => format!("exit {status}"),
            ChildEnd::Signalled(signal) => match Signal::try_from(signal) {
                Ok(signal) => signal.as_str().to_owned(),
                Err(_) => format!("signal {signal}"),
            },
            ChildEnd::NeverStarted => "never started".to_owned(),
        };
        let reason = decision.reason.sentence();
        let next_in_ms = self.until(decision.next);
        let why = match decision.reason {
            Reason::Silent => Some(format!("killed by its supervisor: {reason}")),
            Reason::Crash => Some(format!("its supervisor saw it end with {status}")),
            _ => None,
        };
        if self.deaths.len() == DEATHS_TOLD {
            self.deaths.remove(0);
        }
        // For those who look before there is a next child.
        if let Some(Err(error)) = why.as_deref().map(|why| LastWords::leave(&self.state_dir, pid, why)) {
            warn!(%error, "what the child died of cannot be written down");
        }
        self.deaths.push(Death { pid, at_ms: unix_ms(), why });
        match (decision.next, decision.reason) {
            (Next::Start { .. }, Reason::Restart) => {
                info!(pid, status, lived_ms, next_in_ms, reason, "child ended; starting the next")
            }
            (Next::Start { .. }, _) => {
                warn!(pid, status, lived_ms, next_in_ms, reason, "child ended; starting the next")
            }
            (Next::End { status: own }, Reason::Park | Reason::KilledAtLimit | Reason::NeverServed) => {
                error!(pid, status, lived_ms, reason, "child ended; ending with {own}");
            }
            (Next::End { status: own }, _) => info!(pid, status, lived_ms, reason, "child ended; ending with {own}"),
        }
    }
}

/// How many starts in a row after a death a child is told of. An earlier version says of any that there was one, and nothing of how
/// many: then it was no wish of anybody's.
#[must_use]
pub fn revivals(said: &str) -> u32 {
    said.strip_suffix(IN_A_ROW).and_then(|count| count.parse().ok()).unwrap_or(u32::MAX)
}
