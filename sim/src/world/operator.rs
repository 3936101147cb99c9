//! Operators who climb: each runs the production [`Ladder`] against the gateway of this world, as `evergate restart` and `evergate
//! stop` run it against a real one. They see what the command sees, decide nothing themselves, and what they have decided upon they do a
//! while later, when everything may have changed.

use super::action::Action;
use super::memory::Memory;
use super::perform::{Observer, Taking};
use super::{Process, World};
use crate::subject::Subject;
use evergate_core::effect::Answer;
use evergate_core::gateway::Phase;
use evergate_core::id::{GenerationId, RequestId};
use evergate_core::input::Input;
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::ladder::{Ladder, Patience, Rung, Sight, Step};
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Origin, Outcome, Signal, Wish};
use evergate_core::supervisor::Supervisor;
use evergate_core::time::Instant;
use std::time::Duration;

/// How long a climb may take in all.
const WAIT: Duration = Duration::from_secs(60);
/// From a forced restart to another generation that is ready, on a machine that has nothing else to do.
const FORCED: Duration = Duration::from_secs(10);

/// How careful those who climb are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Climber {
    /// As `evergate restart`: signals only the process that owns the journal, takes only a different generation for a new one,
    /// and starts nothing beside a live owner.
    Careful,
    /// Signals the number that the process had.
    TrustsNumbers,
    /// Takes whatever serves for the new generation.
    TakesAnyForNew,
    /// Starts another owner whoever there is.
    StartsBeside,
}

/// Whose the number of the process is, which is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Number {
    /// The process's own; it may have replaced itself since.
    Patient,
    /// Nobody's: the process is dead.
    Nobody,
    /// That of a process which has nothing to do with all this.
    Stranger,
}

/// What became of asking the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    /// There will be no answer.
    InVain,
    /// There is none yet.
    Waiting(RequestId),
    /// It is on disk.
    Accepted(RequestId),
}

/// One climb.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    ladder: Ladder,
    wish: Wish,
    mode: Mode,
    begun: Instant,
    /// The generation that is to be replaced, or was told to stop last.
    generation: GenerationId,
    number: Number,
    asked: Asked,
    /// The next generation got stuck or died in its turn: how long that takes is no business of this climb.
    hindered: bool,
    /// Whether what had to answer was slow meanwhile.
    delayed: bool,
    /// Whether it has killed what was to stop.
    killed: bool,
    /// Decided upon, and not done yet.
    about_to: Option<Step>,
}

/// What those who climb see and may do.
impl<S: Subject> World<S> {
    fn generation(&self, memory: &Memory<S>) -> Option<GenerationId> {
        self.subject(memory).map(Subject::generation)
    }

    /// Whether the generation that is there has its number for good: one that dies before leaves it to the next.
    pub(super) fn has_begun(&self, memory: &Memory<S>) -> bool {
        self.generation(memory) == Some(memory.journal(self.durable).highest.generation)
    }

    fn sight(&self, memory: &Memory<S>, operator: &Operator) -> Sight {
        if operator.wish == Wish::Stop {
            return self.sight_of_a_stop(memory, operator);
        }
        let other = self.generation(memory).is_some_and(|generation| generation != operator.generation);
        let outcome = match operator.asked {
            Asked::Accepted(request) => !memory.journal(self.durable).requests.contains_key(&request),
            _ => true,
        };
        // A tripped loop breaker holds what earlier generations were asked for.
        let told = || outcome || self.subject(memory).is_some_and(Subject::is_tripped);
        match self.process {
            Process::Up if other => Sight::Next { ready: self.phase == Phase::Serving && told() },
            Process::Stuck(_) if other => Sight::Next { ready: false },
            Process::Up => Sight::GettingOn,
            Process::Stuck(_) => Sight::Stuck,
            Process::Due(_) if operator.number == Number::Patient => Sight::Silent,
            Process::Due(_) | Process::Down | Process::Forlorn => Sight::Gone,
        }
    }

