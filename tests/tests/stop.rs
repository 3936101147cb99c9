//! `evergate stop` of a gateway that can hear nobody any more: it ends all the same, whoever keeps it, and stays down until
//! somebody wants it again. What was under way then goes on.

use std::fs;
use std::thread;
use std::time::Duration;

use evergate_tests::gateway::Gateway;
use evergate_tests::hooks::freeze;
use evergate_tests::oracle::Words;
use evergate_tests::process::{is_alive, send_signal};
use evergate_tests::service::{Service, UNIT, was_resumed};
use evergate_tests::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use serde_json::json;

/// Longer than any test lives.
const FOR_EVER: Duration = Duration::from_secs(600);
/// No watchdog helps here.
const UNWATCHED: &str = "[watchdog]\nfreeze = \"1h\"\n[debug]\nhooks = \"on\"";
/// Longer than `supervise` pauses after one death.
const A_WHILE: Duration = Duration::from_secs(2);

/// Stops a gateway in the middle of a turn when it gets nowhere; it comes back only when it is started again.
fn stays_down(supervised: bool, hit: impl Fn(&Gateway), arguments: &[&str]) {
    let gateway = Gateway::builder().supervised(supervised).config(UNWATCHED).start();
    let (before, pid) = (gateway.generation(), gateway.pid());
    let prompt = gateway.send("main", "take 3s to say hello", "hello");
    gateway.await_running("main");
    hit(&gateway);
    let stopped = gateway.cli(arguments);
    let said = format!("{arguments:?}, supervised: {supervised}: {stopped:?}");
    assert!(stopped.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&stopped.stdout).contains("\nstopped, after "), "{said}");
    assert!(!is_alive(pid), "{said}");
    gateway.wait_for("whoever was started to end", PATIENCE, || gateway.ended());
    thread::sleep(A_WHILE);
    assert_eq!(gateway.try_status(), None, "{said}");
    if said.contains("it was killed") {
        let told = gateway.cli(&["generations", "show"]);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        // What hung may have been all that was left of a process that had ended in order.
        assert!(
            told.contains("killed by `evergate stop`: it got nowhere") || told.contains("ended in order"),
            "{told}"
        );
        assert!(!told.contains("ended        -"), "{told}");
    }
    gateway.restart_process();
    assert!(gateway.await_generation(before + 1) > before, "{said}");
    gateway.await_reply("main", prompt, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
}

#[test]
fn a_stop_ends_a_frozen_loop_under_supervise_and_where_nobody_supervises() {
    for arguments in [&["stop"][..], &["stop", "--force"]] {
        for supervised in [true, false] {
            stays_down(supervised, |gateway| gateway.freeze("loop", FOR_EVER), arguments);
        }
    }
}

#[test]
fn a_stop_ends_a_process_that_is_stopped_as_a_whole_under_supervise_and_where_nobody_supervises() {
    for supervised in [true, false] {
        stays_down(supervised, |gateway| gateway.signal(Signal::SIGSTOP), &["stop", "--force"]);
    }
}

/// Its file is all that a command line has of it; without, and with nobody who makes it again, the process itself is what is left.
#[test]
fn a_stop_gets_through_where_the_control_socket_is_gone() {
    for supervised in [true, false] {
        let gone = |gateway: &Gateway| {
            gateway.freeze("control", FOR_EVER);
            std::fs::remove_file(gateway.state_dir().join("control.sock")).expect("it was there");
        };
        stays_down(supervised, gone, &["stop", "--force"]);
    }
}

#[test]
fn who_waits_for_an_answer_is_told_of_a_stop_and_has_the_answer_after_the_next_start() {
    let gateway = Gateway::builder().start();
    let before = gateway.generation();
    let sent = thread::scope(|scope| {
        let send = scope.spawn(|| gateway.cli(&["send", "take 3s to say hello"]));
        gateway.await_running("main");
        assert!(gateway.cli(&["stop", "--force"]).status.success());
        // Longer than from one generation to the next.
        thread::sleep(Duration::from_secs(6));
        gateway.restart_process();
        gateway.await_generation(before + 1);
        send.join().expect("it does not panic")
    });
    assert!(sent.status.success(), "{sent:?}");
    let said = String::from_utf8_lossy(&sent.stderr);
    assert_eq!(said.matches("no gateway is running on").count(), 1, "{said}");
    assert!(said.contains("is stored, and its reply is waited for"), "{said}");
    assert!(String::from_utf8_lossy(&sent.stdout).contains("hello"), "{sent:?}");
}

