//! What comes to the disk, and the rules about single records.

use super::Witness;
use super::account::{About, Blind, Delivery, Message, Question, Turn};
use crate::effect::Place;
use crate::id::{DeliveryId, MessageId, RequestId, SessionId, TurnId};
use crate::input::Asked;
use crate::invariant::{Checks, Invariant};
use crate::limits::Limits;
use crate::outbox::{Content, Fate, Notice};
use crate::record::Record;
use crate::request::{Outcome, Wish};
use crate::turn::Conclusion;

/// What comes to the disk.
impl Witness {
    /// A record is on disk. Call it in the order of the journal, and `committed` after each whole commit.
    pub fn synced(&mut self, checks: &mut Checks, record: &Record) {
        match record {
            Record::GenerationBegun { generation, .. } => {
                checks.holds(Invariant::Truth, self.end_on_disk, || {
                    format!("{generation} begins and how the last one ended is unknown")
                });
                self.end_on_disk = false;
                self.generation = *generation;
                let life = self.life.as_mut().filter(|life| life.generation == *generation);
                self.stopped &= life.as_ref().is_some_and(|life| life.must_stop);
                if let Some(life) = life {
                    life.begun = true;
                }
            }
            Record::GenerationEnded { report, .. } => {
                self.end_on_disk = true;
                // Of a life that nobody has seen its own words are all there is.
                if self.life.is_none() {
                    self.stopped = report.stop().is_some();
                }
            }
            Record::MessageAccepted { message, session, asked, place, .. } => {
                self.message_accepted(checks, *message, Message { session: *session, asked: *asked, place: *place });
            }
            Record::MessageReturned { message, .. } => {
                self.returning.remove(message);
                let waits = self.turns.values().all(|turn| !turn.messages.contains(message));
                let known = self.messages.get_mut(message).filter(|_| waits);
                checks.holds(Invariant::Once, known.is_some(), || {
                    format!("{message} is given back, and no turn has given it up")
                });
                if let Some(known) = known {
                    known.place = Place::Interrupting;
                }
            }
            Record::CommandDone { message } => {
                let open = self.messages.remove(message).is_some_and(|message| message.asked != Asked::Prompt);
                checks.holds(Invariant::Once, open, || format!("the command in {message} is carried out again"));
                self.finished.insert(*message);
            }
            Record::TurnOpened { turn, session, messages, .. } => self.turn_opened(checks, *turn, *session, messages),
            Record::TurnResumed { turn, attempt, generation, .. } => {
                if let Some(open) = self.turns.get_mut(turn) {
                    checks.holds(Invariant::Quar, *attempt == open.attempt + 1, || {
                        format!("start {attempt} of {turn} after {}", open.attempt)
                    });
                    open.resumed(*attempt, *generation);
                    if std::mem::take(&mut open.told) {
                        self.backs_due.insert(*turn, open.session);
                    }
                }
            }
            Record::TurnInterrupted { turn } => {
                let open = self.turns.get_mut(turn);
                checks.holds(Invariant::Hygiene, open.is_some(), || {
                    format!("{turn} is marked as interrupted and has ended")
                });
                if let Some(open) = open {
                    open.interrupted = true;
                }
            }
            Record::TurnCutTold { turn } => self.cut_told(checks, *turn),
            Record::TurnUnsaid { turn, told } => {
                let open = self.turns.get(turn).is_none_or(|open| open.told != told.is_nothing());
                checks.holds(Invariant::Notice, open, || {
                    format!("{turn} is said to be told {told:?}, and no word of it was withdrawn that says so")
                });
            }
            Record::QuestionAsked { question, turn, key } => {
                checks.holds(Invariant::Consent, *question > self.last_question, || {
                    format!("{question} is asked after {}", self.last_question)
                });
                self.last_question = self.last_question.max(*question);
                let asked = self.questions.values().any(|asked| (asked.turn, asked.key) == (*turn, *key));
                checks.holds(Invariant::Consent, self.turns.contains_key(turn) && !asked, || {
                    format!("{question} of {turn} is asked again, or by a turn that is not open")
                });
                self.questions.insert(*question, Question { turn: *turn, key: *key, put: false, ruling: None });
            }
            Record::QuestionDecided { question, turn, ruling } => {
                let open =
                    self.questions.get_mut(question).filter(|asked| asked.turn == *turn && asked.ruling.is_none());
                checks.holds(Invariant::Consent, open.is_some(), || {
                    format!("{question} of {turn} is decided again, or was never asked: {ruling:?}")
                });
                if let Some(asked) = open {
                    asked.ruling = Some(*ruling);
                }
            }
            Record::QuestionClosed { question, .. } => {
                let asked = self.questions.remove(question);
                checks.holds(Invariant::Consent, asked.is_some(), || format!("{question} is closed and was not asked"));
            }
            Record::TurnEnded { turn, conclusion, .. } => self.turn_ended(checks, *turn, *conclusion),
            Record::DeliveryOwed { delivery, session, content } => {
                self.delivery_owed(checks, *delivery, *session, content)
            }
            Record::DeliveryTried { delivery, attempt } => self.delivery_tried(checks, *delivery, *attempt),
            Record::DeliveryMissed { delivery, uncertain } => self.delivery_missed(checks, *delivery, *uncertain),
            Record::DeliverySettled { delivery, fate } => {
                let owed = self.deliveries.remove(delivery);
                checks.holds(Invariant::Reply, owed.is_some(), || format!("{delivery} is settled and was not owed"));
                if let Some(owed) = owed {
                    self.delivery_settled(owed, *fate);
                }
            }
            Record::RequestMade { request, made } => {
                checks.holds(Invariant::Once, !self.settled.contains(request), || {
                    format!("{request} is made again after its outcome")
                });
                let before = self.requests.insert(*request, *made);
                let again = made.wish == Wish::Restart && before.is_some_and(|old| old.generation < made.generation);
                checks.holds(Invariant::Once, !again, || {
                    format!("{request} has ended one generation and is carried out by {} again", made.generation)
                });
            }
            Record::RequestSettled { request, outcome } => self.request_settled(checks, *request, *outcome),
            Record::SessionQuarantined { session } => {
                self.set_aside.insert(*session);
            }
            Record::SessionReleased { session } => {
                self.set_aside.remove(session);
            }
            Record::BreakerReset { generation, request, .. } => {
                checks.holds(Invariant::Once, self.settled.insert(*request), || {
                    format!("{request} resets the loop breaker again")
                });
                (self.unproven, self.unproven_on_disk) = (0, 0);
                if let Some(life) = self.life.as_mut().filter(|life| life.generation == *generation) {
                    life.proven = true;
                }
            }
            Record::TurnStopAsked { turn } | Record::TurnSuperseded { turn } => {
                if let Some(open) = self.turns.get_mut(turn) {
                    open.ends = true;
                    let session = open.session;
                    self.interrupting.retain(|_, said_in| *said_in != session);
                }
            }
            Record::TurnGranted { .. }
            | Record::SessionRenewed { .. }
            | Record::SessionBusy { .. }
            | Record::GenerationProven { .. } => {}
        }
    }

