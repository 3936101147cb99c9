//! The gateway under a real systemd, in a unit that says nothing but `Restart=on-failure`: whatever happens to it, it
//! is there again, except when somebody stops it. Each test boots a systemd of its own; on a machine that cannot, it
//! says `SKIPPED` and shows nothing.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use evergate_tests::{
    PATIENCE, eventually,
    hooks::{break_loop, freeze},
    http::Client,
    service::{Service, UNIT, was_resumed},
};
use serde_json::json;

/// Longer than systemd's own pause of 100 ms before it starts a unit again, or gives it up.
const SYSTEMDS_PAUSE: Duration = Duration::from_secs(1);
/// Longer than any test lives.
const FOR_EVER: Duration = Duration::from_secs(600);

#[test]
fn a_restart_from_the_chat_leaves_an_active_unit_and_a_turn_that_is_answered_once() {
    let Some(service) = Service::start("restart from the chat under systemd", "") else { return };
    let generation = service.serving().expect("it serves");
    let question = service.send("main", "question", "take 4s to say where you are");
    service.await_running("main", question);
    service.send("main", "command", "/restart");
    assert_eq!(service.await_generation_after(generation), generation + 1);
    service.systemd.wait_for_state(UNIT, "active", PATIENCE);
    service.await_only_reply("main", question);
    let later = service.send("main", "later", "and now?");
    service.await_only_reply("main", later);
}

#[test]
fn five_restarts_from_the_chat_within_systemds_start_limit_leave_an_active_unit() {
    let Some(service) = Service::start("five restarts under systemd", "") else { return };
    let mut generation = service.serving().expect("it serves");
    let begun_at = Instant::now();
    for round in 1..=5 {
        service.send("main", &format!("command-{round}"), "/restart");
        generation = service.await_generation_after(generation);
    }
    let took = begun_at.elapsed();
    assert!(took < Duration::from_secs(10), "five restarts took {took:?}, so systemd's limit was not tried");
    thread::sleep(SYSTEMDS_PAUSE);
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active");
    let question = service.send("main", "question", "still there?");
    service.await_only_reply("main", question);
}

/// As a unit by hand has them, with systemd's own start limit of five starts in ten seconds. What does not count as a start,
/// and does not depend on the policy, is a restart in place.
#[test]
fn twenty_restarts_in_a_row_leave_an_active_unit_whatever_its_policy_and_whoever_asks() {
    let Some(service) = Service::boot("twenty restarts under systemd") else { return };
    let mut generation = 0;
    for policy in ["always", "on-failure", "no"] {
        service.write_unit(&format!("Restart={policy}"));
        service.control("start");
        generation = service.await_generation_after(generation);
        let pid = service.systemd.main_pid(UNIT);
        let ways: [(&str, &dyn Fn(u32)); 3] = [
            ("chat", &|round| {
                service.send("main", &format!("{policy}-{round}"), "/restart");
            }),
            ("command", &|_| {
                let restarted = service.evergate(&["restart"]);
                assert!(restarted.status.success(), "{}", restarted.text);
            }),
            ("SIGTERM", &|_| {
                service.systemd.kill_main(UNIT, "TERM");
            }),
        ];
        for (way, restart) in ways {
            for round in 0..20 {
                restart(round);
                generation = service.await_generation_after(generation);
            }
            let shown = ["ActiveState", "NRestarts"].map(|property| service.systemd.show(UNIT, property));
            assert_eq!(shown, ["active", "0"], "Restart={policy}, by {way}");
            assert_eq!(service.systemd.main_pid(UNIT), pid, "Restart={policy}, by {way}: all in one process");
        }
        service.control("stop");
        thread::sleep(SYSTEMDS_PAUSE);
        assert_eq!(service.systemd.show(UNIT, "ActiveState"), "inactive", "Restart={policy}: a stop is a stop");
        assert_eq!(service.systemd.show(UNIT, "ExecMainStatus"), "0");
    }
}

