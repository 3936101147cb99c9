//! Parts of the gateway that get nowhere, each in its own way: a loop that stands still or turns in vain, a process that is stopped as
//! a whole, a control socket that hangs, a disk that takes its time. What must come back comes back by itself, and nothing else is touched.

use std::time::{Duration, Instant};

use evergate_tests::flight::assert_kept_conformant;
use evergate_tests::gateway::{Builder, Gateway, free_address};
use evergate_tests::http::Client;
use evergate_tests::oracle::Words;
use evergate_tests::{PATIENCE, eventually, hooks, process};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Longer than any test lives: what stands still does not get up again by itself.
const FOR_EVER: Duration = Duration::from_secs(600);
/// When a part is taken for stuck.
const BOUND: &str = "[watchdog]\nfreeze = \"2s\"\n[debug]\nhooks = \"on\"";

fn gateway() -> Builder {
    Gateway::builder().config(BOUND)
}

/// The cause that is told of a generation's end.
fn cause(gateway: &Gateway, generation: u64) -> String {
    let list = gateway.client().get("/v1/generations").expect("it serves").json();
    let list = list["generations"].as_array().expect("a list").clone();
    let of = |entry: &Value| entry["generation"] == generation;
    list.iter().find(|entry| of(entry)).expect("it is known")["cause"].as_str().unwrap_or_default().to_owned()
}

/// A loop that sleeps for ever, and one that is awake and turns: neither gets anywhere.
const STILL: fn(&Gateway) = |gateway| gateway.freeze("loop", FOR_EVER);
const IN_VAIN: fn(&Gateway) = |gateway| hooks::spin_loop(gateway.state_dir());

