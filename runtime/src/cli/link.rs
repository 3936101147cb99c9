//! `evergate link`: asks the gateway for a one-time link to its page and prints it. It never sees the token.

use serde_json::json;

use super::answers::Link;
use super::client::Client;
use super::{CommandError, print};

/// The arguments of `evergate link`: none.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {}

pub async fn run(client: &Client, _arguments: &Arguments) -> Result<(), CommandError> {
    let link: Link = client.post("/v1/link", &json!({})).await?.read("POST /v1/link")?;
    print(&format!("{}\n", link.link))
}
