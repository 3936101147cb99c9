//! What a homeserver tells in a sync, and what of it is meant for us. It only reads.

use crate::files::media_type;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The answer to a sync, as far as it matters.
#[derive(Debug, Default, Deserialize)]
pub struct Synced {
    /// Where the next sync goes on.
    pub next_batch: String,
    /// Rooms.
    #[serde(default)]
    pub rooms: Rooms,
}

/// The rooms of a sync.
#[derive(Debug, Default, Deserialize)]
pub struct Rooms {
    /// That we are in.
    #[serde(default)]
    pub join: BTreeMap<String, Joined>,
    /// That we are invited to.
    #[serde(default)]
    pub invite: BTreeMap<String, Invited>,
}

/// News of a room.
#[derive(Debug, Default, Deserialize)]
pub struct Joined {
    /// What happened there.
    #[serde(default)]
    pub timeline: Timeline,
}

/// What happened in a room, oldest first.
#[derive(Debug, Default, Deserialize)]
pub struct Timeline {
    /// The events; of a kind that nobody knows too.
    #[serde(default)]
    pub events: Vec<Value>,
    /// Whether there are more between the last sync and these.
    #[serde(default)]
    pub limited: bool,
    /// Where those end.
    pub prev_batch: Option<String>,
}

/// An invitation.
#[derive(Debug, Default, Deserialize)]
pub struct Invited {
    /// What is told of the room.
    #[serde(default)]
    pub invite_state: InviteState,
}

/// What is told of a room to those who are invited.
#[derive(Debug, Default, Deserialize)]
pub struct InviteState {
    /// Stripped events.
    #[serde(default)]
    pub events: Vec<Value>,
}

/// A page of what was said before, newest first.
#[derive(Debug, Default, Deserialize)]
pub struct Page {
    /// The events.
    #[serde(default)]
    pub chunk: Vec<Value>,
    /// Where the next page begins; `None` after the last.
    pub end: Option<String>,
}

/// Something said by somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The event's id.
    pub event: String,
    /// Who.
    pub sender: String,
    /// The thread that it was said in, by the id of its first event.
    pub thread: Option<String>,
    /// What.
    pub what: What,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A text.
    Text(String),
    /// A file, and what is said about it.
    File(Media, String),
    /// Something that only who has the room's keys could read.
    Encrypted,
}

/// A file that waits on the homeserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// The server that has it, and its id there; `None` when it is encrypted or nowhere.
    pub place: Option<(String, String)>,
    /// What its sender called it.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes, as its sender says.
    pub size: Option<u64>,
}

impl Media {
    /// The file of an event, and what is said about it.
    fn read(content: &Value) -> (Self, String) {
        let body = content["body"].as_str().unwrap_or_default();
        let name = content["filename"].as_str().unwrap_or(body);
        // Where a name stands beside it, the body is what is said about the file.
        let caption = if content["filename"].is_string() && name != body { body.trim() } else { "" };
        let info = &content["info"];
        let media_type = info["mimetype"].as_str().map_or_else(|| media_type(name).to_owned(), str::to_owned);
        let place = content["url"].as_str().and_then(|url| url.strip_prefix("mxc://")?.split_once('/'));
        let place = place.map(|(server, id)| (server.to_owned(), id.to_owned()));
        (Self { place, name: name.to_owned(), media_type, size: info["size"].as_u64() }, caption.to_owned())
    }
}

impl Invited {
    /// Who invites us.
    #[must_use]
    pub fn by(&self, us: &str) -> Option<&str> {
        let ours = |event: &&Value| event["type"] == "m.room.member" && event["state_key"] == us;
        let last =
            self.invite_state.events.iter().filter(ours).rfind(|event| event["content"]["membership"] == "invite")?;
        last["sender"].as_str()
    }
}

/// Where in these events we came into the room, the last time: what lies before was not said to us.
#[must_use]
pub fn entered(events: &[Value], us: &str) -> Option<usize> {
    let ours = |event: &Value| {
        event["type"] == "m.room.member"
            && event["state_key"] == us
            && event["content"]["membership"] == "join"
            && event["unsigned"]["prev_content"]["membership"] != "join"
    };
    events.iter().rposition(ours)
}

