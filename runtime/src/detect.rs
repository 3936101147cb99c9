//! Who supervises this very process. Environment variables are inherited by everything below a supervised process, so each
//! hint is checked against something that only its addressee has: a PID, a parent.

use crate::systemd;
use evergate_core::supervisor::Supervisor;
use std::os::unix::process::parent_id;

/// The supervisor of this process.
#[must_use]
pub fn supervisor() -> Supervisor {
    let variable = |name: &str| std::env::var(name).ok();
    if variable("EVERGATE_SUPERVISOR").as_deref() == Some("supervise")
        && variable("EVERGATE_SUPERVISOR_PID").and_then(|pid| pid.parse().ok()) == Some(parent_id())
    {
        return Supervisor::Evergate;
    }
    if systemd::is_our_supervisor() {
        return Supervisor::Systemd;
    }
    if parent_id() == 1 && variable("XPC_SERVICE_NAME").is_some_and(|name| name != "0") {
        return Supervisor::LaunchdKeepAlive;
    }
    // In a container the engine only sees its first process; any other is somebody else's child.
    if std::process::id() == 1 {
        if variable("KUBERNETES_SERVICE_HOST").is_some() {
            return Supervisor::Kubernetes;
        }
        return Supervisor::Container;
    }
    if parent_id() == 1 && variable("S6_VERSION").is_some() {
        return Supervisor::S6;
    }
    Supervisor::Nobody
}
