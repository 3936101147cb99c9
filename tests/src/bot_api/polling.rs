//! `getUpdates`: one poll at a time. The real server ends the older of two with 409; where it does not notice that a
//! client is gone (a proxy holds the connection), the older lives on and it is the newer that is told 409. Both are here.

use super::answer::Answer;
use super::params::Params;
use super::world::{Shared, now_ms};
use std::time::Duration;
use tokio::time::Instant;

/// Which of two polls is told 409.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loser {
    /// The one that was there first.
    #[default]
    Older,
    /// The one that comes now.
    Newer,
}

/// The poll that is held, and what is counted.
#[derive(Debug, Default)]
pub struct Polling {
    /// Which of two polls loses.
    pub loser: Loser,
    /// How long a poll goes on to hold the place after its client is gone.
    pub hold_vanished: Duration,
    held: Option<Held>,
    last: u64,
    /// How often anybody was told 409.
    pub conflicts: usize,
    /// How often two polls were there at once, both with a client.
    pub overlaps: usize,
}

#[derive(Debug)]
struct Held {
    number: u64,
    /// When it ends by itself.
    until: Instant,
    /// Whether its client is gone.
    vanished: bool,
}

impl Polling {
    fn begin(&mut self, timeout: Duration) -> Option<u64> {
        let now = Instant::now();
        if let Some(held) = &self.held {
            let stands = now < held.until;
            self.overlaps += usize::from(stands && !held.vanished);
            if stands && self.loser == Loser::Newer {
                self.conflicts += 1;
                return None;
            }
            self.conflicts += usize::from(stands && !held.vanished);
        }
        self.last += 1;
        self.held = Some(Held { number: self.last, until: now + timeout, vanished: false });
        Some(self.last)
    }

    fn holds(&self, number: u64) -> bool {
        self.held.as_ref().is_some_and(|held| held.number == number)
    }

    fn end(&mut self, number: u64) {
        if self.holds(number) {
            self.held = None;
        }
    }

    fn vanish(&mut self, number: u64) {
        let hold = self.hold_vanished;
        if let Some(held) = self.held.as_mut().filter(|held| held.number == number) {
            held.vanished = true;
            held.until = held.until.min(Instant::now() + hold);
        }
    }
}

/// A client that waits; when it is dropped, the client is gone or answered.
struct Client<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        let mut world = self.shared.lock();
        world.silence.over(now_ms());
        world.polling.vanish(self.number);
    }
}

const OTHER: &str = "terminated by other getUpdates request; make sure that only one bot instance is running";

/// Answers one poll.
pub async fn get_updates(shared: &Shared, params: &Params) -> Answer {
    let offset = params.number("offset").unwrap_or(0);
    let limit = usize::try_from(params.number("limit").unwrap_or(100)).unwrap_or(100).clamp(1, 100);
    let timeout = u64::try_from(params.number("timeout").unwrap_or(0)).unwrap_or(0).min(50);
    let timeout = Duration::from_secs(timeout);
    let deadline = Instant::now() + timeout;
    let number = {
        let mut world = shared.lock();
        if world.webhook.is_some() {
            return Answer::conflict(
                "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
            );
        }
        let Some(number) = world.polling.begin(timeout) else { return Answer::conflict(OTHER) };
        world.silence.begun(now_ms());
        number
    };
    // The older poll, if there is one, sees that its place is taken.
    shared.ring();
    let client = Client { shared, number };
    loop {
        let rung = shared.bell.notified();
        tokio::pin!(rung);
        rung.as_mut().enable();
        {
            let mut world = client.shared.lock();
            if world.revoked {
                return Answer::unauthorized();
            }
            if !world.polling.holds(number) {
                return Answer::conflict(OTHER);
            }
            let updates = world.updates.take(offset, limit);
            if !updates.is_empty() || Instant::now() >= deadline {
                world.polling.end(number);
                return Answer::Done(updates.into());
            }
        }
        tokio::select! {
            biased;
            () = rung => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}
