//! How long nobody answers while one generation follows another, under `evergate supervise`, in place and in the unit for
//! systemd that `evergate install` writes: 1,000 sessions known, 100 messages pending, a graceful restart. The yardstick is
//! the kill and start of a server that does nothing.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use evergate_tests::gateway::Gateway;
use evergate_tests::http::{Answer, Client};
use evergate_tests::service::Service;
use evergate_tests::systemd::Skipped;
use evergate_tests::{PATIENCE, eventually};

use crate::bare_server::BareServer;
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

/// Measures it.
pub fn measure() -> Report {
    let bare = bare_gaps();
    let mut report = Report::new("gap");
    report.durations(["yardstick bare server", "yardstick at least", "yardstick at most"], &bare);
    let yardstick = median(&bare).as_secs_f64();
    let mut judge = |[name, least, most, ratio]: [&'static str; 4], gaps: &[Duration]| {
        let times = median(gaps).as_secs_f64() / yardstick;
        report.durations([name, least, most], gaps);
        report.figure(ratio, times, "times");
        report.at_most(format!("the {name} is within {FACTOR} times the yardstick"), times, FACTOR);
    };
    judge(["gap", "gap at least", "gap at most", "ratio"], &gateway_gaps(true));
    let names = ["gap in place", "gap in place at least", "gap in place at most", "ratio in place"];
    judge(names, &gateway_gaps(false));
    match systemd_gaps() {
        Ok([asked, by_systemd]) => {
            let names = [
                "gap under systemd, asked for",
                "at least (systemd, asked for)",
                "at most (systemd, asked for)",
                "ratio (systemd, asked for)",
            ];
            judge(names, &asked);
            let names = [
                "gap under systemd, systemctl restart",
                "at least (systemctl restart)",
                "at most (systemctl restart)",
                "ratio (systemctl restart)",
            ];
            judge(names, &by_systemd);
        }
        Err(why) => report.skipped(format!("the gaps under systemd: {why}")),
    }
    report.figure("runs of each", RUNS as f64, "");
    report
}

fn gateway_gaps(supervised: bool) -> Vec<Duration> {
    let gateway = Gateway::builder().unrecorded().supervised(supervised).config(CONFIG).start();
    let crowd = Crowd::of(gateway.address(), gateway.token());
    crowd.gaps(|| {
        gateway.ask("restart", &json!({}));
    })
}

/// A restart that is asked for, which is in place; and one by systemd, which ends one process and starts another.
fn systemd_gaps() -> Result<[Vec<Duration>; 2], Skipped> {
    let service = Service::measured(CONFIG)?;
    let crowd = Crowd::of(service.address, service.token());
    let asked = crowd.gaps(|| {
        let answer = crowd.client.post("/v1/restart", &json!({"mode": "graceful"})).expect("it serves");
        assert_eq!(answer.status, 202, "{answer:?}");
    });
    let by_systemd = crowd.gaps(|| service.control("restart"));
    Ok([asked, by_systemd])
}

fn bare_gaps() -> Vec<Duration> {
    let mut server = BareServer::start();
    let address = server.address();
    (0..RUNS).map(|_| ready::gap(address, |answer| answer.text.clone(), || server.replace())).collect()
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
