//! Messages on their way in: one poll at a time. The offset, which tells the server to forget, moves over an update only when
//! the gateway has it on disk; whatever happens before that, the server gives the update again.

use super::api::{Api, Trouble};
use super::files;
use super::settings::Settings;
use super::update::{self, Heard};
use crate::platform::{Chat, Ended, Health, Inbound, Port, Refused};
use evergate_core::input::Standing;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// The first pause after trouble; doubled up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(500);
/// The first pause after a message was not taken: a gateway that begins serves in a moment.
const BEGINNING: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(10);
/// How long another poller is given to go away. The server answers one poll of two with 409, and a fight helps nobody.
const OTHER_POLLER: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(5)];
/// After trouble one short poll tells at once whether it is over.
const PROBE: Duration = Duration::from_secs(1);
/// Strangers that are remembered as told.
const STRANGERS: usize = 10_000;

/// The state of the one poller.
pub struct Receiver<'a> {
    settings: &'a Settings,
    api: Api,
    port: &'a Port,
    /// The bot's own name.
    bot: String,
    /// The next update that is not known to be on disk.
    offset: Option<i64>,
    pause: Duration,
    told: BTreeSet<i64>,
}

impl<'a> Receiver<'a> {
    /// A poller that has heard nothing yet: the server gives everything again that was not confirmed to it.
    pub fn new(settings: &'a Settings, api: Api, port: &'a Port, bot: String) -> Self {
        Self { settings, api, port, bot, offset: None, pause: PAUSE, told: BTreeSet::new() }
    }

    /// Polls until a person has to mend something.
    pub async fn run(mut self) -> Ended {
        // The first poll comes back at once: then it is known that the server is there.
        let mut timeout = Duration::ZERO;
        loop {
            match self.api.updates(self.offset, timeout).await {
                Ok(updates) => {
                    self.port.progress();
                    self.port.health(Health::Up);
                    (self.pause, timeout) = (PAUSE, self.settings.poll);
                    for update in updates {
                        if !self.take(&update).await {
                            return std::future::pending().await;
                        }
                    }
                }
                Err(Trouble::Unauthorized) => return Ended::Parked { why: super::wrong_token() },
                Err(trouble) => {
                    timeout = PROBE;
                    self.wait_out(trouble).await;
                }
            }
        }
    }

    async fn wait_out(&mut self, trouble: Trouble) {
        let (why, pause) = match &trouble {
            Trouble::Conflict { why } if why.contains("webhook") => {
                tracing::warn!(platform = "telegram", why, "the webhook is taken away, since this gateway polls");
                let taken = self.api.delete_webhook().await;
                (
                    format!(
                        "a webhook is set for this bot ({})",
                        taken.map_or_else(|e| e.to_string(), |()| "taken away now".into())
                    ),
                    PAUSE,
                )
            }
            Trouble::Conflict { .. } => {
                let why = "somebody else polls for this bot: a poll that the server has not given up yet, or another gateway with the same token";
                (why.to_owned(), self.pause.clamp(OTHER_POLLER[0], OTHER_POLLER[1]))
            }
            Trouble::SlowDown(length) => (trouble.to_string(), *length),
            other => (other.to_string(), self.pause),
        };
        self.pause = (self.pause * 2).min(LONGEST);
        super::wait(self.port, why, pause).await;
    }

    /// Takes in one update; `false` when this generation takes nothing more.
    pub async fn take(&mut self, update: &Value) -> bool {
        let Some(number) = update::number(update) else {
            tracing::warn!(platform = "telegram", "an update without a number is passed over");
            return true;
        };
        match update::heard(update) {
            Ok(Some(heard)) => {
                if !self.hear(heard).await {
                    return false;
                }
            }
            Ok(None) => tracing::debug!(platform = "telegram", number, "an update of another kind is passed over"),
            Err(error) => {
                tracing::warn!(platform = "telegram", number, %error, "an update that cannot be read is passed over")
            }
        }
        self.offset = Some(number + 1);
        true
    }

    async fn hear(&mut self, heard: Heard) -> bool {
        let settings = self.settings;
        let standing = if settings.operators.contains(&heard.sender) {
            Standing::Operator
        } else if settings.allowed.contains(&heard.sender) {
            Standing::Guest
        } else {
            self.turn_away(&heard).await;
            return true;
        };
        let Some(text) = update::addressed(&heard.text, &self.bot) else { return true };
        let (chat, callback) = (heard.chat, heard.callback.clone());
        let fetched = files::fetch(&self.api, self.port.state_dir(), settings, &heard).await;
        let text =
            [text].into_iter().chain(fetched.notes).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n");
        let inbound = Inbound {
            chat: Chat {
                platform: super::NAME.to_owned(),
                chat: chat.to_string(),
                thread: heard.thread.map(|thread| thread.to_string()),
            },
            native: heard.native,
            text,
            from: heard.name,
            standing,
            attachments: fetched.files,
        };
        if !self.accept(chat, inbound).await {
            return false;
        }
        if let Some(callback) = callback
            && let Err(trouble) = self.api.pressed(&callback).await
        {
            tracing::debug!(platform = "telegram", %trouble, "a pressed button goes on to blink for a while");
        }
        true
    }

    /// Hands a message in until it is on disk; `false` when this generation takes nothing more.
    async fn accept(&mut self, chat: i64, inbound: Inbound) -> bool {
        let mut pause = BEGINNING;
        loop {
            let refused = match self.port.accept(inbound.clone()).await {
                Ok(_) => {
                    if pause > PAUSE {
                        self.port.health(Health::Up);
                    }
                    return true;
                }
                Err(refused) => refused,
            };
            match refused {
                Refused::Over => return false,
                Refused::Later => {
                    if pause < PAUSE {
                        // A gateway that is about to serve: not worth a word.
                        let environment = self.port.environment();
                        environment.sleep_until(environment.now() + pause).await;
                    } else {
                        super::wait(self.port, "the gateway takes no messages at the moment".into(), pause).await;
                    }
                    pause = (pause * 2).min(LONGEST);
                }
                Refused::ChatFull => {
                    self.tell(
                        chat,
                        "Too much waits here already, so this message was not taken. Please say it again later.",
                    )
                    .await;
                    return true;
                }
                Refused::TooLong => {
                    self.tell(chat, "This message is too long and was not taken.").await;
                    return true;
                }
            }
        }
    }

    /// A stranger gets nothing, or one polite line. The operator reads in the log whom to allow.
    async fn turn_away(&mut self, heard: &Heard) {
        if self.told.len() >= STRANGERS {
            self.told.clear();
        }
        if !self.told.insert(heard.sender) {
            return;
        }
        tracing::info!(
            platform = "telegram",
            user = heard.sender,
            name = heard.name,
            chat = heard.chat,
            "a message of a stranger is passed over; to let them in, write their id under telegram.allowed_users or telegram.operators"
        );
        if let Some(reply) = &self.settings.stranger_reply {
            self.tell(heard.chat, reply).await;
        }
    }

    /// Says something that nobody keeps: best effort.
    async fn tell(&self, chat: i64, text: &str) {
        let to = super::api::Address { chat, thread: None, reply_to: None };
        if let Err(trouble) = self.api.send(to, text).await {
            tracing::debug!(platform = "telegram", chat, %trouble, "a word could not be said");
        }
    }
}
