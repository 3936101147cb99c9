//! Whether a gateway that holds the state directory answers, and whether more than one supervisor wants to keep it.

use super::{Finding, Patient};
use crate::cli::{self, Asked};
use crate::install::owned::{Ownership, ownership_of};
use crate::journal::Owner;
use crate::supervise::found;
use evergate_core::supervisor::Supervisor;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::Path;

/// What is known of the gateway of the state directory.
pub(super) enum Life {
    /// It answers; this is its status.
    Answers(serde_json::Value),
    /// It is there and does not.
    Silent(String),
    /// Nobody holds the directory.
    Nobody,
}

/// Asks it over the control socket, and the kernel when it does not answer.
pub(super) fn ask(patient: &Patient<'_>) -> Life {
    let socket = patient.state_dir.join("control.sock");
    match cli::ask(&socket, "/v1/status") {
        Asked::Answered(status) => Life::Answers(status),
        Asked::Failed(sentence) => Life::Silent(sentence),
        Asked::Nobody(sentence) if is_held(patient.state_dir) => Life::Silent(sentence),
        Asked::Nobody(_) => Life::Nobody,
    }
}

/// Whether a process has the lock; trying it takes nothing from anybody.
fn is_held(state_dir: &Path) -> bool {
    File::open(state_dir.join("lock")).is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
}

pub(super) fn check(patient: &Patient<'_>, life: &Life) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Life::Silent(sentence) = life {
        let holds = match Owner::recorded(patient.state_dir) {
            Some(owner) => format!("process {} holds the state directory, but: ", owner.pid),
            None => String::new(),
        };
        findings.push(Finding::new(
            "control socket",
            format!("{holds}{sentence}"),
            "nobody can ask it anything, and no other gateway can start",
            format!("evergate restart --force --state-dir {}", patient.state_dir.display()),
        ));
    }
    if let Life::Answers(status) = life {
        findings.extend(of_itself(patient, status));
    }
    let keepers = keepers(patient);
    if keepers.len() > 1 {
        findings.push(Finding::new(
            "second supervisor",
            format!("{} keep a gateway on {}: {}", keepers.len(), patient.state_dir.display(), keepers.join("; ")),
            "whichever starts second finds the directory taken and parks itself; after a crash they race",
            "keep one: end the `evergate supervise`, or take what is not wanted away with `evergate uninstall`"
                .to_owned(),
        ));
    }
    findings
}

/// What a gateway that answers says of itself and nobody may have seen.
fn of_itself(patient: &Patient<'_>, status: &serde_json::Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    if status["breaker"]["state"] == "tripped" {
        findings.push(Finding::new(
            "loop breaker",
            format!(
                "tripped after {} deaths in a row; answers that were cut and are held: {}",
                status["breaker"]["deaths"], status["breaker"]["held"]
            ),
            "what was cut is not resumed by itself, and no restart is reported, until a turn comes to its end",
            "see `evergate generations` for what they died of, then `evergate breaker reset`".to_owned(),
        ));
    }
    if let Some(why) = status["rolled_back"].as_str() {
        findings.push(Finding::new(
            "rolled back",
            why.to_owned(),
            "the last good build runs in its place, also after the next restart",
            "install another build and `evergate restart`; the log has what that one died of".to_owned(),
        ));
    }
    let aside = status["quarantined"].as_array().into_iter().flatten();
    let aside: Vec<&str> = aside.filter_map(serde_json::Value::as_str).collect();
    if !aside.is_empty() {
        findings.push(Finding::new(
            "quarantine",
            format!("set aside, since what they asked for kept killing the gateway: {}", aside.join(", ")),
            "nothing is answered there until somebody writes there again",
            "see the log for what it died of; then write there, if that is mended".to_owned(),
        ));
    }
    if status["supervisor"] == Supervisor::Evergate.name() && supervise_is_gone(patient) {
        findings.push(Finding::new(
            "supervisor",
            "the `evergate supervise` that started this gateway is gone".to_owned(),
            "a restart happens in place; after a crash nobody starts it again",
            format!(
                "evergate stop --state-dir {0}, then evergate supervise --state-dir {0}",
                patient.state_dir.display()
            ),
        ));
    }
    findings
}

/// Whether the parent of the process that owns the directory is another than its supervisor was, as far as `/proc` shows it.
fn supervise_is_gone(patient: &Patient<'_>) -> bool {
    let parent = || {
        // Seen from elsewhere its number may be a stranger's.
        let owner = Owner::recorded(patient.state_dir).filter(Owner::lives)?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", owner.pid)).ok()?;
        // Behind the name, which may hold anything: the state, then the parent.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<i32>().ok()
    };
    parent().is_some_and(|parent| !found::supervisors(patient.state_dir).contains(&parent))
}

/// Who starts a gateway on this directory again: units and the like of ours, and each `evergate supervise`.
fn keepers(patient: &Patient<'_>) -> Vec<String> {
    let state_dir = patient.state_dir;
    let units = super::systemd::unit_files().into_iter().filter(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        ownership_of(&text) != Ownership::Stranger && super::systemd::names_directory(&text, state_dir)
    });
    let files = units.chain(super::installed::keepers(patient));
    let mut keepers: Vec<String> = files.map(|path| path.display().to_string()).collect();
    keepers.extend(found::supervisors(state_dir).into_iter().map(|pid| format!("`evergate supervise`, process {pid}")));
    keepers
}
