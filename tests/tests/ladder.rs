//! The ladder of `evergate restart` where its last rungs lead through somebody else: a systemd that has given the unit up, a
//! launchd, a container whose process 1 nobody inside can kill. What this machine lacks is `SKIPPED` out loud.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use evergate_tests::{
    PATIENCE,
    container::Container,
    eventually,
    flight::assert_kept_conformant,
    gateway::{Gateway, free_address},
    http::Client,
    process::{binary, is_alive, send_signal, write_program},
    service::{Service, UNIT, was_resumed},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Only a reset of what systemd counts has it start such a unit again.
#[test]
fn a_unit_that_systemd_has_given_up_is_started_by_a_restart() {
    let limit = "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=2";
    let Some(service) = Service::start("a unit that was given up", limit) else { return };
    for arguments in [&["restart"][..], &["restart", "--force"]] {
        let session = arguments.concat();
        let question = service.send(&session, &session, "take 3s to say what hit you");
        service.await_running(&session, question);
        let mut generation = service.serving().expect("it serves");
        // Killed until systemd does not start it again.
        loop {
            service.systemd.kill_main(UNIT, "KILL");
            let again = eventually(PATIENCE, || {
                let later = service.serving().filter(|later| *later > generation);
                let given_up = service.systemd.show(UNIT, "ActiveState") == "failed";
                later.map(Some).or_else(|| given_up.then_some(None))
            });
            match again.expect("it is started again or given up") {
                Some(later) => generation = later,
                None => break,
            }
        }
        let refused = service.systemd.systemctl(&["start", UNIT]);
        assert!(!refused.status.success(), "{arguments:?}: the limit stands: {}", refused.text);
        let restarted = service.evergate(arguments);
        assert!(restarted.status.success(), "{arguments:?}: {}", restarted.text);
        assert!(restarted.text.contains("`systemctl start evergate.service`"), "{}", restarted.text);
        assert!(service.serving().is_some_and(|later| later > generation), "{}", restarted.text);
        assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active");
        let events = service.await_only_reply(&session, question);
        assert!(was_resumed(&events, question), "{events:#?}");
    }
}

/// To systemd the kill of a climb is a death like any other, after which a unit that was written by hand may have it wait for long.
#[test]
fn a_systemd_that_pauses_starts_at_once_what_a_restart_wants() {
    let Some(service) = Service::start("a restart in a pause of systemd", "RestartSec=10min") else { return };
    for kill in [true, false] {
        let generation = service.serving().expect("it serves");
        service.systemd.kill_main(UNIT, if kill { "KILL" } else { "STOP" });
        if kill {
            let pauses = || (service.systemd.show(UNIT, "SubState") == "auto-restart").then_some(());
            eventually(PATIENCE, pauses).expect("it pauses");
        }
        let restarted = service.evergate(if kill { &["restart"] } else { &["restart", "--force"] });
        assert!(restarted.status.success(), "killed: {kill}: {}", restarted.text);
        assert!(restarted.text.contains("`systemctl restart evergate.service`"), "{}", restarted.text);
        assert!(service.serving().is_some_and(|later| later > generation), "{}", restarted.text);
    }
}

/// A gateway that has died so often in a row that its `supervise` pauses for 6.4 s after one more death.
fn has_died_often() -> Gateway {
    let gateway = Gateway::builder().supervised(true).start();
    for _ in 0..6 {
        let before = gateway.generation();
        send_signal(gateway.pid(), Signal::SIGKILL);
        gateway.await_generation(before + 1);
    }
    gateway
}

/// The pause that was to be made was cut short.
#[track_caller]
fn assert_started_at_once(gateway: &Gateway, restarted: &std::process::Output, before: u64) {
    assert!(restarted.status.success(), "{restarted:?}");
    let said = String::from_utf8_lossy(&restarted.stdout);
    assert!(said.contains("is told to start it at once"), "{restarted:?}");
    assert!(gateway.generation() > before);
    let log = gateway.log();
    assert_eq!(log.matches("somebody wants it started at once").count(), 1, "{log}");
    assert!(log.contains("\"next_in_ms\":6400,"), "it would have paused: {log}");
}

/// To whoever pauses longer after each death the kill of a climb is one more.
#[test]
fn a_supervise_starts_at_once_what_a_restart_has_killed_after_many_deaths() {
    let gateway = has_died_often();
    let (before, pid) = (gateway.generation(), gateway.pid());
    send_signal(pid, Signal::SIGSTOP);
    let restarted = gateway.cli(&["restart", "--force"]);
    assert_started_at_once(&gateway, &restarted, before);
}

#[test]
fn a_supervise_that_pauses_after_many_deaths_is_told_to_start_at_once() {
    let gateway = has_died_often();
    let (before, pid) = (gateway.generation(), gateway.pid());
    send_signal(pid, Signal::SIGKILL);
    gateway.wait_for("it to be dead", PATIENCE, || (!is_alive(pid)).then_some(()));
    let status = String::from_utf8_lossy(&gateway.cli(&["status"]).stderr).into_owned();
    assert!(status.contains("`evergate restart --state-dir "), "{status}");
    let restarted = gateway.cli(&["restart", "--force"]);
    assert_started_at_once(&gateway, &restarted, before);
}

/// What a gateway in a container is started with.
struct Room {
    folder: TempDir,
    state_dir: String,
    listen: String,
}

