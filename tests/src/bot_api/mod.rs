//! A Bot API server of our own, for adapters under test: a process of its own that keeps the rules of the real one which
//! matter for losing and doubling messages, and breaks the network on demand. An offset confirms everything below it, and
//! what is not confirmed is given again; one poll at a time; sends have no key that would make them safe to repeat.
//!
//! [`server`] is the process, [`operator`] the side of a test that starts it, speaks as the people in its chats, orders
//! faults and reads what the bot did. It ends when its life is over, or when whoever started it is gone.

pub mod answer;
pub mod chats;
pub mod command_line;
pub mod control;
pub mod faults;
pub mod methods;
pub mod operator;
pub mod params;
pub mod polling;
pub mod push;
pub mod server;
pub mod silence;
pub mod updates;
pub mod world;
