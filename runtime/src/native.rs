//! The real machine behind [`Environment`]: tokio's clock and sockets, threads, the file system, the kernel's randomness.

use crate::candidate::{Candidate, OnDisk};
use crate::config::{KEYS, read_duration};
use crate::detect::Effective;
use crate::environment::{Accepting, Address, BoxFuture, Disk, Environment, Listener, Stream, Task, Told};
use crate::journal::store::SCHEMA;
use crate::kept_socket;
use crate::program::Successor;
use crate::reload::{Reload, Reloaded};
use crate::systemd::{self, KEEPER, Notify};
use evergate_core::fault::Fault;
use evergate_core::time::Instant;
use evergate_core::verdict::{RESTART, STOP, Verdict};
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// How long the guard waits for its own line in the log.
const TO_LOG: Duration = Duration::from_millis(20);
/// How long one of several addresses of a host is tried, so that one that swallows everything does not use up the caller's patience.
const ONE_ADDRESS: Duration = Duration::from_secs(3);

/// The real machine.
pub struct Native {
    origin: tokio::time::Instant,
    guard: Arc<Guard>,
    /// systemd, and our own supervisor.
    notify: [Notify; 2],
    /// Whether they were told that it serves.
    ready: AtomicBool,
    candidate: Candidate,
    terms: Effective,
    reload: Option<Arc<Reload>>,
    hang_ups: Arc<tokio::sync::Notify>,
}

/// The thread that ends a process whose driver is stuck, or whose start does not come so far as to have a watchdog.
pub struct Guard {
    end: Mutex<Option<(std::time::Instant, Verdict)>>,
    changed: Condvar,
    /// Whether a signal has told the process to end.
    pub signalled: Arc<AtomicBool>,
    /// What replaces this process.
    pub successor: Successor,
}

/// The setting that says how long a start may take. The file that may say otherwise is not read yet when that begins to count; the
/// environment is there.
const START: &str = "watchdog.start";

/// How long a start may take, as far as that is known before its configuration is.
fn start_within() -> Duration {
    let key = KEYS.iter().find(|key| key.name == START).expect("the schema has this key");
    let said = std::env::var(key.environment()).ok().and_then(|text| read_duration(&text).ok());
    // Nothing at all is for the configuration to refuse.
    let said = said.filter(|within| !within.is_zero());
    said.or_else(|| read_duration(key.default).ok()).expect("defaults are read by the tests of the schema")
}

impl Guard {
    /// Ends this process as one that stands still, unless somebody says in time that it [stands down](Self::stands_down).
    pub fn over_a_start(successor: Successor) -> io::Result<Arc<Self>> {
        let verdict = Fault::StandsStill.verdict(&successor.terms.contract(), None);
        let end = std::time::Instant::now().checked_add(start_within()).map(|at| (at, verdict));
        let guard =
            Arc::new(Self { end: Mutex::new(end), changed: Condvar::new(), signalled: Arc::default(), successor });
        let watching = Arc::clone(&guard);
        thread("guard", move || watching.watch())?;
        Ok(guard)
    }

    /// The watchdog stands, or there is no start any more that could hang.
    pub fn stands_down(&self) {
        self.ends(None);
    }

    fn ends(&self, end: Option<(std::time::Instant, Verdict)>) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
        self.changed.notify_all();
    }

    /// Ends this process, whatever else is stuck.
    fn take(&self, verdict: Verdict) {
        let signalled = self.signalled.load(SeqCst);
        let verdict = self.successor.terms.at_last(verdict, signalled);
        // On a thread of its own, and for a moment only: whoever reads the log may stand still as well.
        let log = move || {
            let why = "the gateway does not end by itself, or its start does not come to an end, and its guard ends it";
            if tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!(%verdict, "{why}");
            } else {
                crate::logging::complain(&format_args!("{why}: {verdict}. Look after the disks that it reads from"));
            }
        };
        if std::thread::Builder::new().spawn(log).is_ok() {
            std::thread::sleep(TO_LOG);
        }
        // The one end beside `main`: the loop that should have ended the process no longer turns.
        std::process::exit(i32::from(match verdict {
            Verdict::Exit(status) => status,
            Verdict::StayUp => STOP,
            Verdict::ReExec => {
                self.successor.replace_this_process();
                RESTART
            }
        }));
    }
}

