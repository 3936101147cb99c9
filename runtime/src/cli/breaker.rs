//! `evergate breaker`: shows the loop breaker of the running gateway, and vouches for it when it is tripped.

use serde_json::{Value, json};

use super::answers::{Breaker, BreakerReset, Status};
use super::client::Client;
use super::{CommandError, environment, exit, place, print, print_json};

/// The arguments of `evergate breaker`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What to do; by default it is only looked at
    #[command(subcommand)]
    what: Option<What>,
    /// Print the gateway's answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum What {
    /// Clear it: what it holds goes on
    Reset,
}

impl Breaker {
    /// Whether it holds what was inherited.
    pub fn is_tripped(&self) -> bool {
        self.state == "tripped"
    }

    /// How it stands, for people.
    pub fn sentence(&self) -> String {
        if !self.is_tripped() {
            return "closed".to_owned();
        }
        format!(
            "tripped after {} deaths in a row, holds {}; clear it with `evergate breaker reset`",
            self.deaths,
            super::table::count(self.held, "turn")
        )
    }
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    match arguments.what {
        None => look(client, arguments.json).await,
        Some(What::Reset) => reset(client, arguments.json).await,
    }
}

async fn look(client: &Client, json: bool) -> Result<(), CommandError> {
    let answer = client.get("/v1/status").await?;
    let shown = answer.body["breaker"].clone();
    let breaker = answer.read::<Status>("GET /v1/status")?.breaker;
    if json {
        print_json(&shown)?;
    }
    match (breaker.is_tripped(), json) {
        (true, _) => Err(CommandError::ended(exit::REFUSED, format!("the loop breaker is {}", breaker.sentence()))),
        (false, true) => Ok(()),
        (false, false) => print("the loop breaker is closed\n"),
    }
}

async fn reset(client: &Client, json: bool) -> Result<(), CommandError> {
    let turn = place::own_turn(client.socket(), environment);
    let answer = client.post("/v1/breaker/reset", &json!({"turn": turn})).await?;
    if json {
        return print_json(&answer.read::<Value>("POST /v1/breaker/reset")?);
    }
    print(&told(&answer.read("POST /v1/breaker/reset")?))
}

fn told(BreakerReset { reset, generation }: &BreakerReset) -> String {
    match reset {
        true => format!("reset: generation {generation} goes on with what was held\n"),
        false => format!("the loop breaker of generation {generation} is not tripped: there is nothing to reset\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_and_a_breaker_that_needs_none_are_told_apart() {
        let told = |reset| told(&BreakerReset { reset, generation: 3 });
        assert_eq!(told(true), "reset: generation 3 goes on with what was held\n");
        assert_eq!(told(false), "the loop breaker of generation 3 is not tripped: there is nothing to reset\n");
    }

    #[test]
    fn a_tripped_breaker_says_what_it_holds_and_how_to_clear_it() {
        let breaker = Breaker { state: "tripped".to_owned(), deaths: 10, held: 1 };
        assert_eq!(
            breaker.sentence(),
            "tripped after 10 deaths in a row, holds 1 turn; clear it with `evergate breaker reset`"
        );
        assert_eq!(Breaker { state: "closed".to_owned(), ..breaker }.sentence(), "closed");
    }
}
