//! The process that a restart or a stop is about, as the kernel lock on its state directory and `/proc` show it. Owns its identity
//! (boot, process id, start time, generation), so that a signal never reaches a stranger that got its number, and how it is
//! started again, and ended for good. It talks to nobody over the control socket.

use super::keeper;
use crate::journal::Owner;
use crate::kept_socket;
use crate::last_words::LastWords;
use crate::process_handle::Handle;
use crate::supervise::found;
use crate::systemd::{Manager, Unit};
use evergate_core::request::Wish;
use evergate_core::supervisor::Supervisor;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a service manager may take to take a job.
pub const MANAGER: Duration = Duration::from_secs(10);
/// The first process of a machine, or of a container.
const FIRST: i32 = 1;

/// Who owns a state directory right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nobody: the lock is free. The last owner is known if there ever was one.
    Nobody(Option<Owner>),
    /// This process.
    Process(Owner),
    /// Somebody who has not written down who it is yet: a start that is under way.
    Newcomer,
}

/// Looks who owns `state_dir`; an error means that it cannot be told. A process that has let go of the lock and lives is on
/// its way out, or replaces itself: the directory is still its own.
pub fn presence(state_dir: &Path) -> std::io::Result<Presence> {
    if let Some(owner) = Owner::recorded(state_dir).filter(Owner::lives) {
        return Ok(Presence::Process(owner));
    }
    let file = match File::open(state_dir.join("lock")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Presence::Nobody(None)),
        file => file?,
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_free) => Ok(Presence::Nobody(Owner::recorded(state_dir))),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(Presence::Newcomer),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// The process that is to be replaced.
pub struct Patient {
    state_dir: PathBuf,
    owner: Owner,
    /// How it was started, as long as that could still be seen.
    command: Option<Command>,
}

impl Patient {
    /// The owner of `state_dir`, and how it would be started again.
    pub fn new(state_dir: &Path, owner: Owner) -> Self {
        let command = owner.lives().then(|| like(owner.pid)).flatten();
        Self { state_dir: state_dir.to_owned(), owner, command }
    }

    /// Whose process it is.
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Sends it a signal, if it still is the process that owns the state directory. One that is to be started again, and only by
    /// this command, as another user, is left alone.
    pub fn signal(&self, signal: Signal, wish: Wish) -> Result<(), String> {
        let belongs_to = std::fs::metadata(format!("/proc/{}", self.owner.pid)).map(|process| process.uid());
        let alone = matches!(self.owner.supervisor, None | Some(Supervisor::Nobody));
        if let Ok(user) = belongs_to
            && alone
            && wish == Wish::Restart
            && user != nix::unistd::geteuid().as_raw()
        {
            return Err(format!("the gateway belongs to user {user}, and nobody supervises it: run this as that user"));
        }
        // The kernel lets nobody inside kill it, and its group stands for everybody (kill(2)). Whatever ends it, it is not this.
        if signal == Signal::SIGKILL && self.owner.pid == FIRST {
            return Err("the kernel protects process 1".to_owned());
        }
        // Held before it is looked at: what is signalled in the end is what was looked at, whatever its number is by then.
        let process = Handle::of(self.owner.pid);
        // A start that has got its number meanwhile is the same life; one that has replaced itself is not.
        match presence(&self.state_dir) {
            Ok(Presence::Process(owner)) if !owner.life().is_another_than(self.owner.life()) => {}
            Ok(_) => return Err(format!("process {} is no longer the gateway; it is left alone", self.owner.pid)),
            Err(error) => return Err(format!("the lock of {} cannot be read: {error}", self.state_dir.display())),
        }
        // One that had no number has no place in anybody's history.
        if signal == Signal::SIGKILL && self.owner.generation.0 > 0 {
            let command = if wish == Wish::Stop { "stop" } else { "restart" };
            let why = format!("killed by `evergate {command}`: it got nowhere");
            let words = LastWords::now(self.owner.generation, why, None);
            if let Err(error) = words.write(&self.state_dir) {
                tracing::warn!(%error, "its successor cannot be told why it died");
            }
        }
        process
            .signal(signal)
            .map_err(|error| format!("{signal} cannot be sent to process {}: {error}", self.owner.pid))
    }

