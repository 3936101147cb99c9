//! A real homeserver (Synapse) in a process of its own, and a person on it who talks to the gateway's user. It installs Synapse from
//! its package into the build's folder the first time, and says so when that is not possible here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::between::{Between, Fault};
use crate::contract::Venue;
use crate::gateway::{Builder, Gateway, free_address};
use crate::http::{Answer, Client};
use crate::{PATIENCE, eventually};

/// The password of everybody here.
const PASSWORD: &str = "correct horse";
/// How long an installation may take.
const INSTALLATION: u64 = 240;

/// A homeserver.
pub struct Synapse {
    room: TempDir,
    python: PathBuf,
    address: SocketAddr,
    process: Option<Child>,
}

/// The Python of the folder `venv`, which has Synapse; an error says why there is none.
fn installed(venv: &Path) -> Result<PathBuf, String> {
    let python = venv.join("bin/python");
    let run = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(said.lines().last().unwrap_or("no reason given").to_owned()) }
    };
    if run(Command::new(&python).args(["-c", "import synapse"])).is_ok() {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(venv))
        .map_err(|why| format!("python3 makes no venv: {why}"))?;
    let seconds = INSTALLATION.to_string();
    let mut install = Command::new("timeout");
    install.arg(seconds).arg(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "matrix-synapse",
    ]);
    run(&mut install).map_err(|why| format!("the package matrix-synapse cannot be installed: {why}"))?;
    Ok(python)
}

