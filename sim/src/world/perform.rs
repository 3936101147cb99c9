//! What happens when something happens: inputs go in, effects are carried out one by one, records come to the disk, and
//! the process dies where a step says so. Everything is shown to the witness.

use super::action::{Action, Fate, Step};
use super::judgement::Sight;
use super::memory::{Desk, Memory};
use super::reaction::{Reaction, Writes};
use super::{Agent, Asks, Hands, Manner, Offer, Process, Said, World};
use crate::subject::Subject;
use evergate_core::effect::{Answer, Effect};
use evergate_core::gateway::Phase;
use evergate_core::id::{MessageId, RequestId, TurnId};
use evergate_core::input::{Asked, Input};
use evergate_core::invariant::Checks;
use evergate_core::question::QuestionKey;
use evergate_core::record::Record;
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Origin, Signal, Wish};
use evergate_core::time::Instant;

/// Who wants to know what happens inside of a step.
pub trait Observer {
    /// Something goes into the gateway.
    fn input(&mut self, _: &Input) {}
    /// The gateway has something done.
    fn effect(&mut self, _: &Effect) {}
    /// A record is on disk.
    fn synced(&mut self, _: &Record) {}
}

/// Nobody.
impl Observer for () {}

/// One step being taken.
pub(super) struct Taking<'a, 'm, S: Subject, O: Observer> {
    desk: &'a mut Desk<'m, S>,
    pub(super) memory: &'m Memory<S>,
    pub(super) checks: &'a mut Checks,
    observer: &'a mut O,
    dies_after: Option<u8>,
    pub(super) commit: Fate,
    /// How many effects that somebody can see have been done.
    visible: u8,
}

/// Whether somebody outside can see this effect: then it matters whether a death comes before or after it.
const fn is_visible(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Ack { .. }
            | Effect::Start { .. }
            | Effect::Interrupt { .. }
            | Effect::Kill { .. }
            | Effect::Decided { .. }
            | Effect::Send { .. }
            | Effect::Transmit { .. }
            | Effect::Answer { .. }
            | Effect::Ready
            | Effect::End { .. }
    )
}

impl<S: Subject> World<S> {
    /// Takes one step, and gives the number of its effects that somebody can see.
    pub fn take(
        &mut self,
        desk: &mut Desk<'_, S>,
        step: &Step,
        checks: &mut Checks,
        observer: &mut impl Observer,
    ) -> u8 {
        let (memory, dies_after, commit) = (desk.memory, step.dies_after, step.commit);
        let mut taking = Taking { desk, memory, checks, observer, dies_after, commit, visible: 0 };
        taking.act(self, &step.action);
        taking.operators_see(self);
        taking.visible
    }
}

/// Changes of what is kept.
impl<S: Subject, O: Observer> Taking<'_, '_, S, O> {
    fn change_said(&mut self, world: &mut World<S>, change: impl FnOnce(&mut Vec<Said>)) {
        let mut said = self.memory.said(world.said).to_vec();
        change(&mut said);
        world.said = self.desk.keep_said(said);
    }

    pub(super) fn change_each_said(
        &mut self,
        world: &mut World<S>,
        of: impl Fn(&Said) -> bool,
        change: impl Fn(&mut Said),
    ) {
        if self.memory.said(world.said).iter().any(&of) {
            self.change_said(world, |said| said.iter_mut().filter(|said| of(said)).for_each(change));
        }
    }

    pub(super) fn change_hands(&mut self, world: &mut World<S>, change: impl FnOnce(&mut Hands)) {
        let mut hands = self.memory.hands(world.hands).clone();
        change(&mut hands);
        world.hands = self.desk.keep_hands(hands);
    }

    fn change_agent(&mut self, world: &mut World<S>, turn: TurnId, change: impl FnOnce(&mut Agent)) {
        self.change_hands(world, |hands| {
            if let Some(agent) = hands.agents.get_mut(&turn) {
                change(agent);
            }
        });
    }