    /// A commit is whole: what belongs together came together.
    pub fn committed(&mut self, checks: &mut Checks) {
        if self.end_on_disk {
            self.words_kept(checks);
        }
        if let Some((request, session)) = self.outcomes_due.pop_first() {
            checks.holds(Invariant::Notice, false, || format!("{session} is not told how {request} ended"));
        }
        if let Some((turn, session)) = self.missing_due.pop_first() {
            checks.holds(Invariant::Reply, false, || {
                format!("{session} is not told that the answer of {turn} may be missing")
            });
        }
        if let Some((turn, session)) = self.cuts_due.pop_first() {
            checks.holds(Invariant::Notice, false, || {
                format!("{session} is not told that {turn} was cut, as the journal says")
            });
        }
        if let Some((turn, session)) = self.backs_due.pop_first() {
            checks.holds(Invariant::Notice, false, || {
                format!("{session} was told that {turn} would go on, and is not told that it does")
            });
        }
        if let Some((question, _)) = self.questions.iter().find(|(_, asked)| !asked.put) {
            checks.holds(Invariant::Consent, false, || format!("{question} is on disk and nobody is asked"));
        }
        if let Some(turn) = self.replies.pop_first() {
            checks.holds(Invariant::Reply, false, || format!("{turn} has a reply on disk and has not ended"));
        }
        if let Some((message, session)) = self.interrupting.pop_first() {
            checks.holds(Invariant::Ack, false, || {
                format!("a turn of {session} is said to be interrupted for {message}, and is not")
            });
        }
        if let Some(message) = self.returning.pop_first() {
            checks.holds(Invariant::Ack, false, || {
                format!("the turn over {message} ended without a word, and it waits for no other")
            });
        }
        if let Some(message) = self.places.pop_first() {
            checks.holds(Invariant::Mark, false, || format!("{message} is said to be worked on by no turn on disk"));
        }
    }