impl Synapse {
    /// Installs it where that was not done before, and starts it; an error says why it cannot be had here.
    ///
    /// # Panics
    /// When what is installed does not start.
    pub fn start() -> Result<Self, String> {
        // Tests run beside each other, and two installers in one folder would get in each other's way.
        static INSTALLER: Mutex<()> = Mutex::new(());
        let alone = INSTALLER.lock().unwrap_or_else(PoisonError::into_inner);
        let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/synapse");
        let python = installed(&venv)?;
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

/// Somebody with an account.
#[derive(Clone, Debug)]
pub struct Person {
    client: Client,
    /// The access token.
    pub token: String,
}

impl Person {
    fn post(&self, path: &str, body: &Value) -> Value {
        let mut last = None;
        let answer = eventually(PATIENCE * 2, || {
            last = self.client.post(&format!("/_matrix/client/v3{path}"), body).ok();
            last.clone().filter(|answer| answer.status == 200)
        });
        answer.map(|answer: Answer| answer.json()).unwrap_or_else(|| panic!("{path}: {last:?}"))
    }

    /// Makes a room and invites the gateway's user.
    #[must_use]
    pub fn invite_bot(&self) -> String {
        let made = self.post("/createRoom", &json!({"preset": "private_chat", "invite": ["@bot:localhost"]}));
        made["room_id"].as_str().expect("a room has an id").to_owned()
    }

    /// Says something; gives the event's id. `relation` says how it stands to others.
    pub fn say(&self, room: &str, text: &str, relation: Option<&Value>) -> String {
        let mut content = json!({"msgtype": "m.text", "body": text});
        if let Some(relation) = relation {
            content["m.relates_to"] = relation.clone();
        }
        let sent = self.post(&format!("/rooms/{}/send/m.room.message", encoded(room)), &content);
        sent["event_id"].as_str().expect("an event has an id").to_owned()
    }

    /// Brings a file to the homeserver and shows it in a room, with something said about it unless that is empty.
    ///
    /// # Panics
    /// When the homeserver does not take it.
    pub fn show(&self, room: &str, message_type: &str, name: &str, bytes: &[u8], caption: &str) {
        let brought = self.client.post_bytes(&format!("/_matrix/media/v3/upload?filename={name}"), bytes);
        let url = brought.map(|answer| answer.json()["content_uri"].clone()).unwrap_or_default();
        assert!(url.is_string(), "the homeserver takes no file: {url}");
        let body = if caption.is_empty() { name } else { caption };
        let kind = match message_type {
            "m.audio" => "audio/ogg",
            _ => "image/png",
        };
        let info = json!({"mimetype": kind, "size": bytes.len()});
        let content = json!({"msgtype": message_type, "body": body, "filename": name, "url": url, "info": info});
        self.post(&format!("/rooms/{}/send/m.room.message", encoded(room)), &content);
    }

    /// The files that the gateway's user shows in a room: type, name, and what is in them.
    #[must_use]
    pub fn files(&self, room: &str) -> Vec<(String, String, String)> {
        let events = self.events(room);
        let shown = events.iter().filter(|event| event["sender"] == "@bot:localhost");
        shown.filter_map(|event| self.file(&event["content"])).collect()
    }

    fn file(&self, content: &Value) -> Option<(String, String, String)> {
        let text = |name: &str| content[name].as_str().unwrap_or_default().to_owned();
        let place = content["url"].as_str()?.strip_prefix("mxc://")?.to_owned();
        let bytes = self.client.get(&format!("/_matrix/client/v1/media/download/{place}")).ok()?.text;
        Some((text("msgtype"), text("body"), bytes))
    }

    /// Takes every access token of this account back, this one's too.
    ///
    /// # Panics
    /// When the server does not do that.
    pub fn sign_out_everywhere(&self) {
        let answer = self.client.post("/_matrix/client/v3/logout/all", &json!({})).expect("Synapse is up");
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The devices of this account that a gateway signed in as.
    #[must_use]
    pub fn gateways(&self) -> Vec<String> {
        let devices = self.client.get("/_matrix/client/v3/devices").map(|answer| answer.json()).unwrap_or_default();
        let devices = devices["devices"].as_array().cloned().unwrap_or_default();
        let of_gateways = devices.iter().filter(|device| device["display_name"] == "Evergate");
        of_gateways.map(|device| device["device_id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// All events of a room, oldest first.
    #[must_use]
    pub fn events(&self, room: &str) -> Vec<Value> {
        let path = format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit=1000", encoded(room));
        let answer = self.client.get(&path).map(|answer| answer.json()).unwrap_or_default();
        let mut events = answer["chunk"].as_array().cloned().unwrap_or_default();
        events.reverse();
        events
    }

    /// Whether the gateway's user is in a room: `join`, `invite`, `leave`.
    #[must_use]
    pub fn bot_is(&self, room: &str) -> String {
        let member = |event: &&Value| event["type"] == "m.room.member" && event["state_key"] == "@bot:localhost";
        let events = self.events(room);
        let last = events.iter().rfind(member);
        last.and_then(|event| event["content"]["membership"].as_str()).unwrap_or_default().to_owned()
    }

    /// The texts that the gateway's user shows in a room, each as it reads after its edits, with the thread that it stands in.
    #[must_use]
    pub fn shown(&self, room: &str, message_type: &str) -> Vec<(String, Option<String>)> {
        let mut order = Vec::new();
        let mut texts: BTreeMap<String, (String, Option<String>)> = BTreeMap::new();
        for event in self.events(room) {
            let content = &event["content"];
            if event["sender"] != "@bot:localhost"
                || event["type"] != "m.room.message"
                || content["msgtype"] != message_type
            {
                continue;
            }
            let relation = &content["m.relates_to"];
            let text = |content: &Value| content["body"].as_str().unwrap_or_default().to_owned();
            let id = event["event_id"].as_str().unwrap_or_default().to_owned();
            match relation["rel_type"].as_str() {
                Some("m.replace") => {
                    if let Some(shown) = relation["event_id"].as_str().and_then(|of| texts.get_mut(of)) {
                        shown.0 = text(&content["m.new_content"]);
                    }
                }
                kind => {
                    let thread = kind.filter(|kind| *kind == "m.thread").and_then(|_| relation["event_id"].as_str());
                    texts.insert(id.clone(), (text(content), thread.map(ToOwned::to_owned)));
                    order.push(id);
                }
            }
        }
        order.iter().filter_map(|id| texts.remove(id)).collect()
    }
}

fn encoded(room: &str) -> String {
    room.replace('!', "%21").replace(':', "%3A")
}

/// Rooms with one person and the gateway's user in each.
pub struct Rooms {
    /// The server.
    pub synapse: RefCell<Synapse>,
    /// The person.
    pub ann: Person,
    /// The rooms.
    pub rooms: Vec<String>,
    /// What lies between the gateway and the server.
    between: Between,
}

impl Rooms {
    /// So many rooms, to all of which the gateway's user is invited.
    #[must_use]
    pub fn new(synapse: Synapse, rooms: usize) -> Self {
        let ann = synapse.person("ann");
        let rooms = (0..rooms).map(|_| ann.invite_bot()).collect();
        let between = Between::new(synapse.address);
        Self { synapse: RefCell::new(synapse), ann, rooms, between }
    }

    /// The section of a configuration that makes a gateway its user `bot`, over a line that counts how long nobody polls.
    ///
    /// # Panics
    /// When the room cannot be written.
    #[must_use]
    pub fn watched_section(&self) -> String {
        self.between.watch("/sync?");
        self.synapse.borrow().section_at(self.between.address, "bot")
    }

    /// The longest time in which nobody polled over that line, since the last time this was asked.
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        self.between.longest_silence()
    }

    /// The next two answers to polls over that line are no JSON: one is cut, one is a proxy's own page.
    pub fn garbles_polls(&self) {
        for (kind, body) in [("application/json", "{\"next_batch\": \"s1"), ("text/html", "<html>hello</html>")] {
            self.answers_instead("/sync?", "200 OK", kind, body);
        }
    }

    /// The homeserver does not hear of the next request over that line that has this in its path; this is the answer.
    pub fn answers_instead(&self, path: &str, status: &str, kind: &str, body: &str) {
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}", body.len());
        self.between.order(path, Fault::Instead(format!("{head}\r\n\r\n{body}")));
    }

    /// The answer to the next request over that line that has this in its path comes so much later.
    pub fn holds(&self, path: &str, length: Duration) {
        self.between.order(path, Fault::Hold(length));
    }

    /// Waits until the gateway's user has come into all rooms.
    ///
    /// # Panics
    /// When it does not.
    pub fn await_bot(&self) {
        for room in &self.rooms {
            let joined = eventually(PATIENCE, || {
                std::thread::sleep(Duration::from_millis(100));
                (self.ann.bot_is(room) == "join").then_some(())
            });
            assert!(joined.is_some(), "the gateway does not follow its invitation to {room}");
        }
    }
}

impl Rooms {
    /// The answers of the agent that a room shows right now, oldest first.
    #[must_use]
    pub fn answers(&self, room: usize) -> Vec<String> {
        self.ann.shown(&self.rooms[room], "m.text").into_iter().map(|(text, _)| text).collect()
    }
}

impl Venue for Rooms {
    fn platform(&self) -> &'static str {
        "matrix"
    }

    fn gateway(&self) -> Builder {
        let section = self.synapse.borrow().section_at(self.between.address, "bot");
        Gateway::builder().config("[agent.demo]\nwords_per_second = 0\n").config(&section)
    }

    fn await_heard(&self, _gateway: &Gateway) {
        self.await_bot();
    }

    fn say(&self, _gateway: &Gateway, chat: usize, text: &str) {
        self.ann.say(&self.rooms[chat], text, None);
    }

    fn answers(&self, _gateway: &Gateway, chat: usize) -> Vec<String> {
        Self::answers(self, chat)
    }

    fn gives_again(&self, _gateway: &Gateway) {
        // The homeserver has done all of it, and the gateway does not hear so: it asks from the same token again.
        self.between.order("/sync?", Fault::LoseAnswer);
        self.between.break_all();
    }

    fn server_goes(&mut self) {
        self.synapse.get_mut().end();
    }

    fn server_comes(&mut self) {
        self.synapse.get_mut().start_again();
    }

    fn breaks_connections(&self) {
        self.between.break_all();
    }

    fn loses_an_answer(&self) {
        self.between.order("/send/m.room.message/", Fault::LoseAnswer);
    }

    fn holds_an_answer(&self, length: Duration) {
        self.between.order("/send/m.room.message/", Fault::Hold(length));
    }

    fn asks_for_quiet(&self, seconds: u64) {
        let body =
            json!({"errcode": "M_LIMIT_EXCEEDED", "error": "too many", "retry_after_ms": seconds * 1000}).to_string();
        let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json";
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.between.order("/send/m.room.message/", Fault::Instead(answer));
    }

    fn stranger(&self) -> Builder {
        Gateway::builder().config(&self.synapse.borrow().section_at(self.between.address, "nobody"))
    }
}