    /// Has whoever would start it again end it; where nobody would, it is sent SIGTERM.
    pub async fn end(&self) -> Result<String, String> {
        match keeper::end(&self.state_dir, &self.owner).await {
            Some(ended) => ended,
            None => {
                self.signal(Signal::SIGTERM, Wish::Stop)?;
                Ok(format!("SIGTERM is sent to process {}", self.owner.pid))
            }
        }
    }

    /// Starts it through whoever supervised it; where nobody did, as it was started before.
    pub async fn start(&mut self) -> Result<String, String> {
        match (self.owner.supervisor, &self.owner.unit) {
            (Some(Supervisor::Systemd), Some(unit)) => start_unit(unit).await,
            (Some(Supervisor::LaunchdKeepAlive | Supervisor::LaunchdSuccessfulExit), Some(job)) => start_job(job).await,
            // One whose own is gone is nobody's any more.
            (Some(Supervisor::Evergate), _) if found::supervisors(&self.state_dir).is_empty() => self.start_alone(),
            (Some(Supervisor::Evergate), _) => found::have_it_started(&self.state_dir),
            (None | Some(Supervisor::Nobody), _) => self.start_alone(),
            (Some(supervisor), _) => Err(format!(
                "{} has not started it again yet, and only it can; it may be pausing: see its own status and log",
                supervisor.name()
            )),
        }
    }

    fn start_alone(&mut self) -> Result<String, String> {
        let mut command = self.command.take().map_or_else(|| alone(&self.state_dir), Ok)?;
        let child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
        Ok(format!("started as process {}, as before", child.id()))
    }
}

/// The start of a process that is as that one was: program, arguments, folder, environment and output.
fn like(pid: i32) -> Option<Command> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let words = |name: &str| -> Option<Vec<OsString>> {
        let text = std::fs::read(proc.join(name)).ok()?;
        Some(
            text.split(|byte| *byte == 0)
                .filter(|word| !word.is_empty())
                .map(|word| OsString::from_vec(word.to_vec()))
                .collect(),
        )
    };
    let program = std::fs::read_link(proc.join("exe")).ok().filter(|path| path.exists());
    let program = program.or_else(|| std::env::current_exe().ok())?;
    let output = |number: u8| {
        let reopened = OpenOptions::new().append(true).open(proc.join(format!("fd/{number}")));
        reopened.map_or_else(|_| Stdio::null(), Stdio::from)
    };
    let mut command = Command::new(program);
    command.args(words("cmdline")?.into_iter().skip(1)).env_clear();
    for variable in words("environ")? {
        let text = variable.into_vec();
        let at = text.iter().position(|byte| *byte == b'=')?;
        command.env(OsString::from_vec(text[..at].to_vec()), OsString::from_vec(text[at + 1..].to_vec()));
    }
    kept_socket::say_nothing(&mut command);
    command.current_dir(std::fs::read_link(proc.join("cwd")).ok()?);
    command.stdin(Stdio::null()).stdout(output(1)).stderr(output(2)).process_group(0);
    Some(command)
}

/// The start of a gateway of which nothing but its place is known.
fn alone(state_dir: &Path) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program's own path is unknown: {error}"))?;
    let mut command = Command::new(program);
    command.arg("run").arg("--state-dir").arg(state_dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    Ok(command)
}

/// Has systemd start a unit, even one that it has given up or that it pauses to start again.
async fn start_unit(unit: &Unit) -> Result<String, String> {
    let user = match unit.manager {
        Manager::User => &["--user"][..],
        Manager::System => &[],
    };
    let verb = |verb: &'static str| ["--no-block", verb, "--", unit.name.as_str()];
    // Not failed is no failure: there was nothing to reset.
    let _nothing_to_reset = order("systemctl", &[user, &verb("reset-failed")].concat()).await;
    // In its pause systemd has a start wait for the end of that, and a restart begins at once.
    let how = if keeper::pauses(unit).await { "restart" } else { "start" };
    let named = format!("`systemctl {how} {}`", unit.name);
    order("systemctl", &[user, &verb(how)].concat()).await.map_err(|said| format!("{named} fails: {said}"))?;
    Ok(named)
}

