//! The side of the test: people speak, faults are ordered, and what the bot did is told. JSON over HTTP, on an address of
//! its own that stays when the server itself is "down".

use super::chats::chat_object;
use super::polling::Loser;
use super::world::{Shared, World, now_ms};
use serde_json::{Value, json};
use std::time::Duration;

/// What an order leads to beside its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// The server cuts every connection and takes none for this long.
    Down(Duration),
    /// The process ends.
    End,
}

/// Carries out one order.
pub fn order(shared: &Shared, path: &str, body: &Value) -> (Value, Then) {
    let mut world = shared.lock();
    let mut then = Then::Nothing;
    let answer = match path {
        "/message" => world.said(body),
        "/callback" => world.pressed(body),
        "/update" => json!({"update_id": world.updates.push(body.clone())}),
        "/fault" => match world.faults.order(body) {
            Ok(()) => json!({}),
            Err(why) => json!({"error": why}),
        },
        "/heal" => {
            world.faults.clear();
            json!({})
        }
        "/settings" => world.set(body),
        "/down" => {
            then = Then::Down(Duration::from_millis(body["ms"].as_u64().unwrap_or(1000)));
            json!({})
        }
        "/end" => {
            then = Then::End;
            json!({})
        }
        "/give_again" => {
            world.updates.give_again();
            json!({})
        }
        "/delete" => {
            let number = |key: &str| body[key].as_i64().unwrap_or(0);
            let gone = world.chats.delete(number("chat"), number("message_id"));
            json!({"deleted": matches!(gone, super::answer::Answer::Done(_))})
        }
        "/chat" => world.chats.account(body["chat"].as_i64().unwrap_or(0)),
        "/calls" => json!({"calls": world.calls}),
        "/commands" => world.commands.clone(),
        "/webhook" => {
            let hook = world.webhook.clone().unwrap_or_default();
            json!({"url": hook.url, "secret": hook.secret})
        }
        "/silence" => {
            let account = world.silence.account(now_ms());
            if body["reset"] == true {
                world.silence.reset(now_ms());
            }
            account
        }
        "/account" => json!({
            "updates": world.updates.account(), "conflicts": world.polling.conflicts,
            "overlaps": world.polling.overlaps, "faults_left": world.faults.left(),
        }),
        _ => json!({"error": format!("there is no order {path:?}")}),
    };
    drop(world);
    shared.ring();
    (answer, then)
}

impl World {
    /// Somebody says something: `{"chat", "from"?, "text"?, "thread"?, "reply_to"?, "edited"?, "file"?: {"kind", "name",
    /// "size" | "content", "announced"?: size, "mime_type"?}}`.
    fn said(&mut self, body: &Value) -> Value {
        let chat = body["chat"].as_i64().unwrap_or(0);
        let from = body["from"].as_i64().unwrap_or(chat);
        let id = body["message_id"].as_i64().unwrap_or_else(|| self.chats.number(chat));
        let mut message = json!({
            "message_id": id, "chat": chat_object(chat), "date": now_ms() / 1000, "from": person(from),
        });
        let text = body["text"].as_str();
        if let Some(thread) = body["thread"].as_i64() {
            message["message_thread_id"] = thread.into();
            message["is_topic_message"] = true.into();
        }
        if let Some(to) = body["reply_to"].as_i64() {
            message["reply_to_message"] = json!({"message_id": to, "chat": chat_object(chat), "date": now_ms() / 1000});
        }
        if body["file"].is_object() {
            self.attach(&mut message, id, &body["file"]);
            if let Some(text) = text {
                message["caption"] = text.into();
            }
        } else {
            let text = text.unwrap_or("hello");
            message["text"] = text.into();
            if text.starts_with('/') {
                let length = text.split_whitespace().next().unwrap_or_default().encode_utf16().count();
                message["entities"] = json!([{"type": "bot_command", "offset": 0, "length": length}]);
            }
        }
        let kind = if body["edited"] == true { "edited_message" } else { "message" };
        json!({"update_id": self.updates.push(json!({kind: message})), "message_id": id})
    }

    fn attach(&mut self, message: &mut Value, id: i64, file: &Value) {
        let kind = file["kind"].as_str().unwrap_or("document");
        let bytes = match file["content"].as_str() {
            Some(content) => content.as_bytes().to_vec(),
            None => vec![b'x'; usize::try_from(file["size"].as_u64().unwrap_or(10)).unwrap_or(10)],
        };
        let name = file["name"].as_str().unwrap_or("file.bin");
        let file_id = format!("{kind}-{id}");
        let mut described = json!({
            "file_id": file_id, "file_unique_id": format!("u{file_id}"),
            "file_size": file["announced"].as_u64().unwrap_or(bytes.len() as u64),
        });
        match kind {
            "photo" => {
                let mut small = described.clone();
                small["width"] = 90.into();
                small["height"] = 90.into();
                small["file_id"] = format!("small-{file_id}").into();
                described["width"] = 1280.into();
                described["height"] = 1280.into();
                message["photo"] = json!([small, described]);
            }
            "voice" => {
                described["duration"] = 3.into();
                described["mime_type"] = "audio/ogg".into();
                message["voice"] = described;
            }
            _ => {
                described["file_name"] = name.into();
                described["mime_type"] = file["mime_type"].as_str().unwrap_or("application/octet-stream").into();
                message["document"] = described;
            }
        }
        self.files.insert(file_id, (format!("{kind}s/{id}-{name}"), bytes));
    }

    /// Somebody presses a button: `{"chat", "from"?, "message_id", "button"}`, one that is there, or with `"data"` any.
    fn pressed(&mut self, body: &Value) -> Value {
        let chat = body["chat"].as_i64().unwrap_or(0);
        let from = body["from"].as_i64().unwrap_or(chat);
        let mut data = body["data"].clone();
        if let Some(shown) = body["button"].as_str() {
            match self.chats.button(chat, body["message_id"].as_i64().unwrap_or(0), shown) {
                Some(says) => data = says,
                None => return json!({"error": format!("there is no button {shown:?} below that message")}),
            }
        }
        let id = self.chats.number(chat);
        self.presses.insert(format!("callback-{id}"));
        let mut message = json!({"message_id": body["message_id"], "chat": chat_object(chat), "date": now_ms() / 1000});
        if let Some(thread) = body["thread"].as_i64() {
            message["message_thread_id"] = thread.into();
            message["is_topic_message"] = true.into();
        }
        json!({"update_id": self.updates.push(json!({"callback_query": {
            "id": format!("callback-{id}"), "from": person(from), "chat_instance": "1", "data": data,
            "message": message,
        }}))})
    }

    /// `{"revoked"?, "block"?: chat, "unblock"?: chat, "loser"?: "older" | "newer", "hold_vanished_ms"?}`.
    fn set(&mut self, body: &Value) -> Value {
        if let Some(revoked) = body["revoked"].as_bool() {
            self.revoked = revoked;
        }
        if let Some(chat) = body["block"].as_i64() {
            self.chats.block(chat, true);
        }
        if let Some(chat) = body["unblock"].as_i64() {
            self.chats.block(chat, false);
        }
        match body["loser"].as_str() {
            Some("newer") => self.polling.loser = Loser::Newer,
            Some("older") => self.polling.loser = Loser::Older,
            _ => {}
        }
        if let Some(ms) = body["hold_vanished_ms"].as_u64() {
            self.polling.hold_vanished = Duration::from_millis(ms);
        }
        json!({})
    }
}

fn person(id: i64) -> Value {
    json!({"id": id, "is_bot": false, "first_name": format!("Person {id}"), "username": format!("person_{id}")})
}
