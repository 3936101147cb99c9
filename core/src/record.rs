//! The durable changes, and what of them still matters. A journal keeps, beside its full history, one row for each
//! `slot` of unfinished business; replaying those rows gives the same [`Recovered`](crate::recovery::Recovered) as replaying the history.

use crate::busy::Busy;
use crate::cut::Told;
use crate::drain::Report;
use crate::effect::Place;
use crate::id::{DeliveryId, GenerationId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use crate::input::{Asked, Standing};
use crate::outbox::{Content, Fate};
use crate::question::{QuestionKey, Ruling};
use crate::request::{Origin, Outcome, Request};
use crate::turn::Conclusion;
use crate::verdict::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// One durable change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are the ids that the variants' sentences name")]
pub enum Record {
    /// A generation has claimed the journal, after so many in a row that proved nothing.
    GenerationBegun {
        generation: GenerationId,
        #[serde(default)]
        unproven: u32,
    },
    /// The generation that began last has brought a turn to its end: it is able to live.
    GenerationProven { generation: GenerationId },
    /// Somebody vouches for the generation that began last, whose loop breaker was tripped: the deaths before it count no more.
    BreakerReset { generation: GenerationId, request: RequestId, origin: Origin },
    /// The generation that began last is over. A dead one's end is written by its successor.
    GenerationEnded { generation: GenerationId, verdict: Option<Verdict>, report: Report },
    /// A message is in the inbox.
    MessageAccepted {
        message: MessageId,
        session: SessionId,
        asked: Asked,
        standing: Standing,
        request: RequestId,
        place: Place,
    },
    /// A chat command has been carried out.
    CommandDone { message: MessageId },
    /// A turn is about to start for the first time, over these messages, which leave the inbox.
    TurnOpened { turn: TurnId, session: SessionId, messages: Vec<MessageId>, conversation: u32 },
    /// A turn is about to start again, in this generation; `charged` starts of it count against it.
    TurnResumed { turn: TurnId, attempt: u32, charged: u32, generation: GenerationId },
    /// The gateway cuts this turn short on purpose; its current start does not count against it.
    TurnInterrupted { turn: TurnId },
    /// The chat of this turn is told that it was cut and goes on afterwards.
    TurnCutTold { turn: TurnId },
    /// What this chat was to hear of such a cut is withdrawn, unheard: all that it has been told is this.
    TurnUnsaid { turn: TurnId, told: Told },
    /// Somebody in the chat wants this turn ended for good.
    TurnStopAsked { turn: TurnId },
    /// A message takes the place of this turn: it ends with what it has said so far.
    TurnSuperseded { turn: TurnId },
    /// The restart that this turn asked for has happened.
    TurnGranted { turn: TurnId, request: RequestId },
    /// The turn is over.
    TurnEnded { turn: TurnId, session: SessionId, messages: Vec<MessageId>, attempt: u32, conclusion: Conclusion },
    /// A turn that has said nothing gives this message back to the inbox, from where the next one takes it.
    MessageReturned { message: MessageId, session: SessionId },
    /// The agent of this turn asks its chat.
    QuestionAsked { question: QuestionId, turn: TurnId, key: QuestionKey },
    /// The question has its outcome.
    QuestionDecided { question: QuestionId, turn: TurnId, ruling: Ruling },
    /// The question goes with its turn, which ends.
    QuestionClosed { question: QuestionId, turn: TurnId },
    /// A text is owed to a chat.
    DeliveryOwed { delivery: DeliveryId, session: SessionId, content: Content },
    /// It is about to be sent by a platform that cannot tell a repeat; so many of its sends may then have arrived.
    DeliveryTried { delivery: DeliveryId, attempt: u32 },
    /// The send that was about to be made certainly did not arrive; so many before it may have.
    DeliveryMissed { delivery: DeliveryId, uncertain: u32 },
    /// It is owed no longer.
    DeliverySettled { delivery: DeliveryId, fate: Fate },
    /// A wish about the life cycle was accepted, or changed.
    RequestMade { request: RequestId, made: Request },
    /// It has its outcome.
    RequestSettled { request: RequestId, outcome: Outcome },
    /// The session is set aside: its turn keeps killing the gateway.
    SessionQuarantined { session: SessionId },
    /// A new message has brought it back.
    SessionReleased { session: SessionId },
    /// A new conversation has begun in the session.
    SessionRenewed { session: SessionId, conversation: u32 },
    /// The session has a policy of its own about messages that arrive during a turn.
    SessionBusy { session: SessionId, busy: Busy },
}

/// What a row of unfinished business is about, in the order in which rows are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The last generation.
    Generation,
    /// A session that is more than its messages.
    Session(SessionId),
    /// An unanswered message.
    Message(MessageId),
    /// An open turn.
    Turn(TurnId),
    /// An owed delivery.
    Delivery(DeliveryId),
    /// An open request.
    Request(RequestId),
    /// A question of an open turn.
    Question(QuestionId),
}

/// The place of a row: its subject and which of the subject's facts it is. A later fact of the same slot replaces it.
pub type Slot = (Subject, u8);

/// The number of facts that a subject may have at most.
pub const FACTS: u8 = 6;

