//! `evergate-sim conform`: a log of what the core did is conformant, cut or not; one that anybody has changed is not; what
//! is no flight log is refused with one sentence.

use evergate::flight::{Head, Recorder};
use evergate_core::effect::Effect;
use evergate_core::id::{MessageId, RequestId, SessionId};
use evergate_core::input::{Asked, Input, Standing, TurnEnd};
use evergate_core::limits::Limits;
use evergate_core::record::Unfinished;
use evergate_core::recovery::Recovered;
use evergate_core::request::{Mode, Origin, Wish};
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::time::Instant;
use evergate_sim::conform::{Conformity, Finding, LogError, conform};
use std::collections::VecDeque;
use std::path::Path;
use std::process::{Command, Output};

/// How a generation of the pilot ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By a stop, while a turn is running that has to be interrupted.
    Stop,
    /// It dies with a turn at work.
    Death,
}

/// Flies one generation, as the smallest driver there can be, and records it at the end of the log.
fn fly(path: &Path, journal: &mut Unfinished, end: End) {
    let mut at = Instant::from_millis(3);
    let limits = Limits { drain: std::time::Duration::from_secs(1), ..Limits::default() };
    let contract = Contract::of(Supervisor::Evergate);
    let head = Head::new(limits, contract, Recovered::from_unfinished(journal), at);
    let mut flight = Recorder::open(path, &head);
    let mut core = head.boot();
    let mut inputs = VecDeque::new();
    let request = RequestId(core.generation().0);
    let message = Input::Message {
        message: MessageId(core.generation().0),
        session: SessionId(1),
        asked: Asked::Prompt,
        standing: Standing::Operator,
        request,
    };
    let stop = Input::Request { request, wish: Wish::Stop, mode: Mode::Graceful, origin: Origin::Cli };
    let mut wishes = VecDeque::from([message, stop]);
    loop {
        let mut synced = 0;
        while let Some(effect) = core.poll() {
            flight.effect(&effect);
            match effect {
                Effect::Append { record } => {
                    journal.absorb(&record);
                    synced += 1;
                }
                Effect::OpenPlatforms => inputs.push_back(Input::PlatformsOpen),
                Effect::Reclaim { turn } => inputs.push_back(Input::TurnGone { turn }),
                Effect::Start { turn, .. } => inputs.push_back(Input::TurnBegan { turn }),
                Effect::Interrupt { turn } => inputs.push_back(Input::TurnEnded { turn, end: TurnEnd::Answered }),
                Effect::Send { delivery, .. } => inputs.push_back(Input::DeliverySent { delivery }),
                Effect::End { .. } => return flight.flush(),
                _ => {}
            }
        }
        flight.flush();
        inputs.extend((synced > 0).then_some(Input::Synced { records: synced }));
        let input = match inputs.pop_front() {
            Some(input) => input,
            None if end == End::Death && wishes.len() < 2 => return,
            None => wishes.pop_front().unwrap_or(Input::Elapsed),
        };
        at = at + std::time::Duration::from_millis(1);
        if input == Input::Elapsed {
            at = core.poll_timeout().expect("what does not end waits for time");
        }
        flight.input(at, &input);
        core.handle(at, input);
    }
}

/// A log in which the first generation died and the second was stopped.
fn flown() -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("log");
    let mut journal = Unfinished::default();
    fly(&path, &mut journal, End::Death);
    fly(&path, &mut journal, End::Stop);
    std::fs::read_to_string(path).expect("it was just written")
}

fn conformity(log: &str) -> Conformity {
    match conform(log.as_bytes()).expect("it is a flight log") {
        Finding::Conformant(found) => found,
        different => panic!("{different}\nin\n{log}"),
    }
}

/// The line of the first difference, and all that is said about it.
fn difference(log: &str) -> (u64, String) {
    match conform(log.as_bytes()).expect("it is a flight log") {
        Finding::Different(difference) => (difference.line, Finding::Different(difference).to_string()),
        Finding::Conformant(found) => panic!("it passed: {found:?}\n{log}"),
    }
}

/// The lines of a log, to be changed, and the index of the first with this in it.
fn lines_and(log: &str, what: &str) -> (Vec<String>, usize) {
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    let index = lines.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what} in\n{log}"));
    (lines, index)
}

#[test]
fn a_log_of_what_the_core_did_is_conformant_and_its_ends_are_counted() {
    let log = flown();
    let found = conformity(&log);
    assert_eq!((found.generations, found.last.0, found.without_end), (2, 2, 1), "{found:?}");
    let steps = log.lines().filter(|line| line.starts_with("{\"step\"")).count() as u64;
    assert_eq!(found.inputs, steps - 2, "each step but the boots has an input");
    assert!(log.contains("\"elapsed\"") && found.effects > found.inputs, "{found:?}");
    assert_eq!(found.cut_lines, Vec::<u64>::new());
}

