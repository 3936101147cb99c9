//! What a gateway plans between two inputs, and what is so once everything is at rest.

use super::account::{Life, Message};
use super::{View, Witness};
use crate::budget::Deadlines;
use crate::drain::Drain;
use crate::gateway::Phase;
use crate::id::{DeliveryId, RequestId, SessionId, TurnId};
use crate::input::Asked;
use crate::invariant::{Checks, Invariant};
use crate::request::{Origin, Request, Wish};
use crate::time::Instant;
use crate::work::{Item, Work};

/// How complete a rest is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing is left.
    Whole,
    /// What the loop breaker holds is left.
    Held,
}

/// What is so between two inputs, and at rest.
impl Witness {
    /// A gateway's own plans, once it has nothing more to do for now.
    pub fn between_inputs(&self, checks: &mut Checks, now: Instant, view: &View<'_>) {
        let Some(life) = &self.life else { return };
        checks.holds(Invariant::Truth, life.phase == view.phase, || {
            format!("{} is what was told, {} is what is", life.phase.name(), view.phase.name())
        });
        let listed = |work: Work| view.ledger.iter().any(|item| item.work == work);
        for (turn, _) in self.running.iter().filter(|(_, process)| process.generation == life.generation) {
            checks
                .holds(Invariant::Ledger, listed(Work::Turn(*turn)), || format!("{turn} runs and no drain would know"));
        }
        for (id, _) in self.deliveries.iter().filter(|(_, delivery)| delivery.sending) {
            checks.holds(Invariant::Ledger, listed(Work::Delivery(*id)), || {
                format!("{id} is being sent and no drain would know")
            });
        }
        let Some(drain) = view.drain else {
            let admits = matches!(view.phase, Phase::Starting | Phase::Serving);
            return checks.holds(Invariant::Admit, admits, || format!("{} and no end is under way", view.phase.name()));
        };
        let Deadlines { drain: first, interrupt, close, self_kill: guard } = drain.deadlines;
        checks.holds(Invariant::Budget, first <= interrupt && interrupt <= close && close < guard, || {
            format!("the deadlines do not nest: {:?}", drain.deadlines)
        });
        // It may be set more than once in one handling, each time to what was planned by then.
        checks.holds(Invariant::Budget, life.guard == Some(guard), || {
            format!("the guard is set to {:?}, and the plan says {guard:?}", life.guard)
        });
        let comes_to_its_end = view.timeout.is_some_and(|at| at <= guard) && now <= guard;
        checks.holds(Invariant::Admit, comes_to_its_end, || {
            format!("while {} it waits until {:?}, and the guard strikes at {guard:?}", view.phase.name(), view.timeout)
        });
        if view.phase == Phase::Draining {
            waits_for_no_decision(checks, life, drain, &view.ledger);
            self.waits_for_no_requester(checks, life, drain, &view.ledger);
        }
    }

    fn waits_for_no_requester(&self, checks: &mut Checks, life: &Life, drain: &Drain, ledger: &[Item]) {
        let stands = |(id, made): &(&RequestId, &Request)| {
            made.generation == life.generation && !life.settling.contains(id) && !life.unheard.contains_key(id)
        };
        let asked = |turn: TurnId, session: SessionId| {
            self.requests.iter().filter(stands).any(|(_, made)| match made.origin {
                Origin::Turn { turn: origin, .. } => origin == turn,
                Origin::Session(origin) => origin == session,
                _ => false,
            })
        };
        let grace = drain.since + self.limits.requester_grace;
        for item in ledger {
            let Work::Turn(turn) = item.work else { continue };
            if asked(turn, item.session) {
                checks.holds(Invariant::NoSelf, item.awaited.until().is_none_or(|until| until <= grace), || {
                    format!("the end waits for {turn}, which asked for it, until {:?}", item.awaited.until())
                });
            }
        }
    }

