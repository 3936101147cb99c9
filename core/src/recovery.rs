//! The one way back. A crash, a restart, an upgrade and a forced end all come through here: the unfinished business of the
//! journal is read, and what was unfinished is owed again.

use crate::cut::Told;
use crate::effect::{Effect, Place};
use crate::gateway::{Gateway, Phase};
use crate::id::{DeliveryId, GenerationId, MessageId, RequestId, SessionId, TurnId};
use crate::input::Asked;
use crate::limits::Limits;
use crate::outbox::{Content, Delivery, DeliveryState};
use crate::question::Question;
use crate::record::{Highest, Record, Unfinished};
use crate::request::{Mode, Origin, Outcome, Request, Wish};
use crate::session::{Command, Quarantine, Session};
use crate::supervisor::Contract;
use crate::time::Instant;
use crate::turn::{Cut, StopAsked, Turn, TurnState};
use crate::unordered::Unordered;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The unfinished business that a generation finds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recovered {
    /// The highest ids ever given.
    pub highest: Highest,
    /// Whether the last generation wrote its own end.
    pub last_end: LastEnd,
    /// The stop that it wrote its end for.
    #[serde(default)]
    pub stopped_by: Option<(RequestId, Request)>,
    /// How many generations in a row, the last one included, died before they had proven that they can live.
    pub unproven: u32,
    /// Who started this process.
    pub start: Start,
    /// Sessions with a queue, a turn or a mark.
    pub sessions: Unordered<BTreeMap<SessionId, Session>>,
    /// Chat commands that were accepted and not carried out.
    pub commands: BTreeMap<MessageId, Command>,
    /// Turns that have not ended.
    pub turns: BTreeMap<TurnId, Turn>,
    /// Texts that are owed.
    pub deliveries: BTreeMap<DeliveryId, (SessionId, Content)>,
    /// How many sends of each of them may have arrived, where any may.
    #[serde(default)]
    pub uncertain: BTreeMap<DeliveryId, u32>,
    /// Requests without an outcome.
    pub requests: BTreeMap<RequestId, Request>,
}

/// How the last generation ended, as far as the journal knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastEnd {
    /// There was none, or it wrote its end.
    #[default]
    Recorded,
    /// It died without a word.
    Missing,
}

/// Who started this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// A person, a boot of the machine, or a restart that was asked for.
    #[default]
    Wanted,
    /// A supervisor, because the last generation died: it must not undo a stop that somebody asked for.
    Revived,
}

/// What is known of how a process came to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// How many starts in a row, this one included, its supervisor says that it has made by itself.
    pub revivals: u32,
    /// How many starts before this one have come to no generation since one has; `None` where nobody has counted them.
    pub unbegun: Option<u32>,
    /// Whether the process of the last generation has left in order: then its supervisor has seen how.
    pub left: bool,
    /// Whether that was in another boot of the machine.
    pub rebooted: bool,
}

impl Recovered {
    /// What a store with these rows has left unfinished.
    #[must_use]
    pub fn from_unfinished(unfinished: &Unfinished) -> Self {
        let mut recovered = Self::default();
        for record in unfinished.rows.values() {
            recovered.apply(record);
        }
        recovered.highest = unfinished.highest;
        recovered
    }

    /// Whether it matters who starts this process: a reviver must not undo the stop that there is.
    #[must_use]
    pub fn holds_a_stop(&self) -> bool {
        self.stopped_by.is_some() || self.requests.values().any(|request| request.wish == Wish::Stop)
    }

    /// Who has started this process.
    ///
    /// A start that somebody wants stays so until its generation has begun: which of the processes that a supervisor starts in its
    /// place gets so far must not matter to a stop that was there before. Each ordinary stop leaves its end on disk, so that of
    /// one that was carried out nobody is taken for a reviver who is not known to be one; one that has no outcome is kept
    /// where that is in doubt.
    #[must_use]
    pub fn start(&self, Provenance { revivals, unbegun, left, rebooted }: Provenance) -> Start {
        let by_itself = match (&self.stopped_by, unbegun) {
            (Some(_), None) => false,
            (Some(_), Some(unbegun)) => !left && revivals > unbegun,
            (None, unbegun) => revivals > unbegun.unwrap_or(0),
        };
        if self.holds_a_stop() && by_itself && !rebooted { Start::Revived } else { Start::Wanted }
    }

