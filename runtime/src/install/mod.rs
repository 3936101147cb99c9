//! `evergate install` and `evergate uninstall`: the files with which a supervisor keeps the gateway, and where they go. Each
//! manager's own file says how the numbers of [`Unit`] are written for it. Nothing here starts, stops or enables
//! anything: the commands for that are printed.

mod docker;
mod kubernetes;
mod launchd;
pub mod owned;
mod s6;
pub mod systemd;
#[cfg(test)]
mod tests;

use crate::cli::Global;
use crate::config::{Config, FileSource, Sources};
use crate::{logging, meaning};
use evergate_core::limits::Limits;
use evergate_core::supervisor::Supervisor;
use evergate_core::unit::Unit;
use evergate_core::watchdog::Bounds;
use owned::{Ownership, UnitFile};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Where a system unit keeps its state when nobody says anything.
const SYSTEM_STATE_DIR: &str = "/var/lib/evergate";
/// The exit status for files that cannot be written or are somebody else's (`EX_CANTCREAT` of sysexits).
const CANNOT_CREATE: u8 = 73;
/// The exit status for a command line that makes no sense (`EX_USAGE`).
const USAGE: u8 = 64;

/// Who is to keep the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Manager {
    /// A unit of systemd, 248 or newer
    Systemd,
    /// A job of launchd
    Launchd,
    /// A service directory of s6
    S6,
    /// A compose file and a Dockerfile
    Docker,
    /// A manifest
    Kubernetes,
}

/// The arguments of `evergate install` and `evergate uninstall`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// For you alone, without root
    #[arg(long, conflicts_with = "system")]
    pub user: bool,
    /// For the machine; needs --run-as
    #[arg(long)]
    pub system: bool,
    /// The account that a gateway of the machine runs as; `root` only if you really say so
    #[arg(long, value_name = "USER", requires = "system")]
    pub run_as: Option<String>,
    /// Who is to keep the gateway; by default launchd on macOS, systemd elsewhere
    #[arg(long, value_enum)]
    pub manager: Option<Manager>,
    /// Print the files and touch nothing
    #[arg(long)]
    pub print: bool,
}

/// What `evergate uninstall` has to know.
#[derive(Clone, Debug, clap::Args)]
pub struct Removal {
    /// For you alone, without root
    #[arg(long, conflicts_with = "system")]
    pub user: bool,
    /// For the machine
    #[arg(long)]
    pub system: bool,
    /// Who keeps the gateway; by default launchd on macOS, systemd elsewhere
    #[arg(long, value_enum)]
    pub manager: Option<Manager>,
}

/// For whom a service runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One user, by that user's own supervisor.
    User,
    /// The machine, under this account; `None` when it does not matter, as for removing it.
    System(Option<String>),
}

/// A gateway as a supervisor is to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The `evergate` binary.
    pub program: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The configuration file, if it is not the state directory's own.
    pub config: Option<PathBuf>,
    /// For whom.
    pub scope: Scope,
    /// What the budgets are derived from.
    pub limits: Limits,
    /// What the watchdogs' limits are derived from.
    pub bounds: Bounds,
}

/// What a manager needs: its files, and what a person does before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Whose terms it keeps.
    pub supervisor: Supervisor,
    /// The files.
    pub files: Vec<UnitFile>,
    /// The commands that bring the gateway up once the files are there.
    pub begin: Vec<String>,
    /// The commands that end it once the files are gone.
    pub end: Vec<String>,
}

/// Why nothing was installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The arguments do not go together.
    #[error("{0}")]
    Usage(String),
    /// It is not known where the state directory or the folder of units is.
    #[error("{0}")]
    Place(String),
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A file is not ours to touch.
    #[error(transparent)]
    Owned(#[from] owned::OwnedError),
}

impl InstallError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Place(_) | Self::Config(_) => evergate_core::verdict::PARK,
            Self::Owned(_) => CANNOT_CREATE,
        }
    }
}

impl Manager {
    /// The one that this machine most likely has.
    #[must_use]
    pub const fn usual() -> Self {
        if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
            Self::S6 => "s6",
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// The files and commands for this service.
    pub fn product(self, service: &Service) -> Result<Product, InstallError> {
        match self {
            Self::Systemd => systemd::product(service),
            Self::Launchd => launchd::product(service),
            Self::S6 => Ok(s6::product(service)),
            Self::Docker => Ok(docker::product(service)),
            Self::Kubernetes => Ok(kubernetes::product(service)),
        }
    }
}

impl Service {
    /// The numbers of the unit that keeps it.
    #[must_use]
    pub fn unit(&self, supervisor: Supervisor) -> Unit {
        Unit::new(supervisor, &self.limits, self.bounds)
    }

