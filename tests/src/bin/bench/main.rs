//! `bench gap|freeze|throughput|recovery|memory|chat [--json]`: how fast and how small the release build of `evergate` is, each
//! figure beside a yardstick that was measured in the same run on the same machine. Exit status 1: a goal was missed.
#![forbid(unsafe_code)]

mod bare_server;
mod chat;
mod connection;
mod freeze;
mod gap;
mod history;
mod memory;
mod processor;
mod ready;
mod recovery;
mod report;
mod seed;
mod throughput;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo run --release -p evergate-tests --bin bench -- gap|freeze|throughput|recovery|memory|chat [--json]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != "--json").collect();
    let measure = match words[..] {
        ["gap"] => gap::measure,
        ["freeze"] => freeze::measure,
        ["throughput"] => throughput::measure,
        ["recovery"] => recovery::measure,
        ["memory"] => memory::measure,
        ["chat"] => chat::measure,
        // What the benchmarks start as processes of their own.
        [chat::COMMAND, ref arguments @ ..] => return chat::serve(arguments),
        [chat::CALL, address] => return chat::call(address),
        [bare_server::COMMAND, life] => return bare_server::serve(life),
        [history::BUILD, path] => return history::build(Path::new(path)),
        [history::OPEN_BARE, path] => return history::open_bare(Path::new(path)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    if cfg!(debug_assertions) {
        eprintln!("these figures would be of a debug build. {USAGE}");
        return ExitCode::from(64);
    }
    let report = measure();
    if arguments.len() > words.len() {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    if report.misses() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
