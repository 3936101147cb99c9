//! The platforms that a configuration names, each made from its section.

use super::Platform;
use super::matrix::{Credential, Matrix};
use super::telegram::{Hook, Settings, Telegram};
use crate::config::{self, Config};
use crate::http::Trust;
use crate::secret::Secret;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The platforms beside the local one. What is wrong with the files that they need is told by the platform itself when it
/// runs: it parks, and the rest serves.
#[must_use]
pub fn configured(config: &Config) -> Vec<Arc<dyn Platform>> {
    let limit = config.files.limit;
    let telegram = telegram(&config.telegram, limit).map(|telegram| Arc::new(telegram) as Arc<dyn Platform>);
    let matrix = matrix(&config.matrix, limit).map(|matrix| Arc::new(matrix) as Arc<dyn Platform>);
    telegram.into_iter().chain(matrix).chain(OWN.get().into_iter().flat_map(|make| make())).collect()
}

/// Makes platforms.
type Make = fn() -> Vec<Arc<dyn Platform>>;

/// Makes the platforms of whoever builds a gateway of their own around this library.
static OWN: OnceLock<Make> = OnceLock::new();

/// Has every gateway of this process serve these platforms as well. Said once, before [`crate::program::main`].
pub fn serve_also(make: Make) {
    if OWN.set(make).is_err() {
        tracing::warn!("platforms of one's own are named once; these are left out");
    }
}

fn telegram(section: &config::Telegram, file_limit: u64) -> Option<Telegram> {
    let token = match (section.token_file.as_str(), section.token_env.as_str()) {
        ("", "") => return None,
        ("", variable) => Secret::from_environment(variable),
        (file, _) => Secret::from_file(Path::new(file)),
    };
    let settings = || {
        Ok(Settings {
            token: token?,
            api_base: section.api_base.parse().map_err(|why| format!("telegram.api_base {why}"))?,
            allowed: numbers("telegram.allowed_users", &section.allowed_users)?,
            operators: numbers("telegram.operators", &section.operators)?,
            stranger_reply: Some(section.stranger_reply.clone()).filter(|reply| !reply.is_empty()),
            webhook: Some(&section.webhook)
                .filter(|url| !url.is_empty())
                .map(|url| Hook { url: url.clone(), listen: section.webhook_listen }),
            // The server answers no later than after 50 s, and counts whole seconds.
            poll: section.poll.clamp(Duration::from_secs(1), Duration::from_secs(50)),
            file_limit,
        })
    };
    let settings: Result<Settings, String> = settings();
    Some(Telegram::new(settings.map_err(|why| format!("{why}; mend that and restart"))))
}

fn numbers(key: &str, names: &[String]) -> Result<BTreeSet<i64>, String> {
    let number = |name: &String| name.trim().parse().map_err(|_| format!("{key}: {name:?} is no numeric user id"));
    names.iter().map(number).collect()
}

fn matrix(section: &config::Matrix, file_limit: u64) -> Option<Matrix> {
    // An address that is none was refused with the configuration.
    let homeserver = section.homeserver.parse().ok()?;
    let read = |path: &str| Secret::from_file(Path::new(path));
    let credential = match (section.token_file.as_str(), section.password_file.as_str()) {
        ("", "") => {
            Err("neither matrix.token_file nor matrix.password_file is set; name the file with the secret and restart"
                .into())
        }
        ("", password) => read(password).map(Credential::Password),
        (token, _) => read(token).map(Credential::Token),
    };
    Some(Matrix {
        homeserver,
        trust: Trust::system(),
        user: section.user.clone(),
        credential: credential.map_err(|why| format!("{why}; mend that and restart")),
        allowed_users: section.allowed_users.clone(),
        operators: section.operators.clone(),
        file_limit,
    })
}
