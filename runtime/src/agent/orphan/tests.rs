//! Real processes that look like what a dead generation leaves behind, and some that only nearly do.

use super::*;
use linux::Process;
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A control path that no other test uses.
fn control(name: &str) -> String {
    format!("/nonexistent/evergate-{name}-{}/control.sock", std::process::id())
}

fn agent(program: &[&str], control: &str, generation: u64) -> Command {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    command
        .env("EVERGATE_CONTROL", control)
        .env("EVERGATE_TURN", "7")
        .env("EVERGATE_GENERATION", generation.to_string());
    command
}

fn pid(child: &Child) -> i32 {
    child.id() as i32
}

fn lives(pid: i32) -> bool {
    Process::find(pid).is_some_and(|process| process.lives())
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn what_a_dead_generation_left_is_killed_and_everybody_else_is_spared() {
    let control = control("spare");
    let sleep = ["sleep", "60"];
    let orphan = agent(&sleep, &control, 1).spawn().unwrap();
    let spared = [
        agent(&sleep, &control, 3).spawn().unwrap(),
        agent(&sleep, "/nonexistent/other/control.sock", 1).spawn().unwrap(),
        agent(&sleep, &format!("{control}x"), 1).spawn().unwrap(),
        agent(&sleep, &control, 1).env_remove("EVERGATE_TURN").spawn().unwrap(),
        agent(&sleep, &control, 1).env_remove("EVERGATE_GENERATION").spawn().unwrap(),
        agent(&["setsid", "sleep", "60"], &control, 1).spawn().unwrap(),
    ];
    let daemon = pid(&spared[5]);
    let patience = Instant::now() + Duration::from_secs(5);
    while Process::find(daemon).is_none_or(|process| process.session == session_id()) {
        assert!(Instant::now() < patience, "setsid does not start");
        std::thread::sleep(Duration::from_millis(5));
    }

    let reaped = reap(Path::new(&control), 3, session_id());
    assert_eq!(reaped, Reaped { killed: vec![Orphan { pid: pid(&orphan), turn: Some(7) }], left: Vec::new() });
    assert!(!lives(pid(&orphan)));
    for child in spared {
        assert!(lives(pid(&child)));
        end(child);
    }
    assert_eq!(reap(Path::new(&control), 3, session_id()), Reaped::default(), "nothing is left for a second look");
    end(orphan);
}

#[test]
fn an_agent_that_serves_many_turns_is_an_orphan_too() {
    let control = control("many");
    let mut command = agent(&["sleep", "60"], &control, 1);
    let child = command.env_remove("EVERGATE_TURN").env(AGENT, "acp").spawn().unwrap();
    let reaped = reap(Path::new(&control), 2, session_id());
    assert_eq!(reaped.killed, [Orphan { pid: pid(&child), turn: None }]);
    end(child);
}

#[test]
fn a_turn_that_ends_takes_what_it_started_with_it_and_nothing_of_another_turn_or_generation() {
    let control = control("turn");
    let sleep = ["sleep", "60"];
    let left = agent(&sleep, &control, 3).spawn().unwrap();
    let spared = [
        agent(&sleep, &control, 3).env("EVERGATE_TURN", "8").spawn().unwrap(),
        agent(&sleep, &control, 2).spawn().unwrap(),
        agent(&sleep, &control, 3).env_remove("EVERGATE_TURN").env(AGENT, "acp").spawn().unwrap(),
        agent(&sleep, &format!("{control}x"), 3).spawn().unwrap(),
    ];
    let ended = end_turn(Path::new(&control), 3, 7);
    assert_eq!(ended, Reaped { killed: vec![Orphan { pid: pid(&left), turn: Some(7) }], left: Vec::new() });
    for child in spared {
        assert!(lives(pid(&child)));
        end(child);
    }
    end(left);
}

#[test]
fn another_kernel_session_is_another_gateways_business() {
    let control = control("session");
    let child = agent(&["sleep", "60"], &control, 1).spawn().unwrap();
    assert_eq!(reap(Path::new(&control), 2, session_id() + 1), Reaped::default());
    assert!(lives(pid(&child)));
    end(child);
}

#[test]
fn a_group_led_by_an_orphan_dies_with_the_members_that_cleared_their_environment() {
    use std::{io::BufRead, os::unix::process::CommandExt};
    let control = control("group");
    let script = ["sh", "-c", "env -i sleep 60 & echo $!; wait"];
    let mut leader = agent(&script, &control, 1).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(leader.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let member: i32 = line.trim().parse().unwrap();
    let patience = Instant::now() + Duration::from_secs(5);
    while std::fs::read(format!("/proc/{member}/cmdline")).unwrap() != b"sleep\x0060\0" {
        assert!(Instant::now() < patience, "the member does not start");
        std::thread::sleep(Duration::from_millis(5));
    }

    let reaped = reap(Path::new(&control), 2, session_id());
    assert_eq!(reaped.killed, [Orphan { pid: pid(&leader), turn: Some(7) }]);
    while lives(member) {
        assert!(Instant::now() < patience, "the member outlives its group");
        std::thread::sleep(Duration::from_millis(5));
    }
    end(leader);
}

/// Names, in the environment of this very test run again by itself, the control socket of the gateway that it plays.
const PLAYED: &str = "ORPHAN_TEST_PLAYS_THE_GATEWAY_AT";

#[test]
fn a_gateway_started_by_an_agent_spares_itself_and_its_ancestors() {
    if let Ok(control) = std::env::var(PLAYED) {
        return reap_as_its_own_orphan(Path::new(&control));
    }
    let control = control("lineage");
    let program = std::env::current_exe().unwrap();
    let script = r#""$0" a_gateway_started_by_an_agent_spares_itself_and_its_ancestors; echo "ancestor: $?""#;
    let output = agent(&["sh", "-c", script, program.to_str().unwrap()], &control, 1)
        .env(PLAYED, &control)
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed") && said.contains("ancestor: 0"), "{said}");
}

/// What a gateway does that has all the marks of an orphan itself: it ends its sibling and nobody else.
fn reap_as_its_own_orphan(control: &Path) {
    let sibling = Command::new("sleep").arg("60").spawn().expect("sleep is on every machine");
    let reaped = reap(control, 2, session_id());
    assert_eq!(reaped.killed, [Orphan { pid: pid(&sibling), turn: Some(7) }]);
    end(sibling);
}

#[test]
fn a_process_named_like_a_line_of_stat_is_read_right() {
    let line = "12 (a) Z 1 2 (b) S 34 56 78 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 0";
    let process = Process::parse(12, line).unwrap();
    assert_eq!(
        (process.state, process.parent, process.group, process.session, process.started),
        ('S', 34, 56, 78, 4242)
    );
    assert!(process.lives());
    assert_eq!(Process::parse(12, "12 (short) S 1"), None);
}
