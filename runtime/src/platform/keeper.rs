//! Keeps one adapter running: starts it again, it alone, when it broke or hangs, and speaks for it while it cannot speak
//! itself. When it hangs is decided by [`evergate_core::watchdog`]. The rest of the gateway notices nothing but the state of the
//! platform.

use super::port::Port;
use super::switchboard::Line;
use super::{Ended, Health, Outcome, Platform};
use crate::driver::Platforms;
use crate::driver::handle::Handle;
use crate::environment::Environment;
use crate::watched::Watcher;
use evergate_core::watchdog::{Attempt, Bounds};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// The pause before a broken adapter is started again; doubled up to [`LONGEST_PAUSE`], and forgotten once it got on for that long.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Runs a platform until the platforms close.
pub async fn keep_running(
    platform: Arc<dyn Platform>,
    line: Arc<Line>,
    handle: Handle,
    environment: Arc<dyn Environment>,
    closing: Watcher<Platforms>,
    state_dir: PathBuf,
) {
    let bounds = handle.pulse.bounds;
    let port = Port::new(line, handle, Arc::clone(&environment), closing, state_dir);
    let mut pause = PAUSE;
    loop {
        let begun = environment.now();
        port.line().account().attempt = Attempt::new(begun);
        let why = tokio::select! {
            biased;
            ended = attempt(&*platform, &port) => match ended {
                Some(Ended::Closed) => return,
                Some(Ended::Parked { why }) => {
                    port.health(Health::Parked { why });
                    return speak_for_parked(&port).await;
                }
                None => "a mistake in its adapter ended it; the log has the place".to_owned(),
            },
            () = hangs(&port, &bounds) => format!("it got nowhere for {}", humantime::format_duration(bounds.platform)),
        };
        port.give_back().await;
        if environment.now() >= begun + LONGEST_PAUSE {
            pause = PAUSE;
        }
        port.health(Health::Restarting { why });
        tokio::select! {
            biased;
            () = port.closing() => return,
            () = environment.sleep_until(environment.now() + pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One run of the adapter to its end, which is `None` where it broke. Whoever wants to see what happens when it hangs has it
/// stand still.
async fn attempt(platform: &dyn Platform, port: &Port) -> Option<Ended> {
    let mut run = pin!(AssertUnwindSafe(platform.run(port.clone())).catch_unwind());
    loop {
        tokio::select! {
            biased;
            length = port.line().naps() => {
                let (platform, environment) = (platform.name(), port.environment());
                tracing::warn!(platform, ms = length.as_millis(), "standing still, as was asked for");
                environment.sleep_until(environment.now() + length).await;
            }
            ended = run.as_mut() => return ended.ok(),
        }
    }
}

/// Ends when the adapter hangs.
async fn hangs(port: &Port, bounds: &Bounds) {
    let environment = Arc::clone(port.environment());
    loop {
        let at = port.line().account().attempt.hangs_at(bounds);
        if environment.now() >= at {
            return;
        }
        environment.sleep_until(at).await;
    }
}

/// A platform that waits for a person sends nothing; what it is owed stays owed.
async fn speak_for_parked(port: &Port) {
    port.give_back().await;
    loop {
        tokio::select! {
            biased;
            () = port.closing() => return,
            outgoing = port.outgoing() => port.settle(outgoing.delivery, Outcome::Failed).await,
            _news = port.stirred() => {}
        }
    }
}
