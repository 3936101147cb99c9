//! What can be put into a world and looked at: the production gateway, or a machine with known flaws that shows whether
//! the looking is any good. The contract is that of `evergate_core::gateway::Gateway`.

use crate::world::Climber;
use evergate_core::drain::Drain;
use evergate_core::effect::Effect;
use evergate_core::gateway::{Gateway, Pending};
use evergate_core::id::GenerationId;
use evergate_core::input::Input;
use evergate_core::limits::Limits;
use evergate_core::recovery::Recovered;
use evergate_core::shared::Pool;
use evergate_core::supervisor::Contract;
use evergate_core::time::Instant;
use evergate_core::witness::View;
use std::fmt::Debug;
use std::hash::Hash;

/// What helps when the loop of a process is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// Somebody outside kills the process and starts it again.
    FromOutside,
    /// Only what the stuck loop itself would do.
    None,
}

/// One generation under test, as a value.
pub trait Subject: Clone + Eq + Hash + Debug + Send + Sync + 'static {
    /// What is chosen before its first generation besides limits and supervisor.
    type Setting: Clone + Debug + Send + Sync;

    /// As it stands after reading the journal.
    fn boot(setting: &Self::Setting, limits: &Limits, contract: Contract, recovered: Recovered, now: Instant) -> Self;
    /// Takes one thing that happened.
    fn handle(&mut self, now: Instant, input: Input);
    /// The next thing to do.
    fn poll(&mut self) -> Option<Effect>;
    /// When it wants to be called.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Why it is not at rest.
    fn pending(&self) -> Option<Pending>;
    /// Which generation it is.
    fn generation(&self) -> GenerationId;
    /// The end that is under way.
    fn drain(&self) -> Option<&Drain>;
    /// Whether its loop breaker has tripped.
    fn is_tripped(&self) -> bool {
        false
    }
    /// What the rules about its own plans are about.
    fn view(&self) -> View<'_>;
    /// What helps when its loop is stuck.
    fn rescue(setting: &Self::Setting) -> Rescue;
    /// How careful those are who restart it from outside.
    fn climber(setting: &Self::Setting) -> Climber;
    /// Whether it looks, as it leaves to be started again, for whoever is to do that.
    fn looks_for_its_supervisor(_: &Self::Setting) -> bool {
        true
    }
    /// Has its large parts be one with equal ones of others.
    fn unite(&mut self, _: &mut impl Pool) {}
}

impl Subject for Gateway {
    type Setting = ();

    fn boot((): &(), limits: &Limits, contract: Contract, recovered: Recovered, now: Instant) -> Self {
        Self::boot(limits.clone(), contract, recovered, now)
    }

    fn handle(&mut self, now: Instant, input: Input) {
        self.handle(now, input);
    }

    fn poll(&mut self) -> Option<Effect> {
        self.poll()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn pending(&self) -> Option<Pending> {
        self.pending()
    }

    fn generation(&self) -> GenerationId {
        self.generation()
    }

    fn drain(&self) -> Option<&Drain> {
        self.drain()
    }

    fn is_tripped(&self) -> bool {
        self.is_tripped()
    }

    fn view(&self) -> View<'_> {
        View::of(self)
    }

    fn rescue((): &()) -> Rescue {
        Rescue::FromOutside
    }

    fn climber((): &()) -> Climber {
        Climber::Careful
    }

    fn unite(&mut self, pool: &mut impl Pool) {
        self.unite(pool);
    }
}
