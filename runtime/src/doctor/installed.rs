//! What `evergate install` wrote for others than systemd, none of whom can be asked what it makes of that: so what is
//! looked at is the files, and the numbers in them.

use super::{Finding, Fix, Patient};
use crate::detect::KILL_AFTER;
use crate::install::owned::{Ownership, UnitFile, VERSION, is_earlier, ownership_of, without_mark};
use crate::install::{self, Manager, Scope};
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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
    installed(patient).iter().flat_map(|file| [file.age(), file.stop_limit()]).flatten().collect()
}

/// The files by which a gateway on this directory is started again: a job of launchd, and a service directory that s6 looks
/// after.
pub(super) fn keepers(patient: &Patient<'_>) -> Vec<PathBuf> {
    let keeps = |file: &Installed| match file.manager {
        Manager::Launchd => true,
        Manager::S6 => file.fresh.path.ends_with("run") && s6_looks_after(&file.fresh.path),
        Manager::Systemd | Manager::Docker | Manager::Kubernetes => false,
    };
    installed(patient).into_iter().filter(keeps).map(|file| file.fresh.path).collect()
}

/// Whether an s6-supervise hears the orders for the service directory of that script.
fn s6_looks_after(run: &Path) -> bool {
    // Without a reader a pipe cannot be opened so (fifo(7)).
    let orders = run.with_file_name("supervise/control");
    OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(orders).is_ok()
}

/// The line, or the list of words, by which a file of ours has the gateway run.
pub(super) fn command(text: &str) -> Option<&str> {
    if let Some((_, list)) = text.split_once("<array>") {
        return Some(list.split_once("</array>")?.0);
    }
    text.lines().find(|line| line.starts_with("ExecStart=") || line.starts_with("exec "))
}

/// The options of that command that say for which gateway it is: its directory, and its configuration if that is named.
pub(super) fn options(text: &str) -> Option<String> {
    let list = command(text)?.replace("</string>", "").replace("<string>", " ");
    let list = list.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let words: Vec<&str> = list.split_whitespace().collect();
    let said = words.windows(2).filter(|pair| matches!(pair[0], "--state-dir" | "--config"));
    let said: Vec<String> = said.map(|pair| pair.join(" ")).collect();
    said.first().is_some_and(|first| first.starts_with("--state-dir ")).then(|| said.join(" "))
}

/// A file of ours for this directory.
struct Installed {
    manager: Manager,
    scope: Scope,
    /// As it is.
    text: String,
    /// As this version writes it.
    fresh: UnitFile,
    /// The options of a command that would install it again.
    options: String,
    /// What an end needs with nothing shortened, and whether the manager grants that.
    room: Duration,
    is_granted: bool,
    /// What makes a new file count.
    then: String,
}

fn installed(patient: &Patient<'_>) -> Vec<Installed> {
    let mut found = Vec::new();
    for (manager, scope) in PLACES {
        let Ok(service) = install::service(patient.global, manager, scope.clone()) else { continue };
        let Ok(product) = manager.product(&service) else { continue };
        let unit = service.unit(product.supervisor);
        let then = manager.take_effect(&product);
        for fresh in product.files {
            let text = std::fs::read_to_string(&fresh.path).unwrap_or_default();
            let is_here = match manager {
                Manager::Launchd | Manager::Systemd => is_for(&text, patient.state_dir),
                Manager::S6 | Manager::Docker | Manager::Kubernetes => true,
            };
            if !is_here || ownership_of(&text) == Ownership::Stranger {
                continue;
            }
            let options = options(&text).unwrap_or_else(|| service.words().split_off(1).join(" "));
            let (scope, then, is_granted) = (scope.clone(), then.clone(), unit.too_short().is_none());
            found.push(Installed { manager, scope, text, fresh, options, room: unit.room, is_granted, then });
        }
    }
    found
}

fn is_for(text: &str, state_dir: &Path) -> bool {
    let wanted = format!("--state-dir {}", state_dir.display());
    let options = options(text);
    let rest = options.as_deref().and_then(|options| options.strip_prefix(&wanted));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" --config "))
}

