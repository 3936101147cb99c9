//! The server's methods, as far as they are used, and what an answer other than "done" means. It never repeats a call and
//! never waits out a limit; who calls decides that.

use crate::environment::Environment;
use crate::files::Fresh;
use crate::http::{Answer, Base, Call, Client, Error, Fate, Part, Patience, Trust, encode};
use crate::platform::Attachment;
use crate::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// The most that one answer may hold, in bytes: a hundred updates are far smaller.
const ANSWER: usize = 16 << 20;
/// How long a poll may take beyond the time that it asks for.
const GRACE: Duration = Duration::from_secs(15);
/// How long every other call may take.
const SHORT: Duration = Duration::from_secs(30);
/// How long a file may take to the server.
const UPLOAD: Duration = Duration::from_secs(600);
/// The largest file that the server takes from a bot, in bytes.
pub const LARGEST: u64 = 50_000_000;
/// The largest that it takes as a picture.
const PICTURE: u64 = 10_000_000;

/// The kinds of updates that are wanted.
const ALLOWED: [&str; 2] = ["message", "callback_query"];

/// How the server gets on with bringing updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// How many wait.
    pub waiting: u64,
    /// Why one could not be brought last; it stays when later ones could.
    pub last_error: Option<String>,
}

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The token is wrong or was revoked.
    Unauthorized,
    /// Somebody else polls (409).
    Conflict {
        /// The server's words.
        why: String,
    },
    /// Too many requests: come again after this time.
    SlowDown(Duration),
    /// The server will not do it, now or later.
    Refused {
        /// The server's words.
        why: String,
    },
    /// It certainly was not done, and may be tried again.
    NotDone(String),
    /// Nobody knows whether it was done.
    Unknown(String),
    /// It was done, and the answer cannot be read.
    Garbled(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unauthorized => f.write_str("the server does not take the token"),
            Self::SlowDown(length) => write!(f, "the server asks for {} s of quiet", length.as_secs()),
            Self::Conflict { why }
            | Self::Refused { why }
            | Self::NotDone(why)
            | Self::Unknown(why)
            | Self::Garbled(why) => f.write_str(why),
        }
    }
}

/// The server, as a bot sees it.
#[derive(Clone)]
pub struct Api {
    client: Client,
    /// Where files are; on the same server.
    files: Client,
}

#[derive(Deserialize)]
struct Reply {
    ok: bool,
    #[serde(default)]
    result: Value,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The chat.
    pub chat: i64,
    /// The topic.
    pub thread: Option<i64>,
    /// The message that it answers.
    pub reply_to: Option<i64>,
}

impl Address {
    fn parameters(&self) -> Value {
        let mut parameters = json!({"chat_id": self.chat});
        if let Some(thread) = self.thread {
            parameters["message_thread_id"] = thread.into();
        }
        if let Some(message) = self.reply_to {
            // An answer is worth more than its place.
            parameters["reply_parameters"] = json!({"message_id": message, "allow_sending_without_reply": true});
        }
        parameters
    }

    /// The same as parts of a form, where what is no text is JSON.
    fn parts(&self) -> Vec<Part> {
        let parameters = self.parameters();
        let fields = parameters.as_object().into_iter().flatten();
        fields.map(|(name, value)| Part::value(name, value.to_string())).collect()
    }
}

/// Whether chats show it as a picture: the server takes these up to 10 MB.
fn is_picture(media_type: &str, size: u64) -> bool {
    matches!(media_type, "image/jpeg" | "image/png" | "image/webp") && size <= PICTURE
}

impl Api {
    /// The server at `base`, for the bot with this token.
    pub fn new(environment: Arc<dyn Environment>, base: &Base, token: &Secret) -> Self {
        let at = |path: String| Client::new(Arc::clone(&environment), base.join(&path), Trust::system()).hiding(token);
        Self { client: at(format!("bot{}", token.reveal())), files: at(format!("file/bot{}", token.reveal())) }
    }

    /// The bot's own name, without the `@`.
    pub async fn me(&self) -> Result<String, Trouble> {
        let me = self.call("getMe", &json!({}), SHORT).await?;
        me["username"].as_str().map(str::to_owned).ok_or_else(|| Trouble::Garbled("the bot has no name".into()))
    }

    /// Waits up to `timeout` for updates from `offset` on, which confirms everything below it.
    pub async fn updates(&self, offset: Option<i64>, timeout: Duration) -> Result<Vec<Value>, Trouble> {
        let mut parameters = json!({
            "timeout": timeout.as_secs(), "allowed_updates": ALLOWED,
        });
        if let Some(offset) = offset {
            parameters["offset"] = offset.into();
        }
        match self.call("getUpdates", &parameters, timeout + GRACE).await? {
            Value::Array(updates) => Ok(updates),
            other => Err(Trouble::Garbled(format!("getUpdates: answered with {}", kind(&other)))),
        }
    }

    /// Says something; gives the message's id.
    pub async fn send(&self, to: Address, text: &str) -> Result<i64, Trouble> {
        self.send_with(to, text, &[]).await
    }

