//! The contract that every platform's adapter has to hold to, on each platform there is: case by case, with what does not
//! apply said aloud.

mod line;
mod local;
mod matrix;
mod telegram;
