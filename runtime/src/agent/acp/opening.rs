//! Which of the agent's sessions a turn works in, and what it is to be told there: the prompt, the prompt behind a
//! transcript, or that it is to go on with an answer that was cut. It asks the agent; it does not prompt it.

use super::errand::Refusal;
use super::errands::Answer;
use super::inbox::{Heard, Inbox};
use super::keeper::{Home, Line, Reached};
use super::memory::{Conversation, Memory, Remembered};
use super::process::{By, Gone, Unanswered};
use super::replay::{Known, Replay};
use super::wire::{LOGIN_WANTED, Opened, Refused};
use super::{Settings, transcript, wire};
use crate::agent::Assignment;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::time::timeout;

/// A session that a turn may prompt.
pub(super) struct Session {
    /// The process that has it open.
    pub(super) peer: Reached,
    /// The agent's id of it.
    pub(super) id: String,
    /// What the agent says in it.
    pub(super) inbox: Arc<Inbox>,
    /// What it is to be told.
    pub(super) prompt: String,
    /// What the answer begins with: an earlier attempt has said it.
    pub(super) said: String,
    /// Whether the agent may in truth not have it: it took it up without a word of what was said in it.
    pub(super) doubt: Doubt,
}

/// Whether an agent has the session that it says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It has.
    None,
    /// It may not.
    Possible,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) enum Unopened {
    /// The process is gone.
    Gone(Gone),
    /// The agent does not give one; a sentence.
    Refused(String),
}

/// Opens sessions for one turn.
pub(super) struct Opening<'a> {
    pub(super) settings: &'a Settings,
    pub(super) memory: &'a dyn Memory,
    pub(super) line: &'a Line,
    pub(super) assignment: &'a Assignment,
    pub(super) conversation: &'a Conversation,
    /// What earlier attempts are known to have said.
    pub(super) said: &'a str,
}

