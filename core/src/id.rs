//! The names of things. Sessions, messages and requests are numbered by the caller, which keeps their texts; turns,
//! deliveries and generations are numbered by the core from counters that are part of its state.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The id after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, " {}"), self.0)
            }
        }
    };
}

id!(
    /// One conversation: (platform, chat, thread). Given by the caller, the same over all generations.
    SessionId, "session"
);
id!(
    /// One inbound text. Given by the caller, rising in the order of arrival.
    MessageId, "message"
);
id!(
    /// One run of an agent over messages of one session; the same over all its attempts.
    TurnId, "turn"
);
id!(
    /// One outbound text owed to a chat.
    DeliveryId, "delivery"
);
id!(
    /// One wish about the life cycle. Given by the caller.
    RequestId, "request"
);
id!(
    /// One life of the gateway.
    GenerationId, "generation"
);
id!(
    /// The place of one record in what this generation wrote; starts at 1.
    Position, "position"
);
