//! What goes into a gateway and what comes out of it, and the rules about single effects.

use super::Witness;
use super::account::{About, Blind, Delivery, Process};
use crate::drain::Drain;
use crate::effect::{Answer, Effect};
use crate::gateway::Phase;
use crate::id::{DeliveryId, RequestId, SessionId, TurnId};
use crate::input::Input;
use crate::invariant::{Checks, Invariant};
use crate::limits::Limits;
use crate::outbox::{Fate, Repeat, Uncertain};
use crate::question::Ruling;
use crate::record::Record;
use crate::request::{Mode, Outcome, Request, Signal, Wish};
use crate::supervisor::{Death, Extends, StartsAgain};
use crate::time::Instant;
use crate::turn::Resume;
use crate::verdict::Verdict;
use std::time::Duration;

/// What goes in and what comes out.
impl Witness {
    /// An input, before the gateway takes it.
    pub fn input(&mut self, now: Instant, input: &Input) {
        let Some(life) = &mut self.life else { return };
        match input {
            Input::PlatformsOpen => life.open = true,
            Input::Signal { signal, .. } => {
                match signal {
                    Signal::Terminate => life.terminated = true,
                    Signal::Interrupt => life.interrupted = true,
                }
                life.signalled_at.get_or_insert(now);
            }
            Input::TurnBegan { .. } | Input::TurnProgressed { .. } if life.signalled_at.is_some() => {
                life.progress_at = Some(now);
            }
            Input::Synced { .. } => {
                let on_disk =
                    |id: &RequestId, made: &Request| self.requests.get(id) == Some(made) || self.settled.contains(id);
                life.unheard.retain(|id, made| !on_disk(id, made));
            }
            Input::Question { turn, key } if self.running.contains_key(turn) => {
                life.asking.insert((*turn, *key));
            }
            Input::TurnEnded { turn, .. } | Input::TurnGone { turn } => {
                self.running.remove(turn);
                life.asking.retain(|(asking, _)| asking != turn);
            }
            Input::DeliverySent { delivery } | Input::DeliveryRejected { delivery } => {
                if let Some(sent) = self.deliveries.get_mut(delivery) {
                    sent.sending = false;
                    sent.concluded = true;
                }
            }
            Input::DeliveryFailed { delivery } => drop(self.deliveries.get_mut(delivery).map(Delivery::failed)),
            Input::DeliveryUnknown { delivery } => drop(self.deliveries.get_mut(delivery).map(Delivery::is_unknown)),
            Input::Message { session, .. } => {
                life.spoke.insert(*session);
            }
            Input::ResetBreaker { request, .. } => {
                life.resets.insert(*request);
            }
            Input::SupervisorStops { .. } => life.told_to_stop = true,
            Input::Limits(limits) => self.limits = (**limits).clone().into(),
            // One that was written before that was accepted for another reason, and may be written again.
            Input::CandidateUnfit { request } if !life.unheard.contains_key(request) => {
                life.unfit.insert(*request);
            }
            Input::Request { request, wish: Wish::Stop, .. } => {
                life.stops_unanswered.insert(*request);
            }
            _ => {}
        }
    }

