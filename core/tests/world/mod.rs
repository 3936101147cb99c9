//! A small world around one gateway at a time: a journal that keeps what was synced, a platform that redelivers what was
//! not acked, agents, a supervisor and operators. It is deterministic: the same calls give the same history. The rules
//! that must hold are in `checks` and are looked at after each effect and each step.

#![allow(dead_code, reason = "each test file uses its own part of the world")]

mod checks;
mod choices;
mod journal;
mod prefix;

use evergate_core::drain::Report;
use evergate_core::effect::{Answer, Effect};
use evergate_core::gateway::{Gateway, Phase};
use evergate_core::id::{DeliveryId, GenerationId, MessageId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Input, Partial, Standing, TurnEnd};
use evergate_core::limits::Limits;
use evergate_core::outbox::{Content, Notice, Repeat};
use evergate_core::question::{Decision, QuestionKey};
use evergate_core::record::Record;
use evergate_core::recovery::{Recovered, Start};
use evergate_core::request::{Mode, Origin, Outcome, Signal, Wish};
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::time::Instant;
use evergate_core::verdict::Verdict;
use journal::Journal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a person has said, as its platform sees it.
#[derive(Clone, Debug)]
pub struct Said {
    pub session: SessionId,
    pub asked: Asked,
    pub standing: Standing,
    /// The id that the gateway's driver gave it last.
    pub message: MessageId,
    /// Under these ids it was acked; more than one would be a loss of the first.
    pub acked: bool,
}

/// A process of a turn.
#[derive(Clone, Debug)]
pub struct Agent {
    pub session: SessionId,
    pub generation: GenerationId,
    pub attempt: u32,
    pub interrupted: bool,
    pub killed: bool,
    /// What it was told about its questions; `None` where nobody is asked.
    pub told: Vec<(QuestionKey, Option<Decision>)>,
}

/// A text that its chat has.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub delivery: DeliveryId,
    pub session: SessionId,
    pub content: Content,
}

/// How a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Died,
    With(Verdict),
}

/// What a look at the candidate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    Fit,
    Unfit,
}

pub struct World {
    pub gateway: Option<Gateway>,
    pub now: Instant,
    pub limits: Limits,
    pub contract: Contract,
    pub journal: Journal,
    pub said: Vec<Said>,
    pub sending: BTreeMap<DeliveryId, (SessionId, Content)>,
    /// Sessions whose platform cannot tell a repeat.
    pub blind: BTreeSet<u64>,
    /// Deliveries that such a platform was handed and has not said that it will send.
    pub intended: Vec<DeliveryId>,
    /// All that such platforms were told to send, in order, and how it was labelled.
    pub transmitted: Vec<(DeliveryId, Repeat)>,
    /// What came to a chat although that had it already.
    pub repeats: Vec<DeliveryId>,
    pub arrived: Vec<Arrival>,
    pub agents: BTreeMap<TurnId, Agent>,
    pub reclaims: Vec<TurnId>,
    /// Platforms were asked to open and have not said so.
    pub opening: bool,
    /// SIGTERMs about which the supervisor was asked.
    pub supervisor_asked: Vec<RequestId>,
    /// What a look at the candidate says; `None` when nobody says anything by itself.
    pub candidate: Option<Fitness>,
    /// Checks of the candidate that are under way.
    pub checks: Vec<RequestId>,
    pub answers: Vec<(RequestId, Answer)>,
    pub settled: BTreeMap<RequestId, Outcome>,
    pub ends: Vec<Ended>,
    /// Dies when so many more effects have been done.
    pub dies_after: Option<usize>,
    /// The phase as the effects tell it.
    pub phase: Phase,
    /// A signal came when the end was already being written.
    pub signalled_late: bool,
    /// When the supervisor was told to wait, and until when.
    pub extended: Vec<(Instant, Instant)>,
    /// How much likelier than a disturbance it is that things go forward.
    pub calmness: usize,
    next_message: u64,
    next_request: u64,
}

impl World {
    /// A gateway with an empty journal that serves.
    pub fn serving(supervisor: Supervisor) -> Self {
        let mut world = Self::new(supervisor);
        world.boot(Start::Wanted);
        world.open();
        world.commit_all();
        world
    }

