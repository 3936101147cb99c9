//! Reads for those who live on the loop's thread and are no part of the loop: adapters and agents. A thread of its own reads for
//! them one after the other, so that a disk that takes its time, or a long conversation, holds up nobody but who asked.

use super::{Journal, JournalError};
use crate::environment::Environment;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Reads that may wait; who asks for more waits to ask.
const WAITING: usize = 64;

type Job = Box<dyn FnOnce(&dyn Journal) + Send>;

/// The way to the reading thread, which ends with the last of them.
#[derive(Clone)]
pub struct Reader {
    jobs: mpsc::Sender<Job>,
}

impl Reader {
    /// Starts the thread.
    pub fn start(environment: &Arc<dyn Environment>, journal: Arc<dyn Journal>) -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING);
        let read = move || async move {
            while let Some(job) = waiting.recv().await {
                // Whoever asked hears of it by the answer that does not come; the next is read all the same.
                let _broken = catch_unwind(AssertUnwindSafe(|| job(&*journal)));
            }
        };
        environment.isolate("reader", Box::new(move || Box::pin(read())))?;
        Ok(Self { jobs })
    }

    /// What `body` reads. Whoever gives up waiting for it holds up nobody.
    pub async fn read<T: Send + 'static>(
        &self,
        body: impl FnOnce(&dyn Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let gone = || JournalError::Read("what reads it is gone".into());
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |journal| {
            let _nobody_waits = answer.send(body(journal));
        });
        self.jobs.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
