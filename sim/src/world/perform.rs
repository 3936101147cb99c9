//! What happens when something happens: inputs go in, effects are carried out one by one, records come to the disk, and
//! the process dies where a step says so. Everything is shown to the witness.

use super::action::{Action, Fate, Step};
use super::{Agent, Commit, Manner, Offer, Process, Said, Setting, World};
use crate::subject::Subject;
use evergate_core::effect::{Answer, Effect};
use evergate_core::gateway::Phase;
use evergate_core::id::{MessageId, RequestId, TurnId};
use evergate_core::input::{Asked, Input};
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::record::Record;
use evergate_core::recovery::{Recovered, Start};
use evergate_core::request::{Mode, Origin, Signal, Wish};
use evergate_core::supervisor::{Death, Supervisor};
use evergate_core::verdict::{STOP, Verdict};
use std::sync::Arc;

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
pub(super) struct Taking<'a, S: Subject, O: Observer> {
    setting: &'a Setting<S>,
    checks: &'a mut Checks,
    observer: &'a mut O,
    dies_after: Option<u8>,
    commit: Fate,
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
            | Effect::Send { .. }
            | Effect::Transmit { .. }
            | Effect::Answer { .. }
            | Effect::Ready
            | Effect::End { .. }
    )
}

impl<S: Subject> World<S> {
    /// Takes one step, and gives the number of its effects that somebody can see.
    pub fn take(&mut self, setting: &Setting<S>, step: &Step, checks: &mut Checks, observer: &mut impl Observer) -> u8 {
        let mut taking =
            Taking { setting, checks, observer, dies_after: step.dies_after, commit: step.commit, visible: 0 };
        taking.act(self, &step.action);
        taking.visible
    }

    /// Things may have changed for those who were refused.
    fn try_refused_again(&mut self) {
        for said in self.said.iter_mut().filter(|said| said.offer == Offer::Refused) {
            said.offer = Offer::Due;
        }
    }
}

