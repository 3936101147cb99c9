//! What the witness knows of each thing that is open, from what it saw.

use crate::effect::Place;
use crate::gateway::Phase;
use crate::id::{DeliveryId, GenerationId, MessageId, RequestId, SessionId, TurnId};
use crate::input::Asked;
use crate::outbox::{Content, Notice, Repeat};
use crate::question::{QuestionKey, Ruling};
use crate::request::Request;
use crate::time::Instant;
use crate::turn::Resume;
use crate::unordered::Unordered;
use std::collections::{BTreeMap, BTreeSet};

/// A message on disk that nobody has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Message {
    pub(super) session: SessionId,
    pub(super) asked: Asked,
    /// What its sender was told, or what it has become since.
    pub(super) place: Place,
}

/// A turn on disk that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Turn {
    pub(super) session: SessionId,
    pub(super) messages: Vec<MessageId>,
    pub(super) attempt: u32,
    /// Why its last start on disk happened.
    pub(super) resume: Option<Resume>,
    /// Whether its interruption is on disk, since that start.
    pub(super) interrupted: bool,
    /// Whether its chat is told that it goes on after an end that cut it, since that start.
    pub(super) told: bool,
    /// Whether it is on disk that it ends for good: `/stop` was said, or a message takes its place.
    pub(super) ends: bool,
    /// How often a generation died while this turn ran in it, less those that lived without it since.
    pub(super) deaths: u32,
    /// The generation that started it again last.
    pub(super) resumed_in: GenerationId,
}

impl Turn {
    /// It is started again in this generation. Each that lived since its last start, and in which it did not run, takes
    /// one death off its account, down to one.
    pub(super) fn resumed(&mut self, attempt: u32, generation: GenerationId) {
        self.attempt = attempt;
        self.resume = Some(if self.interrupted { Resume::Planned } else { Resume::Crash });
        let without = generation.0.saturating_sub(self.resumed_in.0 + 1);
        if !self.interrupted {
            let cleared = self.deaths.saturating_sub(u32::try_from(without).unwrap_or(u32::MAX));
            self.deaths = cleared.max(self.deaths.min(1));
        }
        self.interrupted = false;
        self.resumed_in = generation;
    }
}

/// A process of a turn that is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    /// Who started it.
    pub(super) generation: GenerationId,
    /// For which chat: the turn itself may be over on disk by now.
    pub(super) session: SessionId,
}

/// A question on disk whose turn has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) turn: TurnId,
    pub(super) key: QuestionKey,
    /// Whether its chat is owed its text, or has it.
    pub(super) put: bool,
    pub(super) ruling: Option<Ruling>,
}

/// A delivery on disk that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Delivery {
    pub(super) session: SessionId,
    pub(super) sending: bool,
    /// Whether it was handed out and nobody knows what became of that.
    pub(super) uncertain: bool,
    pub(super) arrived: bool,
    /// Whether its platform has said what became of it, for good.
    pub(super) concluded: bool,
    /// What it is about, as far as that matters.
    pub(super) about: About,
    /// What is known of its sends by a platform that cannot tell a repeat.
    pub(super) blind: Blind,
}

impl Delivery {
    pub(super) fn new(session: SessionId, content: &Content) -> Self {
        let about = match content {
            Content::Reply { turn, .. } => About::Reply(*turn),
            Content::Notice(Notice::TurnCut { turn, .. }) => About::Cut(*turn),
            Content::Notice(Notice::TurnBack { turn }) => About::Back(*turn),
            Content::Notice(_) => About::Another,
        };
        let blind = Blind::default();
        Self { session, sending: false, uncertain: false, arrived: false, concluded: false, about, blind }
    }

    /// The process that owed it, or was to send it, is gone. What was known of it and is not on disk is known no longer.
    pub(super) fn outlives(&mut self) {
        self.uncertain |= self.sending || self.arrived;
        self.sending = false;
        self.concluded = false;
        if matches!(self.about, About::Cut(_) | About::Back(_)) {
            self.about = About::Another;
        }
    }

    /// Whether it certainly has not come to its chat.
    pub(super) fn is_unsaid(&self) -> bool {
        let heard = self.sending || self.arrived || self.concluded;
        !heard && !self.uncertain && self.blind.unknown == 0
    }

