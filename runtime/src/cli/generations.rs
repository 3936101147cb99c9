//! `evergate generations`: prints the lives of the gateway, newest first, with their causes and ends. It keeps and changes
//! nothing.

use super::answers::{Generation, Generations};
use super::client::Client;
use super::table::{instant, one_line, table};
use super::{CommandError, print, print_json};

/// The arguments of `evergate generations`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Print the gateway's answer as JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    let answer = client.get("/v1/generations").await?;
    if arguments.json {
        return print_json(&answer.body);
    }
    print(&screen(&answer.read("GET /v1/generations")?))
}

fn screen(list: &Generations) -> String {
    let rows: Vec<Vec<String>> = list.generations.iter().map(row).collect();
    table(&["GENERATION", "PID", "BEGUN", "READY AFTER", "ENDED", "VERDICT", "CAUSE"], &rows)
}

fn row(generation: &Generation) -> Vec<String> {
    let text = |field: &Option<String>| field.as_deref().map_or_else(|| "-".to_owned(), one_line);
    let ready_after = match (generation.begun_at_ms, generation.ready_at_ms) {
        (Some(begun), Some(ready)) => format!("{} ms", ready.saturating_sub(begun)),
        _ => "-".to_owned(),
    };
    vec![
        generation.generation.to_string(),
        generation.pid.to_string(),
        instant(generation.begun_at_ms),
        ready_after,
        instant(generation.ended_at_ms),
        text(&generation.verdict),
        text(&generation.cause),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_generation_has_no_end_yet() {
        let list = Generations {
            generations: vec![Generation {
                generation: 2,
                pid: 41,
                begun_at_ms: Some(1_700_000_000_000),
                ready_at_ms: Some(1_700_000_000_031),
                cause: Some("restart request 12 from session main".to_owned()),
                ..Generation::default()
            }],
        };
        let expected = "GENERATION  PID  BEGUN                 READY AFTER  ENDED  VERDICT  CAUSE\n\
                        2           41   2023-11-14T22:13:20Z  31 ms        -      -        restart request 12 from session main\n";
        assert_eq!(screen(&list), expected);
    }
}
