//! What a command has printed, as much of it as is kept: when it is more, the beginning goes. It reads nothing itself.

/// The most that is kept of one command's output, in bytes.
pub(super) const MOST: usize = 1 << 20;

/// The output of a command.
#[derive(Debug)]
pub(super) struct Screen {
    bytes: Vec<u8>,
    most: usize,
    cut: bool,
}

impl Screen {
    /// Nothing printed yet. So many bytes are kept, and never more than [`MOST`].
    pub(super) fn new(most: Option<u64>) -> Self {
        let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(MOST).min(MOST);
        Self { bytes: Vec::new(), most, cut: false }
    }

    /// Takes the next piece.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Not each time: what goes is moved away from what stays.
        if self.bytes.len() > self.most.saturating_mul(2) {
            self.trim();
        }
    }

    fn trim(&mut self) {
        if let Some(excess) = self.bytes.len().checked_sub(self.most).filter(|excess| *excess > 0) {
            self.bytes.drain(..excess);
            self.cut = true;
        }
    }

    /// What is kept, as text, and whether something before it is gone. It begins with a whole character, and while more may
    /// come it ends with one.
    pub(super) fn text(&mut self, more_may_come: bool) -> (String, bool) {
        self.trim();
        let rest = self.bytes.iter().take(3).take_while(|byte| self.cut && **byte & 0xC0 == 0x80).count();
        let bytes = &self.bytes[rest..];
        let end = match std::str::from_utf8(bytes) {
            Err(error) if more_may_come && error.error_len().is_none() => error.valid_up_to(),
            _ => bytes.len(),
        };
        let mut text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        // A wrong byte has become three.
        let mut begin = text.len().saturating_sub(self.most);
        while !text.is_char_boundary(begin) {
            begin += 1;
        }
        text.drain(..begin);
        (text, self.cut || begin > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(most: u64, pieces: &[&[u8]]) -> (String, bool) {
        let mut screen = Screen::new(Some(most));
        pieces.iter().for_each(|piece| screen.hear(piece));
        screen.text(false)
    }

    #[test]
    fn the_end_is_kept_and_begins_with_a_whole_character() {
        for (most, expected, cut) in [
            (8, "aéb€c", false),
            (7, "éb€c", true),
            (6, "b€c", true),
            (5, "b€c", true),
            (4, "€c", true),
            (3, "c", true),
        ] {
            let bytes = "aéb€c".as_bytes();
            for at in 0..bytes.len() {
                let pieces = [&bytes[..at], &bytes[at..]];
                assert_eq!(shown(most, &pieces), (expected.into(), cut), "{most} bytes, cut at {at}");
            }
        }
        assert_eq!(shown(0, &[b"abc"]), (String::new(), true));
        assert_eq!(shown(0, &[]), (String::new(), false));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_comes_in_whatever_pieces_its_end_is_shown_within_the_limit(
            pieces in proptest::collection::vec(prop_oneof!["[a-zé€\u{1F600}]{0,9}".prop_map(String::into_bytes), any::<Vec<u8>>()], 0..9),
            most in 0_u64..40,
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let whole = pieces.concat();
            let (text, cut) = shown(most, &pieces);
            prop_assert!(text.len() as u64 <= most);
            prop_assert!(String::from_utf8_lossy(&whole).ends_with(&text));
            prop_assert!(cut || String::from_utf8_lossy(&whole) == text);
            prop_assert_eq!((text, cut), shown(most, &[&whole]));
        }
    }

    #[test]
    fn a_flood_costs_no_more_than_twice_what_is_kept() {
        let mut screen = Screen::new(Some(u64::MAX));
        for _ in 0..100 {
            screen.hear(&[b'x'; 64 * 1024]);
            assert!(screen.bytes.len() <= 2 * MOST);
        }
        assert_eq!(screen.text(true), ("x".repeat(MOST), true));
    }

    #[test]
    fn what_is_no_text_is_marked_and_stays_within_the_limit() {
        assert_eq!(shown(9, &[b"a\xffb"]), ("a\u{FFFD}b".into(), false));
        assert_eq!(shown(3, &[b"a\xffb"]), ("b".into(), true));
    }

    #[test]
    fn half_a_character_is_not_shown_before_its_rest_can_no_longer_come() {
        let mut screen = Screen::new(None);
        screen.hear(b"a\xe2\x82");
        assert_eq!(screen.text(true), ("a".into(), false));
        assert_eq!(screen.text(false), ("a\u{FFFD}".into(), false));
        screen.hear(b"\xac");
        assert_eq!(screen.text(true), ("a€".into(), false));
    }
}
