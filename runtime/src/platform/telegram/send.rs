//! What chats are owed, on its way out, at the pace that the server allows. Chats do not wait for each other; what one chat
//! is owed, and what is shown of its running answer, goes one after the other.

use super::api::{Address, Api, Trouble};
use super::pace::Pace;
use super::parts::{Part, Slot, parts};
use super::show::{Show, Shown};
use super::{questions, split, update};
use crate::platform::{Chat, Outcome, Outgoing, Port, Repeat, Saying, Waits, missing};
use crate::watched::Watcher;
use evergate_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// The longest part of a text: what may have to be said about a repetition fits into the message, too.
pub const PART: usize = split::LONGEST - 64;
/// Stands before a text that may be there already.
const TWICE: &str = "(possibly sent twice)\n";
/// The first pause while the server cannot be reached; doubled up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long what is on its way may take when the gateway ends.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// How long the word that a message waits may wait itself, until its chat may be spoken to.
const WORD: Duration = Duration::from_secs(3);

/// What all sends share.
pub struct Desk {
    /// The server.
    pub api: Api,
    /// The bot's number there.
    bot: String,
    /// The gateway.
    pub port: Port,
    pace: Mutex<Pace>,
    over: Watcher<bool>,
}

/// The gateway ends before it was this one's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Over;

/// The sender of one generation.
pub struct Sender {
    desk: Arc<Desk>,
    tasks: JoinSet<Done>,
    /// Sessions with something on its way.
    busy: BTreeSet<String>,
    /// What came meanwhile.
    held: BTreeMap<String, Outgoing>,
    /// Running answers, by session.
    shows: BTreeMap<String, Show>,
}

/// What a task has done.
enum Done {
    /// Nothing that anybody waits for.
    Aside,
    /// A delivery is settled.
    Delivered { session: String },
    /// A running answer was shown.
    Shown { session: String, show: Show },
}

impl Sender {
    /// A sender that owes nobody anything; it stops when `over` says so.
    pub fn new(api: Api, bot: &str, port: Port, over: Watcher<bool>) -> Self {
        let desk = Arc::new(Desk { api, bot: bot.to_owned(), port, pace: Mutex::default(), over });
        let (tasks, busy, held, shows) = (JoinSet::new(), BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { desk, tasks, busy, held, shows }
    }

    /// Sends until it is over, and then gives back what could not be sent.
    pub async fn run(mut self) {
        let desk = Arc::clone(&self.desk);
        self.tasks.spawn(prepare(Arc::clone(&desk)));
        loop {
            let due = self.shows.values().map(Show::due).min();
            tokio::select! {
                biased;
                () = desk.over() => break,
                Some(done) = self.tasks.join_next() => self.done(done),
                outgoing = desk.port.outgoing() => self.deliver(outgoing),
                waits = desk.port.waits() => self.acknowledge(waits),
                stirred = desk.port.stirred() => stirred.iter().for_each(|session| self.stirred(session)),
                () = desk.at(due) => self.due(),
            }
        }
        for outgoing in std::mem::take(&mut self.held).into_values() {
            desk.port.settle(outgoing.delivery, Outcome::Failed).await;
        }
        let end = desk.port.environment().now() + LAST_MOMENT;
        loop {
            tokio::select! {
                biased;
                done = self.tasks.join_next() => if done.is_none() { return },
                () = desk.port.environment().sleep_until(end) => return,
            }
        }
    }

    /// Tells an author that a message waits.
    fn acknowledge(&mut self, waits: Waits) {
        let desk = Arc::clone(&self.desk);
        self.tasks.spawn(async move {
            let _over = desk.acknowledge(waits).await;
            Done::Aside
        });
    }

    fn done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let session = match done {
            Ok(Done::Aside) => return,
            Ok(Done::Delivered { session }) => session,
            Ok(Done::Shown { session, show }) => {
                self.shows.insert(session.clone(), show);
                session
            }
            // A mistake of ours: the adapter is started again.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return,
            },
        };
        self.busy.remove(&session);
        if let Some(outgoing) = self.held.remove(&session) {
            return self.deliver(outgoing);
        }
        // It may have ended, or another may have begun, while this was under way.
        self.stirred(&session);
    }

    fn deliver(&mut self, outgoing: Outgoing) {
        let session = outgoing.chat.session();
        if !self.busy.insert(session.clone()) {
            self.held.insert(session, outgoing);
            return;
        }
        let show = match outgoing.what {
            Saying::Reply { turn, .. } if self.shows.get(&session).is_some_and(|show| show.turn == turn) => {
                self.shows.remove(&session)
            }
            _ => None,
        };
        let desk = Arc::clone(&self.desk);
        self.tasks.spawn(async move {
            desk.bring(outgoing, show).await;
            Done::Delivered { session }
        });
    }

    /// The answer that runs in a session has begun, changed or ended.
    fn stirred(&mut self, session: &str) {
        let running = self.desk.port.said(session);
        let known = self.shows.get(session).map(|show| show.turn);
        match running {
            None if !self.busy.contains(session) => drop(self.shows.remove(session)),
            Some((turn, text)) if known == Some(turn) => self.heard(session, &text),
            Some((turn, text)) if !self.busy.contains(session) => {
                if let Some(show) = Show::begin(&self.desk, session, turn) {
                    self.shows.insert(session.to_owned(), show);
                    self.heard(session, &text);
                }
            }
            _ => {}
        }
    }

    fn heard(&mut self, session: &str, text: &str) {
        let now = self.desk.port.environment().now();
        if let Some(show) = self.shows.get_mut(session) {
            show.heard(now, text);
        }
    }

    /// Shows what is due.
    fn due(&mut self) {
        let now = self.desk.port.environment().now();
        let due: Vec<_> =
            self.shows.iter().filter(|(_, show)| show.due() <= now).map(|(name, _)| name.clone()).collect();
        for session in due {
            let Some(mut show) = self.shows.remove(&session) else { continue };
            let Some((_, text)) = self.desk.port.said(&session).filter(|(turn, _)| *turn == show.turn) else {
                continue;
            };
            let desk = Arc::clone(&self.desk);
            if let Some(to) = show.typing(now) {
                let desk = Arc::clone(&desk);
                self.tasks.spawn(async move {
                    let _courtesy = desk.api.typing(to).await;
                    Done::Aside
                });
            }
            if !show.wants(now, &text) {
                self.shows.insert(session, show);
                continue;
            }
            self.busy.insert(session.clone());
            self.tasks.spawn(async move {
                show.advance(&desk, &text).await;
                Done::Shown { session, show }
            });
        }
    }
}