impl<S: Subject, O: Observer> Taking<'_, S, O> {
    fn act(&mut self, world: &mut World<S>, action: &Action) {
        match *action {
            Action::Boot => self.boot(world),
            Action::PersonBoots => {
                world.process = Process::Due(Start::Wanted);
                world.stop_job = false;
                self.boot(world);
            }
            Action::Open => {
                world.opening = false;
                self.tell(world, Input::PlatformsOpen);
            }
            Action::Commit => {
                self.commit(world);
                world.try_refused_again();
                let through = world.flying.through;
                world.flying = Commit::default();
                self.tell(world, Input::Synced { through });
            }
            Action::LoseWrite => {
                world.left.lost_writes -= 1;
                world.flying = Commit::default();
                self.tell(world, Input::SyncFailed);
            }
            Action::Say { session, asked, standing } => {
                world.left.messages -= 1;
                if let Asked::Restart(_) = asked {
                    world.left.requests -= 1;
                }
                let message = MessageId::default();
                world.said.push(Said { session, asked, standing, message, on_disk: false, offer: Offer::Due });
                self.deliver(world, world.said.len() - 1);
            }
            Action::Deliver { said } => self.deliver(world, said),
            Action::Redeliver { said } => {
                world.left.redeliveries -= 1;
                self.deliver(world, said);
            }
            Action::AgentEnds { turn, end } => {
                world.agents.remove(&turn);
                self.tell(world, Input::TurnEnded { turn, end });
            }
            Action::AgentAsks { turn, waits } => self.agent_asks(world, turn, waits),
            Action::Reclaimed { turn } => {
                world.reclaims.remove(&turn);
                world.agents.remove(&turn);
                self.tell(world, Input::TurnGone { turn });
            }
            Action::Sent { delivery } => {
                world.sending.remove(&delivery);
                world.witness.arrived(self.checks, delivery);
                self.tell(world, Input::DeliverySent { delivery });
            }
            Action::LoseSend { delivery, arrives } => {
                world.left.lost_sends -= 1;
                world.sending.remove(&delivery);
                if arrives {
                    world.witness.arrived(self.checks, delivery);
                }
                self.tell(world, Input::DeliveryFailed { delivery });
            }
            Action::SendUnknown { delivery, arrives } => {
                world.left.lost_sends -= 1;
                world.sending.remove(&delivery);
                if arrives {
                    world.witness.arrived(self.checks, delivery);
                }
                self.tell(world, Input::DeliveryUnknown { delivery });
            }
            Action::DiesUnheard { delivery } => {
                world.left.kills -= 1;
                world.witness.arrived(self.checks, delivery);
                self.die(world);
            }
            Action::Ask { wish, mode } => self.ask(world, wish, mode, Origin::Cli),
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
                if let Some(at) = world.subject.as_ref().and_then(Subject::poll_timeout) {
                    world.left.slow -= u8::from(world.somebody_has_to_answer());
                    world.now = world.now.max(at);
                    world.try_refused_again();
                    self.tell(world, Input::Elapsed);
                }
            }
            Action::Kill => {
                world.left.kills -= 1;
                self.die(world);
            }
            Action::Freeze => {
                world.left.freezes -= 1;
                world.process = Process::Stuck;
            }
            Action::GuardStrikes => self.guard_strikes(world),
            Action::WatchdogBites => self.watchdog_bites(world),
            Action::Rescue => self.die(world),
        }
    }

    fn boot(&mut self, world: &mut World<S>) {
        let start = match world.process {
            Process::Due(start) => start,
            _ => Start::Wanted,
        };
        world.process = Process::Up;
        world.phase = Phase::Ended;
        world.last_message = world.durable.highest.message;
        world.last_request = world.durable.highest.request;
        world.try_refused_again();
        let recovered = Recovered { start, ..(*world.durable).clone() };
        let Setting { subject, limits, contract, .. } = self.setting;
        let subject = S::boot(subject, limits, *contract, recovered, world.now);
        world.witness.boots(self.checks, subject.generation(), start);
        world.subject = Some(subject);
        self.perform(world);
    }

    /// What is being written is on disk.
    fn commit(&mut self, world: &mut World<S>) {
        let durable = Arc::make_mut(&mut world.durable);
        for record in &world.flying.records {
            self.observer.synced(record);
            durable.apply(record);
            world.witness.synced(self.checks, record);
            if let Record::MessageAccepted { message, .. } = record {
                for said in world.said.iter_mut().filter(|said| said.message == *message) {
                    said.on_disk = true;
                }
            }
        }
        world.witness.committed(self.checks);
    }

    fn deliver(&mut self, world: &mut World<S>, index: usize) {
        let Said { session, asked, standing, message, offer, .. } = world.said[index];
        if offer != Offer::Acked {
            world.said[index].offer = Offer::Made;
        }
        if message != MessageId::default() {
            return self.tell(world, Input::Known { message });
        }
        world.last_message = world.last_message.next();
        let message = world.last_message;
        world.said[index].message = message;
        let request = Self::new_request(world);
        self.tell(world, Input::Message { message, session, asked, standing, request });
    }

    fn new_request(world: &mut World<S>) -> RequestId {
        world.last_request = world.last_request.next();
        world.last_request
    }

    fn ask(&mut self, world: &mut World<S>, wish: Wish, mode: Mode, origin: Origin) {
        world.left.requests -= 1;
        let request = Self::new_request(world);
        self.tell(world, Input::Request { request, wish, mode, origin });
    }

    fn agent_asks(&mut self, world: &mut World<S>, turn: TurnId, waits: bool) {
        let request = world.last_request.next();
        let Some(agent) = world.agents.get_mut(&turn) else { return };
        agent.waits_for = waits.then_some(request);
        let origin = Origin::Turn { turn, session: agent.session };
        self.ask(world, Wish::Restart, Mode::Graceful, origin);
    }

    fn signal(&mut self, world: &mut World<S>, signal: Signal) {
        world.left.requests -= 1;
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

    fn tell(&mut self, world: &mut World<S>, input: Input) {
        let Some(subject) = &mut world.subject else { return };
        self.observer.input(&input);
        world.witness.input(world.now, &input);
        subject.handle(world.now, input);
        self.perform(world);
    }

    /// Does all that the gateway wants done, in order, unless it dies on the way.
    fn perform(&mut self, world: &mut World<S>) {
        while let Some(effect) = world.subject.as_mut().and_then(Subject::poll) {
            if is_visible(&effect) {
                if self.dies_after == Some(self.visible) {
                    world.left.kills -= 1;
                    return self.die(world);
                }
                self.visible += 1;
            }
            self.observer.effect(&effect);
            let drain = world.subject.as_ref().and_then(Subject::drain);
            world.witness.effect(self.checks, world.now, &effect, drain);
            if let Effect::End { verdict, .. } = effect {
                if let Some(more) = world.subject.as_mut().and_then(Subject::poll) {
                    world.witness.effect(self.checks, world.now, &more, None);
                }
                return self.leave(world, verdict);
            }
            self.carry_out(world, effect);
        }
        if world.flying.records.is_empty() && !world.gathering.records.is_empty() {
            world.flying = std::mem::take(&mut world.gathering);
        }
        if let Some(subject) = &world.subject {
            world.witness.between_inputs(self.checks, world.now, &subject.view());
        }
        if !self.setting.manners.contains(&Manner::CandidateUnfit) {
            self.candidate_found(world, true);
        }
        if let Some(delivery) = world.intended.pop_first() {
            self.tell(world, Input::DeliveryIntended { delivery });
        }
    }

    fn carry_out(&self, world: &mut World<S>, effect: Effect) {
        match effect {
            Effect::Append { position, record } => {
                world.gathering.through = position;
                world.gathering.records.push(record);
            }
            Effect::Discard => {
                world.flying = Commit::default();
                world.gathering = Commit::default();
            }
            Effect::Ack { message } => Self::offered(world, message, Offer::Acked),
            Effect::Refuse { message, .. } => Self::offered(world, message, Offer::Refused),
            Effect::Start { turn, session, .. } => {
                let generation = world.durable.highest.generation;
                let agent = Agent { session, generation, interrupted: false, killed: false, waits_for: None };
                world.agents.insert(turn, agent);
            }
            Effect::Interrupt { turn } => {
                if let Some(agent) = world.agents.get_mut(&turn) {
                    agent.interrupted = true;
                }
            }
            Effect::Kill { turn } => {
                if let Some(agent) = world.agents.get_mut(&turn) {
                    agent.killed = true;
                }
            }
            Effect::Reclaim { turn } => {
                world.reclaims.insert(turn);
            }
            Effect::Send { delivery, .. } if self.setting.manners.contains(&Manner::Blind) => {
                world.intended.insert(delivery);
            }
            Effect::Send { delivery, session, .. } | Effect::Transmit { delivery, session, .. } => {
                world.sending.insert(delivery, session);
            }
            Effect::Answer { request, answer } if answer != Answer::Accepted => Self::waits_no_longer(world, request),
            Effect::Settled { request, .. } => Self::waits_no_longer(world, request),
            Effect::AskSupervisor { request } => world.supervisor_asked = Some(request),
            Effect::CheckCandidate { request } => world.candidate_checked = Some(request),
            Effect::OpenPlatforms => world.opening = true,
            Effect::Phase(phase) => world.phase = phase,
            Effect::Guard(guard) => world.guard = guard,
            Effect::Answer { .. }
            | Effect::ClosePlatforms
            | Effect::Ready
            | Effect::Stopping
            | Effect::Ignored
            | Effect::End { .. } => {}
        }
    }

    fn offered(world: &mut World<S>, message: MessageId, offer: Offer) {
        for said in world.said.iter_mut().filter(|said| said.message == message) {
            if offer == Offer::Refused {
                said.message = MessageId::default();
                said.on_disk = false;
            }
            said.offer = offer;
        }
    }

    fn waits_no_longer(world: &mut World<S>, request: RequestId) {
        for agent in world.agents.values_mut().filter(|agent| agent.waits_for == Some(request)) {
            agent.waits_for = None;
        }
    }
}

