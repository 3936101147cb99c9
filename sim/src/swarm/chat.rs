//! People in chats and the platforms between them and the gateway: each message is delivered until it is acked, and
//! sometimes again; texts arrive, or do not, or do and nobody hears of it. What the chats have seen is judged at rest.

use super::fault::Fault;
use super::marks::Mark;
use super::queue::{Event, SendFate};
use super::world::World;
use evergate_core::effect::Refusal;
use evergate_core::id::{DeliveryId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Input, Standing};
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::outbox::{Content, Fate, Notice};
use evergate_core::question::Decision;
use evergate_core::turn::Conclusion;
use std::collections::BTreeMap;

/// After so many refusals somebody gives up. Nothing was promised about that message.
const PATIENCE: u8 = 6;

/// What somebody has said, as its platform and its chat see it.
#[derive(Debug)]
pub struct Said {
    /// Its entry in the plan.
    pub entry: u32,
    session: SessionId,
    asked: Asked,
    standing: Standing,
    /// What the gateway's driver calls it, as long as the driver knows it.
    id: Option<MessageId>,
    on_disk: bool,
    acked: bool,
    given_up: bool,
    refusals: u8,
    /// How its turn ended, or that its command was carried out.
    concluded: Option<Conclusion>,
    replies: u8,
    reports: u8,
}

/// All chats.
#[derive(Debug, Default)]
pub struct Chats {
    /// All that was said.
    pub said: Vec<Said>,
    /// What is neither acked nor given up.
    pub unacked: usize,
    /// Until when nothing can be sent.
    pub outage_until: u64,
    /// The number in `said` of each message, by its id.
    by_message: Vec<u32>,
    /// The same of all messages that a turn answers.
    by_turn: Vec<Vec<u32>>,
    /// The deliveries that came to their chat or never will.
    through: Vec<bool>,
    /// The message that was answered last, by session.
    answered: Vec<MessageId>,
    /// What blind platforms were handed and is not settled.
    blind: BTreeMap<DeliveryId, (SessionId, Content)>,
    /// Requests that chats made, and how often their outcome was told there.
    requests: BTreeMap<RequestId, u8>,
}

/// Puts something at an index of a list that grows as needed.
fn put<T: Clone + Default>(list: &mut Vec<T>, index: u64, what: T) {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    if list.len() <= index {
        list.resize(index + 1, T::default());
    }
    list[index] = what;
}

fn at<T: Copy + Default>(list: &[T], index: u64) -> T {
    usize::try_from(index).ok().and_then(|index| list.get(index)).copied().unwrap_or_default()
}

impl Chats {
    fn of_message(&mut self, message: MessageId) -> Option<&mut Said> {
        self.said.get_mut(at(&self.by_message, message.0) as usize)
    }

    /// How many messages have not been answered or given up.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.said.iter().filter(|said| said.concluded.is_none() && !said.given_up).count() as u64
    }

    /// The entry in the plan of a message.
    #[must_use]
    pub fn entry_of(&self, message: MessageId) -> u32 {
        self.said.get(at(&self.by_message, message.0) as usize).map_or(0, |said| said.entry)
    }

    /// The process is gone, and with it what it knew and had not written.
    pub fn process_ends(&mut self) {
        for said in self.said.iter_mut().filter(|said| !said.on_disk) {
            said.id = None;
        }
    }

    /// A message is on disk.
    pub fn accepted(&mut self, message: MessageId) {
        if let Some(said) = self.of_message(message) {
            said.on_disk = true;
        }
    }

    /// A turn over this message is on disk.
    pub fn turn_opened(&mut self, turn: TurnId, message: MessageId) {
        let said = at(&self.by_message, message.0);
        let index = usize::try_from(turn.0).unwrap_or(usize::MAX);
        if self.by_turn.len() <= index {
            self.by_turn.resize(index + 1, Vec::new());
        }
        self.by_turn[index].push(said);
    }

    /// A turn over this message has ended on disk, or its command is carried out.
    pub fn concluded(&mut self, message: MessageId, conclusion: Conclusion) {
        if let Some(said) = self.of_message(message) {
            said.concluded = Some(conclusion);
        }
    }

    /// A message waits again: its turn has ended without a word.
    pub fn returned(&mut self, message: MessageId) {
        if let Some(said) = self.of_message(message) {
            said.concluded = None;
        }
    }

    /// A request that came from a chat is on disk.
    pub fn asked(&mut self, request: RequestId) {
        self.requests.entry(request).or_insert(0);
    }

    /// A text came to its chat, or is known to never come: the first time counts. False if it was not the first.
    fn came_through(
        &mut self,
        checks: &mut Checks,
        delivery: DeliveryId,
        session: SessionId,
        content: &Content,
    ) -> bool {
        if at(&self.through, delivery.0) {
            return false;
        }
        put(&mut self.through, delivery.0, true);
        match content {
            Content::Reply { messages, .. } => {
                for message in messages {
                    let last = at(&self.answered, session.0);
                    checks.holds(Invariant::Reply, last < *message, || {
                        format!("in {session}, {message} is answered after {last}")
                    });
                    put(&mut self.answered, session.0, *message);
                    if let Some(said) = self.of_message(*message) {
                        said.replies = said.replies.saturating_add(1);
                    }
                }
            }
            Content::Notice(
                Notice::TurnFailed { turn } | Notice::TurnStopped { turn } | Notice::Quarantined { turn, .. },
            ) => {
                let over = usize::try_from(turn.0).ok().and_then(|turn| self.by_turn.get(turn));
                for number in over.into_iter().flatten() {
                    if let Some(said) = self.said.get_mut(*number as usize) {
                        said.reports = said.reports.saturating_add(1);
                    }
                }
            }
            Content::Notice(Notice::RequestSettled { request, .. }) => {
                *self.requests.entry(*request).or_insert(0) += 1;
            }
            Content::Notice(_) => {}
        }
        true
    }

    /// Whether everybody has what they were promised.
    pub fn at_rest(&self, checks: &mut Checks) {
        for said in self.said.iter().filter(|said| said.acked) {
            let Said { replies, reports, .. } = *said;
            let fits = match (said.asked, said.concluded) {
                (Asked::Prompt, Some(Conclusion::Answered | Conclusion::Superseded)) => (replies, reports) == (1, 0),
                (Asked::Prompt, Some(_)) => replies <= 1 && reports == 1,
                (Asked::Prompt, None) => false,
                (_, concluded) => concluded.is_some(),
            };
            checks.holds(Invariant::Ack, fits, || format!("not once answered or reported: {said:?}"));
        }
        let told = self.requests.iter().find(|(_, times)| **times != 1);
        checks.holds(Invariant::Notice, told.is_none(), || format!("not told once how it ended: {told:?}"));
    }
}