    fn message_accepted(&mut self, checks: &mut Checks, id: MessageId, message: Message) {
        let Message { session, asked, place } = message;
        let ends = self.turns.values().any(|turn| turn.session == session && turn.ends);
        match place {
            Place::Running if asked == Asked::Prompt => drop(self.places.insert(id)),
            Place::Interrupting if !ends => drop(self.interrupting.insert(id, session)),
            _ => {}
        }
        // Once it waits, it waits like any other; the fewer kinds there are, the fewer states there are to explore.
        let place = if place == Place::Running { Place::Queued } else { place };
        let message = Message { place, ..message };
        let new = !self.finished.contains(&id) && self.messages.insert(id, message).is_none();
        checks.holds(Invariant::Once, new, || format!("{id} is accepted twice"));
    }

    /// What the next turn of a session has to be over, as those who said it were told.
    fn next_messages(&self, session: SessionId) -> Vec<MessageId> {
        let open = self.turns.values().filter(|turn| turn.session == session);
        let taken: Vec<MessageId> = open.flat_map(|turn| turn.messages.iter().copied()).collect();
        let waiting: Vec<(MessageId, Place)> = self
            .messages
            .iter()
            .filter(|(id, message)| message.session == session && message.asked == Asked::Prompt && !taken.contains(id))
            .map(|(id, message)| (*id, message.place))
            .collect();
        let interrupting = waiting.iter().rposition(|(_, place)| *place == Place::Interrupting);
        let collected = waiting.iter().take_while(|(_, place)| *place == Place::Collected).count();
        let length = interrupting.map_or(collected.max(1), |last| last + 1);
        waiting.into_iter().take(length).map(|(id, _)| id).collect()
    }

    fn turn_opened(&mut self, checks: &mut Checks, id: TurnId, session: SessionId, messages: &[MessageId]) {
        checks.holds(Invariant::Once, id > self.last_turn, || format!("{id} is opened after {}", self.last_turn));
        self.last_turn = self.last_turn.max(id);
        for message in messages {
            self.places.remove(message);
        }
        let waits = |message: &MessageId| {
            self.messages.contains_key(message) && self.turns.values().all(|turn| !turn.messages.contains(message))
        };
        let strange = messages.iter().find(|message| !waits(message));
        checks.holds(Invariant::Once, strange.is_none(), || format!("{id} answers {strange:?}, which does not wait"));
        let alone = self.turns.values().all(|turn| turn.session != session);
        checks.holds(Invariant::Once, alone, || format!("{id} is the second open turn of {session}"));
        // One over something that does not wait is over the wrong messages in any case.
        if strange.is_none() {
            let next = self.next_messages(session);
            checks.holds(Invariant::Ack, next == messages, || {
                format!("{id} is over {messages:?}, and as those who wait were told it is over {next:?}")
            });
        }
        let turn = Turn {
            session,
            messages: messages.to_vec(),
            attempt: 1,
            resume: None,
            interrupted: false,
            told: false,
            ends: false,
            deaths: 0,
            resumed_in: self.generation,
        };
        self.turns.insert(id, turn);
    }

    fn turn_ended(&mut self, checks: &mut Checks, id: TurnId, conclusion: Conclusion) {
        let Some(turn) = self.turns.remove(&id) else {
            return checks.holds(Invariant::Once, false, || format!("{id} ends and was not open"));
        };
        self.comes_true(id);
        let left = self.questions.iter().find(|(_, asked)| asked.turn == id).map(|(question, _)| *question);
        checks.holds(Invariant::Hygiene, left.is_none(), || format!("{id} ends and leaves {left:?} behind"));
        let replied = self.replies.remove(&id);
        if conclusion == Conclusion::Answered {
            checks.holds(Invariant::Reply, replied, || {
                format!("{id} has answered and its reply is not on disk with that")
            });
        }
        if conclusion == Conclusion::Superseded && !replied {
            self.returning.extend(turn.messages);
            return;
        }
        for message in turn.messages {
            self.messages.remove(&message);
            self.finished.insert(message);
        }
        if !matches!(conclusion, Conclusion::Quarantined | Conclusion::Superseded) {
            (self.unproven, self.unproven_on_disk) = (0, 0);
            if let Some(life) = &mut self.life {
                life.proven = true;
            }
        }
    }

