//! The job of launchd that this process is, by the name that `launchctl kickstart` takes. launchd tells a process the label of its
//! job, and not in which of its domains that is: a plist of ours says so.

use crate::systemd::{Manager, Unit};

/// The variable with which a plist of ours names the domain of its job.
pub const DOMAIN: &str = "EVERGATE_SUPERVISOR_DOMAIN";
/// The domain of the machine's jobs.
pub const SYSTEM: &str = "system";
/// The domain of the jobs of a user who is logged in.
pub const GUI: &str = "gui";

/// The job that this process is; `None` where launchd names none.
#[must_use]
pub fn job_of_this_process() -> Option<Unit> {
    let variable = |name: &str| std::env::var(name).ok();
    job(variable("XPC_SERVICE_NAME"), variable(DOMAIN), nix::unistd::getuid().as_raw())
}

/// Without a word of its plist a job of root's is taken for one of the machine.
fn job(label: Option<String>, domain: Option<String>, user: u32) -> Option<Unit> {
    let label = label.filter(|label| !label.is_empty() && label != "0")?;
    let manager = match domain.as_deref() {
        Some(SYSTEM) => Manager::System,
        None if user == 0 => Manager::System,
        _ => Manager::User,
    };
    let name = match manager {
        Manager::System => format!("{SYSTEM}/{label}"),
        Manager::User => format!("{GUI}/{user}/{label}"),
    };
    Some(Unit { name, manager })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_with_its_domain_as_its_plist_says_or_else_by_whose_it_is() {
        for (label, domain, user, target) in [
            ("evergate.gateway", Some("gui"), 501, Some("gui/501/evergate.gateway")),
            ("evergate.gateway", Some("system"), 501, Some("system/evergate.gateway")),
            ("by.hand", None, 501, Some("gui/501/by.hand")),
            ("by.hand", None, 0, Some("system/by.hand")),
            ("0", Some("gui"), 501, None),
            ("", None, 501, None),
        ] {
            let found = job(Some(label.to_owned()), domain.map(str::to_owned), user);
            assert_eq!(found.map(|job| job.name).as_deref(), target, "{label} {domain:?} {user}");
        }
        assert_eq!(job(None, None, 501), None);
    }
}