    /// The words after the program's name.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["run".to_owned(), "--state-dir".to_owned(), self.state_dir.display().to_string()];
        if let Some(config) = &self.config {
            words.extend(["--config".to_owned(), config.display().to_string()]);
        }
        words
    }

    /// The folder for files that have no fixed place of their own.
    fn folder(&self, manager: Manager) -> PathBuf {
        self.state_dir.join("install").join(manager.name())
    }
}

/// Installs, and says how that ended.
#[must_use]
pub fn install(global: &Global, arguments: &Arguments) -> ExitCode {
    report(try_install(global, arguments))
}

/// Removes what was installed, and says how that ended.
#[must_use]
pub fn uninstall(global: &Global, arguments: &Removal) -> ExitCode {
    report(try_uninstall(global, arguments))
}

fn report(outcome: Result<String, InstallError>) -> ExitCode {
    match outcome {
        Ok(text) => {
            // A reader who has seen enough (`| head`) is no error.
            let _unread = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            logging::complain(&error);
            ExitCode::from(error.exit_status())
        }
    }
}

fn try_install(global: &Global, arguments: &Arguments) -> Result<String, InstallError> {
    let manager = arguments.manager.unwrap_or(Manager::usual());
    let scope = scope(manager, arguments.user, arguments.system, arguments.run_as.as_deref(), !arguments.print)?;
    let service = service(global, manager, scope)?;
    let product = manager.product(&service)?;
    let unit = service.unit(product.supervisor);
    if let Some(limit) = unit.too_short() {
        logging::complain(&format_args!(
            "warning: {} kills {} after it asked us to end, and the configured budgets need {}: they will be shortened. \
             Lower drain.budget to have them as configured",
            manager.name(),
            seconds(limit),
            seconds(unit.room),
        ));
    }
    if arguments.print {
        return Ok(printed(&product.files));
    }
    for file in &product.files {
        file.may_be_written()?;
    }
    let mut text = String::new();
    for file in &product.files {
        file.write()?;
        text.push_str(&format!("wrote {}\n", file.path.display()));
    }
    text.push_str(&commands("Next:", &product.begin));
    Ok(text)
}

fn try_uninstall(global: &Global, arguments: &Removal) -> Result<String, InstallError> {
    let manager = arguments.manager.unwrap_or(Manager::usual());
    let scope = match (arguments.user, arguments.system) {
        (_, true) => Scope::System(None),
        (true, _) => Scope::User,
        (false, false) if !manager.asks_for_scope() => Scope::User,
        (false, false) => return Err(says_for_whom()),
    };
    // Which files there are does not depend on the configuration, which may be broken or gone by now.
    let (state_dir, _) = places(global, manager, &scope)?;
    let service = Service {
        program: program()?,
        state_dir,
        config: None,
        scope,
        limits: Limits::default(),
        bounds: meaning::bounds(&Config::default()),
    };
    let product = manager.product(&service)?;
    for file in &product.files {
        file.may_be_removed()?;
    }
    let mut text = String::new();
    for file in &product.files {
        if file.ownership()? == Ownership::Absent {
            text.push_str(&format!("{} was not there\n", file.path.display()));
            continue;
        }
        file.remove()?;
        text.push_str(&format!("removed {}\n", file.path.display()));
    }
    remove_empty(&service.folder(manager));
    text.push_str(&commands("Next, if it still runs:", &product.end));
    Ok(text)
}

/// Removes a folder of ours that has nothing in it any more; one that somebody put something into stays.
fn remove_empty(folder: &Path) {
    for folder in folder.ancestors().take(2) {
        if let Err(error) = std::fs::remove_dir(folder) {
            tracing::debug!(%error, folder = %folder.display(), "a folder stays");
            return;
        }
    }
}

impl Manager {
    /// Whether it keeps services of users apart from those of the machine.
    const fn asks_for_scope(self) -> bool {
        matches!(self, Self::Systemd | Self::Launchd)
    }

