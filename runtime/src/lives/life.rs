//! One life of the gateway, read out of the history line by line: what became of its turns, of its deliveries and of the
//! requests that it took. What began and ended within it is counted; what crossed its beginning or its end is told one by one.

use super::{End, Now, cause, ended};
use crate::driver::request_json;
use crate::journal::{Journal, JournalError, Logged, StoredGeneration};
use evergate_core::drain::{Report, TurnFate};
use evergate_core::id::{DeliveryId, GenerationId, RequestId, SessionId, TurnId};
use evergate_core::outbox::Fate;
use evergate_core::record::{Record, Subject};
use evergate_core::turn::Conclusion;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// A turn that was in flight when the generation ended.
#[derive(Default)]
struct Turn {
    session: Option<SessionId>,
    attempt: u32,
    fate: Option<TurnFate>,
    resumed: Option<(u32, GenerationId)>,
    concluded: Option<(Conclusion, GenerationId)>,
}

/// Something that was owed when the generation began or when it ended.
struct Delivery {
    session: SessionId,
    /// Since which generation it has been.
    owed_in: GenerationId,
    settled: Option<(Fate, GenerationId)>,
}

/// A life, as far as it was read.
pub(super) struct Life {
    generation: GenerationId,
    in_order: bool,
    /// Whose records are being read.
    reading: Option<GenerationId>,
    /// The last record that it wrote itself.
    last_sign_at_ms: u64,
    turns: BTreeMap<TurnId, Turn>,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    /// Requests that it took and that had no outcome by its end.
    requests: BTreeSet<RequestId>,
    /// How many turns and deliveries came to their end in it, by how they did.
    concluded: BTreeMap<Conclusion, usize>,
    settled: BTreeMap<Fate, usize>,
}

impl Life {
    pub(super) fn new(stored: &StoredGeneration) -> Self {
        let fates = stored.report.iter().flat_map(|report| &report.turns);
        let turns = fates.map(|(id, fate)| (*id, Turn { fate: Some(*fate), attempt: 1, ..Turn::default() })).collect();
        Self {
            generation: stored.generation,
            in_order: stored.verdict.is_some(),
            reading: None,
            last_sign_at_ms: stored.begun_at_ms.max(stored.ready_at_ms.unwrap_or(0)),
            turns,
            deliveries: BTreeMap::new(),
            requests: BTreeSet::new(),
            concluded: BTreeMap::new(),
            settled: BTreeMap::new(),
        }
    }

    /// Takes the next line of the history; `false` once nothing more is to be learnt.
    pub(super) fn take(&mut self, logged: &Logged) -> bool {
        match &logged.record {
            Record::GenerationBegun { generation, .. } => self.reading = Some(*generation),
            // A dead generation's end is the first that its successor writes.
            Record::GenerationEnded { verdict: None, generation, .. } => self.reading = Some(generation.next()),
            _ => {}
        }
        let Some(reading) = self.reading else { return true };
        match reading.cmp(&self.generation) {
            Ordering::Less => self.before(&logged.record, reading),
            Ordering::Equal => {
                self.last_sign_at_ms = self.last_sign_at_ms.max(logged.at_ms);
                self.within(&logged.record);
            }
            Ordering::Greater => {
                self.behind(&logged.record, reading);
                return self.turns.values().any(|turn| turn.concluded.is_none())
                    || self.deliveries.values().any(|delivery| delivery.settled.is_none());
            }
        }
        true
    }

    /// A record of an earlier generation: what it has left to be delivered.
    fn before(&mut self, record: &Record, generation: GenerationId) {
        match record {
            Record::DeliveryOwed { delivery, session, .. } => self.owes(*delivery, *session, generation),
            Record::DeliverySettled { delivery, .. } => {
                self.deliveries.remove(delivery);
            }
            _ => {}
        }
    }

    /// One of its own records. Of one that ended in order only the turns that its account names are of interest.
    fn within(&mut self, record: &Record) {
        match record {
            Record::TurnOpened { turn, session, .. } => self.starts(*turn, Some(*session), 1),
            Record::TurnResumed { turn, attempt, .. } => self.starts(*turn, None, *attempt),
            Record::TurnEnded { turn, session, attempt, conclusion, .. } => {
                *self.concluded.entry(*conclusion).or_default() += 1;
                match self.turns.get_mut(turn) {
                    Some(ended) if self.in_order => {
                        ended.session = Some(*session);
                        ended.attempt = *attempt;
                        ended.concluded = Some((*conclusion, self.generation));
                    }
                    _ => {
                        self.turns.remove(turn);
                    }
                }
            }
            Record::DeliveryOwed { delivery, session, .. } => self.owes(*delivery, *session, self.generation),
            Record::DeliverySettled { delivery, fate } => {
                *self.settled.entry(*fate).or_default() += 1;
                match self.deliveries.get_mut(delivery) {
                    Some(handed_on) if handed_on.owed_in != self.generation => {
                        handed_on.settled = Some((*fate, self.generation));
                    }
                    _ => {
                        self.deliveries.remove(delivery);
                    }
                }
            }
            Record::RequestMade { request, .. } => {
                self.requests.insert(*request);
            }
            Record::RequestSettled { request, .. } => {
                self.requests.remove(request);
            }
            _ => {}
        }
    }

    fn starts(&mut self, turn: TurnId, session: Option<SessionId>, attempt: u32) {
        if self.in_order && !self.turns.contains_key(&turn) {
            return;
        }
        let started = self.turns.entry(turn).or_default();
        started.session = session.or(started.session);
        started.attempt = attempt;
    }

    fn owes(&mut self, delivery: DeliveryId, session: SessionId, generation: GenerationId) {
        self.deliveries.insert(delivery, Delivery { session, owed_in: generation, settled: None });
    }

