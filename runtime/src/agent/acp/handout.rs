//! What an agent hands out in a turn: pictures, sounds and other contents that are no text. They are put into the outbox of the run
//! one after the other, on threads of their own, and go with the reply if there is one.

use super::wire::Blob;
use crate::environment::BoxFuture;
use crate::files::{Handed, Outbox, ending, safe_name};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most things that one turn hands out; the outbox takes fewer and says how many there were.
const MOST: usize = 100;
/// What may wait for the disk, in bytes.
const WAITING_BYTES: usize = 64 << 20;

/// The handing out of one turn.
pub(super) struct Handout {
    state_dir: PathBuf,
    turn: u64,
    /// Made for the first thing.
    outbox: Option<Arc<Outbox>>,
    count: usize,
    waiting: VecDeque<(usize, Blob)>,
    waiting_bytes: usize,
    keeping: Option<BoxFuture<Result<Arc<Outbox>, String>>>,
}

impl Handout {
    pub(super) fn new(state_dir: PathBuf, turn: u64) -> Self {
        let (outbox, waiting, keeping) = (None, VecDeque::new(), None);
        Self { state_dir, turn, outbox, count: 0, waiting, waiting_bytes: 0, keeping }
    }

    /// Takes in one thing. What cannot be kept is told in the log; the turn goes on.
    pub(super) fn add(&mut self, blob: Blob) {
        if self.count >= MOST {
            return self.missed(&format!("it has handed out {MOST} things in this turn"));
        }
        if self.waiting_bytes + blob.size() > WAITING_BYTES {
            return self.missed("the disk does not keep up with it");
        }
        self.count += 1;
        self.waiting_bytes += blob.size();
        self.waiting.push_back((self.count, blob));
    }

    fn missed(&self, why: &str) {
        tracing::warn!(turn = self.turn, why, "something that the agent hands out cannot be kept");
    }

    /// Keeps the next thing; waits for ever where there is none. May be dropped and called again.
    pub(super) async fn next(&mut self) {
        if self.keeping.is_none() {
            let Some((number, blob)) = self.waiting.pop_front() else { return pending().await };
            self.waiting_bytes -= blob.size();
            let (outbox, state_dir, turn) = (self.outbox.clone(), self.state_dir.clone(), self.turn);
            let keep = tokio::task::spawn_blocking(move || {
                let outbox = match outbox {
                    Some(outbox) => outbox,
                    None => Arc::new(Outbox::open(&state_dir, turn).map_err(|error| error.to_string())?),
                };
                keep(outbox.path(), number, &blob).map(|()| outbox)
            });
            self.keeping = Some(Box::pin(async { keep.await.map_err(|error| error.to_string())? }));
        }
        if let Some(keeping) = &mut self.keeping {
            let kept = keeping.await;
            self.keeping = None;
            match kept {
                Ok(outbox) => self.outbox = Some(outbox),
                Err(why) => self.missed(&why),
            }
        }
    }

    /// What goes with the reply.
    pub(super) async fn take(&mut self, limit: u64) -> Handed {
        while self.keeping.is_some() || !self.waiting.is_empty() {
            self.next().await;
        }
        match &self.outbox {
            Some(outbox) => outbox.take(limit).await,
            None => Handed::default(),
        }
    }

    /// Nothing of it is left on the disk.
    pub(super) async fn clear(mut self) {
        if self.keeping.is_some() {
            self.next().await;
        }
        if let Some(outbox) = self.outbox.take().and_then(Arc::into_inner) {
            outbox.clear().await;
        }
    }
}

fn keep(folder: &Path, number: usize, blob: &Blob) -> Result<(), String> {
    let kind = blob.media_type.split('/').next().unwrap_or_default();
    let fallback = format!("{}.{}", if kind.is_empty() { "file" } else { kind }, ending(&blob.media_type));
    // In the order in which they came, and never two under one name.
    let name = format!("{number:02}-{}", safe_name(blob.name.as_deref().or(Some(&fallback)), &blob.media_type));
    let written = match &blob.text {
        Some(text) => std::fs::write(folder.join(name), text),
        None => {
            let bytes = STANDARD.decode(blob.data.trim_ascii()).map_err(|error| error.to_string())?;
            std::fs::write(folder.join(name), bytes)
        }
    };
    written.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn things_are_handed_out_in_their_order_under_names_of_their_own() {
        let state = tempfile::tempdir().unwrap();
        let mut handout = Handout::new(state.path().to_owned(), 7);
        let blob = |name: Option<&str>, media_type: &str, data: &str, text: Option<&str>| Blob {
            name: name.map(str::to_owned),
            media_type: media_type.into(),
            data: data.into(),
            text: text.map(str::to_owned),
        };
        handout.add(blob(None, "image/png", "cGl4ZWxz", None));
        handout.add(blob(Some("../notes.txt"), "text/plain", "", Some("words")));
        handout.add(blob(None, "image/png", "no base64!", None));
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
