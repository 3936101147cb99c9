//! The texts that belong to records which are not on disk yet. They are kept here until they are, so that a failed write
//! can be done again; the core itself carries ids only.

use super::notice::{Facts, text};
use crate::journal::{Body, MessageBody, Parcel, RequestBody};
use evergate_core::effect::Place;
use evergate_core::id::{MessageId, QuestionId, RequestId, TurnId};
use evergate_core::outbox::{Content, Notice};
use evergate_core::question::QuestionKey;
use evergate_core::record::Record;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// As many findings of checks are kept: one at a time is under way, and its notices come to the disk soon after.
const CHECKS: usize = 16;

/// Texts on their way to disk.
#[derive(Default)]
pub struct Texts {
    messages: HashMap<MessageId, Arc<MessageBody>>,
    replies: HashMap<TurnId, Parcel>,
    failures: HashMap<TurnId, Arc<str>>,
    requests: HashMap<RequestId, Arc<RequestBody>>,
    /// What running turns ask and the core has not numbered.
    questions: HashMap<(TurnId, QuestionKey), Arc<str>>,
    /// The same, since it has.
    asked: HashMap<QuestionId, Arc<str>>,
    /// What the last checks of a candidate found, by check.
    unfit: BTreeMap<RequestId, Arc<str>>,
    /// Messages that are on disk and whose turn is about to start.
    fresh: HashMap<MessageId, Arc<MessageBody>>,
}

impl Texts {
    /// Keeps a message.
    pub fn set_message(&mut self, message: MessageId, body: MessageBody) {
        self.messages.insert(message, Arc::new(body));
    }

    /// Keeps what an agent answered.
    pub fn set_reply(&mut self, turn: TurnId, reply: Parcel) {
        self.replies.insert(turn, reply);
    }

    /// Keeps why an agent failed.
    pub fn set_failure(&mut self, turn: TurnId, why: String) {
        self.failures.insert(turn, why.into());
    }

    /// Keeps what a request says.
    pub fn set_request(&mut self, request: RequestId, body: RequestBody) {
        self.requests.insert(request, Arc::new(body));
    }

    /// Keeps what a turn asks.
    pub fn set_question(&mut self, turn: TurnId, key: QuestionKey, text: String) {
        self.questions.insert((turn, key), text.into());
    }

    /// Its question has a number from now on.
    pub fn name_question(&mut self, question: QuestionId, turn: TurnId, key: QuestionKey) {
        if let Some(text) = self.questions.remove(&(turn, key)) {
            self.asked.insert(question, text);
        }
    }

    /// Nobody is to be asked this, or has been asked before.
    pub fn forget_question(&mut self, turn: TurnId, key: QuestionKey) {
        self.questions.remove(&(turn, key));
    }

    /// Keeps why a candidate could not take over. Of checks long past nobody asks any more.
    pub fn set_unfit(&mut self, check: RequestId, why: String) {
        self.unfit.insert(check, why.into());
        if self.unfit.len() > CHECKS {
            self.unfit.pop_first();
        }
    }

    /// Why the candidate could not take over, as this check has found. One that found nothing did not end.
    pub fn unfit(&self, check: RequestId) -> Arc<str> {
        let unanswered = || "whether the next start would succeed could not be found out in time".into();
        self.unfit.get(&check).cloned().unwrap_or_else(unanswered)
    }

    /// A message that is not on disk yet.
    pub fn message(&self, message: MessageId) -> Option<&MessageBody> {
        self.messages.get(&message).map(|body| &**body)
    }

    /// The text of a message whose turn starts right after it came to disk; others are in the journal.
    pub fn take_fresh(&mut self, message: MessageId) -> Option<Arc<MessageBody>> {
        self.fresh.remove(&message)
    }

    /// Whether no message is on its way.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Drops a refused message; true if it was kept.
    pub fn forget_message(&mut self, message: MessageId) -> bool {
        self.messages.remove(&message).is_some()
    }

    /// Drops what a request said that was not accepted.
    pub fn forget_request(&mut self, request: RequestId) {
        self.requests.remove(&request);
    }

    /// The body that goes with a record.
    pub fn of_record(&self, record: &Record) -> Body {
        match record {
            Record::MessageAccepted { message, .. } => {
                self.messages.get(message).map_or(Body::None, |body| Body::Message(Arc::clone(body)))
            }
            Record::RequestMade { request, .. } => {
                self.requests.get(request).map_or(Body::None, |body| Body::Request(Arc::clone(body)))
            }
            _ => Body::None,
        }
    }

    /// The text of a delivery, with its files. `rolled_back`: why it is not the installed program that serves.
    pub fn of_content(&self, content: &Content, status: &Value, rolled_back: Option<&str>) -> Parcel {
        match content {
            Content::Reply { turn, .. } => self.replies.get(turn).cloned().unwrap_or_default(),
            Content::Notice(notice) => {
                let failure = match notice {
                    Notice::TurnFailed { turn } => self.failures.get(turn).map(|why| &**why),
                    _ => None,
                };
                let unfit = match notice {
                    Notice::RestartRefused { check, .. } => Some(self.unfit(*check)),
                    _ => None,
                };
                let question = match notice {
                    Notice::Asks { question, .. } => self.asked.get(question).map(|asked| &**asked),
                    _ => None,
                };
                text(*notice, &Facts { failure, unfit: unfit.as_deref(), question, rolled_back, status }).into()
            }
        }
    }

    /// A record is on disk, and its text with it.
    pub fn written(&mut self, record: &Record) {
        match record {
            Record::MessageAccepted { message, place, .. } => {
                if let Some(body) = self.messages.remove(message)
                    && *place == Place::Running
                {
                    self.fresh.insert(*message, body);
                }
            }
            Record::RequestMade { request, .. } => {
                self.requests.remove(request);
            }
            Record::DeliveryOwed { content: Content::Notice(Notice::Asks { question, .. }), .. } => {
                self.asked.remove(question);
            }
            Record::CommandDone { message } => {
                self.fresh.remove(message);
            }
            Record::TurnEnded { turn, messages, .. } => {
                messages.iter().for_each(|message| drop(self.fresh.remove(message)));
                self.replies.remove(turn);
                self.failures.remove(turn);
                self.questions.retain(|(asking, _), _| asking != turn);
            }
            _ => {}
        }
    }
}