    /// The command that writes its files anew, for a gateway with these options.
    #[must_use]
    pub fn install_again(self, scope: &Scope, options: &str) -> String {
        let scope = match scope {
            _ if !self.asks_for_scope() => None,
            Scope::User => Some("--user"),
            Scope::System(_) => Some("--system --run-as USER"),
        };
        let manager = (self != Self::usual()).then(|| format!("--manager {}", self.name()));
        let options = Some(options).filter(|options| !options.is_empty());
        let words = [Some("evergate install"), manager.as_deref(), scope, options];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// What makes its new files count for a gateway that it keeps already.
    #[must_use]
    pub fn take_effect(self, product: &Product) -> String {
        let Product { begin, end, .. } = product;
        let commands = match self {
            Self::Systemd | Self::S6 => &[][..],
            Self::Launchd => &[end.first(), begin.first()],
            Self::Docker => &[begin.first()],
            Self::Kubernetes => &[begin.get(1)],
        };
        let commands: Vec<&str> = commands.iter().flatten().map(|command| command.as_str()).collect();
        if commands.is_empty() { "evergate restart".to_owned() } else { commands.join("; ") }
    }
}

fn says_for_whom() -> InstallError {
    InstallError::Usage("say for whom: --user, or --system --run-as USER".to_owned())
}

fn scope(
    manager: Manager,
    user: bool,
    system: bool,
    run_as: Option<&str>,
    on_this_machine: bool,
) -> Result<Scope, InstallError> {
    if !manager.asks_for_scope() {
        if user || system {
            let name = manager.name();
            return Err(InstallError::Usage(format!("{name} knows neither --user nor --system: leave them out")));
        }
        return Ok(Scope::User);
    }
    match (user, system, run_as) {
        (true, ..) => Ok(Scope::User),
        (_, true, Some(account)) => {
            // Another machine may well have accounts that this one has not.
            if on_this_machine && !matches!(nix::unistd::User::from_name(account), Ok(Some(_))) {
                return Err(InstallError::Usage(format!(
                    "there is no user {account} on this machine; make one first: useradd --system --shell /usr/sbin/nologin {account}"
                )));
            }
            Ok(Scope::System(Some(account.to_owned())))
        }
        (_, true, None) => Err(InstallError::Usage(
            "a gateway of the machine needs an account of its own, since its agents run as it does: give --run-as USER"
                .to_owned(),
        )),
        (false, false, _) => Err(says_for_whom()),
    }
}

/// The service that these options describe on this machine.
pub fn service(global: &Global, manager: Manager, scope: Scope) -> Result<Service, InstallError> {
    let (state_dir, file) = places(global, manager, &scope)?;
    // The variables of this shell are not those of the service.
    let config = Config::load(Sources { file, environment: BTreeMap::new(), flags: Vec::new() })?;
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|error| InstallError::Place(format!("{}: {error}", path.display())))
    };
    let explicit = global.config.as_ref().map(absolute).transpose()?;
    Ok(Service {
        program: program()?,
        state_dir,
        config: explicit,
        scope,
        limits: meaning::limits(&config),
        bounds: meaning::bounds(&config),
    })
}

/// The state directory and the configuration file of the service.
fn places(global: &Global, manager: Manager, scope: &Scope) -> Result<(PathBuf, FileSource), InstallError> {
    let said = global.state_dir.is_some() || std::env::var_os("EVERGATE_STATE_DIR").is_some_and(|dir| !dir.is_empty());
    let of_the_machine = matches!((manager, scope), (Manager::Systemd | Manager::Launchd, Scope::System(_)));
    let state_dir = if of_the_machine && !said {
        PathBuf::from(SYSTEM_STATE_DIR)
    } else {
        global.state_dir().map_err(|error| InstallError::Place(error.to_string()))?
    };
    let file = match &global.config {
        Some(path) => FileSource::Explicit(path.clone()),
        None => FileSource::Default(state_dir.join("config.toml")),
    };
    Ok((state_dir, file))
}

fn program() -> Result<PathBuf, InstallError> {
    std::env::current_exe()
        .map_err(|error| InstallError::Place(format!("it cannot be told where this program is: {error}")))
}

/// A folder below the user's own, from a variable of the XDG specification or the home.
fn home(below: &str) -> Result<PathBuf, InstallError> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| InstallError::Place("HOME is not set, so there is no place for it".to_owned()))?;
    Ok(PathBuf::from(home).join(below))
}

/// The files for reading; one alone is printed as it is, so that it can be handed on.
fn printed(files: &[UnitFile]) -> String {
    match files {
        [only] => only.full_text(),
        several => {
            several.iter().map(|file| format!("# ---- {}\n{}\n", file.path.display(), file.full_text())).collect()
        }
    }
}

fn commands(head: &str, lines: &[String]) -> String {
    lines.iter().fold(format!("\n{head}\n"), |text, line| format!("{text}  {line}\n"))
}

fn seconds(length: Duration) -> String {
    format!("{} s", length.as_secs())
}

/// A path for a shell.
fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+@:,=".contains(character);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