    /// An effect, when it is carried out.
    pub fn effect(&mut self, checks: &mut Checks, now: Instant, effect: &Effect, drain: Option<&Drain>) {
        let Some(life) = &mut self.life else {
            return checks.holds(Invariant::Quiet, false, || format!("{effect:?} of a process that has left"));
        };
        checks.holds(Invariant::Quiet, !life.ended, || format!("{effect:?} after the end"));
        match effect {
            Effect::Ack { message } => {
                let known = self.messages.contains_key(message) || self.finished.contains(message);
                checks.holds(Invariant::Ack, known, || format!("{message} is acked and not on disk"));
            }
            Effect::Refuse { message, .. } => {
                let kept = self.messages.contains_key(message) || self.finished.contains(message);
                checks.holds(Invariant::Ack, !kept, || format!("{message} is refused and yet on disk"));
            }
            Effect::Answer { request, answer } => {
                life.stops_unanswered.remove(request);
                // The one answer that takes back what was appended.
                if *answer == Answer::StorageFull {
                    life.unheard.remove(request);
                }
                let known = self.requests.contains_key(request) || self.settled.contains(request);
                checks.holds(Invariant::Ack, known || *answer != Answer::Accepted, || {
                    format!("{request} is accepted and not on disk")
                });
            }
            Effect::Append { record: Record::RequestSettled { request, outcome }, .. }
                if *outcome != Outcome::Stopped =>
            {
                life.settling.insert(*request);
            }
            Effect::Append { record: Record::RequestMade { request, made } } => {
                let unfit = life.unfit.contains(request);
                checks.holds(Invariant::Exit, !unfit, || {
                    format!("{request} is accepted, and what would follow was found unable to take over")
                });
                life.unheard.insert(*request, *made);
            }
            Effect::Append { record: Record::BreakerReset { request, .. }, .. } => {
                let vouched = life.resets.contains(request);
                checks.holds(Invariant::Loop, vouched, || {
                    format!("the deaths before this generation are forgotten in {request}, and nobody vouched for it")
                });
            }
            Effect::Start { turn, session, attempt, resume, .. } => {
                self.starts(checks, *turn, *session, *attempt, *resume);
            }
            Effect::Append {
                record:
                    Record::TurnInterrupted { turn } | Record::TurnStopAsked { turn } | Record::TurnSuperseded { turn },
                ..
            } => {
                life.asking.retain(|(asking, _)| asking != turn);
            }
            Effect::Unasked { turn, key } => drop(life.asking.remove(&(*turn, *key))),
            Effect::Decided { turn, key, decision } => {
                life.asking.remove(&(*turn, *key));
                let asked = self.questions.values().find(|asked| (asked.turn, asked.key) == (*turn, *key));
                let ruling = asked.and_then(|asked| asked.ruling);
                checks.holds(Invariant::Consent, ruling.map(Ruling::decision) == Some(*decision), || {
                    format!("{turn} is told {decision:?} about its question, and on disk is {ruling:?}")
                });
            }
            Effect::Send { delivery, session, .. } => self.sends(checks, *delivery, *session),
            Effect::Transmit { delivery, session, repeat, .. } => self.transmits(checks, *delivery, *session, *repeat),
            Effect::Ready => {
                let (can_serve, may_serve) = (life.begun && life.open, !life.must_stop);
                life.ready = true;
                checks.holds(Invariant::Ready, can_serve, || "ready before it can serve".to_owned());
                checks.holds(Invariant::Intent, may_serve, || {
                    "a revived generation serves although a stop was asked for".to_owned()
                });
            }
            Effect::Append { record: Record::DeliverySettled { delivery, fate }, .. } => {
                let may_go = |owed: &Delivery| match fate {
                    Fate::Unknown => !self.may_repeat(owed),
                    Fate::Sent | Fate::Rejected => owed.concluded,
                    Fate::Withdrawn => owed.is_unsaid() && matches!(owed.about, About::Cut(_) | About::Back(_)),
                };
                checks.holds(Invariant::Reply, self.deliveries.get(delivery).is_none_or(may_go), || {
                    format!("{delivery} is struck off, and its platform has neither taken nor rejected it")
                });
            }
            Effect::Append { record: Record::GenerationEnded { .. }, .. } => {
                let unsaid = |owed: &Delivery| matches!(owed.about, About::Cut(_)) && owed.is_unsaid();
                let words = || self.deliveries.iter().filter(|(_, owed)| unsaid(owed)).map(|(id, _)| *id).collect();
                life.unsaid.get_or_insert_with(words);
            }
            Effect::Phase(phase) => life.phase = *phase,
            // A supervisor that hears this counts from here, unless a signal has had it count already.
            Effect::Stopping if life.signalled_at.is_none() && self.contract.extends == Extends::WhenTold => {
                if let (Some(limit), Some(drain)) = (self.contract.kill_after, drain) {
                    let guard = drain.deadlines.self_kill;
                    checks.holds(Invariant::Budget, guard < now + limit, || {
                        format!("the supervisor hears of a stop at {now:?}, and kills before the guard at {guard:?}")
                    });
                }
            }
            Effect::Extend(by) => self.extends(checks, now, *by),
            Effect::Guard(None) => life.guard = None,
            Effect::Guard(Some((at, _))) => self.guards(checks, now, *at, drain),
            Effect::End { verdict, .. } => self.ends(checks, *verdict, Striker::Nobody),
            _ => {}
        }
    }
}

/// Who ends a process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Striker {
    /// It ends itself.
    Nobody,
    /// Its guard: somebody wanted that end.
    Guard,
    /// Its watchdog, whoever wants what.
    Watchdog,
}

