//! The server's command line: `[--listen ADDR] [--control ADDR] [--token TOKEN] [--life-seconds N] [--follow-stdin]`.

use super::{operator, server};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Serves as these arguments say, until the server's life is over.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    match start(arguments).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bot-api: {why}");
            ExitCode::FAILURE
        }
    }
}

fn serve(start: server::Start) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let served = runtime.block_on(server::serve(start)).map_err(|error| error.to_string());
    // A thread may still be reading standard input; nobody waits for it.
    runtime.shutdown_background();
    served
}

fn start(mut arguments: impl Iterator<Item = String>) -> Result<server::Start, String> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut start = server::Start {
        api: anywhere,
        control: anywhere,
        token: operator::TOKEN.to_owned(),
        life: Duration::from_secs(600),
        follows_stdin: false,
    };
    while let Some(flag) = arguments.next() {
        if flag == "--follow-stdin" {
            start.follows_stdin = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let wrong = |why: &dyn std::fmt::Display| format!("{flag} {value}: {why}");
        match flag.as_str() {
            "--listen" => start.api = value.parse().map_err(|error| wrong(&error))?,
            "--control" => start.control = value.parse().map_err(|error| wrong(&error))?,
            "--token" => start.token.clone_from(&value),
            "--life-seconds" => start.life = Duration::from_secs(value.parse().map_err(|error| wrong(&error))?),
            _ => return Err(format!("there is no {flag}")),
        }
    }
    Ok(start)
}
