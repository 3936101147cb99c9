//! Forms of several parts, files among them: `multipart/form-data` (RFC 7578).

use hyper::body::Bytes;

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// The file's name and content type; `None` for a plain value.
    pub file: Option<(String, String)>,
    /// The content.
    pub content: Bytes,
}

impl Part {
    /// A plain value.
    pub fn value(name: &str, value: impl Into<Bytes>) -> Self {
        Self { name: name.to_owned(), file: None, content: value.into() }
    }

    /// A file.
    pub fn file(name: &str, file_name: &str, content_type: &str, content: Bytes) -> Self {
        Self { name: name.to_owned(), file: Some((file_name.to_owned(), content_type.to_owned())), content }
    }
}

/// A name within quotes, as browsers write it: what would end the quotes or the line is encoded.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// The body, and its content type. 128 random bits do not occur in anybody's file.
pub(super) fn write(parts: &[Part], random: impl FnOnce(&mut [u8])) -> (Bytes, String) {
    let mut bits = [0; 16];
    random(&mut bits);
    let boundary = format!("evergate-{:032x}", u128::from_be_bytes(bits));
    let mut body = Vec::with_capacity(parts.iter().map(|part| part.content.len() + 256).sum());
    for part in parts {
        let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(&part.name));
        if let Some((file_name, content_type)) = &part.file {
            let content_type: String = content_type.chars().filter(|one| !one.is_control()).collect();
            head.push_str(&format!("; filename=\"{}\"\r\nContent-Type: {content_type}", quoted(file_name)));
        }
        head.push_str("\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (body.into(), format!("multipart/form-data; boundary={boundary}"))
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
        let (body, content_type) = write(&parts, |bits| bits.fill(0xab));
        let boundary = "evergate-abababababababababababababababab";
        assert_eq!(content_type, format!("multipart/form-data; boundary={boundary}"));
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"chat\"\r\n\r\n7\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"document\"; filename=\"a%22b%0D%0AX: y.txt\"\r\n\
             Content-Type: text/plainX: y\r\n\r\n\r\n--raw\r\n--{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(body.to_vec()).unwrap(), expected);
    }
}
