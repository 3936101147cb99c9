//! The test's hand on the server: starts the process, speaks as the people in its chats, orders faults, and reads what
//! the bot said. The process ends with this value, or by itself when the test dies.

use crate::http::Client;
use crate::{PATIENCE, eventually};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The token that the server takes.
pub const TOKEN: &str = "4242:a-token-that-only-this-test-knows";

/// A running Bot API server.
pub struct BotApi {
    process: Child,
    api: String,
    control: Client,
}

/// What the bot said in one message, as it reads now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its id.
    pub message_id: i64,
    /// Its text.
    pub text: String,
    /// Its topic.
    pub thread: Option<i64>,
    /// The message that it answers.
    pub reply_to: Option<i64>,
    /// When it was first said, in milliseconds since 1970.
    pub at_ms: u64,
    /// When and how it was changed.
    pub edits: Vec<(u64, String)>,
    /// The name of the file that it carries.
    pub file: Option<String>,
    /// What the buttons below it show.
    pub buttons: Vec<String>,
    /// How that was sent (`photo`, `document`), its size, and how it begins.
    pub content: (String, u64, String),
}

impl BotApi {
    /// Starts the server; `program` is the path of the binary `bot-api`, which cargo names to integration tests.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(program: impl Into<PathBuf>) -> Self {
        Self::start_as(Command::new(program.into()))
    }

    /// Starts the server for the bot with this token.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_for(program: impl Into<PathBuf>, token: &str) -> Self {
        Self::run(Command::new(program.into()), token)
    }

    /// Starts the server by this command, which is given the server's arguments.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_as(command: Command) -> Self {
        Self::run(command, TOKEN)
    }

    fn run(mut command: Command, token: &str) -> Self {
        let mut process = command
            .args(["--token", token, "--life-seconds", "300", "--follow-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was just built");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let addresses: Value = serde_json::from_str(&line).expect("it says so in JSON");
        let api = addresses["api"].as_str().expect("it has an address").to_owned();
        let control = addresses["control"].as_str().expect("it has another").parse().expect("it is one");
        Self { process, api, control: Client::new(control, None) }
    }

    /// What to configure as `api_base`.
    pub fn api_base(&self) -> String {
        format!("http://{}", self.api)
    }

    /// Where the bot's side of it is.
    ///
    /// # Panics
    /// Never: it said so itself.
    pub fn address(&self) -> std::net::SocketAddr {
        self.api.parse().expect("it said an address")
    }

    /// Gives an order.
    ///
    /// # Panics
    /// When the server does not know it or is gone.
    pub fn order(&self, path: &str, body: &Value) -> Value {
        let answer = self.control.post(path, body).expect("the server lives").json();
        assert!(answer["error"].is_null(), "{path} {body}: {answer}");
        answer
    }

    /// Somebody says something in their own chat; gives the message's id.
    pub fn say(&self, chat: i64, text: &str) -> i64 {
        self.order("/message", &json!({"chat": chat, "text": text}))["message_id"].as_i64().unwrap_or_default()
    }

    /// Orders a fault.
    pub fn fault(&self, fault: &Value) {
        self.order("/fault", fault);
    }

    /// All that the bot said in a chat, in order.
    pub fn said(&self, chat: i64) -> Vec<Said> {
        let account = self.order("/chat", &json!({"chat": chat}));
        let messages = account["messages"].as_array().cloned().unwrap_or_default();
        messages.iter().map(said).collect()
    }

    /// Waits until what the bot said in a chat satisfies `enough`, and gives it.
    ///
    /// # Panics
    /// When it never does.
    pub fn await_said(&self, chat: i64, what: &str, enough: impl Fn(&[Said]) -> bool) -> Vec<Said> {
        eventually(PATIENCE, || {
            std::thread::sleep(Duration::from_millis(20));
            Some(self.said(chat)).filter(|said| enough(said))
        })
        .unwrap_or_else(|| panic!("{what} did not come to pass in chat {chat}: {:#?}", self.said(chat)))
    }

    /// The calls of a method so far: when, where, and the HTTP status (0: cut).
    pub fn calls(&self, method: &str) -> Vec<(u64, Option<i64>, u64)> {
        let calls = self.order("/calls", &json!({}))["calls"].as_array().cloned().unwrap_or_default();
        calls
            .iter()
            .filter(|call| call["method"] == method)
            .map(|call| {
                let number = |key: &str| call[key].as_u64().unwrap_or_default();
                (number("at_ms"), call["chat"].as_i64(), number("status"))
            })
            .collect()
    }

    /// The longest time in which nobody polled, since the last time this was asked.
    pub fn longest_silence(&self) -> Duration {
        let account = self.order("/silence", &json!({"reset": true}));
        Duration::from_millis(account["longest_ms"].as_u64().unwrap_or_default())
    }
}

impl Drop for BotApi {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn said(message: &Value) -> Said {
    let edits = message["edits"].as_array().cloned().unwrap_or_default();
    let edit = |edit: &Value| (edit["at_ms"].as_u64().unwrap_or(0), edit["text"].as_str().unwrap_or("").to_owned());
    Said {
        message_id: message["message_id"].as_i64().unwrap_or_default(),
        text: message["text"].as_str().unwrap_or_default().to_owned(),
        thread: message["thread"].as_i64(),
        reply_to: message["reply_to"].as_i64(),
        at_ms: message["at_ms"].as_u64().unwrap_or_default(),
        edits: edits.iter().map(edit).collect(),
        buttons: message["markup"]["inline_keyboard"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(|button| button["text"].as_str().map(str::to_owned))
            .collect(),
        file: message["file"]["name"].as_str().map(str::to_owned),
        content: (
            message["file"]["field"].as_str().unwrap_or_default().to_owned(),
            message["file"]["size"].as_u64().unwrap_or_default(),
            message["file"]["beginning"].as_str().unwrap_or_default().to_owned(),
        ),
    }
}
