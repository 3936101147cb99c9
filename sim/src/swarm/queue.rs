//! What is still to come, earliest first: a heap of events, each with its time and a number that decides between equals.

use evergate_core::id::{DeliveryId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Input};
use evergate_core::outbox::Content;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Something that is under way. Those of one life of the process mean nothing to the next.
#[derive(Clone, Debug)]
pub enum Event {
    /// A process that the supervisor or a person started reaches the gateway.
    Boot { life: u32, revivals: u32 },
    /// A person sees that the gateway is down.
    PersonStarts { life: u32 },
    /// A commit is done.
    Committed { life: u32 },
    /// News for the gateway.
    Tell { life: u32, input: Input },
    /// A platform brings a message, by its number.
    Deliver { said: u32 },
    /// The agent of a turn does the next thing.
    Agent { turn: TurnId },
    /// A send comes to its end.
    Sent { life: u32, delivery: DeliveryId, session: SessionId, content: Content, fate: SendFate },
    /// The supervisor answers about a SIGTERM.
    SupervisorAnswers { life: u32, request: RequestId },
    /// A process that is to be killed in a certain phase is killed.
    Kill { life: u32 },
    /// What stood still goes on.
    Thaw { life: u32 },
    /// Somebody answers a question of an agent.
    Answers { session: SessionId, asked: Asked },
    /// An operator who climbs looks.
    OperatorLooks { number: u32 },
    /// A supervisor has heard nothing of the process for too long, which has stood still since then.
    TooSilent { life: u32, since: u64 },
}

/// How a send ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFate {
    /// It arrives.
    Arrives,
    /// It arrives, and the gateway hears that it failed.
    ArrivesUnheard,
    /// It fails.
    Fails,
    /// It is lost on the way, and nobody can know that.
    Lost,
    /// It will never be taken.
    Rejected,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    number: u64,
    event: Event,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// The heap.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    pushed: u64,
}

impl Queue {
    /// Lets something happen at this time, after all that was pushed before for the same time.
    pub fn push(&mut self, at: u64, event: Event) {
        self.pushed += 1;
        self.heap.push(Reverse(Entry { at, number: self.pushed, event }));
    }

    /// When the next event is.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// The next event.
    pub fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse(entry)| entry.event)
    }
}
