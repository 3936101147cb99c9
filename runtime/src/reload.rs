//! Reading the configuration again while the gateway runs (`evergate reload`, SIGHUP). Owns what is in effect and what a
//! fresh reading makes of it; one that is wrong in any way changes nothing. Who is told what then is the driver's business.

use crate::agent::Agent;
use crate::config::{Changes, Config, ConfigError, LogLevel};
use crate::{meaning, takeover};
use evergate_core::limits::Limits;
use std::sync::{Arc, Mutex, PoisonError};

/// Reads the configuration as the start of this process did, from the same sources.
pub type Load = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// What is in effect, and how it is read again.
pub struct Reload {
    load: Load,
    effective: Mutex<(Config, Arc<dyn Agent>)>,
}

/// What a reload has found, for the driver to put into effect.
#[derive(Clone)]
pub struct Reloaded {
    /// What the core may use from now on.
    pub limits: Box<Limits>,
    /// What answers the turns that start from now on.
    pub agent: Arc<dyn Agent>,
    /// What is logged from now on.
    pub level: LogLevel,
    /// What that has changed, and what has to wait.
    pub changes: Changes,
}

impl Reload {
    /// A gateway that has just started with this configuration and this agent.
    #[must_use]
    pub fn new(effective: Config, agent: Arc<dyn Agent>, load: Load) -> Self {
        Self { load, effective: Mutex::new((effective, agent)) }
    }

    /// Reads the configuration again. An error is the sentence that says what is wrong, and where; then all stays as it is.
    pub fn read(&self) -> Result<Reloaded, String> {
        let fresh = (self.load)().map_err(|error| error.to_string())?;
        takeover::check(&fresh, std::env::var_os("PATH").as_deref(), None).map_err(|unfit| unfit.to_string())?;
        let mut effective = self.effective.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, agent) = &*effective;
        let (config, changes) = before.reloaded(&fresh);
        // One that has not changed goes on with whatever it keeps alive between turns.
        let agent = if config.agent == before.agent { Arc::clone(agent) } else { meaning::agent(&config) };
        let (limits, level) = (Box::new(meaning::limits(&config)), config.log.level);
        *effective = (config, Arc::clone(&agent));
        Ok(Reloaded { limits, agent, level, changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FileSource, Sources};
    use std::time::Duration;

    #[test]
    fn a_wrong_configuration_names_its_line_and_changes_nothing() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("config.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let source = FileSource::Explicit(path.clone());
        let load = move || Config::load(Sources { file: source.clone(), ..Sources::default() });
        write("");
        let config = load().unwrap();
        let agent = meaning::agent(&config);
        let reload = Reload::new(config, agent, Box::new(load));
        for wrong in ["[drain]\nbudget = 'soon'", "[agent]\nkind = 'command'\n[agent.command]\nargv = ['/no/such']"] {
            write(wrong);
            let why = reload.read().err().unwrap();
            assert!(why.contains("config.toml:2") || why.contains("/no/such"), "{why}");
        }
        write("[drain]\nbudget = '3s'");
        let reloaded = reload.read().ok().unwrap();
        assert_eq!(reloaded.changes.effective, ["drain.budget"]);
        assert_eq!(reloaded.limits.drain, Duration::from_secs(3));
        assert_eq!(reload.read().ok().unwrap().changes, Changes::default());
        write("[drain]\nbudget = '4s'");
        assert!(Arc::ptr_eq(&reload.read().ok().unwrap().agent, &reloaded.agent), "the agent has not changed");
        write("[agent.demo]\nwords_per_second = 3");
        assert!(!Arc::ptr_eq(&reload.read().ok().unwrap().agent, &reloaded.agent));
    }
}
