//! The binary: it only calls the library, and says how memory is had.

#![forbid(unsafe_code)]

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// States are cloned and dropped by the million, which is what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// After how many milliseconds it gives freed memory back; -1: never, since the next room takes it, and to have pages cleared
/// by the system again and again costs a fifth of the time.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

fn main() -> ExitCode {
    keep_memory();
    evergate_sim::program::main()
}

/// The allocator reads that from its environment before anything of ours runs, so the program replaces itself once. Whoever
/// sets the variable keeps what was set; where it cannot be replaced it goes on as it is, and is slower.
fn keep_memory() {
    if env::var_os(PURGE_DELAY).is_none()
        && let Ok(program) = env::current_exe()
    {
        let _why = Command::new(program).args(env::args_os().skip(1)).env(PURGE_DELAY, "-1").exec();
    }
}
