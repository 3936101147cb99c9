//! The only door to the world: time, sockets, disk, threads, randomness. `native` opens it to the real machine; a
//! simulation opens it to its own. Nothing else in the gateway's own loop may reach outside.

use crate::candidate::OnDisk;
use crate::reload::Reloaded;
use evergate_core::time::Instant;
use evergate_core::verdict::Verdict;
use redb::StorageBackend;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A byte stream to one peer.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The next peer, once there is one.
pub type Accepting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Accepts peers.
pub trait Listener: Send {
    /// The next peer. An error concerns that peer only.
    fn accept(&mut self) -> Accepting<'_>;
    /// Where it really listens; `None` for a path.
    fn address(&self) -> Option<SocketAddr>;
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The loopback address of the local platform. Its socket outlives the process.
    Network(SocketAddr),
    /// Another address of this machine, to which a platform's server comes. It is bound anew in each process.
    Platform(SocketAddr),
    /// A path that only our own user can reach. What a dead owner left there is replaced.
    Control(PathBuf),
}

/// A disk that holds one journal file.
pub trait Disk: Send + Sync {
    /// Opens the file; `None` when there is none. A file that is empty is an error: it was cut.
    fn open(&self) -> io::Result<Option<Box<dyn StorageBackend>>>;
    /// Has what is read from now on come from the disk, whoever wrote it: after a failed sync a kernel may take pages for clean that
    /// never came there, and whoever built on them would lose everything at a power cut.
    fn read_anew(&self) -> io::Result<()> {
        Ok(())
    }
    /// Creates the file so that it is there with its first contents or not at all: `initialise` writes them to a file of
    /// another name, which is then synced and renamed. (A cut during redb's first commit leaves a file that no later open accepts.)
    fn create(
        &self,
        initialise: &mut dyn FnMut(Box<dyn StorageBackend>) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error>;
    /// How the file is called in messages.
    fn name(&self) -> String;
}

/// Work for a thread of its own; it is given its own single-threaded runtime.
pub type Task = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// What a supervisor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The gateway serves.
    Ready,
    /// The process is about to leave.
    Stopping,
    /// Its end gets on and takes longer: it is not to be killed before so much time is over.
    Extend(Duration),
    /// One line for people.
    Status(&'static str),
    /// The gateway gets on.
    Alive,
}

/// What the gateway needs of the world.
pub trait Environment: Send + Sync {
    /// Milliseconds since an origin that stays the same for this process; never goes back.
    fn now(&self) -> Instant;
    /// Milliseconds since 1970, for people only: nothing is decided by it.
    fn unix_ms(&self) -> u64;
    /// Ends at that time.
    fn sleep_until(&self, at: Instant) -> BoxFuture<()>;
    /// Begins to listen.
    fn listen(&self, address: &Address) -> BoxFuture<io::Result<Box<dyn Listener>>>;
    /// Whether a control socket can still be found where it was made: somebody may have removed it.
    fn finds(&self, control: &Path) -> bool {
        let _nobody_else_is_there = control;
        true
    }
    /// Connects to a host, which is a name or an address without brackets. It may take as long as it wants: the caller gives it up.
    fn connect(&self, host: &str, port: u16) -> BoxFuture<io::Result<Box<dyn Stream>>>;
    /// The disk with the journal of a state directory.
    fn journal_disk(&self, state_dir: &Path) -> Box<dyn Disk>;
    /// Runs a task where a stuck main loop cannot hold it up. Natively that is a thread of this name.
    fn isolate(&self, name: &'static str, task: Task) -> io::Result<()>;
    /// From now on ends the process so at this time, whatever else is stuck; `None` disarms. A signal that has come by then
    /// has its say in how.
    fn guard(&self, end: Option<(Instant, Verdict)>);
    /// Tells the supervisor, if it listens.
    fn tell_supervisor(&self, told: Told);
    /// Asks the supervisor whether it is stopping us; `None` when it can not be asked.
    fn supervisor_stops_us(&self) -> BoxFuture<Option<bool>>;
    /// Asks what would be started next whether it could take over; an error says in a clause why it could not. It ends by
    /// itself, in less than
    /// [`Limits::CANDIDATE_ANSWER`](evergate_core::limits::Limits::CANDIDATE_ANSWER).
    fn check_candidate(&self) -> BoxFuture<Result<(), String>>;
    /// The program that would be started next, beside the one that runs.
    fn program_on_disk(&self) -> OnDisk;
    /// What that program says its version is; `None` when it says nothing.
    fn version_on_disk(&self) -> BoxFuture<Option<String>>;
    /// Ends when the process is told to read its configuration again; what was told while nobody waited counts.
    fn reload_wanted(&self) -> BoxFuture<()>;
    /// Reads the configuration again; an error says what is wrong with it, and where.
    fn read_configuration(&self) -> BoxFuture<Result<Reloaded, String>>;
    /// Fills the bytes with unpredictable ones.
    fn random(&self, bytes: &mut [u8]);
}
