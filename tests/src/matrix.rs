//! A real homeserver (Synapse) in a process of its own. It installs Synapse from
//! its package into the build's folder the first time, and says so when that is not possible here.

mod person;
mod rooms;

pub use person::Person;
pub use rooms::Rooms;

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use tempfile::TempDir;

use crate::gateway::free_address;
use crate::http::Client;
use crate::{PATIENCE, eventually, pypi};

/// The password of everybody here.
const PASSWORD: &str = "correct horse";

/// A homeserver.
pub struct Synapse {
    room: TempDir,
    python: PathBuf,
    address: SocketAddr,
    process: Option<Child>,
}

impl Synapse {
    /// Installs it where that was not done before, and starts it; an error says why it cannot be had here.
    ///
    /// # Panics
    /// When what is installed does not start.
    pub fn start() -> Result<Self, String> {
        // Tests run beside each other, and two that settle one folder would get in each other's way.
        static INSTALLER: Mutex<()> = Mutex::new(());
        let alone = INSTALLER.lock().unwrap_or_else(PoisonError::into_inner);
        let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/synapse");
        let python = pypi::installed(&["matrix-synapse"], "import synapse", &venv)?;
        let settled = venv.join("settled");
        if !settled.exists() {
            Self::settle(&python, &settled).map_err(|error| error.to_string())?;
        }
        drop(alone);
        let mut synapse = Self::in_room(&python).map_err(|error| error.to_string())?;
        for kept in fs::read_dir(&settled).map_err(|error| error.to_string())?.flatten() {
            fs::copy(kept.path(), synapse.path(&kept.file_name().to_string_lossy())).map_err(|why| why.to_string())?;
        }
        synapse.configure();
        synapse.run();
        Ok(synapse)
    }

    fn in_room(python: &Path) -> io::Result<Self> {
        let room = tempfile::tempdir()?;
        Ok(Self { room, python: python.to_owned(), address: free_address(), process: None })
    }

    /// Leaves the database and the key of a server that has all users in `settled`: to make them takes longer than most tests.
    fn settle(python: &Path, settled: &Path) -> io::Result<()> {
        let mut first = Self::in_room(python)?;
        first.configure();
        first.generate_keys();
        first.run();
        for user in ["bot", "ann", "eve"] {
            first.register(user);
        }
        first.end();
        let unfinished = settled.with_extension("unfinished");
        let _none = fs::remove_dir_all(&unfinished);
        fs::create_dir(&unfinished)?;
        for name in ["homeserver.db", "signing.key"] {
            fs::copy(first.path(name), unfinished.join(name))?;
        }
        fs::rename(&unfinished, settled)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    fn configure(&self) {
        let path = |name: &str| self.path(name).display().to_string();
        let generous = json!({"per_second": 1000, "burst_count": 1000});
        let config = json!({
            "server_name": "localhost", "pid_file": path("pid"), "report_stats": false,
            "listeners": [{"port": self.address.port(), "bind_addresses": ["127.0.0.1"], "type": "http", "tls": false, "resources": [{"names": ["client"]}]}],
            "database": {"name": "sqlite3", "args": {"database": path("homeserver.db")}},
            "media_store_path": path("media"), "signing_key_path": path("signing.key"),
            "registration_shared_secret": "shared", "macaroon_secret_key": "macaroon", "form_secret": "form",
            "trusted_key_servers": [], "federation_domain_whitelist": [],
            "rc_message": generous, "rc_login": {"address": generous, "account": generous},
            "rc_joins": {"local": generous}, "rc_invites": {"per_user": generous, "per_room": generous, "per_issuer": generous},
        });
        // JSON is YAML.
        fs::write(self.path("homeserver.yaml"), config.to_string()).expect("the room is writable");
    }

    fn generate_keys(&self) {
        let made = Command::new(&self.python)
            .args(["-m", "synapse.app.homeserver", "--generate-keys", "--config-path"])
            .arg(self.path("homeserver.yaml"))
            .current_dir(self.room.path())
            .output();
        assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{made:?}");
    }

    fn run(&mut self) {
        let log = File::create(self.path("log")).expect("the room is writable");
        let process = Command::new("timeout")
            .args(["--kill-after=5", "600"])
            .arg(&self.python)
            .args(["-m", "synapse.app.homeserver", "--config-path"])
            .arg(self.path("homeserver.yaml"))
            .current_dir(self.room.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("timeout and python can be run");
        self.process = Some(process);
        let answers = || {
            Client::new(self.address, None).get("/_matrix/client/versions").ok().filter(|answer| answer.status == 200)
        };
        let up = eventually(PATIENCE * 2, answers);
        assert!(up.is_some(), "Synapse does not answer: {}", fs::read_to_string(self.path("log")).unwrap_or_default());
    }

    /// Ends its process; what it has stored stays.
    pub fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            crate::process::send_signal(process.id().cast_signed(), nix::sys::signal::Signal::SIGTERM);
            let _ended = process.wait();
        }
    }

    /// `kill -9` of the homeserver itself, at this very moment.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let id = process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let server = children.split_whitespace().next().and_then(|child| child.parse().ok());
        crate::process::send_signal(server.expect("it has its process"), nix::sys::signal::Signal::SIGKILL);
        let _ended = process.wait();
    }

    /// Starts it again, with all that it has stored.
    pub fn start_again(&mut self) {
        self.run();
    }

    fn register(&self, user: &str) {
        let made = Command::new(self.python.with_file_name("register_new_matrix_user"))
            .args(["-k", "shared", "-u", user, "-p", PASSWORD, "--no-admin", &format!("http://{}", self.address)])
            .output();
        assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{made:?}");
    }

    /// The section of a configuration that makes a gateway its user `bot`, whom `ann` may talk to.
    ///
    /// # Panics
    /// When the room cannot be written.
    #[must_use]
    pub fn section(&self) -> String {
        self.section_at(self.address, "bot")
    }

    /// The same, of another user and with the homeserver at another address.
    ///
    /// # Panics
    /// When the room cannot be written.
    #[must_use]
    pub fn section_at(&self, address: SocketAddr, user: &str) -> String {
        fs::write(self.path("password"), PASSWORD).expect("the room is writable");
        format!(
            "[matrix]\nhomeserver = \"http://{}\"\nuser = {user:?}\npassword_file = {:?}\nallowed_users = [\"@ann:localhost\"]\n\
             operators = [\"@ann:localhost\"]\n",
            address,
            self.path("password")
        )
    }

    /// From now on the file that [`section`](Self::section) names holds this instead of the password.
    ///
    /// # Panics
    /// When the room cannot be written.
    pub fn forget_password(&self, instead: &str) {
        fs::write(self.path("password"), instead).expect("the room is writable");
    }

    /// Signs somebody in.
    ///
    /// # Panics
    /// When that does not work.
    #[must_use]
    pub fn person(&self, user: &str) -> Person {
        let login = json!({"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user}, "password": PASSWORD});
        let answer = Client::new(self.address, None).post("/_matrix/client/v3/login", &login).expect("Synapse is up");
        let token = answer.json()["access_token"].as_str().unwrap_or_default().to_owned();
        assert!(!token.is_empty(), "{answer:?}");
        Person { client: Client::new(self.address, Some(token.clone())), token }
    }
}

impl Drop for Synapse {
    fn drop(&mut self) {
        self.end();
    }
}
