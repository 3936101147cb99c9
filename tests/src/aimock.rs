//! aimock, a model endpoint that somebody else wrote: a second opinion on what an OpenAI-compatible server says and takes. It
//! is installed from npm once, answers by fixtures on loopback, and ends with this value or by itself.

use crate::http::Client;
use crate::{PATIENCE, eventually, npm, process};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// Without dependencies of its own.
const PACKAGE: &str = "@copilotkit/aimock@1.43.0";
/// How long it lives at most, in seconds.
const LIFE: &str = "600";

/// A running aimock.
pub struct AiMock {
    process: Child,
    address: SocketAddr,
    _room: TempDir,
}

impl AiMock {
    /// Starts one that answers by these fixtures, in pieces of four characters, one each `pace`. The package is put below `folder`,
    /// unless it is there. An error says why there is none.
    ///
    /// # Errors
    /// Where node or npm are not there, or npm cannot bring the package.
    ///
    /// # Panics
    /// When what was installed does not start.
    pub fn start(folder: &Path, fixtures: &Value, pace: Duration) -> Result<Self, String> {
        let program = installed(folder)?;
        let room = TempDir::with_prefix("evergate-aimock-").expect("a temporary folder can be made");
        let (file, log) = (room.path().join("fixtures.json"), room.path().join("log"));
        fs::write(&file, fixtures.to_string()).expect("the room is writable");
        let said = File::create(&log).expect("the room is writable");
        let pace = pace.as_millis().to_string();
        let process = Command::new("timeout")
            .args(["--kill-after=5", LIFE, "node"])
            .arg(program)
            .args(["--host", "127.0.0.1", "--port", "0", "--strict", "--chunk-size", "4", "--latency", &pace])
            .arg("--fixtures")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a file can be written twice"))
            .stderr(said)
            .spawn()
            .map_err(|error| format!("timeout: {error}"))?;
        // Whatever happens from here on, the process is ended.
        let mut mock = Self { process, address: SocketAddr::from(([127, 0, 0, 1], 0)), _room: room };
        let address = eventually(PATIENCE, || {
            std::thread::sleep(Duration::from_millis(20));
            let said = fs::read_to_string(&log).unwrap_or_default();
            said.split("listening on http://").nth(1)?.lines().next()?.trim().parse().ok()
        });
        mock.address = address
            .unwrap_or_else(|| panic!("aimock does not start: {}", fs::read_to_string(&log).unwrap_or_default()));
        Ok(mock)
    }

    /// The lines of a configuration that make it the agent.
    #[must_use]
    pub fn section(&self) -> String {
        let base = format!("http://{}/v1", self.address);
        format!("[agent]\nkind = \"openai\"\n[agent.openai]\nbase_url = {base:?}\nmodel = \"tiny\"\n")
    }

    /// What it was asked so far, by call: its messages as `role: content`.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn asked(&self) -> Vec<Vec<String>> {
        let journal = Client::new(self.address, None).get("/__aimock/journal").expect("aimock lives").json();
        let text = |message: &Value, key: &str| message[key].as_str().unwrap_or_default().to_owned();
        let said = |message: &Value| format!("{}: {}", text(message, "role"), text(message, "content"));
        let messages = |call: &Value| call["body"]["messages"].as_array().into_iter().flatten().map(said).collect();
        journal.as_array().into_iter().flatten().map(messages).collect()
    }
}

impl Drop for AiMock {
    fn drop(&mut self) {
        // `timeout` hands it on, and kills what does not obey.
        process::send_signal(i32::try_from(self.process.id()).unwrap_or(0), Signal::SIGTERM);
        let _reaped = self.process.wait();
    }
}

/// The program, which is installed once.
fn installed(folder: &Path) -> Result<PathBuf, String> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    INSTALLED.get_or_init(|| install(folder)).clone()
}

fn install(folder: &Path) -> Result<PathBuf, String> {
    let version = PACKAGE.rsplit('@').next().unwrap_or_default();
    npm::installed(PACKAGE, &folder.join(format!("aimock-{version}")), "@copilotkit/aimock/dist/cli.js")
}