    /// Replays one record, of a full history or of the rows that are left of it.
    pub fn apply(&mut self, record: &Record) {
        self.highest.observe(record);
        match record {
            Record::GenerationBegun { unproven, .. } => {
                self.last_end = LastEnd::Missing;
                self.stopped_by = None;
                self.unproven = unproven.saturating_add(1);
            }
            Record::GenerationEnded { verdict, report, .. } => {
                self.last_end = LastEnd::Recorded;
                self.stopped_by = report.stop();
                self.unproven = self.unproven.saturating_sub(u32::from(verdict.is_some()));
            }
            Record::GenerationProven { .. } | Record::BreakerReset { .. } => self.unproven = 0,
            Record::MessageAccepted { message, session, asked: Asked::Prompt, place, .. } => {
                self.sessions.entry(*session).or_default().enqueue(*message, *place);
            }
            Record::MessageReturned { message, session } => {
                self.sessions.entry(*session).or_default().enqueue(*message, Place::Interrupting);
            }
            Record::MessageAccepted { message, session, asked, standing, request, .. } => {
                let command = Command { session: *session, asked: *asked, standing: *standing, request: *request };
                self.commands.insert(*message, command);
            }
            Record::CommandDone { message } => {
                self.commands.remove(message);
            }
            Record::TurnOpened { turn, session, messages, conversation } => {
                let entry = self.sessions.entry(*session).or_default();
                entry.dequeue(messages);
                entry.turn = Some(*turn);
                self.turns.insert(*turn, Turn::recovered(*session, messages.clone(), *conversation));
            }
            Record::TurnResumed { turn, attempt, charged, generation } => self.change_turn(*turn, |open| {
                open.attempt = *attempt;
                open.charged = *charged;
                open.resumed_in = *generation;
                open.cut = Cut::Unplanned;
                open.told = Told::Nothing;
            }),
            Record::TurnInterrupted { turn } => self.change_turn(*turn, |open| {
                open.charged = open.charged.saturating_sub(u32::from(open.cut == Cut::Unplanned));
                open.cut = Cut::Planned;
            }),
            Record::TurnCutTold { turn } => self.change_turn(*turn, |open| open.told = Told::GoingDown),
            Record::TurnUnsaid { turn, told } => self.change_turn(*turn, |open| open.told = *told),
            Record::TurnStopAsked { turn } => self.change_turn(*turn, |open| open.stop = StopAsked::Yes),
            Record::TurnSuperseded { turn } => self.change_turn(*turn, |open| open.stop = StopAsked::Superseded),
            Record::TurnGranted { turn, request } => self.change_turn(*turn, |open| open.granted = Some(*request)),
            Record::TurnEnded { turn, session, .. } => {
                self.turns.remove(turn);
                self.change_session(*session, |open| open.turn = None);
            }
            Record::QuestionAsked { question, turn, key } => self.change_turn(*turn, |open| {
                open.questions.insert(*question, Question { key: *key, ruling: None, waits: None });
            }),
            Record::QuestionDecided { question, turn, ruling } => self.change_turn(*turn, |open| {
                if let Some(asked) = open.questions.get_mut(question) {
                    asked.ruling = Some(*ruling);
                }
            }),
            Record::QuestionClosed { question, turn } => {
                self.change_turn(*turn, |open| _ = open.questions.remove(question));
            }
            Record::DeliveryOwed { delivery, session, content } => {
                self.deliveries.insert(*delivery, (*session, content.clone()));
            }
            Record::DeliveryTried { delivery, attempt: uncertain } | Record::DeliveryMissed { delivery, uncertain } => {
                match uncertain {
                    0 => drop(self.uncertain.remove(delivery)),
                    uncertain => drop(self.uncertain.insert(*delivery, *uncertain)),
                }
            }
            Record::DeliverySettled { delivery, .. } => {
                self.deliveries.remove(delivery);
                self.uncertain.remove(delivery);
            }
            Record::RequestMade { request, made } => {
                self.requests.insert(*request, *made);
            }
            Record::RequestSettled { request, .. } => {
                self.requests.remove(request);
            }
            Record::SessionQuarantined { session } => {
                self.sessions.entry(*session).or_default().standing = Quarantine::SetAside;
            }
            Record::SessionReleased { session } => {
                self.change_session(*session, |open| open.standing = Quarantine::Free);
            }
            Record::SessionRenewed { session, conversation } => {
                self.sessions.entry(*session).or_default().conversation = *conversation;
            }
            Record::SessionBusy { session, busy } => self.sessions.entry(*session).or_default().busy = Some(*busy),
        }
    }

