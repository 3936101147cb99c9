//! `evergate sessions`: prints the gateway's list of sessions. It keeps and changes nothing.

use super::answers::Sessions;
use super::client::Client;
use super::table::{one_line, table};
use super::{CommandError, print, print_json};

/// The arguments of `evergate sessions`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Print the gateway's answer as JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    let answer = client.get("/v1/sessions").await?;
    if arguments.json {
        return print_json(&answer.body);
    }
    print(&screen(&answer.read("GET /v1/sessions")?))
}

fn screen(list: &Sessions) -> String {
    if list.sessions.is_empty() {
        return "no sessions yet; `evergate chat` begins one\n".to_owned();
    }
    let rows: Vec<Vec<String>> = list
        .sessions
        .iter()
        .map(|session| {
            let last_event = session.last_event.to_string();
            vec![one_line(&session.session), one_line(&session.state), last_event]
        })
        .collect();
    table(&["SESSION", "STATE", "LAST EVENT"], &rows)
}
