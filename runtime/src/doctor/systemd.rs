//! The unit of systemd against the terms that the table counts on: not what its file says but what systemd makes of it,
//! drop-ins and all. What comes of each status is worked out as systemd does it, and compared with the table.

use super::installed::{command, options};
use super::{Finding, Fix, Patient};
use crate::install::owned::{Ownership, UnitFile, VERSION, is_earlier, ownership_of};
use crate::install::{self, Manager, Scope};
use crate::meaning;
use crate::systemd::StopLimit;
use crate::unit_state::{POLICY, UnitState};
use evergate_core::budget::Deadlines;
use evergate_core::limits::Limits;
use evergate_core::supervisor::{Contract, Death, Supervisor};
use evergate_core::verdict::{PARK, RESTART, STOP};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long systemd has for an answer.
const ANSWER: Duration = Duration::from_secs(3);
/// What is asked of a unit.
const PROPERTIES: &str = "LoadState,FragmentPath,ExecStart,KillMode,TimeoutStopUSec,UnitFileState,NeedDaemonReload,\
NotifyAccess,FileDescriptorStoreMax,ExecStopPost";

/// Where units of ours are written, of the user and of the machine.
pub(super) fn unit_files() -> Vec<PathBuf> {
    [Scope::User, Scope::System(None)].iter().filter_map(|scope| install::systemd::path(scope).ok()).collect()
}

/// Whether a unit's text starts a gateway on this directory.
pub(super) fn names_directory(text: &str, state_dir: &Path) -> bool {
    let said = format!("--state-dir {}", install::systemd::escaped(&state_dir.display().to_string()));
    text.lines()
        .filter(|line| line.starts_with("ExecStart="))
        .any(|line| line.split_once(&said).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with(' ')))
}

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for scope in [Scope::User, Scope::System(None)] {
        let Some(unit) = Unit::ask(&scope) else { continue };
        // `systemctl show` prints the words of the command line one after the other, without quotes.
        let words = format!("--state-dir {} ", patient.state_dir.display());
        if unit.get("LoadState") != "loaded" || !unit.get("ExecStart").contains(&words) {
            continue;
        }
        let limits = patient.config.as_ref().map(meaning::limits);
        findings.extend(unit.against_the_table(limits.as_ref()));
        findings.extend(unit.file(patient, &scope));
        if scope == Scope::User {
            findings.extend(linger(Path::new(LINGERS)));
        }
    }
    findings
}

/// A unit as systemd has it.
struct Unit {
    systemctl: &'static str,
    state: UnitState,
}

