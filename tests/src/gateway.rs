//! One gateway under test: its room on disk, its processes, its log, its end. It starts, kills and asks about processes;
//! what is said to the gateway over HTTP is in `chat`. When a test fails, it shows what the gateway last knew and wrote.

mod builder;

pub use self::builder::Builder;
use self::builder::{Flight, Keeper};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::events::Follower;
use crate::http::Client;
use crate::oracle::Accepted;
use crate::{PATIENCE, eventually, flight, hooks, process};

/// A gateway that lives as long as this value, however often its process changes.
pub struct Gateway {
    room: TempDir,
    state_dir: PathBuf,
    config: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    keeper: Keeper,
    environment: Vec<(String, String)>,
    flight: Flight,
    program: PathBuf,
    /// The latest generation that has answered.
    served: AtomicU64,
    child: Mutex<Option<Child>>,
    /// Every session a test spoke to, for the report of a failure.
    pub(crate) sessions: Mutex<BTreeSet<String>>,
    /// Every prompt it accepted, in the order in which it said so.
    pub(crate) accepted: Mutex<Vec<Accepted>>,
}

impl Gateway {
    /// A gateway with an empty configuration, kept by nobody.
    pub fn builder() -> Builder {
        Builder::empty()
    }

    /// The same, with everything of it below this folder.
    ///
    /// # Panics
    /// When nothing can be made there.
    pub fn builder_in(folder: &Path) -> Builder {
        Builder::in_room(tempfile::TempDir::with_prefix_in("evergate-", folder).expect("the folder is writable"))
    }

    /// Its folder for everything.
    pub fn room(&self) -> &Path {
        self.room.path()
    }

    /// Its state directory.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The program that it is started from.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Puts another program in the place of its own, as an installer does: beside it first, then renamed.
    ///
    /// # Panics
    /// When the room cannot be written.
    pub fn install(&self, program: &[u8]) {
        let fresh = self.program.with_extension("fresh");
        process::write_program(&fresh, program);
        fs::rename(&fresh, &self.program).expect("the room is writable");
    }

    /// Its flight log.
    pub fn flight_log(&self) -> PathBuf {
        self.room().join("flight.jsonl")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token in its state directory; waits for the first start to write it.
    pub fn token(&self) -> String {
        let path = self.state_dir.join("token");
        self.wait_for("the token file", PATIENCE, || {
            let token = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
            (!token.is_empty()).then_some(token)
        })
    }

    /// A client that holds its token.
    pub fn client(&self) -> Client {
        Client::new(self.address, Some(self.token()))
    }

    /// Its status right now, or `None` when it does not answer.
    pub fn try_status(&self) -> Option<Value> {
        let answer = self.client().get("/v1/status").ok()?;
        let status = (answer.status == 200).then(|| answer.json())?;
        self.served.fetch_max(status["generation"].as_u64().unwrap_or(0), Ordering::Relaxed);
        Some(status)
    }

    /// Its status, as soon as it answers.
    pub fn status(&self) -> Value {
        self.wait_for("an answer to /v1/status", PATIENCE, || self.try_status())
    }

    /// The number of the generation that answers.
    pub fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().expect("a status names its generation")
    }

    /// The process that answers: the gateway itself, under whatever keeper.
    pub fn pid(&self) -> i32 {
        self.status()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a status names its process")
    }

    /// Its supervisor when it has one of ours, otherwise the same process as [`pid`](Self::pid).
    pub fn child_pid(&self) -> i32 {
        let child = self.child();
        let pid = child.as_ref().expect("the process was started").id();
        i32::try_from(pid).expect("a process id is positive and small")
    }

    /// Waits until `/readyz` says yes and gives the generation that said so.
    pub fn await_ready(&self) -> u64 {
        self.await_generation(0)
    }

    /// Waits until a generation of at least this number is ready.
    pub fn await_generation(&self, least: u64) -> u64 {
        let client = Client::new(self.address, None);
        let what = format!("generation {least} or later to be ready");
        self.wait_for(&what, PATIENCE, || {
            if let Some(status) = self.ended() {
                panic!("it ended ({status}) while this was awaited: {what}");
            }
            let answer = client.get("/readyz").ok().filter(|answer| answer.status == 200)?;
            let generation = answer.json()["generation"].as_u64()?;
            self.served.fetch_max(generation, Ordering::Relaxed);
            (generation >= least).then_some(generation)
        })
    }

