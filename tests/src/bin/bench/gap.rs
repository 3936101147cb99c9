//! How long nobody answers while one generation follows another, under `evergate supervise`, in place and in the unit for
//! systemd that `evergate install` writes: 1,000 sessions known, 100 messages pending, a graceful restart. The yardstick is
//! a server that does nothing and replaces itself by a bare `exec` on a socket that never closes; of restarts by systemd the
//! same server behind a socket unit of the same systemd.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use evergate_tests::gateway::{Gateway, free_address};
use evergate_tests::http::{Answer, Client};
use evergate_tests::service::Service;
use evergate_tests::systemd::{Skipped, Systemd};
use evergate_tests::{PATIENCE, eventually};

use crate::bare_server::{BareServer, BareService};
use crate::report::{Report, median};
use crate::{ready, seed};

/// Sessions that have said something.
const SESSIONS: usize = 1000;
/// Sessions with two messages pending: one in a turn, one queued behind it.
const BUSY: u64 = 50;
/// How often each is measured.
const RUNS: usize = 11;
/// The goal: so many times the yardstick.
const FACTOR: f64 = 3.0;
const CONFIG: &str = "[drain]\nbudget = \"100ms\"\n[agent.demo]\nwords_per_second = 0";

/// What a gap is held against.
struct Yardstick {
    name: &'static str,
    gap: Duration,
}

/// Measures it.
pub fn measure() -> Report {
    let mut report = Report::new("gap");
    let exec = exec_gaps();
    report.durations(["yardstick exec", "yardstick exec at least", "yardstick exec at most"], &exec);
    let exec = Yardstick { name: "the exec of an empty server", gap: median(&exec) };
    let names = ["gap", "gap at least", "gap at most", "ratio to exec"];
    judge(&mut report, names, &gateway_gaps(true), &exec);
    let names = ["gap in place", "gap in place at least", "gap in place at most", "ratio to exec (in place)"];
    judge(&mut report, names, &gateway_gaps(false), &exec);
    if let Err(why) = under_systemd(&mut report, &exec) {
        report.skipped(format!("the gaps under systemd: {why}"));
    }
    report.figure("runs of each", RUNS as f64, "");
    report
}

fn judge(
    report: &mut Report,
    [name, least, most, ratio]: [&'static str; 4],
    gaps: &[Duration],
    Yardstick { name: yardstick, gap }: &Yardstick,
) {
    report.durations([name, least, most], gaps);
    let times = median(gaps).as_secs_f64() / gap.as_secs_f64();
    report.figure(ratio, times, "times");
    report.at_most(format!("the {name} is within {FACTOR} times {yardstick}"), times, FACTOR);
}

fn gateway_gaps(supervised: bool) -> Vec<Duration> {
    // A copy of the program, as an installed one is: what a linker has written lies in memory in smaller pieces, and starts later.
    let builder = Gateway::builder().unrecorded().own_program();
    let gateway = builder.supervised(supervised).config(CONFIG).start();
    let crowd = Crowd::of(gateway.address(), gateway.token());
    crowd.gaps(|| {
        gateway.ask("restart", &json!({}));
    })
}

/// A restart that is asked for, which is in place; and those by systemd, which ends one process and starts another: the socket
/// is in its store, or it holds it in a unit of its own as it does for the empty server.
fn under_systemd(report: &mut Report, exec: &Yardstick) -> Result<(), Skipped> {
    let service = Service::measured(CONFIG)?;
    let empty = systemctl_gaps(&service.systemd);
    report.durations(["yardstick systemctl", "yardstick systemctl at least", "yardstick systemctl at most"], &empty);
    let empty = Yardstick { name: "systemctl restart of an empty server behind a socket unit", gap: median(&empty) };
    let crowd = Crowd::of(service.address, service.token());
    let asked = crowd.gaps(|| {
        let answer = crowd.client.post("/v1/restart", &json!({"mode": "graceful"})).expect("it serves");
        assert_eq!(answer.status, 202, "{answer:?}");
    });
    let names =
        ["gap under systemd, asked for", "asked for at least", "asked for at most", "ratio to exec (asked for)"];
    judge(report, names, &asked, exec);
    let restarted = crowd.gaps(|| service.control("restart"));
    let names = [
        "gap under systemd, systemctl restart",
        "systemctl restart at least",
        "systemctl restart at most",
        "ratio to systemctl (systemctl restart)",
    ];
    judge(report, names, &restarted, &empty);
    drop(service);
    let service = Service::measured_behind_a_socket(CONFIG)?;
    let activated = Crowd::of(service.address, service.token()).gaps(|| service.control("restart"));
    let names = [
        "gap under systemd, behind a socket unit",
        "behind a socket unit at least",
        "behind a socket unit at most",
        "ratio to systemctl (behind a socket unit)",
    ];
    judge(report, names, &activated, &empty);
    Ok(())
}

fn exec_gaps() -> Vec<Duration> {
    let server = BareServer::start();
    bare_gaps(server.address(), || server.replace())
}

fn systemctl_gaps(systemd: &Systemd) -> Vec<Duration> {
    let address = free_address();
    let server = BareService::start(systemd, address);
    bare_gaps(address, || server.restart())
}

fn bare_gaps(address: SocketAddr, replace: impl Fn() + Sync) -> Vec<Duration> {
    (0..RUNS).map(|_| ready::gap(address, |answer| answer.text.clone(), &replace)).collect()
}

/// Those who have spoken to a gateway, and wait for answers that stay pending over all restarts.
struct Crowd {
    address: SocketAddr,
    client: Client,
}

impl Crowd {
    fn of(address: SocketAddr, token: String) -> Self {
        let crowd = Self { address, client: Client::new(address, Some(token.clone())) };
        let door = (address, token.as_str());
        seed::say_in_each(door, 0..SESSIONS, "hello", "first");
        crowd.wait_for("everything to be answered", |status| status["turns_open"] == 0 && status["queued"] == 0);
        seed::say_in_each(door, 0..BUSY as usize, "take 1h for this answer", "second");
        seed::say_in_each(door, 0..BUSY as usize, "take 1h for this answer too", "third");
        crowd
    }

    /// The gaps of some restarts in a row.
    fn gaps(&self, restart: impl Fn() + Sync) -> Vec<Duration> {
        let generation = |answer: &Answer| answer.json()["generation"].to_string();
        let once = |_| {
            let gap = ready::gap(self.address, generation, &restart);
            // The next one begins when everything that was cut runs again.
            self.wait_for("the turns to be resumed", |status| status["turns_open"] == BUSY);
            gap
        };
        let gaps = (0..RUNS).map(once).collect();
        self.wait_for("everything that was pending before the restarts", |status| {
            status["turns_open"].as_u64().unwrap_or(0) + status["queued"].as_u64().unwrap_or(0) == 2 * BUSY
        });
        gaps
    }

    fn wait_for(&self, what: &str, enough: impl Fn(&Value) -> bool) {
        let status = || Some(self.client.get("/v1/status").ok()?.json()).filter(&enough);
        eventually(PATIENCE, status).unwrap_or_else(|| panic!("still waiting for {what}"));
    }
}
