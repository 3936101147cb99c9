//! A gateway, its journal and its world over several generations, watched by the witness for whatever is handed to it. It
//! keeps what was synced and nothing else over a death. What happens next is decided in `core_inputs`.

use evergate_core::effect::Effect;
use evergate_core::gateway::{Gateway, Phase};
use evergate_core::id::{DeliveryId, MessageId, RequestId, TurnId};
use evergate_core::input::Input;
use evergate_core::invariant::Checks;
use evergate_core::limits::Limits;
use evergate_core::record::{Record, Unfinished};
use evergate_core::recovery::{Recovered, Start};
use evergate_core::supervisor::Contract;
use evergate_core::time::Instant;
use evergate_core::witness::{View, Witness};
use std::collections::{BTreeSet, VecDeque};

/// All generations on one journal.
pub struct Life {
    /// The one that is alive.
    pub gateway: Gateway,
    /// The time.
    pub now: Instant,
    /// What is on disk, oldest first.
    pub history: Vec<Record>,
    /// The same, as a store keeps it.
    pub rows: Unfinished,
    /// The same, replayed one by one.
    pub replayed: Recovered,
    /// What is not on disk yet: batches that stand or fall together.
    pub unsynced: VecDeque<Vec<Record>>,
    /// Turns of which an agent runs.
    pub agents: BTreeSet<TurnId>,
    /// Turns that are to be looked for among the dead generations' processes.
    pub reclaims: BTreeSet<TurnId>,
    /// Deliveries on their way.
    pub sending: BTreeSet<DeliveryId>,
    /// SIGTERMs about which the supervisor was asked.
    pub asked: BTreeSet<RequestId>,
    /// Checks of what would be started next.
    pub candidates: BTreeSet<RequestId>,
    limits: Limits,
    contract: Contract,
    batch: Vec<Record>,
    witness: Witness,
    checks: Checks,
}

impl Life {
    /// A first generation.
    pub fn new(limits: Limits, contract: Contract) -> Self {
        let now = Instant::from_millis(1);
        let gateway = Gateway::boot(limits.clone(), contract, Recovered::default(), now);
        let (mut witness, mut checks) = (Witness::new(limits.clone(), contract), Checks::default());
        witness.boots(&mut checks, gateway.generation(), Start::Wanted);
        let mut life = Self {
            gateway,
            now,
            history: Vec::new(),
            rows: Unfinished::default(),
            replayed: Recovered::default(),
            unsynced: VecDeque::new(),
            agents: BTreeSet::new(),
            reclaims: BTreeSet::new(),
            sending: BTreeSet::new(),
            asked: BTreeSet::new(),
            candidates: BTreeSet::new(),
            limits,
            contract,
            batch: Vec::new(),
            witness,
            checks,
        };
        life.perform();
        life
    }

    /// The process dies, and another one reads what was synced.
    pub fn die_and_boot(&mut self, start: Start) {
        assert_eq!(Recovered::from_unfinished(&self.rows), self.replayed, "rows and history tell two stories");
        self.unsynced.clear();
        self.batch.clear();
        self.agents.clear();
        self.reclaims.clear();
        self.sending.clear();
        self.asked.clear();
        self.candidates.clear();
        self.witness.leaves();
        let recovered = Recovered { start, ..self.replayed.clone() };
        self.gateway = Gateway::boot(self.limits.clone(), self.contract, recovered, self.now);
        self.witness.boots(&mut self.checks, self.gateway.generation(), start);
        self.perform();
    }

    /// Something happens.
    pub fn tell(&mut self, input: Input) {
        if let Input::DeliverySent { delivery }
        | Input::DeliveryFailed { delivery }
        | Input::DeliveryIntended { delivery }
        | Input::DeliveryUnknown { delivery }
        | Input::DeliveryRejected { delivery } = input
            && self.sending.remove(&delivery)
            && matches!(input, Input::DeliverySent { .. })
        {
            self.witness.arrived(&mut self.checks, delivery);
        }
        self.witness.input(self.now, &input);
        self.gateway.handle(self.now, input);
        self.perform();
    }

