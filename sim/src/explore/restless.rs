//! A machine that wants to be called every second for ever: what goes round in a circle is found, and told once around.

use super::scope::Room;
use super::{explore_room, tell};
use crate::naive::flaw::Flaws;
use crate::naive::gateway::Naive;
use crate::subject::{Rescue, Subject};
use crate::world::action::{Action, Step};
use crate::world::{Budget, Climber};
use evergate_core::drain::Drain;
use evergate_core::effect::Effect;
use evergate_core::gateway::Pending;
use evergate_core::id::GenerationId;
use evergate_core::input::Input;
use evergate_core::limits::Limits;
use evergate_core::recovery::Recovered;
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::time::Instant;
use evergate_core::witness::View;
use std::time::Duration;

/// The naive machine without flaws, and a clock that it cannot leave alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Restless(Naive, Instant);

impl Subject for Restless {
    type Setting = Flaws;

    fn boot(flaws: &Flaws, limits: &Limits, contract: Contract, recovered: Recovered, now: Instant) -> Self {
        Self(Naive::boot(flaws, limits, contract, recovered, now), now + Duration::from_secs(1))
    }

    fn handle(&mut self, now: Instant, input: Input) {
        if input == Input::Elapsed {
            self.1 = now + Duration::from_secs(1);
        }
        self.0.handle(now, input);
    }

    fn poll(&mut self) -> Option<Effect> {
        self.0.poll()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.1)
    }

    fn pending(&self) -> Option<Pending> {
        self.0.pending()
    }

    fn generation(&self) -> GenerationId {
        self.0.generation()
    }

    fn drain(&self) -> Option<&Drain> {
        self.0.drain()
    }

    fn view(&self) -> View<'_> {
        View { timeout: self.poll_timeout(), ..self.0.view() }
    }

    fn rescue(flaws: &Flaws) -> Rescue {
        Naive::rescue(flaws)
    }

    fn climber(flaws: &Flaws) -> Climber {
        Naive::climber(flaws)
    }
}

#[test]
fn a_circle_that_needs_nobody_is_found_and_told_once_around() {
    let room = Room { supervisor: Supervisor::Evergate, variant: None, budget: Budget::NOTHING, manners: Vec::new() };
    let (broken, way) = explore_room::<Restless>(&room, &Flaws::NONE, 1).found.expect("it never stops");
    assert_eq!(broken.invariant, "FINITE");
    let told = tell::tell::<Restless>(&room.setting(Flaws::NONE), &way, Some("FINITE"));
    assert_eq!(told.broken, Some(broken));
    let behind: Vec<&str> = told.behind.iter().map(|moment| moment.what.as_str()).collect();
    let from = behind.iter().position(|what| what.starts_with("from here on ")).expect("it says where it begins");
    assert!(behind[from].contains("1 steps lead back to where it is"), "{behind:#?}");
    assert!(behind[from + 1].contains("a deadline has come"), "{behind:#?}");

    let once = Step::plain(Action::Boot);
    let told = tell::tell::<Restless>(&room.setting(Flaws::NONE), &[once.clone(), once], Some("ACK"));
    assert_eq!((told.steps.len(), told.broken), (1, None), "no other rule is asked after, and it boots only once");
    assert!(told.stuck.is_some_and(|why| why.starts_with("Boot is not possible there")));
}
