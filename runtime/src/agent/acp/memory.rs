//! What an agent of this kind needs to remember beyond its process: which of its sessions is which conversation, and what
//! was said in it. The first is kept beside the journal's records, the second is the journal's.

use crate::driver::handle::{Call, Handle, Unavailable};
use crate::environment::BoxFuture;
use crate::journal::{Event, Journal, JournalError, Rows};
use evergate_core::id::{MessageId, SessionId};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The scope of what is kept, by conversation.
const SCOPE: &str = "agent.acp";
/// How long a turn waits for what it keeps to be on disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events read at once.
const PAGE: usize = 500;
/// Messages of a transcript.
const SAID: usize = 200;

/// What is known of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Remembered {
    /// The agent's own id for it.
    pub acp_session: String,
    /// The last turn whose prompt may have reached the agent.
    pub turn: u64,
    /// The first turn of it.
    pub since_turn: u64,
    /// No reply of it stands before this event.
    pub since_event: u64,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whose it is.
    pub who: Speaker,
    /// Its text.
    pub text: String,
}

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Somebody in the chat.
    User,
    /// The agent.
    Agent,
}

/// A conversation of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conversation {
    /// The session's name.
    pub session: String,
    /// Its number in the session.
    pub number: u32,
}

/// The memory.
pub trait Memory: Send + Sync {
    /// What is known of a conversation.
    fn recall(&self, conversation: &Conversation) -> BoxFuture<Option<Remembered>>;
    /// Has this known from now on; ends when that is safe, as far as it can be made so.
    fn keep(&self, conversation: &Conversation, known: Remembered) -> BoxFuture<()>;
    /// The last event of the conversation's session.
    fn last_event(&self, conversation: &Conversation) -> BoxFuture<u64>;
    /// What was said in a conversation before this turn, as far as it was answered, oldest first; the end of it if it is long.
    fn transcript(&self, conversation: &Conversation, known: &Remembered, before: u64) -> BoxFuture<Vec<Said>>;
}

/// A memory in the journal. What cannot be read is not remembered: the agent then gets a fresh session.
pub(super) struct Durable {
    handle: Handle,
}

impl Durable {
    /// The memory of the gateway behind this handle.
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

fn transcript(
    journal: &dyn Journal,
    session: &str,
    known: &Remembered,
    before: u64,
) -> Result<Vec<Said>, JournalError> {
    let Some(session) = journal.session(session)? else { return Ok(Vec::new()) };
    let mut said = VecDeque::new();
    let mut after = known.since_event;
    loop {
        let events = journal.events(session, after, PAGE)?;
        let Some(last) = events.last() else { break };
        after = last.id;
        for event in events.iter().filter(|event| event.name() == "reply") {
            add_exchange(journal, event, known.since_turn..before, &mut said)?;
        }
        while said.len() > SAID {
            said.pop_front();
        }
    }
    Ok(said.into())
}

fn add_exchange(
    journal: &dyn Journal,
    reply: &Event,
    turns: std::ops::Range<u64>,
    said: &mut VecDeque<Said>,
) -> Result<(), JournalError> {
    let data: Value = serde_json::from_str(reply.data()).unwrap_or_default();
    if !data["turn"].as_u64().is_some_and(|turn| turns.contains(&turn)) {
        return Ok(());
    }
    for message in data["messages"].as_array().into_iter().flatten().filter_map(Value::as_u64) {
        if let Some(message) = journal.message(MessageId(message))? {
            said.push_back(Said { who: Speaker::User, text: message.text });
        }
    }
    let text = data["text"].as_str().unwrap_or_default().to_owned();
    said.push_back(Said { who: Speaker::Agent, text });
    Ok(())
}

impl Memory for Durable {
    fn recall(&self, conversation: &Conversation) -> BoxFuture<Option<Remembered>> {
        let (reader, conversation) = (self.handle.reader.clone(), conversation.clone());
        Box::pin(async move {
            let row = key(&conversation);
            let kept = reader.read(move |journal| journal.row(SCOPE, &row)).await.unwrap_or_else(|error| {
                tracing::warn!(%error, session = conversation.session, "what the agent calls this conversation cannot be read");
                None
            });
            serde_json::from_str(&kept?).ok()
        })
    }

    fn keep(&self, conversation: &Conversation, known: Remembered) -> BoxFuture<()> {
        let mut rows = Rows::new();
        if let Some(number) = conversation.number.checked_sub(1) {
            // The conversation before is over for good.
            rows.insert((SCOPE.into(), key(&Conversation { number, ..conversation.clone() })), None);
        }
        rows.insert((SCOPE.into(), key(conversation)), serde_json::to_string(&known).ok());
        let (handle, session) = (self.handle.clone(), conversation.session.clone());
        Box::pin(async move {
            let why = match handle.call(PATIENCE, |answer| Call::Keep { rows, answer }).await {
                Ok(Ok(())) => return,
                Ok(Err(why)) => why,
                Err(Unavailable::Over) => "this generation is over".into(),
                Err(Unavailable::Busy | Unavailable::Stuck) => "the gateway is busy".into(),
            };
            tracing::warn!(
                session,
                why,
                "what the agent calls this conversation is not kept; after a restart it may begin afresh"
            );
        })
    }

    fn last_event(&self, conversation: &Conversation) -> BoxFuture<u64> {
        let (reader, session) = (self.handle.reader.clone(), conversation.session.clone());
        Box::pin(async move {
            let last = reader.read(move |journal| {
                let Some(session) = journal.session(&session)? else { return Ok(None) };
                Ok(journal.sessions(SessionId(session.0.saturating_sub(1)), 1)?.pop())
            });
            last.await.ok().flatten().map_or(0, |(_, _, event)| event)
        })
    }

    fn transcript(&self, conversation: &Conversation, known: &Remembered, before: u64) -> BoxFuture<Vec<Said>> {
        let (reader, session, known) = (self.handle.reader.clone(), conversation.session.clone(), known.clone());
        Box::pin(async move {
            let of = session.clone();
            let said = reader.read(move |journal| transcript(journal, &of, &known, before));
            said.await.unwrap_or_else(|error| {
                tracing::warn!(%error, session, "what was said in this conversation cannot be read");
                Vec::new()
            })
        })
    }
}

fn key(conversation: &Conversation) -> String {
    format!("{} {}", conversation.number, conversation.session)
}

/// A memory that lasts as long as the process.
#[derive(Debug, Default)]
pub struct Forgetful(Mutex<BTreeMap<Conversation, Remembered>>);

impl Memory for Forgetful {
    fn recall(&self, conversation: &Conversation) -> BoxFuture<Option<Remembered>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(conversation).cloned();
        Box::pin(std::future::ready(known))
    }

    fn keep(&self, conversation: &Conversation, known: Remembered) -> BoxFuture<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(conversation.clone(), known);
        Box::pin(std::future::ready(()))
    }

    fn last_event(&self, _: &Conversation) -> BoxFuture<u64> {
        Box::pin(std::future::ready(0))
    }

    fn transcript(&self, _: &Conversation, _: &Remembered, _: u64) -> BoxFuture<Vec<Said>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}