/// The rules about single effects.
impl Witness {
    fn starts(&mut self, checks: &mut Checks, id: TurnId, session: SessionId, attempt: u32, resume: Option<Resume>) {
        let Some(life) = &self.life else { return };
        let generation = life.generation;
        let admitted = life.phase <= Phase::Draining;
        checks.holds(Invariant::Admit, admitted, || format!("{id} starts while {}", life.phase.name()));
        let on_disk = self.turns.get(&id).is_some_and(|turn| turn.attempt == attempt && turn.session == session);
        checks.holds(Invariant::Mark, on_disk, || format!("start {attempt} of {id} is not on disk"));
        let beside = self.running.iter().find(|(other, process)| **other == id || process.session == session);
        checks.holds(Invariant::Orphan, beside.is_none(), || {
            format!("{id} starts beside a process of {}", beside.map_or(id, |(other, _)| *other))
        });
        if let Some(turn) = self.turns.get(&id) {
            checks.holds(Invariant::Quar, turn.deaths < self.limits.attempts, || {
                format!("{id} starts again after {} deaths", turn.deaths)
            });
            if resume.is_some() {
                checks.holds(Invariant::Hygiene, resume == turn.resume, || {
                    format!("{id} is told {resume:?}, and {:?} is what happened", turn.resume)
                });
                let looping = self.is_looping() && !life.spoke.contains(&session);
                checks.holds(Invariant::Loop, !looping, || {
                    format!("{id} is resumed by itself after {} deaths in a row", self.unproven)
                });
            }
        }
        self.running.insert(id, Process { generation, session });
        self.comes_true(id);
    }

    fn sends(&mut self, checks: &mut Checks, id: DeliveryId, session: SessionId) {
        let overtaken = self.deliveries.range(..id).find(|(_, other)| other.session == session);
        checks.holds(Invariant::Reply, overtaken.is_none(), || {
            format!("{id} is sent before {:?}", overtaken.map(|(id, _)| id))
        });
        let repeats = self.deliveries.get(&id).is_none_or(|delivery| self.may_repeat(delivery));
        checks.holds(Invariant::Reply, repeats, || format!("{id} is repeated, and may not be"));
        let Some(delivery) = self.deliveries.get_mut(&id) else {
            return checks.holds(Invariant::Reply, false, || format!("{id} is sent and not owed on disk"));
        };
        checks.holds(Invariant::Reply, !delivery.sending && delivery.session == session, || {
            format!("{id} is sent twice at once, or to another chat")
        });
        delivery.sending = true;
        let early = matches!(delivery.about, About::Back(_));
        checks.holds(Invariant::Notice, !early, || format!("{id} says that a turn goes on, which was not started"));
    }

    /// Whether it may be sent, for all that may have arrived of it.
    fn may_repeat(&self, delivery: &Delivery) -> bool {
        let Blind { unknown, .. } = delivery.blind;
        unknown == 0 || (self.limits.uncertain == Uncertain::Report && unknown < self.limits.unknown_sends)
    }

    fn transmits(&mut self, checks: &mut Checks, id: DeliveryId, session: SessionId, repeat: Repeat) {
        let Some(delivery) = self.deliveries.get_mut(&id) else {
            return checks.holds(Invariant::Reply, false, || format!("{id} is sent off and not owed on disk"));
        };
        let Blind { unknown, marked, transmitted, .. } = delivery.blind;
        checks.holds(Invariant::Reply, marked, || format!("{id} is sent off before that is on disk"));
        let once = delivery.sending && transmitted.is_none() && delivery.session == session;
        checks.holds(Invariant::Reply, once, || format!("{id} is sent off twice at once, or nobody was handed it"));
        checks.holds(Invariant::Reply, (repeat == Repeat::Possible) == (unknown > 0), || {
            format!("{id} is sent off as {repeat:?}, and {unknown} sends of it may have arrived")
        });
        delivery.blind.transmitted = Some(repeat);
        delivery.blind.used = true;
        delivery.blind.label = repeat;
    }