/// Of these events those that happened while we were in the room: what was said between our leaving and our coming back, or before
/// we came first, was not said to us.
#[must_use]
pub fn while_there(mut events: Vec<Value>, us: &str) -> Vec<Value> {
    let Some(entered) = entered(&events, us) else { return events };
    let leaves = |event: &Value| {
        let membership = &event["content"]["membership"];
        event["type"] == "m.room.member" && event["state_key"] == us && (membership == "leave" || membership == "ban")
    };
    let left = events[..entered].iter().rposition(leaves).unwrap_or(0);
    events.drain(left..entered);
    events
}

/// What an event says to us; `None` if it is none of our business.
#[must_use]
pub fn said(event: &Value, us: &str) -> Option<Said> {
    let sender = event["sender"].as_str().filter(|sender| *sender != us)?.to_owned();
    let id = event["event_id"].as_str().filter(|id| !id.is_empty())?.to_owned();
    let content = &event["content"];
    let relation = &content["m.relates_to"];
    // A change of an earlier message: that was answered as it was.
    if relation["rel_type"] == "m.replace" {
        return None;
    }
    let thread = (relation["rel_type"] == "m.thread").then(|| relation["event_id"].as_str().map(ToOwned::to_owned));
    let what = match event["type"].as_str()? {
        "m.room.encrypted" => What::Encrypted,
        // A notice is what a program says; two programs that answer each other would never come to an end.
        "m.room.message" if matches!(content["msgtype"].as_str(), Some("m.text" | "m.emote")) => {
            let body = content["body"].as_str()?;
            let body = if relation["m.in_reply_to"].is_object() { without_quotation(body) } else { body };
            What::Text(body.trim().to_owned()).non_empty()?
        }
        "m.room.message"
            if matches!(content["msgtype"].as_str(), Some("m.image" | "m.file" | "m.audio" | "m.video")) =>
        {
            let (media, caption) = Media::read(content);
            What::File(media, caption)
        }
        _ => return None,
    };
    Some(Said { event: id, sender, thread: thread.flatten(), what })
}

impl What {
    fn non_empty(self) -> Option<Self> {
        match &self {
            Self::Text(text) if text.is_empty() => None,
            _ => Some(self),
        }
    }
}

