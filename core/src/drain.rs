//! How a generation ends: admission closes, work ends within its budget, what is left is interrupted, what was produced is
//! flushed, the end is written down, and the verdict follows. Every step is taken by [`Gateway::advance`], after each
//! input, on the one loop that owns the gateway: there is no task that could be cancelled.

use crate::budget::Deadlines;
use crate::effect::Effect;
use crate::gateway::{Gateway, Phase};
use crate::id::{DeliveryId, RequestId, TurnId};
use crate::outbox::Delivery;
use crate::record::Record;
use crate::request::{Mode, Origin, Outcome, Request, Signal, Wish};
use crate::supervisor::Extends;
use crate::time::Instant;
use crate::turn::{Turn, TurnState};
use crate::verdict::{STOP, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An end that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Drain {
    /// Restart or stop.
    pub wish: Wish,
    /// How patiently.
    pub mode: Mode,
    /// How the process will end.
    pub verdict: Verdict,
    /// The signals that the process was sent. They count whatever becomes of the requests that they made: whoever sent them
    /// may be measuring the time.
    pub signals: BTreeSet<Signal>,
    /// When each stage ends at the latest.
    pub deadlines: Deadlines,
    /// Where the supervisor's limit alone keeps this drain short, and it gives more time to whoever gets on: the end of the
    /// configured budget.
    pub extendable_to: Option<Instant>,
    /// When admission was closed.
    pub since: Instant,
    /// When the turns that were left were interrupted.
    pub interrupted_at: Option<Instant>,
    /// When only flushing was left.
    pub closing_at: Option<Instant>,
    /// The SIGTERM about which the supervisor was asked, and until when its answer is waited for.
    pub supervisor_asked: Option<(RequestId, Instant)>,
    /// Whether the end is on its way to the disk: from then on nothing is accepted.
    pub end_recorded: bool,
    /// What is owed to chats about turns that this end cut, and certainly has not arrived.
    pub unsaid: BTreeSet<DeliveryId>,
    /// What became of each turn that was in flight when admission closed.
    pub fates: BTreeMap<TurnId, TurnFate>,
}

/// What became of a turn during an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnFate {
    /// It had not ended when the process did; the next generation resumes it.
    Left,
    /// It ended by itself.
    Ended,
    /// It was interrupted; the next generation resumes it.
    Interrupted,
    /// It ignored the interruption and was killed; the next generation resumes it.
    Killed,
}

/// The account of an end: who asked, how long each stage took, what became of each turn in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Report {
    /// The requests that led to it, by id.
    pub requests: BTreeMap<RequestId, Request>,
    /// From the closing of admission to the interruption, in milliseconds.
    pub drain_ms: u64,
    /// From there until no turn was left, in milliseconds.
    pub interrupt_ms: u64,
    /// From there to the end, in milliseconds.
    pub close_ms: u64,
    /// The turns that were in flight.
    pub turns: BTreeMap<TurnId, TurnFate>,
    /// Deliveries that are still owed.
    pub owed: usize,
}

impl Report {
    /// The stop that led to it, if one did.
    #[must_use]
    pub fn stop(&self) -> Option<(RequestId, Request)> {
        self.requests.iter().find(|(_, made)| made.wish == Wish::Stop).map(|(id, made)| (*id, *made))
    }
}