/// Has launchd start a job, whatever it waits for.
async fn start_job(job: &Unit) -> Result<String, String> {
    let named = format!("`launchctl kickstart {}`", job.name);
    order("launchctl", &["kickstart", &job.name]).await.map_err(|said| format!("{named} fails: {said}"))?;
    Ok(named)
}

/// Gives an order to a service manager; what it says when it refuses.
pub async fn order(program: &str, words: &[&str]) -> Result<(), String> {
    let mut command = tokio::process::Command::new(program);
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(MANAGER, command.output()).await {
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(MANAGER))),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::orphan;
    use crate::journal::claim::Claim;
    use evergate_core::id::GenerationId;

    fn own(folder: &Path) -> (Claim, Owner) {
        let mut claim = Claim::take(folder, Duration::ZERO).unwrap();
        let owner = Owner::this_process(GenerationId(3), 1_000);
        claim.record(&owner).unwrap();
        (claim, owner)
    }

    #[test]
    fn the_lock_says_whether_somebody_lives_and_the_record_who() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(presence(folder.path()).unwrap(), Presence::Nobody(None));
        let (claim, owner) = own(folder.path());
        assert_eq!(presence(folder.path()).unwrap(), Presence::Process(owner.clone()));
        drop(claim);
        assert_eq!(presence(folder.path()).unwrap(), Presence::Process(owner.clone()), "it is on its way out");
        let dead = Owner { start_time: owner.start_time + 1, ..owner };
        std::fs::write(folder.path().join("lock"), serde_json::to_vec(&dead).unwrap()).unwrap();
        assert_eq!(presence(folder.path()).unwrap(), Presence::Nobody(Some(dead)));
    }

    #[test]
    fn a_start_without_a_number_is_told_from_strangers_and_killed_with_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let mut claim = Claim::take(folder.path(), Duration::ZERO).unwrap();
        let script = "sleep 60 & echo $! > \"$0\"; wait";
        let mut start = Command::new("sh");
        let mut start = start.args(["-c", script]).arg(folder.path().join("child")).process_group(0).spawn().unwrap();
        let pid = i32::try_from(start.id()).unwrap();
        let child = loop {
            let text = std::fs::read_to_string(folder.path().join("child")).unwrap_or_default();
            match text.trim().parse::<i32>() {
                Ok(child) => break child,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let owner = |generation| Owner {
            pid,
            start_time: orphan::started(pid).unwrap(),
            ..Owner::this_process(GenerationId(generation), 1_000)
        };
        claim.record(&owner(0)).unwrap();
        let patient = Patient::new(folder.path(), owner(0));
        claim.record(&owner(4)).unwrap();
        patient.signal(Signal::SIGKILL, Wish::Restart).expect("it has its number by now and is the same");
        start.wait().unwrap();
        let began = orphan::started(child);
        for _ in 0..500 {
            if !began.is_some_and(|began| orphan::lives(child, began)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("what it has started is in its group and lives");
    }

    #[test]
    fn a_stranger_with_the_number_of_the_owner_is_never_signalled() {
        let folder = tempfile::tempdir().unwrap();
        let (mut claim, owner) = own(folder.path());
        let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(stranger.id()).unwrap();
        let other_times = [
            Owner { pid, start_time: orphan::started(pid).unwrap() + 1, ..owner.clone() },
            Owner { pid, start_time: orphan::started(pid).unwrap(), boot_id: "another".into(), ..owner.clone() },
        ];
        for recorded in other_times {
            claim.record(&recorded).unwrap();
            assert_eq!(presence(folder.path()).unwrap(), Presence::Newcomer);
            let patient = Patient::new(folder.path(), recorded);
            assert!(patient.signal(Signal::SIGKILL, Wish::Restart).is_err());
        }
        assert!(stranger.try_wait().unwrap().is_none(), "it lives");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
