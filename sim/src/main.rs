//! The binary: it only calls the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// States are cloned and dropped by the million, which is what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    evergate_sim::program::main()
}