    /// Things may have changed for those who were refused.
    fn try_refused_again(&mut self, world: &mut World<S>) {
        self.change_each_said(world, |said| said.offer == Offer::Refused, |said| said.offer = Offer::Due);
    }

    /// The witness sees something.
    pub(super) fn shows(&mut self, world: &mut World<S>, sight: Sight) {
        world.witness = self.desk.judge(world.witness, sight, self.checks);
    }
}

impl<S: Subject, O: Observer> Taking<'_, '_, S, O> {
    fn act(&mut self, world: &mut World<S>, action: &Action) {
        match *action {
            Action::Boot => self.boot(world),
            Action::PersonBoots => {
                world.process = Process::Due(Start::Wanted);
                (world.stop_job, world.alone) = (false, false);
                self.boot(world);
            }
            Action::Open => {
                world.opening = false;
                self.tell(world, Input::PlatformsOpen);
            }
            Action::Commit => {
                self.commit(world);
                self.try_refused_again(world);
                let records = self.memory.commit(world.flying).records.len() as u32;
                world.flying = Memory::<S>::NOTHING;
                self.tell(world, Input::Synced { records });
            }
            Action::LoseWrite => {
                world.left.lost_writes -= 1;
                world.flying = Memory::<S>::NOTHING;
                self.tell(world, Input::SyncFailed);
            }
            Action::Say { session, asked, standing } => {
                world.left.messages -= 1;
                if let Asked::Restart(_) = asked {
                    world.left.requests -= 1;
                }
                let message = MessageId::default();
                let said = Said { session, asked, standing, message, on_disk: false, offer: Offer::Due };
                self.change_said(world, |all| all.push(said));
                self.deliver(world, self.memory.said(world.said).len() - 1);
            }
            Action::Deliver { said } => self.deliver(world, said),
            Action::Redeliver { said } => {
                world.left.redeliveries -= 1;
                self.deliver(world, said);
            }
            Action::AgentEnds { turn, end } => {
                self.change_hands(world, |hands| _ = hands.agents.remove(&turn));
                self.tell(world, Input::TurnEnded { turn, end });
            }
            Action::AgentAsks { turn, wish, mode, waits } => self.agent_asks(world, turn, (wish, mode), waits),
            Action::AgentQuestions { turn } => {
                self.change_agent(world, turn, |agent| agent.question = Asks::Waits);
                self.tell(world, Input::Question { turn, key: QuestionKey::default() });
            }
            Action::AgentGetsOn { turn } => {
                world.left.progress -= 1;
                self.tell(world, Input::TurnProgressed { turn });
            }
            Action::Reclaimed { turn } => {
                self.change_hands(world, |hands| {
                    hands.reclaims.remove(&turn);
                    hands.agents.remove(&turn);
                });
                self.tell(world, Input::TurnGone { turn });
            }
            Action::Sent { delivery } => {
                self.change_hands(world, |hands| _ = hands.sending.remove(&delivery));
                self.shows(world, Sight::Arrived(delivery));
                self.tell(world, Input::DeliverySent { delivery });
            }
            Action::LoseSend { delivery, arrives } => {
                world.left.lost_sends -= 1;
                self.change_hands(world, |hands| _ = hands.sending.remove(&delivery));
                if arrives {
                    self.shows(world, Sight::Arrived(delivery));
                }
                self.tell(world, Input::DeliveryFailed { delivery });
            }
            Action::SendUnknown { delivery, arrives } => {
                world.left.lost_sends -= 1;
                self.change_hands(world, |hands| _ = hands.sending.remove(&delivery));
                if arrives {
                    self.shows(world, Sight::Arrived(delivery));
                }
                self.tell(world, Input::DeliveryUnknown { delivery });
            }
            Action::DiesUnheard { delivery } => {
                world.left.kills -= 1;
                self.shows(world, Sight::Arrived(delivery));
                self.die(world);
            }
            Action::Ask { wish, mode, origin } => self.ask(world, wish, mode, origin),
            Action::Cancel { request } => {
                world.left.cancels -= 1;
                self.tell(world, Input::Cancel { request });
            }
            Action::Signal { signal } => self.signal(world, signal),
            Action::SupervisorStops => {
                world.stop_job = true;
                self.signal(world, Signal::Terminate);
            }
            Action::SupervisorAnswers => self.supervisor_answers(world),
            Action::CandidateFound { fit } => self.candidate_found(world, fit),
            Action::Elapse => {
                if let Some(at) = world.subject.and_then(|part| self.memory.instance(part).timeout) {
                    world.left.slow -= u8::from(world.somebody_has_to_answer(self.memory));
                    world.now = world.now.max(at);
                    self.try_refused_again(world);
                    self.tell(world, Input::Elapsed);
                }
            }
            Action::Kill => {
                world.left.kills -= 1;
                self.die(world);
            }
            Action::Freeze { at } => Self::stands_still(world, at),
            Action::DiskAnswers => self.disk_answers(world),
            Action::GuardStrikes => self.guard_strikes(world),
            Action::WatchdogLooks => self.watchdog_looks(world),
            Action::Rescue => self.die(world),
            Action::Climb { mode } => {
                world.left.ladders -= 1;
                self.climbs(world, Wish::Restart, mode);
            }
            Action::ClimbToStop { mode } => {
                world.left.ladders -= 1;
                self.climbs(world, Wish::Stop, mode);
            }
            Action::ClimbAtLast => self.climbs(world, Wish::Restart, Mode::Graceful),
            Action::OperatorLooks { operator } => self.operator_looks(world, operator),
            Action::OperatorWaits { operator } => self.operator_waits(world, operator),
            Action::OperatorActs { operator } => self.operator_acts(world, operator),
            Action::StrangerComes { operator } => self.stranger_comes(world, operator),
            Action::KeeperDies => self.keeper_dies(world),
        }
    }

