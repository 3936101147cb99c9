//! How long it takes until a gateway that stands still serves again, each beside the bound after which it is taken for stuck:
//! a frozen loop that nobody supervises, the same under `evergate supervise` and under systemd, and a process that is stopped
//! as a whole under the latter two. The unit for systemd is the one that `evergate install` writes.

use std::time::{Duration, Instant};

use evergate_tests::gateway::Gateway;
use evergate_tests::hooks;
use evergate_tests::service::{Service, UNIT};
use evergate_tests::systemd::Skipped;
use nix::sys::signal::Signal;

use crate::report::{Report, median, milliseconds};

/// When a part is taken for stuck.
const BOUND: Duration = Duration::from_secs(2);
/// What `evergate supervise` gives the watchdog inside before it kills a silent child.
const AFTER_THE_WATCHDOG: Duration = Duration::from_secs(5);
/// The same of systemd, in the unit that is installed.
const BEHIND_THE_WATCHDOG: Duration = Duration::from_secs(10);
/// The goal: so much beyond the bound.
const BEYOND: Duration = Duration::from_secs(1);
/// How often each is measured.
const RUNS: usize = 5;
const FOR_EVER: Duration = Duration::from_secs(600);

/// Measures it.
pub fn measure() -> Report {
    let mut report = Report::new("freeze");
    report.figure("bound of the watchdog inside", milliseconds(BOUND), "ms");
    report.figure("bound of supervise", milliseconds(BOUND + AFTER_THE_WATCHDOG), "ms");
    report.figure("bound of systemd", milliseconds(BOUND + BEHIND_THE_WATCHDOG), "ms");
    report.figure("runs of each", RUNS as f64, "");
    let mut judge = |[name, least, most, ratio]: [&'static str; 4], bound: Duration, durations: &[Duration]| {
        report.durations([name, least, most], durations);
        report.figure(ratio, median(durations).as_secs_f64() / bound.as_secs_f64(), "times its bound");
        report.at_most(
            format!("{name} serves again within its bound and a second"),
            milliseconds(median(durations)),
            milliseconds(bound + BEYOND),
        );
    };
    let frozen = |gateway: &Gateway| gateway.freeze("loop", FOR_EVER);
    let stopped = |gateway: &Gateway| gateway.signal(Signal::SIGSTOP);
    let names = ["frozen loop, nobody", "at least (nobody)", "at most (nobody)", "ratio (nobody)"];
    judge(names, BOUND, &back(false, frozen));
    let names = ["frozen loop, supervise", "at least (supervise)", "at most (supervise)", "ratio (supervise)"];
    judge(names, BOUND, &back(true, frozen));
    let names = [
        "stopped process, supervise",
        "at least (stopped, supervise)",
        "at most (stopped, supervise)",
        "ratio (stopped, supervise)",
    ];
    judge(names, BOUND + AFTER_THE_WATCHDOG, &back(true, stopped));
    match under_systemd() {
        Ok([frozen, stopped]) => {
            let names = ["frozen loop, systemd", "at least (systemd)", "at most (systemd)", "ratio (systemd)"];
            judge(names, BOUND, &frozen);
            let names = [
                "stopped process, systemd",
                "at least (stopped, systemd)",
                "at most (stopped, systemd)",
                "ratio (stopped, systemd)",
            ];
            judge(names, BOUND + BEHIND_THE_WATCHDOG, &stopped);
        }
        Err(why) => report.skipped(format!("freezes under systemd: {why}")),
    }
    report
}

fn config() -> String {
    format!("[watchdog]\nfreeze = \"{}ms\"\n[debug]\nhooks = \"on\"", BOUND.as_millis())
}

/// From the freeze to the readiness of another generation.
fn back(supervised: bool, freeze: impl Fn(&Gateway)) -> Vec<Duration> {
    let gateway = Gateway::builder().unrecorded().supervised(supervised).config(&config()).start();
    let next = |before| gateway.await_generation(before + 1);
    (0..RUNS).map(|_| once(gateway.generation(), || freeze(&gateway), next)).collect()
}

/// A frozen loop, and a stopped process.
fn under_systemd() -> Result<[Vec<Duration>; 2], Skipped> {
    let service = Service::measured(&config())?;
    let next = |before| service.await_generation_after(before);
    let frozen = || hooks::freeze(&service.state, "loop", FOR_EVER);
    let stopped = || {
        service.systemd.kill_main(UNIT, "STOP");
    };
    let measured = |freeze: &dyn Fn()| {
        (0..RUNS).map(|_| once(service.serving().expect("it serves"), freeze, next)).collect::<Vec<_>>()
    };
    Ok([measured(&frozen), measured(&stopped)])
}

fn once(before: u64, freeze: impl FnOnce(), next: impl FnOnce(u64) -> u64) -> Duration {
    // The watchdog and whoever hears it are at work by then.
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    freeze();
    next(before);
    begun.elapsed()
}
