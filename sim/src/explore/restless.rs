//! A machine that wants to be called every second for ever: what goes round in a circle is found, and told once around.

use super::scope::Room;
use super::{explore_room, tell};
use crate::naive::flaw::Flaws;
use crate::naive::gateway::Naive;
use crate::subject::{Rescue, Subject};
use crate::world::action::{Action, Step};
use crate::world::{Budget, Climber, Manner};
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

/// The naive machine without flaws, and a clock that it cannot leave alone: it goes round a dial with so many hours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Restless<const HOURS: u8>(Naive, Instant, u8);

impl<const HOURS: u8> Subject for Restless<HOURS> {
    type Setting = Flaws;

    fn boot(flaws: &Flaws, limits: &Limits, contract: Contract, recovered: Recovered, now: Instant) -> Self {
        Self(Naive::boot(flaws, limits, contract, recovered, now), now + Duration::from_secs(1), 0)
    }

    fn handle(&mut self, now: Instant, input: Input) {
        if input == Input::Elapsed {
            self.1 = now + Duration::from_secs(1);
            self.2 = (self.2 + 1) % HOURS;
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

/// Finds that it never stops, and gives what is told behind the way there.
fn told_behind<const HOURS: u8>(manners: &[Manner], budget: Budget) -> Vec<String> {
    let room = Room { supervisor: Supervisor::Evergate, variant: None, budget, manners: manners.to_vec() };
    let (broken, way) = explore_room::<Restless<HOURS>>(&room, &Flaws::NONE, 1).found.expect("it never stops");
    assert_eq!(broken.invariant, "FINITE");
    let told = tell::tell::<Restless<HOURS>>(&room.setting(Flaws::NONE), &way, Some("FINITE"));
    assert_eq!(told.broken, Some(broken));
    told.behind.into_iter().map(|moment| moment.what).collect()
}

#[test]
fn a_circle_that_needs_nobody_is_found_and_told_once_around() {
    let behind = told_behind::<1>(&[], Budget::NOTHING);
    let from = behind.iter().position(|what| what.starts_with("from here on ")).expect("it says where it begins");
    assert!(behind[from].contains("1 steps lead back to where it is"), "{behind:#?}");
    assert!(behind[from + 1].contains("a deadline has come"), "{behind:#?}");

    let room = Room { supervisor: Supervisor::Evergate, variant: None, budget: Budget::NOTHING, manners: Vec::new() };
    let once = Step::plain(Action::Boot);
    let told = tell::tell::<Restless<1>>(&room.setting(Flaws::NONE), &[once.clone(), once], Some("ACK"));
    assert_eq!((told.steps.len(), told.broken), (1, None), "no other rule is asked after, and it boots only once");
    assert!(told.stuck.is_some_and(|why| why.starts_with("Boot is not possible there")));
}

/// With a turn that may end at any time there are many ways into the circle, and ways round it that begin late.
#[test]
fn the_circle_that_is_told_is_a_shortest_and_the_way_to_it_ends_on_it() {
    let budget = Budget { sessions: 1, messages: 1, requests: 1, ..Budget::NOTHING };
    let behind = told_behind::<3>(&[Manner::Restart], budget);
    assert!(behind[0].contains("from here on 3 steps lead back to where it is"), "{behind:#?}");
    assert_eq!(behind.iter().filter(|what| what.contains("a deadline has come")).count(), 3, "{behind:#?}");
}
