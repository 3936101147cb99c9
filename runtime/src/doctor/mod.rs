//! `evergate doctor`: looks at everything that a gateway needs around it and says what is wrong, what comes of it, and the
//! command that mends it. One file a group of checks. With `--fix` it mends what can be mended without asking: file
//! modes, and a file of `evergate install` that an older version wrote and nobody has changed. It never starts or stops anything.

mod configuration;
mod gateway;
mod installed;
mod knock;
mod platforms;
mod state;
mod systemd;

use self::gateway::Life;
use crate::cli::Global;
use crate::config::Config;
use crate::install::owned::UnitFile;
use crate::logging;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The exit status when something was found that still stands.
const FOUND: u8 = 1;

/// The arguments of `evergate doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Mend what can be mended safely: file modes, and what an older version installed
    #[arg(long)]
    fix: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it; a short name for scripts.
    pub check: &'static str,
    /// What is so.
    pub what: String,
    /// What comes of it.
    pub consequence: String,
    /// What a person does about it: a command where there is one.
    pub mend: String,
    /// What `--fix` does about it.
    pub fix: Fix,
}

/// What can be mended without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Nothing.
    None,
    /// A file or folder of ours gets these permissions.
    Mode(PathBuf, u32),
    /// A file of ours is written anew; then it takes this for whoever reads it to know.
    Rewrite(UnitFile, String),
}

impl Finding {
    fn new(check: &'static str, what: String, consequence: &str, mend: String) -> Self {
        Self { check, what, consequence: consequence.to_owned(), mend, fix: Fix::None }
    }

    fn with_fix(self, fix: Fix) -> Self {
        Self { fix, ..self }
    }

    /// Mends it, and says what was done; `None` when that is not for us.
    fn mended(&self) -> Option<Result<String, String>> {
        match &self.fix {
            Fix::None => None,
            Fix::Mode(path, mode) => Some(
                std::fs::set_permissions(path, Permissions::from_mode(*mode))
                    .map(|()| format!("{} has mode {mode:04o} now", path.display()))
                    .map_err(|error| format!("{}: {error}", path.display())),
            ),
            Fix::Rewrite(file, then) => Some(
                file.write()
                    .map(|()| format!("{} was written anew; next: {then}", file.path.display()))
                    .map_err(|error| error.to_string()),
            ),
        }
    }
}

/// What the checks look at.
struct Patient<'a> {
    global: &'a Global,
    state_dir: &'a Path,
    /// `None` when it is not valid: then some checks have nothing to compare with.
    config: Option<Config>,
}

/// Looks, and says what was found.
#[must_use]
pub fn run(global: &Global, arguments: &Arguments) -> ExitCode {
    let state_dir = match global.state_dir() {
        Ok(state_dir) => state_dir,
        Err(error) => {
            logging::complain(&error);
            return ExitCode::from(evergate_core::verdict::PARK);
        }
    };
    let (life, findings) = match state::closed(&state_dir) {
        Some(finding) => (Life::Nobody, vec![finding]),
        None => examine(global, &state_dir),
    };
    let told: Vec<(Finding, Option<Result<String, String>>)> = findings
        .into_iter()
        .map(|finding| {
            let mended = if arguments.fix { finding.mended() } else { None };
            (finding, mended)
        })
        .collect();
    let text = if arguments.json { json(&told) } else { text(&state_dir, &life, &told) };
    // A reader who has seen enough (`| head`) is no error.
    let _unread = std::io::stdout().write_all(text.as_bytes());
    let standing = told.iter().any(|(_, mended)| !matches!(mended, Some(Ok(_))));
    if standing { ExitCode::from(FOUND) } else { ExitCode::SUCCESS }
}

fn examine(global: &Global, state_dir: &Path) -> (Life, Vec<Finding>) {
    let (config, mut findings) = configuration::check(global, state_dir);
    let patient = Patient { global, state_dir, config };
    let life = gateway::ask(&patient);
    findings.extend(gateway::check(&patient, &life));
    findings.extend(state::check(&patient, &life));
    findings.extend(platforms::check(&patient, &life));
    findings.extend(systemd::check(&patient));
    findings.extend(installed::check(&patient));
    (life, findings)
}

type Told = (Finding, Option<Result<String, String>>);

fn text(state_dir: &Path, life: &Life, told: &[Told]) -> String {
    if told.is_empty() {
        let runs = if matches!(life, Life::Nobody) { "; no gateway runs, and nobody waits for one" } else { "" };
        return format!("all is well with {}{runs}\n", state_dir.display());
    }
    let one = |(finding, mended): &Told| {
        let last = match mended {
            None => format!("mend:   {}", finding.mend),
            Some(Ok(done)) => format!("mended: {done}"),
            Some(Err(error)) => format!("could not be mended: {error}\n  mend:   {}", finding.mend),
        };
        format!("{}: {}\n  so:     {}\n  {last}\n", finding.check, finding.what, finding.consequence)
    };
    told.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn json(told: &[Told]) -> String {
    let one = |(finding, mended): &Told| {
        serde_json::json!({
            "check": finding.check,
            "what": finding.what,
            "consequence": finding.consequence,
            "mend": finding.mend,
            "fixable": finding.fix != Fix::None,
            "fixed": matches!(mended, Some(Ok(_))),
        })
    };
    let findings: Vec<_> = told.iter().map(one).collect();
    format!("{:#}\n", serde_json::json!({ "findings": findings }))
}
