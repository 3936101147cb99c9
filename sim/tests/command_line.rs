//! `evergate-sim` as people type it: whatever makes no sense, arguments or files, is refused with one sentence that says what
//! and what would make sense, and exit status 64 or 65; help stays help.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the binary; gives its exit status, what it printed, and what it complained of.
fn sim(words: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_evergate-sim")).args(words).output().expect("it was just built");
    let [out, err] = [stdout, stderr].map(|said| String::from_utf8(said).expect("it says text"));
    (status.code().unwrap_or(-1), out, err)
}

/// It ends with this status and nothing but one sentence, which says all of these.
fn refused(words: &[&str], wanted: i32, says: &[&str]) {
    let (status, out, err) = sim(words);
    assert_eq!((status, out.as_str()), (wanted, ""), "{words:?}: {err}");
    assert!(err.starts_with("evergate-sim: ") && err.lines().count() == 1, "{words:?}: {err}");
    assert!(!err.contains("Usage") && !err.contains("error:") && !err.contains("panicked"), "{words:?}: {err}");
    for what in says {
        assert!(err.contains(what), "{words:?} does not say {what:?}: {err}");
    }
}

#[test]
fn an_argument_that_makes_no_sense_is_64_and_a_sentence_with_what_would() {
    let largest = u64::MAX.to_string();
    for (words, says) in [
        (&["explore", "--scope", "nope"][..], &["\"nope\"", "seed", "ci", "deep"][..]),
        (&["explore", "--subject", "nope"], &["'nope'", "gateway", "naive"]),
        (&["explore", "--subject", "naiv"], &["'naiv'", "perhaps naive is meant"]),
        (&["explore", "--room", "0"], &["--room", "at least 1"]),
        (&["explore", "--room", "99"], &["9 rooms", "99"]),
        (&["explore", "--room", "first"], &["'first'", "whole number"]),
        (&["explore", "--threads", "0"], &["from 1 to 1024"]),
        (&["explore", "--subject", "naive", "--flaw", "nope"], &["\"nope\"", "self-wait", "error-uncaught"]),
        (&["explore", "--flaw", "self-wait"], &["--subject naive"]),
        (&["explore", "--subject", "naive", "--states", "10"], &["seen whole", "--states"]),
        (&["explore", "--out", "/nonexistent"], &["--out /nonexistent", "No such file"]),
        (&["explore", "--out", "/dev/null"], &["no directory"]),
        (&["explore", "7"], &["unexpected argument '7'"]),
        (&["swarm", "--seed", "abc"], &["'abc'", "a seed is a whole number from 0 to", &largest]),
        (&["swarm", "--seed", "99999999999999999999"], &["a seed is a whole number from 0 to", &largest]),
        (&["swarm", "--seed"], &["--seed"]),
        (&["swarm", "--runs", "0"], &["at least 1"]),
        (&["swarm", "--seed", &largest, "--runs", "2"], &["smaller --seed"]),
        (&["swarm", "--plant", "nope"], &["'nope'", "ack-before-sync", "death-loses-turn", "never-rests"]),
        (&["swarm", "--sed", "1"], &["'--sed'", "perhaps --seed is meant"]),
        (&["swarm", "--out", "/nonexistent"], &["--out /nonexistent"]),
        (&["harbor", "--seed", "abc"], &["'abc'", "a seed is a whole number from 0 to", &largest]),
        (&["harbor", "--seed", &largest, "--runs", "2"], &["smaller --seed"]),
        (&["harbor", "--runs", "some"], &["'some'", "at least 1"]),
        (&["harbor", "--threads", "2000"], &["from 1 to 1024"]),
        (&["harbor", "--plant", "nope"], &["'nope'", "lying-disk"]),
        (&["harbor", "--out", "/nonexistent"], &["--out /nonexistent"]),
        (&["replay"], &["FILE|SEED"]),
        (&["replay", "1", "2"], &["unexpected argument '2'"]),
        (&["conform"], &["FILE"]),
        (&["scopes", "--nope"], &["'--nope'"]),
        (&["explor"], &["'explor'", "perhaps explore is meant"]),
    ] {
        refused(words, 64, says);
    }
}