    fn boot(&mut self, world: &mut World<S>) {
        let start = match world.process {
            Process::Due(start) => start,
            _ => Start::Wanted,
        };
        // A person starts it as it was started at first.
        world.alone &= world.process != Process::Forlorn;
        world.process = Process::Up;
        world.phase = Phase::Ended;
        self.operators_find_another(world);
        let highest = self.memory.journal(world.durable).highest;
        world.last_message = highest.message;
        world.last_request = highest.request;
        if highest.generation.0 > 0 && self.memory.setting.manners.contains(&Manner::SpeakEarly) {
            // Those that nobody may say any more are not what two worlds differ in.
            world.left.messages = 0;
        }
        world.wanted =
            start == Start::Wanted && self.says_who_starts(world) && self.memory.journal(world.durable).holds_a_stop();
        self.try_refused_again(world);
        let reaction = self.desk.begin((world.now, world.durable, start, world.alone));
        self.perform(world, reaction);
        // It was meant for the process whose place this one has taken, and is passed on by whoever asks the supervisor at a start.
        if world.stop_job && world.process == Process::Up {
            self.pass_on(world, Signal::Terminate);
        }
    }

    /// What is being written is on disk.
    pub(super) fn commit(&mut self, world: &mut World<S>) {
        for record in &self.memory.commit(world.flying).records {
            self.observer.synced(record);
            if let Record::MessageAccepted { message, .. } = record {
                self.change_each_said(world, |said| said.message == *message, |said| said.on_disk = true);
            }
        }
        world.durable = self.desk.apply(world.durable, world.flying);
        // The first that a process writes is its beginning.
        world.wanted = false;
        self.shows(world, Sight::Synced(world.flying));
    }

