//! What an operator has decided about Telegram.

use super::webhook::Hook;
use crate::http::Base;
use crate::secret::Secret;
use std::collections::BTreeSet;
use std::time::Duration;

/// What an operator has decided about Telegram.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bot's token.
    pub token: Secret,
    /// Where the server is.
    pub api_base: Base,
    /// Who may talk to the agent, by user id, beside the operators.
    pub allowed: BTreeSet<i64>,
    /// Who may also use the life-cycle commands.
    pub operators: BTreeSet<i64>,
    /// What anybody else is told, once; nothing when it is not set.
    pub stranger_reply: Option<String>,
    /// Where the server brings updates; it is polled for them where there is none.
    pub webhook: Option<Hook>,
    /// How long one poll waits at the server.
    pub poll: Duration,
    /// The largest file that is taken, in bytes.
    pub file_limit: u64,
}

impl Settings {
    /// The bot's number, which is the part of its token that is no secret; empty when the token is none of the server's.
    pub fn bot(&self) -> &str {
        self.token.reveal().split_once(':').map_or("", |(number, _)| number)
    }
}