    /// Whoever is there is the one to end.
    fn sight_of_a_stop(&self, memory: &Memory<S>, operator: &Operator) -> Sight {
        let another = self.generation(memory).is_some_and(|generation| generation != operator.generation);
        let serves = self.phase == Phase::Serving && self.process == Process::Up;
        // Of what an earlier one has accepted it may have no outcome yet.
        let knows_nothing = serves && matches!(operator.asked, Asked::Accepted(_));
        match self.process {
            Process::Up | Process::Stuck(_) if another && (operator.ladder.rung() > Rung::Ask || knows_nothing) => {
                Sight::Next { ready: serves }
            }
            Process::Up if self.has_begun(memory) => Sight::GettingOn,
            Process::Up => Sight::Starting,
            Process::Stuck(_) => Sight::Stuck,
            Process::Due(_) if operator.number == Number::Patient => Sight::Silent,
            // Whom another operator has started nobody sees before it owns the state directory.
            Process::Due(_) => match self.contract(memory).supervisor {
                Supervisor::Nobody => Sight::Gone,
                Supervisor::Evergate | Supervisor::Systemd => Sight::Paused,
                _ if matches!(operator.asked, Asked::Accepted(_)) && !operator.killed => Sight::Gone,
                _ => Sight::Paused,
            },
            Process::Down | Process::Forlorn => Sight::Gone,
        }
    }

    /// What the operators may do now. A look that shows nothing new is none.
    pub(super) fn what_operators_do(&self, memory: &Memory<S>, actions: &mut Vec<Action>) {
        let hasty = S::climber(&memory.setting.subject) == Climber::TakesAnyForNew && self.phase == Phase::Serving;
        for (operator, climb) in memory.hands(self.hands).operators.iter().enumerate() {
            if climb.wish == Wish::Restart && climb.number == Number::Nobody && self.left.strangers > 0 {
                actions.push(Action::StrangerComes { operator });
            }
            if climb.about_to.is_some() {
                actions.push(Action::OperatorActs { operator });
                continue;
            }
            if hasty || self.shows_something(memory, climb) {
                actions.push(Action::OperatorLooks { operator });
            } else if self.patience_ends(memory, climb).is_some_and(|at| self.operators_wait_until(memory, at)) {
                actions.push(Action::OperatorWaits { operator });
            }
        }
    }

    /// Whether a look would lead an operator on.
    fn shows_something(&self, memory: &Memory<S>, climb: &Operator) -> bool {
        let mut after = climb.ladder.clone();
        after.saw(self.now, self.sight(memory, climb)) != Step::Look || after.rung() != climb.ladder.rung()
    }

    /// Whether no operator has anything to do before `at`.
    pub(super) fn operators_wait_until(&self, memory: &Memory<S>, at: Instant) -> bool {
        memory.hands(self.hands).operators.iter().all(|climb| {
            climb.about_to.is_none()
                && !self.shows_something(memory, climb)
                && self.patience_ends(memory, climb).is_none_or(|patience| patience >= at)
        })
    }

    /// When an operator who goes on seeing the same does something, if nothing else is to come before that.
    fn patience_ends(&self, memory: &Memory<S>, climb: &Operator) -> Option<Instant> {
        let due = matches!(self.process, Process::Due(_));
        if (due || self.somebody_has_to_answer(memory) && self.process == Process::Up) && self.left.slow == 0 {
            return None;
        }
        let sight = self.sight(memory, climb);
        let leads_on = |at: &Instant| climb.ladder.clone().saw(*at, sight) != Step::Look;
        let at = climb.ladder.poll_timeout().filter(leads_on).or(climb.ladder.gives_up_at())?.max(self.now);
        let up = self.subject.filter(|_| self.process == Process::Up);
        let gateway = up.and_then(|part| memory.instance(part).timeout);
        gateway.is_none_or(|timeout| at <= timeout).then_some(at)
    }
}

/// What they do.
impl<S: Subject, O: Observer> Taking<'_, '_, S, O> {
    fn change_operators(&mut self, world: &mut World<S>, change: impl FnOnce(&mut Vec<Operator>)) {
        self.change_hands(world, |hands| change(&mut hands.operators));
    }

    fn operator(&self, world: &World<S>, index: usize) -> &Operator {
        &self.memory.hands(world.hands).operators[index]
    }

    /// Everybody who climbs looks often: whoever sees the gateway get on has seen it until now, and whoever is to stop it knows since
    /// when nobody is there.
    pub(super) fn operators_see(&mut self, world: &mut World<S>) {
        let memory = self.memory;
        for (index, operator) in memory.hands(world.hands).operators.iter().enumerate() {
            let sight = world.sight(memory, operator);
            if matches!(world.process, Process::Stuck(_)) && sight != Sight::Stuck && !operator.hindered {
                self.change_operators(world, |operators| operators[index].hindered = true);
            }
            let mut after = operator.ladder.clone();
            let missed = operator.wish == Wish::Stop && matches!(sight, Sight::Gone | Sight::Paused);
            let waits = (sight == Sight::GettingOn || missed) && operator.about_to.is_none();
            if waits && after.saw(world.now, sight) == Step::Look && after != operator.ladder {
                self.change_operators(world, |operators| operators[index].ladder = after);
            }
        }
    }

