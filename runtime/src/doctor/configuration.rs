//! Whether the configuration is valid, and whether the agent that it names can be started.

use super::Finding;
use super::knock::knock;
use crate::cli::Global;
use crate::config::{Agent, Config, FileSource, Sources, evergate_environment};
use crate::http::Base;
use crate::meaning;
use nix::unistd::{AccessFlags, access};
use std::path::{Path, PathBuf};

/// The configuration as the next start would see it, and what is wrong with it.
pub(super) fn check(global: &Global, state_dir: &Path) -> (Option<Config>, Vec<Finding>) {
    let file = match &global.config {
        Some(path) => FileSource::Explicit(path.clone()),
        None => FileSource::Default(state_dir.join("config.toml")),
    };
    match Config::load(Sources { file, environment: evergate_environment(), flags: Vec::new() }) {
        Ok(config) => {
            let findings = agent(&config).into_iter().chain(model(&config)).collect();
            (Some(config), findings)
        }
        Err(error) => {
            let finding = Finding::new(
                "configuration",
                error.to_string(),
                "the next start parks itself with status 78 and stays down",
                "correct what is named above; `evergate config check` says when it is right".to_owned(),
            );
            (None, vec![finding])
        }
    }
}

/// Whether the model's key is there and its endpoint can be reached. It is not asked anything: that may cost money.
fn model(config: &Config) -> Option<Finding> {
    let Agent::OpenAi(model) = &config.agent else { return None };
    if let Err(why) = meaning::openai_key(model).read() {
        let mend = "correct it as it says, where the gateway is started".to_owned();
        return Some(Finding::new("agent", why, "every turn fails", mend));
    }
    let base: Base = model.base_url.parse().ok()?;
    let error = knock(&base).err()?;
    Some(Finding::new(
        "agent",
        format!("the model's endpoint {base} cannot be reached: {error}"),
        "every turn fails once its time is over",
        "start it, look at the network, or correct agent.openai.base_url".to_owned(),
    ))
}

fn agent(config: &Config) -> Option<Finding> {
    let (program, key) = config.agent.program()?;
    let wrong = if program.contains('/') {
        trouble_with(Path::new(program))?
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places: Vec<PathBuf> = std::env::split_paths(&path).map(|folder| folder.join(program)).collect();
        if places.iter().any(|place| trouble_with(place).is_none()) {
            return None;
        }
        format!("is in none of the folders of PATH ({})", path.display())
    };
    Some(Finding::new(
        "agent",
        format!("the agent's program {program} {wrong}"),
        "every turn fails",
        format!("correct {key}, or make the program there and executable (chmod +x)"),
    ))
}

fn trouble_with(program: &Path) -> Option<String> {
    match std::fs::metadata(program) {
        Err(error) => Some(format!("cannot be found: {error}")),
        Ok(there) if there.is_dir() => Some("is a folder".to_owned()),
        Ok(_) => access(program, AccessFlags::X_OK).err().map(|_| "is not executable".to_owned()),
    }
}