    pub fn new(supervisor: Supervisor) -> Self {
        let limits = Limits { turns: 2, attempts: 3, queued_per_session: 4, ..Limits::default() };
        Self {
            gateway: None,
            now: Instant::from_millis(1),
            limits,
            contract: Contract::of(supervisor),
            journal: Journal::default(),
            said: Vec::new(),
            sending: BTreeMap::new(),
            blind: BTreeSet::new(),
            intended: Vec::new(),
            transmitted: Vec::new(),
            repeats: Vec::new(),
            arrived: Vec::new(),
            agents: BTreeMap::new(),
            reclaims: Vec::new(),
            opening: false,
            supervisor_asked: Vec::new(),
            candidate: Some(Fitness::Fit),
            checks: Vec::new(),
            answers: Vec::new(),
            settled: BTreeMap::new(),
            ends: Vec::new(),
            dies_after: None,
            phase: Phase::Ended,
            signalled_late: false,
            extended: Vec::new(),
            calmness: 1,
            next_message: 0,
            next_request: 0,
        }
    }

    /// The gateway, which is up.
    pub fn up(&self) -> &Gateway {
        self.gateway.as_ref().expect("the gateway is up")
    }

    pub fn tell(&mut self, input: Input) {
        let Some(gateway) = &mut self.gateway else { return };
        gateway.handle(self.now, input);
        self.perform();
    }

    /// A new process reads the journal.
    pub fn boot(&mut self, start: Start) {
        let recovered = Recovered { start, ..Recovered::from_unfinished(&self.journal.rows) };
        self.gateway = Some(Gateway::boot(self.limits.clone(), self.contract, recovered, self.now));
        self.perform();
    }

    /// The process dies: what was not synced is gone; agents live on until somebody looks for them.
    pub fn kill(&mut self) {
        self.leave(Ended::Died);
    }

    /// A successor starts, finds nothing of its predecessor alive any more, and serves.
    pub fn start_again(&mut self) {
        self.boot_alone();
        self.open();
        self.commit_all();
    }

    /// The same, but what it starts waits for the disk.
    pub fn start_unwritten(&mut self) {
        self.boot_alone();
        self.commit_all();
        self.open();
    }

    fn boot_alone(&mut self) {
        self.boot(Start::Wanted);
        while !self.reclaims.is_empty() {
            self.reclaimed();
        }
    }

    /// What the last generation that wrote its end said about it.
    pub fn last_report(&self) -> Report {
        let report = self.journal.history.iter().rev().find_map(|record| match record {
            Record::GenerationEnded { verdict: Some(_), report, .. } => Some(report.clone()),
            _ => None,
        });
        report.expect("a generation wrote its end")
    }

    fn leave(&mut self, ended: Ended) {
        self.ends.push(ended);
        self.gateway = None;
        self.journal.forget_unsynced();
        self.sending.clear();
        self.intended.clear();
        self.reclaims.clear();
        self.supervisor_asked.clear();
        self.checks.clear();
        self.opening = false;
        self.dies_after = None;
        self.signalled_late = false;
    }

    /// Does all that the gateway wants done, in order, unless it dies on the way.
    fn perform(&mut self) {
        let mut end = None;
        while let Some(effect) = self.gateway.as_mut().and_then(Gateway::poll) {
            if self.dies_after == Some(0) {
                return self.kill();
            }
            self.dies_after = self.dies_after.map(|effects| effects - 1);
            assert_eq!(end, None, "{effect:?} after the end");
            self.check_effect(&effect);
            end = self.do_it(effect);
        }
        self.journal.close_batch();
        match end {
            Some(verdict) => self.leave(Ended::With(verdict)),
            None => self.check_state(),
        }
        if let (Some(fitness), false) = (self.candidate, self.checks.is_empty()) {
            self.candidate_is(fitness);
        }
        if let Some(delivery) = self.intended.pop() {
            self.tell(Input::DeliveryIntended { delivery });
        }
    }

