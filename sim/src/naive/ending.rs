//! Requests and ends of the naive machine: a request that is on disk closes admission, turns have until the deadlines,
//! what was produced is flushed, the end is written, and the verdict that was fixed at the beginning follows.

use super::flaw::Flaw;
use super::gateway::Naive;
use super::turn::State;
use evergate_core::budget::Deadlines;
use evergate_core::drain::{Drain, Report, TurnFate};
use evergate_core::effect::{Answer, Effect};
use evergate_core::gateway::Phase;
use evergate_core::id::{DeliveryId, RequestId, TurnId};
use evergate_core::outbox::{Content, Fate, Notice, Repeat};
use evergate_core::record::Record;
use evergate_core::request::{Mode, Origin, Outcome, Request, Signal, Wish};
use evergate_core::time::Instant;
use evergate_core::verdict::{STOP, Verdict};
use evergate_core::work::{Awaited, Item, Recoverability, Work};
use std::collections::BTreeSet;

/// What is wished.
impl Naive {
    /// A wish from outside the chats.
    pub(super) fn request_arrived(&mut self, id: RequestId, wish: Wish, mode: Mode, origin: Origin) {
        if self.end_recorded() {
            return self.effects.push_back(Effect::Answer { request: id, answer: Answer::Ending });
        }
        self.make_request(id, wish, mode, origin);
        self.then(Effect::Answer { request: id, answer: Answer::Accepted });
    }

    /// Writes a request down; it counts once it is on disk.
    pub(super) fn make_request(&mut self, id: RequestId, wish: Wish, mode: Mode, origin: Origin) {
        let made = Request { wish, mode, origin, generation: self.generation, verdict: self.verdict(wish, origin) };
        self.append(Record::RequestMade { request: id, made });
        self.made.insert(id, made);
    }

    /// A signal counts at once: its sender does not wait for our disk.
    pub(super) fn signalled(&mut self, now: Instant, id: RequestId, signal: Signal) {
        let mode = if self.drain.is_some() { Mode::Force } else { Mode::Graceful };
        let wish = match signal {
            Signal::Terminate => self.drain.as_ref().map_or(Wish::Restart, |drain| drain.wish),
            Signal::Interrupt => Wish::Stop,
        };
        self.request_arrived(id, wish, mode, Origin::Signal(signal));
        self.request_counts(now, id);
    }

    /// From now on this request has a say in how this generation ends.
    pub(super) fn request_counts(&mut self, now: Instant, id: RequestId) {
        let Some(made) = self.made.remove(&id) else { return };
        self.requests.insert(id, made);
        if self.has(Flaw::DeferredForEver) && !self.live().is_empty() {
            return;
        }
        if self.has(Flaw::ErrorUncaught) && !self.live().is_empty() {
            panic!("{id} needs what is not there any more since an update");
        }
        self.reconsider_end(now);
        if self.has(Flaw::DoneOnRequest) && made.wish == Wish::Restart {
            self.settle(id, Outcome::Restarted { generation: self.generation.next() });
        }
    }

    /// A reviver started us although somebody had asked for a stop.
    pub(super) fn keep_stops(&mut self, now: Instant) {
        for (id, mut made) in self.requests.clone() {
            if made.wish == Wish::Stop {
                made.generation = self.generation;
                made.verdict = self.contract.stop;
                self.append(Record::RequestMade { request: id, made });
                self.requests.insert(id, made);
            }
        }
        if self.standing().next().is_some() {
            self.reconsider_end(now);
            self.advance(now);
        }
    }

    /// Takes a request back, while nothing has been interrupted for it.
    pub(super) fn cancel(&mut self, now: Instant, id: RequestId) {
        let own = self.standing().any(|(standing, _)| standing == id);
        let signalled = self.drain.as_ref().is_some_and(|drain| !drain.signals.is_empty());
        let answer = match self.phase {
            _ if !own => Answer::Unknown,
            _ if signalled => Answer::TooLate,
            Phase::Starting | Phase::Serving | Phase::Draining => Answer::Cancelled,
            Phase::Interrupting | Phase::Closing | Phase::Ended => Answer::TooLate,
        };
        if answer == Answer::Cancelled {
            self.settle(id, Outcome::Cancelled);
            self.reconsider_end(now);
        }
        self.then(Effect::Answer { request: id, answer });
    }

