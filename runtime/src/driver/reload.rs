//! A configuration that is read again, and put into effect: the core's limits, the agent of further turns, the level of the
//! log. What is wrong with it is told to whoever wanted that, and to the log.

use super::Driver;
use super::runs::Done;
use crate::config::Changes;
use crate::reload::Reloaded;
use evergate_core::input::Input;
use tokio::sync::oneshot;

impl Driver {
    /// Begins to read the configuration again.
    pub(super) fn read_configuration(&mut self, answer: Option<oneshot::Sender<Result<Changes, String>>>) {
        let read = self.environment.read_configuration();
        self.runs.spawn(async move { Done::Configuration { read: read.await, answer } });
    }

    /// The configuration was read.
    pub(super) fn configuration_read(
        &mut self,
        read: Result<Reloaded, String>,
        answer: Option<oneshot::Sender<Result<Changes, String>>>,
    ) {
        let told = read.map(|Reloaded { limits, agent, level, changes }| {
            self.take(Input::Limits(limits));
            agent.meet(&self.handle);
            self.runs.set_agent(agent);
            crate::logging::set_level(level);
            tracing::info!(
                changed = changes.effective.join(", "),
                needs_restart = changes.at_restart.join(", "),
                "configuration read again"
            );
            changes
        });
        if let Err(why) = &told {
            tracing::error!(why, "the configuration was read again and is refused; nothing has changed");
        }
        if let Some(answer) = answer {
            // Whoever asked may have gone away; that is its business.
            let _gone = answer.send(told);
        }
    }
}
