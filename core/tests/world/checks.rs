//! The rules: what must be true of each effect when it leaves, of the journal after each commit, of the gateway after
//! each input, and of everything once the world is healed and at rest.

use super::{Said, World};
use evergate_core::cut::Told;
use evergate_core::drain::Drain;
use evergate_core::effect::{Answer, Effect};
use evergate_core::gateway::{Gateway, Pending, Phase};
use evergate_core::id::{GenerationId, MessageId, TurnId};
use evergate_core::input::{Asked, Input};
use evergate_core::limits::Limits;
use evergate_core::outbox::DeliveryState::Trying;
use evergate_core::outbox::{Content, Notice};
use evergate_core::record::Record;
use evergate_core::recovery::Recovered;
use evergate_core::request::{Origin, Outcome, Signal};
use evergate_core::turn::{Conclusion, Turn};
use evergate_core::verdict::Verdict;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// What somebody can see rests on what is on disk.
    pub(super) fn check_effect(&self, effect: &Effect) {
        let has = |is_it: &dyn Fn(&Record) -> bool| assert!(self.journal.has(is_it), "{effect:?} is not on disk");
        match effect {
            Effect::Ack { message } => {
                has(&|record| matches!(record, Record::MessageAccepted { message: known, .. } if known == message));
            }
            Effect::Refuse { message, .. } => {
                let kept = |record: &Record| matches!(record, Record::MessageAccepted { message: known, .. } if known == message);
                assert!(!self.journal.has(kept), "{effect:?} is on disk");
            }
            Effect::Start { turn, session, attempt, .. } => {
                match attempt {
                    1 => has(&|record| matches!(record, Record::TurnOpened { turn: known, .. } if known == turn)),
                    _ => has(
                        &|record| matches!(record, Record::TurnResumed { turn: known, attempt: tried, .. } if (known, tried) == (turn, attempt)),
                    ),
                }
                assert!(self.phase <= Phase::Draining, "{effect:?} while {:?}", self.phase);
                assert!(self.agents.values().all(|agent| agent.session != *session), "{effect:?} beside another");
            }
            Effect::Interrupt { turn } if !self.up().journal_failing() => has(&|record| match record {
                Record::TurnInterrupted { turn: known }
                | Record::TurnStopAsked { turn: known }
                | Record::TurnSuperseded { turn: known } => known == turn,
                _ => false,
            }),
            Effect::Send { delivery, session, .. } => {
                has(&|record| matches!(record, Record::DeliveryOwed { delivery: owed, .. } if owed == delivery));
                assert!(self.sending.values().all(|(to, _)| to != session), "{effect:?} overtakes");
                // At the last moment of the flush, a send may leave in the same breath as the end is written.
                let late = |drain: &Drain| drain.end_recorded && self.now < drain.deadlines.close;
                assert!(!self.up().drain().is_some_and(late), "{effect:?} when nobody waits for it any more");
            }
            Effect::Transmit { delivery, session, .. } => {
                let tried =
                    |record: &Record| matches!(record, Record::DeliveryTried { delivery: of, .. } if of == delivery);
                let missed =
                    |record: &Record| matches!(record, Record::DeliveryMissed { delivery: of, .. } if of == delivery);
                let last = self.journal.history.iter().rev().find(|record| tried(record) || missed(record));
                assert!(last.is_some_and(tried), "{effect:?} is not on disk");
                assert!(self.sending.values().all(|(to, _)| to != session), "{effect:?} overtakes");
            }
            Effect::Answer { request, answer: Answer::Accepted } => {
                has(
                    &|record| matches!(record, Record::RequestMade { request: made, .. } | Record::BreakerReset { request: made, .. } if made == request),
                );
                assert!(self.answers.iter().all(|(answered, _)| answered != request), "{effect:?} twice");
            }
            Effect::Settled { request, outcome } => {
                has(
                    &|record| matches!(record, Record::RequestSettled { request: of, outcome: known } if (of, known) == (request, outcome)),
                );
                assert!(!self.settled.contains_key(request), "{effect:?} twice");
            }
            Effect::Decided { turn, key, decision } => {
                let asked = self.journal.history.iter().find_map(|record| match record {
                    Record::QuestionAsked { question, turn: by, key: of } if (by, of) == (turn, key) => Some(*question),
                    _ => None,
                });
                has(
                    &|record| matches!(record, Record::QuestionDecided { question, ruling, .. } if Some(*question) == asked && ruling.decision() == *decision),
                );
            }
            Effect::Ready => {
                let generation = self.up().generation();
                has(
                    &|record| matches!(record, Record::GenerationBegun { generation: begun, .. } if *begun == generation),
                );
            }
            Effect::End { verdict, .. } => self.check_verdict(*verdict),
            _ => {}
        }
    }

    /// The process ends as the strongest request on disk wants it, which is also what the journal says.
    fn check_verdict(&self, verdict: Verdict) {
        let generation = self.up().generation();
        let Some(recorded) = self.journal.history.iter().rev().find_map(|record| match record {
            Record::GenerationEnded { generation: ended, verdict, .. } if *ended == generation => Some(*verdict),
            _ => None,
        }) else {
            let last = self.up().drain().expect("it ends").last_moment();
            return assert!(self.now >= last, "an end at {:?} that is not on disk, before {last:?}", self.now);
        };
        if !(self.signalled_late && matches!(recorded, Some(Verdict::ReExec | Verdict::StayUp))) {
            assert_eq!(recorded, Some(verdict), "the journal knows another verdict");
            assert_eq!(verdict, self.wanted_verdict(generation));
        }
    }

    fn wanted_verdict(&self, generation: GenerationId) -> Verdict {
        let terminate = Origin::Signal(Signal::Terminate);
        let mut terminated = false;
        let (mut standing, mut kept) = (BTreeMap::new(), None);
        for record in &self.journal.history {
            match record {
                // Whoever is revived keeps what the one before has ended for.
                Record::GenerationEnded { generation: before, report, .. } if before.next() == generation => {
                    kept = report.stop();
                }
                Record::RequestMade { request, made } if made.generation == generation => {
                    standing.insert(*request, made.wish);
                    terminated |= made.origin == terminate;
                }
                Record::RequestSettled { request, outcome } if *outcome != Outcome::Stopped => {
                    standing.remove(request);
                }
                _ => {}
            }
        }
        if let (true, Some((request, made))) = (standing.is_empty(), kept) {
            standing.insert(request, made.wish);
            terminated |= made.origin == terminate;
        }
        let wish = standing.values().copied().max().expect("it ends because somebody wished that");
        self.contract.verdict(wish, if terminated { terminate } else { Origin::Cli })
    }

    /// The journal tells one story, whichever way it is read, and nothing in it happens twice.
    pub(super) fn check_journal(&self) {
        assert_eq!(Recovered::from_unfinished(&self.journal.rows), self.journal.replayed, "rows and history differ");
        let batch = self.journal.last_batch();
        for record in batch {
            let once: &dyn Fn(&Record) -> bool = match record {
                Record::MessageAccepted { message, .. } => {
                    &move |other| matches!(other, Record::MessageAccepted { message: same, .. } if same == message)
                }
                Record::CommandDone { .. } | Record::GenerationBegun { .. } => &move |other| other == record,
                Record::TurnOpened { turn, messages, .. } => {
                    messages.iter().for_each(|message| self.check_turns_over(*message));
                    &move |other| matches!(other, Record::TurnOpened { turn: same, .. } if same == turn)
                }
                Record::QuestionAsked { turn, key, .. } => {
                    &move |other| matches!(other, Record::QuestionAsked { turn: by, key: of, .. } if (by, of) == (turn, key))
                }
                Record::QuestionDecided { question, .. } => {
                    &move |other| matches!(other, Record::QuestionDecided { question: of, .. } if of == question)
                }
                Record::TurnEnded { turn, .. } => {
                    &move |other| matches!(other, Record::TurnEnded { turn: same, .. } if same == turn)
                }
                Record::DeliveryOwed { content: Content::Reply { turn, .. }, .. } => {
                    &move |other| matches!(other, Record::DeliveryOwed { content: Content::Reply { turn: same, .. }, .. } if same == turn)
                }
                Record::DeliverySettled { delivery, .. } => {
                    &move |other| matches!(other, Record::DeliverySettled { delivery: same, .. } if same == delivery)
                }
                Record::RequestSettled { request, .. } => {
                    &move |other| matches!(other, Record::RequestSettled { request: same, .. } if same == request)
                }
                Record::TurnResumed { charged, .. } => {
                    assert!(*charged <= self.limits.attempts, "{record:?} beyond the limit");
                    continue;
                }
                _ => continue,
            };
            assert_eq!(self.journal.count(once), 1, "{record:?} is not the only one");
            if let Record::TurnEnded { turn, conclusion: Conclusion::Answered, .. } = record {
                let reply = |other: &Record| matches!(other, Record::DeliveryOwed { content: Content::Reply { turn: of, .. }, .. } if of == turn);
                assert!(batch.iter().any(reply), "{record:?} without its reply");
            }
        }
    }

    /// A message is given to a turn once, and once more each time that it was given back.
    fn check_turns_over(&self, message: MessageId) {
        let opened = self
            .journal
            .count(|record| matches!(record, Record::TurnOpened { messages, .. } if messages.contains(&message)));
        let returned = self.journal.count(
            |record| matches!(record, Record::MessageReturned { message: returned, .. } if *returned == message),
        );
        assert!(opened <= 1 + returned, "{opened} turns over {message}, which came back {returned} times");
    }

    /// What the gateway believes is what a successor would find, and an end that has begun comes to its end.
    pub(super) fn check_state(&self) {
        let gateway = self.up();
        let queued: usize = gateway.sessions().values().map(|session| session.queue.len()).sum();
        assert_eq!(gateway.queued(), queued, "the number of waiting messages");
        let on_disk = self.journal.unsynced.is_empty() && !gateway.journal_failing();
        match gateway.phase() {
            Phase::Serving if on_disk && gateway.pending() != Some(Pending::Journal) => {
                self.check_against_journal(gateway)
            }
            Phase::Draining | Phase::Interrupting | Phase::Closing => check_that_it_ends(gateway.clone()),
            _ => {}
        }
    }

    fn check_against_journal(&self, gateway: &Gateway) {
        let found = &self.journal.replayed;
        assert_eq!(*gateway.sessions(), *found.sessions, "sessions in memory and on disk");
        assert_eq!(*gateway.requests(), found.requests, "requests in memory and on disk");
        let turn = |(id, turn): (&TurnId, &Turn)| {
            (
                *id,
                turn.session,
                turn.messages.clone(),
                turn.conversation,
                turn.attempt,
                turn.stop,
                turn.granted,
                turn.told,
            )
        };
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (gateway.turns().iter().map(turn).collect(), found.turns.iter().map(turn).collect());
        assert_eq!(ours, theirs, "turns in memory and on disk");
        let ours = gateway.outbox().iter().map(|(id, owed)| (*id, (owed.session, owed.content.clone()))).collect();
        assert_eq!(found.deliveries, ours, "deliveries in memory and on disk");
        let uncertain =
            gateway.outbox().iter().map(|(id, owed)| (*id, owed.uncertain + u32::from(owed.state == Trying)));
        let uncertain: BTreeMap<_, _> = uncertain.filter(|(_, sends)| *sends > 0).collect();
        assert_eq!(found.uncertain, uncertain, "sends that may have arrived, in memory and on disk");
    }

    /// Whether everything that was promised was kept.
    pub fn check_at_rest(&self) {
        assert_eq!(self.up().pending(), None);
        for said in &self.said {
            assert!(said.acked, "{said:?} was never acked");
            self.check_answered(said);
        }
        for record in &self.journal.history {
            if let Record::RequestMade { request, made } = record {
                assert!(
                    self.settled.contains_key(request) || self.is_settled_on_disk(record),
                    "{record:?} has no outcome"
                );
                if let Some(session) = made.origin.session() {
                    let told =
                        |notice: &Notice| matches!(notice, Notice::RequestSettled { request: of, .. } if of == request);
                    let times = self.notices_in(session.0).iter().filter(|notice| told(notice)).count();
                    assert_eq!(times, 1, "how often {session} was told about {request}");
                }
            }
        }
        self.check_order_of_replies();
        self.check_cuts_told();
    }

    /// That a turn was cut is told in its chat, a few times at most, and each time that it goes on before it is cut again.
    fn check_cuts_told(&self) {
        let (mut owners, mut cuts) = (BTreeMap::new(), BTreeMap::<_, u32>::new());
        let (mut down, mut back) = (BTreeSet::new(), BTreeSet::new());
        for record in &self.journal.history {
            match record {
                Record::TurnOpened { turn, session, .. } => drop(owners.insert(*turn, *session)),
                Record::TurnResumed { turn, .. } if down.remove(turn) => drop(back.insert(*turn)),
                Record::DeliveryOwed { session, content: Content::Notice(Notice::TurnCut { turn, .. }), .. } => {
                    *cuts.entry(turn).or_default() += 1;
                    assert_eq!(owners.get(turn), Some(session), "{record:?} in a foreign chat");
                    assert!(down.insert(*turn) && !back.contains(turn), "{record:?} again");
                }
                Record::DeliveryOwed { session, content: Content::Notice(Notice::TurnBack { turn }), .. } => {
                    assert_eq!(owners.get(turn), Some(session), "{record:?} in a foreign chat");
                    assert!(back.remove(turn), "{record:?} and nobody waits for that word");
                }
                Record::TurnUnsaid { turn, told: Told::Nothing } => assert!(down.remove(turn), "{record:?}"),
                Record::TurnUnsaid { turn, told: Told::GoingDown } => assert!(down.insert(*turn), "{record:?}"),
                _ => {}
            }
        }
        assert_eq!(back, BTreeSet::new(), "these go on, and their chats wait for the word");
        assert!(cuts.values().all(|times| *times <= Limits::CUTS_TOLD), "{cuts:?}");
    }

    fn is_settled_on_disk(&self, made: &Record) -> bool {
        let Record::RequestMade { request, .. } = made else { return false };
        self.journal.has(|record| matches!(record, Record::RequestSettled { request: of, .. } if of == request))
    }

    fn check_answered(&self, said: &Said) {
        let message = said.message;
        if said.asked != Asked::Prompt {
            return assert!(
                self.journal.has(|record| *record == Record::CommandDone { message }),
                "{said:?} was not carried out"
            );
        }
        let concluded = self.journal.history.iter().rev().find_map(|record| match record {
            Record::TurnEnded { turn, messages, conclusion, .. } if messages.contains(&message) => {
                Some((*turn, *conclusion))
            }
            _ => None,
        });
        let (turn, conclusion) = concluded.unwrap_or_else(|| panic!("{said:?} got no turn to its end"));
        let replies = self.arrived.iter().filter(
            |arrival| matches!(&arrival.content, Content::Reply { messages, .. } if messages.contains(&message)),
        );
        let notices = self.notices_in(said.session.0);
        let reports = notices.iter().filter(|notice| match notice {
            Notice::TurnFailed { turn: of }
            | Notice::TurnStopped { turn: of }
            | Notice::Quarantined { turn: of, .. } => *of == turn,
            _ => false,
        });
        let answered = matches!(conclusion, Conclusion::Answered | Conclusion::Superseded);
        let wanted = if answered { (1..=1, 0) } else { (0..=1, 1) };
        let (replies, reports) = (replies.count(), reports.count());
        assert!(
            wanted.0.contains(&replies) && reports == wanted.1,
            "{said:?}, {conclusion:?}: {replies} replies, {reports} reports"
        );
    }

    fn check_order_of_replies(&self) {
        for session in self.said.iter().map(|said| said.session) {
            let answered: Vec<_> = self
                .arrived
                .iter()
                .filter(|arrival| arrival.session == session)
                .filter_map(|arrival| match &arrival.content {
                    Content::Reply { messages, .. } => messages.first(),
                    Content::Notice(_) => None,
                })
                .collect();
            assert!(answered.is_sorted(), "{session} was answered in the order {answered:?}");
        }
    }
}

/// However dead the disk and however deaf the agents: an end that is under way is over before its guard would strike.
fn check_that_it_ends(mut gateway: Gateway) {
    let mut guard = gateway.drain().expect("an end is under way").deadlines.self_kill;
    for _ in 0..50 {
        while gateway.poll().is_some() {}
        if gateway.phase() == Phase::Ended {
            return;
        }
        let at = gateway.poll_timeout().unwrap_or_else(|| panic!("nothing will ever end {gateway:#?}"));
        assert!(at <= guard, "the guard strikes before {at:?}: {gateway:#?}");
        gateway.handle(at, Input::Elapsed);
        // A supervisor that waits longer has the guard wait as well.
        guard = gateway.drain().map_or(guard, |drain| drain.deadlines.self_kill);
    }
    panic!("{gateway:#?} does not end");
}