impl Room {
    fn new() -> Self {
        let folder = TempDir::with_prefix("evergate-").expect("a temporary folder can be made");
        let state_dir = folder.path().join("state").display().to_string();
        Self { folder, state_dir, listen: free_address().to_string() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A test must not inherit its runner's configuration, and the harness finds a gateway by its state directory.
    fn variables<'a>(&'a self, path: &'a str, further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [("PATH", path), ("EVERGATE_STATE_DIR", &self.state_dir), ("EVERGATE_LOCAL_LISTEN", &self.listen)];
        own.into_iter().chain(further.iter().copied()).collect()
    }

    fn ready(&self) -> Option<u64> {
        let client = Client::new(self.listen.parse().expect("it is an address"), None);
        let answer = client.get("/readyz").ok().filter(|answer| answer.status == 200)?;
        answer.json()["generation"].as_u64()
    }

    fn await_ready(&self, least: u64) {
        let ready = eventually(PATIENCE, || self.ready().filter(|generation| *generation >= least));
        let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
        assert!(ready.is_some(), "generation {least} never came to serve:\n{}", log());
    }

    /// What is written down of the owner of the state directory.
    fn owner(&self) -> Value {
        let text = fs::read(Path::new(&self.state_dir).join("lock")).unwrap_or_default();
        serde_json::from_slice(&text).expect("the owner is told")
    }
}

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

#[test]
fn process_1_of_a_container_is_not_killed_from_inside_nor_is_anybody_in_its_place() {
    let (room, evergate) = (Room::new(), binary().display().to_string());
    let variables = room.variables(PATH, &[]);
    let test = "process 1 of a container";
    let Some(container) = Container::start(test, &[&evergate, "run"], &variables, &room.path("log")) else { return };
    room.await_ready(1);
    assert_eq!(room.owner()["pid"], 1);
    let mut bystander = container
        .command(&["sleep", "600"], &[("PATH", PATH)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nsenter comes with unshare");
    send_signal(container.first(), Signal::SIGSTOP);
    for arguments in [&[&evergate, "restart", "--force"][..], &[&evergate, "restart"]] {
        let restarted = container.run(arguments, &variables);
        let said = Container::said(&restarted);
        let advice = "process 1 of a container cannot be killed from inside it: restart the container";
        assert!(!restarted.status.success() && said.contains(advice), "{arguments:?}: {:?} {said}", restarted.status);
        assert!(bystander.try_wait().is_ok_and(|ended| ended.is_none()), "{arguments:?} has killed a bystander");
        assert!(is_alive(container.first()));
    }
    let words = Path::new(&room.state_dir).join("last-words.json");
    assert!(!words.exists(), "whatever ends it later, it was not this command");
    drop(container);
    let _ = bystander.wait();
    assert_kept_conformant(Path::new(&room.state_dir), 1);
}

/// On Linux, with a program of this name that does what `launchctl kickstart` is there for.
#[test]
fn a_gateway_that_launchd_keeps_is_started_again_by_launchctl() {
    let (room, evergate) = (Room::new(), binary().display().to_string());
    let job = [
        ("XPC_SERVICE_NAME", "evergate.gateway"),
        ("EVERGATE_SUPERVISOR", "launchd"),
        ("EVERGATE_SUPERVISOR_DOMAIN", "system"),
    ];
    let variables = room.variables(PATH, &job);
    // Process 1 is launchd; what it starts has it for its parent.
    let launchd = "\"$0\" run & while :; do wait; sleep 0.1; done";
    let test = "launchctl";
    let Some(container) = Container::start(test, &["sh", "-c", launchd, &evergate], &variables, &room.path("log"))
    else {
        return;
    };
    room.await_ready(1);
    let owner = room.owner();
    assert_eq!(
        (&owner["supervisor"], &owner["unit"]["name"]),
        (&"launchd_successful_exit".into(), &"system/evergate.gateway".into()),
        "{owner}"
    );

    let (bin, calls) = (room.path("bin"), room.path("calls"));
    fs::create_dir(&bin).expect("the room is writable");
    let job: String = variables.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {}\n(sleep 0.2; exec env {job} {evergate} run) >> {} 2>&1 &\n",
        calls.display(),
        room.path("log").display(),
    );
    write_program(&bin.join("launchctl"), script.as_bytes());
    let path = format!("{}:{PATH}", bin.display());
    for (round, stop_before) in [true, false].into_iter().enumerate() {
        let pid = room.owner()["pid"].to_string();
        let signal = if stop_before { "-STOP" } else { "-KILL" };
        assert!(container.run(&["kill", signal, &pid], &[("PATH", PATH)]).status.success());
        let restarted = container.run(&[&evergate, "restart", "--force"], &room.variables(&path, &[]));
        let said = Container::said(&restarted);
        assert!(restarted.status.success(), "{signal}: {said}");
        assert!(said.contains("`launchctl kickstart system/evergate.gateway`"), "{signal}: {said}");
        let called = fs::read_to_string(&calls).unwrap_or_default();
        assert_eq!(called, "kickstart system/evergate.gateway\n".repeat(round + 1), "{signal}");
        room.await_ready(u64::try_from(round).unwrap_or(0) + 2);
    }
    drop(container);
    assert_kept_conformant(Path::new(&room.state_dir), 3);
}