impl Gateway {
    /// The requests that count have changed: begins, sharpens or takes back the end of this generation.
    pub(crate) fn reconsider_end(&mut self, now: Instant) {
        let standing: Vec<Request> = self.standing().map(|(_, request)| request).collect();
        let Some(wish) = standing.iter().map(|request| request.wish).max() else { return self.take_back(now) };
        let mode = standing.iter().map(|request| request.mode).max().unwrap_or(Mode::Graceful);
        let mut signals = self.drain.as_ref().map(|drain| drain.signals.clone()).unwrap_or_default();
        signals.extend(standing.iter().filter_map(|request| request.origin.signal()));
        let limit = self.contract.kill_after.filter(|_| !signals.is_empty());
        // A process that somebody sent SIGTERM must leave: replacing itself in place could outlive a supervisor's stop. The
        // terms say otherwise where nobody would start it again.
        let terminated = signals.contains(&Signal::Terminate);
        let origin = if terminated { Origin::Signal(Signal::Terminate) } else { Origin::Cli };
        let verdict = self.contract.verdict(wish, origin);
        let fresh = Deadlines::new(&self.limits, mode, limit, now);
        let former = self.drain.as_ref().map(|drain| drain.extendable_to.unwrap_or(drain.deadlines.drain));
        match &mut self.drain {
            Some(drain) => {
                drain.wish = wish;
                drain.mode = drain.mode.max(mode);
                drain.verdict = verdict;
                drain.signals = signals;
                drain.deadlines = drain.deadlines.earlier(fresh);
            }
            None => self.begin_drain(now, wish, mode, signals, verdict, fresh),
        }
        if let Some(drain) = &mut self.drain {
            let budget = Deadlines::new(&self.limits, mode, None, now).drain;
            let budget = former.map_or(budget, |former| former.min(budget));
            let extends = limit.is_some() && self.contract.extends == Extends::WhenTold;
            drain.extendable_to = Some(budget).filter(|budget| extends && *budget > drain.deadlines.drain);
        }
        self.arm_guard();
        if wish == Wish::Restart {
            self.stop_waiting_for_check(now);
        }
    }

    /// Sets the guard outside to what is true now: the deadlines or the verdict have changed.
    pub(crate) fn arm_guard(&mut self) {
        let Some(drain) = &self.drain else { return };
        self.effects.push_back(Effect::Guard(Some((drain.deadlines.self_kill, emergency(drain.verdict)))));
    }

    fn begin_drain(
        &mut self,
        now: Instant,
        wish: Wish,
        mode: Mode,
        signals: BTreeSet<Signal>,
        verdict: Verdict,
        deadlines: Deadlines,
    ) {
        let fates = self.live.iter().map(|id| (*id, TurnFate::Left)).collect();
        let drain = Drain {
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
            fates,
        };
        self.drain = Some(drain.into());
        self.enter(Phase::Draining);
    }

    /// Nobody wants this end any more: admission opens again, at once.
    fn take_back(&mut self, now: Instant) {
        if self.phase == Phase::Draining {
            self.drain = None;
            self.effects.push_back(Effect::Guard(None));
            self.phase = Phase::Starting;
            self.serve_if_started(now);
            if self.phase == Phase::Starting {
                self.enter(Phase::Starting);
            }
        }
    }

