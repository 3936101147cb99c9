//! `evergate reload`: has the running gateway read its configuration again, and says what that has changed and what waits
//! for a restart. It reads no configuration itself.

use serde_json::{Value, json};

use super::answers::Reloaded;
use super::client::Client;
use super::{CommandError, print, print_json};

/// The arguments of `evergate reload`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Print the gateway's answer as JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    let answer = client.post("/v1/reload", &json!({})).await?;
    if arguments.json {
        return print_json(&answer.read::<Value>("POST /v1/reload")?);
    }
    print(&told(&answer.read("POST /v1/reload")?))
}

fn told(Reloaded { changed, needs_restart }: &Reloaded) -> String {
    let mut text = match changed.is_empty() {
        true => "reloaded: nothing has changed\n".to_owned(),
        false => format!("reloaded: {} changed\n", changed.join(", ")),
    };
    if !needs_restart.is_empty() {
        let them = needs_restart.join(", ");
        text.push_str(&format!("not in effect before `evergate restart`: {them}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_and_what_waits_are_both_named() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let nothing = Reloaded::default();
        assert_eq!(told(&nothing), "reloaded: nothing has changed\n");
        let both = Reloaded { changed: list(&["drain.budget"]), needs_restart: list(&["local.listen", "log.format"]) };
        assert_eq!(
            told(&both),
            "reloaded: drain.budget changed\nnot in effect before `evergate restart`: local.listen, log.format\n"
        );
    }
}
