//! The chats: who is in them, what the bot said there, when, and how it changed that later. Ids are those of the real
//! server: people's chats are positive, groups negative; message ids rise.

use super::answer::Answer;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The most that one message holds, in UTF-16 units.
pub const LONGEST: usize = 4096;

/// What the bot wants to say.
#[derive(Debug, Default)]
pub struct Wanted {
    /// `message_thread_id`.
    pub thread: Option<i64>,
    /// `reply_parameters.message_id`.
    pub reply_to: Option<i64>,
    /// Whether it is said even where that message is not there.
    pub without_reply: bool,
    /// The text or caption.
    pub text: String,
    /// The file: its field, name and bytes.
    pub file: Option<(String, String, Vec<u8>)>,
    /// `reply_markup`.
    pub markup: Option<Value>,
}

/// One message of the bot.
#[derive(Debug)]
struct Said {
    wanted: Wanted,
    at_ms: u64,
    edits: Vec<(u64, String)>,
}

/// One chat.
#[derive(Debug, Default)]
struct Chat {
    blocked: bool,
    said: BTreeMap<i64, Said>,
    /// `sendChatAction`s, by time.
    actions: Vec<u64>,
}

/// All chats that anybody ever spoke in.
#[derive(Debug)]
pub struct Chats {
    chats: BTreeMap<i64, Chat>,
    last_message: i64,
}

impl Default for Chats {
    fn default() -> Self {
        Self { chats: BTreeMap::new(), last_message: 100 }
    }
}

impl Chats {
    /// A number for a message of anybody in this chat, which exists from now on.
    pub fn number(&mut self, chat: i64) -> i64 {
        self.chats.entry(chat).or_default();
        self.last_message += 1;
        self.last_message
    }

    /// Somebody blocks the bot, or lets it in again.
    pub fn block(&mut self, chat: i64, blocked: bool) {
        self.chats.entry(chat).or_default().blocked = blocked;
    }

    fn reachable(&mut self, chat: i64) -> Result<&mut Chat, Answer> {
        let found = self.chats.get_mut(&chat).ok_or_else(|| Answer::bad_request("chat not found"))?;
        if found.blocked {
            return Err(Answer::refused(403, "Forbidden: bot was blocked by the user"));
        }
        Ok(found)
    }

    /// The bot says something.
    pub fn say(&mut self, chat: i64, wanted: Wanted, now_ms: u64) -> Answer {
        let last = self.last_message;
        let found = match self.reachable(chat) {
            Ok(found) => found,
            Err(refused) => return refused,
        };
        if let Err(refused) = fits(&wanted.text, wanted.file.is_some()) {
            return refused;
        }
        if wanted.reply_to.is_some_and(|to| to <= 0 || to > last) && !wanted.without_reply {
            return Answer::bad_request("message to be replied not found");
        }
        let id = last + 1;
        let said = Said { wanted, at_ms: now_ms, edits: Vec::new() };
        let message = said.message(chat, id, now_ms);
        found.said.insert(id, said);
        self.last_message = id;
        Answer::Done(message)
    }

    /// The bot changes what it said.
    pub fn edit(&mut self, chat: i64, id: i64, text: String, markup: Option<Value>, now_ms: u64) -> Answer {
        let found = match self.reachable(chat) {
            Ok(found) => found,
            Err(refused) => return refused,
        };
        if let Err(refused) = fits(&text, false) {
            return refused;
        }
        let Some(said) = found.said.get_mut(&id) else {
            return Answer::bad_request("message to edit not found");
        };
        if said.wanted.text == text && said.wanted.markup == markup {
            return Answer::bad_request(
                "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message",
            );
        }
        said.edits.push((now_ms, text.clone()));
        said.wanted.text = text;
        said.wanted.markup = markup;
        Answer::Done(said.message(chat, id, now_ms))
    }