    fn do_it(&mut self, effect: Effect) -> Option<Verdict> {
        match effect {
            Effect::Append { record } => self.journal.append(record),
            Effect::Discard => self.journal.forget_unsynced(),
            Effect::Ack { message } => {
                let said = self.said.iter_mut().find(|said| said.message == message).expect("somebody said it");
                said.acked = true;
            }
            Effect::Start { turn, session, attempt, .. } => {
                let generation = self.up().generation();
                let (interrupted, killed, told) = (false, false, Vec::new());
                self.agents.insert(turn, Agent { session, generation, attempt, interrupted, killed, told });
            }
            Effect::Interrupt { turn } => {
                if let Some(agent) = self.agents.get_mut(&turn) {
                    agent.interrupted = true;
                }
            }
            Effect::Kill { turn } => {
                self.agents.get_mut(&turn).expect("only what runs is killed").killed = true;
            }
            Effect::Decided { turn, key, decision } => self.tell_agent(turn, key, Some(decision)),
            Effect::Unasked { turn, key } => self.tell_agent(turn, key, None),
            Effect::Reclaim { turn } => self.reclaims.push(turn),
            Effect::Send { delivery, session, .. } if self.blind.contains(&session.0) => self.intended.push(delivery),
            Effect::Send { delivery, session, content, .. } => {
                self.sending.insert(delivery, (session, content));
            }
            Effect::Transmit { delivery, session, content, repeat } => {
                self.transmitted.push((delivery, repeat));
                self.sending.insert(delivery, (session, content));
            }
            Effect::Answer { request, answer } => self.answers.push((request, answer)),
            Effect::Settled { request, outcome } => {
                self.settled.insert(request, outcome);
            }
            Effect::AskSupervisor { request } => self.supervisor_asked.push(request),
            Effect::CheckCandidate { request } => self.checks.push(request),
            Effect::OpenPlatforms => self.opening = true,
            Effect::Extend(by) => self.extended.push((self.now, self.now + by)),
            Effect::Phase(phase) => self.phase = phase,
            Effect::End { verdict, .. } => return Some(verdict),
            Effect::Refuse { .. }
            | Effect::ClosePlatforms
            | Effect::Ready
            | Effect::Stopping
            | Effect::Guard(_)
            | Effect::Ignored => {}
        }
        None
    }
}

/// What people, platforms, agents, disks and supervisors do.
impl World {
    pub fn open(&mut self) {
        self.opening = false;
        self.tell(Input::PlatformsOpen);
    }

    /// Somebody says something new; gives its index among all that was said.
    pub fn say(&mut self, session: u64, asked: Asked) -> usize {
        self.say_as(session, asked, Standing::Operator)
    }

    pub fn say_as(&mut self, session: u64, asked: Asked, standing: Standing) -> usize {
        self.said.push(Said { session: SessionId(session), asked, standing, message: MessageId(0), acked: false });
        self.deliver(self.said.len() - 1);
        self.said.len() - 1
    }

    /// The platform brings a message, perhaps once more.
    pub fn deliver(&mut self, index: usize) {
        let Said { session, asked, standing, message, .. } = self.said[index].clone();
        if self.journal.knows(message) {
            return self.tell(Input::Known { message });
        }
        self.next_message += 1;
        let message = MessageId(self.next_message);
        self.said[index].message = message;
        let request = self.new_request();
        self.tell(Input::Message { message, session, asked, standing, request });
    }

    pub fn new_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub fn ask(&mut self, wish: Wish, mode: Mode) -> RequestId {
        self.ask_from(wish, mode, Origin::Cli)
    }

    pub fn ask_from_turn(&mut self, turn: TurnId, wish: Wish) -> RequestId {
        let session = self.agents[&turn].session;
        self.ask_from(wish, Mode::Graceful, Origin::Turn { turn, session })
    }

    pub fn reset_breaker(&mut self) -> RequestId {
        let request = self.new_request();
        self.tell(Input::ResetBreaker { request, origin: Origin::Cli });
        request
    }

    fn ask_from(&mut self, wish: Wish, mode: Mode, origin: Origin) -> RequestId {
        let request = self.new_request();
        self.tell(Input::Request { request, wish, mode, origin });
        request
    }

    pub fn signal(&mut self, signal: Signal) -> RequestId {
        let request = self.new_request();
        self.signalled_late |= self.gateway.as_ref().and_then(Gateway::drain).is_some_and(|drain| drain.end_recorded);
        self.tell(Input::Signal { request, signal });
        request
    }

    pub fn supervisor_answers(&mut self, stops: bool) {
        let request = self.supervisor_asked.remove(0);
        self.tell(if stops { Input::SupervisorStops { request } } else { Input::SupervisorStays { request } });
    }

    /// The oldest check of the candidate is over.
    pub fn candidate_is(&mut self, fitness: Fitness) {
        let request = self.checks.remove(0);
        self.tell(match fitness {
            Fitness::Fit => Input::CandidateFit { request },
            Fitness::Unfit => Input::CandidateUnfit { request },
        });
    }

    /// The oldest unsynced batch comes to the disk.
    pub fn commit(&mut self) {
        if let Some(records) = self.journal.commit() {
            self.check_journal();
            self.tell(Input::Synced { records });
        }
    }