    fn deliver(&mut self, world: &mut World<S>, index: usize) {
        let Said { session, asked, standing, message: known, offer, .. } = self.memory.said(world.said)[index];
        let message = if known == MessageId::default() { world.last_message.next() } else { known };
        self.change_said(world, |said| {
            said[index].offer = if offer == Offer::Acked { Offer::Acked } else { Offer::Made };
            said[index].message = message;
        });
        if message == known {
            return self.tell(world, Input::Known { message });
        }
        world.last_message = message;
        let request = Self::new_request(world);
        self.tell(world, Input::Message { message, session, asked, standing, request });
    }

    pub(super) fn new_request(world: &mut World<S>) -> RequestId {
        world.last_request = world.last_request.next();
        world.last_request
    }

    fn ask(&mut self, world: &mut World<S>, wish: Wish, mode: Mode, origin: Origin) {
        world.left.requests -= 1;
        let request = Self::new_request(world);
        self.tell(world, Input::Request { request, wish, mode, origin });
    }

    fn agent_asks(&mut self, world: &mut World<S>, turn: TurnId, (wish, mode): (Wish, Mode), waits: bool) {
        let request = world.last_request.next();
        let Some(Agent { session, .. }) = self.memory.hands(world.hands).agents.get(&turn) else { return };
        self.change_agent(world, turn, |agent| agent.waits_for = waits.then_some(request));
        let origin = Origin::Turn { turn, session: *session };
        self.ask(world, wish, mode, origin);
    }

    fn signal(&mut self, world: &mut World<S>, signal: Signal) {
        world.left.requests -= 1;
        self.pass_on(world, signal);
    }

    pub(super) fn pass_on(&mut self, world: &mut World<S>, signal: Signal) {
        world.heard = self.memory.setting.budget.keepers > 0;
        let request = Self::new_request(world);
        self.tell(world, Input::Signal { request, signal });
    }

    fn supervisor_answers(&mut self, world: &mut World<S>) {
        let Some(request) = world.supervisor_asked.take() else { return };
        let stops = world.stop_job;
        self.tell(world, if stops { Input::SupervisorStops { request } } else { Input::SupervisorStays { request } });
    }

    fn candidate_found(&mut self, world: &mut World<S>, fit: bool) {
        let Some(request) = world.candidate_checked.take() else { return };
        self.tell(world, if fit { Input::CandidateFit { request } } else { Input::CandidateUnfit { request } });
    }

    /// Time passes, and the gateway is told nothing: it is the same, and its deadlines are nearer.
    pub(super) fn waits_until(&mut self, world: &mut World<S>, at: Instant) {
        world.now = at;
        world.subject = world.subject.map(|part| self.desk.later(at, part));
    }

    pub(super) fn tell(&mut self, world: &mut World<S>, input: Input) {
        let Some(subject) = world.subject else { return };
        self.observer.input(&input);
        let reaction = self.desk.react(world.now, subject, &input);
        self.perform(world, reaction);
    }

    /// Does all that the gateway wants done, in order, unless it dies on the way.
    fn perform(&mut self, world: &mut World<S>, reaction: Reaction<S>) {
        let doing = self.memory.doing(reaction.doing);
        for (index, effect) in doing.effects.iter().enumerate() {
            if is_visible(effect) {
                if self.dies_after == Some(self.visible) {
                    world.left.kills -= 1;
                    self.shows(world, Sight::Doing(reaction.doing, index as u32));
                    return self.die(world);
                }
                self.visible += 1;
            }
            self.observer.effect(effect);
            if let Effect::End { verdict, .. } = effect {
                self.shows(world, Sight::Doing(reaction.doing, Sight::ALL));
                return self.leave(world, *verdict);
            }
            self.carry_out(world, effect);
        }
        self.shows(world, Sight::Doing(reaction.doing, Sight::ALL));
        world.subject = reaction.after;
        match doing.writes {
            Writes::Nothing => {}
            Writes::More(commit) => world.gathering = self.desk.gather(world.gathering, commit),
            Writes::Anew(commit) => (world.flying, world.gathering) = (Memory::<S>::NOTHING, commit),
        }
        if world.flying == Memory::<S>::NOTHING {
            world.flying = std::mem::replace(&mut world.gathering, Memory::<S>::NOTHING);
        }
        if let Some(part) = world.subject {
            let view = self.memory.instance(part).view();
            self.memory.witness(world.witness).between_inputs(self.checks, world.now, &view);
        }
        if !self.memory.setting.manners.contains(&Manner::CandidateUnfit) {
            self.candidate_found(world, true);
        }
        if let Some(delivery) = self.memory.hands(world.hands).intended.first().copied() {
            self.change_hands(world, |hands| _ = hands.intended.remove(&delivery));
            self.tell(world, Input::DeliveryIntended { delivery });
        }
    }

