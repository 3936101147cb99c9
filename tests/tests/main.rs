//! The end-to-end tests, a module a subject, in one program: most of them wait for processes, sockets and bounds, and what waits
//! can wait together. `cargo test -p evergate-tests --test live telegram::` runs one subject.

mod acp;
mod aimock;
mod bad_input;
mod breaker;
mod busy;
mod contract;
mod corpus;
mod deaths;
mod doctor;
mod exit;
mod files;
mod flight;
mod forensics;
mod freeze;
mod gap;
mod hung;
mod install;
mod kill;
mod ladder;
mod limits;
mod matrix;
mod model;
mod requests;
mod restart;
mod rollback;
mod start;
mod stop;
mod systemd;
mod telegram;
mod told;
mod upgrade;