impl Record {
    /// Where this record stands among the unfinished business; `None` when it only ends some.
    ///
    /// | subject | 0 | 1 | 2 | 3 | 4 | 5 |
    /// |---|---|---|---|---|---|---|
    /// | generation | begun | ended | proven | reset | | |
    /// | session | renewed | quarantined | busy | | | |
    /// | message | accepted, returned | | | | | |
    /// | turn | opened | resumed | interrupted | stop asked, superseded | granted | cut told, unsaid |
    /// | delivery | owed | tried, missed | | | | |
    /// | request | made | | | | | |
    /// | question | asked | decided | | | | |
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        Some(match self {
            Self::GenerationBegun { .. } => (Subject::Generation, 0),
            Self::GenerationEnded { .. } => (Subject::Generation, 1),
            Self::GenerationProven { .. } => (Subject::Generation, 2),
            Self::BreakerReset { .. } => (Subject::Generation, 3),
            Self::SessionRenewed { session, .. } => (Subject::Session(*session), 0),
            Self::SessionQuarantined { session } => (Subject::Session(*session), 1),
            Self::SessionBusy { session, .. } => (Subject::Session(*session), 2),
            Self::MessageAccepted { message, .. } | Self::MessageReturned { message, .. } => {
                (Subject::Message(*message), 0)
            }
            Self::TurnOpened { turn, .. } => (Subject::Turn(*turn), 0),
            Self::TurnResumed { turn, .. } => (Subject::Turn(*turn), 1),
            Self::TurnInterrupted { turn } => (Subject::Turn(*turn), 2),
            Self::TurnStopAsked { turn } | Self::TurnSuperseded { turn } => (Subject::Turn(*turn), 3),
            Self::TurnGranted { turn, .. } => (Subject::Turn(*turn), 4),
            Self::TurnCutTold { turn } | Self::TurnUnsaid { turn, .. } => (Subject::Turn(*turn), 5),
            Self::DeliveryOwed { delivery, .. } => (Subject::Delivery(*delivery), 0),
            Self::DeliveryTried { delivery, .. } | Self::DeliveryMissed { delivery, .. } => {
                (Subject::Delivery(*delivery), 1)
            }
            Self::RequestMade { request, .. } => (Subject::Request(*request), 0),
            Self::QuestionAsked { question, .. } => (Subject::Question(*question), 0),
            Self::QuestionDecided { question, .. } => (Subject::Question(*question), 1),
            Self::CommandDone { .. }
            | Self::TurnEnded { .. }
            | Self::DeliverySettled { .. }
            | Self::RequestSettled { .. }
            | Self::QuestionClosed { .. }
            | Self::SessionReleased { .. } => return None,
        })
    }

    /// The rows that this record takes away.
    #[must_use]
    pub fn clears(&self) -> Vec<Slot> {
        let all = |subject: Subject| (0..FACTS).map(move |fact| (subject, fact));
        match self {
            Self::GenerationBegun { .. } => (1..FACTS).map(|fact| (Subject::Generation, fact)).collect(),
            Self::CommandDone { message } => vec![(Subject::Message(*message), 0)],
            Self::TurnOpened { messages, .. } => {
                messages.iter().map(|message| (Subject::Message(*message), 0)).collect()
            }
            Self::TurnResumed { turn, .. } => vec![(Subject::Turn(*turn), 2), (Subject::Turn(*turn), 5)],
            Self::TurnEnded { turn, .. } => all(Subject::Turn(*turn)).collect(),
            Self::DeliverySettled { delivery, .. } => all(Subject::Delivery(*delivery)).collect(),
            Self::RequestSettled { request, .. } => vec![(Subject::Request(*request), 0)],
            Self::QuestionClosed { question, .. } => all(Subject::Question(*question)).collect(),
            Self::SessionReleased { session } => vec![(Subject::Session(*session), 1)],
            _ => Vec::new(),
        }
    }
}

/// The unfinished business of a journal, as the rows that a store keeps. This is the specification of such a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unfinished {
    /// The rows.
    pub rows: BTreeMap<Slot, Record>,
    /// The highest ids ever written.
    pub highest: Highest,
}

impl Unfinished {
    /// Writes one record.
    pub fn absorb(&mut self, record: &Record) {
        for slot in record.clears() {
            self.rows.remove(&slot);
        }
        if let Some(slot) = record.slot() {
            self.rows.insert(slot, record.clone());
        }
        self.highest.observe(record);
    }
}

/// The highest ids ever written, so that no id is given twice after its business is finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Highest {
    /// Of generations.
    pub generation: GenerationId,
    /// Of messages.
    pub message: MessageId,
    /// Of turns.
    pub turn: TurnId,
    /// Of deliveries.
    pub delivery: DeliveryId,
    /// Of requests.
    pub request: RequestId,
    /// Of questions.
    #[serde(default)]
    pub question: QuestionId,
}

/// No id that is in use is above these, and what is given next is above them all: how far is nothing that two states differ in.
/// Generations are counted by their distance from each other.
impl Hash for Highest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.generation.hash(state);
    }
}

impl Highest {
    /// Takes note of the ids in a record.
    pub fn observe(&mut self, record: &Record) {
        match record {
            Record::GenerationBegun { generation, .. } => self.generation = self.generation.max(*generation),
            Record::MessageAccepted { message, request, .. } => {
                self.message = self.message.max(*message);
                self.request = self.request.max(*request);
            }
            Record::TurnOpened { turn, .. } => self.turn = self.turn.max(*turn),
            Record::QuestionAsked { question, .. } => self.question = self.question.max(*question),
            Record::DeliveryOwed { delivery, .. } => self.delivery = self.delivery.max(*delivery),
            Record::RequestMade { request, .. } | Record::BreakerReset { request, .. } => {
                self.request = self.request.max(*request);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::DefaultHasher;

    fn hashed(highest: Highest) -> u64 {
        let mut hasher = DefaultHasher::new();
        highest.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn of_the_highest_ids_that_of_generations_alone_tells_states_apart() {
        let one = Highest { generation: GenerationId(1), ..Highest::default() };
        assert_ne!(hashed(one), hashed(Highest::default()));
        assert_eq!(hashed(one), hashed(Highest { turn: TurnId(7), message: MessageId(9), ..one }));
    }
}
