//! A file of at most one block that is written again and again, in its place: to give the disk back the block of a small file and
//! take it again would cost a start more time than all else that is done there, and needs room on a disk that may be full.

use std::fs::File;
use std::io::{Seek, Write};

/// What the disk gives to a small file, in bytes.
const ONE_BLOCK: usize = 4096;

/// Puts this in the place of what stands in the file, in one piece, and blanks behind it.
pub fn overwrite(file: &mut File, mut text: Vec<u8>) -> std::io::Result<()> {
    match usize::try_from(file.metadata()?.len()) {
        Ok(former) if former <= ONE_BLOCK => text.resize(text.len().max(former), b' '),
        _ => file.set_len(0)?,
    }
    file.rewind()?;
    file.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_there_is_gone_whatever_its_length() {
        let mut file = tempfile::tempfile().unwrap();
        let read = |file: &mut File| {
            let mut text = String::new();
            file.rewind().unwrap();
            std::io::Read::read_to_string(file, &mut text).unwrap();
            text
        };
        for (length, padded) in [(0, 5), (3, 5), (100, 100), (ONE_BLOCK, ONE_BLOCK), (3 * ONE_BLOCK, ONE_BLOCK * 3)] {
            overwrite(&mut file, vec![b'x'; length]).unwrap();
            overwrite(&mut file, b"short".to_vec()).unwrap();
            let text = read(&mut file);
            assert_eq!(text.trim_end_matches(' '), "short");
            assert_eq!(text.len(), if length > ONE_BLOCK { 5 } else { padded }, "{length}");
        }
    }
}
