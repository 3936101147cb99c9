//! The binary: it only calls the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    evergate_sim::program::main()
}
