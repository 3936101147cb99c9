//! All that an adapter has of the gateway. It may be cloned; every clone is the same port.

use super::switchboard::Line;
use super::waiting::Waits;
use super::{Attachment, Chat, Health, Outbound, Outcome, Outgoing};
use crate::driver::Platforms;
use crate::driver::handle::{Call, Handle, MessageAnswer, NewMessage, Unavailable};
use crate::environment::{Environment, Listener};
use crate::journal::{Journal, JournalError, Rows};
use crate::watched::Watcher;
use evergate_core::effect::{Place, Refusal};
use evergate_core::id::DeliveryId;
use evergate_core::input::Standing;
use evergate_core::outbox::Content;
use evergate_core::record::{Record, Subject, Unfinished};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the driver may take to write facts.
const PATIENCE: Duration = Duration::from_secs(20);

/// An adapter's way to the gateway.
#[derive(Clone)]
pub struct Port {
    line: Arc<Line>,
    handle: Handle,
    environment: Arc<dyn Environment>,
    closing: Watcher<Platforms>,
    state_dir: PathBuf,
}

/// A message on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Where it was said.
    pub chat: Chat,
    /// The platform's own id of it, unique in its chat: what comes again under the same id does nothing.
    pub native: String,
    /// The text.
    pub text: String,
    /// Who said it, for people.
    pub from: String,
    /// What its author may do.
    pub standing: Standing,
    /// The files that came with it.
    pub attachments: Vec<Attachment>,
}

/// A message that is on disk. The platform may forget it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What happens to it.
    pub place: Place,
    /// Whether it was there before.
    pub again: bool,
}

/// A message of which nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The gateway takes nothing at the moment: hand in the same message again after a pause. The cursor stays where it is.
    Later,
    /// Too much waits in this chat. Its author should be told; the cursor may go on.
    ChatFull,
    /// The text is too long. Its author should be told; the cursor may go on.
    TooLong,
    /// This generation takes nothing more. The next one will be handed it again.
    Over,
}

impl Port {
    /// The port of one platform.
    #[must_use]
    pub(super) fn new(
        line: Arc<Line>,
        handle: Handle,
        environment: Arc<dyn Environment>,
        closing: Watcher<Platforms>,
        state_dir: PathBuf,
    ) -> Self {
        Self { line, handle, environment, closing, state_dir }
    }

    /// Hands in a message; returns when it is on disk.
    pub async fn accept(&self, inbound: Inbound) -> Result<Accepted, Refused> {
        if inbound.text.len() > NewMessage::LONGEST {
            return Err(Refused::TooLong);
        }
        let Inbound { chat, native, text, from, standing, attachments } = inbound;
        let session = chat.session();
        let message = NewMessage { session, native: Some(native.clone()), text, from, standing, attachments };
        match self.handle.say(message).await {
            Ok(MessageAnswer::Accepted { place, again, .. }) => {
                self.progress();
                let running = (!again).then(|| self.running(&chat.session()));
                if running.is_some_and(|turn| self.line.account().acknowledged.note(chat, native, place, turn)) {
                    self.line.waits.notify_one();
                }
                Ok(Accepted { place, again })
            }
            Ok(MessageAnswer::Refused(Refusal::SessionQueueFull)) => Err(Refused::ChatFull),
            Ok(MessageAnswer::Refused(Refusal::Ending)) | Err(Unavailable::Over) => Err(Refused::Over),
            Ok(MessageAnswer::Refused(_)) | Err(Unavailable::Busy | Unavailable::Stuck) => Err(Refused::Later),
        }
    }

    /// The next delivery to send, in the order in which they are owed. Each has to be settled.
    pub async fn outgoing(&self) -> Outgoing {
        let mut waiting = self.line.waiting.lock().await;
        match waiting.recv().await {
            Some(outgoing) => {
                self.line.account().in_hand.insert(outgoing.delivery, outgoing.chat.session());
                outgoing
            }
            // The sender is a part of the line, which this port holds.
            None => std::future::pending().await,
        }
    }

    /// Says what became of a delivery.
    pub async fn settle(&self, delivery: u64, outcome: Outcome) {
        if self.line.note_outcome(delivery, &outcome, self.environment.now()).is_none() {
            return tracing::debug!(platform = self.line.name, delivery, "this delivery was settled before");
        }
        if let Outcome::Rejected { why } = &outcome {
            tracing::warn!(
                platform = self.line.name,
                delivery,
                why,
                "a delivery was refused by its platform and is given up"
            );
        }
        self.progress();
        let call = Call::Delivery { delivery: DeliveryId(delivery), outcome };
        if self.handle.calls.send(call).await.is_err() {
            tracing::debug!(
                platform = self.line.name,
                delivery,
                "the driver is gone; the next one looks after this delivery"
            );
        }
    }