    fn delivery_owed(&mut self, checks: &mut Checks, id: DeliveryId, session: SessionId, content: &Content) {
        checks
            .holds(Invariant::Reply, id > self.last_delivery, || format!("{id} is owed after {}", self.last_delivery));
        self.last_delivery = self.last_delivery.max(id);
        let mut owed = Delivery::new(session, content);
        if self.life.is_none() {
            owed.outlives();
        }
        self.deliveries.insert(id, owed);
        match content {
            Content::Reply { turn, .. } => {
                let first = self.turns.contains_key(turn) && self.replies.insert(*turn);
                checks.holds(Invariant::Reply, first, || format!("{turn} replies again"));
            }
            Content::Notice(Notice::RestartAccepted { request, .. }) => {
                let first = !self.settled.contains(request) && self.told.insert(*request, session).is_none();
                checks.holds(Invariant::Rate, first, || format!("{session} is told again that {request} is accepted"));
            }
            Content::Notice(Notice::RequestSettled { request, .. }) => {
                let due = self.outcomes_due.remove(request);
                checks.holds(Invariant::Notice, due == Some(session), || {
                    format!("{session} is told how {request} ended, and {due:?} asked")
                });
                let told = self.told.remove(request);
                checks.holds(Invariant::Rate, told.is_none_or(|told| told == session), || {
                    format!("{session} is told how {request} ended, and {told:?} that it was accepted")
                });
            }
            Content::Notice(Notice::TurnCut { turn, .. }) => {
                let due = self.cuts_due.remove(turn);
                checks.holds(Invariant::Notice, due == Some(session), || {
                    format!("{session} is told that {turn} goes on afterwards, and {due:?} is to be told")
                });
            }
            Content::Notice(Notice::TurnBack { turn }) => {
                let due = self.backs_due.remove(turn);
                checks.holds(Invariant::Rate, due == Some(session), || {
                    format!("{session} is told that {turn} goes on, and {due:?} is to be told")
                });
            }
            Content::Notice(Notice::Asks { question, .. }) => {
                let asked = self.questions.get_mut(question).filter(|asked| !asked.put);
                checks.holds(Invariant::Rate, asked.is_some(), || format!("{session} is asked {question} again"));
                if let Some(asked) = asked {
                    asked.put = true;
                }
            }
            Content::Notice(Notice::MayBeMissing { turn }) => {
                let due = self.missing_due.remove(turn);
                checks.holds(Invariant::Rate, due == Some(session), || {
                    format!("{session} is told that the answer of {turn} may be missing, and {due:?} misses it")
                });
            }
            Content::Notice(_) => {}
        }
    }

    /// The chat of a turn is told that an end has cut it: if one has, once for each cut and a few times at most, where nobody
    /// hears of a request of its own, and not where generations die in a row.
    fn cut_told(&mut self, checks: &mut Checks, id: TurnId) {
        let looping = self.is_looping();
        let Some(turn) = self.turns.get_mut(&id) else {
            return checks.holds(Invariant::Notice, false, || format!("it is told that {id} was cut, which has ended"));
        };
        let Turn { session, attempt, interrupted, told, ends, .. } = *turn;
        checks.holds(Invariant::Notice, interrupted && !ends && !self.running.contains_key(&id), || {
            format!("{session} is told that {id} was cut, and it was not, or does not go on")
        });
        checks.holds(Invariant::Rate, !told && attempt <= Limits::CUTS_TOLD, || {
            format!("{session} is told again that {id} was cut, in attempt {attempt}")
        });
        let asked = self.requests.iter().find(|(_, made)| made.origin.session() == Some(session));
        checks.holds(Invariant::Rate, asked.is_none(), || {
            format!("{session} is told that {id} was cut, and hears of {:?}", asked.map(|(request, _)| request))
        });
        checks.holds(Invariant::Loop, !looping, || {
            format!("{session} is told that {id} was cut, after {} deaths in a row", self.unproven)
        });
        turn.told = true;
        self.cuts_due.insert(id, session);
    }