/// A turn is under way when the loop gets no further: it is resumed and answered, and everybody can read why it was cut, and
/// what the loop's thread did (by the letter of proc(5)).
fn comes_back_from_a_loop_that_gets_nowhere(builder: Builder, stick: fn(&Gateway), state: &str) {
    let gateway = builder.start();
    let (before, pid) = (gateway.generation(), gateway.pid());
    let prompt = gateway.send("main", "take 3s to say hello", "hello");
    gateway.await_running("main");
    stick(&gateway);
    let stuck = Instant::now();
    gateway.await_generation(before + 1);
    assert!(stuck.elapsed() < Duration::from_secs(12), "the bound is 2 s: {:?}", stuck.elapsed());
    gateway.await_reply("main", prompt, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
    let cause = cause(&gateway, before);
    assert!(cause.starts_with("ended by its watchdog: its loop got nowhere for 2s; see "), "{cause}");
    let diagnosis = cause.rsplit(' ').next().expect("it names a file").to_owned();
    let text = std::fs::read_to_string(diagnosis).expect("it is there");
    for told in ["watchdog", "journal", "TurnOpened", " of 1024", "evergate_turns_in_flight 1"] {
        assert!(text.contains(told), "threads, queues and the last moments: {told} is missing in {text}");
    }
    let loops_thread = |line: &&str| line.trim_start().starts_with(&format!("{pid} "));
    let line = text.lines().find(loops_thread).unwrap_or_default();
    assert_eq!(line.split_whitespace().nth(2), Some(state), "{text}");
}

#[test]
fn a_frozen_loop_comes_back_by_itself_where_nobody_supervises() {
    comes_back_from_a_loop_that_gets_nowhere(gateway(), STILL, "S");
}

#[test]
fn a_frozen_loop_comes_back_by_itself_under_supervise() {
    comes_back_from_a_loop_that_gets_nowhere(gateway().supervised(true), STILL, "S");
}

/// What counts is what it gets done, not that it lives.
#[test]
fn a_loop_that_turns_and_gets_nowhere_comes_back_by_itself_where_nobody_supervises() {
    comes_back_from_a_loop_that_gets_nowhere(gateway(), IN_VAIN, "R");
}

#[test]
fn a_loop_that_turns_and_gets_nowhere_comes_back_by_itself_under_supervise() {
    comes_back_from_a_loop_that_gets_nowhere(gateway().supervised(true), IN_VAIN, "R");
}

#[test]
fn a_loop_that_freezes_while_it_stops_ends_as_a_stop() {
    let gateway = gateway().supervised(true).config("[drain]\nbudget = \"20s\"").start();
    gateway.send("main", "take 60s and tell me a story", "story");
    gateway.await_running("main");
    gateway.ask("stop", &serde_json::json!({}));
    gateway.await_phase("draining");
    gateway.freeze("loop", FOR_EVER);
    assert_eq!(gateway.exit_code(PATIENCE), 0, "its supervisor ends: it was to be stopped");
}

#[test]
fn a_process_that_is_stopped_as_a_whole_is_killed_and_started_again_by_supervise() {
    let gateway = gateway().supervised(true).start();
    let before = gateway.generation();
    let prompt = gateway.send("main", "take 3s to say hello", "hello");
    gateway.await_running("main");
    gateway.signal(Signal::SIGSTOP);
    gateway.await_generation(before + 1);
    gateway.await_reply("main", prompt, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(cause(&gateway, before), "killed by its supervisor: it gave no sign of life and was killed");
}

/// The supervisor's own configuration has the default, after which it would wait for 25 s.
#[test]
fn supervise_goes_by_the_watchdog_of_its_childs_own_configuration() {
    let (room, address) = (tempfile::tempdir().expect("there is a place for temporary folders"), free_address());
    let (state_dir, config) = (room.path().join("state"), room.path().join("child.toml"));
    std::fs::write(&config, format!("[watchdog]\nfreeze = \"1s\"\n[local]\nlisten = \"{address}\"\n"))
        .expect("the room is writable");
    let mut supervisor = std::process::Command::new(process::binary())
        .args(["supervise", "--", "run", "--config"])
        .arg(&config)
        .env("EVERGATE_STATE_DIR", &state_dir)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let visitor = Client::new(address, None);
    let serving = || {
        let answer = visitor.get("/readyz").ok().filter(|answer| answer.status == 200)?;
        answer.json()["generation"].as_u64()
    };
    let first = eventually(PATIENCE, serving);
    let owner = std::fs::read_to_string(state_dir.join("lock")).unwrap_or_default();
    let pid = serde_json::from_str::<Value>(&owner).unwrap_or_default()["pid"].as_i64();
    let stopped_at = Instant::now();
    let stopped = pid.and_then(|pid| i32::try_from(pid).ok()).map(|pid| process::send_signal(pid, Signal::SIGSTOP));
    let second = eventually(PATIENCE, || serving().filter(|generation| *generation == 2));
    let took = stopped_at.elapsed();
    process::send_signal(i32::try_from(supervisor.id()).expect("a PID is small"), Signal::SIGTERM);
    let ended = eventually(PATIENCE, || supervisor.try_wait().expect("it is our child"));
    process::end_all(&state_dir);
    assert_kept_conformant(&state_dir, 2);
    assert_eq!((first, stopped, second), (Some(1), Some(()), Some(2)));
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(ended.is_some(), "it ends");
}

#[test]
fn a_process_that_was_stopped_for_a_while_is_not_taken_for_frozen() {
    let gateway = gateway().start();
    let (before, pid) = (gateway.generation(), gateway.pid());
    gateway.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(4));
    evergate_tests::process::send_signal(pid, Signal::SIGCONT);
    let prompt = gateway.send("main", "still there?", "hello");
    gateway.await_reply("main", prompt, PATIENCE);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((gateway.generation(), gateway.pid()), (before, pid));
}

#[test]
fn a_control_socket_that_hangs_is_made_again_while_chats_go_on() {
    let gateway = gateway().start();
    let (before, pid) = (gateway.generation(), gateway.pid());
    gateway.freeze("control", FOR_EVER);
    let prompt = gateway.send("main", "are you there?", "hello");
    gateway.await_reply("main", prompt, PATIENCE);
    gateway.wait_for("the control socket to answer", PATIENCE, || {
        let status = gateway.cli(&["status", "--json"]);
        status.status.success().then_some(())
    });
    assert_eq!((gateway.generation(), gateway.pid()), (before, pid), "the process lives");
    assert!(gateway.cli(&["stop"]).status.success(), "and ends, although a thread of it still hangs");
}

#[test]
fn a_control_socket_that_somebody_removes_is_made_again() {
    let gateway = Gateway::builder().start();
    let (before, pid) = (gateway.generation(), gateway.pid());
    for _ in 0..2 {
        std::fs::remove_file(gateway.state_dir().join("control.sock")).expect("it was there");
        gateway.wait_for("the control socket to answer", PATIENCE, || {
            let status = gateway.cli(&["status", "--json"]);
            let said = String::from_utf8_lossy(&status.stderr);
            assert!(status.status.success() || said.contains("has no control socket"), "{status:?}");
            status.status.success().then_some(())
        });
    }
    assert_eq!((gateway.generation(), gateway.pid()), (before, pid));
    assert_eq!(gateway.log().matches("somebody has removed the control socket").count(), 2, "{}", gateway.log());
    assert!(gateway.cli(&["stop"]).status.success());
}

#[test]
fn a_disk_that_takes_its_time_is_waited_for() {
    let gateway = gateway().start();
    let (before, pid) = (gateway.generation(), gateway.pid());
    gateway.freeze("journal", Duration::from_secs(8));
    let prompt = gateway.send_before("main", "are you there?", "slow", std::time::Instant::now() + PATIENCE);
    gateway.await_reply("main", prompt, PATIENCE);
    assert_eq!((gateway.generation(), gateway.pid()), (before, pid), "the process lives");
    assert!(gateway.log().contains("this part takes long"), "and says what it waits for");
}

/// The watchdogs sleep; what is left is the command line.
const UNWATCHED: &str = "[watchdog]\nfreeze = \"1h\"\n[debug]\nhooks = \"on\"";

/// Each door is on a thread of its own, and tells the truth about a loop that stands still.
#[test]
fn a_frozen_loop_is_told_of_at_every_door() {
    let gateway = Gateway::builder().config(UNWATCHED).start();
    assert_eq!(gateway.client().get("/readyz").map(|answer| answer.status).ok(), Some(200));
    gateway.freeze("loop", FOR_EVER);
    let stuck = |path: &str, status: u16| {
        let answer = gateway.client().get(path).expect("the door has a thread of its own");
        assert_eq!((answer.status, answer.json()["phase"].as_str()), (status, Some("stuck")), "{path}: {answer:?}");
    };
    gateway.wait_for("the loop to stand still", PATIENCE, || {
        (gateway.client().get("/readyz").ok()?.status == 503).then_some(())
    });
    stuck("/readyz", 503);
    stuck("/v1/status", 200);
    let alive = gateway.client().get("/healthz").map(|answer| answer.status).ok();
    assert_eq!(alive, Some(200), "whether it lives is another question");
    let status = gateway.cli(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("stuck, generation 1"), "over the control socket: {said}");
}

/// Freezes a gateway in the middle of a turn, restarts it from the command line, and looks that nothing was lost by that. This is
/// said of it.
fn restart_brings_back(builder: Builder, freeze: impl Fn(&Gateway), seen: &str, arguments: &[&str]) -> Duration {
    let gateway = builder.config(UNWATCHED).start();
    let before = gateway.generation();
    let prompt = gateway.send("main", "take 3s to say hello", "hello");
    gateway.await_running("main");
    freeze(&gateway);
    let asked = Instant::now();
    let restarted = gateway.cli(arguments);
    let took = asked.elapsed();
    assert!(restarted.status.success(), "{}", String::from_utf8_lossy(&restarted.stderr));
    let said = String::from_utf8_lossy(&restarted.stdout).into_owned();
    assert!(said.contains(seen), "{said}");
    assert!(said.contains("SIGKILL") && said.contains("generation 2 is serving (was 1)"), "{said}");
    // Each rung with its time: "12.4 s  generation 1 gets nowhere: SIGKILL is sent; …".
    let rungs = said.lines().take_while(|line| !line.starts_with("started as") && !line.starts_with("restarted"));
    let times: Vec<f64> =
        rungs.map(|line| line.trim().split(' ').next().and_then(|time| time.parse().ok()).expect(&said)).collect();
    assert!(times.len() >= 2 && times.is_sorted() && times.iter().all(|time| *time <= took.as_secs_f64()), "{said}");
    assert!(gateway.generation() > before);
    gateway.await_reply("main", prompt, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(cause(&gateway, before), "killed by `evergate restart`: it got nowhere");
    assert!(gateway.cli(&["stop"]).status.success());
    took
}

#[test]
fn a_forced_restart_needs_nothing_of_a_frozen_loop_and_is_back_within_its_bound() {
    for supervised in [false, true] {
        let builder = Gateway::builder().supervised(supervised);
        let freeze = |gateway: &Gateway| gateway.freeze("loop", FOR_EVER);
        let took = restart_brings_back(builder, freeze, "generation 1 is stuck", &["restart", "--force"]);
        assert!(took < Duration::from_secs(10), "supervised: {supervised}, it took {took:?}");
    }
}

/// The number of a dead gateway may be anybody's by now.
#[test]
fn a_stranger_with_the_number_of_a_dead_gateway_is_left_alone() {
    let gateway = Gateway::builder().start();
    let pid = gateway.pid();
    gateway.kill();
    let mut stranger = std::process::Command::new("sleep").arg("60").spawn().expect("it is on every machine");
    let lock = gateway.state_dir().join("lock");
    let owner = std::fs::read_to_string(&lock).expect("the last owner is told");
    let named = owner.replace(&format!("\"pid\":{pid},"), &format!("\"pid\":{},", stranger.id()));
    assert_ne!(named, owner, "{owner}");
    std::fs::write(&lock, named).expect("it is ours");
    for arguments in [&["restart", "--force"][..], &["restart"], &["stop"], &["stop", "--force"]] {
        let told = gateway.cli(arguments);
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(!told.status.success() && said.contains("no gateway is running on"), "{arguments:?}: {said}");
        assert!(stranger.try_wait().is_ok_and(|ended| ended.is_none()), "{arguments:?} has ended a stranger");
    }
    stranger.kill().and_then(|()| stranger.wait()).expect("it is our child");
    gateway.restart_process();
    gateway.await_ready();
}

#[test]
fn who_sends_to_a_process_that_is_stopped_is_told_so_and_the_message_arrives_when_it_goes_on() {
    let gateway = Gateway::builder().start();
    let pid = gateway.pid();
    process::send_signal(pid, Signal::SIGSTOP);
    let sent = std::thread::scope(|scope| {
        let send = scope.spawn(|| gateway.cli(&["send", "hello"]));
        // Longer than a call waits for its answer.
        std::thread::sleep(Duration::from_secs(12));
        process::send_signal(pid, Signal::SIGCONT);
        send.join().expect("it does not panic")
    });
    assert!(sent.status.success(), "{sent:?}");
    let said = String::from_utf8_lossy(&sent.stderr);
    assert_eq!(said.matches("does not answer within 5s").count(), 1, "{said}");
    assert!(said.contains("brings it back"), "{said}");
    assert_eq!(String::from_utf8_lossy(&sent.stdout).trim(), "You said: hello");
}

/// What a restart without force may take of a gateway that gets nowhere, on a machine that does other things besides.
const CLIMBS: Duration = Duration::from_secs(25);

#[test]
fn a_restart_climbs_past_a_process_that_is_stopped_as_a_whole_under_supervise_and_where_nobody_supervises() {
    for (arguments, bound) in [(&["restart"][..], CLIMBS), (&["restart", "--force"], Duration::from_secs(10))] {
        for supervised in [true, false] {
            let stop = |gateway: &Gateway| gateway.signal(Signal::SIGSTOP);
            let builder = Gateway::builder().supervised(supervised);
            let took = restart_brings_back(builder, stop, "the gateway does not answer", arguments);
            assert!(took < bound, "{arguments:?}, supervised: {supervised}, it took {took:?}");
        }
    }
}

#[test]
fn a_restart_climbs_past_a_frozen_loop_under_supervise_and_where_nobody_supervises() {
    for supervised in [true, false] {
        let freeze = |gateway: &Gateway| gateway.freeze("loop", FOR_EVER);
        let builder = Gateway::builder().supervised(supervised);
        let took = restart_brings_back(builder, freeze, "generation 1 is stuck", &["restart"]);
        assert!(took < CLIMBS, "supervised: {supervised}, it took {took:?}");
    }
}
