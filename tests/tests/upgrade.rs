//! Restarts onto something that would not live: a broken configuration, a program that does not run, hangs or is too old.
//! Each is refused with its reason before anything is given up, and those who chat are answered all the time.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use evergate_tests::events::Event;
use evergate_tests::gateway::Gateway;
use evergate_tests::oracle::Words;
use evergate_tests::{PATIENCE, process};
use nix::sys::signal::Signal;
use serde_json::json;

/// What `evergate restart` may take to be refused by a candidate that never answers.
const BOUND: Duration = Duration::from_secs(12);

/// `evergate restart`, which must be refused: gives what it says on standard error.
fn refused(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.cli(&[&["restart"], arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    said
}

/// What the chat is told about its `/restart`.
fn told(gateway: &Gateway, session: &str, id: &str) -> String {
    let command = gateway.send(session, "/restart", id);
    let answer = |events: &[Event]| {
        let place = events.iter().position(|event| event.is("message") && event.data["message"] == command)?;
        events[place..].iter().find(|event| event.is("notice")).map(|event| event.text().to_owned())
    };
    let events = gateway.events(session, None, "notice about the restart", |events| answer(events).is_some());
    answer(&events).expect("the events end with it")
}

/// Nothing has happened to this generation, and a chat is answered by it.
fn goes_on(gateway: &Gateway, generation: u64, id: &str) {
    let hello = gateway.send("other", "hello", id);
    gateway.await_reply("other", hello, PATIENCE);
    let status = gateway.status();
    assert_eq!((&status["generation"], &status["phase"]), (&json!(generation), &json!("serving")), "{status}");
    assert_eq!(status["requests"], json!([]), "what was refused is no open request");
}

#[test]
fn a_restart_onto_a_broken_configuration_is_refused_by_every_door_with_the_line() {
    for supervised in [true, false] {
        let gateway = Gateway::builder().supervised(supervised).config("[drain]\nbudget = \"20s\"").start();
        let before = gateway.generation();
        let work = gateway.send("work", "take 3s of work", "work");
        gateway.await_running("work");
        fs::write(gateway.config(), "[drain]\nbudget = \"soon\"\n").expect("the room is writable");

        for arguments in [&["--force"][..], &[], &["--json"]] {
            let said = refused(&gateway, arguments);
            assert!(said.contains("config.toml:2") && said.contains("drain.budget"), "{said}");
        }
        let answer = gateway.client().post("/v1/restart", &json!({"mode": "force"})).expect("it answers");
        assert_eq!((answer.status, answer.error().contains("config.toml:2")), (412, true), "{answer:?}");
        let told = told(&gateway, "main", "chat-restart");
        assert!(told.starts_with("No restart") && told.contains("config.toml:2"), "{told}");
        goes_on(&gateway, before, "1");
        gateway.await_reply("work", work, PATIENCE);

        fs::write(gateway.config(), "[drain]\nbudget = \"1s\"\n").expect("the room is writable");
        let mended = gateway.cli(&["restart"]);
        assert_eq!(mended.status.code(), Some(0), "{}", String::from_utf8_lossy(&mended.stderr));
        gateway.send("main", "/restart", "chat-restart");
        goes_on(&gateway, before + 1, "2");
        gateway.assert_answered_once(&[], Words::Echo);
    }
}

#[test]
fn a_program_that_does_not_run_or_is_too_old_is_refused_and_a_good_one_is_taken() {
    let good = fs::read(evergate_tests::process::binary()).expect("the program was just built");
    for supervised in [true, false] {
        let gateway = Gateway::builder().own_program().supervised(supervised).start();
        let before = gateway.generation();
        let programs: [(&[u8], &str); 4] = [
            (b"no program at all", "cannot be started"),
            (b"#!/bin/sh\nkill -SEGV $$\n", "does not run as it should"),
            (b"#!/bin/sh\necho 'evergate: knows journals of schema 0' >&2\nexit 65\n", "knows journals of schema 0"),
            (b"#!/bin/sh\necho 'error: unexpected argument' >&2\nexit 64\n", "unexpected argument"),
        ];
        for (index, (program, why)) in programs.iter().enumerate() {
            gateway.install(program);
            let said = refused(&gateway, &["--force"]);
            assert!(said.contains(why), "{said}");
            goes_on(&gateway, before, &index.to_string());
        }
        gateway.install(&good);
        assert_eq!(gateway.cli(&["restart"]).status.code(), Some(0));
        goes_on(&gateway, before + 1, "last");
        gateway.assert_answered_once(&[], Words::Echo);
    }
}

#[test]
fn a_candidate_that_hangs_is_refused_in_bounded_time_and_nobody_waits_for_it() {
    let gateway = Gateway::builder().own_program().supervised(true).start();
    let before = gateway.generation();
    gateway.install(b"#!/bin/sh\nsleep 1000 & wait\n");
    let begun = Instant::now();
    let (said, told) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| refused(&gateway, &[]));
        let chat = scope.spawn(|| told(&gateway, "main", "chat-restart"));
        goes_on(&gateway, before, "meanwhile");
        (asked.join().expect("it does not panic"), chat.join().expect("it does not panic"))
    });
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    assert!(said.contains("did not say within"), "{said}");
    assert!(told.contains("did not say within"), "{told}");
    goes_on(&gateway, before, "afterwards");
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn a_kill_during_the_check_neither_repeats_nor_loses_a_chats_restart() {
    let good = fs::read(evergate_tests::process::binary()).expect("the program was just built");
    let gateway = Gateway::builder().own_program().supervised(true).start();
    let before = gateway.generation();
    let asked = gateway.room().join("asked");
    gateway.install(format!("#!/bin/sh\n: > '{}'\nsleep 1000\n", asked.display()).as_bytes());
    gateway.send("main", "/restart", "once");
    // Before that the check might come upon the good program.
    gateway.wait_for("the check to begin", PATIENCE, || asked.exists().then_some(()));
    gateway.install(&good);
    gateway.signal(Signal::SIGKILL);
    gateway.await_generation(before + 1);
    for _ in 0..3 {
        gateway.send("main", "/restart", "once");
    }
    let settled = |events: &[Event]| events.iter().filter(|event| event.is("notice")).count() == 1;
    let events = gateway.events("main", None, "the outcome", settled);
    assert!(events.iter().any(|event| event.is("notice") && event.text().contains("Restarted")), "{events:#?}");
    goes_on(&gateway, before + 1, "1");
}

