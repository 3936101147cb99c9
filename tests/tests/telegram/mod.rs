//! Telegram from outside: the real binary, and a Bot API server in a process of its own.

use evergate_tests::bot_api::operator::{BotApi, Said, TOKEN};
use evergate_tests::gateway::{Builder, Gateway};

mod answers;
mod files;
mod questions;
mod restarts;
mod tour;
mod troubles;
mod webhook;

/// Who may talk to the agent in these tests, and restart the gateway.
const OPERATOR: i64 = 11;
/// Who may talk to the agent.
pub(crate) const GUESTS: [i64; 2] = [12, 13];

pub(crate) fn bot_api() -> BotApi {
    BotApi::start(env!("CARGO_BIN_EXE_bot-api"))
}

/// A gateway with a bot at this server, and more lines of configuration.
pub(crate) fn gateway(server: &BotApi, config: &str) -> Builder {
    gateway_with_token(server, TOKEN, config)
}

fn gateway_with_token(server: &BotApi, token: &str, config: &str) -> Builder {
    let builder = Gateway::builder();
    let file = builder.room().join("telegram-token");
    std::fs::write(&file, format!("{token}\n")).expect("the room is writable");
    builder.config(&format!(
        "[telegram]\ntoken_file = {file:?}\napi_base = {:?}\nallowed_users = {GUESTS:?}\noperators = [{OPERATOR}]\n{config}",
        server.api_base()
    ))
}

/// The agent answers at once, word by word.
const QUICK: &str = "[agent.demo]\nwords_per_second = 0";

/// The texts of what was said.
fn texts(said: &[Said]) -> Vec<&str> {
    said.iter().map(|said| said.text.as_str()).collect()
}

/// The state of the platform, and why.
fn health(gateway: &Gateway) -> (String, String) {
    let status = gateway.try_status().unwrap_or_default();
    let platform = &status["platforms"][0];
    let text = |key: &str| platform[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("why"))
}

/// Waits until the platform is in this state, for a reason that holds these words.
fn await_health(gateway: &Gateway, state: &str, words: &str) {
    let what = format!("telegram to be {state} ({words})");
    gateway.wait_for(&what, evergate_tests::PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (found, why) = health(gateway);
        (found == state && why.contains(words)).then_some(())
    });
}