/// Forgets what nobody needs any more, and tells the server which commands there are, unless it knows.
async fn prepare(desk: Arc<Desk>) -> Done {
    desk.port.forget_settled().await;
    let key = format!("commands.{}", desk.bot);
    let known = super::COMMANDS.map(|(name, does)| format!("{name} {does}")).join("\n");
    if !matches!(desk.port.kept(&key).await, Ok(Some(kept)) if kept == known) {
        match desk.api.set_commands(&super::COMMANDS).await {
            Ok(()) => drop(desk.port.keep([(key, Some(known))]).await),
            Err(trouble) => {
                tracing::warn!(platform = super::NAME, %trouble, "the commands could not be registered; the next start tries again")
            }
        }
    }
    Done::Aside
}

impl Desk {
    /// Takes the right to say something in this chat now; otherwise gives the time to ask again.
    pub fn take(&self, chat: i64) -> Result<(), Instant> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).take(chat, self.port.environment().now())
    }

    /// The server wants to be left alone.
    pub fn hold(&self, chat: i64, length: Duration) {
        let now = self.port.environment().now();
        tracing::warn!(
            platform = super::NAME,
            chat,
            seconds = length.as_secs(),
            "the server asks for quiet in this chat"
        );
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).hold(chat, now, length);
    }

    /// Ends at that time; never when there is none.
    async fn at(&self, time: Option<Instant>) {
        match time {
            Some(time) => self.port.environment().sleep_until(time).await,
            None => std::future::pending().await,
        }
    }

    async fn over(&self) {
        let mut over = self.over.clone();
        while !over.now() && over.changed().await.is_some() {}
    }

    async fn pause(&self, until: Instant) -> Result<(), Over> {
        tokio::select! {
            biased;
            () = self.over() => Err(Over),
            () = self.port.environment().sleep_until(until) => Ok(()),
        }
    }

    async fn turn(&self, chat: i64) -> Result<(), Over> {
        while let Err(at) = self.take(chat) {
            self.pause(at).await?;
        }
        Ok(())
    }

    /// Says that a message waits, while that is so and the chat may soon be spoken to.
    async fn acknowledge(&self, waits: Waits) -> Result<(), Over> {
        let Some(to) = place(&waits.chat) else { return Ok(()) };
        let latest = self.port.environment().now() + WORD;
        while self.port.still_waits(&waits) {
            match self.take(to.chat) {
                Ok(()) => {
                    self.tell(Address { reply_to: update::message_of(&waits.native), ..to }, waits.words).await;
                    break;
                }
                Err(at) if at > latest => break,
                Err(at) => self.pause(at).await?,
            }
        }
        Ok(())
    }

    /// Says something that nobody is owed.
    async fn tell(&self, to: Address, words: &str) {
        match self.api.send(to, words).await {
            Ok(_) => {}
            Err(Trouble::SlowDown(length)) => self.hold(to.chat, length),
            Err(trouble) => {
                tracing::debug!(platform = super::NAME, chat = to.chat, %trouble, "that a message waits could not be said");
            }
        }
    }

    /// Brings one delivery to its chat and says what became of it.
    async fn bring(&self, outgoing: Outgoing, show: Option<Show>) {
        let row = Shown::row(&outgoing);
        let shown = match show.and_then(Show::into_shown) {
            Some(shown) => shown,
            None => Shown::kept(&self.port, &row).await,
        };
        let had = !shown.is_nothing();
        let mut letter = Letter { desk: self, outgoing: &outgoing, row: &row, shown, kept_more: false };
        let outcome = letter.send().await.unwrap_or(Outcome::Failed);
        let message = letter.shown.ids.last().copied().filter(|_| outcome == Outcome::Sent);
        let mut rows: Vec<_> = (had || letter.kept_more).then_some(row).into_iter().collect();
        if let Saying::Notice { turn: Some(turn) } = outgoing.what {
            // What was shown of an answer that never came stays as it is.
            let row = Shown::row_of_turn(turn);
            if !matches!(self.port.kept(&row).await, Ok(None)) {
                rows.push(row);
            }
        }
        let over = matches!(outcome, Outcome::Sent | Outcome::Rejected { .. });
        self.port.settle(outgoing.delivery, outcome).await;
        questions::note(&self.api, &self.port, &outgoing, message).await;
        // In the same commit as the end of the delivery, or a later one.
        if over
            && !rows.is_empty()
            && let Err(why) = self.port.keep(rows.into_iter().map(|row| (row, None))).await
        {
            tracing::debug!(platform = super::NAME, why, "a row that nobody needs any more stays");
        }
    }
}

