//! Keeps one adapter running: starts it again, it alone, when it broke or got nowhere, and speaks for it while it cannot
//! speak itself. The rest of the gateway notices nothing but the state of the platform.

use super::port::Port;
use super::switchboard::Line;
use super::{Ended, Health, Outcome, Platform};
use crate::driver::Platforms;
use crate::driver::handle::Handle;
use crate::environment::Environment;
use crate::watched::Watcher;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An adapter that gets nowhere for this long is stuck: longer than any exchange that it may wait for, a long poll included.
const STUCK: Duration = Duration::from_secs(180);
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
    let port = Port::new(line, handle, Arc::clone(&environment), closing, state_dir);
    let mut pause = PAUSE;
    loop {
        let begun = environment.now();
        port.progress();
        let run = AssertUnwindSafe(platform.run(port.clone())).catch_unwind();
        let why = tokio::select! {
            biased;
            ended = run => match ended {
                Ok(Ended::Closed) => return,
                Ok(Ended::Parked { why }) => {
                    port.health(Health::Parked { why });
                    return speak_for_parked(&port).await;
                }
                Err(_) => "a mistake in its adapter ended it; the log has the place".to_owned(),
            },
            () = stuck(&port) => format!("it got nowhere for {} s", STUCK.as_secs()),
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

/// Ends when the adapter has got nowhere for too long. One that says until when it waits is believed until then.
async fn stuck(port: &Port) {
    let environment = Arc::clone(port.environment());
    loop {
        let until = {
            let account = port.line().account();
            let patient = match &account.health {
                Health::Waiting { until, .. } => (*until).max(account.progress_at),
                _ => account.progress_at,
            };
            patient + STUCK
        };
        if environment.now() >= until {
            return;
        }
        environment.sleep_until(until).await;
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