    /// The gateway has said something to whoever made this request.
    pub(super) fn operators_are_answered(&mut self, world: &mut World<S>, request: RequestId, answer: Answer) {
        let waits = |operator: &Operator| operator.asked == Asked::Waiting(request);
        if !self.memory.hands(world.hands).operators.iter().any(waits) {
            return;
        }
        self.change_operators(world, |operators| match answer {
            Answer::Accepted => {
                for operator in operators.iter_mut().filter(|operator| waits(operator)) {
                    operator.asked = Asked::Accepted(request);
                    operator.ladder.accepted();
                }
            }
            _ => operators.retain(|operator| !waits(operator)),
        });
    }

    /// A request has its outcome. Whoever reads that it is not what he wants climbs no further.
    pub(super) fn operators_hear(&mut self, world: &mut World<S>, request: RequestId, outcome: Outcome) {
        let granted = |wish: Wish| match wish {
            Wish::Restart => matches!(outcome, Outcome::Restarted { .. }),
            Wish::Stop => outcome == Outcome::Stopped,
        };
        let hears = |operator: &Operator| operator.asked == Asked::Accepted(request) && !granted(operator.wish);
        if self.memory.hands(world.hands).operators.iter().any(hears) {
            self.change_operators(world, |operators| operators.retain(|operator| !hears(operator)));
        }
        self.operators_see_it_serve(world);
    }

    /// The process is there no more: it answers nobody, and its number is free unless it has only replaced itself.
    pub(super) fn operators_lose_it(&mut self, world: &mut World<S>, dead: bool) {
        if self.memory.hands(world.hands).operators.is_empty() {
            return;
        }
        let lost = world.generation(self.memory);
        self.change_operators(world, |operators| {
            for operator in operators {
                operator.hindered |= dead && lost.is_some_and(|lost| lost != operator.generation);
                if let Asked::Waiting(_) = operator.asked {
                    operator.asked = Asked::InVain;
                    operator.ladder.asked_in_vain();
                }
                if dead && operator.number == Number::Patient {
                    operator.number = Number::Nobody;
                }
                // Whoever comes next is another one, even where a generation leaves its number to it.
                if operator.wish == Wish::Stop {
                    operator.generation = GenerationId::default();
                }
            }
        });
    }

    /// A stranger gets the number that the process had.
    pub(super) fn stranger_comes(&mut self, world: &mut World<S>, index: usize) {
        world.left.strangers -= 1;
        self.change_operators(world, |operators| operators[index].number = Number::Stranger);
    }

    /// Where a generation serves a stop that an earlier one has carried out is over: somebody wants it up, or whoever has started it
    /// knew of no stop.
    pub(super) fn operators_see_it_serve(&mut self, world: &mut World<S>) {
        if world.phase != Phase::Serving {
            return;
        }
        let (serves, journal) = (world.generation(self.memory), self.memory.journal(world.durable));
        let undone = |operator: &Operator| {
            let carried_out = match operator.asked {
                Asked::Accepted(request) => !journal.requests.contains_key(&request),
                _ => false,
            };
            operator.wish == Wish::Stop && carried_out && serves != Some(operator.generation)
        };
        if self.memory.hands(world.hands).operators.iter().any(undone) {
            self.change_operators(world, |operators| operators.retain(|operator| !undone(operator)));
        }
    }

    /// Another process is there. What is to stop is whoever is there.
    pub(super) fn operators_find_another(&mut self, world: &mut World<S>) {
        let finds = |operator: &Operator| operator.wish == Wish::Stop && operator.number != Number::Patient;
        if self.memory.hands(world.hands).operators.iter().any(finds) {
            self.change_operators(world, |operators| {
                operators.iter_mut().filter(|operator| finds(operator)).for_each(|it| it.number = Number::Patient);
            });
        }
    }

    /// Somebody wants a restart or a stop, whatever state the gateway is in.
    pub(super) fn climbs(&mut self, world: &mut World<S>, wish: Wish, mode: Mode) {
        let Some(generation) = world.generation(self.memory) else { return };
        let patience = Patience::of(mode, world.contract(self.memory).starts_again);
        let ladder = match wish {
            Wish::Restart => Ladder::new(patience, world.now, Some(WAIT)),
            Wish::Stop => Ladder::to_stop(Patience::to_stop(mode), world.now, Some(WAIT)),
        };
        let mut operator = Operator {
            ladder,
            wish,
            mode,
            begun: world.now,
            generation,
            number: Number::Patient,
            asked: Asked::InVain,
            hindered: false,
            delayed: false,
            killed: false,
            about_to: None,
        };
        if world.process != Process::Up {
            operator.ladder.asked_in_vain();
            return self.change_operators(world, |operators| operators.push(operator));
        }
        let request = Self::new_request(world);
        operator.asked = Asked::Waiting(request);
        self.change_operators(world, |operators| operators.push(operator));
        self.tell(world, Input::Request { request, wish, mode, origin: Origin::Cli });
    }