#[test]
fn the_check_takes_no_lock_and_says_nothing_about_what_is_well() {
    let gateway = Gateway::builder().start();
    let output = gateway.cli(&["run", "--check-takeover=1"]);
    assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(0), 0, 0));
    let older = gateway.cli(&["run", "--check-takeover=99"]);
    assert_eq!(older.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&older.stderr).contains("schema 99"));
}

#[test]
fn a_restart_onto_an_address_that_somebody_else_has_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound");
    let gateway = Gateway::builder().start();
    let check = |served: Option<SocketAddr>| {
        let mut check = Command::new(process::binary());
        check.args(["run", "--check-takeover=1", "--listen", &address.to_string(), "--state-dir"]);
        check.arg(gateway.state_dir()).env_clear().env("HOME", gateway.state_dir());
        check.envs(served.map(|served| ("EVERGATE_SERVED_ADDRESS", served.to_string())));
        check.output().expect("the binary was just built")
    };
    assert_eq!(check(None).status.code(), Some(0), "nobody has said that it is another one");
    assert_eq!(check(Some(address)).status.code(), Some(0), "it is the gateway's own");
    let refused = check(Some(gateway.address()));
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains(&format!("cannot listen on {address}: ")), "{said}");
}

#[test]
fn a_reload_changes_what_it_can_names_what_waits_and_refuses_what_is_wrong() {
    let gateway = Gateway::builder().supervised(true).config("[drain]\nbudget = \"25s\"").start();
    let (before, pid) = (gateway.generation(), gateway.pid());
    let configure = |text: &str| fs::write(gateway.config(), text).expect("the room is writable");
    let reload = || {
        let output = gateway.cli(&["reload"]);
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        (output.status.code(), said.concat())
    };
    assert_eq!(reload(), (Some(0), "reloaded: nothing has changed\n".to_owned()));

    configure("[drain]\nbudget = \"1s\"\n[limits]\nturns = 0\n");
    let (status, said) = reload();
    assert_eq!((status, said.contains("config.toml:4") && said.contains("limits.turns")), (Some(78), true), "{said}");
    gateway.signal(Signal::SIGHUP);
    let refused = || gateway.log().matches("is refused; nothing has changed").count();
    gateway.wait_for("the second refusal in the log", PATIENCE, || (refused() == 2).then_some(()));

    configure("[drain]\nbudget = \"1s\"\ninterrupt_grace = \"1s\"\n[log]\nlevel = \"debug\"\nformat = \"text\"\n");
    let told = "reloaded: drain.budget, drain.interrupt_grace, log.level changed\n\
                not in effect before `evergate restart`: log.format\n";
    assert_eq!(reload(), (Some(0), told.to_owned()));
    assert_eq!((gateway.generation(), gateway.pid()), (before, pid), "nothing was restarted");

    gateway.send("work", "take 20s of work", "work");
    gateway.await_running("work");
    let begun = Instant::now();
    assert_eq!(gateway.cli(&["restart"]).status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "the new budget holds: {:?}", begun.elapsed());

    configure("[drain]\nbudget = \"3s\"\n[log]\nformat = \"text\"\n");
    gateway.signal(Signal::SIGHUP);
    let read = || gateway.log().matches("configuration read again").count() >= 3;
    gateway.wait_for("the reload in the log", PATIENCE, || read().then_some(()));
    goes_on(&gateway, before + 1, "1");
}

/// What runs and what is on disk are two things, and both are told.
#[test]
fn status_tells_the_version_on_disk_beside_the_one_in_memory() {
    let gateway = Gateway::builder().own_program().supervised(true).start();
    let program = evergate_tests::process::binary();
    let another = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo evergate 9.8.7; else exec '{}' \"$@\"; fi\n",
        program.display()
    );
    gateway.install(another.as_bytes());
    let on_disk = || gateway.try_status().filter(|status| status["on_disk"]["version"] == "9.8.7");
    let status = gateway.wait_for("the other version", PATIENCE, on_disk);
    assert_ne!(status["version"], "9.8.7", "that is not what runs: {status}");
    assert_eq!(status["on_disk"]["program"], "changed");
    let shown = String::from_utf8_lossy(&gateway.cli(&["status"]).stdout).into_owned();
    assert!(shown.contains("9.8.7"), "{shown}");
}
