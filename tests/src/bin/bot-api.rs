//! `bot-api [--listen ADDR] [--control ADDR] [--token TOKEN] [--life-seconds N] [--follow-stdin]`: the Bot API server of
//! the tests as a process. It prints its two addresses as one line of JSON and ends by itself.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    evergate_tests::bot_api::command_line::run(std::env::args().skip(1))
}
