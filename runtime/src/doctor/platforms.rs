//! The platforms beside the local one: what they need on this machine, and whether they reach their servers. Where a gateway
//! runs, it is asked how they are; otherwise the servers' addresses are tried. No token is sent anywhere.

use super::gateway::Life;
use super::knock::knock;
use super::{Finding, Fix, Patient};
use crate::config::Config;
use crate::http::Base;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(super) fn check(patient: &Patient<'_>, life: &Life) -> Vec<Finding> {
    let Some(config) = &patient.config else { return Vec::new() };
    let mut findings: Vec<Finding> = secrets(config).filter_map(|(key, file)| secret(key, Path::new(file))).collect();
    let telegram = &config.telegram;
    let bot = !telegram.token_file.is_empty() || !telegram.token_env.is_empty();
    if bot && telegram.allowed_users.is_empty() && telegram.operators.is_empty() {
        findings.push(Finding::new(
            "platform",
            "telegram: nobody may talk to the bot".to_owned(),
            "every message is passed over",
            "write your numeric user id under telegram.operators; the log names it when you write to the bot"
                .to_owned(),
        ));
    }
    match life {
        Life::Answers(status) => {
            findings.extend(status["platforms"].as_array().into_iter().flatten().filter_map(state))
        }
        Life::Silent(_) | Life::Nobody => {
            let servers = [("telegram", bot, &telegram.api_base), ("matrix", true, &config.matrix.homeserver)];
            let servers = servers.into_iter().filter(|(_, wanted, address)| *wanted && !address.is_empty());
            findings.extend(servers.filter_map(|(platform, _, address)| reach(platform, address)));
        }
    }
    findings
}

/// The files with secrets that the configuration names.
fn secrets(config: &Config) -> impl Iterator<Item = (&'static str, &str)> {
    let files = [
        ("telegram.token_file", config.telegram.token_file.as_str()),
        ("matrix.token_file", &config.matrix.token_file),
        ("matrix.password_file", &config.matrix.password_file),
    ];
    files.into_iter().filter(|(_, file)| !file.is_empty())
}

fn secret(key: &str, file: &Path) -> Option<Finding> {
    let there = match std::fs::metadata(file) {
        Ok(there) => there,
        Err(error) => {
            return Some(Finding::new(
                "platform",
                format!("the file that {key} names, {}, cannot be read: {error}", file.display()),
                "this platform parks itself; the rest serves",
                format!("put the secret there, or correct {key}"),
            ));
        }
    };
    let mode = there.mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        Finding::new(
            "mode",
            format!("{} has mode {mode:04o}, not 0600", file.display()),
            "others may get at it",
            format!("chmod 0600 {}", file.display()),
        )
        .with_fix(Fix::Mode(file.to_owned(), 0o600))
    })
}

/// What a running gateway says of a platform.
fn state(platform: &serde_json::Value) -> Option<Finding> {
    let text = |key: &str| platform[key].as_str().unwrap_or_default();
    let (state, why) = (text("state"), text("why"));
    let consequence = match state {
        "up" => return None,
        "parked" => "its chats are not served; the others are",
        _ => "its chats wait until that is over",
    };
    Some(Finding::new(
        "platform",
        format!("{} is {state}{}{why}", text("platform"), if why.is_empty() { "" } else { ": " }),
        consequence,
        "look at the reason; after a change of the configuration, `evergate restart`".to_owned(),
    ))
}

/// Whether a server can be reached.
fn reach(platform: &str, address: &str) -> Option<Finding> {
    let base: Base = address.parse().ok()?;
    knock(&base).err().map(|error| {
        Finding::new(
            "platform",
            format!("{platform}: {base} cannot be reached: {error}"),
            "its chats wait until it can be",
            "look after the network, or correct the server's address in the configuration".to_owned(),
        )
    })
}
