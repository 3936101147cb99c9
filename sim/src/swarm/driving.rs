//! The driver of the core in this world, as the runtime's is in the real one: it tells the gateway what happened, carries
//! out what it wants, in order, and brings its records to the disk. The process may die between any two effects.

use super::config::Planted;
use super::fault::Fault;
use super::marks::Mark;
use super::plan::When;
use super::process::{Ended, Killer};
use super::queue::Event;
use super::world::World;
use crate::story::{Kind, Lane};
use evergate_core::cut::Told;
use evergate_core::effect::{Answer, Effect};
use evergate_core::gateway::Gateway;
use evergate_core::id::RequestId;
use evergate_core::input::Input;
use evergate_core::invariant::Invariant;
use evergate_core::outbox::{Content, Notice, Repeat};
use evergate_core::question::Ruling;
use evergate_core::record::{Record, Subject};
use evergate_core::request::{Mode, Outcome, Signal};
use evergate_core::time::Instant;
use evergate_core::turn::{Conclusion, Resume};
use evergate_core::verdict::Verdict;
use evergate_core::witness::View;
use std::hash::Hash;

/// Telling the gateway, and carrying out what it wants.
impl World<'_> {
    /// Tells the gateway, once it listens.
    pub(super) fn inform(&mut self, input: Input) {
        if self.frozen.is_some() {
            self.backlog.push_back(Event::Tell { life: self.life, input });
        } else {
            self.tell(input);
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        let now = self.clock();
        let Some(gateway) = &mut self.gateway else { return };
        if matches!(input, Input::Synced { .. } | Input::SyncFailed) {
            self.disk.told();
        }
        self.inputs += 1;
        (now, &input).hash(&mut self.trace);
        if let Some(telling) = &mut self.telling {
            telling.input(self.now, &input);
        }
        self.witness.input(now, &input);
        if self.config.planted == Some(Planted::ErrorUncaught)
            && let Input::Request { request, .. } = input
            && !gateway.turns().is_empty()
        {
            panic!("{request} needs what is not there any more since an update");
        }
        gateway.handle(now, input);
        self.perform();
    }

    /// Does all that the gateway wants done, in order, unless the process dies on the way.
    pub(super) fn perform(&mut self) {
        let now = self.clock();
        let mut verdict = None;
        while let Some(effect) = self.gateway.as_mut().and_then(Gateway::poll) {
            if self.armed.is_some() && self.strikes(&effect) {
                return self.dies(Killer::Anybody);
            }
            effect.hash(&mut self.trace);
            if let Some(telling) = &mut self.telling {
                telling.effect(self.now, &effect);
            }
            let drain = self.gateway.as_ref().and_then(Gateway::drain);
            self.witness.effect(&mut self.checks, now, &effect, drain);
            verdict = self.carry_out(effect).or(verdict);
        }
        if let Some(verdict) = verdict {
            return self.process_ends(Ended::With(verdict));
        }
        self.look_at_plans(now);
        self.begin_commit();
        let drain = || self.gateway.as_ref().and_then(Gateway::drain);
        if self.signals_late && drain().is_some_and(|drain| drain.end_recorded) {
            self.signals_late = false;
            self.signal(Signal::Terminate);
        }
    }

    /// What the gateway plans, once it has nothing to do for now.
    fn look_at_plans(&mut self, now: Instant) {
        let Some(gateway) = &self.gateway else { return };
        let view = View::of(gateway);
        self.witness.between_inputs(&mut self.checks, now, &view);
        let mode = view.drain.map(|drain| drain.mode);
        if (self.mode, mode) == (Some(Mode::Graceful), Some(Mode::Force)) {
            self.marks.hit(Mark::Upgraded);
        }
        self.mode = mode;
        if self.wake.map(|(at, _)| at) != view.timeout {
            let late = if self.random.hits(self.rate(Fault::TimerLate)) { self.random.between(1, 50) } else { 0 };
            self.wake = view.timeout.map(|at| (at, at.as_millis().saturating_sub(self.skipped) + late));
        }
    }

    /// Whether the kill that waits for its moment strikes before this effect.
    fn strikes(&mut self, effect: &Effect) -> bool {
        let strikes = match self.armed {
            Some(When::Effects(0)) => true,
            Some(When::Effects(more)) => {
                self.armed = Some(When::Effects(more - 1));
                false
            }
            Some(When::BeforeStart) => matches!(effect, Effect::Start { .. }),
            Some(When::In(phase)) if *effect == Effect::Phase(phase) => {
                // At once, after a few effects, or some time later in that phase, if it lasts.
                self.armed = None;
                if self.random.hits(500) {
                    self.armed = Some(When::Effects(u8::try_from(self.random.below(6)).unwrap_or(0)));
                } else {
                    let later = self.now + self.random.spread(0, 2_000);
                    self.queue.push(later, Event::Kill { life: self.life });
                }
                false
            }
            _ => false,
        };
        if strikes {
            self.marks.hit(match self.armed.take() {
                Some(When::BeforeStart) => Mark::KilledBeforeStart,
                _ => Mark::KilledInHandling,
            });
        }
        strikes
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Verdict> {
        match effect {
            Effect::Append { record } => self.append(record),
            Effect::Discard => self.disk.forget(),
            Effect::Ack { message } => self.acked(message),
            Effect::Refuse { message, refusal } => self.refused(message, refusal),
            Effect::Start { turn, session, messages, attempt, resume, .. } => {
                match resume {
                    Some(Resume::Planned) => self.marks.hit(Mark::ResumedPlanned),
                    Some(Resume::Crash) => self.marks.hit(Mark::ResumedCrash),
                    None => {}
                }
                let entry = messages.first().map_or(0, |message| self.chats.entry_of(*message));
                self.agent_starts(turn, session, entry, attempt);
            }
            Effect::Interrupt { turn } => self.agent_is_interrupted(turn),
            Effect::Kill { turn } => self.agent_is_killed(turn),
            Effect::Reclaim { turn } => {
                self.agents.remove(&turn);
                let gone = self.now + self.random.spread(1, 3_000);
                self.queue.push(gone, Event::Tell { life: self.life, input: Input::TurnGone { turn } });
            }
            Effect::Send { delivery, session, content, .. } if self.is_blind(session) => {
                self.intend(delivery, session, content);
            }
            Effect::Send { delivery, session, content, .. } => self.send(delivery, session, content),
            Effect::Transmit { delivery, session, content, repeat } => {
                if repeat == Repeat::Possible {
                    self.marks.hit(Mark::SentBlind);
                }
                self.send(delivery, session, content);
            }
            Effect::Answer { request, answer } => self.answered(request, answer),
            Effect::Settled { request, outcome } => self.settled(request, outcome),
            Effect::AskSupervisor { request } => self.ask_supervisor(request),
            Effect::CheckCandidate { request } => self.check_candidate(request),
            Effect::OpenPlatforms => {
                let late = self.random.hits(self.rate(Fault::OpensLate) * 5);
                let takes = if late { self.random.spread(1_000, 120_000) } else { self.random.between(1, 100) };
                if late {
                    self.marks.hit(Mark::OpenedLate);
                }
                self.queue.push(self.now + takes, Event::Tell { life: self.life, input: Input::PlatformsOpen });
            }
            Effect::Ready => {
                self.keeper.respawn.serves();
                if self.gateway.as_ref().is_some_and(Gateway::is_tripped) {
                    self.marks.hit(Mark::BreakerTripped);
                }
            }
            Effect::Guard(guard) => {
                if guard.is_none() {
                    self.marks.hit(Mark::Reopened);
                }
                self.guard = guard;
            }
            Effect::End { verdict, .. } => {
                if !self.disk.rows.rows.contains_key(&(Subject::Generation, 1)) {
                    self.marks.hit(Mark::EndedUnwritten);
                }
                return Some(verdict);
            }
            Effect::Extend(by) => {
                self.marks.hit(Mark::Extended);
                let until = self.now + u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
                if let Some((_, Some(kill_at))) = &mut self.keeper.job {
                    *kill_at = until.max(*kill_at);
                }
            }
            Effect::Decided { turn, .. } => self.agent_is_told(turn, true),
            Effect::Unasked { turn, .. } => self.agent_is_told(turn, false),
            Effect::ClosePlatforms | Effect::Stopping | Effect::Phase(_) | Effect::Ignored => {}
        }
        None
    }

    fn answered(&mut self, request: RequestId, answer: Answer) {
        match answer {
            Answer::Accepted => {
                if let Some(accepted) = self.wishes.get_mut(&request) {
                    *accepted = true;
                }
            }
            Answer::AlreadyDone(_) => {
                self.marks.hit(Mark::AlreadyDone);
                self.child_hears(request);
            }
            Answer::TooLate => self.marks.hit(Mark::CancelTooLate),
            Answer::Cancelled | Answer::Unknown | Answer::NotTripped => {}
            Answer::TooMany | Answer::Ending | Answer::StorageFull | Answer::Unfit(_) => {
                self.wishes.remove(&request);
                self.operators_hear(request, None);
                self.child_hears(request);
            }
        }
    }

    fn settled(&mut self, request: RequestId, outcome: Outcome) {
        if matches!(outcome, Outcome::Overruled { .. }) {
            self.marks.hit(Mark::Overruled);
        }
        self.operators_hear(request, Some(outcome));
        self.child_hears(request);
    }
}

/// The way to the disk.
impl World<'_> {
    fn append(&mut self, record: Record) {
        if self.config.planted == Some(Planted::AckBeforeSync)
            && let Record::MessageAccepted { message, .. } = record
        {
            let (now, ack) = (self.clock(), Effect::Ack { message });
            self.witness.effect(&mut self.checks, now, &ack, None);
            if let Some(telling) = &mut self.telling {
                telling.effect(self.now, &ack);
            }
            self.acked(message);
        }
        self.disk.append(record);
    }

    fn begin_commit(&mut self) {
        let usual = self.config.commit_ms;
        let slow = self.rate(Fault::SlowCommit);
        let Some(takes) = self.disk.begin(self.now, usual, slow, &mut self.random) else { return };
        if self.healed && self.config.planted == Some(Planted::NeverRests) {
            return;
        }
        self.queue.push(self.now + takes, Event::Committed { life: self.life });
        self.begins_to_stare();
        if self.armed == Some(When::Committing) {
            self.armed = None;
            self.queue.push(self.now + takes / 2, Event::Kill { life: self.life });
        }
    }

    pub(super) fn commit_is_done(&mut self) {
        match self.disk.finish(self.now, self.rate(Fault::SyncFails), &mut self.random) {
            Some(commit) => {
                self.commit_is_on_disk(&commit);
                self.inform(Input::Synced { records: commit.len() as u32 });
            }
            None => {
                let ending = self.gateway.as_ref().is_some_and(|gateway| gateway.drain().is_some());
                self.marks.hit(if ending { Mark::SyncFailedEnding } else { Mark::SyncFailed });
                self.inform(Input::SyncFailed);
            }
        }
    }

    pub(super) fn commit_is_on_disk(&mut self, commit: &[Record]) {
        for record in commit {
            self.disk.rows.absorb(record);
            self.witness.synced(&mut self.checks, record);
            self.note(record);
        }
        self.witness.committed(&mut self.checks);
    }

    /// What the world remembers of a record on disk.
    fn note(&mut self, record: &Record) {
        match record {
            Record::MessageAccepted { message, .. } => self.chats.accepted(*message),
            Record::CommandDone { message } => self.chats.concluded(*message, Conclusion::Answered),
            Record::TurnOpened { turn, messages, .. } => {
                for message in messages {
                    self.chats.turn_opened(*turn, *message);
                }
                if messages.len() > 1 {
                    self.marks.hit(Mark::Together);
                }
            }
            Record::TurnEnded { messages, conclusion, .. } => {
                for message in messages {
                    self.chats.concluded(*message, *conclusion);
                }
            }
            Record::QuestionDecided { ruling, .. } => self.marks.hit(match ruling {
                Ruling::Allowed => Mark::Allowed,
                Ruling::Denied => Mark::Denied,
                Ruling::Expired => Mark::Expired,
            }),
            Record::MessageReturned { message, .. } => {
                self.marks.hit(Mark::GivenBack);
                self.chats.returned(*message);
            }
            Record::TurnCutTold { .. } => self.marks.hit(Mark::CutTold),
            Record::TurnUnsaid { told: Told::Nothing, .. } => self.marks.hit(Mark::CutUnsaid),
            Record::TurnUnsaid { told: Told::GoingDown, .. } => self.marks.hit(Mark::BackUnsaid),
            Record::DeliveryOwed { content: Content::Notice(Notice::TurnBack { .. }), .. } => {
                self.marks.hit(Mark::BackTold);
            }
            Record::TurnSuperseded { .. } => self.marks.hit(Mark::Superseded),
            Record::DeliveryMissed { .. } => self.marks.hit(Mark::Missed),
            Record::DeliverySettled { delivery, fate } => self.settled_on_disk(*delivery, *fate),
            Record::RequestMade { request, made } if made.origin.session().is_some() => self.chats.asked(*request),
            Record::RequestSettled { request, .. } => {
                self.settled.insert(*request);
            }
            Record::SessionQuarantined { .. } => self.marks.hit(Mark::Quarantined),
            Record::SessionReleased { .. } => self.marks.hit(Mark::Released),
            _ => {}
        }
    }

    /// The mistake of a disk that loses what was on it.
    pub(super) fn disk_forgets_as_planted(&mut self) {
        if self.config.planted == Some(Planted::DeathLosesTurn) {
            let turn =
                self.disk.rows.rows.keys().rev().find(|(subject, _)| matches!(subject, Subject::Turn(_))).copied();
            if let Some(slot) = turn {
                self.disk.rows.rows.remove(&slot);
                if let Some(telling) = &mut self.telling {
                    telling.add(self.now, Lane::Disk, Kind::Fault, "a turn that was on disk is lost", "");
                }
            }
        }
    }

    /// Whether each request that was accepted has its outcome.
    pub(super) fn wishes_at_rest(&mut self) {
        let open = self.wishes.iter().find(|(request, accepted)| **accepted && !self.settled.contains(request));
        self.checks.holds(Invariant::Once, open.is_none(), || format!("accepted and without an outcome: {open:?}"));
    }
}
