//! Whoever would start a gateway again once it is gone, and how he is told not to. What it takes to have a gateway started is the
//! [patient](super::patient)'s business.

use super::patient::{MANAGER, order};
use crate::journal::Owner;
use crate::supervise::found;
use crate::systemd::{Manager, Unit};
use crate::unit_state::UnitState;
use evergate_core::supervisor::Supervisor;
use nix::sys::signal::Signal;
use std::path::Path;

/// Has whoever would start this gateway again end it; what was done, or why nothing was. `None` where nobody would.
pub async fn end(state_dir: &Path, owner: &Owner) -> Option<Result<String, String>> {
    match (owner.supervisor, &owner.unit) {
        (None | Some(Supervisor::Nobody), _) => None,
        (Some(Supervisor::Evergate), _) => Some(end_supervise(state_dir).await),
        (Some(Supervisor::Systemd), Some(unit)) => Some(stop_unit(unit).await),
        _ => cannot_be_told(owner).map(Err),
    }
}

/// Who would start this gateway again and cannot be told from here not to, and what does that; `None` where that is nobody.
pub fn cannot_be_told(owner: &Owner) -> Option<String> {
    let keeper = owner.supervisor.unwrap_or(Supervisor::Nobody);
    let what = match (keeper, &owner.unit) {
        (Supervisor::Nobody | Supervisor::Evergate, _) | (Supervisor::Systemd, Some(_)) => return None,
        (Supervisor::Systemd, None) => "`systemctl stop` with its unit".to_owned(),
        (Supervisor::LaunchdKeepAlive | Supervisor::LaunchdSuccessfulExit, job) => {
            let job = job.as_ref().map_or("gui/UID/LABEL", |job| job.name.as_str());
            format!("`launchctl bootout {job}`")
        }
        (Supervisor::Container, _) => "`docker stop` or `podman stop`, from outside,".to_owned(),
        (Supervisor::Kubernetes, _) => "`kubectl scale --replicas=0` with its workload".to_owned(),
        (Supervisor::S6, _) => "`s6-svc -d` with its service directory".to_owned(),
    };
    Some(format!("{} would start it again, and cannot be told from here not to: {what} does that", keeper.name()))
}

/// Where nobody runs: has whoever is about to start one not do so. `None` where nobody is.
pub async fn end_the_pause(state_dir: &Path, last: Option<&Owner>) -> Option<Result<String, String>> {
    if !found::supervisors(state_dir).is_empty() {
        return Some(end_supervise(state_dir).await);
    }
    match last.and_then(unit_of_systemd) {
        Some(unit) if is_activating(unit).await => Some(stop_unit(unit).await),
        _ => None,
    }
}

/// Whether somebody is about to start one where nobody runs, as far as that can be seen.
pub async fn is_about_to_start(state_dir: &Path, last: Option<&Owner>) -> bool {
    if !found::supervisors(state_dir).is_empty() {
        return true;
    }
    match last.and_then(unit_of_systemd) {
        Some(unit) => is_activating(unit).await,
        None => false,
    }
}

fn unit_of_systemd(owner: &Owner) -> Option<&Unit> {
    owner.unit.as_ref().filter(|_| owner.supervisor == Some(Supervisor::Systemd))
}

/// Has each `evergate supervise` end its child and itself. One that is the program of a unit would take a signal for a stray one.
async fn end_supervise(state_dir: &Path) -> Result<String, String> {
    let (mut told, mut trouble) = (Vec::new(), Vec::new());
    for pid in found::supervisors(state_dir) {
        let how = format!("`evergate supervise`, process {pid}, is told to end it and itself");
        let ended = match found::unit_of(pid) {
            Some(unit) => stop_unit(&unit).await,
            None => match found::tell(pid, state_dir, Signal::SIGTERM) {
                Some(Ok(())) => Ok(how),
                Some(Err(errno)) => {
                    Err(format!("`evergate supervise`, process {pid}, cannot be told to end it: {errno}"))
                }
                None => continue,
            },
        };
        match ended {
            Ok(how) => told.push(how),
            Err(why) => trouble.push(why),
        }
    }
    match (told.is_empty(), trouble.is_empty()) {
        (false, _) => Ok(told.join("; ")),
        (true, false) => Err(trouble.join("; ")),
        (true, true) => {
            Err("no `evergate supervise` is found among the processes that can be seen from here".to_owned())
        }
    }
}

fn whose(unit: &Unit) -> (&'static [&'static str], String) {
    match unit.manager {
        Manager::User => (&["--user"], format!("`systemctl --user stop {}`", unit.name)),
        Manager::System => (&[], format!("`systemctl stop {}`", unit.name)),
    }
}

async fn stop_unit(unit: &Unit) -> Result<String, String> {
    let (user, named) = whose(unit);
    let words = [user, &["--no-block", "stop", "--", unit.name.as_str()]].concat();
    order("systemctl", &words).await.map_err(|said| format!("{named} fails: {said}"))?;
    Ok(named)
}

/// Whether systemd starts a unit, after a pause or at once.
async fn is_activating(unit: &Unit) -> bool {
    shown(unit).await.is_some_and(|state| state.get("ActiveState") == "activating")
}

/// Whether systemd pauses before it starts a unit again by itself.
pub async fn pauses(unit: &Unit) -> bool {
    shown(unit).await.is_some_and(|state| state.get("SubState").starts_with("auto-restart"))
}

async fn shown(unit: &Unit) -> Option<UnitState> {
    tokio::time::timeout(MANAGER, unit.show()).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergate_core::id::GenerationId;

    #[tokio::test]
    async fn who_cannot_be_told_from_here_is_named_with_what_ends_his_service() {
        let folder = tempfile::tempdir().unwrap();
        let job = Unit { name: "gui/501/x".into(), manager: Manager::User };
        for (supervisor, unit, said) in [
            (Supervisor::Systemd, None, "`systemctl stop` with its unit"),
            (Supervisor::LaunchdKeepAlive, Some(job.clone()), "`launchctl bootout gui/501/x`"),
            (Supervisor::LaunchdSuccessfulExit, None, "`launchctl bootout gui/UID/LABEL`"),
            (Supervisor::Container, None, "`docker stop` or `podman stop`"),
            (Supervisor::Kubernetes, None, "`kubectl scale --replicas=0`"),
            (Supervisor::S6, None, "`s6-svc -d`"),
            (Supervisor::Evergate, None, "no `evergate supervise` is found"),
        ] {
            let owner = Owner { supervisor: Some(supervisor), unit, ..Owner::this_process(GenerationId(3), 1_000) };
            let why = end(folder.path(), &owner).await.unwrap().unwrap_err();
            assert!(why.contains(said), "{supervisor:?}: {why}");
            assert_eq!(end_the_pause(folder.path(), Some(&owner)).await, None, "{supervisor:?}");
            assert!(!is_about_to_start(folder.path(), Some(&owner)).await, "{supervisor:?}");
        }
        for supervisor in [None, Some(Supervisor::Nobody)] {
            let owner = Owner { supervisor, ..Owner::this_process(GenerationId(3), 1_000) };
            assert_eq!(end(folder.path(), &owner).await, None);
        }
    }
}
