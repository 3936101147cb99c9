//! The job for launchd, as a property list. launchd knows neither readiness nor a status that parks: a stop and a mistake
//! both end with 0 there, which `SuccessfulExit` leaves down.

use super::owned::{Comment, UnitFile};
use super::{InstallError, Product, Scope, Service, home, shell};
use crate::detect::{KILL_AFTER, SUPERVISOR};
use crate::launchd::{DOMAIN, GUI, SYSTEM};
use evergate_core::supervisor::Supervisor;
use std::path::PathBuf;

const LABEL: &str = "evergate.gateway";
const FIRST_LINE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

pub(super) fn product(service: &Service) -> Result<Product, InstallError> {
    let name = format!("{LABEL}.plist");
    let (path, log, domain) = match service.scope {
        Scope::User => (home("Library/LaunchAgents")?.join(name), home("Library/Logs/evergate.log")?, "gui/$(id -u)"),
        Scope::System(_) => {
            (PathBuf::from("/Library/LaunchDaemons").join(name), PathBuf::from("/Library/Logs/evergate.log"), "system")
        }
    };
    let begin = vec![
        format!("launchctl bootstrap {domain} {}", shell(&path)),
        format!("evergate status --state-dir {}", shell(&service.state_dir)),
    ];
    let end = vec![format!("launchctl bootout {domain}/{LABEL}")];
    let text = plist(service, &log.display().to_string());
    let file = UnitFile { path, mode: 0o644, first_line: Some(FIRST_LINE), comment: Comment::Xml, text };
    Ok(Product { supervisor: Supervisor::LaunchdSuccessfulExit, files: vec![file], begin, end })
}

fn plist(service: &Service, log: &str) -> String {
    let unit = service.unit(Supervisor::LaunchdSuccessfulExit);
    let words = std::iter::once(service.program.display().to_string()).chain(service.words());
    let arguments: String = words.map(|word| format!("    <string>{}</string>\n", escaped(&word))).collect();
    let account = match &service.scope {
        Scope::System(Some(account)) => format!("  <key>UserName</key>\n  <string>{}</string>\n", escaped(account)),
        Scope::System(None) | Scope::User => String::new(),
    };
    let limit = unit.kill_after.unwrap_or_default().as_secs();
    format!(
        "\
<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<plist version=\"1.0\">
<dict>
  <key>Label</key>
  <string>{LABEL}</string>
  <key>ProgramArguments</key>
  <array>
{arguments}  </array>
{account}  <key>EnvironmentVariables</key>
  <dict>
    <key>{SUPERVISOR}</key>
    <string>{name}</string>
    <!-- Where `launchctl` finds this job, for `evergate restart`. -->
    <key>{DOMAIN}</key>
    <string>{domain}</string>
    <!-- What stands below as ExitTimeOut: launchd does not tell, so change both. -->
    <key>{KILL_AFTER}</key>
    <string>{limit}s</string>
  </dict>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ThrottleInterval</key>
  <integer>{pause}</integer>
  <key>ExitTimeOut</key>
  <integer>{limit}</integer>
  <key>Umask</key>
  <integer>63</integer>
  <key>StandardErrorPath</key>
  <string>{log}</string>
</dict>
</plist>
",
        domain = match service.scope {
            Scope::User => GUI,
            Scope::System(_) => SYSTEM,
        },
        name = Supervisor::LaunchdSuccessfulExit.name(),
        pause = unit.pause.as_secs(),
        log = escaped(log),
    )
}

/// Text between two tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