    fn change_turn(&mut self, turn: TurnId, change: impl FnOnce(&mut Turn)) {
        if let Some(open) = self.turns.get_mut(&turn) {
            change(open);
        }
    }

    fn change_session(&mut self, session: SessionId, change: impl FnOnce(&mut Session)) {
        if let Some(open) = self.sessions.get_mut(&session) {
            change(open);
            if open.is_forgettable() {
                self.sessions.remove(&session);
            }
        }
    }
}

impl Turn {
    /// A generation that died while this turn waited died of something else: one charge less for each of them. Without
    /// this, a turn that stands alone while somebody else keeps killing the gateway would be blamed for it.
    fn clear_of_deaths_without_it(&mut self, last: GenerationId) {
        let without = u32::try_from(last.0.saturating_sub(self.resumed_in.0)).unwrap_or(u32::MAX);
        if self.cut == Cut::Unplanned {
            self.charged = self.charged.saturating_sub(without).max(1);
        }
    }

    /// A turn as its first record leaves it.
    fn recovered(session: SessionId, messages: Vec<MessageId>, conversation: u32) -> Self {
        Self {
            session,
            messages,
            conversation,
            attempt: 1,
            charged: 1,
            resumed_in: GenerationId::default(),
            cut: Cut::Unplanned,
            told: Told::Nothing,
            stop: StopAsked::No,
            granted: None,
            questions: BTreeMap::new(),
            state: TurnState::Reclaiming,
            progress_at: Instant::default(),
        }
    }
}

impl Gateway {
    /// A gateway as it stands after reading the journal: what was unfinished is owed again.
    #[must_use]
    pub fn boot(limits: Limits, contract: Contract, recovered: Recovered, now: Instant) -> Self {
        let Recovered {
            highest,
            last_end,
            stopped_by,
            unproven,
            start,
            sessions,
            commands,
            turns,
            deliveries,
            uncertain,
            requests,
        } = recovered;
        let mut gateway = Self::empty(limits, contract, highest.generation.next());
        gateway.next_turn = highest.turn;
        gateway.next_delivery = highest.delivery;
        gateway.next_question = highest.question;
        gateway.queued = sessions.values().map(|session| session.queue.len()).sum();
        gateway.sessions = sessions.into();
        gateway.turns = turns.into();
        for turn in gateway.turns.values_mut() {
            turn.clear_of_deaths_without_it(highest.generation);
        }
        gateway.requests = requests.into();
        for (id, (session, _)) in &deliveries {
            gateway.owed_in.entry(*session).or_default().push_back(*id);
        }
        let outbox: BTreeMap<DeliveryId, Delivery> = deliveries
            .into_iter()
            .map(|(id, (session, content))| {
                let uncertain = uncertain.get(&id).copied().unwrap_or(0);
                (id, Delivery { session, content, state: DeliveryState::Owed, uncertain })
            })
            .collect();
        gateway.outbox = outbox.into();
        if last_end == LastEnd::Missing {
            let dead =
                Record::GenerationEnded { generation: highest.generation, verdict: None, report: Default::default() };
            gateway.append(dead);
        }
        let generation = gateway.generation;
        gateway.unproven = unproven;
        gateway.append(Record::GenerationBegun { generation, unproven });
        gateway.take_over_commands(commands);
        for turn in gateway.turns.keys() {
            gateway.effects.push_back(Effect::Reclaim { turn: *turn });
        }
        gateway.line_up_by_age();
        gateway.effects.push_back(Effect::Phase(Phase::Starting));
        gateway.effects.push_back(Effect::OpenPlatforms);
        if start == Start::Revived {
            gateway.kept_stop = stopped_by.map(|(id, made)| (id, gateway.keeping(made)));
            gateway.keep_stops(now);
            gateway.advance(now);
        }
        gateway
    }

