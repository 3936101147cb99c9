//! The candidate: the program file that would be started next, by a re-exec or by whoever supervises. Owns where it is and
//! how it is asked whether it could take over; what it answers is in `takeover`, and what follows from that in the core.

use crate::signals;
use crate::takeover::{CONFIGURATION, OLDER};
use crate::versions::build_of;
use evergate_core::rollback::Build;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

/// How long a candidate may take to answer: it reads its configuration and looks at a few files. Below the core's own
/// limit, and below the time that a command line waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// As much of what it says is read.
const WORDS: u64 = 4096;
/// The running program itself, which can be executed even after its file was removed (Linux).
const RUNNING_PROGRAM: &str = "/proc/self/exe";
/// What is said to a process by its supervisor, and to nobody else.
const WITHHELD: [&str; 9] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "EVERGATE_REVIVED",
    crate::systemd::KEEPER,
    crate::systemd::HEARD,
];
/// In the environment of a child of `evergate supervise`: the program that the supervisor starts.
pub const SUPERVISOR_PROGRAM: &str = "EVERGATE_SUPERVISOR_PROGRAM";
/// In the environment of a candidate that is asked: where the gateway that asks was told to listen.
pub const SERVED: &str = "EVERGATE_SERVED_ADDRESS";

/// What would be started next, and with which arguments.
#[derive(Clone, Debug)]
pub struct Candidate {
    program: Option<PathBuf>,
    arguments: Vec<OsString>,
    /// The build that this process runs.
    running: Option<Build>,
    /// Where this process was told to listen.
    served: Option<SocketAddr>,
}

/// The program file that would be started next, beside the one that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisk {
    /// It is the one that runs.
    Same,
    /// It is another one.
    Changed(Build),
    /// There is none.
    Gone,
}

impl Candidate {
    /// The program of this process, under the name by which it was started, with the same arguments.
    #[must_use]
    pub fn of_this_process() -> Self {
        let program = std::env::var_os(SUPERVISOR_PROGRAM).map(PathBuf::from).or_else(program_of_this_process);
        let running = build_of(Path::new(RUNNING_PROGRAM));
        Self { program, arguments: std::env::args_os().skip(1).collect(), running, served: None }
    }

    /// The same, of a process that was told to listen there.
    #[must_use]
    pub fn serving(self, address: SocketAddr) -> Self {
        Self { served: Some(address), ..self }
    }

    /// Where it is.
    #[must_use]
    pub fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// Whether it is another file than the one that runs.
    #[must_use]
    pub fn on_disk(&self) -> OnDisk {
        match self.program().and_then(build_of) {
            None => OnDisk::Gone,
            build if build == self.running => OnDisk::Same,
            Some(build) => OnDisk::Changed(build),
        }
    }

    /// What it says its version is.
    pub async fn version(&self) -> Option<String> {
        let mut command = Command::new(self.program()?);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let deadline = Instant::now() + PATIENCE;
        let mut child = start(command, deadline).await.ok()?;
        let mut said = Vec::new();
        let answer = async {
            child.stdout.take()?.take(WORDS).read_to_end(&mut said).await.ok()?;
            child.wait().await.ok().filter(ExitStatus::success)
        };
        timeout_at(deadline, answer).await.ok()??;
        let words = String::from_utf8_lossy(&said);
        words.lines().next()?.split_whitespace().last().map(str::to_owned)
    }

    /// Asks the candidate whether it could take over a journal of this schema. An error says in a clause why it could not.
    pub async fn check(&self, schema: u64) -> Result<(), String> {
        let program = match &self.program {
            Some(program) if program.exists() => program.as_path(),
            // A re-exec and our own supervisor fall back to the running program; others cannot.
            _ if replaced_in_place() => Path::new(RUNNING_PROGRAM),
            Some(program) => return Err(format!("the program {} is gone; install it again", program.display())),
            None => return Err("nobody knows where the program is that would be started".to_owned()),
        };
        let mut command = Command::new(program);
        command.args(&self.arguments).arg(format!("--check-takeover={schema}"));
        for name in WITHHELD {
            command.env_remove(name);
        }
        match self.served {
            Some(address) => command.env(SERVED, address.to_string()),
            None => command.env_remove(SERVED),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let unstarted = |error| format!("the program {} cannot be started: {error}", program.display());
        let deadline = Instant::now() + PATIENCE;
        let mut child = start(command, deadline).await.map_err(unstarted)?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let mut said = Vec::new();
        let answer = async {
            if let Some(stderr) = child.stderr.take() {
                stderr.take(WORDS).read_to_end(&mut said).await?;
            }
            child.wait().await
        };
        let answered = timeout_at(deadline, answer).await;
        if answered.is_ok() {
            group.0 = None;
        }
        judge(program, answered.ok(), &String::from_utf8_lossy(&said))
    }
}

/// Starts a program on a thread where a disk that takes its time holds up nobody but who waits for this, and nobody for long. One
/// that is there later is ended.
async fn start(mut command: Command, deadline: Instant) -> io::Result<Child> {
    let started = tokio::task::spawn_blocking(move || signals::unblocked(|| command.spawn()));
    match timeout_at(deadline, started).await {
        Ok(started) => started.map_err(io::Error::other)?,
        Err(_) => Err(io::Error::other(format!(
            "it was not loaded within {}: its disk does not answer",
            humantime::format_duration(PATIENCE)
        ))),
    }
}

/// The process group of a candidate that has not answered. It goes with whoever waits for it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        // It was not awaited, so the number is still its own.
        if let Some(Err(error)) = self.0.map(|group| killpg(group, Signal::SIGKILL)) {
            tracing::debug!(%error, "the candidate that did not answer was gone already");
        }
    }
}

