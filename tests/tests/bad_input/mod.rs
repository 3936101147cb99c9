//! Input, files, disks and agents that are not as they should be: the error is clear, nothing accepted is lost, and
//! everybody else is served.

mod agents;
mod disk;
mod http;

use std::time::Instant;

use evergate_tests::PATIENCE;
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::http::Answer;

/// The status that asks never to be started again like this (`EX_CONFIG`).
const PARK: i32 = 78;
/// How much a gateway may grow, in bytes, while somebody floods it.
const GROWTH: u64 = 160 << 20;

fn instant_agent() -> Builder {
    Gateway::builder().config("[agent.demo]\nwords_per_second = 0")
}

/// The gateway still answers a prompt in a session of its own.
fn assert_serves(gateway: &Gateway) {
    let message = gateway.send("bystander", "still there?", &format!("{:?}", Instant::now()));
    gateway.await_reply("bystander", message, PATIENCE);
}

/// The answer has this status and says why.
fn assert_refused(case: &str, answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{case}: {answer:?}");
    answer.error();
}
