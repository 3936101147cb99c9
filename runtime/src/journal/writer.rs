//! The one place that writes the journal: a thread of its own that commits one batch after the other. The driver hands it
//! a batch only when the last one is done, so what arrives meanwhile shares the next fsync (group commit).

use super::{Batch, Event, Journal, JournalError};
use crate::environment::Environment;
use crate::pulse::Pulse;
use evergate_core::watchdog::Part;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// From one try to settle an unsettled batch to the next.
const AGAIN: Duration = Duration::from_millis(250);

/// The driver's end of the writer.
pub struct Writer {
    batches: mpsc::Sender<Batch>,
    results: mpsc::Receiver<Written>,
    busy: bool,
}

/// A batch and what became of it.
pub struct Written {
    /// The batch.
    pub batch: Batch,
    /// Its events, or why nothing of it is on disk.
    pub result: Result<Vec<Event>, JournalError>,
}

impl Writer {
    /// Starts the writer's thread.
    pub fn start(
        environment: &Arc<dyn Environment>,
        journal: Arc<dyn Journal>,
        pulse: &Arc<Pulse>,
    ) -> io::Result<Self> {
        let (batches, mut waiting) = mpsc::channel::<Batch>(1);
        let (done, results) = mpsc::channel(1);
        let (clock, pulse) = (Arc::clone(environment), Arc::clone(pulse));
        environment.isolate(
            "journal",
            Box::new(move || {
                Box::pin(async move {
                    while let Some(batch) = waiting.recv().await {
                        pulse.ask(Part::Journal);
                        pulse.nap(Part::Journal);
                        let mut result = journal.commit(&batch);
                        while let Err(JournalError::Unsettled(why)) = result {
                            tracing::warn!(why, "the journal is out of reach; trying again");
                            clock.sleep_until(clock.now() + AGAIN).await;
                            result = journal.commit(&batch);
                        }
                        pulse.done(Part::Journal);
                        if done.send(Written { batch, result }).await.is_err() {
                            break;
                        }
                    }
                })
            }),
        )?;
        Ok(Self { batches, results, busy: false })
    }

    /// Whether a batch is being written.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.busy
    }

    /// Hands over a batch; only when not busy. Gives it back if the writer is gone.
    pub fn submit(&mut self, batch: Batch) -> Result<(), Batch> {
        self.batches.try_send(batch).map_err(mpsc::error::TrySendError::into_inner)?;
        self.busy = true;
        Ok(())
    }

    /// The next batch that is done; `None` when the writer is gone.
    pub async fn written(&mut self) -> Option<Written> {
        let written = self.results.recv().await;
        self.busy = false;
        written
    }
}