    /// An operator looks, perhaps when its patience is over.
    pub(super) fn operator_looks(&mut self, world: &mut World<S>, index: usize) {
        let (memory, now) = (self.memory, world.now);
        let operator = &memory.hands(world.hands).operators[index];
        let mut ladder = operator.ladder.clone();
        let sight = world.sight(memory, operator);
        let hears_nothing = operator.wish == Wish::Stop && matches!(sight, Sight::Next { .. });
        let mut step = ladder.saw(now, sight);
        let serves = world.process == Process::Up && world.phase == Phase::Serving;
        if S::climber(&memory.setting.subject) == Climber::TakesAnyForNew && serves {
            step = Step::Done;
        }
        match (step, operator.wish) {
            (Step::Done, Wish::Restart) => {
                let ready = world.generation(memory).filter(|_| serves);
                reported(self.checks, operator, ready, now);
            }
            (Step::Done, Wish::Stop) => {
                let keeper = world.contract(memory).supervisor;
                stopped(self.checks, operator, world.process, keeper);
            }
            (Step::GiveUp(rung), wish) => {
                let Operator { mode, hindered, delayed, generation, .. } = *operator;
                self.checks.holds(Invariant::Force, mode != Mode::Force || hindered || delayed, || {
                    format!("a forced {wish:?} of {generation} is given up on the rung \"{}\"", rung.name())
                });
            }
            _ => {}
        }
        if hears_nothing {
            self.change_operators(world, |operators| operators[index].asked = Asked::InVain);
        }
        self.change_operators(world, |operators| match step {
            Step::Done | Step::GiveUp(_) => _ = operators.remove(index),
            Step::Look => operators[index].ladder = ladder,
            Step::Ask | Step::Terminate | Step::Kill | Step::Start => {
                operators[index].ladder = ladder;
                operators[index].about_to = Some(step);
            }
        });
    }

    /// Time passes until an operator does something.
    pub(super) fn operator_waits(&mut self, world: &mut World<S>, index: usize) {
        let Some(at) = world.patience_ends(self.memory, self.operator(world, index)) else { return };
        let answers = match world.process {
            Process::Due(_) => true,
            Process::Up => world.somebody_has_to_answer(self.memory),
            _ => false,
        };
        if answers && world.left.slow > 0 {
            world.left.slow -= 1;
            self.change_operators(world, |operators| operators.iter_mut().for_each(|operator| operator.delayed = true));
        }
        self.waits_until(world, at);
        self.operator_looks(world, index);
    }

    /// An operator does what it has decided upon.
    pub(super) fn operator_acts(&mut self, world: &mut World<S>, index: usize) {
        let Operator { about_to, number, generation, wish, .. } = *self.operator(world, index);
        let Some(step) = about_to else { return };
        self.change_operators(world, |operators| operators[index].about_to = None);
        match (step, wish) {
            (Step::Start, _) => return self.operator_starts(world),
            (Step::Ask, _) => return self.operator_asks(world, index),
            (Step::Kill, Wish::Stop) => return self.operator_kills_for_good(world, index),
            (_, Wish::Stop) => return self.operator_tells_the_keeper(world, index),
            (_, Wish::Restart) => {}
        }
        let alive = matches!(world.process, Process::Up | Process::Stuck(_));
        let owns = alive && world.generation(self.memory) == Some(generation);
        let hits = match S::climber(&self.memory.setting.subject) {
            Climber::TrustsNumbers => number != Number::Nobody,
            _ => number == Number::Patient && owns,
        };
        self.checks.holds(Invariant::Lock, !hits || (number == Number::Patient && owns), || {
            format!("{step:?} is meant for {generation} and reaches another process")
        });
        match step {
            _ if !hits || !owns => {}
            Step::Kill => self.die(world),
            _ if world.process == Process::Up => {
                let request = Self::new_request(world);
                self.tell(world, Input::Signal { request, signal: Signal::Terminate });
            }
            _ => world.signal_waits = true,
        }
    }

