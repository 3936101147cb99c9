//! The kept events of a session: what a chat shows, made from the records as they are written, in the same commit. An
//! event has one id for ever; reading a session's events again gives the same ones.

use super::{Body, Write};
use evergate_core::id::{DeliveryId, MessageId, SessionId, TurnId};
use evergate_core::input::Asked;
use evergate_core::outbox::{Content, Fate, Notice};
use evergate_core::record::Record;
use evergate_core::request::Wish;
use evergate_core::turn::Conclusion;
use serde_json::{Value, json};
use std::sync::Arc;

/// One kept event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Rising over all sessions; 0 until the store has given it one.
    pub id: u64,
    /// Whose it is.
    pub session: SessionId,
    /// Its name and JSON object, as `name\n{...}`: the shape in which it is stored.
    pub text: Arc<str>,
}

/// What an event has to know about a turn whose record does not say it.
pub struct TurnFacts {
    /// Its session.
    pub session: SessionId,
    /// What it answers.
    pub messages: Vec<MessageId>,
    /// How often it was started.
    pub attempt: u32,
}

impl Event {
    fn new(session: SessionId, name: &str, data: &Value) -> Self {
        Self { id: 0, session, text: format!("{name}\n{data}").into() }
    }

    /// Its SSE name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.split_once('\n').map_or("", |(name, _)| name)
    }

    /// Its JSON object.
    #[must_use]
    pub fn data(&self) -> &str {
        self.text.split_once('\n').map_or("{}", |(_, data)| data)
    }

    /// The event that a record makes in its session, if any. `facts` and `owed` are asked for what the record does not say: of
    /// a turn, and that a delivery was owed.
    pub fn of(
        write: &Write,
        facts: impl FnOnce(TurnId) -> Option<TurnFacts>,
        owed: impl FnOnce(DeliveryId) -> Option<Record>,
    ) -> Option<Self> {
        match &write.record {
            Record::MessageAccepted { message, session, asked, place, .. } => {
                let Body::Message(body) = &write.body else { return None };
                let mut data = json!({"message": message, "text": body.text, "from": body.from});
                if *asked == Asked::Prompt {
                    data["state"] = json!(place);
                }
                if !body.attachments.is_empty() {
                    data["attachments"] = json!(body.attachments);
                }
                Some(Self::new(*session, "message", &data))
            }
            Record::TurnOpened { turn, session, messages, .. } => {
                Some(Self::turn(*turn, *session, "running", 1, messages))
            }
            Record::TurnResumed { turn, attempt, .. } => {
                let facts = facts(*turn)?;
                let data = json!({
                    "turn": turn, "state": "running", "attempt": attempt, "messages": facts.messages, "resumed": true,
                });
                Some(Self::new(facts.session, "turn", &data))
            }
            Record::TurnInterrupted { turn } => {
                let facts = facts(*turn)?;
                Some(Self::turn(*turn, facts.session, "interrupted", facts.attempt, &facts.messages))
            }
            Record::TurnEnded { turn, session, messages, attempt, conclusion } => {
                Some(Self::turn(*turn, *session, state(*conclusion), *attempt, messages))
            }
            Record::DeliveryOwed { session, content, .. } => Some(Self::delivery(*session, content, &write.body)),
            Record::DeliverySettled { delivery, fate: Fate::Withdrawn } => match owed(*delivery)? {
                Record::DeliveryOwed { session, content, .. } => Self::withdrawn(session, &content),
                _ => None,
            },
            _ => None,
        }
    }

    fn turn(turn: TurnId, session: SessionId, state: &str, attempt: u32, messages: &[MessageId]) -> Self {
        let data = json!({"turn": turn, "state": state, "attempt": attempt, "messages": messages});
        Self::new(session, "turn", &data)
    }

    /// A word that stands among the events was not sent, since it is no longer true; who can take a line back takes it back.
    fn withdrawn(session: SessionId, content: &Content) -> Option<Self> {
        let Content::Notice(notice @ (Notice::TurnCut { turn, .. } | Notice::TurnBack { turn })) = content else {
            return None;
        };
        Some(Self::new(session, "withdrawn", &json!({"turn": turn, "lifecycle": lifecycle(*notice)})))
    }

    fn delivery(session: SessionId, content: &Content, body: &Body) -> Self {
        let (text, files) = match body {
            Body::Text(parcel) | Body::Owed(parcel) => (&*parcel.text, &*parcel.files),
            _ => ("", &[] as &[_]),
        };
        match content {
            Content::Reply { turn, messages } => {
                let mut data = json!({"turn": turn, "messages": messages, "text": text});
                if !files.is_empty() {
                    data["files"] = json!(files);
                }
                Self::new(session, "reply", &data)
            }
            Content::Notice(
                Notice::RestartAccepted { request, .. }
                | Notice::RestartRefused { request, .. }
                | Notice::RequestSettled { request, .. },
            ) => Self::new(session, "notice", &json!({"text": text, "request": request})),
            Content::Notice(
                Notice::TurnFailed { turn }
                | Notice::TurnStopped { turn }
                | Notice::Stopping { turn }
                | Notice::MayBeMissing { turn }
                | Notice::Quarantined { turn, .. },
            ) => Self::new(session, "notice", &json!({"text": text, "turn": turn})),
            Content::Notice(notice @ (Notice::TurnCut { turn, .. } | Notice::TurnBack { turn })) => {
                Self::new(session, "notice", &json!({"text": text, "turn": turn, "lifecycle": lifecycle(*notice)}))
            }
            Content::Notice(Notice::Asks { question, turn }) => {
                Self::new(session, "notice", &json!({"text": text, "turn": turn, "question": question}))
            }
            Content::Notice(Notice::Ruled { question, turn, ruling }) => Self::new(
                session,
                "notice",
                &json!({"text": text, "turn": turn, "question": question, "ruling": ruling}),
            ),
            Content::Notice(Notice::Renewed { conversation }) => {
                Self::new(session, "notice", &json!({"text": text, "conversation": conversation}))
            }
            Content::Notice(_) => Self::new(session, "notice", &json!({"text": text})),
        }
    }
}

/// What a notice tells of the life of the gateway, and nothing else.
const fn lifecycle(notice: Notice) -> Option<&'static str> {
    match notice {
        Notice::TurnCut { wish: Wish::Restart, .. } => Some("restarting"),
        Notice::TurnCut { wish: Wish::Stop, .. } => Some("stopping"),
        Notice::TurnBack { .. } => Some("back"),
        _ => None,
    }
}

const fn state(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Answered => "answered",
        Conclusion::Failed => "failed",
        Conclusion::Stopped => "stopped",
        Conclusion::Quarantined => "quarantined",
        Conclusion::Superseded => "superseded",
    }
}
