//! A gateway that runs as a service of a real systemd: in a unit of the test's own or in the one that `evergate install`
//! prints. It starts, kills and stops it, talks to it, and judges its flight log at the end.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    PATIENCE,
    events::{Event, Follower},
    eventually,
    flight::assert_conformant,
    gateway::free_address,
    http::Client,
    process::{binary, write_program},
    skipped,
    systemd::{Output, Skipped, Systemd},
};

/// The unit's name.
pub const UNIT: &str = "evergate.service";
/// The name of the unit that holds its socket, in tests that have one.
pub const SOCKET: &str = "evergate.socket";
/// How long a second reply may take to come, if one came at all.
const AFTERTHOUGHT: Duration = Duration::from_secs(2);

/// A gateway that runs as a service of a systemd of its own.
pub struct Service {
    /// The systemd.
    pub systemd: Systemd,
    /// The state directory.
    pub state: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    program: PathBuf,
    flight: Flight,
}

/// Whether its life is recorded, and compared with the core at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Recorded,
    Unrecorded,
}

impl Service {
    /// Boots systemd for `test` and starts the gateway in it, with one further line in the unit's `[Service]` section.
    /// `None`, said loudly, when there can be no systemd here.
    pub fn start(test: &str, further: &str) -> Option<Self> {
        let service = Self::boot(test)?;
        service.write_unit(further);
        service.control("start");
        service.await_generation_after(0);
        Some(service)
    }

    /// The same with a socket that systemd holds; the gateway itself is started by whoever connects first.
    pub fn start_with_socket(test: &str) -> Option<Self> {
        let service = Self::boot(test)?;
        let further = format!(
            "RestartSec=0\nEnvironment=EVERGATE_AGENT_DEMO_WORDS_PER_SECOND=0\nSockets={SOCKET}\n[Unit]\nPropagatesStopTo={SOCKET}\nStartLimitIntervalSec=0"
        );
        service.write_unit(&further);
        service.systemd.write_unit(SOCKET, &format!("[Socket]\nListenStream={}\n", service.address));
        let started = service.systemd.systemctl(&["start", SOCKET]);
        assert!(started.status.success(), "{}", started.text);
        assert_eq!(service.systemd.main_pid(UNIT), 0, "nobody has come yet");
        service.await_generation_after(0);
        Some(service)
    }

    /// Writes a unit with one further line in its `[Service]` section.
    pub fn write_unit(&self, further: &str) {
        self.write_unit_of(&self.program, further);
    }

    /// The same, of this program.
    pub fn write_unit_of(&self, program: &Path, further: &str) {
        let log = self.log();
        let (state, address) = (self.state.display(), self.address);
        let unit = format!(
            "[Service]\nType=simple\nExecStart={} run --state-dir {state} --listen {address} --flight-log {2}\nRestart=on-failure\n\
             StandardOutput=append:{1}\nStandardError=append:{1}\n{further}\n",
            program.display(),
            log.display(),
            self.flight_log().display(),
        );
        self.systemd.write_unit(UNIT, &unit);
    }

    /// Boots systemd for `test` and starts the gateway in the unit of the machine that `evergate install` prints, after
    /// `change` has had its way with it; `config` is the configuration file but for the address.
    pub fn installed(test: &str, config: &str, change: impl Fn(String) -> String) -> Option<Self> {
        let service = Self::boot(test)?;
        service.install(config, change);
        Some(service)
    }

    /// The same for a measurement: it records its flight only as every gateway does, and nothing is compared. The program is a
    /// copy, as an installed one is.
    pub fn measured(config: &str) -> Result<Self, Skipped> {
        let mut service = Self::bare()?;
        service.flight = Flight::Unrecorded;
        service.program = service.systemd.folder().join("evergate");
        write_program(&service.program, &fs::read(binary()).expect("it was just built"));
        service.install(config, |unit| unit);
        Ok(service)
    }

    /// The same behind a unit of systemd's that holds its socket.
    pub fn measured_behind_a_socket(config: &str) -> Result<Self, Skipped> {
        let service = Self::measured(config)?;
        // The socket comes first, and only while the service does not run.
        service.control("stop");
        service.systemd.write_unit(SOCKET, &format!("[Socket]\nListenStream={}\n", service.address));
        let started = service.systemd.systemctl(&["start", SOCKET]);
        assert!(started.status.success(), "{}", started.text);
        service.control("start");
        service.await_generation_after(1);
        Ok(service)
    }

    fn install(&self, config: &str, change: impl Fn(String) -> String) {
        let file = self.systemd.folder().join("config.toml");
        fs::write(&file, format!("{config}\n[local]\nlisten = \"{}\"\n", self.address))
            .expect("it is the test's folder");
        let unit = change(self.printed_unit(&file));
        let log = self.log();
        let log = log.display();
        let around = self.systemd.folder().join("units").join(format!("{UNIT}.d"));
        fs::create_dir(&around).expect("it is the test's folder");
        let recorded = match self.flight {
            Flight::Recorded => format!("Environment=EVERGATE_FLIGHT_LOG={}\n", self.flight_log().display()),
            Flight::Unrecorded => String::new(),
        };
        let further = format!("[Service]\nStandardOutput=append:{log}\nStandardError=append:{log}\n{recorded}");
        fs::write(around.join("test.conf"), further).expect("it is the test's folder");
        self.systemd.write_unit(UNIT, &unit);
        self.control("start");
        self.await_generation_after(0);
    }

    fn printed_unit(&self, config: &Path) -> String {
        let printed = Command::new(&self.program)
            .args(["install", "--system", "--run-as", "root", "--print", "--manager", "systemd", "--config"])
            .arg(config)
            .arg("--state-dir")
            .arg(&self.state)
            .output()
            .expect("the binary was just built");
        assert!(printed.status.success(), "{printed:?}");
        String::from_utf8(printed.stdout).expect("a unit is text")
    }

