//! What the program prints. A reader who has seen enough (`| head`) does not end it: its traces are still written, and its
//! exit status still says what was found.

use std::fmt;
use std::io::{self, Write};

/// A line on standard output, as `println` takes it.
macro_rules! say {
    ($($what:tt)*) => { $crate::say::line(::std::format_args!($($what)*)) };
}

/// A line on standard output, whether or not somebody still reads it.
pub fn line(what: fmt::Arguments<'_>) {
    match writeln!(io::stdout().lock(), "{what}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("evergate-sim: a line could not be written: {error}");
        }
        _ => {}
    }
}