    /// The same, with buttons below it, each with the text that a press of it says.
    pub async fn send_with(&self, to: Address, text: &str, buttons: &[(&str, String)]) -> Result<i64, Trouble> {
        let mut parameters = to.parameters();
        parameters["text"] = text.into();
        if !buttons.is_empty() {
            let row: Vec<_> =
                buttons.iter().map(|(shown, says)| json!({"text": shown, "callback_data": says})).collect();
            parameters["reply_markup"] = json!({"inline_keyboard": [row]});
        }
        let message = self.call("sendMessage", &parameters, SHORT).await?;
        message["message_id"].as_i64().ok_or_else(|| Trouble::Garbled("the message has no id".into()))
    }

    /// Changes what was said. What reads so already is no trouble.
    pub async fn edit(&self, chat: i64, message: i64, text: &str) -> Result<(), Trouble> {
        let parameters = json!({"chat_id": chat, "message_id": message, "text": text});
        match self.call("editMessageText", &parameters, SHORT).await {
            Err(Trouble::Refused { why }) if why.contains("message is not modified") => Ok(()),
            done => done.map(drop),
        }
    }

    /// Takes the buttons below a message away, if they are still there.
    pub async fn take_buttons(&self, chat: i64, message: i64) {
        let parameters = json!({"chat_id": chat, "message_id": message});
        if let Err(trouble) = self.call("editMessageReplyMarkup", &parameters, SHORT).await {
            tracing::debug!(platform = super::NAME, %trouble, "buttons that lead nowhere any more stay");
        }
    }

    /// Takes a message away, if it is still there.
    pub async fn delete(&self, chat: i64, message: i64) {
        if let Err(trouble) = self.call("deleteMessage", &json!({"chat_id": chat, "message_id": message}), SHORT).await
        {
            tracing::debug!(platform = super::NAME, %trouble, "a message that is not needed any more stays");
        }
    }

    /// Shows for five seconds that something is being written.
    pub async fn typing(&self, to: Address) -> Result<(), Trouble> {
        let mut parameters = Address { reply_to: None, ..to }.parameters();
        parameters["action"] = "typing".into();
        self.call("sendChatAction", &parameters, SHORT).await.map(drop)
    }

    /// Ends the waiting of a button that was pressed.
    pub async fn pressed(&self, callback: &str) -> Result<(), Trouble> {
        self.call("answerCallbackQuery", &json!({"callback_query_id": callback}), SHORT).await.map(drop)
    }

    /// Tells the server which commands to offer.
    pub async fn set_commands(&self, commands: &[(&str, &str)]) -> Result<(), Trouble> {
        let commands: Vec<_> =
            commands.iter().map(|(name, does)| json!({"command": name, "description": does})).collect();
        self.call("setMyCommands", &json!({"commands": commands}), SHORT).await.map(drop)
    }

    /// From now on updates are polled for. What waits is kept.
    pub async fn delete_webhook(&self) -> Result<(), Trouble> {
        self.call("deleteWebhook", &json!({"drop_pending_updates": false}), SHORT).await.map(drop)
    }

    /// From now on the server brings updates there, one at a time, and shows the secret with each. What waits is brought, too.
    pub async fn set_webhook(&self, url: &str, secret: &Secret) -> Result<(), Trouble> {
        let parameters = json!({
            "url": url, "secret_token": secret.reveal(), "max_connections": 1, "allowed_updates": ALLOWED,
        });
        self.call("setWebhook", &parameters, SHORT).await.map(drop)
    }

    /// How the server gets on with bringing updates.
    pub async fn webhook(&self) -> Result<Webhook, Trouble> {
        let seen = self.call("getWebhookInfo", &json!({}), SHORT).await?;
        Ok(Webhook {
            url: seen["url"].as_str().unwrap_or_default().to_owned(),
            waiting: seen["pending_update_count"].as_u64().unwrap_or(0),
            last_error: seen["last_error_message"].as_str().map(excerpt),
        })
    }

    /// Says something with a file of so many bytes; gives the message's id. What the server does not take as a picture it may
    /// take as a document.
    pub async fn send_file(&self, to: Address, file: &Attachment, size: u64, caption: &str) -> Result<i64, Trouble> {
        if is_picture(&file.media_type, size) {
            match self.upload("sendPhoto", "photo", to, file, size, caption).await {
                Err(Trouble::Refused { why }) if why.contains("PHOTO") || why.contains("IMAGE") => {
                    tracing::debug!(platform = super::NAME, why, "a picture is sent as a document");
                }
                other => return other,
            }
        }
        self.upload("sendDocument", "document", to, file, size, caption).await
    }

