//! Watching a server from outside while one process follows another: a fresh connection each millisecond, as the most
//! impatient client would, until it says yes.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use evergate_tests::http::{self, Answer};

/// The request that is asked again and again.
const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
/// The time from one question to the next, unless an answer takes longer.
const PERIOD: Duration = Duration::from_millis(1);
/// A server that does not answer for so long will not.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time from the last answer of the process that answers now to the first 200 of another one, while `change` makes
/// the one follow the other. `who` reads from an answer which process gave it.
pub fn gap(address: SocketAddr, who: impl Fn(&Answer) -> String + Sync, change: impl FnOnce() + Send) -> Duration {
    let old = who(&http::raw(address, REQUEST).expect("the server to be replaced answers"));
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut last_of_old = Instant::now();
            poll(address, |answer| {
                let at = Instant::now();
                if who(answer) == old {
                    last_of_old = at;
                    return None;
                }
                (answer.status == 200).then(|| at - last_of_old)
            })
        });
        // Enough for some answers of the old one first.
        thread::sleep(Duration::from_millis(20));
        change();
        watching.join().expect("the watching thread only panics when the server never comes back")
    })
}

/// Waits until the server answers with 200.
pub fn await_ready(address: SocketAddr) {
    poll(address, |answer| (answer.status == 200).then_some(()));
}

/// Asks each millisecond until `enough` makes something of an answer.
fn poll<T>(address: SocketAddr, mut enough: impl FnMut(&Answer) -> Option<T>) -> T {
    let begun = Instant::now();
    let mut next = begun;
    loop {
        if let Some(found) = http::raw(address, REQUEST).ok().as_ref().and_then(&mut enough) {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "the server at {address} is not ready after {PATIENCE:?}");
        next = (next + PERIOD).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