    /// A different generation serves: everybody who wished that has it.
    pub(super) fn settle_inherited(&mut self) {
        let generation = self.generation;
        let mut inherited = self.requests.clone();
        inherited.retain(|_, made| made.generation != generation);
        if self.has(Flaw::OnlyFirstIsAnswered) {
            inherited = inherited.into_iter().take(1).collect();
            self.requests.retain(|id, _| inherited.contains_key(id));
        }
        for (id, made) in inherited {
            let outcome = match made.wish {
                Wish::Restart => Outcome::Restarted { generation },
                Wish::Stop => Outcome::Stopped,
            };
            self.settle(id, outcome);
        }
    }

    fn settle(&mut self, id: RequestId, outcome: Outcome) {
        let Some(made) = self.requests.remove(&id) else { return };
        self.append(Record::RequestSettled { request: id, outcome });
        self.then(Effect::Settled { request: id, outcome });
        if let Some(session) = made.origin.session()
            && !self.has(Flaw::OutcomeNoticeLost)
        {
            self.owe(session, Content::Notice(Notice::RequestSettled { request: id, outcome }));
        }
    }

    /// The requests of this generation that count.
    fn standing(&self) -> impl Iterator<Item = (RequestId, Request)> + '_ {
        let own = self.requests.iter().filter(|(_, made)| made.generation == self.generation);
        own.map(|(id, made)| (*id, *made))
    }

    const fn verdict(&self, wish: Wish, origin: Origin) -> Verdict {
        match wish {
            Wish::Restart if self.has(Flaw::CleanExit) => Verdict::Exit(STOP),
            _ => self.contract.verdict(wish, origin),
        }
    }
}

/// How it ends.
impl Naive {
    /// Begins, sharpens or takes back the end, as the requests want it.
    fn reconsider_end(&mut self, now: Instant) {
        let standing: Vec<Request> = self.standing().map(|(_, made)| made).collect();
        let (wish, mode) = (standing.iter().map(|made| made.wish).max(), standing.iter().map(|made| made.mode).max());
        let (Some(wish), Some(mode)) = (wish, mode) else { return self.take_back() };
        let mut signals = self.drain.as_ref().map(|drain| drain.signals.clone()).unwrap_or_default();
        signals.extend(standing.iter().filter_map(|made| made.origin.signal()));
        let terminated = signals.contains(&Signal::Terminate);
        let verdict = self.verdict(wish, if terminated { Origin::Signal(Signal::Terminate) } else { Origin::Cli });
        let limit = self.contract.kill_after.filter(|_| !signals.is_empty() && !self.has(Flaw::OwnBudgetOnly));
        let patience = if self.has(Flaw::ForceWaits) { Mode::Graceful } else { mode };
        let deadlines = Deadlines::new(&self.limits, patience, limit, now);
        match &mut self.drain {
            Some(drain) => {
                drain.wish = wish;
                drain.mode = drain.mode.max(mode);
                drain.verdict = verdict;
                drain.signals = signals;
                drain.deadlines = drain.deadlines.earlier(deadlines);
            }
            None => self.begin_end(now, wish, mode, signals, verdict, deadlines),
        }
        if let Some(drain) = &self.drain {
            let verdict = match drain.verdict {
                Verdict::StayUp => Verdict::Exit(STOP),
                verdict => verdict,
            };
            self.effects.push_back(Effect::Guard(Some((drain.deadlines.self_kill, verdict))));
        }
    }

