//! The names of things. Sessions, messages and requests are numbered by the caller, which keeps their texts; turns,
//! deliveries, questions and generations are numbered by the core from counters that are part of its state.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{Hash, Hasher};

/// What a number in the state counts. Ids and instants hash as one `u128`, the kind above the number: two states that
/// differ only in how things are numbered are alike, and whoever compares states by what they hash can then tell ids
/// from other numbers and renumber them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`SessionId`].
    Session = 1,
    /// A [`MessageId`].
    Message,
    /// A [`TurnId`].
    Turn,
    /// A [`DeliveryId`].
    Delivery,
    /// A [`RequestId`].
    Request,
    /// A [`GenerationId`].
    Generation,
    /// A [`QuestionId`].
    Question,
    /// An [`Instant`](crate::time::Instant).
    Instant,
}

impl Kind {
    /// The kind of a number, and the number, as they were hashed; `None` if nothing of ours hashes so.
    #[must_use]
    pub const fn of(hashed: u128) -> Option<(Self, u64)> {
        let kind = match hashed >> 64 {
            1 => Self::Session,
            2 => Self::Message,
            3 => Self::Turn,
            4 => Self::Delivery,
            5 => Self::Request,
            6 => Self::Generation,
            7 => Self::Question,
            8 => Self::Instant,
            _ => return None,
        };
        // Truncation is meant: the number is the lower half.
        Some((kind, hashed as u64))
    }

    pub(crate) fn hash_with<H: Hasher>(self, number: u64, state: &mut H) {
        state.write_u128((self as u128) << 64 | u128::from(number));
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $word:literal, $kind:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                Kind::$kind.hash_with(self.0, state);
            }
        }

        impl $name {
            /// The id after this one; the last there is has none, which only a damaged journal gets to.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
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
    SessionId, "session", Session
);
id!(
    /// One inbound text. Given by the caller, rising in the order of arrival.
    MessageId, "message", Message
);
id!(
    /// One run of an agent over messages of one session; the same over all its attempts.
    TurnId, "turn", Turn
);
id!(
    /// One outbound text owed to a chat.
    DeliveryId, "delivery", Delivery
);
id!(
    /// One question of an agent to its chat; the same over all attempts of its turn.
    QuestionId, "question", Question
);
id!(
    /// One wish about the life cycle. Given by the caller.
    RequestId, "request", Request
);
id!(
    /// One life of the gateway.
    GenerationId, "generation", Generation
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    /// Keeps the last number that was hashed.
    #[derive(Default)]
    struct Last(u128);

    impl Hasher for Last {
        fn write(&mut self, _: &[u8]) {}
        fn write_u128(&mut self, number: u128) {
            self.0 = number;
        }
        fn finish(&self) -> u64 {
            0
        }
    }

    fn hashed(id: impl Hash) -> Option<(Kind, u64)> {
        let mut last = Last::default();
        id.hash(&mut last);
        Kind::of(last.0)
    }

    #[test]
    fn an_id_and_an_instant_hash_as_what_they_are_and_nothing_else_is_taken_for_one() {
        let most = u64::MAX;
        assert_eq!(hashed(SessionId(most)), Some((Kind::Session, most)));
        assert_eq!(hashed(MessageId(0)), Some((Kind::Message, 0)));
        assert_eq!(hashed(TurnId(3)), Some((Kind::Turn, 3)));
        assert_eq!(hashed(DeliveryId(4)), Some((Kind::Delivery, 4)));
        assert_eq!(hashed(RequestId(5)), Some((Kind::Request, 5)));
        assert_eq!(hashed(GenerationId(most)), Some((Kind::Generation, most)));
        assert_eq!(hashed(Instant::from_millis(8)), Some((Kind::Instant, 8)));
        assert_eq!(hashed(QuestionId(9)), Some((Kind::Question, 9)));
        assert_eq!([0, 7, 9 << 64].map(Kind::of), [None; 3]);
    }
}
