//! The processes of a test: building the binary under test once, finding what belongs to one gateway, ending exactly
//! that. It never touches a process that does not carry the gateway's own state directory in its environment.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The `evergate` binary in the profile of this test, built once a test process.
///
/// # Panics
/// When it does not build; the message carries the compiler's.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "-p", "evergate", "--bin", "evergate", "--message-format=json"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // What cargo tells a test of its package is none of the build's business: some crates would be built anew for it, there and back.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = command.current_dir(workspace).output().expect("cargo runs, it started this test");
    assert!(output.status.success(), "evergate does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "evergate")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable it built")
}

/// Writes a program, by a process of its own: a descriptor that this one had open for writing would go into whatever another
/// test starts just then, and the program could not be run as long as that lives ("text file busy").
///
/// # Panics
/// When it cannot be written.
pub fn write_program(to: &Path, program: &[u8]) {
    let mut writer = Command::new("cp").arg("/dev/stdin").arg(to).stdin(Stdio::piped()).spawn().expect("cp is there");
    let piped = writer.stdin.take().expect("it is piped").write_all(program);
    let written = piped.and_then(|()| writer.wait());
    assert!(written.as_ref().is_ok_and(std::process::ExitStatus::success), "{}: {written:?}", to.display());
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("the file is ours");
}

/// Every living process whose environment says that it works for this state directory: the gateway, its supervisor,
/// its agents and whatever they started.
pub fn belonging_to(state_dir: &Path) -> Vec<i32> {
    let mark = format!("EVERGATE_STATE_DIR={}", state_dir.display()).into_bytes();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark)
        })
        .collect()
}

/// Ends everything that [`belonging_to`] finds, and what it starts meanwhile.
pub fn end_all(state_dir: &Path) {
    let _ = crate::eventually(Duration::from_secs(10), || {
        let left = belonging_to(state_dir);
        for pid in &left {
            send_signal(*pid, Signal::SIGKILL);
        }
        left.is_empty().then_some(())
    });
}

/// Sends a signal to a process; one that is gone already is no error.
pub fn send_signal(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Whether the process is there and no zombie.
pub fn is_alive(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
}

/// Resident memory of a process in bytes, 0 when it is gone.
pub fn resident_bytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
