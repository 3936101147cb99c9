//! An HTTP client over [`Environment`](crate::environment::Environment): for platforms and agents, natively and in a simulation, whose time and sockets
//! it then uses. It speaks HTTP/1.1, with TLS or without.
//!
//! It owns the connection, the time-outs and the errors. It never decides to say a call twice that may have arrived, follows no
//! redirect, and shows no path: what a call is called in messages is what the caller named it, since paths may hold secrets.
//!
//! No task runs behind anybody's back: whoever waits for an answer or a body drives the connection meanwhile, and dropping the
//! future gives the connection up.

mod base;
mod body;
mod call;
mod client;
mod error;
mod form;
mod link;
#[cfg(test)]
mod tests;
mod tls;
mod upload;

pub use base::{Base, NoBase};
pub use body::{Answer, Body};
pub use call::{Call, Patience, encode};
pub use client::Client;
pub use error::{Error, Fate, Place, Refusal, Stage};
pub use form::Part;
pub use tls::Trust;
