//! What a gateway under test is started with, piece by piece.

use super::{Gateway, free_address};
use crate::process;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use tempfile::TempDir;

/// Who starts the gateway again when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// Nobody, or the test itself.
    Nobody,
    /// `evergate supervise`.
    Supervise,
    /// Nobody, on a terminal of its own.
    Terminal,
}

/// What a gateway is started with.
pub struct Builder {
    room: TempDir,
    config: String,
    keeper: Keeper,
    environment: Vec<(String, String)>,
    state_dir: Option<PathBuf>,
    address: Option<SocketAddr>,
    flight: Flight,
    program: Option<PathBuf>,
}

/// Whether its life is recorded, and compared with the core at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    Recorded,
    Unrecorded,
}

impl Builder {
    pub(super) fn empty() -> Self {
        Self::in_room(TempDir::with_prefix("evergate-").expect("a temporary folder can be made"))
    }

    pub(super) fn in_room(room: TempDir) -> Self {
        Self {
            room,
            config: String::new(),
            keeper: Keeper::Nobody,
            environment: Vec::new(),
            state_dir: None,
            address: None,
            flight: Flight::Recorded,
            program: None,
        }
    }

    /// Adds lines to its configuration file.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Makes a shell script its agent (prompt on stdin); `keys` are further lines of `[agent.command]`.
    #[must_use]
    pub fn command_agent(self, script: &str, keys: &str) -> Self {
        let path = self.room.path().join("agent.sh");
        fs::write(&path, script).expect("the room is writable");
        let table = format!("[agent]\nkind = \"command\"\n[agent.command]\nargv = [\"/bin/sh\", {path:?}]\n{keys}");
        self.config(&table)
    }

    /// Whether `evergate supervise` keeps it; otherwise `evergate run` runs alone.
    #[must_use]
    pub fn supervised(mut self, supervised: bool) -> Self {
        self.keeper = if supervised { Keeper::Supervise } else { Keeper::Nobody };
        self
    }

    /// Runs `evergate run` on a terminal of its own (needs the program `script`).
    #[must_use]
    pub fn on_a_terminal(mut self) -> Self {
        self.keeper = Keeper::Terminal;
        self
    }

    /// Sets a variable of its environment, which is otherwise empty but for `PATH` and `HOME`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses this state directory in place of a fresh one in its room.
    #[must_use]
    pub fn state_dir(mut self, path: &Path) -> Self {
        self.state_dir = Some(path.to_owned());
        self
    }

    /// Listens there in place of a free port of the loopback interface.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Records its flight only as every gateway does, in its state directory, and does not have it compared: for
    /// measurements, or for a test with a flight log of its own.
    #[must_use]
    pub fn unrecorded(mut self) -> Self {
        self.flight = Flight::Unrecorded;
        self
    }

    /// Starts it from this program.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Starts it from a copy of the program in its room, which can be replaced while it runs.
    ///
    /// # Panics
    /// When the program cannot be copied.
    #[must_use]
    pub fn own_program(mut self) -> Self {
        let program = self.room.path().join("evergate");
        process::write_program(&program, &fs::read(process::binary()).expect("it was just built"));
        self.program = Some(program);
        self
    }

    /// The folder that holds everything of this gateway and goes with it.
    pub fn room(&self) -> &Path {
        self.room.path()
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Gateway {
        let gateway = self.spawn();
        gateway.await_ready();
        gateway
    }

    /// Starts it and waits for nothing: it may well refuse to live.
    pub fn spawn(self) -> Gateway {
        let config = self.room.path().join("config.toml");
        fs::write(&config, &self.config).expect("the room is writable");
        let gateway = Gateway {
            state_dir: self.state_dir.unwrap_or_else(|| self.room.path().join("state")),
            address: self.address.unwrap_or_else(free_address),
            log: self.room.path().join("log"),
            config,
            keeper: self.keeper,
            environment: self.environment,
            room: self.room,
            flight: self.flight,
            program: self.program.unwrap_or_else(process::binary),
            served: AtomicU64::new(0),
            child: Mutex::new(None),
            sessions: Mutex::default(),
            accepted: Mutex::default(),
        };
        gateway.restart_process();
        gateway
    }
}
