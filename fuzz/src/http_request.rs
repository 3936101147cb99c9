//! Whatever a client writes on a connection to the chat page's port. What comes back is HTTP, no internal error, and the
//! gateway serves on, unless it was asked with the right token to end; then it ends as it said. The word `TOKEN` stands for
//! the token, which no client could guess.

use crate::gateway::{CONTRACT, TOKEN, beside_a_gateway};
use evergate::local::Door;
use std::time::Duration;

/// Longer than any body that is read.
const LONGEST: usize = 200 * 1024;

/// Sends the bytes over one connection.
pub fn http_request(data: &[u8]) {
    if data.is_empty() || data.len() > LONGEST {
        return;
    }
    beside_a_gateway(Door::Network, async |gateway| {
        let answer = gateway.send(&with_token(data)).await;
        if !answer.is_empty() {
            let status = status(&answer);
            // 100: it goes on to wait for a body. 505 is hyper's word for a version of HTTP that it does not speak.
            let sane = [100, 200, 202, 503, 505].contains(&status) || (400..500).contains(&status);
            assert!(sane, "{status} to {:?}", String::from_utf8_lossy(data));
        }
        match gateway.ended_within(Duration::from_secs(1)).await {
            Some(verdict) => assert!([CONTRACT.restart, CONTRACT.stop].contains(&verdict)),
            None => {
                let phase = gateway.handle.status().await["phase"].clone();
                if phase == "serving" {
                    let alive = gateway.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
                    assert_eq!(status(&alive), 200, "it says that it serves, and does not answer");
                }
            }
        }
    });
}

fn with_token(data: &[u8]) -> Vec<u8> {
    let (word, mut bytes, mut rest) = (b"TOKEN", Vec::new(), data);
    while let Some(at) = rest.windows(word.len()).position(|window| window == word) {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(TOKEN.as_bytes());
        rest = &rest[at + word.len()..];
    }
    bytes.extend_from_slice(rest);
    bytes
}

/// The status of the first answer.
pub fn status(answer: &[u8]) -> u16 {
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    assert!(words.next().is_some_and(|version| version.starts_with("HTTP/1.")), "this is not HTTP: {line}");
    words.next().and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {line}"))
}
