//! What `evergate install` wrote for others than systemd, none of whom can be asked what it makes of that: so what is
//! looked at is the files, and the numbers in them.

use super::{Finding, Fix, Patient};
use crate::detect::KILL_AFTER;
use crate::install::owned::{Ownership, UnitFile, VERSION, ownership_of};
use crate::install::{self, Manager, Scope};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who keeps files of ours, and for whom.
const PLACES: [(Manager, Scope); 5] = [
    (Manager::Launchd, Scope::User),
    (Manager::Launchd, Scope::System(None)),
    (Manager::S6, Scope::User),
    (Manager::Docker, Scope::User),
    (Manager::Kubernetes, Scope::User),
];

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    there(patient).iter().flat_map(|file| [file.age(), file.stop_limit()]).flatten().collect()
}

/// The files by which a gateway on this directory is started again: a job of launchd, and a service directory that s6 has
/// taken.
pub(super) fn keepers(patient: &Patient<'_>) -> Vec<PathBuf> {
    let keeps = |file: &There| match file.manager {
        Manager::Launchd => true,
        // s6-supervise makes that folder when it begins to look after the service.
        Manager::S6 => file.fresh.path.ends_with("run") && file.fresh.path.with_file_name("supervise").exists(),
        Manager::Systemd | Manager::Docker | Manager::Kubernetes => false,
    };
    there(patient).into_iter().filter(keeps).map(|file| file.fresh.path).collect()
}

/// What the command in a file of ours says behind `run`: the gateway's directory, and its configuration if that is named.
pub(super) fn options(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("--state-dir")?;
    // A property list has a line for each word.
    let end = if rest.starts_with('<') { "</array>" } else { "\n" };
    let said = rest.split_once(end)?.0.replace("<string>", " ").replace("</string>", " ");
    let said: Vec<&str> = said.split_whitespace().filter(|word| *word != "2>&1").collect();
    Some(format!("--state-dir {}", said.join(" ")))
}

/// A file of ours for this directory.
struct There {
    manager: Manager,
    scope: Scope,
    /// As it is.
    text: String,
    /// As this version writes it.
    fresh: UnitFile,
    /// What an end needs with nothing shortened.
    room: Duration,
}

fn there(patient: &Patient<'_>) -> Vec<There> {
    let mut found = Vec::new();
    for (manager, scope) in PLACES {
        let Ok(service) = install::service(patient.global, manager, scope.clone()) else { continue };
        let Ok(product) = manager.product(&service) else { continue };
        let room = service.unit(product.supervisor).room;
        for fresh in product.files {
            let text = std::fs::read_to_string(&fresh.path).unwrap_or_default();
            let is_ours = ownership_of(&text) != Ownership::Stranger;
            if is_ours && (fresh.path.starts_with(patient.state_dir) || names(&text, patient.state_dir)) {
                found.push(There { manager, scope: scope.clone(), text, fresh, room });
            }
        }
    }
    found
}

fn names(text: &str, state_dir: &Path) -> bool {
    let wanted = format!("--state-dir {}", state_dir.display());
    let options = options(text);
    let rest = options.as_deref().and_then(|options| options.strip_prefix(&wanted));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// How long its supervisor waits between SIGTERM and SIGKILL, as the file tells the gateway.
fn limit(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once(KILL_AFTER)?;
    let said = rest.trim_start_matches(|character: char| !character.is_ascii_digit());
    humantime::parse_duration(said.split(|character: char| !character.is_ascii_alphanumeric()).next()?).ok()
}

impl There {
    /// Whether an older version wrote it, and nobody has changed it since.
    fn age(&self) -> Option<Finding> {
        let Ownership::Ours { version } = ownership_of(&self.text) else { return None };
        (version != VERSION).then(|| {
            let what = format!("{} was written by version {version}, this is {VERSION}", self.fresh.path.display());
            // As whom a job of the machine runs is for a person to say.
            let is_the_same = self.scope == Scope::User && options(&self.text) == options(&self.fresh.text);
            let fix = if is_the_same { Fix::Rewrite(self.fresh.clone()) } else { Fix::None };
            Finding::new("unit", what, "it may lack what this version counts on", self.install_again()).with_fix(fix)
        })
    }

    /// Whether its supervisor kills before an end with the configured budgets is over.
    fn stop_limit(&self) -> Option<Finding> {
        let limit = limit(&self.text).filter(|limit| *limit < self.room)?;
        let (path, limit, room) = (self.fresh.path.display(), limit.as_secs(), self.room.as_secs());
        Some(Finding::new(
            "stop limit",
            format!("{path} has it killed after {limit} s, the configured budgets need {room} s"),
            "budgets are shortened: turns are cut earlier than configured, and resumed afterwards",
            format!("{}; or a lower drain.budget", self.install_again()),
        ))
    }

    fn install_again(&self) -> String {
        let again = self.manager.install_again(&self.scope, options(&self.text).as_deref());
        format!("{again}, and the commands that it prints")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_in_a_file_is_read_whoever_reads_it_otherwise() {
        for (text, said) in [
            ("[Service]\nExecStart=/e run --state-dir /s --config /c\nRestart=on-failure\n", Some("/s --config /c")),
            ("#!/bin/sh\nexec /e run --state-dir /s 2>&1\n", Some("/s")),
            (
                "<array>\n  <string>run</string>\n  <string>--state-dir</string>\n  <string>/s</string>\n  \
                 <string>--config</string>\n  <string>/c</string>\n  </array>\n  <key>Umask</key>\n",
                Some("/s --config /c"),
            ),
            ("services:\n  evergate:\n", None),
        ] {
            assert_eq!(options(text), said.map(|said| format!("--state-dir {said}")), "{text}");
            assert_eq!(names(text, Path::new("/s")), said.is_some());
            assert!(!names(text, Path::new("/")) && !names(text, Path::new("/s/t")));
        }
    }

    #[test]
    fn the_kill_limit_is_read_from_whatever_file_tells_it() {
        for (text, seconds) in [
            (format!("<key>{KILL_AFTER}</key>\n    <string>60s</string>\n"), Some(60)),
            (format!("      {KILL_AFTER}: 2m\n"), Some(120)),
            (format!("- {{name: {KILL_AFTER}, value: 45s}}\n"), Some(45)),
            (format!("{KILL_AFTER}: later\n"), None),
            (String::new(), None),
        ] {
            assert_eq!(limit(&text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
