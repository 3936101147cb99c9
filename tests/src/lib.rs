//! The harness of the end-to-end tests: it starts real gateways, talks to them as real clients do and judges what they
//! did. It knows the gateway only from outside (processes, HTTP, files, exit statuses); of its code it uses the replay of
//! its flight logs and nothing else.
//!
//! A test reads: start a [`gateway::Gateway`], do something to it, collect [`events::Event`]s until something has
//! happened, and let [`oracle`] judge the whole log. Every wait has a bound and polls a condition; the bounds are
//! generous, because they are there to end a hung test and not to measure anything.
#![forbid(unsafe_code)]

pub mod aimock;
pub mod between;
pub mod bot_api;
pub mod chat;
pub mod container;
pub mod contract;
pub mod events;
pub mod flight;
pub mod gateway;
pub mod hooks;
pub mod http;
pub mod line;
pub mod matrix;
pub mod model;
pub mod npm;
pub mod oracle;
pub mod process;
pub mod pypi;
pub mod service;
pub mod systemd;
pub mod visitors;

use std::time::{Duration, Instant};

/// How long a test waits for something that has to happen but whose speed is not what it tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at while it is awaited.
pub const GLANCE: Duration = Duration::from_millis(5);

/// Looks again and again until `look` gives something; `None` when `patience` has passed without it.
pub fn eventually<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(GLANCE);
    }
}

/// Says on the terminal, past the capture of the test runner, that a test could not run here and why.
pub fn skipped(test: &str, why: &str) {
    aside(&format!("SKIPPED {test}: {why}"));
}

/// Says something on the terminal, past the capture of the test runner.
pub fn aside(sentence: &str) {
    use std::io::Write;
    let mut terminal = std::io::stderr().lock();
    let _ = writeln!(terminal, "\n{sentence}\n");
}