#[test]
fn an_effect_that_was_changed_added_or_taken_away_is_found_where_it_is() {
    let log = flown();
    for (what, becomes) in [
        ("{\"ack\":{\"message\":1}}", "{\"ack\":{\"message\":2}}"),
        ("\"open_platforms\"", "\"ignored\",\"open_platforms\""),
        ("{\"end\":{\"verdict\":{\"exit\":0}", "{\"end\":{\"verdict\":{\"exit\":75}"),
        ("\"stopping\"", "\"ready\""),
    ] {
        let (mut lines, index) = lines_and(&log, what);
        lines[index] = lines[index].replacen(what, becomes, 1);
        let (line, said) = difference(&lines.join("\n"));
        assert_eq!(line, index as u64 + 1, "{said}");
        assert!(said.contains("expected: ") && said.contains("recorded: "), "{said}");
    }
    let (mut lines, index) = lines_and(&log, "\"effects\":[{\"ack\"");
    let start = lines[index].find("\"effects\":").unwrap();
    lines[index].replace_range(start.., "\"effects\":[]}");
    let (line, said) = difference(&lines.join("\n"));
    assert_eq!(line, index as u64 + 1);
    assert!(said.contains("recorded: nothing more"), "{said}");
}

#[test]
fn an_input_that_was_dropped_doubled_or_changed_is_found() {
    let log = flown();
    let whole: Vec<&str> = log.lines().collect();
    for index in (1..whole.len()).filter(|index| whole[*index].starts_with("{\"step\"")) {
        let mut dropped = whole.clone();
        dropped.remove(index);
        // The last step of a generation that died is missed by nobody: it died one step earlier.
        let last_of_the_dead = whole.get(index + 1).is_some_and(|next| next.contains("evergate_flight"));
        if last_of_the_dead || index + 1 == whole.len() {
            conformity(&dropped.join("\n"));
        } else {
            assert_eq!(difference(&dropped.join("\n")).0, index as u64 + 1);
        }
        let mut doubled = whole.clone();
        doubled.insert(index, whole[index]);
        assert_eq!(difference(&doubled.join("\n")).0, index as u64 + 2);
    }
    let (mut lines, index) = lines_and(&log, "\"asked\":\"prompt\"");
    lines[index] = lines[index].replacen("\"asked\":\"prompt\"", "\"asked\":\"help\"", 1);
    assert_eq!(difference(&lines.join("\n")).0, index as u64 + 1);
}

#[test]
fn a_count_of_records_on_disk_that_no_disk_could_have_told_is_found() {
    let log = flown();
    for count in ["0", "4294967295", "3"] {
        let (mut lines, index) = lines_and(&log, "{\"synced\":{\"records\":");
        let from = lines[index].find("\"records\":").unwrap() + "\"records\":".len();
        let to = from + lines[index][from..].find('}').unwrap();
        assert_ne!(&lines[index][from..to], count);
        lines[index].replace_range(from..to, count);
        let (line, said) = difference(&lines.join("\n"));
        assert_eq!(line, index as u64 + 1);
        assert!(said.contains(&format!("recorded: {count} records on disk")), "{said}");
    }
}

#[test]
fn time_that_goes_back_or_elapses_before_it_is_due_is_found() {
    let log = flown();
    let (mut lines, index) = lines_and(&log, "\"input\":\"elapsed\"");
    let at = lines[index].find(",\"input\"").unwrap();
    let early: u64 = lines[index][lines[index].find("\"at\":").unwrap() + 5..at].parse().unwrap();
    let say = |lines: &[String], index: usize, at: u64| {
        let mut changed = lines.to_vec();
        let from = changed[index].find("\"at\":").unwrap() + 5;
        let to = changed[index].find(",\"input\"").unwrap();
        changed[index].replace_range(from..to, &at.to_string());
        changed.join("\n")
    };
    let (line, said) = difference(&say(&lines, index, early - 1));
    assert_eq!(line, index as u64 + 1);
    assert!(said.contains(&format!("expected: a timeout at {early} ms")), "{said}");
    assert_eq!(difference(&say(&lines, index, 0)).0, index as u64 + 1);
    lines.truncate(index);
    conformity(&lines.join("\n"));
}

