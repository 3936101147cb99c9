//! Programs that agents are made of: how one is started without what the gateway's supervisor said to the gateway, and in
//! which words it is said when it cannot be, or how it ended. It starts nothing itself.

use nix::{errno::Errno, sys::signal::Signal};
use std::{
    env,
    ffi::OsStr,
    fmt::{self, Display, Formatter},
    io,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::ExitStatus,
};
use thiserror::Error;
use tokio::process::Command;

/// Why a program cannot be started. `key` is the setting that names it.
#[derive(Debug, Error)]
pub(super) enum CannotStart {
    /// No program is configured.
    #[error("no agent program is configured: set {key}")]
    NoProgram { key: &'static str },
    /// The folder that it is to be started in is not there.
    #[error("the folder `{}` that the agent is to work in is not there; create it, or correct {key}", folder.display())]
    NoFolder { folder: PathBuf, key: &'static str },
    /// The program is not where it was looked for.
    #[error("the agent program `{program}` was not found in {place}; install it, or correct {key}")]
    NotFound { program: String, place: String, key: &'static str },
    /// The program is there, and what is to interpret or load it is not.
    #[error(
        "the agent program `{}` exists, but the interpreter that it names in its first line (#!) does not; correct that line, or install \
         the interpreter",
        file.display()
    )]
    NoInterpreter { file: PathBuf },
    /// The program may not be executed.
    #[error(
        "the agent program `{program}`, looked for in {place}, may not be executed by this user ({error}); make it executable (chmod +x), \
         or correct {key}"
    )]
    NotExecutable { program: String, place: String, error: io::Error, key: &'static str },
    /// The system would not start it.
    #[error("the agent program `{program}` could not be started: {error}; {advice}")]
    NotStarted { program: String, error: io::Error, advice: String },
}

/// What the gateway's supervisor said to the gateway and to nobody else: an agent that took these for its own would
/// announce itself as the service, feed its watchdog, or take over its sockets.
const WITHHELD: [&str; 2] = ["INVOCATION_ID", "NOTIFY_SOCKET"];
/// The same, by prefix. `EVERGATE_` also drops the gateway's configuration; what an agent is told is set afterwards.
const WITHHELD_PREFIXES: [&str; 4] = ["WATCHDOG_", "LISTEN_", "SYSTEMD_EXEC_PID", "EVERGATE_"];

/// The command that starts the program `argv`, which the setting `key` names; no shell is involved.
pub(super) fn command(argv: &[String], key: &'static str) -> Result<Command, CannotStart> {
    let (program, arguments) =
        argv.split_first().filter(|(program, _)| !program.is_empty()).ok_or(CannotStart::NoProgram { key })?;
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, _) in env::vars_os().filter(|(name, _)| is_withheld(name)) {
        command.env_remove(name);
    }
    Ok(command)
}

fn is_withheld(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    WITHHELD.iter().any(|withheld| name == withheld.as_bytes())
        || WITHHELD_PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// Says why `program` could not be started.
pub(super) fn explain(program: &str, key: &'static str, error: io::Error) -> CannotStart {
    let program = program.to_owned();
    match (error.raw_os_error().map(Errno::from_raw), file_of(&program)) {
        (Some(Errno::ENOENT), Some(file)) => CannotStart::NoInterpreter { file },
        (Some(Errno::ENOENT | Errno::ENOTDIR), _) => CannotStart::NotFound { place: place_of(&program), program, key },
        (Some(Errno::EACCES | Errno::EPERM), _) => {
            CannotStart::NotExecutable { place: place_of(&program), program, error, key }
        }
        (errno, _) => CannotStart::NotStarted { program, error, advice: advice(errno, key) },
    }
}

/// What to do about a system that will not start a program (execve(2), fork(2)).
fn advice(errno: Option<Errno>, key: &str) -> String {
    match errno {
        Some(Errno::E2BIG) => format!("shorten {key} or the gateway's environment"),
        Some(Errno::EAGAIN) => "raise the limit on processes (TasksMax, ulimit -u), or lower limits.turns".into(),
        Some(Errno::EMFILE | Errno::ENFILE) => {
            "raise the limit on open files (LimitNOFILE, ulimit -n), or lower limits.turns".into()
        }
        Some(Errno::ENOMEM) => "the machine is out of memory; lower limits.turns".into(),
        Some(Errno::ENOEXEC) => {
            "it is no program for this machine, or a script whose first line (#!) names no interpreter".into()
        }
        _ => format!("correct {key}"),
    }
}

/// Where a program of this name is looked for, in words.
fn place_of(program: &str) -> String {
    match env::var_os("PATH") {
        _ if Path::new(program).is_absolute() => "the file system".to_owned(),
        _ if program.contains('/') => match env::current_dir() {
            Ok(folder) => format!("the gateway's working directory, {}", folder.display()),
            Err(_) => "the gateway's working directory, which is gone".to_owned(),
        },
        Some(path) => format!("PATH ({})", path.display()),
        None => "the system's default PATH, since PATH is not set".to_owned(),
    }
}

/// The file that `program` stands for, if there is one.
fn file_of(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|file| file.exists());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The executable file that `program` stands for where commands are looked for in `path`, if there is one.
pub(crate) fn program_file(program: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let executable =
        |file: &PathBuf| file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(executable);
    }
    env::split_paths(path?).map(|folder| folder.join(program)).find(executable)
}

/// An exit status in words: `ended with exit status 3`, or `was killed by SIGSEGV`.
pub(super) struct Ending(pub(super) ExitStatus);

impl Display for Ending {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(formatter, "ended with exit status {code}"),
            (None, Some(number)) => match Signal::try_from(number) {
                Ok(signal) => write!(formatter, "was killed by {signal}"),
                Err(_) => write!(formatter, "was killed by signal {number}"),
            },
            (None, None) => write!(formatter, "ended with {}", self.0),
        }
    }
}

/// The tail of stderr, if there was one.
pub(super) struct Complaints<'a>(pub(super) &'a str);

impl Display for Complaints<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            formatter.write_str("; it wrote nothing on stderr")
        } else {
            write!(formatter, "; its stderr ends with:\n{}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_supervisor_told_the_gateway_is_withheld_and_the_rest_is_passed_on() {
        for name in [
            "INVOCATION_ID",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "SYSTEMD_EXEC_PID",
            "EVERGATE_SUPERVISOR",
            "EVERGATE_SUPERVISOR_PID",
            "EVERGATE_REVIVED",
            "EVERGATE_CONFIG",
            "EVERGATE_RESUME",
            "EVERGATE_DRAIN_BUDGET",
        ] {
            assert!(is_withheld(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "HOME", "LANG", "OPENAI_API_KEY", "INVOCATION", "EVERGREEN", "MY_NOTIFY_SOCKET"] {
            assert!(!is_withheld(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn each_refusal_of_the_system_comes_with_what_to_do() {
        for (errno, advice) in [
            (Errno::E2BIG, "argv"),
            (Errno::EAGAIN, "processes"),
            (Errno::EMFILE, "LimitNOFILE"),
            (Errno::ENOEXEC, "#!"),
        ] {
            let why = explain("/bin/sh", "agent.command.argv", io::Error::from_raw_os_error(errno as i32)).to_string();
            assert!(why.contains("`/bin/sh` could not be started") && why.contains(advice), "{why}");
        }
    }
}