/// A reply without the lines that repeat what it replies to, which older clients put before it.
fn without_quotation(body: &str) -> &str {
    if !body.starts_with("> <") {
        return body;
    }
    let mut rest = body;
    while rest.starts_with('>') {
        let Some((_, after)) = rest.split_once('\n') else { return body };
        rest = after;
    }
    rest.trim_start_matches('\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(sender: &str, content: &Value) -> Value {
        json!({"type": "m.room.message", "event_id": "$1", "sender": sender, "content": content})
    }

    fn text_of(content: &Value) -> Option<String> {
        match said(&message("@ann:example.org", content), "@bot:example.org")?.what {
            What::Text(text) => Some(text),
            What::Encrypted | What::File(..) => None,
        }
    }

    #[test]
    fn texts_of_others_are_for_us_and_nothing_else_is() {
        let text = json!({"msgtype": "m.text", "body": " hello "});
        assert_eq!(text_of(&text).as_deref(), Some("hello"));
        assert_eq!(said(&message("@bot:example.org", &text), "@bot:example.org"), None, "our own words");
        for content in [
            json!({"msgtype": "m.notice", "body": "a program"}),
            json!({"msgtype": "m.text", "body": "* new", "m.relates_to": {"rel_type": "m.replace", "event_id": "$0"}}),
            json!({"msgtype": "m.text", "body": "   "}),
            json!({"msgtype": "m.text"}),
            json!({"msgtype": 3, "body": []}),
            json!(null),
        ] {
            assert_eq!(text_of(&content), None, "{content}");
        }
        assert_eq!(said(&json!({"sender": 1, "type": {}}), "@bot:example.org"), None);
        assert_eq!(said(&json!("nothing"), "@bot:example.org"), None);
    }

    #[test]
    fn a_file_is_told_with_its_name_its_type_and_what_is_said_about_it() {
        let file = |content: Value| match said(&message("@ann:example.org", &content), "@bot:example.org").unwrap().what
        {
            What::File(media, caption) => (media, caption),
            other => panic!("{other:?}"),
        };
        let info = json!({"mimetype": "image/png", "size": 7});
        let (media, caption) =
            file(json!({"msgtype": "m.image", "body": "pic.png", "url": "mxc://example.org/abc", "info": info}));
        let place = Some(("example.org".to_owned(), "abc".to_owned()));
        assert_eq!((media.place, media.name.as_str(), media.size, caption.as_str()), (place, "pic.png", Some(7), ""));
        let (media, caption) = file(
            json!({"msgtype": "m.file", "body": "look at this", "filename": "a.csv", "file": {"url": "mxc://x/y"}}),
        );
        let told = (media.place, media.name.as_str(), media.media_type.as_str(), caption.as_str());
        assert_eq!(told, (None, "a.csv", "text/csv", "look at this"), "an encrypted one has no place");
        let (media, _) = file(json!({"msgtype": "m.audio", "url": 3, "info": []}));
        assert_eq!((media.place, media.name.as_str()), (None, ""));
    }

    #[test]
    fn a_thread_is_told_and_a_quotation_is_left_out() {
        let relation = json!({"rel_type": "m.thread", "event_id": "$root", "is_falling_back": true, "m.in_reply_to": {"event_id": "$2"}});
        let event =
            message("@ann:example.org", &json!({"msgtype": "m.text", "body": "in it", "m.relates_to": relation}));
        assert_eq!(said(&event, "@bot:example.org").and_then(|said| said.thread).as_deref(), Some("$root"));
        let reply = |body: &str| json!({"msgtype": "m.text", "body": body, "m.relates_to": {"m.in_reply_to": {"event_id": "$2"}}});
        assert_eq!(text_of(&reply("> <@bot:example.org> was\n> said\n\nand now?")).as_deref(), Some("and now?"));
        assert_eq!(text_of(&reply("> a citation of mine")).as_deref(), Some("> a citation of mine"));
        assert_eq!(text_of(&reply("plain")).as_deref(), Some("plain"));
    }

    #[test]
    fn what_was_said_before_we_came_is_not_for_us() {
        let join = json!({"type": "m.room.member", "state_key": "@bot:example.org", "content": {"membership": "join"}});
        let renamed = json!({
            "type": "m.room.member", "state_key": "@bot:example.org", "content": {"membership": "join"},
            "unsigned": {"prev_content": {"membership": "join"}},
        });
        let before = message("@ann:example.org", &json!({}));
        let us = "@bot:example.org";
        assert_eq!(entered(&[before.clone(), join, before.clone()], us), Some(1));
        assert_eq!(entered(&[before.clone(), renamed], us), None);
        assert_eq!(entered(&[before], us), None);
    }

    #[test]
    fn what_was_said_while_we_were_away_is_left_out_and_nothing_else() {
        let us = "@bot:example.org";
        let member =
            |membership: &str| json!({"type": "m.room.member", "state_key": us, "content": {"membership": membership}});
        let word = |text: &str| message("@ann:example.org", &json!({"msgtype": "m.text", "body": text}));
        let texts = |events: Vec<Value>| -> Vec<String> {
            let there = while_there(events, us);
            there.iter().filter_map(|event| event["content"]["body"].as_str().map(str::to_owned)).collect()
        };
        let [before, away, after] = ["before", "away", "after"].map(word);
        let all = vec![before.clone(), member("leave"), away.clone(), member("join"), after.clone()];
        assert_eq!(texts(all), ["before", "after"]);
        assert_eq!(texts(vec![away.clone(), member("join"), after.clone()]), ["after"]);
        assert_eq!(
            texts(vec![before, member("leave"), away.clone()]),
            ["before", "away"],
            "who left hears no more anyway"
        );
        assert_eq!(texts(vec![away, after]), ["away", "after"]);
    }

    #[test]
    fn an_invitation_says_who_invites() {
        let invited: Invited = serde_json::from_value(json!({"invite_state": {"events": [
            {"type": "m.room.name", "sender": "@eve:example.org"},
            {"type": "m.room.member", "state_key": "@bot:example.org", "sender": "@ann:example.org", "content": {"membership": "invite"}},
        ]}}))
        .unwrap();
        assert_eq!(invited.by("@bot:example.org"), Some("@ann:example.org"));
        assert_eq!(Invited::default().by("@bot:example.org"), None);
    }
}
