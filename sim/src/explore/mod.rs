//! The explorer: every state that a world within its bounds can come to, checked.

pub mod encode;
pub mod graph;
pub mod liveness;
pub mod scope;
