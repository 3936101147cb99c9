//! Bytes into lines, within limits: a line that is too long is skipped to its end and told as such, so that what an agent
//! prints can neither fill the memory nor stop the lines behind it.

/// The longest line that is read; results of tools and pictures travel in lines, too.
const LONGEST: usize = 8 * 1024 * 1024;

/// Lines as they come.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    skipping: Skipping,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Skipping {
    #[default]
    No,
    ToTheNextLine,
}

/// One line, or what is left of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line, without its end. Never empty.
    Line(Vec<u8>),
    /// The line was too long.
    TooLong,
}

impl Lines {
    /// Takes bytes in and gives the lines that they complete.
    pub(super) fn hear(&mut self, mut bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(&bytes[..end], &mut pieces);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.begun);
            let line = line.strip_suffix(b"\r").map(<[u8]>::to_vec).unwrap_or(line);
            if self.skipping == Skipping::No && !line.iter().all(u8::is_ascii_whitespace) {
                pieces.push(Piece::Line(line));
            }
            self.skipping = Skipping::No;
        }
        self.add(bytes, &mut pieces);
        pieces
    }

    fn add(&mut self, bytes: &[u8], pieces: &mut Vec<Piece>) {
        if self.skipping == Skipping::ToTheNextLine {
            return;
        }
        if self.begun.len() + bytes.len() > LONGEST {
            self.begun = Vec::new();
            self.skipping = Skipping::ToTheNextLine;
            pieces.push(Piece::TooLong);
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Piece {
        Piece::Line(text.into())
    }

    #[test]
    fn lines_arrive_in_any_pieces_and_empty_ones_are_none() {
        let mut lines = Lines::default();
        assert_eq!(lines.hear(b"on"), []);
        assert_eq!(lines.hear(b"e\r\n\n  \ntwo\nth"), [line("one"), line("two")]);
        assert_eq!(lines.hear(b"ree\n"), [line("three")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_costs_no_memory_and_no_other_line() {
        let mut lines = Lines::default();
        let much = vec![b'x'; 1 << 20];
        let told: Vec<Piece> = (0..64).flat_map(|_| lines.hear(&much)).collect();
        assert_eq!(told, [Piece::TooLong]);
        assert_eq!(lines.begun.capacity(), 0);
        assert_eq!(lines.hear(b"end of it\nnext\n"), [line("next")]);
    }
}