/// From SIGTERM to SIGKILL, as the file tells the gateway.
fn kill_limit(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once(KILL_AFTER)?;
    let said = rest.trim_start_matches(|character: char| !character.is_ascii_digit());
    let length = said.split(|character: char| !character.is_ascii_alphanumeric() && character != ' ').next()?;
    humantime::parse_duration(length.trim()).ok()
}

impl Installed {
    /// Whether an earlier version wrote it, and nobody has changed it since.
    fn age(&self) -> Option<Finding> {
        let Ownership::Ours { version } = ownership_of(&self.text) else { return None };
        is_earlier(&version).then(|| {
            let what = format!("{} was written by version {version}, this is {VERSION}", self.fresh.path.display());
            let fix =
                if self.may_be_rewritten() { Fix::Rewrite(self.fresh.clone(), self.then.clone()) } else { Fix::None };
            Finding::new("unit", what, "it may lack what this version counts on", self.install_again()).with_fix(fix)
        })
    }

    /// Only where nobody has a say in it: in a folder of one's own, with the same command, or the same text where there is none.
    /// As whom a job of the machine runs is for a person to say.
    fn may_be_rewritten(&self) -> bool {
        let folder = self.fresh.path.parent().and_then(|folder| std::fs::symlink_metadata(folder).ok());
        let is_own = folder.is_some_and(|folder| folder.is_dir() && folder.uid() == geteuid().as_raw());
        let is_the_same = match (command(&self.text), command(&self.fresh.text)) {
            (Some(before), Some(after)) => before == after,
            (None, None) => without_mark(&self.text) == without_mark(&self.fresh.full_text()),
            _ => false,
        };
        self.scope == Scope::User && is_own && is_the_same
    }

    /// Whether its supervisor kills before an end with the configured budgets is over.
    fn stop_limit(&self) -> Option<Finding> {
        let limit = kill_limit(&self.text).filter(|limit| *limit < self.room)?;
        let (path, limit, room) = (self.fresh.path.display(), limit.as_secs(), self.room.as_secs());
        let lower = "lower drain.budget";
        let mend = match ownership_of(&self.text) {
            _ if !self.is_granted => lower.to_owned(),
            Ownership::Edited => format!("change both numbers in {path}, or {lower}"),
            _ => format!("{}; or {lower}", self.install_again()),
        };
        Some(Finding::new(
            "stop limit",
            format!("{path} has it killed after {limit} s, the configured budgets need {room} s"),
            "budgets are shortened: turns are cut earlier than configured, and resumed afterwards",
            mend,
        ))
    }

    fn install_again(&self) -> String {
        format!("{}, and then: {}", self.manager.install_again(&self.scope, &self.options), self.then)
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
            ("exec /e run --listen 127.0.0.1:1 --state-dir /s\n", Some("/s")),
            (
                "<array>\n  <string>run</string>\n  <string>--state-dir</string>\n  <string>/s</string>\n  \
                 <string>--config</string>\n  <string>/c</string>\n  </array>\n  <key>Umask</key>\n",
                Some("/s --config /c"),
            ),
            ("services:\n  evergate:\n", None),
        ] {
            assert_eq!(options(text), said.map(|said| format!("--state-dir {said}")), "{text}");
            assert_eq!(is_for(text, Path::new("/s")), said.is_some());
            assert!(!is_for(text, Path::new("/")) && !is_for(text, Path::new("/s/t")));
        }
    }

    #[test]
    fn the_kill_limit_is_read_from_whatever_file_tells_it() {
        for (text, seconds) in [
            (format!("<key>{KILL_AFTER}</key>\n    <string>60s</string>\n"), Some(60)),
            (format!("      {KILL_AFTER}: 2m\n"), Some(120)),
            (format!("      {KILL_AFTER}: 1m 30s\n"), Some(90)),
            (format!("- {{name: {KILL_AFTER}, value: 45s}}\n"), Some(45)),
            (format!("{KILL_AFTER}: later\n"), None),
            (String::new(), None),
        ] {
            assert_eq!(kill_limit(&text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
