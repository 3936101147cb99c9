//! A client that connects a hundred times a second while one generation follows the other: it may have to wait, and is
//! never turned away at the door. The tests under systemd boot one of their own; on a machine that cannot, they say `SKIPPED`.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use evergate_tests::flight::assert_kept_conformant;
use evergate_tests::gateway::{Builder, Gateway, free_address};
use evergate_tests::http::Client;
use evergate_tests::process::{self, binary, send_signal};
use evergate_tests::service::{SOCKET, Service, UNIT};
use evergate_tests::visitors::{Account, Visitors};
use evergate_tests::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use serde_json::json;

const RESTARTS: u64 = 20;

fn builder() -> Builder {
    Gateway::builder()
        .config("[agent.demo]\nwords_per_second = 0\n[watchdog]\nfreeze = \"2s\"\n[debug]\nhooks = \"on\"")
}

/// The generation that serves at an address, if one does.
fn serving(address: SocketAddr) -> Option<u64> {
    let answer = Client::new(address, None).get("/readyz").ok().filter(|answer| answer.status == 200)?;
    answer.json()["generation"].as_u64()
}

/// Has people visit a gateway while each of the `rounds` ends a generation in its way.
fn visited(what: &str, (address, token): (SocketAddr, String), rounds: u64, end_generation: impl Fn(u64)) -> Account {
    let visitors = Visitors::new(address, token);
    let account = visitors.visit_during(|| {
        let mut generation = eventually(PATIENCE, || serving(address)).expect("it serves");
        std::thread::sleep(Duration::from_millis(100));
        for round in 0..rounds {
            end_generation(round);
            let next = eventually(PATIENCE, || serving(address).filter(|next| *next > generation));
            generation = next.unwrap_or_else(|| panic!("nobody serves after generation {generation}"));
        }
    });
    let (answered, cut, longest) = (account.answered, account.cut.len(), account.longest);
    eprintln!("{what}: {rounds} ends, {answered} visits answered, {cut} cut, the longest took {longest:?}");
    assert_eq!(account.refused, Vec::<String>::new(), "nobody is turned away: {account:#?}");
    assert!(account.answered as u64 > 5 * rounds, "too few came for a test: {account:#?}");
    visitors.assert_answered_once();
    account
}

fn door(gateway: &Gateway) -> (SocketAddr, String) {
    (gateway.address(), gateway.token())
}

#[test]
fn a_restart_in_place_turns_nobody_away_and_answers_everybody() {
    let gateway = builder().start();
    let pid = gateway.pid();
    let account = visited("in place", door(&gateway), RESTARTS, |_| {
        gateway.ask("restart", &json!({}));
    });
    assert_eq!(account.cut, Vec::<String>::new());
    assert_eq!(gateway.pid(), pid, "it was all one process");
}

#[test]
fn a_restart_by_our_supervisor_turns_nobody_away_and_answers_everybody() {
    let gateway = builder().supervised(true).start();
    let account = visited("supervised", door(&gateway), RESTARTS, |_| {
        gateway.ask("restart", &json!({}));
    });
    assert_eq!(account.cut, Vec::<String>::new());
}

#[test]
fn a_kill_under_our_supervisor_turns_nobody_away() {
    let gateway = builder().supervised(true).start();
    visited("killed under supervise", door(&gateway), 5, |_| gateway.signal(Signal::SIGKILL));
}

#[test]
fn a_frozen_gateway_that_replaces_itself_turns_nobody_away() {
    let gateway = builder().start();
    visited("frozen", door(&gateway), 1, |_| gateway.freeze("loop", Duration::from_secs(600)));
}

/// systemd holds the socket: over restarts in place, over its own and over kills.
#[test]
fn a_socket_unit_turns_nobody_away_whatever_ends_the_gateway() {
    let Some(service) = Service::start_with_socket("a socket unit under systemd") else { return };
    let (door, pid) = ((service.address, service.token()), service.systemd.main_pid(UNIT));
    let account = visited("a socket unit, restarted in place", door.clone(), RESTARTS, |round| {
        service.send("operator", &format!("restart-{round}"), "/restart");
    });
    assert_eq!(account.cut, Vec::<String>::new());
    assert_eq!(service.systemd.main_pid(UNIT), pid, "it was all one process");
    let account = visited("a socket unit, restarted by systemd", door.clone(), 3, |_| service.control("restart"));
    assert_eq!(account.cut, Vec::<String>::new());
    visited("a socket unit, killed", door, 3, |_| {
        service.systemd.kill_main(UNIT, "KILL");
    });
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active");
}

