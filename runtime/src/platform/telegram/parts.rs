//! What a delivery is made of: texts that fit into a message each, and behind them its files, each a message of its own. A file
//! that cannot be sent is a line of text in its place.

use super::api::LARGEST;
use super::send::PART;
use super::split;
use crate::platform::{Attachment, Outgoing, missing};

/// A turn that ended well and said nothing.
const NOTHING: &str = "(The agent ended without an answer.)";

/// Which message of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// So many texts stand before it.
    Text(usize),
    /// So many files stand before it, and all texts.
    File(usize),
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A text.
    Text(String),
    /// A file of so many bytes.
    File(Attachment, u64),
}

/// The messages of a delivery, in order.
pub fn parts(outgoing: &Outgoing) -> Vec<(Slot, Part)> {
    let mut texts = split::split(&outgoing.text, PART);
    if texts.is_empty() && outgoing.files.is_empty() {
        texts.push(NOTHING.to_owned());
    }
    let texts = texts.into_iter().enumerate().map(|(place, text)| (Slot::Text(place), Part::Text(text)));
    let files = outgoing.files.iter().enumerate().map(|(place, file)| (Slot::File(place), part(file)));
    texts.chain(files).collect()
}

/// A file as it can be sent.
fn part(file: &Attachment) -> Part {
    let size = match file.path.metadata() {
        Ok(found) => found.len(),
        Err(error) => return Part::Text(missing(file, &format!("it cannot be read any more ({error})"))),
    };
    match size {
        // The server takes none that is empty.
        0 => Part::Text(missing(file, "it is empty")),
        1..=LARGEST => Part::File(file.clone(), size),
        _ => Part::Text(missing(file, &format!("it has {size} bytes, and the server takes {LARGEST} at most"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{Chat, Repeat, Saying};

    #[test]
    fn files_stand_behind_the_texts_and_what_cannot_be_sent_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, size: u64| {
            let path = folder.path().join(name);
            std::fs::File::create(&path).unwrap().set_len(size).unwrap();
            Attachment { path, media_type: "text/plain".into(), name: Some(name.into()) }
        };
        let (good, empty, large) = (file("good", 3), file("empty", 0), file("large", LARGEST + 1));
        let gone = Attachment { path: folder.path().join("gone"), ..good.clone() };
        let mut outgoing = Outgoing {
            delivery: 1,
            chat: Chat { platform: "telegram".into(), chat: "1".into(), thread: None },
            what: Saying::Reply { turn: 1, to: Vec::new() },
            text: "look".into(),
            files: vec![good.clone(), empty, large, gone],
            repeat: Repeat::No,
        };
        let made = parts(&outgoing);
        assert_eq!(made[0], (Slot::Text(0), Part::Text("look".into())));
        assert_eq!(made[1], (Slot::File(0), Part::File(good, 3)));
        for ((slot, part), (place, words)) in made[2..].iter().zip([(1, "empty"), (2, "at most"), (3, "any more")]) {
            assert!(matches!(part, Part::Text(text) if text.contains(words)), "{part:?}");
            assert_eq!(*slot, Slot::File(place));
        }
        outgoing.text.clear();
        assert_eq!(parts(&outgoing)[0].0, Slot::File(0), "a file is an answer");
        outgoing.files.clear();
        assert_eq!(parts(&outgoing), [(Slot::Text(0), Part::Text(NOTHING.into()))]);
    }
}