#[test]
fn a_line_that_a_death_has_cut_is_accepted_at_the_end_of_its_generation_only() {
    let log = flown();
    for length in 19..log.len() {
        let cut = &log[..length];
        let found = conformity(cut);
        let whole = cut.ends_with('\n') || log[length..].starts_with('\n');
        assert_eq!(found.cut_lines.len(), usize::from(!whole), "{cut}");
        // The next generation begins on a line of its own, whatever the last one left.
        let next = format!("{}\n{log}", cut.trim_end_matches('\n'));
        let after = conformity(&next);
        assert_eq!(after.cut_lines, found.cut_lines);
        assert_eq!(after.generations, found.generations + 2);
    }
    let (mut lines, index) = lines_and(&log, "\"step\":2,");
    let half = lines[index].len() / 2;
    lines[index].truncate(half);
    let error = conform(lines.join("\n").as_bytes()).unwrap_err();
    assert!(matches!(error, LogError::Line { line, .. } if line == index as u64 + 1), "{error}");
}

#[test]
fn a_head_with_another_generation_is_a_difference() {
    let log = flown();
    let (line, said) = difference(&log.replacen("\"generation\":1", "\"generation\":7", 1));
    assert_eq!(line, 1);
    assert!(said.contains("expected: generation 1") && said.contains("recorded: generation 7"), "{said}");
}

#[test]
fn a_number_that_somebody_has_made_absurd_is_never_a_panic() {
    let log = flown();
    let is_digit = |at: usize| log.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let starts = (1..log.len()).filter(|at| is_digit(*at) && !is_digit(at - 1));
    let (mut different, mut refused) = (0, 0);
    for start in starts {
        let end = (start..).find(|at| !is_digit(*at)).unwrap();
        for absurd in ["0", "4294967295", "18446744073709551615"] {
            let changed = format!("{}{absurd}{}", &log[..start], &log[end..]);
            match conform(changed.as_bytes()) {
                Ok(Finding::Different(difference)) => {
                    assert!(!difference.expected.contains("panic"), "{difference}\n{changed}");
                    different += 1;
                }
                Ok(Finding::Conformant(_)) => {}
                Err(_) => refused += 1,
            }
        }
    }
    assert!(different > 100 && refused > 10, "{different} different, {refused} refused");
}

fn command(path: &Path, json: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergate-sim"));
    command.arg("conform").arg(path).args(json.then_some("--json")).output().expect("it was just built")
}

#[test]
fn the_command_says_what_it_found_and_ends_with_0_1_or_65() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let run = |text: &str, json: bool| {
        std::fs::write(&path, text).unwrap();
        let output = command(&path, json);
        let [out, err] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        (output.status.code(), out, err)
    };
    let log = flown();
    let (status, out, err) = run(&log, false);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("conformant: 2 generations, "), "{out}");
    let (status, out, _) = run(&log, true);
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &object["conformant"], &object["generations"]), (Some(0), &true.into(), &2.into()));

    let changed = log.replacen("{\"ack\":{\"message\":1}}", "{\"ack\":{\"message\":2}}", 1);
    let (status, out, _) = run(&changed, false);
    assert_eq!(status, Some(1));
    assert!(out.contains("recorded: {\"ack\":{\"message\":2}}"), "{out}");
    let (status, out, _) = run(&changed, true);
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (status, &object["conformant"], &object["difference"]["generation"]),
        (Some(1), &false.into(), &1.into())
    );

    let other_version = log.replace("\"evergate_flight\":2", "\"evergate_flight\":3");
    let earlier = "{\"evergate_flight\":1,\"what\":\"it said then\"}\n{\"input\":{\"synced\":{\"through\":1}}}\n";
    let senseless = log.replacen("\"step\":1,", "\"step\":\"one\",", 1);
    for (case, says) in [
        ("", "is empty"),
        ("a text of somebody else", "no flight log"),
        ("{\"evergate_trace\":1}\n", "no flight log"),
        (&other_version, "line 1 is of version 3 of the flight log, and only version 2"),
        (earlier, "line 1 is of version 1 of the flight log, and only version 2"),
        (&format!("{earlier}{{\"evergate_flight\":1,\"version\":\"0."), "line 1 is of version 1 of the flight log"),
        (&senseless, "line 3"),
    ] {
        let (status, out, err) = run(case, false);
        assert_eq!((status, out.as_str()), (Some(65), ""), "{err}");
        assert!(err.contains(says) && err.lines().count() == 1, "{err}");
    }
    // A log to which the gateway went on appending behind an update is looked at from there on.
    let (status, out, err) = run(&format!("{earlier}{log}"), false);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert!(out.contains("conformant: 2 generations, "), "{out}");
    assert!(out.contains("\ngenerations that another version has recorded, left out: 1"), "{out}");
    for path in [folder.path(), Path::new("/nonexistent/log")] {
        assert_eq!(command(path, false).status.code(), Some(65));
    }
    assert_eq!(
        Command::new(env!("CARGO_BIN_EXE_evergate-sim")).arg("conform").output().unwrap().status.code(),
        Some(64)
    );
}