#[test]
fn a_kill_by_hand_in_the_middle_of_a_turn_leaves_an_active_unit_and_one_answer() {
    let Some(service) = Service::start("kills by hand under systemd", "") else { return };
    for signal in ["TERM", "KILL"] {
        let question = service.send(signal, signal, "take 3s to say what hit you");
        service.await_running(signal, question);
        service.survive(signal);
        let events = service.await_only_reply(signal, question);
        assert_eq!(was_resumed(&events, question), signal == "KILL", "SIGTERM lets the turn end: {events:#?}");
    }
}

#[test]
fn a_stop_by_systemd_lets_the_turn_end_and_the_unit_stay_stopped() {
    let Some(service) = Service::start("stop by systemd", "") else { return };
    let question = service.send("main", "question", "take 3s to say goodbye");
    service.await_running("main", question);
    service.control("stop");
    thread::sleep(SYSTEMDS_PAUSE);
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "inactive", "stopped, neither failed nor started again");
    assert_eq!(service.systemd.show(UNIT, "Result"), "success");
    assert_eq!(service.serving(), None);

    service.control("start");
    service.await_generation_after(0);
    let events = service.await_only_reply("main", question);
    assert!(!was_resumed(&events, question), "the drain let the turn end: {events:#?}");
}

#[test]
fn a_restart_by_systemd_in_the_middle_of_a_turn_resumes_it_and_answers_once() {
    let impatient = "Environment=EVERGATE_DRAIN_BUDGET=1s";
    let Some(service) = Service::start("restart by systemd", impatient) else { return };
    let generation = service.serving().expect("it serves");
    let question = service.send("main", "question", "take 6s to say that you were cut");
    service.await_running("main", question);
    service.control("restart");
    service.await_generation_after(generation);
    service.systemd.wait_for_state(UNIT, "active", PATIENCE);
    let events = service.await_only_reply("main", question);
    assert!(was_resumed(&events, question), "it outlasted the drain budget: {events:#?}");
}

/// A unit with systemd's watchdog, whose gateway takes its loop for frozen after this long; and the generation and process that
/// systemd has heard to get on for longer than that watchdog waits.
fn watched(what: &str, freeze: &str) -> Option<(Service, u64, u32)> {
    let further = format!(
        "Environment=EVERGATE_WATCHDOG_FREEZE={freeze} EVERGATE_DEBUG_HOOKS=on\nNotifyAccess=main\nWatchdogSec=5\n\
         WatchdogSignal=SIGKILL\nStartLimitIntervalSec=0"
    );
    let service = Service::start(what, &further)?;
    let generation = service.serving().expect("it serves");
    let pid = service.systemd.main_pid(UNIT);
    thread::sleep(Duration::from_secs(7));
    assert_eq!(service.serving(), Some(generation), "systemd hears that it gets on");
    Some((service, generation, pid))
}

/// systemd hears from the gateway that it gets on; one that is stopped as a whole is killed and started again, and one whose
/// loop is frozen comes back in place before systemd has to.
#[test]
fn a_frozen_gateway_comes_back_by_its_own_watchdog_or_by_systemds() {
    let Some((service, generation, pid)) = watched("a frozen gateway under systemd", "2s") else { return };

    let question = service.send("loop", "loop", "take 3s to say what hit you");
    service.await_running("loop", question);
    freeze(&service.state, "loop", Duration::from_secs(600));
    let frozen = generation;
    let generation = service.await_generation_after(frozen);
    assert_eq!(service.systemd.main_pid(UNIT), pid, "in place");
    service.await_only_reply("loop", question);
    let cause = service.cause(frozen);
    assert!(cause.starts_with("ended by its watchdog: its loop got nowhere for 2s; see "), "{cause}");
    let diagnosis = cause.rsplit(' ').next().expect("it names a file");
    let file = service.state.join("flight").join(diagnosis.rsplit('/').next().expect("a path has a last part"));
    let text = std::fs::read_to_string(&file).expect("the diagnosis is there");
    assert!(text.contains("watchdog") && text.contains("TurnOpened"), "threads and the last moments: {text}");

    let question = service.send("whole", "whole", "take 3s to say what hit you");
    service.await_running("whole", question);
    service.systemd.kill_main(UNIT, "STOP");
    service.await_generation_after(generation);
    // A unit by hand does not have systemd tell who comes next.
    assert_eq!(service.cause(generation), "died without a word");
    assert_ne!(service.systemd.main_pid(UNIT), pid, "killed and started by systemd");
    service.await_only_reply("whole", question);
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active");
}