/// One delivery on its way.
struct Letter<'a> {
    desk: &'a Desk,
    outgoing: &'a Outgoing,
    row: &'a str,
    /// The messages that it has become so far.
    shown: Shown,
    kept_more: bool,
}

/// What one call came to.
enum Step {
    /// The part is there.
    Done,
    /// It is worth the same call again.
    Again,
    /// This is the end of the delivery for now.
    End(Outcome),
}

impl Letter<'_> {
    async fn send(&mut self) -> Result<Outcome, Over> {
        let Some(to) = address(&self.outgoing.chat, &self.outgoing.what) else {
            return Ok(Outcome::Rejected { why: "its chat has no number".into() });
        };
        let parts = parts(self.outgoing);
        let mut unsure = self.outgoing.repeat == Repeat::Possible;
        for (number, (slot, part)) in parts.iter().enumerate() {
            let to = if number == 0 { to } else { Address { reply_to: None, ..to } };
            if let Some(outcome) = self.bring(to, *slot, part, &mut unsure).await? {
                return Ok(outcome);
            }
            if number + 1 < parts.len() && !self.keep().await {
                return Ok(Outcome::Unknown);
            }
        }
        let texts = parts.iter().filter(|(slot, _)| matches!(slot, Slot::Text(_))).count();
        for id in self.shown.ids.split_off(texts.min(self.shown.ids.len())) {
            self.desk.api.delete(to.chat, id).await;
        }
        Ok(Outcome::Sent)
    }

    /// Brings one part, however often that takes; an outcome ends the delivery.
    async fn bring(
        &mut self,
        to: Address,
        slot: Slot,
        part: &Part,
        unsure: &mut bool,
    ) -> Result<Option<Outcome>, Over> {
        let mut pause = PAUSE;
        // A file that the server does not take becomes a line in its place.
        let mut instead = None;
        loop {
            let known = self.shown.id(slot);
            if known.is_some() && matches!(slot, Slot::File(_)) {
                return Ok(None);
            }
            self.desk.turn(to.chat).await?;
            let twice = if *unsure { TWICE } else { "" };
            let result = match (instead.as_ref().unwrap_or(part), known) {
                (Part::Text(text), Some(id)) => self.desk.api.edit(to.chat, id, text).await.map(|()| id),
                (Part::Text(text), None) => {
                    let buttons = questions::buttons(&self.outgoing.what);
                    self.desk.api.send_with(to, &format!("{twice}{text}"), &buttons).await
                }
                (Part::File(file, size), _) => self.desk.api.send_file(to, file, *size, twice.trim_end()).await,
            };
            if let (Part::File(file, _), Err(Trouble::Refused { why }), None) = (part, &result, &instead)
                && !ends_the_chat(why)
            {
                tracing::warn!(platform = super::NAME, delivery = self.outgoing.delivery, why, "a file is not taken");
                instead = Some(Part::Text(missing(file, "the server does not take it")));
                continue;
            }
            match self.judge(result, slot, known, &mut pause).await? {
                // What may be there already is the first part of which no id is known.
                Step::Done => {
                    *unsure &= known.is_some();
                    return Ok(None);
                }
                Step::Again => {}
                Step::End(outcome) => return Ok(Some(outcome)),
            }
        }
    }

    async fn judge(
        &mut self,
        result: Result<i64, Trouble>,
        slot: Slot,
        known: Option<i64>,
        pause: &mut Duration,
    ) -> Result<Step, Over> {
        let environment = self.desk.port.environment();
        Ok(match result {
            Ok(id) => {
                if known.is_none() {
                    self.shown.add(slot, id);
                }
                Step::Done
            }
            Err(Trouble::SlowDown(length)) => {
                self.desk.hold(self.outgoing.chat.chat.parse().unwrap_or_default(), length);
                Step::Again
            }
            Err(Trouble::NotDone(why)) => {
                tracing::debug!(platform = super::NAME, why, "a delivery waits for the server");
                self.desk.pause(environment.now() + *pause).await?;
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                Step::Again
            }
            // A change made twice is one change.
            Err(Trouble::Unknown(_) | Trouble::Garbled(_)) if known.is_some() => {
                self.desk.pause(environment.now() + *pause).await?;
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                Step::Again
            }
            Err(Trouble::Refused { why }) if known.is_some() && gone(&why) => {
                self.shown.forget_from(slot);
                Step::Again
            }
            Err(Trouble::Garbled(why)) => {
                tracing::warn!(platform = super::NAME, why, "a message was taken, and its number cannot be read");
                self.shown.add(slot, 0);
                Step::Done
            }
            Err(Trouble::Refused { why }) => Step::End(Outcome::Rejected { why }),
            Err(Trouble::Unauthorized | Trouble::Conflict { .. }) => Step::End(Outcome::Failed),
            Err(Trouble::Unknown(why)) => {
                tracing::warn!(
                    platform = super::NAME,
                    delivery = self.outgoing.delivery,
                    why,
                    "whether a message has arrived cannot be known"
                );
                Step::End(Outcome::Unknown)
            }
        })
    }

    /// Writes down how far it has come; without that the parts that are there would come again.
    async fn keep(&mut self) -> bool {
        self.kept_more = true;
        let row = (self.row.to_owned(), Some(self.shown.text()));
        self.desk.port.keep([row]).await.is_ok()
    }
}

/// Whether the server means that the message itself is no more, or cannot be changed any more.
pub fn gone(why: &str) -> bool {
    why.contains("message to edit not found") || why.contains("message can't be edited")
}

/// Whether the server means that nothing arrives in this chat any more, rather than that it dislikes what is sent.
fn ends_the_chat(why: &str) -> bool {
    ["Forbidden", "chat not found", "deactivated", "kicked", "not enough rights"]
        .iter()
        .any(|words| why.contains(words))
}

/// Where a delivery goes; `None` when the session is no chat of this server.
fn address(chat: &Chat, what: &Saying) -> Option<Address> {
    let reply_to = match what {
        Saying::Reply { to, .. } => to.iter().rev().find_map(|native| update::message_of(native)),
        Saying::Notice { .. } | Saying::Question { .. } | Saying::Ruled { .. } => None,
    };
    place(chat).map(|to| Address { reply_to, ..to })
}

/// A chat as the server calls it.
pub fn place(chat: &Chat) -> Option<Address> {
    let number = chat.chat.parse().ok()?;
    let thread = chat.thread.as_ref().map(|thread| thread.parse()).transpose().ok()?;
    Some(Address { chat: number, thread, reply_to: None })
}