impl Native {
    /// The machine as it is now; time counts from here.
    #[must_use]
    pub fn new(guard: Arc<Guard>) -> Self {
        let terms = guard.successor.terms.clone();
        Self {
            origin: tokio::time::Instant::now(),
            guard,
            notify: ["NOTIFY_SOCKET", KEEPER].map(Notify::from_environment),
            ready: AtomicBool::new(false),
            candidate: Candidate::of_this_process(),
            terms,
            reload: None,
            hang_ups: Arc::default(),
        }
    }

    /// The same, with a configuration that can be read again, also when somebody notifies `hang_ups`.
    #[must_use]
    pub fn with_reload(self, reload: Arc<Reload>, hang_ups: Arc<tokio::sync::Notify>) -> Self {
        Self { reload: Some(reload), hang_ups, ..self }
    }

    /// The same, of a gateway that was told to listen there.
    #[must_use]
    pub fn serving(self, address: SocketAddr) -> Self {
        Self { candidate: self.candidate.serving(address), ..self }
    }
}

/// Starts a thread that leaves the process's signals to the main one.
pub(crate) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let work = move || {
        if let Err(error) = crate::signals::block() {
            tracing::warn!(%error, "signals cannot be kept from a thread");
        }
        work();
    };
    std::thread::Builder::new().name(name.into()).stack_size(512 * 1024).spawn(work)?;
    Ok(())
}

