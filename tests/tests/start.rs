//! Starts that go wrong, each in its own stage: how often they are tried, what people are told meanwhile, and that they come to
//! serve once the fault is mended; and new builds of the program that do not prove themselves under systemd and under nobody.
//! The tests under systemd boot one of their own; on a machine that cannot, they say `SKIPPED`.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use evergate_tests::gateway::Gateway;
use evergate_tests::hooks::break_loop;
use evergate_tests::http::Client;
use evergate_tests::oracle::Words;
use evergate_tests::process::{binary, write_program};
use evergate_tests::service::{Service, UNIT, was_resumed};
use evergate_tests::{PATIENCE, eventually};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

const STAGES: [&str; 5] = ["before-lock", "after-lock", "after-binding", "after-journal", "before-ready"];
/// A unit as `evergate install` has it, in short.
const TERMS: &str = "Type=notify\nNotifyAccess=main\nRestartSec=250ms\nRestartForceExitStatus=75\nSuccessExitStatus=75\n\
                     RestartPreventExitStatus=78\nFileDescriptorStoreMax=1\n[Unit]\nStartLimitIntervalSec=0";

fn faulty(stage: &str, fault: &str) -> String {
    let debug = format!("[debug]\nhooks = \"on\"\nstart_fails = \"{stage}\"\nstart_fault = \"{fault}\"\n");
    format!("[watchdog]\nstart = \"2s\"\n{debug}")
}

fn starts(gateway: &Gateway) -> usize {
    gateway.log().matches("child started").count()
}

#[test]
fn a_start_that_dies_in_any_stage_is_tried_again_ever_more_seldom_and_comes_to_serve_once_it_can() {
    let dies = |stage: &str| {
        let gateway = Gateway::builder().supervised(true).config(&faulty(stage, "die")).spawn();
        gateway.wait_for("the third start", PATIENCE, || (starts(&gateway) >= 3).then_some(()));
        thread::sleep(Duration::from_secs(2));
        // Pauses of 100, 200, 400, 800 and 1,600 ms.
        assert!(starts(&gateway) <= 6, "{stage}: {}", gateway.log());
        let status = gateway.cli(&["status"]);
        let said = String::from_utf8_lossy(&status.stderr).into_owned();
        assert_eq!(status.status.code(), Some(69));
        assert!(said.contains("The last") && said.contains("did not last"), "{stage}: {said}");
        fs::write(gateway.config(), "").expect("the room is writable");
        gateway.await_ready();
    };
    thread::scope(|scope| {
        STAGES.map(|stage| scope.spawn(move || dies(stage))).map(|stage| stage.join().expect("it holds"))
    });
}

#[test]
fn a_start_that_hangs_in_any_stage_is_ended_by_its_watchdog_and_comes_to_serve_once_it_can() {
    let hangs = |stage: &str, supervised: bool| {
        let gateway = Gateway::builder().supervised(supervised).config(&faulty(stage, "hang")).spawn();
        let ended = || gateway.log().matches("it was not ready 2s after its start").count() >= 2;
        gateway.wait_for("its watchdog", PATIENCE, || ended().then_some(()));
        fs::write(gateway.config(), "").expect("the room is writable");
        gateway.await_ready();
    };
    thread::scope(|scope| {
        let starts = STAGES.map(|stage| [true, false].map(|supervised| scope.spawn(move || hangs(stage, supervised))));
        starts.map(|both| both.map(|start| start.join().expect("it holds")))
    });
}

