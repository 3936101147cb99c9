//! What the server tells of, in the few fields that matter here, and what an update means for the gateway. Unknown kinds and fields
//! are nothing: the server gets new ones all the time.

use serde::Deserialize;
use serde_json::Value;

/// One update, as the server gives it.
#[derive(Debug, Deserialize)]
struct Update {
    message: Option<Message>,
    callback_query: Option<Callback>,
}

/// A message.
#[derive(Debug, Deserialize)]
struct Message {
    message_id: i64,
    chat: Chat,
    from: Option<Person>,
    message_thread_id: Option<i64>,
    #[serde(default)]
    is_topic_message: bool,
    text: Option<String>,
    caption: Option<String>,
    #[serde(default)]
    photo: Vec<Photo>,
    document: Option<File>,
    voice: Option<File>,
    audio: Option<File>,
    video: Option<File>,
    video_note: Option<File>,
    animation: Option<File>,
}

#[derive(Debug, Deserialize)]
struct Chat {
    id: i64,
}

#[derive(Debug, Deserialize)]
struct Person {
    id: i64,
    #[serde(default)]
    first_name: String,
    last_name: Option<String>,
    username: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Photo {
    file_id: String,
    file_size: Option<u64>,
    #[serde(default)]
    width: u64,
}

#[derive(Debug, Deserialize)]
struct File {
    file_id: String,
    file_size: Option<u64>,
    file_name: Option<String>,
    mime_type: Option<String>,
}

/// A button that was pressed.
#[derive(Debug, Deserialize)]
struct Callback {
    id: String,
    from: Person,
    data: Option<String>,
    message: Option<Message>,
}

/// Something that a person said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The chat's id.
    pub chat: i64,
    /// The topic's id.
    pub thread: Option<i64>,
    /// The sender's id.
    pub sender: i64,
    /// The sender's name, for people.
    pub name: String,
    /// Its id, unique in the chat: a message's number, or `callback.` and a button press's id.
    pub native: String,
    /// The text, or the caption.
    pub text: String,
    /// The files that came with it.
    pub files: Vec<Sent>,
    /// The button press to answer.
    pub callback: Option<String>,
}

/// A file that waits on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The server's id of it.
    pub id: String,
    /// Its size in bytes, where the server says it.
    pub size: Option<u64>,
    /// What its sender called it.
    pub name: Option<String>,
    /// Its media type.
    pub media_type: String,
}

/// The number of an update; without one nothing can be done with it.
#[must_use]
pub fn number(update: &Value) -> Option<i64> {
    update.get("update_id")?.as_i64()
}

/// What a person said in this update; `None` when it is of another kind. An error says what it is that cannot be read.
pub fn heard(update: &Value) -> Result<Option<Heard>, serde_json::Error> {
    let update = Update::deserialize(update)?;
    Ok(match (update.message, update.callback_query) {
        (Some(message), _) => message.heard(),
        (None, Some(callback)) => callback.heard(),
        (None, None) => None,
    })
}

/// The message, within its chat, that was taken in under this name; `None` for what is none, as a button.
pub fn message_of(native: &str) -> Option<i64> {
    native.rsplit(':').next()?.parse().ok()
}

impl Message {
    fn thread(&self) -> Option<i64> {
        self.message_thread_id.filter(|_| self.is_topic_message)
    }

    /// Posts of channels and of the server itself have no text, no file or no sender.
    fn heard(mut self) -> Option<Heard> {
        let (thread, files) = (self.thread(), self.files());
        let text = self.text.or(self.caption).unwrap_or_default();
        let from = self.from.filter(|_| !text.is_empty() || !files.is_empty())?;
        Some(Heard {
            chat: self.chat.id,
            thread,
            sender: from.id,
            name: from.name(),
            native: self.message_id.to_string(),
            text,
            files,
            callback: None,
        })
    }

    fn files(&mut self) -> Vec<Sent> {
        let photo = std::mem::take(&mut self.photo).into_iter().max_by_key(|photo| photo.width);
        let photo = photo.map(|photo| Sent {
            id: photo.file_id,
            size: photo.file_size,
            name: None,
            media_type: "image/jpeg".to_owned(),
        });
        // An animation is told of as a document as well.
        let animation = self.animation.take().inspect(|_| self.document = None);
        let kinds = [
            (self.document.take(), "application/octet-stream"),
            (animation, "video/mp4"),
            (self.voice.take(), "audio/ogg"),
            (self.audio.take(), "audio/mpeg"),
            (self.video.take(), "video/mp4"),
            (self.video_note.take(), "video/mp4"),
        ];
        let others = kinds.into_iter().filter_map(|(file, usual)| {
            file.map(|file| Sent {
                id: file.file_id,
                size: file.file_size,
                name: file.file_name,
                media_type: file.mime_type.unwrap_or_else(|| usual.to_owned()),
            })
        });
        photo.into_iter().chain(others).collect()
    }
}

