//! What the server says to the bot, in the words of the real one: clients tell errors apart by them.

use hyper::StatusCode;
use serde_json::{Value, json};

/// An answer to a call of a method.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was done.
    Done(Value),
    /// It was not.
    Refused {
        /// The HTTP status, and the `error_code`.
        code: u16,
        /// What is wrong.
        description: String,
        /// When to come again, in seconds.
        retry_after: Option<u64>,
    },
    /// A file's bytes.
    File(Vec<u8>),
    /// Bytes that are no JSON.
    Garbage,
    /// The connection ends here.
    Cut,
}

impl Answer {
    /// A refusal.
    pub fn refused(code: u16, description: &str) -> Self {
        Self::Refused { code, description: description.to_owned(), retry_after: None }
    }

    /// 400, as the real server begins all of them.
    pub fn bad_request(why: &str) -> Self {
        Self::refused(400, &format!("Bad Request: {why}"))
    }

    /// 401: the token was made up or revoked.
    pub fn unauthorized() -> Self {
        Self::refused(401, "Unauthorized")
    }

    /// 404: no such token or method.
    pub fn not_found() -> Self {
        Self::refused(404, "Not Found")
    }

    /// 409.
    pub fn conflict(why: &str) -> Self {
        Self::refused(409, &format!("Conflict: {why}"))
    }

    /// 429.
    pub fn slow_down(seconds: u64) -> Self {
        let description = format!("Too Many Requests: retry after {seconds}");
        Self::Refused { code: 429, description, retry_after: Some(seconds) }
    }

    /// As it goes over HTTP; `None` when the connection is cut.
    pub fn encoded(self) -> Option<(StatusCode, Vec<u8>)> {
        let (status, body) = match self {
            Self::Done(result) => (200, json!({"ok": true, "result": result}).to_string().into_bytes()),
            Self::Refused { code, description, retry_after } => {
                let mut body = json!({"ok": false, "error_code": code, "description": description});
                if let Some(seconds) = retry_after {
                    body["parameters"] = json!({"retry_after": seconds});
                }
                (code, body.to_string().into_bytes())
            }
            Self::File(bytes) => (200, bytes),
            Self::Garbage => (200, b"{\"ok\":true,\"result\":[{\"update_id\":".to_vec()),
            Self::Cut => return None,
        };
        Some((StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body))
    }
}