/// What an answer means; `None` is none in time.
fn judge(program: &Path, answered: Option<io::Result<ExitStatus>>, said: &str) -> Result<(), String> {
    let program = program.display();
    let words: Vec<&str> = said.lines().map(|line| line.trim().trim_start_matches("evergate: ")).collect();
    let words = words.join(" ").trim().to_owned();
    let code = match answered {
        None => {
            return Err(format!(
                "the program {program} did not say within {} s whether it can take over",
                PATIENCE.as_secs()
            ));
        }
        Some(Err(error)) => return Err(format!("the program {program} could not be asked: {error}")),
        Some(Ok(status)) if status.success() => return Ok(()),
        Some(Ok(status)) => status,
    };
    let understood = [CONFIGURATION, OLDER].map(|status| Some(i32::from(status))).contains(&code.code());
    Err(match (understood, words.is_empty()) {
        (true, false) => words,
        (_, true) => format!("the program {program} does not run as it should ({code})"),
        (false, false) => format!("the program {program} does not run as it should ({code}): {words}"),
    })
}

/// The path by which this process was started, if it is an absolute one: a link in it may point to another version by
/// now. Otherwise the file that it was started from.
#[must_use]
pub fn program_of_this_process() -> Option<PathBuf> {
    let named = std::env::args_os().next().map(PathBuf::from).filter(|path| path.is_absolute() && path.exists());
    named.or_else(|| std::env::current_exe().ok().map(|path| without_deleted(&path)))
}

/// Linux adds a word to the path of a program whose file was removed or replaced.
fn without_deleted(path: &Path) -> PathBuf {
    match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(before) if !path.exists() => PathBuf::from(before),
        _ => path.to_owned(),
    }
}

fn replaced_in_place() -> bool {
    use evergate_core::supervisor::Supervisor;
    matches!(crate::detect::supervisor(), Supervisor::Nobody | Supervisor::Evergate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;

    fn script(folder: &Path, text: &str) -> Candidate {
        let program = folder.join("candidate");
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Candidate { program: Some(program), arguments: vec!["run".into()], running: None, served: None }
    }

    #[tokio::test]
    async fn a_candidate_is_asked_with_our_arguments_and_the_schema_and_nothing_else_counts_than_its_status() {
        let room = tempfile::tempdir().unwrap();
        let asked = "#!/bin/sh\n[ \"$*\" = \"run --check-takeover=7\" ] || { echo \"$*\" >&2; exit 1; }\n";
        assert_eq!(script(room.path(), asked).check(7).await, Ok(()));
        let refused =
            script(room.path(), "#!/bin/sh\necho 'evergate: line 3: no such key' >&2; exit 78\n").check(7).await;
        assert_eq!(refused, Err("line 3: no such key".to_owned()));
        let broken = script(room.path(), "#!/bin/sh\necho Segmentation >&2; exit 139\n").check(7).await.unwrap_err();
        assert!(broken.contains("does not run as it should (exit status: 139): Segmentation"), "{broken}");
    }

    #[tokio::test]
    async fn a_candidate_that_is_no_program_or_floods_us_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let none = script(room.path(), "\u{7f}ELF and nothing more").check(1).await.unwrap_err();
        assert!(none.contains("cannot be started"), "{none}");
        let flood =
            script(room.path(), "#!/bin/sh\nwhile :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done >&2\n");
        let flood = flood.check(1).await.unwrap_err();
        assert!(flood.len() < 5_000, "{}", flood.len());
    }

    #[test]
    fn no_answer_is_a_refusal() {
        let refused = judge(Path::new("/x"), None, "thinking").unwrap_err();
        assert_eq!(refused, "the program /x did not say within 3 s whether it can take over");
        assert_eq!(judge(Path::new("/x"), Some(Ok(ExitStatus::from_raw(0))), "chatter"), Ok(()));
    }

    #[test]
    fn the_word_for_a_removed_file_is_no_part_of_its_name() {
        assert_eq!(without_deleted(Path::new("/nowhere/evergate (deleted)")), Path::new("/nowhere/evergate"));
        assert_eq!(without_deleted(Path::new("/nowhere/evergate")), Path::new("/nowhere/evergate"));
    }
}
