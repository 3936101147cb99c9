//! The proof that Evergate's life cycle cannot go wrong in the ways that real gateways did. Everything here drives the
//! production core, or the production runtime, in a world of its own; nothing in it is part of the gateway.

#![forbid(unsafe_code)]

#[macro_use]
mod say;

pub mod conform;
pub mod explore;
pub mod harbor;
pub mod naive;
pub mod page;
mod panics;
pub mod program;
pub mod replay;
pub mod story;
pub mod subject;
pub mod swarm;
pub mod telling;
pub mod told;
pub mod trace;
pub mod world;
