//! What comes from PyPI: installed once, into a venv of its own in a folder that is kept.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// How long an installation may take, in seconds.
const INSTALLATION: &str = "240";

/// The Python of a venv in `folder` that has these packages; they are installed if its program `probe` does not run yet.
///
/// # Errors
/// Where python3 makes no venv, or pip cannot bring the packages within four minutes.
pub fn installed(packages: &[&str], probe: &str, folder: &Path) -> Result<PathBuf, String> {
    // Tests run beside each other, and two installers in one folder would get in each other's way.
    static INSTALLER: Mutex<()> = Mutex::new(());
    let _alone = INSTALLER.lock().unwrap_or_else(PoisonError::into_inner);
    let python = folder.join("bin/python");
    let works = |python: &Path| run(Command::new(python).args(["-c", probe])).is_ok();
    if works(&python) {
        return Ok(python);
    }
    // What an installation has left that was cut off is begun anew.
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))
        .map_err(|why| format!("python3 makes no venv: {why}"))?;
    let named = packages.join(", ");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new("timeout").arg(INSTALLATION).arg(&python).args(pip).args(packages))
        .map_err(|why| format!("{named} cannot be installed from PyPI: {why}"))?;
    if works(&python) { Ok(python) } else { Err(format!("{named} from PyPI: `{probe}` does not run")) }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(said.lines().last().unwrap_or("no reason given").to_owned()) }
}
