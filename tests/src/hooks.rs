//! Has parts of a gateway stand still, through its control socket, where its configuration lets people try that out.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::PATIENCE;

/// Has this part ("loop", "journal", "control" or a platform's name) of the gateway on `state_dir` stand still; needs `[debug] hooks = "on"`.
///
/// # Panics
/// When the gateway does not say that it will.
pub fn freeze(state_dir: &Path, part: &str, length: Duration) {
    ask(state_dir, &serde_json::json!({"part": part, "ms": u64::try_from(length.as_millis()).expect("short")}));
}

/// Has the loop break, as by a mistake in the program.
///
/// # Panics
/// When the gateway does not say that it will.
pub fn break_loop(state_dir: &Path) {
    ask(state_dir, &serde_json::json!({"part": "loop", "break": true}));
}

/// Has the loop turn and turn without getting anywhere.
///
/// # Panics
/// When the gateway does not say that it will.
pub fn spin_loop(state_dir: &Path) {
    ask(state_dir, &serde_json::json!({"part": "loop", "spin": true}));
}

fn ask(state_dir: &Path, body: &serde_json::Value) {
    let body = body.to_string();
    let head =
        "POST /v1/debug/freeze HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close";
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut control = UnixStream::connect(state_dir.join("control.sock")).expect("the control socket is there");
    control.set_read_timeout(Some(PATIENCE)).expect("a time-out that is not zero");
    control.write_all(request.as_bytes()).expect("it takes the request");
    let mut status = [0; 12];
    control.read_exact(&mut status).expect("it answers");
    assert_eq!(&status, b"HTTP/1.1 202", "{}", String::from_utf8_lossy(&status));
}