    /// Gives back what was taken and is not settled: on a platform that can tell a repetition it is handed out again; on a
    /// blind one nobody knows whether it has arrived.
    pub async fn give_back(&self) {
        let in_hand: Vec<u64> = self.line.account().in_hand.keys().copied().collect();
        for delivery in in_hand {
            let outcome = match self.line.capabilities.outbound {
                // What is kept is never handed out.
                Outbound::Idempotent | Outbound::Kept => Outcome::Failed,
                Outbound::Blind => Outcome::Unknown,
            };
            self.settle(delivery, outcome).await;
        }
    }

    /// The next message whose author should be told that it waits, and what for.
    pub async fn waits(&self) -> Waits {
        loop {
            let more = self.line.waits.notified();
            let waits = self.line.account().acknowledged.take();
            match waits {
                Some(waits) => return waits,
                None => more.await,
            }
        }
    }

    /// Whether it is still true that this message waits, as far as can be seen: the same turn runs as when it came, and answers
    /// something else.
    #[must_use]
    pub fn still_waits(&self, waits: &Waits) -> bool {
        let session = waits.chat.session();
        self.running(&session) == waits.behind && self.answered(&session).as_ref() != Some(&waits.native)
    }

    fn running(&self, session: &str) -> Option<u64> {
        self.handle.hub.said(session).map(|(turn, _)| turn)
    }

    /// The chats whose running answer has begun, changed or ended since the last call.
    pub async fn stirred(&self) -> BTreeSet<String> {
        loop {
            let news = self.line.news.notified();
            let stirred = std::mem::take(&mut self.line.account().stirred);
            if !stirred.is_empty() {
                return stirred;
            }
            news.await;
        }
    }

    /// The same, without waiting: none is news, too.
    #[must_use]
    pub fn stirred_now(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.line.account().stirred)
    }

    /// What the running answer in a session says so far: its turn, and its text, empty while the agent thinks. `None` when
    /// nothing runs there.
    #[must_use]
    pub fn said(&self, session: &str) -> Option<(u64, String)> {
        self.handle.hub.said(session)
    }

    /// The platform's id of the last message that the running turn of a session answers.
    #[must_use]
    pub fn answered(&self, session: &str) -> Option<String> {
        self.handle.hub.answered(session)
    }

    /// Writes facts of the adapter's own, each by its key; `None` removes one. Returns when they are on disk; an error says why
    /// they are not.
    pub async fn keep(&self, rows: impl IntoIterator<Item = (String, Option<String>)>) -> Result<(), String> {
        let scope = self.scope();
        let rows: Rows = rows.into_iter().map(|(key, value)| ((scope.clone(), key), value)).collect();
        match self.handle.call(PATIENCE, |answer| Call::Keep { rows, answer }).await {
            Ok(kept) => kept,
            Err(Unavailable::Over) => Err("this generation is over".into()),
            Err(Unavailable::Busy | Unavailable::Stuck) => Err("the gateway is busy".into()),
        }
    }

    /// A fact of the adapter's own.
    pub async fn kept(&self, key: &str) -> Result<Option<String>, JournalError> {
        let (scope, key) = (self.scope(), key.to_owned());
        self.handle.reader.read(move |journal| journal.row(&scope, &key)).await
    }

    /// All facts of the adapter's own.
    pub async fn all_kept(&self) -> Result<BTreeMap<String, String>, JournalError> {
        let scope = self.scope();
        self.handle.reader.read(move |journal| journal.rows(&scope)).await
    }

    /// Removes what is kept under `turn.N` and `delivery.N` of turns and deliveries that are settled, however they ended. An
    /// adapter does this when it begins; what it sees ending it forgets by itself.
    pub async fn forget_settled(&self) {
        // The rows first: what is kept of something that begins meanwhile is not looked at.
        let scope = self.scope();
        let rows = move |journal: &dyn Journal| Ok((journal.rows(&scope)?, open(&journal.unfinished()?)));
        let settled: Vec<_> = match self.handle.reader.read(rows).await {
            Ok((rows, open)) => {
                rows.into_keys().filter(|key| subject(key).is_some_and(|of| !open.contains(&of))).collect()
            }
            Err(error) => {
                return tracing::warn!(platform = self.line.name, %error, "what is kept of settled turns stays for now");
            }
        };
        if !settled.is_empty()
            && let Err(why) = self.keep(settled.into_iter().map(|key| (key, None))).await
        {
            tracing::debug!(platform = self.line.name, why, "what is kept of settled turns stays for now");
        }
    }

    fn scope(&self) -> String {
        format!("platform.{}", self.line.name)
    }

    /// Says how the platform is doing. What is new is logged, and `status` shows it.
    pub fn health(&self, health: Health) {
        let now = self.environment.now();
        let until = match &health {
            Health::Waiting { until, .. } => *until,
            _ => now,
        };
        {
            let attempt = &mut self.line.account().attempt;
            attempt.got_on(now);
            attempt.waits(until);
        }
        self.line.set_health(health, self.environment.unix_ms());
    }

    /// The adapter got somewhere: an exchange with its server is over, however it ended. One that gets nowhere for minutes
    /// hangs and is started again.
    pub fn progress(&self) {
        self.line.account().attempt.got_on(self.environment.now());
    }

    /// Ends when nothing more is to be received.
    pub async fn closing(&self) {
        let mut closing = self.closing.clone();
        while closing.now() == Platforms::Open && closing.changed().await.is_some() {}
    }

    /// Serves HTTP to whoever comes, until nothing more is to be received; each may finish the answer that it is getting.
    pub async fn serve(&self, listener: Box<dyn Listener>, router: axum::Router) {
        crate::local::serve(listener, router, self.closing.clone(), Arc::clone(&self.handle.metrics)).await;
    }

    /// The world: time, and connections to servers.
    #[must_use]
    pub fn environment(&self) -> &Arc<dyn Environment> {
        &self.environment
    }

    /// The state directory, absolute; files that come with messages go below it.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Turn(u64),
    Delivery(u64),
}