/// Between the record of its end and its exit a process can still be killed, by a limit or by whoever is out of memory.
#[test]
fn a_stop_that_is_on_disk_is_kept_by_what_is_started_after_a_kill() {
    let gateway = Gateway::builder().supervised(true).config(UNWATCHED).start();
    let (before, pid) = (gateway.generation(), gateway.pid());
    // Whoever leaves waits for it.
    gateway.freeze("control", FOR_EVER);
    gateway.ask("stop", &json!({}));
    gateway.wait_for("its end to be on disk", PATIENCE, || gateway.log().contains(r#""phase":"ended""#).then_some(()));
    send_signal(pid, Signal::SIGKILL);
    assert_eq!(gateway.exit_code(PATIENCE), 0, "{}", gateway.log());
    let log = gateway.log();
    let kept = log.split(r#""message":"generation begins""#).nth(2).unwrap_or_else(|| panic!("it was revived: {log}"));
    assert!(!kept.contains(r#""phase":"serving""#), "{kept}");
    let told = gateway.cli(&["generations", "show", &(before + 1).to_string()]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("stop 1 from http"), "{told:?}");
    gateway.restart_process();
    assert!(gateway.await_generation(before + 2) > before, "a person may start it");
}

/// Each ordinary stop leaves its end on disk, and whoever wants a start after it may see it die before it has begun.
#[test]
fn a_start_that_somebody_wants_after_a_stop_serves_whichever_of_its_processes_gets_so_far() {
    let gateway = Gateway::builder().supervised(true).start();
    let before = gateway.generation();
    assert!(gateway.cli(&["stop"]).status.success());
    assert_eq!(gateway.exit_code(PATIENCE), 0);
    fs::write(gateway.config(), "[debug]\nhooks = \"on\"\nstart_fails = \"after-journal\"\n")
        .expect("the room is writable");
    gateway.restart_process();
    let deaths = || gateway.log().matches("the start goes wrong, as was asked for").count();
    gateway.wait_for("two of its processes to die", PATIENCE, || (deaths() >= 2).then_some(()));
    fs::write(gateway.config(), "").expect("the room is writable");
    assert_eq!(gateway.await_generation(before + 1), before + 1);
}

#[test]
fn a_stop_ends_a_supervise_that_pauses() {
    let gateway = Gateway::builder().supervised(true).start();
    let mut generation = gateway.generation();
    // The next pause lasts 12.8 s.
    for _ in 0..7 {
        send_signal(gateway.pid(), Signal::SIGKILL);
        generation = gateway.await_generation(generation + 1);
    }
    let pid = gateway.pid();
    send_signal(pid, Signal::SIGKILL);
    gateway.wait_for("it to be dead", PATIENCE, || (!is_alive(pid)).then_some(()));
    let stopped = gateway.cli(&["stop"]);
    let said = String::from_utf8_lossy(&stopped.stdout);
    assert!(stopped.status.success() && said.contains("is told to end it and itself"), "{stopped:?}");
    for command in ["status", "generations"] {
        let told = gateway.cli(&[command]);
        let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
        assert!(told.contains("its supervisor saw it end with SIGKILL") && !told.contains("without a word"), "{told}");
    }
    assert_eq!(gateway.exit_code(PATIENCE), 0, "{}", gateway.log());
    assert_eq!(gateway.log().matches("generation begins").count() as u64, generation, "none followed");
    let again = gateway.cli(&["stop", "--json"]);
    assert_eq!(again.status.code(), Some(69), "{again:?}");
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    let outcome: serde_json::Value =
        serde_json::from_str(said.lines().last().unwrap_or_default()).expect("the outcome is an object");
    assert_eq!(outcome["outcome"], "failed", "{outcome}");
}

/// One of them comes when the doors are closed already.
#[test]
fn of_two_stops_at_once_both_see_the_end() {
    for supervised in [true, false] {
        let gateway = Gateway::builder().supervised(supervised).start();
        let prompt = gateway.send("main", "take 1s to say hello", "hello");
        gateway.await_running("main");
        let stops = thread::scope(|scope| {
            let stops = [0, 900, 1_000, 1_050, 1_100].map(|after| {
                let gateway = &gateway;
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(after));
                    gateway.cli(&["stop", "--wait", "60s"])
                })
            });
            stops.map(|stop| stop.join().expect("it does not panic"))
        });
        for stop in stops {
            assert!(matches!(stop.status.code(), Some(0 | 69)), "supervised: {supervised}: {stop:?}");
        }
        assert_eq!(gateway.exit_code(PATIENCE), 0, "{}", gateway.log());
        gateway.restart_process();
        gateway.await_ready();
        gateway.await_reply("main", prompt, PATIENCE);
        gateway.assert_answered_once(&[], Words::Echo);
    }
}

/// Who only reads holds the lock, too.
#[test]
fn a_stop_where_only_somebody_reads_finds_no_gateway() {
    let gateway = Gateway::builder().start();
    assert!(gateway.cli(&["stop"]).status.success());
    let lock = std::fs::File::open(gateway.state_dir().join("lock")).expect("it is there");
    lock.lock().expect("nobody else has it");
    for arguments in [&["stop"][..], &["stop", "--force"]] {
        let told = gateway.cli(arguments);
        let said = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.code() == Some(69) && said.contains("no gateway is running"), "{arguments:?}: {told:?}");
    }
}

fn await_state(service: &Service, property: &str, wanted: &[&str]) {
    let there = || wanted.contains(&service.systemd.show(UNIT, property).as_str()).then_some(());
    eventually(PATIENCE, there).unwrap_or_else(|| panic!("its {property} is never one of {wanted:?}"));
}

#[test]
fn a_stop_has_systemd_stop_a_frozen_gateway_and_one_that_it_is_about_to_start() {
    let further = "Environment=EVERGATE_WATCHDOG_FREEZE=10m EVERGATE_DEBUG_HOOKS=on\nNotifyAccess=main\n\
                   RestartForceExitStatus=75\nRestartSec=60s\nStartLimitIntervalSec=0";
    let Some(service) = Service::start("a stop of what gets nowhere under systemd", further) else { return };
    let generation = service.serving().expect("it serves");
    let question = service.send("main", "question", "take 3s to say what hit you");
    service.await_running("main", question);
    freeze(&service.state, "loop", FOR_EVER);
    let stopped = service.evergate(&["stop"]);
    assert!(stopped.status.success() && stopped.text.contains("`systemctl stop evergate.service`"), "{}", stopped.text);
    await_state(&service, "ActiveState", &["inactive", "failed"]);
    service.control("start");
    let generation = service.await_generation_after(generation);
    let events = service.await_only_reply("main", question);
    assert!(was_resumed(&events, question), "{events:#?}");

    service.systemd.kill_main(UNIT, "KILL");
    await_state(&service, "SubState", &["auto-restart"]);
    let stopped = service.evergate(&["stop"]);
    assert!(stopped.status.success() && stopped.text.contains("`systemctl stop evergate.service`"), "{}", stopped.text);
    await_state(&service, "ActiveState", &["inactive", "failed"]);
    let again = service.evergate(&["stop"]);
    assert!(again.text.contains("no gateway is running"), "{}", again.text);
    service.control("start");
    service.await_generation_after(generation);
}

/// A signal to that `supervise` would be a stray one, and its gateway started again.
#[test]
fn a_stop_has_systemd_stop_a_supervise_that_is_the_program_of_its_unit() {
    let Some(service) = Service::boot("a stop of supervise under systemd") else { return };
    let (program, state) =
        (evergate_tests::process::binary().display().to_string(), service.state.display().to_string());
    let (address, flight) = (service.address, service.flight_log().display().to_string());
    service.write_unit(&format!(
        "NotifyAccess=all\nStartLimitIntervalSec=0\nEnvironment=EVERGATE_WATCHDOG_FREEZE=10m EVERGATE_DEBUG_HOOKS=on\n\
         ExecStart=\nExecStart={program} supervise --state-dir {state} -- run --listen {address} --flight-log {flight}"
    ));
    let mut generation = 0;
    let mut starts = || {
        service.control("start");
        generation = service.await_generation_after(generation);
    };
    let stops = |arguments: &[&str]| {
        let stopped = service.evergate(arguments);
        let named = stopped.text.contains("`systemctl stop evergate.service`");
        assert!(stopped.status.success() && named, "{arguments:?}: {}", stopped.text);
        await_state(&service, "ActiveState", &["inactive", "failed"]);
        thread::sleep(A_WHILE);
        assert_eq!(service.serving(), None, "{arguments:?}: {}", stopped.text);
    };
    starts();
    freeze(&service.state, "loop", FOR_EVER);
    stops(&["stop", "--force"]);
    starts();
    assert!(service.evergate(&["stop"]).status.success(), "asked, it obeys");
}