/// It is not for the thread that watches to say that the gateway lives, but for what has been done.
#[test]
fn systemd_hears_nothing_of_a_gateway_whose_loop_gets_nowhere_and_kills_it() {
    let Some((service, generation, pid)) = watched("a frozen loop under systemd's watchdog alone", "10m") else {
        return;
    };
    let question = service.send("main", "question", "take 3s to say what hit you");
    service.await_running("main", question);
    freeze(&service.state, "loop", Duration::from_secs(600));
    service.await_generation_after(generation);
    assert_ne!(service.systemd.main_pid(UNIT), pid, "killed and started by systemd");
    service.await_only_reply("main", question);
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active");
}

/// What the unit really says counts for whoever ends the process from beside its loop, too: an exit would be the last.
#[test]
fn a_gateway_that_its_unit_never_starts_again_follows_itself_whatever_hits_its_loop_and_still_stops() {
    let further = "Environment=EVERGATE_WATCHDOG_FREEZE=2s EVERGATE_DEBUG_HOOKS=on\nRestart=no";
    let Some(service) = Service::start("a loop that breaks under Restart=no", further) else { return };
    let pid = service.systemd.main_pid(UNIT);
    let forever = Duration::from_secs(600);
    let hits: [(&str, &dyn Fn()); 3] = [
        ("it breaks", &|| break_loop(&service.state)),
        ("it freezes", &|| freeze(&service.state, "loop", forever)),
        ("it freezes, and a stray SIGTERM comes", &|| {
            freeze(&service.state, "loop", forever);
            service.systemd.kill_main(UNIT, "TERM");
        }),
    ];
    for (what, hit) in hits {
        let generation = service.serving().expect("it serves");
        let question = service.send("main", what, "take 3s to say what hit you");
        service.await_running("main", question);
        hit();
        service.await_generation_after(generation);
        let shown = ["ActiveState", "NRestarts"].map(|property| service.systemd.show(UNIT, property));
        assert_eq!((service.systemd.main_pid(UNIT), shown), (pid, ["active", "0"].map(str::to_owned)), "{what}");
        service.await_only_reply("main", question);
    }
    freeze(&service.state, "loop", forever);
    service.control("stop");
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "inactive", "a stop is a stop");
    assert_eq!(service.systemd.show(UNIT, "Result"), "success");
}

/// No watchdog helps here: the one inside waits for ten minutes, and systemd has none.
#[test]
fn a_restart_climbs_past_a_frozen_gateway_and_systemd_starts_it_again() {
    let further = "Environment=EVERGATE_WATCHDOG_FREEZE=10m EVERGATE_DEBUG_HOOKS=on\nNotifyAccess=main\n\
                   RestartForceExitStatus=75\nStartLimitIntervalSec=0";
    let Some(service) = Service::start("the ladder under systemd", further) else { return };
    for (arguments, seconds) in [(&["restart", "--force"][..], 10), (&["restart"], 20)] {
        let generation = service.serving().expect("it serves");
        let session = arguments.concat();
        let question = service.send(&session, &session, "take 3s to say what hit you");
        service.await_running(&session, question);
        freeze(&service.state, "loop", Duration::from_secs(600));
        let begun_at = Instant::now();
        let restarted = service.evergate(arguments);
        let took = begun_at.elapsed();
        assert!(restarted.status.success(), "{}", restarted.text);
        eprintln!("{arguments:?} of a frozen loop under systemd: {took:?}");
        assert!(took < Duration::from_secs(seconds), "{arguments:?} took {took:?}");
        assert_eq!(service.serving(), Some(generation + 1));
        let events = service.await_only_reply(&session, question);
        assert!(was_resumed(&events, question), "{events:#?}");
        assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active");
    }
}

