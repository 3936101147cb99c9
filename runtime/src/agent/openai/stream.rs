//! What a model says, as server-sent events: bytes in whatever pieces the network makes of them become events. A character
//! or an event that is cut between two pieces is put together again; one that is cut for good is no event.

use serde_json::Value;

/// The longest event in bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// The frames of a stream.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What has come and is no whole line yet.
    bytes: Vec<u8>,
    /// The data of the event that has begun.
    data: Vec<u8>,
}

/// An event that is longer than anybody needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Frames {
    /// Takes the next bytes and gives the data of the events that are whole with them.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        self.bytes.extend_from_slice(bytes);
        let mut whole = Vec::new();
        let mut begin = 0;
        while let Some(length) = self.bytes[begin..].iter().position(|byte| *byte == b'\n') {
            let line = &self.bytes[begin..begin + length];
            begin += length + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                if !self.data.is_empty() {
                    whole.push(std::mem::take(&mut self.data));
                }
            } else if let Some(data) = line.strip_prefix(b"data:") {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            }
        }
        self.bytes.drain(..begin);
        if self.bytes.len() + self.data.len() > LONGEST { Err(TooLong) } else { Ok(whole) }
    }
}

/// What one event says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Saying {
    /// A piece of the answer, perhaps empty, and why it ends here if it does.
    Piece {
        /// The text.
        text: String,
        /// Why it ends.
        finish: Option<String>,
        /// The model wants a tool called.
        tools: bool,
    },
    /// The stream is over.
    Done,
    /// Something went wrong at the server.
    Error {
        /// What, in its words.
        why: String,
        /// Whether asking again may help.
        passing: bool,
    },
    /// Nothing that was asked for (usage, a ping).
    Nothing,
    /// No JSON.
    Garbage,
}

/// Reads an event, or a whole answer of a server that does not stream.
pub(super) fn read(data: &[u8]) -> Saying {
    if data.trim_ascii() == b"[DONE]" {
        return Saying::Done;
    }
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return Saying::Garbage };
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return read_error(error);
    }
    let choice = &value["choices"][0];
    if choice.is_null() {
        return Saying::Nothing;
    }
    let said = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
    Saying::Piece {
        text: said["content"].as_str().unwrap_or_default().to_owned(),
        finish: choice["finish_reason"].as_str().map(str::to_owned),
        tools: said["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty()),
    }
}

fn read_error(error: &Value) -> Saying {
    let why = error["message"].as_str().or(error.as_str()).map_or_else(|| error.to_string(), str::to_owned);
    let status = error["code"].as_u64().or_else(|| error["status"].as_u64());
    let word = |field: &str| error[field].as_str().unwrap_or_default().to_ascii_lowercase();
    let words = [word("type"), word("code")].concat();
    let passing = status.is_some_and(|status| status == 429 || status >= 500)
        || ["overloaded", "server_error", "rate_limit"].iter().any(|known| words.contains(known));
    Saying::Error { why, passing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str) -> Saying {
        Saying::Piece { text: text.into(), finish: None, tools: false }
    }

    #[test]
    fn events_come_out_whole_however_the_bytes_are_cut() {
        let stream = ": ping\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"Gr\u{fc}\u{df}e \u{1f44b}\"}}]}\n\nevent: x\ndata:[DONE]\n\ndata: {\"cut";
        for step in 1..stream.len() {
            let mut frames = Frames::default();
            let whole: Vec<_> = stream
                .as_bytes()
                .chunks(step)
                .flat_map(|bytes| frames.hear(bytes).unwrap())
                .map(|data| read(&data))
                .collect();
            assert_eq!(whole, [piece("Gr\u{fc}\u{df}e \u{1f44b}"), Saying::Done], "in steps of {step}");
        }
        let mut frames = Frames::default();
        assert_eq!(frames.hear(b"data: a\ndata: b\n\n").unwrap(), [b"a\nb"]);
        assert_eq!(frames.hear(&vec![b'x'; LONGEST + 1]), Err(TooLong));
    }

    #[test]
    fn everything_that_a_server_may_say_is_read_as_what_it_is() {
        let finished = |finish: &str, tools| Saying::Piece { text: String::new(), finish: Some(finish.into()), tools };
        for (data, expected) in [
            (r#"{"choices":[{"delta":{"role":"assistant"}}]}"#, piece("")),
            (r#"{"choices":[{"delta":{"content":null},"finish_reason":"stop"}]}"#, finished("stop", false)),
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]},"finish_reason":"tool_calls"}]}"#,
                finished("tool_calls", true),
            ),
            (r#"{"choices":[],"usage":{"total_tokens":3}}"#, Saying::Nothing),
            (r#"{"choices":[{"message":{"content":"whole"}}]}"#, piece("whole")),
            (r#"{"error":"no"}"#, Saying::Error { why: "no".into(), passing: false }),
            (r#"{"error":{"message":"slow","code":503}}"#, Saying::Error { why: "slow".into(), passing: true }),
            (
                r#"{"error":{"message":"slow","type":"server_error"}}"#,
                Saying::Error { why: "slow".into(), passing: true },
            ),
            (r#"{"choices":[{"#, Saying::Garbage),
            ("<html>", Saying::Garbage),
            ("7", Saying::Nothing),
        ] {
            assert_eq!(read(data.as_bytes()), expected, "{data}");
        }
    }
}