    /// A chat's `/restart` that a death overtook has what it wanted; everything else is carried out now.
    fn take_over_commands(&mut self, commands: BTreeMap<MessageId, Command>) {
        let earlier = crate::id::GenerationId(self.generation.0.saturating_sub(1));
        for (message, command) in commands {
            if let (Asked::Restart(mode), crate::input::Standing::Operator) = (command.asked, command.standing) {
                let origin = Origin::Session(command.session);
                let verdict = self.contract.verdict(Wish::Restart, origin);
                let made = Request { wish: Wish::Restart, mode, origin, generation: earlier, verdict };
                self.append(Record::CommandDone { message });
                self.append(Record::RequestMade { request: command.request, made });
                self.requests_made.remove(&command.request);
                self.requests.insert(command.request, made);
            } else {
                self.commands.insert(message, command);
                self.carry_out(Instant::default(), message);
            }
        }
    }

    /// A reviver started us although somebody had asked for a stop: that stop is carried out, and one that was carried out when
    /// the process died of something else on its way out stays so.
    fn keep_stops(&mut self, now: Instant) {
        let stops: Vec<RequestId> =
            self.requests.iter().filter(|(_, request)| request.wish == Wish::Stop).map(|(id, _)| *id).collect();
        for id in stops {
            if let Some(made) = self.requests.remove(&id) {
                let made = self.keeping(made);
                self.append(Record::RequestMade { request: id, made });
                self.request_counts(now, id);
            }
        }
        if self.kept_stop.is_some() {
            self.reconsider_end(now);
        }
    }

    /// A stop of an earlier generation, as one of this.
    fn keeping(&self, stop: Request) -> Request {
        Request { generation: self.generation, mode: Mode::Graceful, verdict: self.contract.stop, ..stop }
    }

    /// The beginning is on disk and the platforms are open: from here on the gateway serves.
    pub(crate) fn serve_if_started(&mut self, now: Instant) {
        if self.phase != Phase::Starting || !self.begun || !self.platforms_open {
            return;
        }
        self.enter(Phase::Serving);
        self.serving_since = now;
        self.effects.push_back(Effect::Ready);
        let mut first_owed: Vec<(DeliveryId, SessionId)> =
            self.owed_in.iter().filter_map(|(session, owed)| Some((*owed.front()?, *session))).collect();
        first_owed.sort_unstable();
        for (_, session) in first_owed {
            self.send_next(session);
        }
        self.settle_inherited_requests();
        self.dispatch(now);
    }

    /// Whoever has waited longest is served first.
    fn line_up_by_age(&mut self) {
        let mut waiting: Vec<(MessageId, SessionId)> =
            self.sessions.iter().filter_map(|(id, session)| Some((*session.queue.front()?, *id))).collect();
        waiting.sort_unstable();
        for (_, session) in waiting {
            self.line_up(session);
        }
    }

    /// A different generation serves: whoever asked for that is told, unless generations die in a row. A stop of an earlier one
    /// is over even then: somebody wanted this start in spite of it, and none that a reviver makes later may find it.
    pub(crate) fn settle_inherited_requests(&mut self) {
        let (generation, tripped) = (self.generation, self.is_tripped());
        let due = |request: &Request| request.generation != generation && (request.wish == Wish::Stop || !tripped);
        let inherited: Vec<(RequestId, Request)> =
            self.requests.iter().filter(|(_, request)| due(request)).map(|(id, request)| (*id, *request)).collect();
        for (id, request) in inherited {
            let outcome = match request.wish {
                Wish::Restart => Outcome::Restarted { generation },
                Wish::Stop => Outcome::Stopped,
            };
            self.settle_request(id, outcome);
        }
    }
}