    /// Takes every step that is due.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.kill_overdue_turns(now);
        self.expire_questions(now);
        self.retry_deliveries(now);
        if self.phase == Phase::Serving {
            self.dispatch(now);
        }
        if self.phase == Phase::Draining
            && self.awaited_until().is_none_or(|until| until <= now)
            && !self.drains_on(now)
        {
            self.interrupt_what_is_left(now);
        }
        if self.phase == Phase::Interrupting {
            self.close_when_quiet(now);
        }
        if self.phase == Phase::Closing {
            self.end_when_flushed(now);
        }
    }

    /// The drain is over as far as the supervisor's own limit goes. Where a turn has lately got on and there is budget left, the
    /// supervisor is told to wait, and the drain goes on; the stages behind it get their full length. Asked anew each time, so
    /// that a loop that is stuck meanwhile is killed soon, and a turn that shows nothing is not waited for.
    fn drains_on(&mut self, now: Instant) -> bool {
        let Some(until) = self.worth_waiting_until().filter(|until| *until > now) else { return false };
        let Some(drain) = &mut self.drain else { return false };
        drain.deadlines = Deadlines::of_interruption(&self.limits, drain.mode, until);
        drain.extendable_to = drain.extendable_to.filter(|budget| *budget > until);
        self.effects.push_back(Effect::Extend(drain.deadlines.needed(now)));
        self.arm_guard();
        true
    }

    /// Interrupts the turns that are left. That this was our doing is written down before they can notice it. The graces
    /// run from now: a drain that was short must not give a turn that ignores the interruption the rest of the budget.
    fn interrupt_what_is_left(&mut self, now: Instant) {
        let Some(drain) = &mut self.drain else { return };
        drain.interrupted_at = Some(now);
        drain.deadlines = drain.deadlines.earlier(Deadlines::of_interruption(&self.limits, drain.mode, now));
        let deadline = drain.deadlines.interrupt;
        for turn in self.live.clone() {
            let Some(open) = self.turns.get_mut(&turn) else { continue };
            if let TurnState::Interrupting { kill_at } = &mut open.state {
                *kill_at = deadline.min(*kill_at);
            }
            if open.state != TurnState::Running {
                continue;
            }
            open.interrupt(deadline);
            self.append(Record::TurnInterrupted { turn });
            if self.take_back_start(turn) {
                self.cut(turn);
                continue;
            }
            let interrupt = Effect::Interrupt { turn };
            if self.write_ahead.is_failing() {
                self.effects.push_back(interrupt);
            } else {
                self.write_ahead.then(&mut self.effects, interrupt);
            }
        }
        self.arm_guard();
        self.enter(Phase::Interrupting);
    }

    /// Goes on once no turn is left, or those that are left have been killed.
    fn close_when_quiet(&mut self, now: Instant) {
        let Some(drain) = &self.drain else { return };
        let deadline = drain.deadlines.interrupt;
        if now >= deadline {
            for id in &self.live {
                if let Some(Turn { state: TurnState::Interrupting { kill_at }, .. }) = self.turns.get_mut(id) {
                    *kill_at = deadline;
                }
            }
            self.kill_overdue_turns(now);
        } else if !self.live.is_empty() {
            return;
        }
        if let Some(drain) = &mut self.drain {
            drain.closing_at = Some(now);
            // Only of a stop: a supervisor that hears this expects us to stay away, and counts the time until we are gone.
            let (stops, hears) = (drain.wish == Wish::Stop, self.contract.extends == Extends::WhenTold);
            let limit = self.contract.kill_after.filter(|_| stops && hears && drain.signals.is_empty());
            drain.deadlines = drain.deadlines.earlier(Deadlines::of_closing(&self.limits, drain.mode, limit, now));
            if stops {
                self.effects.push_back(Effect::Stopping);
            }
        }
        self.arm_guard();
        self.enter(Phase::Closing);
    }

    /// Writes the end once everything produced has left, or the time for that is over; then ends.
    fn end_when_flushed(&mut self, now: Instant) {
        let Some(drain) = &mut self.drain else { return };
        drain.supervisor_asked = drain.supervisor_asked.filter(|(_, until)| *until > now);
        let (close, last) = (drain.deadlines.close, drain.last_moment());
        let quiet = self.live.is_empty()
            && drain.waits_for_supervisor_until().is_none()
            && !self.outbox.values().any(Delivery::is_under_way);
        if !drain.end_recorded && (quiet || now >= close) {
            self.record_end(now);
        }
        if now >= last {
            // The journal does not answer: what is not on disk is owed by what is, and the process must not hang.
            self.end();
        }
    }

    /// Writes down how this generation ends. Whatever was accepted so far has its say in that first: its record comes to
    /// the disk before the end does. A stop has its outcome together with the end, so that no death in between undoes it.
    fn record_end(&mut self, now: Instant) {
        self.drop_check();
        let accepted: Vec<RequestId> = self.requests_made.keys().copied().collect();
        for id in accepted {
            self.request_counts(now, id);
        }
        let report = self.report(now);
        if let Some(drain) = &mut self.drain {
            drain.end_recorded = true;
        }
        self.take_back_words_of_cuts();
        self.withdraw_sends();
        let stops: Vec<RequestId> =
            self.standing().filter(|(_, request)| request.wish == Wish::Stop).map(|(id, _)| id).collect();
        for id in stops {
            self.settle_request(id, Outcome::Stopped);
        }
        let verdict = self.drain.as_ref().map(|drain| drain.verdict);
        let generation = self.generation;
        self.append(Record::GenerationEnded { generation, verdict, report: report.clone() });
        self.report = report.into();
    }

    /// Whether this generation's end is on its way to the disk: nothing more is promised, sent or carried out.
    pub(crate) fn end_recorded(&self) -> bool {
        self.phase == Phase::Ended || self.drain.as_ref().is_some_and(|drain| drain.end_recorded)
    }

    fn report(&self, now: Instant) -> Report {
        let Some(drain) = &self.drain else { return Report::default() };
        let interrupted = drain.interrupted_at.unwrap_or(now);
        let closing = drain.closing_at.unwrap_or(now);
        let millis = |to: Instant, from: Instant| to.as_millis().saturating_sub(from.as_millis());
        Report {
            requests: self.standing().collect(),
            drain_ms: millis(interrupted, drain.since),
            interrupt_ms: millis(closing, interrupted),
            close_ms: millis(now, closing),
            turns: drain.fates.clone(),
            owed: self.outbox.len(),
        }
    }

    /// The end is on disk, or can not get there: nothing of this generation follows.
    pub(crate) fn end(&mut self) {
        let Some(drain) = &self.drain else { return };
        let verdict = drain.verdict;
        self.effects.push_back(Effect::ClosePlatforms);
        self.enter(Phase::Ended);
        let report = std::mem::take(&mut *self.report);
        self.effects.push_back(Effect::End { verdict, report });
    }

    /// Notes what became of a turn, if an end is under way and it was in flight when that began.
    pub(crate) fn note_fate(&mut self, turn: TurnId, fate: TurnFate) {
        if let Some(known) = self.drain.as_mut().and_then(|drain| drain.fates.get_mut(&turn))
            && *known != TurnFate::Killed
        {
            *known = fate;
        }
    }
}

