//! The agents: a host of their own, on which each run of a turn is a process with a fate from the seed. They outlive the gateway
//! that started them, as children do that nobody ends, and the gateway knows of them only what comes over its connections.

mod fate;
mod host;
mod link;
mod roster;
mod wire;

pub use fate::{latency_ms, on_the_way};
pub use host::host;
pub use link::Link;
pub use roster::Roster;

/// The host that they live on.
pub const HOST: &str = "agents";
/// Its port.
const PORT: u16 = 8082;
