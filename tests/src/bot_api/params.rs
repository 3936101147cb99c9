//! The parameters of a call, however its client wrote them: as JSON, as a form, in the address, or in parts with files.

use serde_json::{Map, Value};

/// A file that came with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The name of its field.
    pub field: String,
    /// The name that the client gave it.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The parameters of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    values: Map<String, Value>,
    /// The files.
    pub uploads: Vec<Upload>,
}

impl Params {
    /// Reads them from the address and the body.
    pub fn read(query: &str, content_type: &str, body: &[u8]) -> Self {
        let mut params = Self::default();
        params.form(query.as_bytes());
        if let Some((_, boundary)) = content_type.split_once("boundary=") {
            params.parts(boundary.trim_matches('"').as_bytes(), body);
        } else if content_type.starts_with("application/json") {
            if let Ok(Value::Object(values)) = serde_json::from_slice(body) {
                params.values.extend(values);
            }
        } else {
            params.form(body);
        }
        params
    }

    fn form(&mut self, form: &[u8]) {
        for pair in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decoded(halves.next().unwrap_or_default());
            self.values.insert(name, Value::String(decoded(halves.next().unwrap_or_default())));
        }
    }

    fn parts(&mut self, boundary: &[u8], body: &[u8]) {
        let mark = [b"--", boundary].concat();
        for part in split(body, &mark) {
            let Some(at) = find(part, b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&part[..at]).into_owned();
            let content = &part[at + 4..];
            let content = content.strip_suffix(b"\r\n").unwrap_or(content);
            let quoted = |key: &str| Some(head.split(&format!("; {key}=\"")).nth(1)?.split('"').next()?.to_owned());
            let Some(field) = quoted("name") else { continue };
            match quoted("filename") {
                Some(name) => self.uploads.push(Upload { field, name, bytes: content.to_vec() }),
                None => {
                    let text = String::from_utf8_lossy(content).into_owned();
                    self.values.insert(field, Value::String(text));
                }
            }
        }
    }

    /// A text; `None` when it is not there.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// A whole number, written as one or as a text.
    pub fn number(&self, name: &str) -> Option<i64> {
        let value = self.values.get(name)?;
        value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
    }

    /// Whether something is wanted.
    pub fn wanted(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
    }

    /// An object or list; forms carry them as JSON in a text.
    pub fn structure(&self, name: &str) -> Option<Value> {
        match self.values.get(name)? {
            Value::String(text) => serde_json::from_str(text).ok(),
            Value::Null => None,
            other => Some(other.clone()),
        }
    }
}

/// A text as it was before it was written into an address or a form.
pub fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn split<'a>(mut text: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = find(text, mark) {
        parts.push(&text[..at]);
        text = &text[at + mark.len()..];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_parameters_are_read_from_every_form() {
        let json = Params::read("", "application/json", br#"{"chat_id": 7, "text": "a b"}"#);
        let form = Params::read("", "application/x-www-form-urlencoded", b"chat_id=7&text=a+%62");
        let address = Params::read("chat_id=7&text=a%20b", "", b"");
        let parts = Params::read(
            "",
            "multipart/form-data; boundary=XX",
            b"--XX\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n7\r\n--XX\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\na b\r\n\
              --XX\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n\x00\r\n\xff\r\n--XX--\r\n",
        );
        for params in [&json, &form, &address, &parts] {
            assert_eq!((params.number("chat_id"), params.text("text").as_deref()), (Some(7), Some("a b")));
        }
        assert_eq!(
            parts.uploads,
            [Upload { field: "photo".into(), name: "a.jpg".into(), bytes: b"\x00\r\n\xff".to_vec() }]
        );
    }
}
