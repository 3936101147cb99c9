//! Telegram, over its Bot API. What comes in is polled for, one poll at a time, and the offset moves only over what is on
//! disk ([`receive`]); or the server brings it, and is answered when it is on disk ([`webhook`]). What goes out is sent blind: the server knows no key that would make a send safe to repeat, so the
//! gateway writes the attempt down first, and what may have arrived is marked when it is said again ([`send`]). A running
//! answer is shown by changing one message ([`show`]); the reply is the last change of the same message, also over restarts,
//! since the message's id is kept.
//!
//! The folder's other files are values without a network: [`split`], [`parts`], [`pace`], [`update`].

mod api;
mod files;
mod pace;
mod parts;
mod questions;
mod receive;
mod send;
mod settings;
mod show;
mod split;
mod update;
mod webhook;

pub use settings::Settings;
pub use webhook::Hook;

use super::{Capabilities, Edits, Ended, Health, Outbound, Platform, Port, Replay, Threads};
use crate::watched::Watched;
use api::{Api, Trouble};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// The platform's name.
pub const NAME: &str = "telegram";

/// The commands that the server offers to people.
const COMMANDS: [(&str, &str); 8] = [
    ("new", "begin a new conversation"),
    ("stop", "interrupt the answer that is running here"),
    ("status", "how the gateway is doing"),
    ("busy", "what happens to what you say while an answer runs"),
    ("allow", "let the agent do what it asks for"),
    ("deny", "do not let it"),
    ("restart", "restart the gateway"),
    ("help", "what there is to say"),
];

/// The adapter.
pub struct Telegram {
    settings: Result<Settings, String>,
}

impl Telegram {
    /// An adapter that has spoken to nobody yet; or, with what is wrong with the settings, one that says so and parks.
    #[must_use]
    pub fn new(settings: Result<Settings, String>) -> Self {
        Self { settings }
    }

    async fn serve(&self, port: Port) -> Ended {
        let settings = match &self.settings {
            Ok(settings) => settings,
            Err(why) => return Ended::Parked { why: why.clone() },
        };
        let api = Api::new(port.environment().clone(), &settings.api_base, &settings.token);
        let bot = tokio::select! {
            biased;
            () = port.closing() => return Ended::Closed,
            bot = introduce(settings, &api, &port) => bot,
        };
        let bot = match bot {
            Ok(bot) => bot,
            Err(ended) => return ended,
        };
        let ending = Watched::new(false);
        let (_, over) = ending.watch();
        let receiver = receive::Receiver::new(settings, api.clone(), &port, bot).await;
        let mut receiving = std::pin::pin!(async {
            match &settings.webhook {
                Some(hook) => webhook::run(receiver, hook, settings.bot(), &api, &port).await,
                None => {
                    webhook::forget(&api, &port).await;
                    receiver.run().await
                }
            }
        });
        let mut sending = std::pin::pin!(send::Sender::new(api.clone(), settings.bot(), port.clone(), over).run());
        let ended = tokio::select! {
            biased;
            () = port.closing() => Ended::Closed,
            ended = receiving.as_mut() => ended,
            () = sending.as_mut() => return Ended::Closed,
        };
        // What waits for its time is given back untouched; what is on its way gets a moment to arrive.
        ending.set(true);
        sending.await;
        ended
    }
}

impl Platform for Telegram {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            outbound: Outbound::Blind,
            replay: match &self.settings {
                Ok(Settings { webhook: Some(_), .. }) => Replay::Sender,
                _ => Replay::Cursor,
            },
            edits: Edits::Yes,
            threads: Threads::Yes,
            text_limit: Some(split::LONGEST),
            pace: Some(pace::IN_A_CHAT.within),
        }
    }

    fn run(&self, port: Port) -> Pin<Box<dyn Future<Output = Ended> + Send + '_>> {
        Box::pin(self.serve(port))
    }
}

/// What a person has to mend when the token is not taken. The token itself is never shown.
fn wrong_token() -> String {
    "the server does not take the bot's token: it is wrong, or was revoked. Get the right one from @BotFather, put it where telegram.token_file or telegram.token_env says, and restart".to_owned()
}

/// Waits visibly.
async fn wait(port: &Port, why: String, length: Duration) {
    let until = port.environment().now() + length;
    port.health(Health::Waiting { why, until });
    port.environment().sleep_until(until).await;
}

/// The bot's own name. It is kept, so that a start need not ask.
async fn introduce(settings: &Settings, api: &Api, port: &Port) -> Result<String, Ended> {
    let key = format!("bot.{}", settings.bot());
    if let Ok(Some(bot)) = port.kept(&key).await {
        return Ok(bot);
    }
    let mut pause = Duration::from_millis(500);
    loop {
        match api.me().await {
            Ok(bot) => {
                if let Err(why) = port.keep([(key, Some(bot.clone()))]).await {
                    tracing::debug!(platform = NAME, why, "the bot's name is asked for again next time");
                }
                return Ok(bot);
            }
            Err(Trouble::Unauthorized) => return Err(Ended::Parked { why: wrong_token() }),
            Err(Trouble::SlowDown(length)) => wait(port, "the server asks for quiet".into(), length).await,
            Err(trouble) => {
                wait(port, trouble.to_string(), pause).await;
                pause = (pause * 2).min(Duration::from_secs(30));
            }
        }
    }
}
