//! The limit that systemd really sets, whatever was configured: it is told to wait while a turn gets on, and otherwise the
//! budgets are shortened to fit below it, so a stop by systemd never ends in its SIGKILL, and what was cut is resumed. Where it
//! cannot be asked, a kill at the limit loses nothing either.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use evergate_tests::{
    PATIENCE,
    service::{Service, UNIT, was_resumed},
};

/// A drain that the shorter limits below do not leave room for.
const CONFIG: &str = "[drain]\nbudget = \"6s\"\ninterrupt_grace = \"1s\"\nclose_grace = \"1s\"\n";
/// From systemd's decision to the end of `systemctl stop`, beside the limit itself.
const SLACK: Duration = Duration::from_secs(3);

/// The installed unit with another `TimeoutStopSec`.
fn limited(limit: &str) -> impl Fn(String) -> String {
    move |unit| {
        let line = format!("TimeoutStopSec={limit}\n");
        let changed = unit.replace("TimeoutStopSec=90\n", &line);
        assert!(changed.contains(&line), "{unit}");
        changed
    }
}

/// The same unit, which systemd does not listen to.
fn unheard(unit: &str) -> String {
    let speaks = ["NotifyAccess=", "WatchdogSec=", "FileDescriptorStoreMax="];
    let lines = unit.lines().filter(|line| !speaks.iter().any(|key| line.starts_with(key)));
    lines.map(|line| line.replace("Type=notify", "Type=exec") + "\n").collect()
}

/// Stops the unit in the middle of a turn that outlasts every budget, and starts it again; gives what systemd called the end.
fn stop_in_the_middle_of_a_turn(service: &Service, within: Duration) -> String {
    let question = service.send("main", "question", "take 10s to say what there is to say about limits");
    service.await_running("main", question);
    let begun_at = Instant::now();
    service.control("stop");
    let took = begun_at.elapsed();
    assert!(took < within + SLACK, "it took {took:?}");
    let result = service.systemd.show(UNIT, "Result");
    service.systemd.systemctl(&["reset-failed", UNIT]);
    service.control("start");
    service.await_generation_after(0);
    let events = service.await_only_reply("main", question);
    assert!(was_resumed(&events, question), "{events:#?}");
    result
}

#[test]
fn a_limit_below_the_drain_budget_shortens_it_with_both_numbers_and_is_never_reached() {
    for limit in [4, 6, 9] {
        let test = "a limit below the budgets under systemd";
        let unit = |unit: String| unheard(&limited(&limit.to_string())(unit));
        let Some(service) = Service::installed(test, CONFIG, unit) else { return };
        let log = fs::read_to_string(service.log()).expect("it logs");
        assert!(log.contains(&format!("\"limit\":\"{limit}s\"")) && log.contains("\"needed\":\"13s\""), "{log}");
        assert_eq!(stop_in_the_middle_of_a_turn(&service, Duration::from_secs(limit)), "success");
    }
}

/// Much longer than systemd's limit of five seconds.
const LONG: &str = "[drain]\nbudget = \"15s\"\ninterrupt_grace = \"1s\"\nclose_grace = \"1s\"\n";

#[test]
fn a_turn_that_gets_on_is_waited_for_beyond_the_limit_of_systemd() {
    let Some(service) = Service::installed("a limit that is extended under systemd", LONG, limited("5")) else {
        return;
    };
    let log = fs::read_to_string(service.log()).expect("it logs");
    assert!(log.contains("it is told to wait while a turn gets on"), "{log}");
    let question = service.send("main", "question", "take 10s to say one two three four five six seven eight nine ten");
    service.await_running("main", question);
    let begun_at = Instant::now();
    service.control("stop");
    assert!(begun_at.elapsed() > Duration::from_secs(6), "the turn needed longer than the limit");
    assert_eq!(service.systemd.show(UNIT, "Result"), "success");
    let log = fs::read_to_string(service.log()).expect("it logs");
    assert!(log.contains("the supervisor is told to wait longer"), "{log}");
    service.control("start");
    service.await_generation_after(0);
    let events = service.await_only_reply("main", question);
    assert!(!was_resumed(&events, question), "it came to its end: {events:#?}");
}

#[test]
fn a_turn_that_shows_nothing_has_systemd_wait_for_nothing() {
    let silent = format!(
        "{LONG}[agent]\nkind = \"command\"\n[agent.command]\nargv = [\"/bin/sh\", \"-c\", \"sleep 11; echo done\"]\n"
    );
    let Some(service) = Service::installed("a silent turn under systemd", &silent, limited("5")) else { return };
    let question = service.send("main", "question", "anything");
    service.await_running("main", question);
    thread::sleep(Duration::from_secs(6));
    let begun_at = Instant::now();
    service.control("stop");
    assert!(begun_at.elapsed() < Duration::from_secs(5), "it is cut below the limit");
    assert_eq!(service.systemd.show(UNIT, "Result"), "success");
    let log = fs::read_to_string(service.log()).expect("it logs");
    assert!(!log.contains("the supervisor is told to wait longer"), "{log}");
    service.control("start");
    service.await_generation_after(0);
    let events = service.await_only_reply("main", question);
    assert!(was_resumed(&events, question), "it was cut: {events:#?}");
}

#[test]
fn without_a_limit_the_drain_has_its_whole_budget() {
    let Some(service) = Service::installed("no limit under systemd", CONFIG, limited("infinity")) else { return };
    let log = fs::read_to_string(service.log()).expect("it logs");
    assert!(!log.contains("\"needed\""), "{log}");
    assert_eq!(stop_in_the_middle_of_a_turn(&service, Duration::from_secs(8)), "success");
}

#[test]
fn where_systemd_cannot_be_asked_a_kill_at_the_limit_loses_nothing() {
    let unit = |unit: String| limited("4")(unit).replace("[Service]\n", "[Service]\nEnvironment=PATH=/nowhere\n");
    let Some(service) = Service::installed("a limit that is not known under systemd", CONFIG, unit) else { return };
    let log = fs::read_to_string(service.log()).expect("it logs");
    assert!(log.contains(r#""counted_on":"1m 30s""#), "{log}");
    assert_eq!(stop_in_the_middle_of_a_turn(&service, Duration::from_secs(4)), "timeout");
}

#[test]
fn a_unit_that_systemd_never_starts_again_is_restarted_in_place() {
    let unit =
        |unit: String| unit.replace("Restart=on-failure\n", "Restart=no\n").replace("RestartForceExitStatus=75\n", "");
    let Some(service) = Service::installed("Restart=no under systemd", "", unit) else { return };
    assert_eq!(service.systemd.show(UNIT, "Restart"), "no");
    let pid = service.systemd.main_pid(UNIT);
    for _ in 0..3 {
        let generation = service.serving().expect("it serves");
        let restarted = service.evergate(&["restart"]);
        assert!(restarted.status.success(), "{}", restarted.text);
        service.await_generation_after(generation);
    }
    thread::sleep(Duration::from_secs(1));
    assert_eq!(service.systemd.wait_for_state(UNIT, "active", PATIENCE), pid, "the same process");
}
