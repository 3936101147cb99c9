//! Forms of several parts, files among them: `multipart/form-data` (RFC 7578).

use super::upload::Piece;
use hyper::body::Bytes;
use std::path::Path;

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// The file's name and content type; `None` for a plain value.
    pub file: Option<(String, String)>,
    content: Piece,
}

impl Part {
    /// A plain value.
    pub fn value(name: &str, value: impl Into<Bytes>) -> Self {
        Self { name: name.to_owned(), file: None, content: Piece::Bytes(value.into()) }
    }

    /// A file.
    pub fn file(name: &str, file_name: &str, content_type: &str, content: Bytes) -> Self {
        Self::of(name, file_name, content_type, Piece::Bytes(content))
    }

    /// A file of so many bytes on disk, which is read while it is sent.
    pub fn on_disk(name: &str, file_name: &str, content_type: &str, path: &Path, size: u64) -> Self {
        Self::of(name, file_name, content_type, Piece::File(path.into(), size))
    }

    fn of(name: &str, file_name: &str, content_type: &str, content: Piece) -> Self {
        Self { name: name.to_owned(), file: Some((file_name.to_owned(), content_type.to_owned())), content }
    }
}

/// A name within quotes, as browsers write it: what would end the quotes or the line is encoded.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// The body, and its content type. 128 random bits do not occur in anybody's file.
pub(super) fn write(parts: &[Part], random: impl FnOnce(&mut [u8])) -> (Vec<Piece>, String) {
    let mut bits = [0; 16];
    random(&mut bits);
    let boundary = format!("evergate-{:032x}", u128::from_be_bytes(bits));
    let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
    let mut between = "";
    for part in parts {
        let mut head =
            format!("{between}--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(&part.name));
        if let Some((file_name, content_type)) = &part.file {
            let content_type: String = content_type.chars().filter(|one| !one.is_control()).collect();
            head.push_str(&format!("; filename=\"{}\"\r\nContent-Type: {content_type}", quoted(file_name)));
        }
        head.push_str("\r\n\r\n");
        pieces.extend([Piece::Bytes(head.into()), part.content.clone()]);
        between = "\r\n";
    }
    pieces.push(Piece::Bytes(format!("{between}--{boundary}--\r\n").into()));
    (pieces, format!("multipart/form-data; boundary={boundary}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_written_so_that_no_name_breaks_out_of_its_line() {
        let parts = [
            Part::value("chat", "7"),
            Part::file("document", "a\"b\r\nX: y.txt", "text/plain\r\nX: y", Bytes::from_static(b"\r\n--raw")),
        ];
        let (pieces, content_type) = write(&parts, |bits| bits.fill(0xab));
        let boundary = "evergate-abababababababababababababababab";
        assert_eq!(content_type, format!("multipart/form-data; boundary={boundary}"));
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"chat\"\r\n\r\n7\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"document\"; filename=\"a%22b%0D%0AX: y.txt\"\r\n\
             Content-Type: text/plainX: y\r\n\r\n\r\n--raw\r\n--{boundary}--\r\n"
        );
        let body: Vec<u8> = pieces
            .into_iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::File(..) => panic!("no file is on disk"),
            })
            .collect();
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }
}