/// systemd's watchdog is more impatient than the drain is long, and so is its limit for a stop: a gateway that drains says that
/// it gets on, and that it needs longer.
#[test]
fn a_drain_that_outlasts_systemds_watchdog_is_taken_for_no_freeze() {
    let further = "Environment=EVERGATE_DRAIN_BUDGET=30s\nNotifyAccess=main\nWatchdogSec=2\nWatchdogSignal=SIGKILL\n\
                   TimeoutStopSec=5";
    let Some(service) = Service::start("a long drain under systemd's watchdog", further) else { return };
    let pid = service.systemd.main_pid(UNIT);
    let shown = || ["ActiveState", "NRestarts"].map(|property| service.systemd.show(UNIT, property));
    let long = "take 10s to say one two three four five six seven eight nine ten";

    // While the unit runs, for a restart in place.
    let generation = service.serving().expect("it serves");
    let question = service.send("main", "restart", long);
    service.await_running("main", question);
    let begun_at = Instant::now();
    service.send("operator", "command", "/restart");
    service.await_generation_after(generation);
    let took = begun_at.elapsed();
    assert!(took > Duration::from_secs(6), "the drain did not wait for the turn: {took:?}");
    let events = service.await_only_reply("main", question);
    assert!(!was_resumed(&events, question), "{events:#?}");
    assert_eq!((service.systemd.main_pid(UNIT), shown()), (pid, ["active", "0"].map(str::to_owned)));

    // And while it is being stopped.
    let question = service.send("main", "stop", long);
    service.await_running("main", question);
    let begun_at = Instant::now();
    service.control("stop");
    let took = begun_at.elapsed();
    assert!(took > Duration::from_secs(6), "the stop did not wait for the turn: {took:?}");
    assert_eq!(service.systemd.show(UNIT, "Result"), "success", "neither its watchdog nor its limit struck");
    service.control("start");
    service.await_generation_after(generation);
    let events = service.await_only_reply("main", question);
    assert!(!was_resumed(&events, question), "{events:#?}");
}

/// It was asked while the gateway still served, so that nobody waits for its answer while none does.
#[test]
fn who_takes_a_gateways_place_goes_by_what_systemd_has_just_said_of_its_unit() {
    let Some(service) = Service::start("what systemd says of a unit", "TimeoutStopSec=50") else { return };
    let (generation, pid) = (service.serving().expect("it serves"), service.systemd.main_pid(UNIT));
    let told = || {
        let shown = service.systemd.inside(&["sh", "-c", &format!("tr '\\0' '\\n' < /proc/{pid}/environ")]);
        assert!(shown.status.success(), "{}", shown.text);
        let told = shown.text.lines().find_map(|line| line.strip_prefix("EVERGATE_SYSTEMD_TERMS="));
        told.map(str::to_owned)
    };
    assert_eq!(told(), None, "the first image has asked for itself");
    service.write_unit("TimeoutStopSec=7");
    let restarted = service.evergate(&["restart"]);
    assert!(restarted.status.success(), "{restarted:?}");
    assert_eq!((service.serving(), service.systemd.main_pid(UNIT)), (Some(generation + 1), pid), "in place");
    let told = told().expect("the next one is told");
    assert!(told.starts_with(&format!("[{pid},")) && told.contains("\"secs\":7,"), "{told}");
    let log = fs::read_to_string(service.log()).unwrap_or_default();
    assert!(log.contains("\"limit\":\"7s\""), "the limit that it was told of holds: {log}");
}