/// Whoever keeps it has it started again; where nobody does it starts itself again, so often and no more.
#[test]
fn a_start_that_hangs_before_its_watchdog_stands_is_ended_like_any_that_stands_still() {
    let room = tempfile::tempdir().expect("there is room for a folder");
    let file = room.path().join("config.toml");
    mkfifo(&file, Mode::S_IRUSR | Mode::S_IWUSR).expect("it stands for a disk that does not answer");
    let this_test = std::process::id().to_string();
    let keeper = [("EVERGATE_SUPERVISOR", "supervise"), ("EVERGATE_SUPERVISOR_PID", this_test.as_str())];
    for (keeper, status, starts) in [(&keeper[..], 75, 1), (&[], 78, 2)] {
        let mut start = Command::new(binary());
        start.arg("run").env("EVERGATE_WATCHDOG_START", "900ms").env("EVERGATE_START_ATTEMPTS", "2");
        start.env("EVERGATE_STATE_DIR", room.path().join("state")).env("EVERGATE_CONFIG", &file);
        start.envs(keeper.iter().copied()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut hanging = start.spawn().expect("the binary was just built");
        let ended = eventually(PATIENCE, || hanging.try_wait().expect("it is our child"));
        if ended.is_none() {
            hanging.kill().expect("it is our child");
        }
        let output = hanging.wait_with_output().expect("it is our child");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert_eq!(said.matches("its start does not come to an end, and its guard ends it").count(), starts, "{said}");
    }
}

#[test]
fn a_start_that_is_to_take_no_time_is_refused_and_not_ended() {
    let gateway = Gateway::builder().env("EVERGATE_WATCHDOG_START", "0s").spawn();
    assert_eq!(gateway.exit_code(PATIENCE), 78, "{}", gateway.log());
    assert!(gateway.log().contains("watchdog.start"), "{}", gateway.log());
}

#[test]
fn under_systemd_a_start_that_dies_in_any_stage_is_tried_again_and_systemctl_says_so() {
    let Some(service) = Service::boot("starts that die under systemd") else { return };
    let config = service.systemd.folder().join("config.toml");
    let further = format!("Environment=EVERGATE_CONFIG={}\n{TERMS}", config.display());
    for (round, stage) in STAGES.into_iter().enumerate() {
        fs::write(&config, faulty(stage, "die")).expect("it is the test's folder");
        service.write_unit(&further);
        service.systemd.systemctl(&["start", "--no-block", UNIT]);
        let restarts = || service.systemd.show(UNIT, "NRestarts").parse::<u32>().unwrap_or(0);
        let often = eventually(PATIENCE, || Some(restarts()).filter(|often| *often >= 2));
        assert!(often.is_some_and(|often| often <= 4), "{stage}: {often:?}");
        let pauses = || {
            let shown = service.systemd.systemctl(&["status", UNIT]).text;
            (shown.contains("auto-restart") && shown.contains("signal")).then_some(())
        };
        assert!(eventually(PATIENCE, pauses).is_some(), "{stage}");
        let said = service.evergate(&["status"]).text;
        assert!(said.contains("did not last"), "{stage}: {said}");
        fs::write(&config, "").expect("it is the test's folder");
        service.await_generation_after(u64::try_from(round).unwrap_or(0));
        service.control("stop");
    }
}

#[test]
fn under_systemd_a_start_that_cannot_succeed_is_parked_at_once_with_the_reason_in_every_status() {
    let Some(service) = Service::boot("parked starts under systemd") else { return };
    let config = service.systemd.folder().join("config.toml");
    service.write_unit(&format!("Environment=EVERGATE_CONFIG={}\n{TERMS}", config.display()));
    let parks = |why: &str| {
        let started = service.systemd.systemctl(&["start", UNIT]);
        assert!(!started.status.success(), "{}", started.text);
        service.systemd.wait_for_state(UNIT, "failed", PATIENCE);
        let shown = ["ExecMainStatus", "NRestarts"].map(|property| service.systemd.show(UNIT, property));
        assert_eq!(shown, ["78", "0"]);
        let told = service.systemd.systemctl(&["status", UNIT]).text;
        assert!(told.contains(why), "{told}");
        let said = service.evergate(&["status"]).text;
        assert!(said.contains("gave up") && said.contains(why), "{said}");
    };
    fs::write(&config, "[drain]\nbudget = \"soon\"\n").expect("it is the test's folder");
    parks("drain.budget");
    fs::write(&config, "").expect("it is the test's folder");
    let taken = TcpListener::bind(service.address).expect("nobody has it");
    parks("cannot listen on");
    drop(taken);
    service.control("start");
    service.await_generation_after(0);
    let said = service.evergate(&["status"]).text;
    assert!(said.contains("serving") && !said.contains("gave up"), "{said}");
}

/// Its watchdog would give it five minutes.
#[test]
fn a_start_that_hangs_is_ended_by_a_forced_restart_and_left_alone_by_any_other() {
    for supervised in [true, false] {
        for stage in ["after-lock", "after-journal"] {
            let hang = format!("[debug]\nhooks = \"on\"\nstart_fails = \"{stage}\"\nstart_fault = \"hang\"\n");
            let gateway = Gateway::builder().supervised(supervised).config(&hang).spawn();
            let owner = || {
                let owner = fs::read_to_string(gateway.state_dir().join("lock")).ok()?;
                serde_json::from_str::<Value>(&owner).ok()?["pid"].as_i64()
            };
            let first = gateway.wait_for("its owner", PATIENCE, owner);
            fs::write(gateway.config(), "").expect("the room is writable");
            let asked = gateway.cli(&["restart", "--wait", "7s"]);
            assert!(!asked.status.success());
            assert_eq!(owner(), Some(first), "{stage}, supervised: {supervised}");
            let forced = gateway.cli(&["restart", "--force", "--wait", "30s"]);
            assert!(forced.status.success(), "{stage}: {}", String::from_utf8_lossy(&forced.stderr));
            let status = gateway.status();
            assert_eq!((&status["phase"], &status["generation"]), (&json!("serving"), &json!(1)), "{status}");
            assert_ne!(status["pid"], first, "{stage}, supervised: {supervised}");
        }
    }
}

/// So many starts in a row may die here.
const ATTEMPTS: &str = "EVERGATE_START_ATTEMPTS";
const GIVEN_UP: &str = "4 starts in a row died before they served";

/// What `evergate status` says where no gateway runs.
fn status_of_nobody(gateway: &Gateway) -> String {
    let status = gateway.cli(&["status"]);
    assert_eq!(status.status.code(), Some(69));
    String::from_utf8_lossy(&status.stderr).into_owned()
}

/// By our supervisor, or in place by its own watchdog: parked after the fourth, and begun anew by whoever starts it then.
fn is_parked(stage: &str, fault: &str, supervised: bool) {
    let gateway = Gateway::builder().supervised(supervised).env(ATTEMPTS, "4").config(&faulty(stage, fault)).spawn();
    let what = format!("{fault} at {stage}, supervised: {supervised}");
    for round in 1..=2 {
        assert_eq!(gateway.exit_code(Duration::from_secs(60)), 78, "{what}: {}", gateway.log());
        let made = match supervised {
            true => starts(&gateway),
            false => gateway.log().matches("it was not ready 2s after its start").count(),
        };
        assert_eq!(made, 4 * round, "{what}: {}", gateway.log());
        let said = status_of_nobody(&gateway);
        assert!(said.contains(GIVEN_UP), "{what}: {said}");
        if round == 2 {
            fs::write(gateway.config(), "").expect("the room is writable");
        }
        gateway.restart_process();
    }
    gateway.await_ready();
    // In order, so that its flight log is there to be compared.
    assert!(gateway.cli(&["stop"]).status.success(), "{what}");
}

#[test]
fn starts_that_die_in_any_stage_are_parked_by_supervise_with_the_reason_in_the_status() {
    thread::scope(|scope| {
        STAGES
            .map(|stage| scope.spawn(move || is_parked(stage, "die", true)))
            .map(|stage| stage.join().expect("it holds"))
    });
}

#[test]
fn starts_that_hang_in_any_stage_are_parked_where_nobody_supervises_and_under_supervise() {
    thread::scope(|scope| {
        let alone = STAGES.map(|stage| scope.spawn(move || is_parked(stage, "hang", false)));
        let supervised = scope.spawn(|| is_parked("after-journal", "hang", true));
        for stage in alone {
            stage.join().expect("it holds");
        }
        supervised.join().expect("it holds");
    });
}

#[test]
fn a_start_that_dies_where_nobody_supervises_is_one_start_and_the_status_tells_of_it() {
    for stage in STAGES {
        let gateway = Gateway::builder().config(&faulty(stage, "die")).spawn();
        let ended = gateway.wait_for("its end", PATIENCE, || gateway.ended());
        assert!(!ended.success());
        let said = status_of_nobody(&gateway);
        assert!(said.contains("The last start"), "{stage}: {said}");
        fs::write(gateway.config(), "").expect("the room is writable");
        gateway.restart_process();
        gateway.await_ready();
    }
}

/// An exit would be the last, and nobody would ever hear of the reason.
#[test]
fn under_systemd_a_start_that_breaks_where_its_unit_would_leave_it_at_that_is_tried_in_place_and_then_parked() {
    let Some(service) = Service::boot("starts that break under Restart=no") else { return };
    let config = service.systemd.folder().join("config.toml");
    fs::write(&config, faulty("before-ready", "break")).expect("it is the test's folder");
    let environment = format!("Environment=EVERGATE_CONFIG={} {ATTEMPTS}=4", config.display());
    service.write_unit(&format!("{environment}\nRestart=no"));
    service.systemd.systemctl(&["start", UNIT]);
    service.systemd.wait_for_state(UNIT, "failed", PATIENCE);
    let shown = ["ExecMainStatus", "NRestarts"].map(|property| service.systemd.show(UNIT, property));
    assert_eq!(shown, ["78", "0"]);
    let said = service.evergate(&["status"]).text;
    assert!(said.contains(GIVEN_UP), "{said}");
    // A unit that does start it again is left to do so, and says so.
    service.write_unit(&format!("{environment}\n{TERMS}"));
    service.systemd.systemctl(&["start", "--no-block", UNIT]);
    service.systemd.wait_for_state(UNIT, "failed", PATIENCE);
    let shown = ["ExecMainStatus", "NRestarts"].map(|property| service.systemd.show(UNIT, property));
    assert_eq!(shown, ["78", "4"]);
    fs::write(&config, "").expect("it is the test's folder");
    service.control("start");
    service.await_generation_after(0);
}

#[test]
fn under_systemd_starts_that_die_in_any_stage_are_parked_with_the_reason_in_every_status() {
    let Some(service) = Service::boot("starts that die and are parked under systemd") else { return };
    let config = service.systemd.folder().join("config.toml");
    service.write_unit(&format!("Environment=EVERGATE_CONFIG={} {ATTEMPTS}=4\n{TERMS}", config.display()));
    for (round, stage) in STAGES.into_iter().enumerate() {
        fs::write(&config, faulty(stage, "die")).expect("it is the test's folder");
        for by_hand in 1..=2 {
            service.systemd.systemctl(&["start", "--no-block", UNIT]);
            service.systemd.wait_for_state(UNIT, "failed", PATIENCE);
            let shown = ["ExecMainStatus", "NRestarts"].map(|property| service.systemd.show(UNIT, property));
            assert_eq!(shown, ["78", "4"], "{stage}, by hand for the {by_hand}. time");
            let told = service.systemd.systemctl(&["status", UNIT]).text;
            assert!(told.contains(GIVEN_UP), "{stage}: {told}");
            let said = service.evergate(&["status"]).text;
            assert!(said.contains(GIVEN_UP), "{stage}: {said}");
        }
        fs::write(&config, "").expect("it is the test's folder");
        service.control("start");
        service.await_generation_after(u64::try_from(round).unwrap_or(0));
        service.control("stop");
    }
}

/// Puts a fresh build of the program in its place: the same bytes in another file, as far as anybody can tell.
fn install(program: &Path) {
    let fresh = program.with_extension("fresh");
    write_program(&fresh, &fs::read(binary()).expect("the program was just built"));
    fs::rename(&fresh, program).expect("the folder is writable");
}

fn kept(state_dir: &Path) -> Option<()> {
    fs::read_dir(state_dir.join("good")).is_ok_and(|mut folder| folder.next().is_some()).then_some(())
}

#[test]
fn a_new_build_that_dies_or_hangs_under_systemd_gives_way_to_the_last_good_one() {
    for (fault, why) in [("die", "died twice before it was stable"), ("hang", "was not ready in time")] {
        let Some(service) = Service::boot("a rollback under systemd") else { return };
        let (program, config) =
            (service.systemd.folder().join("evergate"), service.systemd.folder().join("config.toml"));
        install(&program);
        fs::write(&config, "").expect("it is the test's folder");
        let further = format!("Environment=EVERGATE_CONFIG={}\n{TERMS}", config.display());
        service.write_unit_of(&program, &further);
        service.control("start");
        let generation = service.await_generation_after(0);
        eventually(PATIENCE, || kept(&service.state)).expect("what has served for a while is kept");

        install(&program);
        fs::write(&config, faulty("before-ready", fault)).expect("it is the test's folder");
        let question = service.send("main", "question", "take 4s to say who answers");
        service.await_running("main", question);
        service.send("operator", "command", "/restart force");
        service.await_generation_after(generation);
        let status = status(&service);
        assert!(status["rolled_back"].as_str().is_some_and(|told| told.contains(why)), "{status}");
        let events = service.await_only_reply("main", question);
        assert!(was_resumed(&events, question));
        assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active");

        // It stays so until another build is there, which is given its chance.
        let restarted = service.evergate(&["restart"]);
        assert!(restarted.status.success(), "{}", restarted.text);
        assert!(self::status(&service)["rolled_back"].is_string());
        fs::write(&config, "").expect("it is the test's folder");
        install(&program);
        let restarted = service.evergate(&["restart"]);
        assert!(restarted.status.success(), "{}", restarted.text);
        assert_eq!(self::status(&service)["rolled_back"], json!(null));
    }
}

fn status(service: &Service) -> Value {
    let client = Client::new(service.address, Some(service.token()));
    client.get("/v1/status").expect("it serves").json()
}

fn gives_way_where_nobody_supervises(fault: &str, why: &str) {
    let gateway = Gateway::builder().own_program().start();
    let (before, pid) = (gateway.generation(), gateway.pid());
    gateway.wait_for("the copy of the good program", PATIENCE, || kept(gateway.state_dir()));
    gateway.install(&fs::read(binary()).expect("the program was just built"));
    fs::write(gateway.config(), faulty("after-journal", fault)).expect("the room is writable");
    gateway.ask("restart", &json!({}));
    gateway.await_generation(before + 1);
    let status = gateway.status();
    assert!(status["rolled_back"].as_str().is_some_and(|told| told.contains(why)), "{status}");
    assert_eq!((gateway.pid(), &status["on_disk"]["program"]), (pid, &json!("changed")));
}

#[test]
fn a_new_build_that_hangs_gives_way_to_the_last_good_one_where_nobody_supervises() {
    gives_way_where_nobody_supervises("hang", "was not ready in time");
}

#[test]
fn a_new_build_that_breaks_gives_way_to_the_last_good_one_where_nobody_supervises() {
    gives_way_where_nobody_supervises("break", "died twice before it was stable");
}

#[test]
fn a_loop_that_breaks_while_it_serves_is_followed_by_itself_where_nobody_supervises() {
    let gateway = Gateway::builder().config("[debug]\nhooks = \"on\"").start();
    let (before, pid) = (gateway.generation(), gateway.pid());
    let prompt = gateway.send("main", "take 3s to say hello", "hello");
    gateway.await_running("main");
    break_loop(gateway.state_dir());
    gateway.await_generation(before + 1);
    gateway.await_reply("main", prompt, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(gateway.pid(), pid, "in place");
    let list = gateway.client().get("/v1/generations").expect("it serves").json();
    let told = list["generations"].as_array().and_then(|list| list.iter().find(|entry| entry["generation"] == before));
    let cause = told.map(|told| told["cause"].clone()).unwrap_or_default();
    assert_eq!(cause, "a mistake in the program ended its loop: it breaks, as was asked for");
}

#[test]
fn a_loop_that_breaks_while_it_stops_stays_stopped_and_one_that_restarts_comes_back() {
    for asked in ["stop", "restart"] {
        let gateway = Gateway::builder().config("[debug]\nhooks = \"on\"").start();
        let (before, pid) = (gateway.generation(), gateway.pid());
        gateway.send("main", "take 1h to say hello", "hello");
        gateway.await_running("main");
        gateway.ask(asked, &json!({}));
        gateway.await_phase("draining");
        break_loop(gateway.state_dir());
        if asked == "stop" {
            assert_eq!(gateway.exit_code(PATIENCE), 0, "{}", gateway.log());
        } else {
            gateway.await_generation(before + 1);
            assert_eq!(gateway.pid(), pid, "in place, since nobody supervises");
        }
    }
}

#[test]
fn a_start_of_a_person_that_breaks_ends_where_nobody_supervises() {
    let gateway = Gateway::builder().config(&faulty("before-ready", "break")).spawn();
    assert_eq!(gateway.exit_code(PATIENCE), 70, "{}", gateway.log());
}