/// From people to the gateway.
impl World<'_> {
    pub(super) fn say(&mut self, entry: u32, session: u64, asked: Asked, standing: Standing) {
        self.chats.said.push(Said {
            entry,
            session: SessionId(session),
            asked,
            standing,
            id: None,
            on_disk: false,
            acked: false,
            given_up: false,
            refusals: 0,
            concluded: None,
            replies: 0,
            reports: 0,
        });
        self.chats.unacked += 1;
        let said = u32::try_from(self.chats.said.len() - 1).unwrap_or(u32::MAX);
        self.deliver(said);
    }

    /// A platform brings a message, perhaps not for the first time, and once more later if it is not acked.
    pub(super) fn deliver(&mut self, number: u32) {
        let Some(said) = self.chats.said.get(number as usize) else { return };
        if said.given_up {
            return;
        }
        if self.frozen.is_some() {
            return self.backlog.push_back(Event::Deliver { said: number });
        }
        if self.gateway.is_some() {
            let Said { session, asked, standing, .. } = *said;
            if let Some(message) = said.id {
                if said.acked && matches!(asked, Asked::Restart(_)) {
                    self.marks.hit(Mark::RestartRedelivered);
                }
                self.tell(Input::Known { message });
            } else {
                self.next_message = self.next_message.next();
                let message = self.next_message;
                put(&mut self.chats.by_message, message.0, number);
                self.chats.said[number as usize].id = Some(message);
                let request = self.new_request();
                self.tell(Input::Message { message, session, asked, standing, request });
            }
        }
        let said = &self.chats.said[number as usize];
        if !said.acked && !said.given_up {
            let patience = if self.healed { self.config.agent_ms } else { 0 };
            let again = self.now + patience + self.random.between(5_000, 30_000);
            self.queue.push(again, Event::Deliver { said: number });
        }
    }

    /// A platform delivers again what was acked.
    pub(super) fn deliver_again(&mut self, number: u64, restarts_only: bool) {
        let fits = |said: &Said| said.acked && (!restarts_only || matches!(said.asked, Asked::Restart(_)));
        let candidates = self.chats.said.iter().filter(|said| fits(said)).count() as u64;
        let Some(number) = number.checked_rem(candidates) else { return };
        let found = self.chats.said.iter().position({
            let mut left = number;
            move |said| {
                let is_it = fits(said) && left == 0;
                left = left.saturating_sub(u64::from(fits(said)));
                is_it
            }
        });
        if let Some(found) = found.and_then(|found| u32::try_from(found).ok()) {
            self.deliver(found);
        }
    }

    pub(super) fn acked(&mut self, message: MessageId) {
        let Some(said) = self.chats.of_message(message) else { return };
        if said.acked {
            return self.marks.hit(Mark::KnownAcked);
        }
        said.acked = true;
        self.chats.unacked -= 1;
    }

    pub(super) fn refused(&mut self, message: MessageId, refusal: Refusal) {
        match refusal {
            Refusal::StorageFull => self.marks.hit(Mark::RefusedStorage),
            Refusal::QueueFull | Refusal::SessionQueueFull | Refusal::TooManySessions => {
                self.marks.hit(Mark::RefusedQueue);
            }
            Refusal::Ending => self.marks.hit(Mark::RefusedEnding),
            Refusal::Starting => {}
        }
        let healed = self.healed;
        let Some(said) = self.chats.of_message(message) else { return };
        said.id = None;
        said.refusals = said.refusals.saturating_add(1);
        if said.refusals >= PATIENCE && !healed && !said.given_up {
            said.given_up = true;
            self.chats.unacked -= 1;
        }
    }
}