    /// It asks again, and only the generation hears that which it has asked before.
    fn operator_asks(&mut self, world: &mut World<S>, index: usize) {
        let Operator { generation, wish, .. } = *self.operator(world, index);
        let meant = wish == Wish::Stop || world.generation(self.memory) == Some(generation);
        if world.process != Process::Up || !meant {
            return self.change_operators(world, |operators| operators[index].ladder.asked_in_vain());
        }
        let request = Self::new_request(world);
        let mode = self.operator(world, index).mode;
        let asked = world.generation(self.memory).unwrap_or(generation);
        self.change_operators(world, |operators| {
            operators[index].asked = Asked::Waiting(request);
            operators[index].generation = asked;
        });
        self.tell(world, Input::Request { request, wish, mode, origin: Origin::Cli });
    }

    /// Whoever would start it again is told not to, where he can be told; where there is nobody, the process is sent SIGTERM.
    fn operator_tells_the_keeper(&mut self, world: &mut World<S>, index: usize) {
        let keeper = world.contract(self.memory).supervisor;
        let accepted = matches!(self.operator(world, index).asked, Asked::Accepted(_));
        let alive = self.operator(world, index).number == Number::Patient;
        match (keeper, world.process) {
            (Supervisor::Evergate | Supervisor::Systemd, _) => world.stop_job = true,
            (Supervisor::Nobody, Process::Up | Process::Stuck(_)) => {}
            // It is between two lives: he will look again.
            (Supervisor::Nobody, _) => return,
            (_, Process::Up | Process::Stuck(_)) if accepted => return,
            _ => return self.change_operators(world, |operators| _ = operators.remove(index)),
        }
        let told = world.generation(self.memory);
        self.change_operators(world, |operators| {
            operators[index].ladder.told();
            operators[index].generation = told.unwrap_or(operators[index].generation);
            operators.iter_mut().filter(|operator| operator.wish == Wish::Restart).for_each(|it| it.hindered = true);
        });
        match world.process {
            Process::Up => self.pass_on(world, Signal::Terminate),
            Process::Stuck(_) => world.signal_waits = true,
            Process::Due(_) if !alive => world.process = Process::Down,
            Process::Due(_) | Process::Down | Process::Forlorn => {}
        }
    }

    /// The process that was told to end is killed, and nobody is to miss it.
    fn operator_kills_for_good(&mut self, world: &mut World<S>, index: usize) {
        let told = Some(self.operator(world, index).generation) == world.generation(self.memory);
        if !told || !matches!(world.process, Process::Up | Process::Stuck(_)) {
            return;
        }
        self.change_operators(world, |operators| operators[index].killed = true);
        self.die(world);
        if world.process == Process::Forlorn {
            world.process = Process::Down;
        }
    }

    /// Where nobody owns the journal another process is started, by whoever supervises it.
    fn operator_starts(&mut self, world: &mut World<S>) {
        let free = !matches!(world.process, Process::Up | Process::Stuck(_));
        let starts = free || S::climber(&self.memory.setting.subject) == Climber::StartsBeside;
        self.checks.holds(Invariant::Lock, !starts || free, || {
            format!("another owner is started beside {:?}", world.generation(self.memory))
        });
        if matches!(world.process, Process::Down | Process::Forlorn) {
            world.stop_job = false;
            world.process = Process::Due(Start::Wanted);
        }
    }
}

/// An operator is told that the gateway has stopped. That of who cannot be seen to be about to start one, or is a person, it comes
/// back nobody can know.
fn stopped(checks: &mut Checks, operator: &Operator, process: Process, keeper: Supervisor) {
    let holds = match (process, keeper) {
        (Process::Down | Process::Forlorn, _) | (Process::Due(_), Supervisor::Nobody) => true,
        (Process::Due(_), Supervisor::Evergate | Supervisor::Systemd) => false,
        (Process::Due(_), _) => !operator.killed && matches!(operator.asked, Asked::Accepted(_)),
        (Process::Up | Process::Stuck(_), _) => false,
    };
    checks.holds(Invariant::Intent, holds, || format!("a stop is said to be done, and it is {process:?}"));
}

/// An operator is told that the gateway was restarted: `ready` is the generation that serves.
fn reported(checks: &mut Checks, operator: &Operator, ready: Option<GenerationId>, now: Instant) {
    checks.holds(Invariant::Ready, ready.is_some_and(|ready| ready > operator.generation), || {
        format!("restarted is said of {}, and {ready:?} serves", operator.generation)
    });
    // Where yet another generation serves, somebody has ended the next one as well.
    if operator.mode == Mode::Force && !operator.hindered && ready == Some(operator.generation.next()) {
        checks.holds(Invariant::Force, now - operator.begun <= FORCED, || {
            format!("a forced restart took {:?}", now - operator.begun)
        });
    }
}