    pub fn commit_all(&mut self) {
        while !self.journal.unsynced.is_empty() {
            self.commit();
        }
    }

    /// The disk refuses what was appended.
    pub fn fail_write(&mut self) {
        self.tell(Input::SyncFailed);
    }

    /// The agent of a turn asks its chat.
    pub fn question(&mut self, turn: TurnId, key: QuestionKey) {
        self.tell(Input::Question { turn, key });
    }

    /// A run that is told something after it has ended does not hear it.
    fn tell_agent(&mut self, turn: TurnId, key: QuestionKey, decision: Option<Decision>) {
        if let Some(agent) = self.agents.get_mut(&turn) {
            agent.told.push((key, decision));
        }
    }

    pub fn answer(&mut self, turn: TurnId) {
        self.end_turn(turn, TurnEnd::Answered);
    }

    pub fn give_way(&mut self, turn: TurnId, partial: Partial) {
        self.end_turn(turn, TurnEnd::Interrupted { partial });
    }

    pub fn end_turn(&mut self, turn: TurnId, end: TurnEnd) {
        self.agents.remove(&turn);
        self.tell(Input::TurnEnded { turn, end });
    }

    pub fn reclaimed(&mut self) {
        let turn = self.reclaims.remove(0);
        self.agents.remove(&turn);
        self.tell(Input::TurnGone { turn });
    }

    /// A chat gets what is being sent to it.
    pub fn sent(&mut self, delivery: DeliveryId) {
        self.arrives(delivery);
        self.tell(Input::DeliverySent { delivery });
    }

    /// A chat gets what is being sent to it, or does not, and nobody can know.
    pub fn unknown(&mut self, delivery: DeliveryId, arrives: bool) {
        if arrives {
            self.arrives(delivery);
        } else {
            self.sending.remove(&delivery);
        }
        self.tell(Input::DeliveryUnknown { delivery });
    }

    fn arrives(&mut self, delivery: DeliveryId) {
        let (session, content) = self.sending.remove(&delivery).expect("it was being sent");
        let known = self.arrived.iter().any(|arrival| arrival.delivery == delivery);
        match self.transmitted.iter().rev().find(|(of, _)| *of == delivery) {
            _ if !known => self.arrived.push(Arrival { delivery, session, content }),
            Some((_, repeat)) => {
                assert_eq!(*repeat, Repeat::Possible, "{delivery} comes again and is not marked as a repeat");
                self.repeats.push(delivery);
            }
            None => {}
        }
    }

    /// The chats get all that is being sent to them, and the process dies before it hears so.
    pub fn kill_unheard(&mut self) {
        for delivery in self.sending.keys().copied().collect::<Vec<_>>() {
            self.arrives(delivery);
        }
        self.kill();
    }

    pub fn send_all(&mut self) {
        while let Some(delivery) = self.sending.keys().next().copied() {
            self.sent(delivery);
            self.commit_all();
        }
    }

    /// Time jumps to when the gateway wants to be called.
    pub fn elapse(&mut self) {
        if let Some(at) = self.gateway.as_ref().and_then(Gateway::poll_timeout) {
            self.now = self.now.max(at);
            self.tell(Input::Elapsed);
            if let Some(next) = self.gateway.as_ref().and_then(Gateway::poll_timeout) {
                assert!(next > self.now, "the gateway asks for a time that has passed: {next:?} at {:?}", self.now);
            }
        }
    }

    /// Time passes without anybody telling the gateway.
    pub fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// The one running turn of a session.
    pub fn turn_in(&self, session: u64) -> TurnId {
        self.up()
            .sessions()
            .get(&SessionId(session))
            .and_then(|session| session.turn)
            .expect("a turn is in flight there")
    }

    /// How many replies to what was said the chat has.
    pub fn replies_to(&self, index: usize) -> usize {
        let message = self.said[index].message;
        let is_reply =
            |content: &Content| matches!(content, Content::Reply { messages, .. } if messages.contains(&message));
        self.arrived.iter().filter(|arrival| is_reply(&arrival.content)).count()
    }

    /// The notices that a chat has, in order.
    pub fn notices_in(&self, session: u64) -> Vec<Notice> {
        let here = self.arrived.iter().filter(|arrival| arrival.session == SessionId(session));
        here.filter_map(|arrival| match arrival.content {
            Content::Notice(notice) => Some(notice),
            Content::Reply { .. } => None,
        })
        .collect()
    }
}