impl Opening<'_> {
    /// The conversation's session where the agent has it or can take it up, otherwise a fresh one.
    pub(super) async fn open(&self) -> Result<Session, Unopened> {
        let peer =
            self.line.open(Home::of(self.assignment), self.conversation.clone()).await.map_err(Unopened::Gone)?;
        let known = self.memory.recall(self.conversation).await;
        if let Some(id) = peer.session.clone() {
            let inbox = self.inbox();
            self.line.listen(&peer, &id, &inbox).await;
            let prompt = transcript::resumed(&self.assignment.prompt, self.said);
            return Ok(self
                .opened(known, Session { peer, id, inbox, prompt, said: self.said.to_owned(), doubt: Doubt::None })
                .await);
        }
        match known {
            Some(known) if peer.loads => match self.load(peer, &known).await? {
                Ok(session) => Ok(session),
                Err((peer, refused)) => {
                    tracing::warn!(
                        session = self.conversation.session,
                        why = refused.words(),
                        "the agent does not take up its session of this conversation; it gets a fresh one with the transcript"
                    );
                    self.fresh(peer).await
                }
            },
            _ => self.fresh(peer).await,
        }
    }

    /// A session that knows nothing, with all that it needs to know in its first prompt.
    pub(super) async fn fresh(&self, peer: Reached) -> Result<Session, Unopened> {
        let params = wire::session(&self.settings.cwd, None);
        let result = self.set_up(&peer, "session/new", params, std::future::pending()).await?;
        let result = result.map_err(|refused| Unopened::Refused(self.refusal(&refused)))?;
        let Ok(Opened { session_id: id }) = serde_json::from_value(result) else {
            return Err(Unopened::Refused("the agent answers `session/new` without a session's id".into()));
        };
        let inbox = self.inbox();
        self.line.listen(&peer, &id, &inbox).await;
        let known = self.memory.recall(self.conversation).await;
        let before = match &known {
            Some(known) => self.memory.transcript(self.conversation, known, self.assignment.turn).await,
            None => Vec::new(),
        };
        let prompt = transcript::resumed(&self.assignment.prompt, self.said);
        let prompt = transcript::with_transcript(&before, &prompt);
        Ok(self
            .opened(known, Session { peer, id, inbox, prompt, said: self.said.to_owned(), doubt: Doubt::None })
            .await)
    }

    /// The session of an earlier process, whose history says how far the agent has come with this turn.
    async fn load(&self, peer: Reached, known: &Remembered) -> Result<Result<Session, (Reached, Refused)>, Unopened> {
        let (id, inbox) = (known.acp_session.clone(), self.inbox());
        self.line.listen(&peer, &id, &inbox).await;
        let mut replay = Replay::default();
        let hearing = async {
            loop {
                inbox.news().await;
                self.hear(&peer, &inbox, &mut replay).await;
            }
        };
        let params = wire::session(&self.settings.cwd, Some(&id));
        match self.set_up(&peer, "session/load", params, hearing).await? {
            Err(refused) => return Ok(Err((peer, refused))),
            Ok(_) => self.hear(&peer, &inbox, &mut replay).await,
        }
        let doubt = if replay.heard { Doubt::None } else { Doubt::Possible };
        // The same words may well have been said in an earlier turn, and answered: only of a prompt that may have been sent
        // the history can tell.
        let sent = known.turn == self.assignment.turn;
        let (prompt, said) = match replay.knows(&self.assignment.prompt) {
            Known::Asked { answered } if sent => self.rest_of(&answered),
            _ => (transcript::resumed(&self.assignment.prompt, self.said), self.said.to_owned()),
        };
        Ok(Ok(self.opened(Some(known.clone()), Session { peer, id, inbox, prompt, said, doubt }).await))
    }

    /// Takes in what the agent says while it takes up a session. It does nothing there yet, so what it asks is a no.
    async fn hear(&self, peer: &Reached, inbox: &Inbox, replay: &mut Replay) {
        for heard in inbox.take() {
            match heard {
                Heard::Asked(id, _) => self.line.answer(peer, &id, &wire::cancelled()).await,
                Heard::Wanted(id, _) => {
                    let refusal = Refusal::not_allowed("the turn in this session has not begun".into());
                    self.line.done(peer, Answer { line: refusal.line(&id), room: None }).await;
                }
                heard => replay.hear(heard),
            }
        }
    }

    /// What is to be said for the rest of an answer, of which the agent knows a part and the chat another, and what the
    /// answer begins with.
    fn rest_of(&self, answered: &str) -> (String, String) {
        if answered.starts_with(self.said) {
            (transcript::continuation(""), answered.to_owned())
        } else if answered.trim_end() == self.said.trim_end() {
            // An agent may store its words without the blanks at their end.
            (transcript::continuation(""), self.said.to_owned())
        } else {
            (transcript::continuation(self.said), self.said.to_owned())
        }
    }

    /// Notes down what is about to happen: from here on the prompt may have reached the agent.
    async fn opened(&self, known: Option<Remembered>, session: Session) -> Session {
        let turn = self.assignment.turn;
        let known = match known {
            Some(known) => known,
            None => Remembered {
                acp_session: String::new(),
                turn,
                since_turn: turn,
                since_event: self.memory.last_event(self.conversation).await,
            },
        };
        let known = Remembered { acp_session: session.id.clone(), turn, ..known };
        self.memory.keep(self.conversation, known).await;
        self.line.remember(&session.peer, self.conversation.clone(), Some(session.id.clone())).await;
        session
    }

    /// Calls the agent before there is a turn in it: it has a bounded time for that. `meanwhile` goes on until then.
    async fn set_up(
        &self,
        peer: &Reached,
        method: &'static str,
        params: Value,
        meanwhile: impl Future<Output = Infallible>,
    ) -> Result<Result<Value, Refused>, Unopened> {
        let answered = async {
            tokio::select! {
                biased;
                never = meanwhile => match never {},
                answered = self.line.call(peer, method, params) => answered,
            }
        };
        match timeout(self.settings.start, answered).await {
            Ok(Ok(result)) => Ok(Ok(result)),
            Ok(Err(Unanswered::Refused(refused))) => Ok(Err(refused)),
            Ok(Err(Unanswered::Gone(gone))) => Err(Unopened::Gone(gone)),
            Err(_) => {
                let within = humantime::format_duration(self.settings.start);
                let why = format!(
                    "the agent has not answered `{method}` within {within}; raise agent.acp.start if it needs longer"
                );
                self.line.kill(peer, why.clone(), By::Turn).await;
                Err(Unopened::Refused(why))
            }
        }
    }

    fn refusal(&self, refused: &Refused) -> String {
        match refused.code {
            LOGIN_WANTED => format!(
                "the agent wants somebody to log in first: run its own log-in as the gateway's user ({})",
                refused.words()
            ),
            _ => format!("the agent opens no session: {}", refused.words()),
        }
    }

    fn inbox(&self) -> Arc<Inbox> {
        Arc::new(Inbox::new(self.settings.max_reply_bytes.saturating_mul(2)))
    }
}
