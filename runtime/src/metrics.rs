//! What is counted for `/metrics`: plain counters that the driver and the server raise, printed in Prometheus's text
//! format. Nothing is decided by them.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:literal,)*) => {
        /// The counters and gauges of this generation.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])* pub $name: AtomicU64,)*
        }

        impl Metrics {
            /// All of them in Prometheus's text format.
            #[must_use]
            pub fn text(&self) -> String {
                let mut text = String::new();
                $(
                    let name = concat!("evergate_", stringify!($name));
                    let help = concat!($($doc),*);
                    writeln!(text, "# HELP {name}{help}\n# TYPE {name} {}\n{name} {}", $kind, self.$name.load(Relaxed))
                        .expect("a String takes any text");
                )*
                text
            }
        }
    };
}

counters! {
    /// The number of this generation.
    generation: "gauge",
    /// The phase: 0 starting, 1 serving, 2 draining, 3 interrupting, 4 closing, 5 ended.
    phase: "gauge",
    /// Messages that were stored and acked.
    messages_accepted_total: "counter",
    /// Messages that came again and were acked again.
    messages_repeated_total: "counter",
    /// Messages that were refused.
    messages_refused_total: "counter",
    /// Turns that were started, resumed ones included.
    turns_started_total: "counter",
    /// Turns that were started again after a restart or a crash.
    turns_resumed_total: "counter",
    /// Turns that ended with a reply.
    turns_answered_total: "counter",
    /// Turns whose agent failed.
    turns_failed_total: "counter",
    /// Turns in flight.
    turns_in_flight: "gauge",
    /// Messages that wait for a turn.
    messages_queued: "gauge",
    /// Deliveries that are owed.
    deliveries_owed: "gauge",
    /// Sessions in quarantine.
    sessions_quarantined: "gauge",
    /// Whether the loop breaker is tripped: 1, nothing inherited goes on by itself; 0, all is as usual.
    breaker_tripped: "gauge",
    /// Commits of the journal.
    journal_commits_total: "counter",
    /// Records in those commits.
    journal_records_total: "counter",
    /// Commits that failed.
    journal_failures_total: "counter",
    /// Calls that were turned away because the gateway was busy.
    busy_total: "counter",
    /// Open connections.
    connections: "gauge",
}

impl Metrics {
    /// Raises a counter by one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Sets a gauge.
    pub fn set(gauge: &AtomicU64, value: usize) {
        gauge.store(value as u64, Relaxed);
    }
}
