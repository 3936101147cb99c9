//! What outsiders can hand in, at random: one plain function for each kind of input. Each takes any bytes and panics only if
//! a rule is broken, so that the same body serves `cargo fuzz run NAME` and the test that replays the committed corpus.

#![forbid(unsafe_code)]

mod bytes;
mod chat_command;
mod configuration;
mod control_message;
mod core_inputs;
mod gateway;
mod http_request;
mod journal_bytes;
mod life;
mod memory;
mod records;

pub use chat_command::chat_command;
pub use configuration::configuration;
pub use control_message::control_message;
pub use core_inputs::core_inputs;
pub use http_request::http_request;
pub use journal_bytes::journal_bytes;
pub use records::records;

/// A target: its name, which is also the folder of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("core_inputs", core_inputs),
    ("records", records),
    ("journal_bytes", journal_bytes),
    ("http_request", http_request),
    ("control_message", control_message),
    ("configuration", configuration),
    ("chat_command", chat_command),
];