fn subject(key: &str) -> Option<About> {
    match key.split_once('.')? {
        ("turn", number) => Some(About::Turn(number.parse().ok()?)),
        ("delivery", number) => Some(About::Delivery(number.parse().ok()?)),
        _ => None,
    }
}

/// What is not settled yet: deliveries that are owed, and turns that are to end, or whose answer is owed.
fn open(unfinished: &Unfinished) -> BTreeSet<About> {
    let mut open = BTreeSet::new();
    for ((subject, _), record) in &unfinished.rows {
        match subject {
            Subject::Turn(turn) => drop(open.insert(About::Turn(turn.0))),
            Subject::Delivery(delivery) => {
                open.insert(About::Delivery(delivery.0));
                if let Record::DeliveryOwed { content: Content::Reply { turn, .. }, .. } = record {
                    open.insert(About::Turn(turn.0));
                }
            }
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergate_core::id::{MessageId, SessionId, TurnId};
    use evergate_core::turn::Conclusion;

    #[test]
    fn what_is_kept_of_a_turn_counts_until_its_answer_is_settled() {
        let (turn, session, messages) = (TurnId(7), SessionId(1), vec![MessageId(3)]);
        let content = Content::Reply { turn, messages: messages.clone() };
        let steps = [
            (Record::TurnOpened { turn, session, messages: messages.clone(), conversation: 1 }, vec![About::Turn(7)]),
            (
                Record::DeliveryOwed { delivery: DeliveryId(9), session, content },
                vec![About::Turn(7), About::Delivery(9)],
            ),
            (
                Record::TurnEnded { turn, session, messages, attempt: 1, conclusion: Conclusion::Answered },
                vec![About::Turn(7), About::Delivery(9)],
            ),
            (Record::DeliverySettled { delivery: DeliveryId(9), fate: evergate_core::outbox::Fate::Sent }, vec![]),
        ];
        let mut unfinished = Unfinished::default();
        for (record, expected) in steps {
            unfinished.absorb(&record);
            assert_eq!(open(&unfinished).into_iter().collect::<Vec<_>>(), expected, "after {record:?}");
        }
    }

    #[test]
    fn rows_of_other_kinds_are_about_nothing_that_ends() {
        assert_eq!(subject("turn.12"), Some(About::Turn(12)));
        assert_eq!(subject("delivery.3"), Some(About::Delivery(3)));
        for key in ["since", "turn", "turn.x", "bot.12", "turn.1.2", ""] {
            assert_eq!(subject(key), None, "{key}");
        }
    }
}