    async fn upload(
        &self,
        method: &'static str,
        field: &str,
        to: Address,
        file: &Attachment,
        size: u64,
        caption: &str,
    ) -> Result<i64, Trouble> {
        let mut parts = to.parts();
        if !caption.is_empty() {
            parts.push(Part::value("caption", caption.to_owned()));
        }
        let name = file.name.as_deref().unwrap_or("file");
        parts.push(Part::on_disk(field, name, &file.media_type, &file.path, size));
        let call = Call::post(method, &format!("/{method}")).form(parts).patience(patience(UPLOAD));
        let message = self.done(method, call).await?;
        message["message_id"].as_i64().ok_or_else(|| Trouble::Garbled("the message has no id".into()))
    }

    /// Writes a file's bytes into `fresh`, which limits them.
    pub async fn file(&self, id: &str, fresh: &mut Fresh) -> Result<(), Trouble> {
        let file = self.call("getFile", &json!({"file_id": id}), SHORT).await?;
        let path = file["file_path"].as_str().ok_or_else(|| Trouble::Garbled("the file has no path".into()))?;
        let path: Vec<_> = path.split('/').map(encode).collect();
        let call = Call::get("file", &format!("/{}", path.join("/"))).patience(patience(SHORT * 4));
        let answer = self.files.send(call).await.map_err(|error| trouble(&error))?;
        let mut body = answer.successful().await.map_err(|error| trouble(&error))?.body;
        while let Some(bytes) = body.next().await.map_err(|error| trouble(&error))? {
            fresh.write(&bytes).map_err(|error| match error.kind() {
                ErrorKind::FileTooLarge => Trouble::Refused { why: "it is larger than its server said".into() },
                _ => Trouble::Refused { why: format!("it cannot be written: {error}") },
            })?;
        }
        Ok(())
    }

    async fn call(&self, method: &'static str, parameters: &Value, limit: Duration) -> Result<Value, Trouble> {
        let call = Call::post(method, &format!("/{method}")).json(parameters).patience(patience(limit));
        self.done(method, call).await
    }

    async fn done(&self, method: &'static str, call: Call) -> Result<Value, Trouble> {
        let answer = self.client.send(call).await.map_err(|error| trouble(&error))?;
        judged(method, answer).await
    }
}

/// What an answer says. The server says in its body what it means, whatever the status.
async fn judged(method: &str, answer: Answer) -> Result<Value, Trouble> {
    let status = answer.status;
    let hidden = |body: &str| format!("{method}: answered {status}: {}", excerpt(body));
    let body = match answer.body.read(ANSWER).await {
        Ok(body) => body,
        // The server has done what it says 200 to.
        Err(error) if status == 200 => return Err(Trouble::Garbled(error.to_string())),
        Err(error) => return Err(by_status(status, error.to_string())),
    };
    match serde_json::from_slice::<Reply>(&body) {
        Ok(Reply { ok: true, result, .. }) => Ok(result),
        Ok(reply) => Err(refused(method, status, reply)),
        Err(error) if status == 200 => Err(Trouble::Garbled(format!("{method}: answered with no JSON: {error}"))),
        Err(_) => Err(not_the_servers(status, hidden(&String::from_utf8_lossy(&body)))),
    }
}

fn refused(method: &str, status: u16, reply: Reply) -> Trouble {
    let code = reply.error_code.unwrap_or(status);
    let why = format!("{method}: {}", excerpt(reply.description.as_deref().unwrap_or("refused without a reason")));
    match code {
        429 => {
            let seconds = reply.parameters.and_then(|parameters| parameters.retry_after).unwrap_or(1);
            Trouble::SlowDown(Duration::from_secs(seconds.clamp(1, 24 * 3600)))
        }
        409 => Trouble::Conflict { why },
        code => by_status(code, why),
    }
}

/// What a status alone says. 404 is what the server answers to a text that is no token. A gateway between us and the server
/// answers 5xx to what may have been done.
fn by_status(status: u16, why: String) -> Trouble {
    match status {
        401 | 404 => Trouble::Unauthorized,
        500.. => Trouble::Unknown(why),
        _ => Trouble::Refused { why },
    }
}

/// What an answer without JSON says: it is not the server's, but of something before it, which may be mended. What is too large for
/// that stays so.
fn not_the_servers(status: u16, why: String) -> Trouble {
    match status {
        429 => Trouble::SlowDown(Duration::from_secs(1)),
        413 => Trouble::Refused { why },
        400..=499 => Trouble::NotDone(why),
        _ => by_status(status, why),
    }
}

fn trouble(error: &Error) -> Trouble {
    match error.fate() {
        Fate::Unsent => Trouble::NotDone(error.to_string()),
        Fate::Unknown => Trouble::Unknown(error.to_string()),
        Fate::Answered => match error.status() {
            Some(200..300) | None => Trouble::Garbled(error.to_string()),
            Some(429) => Trouble::SlowDown(Duration::from_secs(1)),
            // A file, which the server has no more.
            Some(404) => Trouble::Refused { why: error.to_string() },
            Some(status) => by_status(status, error.to_string()),
        },
    }
}

fn patience(limit: Duration) -> Patience {
    Patience { answer: limit, whole: Some(limit + GRACE), ..Patience::default() }
}

fn excerpt(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(200).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Object(_) => "an object",
        _ => "something else",
    }
}
