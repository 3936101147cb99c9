//! A whole gateway in memory for one input: the real driver, store, routes and connections on one thread, with a clock that
//! jumps to the next timer when nothing else is to do. It knows nothing of what it is asked.

use crate::memory::Memory;
use evergate::agent::demo::DemoAgent;
use evergate::candidate::OnDisk;
use evergate::driver::handle::Handle;
use evergate::driver::{Driver, Parts};
use evergate::environment::{Accepting, Address, BoxFuture, Disk, Environment, Listener, Stream, Task, Told};
use evergate::flight::Recorder;
use evergate::journal::store::Store;
use evergate::journal::{Journal, Owner};
use evergate::local::{Access, Door, Local, router, serve};
use evergate::reload::Reloaded;
use evergate_core::gateway::{Gateway as Core, Phase};
use evergate_core::limits::Limits;
use evergate_core::recovery::Recovered;
use evergate_core::request::Signal;
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::time::Instant;
use evergate_core::verdict::Verdict;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet, LocalSet};

/// The token of every gateway here.
pub const TOKEN: &str = "2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a";

/// Who starts it again when it asks for that.
pub const CONTRACT: Contract = Contract::of(Supervisor::Evergate);

/// One gateway.
pub struct Gateway {
    /// The way to its driver.
    pub handle: Handle,
    clients: mpsc::Sender<DuplexStream>,
    driver: JoinHandle<Verdict>,
    rest: JoinSet<()>,
}

/// Runs a script beside a gateway that serves behind this door, and makes sure that no part of it has broken meanwhile.
pub fn beside_a_gateway(door: Door, script: impl AsyncFnOnce(&mut Gateway)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without sockets needs nothing of the system");
    LocalSet::new().block_on(&runtime, async {
        let mut gateway = Gateway::begin(door).await;
        script(&mut gateway).await;
        while let Some(ended) = gateway.rest.try_join_next() {
            ended.expect("no part of a gateway panics");
        }
    });
}

impl Gateway {
    async fn begin(door: Door) -> Self {
        let (isolated, mut tasks) = mpsc::unbounded_channel();
        let environment: Arc<dyn Environment> = Arc::new(Machine { origin: tokio::time::Instant::now(), isolated });
        let store = Store::open(environment.journal_disk(Path::new("/"))).expect("the empty journal can be opened");
        let journal: Arc<dyn Journal> = Arc::new(store);
        let recovered = Recovered::from_unfinished(&journal.unfinished().expect("it can be read"));
        let highest = recovered.highest;
        let (_no_signals, signals) = mpsc::channel::<Signal>(1);
        let owner = Owner {
            version: String::new(),
            rolled_back: None,
            boot_id: "boot".into(),
            pid: 1,
            start_time: 1,
            session_id: 1,
            generation: highest.generation.next(),
            since_ms: 1,
            start: None,
            supervisor: None,
            unit: None,
            predecessor_died_of: None,
            predecessor_died_at_ms: None,
        };
        let parts = Parts {
            core: Core::boot(Limits::default(), CONTRACT, recovered, environment.now()),
            flight: Recorder::off(),
            environment: Arc::clone(&environment),
            journal,
            agent: Arc::new(DemoAgent { words_per_second: 100.0 }),
            signals,
            owner,
            highest,
            state_dir: PathBuf::from("/"),
            reclaim: Box::pin(async {}),
            listen: "127.0.0.1:1".into(),
            switchboard: Arc::default(),
            pulse: Arc::default(),
        };
        let (driver, handle, platforms) = Driver::new(parts).expect("nothing of the system is needed");
        let mut rest = JoinSet::new();
        // Whatever has a thread of its own elsewhere, now and later.
        rest.spawn_local(async move {
            let mut apart = JoinSet::new();
            loop {
                tokio::select! {
                    biased;
                    Some(ended) = apart.join_next() => ended.expect("no part of a gateway panics"),
                    task = tasks.recv() => match task {
                        Some(task) => drop(apart.spawn_local(task())),
                        None => return,
                    },
                }
            }
        });
        let (clients, waiting) = mpsc::channel(8);
        let local = Local { handle: handle.clone(), access: access(), door, environment };
        let metrics = Arc::clone(&handle.metrics);
        rest.spawn_local(serve(Box::new(Wire(waiting)), router(local), platforms, metrics));
        let driver = tokio::task::spawn_local(driver.run());
        let (mut stage, mut watcher) = handle.hub.watch_stage();
        while stage.phase != Phase::Serving {
            stage = watcher.changed().await.expect("the driver runs");
        }
        Self { handle, clients, driver, rest }
    }

    /// Sends bytes over a new connection and gives what comes back within a minute or until the gateway has said all.
    pub async fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let (mut ours, theirs) = tokio::io::duplex(1024 * 1024);
        let mut answer = Vec::new();
        if self.clients.send(theirs).await.is_err() {
            return answer;
        }
        let talk = async {
            // The gateway may hang up before it has read everything.
            let _hung_up = ours.write_all(bytes).await;
            let _hung_up = ours.read_to_end(&mut answer).await;
        };
        let _still_open = tokio::time::timeout(Duration::from_secs(60), talk).await;
        answer
    }

    /// How it ended; `None` if it still goes on after so long.
    pub async fn ended_within(&mut self, patience: Duration) -> Option<Verdict> {
        let ended = tokio::time::timeout(patience, &mut self.driver).await.ok()?;
        Some(ended.expect("the driver does not panic"))
    }
}

/// The secrets are made once: they need a folder for a moment.
fn access() -> Arc<Access> {
    static ACCESS: OnceLock<Arc<Access>> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let access = Access::open(folder.path(), "http://127.0.0.1:1".into(), |bytes| bytes.fill(0x2a));
        Arc::new(access.expect("the temporary folder can be written"))
    };
    Arc::clone(ACCESS.get_or_init(make))
}

/// A listener whose clients come over a channel.
struct Wire(mpsc::Receiver<DuplexStream>);

impl Listener for Wire {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async {
            match self.0.recv().await {
                Some(client) => Ok(Box::new(client) as Box<dyn Stream>),
                None => std::future::pending().await,
            }
        })
    }

    fn address(&self) -> Option<SocketAddr> {
        None
    }
}

/// The world as far as a gateway needs it here.
struct Machine {
    origin: tokio::time::Instant,
    isolated: mpsc::UnboundedSender<Task>,
}

impl Environment for Machine {
    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn unix_ms(&self) -> u64 {
        1_000_000 + self.now().as_millis()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep_until(self.origin + Duration::from_millis(at.as_millis())))
    }

    fn listen(&self, _address: &Address) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect(&self, _host: &str, _port: u16) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn journal_disk(&self, _state_dir: &Path) -> Box<dyn Disk> {
        Memory::with_an_empty_journal().handle()
    }

    fn isolate(&self, _name: &'static str, task: Task) -> io::Result<()> {
        self.isolated.send(task).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn guard(&self, _end: Option<(Instant, Verdict)>) {}

    fn tell_supervisor(&self, _told: Told) {}

    fn supervisor_stops_us(&self) -> BoxFuture<Option<bool>> {
        Box::pin(async { Some(false) })
    }

    fn check_candidate(&self) -> BoxFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn program_on_disk(&self) -> OnDisk {
        OnDisk::Same
    }

    fn version_on_disk(&self) -> BoxFuture<Option<String>> {
        Box::pin(async { None })
    }

    fn reload_wanted(&self) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }

    fn read_configuration(&self) -> BoxFuture<Result<Reloaded, String>> {
        Box::pin(async { Err("nothing is configured here".into()) })
    }

    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(0x2a);
    }
}