    /// The oldest batch comes to the disk.
    pub fn sync(&mut self) {
        let Some(batch) = self.unsynced.pop_front() else { return };
        let records = batch.len() as u32;
        takes_any_count(self.gateway.clone(), self.now);
        for record in batch {
            self.rows.absorb(&record);
            self.replayed.apply(&record);
            self.witness.synced(&mut self.checks, &record);
            self.history.push(record);
        }
        self.witness.committed(&mut self.checks);
        self.tell(Input::Synced { records });
    }

    /// Time goes on to where the gateway wants to be called.
    pub fn elapse(&mut self) {
        if let Some(at) = self.gateway.poll_timeout() {
            self.now = self.now.max(at);
            self.tell(Input::Elapsed);
            let next = self.gateway.poll_timeout();
            assert!(
                next.is_none_or(|next| next > self.now),
                "it wants to be called at {next:?}, and it is {:?}",
                self.now
            );
        }
    }

    /// Whether a message is on disk or on its way there.
    pub fn knows(&self, message: MessageId) -> bool {
        let is_it =
            |record: &Record| matches!(record, Record::MessageAccepted { message: known, .. } if *known == message);
        self.history.iter().any(is_it) || self.unsynced.iter().flatten().any(is_it)
    }

    /// Does what the gateway wants done; after its end another generation begins.
    fn perform(&mut self) {
        let mut ended = false;
        while let Some(effect) = self.gateway.poll() {
            assert!(!ended, "{effect:?} after the end");
            self.witness.effect(&mut self.checks, self.now, &effect, self.gateway.drain());
            self.nothing_is_broken();
            ended = matches!(effect, Effect::End { .. });
            self.act(effect);
        }
        if !self.batch.is_empty() {
            self.unsynced.push_back(std::mem::take(&mut self.batch));
        }
        assert_eq!(ended, self.gateway.phase() == Phase::Ended, "the phase and the last effect differ");
        if ended {
            self.gateway.handle(self.now, Input::Elapsed);
            assert_eq!(self.gateway.poll(), None, "a gateway that has ended does something");
            assert_eq!(self.gateway.poll_timeout(), None);
            return self.die_and_boot(Start::Wanted);
        }
        self.witness.between_inputs(&mut self.checks, self.now, &View::of(&self.gateway));
        self.nothing_is_broken();
        if self.gateway.phase() > Phase::Serving {
            ends_by_its_guard(self.gateway.clone());
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Append { record } => {
                self.batch.push(record);
            }
            Effect::Discard => {
                self.unsynced.clear();
                self.batch.clear();
            }
            Effect::Start { turn, .. } => drop(self.agents.insert(turn)),
            Effect::Reclaim { turn } => drop(self.reclaims.insert(turn)),
            Effect::Send { delivery, .. } | Effect::Transmit { delivery, .. } => drop(self.sending.insert(delivery)),
            Effect::AskSupervisor { request } => drop(self.asked.insert(request)),
            Effect::CheckCandidate { request } => drop(self.candidates.insert(request)),
            _ => {}
        }
    }

    /// The world is healed and at rest.
    pub fn rests(&mut self) {
        self.witness.at_rest(&mut self.checks);
        self.nothing_is_broken();
    }

    /// The world is healed and at rest but for what the loop breaker holds.
    pub fn holds_back(&mut self) {
        self.witness.holds_back(&mut self.checks);
        self.nothing_is_broken();
    }

    fn nothing_is_broken(&self) {
        if let Some(broken) = self.checks.broken() {
            panic!("{broken}");
        }
    }
}

/// More on disk than was ever appended is taken for all that was.
fn takes_any_count(mut gateway: Gateway, now: Instant) {
    gateway.handle(now, Input::Synced { records: u32::MAX });
    while gateway.poll().is_some() {}
}

/// Whatever else fails to happen: an end that has begun is over before its guard strikes.
fn ends_by_its_guard(mut gateway: Gateway) {
    let Some(drain) = gateway.drain() else { panic!("{:?} without an end under way", gateway.phase()) };
    let guard = drain.deadlines.self_kill;
    for _ in 0..100 {
        while gateway.poll().is_some() {}
        if gateway.phase() == Phase::Ended {
            return;
        }
        let at = gateway.poll_timeout().unwrap_or_else(|| panic!("nothing will ever end {gateway:#?}"));
        assert!(at <= guard, "the guard strikes at {guard:?}, before {at:?}");
        gateway.handle(at, Input::Elapsed);
    }
    panic!("it does not end: {gateway:#?}");
}