/// What systemd starts instead of a process that died on its way to a stop carries the stop out, and was never ready to serve.
#[test]
fn a_stop_that_a_kill_overtakes_is_carried_out_in_a_unit_that_waits_to_be_notified() {
    let further = "Type=notify\nNotifyAccess=main\nEnvironment=EVERGATE_DRAIN_BUDGET=5m";
    let Some(service) = Service::start("a stop that a kill overtakes, under systemd", further) else { return };
    let generation = service.serving().expect("it serves");
    let question = service.send("main", "question", "take 5s to say hello");
    service.await_running("main", question);
    let client = Client::new(service.address, Some(service.token()));
    let accepted = client.post("/v1/stop", &json!({"mode": "graceful"})).expect("it serves");
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert!(service.systemd.systemctl(&["kill", "--kill-whom=main", "--signal=KILL", UNIT]).status.success());
    service.systemd.wait_for_state(UNIT, "inactive", PATIENCE);
    thread::sleep(SYSTEMDS_PAUSE);
    let shown = ["ActiveState", "Result"].map(|property| service.systemd.show(UNIT, property));
    assert_eq!(shown, ["inactive", "success"].map(str::to_owned));
    service.control("start");
    assert_eq!(service.await_generation_after(generation), generation + 2, "the one between has carried it out");
    let events = service.await_only_reply("main", question);
    assert!(was_resumed(&events, question), "{events:#?}");
}

/// Between the record of its end and its exit a process can still be killed; and each ordinary stop leaves its end on disk, so
/// that whoever wants a start after it may see it die before it has begun.
#[test]
fn systemd_undoes_no_stop_that_was_carried_out_and_no_wish_to_have_it_started_after_one() {
    let Some(service) = Service::boot("a stop that is on disk, under systemd") else { return };
    let config = service.systemd.folder().join("config.toml");
    let write = |text: &str| fs::write(&config, text).expect("it is the test's folder");
    let told = format!("Environment=EVERGATE_CONFIG={}", config.display());
    write("[watchdog]\nfreeze = \"1h\"\n[debug]\nhooks = \"on\"");
    service.write_unit(&format!(
        "Type=notify\nNotifyAccess=main\nRestartSec=100ms\n{told}\n[Unit]\nStartLimitIntervalSec=0"
    ));
    service.control("start");
    let generation = service.await_generation_after(0);
    // Whoever leaves waits for it.
    freeze(&service.state, "control", FOR_EVER);
    let client = Client::new(service.address, Some(service.token()));
    assert_eq!(client.post("/v1/stop", &json!({})).expect("it serves").status, 202);
    let log = || fs::read_to_string(service.log()).unwrap_or_default();
    let ended = || log().contains(r#""phase":"ended""#).then_some(());
    assert!(eventually(PATIENCE, ended).is_some(), "{}", log());
    assert!(service.systemd.systemctl(&["kill", "--kill-whom=main", "--signal=KILL", UNIT]).status.success());
    service.systemd.wait_for_state(UNIT, "inactive", PATIENCE);
    thread::sleep(SYSTEMDS_PAUSE);
    let shown = ["ActiveState", "Result"].map(|property| service.systemd.show(UNIT, property));
    assert_eq!(shown, ["inactive", "success"]);
    write("[debug]\nhooks = \"on\"\nstart_fails = \"after-journal\"\n");
    let _dies = service.systemd.systemctl(&["start", "--no-block", UNIT]);
    let restarts = || service.systemd.show(UNIT, "NRestarts").parse::<u32>().unwrap_or(0);
    let again = || (restarts() >= 2).then_some(());
    assert!(eventually(PATIENCE, again).is_some(), "{}", log());
    write("");
    assert_eq!(service.await_generation_after(generation + 1), generation + 2, "the one between has kept the stop");
}

#[test]
fn a_unit_that_waits_to_be_notified_is_ready_survives_kills_of_an_idle_gateway_and_stops_in_order() {
    let Some(service) = Service::start("notify under systemd", "Type=notify\nNotifyAccess=main") else { return };
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active", "READY=1 was heard");
    for signal in ["TERM", "KILL", "TERM"] {
        service.survive(signal);
    }
    let generation = service.serving().expect("it serves");
    service.send("main", "command", "/restart");
    service.await_generation_after(generation);
    thread::sleep(SYSTEMDS_PAUSE);
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active", "a restart in place is not taken for a stop");
    service.control("stop");
    thread::sleep(SYSTEMDS_PAUSE);
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "inactive");
    assert_eq!(service.systemd.show(UNIT, "Result"), "success");
}
