//! The witness: it sees all that goes into the gateways of one journal and all that comes out of them, over all their
//! generations, and holds that against the rules of `invariant`. It keeps its own account from what it sees and takes
//! nothing from a gateway's word, but for the [`View`] that the rules about a gateway's own plans are about. It never
//! changes anything.

mod account;
mod effects;
mod plans;
mod records;

use crate::drain::Drain;
use crate::gateway::{Gateway, Phase};
use crate::id::{DeliveryId, GenerationId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use crate::invariant::{Checks, Invariant};
use crate::limits::Limits;
use crate::recovery::Start;
use crate::request::{Request, Wish};
use crate::shared::{Pool, Shared};
use crate::supervisor::Contract;
use crate::time::Instant;
use crate::unordered::Unordered;
use crate::work::Item;
use account::{Delivery, Life, Message, Process, Question, Turn};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// What of a gateway's own plans the rules are about.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Where it says that it stands.
    pub phase: Phase,
    /// The end that it says is under way.
    pub drain: Option<&'a Drain>,
    /// What it says is under way.
    pub ledger: Cow<'a, [Item]>,
    /// When it wants to be called.
    pub timeout: Option<Instant>,
}

impl<'a> View<'a> {
    /// What can be seen of the production gateway.
    #[must_use]
    pub fn of(gateway: &'a Gateway) -> Self {
        Self {
            phase: gateway.phase(),
            drain: gateway.drain(),
            ledger: Cow::Owned(gateway.ledger()),
            timeout: gateway.poll_timeout(),
        }
    }
}

/// Everything seen so far that still matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    contract: Contract,
    limits: Shared<Limits>,
    life: Option<Shared<Life>>,
    /// The last generation whose beginning is on disk: one that died before that leaves its number to the next.
    generation: GenerationId,
    /// Whether the end of the last generation is on disk.
    end_on_disk: bool,
    /// Whether a stop was carried out by the last generation, or by those before it and kept since.
    stopped: bool,
    /// Generations in a row that died unproven.
    unproven: u32,
    /// The same as the journal has it, which knows of no end that did not come to the disk.
    unproven_on_disk: u32,
    messages: Shared<BTreeMap<MessageId, Message>>,
    /// Messages of which it is said that they are worked on, until a turn over them is on disk too.
    places: BTreeSet<MessageId>,
    /// Messages for which a turn is said to be interrupted, until it is on disk that it is.
    interrupting: BTreeMap<MessageId, SessionId>,
    /// Messages of a turn that ended without a word for what took its place, until they are back on disk.
    returning: BTreeSet<MessageId>,
    /// Messages that were answered, reported or carried out.
    finished: Shared<BTreeSet<MessageId>>,
    turns: Shared<BTreeMap<TurnId, Turn>>,
    last_turn: TurnId,
    questions: Shared<BTreeMap<QuestionId, Question>>,
    last_question: QuestionId,
    deliveries: Shared<BTreeMap<DeliveryId, Delivery>>,
    last_delivery: DeliveryId,
    requests: Shared<BTreeMap<RequestId, Request>>,
    settled: Shared<BTreeSet<RequestId>>,
    /// Requests whose requester was told "accepted" in its chat, and not yet the outcome.
    told: Shared<BTreeMap<RequestId, SessionId>>,
    /// Outcomes that are on disk and owed to a chat, until the notice is on disk too.
    outcomes_due: Shared<BTreeMap<RequestId, SessionId>>,
    /// Replies that are on disk, until the end of their turn is on disk too.
    replies: BTreeSet<TurnId>,
    /// Answers that are not sent again and may be missing, until the notice of that is on disk too.
    missing_due: BTreeMap<TurnId, SessionId>,
    /// Cut turns of which it is on disk that their chat is told so, until the notice is on disk too.
    cuts_due: BTreeMap<TurnId, SessionId>,
    /// Turns that go on, in chats that were told that they would, until the notice of that is on disk too.
    backs_due: BTreeMap<TurnId, SessionId>,
    set_aside: Unordered<BTreeSet<SessionId>>,
    /// Processes of turns that are alive.
    running: Shared<BTreeMap<TurnId, Process>>,
}

