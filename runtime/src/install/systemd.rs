//! The unit for systemd. It says nothing that systemd 248 does not know, so one text serves every version that a supported
//! distribution has, and nothing that an agent below the gateway would feel beyond the rights it must not have.

use super::owned::{Comment, UnitFile};
use super::{InstallError, Product, Scope, Service, home, shell};
use evergate_core::supervisor::{Park, Supervisor};
use evergate_core::unit::Unit;
use evergate_core::verdict::RESTART;
use std::path::{Component, Path, PathBuf};

/// The name of the unit.
pub const NAME: &str = "evergate.service";
/// The command that a unit runs behind each end of its gateway.
pub const LAST_WORDS: &str = "last-words";
/// Where units of the machine go.
const SYSTEM_UNITS: &str = "/etc/systemd/system";
/// The folder below which systemd makes state directories with the right owner.
const STATE_ROOT: &str = "/var/lib";

pub(super) fn product(service: &Service) -> Result<Product, InstallError> {
    let path = path(&service.scope)?;
    let (systemctl, target) = match service.scope {
        Scope::User => ("systemctl --user", "default.target"),
        Scope::System(_) => ("systemctl", "multi-user.target"),
    };
    let mut begin = vec![format!("{systemctl} daemon-reload"), format!("{systemctl} enable --now {NAME}")];
    match service.scope {
        Scope::User => {
            begin.push("loginctl enable-linger    # it then runs while you are not logged in, too".to_owned())
        }
        Scope::System(_) => begin.push(format!("evergate status --state-dir {}", shell(&service.state_dir))),
    }
    let end = vec![
        format!("{systemctl} stop {NAME}"),
        format!("{systemctl} disable {NAME}"),
        format!("{systemctl} daemon-reload"),
    ];
    let text = unit(service, &service.unit(Supervisor::Systemd), target);
    let file = UnitFile { path, mode: 0o644, first_line: None, comment: Comment::Hash, text };
    Ok(Product { supervisor: Supervisor::Systemd, files: vec![file], begin, end })
}

/// Where the unit goes, of the user or of the machine.
pub fn path(scope: &Scope) -> Result<PathBuf, InstallError> {
    let configured = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = match (scope, configured) {
        (Scope::System(_), _) => PathBuf::from(SYSTEM_UNITS),
        (Scope::User, Some(folder)) => folder.join("systemd/user"),
        (Scope::User, None) => home(".config/systemd/user")?,
    };
    Ok(folder.join(NAME))
}

fn unit(service: &Service, unit: &Unit, target: &str) -> String {
    // The same options, with any command in the place of `run`.
    let command = |name: &str| {
        let options = service.words().into_iter().skip(1);
        let words = [service.program.display().to_string(), name.to_owned()].into_iter().chain(options);
        words.map(|word| escaped(&word)).collect::<Vec<_>>().join(" ")
    };
    let park = match unit.contract.park {
        Park::Exit(status) => format!("RestartPreventExitStatus={status}\n"),
        Park::StayUp => String::new(),
    };
    let watchdog = unit
        .watchdog
        .map_or_else(String::new, |limit| format!("WatchdogSec={}\nWatchdogSignal=SIGKILL\n", limit.as_secs()));
    let (of_the_machine, hardening) = match &service.scope {
        Scope::User => (String::new(), ""),
        Scope::System(account) => (of_the_machine(service, account.as_deref()), SYSTEM_HARDENING),
    };
    format!(
        "\
[Unit]
Description=Evergate chat-agent gateway
# The gateway bounds its own failures; a few quick deaths must not leave the service dead.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
# systemd keeps the listening socket over restarts and crashes: whoever connects meanwhile waits and is served.
FileDescriptorStoreMax=1
{of_the_machine}ExecStart={run}
ExecReload={reload}
# A process that is killed says nothing itself: this tells the next one what systemd knows of it.
ExecStopPost=-{last_words}
# 0 is a stop that somebody asked for, {RESTART} asks for another start, 78 is a mistake that a start cannot mend.
# With Restart=always an `evergate stop` would be undone at once.
Restart=on-failure
RestartSec={pause}ms
RestartForceExitStatus={RESTART}
SuccessExitStatus={RESTART}
{park}# SIGTERM goes to the gateway alone; its agents live through the drain, and what is left at the end is killed.
KillMode=mixed
# The budgets of an end ({room} s with their margins) must fit into this.
TimeoutStopSec={kill_after}
# Both are behind the gateway's own watchdog, which knows what is stuck and writes it down. A process that stands still
# as a whole takes no other signal.
TimeoutStartSec={start}
{watchdog}# An agent that eats up the memory must not take the gateway with it.
OOMPolicy=continue
UMask=0077
NoNewPrivileges=yes
RestrictRealtime=yes
{hardening}
[Install]
WantedBy={target}
",
        run = command("run"),
        reload = command("reload"),
        last_words = command(LAST_WORDS),
        pause = unit.pause.as_millis(),
        room = unit.room.as_secs(),
        kill_after = unit.kill_after.map_or_else(|| "infinity".to_owned(), |limit| limit.as_secs().to_string()),
        start = unit.start.as_secs(),
    )
}

/// What an ordinary account may not do anyway; a user's own systemd has no right to forbid it.
const SYSTEM_HARDENING: &str = "\
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
";

/// The account, and a state directory that it may write to.
fn of_the_machine(service: &Service, account: Option<&str>) -> String {
    let account = account.map_or_else(String::new, |account| format!("User={account}\n"));
    let below = service.state_dir.strip_prefix(STATE_ROOT).ok();
    let plain = |below: &&Path| {
        let mut parts = below.components();
        matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none()
    };
    let state = below.filter(plain).map_or_else(String::new, |name| {
        format!("StateDirectory={}\nStateDirectoryMode=0700\n", escaped(&name.display().to_string()))
    });
    format!("{account}{state}")
}

/// One word of a command line as systemd.service(5) reads it: `%` and `$` stand for themselves only when doubled.
#[must_use]
pub fn escaped(word: &str) -> String {
    let doubled = word.replace('%', "%%").replace('$', "$$");
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+@:,=%$".contains(character);
    if !doubled.is_empty() && doubled.chars().all(plain) {
        return doubled;
    }
    let inner: String = doubled
        .chars()
        .map(|character| match character {
            '"' | '\\' => format!("\\{character}"),
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            other => other.to_string(),
        })
        .collect();
    format!("\"{inner}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_escaped_as_systemd_reads_them() {
        for (word, written) in [
            ("/usr/bin/evergate", "/usr/bin/evergate"),
            ("/home/my user/x", "\"/home/my user/x\""),
            ("100%$", "100%%$$"),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("", "\"\""),
        ] {
            assert_eq!(escaped(word), written);
        }
    }
}