/// The unit that `evergate install` writes pauses for a moment before it starts a gateway again that has crashed.
#[test]
fn the_installed_unit_turns_nobody_away_whatever_ends_the_gateway() {
    let config = "[agent.demo]\nwords_per_second = 0";
    let Some(service) = Service::installed("the installed unit, visited", config, |unit| unit) else { return };
    let door = (service.address, service.token());
    let account = visited("the installed unit, restarted by systemd", door.clone(), 5, |_| service.control("restart"));
    assert_eq!(account.cut, Vec::<String>::new());
    let account = visited("the installed unit, killed", door.clone(), 3, |_| {
        service.systemd.kill_main(UNIT, "KILL");
    });
    assert!(account.longest > Duration::from_millis(200), "somebody waited: {account:#?}");
    let account = visited("the installed unit, restarted in place", door, RESTARTS, |round| {
        service.send("operator", &format!("restart-{round}"), "/restart");
    });
    assert_eq!(account.cut, Vec::<String>::new());
    assert_eq!(service.systemd.show(UNIT, "NFileDescriptorStore"), "1");

    service.control("stop");
    assert_eq!(TcpStream::connect(service.address).err().map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
    service.control("start");
    let generation = service.await_generation_after(0);
    let stopped = service.evergate(&["stop"]);
    assert!(stopped.status.success(), "{}", stopped.text);
    service.systemd.wait_for_state(UNIT, "inactive", PATIENCE);
    assert_eq!(serving(service.address), None, "nobody waits for a gateway that was stopped: {generation}");

    // What it kept is not kept for an address that nobody wants any more.
    let (config, elsewhere) = (service.systemd.folder().join("config.toml"), free_address());
    service.control("start");
    let generation = service.await_generation_after(generation);
    let text = fs::read_to_string(&config).expect("it is the test's folder");
    let former = service.address;
    fs::write(&config, text.replace(&former.to_string(), &elsewhere.to_string())).expect("it is the test's folder");
    assert!(service.evergate(&["restart"]).status.success());
    eventually(PATIENCE, || serving(elsewhere).filter(|next| *next > generation)).expect("it serves there");
    let closed = || TcpStream::connect(former).err().filter(|error| error.kind() == ErrorKind::ConnectionRefused);
    assert!(eventually(PATIENCE, closed).is_some(), "the former address is closed");
    assert_eq!(service.systemd.show(UNIT, "NFileDescriptorStore"), "1", "the new one is kept");
}

/// A socket that outlived a stop would have the next visitor undo it.
#[test]
fn a_stop_takes_the_socket_unit_along_and_nobody_who_knocks_undoes_it() {
    let Some(service) = Service::start_with_socket("a stop with a socket unit") else { return };
    let stops: [&dyn Fn(); 2] = [&|| service.control("stop"), &|| {
        let client = Client::new(service.address, Some(service.token()));
        assert_eq!(client.post("/v1/stop", &json!({})).map(|answer| answer.status).ok(), Some(202));
    }];
    for stop in stops {
        stop();
        service.systemd.wait_for_state(UNIT, "inactive", PATIENCE);
        service.systemd.wait_for_state(SOCKET, "inactive", PATIENCE);
        assert_eq!(serving(service.address), None);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(service.systemd.show(UNIT, "ActiveState"), "inactive", "nobody started it again");
        service.control("start");
        service.await_generation_after(0);
        assert_eq!(service.systemd.show(SOCKET, "ActiveState"), "active", "it comes back with the service");
    }
}

#[test]
fn agents_inherit_neither_the_socket_nor_word_of_it() {
    for supervised in [false, true] {
        let script = "cat > /dev/null; env | grep ^LISTEN_; readlink /proc/self/fd/* | grep socket; echo done";
        let gateway = Gateway::builder().command_agent(script, "").supervised(supervised).start();
        gateway.ask("restart", &json!({}));
        gateway.await_generation(2);
        let message = gateway.send("main", "what do you have?", "question");
        assert_eq!(gateway.await_reply("main", message, PATIENCE).text().trim(), "done", "supervised: {supervised}");
    }
}

#[test]
fn a_gateway_that_is_to_listen_elsewhere_lets_go_of_the_former_address() {
    for keeper in [&["run"][..], &["supervise"][..]] {
        let room = tempfile::tempdir().expect("a temporary folder can be made");
        let (config, state) = (room.path().join("config.toml"), room.path().join("state"));
        let listen_at = |address| fs::write(&config, format!("[local]\nlisten = \"{address}\"\n"));
        let (former, wanted) = (free_address(), free_address());
        listen_at(former).expect("the room is writable");
        let log = fs::File::create(room.path().join("log")).expect("the room is writable");
        let mut child = Command::new(binary())
            .args(keeper)
            .args([OsStr::new("--state-dir"), state.as_os_str(), OsStr::new("--config"), config.as_os_str()])
            .env_remove("EVERGATE_LOCAL_LISTEN")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary was just built");
        let serves = |address| Client::new(address, None).get("/readyz").is_ok_and(|answer| answer.status == 200);
        let told = || fs::read_to_string(room.path().join("log")).unwrap_or_default();
        eventually(PATIENCE, || serves(former).then_some(())).unwrap_or_else(|| panic!("it never served: {}", told()));
        listen_at(wanted).expect("the room is writable");
        let token = fs::read_to_string(state.join("token")).expect("a gateway that serves has a token");
        let client = Client::new(former, Some(token.trim().to_owned()));
        assert_eq!(client.post("/v1/restart", &json!({})).map(|answer| answer.status).ok(), Some(202));
        let moved = eventually(PATIENCE, || serves(wanted).then_some(()));
        let refused = TcpStream::connect(former).map_err(|error| error.kind());
        send_signal(i32::try_from(child.id()).expect("a process id is small"), Signal::SIGTERM);
        let ended = eventually(PATIENCE, || child.try_wait().expect("it is our child"));
        let _killed = child.kill();
        process::end_all(&state);
        assert_kept_conformant(&state, 2);
        assert!(moved.is_some(), "it never served at the new address: {}", told());
        assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused), "{keeper:?}: nobody waits in vain there");
        assert!(ended.is_some(), "it ends");
    }
}
