//! What a child process prints, made fit for a chat: bytes that arrive in arbitrary pieces become clean text, within a
//! limit, and of its complaints the tail is kept. It never reads anything itself and never blocks.

/// How much of stderr is kept, in bytes.
const TAIL_BYTES: usize = 4096;

/// A reply as it grows. Invalid UTF-8 becomes U+FFFD; control characters other than newline and tab are dropped (a chat
/// is no terminal, and a NUL breaks more than one platform).
#[derive(Debug)]
pub(super) struct Reply {
    text: String,
    /// The beginning of a character whose rest has not arrived: at most three bytes between two calls.
    undecoded: Vec<u8>,
    /// Bytes heard, whatever became of them: garbage counts too, or it could go on for ever.
    heard: usize,
    /// Bytes of `text` that were handed out by `tell`.
    told: usize,
    max_bytes: usize,
    is_too_long: bool,
}

impl Reply {
    /// An empty reply that may grow to `max_bytes`.
    pub(super) fn new(max_bytes: usize) -> Reply {
        Reply { text: String::new(), undecoded: Vec::new(), heard: 0, told: 0, max_bytes, is_too_long: false }
    }

    /// The same, begun by what was said and told before.
    pub(super) fn continuing(mut self, said: &str) -> Reply {
        self.text = said.to_owned();
        self.told = said.len();
        self
    }

    /// What there is of it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Takes the next piece of output.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.heard = self.heard.saturating_add(bytes.len());
        self.undecoded.extend_from_slice(bytes);
        let arrived = std::mem::take(&mut self.undecoded);
        let mut chunks = arrived.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.text.extend(chunk.valid().chars().filter(|letter| is_plain(*letter)));
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && is_unfinished(invalid) {
                self.undecoded = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        if self.heard > self.max_bytes || self.text.len() > self.max_bytes {
            self.is_too_long = true;
            cut(&mut self.text, self.max_bytes);
            self.undecoded.clear();
        }
    }

    /// The output has ended: an unfinished character will stay unfinished.
    pub(super) fn finish(&mut self) {
        if !self.undecoded.is_empty() {
            self.undecoded.clear();
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// More was printed than a reply may hold; the text then stands cut at a character's boundary.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// What `tell` has not handed out yet. Newlines at the end wait: they are trimmed if nothing follows them.
    pub(super) fn news(&self) -> &str {
        let end = self.text.trim_end_matches('\n').len();
        &self.text[self.told.min(end)..end]
    }

    /// Hands out the news, once.
    pub(super) fn tell(&mut self) -> String {
        let news = self.news().to_owned();
        self.told += news.len();
        news
    }

    /// The whole reply, without the newlines at its end.
    pub(super) fn into_text(mut self) -> String {
        self.text.truncate(self.text.trim_end_matches('\n').len());
        self.text
    }
}

/// The last 4 KiB of what was printed.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    dropped: bool,
}

impl Tail {
    /// Takes the next piece of output.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some(excess) = self.bytes.len().checked_sub(TAIL_BYTES).filter(|excess| *excess > 0) {
            self.bytes.drain(..excess);
            self.dropped = true;
        }
    }

    /// The tail as clean text, begun with an ellipsis when something came before it; empty when nothing was printed.
    pub(super) fn text(&self) -> String {
        let begin = self.bytes.iter().take(3).take_while(|byte| self.dropped && **byte & 0xC0 == 0x80).count();
        let text = String::from_utf8_lossy(&self.bytes[begin..]);
        let text: String = text.chars().filter(|letter| is_plain(*letter)).collect();
        let ellipsis = if self.dropped { "…" } else { "" };
        format!("{ellipsis}{}", text.trim_end())
    }
}

fn is_plain(letter: char) -> bool {
    matches!(letter, '\n' | '\t') || !letter.is_control()
}

/// Whether `bytes` may be the beginning of a character, rather than wrong.
fn is_unfinished(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

/// Shortens `text` to `max_bytes` or a little less, never inside a character.
fn cut(text: &mut String, max_bytes: usize) {
    let mut end = max_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(pieces: &[&[u8]], max_bytes: usize) -> Reply {
        let mut reply = Reply::new(max_bytes);
        pieces.iter().for_each(|piece| reply.hear(piece));
        reply.finish();
        reply
    }

    #[test]
    fn the_same_bytes_give_the_same_text_however_they_are_cut() {
        let bytes = "aé\u{1F600}\u{0}z\u{1b}[0m\r\n\tü\n\n".as_bytes().iter().copied().chain([0xFF, b'x', 0xE2, 0x82]);
        let bytes: Vec<u8> = bytes.collect();
        let whole = reply(&[&bytes], 1000).into_text();
        assert_eq!(whole, "aé\u{1F600}z[0m\n\tü\n\n\u{FFFD}x\u{FFFD}");
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(reply(&pieces, 1000).into_text(), whole, "cut at {first} and {second}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(reply(&single, 1000).into_text(), whole);
    }

    #[test]
    fn what_is_told_is_always_a_prefix_of_the_reply() {
        let mut reply = Reply::new(1000);
        let mut told = String::new();
        for piece in ["one\n", "\n", "two", "\n\n"] {
            reply.hear(piece.as_bytes());
            told += &reply.tell();
        }
        assert_eq!(reply.news(), "");
        assert_eq!(told, "one\n\ntwo");
        assert_eq!(reply.into_text(), "one\n\ntwo");
    }

    #[test]
    fn too_long_means_more_than_the_limit_and_is_cut_between_characters() {
        assert!(!reply(&[b"12345"], 5).is_too_long());
        let long = reply(&["ééé".as_bytes()], 5);
        assert!(long.is_too_long());
        assert_eq!(long.into_text(), "éé");
        assert!(reply(&[&[0; 6]], 5).is_too_long(), "bytes that leave no text count too");
        let garbage = reply(&[&[0xFF; 5]], 5);
        assert!(garbage.is_too_long(), "five wrong bytes are fifteen bytes of text");
        assert_eq!(garbage.into_text(), "\u{FFFD}");
    }

    #[test]
    fn the_tail_keeps_the_last_4_kib_and_never_half_a_character() {
        let mut tail = Tail::default();
        assert_eq!(tail.text(), "");
        tail.hear(b"short\x07\n");
        assert_eq!(tail.text(), "short");
        tail.hear("é".repeat(50_000).as_bytes());
        tail.hear(b"!\n");
        let text = tail.text();
        assert!(text.starts_with("…é") && text.ends_with("é!"), "{text}");
        assert!((4090..=4096 + "…".len()).contains(&text.len()), "{}", text.len());
    }
}