impl Callback {
    fn heard(self) -> Option<Heard> {
        let message = self.message?;
        Some(Heard {
            chat: message.chat.id,
            thread: message.thread(),
            sender: self.from.id,
            name: self.from.name(),
            native: format!("callback.{}", self.id),
            text: self.data.filter(|data| !data.is_empty())?,
            files: Vec::new(),
            callback: Some(self.id),
        })
    }
}

impl Person {
    fn name(&self) -> String {
        match (&self.username, &self.last_name) {
            (Some(username), _) => format!("@{username}"),
            (None, Some(last)) => format!("{} {last}", self.first_name),
            (None, None) => self.first_name.clone(),
        }
    }
}

/// A command as the gateway knows it: `/restart@our_bot` is `/restart`. `None` when it is meant for another bot of the group.
#[must_use]
pub fn addressed(text: &str, bot: &str) -> Option<String> {
    let (command, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    match command.strip_prefix('/').and_then(|command| command.split_once('@')) {
        Some((command, name)) if name.eq_ignore_ascii_case(bot) => Some(format!("/{command}{rest}")),
        Some((command, _)) if !command.contains('/') => None,
        _ => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_message_is_known_by_its_bot_and_a_button_is_no_message() {
        assert_eq!(
            [message_of("4242:17"), message_of("17"), message_of("4242:callback.17")],
            [Some(17), Some(17), None]
        );
    }

    #[test]
    fn a_message_in_a_topic_keeps_chat_topic_sender_and_files() {
        let update = json!({"update_id": 5, "message": {
            "message_id": 17, "date": 0, "message_thread_id": 3, "is_topic_message": true,
            "chat": {"id": -100, "type": "supergroup"}, "from": {"id": 9, "is_bot": false, "first_name": "Ada", "last_name": "L"},
            "caption": "look", "photo": [
                {"file_id": "small", "width": 90, "height": 90, "file_size": 10},
                {"file_id": "large", "width": 1280, "height": 1280, "file_size": 1000},
            ],
        }});
        let expected = Heard {
            chat: -100,
            thread: Some(3),
            sender: 9,
            name: "Ada L".into(),
            native: "17".into(),
            text: "look".into(),
            files: vec![Sent { id: "large".into(), size: Some(1000), name: None, media_type: "image/jpeg".into() }],
            callback: None,
        };
        assert_eq!((number(&update), heard(&update).unwrap()), (Some(5), Some(expected)));
    }

    #[test]
    fn a_pressed_button_says_its_data() {
        let update = json!({"update_id": 6, "callback_query": {
            "id": "77", "from": {"id": 9, "first_name": "Ada", "username": "ada"}, "data": "/allow 3", "chat_instance": "1",
            "message": {"message_id": 4, "date": 0, "chat": {"id": 9}},
        }});
        let found = heard(&update).unwrap().unwrap();
        assert_eq!(
            (found.text.as_str(), found.native.as_str(), found.name.as_str()),
            ("/allow 3", "callback.77", "@ada")
        );
        assert_eq!(found.callback.as_deref(), Some("77"));
    }

    #[test]
    fn other_kinds_are_nothing_and_broken_ones_an_error() {
        for update in [
            json!({"update_id": 1}),
            json!({"update_id": 1, "brand_new_kind": {"x": 1}}),
            json!({"update_id": 1, "edited_message": {"message_id": 1, "chat": {"id": 1}, "text": "x"}}),
            json!({"update_id": 1, "message": {"message_id": 1, "chat": {"id": 1}, "text": "from a channel"}}),
            json!({"update_id": 1, "message": {"message_id": 1, "chat": {"id": 1}, "from": {"id": 1}, "new_chat_title": "x"}}),
        ] {
            assert_eq!(heard(&update).unwrap(), None, "{update}");
        }
        assert!(heard(&json!({"update_id": 1, "message": {"chat": "x"}})).is_err());
        assert_eq!(number(&json!({"update_id": "x"})), None);
    }

    #[test]
    fn a_command_for_another_bot_is_not_ours() {
        assert_eq!(addressed("/restart@The_Bot force", "the_bot").as_deref(), Some("/restart force"));
        assert_eq!(addressed("/restart@other_bot", "the_bot"), None);
        assert_eq!(addressed("/restart", "the_bot").as_deref(), Some("/restart"));
        assert_eq!(addressed("mail a@b.example", "the_bot").as_deref(), Some("mail a@b.example"));
        assert_eq!(addressed("/etc/x@y", "the_bot").as_deref(), Some("/etc/x@y"));
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_for_a_command(text in "\\PC{0,40}", bot in "[a-z_]{1,8}") {
            let _read = addressed(&text, &bot);
        }
    }
}