/// How a process ends, and what its supervisor makes of that.
impl<S: Subject, O: Observer> Taking<'_, S, O> {
    /// The process dies: what was not synced is gone, and agents live on until somebody looks for them.
    fn die(&mut self, world: &mut World<S>) {
        if self.commit == Fate::Kept {
            self.commit(world);
        }
        self.gone(world, Death::Killed, None);
    }

    fn guard_strikes(&mut self, world: &mut World<S>) {
        let Some((at, verdict)) = world.guard else { return };
        world.now = world.now.max(at);
        let verdict = self.signalled_at_last(world, verdict);
        world.witness.struck(self.checks, verdict);
        self.strike(world, verdict);
    }

    fn watchdog_bites(&mut self, world: &mut World<S>) {
        let restart = self.setting.contract.verdict(Wish::Restart, Origin::Watchdog);
        let verdict = self.signalled_at_last(world, world.guard.map_or(restart, |(_, verdict)| verdict));
        world.witness.bitten(self.checks, verdict);
        self.strike(world, verdict);
    }

    /// The signal that its supervisor has sent waits for the stuck loop.
    fn signalled_at_last(&self, world: &World<S>, verdict: Verdict) -> Verdict {
        if world.stop_job { self.setting.contract.signalled_at_last(verdict) } else { verdict }
    }

    fn strike(&mut self, world: &mut World<S>, verdict: Verdict) {
        match verdict {
            Verdict::Exit(status) => self.gone(world, Death::Exited(status), None),
            Verdict::ReExec | Verdict::StayUp => self.leave(world, verdict),
        }
    }

    fn leave(&mut self, world: &mut World<S>, verdict: Verdict) {
        match verdict {
            Verdict::Exit(status) => self.gone(world, Death::Exited(status), Some(verdict)),
            Verdict::ReExec => {
                let stays = world.stop_job;
                self.checks
                    .holds(Invariant::Intent, !stays, || "it replaces itself while its supervisor stops it".to_owned());
                Self::forget(world, Process::Due(Start::Wanted));
            }
            Verdict::StayUp => Self::forget(world, Process::Down),
        }
    }

    fn gone(&mut self, world: &mut World<S>, death: Death, verdict: Option<Verdict>) {
        let contract = self.setting.contract;
        let limited = contract.supervisor == Supervisor::Systemd;
        let next = if world.stop_job {
            Process::Down
        } else if !contract.revives(death) {
            if death == Death::Exited(STOP) { Process::Down } else { Process::Forlorn }
        } else if limited && world.left.starts == 0 {
            Process::Forlorn
        } else {
            world.left.starts -= u8::from(limited && world.left.starts < u8::MAX);
            let planned = verdict.is_some() && contract.supervisor == Supervisor::Evergate;
            let knows = matches!(contract.supervisor, Supervisor::Evergate | Supervisor::Systemd);
            Process::Due(if knows && !planned { Start::Revived } else { Start::Wanted })
        };
        Self::forget(world, next);
    }

    fn forget(world: &mut World<S>, next: Process) {
        world.process = next;
        world.witness.leaves();
        world.subject = None;
        world.phase = Phase::Ended;
        world.flying = Commit::default();
        world.gathering = Commit::default();
        world.sending.clear();
        world.intended.clear();
        world.reclaims.clear();
        world.opening = false;
        world.supervisor_asked = None;
        world.candidate_checked = None;
        world.guard = None;
        for said in &mut world.said {
            if !said.on_disk {
                said.message = MessageId::default();
            }
            if said.offer != Offer::Acked {
                said.offer = Offer::Due;
            }
        }
    }
}
