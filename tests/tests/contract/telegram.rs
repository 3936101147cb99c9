//! Telegram, polled and pushed, against a Bot API server in a process of its own.

use evergate_tests::bot_api::operator::{BotApi, TOKEN};
use evergate_tests::contract::Venue;
use evergate_tests::gateway::{Builder, Gateway};
use serde_json::json;
use std::time::Duration;

const CHATS: [i64; 3] = [11, 12, 13];

struct Bot {
    server: BotApi,
    /// More lines of `[telegram]`.
    config: String,
}

mod polled {
    fn venue(_test: &str) -> Option<super::Bot> {
        Some(super::Bot::new(String::new()))
    }

    evergate_tests::contract!(venue);
}

mod pushed {
    fn venue(_test: &str) -> Option<super::Bot> {
        let address = evergate_tests::gateway::free_address();
        let hook = format!("webhook = \"http://{address}/\"\nwebhook_listen = \"{address}\"");
        Some(super::Bot::new(hook))
    }

    evergate_tests::contract!(venue);
}

impl Bot {
    fn new(config: String) -> Self {
        Self { server: BotApi::start(env!("CARGO_BIN_EXE_bot-api")), config }
    }

    fn with_token(&self, token: &str) -> Builder {
        let builder = Gateway::builder();
        let file = builder.room().join("telegram-token");
        std::fs::write(&file, format!("{token}\n")).expect("the room is writable");
        builder.config(&format!(
            "[telegram]\ntoken_file = {file:?}\napi_base = {:?}\nallowed_users = {:?}\noperators = [{}]\n{}\n\
             [agent.demo]\nwords_per_second = 0",
            self.server.api_base(),
            &CHATS[1..],
            CHATS[0],
            self.config
        ))
    }
}

impl Venue for Bot {
    fn platform(&self) -> &'static str {
        "telegram"
    }

    fn gateway(&self) -> Builder {
        self.with_token(TOKEN)
    }

    fn say(&self, _gateway: &Gateway, chat: usize, text: &str) {
        self.server.say(CHATS[chat], text);
    }

    fn answers(&self, _gateway: &Gateway, chat: usize) -> Vec<String> {
        let said = self.server.said(CHATS[chat]);
        said.into_iter().map(|said| said.text).filter(|text| text.contains("You said: ")).collect()
    }

    fn gives_again(&self, _gateway: &Gateway) {
        self.server.order("/give_again", &json!({}));
    }

    fn server_goes(&mut self) {
        self.server.order("/down", &json!({"ms": 300_000}));
    }

    fn server_comes(&mut self) {
        self.server.order("/down", &json!({"ms": 0}));
    }

    fn breaks_connections(&self) {
        self.server.order("/down", &json!({"ms": 0}));
    }

    fn loses_an_answer(&self) {
        self.server.fault(&json!({"kind": "lose_answer", "method": "sendMessage"}));
    }

    fn holds_an_answer(&self, length: Duration) {
        let ms = u64::try_from(length.as_millis()).unwrap_or(0);
        self.server.fault(&json!({"kind": "stall", "method": "sendMessage", "ms": ms}));
    }

    fn asks_for_quiet(&self, seconds: u64) {
        let quiet = json!({"kind": "slow_down", "method": "sendMessage", "chat": CHATS[0], "retry_after": seconds});
        self.server.fault(&quiet);
    }

    fn stranger(&self) -> Builder {
        self.with_token("4242:wrong")
    }
}
