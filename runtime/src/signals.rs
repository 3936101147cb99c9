//! The process's signals, heard on a thread of their own, so that one that comes while the loop is stuck is known all the
//! same. Owns the signal mask of every thread; what a signal means is the core's business.

use evergate_core::request::Signal;
use nix::sys::signal::SigSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::sync::mpsc;

/// Signals that may wait for the driver; whoever sends more has been understood.
const WAITING: usize = 16;
/// Rounds of the loop in which a signal that was caught is heard: its handler has written to the pipe behind the listeners by
/// then, which each round looks at.
const LAST_ROUNDS: u8 = 3;

/// The ear of the process.
pub struct Signals {
    heard: Arc<AtomicBool>,
    deafen: std::sync::mpsc::Sender<()>,
    woken: Arc<tokio::sync::Notify>,
    listens: std::sync::mpsc::Receiver<io::Result<()>>,
    deaf: std::sync::mpsc::Receiver<()>,
}

/// The ear of a process that is about to be deaf.
pub struct Deafening {
    heard: Arc<AtomicBool>,
    deaf: std::sync::mpsc::Receiver<()>,
}

impl Signals {
    /// Begins to listen, on a thread that takes a moment to start: [`Self::await_listening`]. Until then the signals are blocked, by
    /// the first line of `main` or by the image that this one replaced. Who sends SIGHUP notifies `hang_ups`; `heard` is set by one
    /// that tells the process to end.
    pub fn listen(
        hang_ups: Arc<tokio::sync::Notify>,
        heard: Arc<AtomicBool>,
    ) -> io::Result<(Self, mpsc::Receiver<Signal>)> {
        let (to_driver, signals) = mpsc::channel(WAITING);
        let (deafen, wanted) = std::sync::mpsc::channel();
        let (done, deaf) = std::sync::mpsc::channel();
        let (listening, listens) = std::sync::mpsc::channel();
        let woken = Arc::new(tokio::sync::Notify::new());
        let (note, wake) = (Arc::clone(&heard), Arc::clone(&woken));
        let ear = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(listening.send(Err(error))),
            };
            runtime.block_on(async move {
                let ears = match Ears::open() {
                    Ok(ears) => ears,
                    Err(error) => return drop(listening.send(Err(error))),
                };
                if listening.send(Ok(())).is_ok() {
                    ears.hear(&to_driver, &hang_ups, &note, &wake, &wanted).await;
                }
                drop(done);
            });
        };
        std::thread::Builder::new().name("signals".into()).stack_size(512 * 1024).spawn(ear)?;
        Ok((Self { heard, deafen, woken, listens, deaf }, signals))
    }

    /// Waits until it listens. Call it once.
    pub fn await_listening(&self) -> io::Result<()> {
        self.listens.recv().map_err(|_| io::Error::other("the thread that hears signals ended at once"))?
    }

    /// Whether one has come that tells the process to end.
    #[must_use]
    pub fn heard(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.heard)
    }

    /// Begins to block them again, for good.
    #[must_use]
    pub fn end(self) -> Deafening {
        drop(self.deafen);
        self.woken.notify_one();
        Deafening { heard: self.heard, deaf: self.deaf }
    }
}

impl Deafening {
    /// Waits until they are: one that comes from now on waits for the next image. Answers whether one has come.
    #[must_use]
    pub fn is_deaf(self) -> bool {
        // The sender is dropped when the thread is deaf; that error is the news.
        let _deaf = self.deaf.recv();
        self.heard.load(SeqCst)
    }
}

/// One listener for each signal.
struct Ears {
    terminate: Listener,
    interrupt: Listener,
    hangup: Listener,
}

impl Ears {
    fn open() -> io::Result<Self> {
        let ears = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        };
        unblock()?;
        Ok(ears)
    }

    async fn hear(
        mut self,
        to_driver: &mpsc::Sender<Signal>,
        hang_ups: &tokio::sync::Notify,
        heard: &AtomicBool,
        woken: &tokio::sync::Notify,
        wanted: &std::sync::mpsc::Receiver<()>,
    ) {
        loop {
            tokio::select! {
                biased;
                signal = self.next() => Self::pass_on(signal, to_driver, hang_ups, heard),
                () = woken.notified() => if let Err(std::sync::mpsc::TryRecvError::Disconnected) = wanted.try_recv() {
                    break;
                },
            }
        }
        if let Err(error) = block() {
            tracing::warn!(%error, "signals cannot be blocked");
        }
        // What was caught before that is on its way.
        while let Some(signal) = self.caught().await {
            Self::pass_on(signal, to_driver, hang_ups, heard);
        }
    }

    /// The next one of those that have been caught already.
    async fn caught(&mut self) -> Option<Option<Signal>> {
        let rounds = async {
            for _ in 0..LAST_ROUNDS {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            signal = self.next() => Some(signal),
            () = rounds => None,
        }
    }

    fn pass_on(
        signal: Option<Signal>,
        to_driver: &mpsc::Sender<Signal>,
        hang_ups: &tokio::sync::Notify,
        heard: &AtomicBool,
    ) {
        let Some(signal) = signal else { return hang_ups.notify_one() };
        heard.store(true, SeqCst);
        if to_driver.try_send(signal).is_err() {
            tracing::debug!("a signal came when as many as are worth knowing of wait for the loop, or behind its end");
        }
    }

    /// The next one; `None` for the one that asks for the configuration to be read again.
    async fn next(&mut self) -> Option<Signal> {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Some(Signal::Terminate),
            _ = self.interrupt.recv() => Some(Signal::Interrupt),
            _ = self.hangup.recv() => None,
        }
    }
}

/// Makes the signals that a gateway answers wait, on this thread and those that it starts: from the first line of `main` on,
/// and again over a re-exec.
pub fn block() -> nix::Result<()> {
    answered().thread_block()
}

/// Lets them through, on this thread.
pub fn unblock() -> nix::Result<()> {
    answered().thread_unblock()
}

/// Does something on this thread with the signals let through, since what it starts inherits its mask, and puts the mask back.
pub fn unblocked<T>(work: impl FnOnce() -> T) -> T {
    let before = SigSet::thread_get_mask().and_then(|before| unblock().map(|()| before));
    let done = work();
    match before.and_then(|before| before.thread_set_mask()) {
        Ok(()) => {}
        Err(error) => tracing::warn!(%error, "a program may be started deaf to signals"),
    }
    done
}

fn answered() -> SigSet {
    use nix::sys::signal::Signal;
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}
