//! One message on its way to the gateway: it owns the id that makes a repetition harmless, and the repetition. Whether a
//! reply comes is not its business.

use serde_json::json;

use super::CommandError;
use super::answers::Stored;
use super::client::{Client, Insistence, session_path};
use super::exit;

/// A message with the client id under which it may be sent any number of times.
#[derive(Clone, Debug)]
pub struct Message {
    pub session: String,
    pub id: String,
    pub text: String,
}

/// Whether the gateway had the message before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    New,
    Known,
}

impl Message {
    /// A message with the given id, or one of 128 random bits.
    pub fn new(session: &str, id: Option<String>, text: String) -> Result<Self, CommandError> {
        let id = match id {
            Some(id) => id,
            None => random_id()?,
        };
        Ok(Self { session: session.to_owned(), id, text })
    }

    /// Sends it until the gateway has it on disk, and returns the gateway's number for it.
    pub async fn deliver(&self, client: &Client, insistence: Insistence) -> Result<(u64, Acquaintance), CommandError> {
        let path = session_path(&self.session, "messages");
        let body = json!({"text": self.text, "id": self.id});
        let answer = client.insist(hyper::Method::POST, &path, Some(&body), insistence).await?;
        let acquaintance = if answer.status == 200 { Acquaintance::Known } else { Acquaintance::New };
        let stored: Stored = answer.read("POST messages")?;
        Ok((stored.message, acquaintance))
    }
}

fn random_id() -> Result<String, CommandError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        CommandError::ended(exit::BROKEN, format!("cannot make an id for the message: {error}; give one with --id"))
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether the gateway may take the text as a command to itself, answered by a notice and never by a reply.
pub fn may_be_command(text: &str) -> bool {
    text.trim_start().starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_differ() {
        let first = random_id().expect("random bytes");
        assert_eq!(first.len(), 32);
        assert_ne!(first, random_id().expect("random bytes"));
    }
}