    /// Waits until its phase is this one.
    pub fn await_phase(&self, phase: &str) {
        let what = format!("the phase {phase}");
        self.wait_for(&what, PATIENCE, || self.try_status().filter(|status| status["phase"] == phase));
    }

    /// Has a part of the gateway stand still, through the control socket; needs `[debug] hooks = "on"`.
    pub fn freeze(&self, part: &str, length: Duration) {
        hooks::freeze(&self.state_dir, part, length);
    }

    /// Sends a signal to the gateway itself.
    pub fn signal(&self, signal: Signal) {
        process::send_signal(self.pid(), signal);
    }

    /// `kill -9` of the process we started, at this very moment, and nothing else.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts its process again, after ending the old one with `kill -9` if it still lives. Waits for nothing.
    pub fn restart_process(&self) {
        self.kill();
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("the log can be opened");
        let child = self
            .command()
            .env_clear()
            .envs(kept_environment(self.room.path()))
            .env("EVERGATE_STATE_DIR", &self.state_dir)
            .env("EVERGATE_CONFIG", &self.config)
            .env("EVERGATE_LOCAL_LISTEN", self.address.to_string())
            .envs((self.flight == Flight::Recorded).then(|| ("EVERGATE_FLIGHT_LOG", self.flight_log())))
            .envs(self.environment.iter().cloned())
            .current_dir(self.room.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file descriptor is left"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the binary was just built");
        *self.child() = Some(child);
    }

    fn command(&self) -> Command {
        let binary = &self.program;
        match self.keeper {
            Keeper::Nobody => {
                let mut command = Command::new(binary);
                command.arg("run");
                command
            }
            Keeper::Supervise => {
                let mut command = Command::new(binary);
                command.args(["supervise", "--", "run"]);
                command
            }
            Keeper::Terminal => {
                let mut command = Command::new("script");
                command.args(["-q", "-e", "-c", &format!("exec '{}' run", binary.display()), "/dev/null"]);
                command
            }
        }
    }

