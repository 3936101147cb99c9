//! Telegram in the harbor: a Bot API server on a host of its own with the real one's rules (only what is below an offset is
//! forgotten, the older of two polls is told 409), people who write to the bot, and a judge who compares what stands in
//! their chats with what the gateway owed them. The gateway runs its own adapter and knows nothing of it.

mod books;
mod judge;
mod people;
mod plan;
mod server;

pub use books::Books;
pub use people::{insist, people};
pub use plan::Telegram;
#[cfg(test)]
pub use plan::Troubles;
pub use server::host;

use evergate::platform::telegram::{Settings, Telegram as Adapter};
use evergate::secret::Secret;
use std::time::Duration;

/// The host that the server runs on.
pub const HOST: &str = "telegram";
/// Its port.
const PORT: u16 = 8081;
/// The bot's token.
const TOKEN: &str = "77:the-bot-of-the-harbor";

/// The id of a person, and of their chat with the bot.
const fn chat_id(number: usize) -> i64 {
    101 + number as i64
}

/// The gateway's adapter, as a configuration would make it.
pub fn adapter(plan: &Telegram) -> Adapter {
    let settings = || {
        Ok(Settings {
            token: Secret::new(TOKEN).ok_or("the token is empty")?,
            api_base: format!("http://{HOST}:{PORT}").parse().map_err(|why| format!("the server's address {why}"))?,
            allowed: std::collections::BTreeSet::new(),
            operators: (0..plan.chats.len()).map(chat_id).collect(),
            stranger_reply: None,
            poll: Duration::from_secs(plan.poll_s),
            file_limit: 0,
            webhook: None,
        })
    };
    let settings: Result<Settings, String> = settings();
    Adapter::new(settings)
}
