//! `evergate generations`: prints the lives of the gateway, newest first, with their causes and ends; `show` prints one in
//! full. A running gateway is asked; without one the journal's file is read. It keeps and changes nothing.

use super::answers::{Generation, Generations, Life};
use super::call_error::CallError;
use super::client::{Answer, Client};
use super::offline::{Offline, unusable};
use super::table::{instant, one_line, table};
use super::{CommandError, Global, exit, life, print, print_json};
use crate::lives::{self, Asked, Now};
use evergate_core::id::GenerationId;
use serde_json::Value;

/// The arguments of `evergate generations`.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Print the gateway's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Show one: who asked for its end and why, its stages, what became of each turn, the gap that users saw
    Show {
        /// Its number; the last that has ended when not given
        generation: Option<String>,
        /// Print the gateway's answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Lists the generations or shows one.
pub async fn run(global: &Global, client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    match &arguments.command {
        None => {
            let answer = match client.get("/v1/generations").await {
                Err(CallError::NobodyRuns { .. }) => answer(
                    lives::list(&Offline::open(global)?.journal, Now::Nobody(client.state_dir())).map_err(unusable)?,
                ),
                answer => answer?,
            };
            if arguments.json {
                return print_json(&answer.body);
            }
            print(&screen(&answer.read("GET /v1/generations")?))
        }
        Some(Command::Show { generation, json }) => {
            let answer = told(global, client, asked(generation.as_deref())?).await?;
            if *json {
                return print_json(&answer.body);
            }
            print(&life::screen(&answer.read::<Life>("GET /v1/generations/{generation}")?))
        }
    }
}

fn asked(generation: Option<&str>) -> Result<Asked, CommandError> {
    let Some(text) = generation else { return Ok(Asked::Last) };
    let number = text.parse().map(|number| Asked::This(GenerationId(number)));
    let sentence = || format!("`{}` is no number of a generation; `evergate generations` lists them", one_line(text));
    number.map_err(|_| CommandError::ended(exit::USAGE, sentence()))
}

async fn told(global: &Global, client: &Client, asked: Asked) -> Result<Answer, CommandError> {
    let name = match asked {
        Asked::Last => "last".to_owned(),
        Asked::This(generation) => generation.0.to_string(),
    };
    match client.get(&format!("/v1/generations/{name}")).await {
        Err(CallError::NobodyRuns { .. }) => {
            let offline = Offline::open(global)?;
            let life = lives::tell(&offline.journal, asked, Now::Nobody(client.state_dir())).await.map_err(unusable)?;
            life.map(answer).ok_or_else(|| missing(asked))
        }
        Err(CallError::Refused { status: 404, .. }) => Err(missing(asked)),
        answer => Ok(answer?),
    }
}

/// There is no such generation.
fn missing(asked: Asked) -> CommandError {
    CommandError::ended(exit::BAD_DATA, asked.missing())
}

/// What a gateway would have answered.
const fn answer(body: Value) -> Answer {
    Answer { status: 200, body }
}

fn screen(list: &Generations) -> String {
    let rows: Vec<Vec<String>> = list.generations.iter().map(row).collect();
    let mut text = table(&["GENERATION", "PID", "BEGUN", "READY AFTER", "ENDED", "VERDICT", "CAUSE"], &rows);
    for Generation { generation, rolled_back, .. } in &list.generations {
        if let Some(why) = rolled_back {
            text.push_str(&format!("generation {generation} was rolled back: {}\n", one_line(why)));
        }
    }
    text
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
        ended(generation.ended_at_ms, generation.ended_before_ms),
        text(&generation.verdict),
        text(&generation.cause),
    ]
}

/// When one ended: by its own account or somebody else's, or only that it was over by then.
pub fn ended(at_ms: Option<u64>, before_ms: Option<u64>) -> String {
    match (at_ms, before_ms) {
        (None, Some(before)) => format!("before {}", instant(Some(before))),
        (at, _) => instant(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_that_nobody_saw_was_before_it_was_found() {
        let death = Some(1_700_000_000_000);
        assert_eq!(ended(death, None), "2023-11-14T22:13:20Z");
        assert_eq!(ended(None, death), "before 2023-11-14T22:13:20Z");
        assert_eq!(ended(None, None), "-");
    }

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