    fn begin_end(
        &mut self,
        now: Instant,
        wish: Wish,
        mode: Mode,
        signals: BTreeSet<Signal>,
        verdict: Verdict,
        deadlines: Deadlines,
    ) {
        self.drain = Some(Drain {
            wish,
            mode,
            verdict,
            signals,
            deadlines,
            extendable_to: None,
            since: now,
            interrupted_at: None,
            closing_at: None,
            supervisor_asked: None,
            end_recorded: false,
            unsaid: BTreeSet::new(),
            fates: self.live().into_iter().map(|turn| (turn, TurnFate::Left)).collect(),
        });
        if self.has(Flaw::TellsEveryChat) {
            self.live().into_iter().for_each(|turn| self.tell_cut(turn));
        }
        self.enter(Phase::Draining);
    }

    /// Nobody wants this end any more: admission opens again.
    fn take_back(&mut self) {
        if self.phase == Phase::Draining {
            self.drain = None;
            self.effects.push_back(Effect::Guard(None));
            if !self.has(Flaw::AdmissionStaysClosed) {
                self.enter(Phase::Starting);
                self.serve_if_started();
            }
        }
    }

    /// Takes every step that is due.
    pub(super) fn advance(&mut self, now: Instant) {
        self.expire_questions(now);
        self.retry_deliveries(now);
        self.dispatch();
        let Some(deadlines) = self.drain.as_ref().map(|drain| drain.deadlines) else { return };
        if self.phase == Phase::Draining && self.awaited_until().is_none_or(|until| until <= now) {
            self.interrupt_what_is_left();
        }
        if self.phase == Phase::Interrupting && (self.live().is_empty() || now >= deadlines.interrupt) {
            self.kill_what_is_left();
        }
        if self.phase == Phase::Closing && !self.has(Flaw::StopCancelsRestart) {
            self.end_when_flushed(now);
        }
    }

    /// When the end goes on by itself.
    pub(super) fn next_step_of_the_end(&self) -> Option<Instant> {
        let drain = self.drain.as_ref()?;
        match self.phase {
            Phase::Draining => self.awaited_until(),
            Phase::Interrupting => Some(drain.deadlines.interrupt),
            Phase::Closing if self.has(Flaw::StopCancelsRestart) => None,
            Phase::Closing if drain.end_recorded => Some(drain.last_moment()),
            Phase::Closing => Some(drain.deadlines.close),
            _ => None,
        }
    }

    fn interrupt_what_is_left(&mut self) {
        let snapshot: Vec<TurnId> = self.drain.iter().flat_map(|drain| drain.fates.keys().copied()).collect();
        let marked = if self.has(Flaw::StaleSnapshot) { snapshot } else { self.live() };
        for id in marked {
            if self.has(Flaw::MarkedAfterTimeout)
                && let Some(opened) = self.turns.get(&id).map(|turn| turn.opened(id))
            {
                self.append(opened);
            }
            self.append(Record::TurnInterrupted { turn: id });
            let unstarted = self.journal.withdraw(|effect| matches!(effect, Effect::Start { turn, .. } if *turn == id));
            if let Some(turn) = self.turns.get_mut(&id) {
                turn.state = if unstarted { State::Cut } else { State::Interrupted };
            }
            if !unstarted {
                self.then(Effect::Interrupt { turn: id });
            }
        }
        self.enter(Phase::Interrupting);
    }

    fn kill_what_is_left(&mut self) {
        for (id, turn) in self.turns.iter_mut().filter(|(_, turn)| turn.state == State::Interrupted) {
            turn.state = State::Killed;
            self.effects.push_back(Effect::Kill { turn: *id });
        }
        if self.drain.as_ref().is_some_and(|drain| drain.wish == Wish::Stop) {
            self.effects.push_back(Effect::Stopping);
        }
        if self.has(Flaw::ForceDropsReplies) && self.drain.as_ref().is_some_and(|drain| drain.mode == Mode::Force) {
            let dropped: Vec<DeliveryId> = std::mem::take(&mut self.outbox).into_keys().collect();
            for delivery in dropped {
                self.append(Record::DeliverySettled { delivery, fate: Fate::Rejected });
            }
        }
        self.enter(Phase::Closing);
    }

