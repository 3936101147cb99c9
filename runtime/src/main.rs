//! The `evergate` binary: reads the command line and calls the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    evergate::program::main()
}