impl Guard {
    fn watch(&self) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            end = match *end {
                None => self.changed.wait(end).unwrap_or_else(PoisonError::into_inner),
                Some((at, verdict)) => {
                    let left = at.saturating_duration_since(std::time::Instant::now());
                    if left.is_zero() {
                        self.take(verdict);
                    }
                    self.changed.wait_timeout(end, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Environment for Native {
    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<()> {
        let at = self.origin + Duration::from_millis(at.as_millis());
        Box::pin(tokio::time::sleep_until(at))
    }

    fn listen(&self, address: &Address) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        let (address, socket) = (address.clone(), self.guard.successor.socket.clone());
        Box::pin(async move {
            Ok(match address {
                Address::Network(address) => Box::new(Network::new(socket.listen(address)?)) as Box<dyn Listener>,
                Address::Platform(address) => Box::new(Network::new(kept_socket::bind(address)?)),
                Address::Control(path) => Box::new(Control { made: listen_at(&path)?, served: None }),
            })
        })
    }

    fn finds(&self, control: &Path) -> bool {
        let found = std::fs::symlink_metadata(control);
        !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    fn connect(&self, host: &str, port: u16) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let stream = connect(&host, port).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn journal_disk(&self, state_dir: &Path) -> Box<dyn Disk> {
        journal_disk(state_dir)
    }

    fn isolate(&self, name: &'static str, task: Task) -> io::Result<()> {
        // The runtime is made here, where a failure can still be told.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread(name, move || runtime.block_on(task()))
    }

    fn guard(&self, end: Option<(Instant, Verdict)>) {
        let end = end.map(|(at, verdict)| {
            let left = at - self.now();
            (std::time::Instant::now() + left, verdict)
        });
        self.guard.ends(end);
    }

    fn tell_supervisor(&self, told: Told) {
        match told {
            Told::Ready => {
                self.ready.store(true, SeqCst);
                self.notify.iter().for_each(Notify::ready);
                // Whoever waits to be served does not wait for this: it is news only where systemd has begun to keep sockets since.
                if self.terms.keeps_sockets() {
                    self.guard.successor.socket.entrust(&self.notify[0]);
                }
            }
            Told::Stopping => {
                // Who leaves a unit that waits to be notified before he was ready has failed, and is started again: a stop that a
                // reviver's start carries out would be undone by the next.
                if !self.ready.swap(true, SeqCst) {
                    self.notify[0].ready();
                }
                self.notify.iter().for_each(Notify::stopping);
            }
            Told::Extend(by) => self.notify.iter().for_each(|notify| notify.extend(by)),
            Told::Status(line) => self.notify.iter().for_each(|notify| notify.status(line)),
            Told::Alive => self.notify.iter().for_each(Notify::alive),
        }
    }

    fn supervisor_stops_us(&self) -> BoxFuture<Option<bool>> {
        Box::pin(systemd::stop_job_pending(Duration::from_millis(1500)))
    }

    fn check_candidate(&self) -> BoxFuture<Result<(), String>> {
        let (candidate, terms) = (self.candidate.clone(), self.terms.clone());
        Box::pin(async move {
            let (fit, ()) = tokio::join!(biased; candidate.check(SCHEMA), terms.ask_again());
            fit
        })
    }

    fn program_on_disk(&self) -> OnDisk {
        self.candidate.on_disk()
    }

    fn version_on_disk(&self) -> BoxFuture<Option<String>> {
        let candidate = self.candidate.clone();
        Box::pin(async move { candidate.version().await })
    }

    fn reload_wanted(&self) -> BoxFuture<()> {
        let hang_ups = Arc::clone(&self.hang_ups);
        Box::pin(async move { hang_ups.notified().await })
    }

    fn read_configuration(&self) -> BoxFuture<Result<Reloaded, String>> {
        let reload = self.reload.clone();
        Box::pin(async move {
            let Some(reload) = reload else { return Err("this process has no configuration to read again".into()) };
            let read = tokio::task::spawn_blocking(move || reload.read()).await;
            read.unwrap_or_else(|error| Err(format!("reading the configuration broke: {error}")))
        })
    }

    fn random(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes)
            .expect("the kernel's random source does not fail once it is initialised, and waits until then");
    }
}

/// Connects to the first of a host's addresses that takes it.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for (number, address) in addresses.iter().enumerate() {
        let attempt = TcpStream::connect(address);
        let last = number + 1 == addresses.len();
        let tried = if last { Ok(attempt.await) } else { tokio::time::timeout(ONE_ADDRESS, attempt).await };
        match tried {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

/// A listening socket. It belongs to the runtime of the thread that first asks it for a peer, whoever made it: that one may stand
/// still.
struct Network {
    made: std::net::TcpListener,
    served: Option<TcpListener>,
}

impl Network {
    const fn new(made: std::net::TcpListener) -> Self {
        Self { made, served: None }
    }
}

impl Listener for Network {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async {
            let served = match &mut self.served {
                Some(served) => served,
                none => none.insert(TcpListener::from_std(self.made.try_clone()?)?),
            };
            let (stream, _) = served.accept().await?;
            // Events are small and each is awaited by somebody: do not collect them.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn address(&self) -> Option<SocketAddr> {
        self.made.local_addr().ok()
    }
}

/// The control socket; as with [`Network`], of whoever serves it.
struct Control {
    made: net::UnixListener,
    served: Option<UnixListener>,
}

impl Listener for Control {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async {
            let served = match &mut self.served {
                Some(served) => served,
                none => none.insert(UnixListener::from_std(self.made.try_clone()?)?),
            };
            let (stream, _) = served.accept().await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn address(&self) -> Option<SocketAddr> {
        None
    }
}

/// Listens at a path under a name of its own first, so that nobody can connect before the mode is strict, and a client
/// finds either the old socket or the new one.
fn listen_at(path: &Path) -> io::Result<net::UnixListener> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = net::UnixListener::bind(&fresh)?;
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

/// The disk with the journal of a state directory.
pub fn journal_disk(state_dir: &Path) -> Box<dyn Disk> {
    Box::new(JournalFile { path: state_dir.join("journal.redb") })
}

/// The journal as a file.
struct JournalFile {
    path: PathBuf,
}

impl Disk for JournalFile {
    fn open(&self) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        if file.metadata()?.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty: it was cut"));
        }
        Ok(Some(backend(file)?))
    }

    fn create(
        &self,
        initialise: &mut dyn FnMut(Box<dyn StorageBackend>) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let fresh = self.path.with_extension("new");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        let again = file.try_clone()?;
        initialise(backend(file)?)?;
        again.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// What cannot be dropped (it is still to be written, or the file system has no other place for it) is what the next sync
    /// writes. It is advice: a kernel without it, or a filter that forbids it, is no reason not to start.
    fn read_anew(&self) -> io::Result<()> {
        let file = File::open(&self.path)?;
        #[cfg(target_os = "linux")]
        if let Err(error) = nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        {
            tracing::warn!(%error, "the kernel keeps what it holds of the journal in memory");
        }
        drop(file);
        Ok(())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

fn backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    FileBackend::new(file).map(|backend| Box::new(backend) as Box<dyn StorageBackend>).map_err(io::Error::other)
}
