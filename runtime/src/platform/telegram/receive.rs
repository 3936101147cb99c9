//! Messages on their way in: one poll at a time. The offset, which tells the server to forget, moves over an update only when
//! the gateway has it on disk; whatever happens before that, the server gives the update again.

use super::api::{Address, Api, Trouble};
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
/// How often the author of a message that was not taken is told so, as long as nobody knows whether that has arrived.
const TOLD: u32 = 8;
/// How many of them are kept; a server that brings its updates forgets the older ones by itself.
const REFUSALS: usize = 200;
/// Strangers that are remembered as told.
const STRANGERS: usize = 10_000;

/// Under which key the updates of this bot are kept that were not taken.
fn not_taken(settings: &Settings) -> String {
    format!("refused.{}", settings.bot())
}

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
    /// Updates whose authors are told that they were not taken, on disk before they are told: until the server has forgotten
    /// them it gives them again, and by then there may be room.
    refused: BTreeSet<i64>,
}

impl<'a> Receiver<'a> {
    /// A poller that has heard nothing yet: the server gives everything again that was not confirmed to it.
    pub async fn new(settings: &'a Settings, api: Api, port: &'a Port, bot: String) -> Self {
        let refused = port.kept(&not_taken(settings)).await.unwrap_or_else(|error| {
            tracing::warn!(platform = "telegram", %error, "which messages were not taken cannot be read; they may be taken yet");
            None
        });
        let refused = refused.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Self { settings, api, port, bot, offset: None, pause: PAUSE, told: BTreeSet::new(), refused }
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
                    self.forget_refused().await;
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
                if !self.hear(number, heard).await {
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

    async fn hear(&mut self, number: i64, mut heard: Heard) -> bool {
        let settings = self.settings;
        // Each bot counts for itself: what another one has said under this number is something else.
        heard.native = format!("{}:{}", settings.bot(), heard.native);
        let to = Address { chat: heard.chat, thread: heard.thread, reply_to: None };
        let standing = if settings.operators.contains(&heard.sender) {
            Standing::Operator
        } else if settings.allowed.contains(&heard.sender) {
            Standing::Guest
        } else {
            self.turn_away(&heard, to).await;
            return true;
        };
        let Some(text) = update::addressed(&heard.text, &self.bot) else { return true };
        if self.refused.contains(&number) {
            self.tell_full(to).await;
            return true;
        }
        let callback = heard.callback.clone();
        let fetched = files::fetch(&self.api, self.port, settings, &heard).await;
        let text =
            [text].into_iter().chain(fetched.notes).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n");
        let inbound = Inbound {
            chat: Chat {
                platform: super::NAME.to_owned(),
                chat: heard.chat.to_string(),
                thread: heard.thread.map(|thread| thread.to_string()),
            },
            native: heard.native,
            text,
            from: heard.name,
            standing,
            attachments: fetched.files,
        };
        if !self.accept(number, to, inbound).await {
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
    async fn accept(&mut self, number: i64, to: Address, inbound: Inbound) -> bool {
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
                Refused::ChatFull if self.refuse(number).await => {
                    self.tell_full(to).await;
                    return true;
                }
                Refused::Later | Refused::ChatFull => {
                    if pause < PAUSE {
                        // A gateway that is about to serve: not worth a word.
                        let environment = self.port.environment();
                        environment.sleep_until(environment.now() + pause).await;
                    } else {
                        super::wait(self.port, "the gateway takes no messages at the moment".into(), pause).await;
                    }
                    pause = (pause * 2).min(LONGEST);
                }
                Refused::TooLong => {
                    self.tell(to, "This message is too long and was not taken.").await;
                    return true;
                }
            }
        }
    }

    /// Writes down that an update is not taken; `false` if that is not on disk.
    async fn refuse(&mut self, number: i64) -> bool {
        if self.refused.len() >= REFUSALS {
            self.refused.pop_first();
        }
        self.refused.insert(number);
        let kept = self.keep_refused().await;
        if !kept {
            self.refused.remove(&number);
        }
        kept
    }

    /// The server has forgotten what is below the offset.
    async fn forget_refused(&mut self) {
        let before = self.refused.len();
        self.refused.retain(|number| self.offset.is_none_or(|offset| *number >= offset));
        if self.refused.len() < before && !self.keep_refused().await {
            tracing::debug!(platform = "telegram", "a row that nobody needs any more stays");
        }
    }

    async fn keep_refused(&self) -> bool {
        let text = (!self.refused.is_empty()).then(|| serde_json::json!(self.refused).to_string());
        self.port.keep([(not_taken(self.settings), text)]).await.is_ok()
    }

    /// Says that a message was not taken, until that has surely arrived; a word twice is better than none.
    async fn tell_full(&self, to: Address) {
        const WORDS: &str = "Too much waits here already, so this message was not taken. Please say it again later.";
        let mut pause = PAUSE;
        for _ in 0..TOLD {
            let length = match self.api.send(to, WORDS).await {
                Ok(_) | Err(Trouble::Garbled(_)) => return,
                Err(Trouble::NotDone(_) | Trouble::Unknown(_)) => pause,
                Err(Trouble::SlowDown(length)) => length.min(LONGEST),
                Err(Trouble::Refused { .. } | Trouble::Unauthorized | Trouble::Conflict { .. }) => break,
            };
            super::wait(self.port, "somebody has to be told that a message was not taken".into(), length).await;
            pause = (pause * 2).min(LONGEST);
        }
        tracing::warn!(platform = "telegram", chat = to.chat, "that a message was not taken could not be said");
    }

    /// A stranger gets nothing, or one polite line. The operator reads in the log whom to allow.
    async fn turn_away(&mut self, heard: &Heard, to: Address) {
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
            self.tell(to, reply).await;
        }
    }

    /// Says something that nobody keeps: best effort.
    async fn tell(&self, to: Address, text: &str) {
        if let Err(trouble) = self.api.send(to, text).await {
            tracing::debug!(platform = "telegram", chat = to.chat, %trouble, "a word could not be said");
        }
    }
}