impl Drain {
    /// When the process ends without waiting for the journal: before the guard would end it without us.
    #[must_use]
    pub fn last_moment(&self) -> Instant {
        self.deadlines.close + (self.deadlines.self_kill - self.deadlines.close) / 2
    }

    /// Until when the end is held back to hear whether a SIGTERM was the supervisor's; `None` once nothing hangs on that.
    pub(crate) fn waits_for_supervisor_until(&self) -> Option<Instant> {
        self.supervisor_asked.filter(|_| self.wish == Wish::Restart).map(|(_, until)| until)
    }
}

/// How a guard ends a process whose driver is stuck: as it was to end, but a stuck process cannot stay.
const fn emergency(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Exit(_) | Verdict::ReExec => verdict,
        Verdict::StayUp => Verdict::Exit(STOP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Input;
    use crate::limits::Limits;
    use crate::recovery::Recovered;
    use crate::supervisor::{Contract, Supervisor};

    /// All that an idle gateway wants done when somebody asks for its end.
    fn effects_of(wish: Wish, supervisor: Supervisor) -> Vec<Effect> {
        let now = Instant::from_millis(1);
        let mut gateway = Gateway::boot(Limits::default(), Contract::of(supervisor), Recovered::default(), now);
        let mut effects = Vec::new();
        let request = RequestId(1);
        let asked = Input::Request { request, wish, mode: Mode::Graceful, origin: Origin::Cli };
        let found = Input::CandidateFit { request };
        let synced = Input::Synced { records: u32::MAX };
        for input in [Input::PlatformsOpen, synced.clone(), asked, found, synced.clone(), synced] {
            gateway.handle(now, input);
            effects.extend(std::iter::from_fn(|| gateway.poll()));
        }
        assert_eq!(gateway.phase(), Phase::Ended, "{effects:#?}");
        effects
    }

    #[test]
    fn only_of_a_stop_is_the_supervisor_told_that_the_process_leaves() {
        let told = |wish| effects_of(wish, Supervisor::Evergate).contains(&Effect::Stopping);
        assert!(told(Wish::Stop));
        assert!(!told(Wish::Restart));
    }

    #[test]
    fn the_guard_ends_a_stuck_process_as_it_was_to_end_but_never_lets_it_stay() {
        let guard = |wish, supervisor| {
            effects_of(wish, supervisor).into_iter().find_map(|effect| match effect {
                Effect::Guard(Some((_, verdict))) => Some(verdict),
                _ => None,
            })
        };
        assert_eq!(guard(Wish::Restart, Supervisor::Nobody), Some(Verdict::ReExec));
        assert_eq!(guard(Wish::Restart, Supervisor::Container), Some(Verdict::Exit(75)));
        assert_eq!(guard(Wish::Stop, Supervisor::Kubernetes), Some(Verdict::Exit(STOP)));
    }
}
