//! How a run tells what its agent says: in order, at a decent pace, and never waiting where the agent has to be attended to.
//! It owns a place in the queue of reports, at most one at a time.

use super::printed::Reply;
use super::{Progress, Report, What};
use std::{
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};
use tokio::{
    sync::mpsc::{self, OwnedPermit},
    time::{Instant, sleep_until},
};

/// Reports of text are at least this far apart.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(30);
/// While a report waits for room, a run is behind from this many bytes of untold text on.
const UNTOLD_BYTES: usize = 64 * 1024;
/// The pause once nobody listens.
const DEAF: Duration = Duration::from_millis(500);

/// A place in the queue of reports, once it is time to report.
type Slot = Pin<Box<dyn Future<Output = Option<OwnedPermit<Report>>> + Send>>;

/// Tells what one run says.
pub(super) struct Teller {
    turn: u64,
    reports: mpsc::Sender<Report>,
    slot: Option<Slot>,
    began: bool,
    next_report: Instant,
}

/// The driver has given the run up.
#[derive(Debug)]
pub(super) struct NobodyListens;

impl Teller {
    /// Nothing told yet.
    pub(super) fn new(turn: u64, reports: mpsc::Sender<Report>) -> Self {
        Self { turn, reports, slot: None, began: false, next_report: Instant::now() }
    }

    /// Queues for the next report, when there is something to report and no report is queued yet.
    pub(super) fn queue(&mut self, reply: &Reply) {
        if self.slot.is_none() && (!self.began || !reply.news().is_empty()) {
            let (due, reports) = (self.next_report, self.reports.clone());
            self.slot = Some(Box::pin(async move {
                sleep_until(due).await;
                reports.reserve_owned().await.ok()
            }));
        }
    }

    /// Waits for the slot that was queued for; never ends when none was. May be dropped and called again.
    pub(super) async fn slot(&mut self) -> Option<OwnedPermit<Report>> {
        match &mut self.slot {
            Some(slot) => slot.await,
            None => pending().await,
        }
    }

    /// Uses a slot.
    pub(super) fn tell(&mut self, slot: Option<OwnedPermit<Report>>, reply: &mut Reply) -> Result<(), NobodyListens> {
        self.slot = None;
        let began = std::mem::replace(&mut self.began, true);
        let Some(permit) = slot else {
            self.next_report = Instant::now() + DEAF;
            return Err(NobodyListens);
        };
        let progress = if began { Progress::Text(reply.tell()) } else { Progress::Began };
        if began {
            self.next_report = Instant::now() + REPORT_EVERY;
        }
        permit.send(Report { turn: self.turn, what: What::Progress(progress) });
        Ok(())
    }

    /// Whether a due report waits for room behind plenty of text.
    pub(super) fn is_behind(&self, reply: &Reply) -> bool {
        self.slot.is_some() && self.next_report <= Instant::now() && reply.news().len() >= UNTOLD_BYTES
    }
}
