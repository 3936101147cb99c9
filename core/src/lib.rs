//! The life cycle of a chat-agent gateway, as a pure value.
//!
//! A [`Gateway`](gateway::Gateway) is one generation: one life of the process between claiming the journal and giving it up.
//! It does no I/O, reads no clock, draws no random number and knows no thread. A driver tells it what happened and does
//! what it says:
//!
//! 1. `Gateway::boot` with what the journal has left unfinished.
//! 2. `poll` until it gives `None`, doing each [`Effect`](effect::Effect) in order. Records appended between two inputs
//!    stand or fall together: they go into one commit, which may hold those of several inputs.
//! 3. Wait for the first thing to happen: an event, a commit, or the time that `poll_timeout` named.
//! 4. `handle` it as an [`Input`](input::Input), with the time; go to 2. After [`Effect::End`](effect::Effect::End), stop.
//!
//! ```text
//!              platforms open,                     requests                awaited work done       no turn left
//!              beginning on disk                                           or budget over          or killed
//!  (boot) ─▶ Starting ─────────────▶ Serving ─────────────▶ Draining ────────────────▶ Interrupting ──────▶ Closing ─▶ Ended(verdict)
//!                                       ▲                      │                                     flushed, end on disk
//!                                       └──────────────────────┘ all requests taken back
//! ```
//!
//! Three rules carry the rest. *Write ahead*: an effect that somebody can see waits for the records it rests on
//! ([`write_ahead`]). *One recovery path*: an orderly end only shortens what the next [`boot`](recovery) would do after a
//! crash. *One ledger*: a drain waits for what [`work`] lists, as long as it says, and never for its own requester.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod budget;
pub mod busy;
pub mod candidate;
pub mod cut;
pub mod drain;
pub mod effect;
pub mod fault;
pub mod gateway;
pub mod generation;
pub mod id;
pub mod input;
pub mod invariant;
pub mod ladder;
pub mod life;
pub mod limits;
pub mod outbox;
pub mod question;
pub mod record;
pub mod recovery;
pub mod request;
pub mod respawn;
pub mod rollback;
pub mod session;
pub mod shared;
pub mod starts;
pub mod supervisor;
pub mod time;
pub mod turn;
pub mod unit;
pub mod unordered;
pub mod verdict;
pub mod watchdog;
pub mod witness;
pub mod work;
pub mod write_ahead;