    /// Writes the end once what was produced has left, or the time for that is over.
    fn end_when_flushed(&mut self, now: Instant) {
        let quiet = self.ledger().is_empty();
        let Some(Drain { end_recorded, deadlines, .. }) = self.drain else { return };
        if !end_recorded && (quiet || now >= deadlines.close) {
            self.record_end(now);
        }
        if self.drain.as_ref().is_some_and(|drain| drain.last_moment() <= now) {
            self.end();
        }
    }

    /// Whatever is written before the end has its say in it.
    fn record_end(&mut self, now: Instant) {
        let accepted: Vec<RequestId> = self.made.keys().copied().collect();
        for id in accepted {
            self.request_counts(now, id);
        }
        self.withdraw_sends();
        if self.has(Flaw::StopForgotten) {
            let stops: Vec<RequestId> =
                self.standing().filter(|(_, made)| made.wish == Wish::Stop).map(|(id, _)| id).collect();
            stops.into_iter().for_each(|id| self.settle(id, Outcome::Stopped));
        }
        let Some(drain) = &mut self.drain else { return };
        drain.end_recorded = true;
        let verdict = Some(drain.verdict);
        self.append(Record::GenerationEnded { generation: self.generation, verdict, report: Report::default() });
    }

    /// Whether the end is on its way to the disk.
    pub(super) fn end_recorded(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.end_recorded)
    }

    pub(super) fn end(&mut self) {
        let Some(drain) = &self.drain else { return };
        let cut = self.turns.values().any(|turn| turn.state != State::Running);
        let verdict = if self.has(Flaw::StatusDecidedLast) && cut { Verdict::Exit(STOP) } else { drain.verdict };
        self.effects.push_back(Effect::ClosePlatforms);
        self.enter(Phase::Ended);
        self.effects.push_back(Effect::End { verdict, report: Report::default() });
        if self.has(Flaw::WorksOnAfterEnd) {
            for (id, delivery) in &self.outbox {
                let (session, content) = (delivery.session, delivery.content.clone());
                self.effects.push_back(Effect::Send { delivery: *id, session, content, repeat: Repeat::No });
            }
        }
    }
}

/// What the end accounts for.
impl Naive {
    /// Everything that is under way.
    pub(super) fn ledger(&self) -> Vec<Item> {
        let turns = self.turns.iter().filter(|(_, turn)| turn.is_live()).map(|(id, turn)| Item {
            work: Work::Turn(*id),
            session: turn.session,
            recoverability: Recoverability::Resumed,
            awaited: self.awaited(*id),
        });
        let counted = !self.has(Flaw::SendsUncounted);
        let sending = self.outbox.iter().filter(|(_, delivery)| counted && delivery.is_under_way());
        let sending = sending.map(|(id, delivery)| Item {
            work: Work::Delivery(*id),
            session: delivery.session,
            recoverability: Recoverability::StaysOwed,
            awaited: Awaited::No,
        });
        turns.chain(sending).collect()
    }

    /// How long the drain waits for a turn: for a requester only a short grace.
    fn awaited(&self, id: TurnId) -> Awaited {
        let (Some(drain), Some(turn)) = (&self.drain, self.turns.get(&id)) else { return Awaited::No };
        let asked = self.standing().any(|(_, made)| match made.origin {
            Origin::Turn { turn, .. } => turn == id,
            Origin::Session(session) => session == turn.session,
            _ => false,
        });
        let grace = drain.since + self.limits.requester_grace;
        if asked && grace < drain.deadlines.drain && !self.has(Flaw::SelfWait) {
            Awaited::Requester { until: grace }
        } else if self.waits_for_a_person(id) && !self.has(Flaw::WaitsForPeople) {
            Awaited::Stalled { since: drain.since }
        } else {
            Awaited::Budget { until: drain.deadlines.drain }
        }
    }

    fn awaited_until(&self) -> Option<Instant> {
        self.live().into_iter().filter_map(|id| self.awaited(id).until()).max()
    }
}
