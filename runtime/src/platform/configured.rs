//! The platforms that a configuration names, each made from its section.

use super::Platform;
use super::matrix::{Credential, Matrix};
use crate::config::{self, Config};
use crate::http::Trust;
use crate::secret::Secret;
use std::path::Path;
use std::sync::Arc;

/// The platforms beside the local one. What is wrong with the files that they need is told by the platform itself when it
/// runs: it parks, and the rest serves.
#[must_use]
pub fn configured(config: &Config) -> Vec<Arc<dyn Platform>> {
    let matrix = matrix(&config.matrix).map(|matrix| Arc::new(matrix) as Arc<dyn Platform>);
    matrix.into_iter().collect()
}

fn matrix(section: &config::Matrix) -> Option<Matrix> {
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
    })
}
