//! Files: those that come with messages, fetched into the state directory before the message counts, and those that go with
//! replies, brought to the homeserver before the event that names them. A file that cannot be had or brought is a line of text.

use super::Session;
use super::api::Trouble;
use super::sync::Media;
use crate::files::{Fresh, folder, safe_name, shown};
use crate::http::Fate;
use crate::platform::{Attachment, missing};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// How often a file is asked for that the homeserver cannot give at the moment: it may have to get it from elsewhere.
const TRIES: usize = 3;
/// How often it is tried to bring a file there that gets no answer.
const UPLOADS: u32 = 5;
/// The pause between two of these.
const PAUSE: Duration = Duration::from_secs(1);

/// How far a file has come that goes with a reply.
#[derive(Clone, Debug, Default)]
pub(super) struct Brought {
    /// Where the homeserver has it.
    place: Option<String>,
    /// How often it got no answer.
    unanswered: u32,
}

impl Session<'_> {
    /// Fetches the file of an event; an error is the line that stands in its place. The same event fetched again writes the same
    /// file again. While the homeserver itself is away, the whole sync has to wait for it.
    pub(super) async fn fetch(&self, event: &str, media: &Media) -> Result<Result<Attachment, String>, Trouble> {
        let limit = self.matrix.file_limit;
        let left_out = |why: &str| Ok(Err(format!("[a file, {}, was left out: {why}]", shown(&media.name))));
        let Some((server, id)) = &media.place else { return left_out("it is encrypted, or has no address") };
        if media.size.is_some_and(|size| size > limit) {
            return left_out(&format!("more than {limit} bytes are not taken"));
        }
        let name = format!("{}-{}", safe_name(Some(event), ""), safe_name(Some(&media.name), &media.media_type));
        let path = folder(self.port.state_dir(), "matrix").join(name);
        let mut tries = 1;
        let why = loop {
            match self.get(server, id, &path).await {
                Ok(()) => {
                    let (media_type, name) = (shown(&media.media_type), Some(shown(&media.name)));
                    return Ok(Ok(Attachment { path, media_type, name }));
                }
                Err(Trouble::Refused { why }) => break why,
                Err(Trouble::Passing { why, fate: Fate::Unknown | Fate::Answered, .. }) if tries >= TRIES => break why,
                Err(Trouble::Passing { fate: Fate::Unknown | Fate::Answered, .. }) => tries += 1,
                Err(trouble) => return Err(trouble),
            }
            let environment = self.port.environment();
            environment.sleep_until(environment.now() + PAUSE).await;
        };
        tracing::warn!(platform = "matrix", event, why, "a file was left out");
        left_out(&why)
    }

    async fn get(&self, server: &str, id: &str, path: &Path) -> Result<(), Trouble> {
        let unwritable = |error: std::io::Error| Trouble::Refused { why: format!("it cannot be written: {error}") };
        let mut fresh = Fresh::create(path, self.matrix.file_limit).map_err(unwritable)?;
        self.api.download(server, id, &mut fresh).await?;
        fresh.finish().await.map_err(unwritable)
    }

    /// What an event says that carries this file. How far it has come is noted in `brought`, for another try.
    pub(super) async fn content_of(&self, file: &Attachment, brought: &mut Brought) -> Result<Value, Trouble> {
        let left_out = |why: &str| json!({"msgtype": "m.text", "body": missing(file, why)});
        let name = file.name.as_deref().unwrap_or("file");
        let size = match file.path.metadata() {
            Ok(found) => found.len(),
            Err(error) => return Ok(left_out(&format!("it cannot be read any more ({error})"))),
        };
        if brought.place.is_none() {
            match self.api.upload(name, &file.media_type, &file.path, size).await {
                Ok(place) => brought.place = Some(place),
                Err(Trouble::Passing { why, fate: Fate::Unknown | Fate::Answered, .. })
                    if brought.unanswered + 1 >= UPLOADS =>
                {
                    tracing::warn!(platform = "matrix", why, "a file cannot be brought to the homeserver");
                    return Ok(left_out("it could not be brought to the homeserver"));
                }
                Err(Trouble::Refused { why }) => {
                    tracing::warn!(platform = "matrix", why, "a file is not taken");
                    return Ok(left_out("the homeserver does not take it"));
                }
                Err(trouble) => {
                    let counts = matches!(&trouble, Trouble::Passing { fate: Fate::Unknown | Fate::Answered, .. });
                    brought.unanswered += u32::from(counts);
                    return Err(trouble);
                }
            }
        }
        Ok(json!({
            "msgtype": message_type(&file.media_type), "body": name, "filename": name, "url": brought.place,
            "info": {"mimetype": file.media_type, "size": size},
        }))
    }
}

/// How a chat shows a file of this type.
fn message_type(media_type: &str) -> &'static str {
    match media_type.split('/').next() {
        // What may hold a program is a picture for nobody.
        Some("image") if media_type != "image/svg+xml" => "m.image",
        Some("audio") => "m.audio",
        Some("video") => "m.video",
        _ => "m.file",
    }
}

#[cfg(test)]
mod tests {
    use super::message_type;

    #[test]
    fn a_file_is_shown_as_what_it_is() {
        let types = ["image/png", "image/svg+xml", "audio/ogg", "video/mp4", "text/plain", ""].map(message_type);
        assert_eq!(types, ["m.image", "m.file", "m.audio", "m.video", "m.file", "m.file"]);
    }
}
