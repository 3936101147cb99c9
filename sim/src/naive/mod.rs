//! A gateway of the kind that the public reports describe, to check the checker with: a small machine of its own making
//! that keeps all rules, and a switch for each known flaw. With a switch on the explorer must find a broken rule; with
//! all of them off it must find none. It shares the languages of the production core (inputs, effects, records, what
//! is recovered) and none of its decisions.

mod ending;
pub mod flaw;
pub mod gateway;
pub mod hunt;
mod journal;
mod outbox;
mod question;
pub mod room;
mod turn;
