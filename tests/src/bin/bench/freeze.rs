//! How long it takes until a gateway that stands still serves again, each beside the bound after which it is taken for stuck:
//! a frozen loop that nobody supervises, the same under `evergate supervise`, and a process that is stopped as a whole there.

use std::time::{Duration, Instant};

use evergate_tests::gateway::Gateway;
use nix::sys::signal::Signal;

use crate::report::{Report, median, milliseconds};

/// When a part is taken for stuck.
const BOUND: Duration = Duration::from_secs(2);
/// What a supervisor gives the watchdog inside before it kills a silent child.
const AFTER_THE_WATCHDOG: Duration = Duration::from_secs(5);
/// The goal: so much beyond the bound.
const BEYOND: Duration = Duration::from_secs(1);
/// How often each is measured.
const RUNS: usize = 5;

/// Measures it.
pub fn measure() -> Report {
    let frozen = |gateway: &Gateway| gateway.freeze("loop", Duration::from_secs(600));
    let stopped = |gateway: &Gateway| gateway.signal(Signal::SIGSTOP);
    let alone = back(false, frozen);
    let supervised = back(true, frozen);
    let whole = back(true, stopped);

    let mut report = Report::new("freeze");
    report.durations(["frozen loop, nobody", "at least (nobody)", "at most (nobody)"], &alone);
    report.durations(["frozen loop, supervise", "at least (supervise)", "at most (supervise)"], &supervised);
    report.durations(["stopped process, supervise", "at least (stopped)", "at most (stopped)"], &whole);
    report.figure("bound of the watchdog inside", milliseconds(BOUND), "ms");
    report.figure("bound of the supervisor", milliseconds(BOUND + AFTER_THE_WATCHDOG), "ms");
    report.figure("runs of each", RUNS as f64, "");
    let measured = [
        ("a frozen loop under nobody", &alone, BOUND),
        ("a frozen loop under supervise", &supervised, BOUND),
        ("a stopped process under supervise", &whole, BOUND + AFTER_THE_WATCHDOG),
    ];
    for (what, durations, bound) in measured {
        let limit = bound + BEYOND;
        report.at_most(
            format!("{what} serves again within its bound and a second"),
            milliseconds(median(durations)),
            milliseconds(limit),
        );
    }
    report
}

/// From the freeze to the readiness of another generation.
fn back(supervised: bool, freeze: impl Fn(&Gateway)) -> Vec<Duration> {
    let config = format!("[watchdog]\nfreeze = \"{}ms\"\n[debug]\nhooks = \"on\"", BOUND.as_millis());
    let gateway = Gateway::builder().unrecorded().supervised(supervised).config(&config).start();
    let once = || {
        let before = gateway.generation();
        // The watchdog and whoever hears it are at work by then.
        std::thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        freeze(&gateway);
        gateway.await_generation(before + 1);
        begun.elapsed()
    };
    (0..RUNS).map(|_| once()).collect()
}
