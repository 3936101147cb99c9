//! What an agent hands out in a turn: pictures, sounds and other contents that are no text. They are put into the outbox of the run
//! as they come, and go with the reply if there is one.

use super::wire::Blob;
use crate::files::{Handed, Outbox, ending, safe_name};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The most things that one turn hands out; the outbox takes fewer and says how many there were.
const MOST: usize = 100;

/// The handing out of one turn.
#[derive(Debug)]
pub(super) struct Handout {
    state_dir: PathBuf,
    turn: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Made for the first thing.
    outbox: Option<Outbox>,
    count: usize,
}

impl Handout {
    pub(super) fn new(state_dir: PathBuf, turn: u64) -> Self {
        Self { state_dir, turn, state: Mutex::default() }
    }

    /// Takes in one thing. What cannot be kept is told in the log; the turn goes on.
    pub(super) fn add(&self, blob: &Blob) {
        if let Err(why) = self.keep(blob) {
            tracing::warn!(turn = self.turn, why, "something that the agent hands out cannot be kept");
        }
    }

    fn keep(&self, blob: &Blob) -> Result<(), String> {
        let bytes = match blob {
            Blob { text: Some(text), .. } => text.clone().into_bytes(),
            Blob { data, .. } => STANDARD.decode(data.trim_ascii()).map_err(|error| error.to_string())?,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.count >= MOST {
            return Err(format!("it has handed out {MOST} things in this turn"));
        }
        if state.outbox.is_none() {
            state.outbox = Some(Outbox::open(&self.state_dir, self.turn).map_err(|error| error.to_string())?);
        }
        state.count += 1;
        let kind = blob.media_type.split('/').next().unwrap_or_default();
        let fallback = format!("{}.{}", if kind.is_empty() { "file" } else { kind }, ending(&blob.media_type));
        // In the order in which they came, and never two under one name.
        let name =
            format!("{:02}-{}", state.count, safe_name(blob.name.as_deref().or(Some(&fallback)), &blob.media_type));
        let path = state.outbox.iter().map(|outbox| outbox.path().join(&name)).next().ok_or("there is no outbox")?;
        std::fs::write(path, bytes).map_err(|error| error.to_string())
    }

    /// What goes with the reply.
    pub(super) async fn take(&self, limit: u64) -> Handed {
        let outbox = self.state.lock().unwrap_or_else(PoisonError::into_inner).outbox.take();
        match outbox {
            Some(outbox) => outbox.take(limit).await,
            None => Handed::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn things_are_handed_out_in_their_order_under_names_of_their_own() {
        let state = tempfile::tempdir().unwrap();
        let handout = Handout::new(state.path().to_owned(), 7);
        let blob = |name: Option<&str>, media_type: &str, data: &str, text: Option<&str>| Blob {
            name: name.map(str::to_owned),
            media_type: media_type.into(),
            data: data.into(),
            text: text.map(str::to_owned),
        };
        handout.add(&blob(None, "image/png", "cGl4ZWxz", None));
        handout.add(&blob(Some("../notes.txt"), "text/plain", "", Some("words")));
        handout.add(&blob(None, "image/png", "no base64!", None));
        let handed = handout.take(100).await;
        let told: Vec<_> = handed
            .files
            .iter()
            .map(|file| (file.name.clone().unwrap_or_default(), std::fs::read_to_string(&file.path).unwrap()))
            .collect();
        let file = |name: &str, bytes: &str| (name.to_owned(), bytes.to_owned());
        assert_eq!(told, [file("01-image.png", "pixels"), file("02-_notes.txt", "words")]);
        assert_eq!(handout.take(100).await, Handed::default());
    }
}