impl Unit {
    /// `None` where there is no such systemd, or it does not answer.
    fn ask(scope: &Scope) -> Option<Self> {
        let (systemctl, user) = match scope {
            Scope::User => ("systemctl --user", Some("--user")),
            Scope::System(_) => ("systemctl", None),
        };
        let mut command = Command::new("systemctl");
        command.args(user).args(["show", "--property", PROPERTIES, "--property", POLICY, "--", install::systemd::NAME]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let asked_at = Instant::now();
        while child.try_wait().ok()?.is_none() {
            if asked_at.elapsed() > ANSWER {
                child.kill().and_then(|()| child.wait()).ok()?;
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // What it prints fits into a pipe.
        let output = child.wait_with_output().ok().filter(|output| output.status.success())?;
        Some(Self { systemctl, state: UnitState::parse(&String::from_utf8_lossy(&output.stdout)) })
    }

    fn get(&self, name: &str) -> &str {
        self.state.get(name)
    }

    /// Why systemd does not keep the listening socket for the next process, if so.
    fn keeps_no_socket(&self) -> Option<String> {
        if self.get("NotifyAccess") == "none" {
            return Some("systemd does not listen to the gateway (NotifyAccess=none)".to_owned());
        }
        let none = self.get("FileDescriptorStoreMax") == "0";
        none.then(|| "systemd keeps no socket for the gateway (FileDescriptorStoreMax=0)".to_owned())
    }

    /// What is old about a unit of ours that `version` wrote, and what comes of that; `None` if nothing is.
    fn age(&self, version: &str) -> Option<(String, &'static str)> {
        if is_earlier(version) {
            let age = format!("version {version}, this is {VERSION}");
            return Some((age, "it may lack what this version counts on"));
        }
        // A build between two versions may have written it.
        let told = self.get("ExecStopPost").contains(install::systemd::LAST_WORDS);
        (!told).then(|| {
            let age = format!("an earlier build of version {version}: it has no ExecStopPost= for last words");
            (age, "of a gateway that is killed, by systemd's watchdog say, nobody is told why")
        })
    }

    fn against_the_table(&self, limits: Option<&Limits>) -> Vec<Finding> {
        let terms = Contract::of(Supervisor::Systemd);
        let edit = |lines: &str| format!("{} edit {}: [Service] {lines}", self.systemctl, install::systemd::NAME);
        let restart = self.get("Restart");
        let mut findings = Vec::new();
        let deaths = [
            (
                Death::Exited(RESTART),
                "a gateway that was told to leave by a stray signal stays dead",
                "Restart=on-failure RestartForceExitStatus=75",
            ),
            (Death::Killed, "a gateway that crashes stays dead", "Restart=on-failure"),
            (Death::Exited(STOP), "an `evergate stop` is undone at once", "Restart=on-failure"),
            (Death::Exited(PARK), "a start that cannot succeed is tried for ever", "RestartPreventExitStatus=78"),
        ];
        for (death, consequence, lines) in deaths {
            if self.state.revives(death) != terms.revives(death) {
                let after = match death {
                    Death::Exited(status) => format!("exit status {status}"),
                    Death::Killed => "a death by a signal".to_owned(),
                };
                let does = if self.state.revives(death) { "starts it again" } else { "leaves it dead" };
                let what = format!("after {after} systemd {does} (Restart={restart})");
                findings.push(Finding::new("restart policy", what, consequence, edit(lines)));
            }
        }
        if self.get("KillMode") != "mixed" {
            findings.push(Finding::new(
                "kill mode",
                format!("KillMode={}", self.get("KillMode")),
                "agents are cut by a stop at once, or left behind by it, in place of being drained",
                edit("KillMode=mixed"),
            ));
        }
        if self.state.limits_starts() {
            findings.push(Finding::new(
                "start limit",
                format!(
                    "{} starts within {} and systemd gives up",
                    self.get("StartLimitBurst"),
                    self.get("StartLimitIntervalUSec")
                ),
                "a few quick deaths leave the service dead until somebody starts it",
                format!("{} edit {}: [Unit] StartLimitIntervalSec=0", self.systemctl, install::systemd::NAME),
            ));
        }
        findings.extend(self.keeps_no_socket().map(|what| {
            Finding::new(
                "socket",
                what,
                "whoever connects during `systemctl restart` or after a crash is turned away",
                edit("NotifyAccess=main FileDescriptorStoreMax=1"),
            )
        }));
        let room = limits.map(Deadlines::room);
        if let (Some(StopLimit::After(limit)), Some(room)) = (StopLimit::parse(self.get("TimeoutStopUSec")), room)
            && limit < room
        {
            // Without an own word systemd listens to the main process of a unit that waits to be notified, and to nobody else's.
            let heard = matches!(self.get("NotifyAccess"), "main" | "exec" | "all");
            let consequence = if heard {
                "systemd is told to wait while turns get on; one that says nothing for 5 s is cut earlier than configured"
            } else {
                "budgets are shortened: turns are cut earlier than configured, and resumed afterwards"
            };
            findings.push(Finding::new(
                "stop limit",
                format!("systemd kills after {} s, the configured budgets need {} s", limit.as_secs(), room.as_secs()),
                consequence,
                edit(&format!("TimeoutStopSec={}, or a lower drain.budget", room.as_secs())),
            ));
        }
        if self.get("NeedDaemonReload") == "yes" {
            findings.push(Finding::new(
                "unit",
                format!("{} has changed since systemd read it", self.get("FragmentPath")),
                "the change does not count yet",
                format!("{} daemon-reload", self.systemctl),
            ));
        }
        if self.get("UnitFileState") == "disabled" {
            findings.push(Finding::new(
                "unit",
                "the unit is disabled".to_owned(),
                "it does not start with the machine",
                format!("{} enable {}", self.systemctl, install::systemd::NAME),
            ));
        }
        findings
    }

    /// The unit's file, if it is ours: whether this version would write it so, and whether its program is there.
    fn file(&self, patient: &Patient<'_>, scope: &Scope) -> Vec<Finding> {
        let path = PathBuf::from(self.get("FragmentPath"));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let again = Manager::Systemd.install_again(scope, &options(&text).unwrap_or_default());
        let mut findings = Vec::new();
        let program = self.get("ExecStart").split_once("path=").and_then(|(_, rest)| rest.split(" ;").next());
        if let Some(program) = program.filter(|program| !Path::new(program).exists()) {
            findings.push(Finding::new(
                "unit",
                format!("its program {program} is not there"),
                "the gateway that runs goes on, and can never be started again",
                format!("put the program back, or: {again}"),
            ));
        }
        if let Ownership::Ours { version } = ownership_of(&text)
            && let Some((age, consequence)) = self.age(&version)
        {
            let what = format!("{} was written by {age}", path.display());
            let finding = Finding::new("unit", what, consequence, again);
            let then = format!("{} daemon-reload", self.systemctl);
            let fix = fresh(patient, scope, &text, path).map_or(Fix::None, |file| Fix::Rewrite(file, then));
            findings.push(finding.with_fix(fix));
        }
        findings
    }
}

/// The unit as this version writes it, for the same account and in the same place.
fn fresh(patient: &Patient<'_>, scope: &Scope, text: &str, path: PathBuf) -> Option<UnitFile> {
    let account = || text.lines().find_map(|line| line.strip_prefix("User=")).map(str::to_owned);
    let scope = match scope {
        Scope::User => Scope::User,
        Scope::System(_) => Scope::System(Some(account()?)),
    };
    let service = install::service(patient.global, Manager::Systemd, scope).ok()?;
    let file = Manager::Systemd.product(&service).ok()?.files.into_iter().next()?;
    // This program, and the options of this very call, may be others than the unit's.
    (command(&file.text) == command(text)).then_some(UnitFile { path, ..file })
}

/// Where systemd keeps a file for each user who does.
const LINGERS: &str = "/var/lib/systemd/linger";

/// A user's systemd ends with the last session of that user, unless somebody said that it lingers.
fn linger(users: &Path) -> Option<Finding> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??.name;
    (!users.join(&user).exists()).then(|| {
        Finding::new(
            "linger",
            format!("{user} does not linger"),
            "the gateway ends when you log out, and does not start with the machine",
            format!("loginctl enable-linger {user}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Restart=on-failure\nRestartPreventExitStatus=78\nRestartForceExitStatus=75\nSuccessExitStatus=75\n\
        KillMode=mixed\nTimeoutStopUSec=1min 30s\nStartLimitIntervalUSec=0\nStartLimitBurst=5\nUnitFileState=enabled\nNeedDaemonReload=no\n\
        NotifyAccess=main\nFileDescriptorStoreMax=1\n";

    fn found(change: (&str, &str)) -> Vec<(&'static str, String)> {
        let text = GOOD.replace(change.0, change.1);
        let unit = Unit { systemctl: "systemctl", state: UnitState::parse(&text) };
        let findings = unit.against_the_table(Some(&Limits::default()));
        findings.into_iter().map(|finding| (finding.check, finding.what)).collect()
    }

    #[test]
    fn a_unit_as_we_write_it_is_without_findings_and_each_deviation_is_named() {
        assert_eq!(found(("", "")), []);
        for (change, check, what) in [
            (("Restart=on-failure", "Restart=always"), "restart policy", "exit status 0 systemd starts it again"),
            (("Restart=on-failure", "Restart=no"), "restart policy", "a death by a signal systemd leaves it dead"),
            (("RestartForceExitStatus=75\n", ""), "restart policy", "exit status 75 systemd leaves it dead"),
            (("RestartPreventExitStatus=78\n", ""), "restart policy", "exit status 78 systemd starts it again"),
            (("KillMode=mixed", "KillMode=control-group"), "kill mode", "control-group"),
            (("StartLimitIntervalUSec=0", "StartLimitIntervalUSec=10s"), "start limit", "5 starts within 10s"),
            (
                ("TimeoutStopUSec=1min 30s", "TimeoutStopUSec=20s"),
                "stop limit",
                "after 20 s, the configured budgets need 45 s",
            ),
            (("FileDescriptorStoreMax=1", "FileDescriptorStoreMax=0"), "socket", "keeps no socket"),
            (("NotifyAccess=main", "NotifyAccess=none"), "socket", "does not listen"),
            (("NeedDaemonReload=no", "NeedDaemonReload=yes"), "unit", "has changed"),
            (("UnitFileState=enabled", "UnitFileState=disabled"), "unit", "disabled"),
        ] {
            let findings = found(change);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert_eq!(findings[0].0, check);
            assert!(findings[0].1.contains(what), "{findings:?}");
        }
        assert_eq!(found(("TimeoutStopUSec=1min 30s", "TimeoutStopUSec=infinity")), []);
        // By hand, with nothing said of 75: it is a failure like any other.
        assert_eq!(found(("RestartForceExitStatus=75\nSuccessExitStatus=75\n", "")), []);
    }

    #[test]
    fn a_unit_of_ours_is_old_by_its_version_or_by_what_it_lacks() {
        let age = |lines: &str, version: &str| {
            let unit = Unit { systemctl: "systemctl", state: UnitState::parse(lines) };
            unit.age(version).map(|(age, _)| age)
        };
        let told =
            "ExecStopPost={ path=/bin/evergate ; argv[]=/bin/evergate last-words --state-dir /x ; ignore_errors=yes }";
        assert_eq!(age(told, VERSION), None);
        assert!(age(told, "0.0.1").is_some_and(|age| age.contains("version 0.0.1")));
        assert!(age("ExecStopPost=", VERSION).is_some_and(|age| age.contains("no ExecStopPost=")));
    }

    #[test]
    fn a_user_who_does_not_linger_is_found_with_the_command_that_mends_it() {
        let users = tempfile::tempdir().unwrap();
        let found = linger(users.path()).unwrap();
        assert_eq!(found.check, "linger");
        assert!(found.what.ends_with("does not linger"), "{found:?}");
        let user = found.mend.strip_prefix("loginctl enable-linger ").unwrap().to_owned();
        std::fs::write(users.path().join(user), "").unwrap();
        assert!(linger(users.path()).is_none());
    }

    #[test]
    fn a_unit_is_known_by_the_directory_that_its_command_names() {
        let unit = "[Service]\nExecStart=/bin/evergate run --state-dir /var/lib/evergate --config /etc/e.toml\n";
        assert!(names_directory(unit, Path::new("/var/lib/evergate")));
        assert!(!names_directory(unit, Path::new("/var/lib/ever")));
        assert!(!names_directory(unit, Path::new("/srv")));
    }
}