    /// Boots systemd for `test`, without any unit yet.
    pub fn boot(test: &str) -> Option<Self> {
        Self::bare().inspect_err(|why| skipped(test, &why.to_string())).ok()
    }

    fn bare() -> Result<Self, Skipped> {
        let systemd = Systemd::boot()?;
        let state = systemd.folder().join("state");
        Ok(Self { state, systemd, address: free_address(), program: binary(), flight: Flight::Recorded })
    }

    /// What the gateway logged.
    pub fn log(&self) -> PathBuf {
        self.systemd.folder().join("log")
    }

    /// Its flight log.
    pub fn flight_log(&self) -> PathBuf {
        self.systemd.folder().join("flight.jsonl")
    }

    /// Runs `systemctl VERB` on the unit, which has to succeed.
    pub fn control(&self, verb: &str) {
        let done = self.systemd.systemctl(&[verb, UNIT]);
        assert!(done.status.success(), "systemctl {verb}: {}", done.text);
    }

    /// Runs `evergate` inside, on the service's state directory.
    pub fn evergate(&self, arguments: &[&str]) -> Output {
        let (program, state) = (self.program.display().to_string(), self.state.display().to_string());
        let mut command = vec![program.as_str()];
        command.extend(arguments);
        command.extend(["--state-dir", &state]);
        self.systemd.inside(&command)
    }

    /// The generation that serves now, if one does.
    pub fn serving(&self) -> Option<u64> {
        let answer = Client::new(self.address, None).get("/readyz").ok()?;
        answer.json()["generation"].as_u64().filter(|_| answer.status == 200)
    }

    /// Waits until a generation later than `former` serves, and answers its number.
    pub fn await_generation_after(&self, former: u64) -> u64 {
        eventually(PATIENCE, || self.serving().filter(|generation| *generation > former))
            .unwrap_or_else(|| panic!("no generation after {former} came to serve"))
    }

    /// The token in its state directory.
    pub fn token(&self) -> String {
        fs::read_to_string(self.state.join("token")).expect("a gateway that served has a token").trim().to_owned()
    }

    /// What is told of why a generation ended.
    pub fn cause(&self, generation: u64) -> String {
        let client = Client::new(self.address, Some(self.token()));
        let list = client.get("/v1/generations").expect("it serves").json();
        let list = list["generations"].as_array().cloned().unwrap_or_default();
        let told = list.iter().find(|entry| entry["generation"] == generation).expect("it is known");
        told["cause"].as_str().unwrap_or_default().to_owned()
    }

    /// Sends a message with an id of its own until it is accepted; answers the gateway's id for it.
    pub fn send(&self, session: &str, id: &str, text: &str) -> u64 {
        let client = Client::new(self.address, Some(self.token()));
        let body = json!({"text": text, "id": id});
        let accept =
            || client.post(&format!("/v1/sessions/{session}/messages"), &body).ok()?.json()["message"].as_u64();
        eventually(PATIENCE, accept).unwrap_or_else(|| panic!("{text:?} was not accepted"))
    }

    /// The session's kept events, from its beginning up to the first that is `wanted`.
    pub fn events_up_to(&self, session: &str, what: &str, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut follower = Follower::new(self.address, self.token(), session, None);
        let deadline = Instant::now() + PATIENCE;
        let mut events: Vec<Event> = Vec::new();
        while !events.last().is_some_and(&wanted) {
            match follower.next_kept(deadline) {
                Some(event) => events.push(event),
                None => panic!("{what} never came in {session}; there was {events:#?}"),
            }
        }
        events
    }

    /// Waits until `message` is being answered.
    pub fn await_running(&self, session: &str, message: u64) {
        self.events_up_to(session, "a running turn", |event| {
            event.is_turn("running") && event.messages().contains(&message)
        });
    }

    /// Waits for the reply to `message` and then for a second one, which must not come; answers all events.
    pub fn await_only_reply(&self, session: &str, message: u64) -> Vec<Event> {
        let answers = |event: &Event| event.is("reply") && event.messages().contains(&message);
        let mut events = self.events_up_to(session, "the reply", answers);
        let last = events.last().and_then(|event| event.id);
        let mut follower = Follower::new(self.address, self.token(), session, last);
        let deadline = Instant::now() + AFTERTHOUGHT;
        events.extend(std::iter::from_fn(|| follower.next_kept(deadline)));
        assert_eq!(events.iter().filter(|event| answers(event)).count(), 1, "it is answered once: {events:#?}");
        events
    }

    /// Kills the main process by hand and waits until the next generation serves; in another process, unless it was asked.
    pub fn survive(&self, signal: &str) {
        let generation = self.serving().expect("it serves before it is killed");
        let former = self.systemd.kill_main(UNIT, signal);
        if signal == "KILL" {
            self.systemd.wait_active(UNIT, former, PATIENCE);
        }
        self.await_generation_after(generation);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.systemd.folder().join("log")).unwrap_or_default();
            eprintln!("---- the unit\n{}\n---- its log\n{log}", self.systemd.systemctl(&["status", UNIT]).text);
        } else if self.flight == Flight::Recorded {
            assert_conformant(&self.flight_log(), self.serving().unwrap_or(1));
        }
    }
}

/// Whether the turn of this message was begun again after it had been cut.
pub fn was_resumed(events: &[Event], message: u64) -> bool {
    events.iter().any(|event| event.is("turn") && event.data["resumed"] == true && event.messages().contains(&message))
}
