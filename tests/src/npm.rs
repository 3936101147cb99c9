//! Programs that come from npm: each is installed once, below a folder that is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program at `program` of this package (`name@version`), which is installed in `folder` if it is not there yet.
///
/// # Errors
/// Where node or npm are not there, or npm cannot bring the package within two minutes.
pub fn installed(package: &str, folder: &Path, program: &str) -> Result<PathBuf, String> {
    let is_there =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    if let Some(missing) = ["timeout", "node", "npm"].iter().find(|program| !is_there(program)) {
        return Err(format!("{missing} is not installed"));
    }
    let program = folder.join("node_modules").join(program);
    if !program.exists() {
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let arguments =
            ["120", "npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", ".", package];
        let npm = Command::new("timeout").args(arguments).current_dir(folder).output();
        let npm = npm.map_err(|error| error.to_string())?;
        if !npm.status.success() || !program.exists() {
            let said = String::from_utf8_lossy(&npm.stderr).trim().to_owned();
            return Err(format!("{package} could not be installed from npm: {said}"));
        }
    }
    Ok(program)
}
