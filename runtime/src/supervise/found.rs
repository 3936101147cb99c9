//! The processes that are an `evergate supervise`, as `/proc` shows them, found by the state directory that their command
//! line or environment names.

use super::caught::START;
use crate::process_handle::Handle;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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

/// Has the one that pauses start its child at once; what was done, or why nothing was.
pub fn have_it_started(state_dir: &Path) -> Result<String, String> {
    let mut trouble = format!("no `evergate supervise` for {} runs any more: start one", state_dir.display());
    for pid in supervisors(state_dir) {
        // Held before it is looked at once more: what is signalled is what was looked at.
        let process = Handle::of(pid);
        if !supervises(pid, state_dir) {
            continue;
        }
        match process.signal(START) {
            Ok(()) => return Ok(format!("`evergate supervise`, process {pid}, is told to start it at once")),
            Err(errno) => trouble = format!("`evergate supervise`, process {pid}, cannot be told to start it: {errno}"),
        }
    }
    Err(trouble)
}

fn supervises(pid: i32, state_dir: &Path) -> bool {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let line = read("cmdline");
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let is_evergate = words.first().is_some_and(|program| program.ends_with(b"evergate"));
    if !is_evergate || !words.contains(&b"supervise".as_slice()) {
        return false;
    }
    let below = |folder: &[u8], rest: &str| PathBuf::from(OsStr::from_bytes(folder)).join(rest);
    let said = words.iter().position(|word| *word == b"--state-dir").and_then(|at| words.get(at + 1)).copied();
    let said = said.or_else(|| words.iter().find_map(|word| word.strip_prefix(b"--state-dir=")));
    let environment = read("environ");
    let variables = environment.split(|byte| *byte == 0);
    let variable =
        |name: &[u8]| variables.clone().find_map(|text| text.strip_prefix(name)).filter(|said| !said.is_empty());
    let directory = said
        .or_else(|| variable(b"EVERGATE_STATE_DIR="))
        .map(|said| below(said, ""))
        .or_else(|| variable(b"XDG_STATE_HOME=").map(|home| below(home, "evergate")))
        .or_else(|| variable(b"HOME=").map(|home| below(home, ".local/state/evergate")));
    // A relative one is meant from where that process is.
    let there = |directory: PathBuf| fs::canonicalize(PathBuf::from(format!("/proc/{pid}/cwd")).join(directory));
    match (directory.map(there), fs::canonicalize(state_dir)) {
        (Some(Ok(there)), Ok(here)) => there == here,
        _ => false,
    }
}
