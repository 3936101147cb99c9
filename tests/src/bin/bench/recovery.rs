//! From the start of the process until it is ready, with 1,000,000 stored messages and 10,000 turns that were open when it
//! was killed. The yardstick is redb alone opening the same file after the same kind of end.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use evergate_tests::gateway::Gateway;
use tempfile::TempDir;

use crate::report::{Report, median, milliseconds};
use crate::{history, ready};

/// How often each is measured.
const RUNS: usize = 5;
/// The goal: so many times the yardstick, and this on top.
const FACTOR: f64 = 2.0;
const MARGIN: Duration = Duration::from_millis(500);
/// Words a second of an agent that does not get to the end of its answer while it is measured.
const SLOW: &str = "0.001";
/// The 10,000 turns are answered in this time, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(80);

/// Measures it.
pub fn measure() -> Report {
    let kept = history::kept();
    let room = TempDir::new_in(history::folder()).expect("the folder of the build is writable");
    let state_dir = room.path().join("state");
    fs::create_dir(&state_dir).expect("a fresh folder is writable");
    let journal = state_dir.join("journal.redb");
    // Copying it also brings it into the kernel's cache.
    fs::copy(kept.join("journal.redb"), &journal).expect("the disk has room for a copy of the journal");
    let bytes = fs::metadata(&journal).map_or(0, |metadata| metadata.len());

    // An agent that never gets to an end, so that killing it leaves as many open turns as before. The first start leaves
    // what a killed gateway leaves; it is not measured.
    start(&state_dir, SLOW).0.kill();
    let mut bare = Vec::new();
    let mut starts = Vec::new();
    for _ in 0..RUNS {
        bare.push(open_bare(&journal));
        let (gateway, took) = start(&state_dir, SLOW);
        starts.push(took);
        gateway.kill();
    }
    let (ready_in, answered_in) = answer_all(&state_dir);

    let mut report = Report::new("recovery");
    report.durations(["start to ready", "start to ready at least", "start to ready at most"], &starts);
    report.durations(["yardstick open with redb", "yardstick at least", "yardstick at most"], &bare);
    let ratio = median(&starts).as_secs_f64() / median(&bare).as_secs_f64();
    report.figure("ratio", ratio, "times");
    report.figure("runs of each", RUNS as f64, "");
    report.figure("size of the journal", bytes as f64 / 1e6, "MB");
    report.figure("resumed turns all answered after the start", milliseconds(answered_in), "ms");
    report.figure("resumed turns all answered after ready", milliseconds(answered_in - ready_in), "ms");
    let limit = milliseconds(median(&bare)) * FACTOR + milliseconds(MARGIN);
    let sentence = format!("ready within {FACTOR} times the yardstick and {MARGIN:?} (ms)");
    report.at_most(sentence, milliseconds(median(&starts)), limit);
    report
}

/// Starts a gateway over this journal and gives how long it took to be ready.
fn start(state_dir: &Path, words_per_second: &str) -> (Gateway, Duration) {
    let builder = Gateway::builder()
        .unrecorded()
        .state_dir(state_dir)
        .config(&format!("[agent.demo]\nwords_per_second = {words_per_second}\n[recovery]\nattempts = 100"));
    let begun = Instant::now();
    let gateway = builder.spawn();
    ready::await_ready(gateway.address());
    (gateway, begun.elapsed())
}

/// Starts one whose agent answers at once; gives when it was ready and when every resumed turn was answered.
fn answer_all(state_dir: &Path) -> (Duration, Duration) {
    let begun = Instant::now();
    let (gateway, ready_in) = start(state_dir, "0");
    gateway.wait_for("the resumed turns to be answered", PATIENCE, || {
        let status = gateway.try_status()?;
        (status["turns_open"] == 0 && status["owed"] == 0).then_some(())
    });
    (ready_in, begun.elapsed())
}

/// How long redb alone takes to open the file, in a process of its own.
fn open_bare(journal: &Path) -> Duration {
    let itself = std::env::current_exe().expect("a running program has a path");
    let output = Command::new(itself).arg(history::OPEN_BARE).arg(journal).output();
    let output = output.expect("the program that runs can be started");
    let printed = String::from_utf8_lossy(&output.stdout);
    let nanoseconds = printed.trim().parse();
    Duration::from_nanos(nanoseconds.unwrap_or_else(|_| panic!("redb could not open the journal: {output:?}")))
}
