//! A gateway around adapters in the test's own thread: the real driver, journal, keeper and ports, with a clock that runs
//! fast, and connections that end in the test's hands.

use evergate::agent::demo::DemoAgent;
use evergate::candidate::OnDisk;
use evergate::driver::handle::Handle;
use evergate::driver::{Driver, Parts};
use evergate::environment::{Address, BoxFuture, Disk, Environment, Listener, Stream, Task, Told};
use evergate::flight::Recorder;
use evergate::journal::store::Store;
use evergate::journal::{Journal, Owner};
use evergate::platform::{Platform, Switchboard, keep_running};
use evergate::reload::Reloaded;
use evergate_core::gateway::{Gateway as Core, Phase};
use evergate_core::limits::Limits;
use evergate_core::recovery::Recovered;
use evergate_core::request::Signal;
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::time::Instant;
use evergate_core::verdict::Verdict;
use serde_json::Value;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

/// How much faster the clock runs than that on the wall.
const SPEED: u32 = 100;
/// How long anything may take, on the wall.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway with adapters, seen from their servers' side.
pub struct World {
    /// The way to its driver.
    pub handle: Handle,
    /// Its clock.
    pub environment: Arc<dyn Environment>,
    switchboard: Arc<Switchboard>,
    connections: mpsc::UnboundedReceiver<DuplexStream>,
}

/// A connection of an adapter, in the hands of its server.
pub struct Connection(BufReader<DuplexStream>);

/// Runs a script beside a gateway that serves these platforms.
pub fn beside(platforms: Vec<Arc<dyn Platform>>, script: impl AsyncFnOnce(&mut World)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    LocalSet::new().block_on(&runtime.unwrap(), async {
        let folder = tempfile::tempdir().unwrap();
        let (isolated, mut tasks) = mpsc::unbounded_channel();
        let (connected, connections) = mpsc::unbounded_channel();
        let machine = Machine { origin: std::time::Instant::now(), isolated, connected };
        let environment: Arc<dyn Environment> = Arc::new(machine);
        let journal: Arc<dyn Journal> = Arc::new(Store::open(environment.journal_disk(folder.path())).unwrap());
        let (now, now_ms) = (environment.now(), environment.unix_ms());
        let switchboard = Arc::new(Switchboard::new(&platforms, now, now_ms));
        let parts = parts(&environment, journal, &switchboard, folder.path());
        let (driver, handle, closing) = Driver::new(parts).unwrap();
        let mut rest = JoinSet::new();
        // Whatever has a thread of its own elsewhere, now and later.
        rest.spawn_local(async move {
            let mut apart = JoinSet::new();
            while let Some(task) = tasks.recv().await {
                apart.spawn_local(task());
            }
        });
        rest.spawn_local(async move {
            driver.run().await;
        });
        for platform in platforms {
            let line = Arc::clone(switchboard.line(platform.name()).unwrap());
            let (handle, environment, folder) = (handle.clone(), Arc::clone(&environment), folder.path().to_owned());
            rest.spawn_local(keep_running(platform, line, handle, environment, closing.clone(), folder));
        }
        let (mut stage, mut watcher) = handle.hub.watch_stage();
        while stage.phase != Phase::Serving {
            stage = watcher.changed().await.expect("the driver runs");
        }
        let mut world = World { handle, environment, switchboard, connections };
        let ended = tokio::time::timeout(PATIENCE * 3, script(&mut world)).await;
        assert!(ended.is_ok(), "the script does not end: {}", world.status().await);
    });
}

fn parts(
    environment: &Arc<dyn Environment>,
    journal: Arc<dyn Journal>,
    switchboard: &Arc<Switchboard>,
    folder: &Path,
) -> Parts {
    let recovered = Recovered::from_unfinished(&journal.unfinished().unwrap());
    let highest = recovered.highest;
    let (_no_signals, signals) = mpsc::channel::<Signal>(1);
    let contract = Contract::of(Supervisor::Evergate);
    Parts {
        core: Core::boot(Limits::default(), contract, recovered, environment.now()),
        flight: Recorder::off(),
        environment: Arc::clone(environment),
        journal,
        agent: Arc::new(DemoAgent { words_per_second: 0.0 }),
        signals,
        owner: Owner::this_process(highest.generation.next(), environment.unix_ms()),
        highest,
        state_dir: folder.to_owned(),
        reclaim: Box::pin(std::future::ready(())),
        listen: "127.0.0.1:1".into(),
        switchboard: Arc::clone(switchboard),
        pulse: Arc::default(),
    }
}

impl World {
    /// The next connection that an adapter makes.
    pub async fn connection(&mut self) -> Connection {
        let stream = tokio::time::timeout(PATIENCE, self.connections.recv()).await;
        Connection(BufReader::new(stream.expect("an adapter connects in time").expect("the gateway lives")))
    }

    /// The gateway's status.
    pub async fn status(&self) -> Value {
        self.handle.status().await
    }

    /// How a platform is, in a word.
    pub fn state(&self, platform: &str) -> String {
        let status = self.switchboard.status();
        let found = status.as_array().unwrap().iter().find(|told| told["platform"] == platform).cloned();
        found.unwrap()["state"].as_str().unwrap().to_owned()
    }

    /// Waits until a platform is in this state.
    pub async fn await_state(&self, platform: &str, state: &str) {
        self.until(state, async || self.state(platform) == state).await;
    }

    /// Waits until the clumsy adapter has delivered something, and nothing is owed any more.
    pub async fn await_settled_once(&self, clumsy: &crate::Clumsy) {
        self.until("a delivery", async || !clumsy.delivered().is_empty()).await;
        self.await_settled().await;
    }

    /// Waits until nothing is owed any more.
    pub async fn await_settled(&self) {
        self.until("all to be settled", async || self.status().await["owed"] == 0).await;
    }

    async fn until(&self, what: &str, is: impl AsyncFn() -> bool) {
        let begun = std::time::Instant::now();
        while !is().await {
            assert!(begun.elapsed() < PATIENCE, "{what} does not come to pass: {}", self.status().await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets time pass.
    pub async fn pass(&self, length: Duration) {
        self.environment.sleep_until(self.environment.now() + length).await;
    }
}

impl Connection {
    /// The next line that the adapter says.
    pub async fn hears(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await;
        assert!(read.is_ok_and(|read| read.is_ok()), "the adapter says something in time");
        line.trim_end().to_owned()
    }

    /// Says a line.
    pub async fn says(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
}

/// The world as far as adapters need it.
struct Machine {
    origin: std::time::Instant,
    isolated: mpsc::UnboundedSender<Task>,
    connected: mpsc::UnboundedSender<DuplexStream>,
}

impl Environment for Machine {
    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from((self.origin.elapsed() * SPEED).as_millis()).unwrap())
    }

    fn unix_ms(&self) -> u64 {
        1_000_000 + self.now().as_millis()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep_until((self.origin + Duration::from_millis(at.as_millis()) / SPEED).into()))
    }

    fn listen(&self, _address: &Address) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect(&self, _host: &str, _port: u16) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let (ours, theirs) = tokio::io::duplex(1024 * 1024);
        let connected = self.connected.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused.into());
        Box::pin(async move { connected.map(|()| Box::new(ours) as Box<dyn Stream>) })
    }

    fn journal_disk(&self, state_dir: &Path) -> Box<dyn Disk> {
        evergate::native::journal_disk(state_dir)
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
