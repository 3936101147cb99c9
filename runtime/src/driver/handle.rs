//! How everything else speaks to the driver: calls over one bounded queue, each with its own answer. A full queue is
//! answered "busy" at once; nothing waits without a bound.

use crate::config::Changes;
use crate::environment::Environment;
use crate::hub::Hub;
use crate::journal::reader::Reader;
use crate::journal::{Journal, Rows};
use crate::metrics::Metrics;
use crate::platform::{Attachment, Outcome};
use crate::pulse::Pulse;
use evergate_core::effect::{Answer, Place, Refusal};
use evergate_core::id::{DeliveryId, MessageId, RequestId, SessionId};
use evergate_core::input::Standing;
use evergate_core::question::Decision;
use evergate_core::request::{Mode, Wish};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long the driver may take to say how it goes before it is called stuck.
const GLANCE: Duration = Duration::from_secs(1);

/// Calls that may wait for the driver. Above that callers are told to come again.
pub const CALLS: usize = 1024;

/// How long a message may take to reach the disk before its sender is told to come again.
const ON_DISK: Duration = Duration::from_secs(20);

/// One call, with the place for its answer.
pub enum Call {
    /// Somebody says something.
    Message {
        /// The message.
        message: NewMessage,
        /// What became of it.
        answer: oneshot::Sender<MessageAnswer>,
    },
    /// Somebody wishes something about the life cycle.
    Request {
        /// The wish.
        request: NewRequest,
        /// What became of it.
        answer: oneshot::Sender<RequestAnswer>,
    },
    /// A platform says what became of a delivery.
    Delivery {
        /// Which.
        delivery: DeliveryId,
        /// What.
        outcome: Outcome,
    },
    /// The run of a turn asks its chat.
    Ask {
        /// What.
        question: NewQuestion,
        /// What was decided. Nothing comes where nobody is asked.
        answer: oneshot::Sender<Decision>,
    },
    /// Facts beside the records are to be written.
    Keep {
        /// The facts.
        rows: Rows,
        /// Once they are on disk, or why they are not.
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// Somebody takes a request back.
    Cancel {
        /// Which.
        request: RequestId,
        /// Whether that worked.
        answer: oneshot::Sender<RequestAnswer>,
    },
    /// Somebody vouches for a generation whose loop breaker is tripped.
    ResetBreaker {
        /// From where.
        by: By,
        /// What became of it.
        answer: oneshot::Sender<RequestAnswer>,
    },
    /// Somebody wants the configuration read again.
    Reload {
        /// What that has changed, or what is wrong with it.
        answer: oneshot::Sender<Result<Changes, String>>,
    },
    /// Somebody wants to know what sessions are doing: those that are not idle.
    Doing {
        /// By session, in one word.
        answer: oneshot::Sender<HashMap<SessionId, &'static str>>,
    },
    /// Somebody wants the gauges set.
    Gauges {
        /// Done.
        answer: oneshot::Sender<()>,
    },
    /// Somebody wants to know how it goes.
    Status {
        /// The status as a JSON object.
        answer: oneshot::Sender<Value>,
    },
}

/// A message on its way in.
pub struct NewMessage {
    /// The session's name.
    pub session: String,
    /// The sender's own id.
    pub native: Option<String>,
    /// The text.
    pub text: String,
    /// Who says it.
    pub from: String,
    /// What they may do.
    pub standing: Standing,
    /// The files that came with it.
    pub attachments: Vec<Attachment>,
}

impl NewMessage {
    /// The longest text of one, in bytes.
    pub const LONGEST: usize = 64 * 1024;
}

/// A question of an agent to its chat.
pub struct NewQuestion {
    /// The turn that asks.
    pub turn: u64,
    /// What it is about: the same over all attempts of the turn.
    pub key: u64,
    /// What is asked, for people.
    pub text: String,
}

/// A wish on its way in.
pub struct NewRequest {
    /// What.
    pub wish: Wish,
    /// How patiently.
    pub mode: Mode,
    /// From where.
    pub by: By,
    /// Why.
    pub reason: Option<String>,
}

/// Where a wish came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// Whether through the control socket; otherwise over the network, with the token.
    pub through_control: bool,
    /// The turn from inside which it came, as it says itself.
    pub turn: Option<u64>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageAnswer {
    /// It is on disk.
    Accepted {
        /// Its id.
        message: MessageId,
        /// Where it stands.
        place: Place,
        /// Whether it was there before.
        again: bool,
    },
    /// Nothing of it is kept.
    Refused(Refusal),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestAnswer {
    /// Which.
    pub request: RequestId,
    /// What.
    pub answer: Answer,
    /// Why, where the answer itself does not say it.
    pub why: Option<Arc<str>>,
}

/// The driver is not to be had right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Too many calls wait.
    Busy,
    /// This generation is over.
    Over,
    /// It does not answer in time.
    Stuck,
}

impl Unavailable {
    /// The word for it, where there would be that for a phase. A loop whose calls pile up is as good as stuck.
    const fn phase(self) -> &'static str {
        match self {
            Self::Over => "ended",
            Self::Busy | Self::Stuck => "stuck",
        }
    }
}

/// The way to the driver, for servers.
#[derive(Clone)]
pub struct Handle {
    /// To the driver.
    pub calls: mpsc::Sender<Call>,
    /// The world.
    pub environment: Arc<dyn Environment>,
    /// What happens in sessions.
    pub hub: Arc<Hub>,
    /// What was kept, for those who have a thread of their own.
    pub journal: Arc<dyn Journal>,
    /// The same, for those who live on the loop's.
    pub reader: Reader,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How far each part has come.
    pub pulse: Arc<Pulse>,
    /// The last status that the driver gave, for the time when it gives none.
    pub last_status: Arc<Mutex<Value>>,
}

impl Handle {
    /// Says something in a session; the answer comes when it is on disk. Every platform's messages come in here.
    pub async fn say(&self, message: NewMessage) -> Result<MessageAnswer, Unavailable> {
        self.call(ON_DISK, |answer| Call::Message { message, answer }).await
    }

    /// Makes a call and waits for its answer.
    pub async fn call<T>(
        &self,
        patience: Duration,
        call: impl FnOnce(oneshot::Sender<T>) -> Call,
    ) -> Result<T, Unavailable> {
        let (answer, answered) = oneshot::channel();
        self.calls.try_send(call(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Metrics::count(&self.metrics.busy_total);
                Unavailable::Busy
            }
            mpsc::error::TrySendError::Closed(_) => Unavailable::Over,
        })?;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Unavailable::Over),
            Err(_) => Err(Unavailable::Stuck),
        }
    }

    /// Whether the driver answers; if not, the word for what it is instead.
    pub async fn answers(&self) -> Result<(), &'static str> {
        self.call(GLANCE, |answer| Call::Gauges { answer }).await.map_err(Unavailable::phase)
    }

    /// How it goes. A driver that does not answer is not called serving: its last status is given with the phase `stuck`.
    pub async fn status(&self) -> Value {
        match self.call(GLANCE, |answer| Call::Status { answer }).await {
            Ok(status) => status,
            Err(unavailable) => {
                let mut status = self.last_status.lock().unwrap_or_else(PoisonError::into_inner).clone();
                status["phase"] = unavailable.phase().into();
                status
            }
        }
    }
}
