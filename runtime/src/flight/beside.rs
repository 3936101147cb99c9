//! Writing a log on a thread of its own, behind a bounded queue, so that a disk that blocks holds up nobody but that thread. It
//! knows bytes only. What cannot be queued, and what the disk has refused, is an error of the next write: nothing is lost
//! without somebody hearing of it.

use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Writes that may wait; the recorder hands over what the loop has done between two waits at once, or 8 KiB of it.
const WAITING: usize = 1024;
/// How long an end waits for what is still queued.
const LAST: Duration = Duration::from_secs(1);

/// Writes to something on a thread of its own. Dropping it waits a little until all is written.
pub struct Beside {
    /// `None` once it is being dropped.
    queue: Option<SyncSender<Vec<u8>>>,
    refused: Arc<Mutex<Option<io::Error>>>,
    /// Ends when the thread does.
    done: Receiver<()>,
}

impl Beside {
    /// Starts the thread, which writes `to` this.
    pub fn new(mut to: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, queued) = sync_channel::<Vec<u8>>(WAITING);
        let (running, done) = channel::<()>();
        let refused = Arc::new(Mutex::new(None));
        let refusal = Arc::clone(&refused);
        crate::native::thread("flight", move || {
            let written = queued.iter().try_for_each(|bytes| to.write_all(&bytes)).and_then(|()| to.flush());
            if let Err(error) = written {
                *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            // The queue closes with this thread, so that the next write hears of it.
            drop((queued, running));
        })?;
        Ok(Self { queue: Some(queue), refused, done })
    }

    fn refusal(&self) -> io::Error {
        let told = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        told.unwrap_or_else(|| io::Error::new(ErrorKind::BrokenPipe, "the thread that writes it has ended"))
    }
}

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(queue) = &self.queue else { return Err(self.refusal()) };
        match queue.try_send(bytes.to_owned()) {
            Ok(()) => Ok(bytes.len()),
            Err(TrySendError::Full(_)) => Err(io::Error::new(ErrorKind::TimedOut, "the disk does not keep up with it")),
            Err(TrySendError::Disconnected(_)) => Err(self.refusal()),
        }
    }

    /// What was taken is on its way; who needs it to be there drops this.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.queue = None;
        if self.done.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the end of the flight log is not written in time and may be missing");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A disk that writes when it is let.
    struct Slow {
        go: Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.go.recv().map_err(|_| io::Error::from(ErrorKind::StorageFull))?;
            self.written.send(bytes.to_owned()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Beside, mpsc::Sender<()>, Receiver<Vec<u8>>) {
        let ((let_go, go), (written, seen)) = (channel(), channel());
        (Beside::new(Slow { go, written }).unwrap(), let_go, seen)
    }

    #[test]
    fn a_disk_that_blocks_holds_up_nobody_until_the_queue_is_full_and_then_the_recording_ends() {
        let (mut beside, let_go, seen) = slow();
        // One is with the disk already, or is about to be.
        let mut taken = 0;
        let refused = loop {
            match beside.write(b"x") {
                Ok(written) => taken += written,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
        assert!((WAITING..=WAITING + 1).contains(&taken), "{taken}");
        for _ in 0..taken {
            let_go.send(()).unwrap();
        }
        drop(beside);
        assert_eq!(seen.iter().count(), taken, "what was taken is written");
    }

    #[test]
    fn what_the_disk_refuses_is_told_to_whoever_writes_next() {
        let (mut beside, let_go, _seen) = slow();
        drop(let_go);
        let refused = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            beside.write(b"x").err()
        });
        assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::StorageFull));
    }

    #[test]
    fn an_end_waits_for_a_disk_that_blocks_for_so_long_and_no_longer() {
        let (mut beside, _let_go, seen) = slow();
        beside.write_all(b"x").unwrap();
        let begun = std::time::Instant::now();
        drop(beside);
        assert!(begun.elapsed() >= LAST);
        assert!(seen.try_recv().is_err());
    }
}
