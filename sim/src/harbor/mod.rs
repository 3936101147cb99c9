//! The harbor: the real runtime (driver, journal on redb, HTTP server, control door) on a simulated machine that is killed,
//! cut from its power and its network, and runs out of disk, with clients, operators and a supervisor around it. It owns the
//! simulated world and the judge on the clients' side; nothing in the gateway knows of it.

mod agents;
mod audit;
mod client;
mod command;
mod dice;
mod disk;
mod door;
mod environment;
mod gateway;
mod http;
mod logbook;
mod oracle;
mod plan;
mod run;
mod telegram;
#[cfg(test)]
mod tests;
mod world;

pub use command::{Arguments, again, command, traced};
pub use logbook::{Mark, Pages};
pub use plan::Plan;
pub use run::run;