    /// The bot changes what is below one of its messages.
    pub fn mark(&mut self, chat: i64, id: i64, markup: Option<Value>, now_ms: u64) -> Answer {
        let found = match self.reachable(chat) {
            Ok(found) => found,
            Err(refused) => return refused,
        };
        let Some(said) = found.said.get_mut(&id) else {
            return Answer::bad_request("message to edit not found");
        };
        if said.wanted.markup == markup {
            return Answer::bad_request("message is not modified");
        }
        said.wanted.markup = markup;
        Answer::Done(said.message(chat, id, now_ms))
    }

    /// What a button below a message says when it is pressed; `None` where there is no such button.
    pub fn button(&self, chat: i64, id: i64, shown: &str) -> Option<Value> {
        let rows = self.chats.get(&chat)?.said.get(&id)?.wanted.markup.as_ref()?["inline_keyboard"].as_array()?;
        let mut buttons = rows.iter().filter_map(Value::as_array).flatten();
        buttons.find(|button| button["text"] == shown).map(|button| button["callback_data"].clone())
    }

    /// The bot, or a person, takes away what the bot said.
    pub fn delete(&mut self, chat: i64, id: i64) -> Answer {
        match self.chats.get_mut(&chat).and_then(|chat| chat.said.remove(&id)) {
            Some(_) => Answer::Done(true.into()),
            None => Answer::bad_request("message to delete not found"),
        }
    }

    /// The bot shows that it is typing.
    pub fn act(&mut self, chat: i64, now_ms: u64) -> Answer {
        match self.reachable(chat) {
            Ok(found) => {
                found.actions.push(now_ms);
                Answer::Done(true.into())
            }
            Err(refused) => refused,
        }
    }

    /// For the test: everything that the bot said in a chat, as it reads now.
    pub fn account(&self, chat: i64) -> Value {
        let Some(found) = self.chats.get(&chat) else { return json!({"messages": [], "actions": []}) };
        let messages: Vec<_> = found
            .said
            .iter()
            .map(|(id, said)| {
                let edits: Vec<_> = said.edits.iter().map(|(at, text)| json!({"at_ms": at, "text": text})).collect();
                let file = said.wanted.file.as_ref().map(|(field, name, bytes)| {
                    let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
                    json!({"field": field, "name": name, "size": bytes.len(), "beginning": beginning})
                });
                json!({
                    "message_id": id, "text": said.wanted.text, "thread": said.wanted.thread,
                    "reply_to": said.wanted.reply_to, "at_ms": said.at_ms, "edits": edits, "file": file,
                    "markup": said.wanted.markup,
                })
            })
            .collect();
        json!({"messages": messages, "actions": found.actions})
    }
}

impl Said {
    fn message(&self, chat: i64, id: i64, now_ms: u64) -> Value {
        let mut message = json!({
            "message_id": id, "chat": chat_object(chat), "date": now_ms / 1000,
            "from": {"id": 1, "is_bot": true, "first_name": "Bot", "username": "the_bot"},
        });
        match &self.wanted.file {
            None => message["text"] = self.wanted.text.as_str().into(),
            Some((_, name, bytes)) => {
                message["caption"] = self.wanted.text.as_str().into();
                message["document"] = json!({
                    "file_id": format!("sent-{id}"), "file_unique_id": format!("u{id}"), "file_name": name,
                    "file_size": bytes.len(),
                });
            }
        }
        if let Some(thread) = self.wanted.thread {
            message["message_thread_id"] = thread.into();
            message["is_topic_message"] = true.into();
        }
        if !self.edits.is_empty() {
            message["edit_date"] = (now_ms / 1000).into();
        }
        message
    }
}

/// A chat as the server describes it.
pub fn chat_object(chat: i64) -> Value {
    if chat < 0 {
        json!({"id": chat, "type": "supergroup", "title": "A group", "is_forum": true})
    } else {
        json!({"id": chat, "type": "private", "first_name": format!("Person {chat}")})
    }
}

fn fits(text: &str, caption: bool) -> Result<(), Answer> {
    if text.trim().is_empty() && !caption {
        return Err(Answer::bad_request("message text is empty"));
    }
    if text.encode_utf16().count() > if caption { 1024 } else { LONGEST } {
        return Err(Answer::bad_request(if caption { "message caption is too long" } else { "message is too long" }));
    }
    Ok(())
}