#[test]
fn help_and_version_are_what_was_asked_for_and_no_command_is_64_with_the_help() {
    let (status, out, err) = sim(&["--help"]);
    assert_eq!((status, err.as_str()), (0, ""));
    for command in ["explore", "scopes", "replay", "swarm", "harbor", "conform"] {
        assert!(out.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in\n{out}");
        let (status, help, err) = sim(&[command, "--help"]);
        assert_eq!((status, err.as_str()), (0, ""), "{command}");
        assert!(help.contains(&format!("Usage: evergate-sim {command}")), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
    for status in ["0", "1", "2", "3", "64", "65"] {
        assert!(out.contains(&format!("\n  {status:<4}")), "{status} is not in\n{out}");
    }
    let (status, out, _) = sim(&["--version"]);
    assert_eq!((status, out), (0, format!("evergate-sim {}\n", env!("CARGO_PKG_VERSION"))));
    let (status, out, err) = sim(&[]);
    assert_eq!((status, out.as_str()), (64, ""));
    assert!(err.contains("Usage: evergate-sim") && err.contains("explore"), "{err}");
}

/// The trace of a flaw, as the explorer leaves it in this directory.
fn trace_of_a_flaw(folder: &Path) -> String {
    let out = folder.to_str().expect("a temporary folder has a plain name");
    let (status, _, err) = sim(&["explore", "--subject", "naive", "--flaw", "ack-before-sync", "--out", out]);
    assert_eq!((status, err.as_str()), (1, ""));
    fs::read_to_string(folder.join("explore-naive-ack-before-sync.trace.jsonl")).expect("it leaves a trace")
}

#[test]
fn what_is_no_whole_trace_of_this_version_is_65_and_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let whole = trace_of_a_flaw(folder.path());
    let lines: Vec<&str> = whole.lines().collect();
    let without = |line: usize| [&lines[..line], &lines[line + 1..]].concat().join("\n");
    let other = whole.replace("\"evergate_trace\":3", "\"evergate_trace\":1");
    let kind = whole.replace("\"kind\":\"explore\"", "\"kind\":\"dream\"");
    let flaw = whole.replace("naive:ack-before-sync", "naive:nope");
    let subject = whole.replace("naive:ack-before-sync", "nobody");
    let action = whole.replacen("\"boot\"", "\"fly\"", 1);
    let field =
        whole.replacen("\"dies_after\"", "\"dies_aftr\"", 1).replacen("{\"action\"", "{\"nope\":1,\"action\"", 1);
    let garbled = whole.replacen("{\"step\"", "{step", 1);
    for (case, says) in [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a text of somebody else\n", "no trace of evergate-sim"),
        ("[1, 2]\n", "no trace of evergate-sim"),
        ("{\"evergate_flight\":1}\n", "flight log"),
        (&other, "version 1, and only version 3"),
        (&kind, "unknown variant `dream`"),
        (&flaw, "no flaw \"nope\""),
        (&subject, "no subject \"nobody\""),
        (&action, "step 1 of the trace cannot be understood: unknown variant `fly`"),
        (&field, "step 1 of the trace cannot be understood: unknown field `nope`"),
        (&garbled, "line 2 of the trace is no JSON"),
        (&whole[..whole.len() / 2], "the trace is cut behind"),
        (&whole[..whole.len() - 3], "the trace is cut behind"),
        (&without(lines.len() - 1), "the trace is cut behind"),
        (&without(2), "the trace is cut behind"),
        (lines[0], "the trace is cut behind 0 whole steps"),
    ] {
        fs::write(&path, case).unwrap();
        refused(&["replay", path.to_str().unwrap()], 65, &["trace", says]);
    }
}

#[test]
fn what_cannot_be_read_is_65_and_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let (file, directory) = (path.to_str().unwrap(), folder.path().to_str().unwrap());
    let flipped: Vec<u8> = (0..4096_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let behind_a_head = [b"{\"evergate_trace\":3,\"kind\":\"swarm\"}\n", flipped.as_slice()].concat();
    for command in ["replay", "conform"] {
        refused(&[command, "/nonexistent/file"], 65, &["/nonexistent/file"]);
        refused(&[command, directory], 65, &[directory, "Is a directory"]);
        refused(&[command, "/dev/zero"], 65, &["/dev/zero"]);
        refused(&[command, "/dev/null"], 65, &["empty"]);
        for bytes in [flipped.as_slice(), &behind_a_head] {
            fs::write(&path, bytes).unwrap();
            refused(&[command, file], 65, &[file]);
        }
    }
    refused(&["replay", "no-such-file"], 65, &["there is no such file", "a seed is a whole number"]);

    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        eprintln!("SKIPPED a file without read permission: this user may read every file");
        return;
    }
    for command in ["replay", "conform"] {
        refused(&[command, file], 65, &[file, "Permission denied"]);
    }
}

#[test]
fn a_page_that_cannot_be_written_is_64_and_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    trace_of_a_flaw(folder.path());
    let trace = folder.path().join("explore-naive-ack-before-sync.trace.jsonl");
    refused(&["replay", trace.to_str().unwrap(), "--html", "/nonexistent/page.html"], 64, &["/nonexistent/page.html"]);
}
