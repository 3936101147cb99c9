//! What a call sends: bytes that are there, and files that are read while they are sent, so that a large one is never in memory as
//! a whole.

use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// How much of a file is read at once.
const PIECE: u64 = 64 * 1024;

/// A part of what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// A file of so many bytes.
    File(Arc<Path>, u64),
}

impl Piece {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }
}

/// A body on its way out. A clone of one of which nothing was read yet is the same body again.
#[derive(Debug)]
pub(super) struct Upload {
    pieces: VecDeque<Piece>,
    /// The file that is being read.
    open: Option<File>,
    left: u64,
}

impl Upload {
    pub(super) fn new(pieces: Vec<Piece>) -> Self {
        let left = pieces.iter().map(Piece::size).sum();
        Self { pieces: pieces.into(), open: None, left }
    }

    fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let bytes = match self.pieces.front_mut() {
                None => return Ok(None),
                Some(Piece::Bytes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.pieces.pop_front();
                    bytes
                }
                Some(Piece::File(_, 0)) => {
                    (self.open, _) = (None, self.pieces.pop_front());
                    continue;
                }
                Some(Piece::File(path, left)) => {
                    let mut file = match self.open.take() {
                        Some(file) => file,
                        None => File::open(&**path)?,
                    };
                    let mut piece = vec![0; usize::try_from(PIECE.min(*left)).unwrap_or_default()];
                    // It was announced with so many bytes.
                    file.read_exact(&mut piece)?;
                    *left -= piece.len() as u64;
                    self.open = Some(file);
                    piece.into()
                }
            };
            self.left -= bytes.len() as u64;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}

impl Clone for Upload {
    fn clone(&self) -> Self {
        Self::new(self.pieces.iter().cloned().collect())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.next().map(|bytes| bytes.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut upload: Upload) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(bytes) = upload.next()? {
            assert!(bytes.len() as u64 <= PIECE, "{} bytes at once", bytes.len());
            all.extend_from_slice(&bytes);
        }
        assert!(upload.is_end_stream());
        Ok(all)
    }

    #[test]
    fn a_file_is_sent_piece_by_piece_between_what_stands_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = folder.path().join("file").into();
        let content: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        std::fs::write(&path, &content).unwrap();
        let bytes = |text: &'static str| Piece::Bytes(Bytes::from_static(text.as_bytes()));
        let upload = Upload::new(vec![bytes("<"), Piece::File(Arc::clone(&path), 200_000), bytes(""), bytes(">")]);
        assert_eq!(upload.size_hint().exact(), Some(200_002));
        let expected = [b"<".as_slice(), &content, b">"].concat();
        assert_eq!(read(upload.clone()).unwrap(), expected);
        assert_eq!(read(upload).unwrap(), expected);
        assert!(
            read(Upload::new(vec![Piece::File(Arc::clone(&path), 200_001)])).is_err(),
            "it is shorter than it was said"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(read(Upload::new(vec![Piece::File(path, 1)])).is_err());
    }
}