/// From the gateway to people.
impl World<'_> {
    /// Whether the platform of this chat cannot tell a repeat.
    pub(super) const fn is_blind(&self, session: SessionId) -> bool {
        matches!(session.0.checked_rem(self.config.blind_every), Some(0))
    }

    /// A blind platform says that it will send this.
    pub(super) fn intend(&mut self, delivery: DeliveryId, session: SessionId, content: Content) {
        self.chats.blind.insert(delivery, (session, content));
        let soon = self.now + self.random.below(20);
        let input = Input::DeliveryIntended { delivery };
        self.queue.push(soon, Event::Tell { life: self.life, input });
    }

    /// Somebody sees a question, and mostly answers it some time, with its number or without.
    fn sees_question(&mut self, session: SessionId, question: QuestionId) {
        if self.random.hits(700) {
            let decision = if self.random.hits(500) { Decision::Allow } else { Decision::Deny };
            let question = Some(question).filter(|_| self.random.hits(700));
            let later = self.now + self.random.spread(500, 200_000);
            self.queue.push(later, Event::Answers { session, asked: Asked::Decide { question, decision } });
        }
    }

    /// Somebody answers, who may or may not.
    pub(super) fn answers(&mut self, session: SessionId, asked: Asked) {
        let standing = if self.random.hits(500) { Standing::Operator } else { Standing::Guest };
        self.say(u32::MAX, session.0, asked, standing);
    }

    /// What became of a delivery is on disk. One that was given up counts as if it had come: nothing more will.
    pub(super) fn settled_on_disk(&mut self, delivery: DeliveryId, fate: Fate) {
        let sent = self.chats.blind.remove(&delivery);
        if let (Some((session, content)), Fate::Unknown) = (sent, fate) {
            self.marks.hit(Mark::GivenUp);
            self.chats.came_through(&mut self.checks, delivery, session, &content);
        }
    }

    pub(super) fn send(&mut self, delivery: DeliveryId, session: SessionId, content: Content) {
        let soon = self.random.between(1, self.config.send_ms);
        let (fate, takes) = if self.random.hits(self.rate(Fault::SendRejected)) {
            (SendFate::Rejected, soon)
        } else if self.now < self.chats.outage_until || self.random.hits(self.rate(Fault::SendFails)) {
            (SendFate::Fails, soon)
        } else if self.random.hits(self.rate(Fault::SendSilent)) {
            (if self.is_blind(session) { SendFate::Lost } else { SendFate::Fails }, 30_000)
        } else if self.random.hits(self.rate(Fault::SendUnheard)) {
            (SendFate::ArrivesUnheard, soon)
        } else {
            (SendFate::Arrives, soon)
        };
        self.queue.push(self.now + takes, Event::Sent { life: self.life, delivery, session, content, fate });
    }

    pub(super) fn sent(
        &mut self,
        life: u32,
        delivery: DeliveryId,
        session: SessionId,
        content: &Content,
        fate: SendFate,
    ) {
        // What a process that is gone was sending may still arrive.
        let alive = life == self.life;
        let arrives = matches!(fate, SendFate::Arrives | SendFate::ArrivesUnheard) && (alive || self.random.hits(500));
        if arrives {
            self.witness.arrived(&mut self.checks, delivery);
            if let Content::Notice(Notice::Asks { question, .. }) = content {
                self.sees_question(session, *question);
            }
            if !self.chats.came_through(&mut self.checks, delivery, session, content) {
                let blind = self.is_blind(session);
                self.marks.hit(if blind { Mark::ArrivedMarked } else { Mark::SentTwice });
            }
        }
        if !alive {
            return;
        }
        match fate {
            SendFate::Arrives => self.inform(Input::DeliverySent { delivery }),
            SendFate::Lost => self.inform(Input::DeliveryUnknown { delivery }),
            SendFate::ArrivesUnheard if self.is_blind(session) => self.inform(Input::DeliveryUnknown { delivery }),
            SendFate::ArrivesUnheard | SendFate::Fails => {
                self.marks.hit(Mark::SendRetried);
                self.inform(Input::DeliveryFailed { delivery });
            }
            SendFate::Rejected => {
                self.marks.hit(Mark::SendRejected);
                self.chats.came_through(&mut self.checks, delivery, session, content);
                self.inform(Input::DeliveryRejected { delivery });
            }
        }
    }
}
