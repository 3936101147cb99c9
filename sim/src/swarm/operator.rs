//! Operators who climb: each runs the production [`Ladder`] against the gateway of the run, as `evergate restart` runs it
//! against a real one. They look twice a second, and see a process that was killed, replaced or frozen in between.

use super::marks::Mark;
use super::plan::Frozen;
use super::process::{Killer, Standing};
use super::queue::Event;
use super::world::World;
use evergate_core::gateway::Phase;
use evergate_core::id::{GenerationId, RequestId};
use evergate_core::input::Input;
use evergate_core::invariant::Invariant;
use evergate_core::ladder::{Ladder, Patience, Sight, Step};
use evergate_core::request::{Mode, Origin, Outcome, Signal, Wish};
use evergate_core::time::Instant;
use std::time::Duration;

/// From one look to the next.
const LOOK: u64 = 500;
/// How long a climb may take in all: longer than any supervisor pauses.
const WAIT: Duration = Duration::from_secs(600);

/// One climb.
#[derive(Debug)]
pub(super) struct Operator {
    number: u32,
    ladder: Ladder,
    /// The generation that is to be replaced.
    generation: GenerationId,
    /// The process that it lives in.
    life: u32,
    request: RequestId,
}

impl World<'_> {
    /// Somebody wants a restart, whatever state the gateway is in.
    pub(super) fn climbs(&mut self, mode: Mode) {
        let Some(generation) = self.gateway.as_ref().map(|gateway| gateway.generation()) else { return };
        let patience = Patience::of(mode, self.contract().starts_again);
        let ladder = Ladder::new(patience, Instant::from_millis(self.now), Some(WAIT));
        let request = self.new_request();
        self.climbs += 1;
        let number = self.climbs;
        self.operators.push(Operator { number, ladder, generation, life: self.life, request });
        self.queue.push(self.now + LOOK, Event::OperatorLooks { number });
        self.wishes.insert(request, false);
        self.inform(Input::Request { request, wish: Wish::Restart, mode, origin: Origin::Cli });
    }

    /// Whether a climb is under way.
    pub(super) const fn somebody_climbs(&self) -> bool {
        !self.operators.is_empty()
    }

    fn sight(&self, operator: &Operator) -> Sight {
        match (&self.gateway, self.frozen) {
            // A generation that dies before its beginning is on disk leaves its number to the next process.
            (Some(gateway), frozen) if gateway.generation() != operator.generation || self.life != operator.life => {
                Sight::Next { ready: frozen.is_none() && gateway.phase() == Phase::Serving }
            }
            (Some(_), None) => Sight::GettingOn,
            (Some(_), Some(Frozen::Loop | Frozen::OnDisk)) => Sight::Stuck,
            (Some(_), Some(Frozen::Process)) => Sight::Silent,
            (None, _) if self.idles() => Sight::Silent,
            (None, _) => Sight::Gone,
        }
    }

    /// An operator looks, and does what is to be done.
    pub(super) fn operator_looks(&mut self, number: u32) {
        let Some(index) = self.operators.iter().position(|operator| operator.number == number) else { return };
        let sight = self.sight(&self.operators[index]);
        let operator = &mut self.operators[index];
        let (life, generation) = (operator.life, operator.generation);
        let step = operator.ladder.saw(Instant::from_millis(self.now), sight);
        match step {
            Step::GiveUp(_) => {
                self.operators.remove(index);
                return;
            }
            Step::Done => {
                self.operators.remove(index);
                let ready = self.gateway.as_ref().filter(|gateway| gateway.phase() == Phase::Serving);
                let new = ready.is_some_and(|gateway| gateway.generation() > generation || self.life != life);
                self.checks.holds(Invariant::Ready, new, || format!("restarted is said of {generation}, too early"));
                return self.marks.hit(Mark::Climbed);
            }
            Step::Look => {}
            Step::Terminate if self.owns(life) => self.signal(Signal::Terminate),
            Step::Kill if self.owns(life) => {
                self.marks.hit(Mark::ClimberKilled);
                self.dies(Killer::Anybody);
            }
            // Nobody hangs up here.
            Step::Ask | Step::Terminate | Step::Kill => {}
            Step::Start => {
                self.marks.hit(Mark::ClimberStarted);
                self.operator_starts();
            }
        }
        self.queue.push(self.now + LOOK, Event::OperatorLooks { number });
    }

    /// Whether the process of that life is still the one that owns the journal.
    fn owns(&self, life: u32) -> bool {
        self.life == life && self.gateway.is_some()
    }

    fn idles(&self) -> bool {
        self.keeper.standing == Standing::Idle
    }

    /// A request will not be carried out, or has another outcome than a restart: whoever reads that climbs no further.
    pub(super) fn operators_hear(&mut self, request: RequestId, outcome: Option<Outcome>) {
        if !matches!(outcome, Some(Outcome::Restarted { .. })) {
            let life = self.life;
            self.operators.retain(|operator| operator.request != request || operator.life != life);
        }
    }
}