    fn guards(&mut self, checks: &mut Checks, now: Instant, at: Instant, drain: Option<&Drain>) {
        let (Some(life), Some(drain)) = (&mut self.life, drain) else { return };
        let covered = life.extended_to.is_some_and(|kill| at < kill);
        checks.holds(Invariant::Budget, covered || life.guard.is_none_or(|before| at <= before), || {
            format!("the guard moves from {:?} to {at:?}", life.guard)
        });
        if let (Some(since), Some(limit)) = (life.signalled_at, self.contract.kill_after) {
            checks.holds(Invariant::Budget, covered || at < since + limit, || {
                format!("the supervisor kills at {:?}, before the guard at {at:?}", since + limit)
            });
        }
        if drain.mode == Mode::Force && at == drain.deadlines.self_kill {
            let bound = now + Limits::FORCE_INTERRUPT_GRACE + Limits::FORCE_CLOSE_GRACE + Limits::SELF_KILL_MARGIN;
            checks.holds(Invariant::Force, at <= bound, || {
                format!("a forced end may last until {at:?}, later than {bound:?}")
            });
        }
        life.guard = Some(at);
    }

    fn extends(&mut self, checks: &mut Checks, now: Instant, by: Duration) {
        let Some(life) = &mut self.life else { return };
        let hears = self.contract.extends == Extends::WhenTold;
        let kill = self.contract.kill_after.and_then(|limit| Some(life.signalled_at? + limit)).max(life.extended_to);
        checks.holds(Invariant::Budget, hears && kill.is_some_and(|kill| now < kill), || {
            format!("the supervisor is told to wait at {now:?}, and it kills at {kill:?} or does not listen")
        });
        let lately = life.progress_at.or(life.signalled_at).is_some_and(|at| now <= at + Limits::EXTENSION);
        checks.holds(Invariant::Budget, lately, || {
            format!("the supervisor is told to wait, and nothing got on since {:?}", life.progress_at)
        });
        life.extended_to = life.extended_to.max(Some(now + by));
    }

    /// The guard has ended a process whose loop was stuck: no orderly end, but the same verdict.
    pub fn struck(&mut self, checks: &mut Checks, verdict: Verdict) {
        self.strikes(checks, verdict, Striker::Guard);
    }

    /// The watchdog has ended a process whose loop was stuck, as its guard would have or as a restart does.
    pub fn bitten(&mut self, checks: &mut Checks, verdict: Verdict) {
        self.strikes(checks, verdict, Striker::Watchdog);
    }

    fn strikes(&mut self, checks: &mut Checks, verdict: Verdict, striker: Striker) {
        // Where nobody starts anything again, or somebody always does, no status changes that.
        let idle_status = matches!(verdict, Verdict::Exit(_))
            && matches!(self.contract.starts_again, StartsAgain::Never | StartsAgain::Always);
        if !idle_status {
            self.ends(checks, verdict, striker);
        }
        if let Some(life) = &mut self.life {
            life.ended = false;
        }
    }

    fn ends(&mut self, checks: &mut Checks, verdict: Verdict, striker: Striker) {
        let Some(life) = &mut self.life else { return };
        life.ended = true;
        let stays_down = match verdict {
            Verdict::ReExec => false,
            Verdict::StayUp => true,
            Verdict::Exit(status) => !self.contract.revives(Death::Exited(status)),
        };
        checks.holds(
            Invariant::Exit,
            !life.terminated || matches!(verdict, Verdict::Exit(_)) || verdict == self.contract.leave,
            || format!("{verdict}, and it was sent SIGTERM"),
        );
        // What came to the disk of a process whose loop is stuck may not have been told to the gateway, nor by it.
        let counts = |id: &RequestId| !life.stops_unanswered.contains(id) && !life.settling.contains(id);
        let standing = |wish: Wish| {
            self.requests.iter().any(|(id, made)| made.wish == wish && made.generation == life.generation && counts(id))
        };
        let stopped = life.stopped || life.must_stop || standing(Wish::Stop);
        let maybe_stopped = life.interrupted || life.told_to_stop || !life.stops_unanswered.is_empty();
        let wished =
            striker == Striker::Watchdog || stopped || standing(Wish::Restart) || life.terminated || maybe_stopped;
        checks.holds(Invariant::Once, wished, || "the generation ends and nobody asked for that".to_owned());
        // Nobody starts again what a SIGTERM ended; somebody who always does cannot be told otherwise by a status.
        let ours_to_choose =
            !(life.terminated && matches!(self.contract.starts_again, StartsAgain::Never | StartsAgain::Always));
        if ours_to_choose && stopped {
            checks.holds(Invariant::Exit, stays_down, || format!("{verdict} undoes a stop"));
        } else if ours_to_choose && !maybe_stopped {
            checks
                .holds(Invariant::Exit, !stays_down, || format!("{verdict} leaves it down, and a restart was wanted"));
        }
    }
}