impl Witness {
    /// A witness of a journal from its first day.
    #[must_use]
    pub fn new(limits: Limits, contract: Contract) -> Self {
        Self {
            contract,
            limits: limits.into(),
            life: None,
            generation: GenerationId::default(),
            end_on_disk: true,
            stopped: false,
            unproven: 0,
            unproven_on_disk: 0,
            messages: Shared::default(),
            places: BTreeSet::new(),
            interrupting: BTreeMap::new(),
            returning: BTreeSet::new(),
            finished: Shared::default(),
            turns: Shared::default(),
            last_turn: TurnId::default(),
            questions: Shared::default(),
            last_question: QuestionId::default(),
            deliveries: Shared::default(),
            last_delivery: DeliveryId::default(),
            requests: Shared::default(),
            settled: Shared::default(),
            told: Shared::default(),
            outcomes_due: Shared::default(),
            replies: BTreeSet::new(),
            missing_due: BTreeMap::new(),
            cuts_due: BTreeMap::new(),
            backs_due: BTreeMap::new(),
            set_aside: Unordered::default(),
            running: Shared::default(),
        }
    }

    /// The gateways that follow live within these limits and on these terms.
    pub fn under(&mut self, limits: Limits, contract: Contract) {
        self.limits = limits.into();
        self.contract = contract;
    }

    /// Has its large parts be one with equal ones of other witnesses: for whoever keeps very many.
    pub fn unite(&mut self, pool: &mut impl Pool) {
        if let Some(life) = &mut self.life {
            life.unite(pool);
        }
        self.messages.unite(pool);
        self.finished.unite(pool);
        self.turns.unite(pool);
        self.questions.unite(pool);
        self.deliveries.unite(pool);
        self.requests.unite(pool);
        self.settled.unite(pool);
        self.told.unite(pool);
        self.outcomes_due.unite(pool);
        self.running.unite(pool);
    }

    /// From here on only what comes to the disk is seen, until the next process boots: nothing is known of the one that may
    /// live on, of its agents, or of what it is sending.
    pub fn loses_sight(&mut self) {
        self.life = None;
        self.running.clear();
        for delivery in self.deliveries.values_mut() {
            delivery.uncertain = true;
            delivery.outlives();
        }
    }

    /// Whether too many generations in a row have died, and the one that is alive has proven nothing.
    pub(super) fn is_looping(&self) -> bool {
        self.life.as_ref().is_some_and(|life| !life.proven) && self.unproven >= self.limits.unproven
    }

    /// A process claims the journal and boots.
    pub fn boots(&mut self, checks: &mut Checks, generation: GenerationId, start: Start) {
        checks.holds(Invariant::Lock, self.life.is_none(), || format!("{generation} begins beside another"));
        checks.holds(Invariant::Lock, generation == self.generation.next(), || {
            format!("{generation} follows {}", self.generation)
        });
        for delivery in self.deliveries.values_mut() {
            delivery.blind.outlives();
        }
        let stop_is_wanted = self.requests.values().any(|request| request.wish == Wish::Stop);
        let must_stop = start == Start::Revived && (stop_is_wanted || self.stopped);
        let life = Life {
            generation,
            begun: false,
            open: false,
            ready: false,
            ended: false,
            must_stop,
            proven: false,
            phase: Phase::Starting,
            terminated: false,
            interrupted: false,
            signalled_at: None,
            progress_at: None,
            extended_to: None,
            stopped: false,
            guard: None,
            settling: BTreeSet::new(),
            unheard: BTreeMap::new(),
            stops_unanswered: BTreeSet::new(),
            unfit: BTreeSet::new(),
            resets: BTreeSet::new(),
            told_to_stop: false,
            asking: BTreeSet::new(),
            unsaid: None,
            spoke: Unordered::default(),
        };
        self.life = Some(life.into());
    }

    /// The process has ended: with what `Effect::End` said, or it died at any point.
    pub fn leaves(&mut self) {
        let Some(life) = self.life.take() else { return };
        // An end that came to the disk is one, even if a death came before the process could leave.
        let ended = life.ended || (life.begun && self.end_on_disk);
        for delivery in self.deliveries.values_mut() {
            delivery.outlives();
        }
        for (id, turn) in self.turns.iter_mut() {
            let ran = self.running.get(id).is_some_and(|process| process.generation == life.generation);
            turn.deaths += u32::from(ran && !turn.interrupted && !ended);
        }
        if life.proven {
            (self.unproven, self.unproven_on_disk) = (0, 0);
        } else if life.begun {
            // One that had not begun on disk has left no trace, and has run nothing.
            self.unproven += u32::from(!ended);
            self.unproven_on_disk += u32::from(!self.end_on_disk);
        }
    }
}