    /// How the process we started ended, or `None` while it lives.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().as_mut().expect("the process was started").try_wait().expect("it is our child")
    }

    /// Waits for the process we started to end and gives its exit status.
    ///
    /// # Panics
    /// When it does not end in `patience`, or is ended by a signal.
    pub fn exit_code(&self, patience: Duration) -> i32 {
        let status = self.wait_for("the process to end", patience, || self.ended());
        status.code().unwrap_or_else(|| panic!("it was ended by a signal: {status}"))
    }

    /// Runs `evergate` with these arguments on its state directory, for two minutes at most.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        static CALLS: AtomicU16 = AtomicU16::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let [out, err] = ["out", "err"].map(|kind| self.room.path().join(format!("cli-{call}.{kind}")));
        let create = |path: &Path| File::create(path).expect("the room is writable");
        let mut child = Command::new(process::binary())
            .args(arguments)
            .arg("--state-dir")
            .arg(&self.state_dir)
            .env_clear()
            .envs(kept_environment(self.room.path()))
            .stdin(Stdio::null())
            .stdout(create(&out))
            .stderr(create(&err))
            .spawn()
            .expect("the binary was just built");
        let status = eventually(Duration::from_secs(120), || child.try_wait().expect("it is our child"));
        let _ = child.kill();
        let _ = child.wait();
        let [stdout, stderr] = [out, err].map(|path| fs::read(path).unwrap_or_default());
        let Some(status) = status else {
            panic!("evergate {arguments:?} did not end: {}", String::from_utf8_lossy(&stderr));
        };
        Output { status, stdout, stderr }
    }

    /// What an adapter keeps in the journal beside the records, by key. No process of it may live.
    ///
    /// # Panics
    /// When the journal cannot be opened.
    pub fn kept_by(&self, platform: &str) -> BTreeMap<String, String> {
        rows(&self.state_dir.join("journal.redb"), &format!("platform.{platform}")).expect("nobody has it open")
    }

    /// Waits until the journal holds this of an answer that is being given, so that a death takes no more than what came later.
    ///
    /// # Panics
    /// When that does not come to be.
    pub fn await_kept(&self, said: &str) {
        let copy = self.room.path().join("copy.redb");
        self.wait_for(&format!("{said:?} to be kept"), PATIENCE, || {
            fs::copy(self.state_dir.join("journal.redb"), &copy).ok()?;
            // What was copied in the middle of a write may be no journal, of which redb may say so by a panic.
            let kept = std::panic::catch_unwind(|| rows(&copy, "said")).ok()?.ok()?;
            kept.values().any(|kept| kept.contains(said)).then_some(())
        });
    }

    /// Everything its processes wrote.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for `look` to give something.
    ///
    /// # Panics
    /// When `patience` passes first; the message says what was awaited, the report of the gateway follows.
    pub fn wait_for<T>(&self, what: &str, patience: Duration, look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        eventually(patience, look)
            .unwrap_or_else(|| panic!("after {:.1} s still waiting for {what}", begun.elapsed().as_secs_f32()))
    }

    /// What is known of it, for the reader of a failed test: status, events, end of its log.
    pub fn report(&self) -> String {
        let mut report = format!("---- gateway at {} in {}\n", self.address, self.state_dir.display());
        let token = fs::read_to_string(self.state_dir.join("token")).unwrap_or_default().trim().to_owned();
        let status = Client::new(self.address, Some(token.clone())).get("/v1/status");
        report.push_str(&format!("---- status: {status:?}\n"));
        let sessions: Vec<String> =
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        for session in sessions.iter().take(if status.is_ok() { 6 } else { 0 }) {
            report.push_str(&format!("---- last events of {session}\n"));
            let mut follower = Follower::new(self.address, token.clone(), session, None);
            let deadline = Instant::now() + Duration::from_millis(300);
            let events: Vec<_> = std::iter::from_fn(|| follower.next_kept(deadline)).collect();
            for event in &events[events.len().saturating_sub(40)..] {
                let line = format!("{:?} {} {}", event.id, event.name, event.data);
                report.push_str(&format!("{}\n", line.chars().take(300).collect::<String>()));
            }
        }
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        report.push_str("---- end of its log\n");
        for line in &lines[lines.len().saturating_sub(80)..] {
            report.push_str(&format!("{line}\n"));
        }
        report
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic on the way out would end the whole test process and hide the first.
            let report = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.report()));
            eprintln!("{}", report.unwrap_or_else(|_| self.log()));
        }
        // The keeper first, so that it does not start another one.
        self.kill();
        process::end_all(&self.state_dir);
        if self.flight == Flight::Recorded && !std::thread::panicking() {
            let found = flight::assert_conformant(&self.flight_log(), self.served.load(Ordering::Relaxed));
            if found.generations > 0 {
                flight::assert_sound(&self.state_dir, &[self.flight_log()]);
            }
        }
    }
}

/// A test must not inherit its runner's supervisor, proxy or configuration.
fn kept_environment(home: &Path) -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_else(|_| String::from("/usr/bin:/bin"));
    [("PATH", path), ("HOME", home.display().to_string()), ("RUST_BACKTRACE", String::from("1"))]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// A free address of the loopback interface. Its port lies below those that the kernel gives to outgoing connections:
/// a client that retries would otherwise, sooner or later, take the gateway's own port away or connect to itself.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const PORTS: u16 = 12_000;
    let start = u16::try_from(std::process::id() * 97 % u32::from(PORTS)).expect("it is below PORTS");
    for _ in 0..PORTS {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let address = SocketAddr::from(([127, 0, 0, 1], FIRST + offset));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port from {FIRST} on is free");
}

/// Takes a free address, so that it is nobody else's. What another test starts just now may hold the socket by which it was
/// found free, until it runs its own program.
///
/// # Panics
/// When somebody else listens there.
pub fn take(address: SocketAddr) -> TcpListener {
    eventually(PATIENCE, || TcpListener::bind(address).ok()).expect("it was free a moment ago")
}

/// Facts in a journal beside the records, by key.
fn rows(journal: &Path, scope: &str) -> Result<BTreeMap<String, String>, redb::Error> {
    const ROWS: redb::TableDefinition<'_, (&str, &str), &str> = redb::TableDefinition::new("rows");
    let database = redb::Database::open(journal)?;
    let table = redb::ReadableDatabase::begin_read(&database)?.open_table(ROWS)?;
    let rows = redb::ReadableTable::iter(&table)?.flatten();
    let ours = rows.filter(|(key, _)| key.value().0 == scope);
    Ok(ours.map(|(key, value)| (key.value().1.to_owned(), value.value().to_owned())).collect())
}
