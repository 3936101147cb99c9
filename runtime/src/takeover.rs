//! What a candidate answers when a running gateway asks whether it could take over (`evergate run --check-takeover`). It
//! looks at the same configuration as `run` would and at what that needs; it takes no lock, opens no journal and writes
//! nothing, since all of that belongs to the gateway that asks. An address that the gateway does not serve it tries for a moment.

use crate::agent::program::program_file;
use crate::config::{Agent, Config};
use crate::journal::store::SCHEMA;
use crate::meaning;
use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};

/// The status that says that the configuration cannot be used (`EX_CONFIG` of sysexits).
pub const CONFIGURATION: u8 = evergate_core::verdict::PARK;
/// The status that says that this version cannot read the journal (`EX_DATAERR` of sysexits).
pub const OLDER: u8 = 65;

/// Why this program could not take over.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is too old for the journal, or too new.
    #[error(
        "this program (version {version}) knows journals of schema {known}, and the running gateway's has schema {found}; install a version that knows both"
    )]
    Schema {
        /// Its own version.
        version: &'static str,
        /// The schema of the running gateway.
        found: u64,
        /// The schema that it knows.
        known: u64,
    },
    /// There is no agent.
    #[error(
        "the agent program `{program}` ({key}) is not there or cannot be executed; install it, or correct the configuration"
    )]
    NoAgent {
        /// As it is configured.
        program: String,
        /// The setting that names it.
        key: &'static str,
    },
    /// Somebody else listens where this one is to.
    #[error(
        "cannot listen on {address}: {error}; stop whatever listens there, or give another address with --listen or [local] listen"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: String,
    },
    /// A model is to be asked, and something is missing for that.
    #[error("no turn would be answered: {0}")]
    NoModel(String),
}

impl Unfit {
    /// The exit status that says so.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Schema { .. } => OLDER,
            Self::NoAgent { .. } | Self::Listen { .. } | Self::NoModel(_) => CONFIGURATION,
        }
    }
}

/// Looks at everything that a start with this configuration would need, beside the schema that the running gateway's
/// journal has, if one asks.
pub fn check(config: &Config, path: Option<&OsStr>, schema: Option<u64>) -> Result<(), Unfit> {
    if let Some(found) = schema.filter(|found| *found != SCHEMA) {
        return Err(Unfit::Schema { version: env!("CARGO_PKG_VERSION"), found, known: SCHEMA });
    }
    if let Agent::OpenAi(model) = &config.agent {
        meaning::openai_settings(model).missing().map_or(Ok(()), |why| Err(Unfit::NoModel(why)))?;
    }
    let Some((program, key)) = config.agent.program() else { return Ok(()) };
    // Without a PATH the system has one of its own, which nobody can look at.
    if (path.is_some() || program.contains('/')) && program_file(program, path).is_none() {
        return Err(Unfit::NoAgent { program: program.to_owned(), key });
    }
    Ok(())
}

/// Whether it could listen where it is to, if the running gateway serves another address than that.
pub fn check_address(address: SocketAddr, served: Option<SocketAddr>) -> Result<(), Unfit> {
    if served.is_none_or(|served| served == address) {
        return Ok(());
    }
    let tried = TcpListener::bind(address);
    tried.map(drop).map_err(|error| Unfit::Listen { address, error: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn an_address_that_somebody_else_has_is_found_and_that_of_the_gateway_is_its_own() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, other) = (taken.local_addr().unwrap(), SocketAddr::from(([127, 0, 0, 1], 1)));
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], address.port()));
        for served in [other, elsewhere] {
            let unfit = check_address(address, Some(served)).unwrap_err();
            assert_eq!(unfit.status(), CONFIGURATION);
            assert!(unfit.to_string().starts_with(&format!("cannot listen on {address}: ")), "{unfit}");
        }
        for (address, served) in
            [(address, Some(address)), (address, None), (SocketAddr::new(other.ip(), 0), Some(other))]
        {
            assert_eq!(check_address(address, served), Ok(()), "{address}, {served:?}");
        }
    }

    fn with_agent(program: &str) -> Config {
        let flags = vec![
            ("agent.kind".to_owned(), "command".to_owned()),
            ("agent.command.argv".to_owned(), format!("[{program:?}]")),
        ];
        Config::load(Sources { flags, ..Sources::default() }).unwrap()
    }

    #[test]
    fn a_journal_of_another_schema_is_not_taken_over() {
        assert_eq!(check(&Config::default(), None, Some(SCHEMA)), Ok(()));
        for found in [SCHEMA - 1, SCHEMA + 1] {
            let unfit = check(&Config::default(), None, Some(found)).unwrap_err();
            assert_eq!((unfit.status(), unfit.to_string().contains(&format!("schema {found};"))), (65, true));
        }
    }

    #[test]
    fn a_model_needs_its_key_and_its_file_with_instructions() {
        let folder = tempfile::tempdir().unwrap();
        let (key, system) = (folder.path().join("key"), folder.path().join("system"));
        let text = |path: &std::path::Path| path.display().to_string();
        let set = [
            ("agent.kind", "openai".to_owned()),
            ("agent.openai.base_url", "http://127.0.0.1:1/v1".to_owned()),
            ("agent.openai.model", "tiny".to_owned()),
            ("agent.openai.key_file", text(&key)),
            ("agent.openai.system_file", text(&system)),
        ];
        let flags = set.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        let unfit = || check(&config, None, None).map_err(|unfit| (unfit.status(), unfit.to_string()));
        let (status, why) = unfit().unwrap_err();
        assert!(
            status == 78 && why.contains("the model's key is missing") && why.contains("key cannot be read"),
            "{why}"
        );
        std::fs::write(&key, "sk-1").unwrap();
        let (_, why) = unfit().unwrap_err();
        assert!(why.contains("agent.openai.system_file") && !why.contains("sk-1"), "{why}");
        std::fs::write(&system, "Be brief.").unwrap();
        assert_eq!(unfit(), Ok(()));
    }

    #[test]
    fn the_agent_has_to_be_an_executable_file_where_it_would_be_looked_for() {
        let path = OsStr::new("/nowhere:/bin:/usr/bin");
        for there in ["sh", "/bin/sh"] {
            assert_eq!(check(&with_agent(there), Some(path), None), Ok(()), "{there}");
        }
        for absent in ["no-such-agent", "/etc/passwd", "/bin", "./no-such-agent"] {
            let unfit = check(&with_agent(absent), Some(path), None).unwrap_err();
            assert_eq!(unfit.status(), 78, "{unfit}");
        }
    }
}
