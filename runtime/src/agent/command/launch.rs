//! How an agent program is started: with which environment, and in which words it is said when it cannot be. It starts
//! nothing itself.

use super::failure::Failure;
use crate::agent::Assignment;
use nix::errno::Errno;
use std::{
    env,
    ffi::OsStr,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// What the gateway's supervisor said to the gateway and to nobody else: an agent that took these for its own would
/// announce itself as the service, feed its watchdog, or take over its sockets.
const WITHHELD: [&str; 2] = ["INVOCATION_ID", "NOTIFY_SOCKET"];
/// The same, by prefix. `EVERGATE_` also drops the gateway's configuration; what an agent is told is set afterwards.
const WITHHELD_PREFIXES: [&str; 4] = ["WATCHDOG_", "LISTEN_", "SYSTEMD_EXEC_PID", "EVERGATE_"];

/// The command that runs `assignment`.
pub(super) fn command(argv: &[String], assignment: &Assignment) -> Result<Command, Failure> {
    let (program, arguments) =
        argv.split_first().filter(|(program, _)| !program.is_empty()).ok_or(Failure::NoProgram)?;
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, _) in env::vars_os().filter(|(name, _)| is_withheld(name)) {
        command.env_remove(name);
    }
    command
        .env("EVERGATE_SESSION", &assignment.session)
        .env("EVERGATE_TURN", assignment.turn.to_string())
        .env("EVERGATE_ATTEMPT", assignment.attempt.to_string())
        .env("EVERGATE_CONTROL", &assignment.control)
        .env("EVERGATE_STATE_DIR", &assignment.state_dir)
        .env("EVERGATE_GENERATION", assignment.generation.to_string())
        .env("EVERGATE_CONVERSATION", assignment.conversation.to_string());
    if let Some(resume) = assignment.resume {
        command.env("EVERGATE_RESUME", resume.as_str());
    }
    Ok(command)
}

fn is_withheld(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    WITHHELD.iter().any(|withheld| name == withheld.as_bytes())
        || WITHHELD_PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// Says why `program` could not be started.
pub(super) fn explain(program: &str, error: io::Error) -> Failure {
    let program = program.to_owned();
    match (error.raw_os_error().map(Errno::from_raw), file_of(&program)) {
        (Some(Errno::ENOENT), Some(file)) => Failure::NoInterpreter { file },
        (Some(Errno::ENOENT | Errno::ENOTDIR), _) => Failure::NotFound { place: place_of(&program), program },
        (Some(Errno::EACCES | Errno::EPERM), _) => Failure::NotExecutable { place: place_of(&program), program, error },
        (errno, _) => Failure::NotStarted { program, error, advice: advice(errno) },
    }
}

/// What to do about a system that will not start a program (execve(2), fork(2)).
fn advice(errno: Option<Errno>) -> &'static str {
    match errno {
        Some(Errno::E2BIG) => "shorten agent.command.argv or the gateway's environment",
        Some(Errno::EAGAIN) => "raise the limit on processes (TasksMax, ulimit -u), or lower limits.turns",
        Some(Errno::EMFILE | Errno::ENFILE) => {
            "raise the limit on open files (LimitNOFILE, ulimit -n), or lower limits.turns"
        }
        Some(Errno::ENOMEM) => "the machine is out of memory; lower limits.turns",
        Some(Errno::ENOEXEC) => {
            "it is no program for this machine, or a script whose first line (#!) names no interpreter"
        }
        _ => "correct agent.command.argv",
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
            let why = explain("/bin/sh", io::Error::from_raw_os_error(errno as i32)).to_string();
            assert!(why.contains("`/bin/sh` could not be started") && why.contains(advice), "{why}");
        }
    }
}