    /// A delivery has come to its chat.
    pub fn arrived(&mut self, checks: &mut Checks, id: DeliveryId) {
        let Some(delivery) = self.deliveries.get_mut(&id) else { return };
        checks.holds(Invariant::Reply, delivery.may_come(), || {
            format!("{id} comes twice, and everybody knew of the first time, or the second was not marked as such")
        });
        delivery.arrived = true;
    }

    /// The world is healed and at rest: what was promised has been kept.
    pub fn at_rest(&self, checks: &mut Checks) {
        self.keeps_its_word(checks, Rest::Whole);
    }

    /// The world is healed and at rest but for what the loop breaker holds ([`Pending::Held`](crate::gateway::Pending::Held)):
    /// turns that were cut, what was said behind them, and restarts that earlier generations were asked for. All of that waits
    /// for a person; whatever else was promised has been kept.
    pub fn holds_back(&self, checks: &mut Checks) {
        let unproven = self.life.as_ref().is_some_and(|life| !life.proven);
        checks.holds(Invariant::Loop, unproven && self.unproven_on_disk >= self.limits.unproven, || {
            format!("what was cut is held back after {} deaths in a row", self.unproven_on_disk)
        });
        self.keeps_its_word(checks, Rest::Held);
    }

    fn keeps_its_word(&self, checks: &mut Checks, rest: Rest) {
        let held =
            |turn: TurnId| rest == Rest::Held && self.turns.contains_key(&turn) && !self.running.contains_key(&turn);
        let held_in = |session: SessionId| self.turns.iter().any(|(id, turn)| turn.session == session && held(*id));
        let now = self.life.as_ref().map(|life| life.generation);
        let inherited = |id: RequestId| {
            let restart = |made: &Request| made.wish == Wish::Restart && Some(made.generation) != now;
            rest == Rest::Held && self.requests.get(&id).is_some_and(restart)
        };
        if !self.messages.is_empty() || !self.finished.is_empty() {
            let waits = |message: &Message| message.asked == Asked::Prompt && held_in(message.session);
            let forgotten =
                self.messages.iter().find(|(_, message)| !self.set_aside.contains(&message.session) && !waits(message));
            checks.holds(Invariant::Ack, forgotten.is_none(), || {
                let (message, session) = forgotten.map(|(id, message)| (*id, message.session)).unwrap_or_default();
                format!("{message} of {session} is accepted and never answered or reported")
            });
        }
        if self.last_delivery != DeliveryId::default() {
            let left = self.deliveries.keys().next();
            checks.holds(Invariant::Reply, left.is_none(), || {
                format!("{} is owed and never delivered", left.copied().unwrap_or_default())
            });
        }
        // That these were kept was looked at where they were: what is left of them now is broken.
        if let Some((request, session)) = self.told.iter().find(|(request, _)| !inherited(**request)) {
            checks.holds(Invariant::Notice, false, || {
                format!("{session} was told of {request} and never of its outcome")
            });
        }
        if let Some((question, asked)) = self.questions.iter().find(|(_, asked)| !held(asked.turn)) {
            checks.holds(Invariant::Consent, false, || {
                format!("{question} of {} is left, and its turn is over", asked.turn)
            });
        }
        if let Some(open) = self.requests.keys().find(|request| !inherited(**request)) {
            checks.holds(Invariant::Once, false, || format!("{open} has no outcome"));
        }
        if !self.running.is_empty() {
            let orphan = self.running.iter().find(|(_, process)| now != Some(process.generation));
            checks.holds(Invariant::Orphan, orphan.is_none(), || {
                format!("the process of {} is left behind", orphan.map(|(turn, _)| *turn).unwrap_or_default())
            });
        }
    }
}

/// An end waits for no agent that waits for a person.
fn waits_for_no_decision(checks: &mut Checks, life: &Life, drain: &Drain, ledger: &[Item]) {
    for item in ledger {
        let Work::Turn(turn) = item.work else { continue };
        if life.asking.iter().any(|(asking, _)| *asking == turn) {
            checks.holds(Invariant::NoSelf, item.awaited.until().is_none_or(|until| until <= drain.since), || {
                format!("the end waits until {:?} for {turn}, which waits for a person", item.awaited.until())
            });
        }
    }
}
