//! Somebody with an account on the homeserver: what they say and show, and what they see of the gateway's user.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::http::{Answer, Client};
use crate::{PATIENCE, eventually};

/// Somebody with an account.
#[derive(Clone, Debug)]
pub struct Person {
    pub(super) client: Client,
    /// The access token.
    pub token: String,
}

impl Person {
    fn post(&self, path: &str, body: &Value) -> Value {
        let mut last = None;
        let answer = eventually(PATIENCE * 2, || {
            last = self.client.post(&format!("/_matrix/client/v3{path}"), body).ok();
            last.clone().filter(|answer| answer.status == 200)
        });
        answer.map(|answer: Answer| answer.json()).unwrap_or_else(|| panic!("{path}: {last:?}"))
    }

    /// Makes a room and invites the gateway's user.
    #[must_use]
    pub fn invite_bot(&self) -> String {
        let made = self.post("/createRoom", &json!({"preset": "private_chat", "invite": ["@bot:localhost"]}));
        made["room_id"].as_str().expect("a room has an id").to_owned()
    }

    /// Says something; gives the event's id. `relation` says how it stands to others.
    pub fn say(&self, room: &str, text: &str, relation: Option<&Value>) -> String {
        let mut content = json!({"msgtype": "m.text", "body": text});
        if let Some(relation) = relation {
            content["m.relates_to"] = relation.clone();
        }
        let sent = self.post(&format!("/rooms/{}/send/m.room.message", encoded(room)), &content);
        sent["event_id"].as_str().expect("an event has an id").to_owned()
    }

    /// Brings a file to the homeserver and shows it in a room, with something said about it unless that is empty.
    ///
    /// # Panics
    /// When the homeserver does not take it.
    pub fn show(&self, room: &str, message_type: &str, name: &str, bytes: &[u8], caption: &str) {
        let brought = self.client.post_bytes(&format!("/_matrix/media/v3/upload?filename={name}"), bytes);
        let url = brought.map(|answer| answer.json()["content_uri"].clone()).unwrap_or_default();
        assert!(url.is_string(), "the homeserver takes no file: {url}");
        let body = if caption.is_empty() { name } else { caption };
        let kind = match message_type {
            "m.audio" => "audio/ogg",
            _ => "image/png",
        };
        let info = json!({"mimetype": kind, "size": bytes.len()});
        let content = json!({"msgtype": message_type, "body": body, "filename": name, "url": url, "info": info});
        self.post(&format!("/rooms/{}/send/m.room.message", encoded(room)), &content);
    }

    /// The files that the gateway's user shows in a room: type, name, and what is in them.
    #[must_use]
    pub fn files(&self, room: &str) -> Vec<(String, String, String)> {
        let events = self.events(room);
        let shown = events.iter().filter(|event| event["sender"] == "@bot:localhost");
        shown.filter_map(|event| self.file(&event["content"])).collect()
    }

    fn file(&self, content: &Value) -> Option<(String, String, String)> {
        let text = |name: &str| content[name].as_str().unwrap_or_default().to_owned();
        let place = content["url"].as_str()?.strip_prefix("mxc://")?.to_owned();
        let bytes = self.client.get(&format!("/_matrix/client/v1/media/download/{place}")).ok()?.text;
        Some((text("msgtype"), text("body"), bytes))
    }

    /// Takes every access token of this account back, this one's too.
    ///
    /// # Panics
    /// When the server does not do that.
    pub fn sign_out_everywhere(&self) {
        let answer = self.client.post("/_matrix/client/v3/logout/all", &json!({})).expect("Synapse is up");
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The devices of this account that a gateway signed in as.
    #[must_use]
    pub fn gateways(&self) -> Vec<String> {
        let devices = self.client.get("/_matrix/client/v3/devices").map(|answer| answer.json()).unwrap_or_default();
        let devices = devices["devices"].as_array().cloned().unwrap_or_default();
        let of_gateways = devices.iter().filter(|device| device["display_name"] == "Evergate");
        of_gateways.map(|device| device["device_id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// All events of a room, oldest first.
    #[must_use]
    pub fn events(&self, room: &str) -> Vec<Value> {
        let path = format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit=1000", encoded(room));
        let answer = self.client.get(&path).map(|answer| answer.json()).unwrap_or_default();
        let mut events = answer["chunk"].as_array().cloned().unwrap_or_default();
        events.reverse();
        events
    }

    /// Whether the gateway's user is in a room: `join`, `invite`, `leave`.
    #[must_use]
    pub fn bot_is(&self, room: &str) -> String {
        let member = |event: &&Value| event["type"] == "m.room.member" && event["state_key"] == "@bot:localhost";
        let events = self.events(room);
        let last = events.iter().rfind(member);
        last.and_then(|event| event["content"]["membership"].as_str()).unwrap_or_default().to_owned()
    }

    /// The texts that the gateway's user shows in a room, each as it reads after its edits, with the thread that it stands in.
    #[must_use]
    pub fn shown(&self, room: &str, message_type: &str) -> Vec<(String, Option<String>)> {
        let mut order = Vec::new();
        let mut texts: BTreeMap<String, (String, Option<String>)> = BTreeMap::new();
        for event in self.events(room) {
            let content = &event["content"];
            if event["sender"] != "@bot:localhost"
                || event["type"] != "m.room.message"
                || content["msgtype"] != message_type
            {
                continue;
            }
            let relation = &content["m.relates_to"];
            let text = |content: &Value| content["body"].as_str().unwrap_or_default().to_owned();
            let id = event["event_id"].as_str().unwrap_or_default().to_owned();
            match relation["rel_type"].as_str() {
                Some("m.replace") => {
                    if let Some(shown) = relation["event_id"].as_str().and_then(|of| texts.get_mut(of)) {
                        shown.0 = text(&content["m.new_content"]);
                    }
                }
                kind => {
                    let thread = kind.filter(|kind| *kind == "m.thread").and_then(|_| relation["event_id"].as_str());
                    texts.insert(id.clone(), (text(content), thread.map(ToOwned::to_owned)));
                    order.push(id);
                }
            }
        }
        order.iter().filter_map(|id| texts.remove(id)).collect()
    }
}

fn encoded(room: &str) -> String {
    room.replace('!', "%21").replace(':', "%3A")
}