    /// A record of a later generation: where things went on.
    fn behind(&mut self, record: &Record, generation: GenerationId) {
        match record {
            Record::TurnResumed { turn, attempt, .. } => {
                if let Some(turn) = self.turns.get_mut(turn) {
                    turn.resumed.get_or_insert((*attempt, generation));
                }
            }
            Record::TurnEnded { turn, session, conclusion, .. } => {
                if let Some(turn) = self.turns.get_mut(turn) {
                    turn.session = Some(*session);
                    turn.concluded.get_or_insert((*conclusion, generation));
                }
            }
            Record::DeliverySettled { delivery, fate } => {
                if let Some(handed_on) = self.deliveries.get_mut(delivery) {
                    handed_on.settled.get_or_insert((*fate, generation));
                }
            }
            _ => {}
        }
    }

    /// A turn that was opened by an earlier generation and has not ended yet says its session only in its open row.
    pub(super) fn name_what_is_open(&mut self, journal: &dyn Journal) -> Result<(), JournalError> {
        if self.turns.values().all(|turn| turn.session.is_some()) {
            return Ok(());
        }
        for (slot, record) in journal.unfinished()?.rows {
            if let ((Subject::Turn(id), 0), Record::TurnOpened { session, .. }) = (slot, record)
                && let Some(turn) = self.turns.get_mut(&id)
            {
                turn.session = Some(session);
            }
        }
        Ok(())
    }

    pub(super) fn json(
        &self,
        journal: &dyn Journal,
        stored: &StoredGeneration,
        now: Now<'_>,
        successor: Option<&StoredGeneration>,
    ) -> Result<Value, JournalError> {
        let end = End::of(stored, now);
        let in_order = stored.report.as_ref().filter(|_| end == End::InOrder);
        let ended = ended(journal, stored, now)?;
        let ended_at_ms = ended.at_ms();
        let next = successor.map(|next| {
            let ready = next.ready_at_ms.unwrap_or(next.begun_at_ms);
            let gap = ready.saturating_sub(ended_at_ms.unwrap_or(self.last_sign_at_ms));
            json!({"generation": next.generation, "ready_at_ms": ready, "gap_ms": gap})
        });
        Ok(json!({
            "generation": stored.generation,
            "end": end,
            "cause": cause(journal, stored, now)?,
            "verdict": stored.verdict.map(|verdict| verdict.to_string()),
            "pid": stored.owner.as_ref().map(|owner| owner.pid),
            "version": stored.owner.as_ref().map(|owner| &owner.version),
            "rolled_back": stored.owner.as_ref().and_then(|owner| owner.rolled_back.as_deref()),
            "begun_at_ms": stored.begun_at_ms,
            "ready_at_ms": stored.ready_at_ms,
            "last_sign_at_ms": self.last_sign_at_ms,
            "ended_at_ms": ended_at_ms,
            "ended_before_ms": ended.before_ms(),
            "requests": self.requests_json(journal, stored)?,
            "stages": in_order.map(|Report { drain_ms, interrupt_ms, close_ms, .. }| {
                json!({"drain_ms": drain_ms, "interrupt_ms": interrupt_ms, "close_ms": close_ms})
            }),
            "turns_concluded": self.concluded,
            "deliveries_settled": self.settled,
            "turns": self.turns_json(journal, end),
            "owed": self.owed(),
            "deliveries": self.deliveries_json(journal),
            "next": next,
        }))
    }

    /// Those that led to its end by its own account; of one that could give none those that it still had before it.
    fn requests_json(&self, journal: &dyn Journal, stored: &StoredGeneration) -> Result<Vec<Value>, JournalError> {
        let ids = match &stored.report {
            Some(report) if self.in_order => report.requests.keys().copied().collect(),
            _ => self.requests.clone(),
        };
        let mut requests = Vec::new();
        for id in ids {
            requests.extend(journal.request(id)?.map(|kept| request_json(journal, id, &kept)));
        }
        Ok(requests)
    }

    /// What it had not delivered when it ended.
    fn owed(&self) -> usize {
        let is_owed = |delivery: &&Delivery| delivery.settled.is_none_or(|(_, then)| then > self.generation);
        self.deliveries.values().filter(is_owed).count()
    }

    fn turns_json(&self, journal: &dyn Journal, end: End) -> Vec<Value> {
        let fate = |turn: &Turn| match (turn.fate, end) {
            (Some(fate), _) => json!(fate),
            (None, End::Alive) => json!("running"),
            (None, _) => json!("cut"),
        };
        self.turns
            .iter()
            .map(|(id, turn)| {
                json!({
                    "turn": id,
                    "session": turn.session.map(|session| session_name(journal, session)),
                    "attempt": turn.attempt,
                    "fate": fate(turn),
                    "resumed": turn.resumed.map(|(attempt, generation)| {
                        json!({"attempt": attempt, "generation": generation})
                    }),
                    "concluded": turn.concluded.map(|(how, generation)| json!({"how": how, "generation": generation})),
                })
            })
            .collect()
    }

    fn deliveries_json(&self, journal: &dyn Journal) -> Vec<Value> {
        self.deliveries
            .iter()
            .map(|(id, delivery)| {
                json!({
                    "delivery": id,
                    "session": session_name(journal, delivery.session),
                    "owed_in": delivery.owed_in,
                    "settled": delivery.settled.map(|(fate, generation)| json!({"fate": fate, "generation": generation})),
                })
            })
            .collect()
    }
}

fn session_name(journal: &dyn Journal, session: SessionId) -> String {
    journal.session_name(session).ok().flatten().unwrap_or_else(|| session.to_string())
}