    /// Its platform failed, as it says.
    pub(super) fn failed(&mut self) {
        self.sending = false;
        // One that was marked certainly has not arrived; of any other nobody knows, and a repeat is told by its id.
        self.uncertain |= self.blind.transmitted.is_none();
        self.blind.transmitted = None;
    }

    /// Nobody can know what became of it.
    pub(super) fn is_unknown(&mut self) {
        self.sending = false;
        self.uncertain = true;
        if self.blind.transmitted.take().is_some() {
            self.blind.unknown += 1;
            self.blind.marked = false;
        }
    }

    /// Whether it may come to its chat once more than it has.
    pub(super) fn may_come(&self) -> bool {
        let labelled = !self.blind.used || self.blind.label == Repeat::Possible;
        !self.arrived || (self.uncertain && labelled)
    }
}

/// What a delivery is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum About {
    /// It is the reply of a turn.
    Reply(TurnId),
    /// It says that the end of the generation that is alive has cut a turn.
    Cut(TurnId),
    /// It says that a turn goes on, and that has not been started since.
    Back(TurnId),
    /// Something else.
    Another,
}

/// What is known of the sends of a delivery by a platform that cannot tell a repeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Blind {
    /// How many sends may have arrived, of which nothing more will be heard.
    pub(super) unknown: u32,
    /// Whether one more is on disk as tried, and nothing that takes that back.
    pub(super) marked: bool,
    /// That one has been sent off, so labelled, and nothing was heard of it.
    pub(super) transmitted: Option<Repeat>,
    /// Whether any was sent off by such a platform.
    pub(super) used: bool,
    /// How the last one was labelled.
    pub(super) label: Repeat,
}

impl Blind {
    /// The process that may have sent it is gone.
    pub(super) fn outlives(&mut self) {
        self.unknown += u32::from(self.marked);
        self.marked = false;
        self.transmitted = None;
    }
}

/// The generation that is alive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Life {
    pub(super) generation: GenerationId,
    pub(super) begun: bool,
    pub(super) open: bool,
    pub(super) ready: bool,
    pub(super) ended: bool,
    /// It was started by a reviver although a stop was asked for.
    pub(super) must_stop: bool,
    /// A turn has ended in it.
    pub(super) proven: bool,
    pub(super) phase: Phase,
    /// Whether it got a SIGTERM.
    pub(super) terminated: bool,
    /// Whether it got a SIGINT.
    pub(super) interrupted: bool,
    /// When the first signal came: a supervisor counts from there.
    pub(super) signalled_at: Option<Instant>,
    /// When a turn last got on, since then.
    pub(super) progress_at: Option<Instant>,
    /// Until when its supervisor has been told to wait.
    pub(super) extended_to: Option<Instant>,
    /// A stop was carried out in it.
    pub(super) stopped: bool,
    pub(super) guard: Option<Instant>,
    /// Requests whose outcome is on its way to the disk and takes their say away: any but a stop that is carried out.
    pub(super) settling: BTreeSet<RequestId>,
    /// Requests on their way to the disk, until the gateway has been told that they are there: it does not know before.
    pub(super) unheard: BTreeMap<RequestId, Request>,
    /// Stops that were asked for and neither accepted nor refused: nobody can complain of either.
    pub(super) stops_unanswered: BTreeSet<RequestId>,
    /// Restarts for which what would follow was found unable to take over.
    pub(super) unfit: BTreeSet<RequestId>,
    /// Somebody vouched for it, so: its loop breaker may be reset.
    pub(super) resets: BTreeSet<RequestId>,
    /// The supervisor says that it is stopping us.
    pub(super) told_to_stop: bool,
    /// Questions whose agents wait to be told.
    pub(super) asking: BTreeSet<(TurnId, QuestionKey)>,
    /// Words about cut turns that nobody had heard when the end was written.
    /// They count when that is written first: what is let go while the disk fails is told after it.
    pub(super) unsaid: Option<BTreeSet<DeliveryId>>,
    /// Sessions in which somebody spoke.
    pub(super) spoke: Unordered<BTreeSet<SessionId>>,
}
