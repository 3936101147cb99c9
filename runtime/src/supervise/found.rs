//! The processes that are an `evergate supervise`, as `/proc` shows them, found by the state directory that their command
//! line or environment names. Where there is no `/proc`, or it shows only one's own, none is found.

use super::caught::START;
use crate::cli::place;
use crate::process_handle::Handle;
use crate::systemd::Unit;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The variable with the number of a unit's main process.
const EXEC_PID: &str = "SYSTEMD_EXEC_PID";

/// Those that supervise a gateway on this directory.
#[must_use]
pub fn supervisors(state_dir: &Path) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<i32> = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| supervises(*pid, state_dir))
        .collect();
    found.sort_unstable();
    found
}

/// Has whoever pauses start its child at once; what was done, or why nothing was.
pub fn have_it_started(state_dir: &Path) -> Result<String, String> {
    let (mut told, mut trouble) = (Vec::new(), Vec::new());
    for pid in supervisors(state_dir) {
        match tell(pid, state_dir, START) {
            Some(Ok(())) => told.push(format!("`evergate supervise`, process {pid}, is told to start it at once")),
            Some(Err(errno)) => {
                trouble.push(format!("`evergate supervise`, process {pid}, cannot be told to start it: {errno}"));
            }
            None => {}
        }
    }
    if !told.is_empty() {
        return Ok(told.join("; "));
    }
    if trouble.is_empty() {
        trouble.push(format!(
            "no `evergate supervise` is found among the processes that can be seen from here; if none runs: \
             evergate supervise --state-dir {}",
            state_dir.display()
        ));
    }
    Err(trouble.join("; "))
}

/// Sends a signal to one that supervises a gateway on this directory; `None` if it does not, or not any more.
pub fn tell(pid: i32, state_dir: &Path, signal: Signal) -> Option<Result<(), Errno>> {
    // Held before it is looked at once more: what is signalled is what was looked at.
    let process = Handle::of(pid);
    supervises(pid, state_dir).then(|| process.signal(signal))
}

/// The unit whose program such a process is; systemd names the process to itself (systemd.exec(5)). `None` where it is none's.
pub fn unit_of(pid: i32) -> Option<Unit> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let own = format!("{EXEC_PID}={pid}");
    environment.split(|byte| *byte == 0).any(|text| text == own.as_bytes()).then(|| Unit::of(pid))?
}

fn supervises(pid: i32, state_dir: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let read = |name: &str| fs::read(process.join(name)).unwrap_or_default();
    let Some(said) = supervised_directory(&read("cmdline"), &read("environ")) else { return false };
    // It is meant from where that process is, and from what it takes for the root.
    let there = match said.strip_prefix("/") {
        Ok(below) => process.join("root").join(below),
        Err(_) => process.join("cwd").join(&said),
    };
    match (fs::metadata(there), fs::metadata(state_dir), fs::metadata(&process)) {
        // A process of anybody else may call itself what it likes.
        (Ok(there), Ok(here), Ok(process)) => {
            (there.dev(), there.ino()) == (here.dev(), here.ino())
                && (process.uid() == here.uid() || process.uid() == 0)
        }
        _ => false,
    }
}

/// The state directory of the gateway that the process with this command line and environment supervises, as it says it;
/// `None` for any other process.
fn supervised_directory(line: &[u8], environment: &[u8]) -> Option<PathBuf> {
    let mut words = line.split(|byte| *byte == 0).map(OsStr::from_bytes);
    Path::new(words.next()?).file_name().filter(|name| name.as_bytes().starts_with(b"evergate"))?;
    let (mut command, mut flag) = (None, None);
    while let Some(word) = words.next() {
        match word.as_bytes() {
            b"--state-dir" => flag = flag.or(words.next()),
            b"--config" => _ = words.next(),
            joined if joined.starts_with(b"--state-dir=") => flag = flag.or(word_behind(word, b"--state-dir=")),
            option if option.starts_with(b"-") => {}
            _ => _ = command.get_or_insert(word),
        }
    }
    command.filter(|command| *command == "supervise")?;
    let variable = |name: &str| -> Option<OsString> {
        let begins = [name.as_bytes(), b"="].concat();
        let texts = environment.split(|byte| *byte == 0).map(OsStr::from_bytes);
        texts.filter_map(|text| word_behind(text, &begins)).find(|value| !value.is_empty()).map(OsStr::to_owned)
    };
    place::said_state_dir(flag.map(Path::new), variable).ok()
}

fn word_behind<'a>(word: &'a OsStr, begins: &[u8]) -> Option<&'a OsStr> {
    word.as_bytes().strip_prefix(begins).map(OsStr::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_known_by_its_command_and_its_directory_by_flag_variable_or_home() {
        let directory = |line: &str, environment: &str| {
            let directory =
                supervised_directory(line.replace(' ', "\0").as_bytes(), environment.replace(' ', "\0").as_bytes());
            directory.map(|directory| directory.display().to_string())
        };
        for (line, environment, said) in [
            ("/bin/evergate supervise --state-dir /s", "", Some("/s")),
            ("evergate --state-dir=/s supervise", "EVERGATE_STATE_DIR=/t", Some("/s")),
            ("evergate --config /c supervise -- run --state-dir s", "", Some("s")),
            ("evergate supervise", "EVERGATE_STATE_DIR=/t HOME=/h", Some("/t")),
            ("evergate supervise", "EVERGATE_STATE_DIR= XDG_STATE_HOME=/x HOME=/h", Some("/x/evergate")),
            ("evergate-2 supervise", "XDG_STATE_HOME=x HOME=/h", Some("/h/.local/state/evergate")),
            ("evergate supervise", "", None),
            ("evergate restart --reason supervise --state-dir /s", "", None),
            ("evergate run --state-dir /s", "", None),
            ("evergate send supervise", "HOME=/h", None),
            ("vi supervise --state-dir /s", "", None),
            ("", "", None),
        ] {
            assert_eq!(directory(line, environment).as_deref(), said, "{line}, {environment}");
        }
    }

    #[test]
    fn this_process_supervises_nothing_and_neither_does_one_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!supervises(own, folder.path()) && !supervises(0, folder.path()));
        assert_eq!(supervisors(folder.path()), Vec::<i32>::new());
        let trouble = have_it_started(folder.path()).unwrap_err();
        assert!(trouble.contains("evergate supervise --state-dir "), "{trouble}");
    }
}
