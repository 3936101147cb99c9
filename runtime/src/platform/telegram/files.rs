//! Files that come with messages: fetched into the state directory before the message counts. One that is too large or cannot
//! be had is a line in the message's text, so that neither side wonders where it is.

use super::api::{Api, Trouble};
use super::settings::Settings;
use super::update::{Heard, Sent};
use crate::files::{Fresh, folder, safe_name, shown};
use crate::platform::{Attachment, Health, Port};
use std::path::Path;
use std::time::Duration;

/// The most files that one message brings; the server sends each file of an album as a message of its own.
const FILES: usize = 10;
/// What the server hands out at most, in bytes.
const SERVER_LIMIT: u64 = 20 << 20;

/// The first pause before a file is asked for again; doubled up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(4);
/// How often a file is asked for that the server fails to give, or gives half of: for half a minute. A server that cannot be reached,
/// or that asks for quiet, is waited for however long it takes: the message does not count before.
const TRIES: u32 = 10;

/// What was fetched.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// What is there.
    pub files: Vec<Attachment>,
    /// A line for each file that is not.
    pub notes: Vec<String>,
}

/// Fetches the files of a message. The same message fetched again writes the same files again.
pub async fn fetch(api: &Api, port: &Port, settings: &Settings, heard: &Heard) -> Fetched {
    let mut fetched = Fetched::default();
    let limit = settings.file_limit.min(SERVER_LIMIT);
    for (place, file) in heard.files.iter().take(FILES).enumerate() {
        let called = file.name.as_deref().unwrap_or("without a name");
        if let Some(size) = file.size.filter(|size| *size > limit) {
            fetched.notes.push(format!(
                "[a file of {size} bytes, {called}, was left out: more than {limit} bytes are not taken]"
            ));
            continue;
        }
        let path = folder(port.state_dir(), super::NAME).join(name(heard, place, file));
        match get(api, port, file, limit, &path).await {
            Ok(()) => fetched.files.push(Attachment {
                path,
                media_type: shown(&file.media_type),
                name: file.name.as_deref().map(shown),
            }),
            Err(why) => {
                tracing::warn!(platform = "telegram", chat = heard.chat, why, "a file was left out");
                fetched.notes.push(format!("[a file, {called}, was left out: {why}]"));
            }
        }
    }
    fetched
}

async fn get(api: &Api, port: &Port, file: &Sent, limit: u64, path: &Path) -> Result<(), String> {
    let unwritable = |error| format!("it cannot be written: {error}");
    let (mut tries, mut pause) = (1, PAUSE);
    loop {
        let mut fresh = Fresh::create(path, limit).map_err(unwritable)?;
        let Err(trouble) = api.file(&file.id, &mut fresh).await else {
            if pause > PAUSE {
                port.health(Health::Up);
            }
            return fresh.finish().await.map_err(unwritable);
        };
        let length = match trouble {
            Trouble::SlowDown(length) => length,
            Trouble::Unknown(_) | Trouble::Garbled(_) if tries >= TRIES => return Err(trouble.to_string()),
            Trouble::NotDone(_) | Trouble::Unknown(_) | Trouble::Garbled(_) => {
                tries += u32::from(!matches!(trouble, Trouble::NotDone(_)));
                let length = pause;
                pause = (pause * 2).min(LONGEST);
                length
            }
            _ => return Err(trouble.to_string()),
        };
        super::wait(port, format!("a file that came with a message cannot be had yet: {trouble}"), length).await;
    }
}

/// A name that tells files apart.
fn name(heard: &Heard, place: usize, file: &Sent) -> String {
    let message = heard.native.replace(|one: char| !one.is_ascii_alphanumeric(), "_");
    format!("{}-{message}-{place}-{}", heard.chat, safe_name(file.name.as_deref(), &file.media_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_of_each_message_has_a_name_of_its_own() {
        let file =
            Sent { id: "x".into(), size: None, name: Some("../a b.txt".into()), media_type: "text/plain".into() };
        let heard = |native: &str| Heard {
            chat: -5,
            thread: None,
            sender: 1,
            name: "Ada".into(),
            native: native.into(),
            text: String::new(),
            files: Vec::new(),
            callback: None,
        };
        assert_eq!(name(&heard("7"), 0, &file), "-5-7-0-_a_b.txt");
        assert_eq!(name(&heard("callback.7"), 1, &file), "-5-callback_7-1-_a_b.txt");
    }
}