    /// The end is on disk, with all that came together with it: what nobody could be told of it before, nobody is told after it.
    fn words_kept(&self, checks: &mut Checks) {
        let Some(life) = &self.life else { return };
        let kept = life.unsaid.iter().flatten().find(|word| self.deliveries.contains_key(word));
        checks.holds(Invariant::Notice, kept.is_none(), || {
            format!(
                "{} says that an end cuts a turn, and is still to be said when that is over",
                kept.copied().unwrap_or_default()
            )
        });
    }

    /// It is owed no longer. What was withdrawn is as if it had never been said.
    fn delivery_settled(&mut self, owed: Delivery, fate: Fate) {
        match (owed.about, fate) {
            (About::Reply(turn), Fate::Unknown) => drop(self.missing_due.insert(turn, owed.session)),
            (About::Cut(turn), Fate::Withdrawn) => self.change_turn(turn, |open| open.told = false),
            (About::Back(turn), Fate::Withdrawn) => self.change_turn(turn, |open| open.told = true),
            _ => {}
        }
    }

    /// A turn was started or has ended: that it goes on may be said.
    pub(super) fn comes_true(&mut self, turn: TurnId) {
        let back = About::Back(turn);
        if self.deliveries.values().any(|word| word.about == back) {
            self.deliveries.values_mut().filter(|word| word.about == back).for_each(|word| word.about = About::Another);
        }
    }

    fn change_turn(&mut self, turn: TurnId, change: impl FnOnce(&mut Turn)) {
        if let Some(open) = self.turns.get_mut(&turn) {
            change(open);
        }
    }

    fn delivery_tried(&mut self, checks: &mut Checks, id: DeliveryId, attempt: u32) {
        let seen = self.life.is_some();
        let Some(delivery) = self.deliveries.get_mut(&id) else {
            return checks.holds(Invariant::Reply, false, || format!("{id} is tried and not owed"));
        };
        let Blind { unknown, .. } = delivery.blind;
        checks.holds(Invariant::Reply, !seen || attempt == unknown + 1, || {
            format!("{id} is tried for time {attempt}, and {unknown} sends of it may have arrived")
        });
        delivery.blind.unknown = attempt.saturating_sub(1);
        delivery.blind.marked = true;
    }

    fn delivery_missed(&mut self, checks: &mut Checks, id: DeliveryId, uncertain: u32) {
        let seen = self.life.is_some();
        let Some(delivery) = self.deliveries.get_mut(&id) else {
            return checks.holds(Invariant::Reply, false, || format!("{id} was missed and is not owed"));
        };
        let Blind { unknown, transmitted, .. } = delivery.blind;
        checks.holds(Invariant::Reply, !seen || (uncertain == unknown && transmitted.is_none()), || {
            format!("{id} certainly did not arrive, it says, but {unknown} times, and {transmitted:?} was sent")
        });
        delivery.blind.unknown = uncertain;
        delivery.blind.marked = false;
    }

    fn request_settled(&mut self, checks: &mut Checks, id: RequestId, outcome: Outcome) {
        let made = self.requests.remove(&id);
        let first = self.settled.insert(id);
        let Some(made) = made.filter(|_| first) else {
            return checks.holds(Invariant::Once, false, || format!("{id} has another outcome, {outcome:?}"));
        };
        if let Some(session) = made.origin.session() {
            self.outcomes_due.insert(id, session);
        }
        match (outcome, &mut self.life) {
            (Outcome::Restarted { generation }, Some(life)) => {
                let other = generation > made.generation && generation == life.generation && life.ready;
                checks.holds(Invariant::Ready, other, || {
                    format!("{id} of {} is done in {generation}, ready: {}", made.generation, life.ready)
                });
            }
            (Outcome::Cancelled, Some(life)) => {
                life.must_stop &= self.stopped || self.requests.values().any(|request| request.wish == Wish::Stop);
            }
            (Outcome::Stopped, Some(life)) if made.generation == life.generation => {
                (life.stopped, self.stopped) = (true, true);
            }
            _ => {}
        }
    }
}
