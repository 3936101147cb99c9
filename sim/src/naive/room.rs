//! The rooms in which flaws are looked for, each just large enough for what it is about. The machine without flaws is
//! explored in all of them, whole.

use crate::explore::scope;
use crate::world::{Budget, Manner};
use evergate_core::supervisor::Supervisor;

/// The bounds of one room.
#[derive(Debug)]
pub struct Room {
    /// Its name.
    pub name: &'static str,
    /// Who supervises.
    pub supervisor: Supervisor,
    /// How often what may happen.
    pub budget: Budget,
    /// What may happen.
    pub manners: &'static [Manner],
}

impl Room {
    /// The same for the explorer.
    #[must_use]
    pub fn to_explore(&self) -> scope::Room {
        scope::Room { supervisor: self.supervisor, variant: None, budget: self.budget, manners: self.manners.to_vec() }
    }
}

macro_rules! rooms {
    ($(
        $room:ident $name:literal $supervisor:ident $manners:expr,
        { $($field:ident: $number:literal),* },
        $about:literal
    );+ $(;)?) => {
        $(
            #[doc = $about]
            pub static $room: Room = Room {
                name: $name,
                supervisor: Supervisor::$supervisor,
                budget: Budget { $($field: $number,)* ..Budget::NOTHING },
                manners: &$manners,
            };
        )+

        /// All of them.
        pub static ALL: &[&Room] = &[$(&$room),+];
    };
}

rooms! {
    TALK "talk" Evergate [],
        { sessions: 1, messages: 2, kills: 1 },
        "Two messages in one session, and a death.";
    QUEUED "queued" Evergate [],
        { sessions: 1, messages: 2, kills: 2 },
        "Two messages in one session, and two deaths.";
    BAD_DISK "bad-disk" Evergate [],
        { sessions: 1, messages: 2, lost_writes: 1 },
        "A write that fails.";
    BAD_NETWORK "bad-network" Evergate [],
        { sessions: 1, messages: 2, lost_sends: 1 },
        "A send that fails.";
    BLIND "blind" Evergate [Manner::Blind],
        { sessions: 1, messages: 1, kills: 1, lost_sends: 1 },
        "A platform that cannot tell a repeat, a send that fails or of which nothing is heard, and a death.";
    REDELIVERED "redelivered" Evergate [],
        { sessions: 1, messages: 2, redeliveries: 2 },
        "Messages that come again.";
    ASKED "asked" Evergate [Manner::Restart],
        { sessions: 1, messages: 1, requests: 2, kills: 1, slow: 1 },
        "Restarts from the command line, a turn, and a death.";
    SLOW "slow" Evergate [Manner::Restart],
        { sessions: 1, messages: 1, requests: 1, slow: 2 },
        "A restart, and deadlines that pass while somebody has still to answer.";
    TAKEN_BACK "taken-back" Evergate [Manner::Restart],
        { sessions: 1, messages: 1, requests: 1, cancels: 1 },
        "A restart that is taken back.";
    IN_PLACE "in-place" Nobody [Manner::Restart],
        { sessions: 1, messages: 1, requests: 2 },
        "Restarts in place.";
    CHATTED "chatted" Evergate [Manner::ChatRestart, Manner::TurnRestartWaits],
        { sessions: 1, messages: 2, requests: 2, slow: 1 },
        "Restarts from chats and from turns.";
    FORCED "forced" Evergate [Manner::Restart, Manner::Force],
        { sessions: 1, messages: 1, requests: 2, slow: 1 },
        "A forced restart, and a patient one that is forced.";
    STOPPED "stopped" Evergate [Manner::Stop, Manner::Restart, Manner::PersonStarts],
        { sessions: 1, messages: 1, requests: 2, kills: 1 },
        "A stop, and a death on the way.";
    TERMINATED "terminated" Container [Manner::Terminate, Manner::Interrupt],
        { sessions: 1, messages: 1, requests: 2, slow: 1 },
        "Signals, and a supervisor that kills after ten seconds.";
    CROWDED "crowded" Evergate [Manner::Restart],
        { sessions: 2, messages: 2, requests: 1 },
        "A restart while two sessions talk.";
    DEADLY "deadly" Evergate [],
        { sessions: 2, messages: 2, kills: 2 },
        "Two sessions and two deaths.";
    HELD "held" Evergate [Manner::ChatStop],
        { sessions: 2, messages: 2, kills: 2 },
        "A turn, a command that is answered in another chat, and two deaths.";
    FROZEN "frozen" Evergate [Manner::Restart],
        { sessions: 1, messages: 1, requests: 1, freezes: 1 },
        "A loop that gets stuck for ever.";
    QUESTIONED "questioned" Evergate [Manner::Questions, Manner::Decides, Manner::Restart],
        { sessions: 1, messages: 2, requests: 1, kills: 1 },
        "An agent that asks, a chat that may answer, a restart, and a death.";
    COLLECTED "collected" Evergate [Manner::Collects],
        { sessions: 1, messages: 3, kills: 1 },
        "Messages that share the next turn, and a death.";
    CLIMBED "climbed" Evergate [Manner::Climb, Manner::Unwatched],
        { sessions: 1, freezes: 1, kills: 1, ladders: 1, strangers: 1, slow: 1 },
        "An operator with the ladder, a loop that gets stuck, a death, and a stranger who gets the number of the dead.";
    ORPHANED "orphaned" Evergate [Manner::Restart],
        { sessions: 1, requests: 1, keepers: 1 },
        "A restart, and a supervisor that is killed.";
}