    fn carry_out(&mut self, world: &mut World<S>, effect: &Effect) {
        match *effect {
            Effect::Ack { message } => self.offered(world, message, Offer::Acked),
            Effect::Refuse { message, .. } => self.offered(world, message, Offer::Refused),
            Effect::Start { turn, session, .. } => {
                let generation = self.memory.journal(world.durable).highest.generation;
                let (waits_for, question) = (None, Asks::Nothing);
                let agent = Agent { session, generation, interrupted: false, killed: false, waits_for, question };
                self.change_hands(world, |hands| _ = hands.agents.insert(turn, agent));
            }
            Effect::Interrupt { turn } => self.change_agent(world, turn, |agent| agent.interrupted = true),
            Effect::Kill { turn } => self.change_agent(world, turn, |agent| agent.killed = true),
            Effect::Decided { turn, .. } | Effect::Unasked { turn, .. } => {
                self.change_agent(world, turn, |agent| agent.question = Asks::Heard);
            }
            Effect::Reclaim { turn } => self.change_hands(world, |hands| _ = hands.reclaims.insert(turn)),
            Effect::Send { delivery, .. } if self.memory.setting.manners.contains(&Manner::Blind) => {
                self.change_hands(world, |hands| _ = hands.intended.insert(delivery));
            }
            Effect::Send { delivery, session, .. } | Effect::Transmit { delivery, session, .. } => {
                self.change_hands(world, |hands| _ = hands.sending.insert(delivery, session));
            }
            Effect::Answer { request, answer } => {
                self.operators_are_answered(world, request, answer);
                if answer != Answer::Accepted {
                    self.waits_no_longer(world, request);
                }
            }
            Effect::Settled { request, outcome } => {
                self.operators_hear(world, request, outcome);
                self.waits_no_longer(world, request);
            }
            Effect::AskSupervisor { request } => world.supervisor_asked = Some(request),
            Effect::CheckCandidate { request } => world.candidate_checked = Some(request),
            Effect::OpenPlatforms => world.opening = true,
            Effect::Phase(phase) => {
                world.phase = phase;
                self.operators_see_it_serve(world);
            }
            Effect::Guard(guard) => world.guard = guard,
            // What is written goes all at once, when it is known that nothing dies in between.
            Effect::Append { .. }
            | Effect::Discard
            | Effect::ClosePlatforms
            | Effect::Ready
            | Effect::Stopping
            | Effect::Extend(_)
            | Effect::Ignored
            | Effect::End { .. } => {}
        }
    }

    fn offered(&mut self, world: &mut World<S>, message: MessageId, offer: Offer) {
        self.change_each_said(
            world,
            |said| said.message == message,
            |said| {
                if offer == Offer::Refused {
                    said.message = MessageId::default();
                    said.on_disk = false;
                }
                said.offer = offer;
            },
        );
    }

    fn waits_no_longer(&mut self, world: &mut World<S>, request: RequestId) {
        let waits = |agent: &Agent| agent.waits_for == Some(request);
        if self.memory.hands(world.hands).agents.values().any(waits) {
            self.change_hands(world, |hands| {
                hands.agents.values_mut().filter(|agent| waits(agent)).for_each(|agent| agent.waits_for = None);
            });
        }
    }
}
