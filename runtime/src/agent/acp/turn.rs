//! One turn of an agent that speaks the protocol: a loop over `next` (the one thing to happen next) and `handle` (what it
//! changes) from the prompt to the agent's answer to it. It owns what is said in the turn; how long an interrupted agent may
//! take is the driver's business.

use super::errands::{Answer, Errands, Room};
use super::handout::Handout;
use super::inbox::Heard;
use super::keeper::Line;
use super::memory::{Conversation, Memory};
use super::opening::{Doubt, Opening, Session, Unopened};
use super::process::{By, Gone, Unanswered};
use super::question::{Asked, Questions};
use super::wire::{self, Refused, Stopped};
use super::{Permission, Settings};
use crate::agent::printed::Reply;
use crate::agent::teller::{NobodyListens, Teller};
use crate::agent::{Assignment, End, Report, Wish};
use crate::files::Handed;
use evergate_core::question::Decision;
use serde_json::Value;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// How often a turn is begun again because its process was ended for another turn's sake, or was dying when it was reached.
const SECOND_CHANCES: u32 = 1;
/// How long an agent may take that was told to stop because of what it did.
const CANCEL_GRACE: Duration = Duration::from_secs(5);
/// How long what is left of a turn that is to be killed may take to go.
const GOING: Duration = Duration::from_secs(2);

/// A turn.
pub(super) struct Turn {
    settings: Arc<Settings>,
    memory: Arc<dyn Memory>,
    line: Option<Line>,
    conversation: Conversation,
    assignment: Assignment,
    questions: Questions,
    teller: Teller,
    reply: Reply,
    handout: Handout,
    room: Room,
}

/// A turn in a session: what goes on between the prompt and the answer to it.
struct Talk<'a> {
    turn: &'a mut Turn,
    line: Line,
    session: Session,
    errands: Errands,
    answer: oneshot::Receiver<Result<Value, Unanswered>>,
    /// When the agent was last heard, or last could not be because nobody listened.
    heard_at: Instant,
    /// Whether there was a step since the last words.
    between: Between,
    cut: Option<Cut>,
    /// When an agent that was cut short by us is ended by force.
    kill_at: Option<Instant>,
}

/// What stands before the next words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Nothing,
    Steps,
}

/// Why the agent was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Wished,
    Silent,
    TooLong,
}

/// The one thing to happen next.
enum Event {
    Wished,
    NobodyWishes,
    Slot(Option<OwnedPermit<Report>>),
    Answered(Result<Value, Unanswered>),
    Said,
    Decided(Asked, Option<Decision>),
    Done(Vec<Answer>),
    Kept,
    Silent,
    Late,
}

/// How a session was left.
enum Left {
    Ended(End),
    /// The process is gone, for no fault of this turn: it may be begun again.
    Swept(Gone),
    /// The agent did not know the session.
    Lost(super::keeper::Reached),
}

impl Turn {
    /// A turn that has not begun.
    pub(super) fn new(
        settings: Arc<Settings>,
        memory: Arc<dyn Memory>,
        line: Option<Line>,
        assignment: Assignment,
        questions: Questions,
        reports: mpsc::Sender<Report>,
        room: Room,
    ) -> Self {
        let conversation = Conversation { session: assignment.session.clone(), number: assignment.conversation };
        let (teller, reply) =
            (Teller::new(assignment.turn, reports), Reply::new(settings.max_reply_bytes).continuing(&assignment.said));
        let handout = Handout::new(assignment.state_dir.clone(), assignment.turn);
        Self { settings, memory, line, conversation, assignment, questions, teller, reply, handout, room }
    }

    /// Plays the turn to its end.
    pub(super) async fn play(&mut self, mut wish: watch::Receiver<Wish>) -> End {
        let mut chances = SECOND_CHANCES;
        let mut lost = None;
        loop {
            let opened = tokio::select! {
                biased;
                () = wished(&mut wish) => return End::Interrupted { partial: self.said() },
                opened = self.open(lost.take()) => opened,
            };
            let left = match opened {
                Ok((line, session)) => self.talk(line, session, &mut wish).await,
                Err(Unopened::Gone(gone)) => Left::Swept(gone),
                Err(Unopened::Refused(why)) => return self.failed(why),
            };
            match left {
                Left::Ended(end) => return end,
                Left::Swept(_) if chances > 0 => chances -= 1,
                Left::Swept(gone) => return self.failed(gone.why),
                Left::Lost(peer) => lost = Some(peer),
            }
        }
    }

    /// The files that go with its answer.
    pub(super) async fn handed(&mut self) -> Handed {
        self.handout.take(self.settings.max_file_bytes).await
    }

    /// Nothing of it is left on the disk. The keeper does not wait for that.
    pub(super) async fn clear(self) {
        let Self { handout, line, .. } = self;
        drop(line);
        handout.clear().await;
    }

    async fn open(&mut self, lost: Option<super::keeper::Reached>) -> Result<(Line, Session), Unopened> {
        let Some(line) = self.line.clone() else {
            return Err(Unopened::Refused(
                "the gateway's part that keeps the agent is not there; restart the gateway".into(),
            ));
        };
        let opening = Opening {
            settings: &self.settings,
            memory: &*self.memory,
            line: &line,
            assignment: &self.assignment,
            conversation: &self.conversation,
            said: self.reply.text(),
        };
        let session = match lost {
            Some(peer) => opening.fresh(peer).await?,
            None => opening.open().await?,
        };
        Ok((line, session))
    }

    async fn talk(&mut self, line: Line, session: Session, wish: &mut watch::Receiver<Wish>) -> Left {
        if let Some(more) = session.said.strip_prefix(self.reply.text()) {
            self.reply.hear(more.as_bytes());
        }
        self.questions.begin_anew();
        let params = wire::prompt(&session.id, &session.prompt);
        let answer = line.begin_call(&session.peer, "session/prompt", params).await;
        let errands = Errands::new(&self.assignment, self.settings.cwd.clone(), &self.settings.env, self.room.clone());
        let talk = Talk {
            turn: self,
            line,
            session,
            errands,
            answer,
            heard_at: Instant::now(),
            between: Between::Nothing,
            cut: None,
            kill_at: None,
        };
        talk.go_on(wish).await
    }

    fn failed(&mut self, why: String) -> End {
        End::Failed { why, partial: self.said() }
    }

    /// What it has said, once it says no more.
    fn said(&mut self) -> String {
        std::mem::replace(&mut self.reply, Reply::new(0)).into_text()
    }
}

impl Talk<'_> {
    async fn go_on(mut self, wish: &mut watch::Receiver<Wish>) -> Left {
        let mut is_wished_for = true;
        loop {
            self.turn.teller.queue(&self.turn.reply);
            match self.next(wish, is_wished_for).await {
                Event::Wished => {
                    let wish = *wish.borrow_and_update();
                    self.obey(wish).await;
                }
                Event::NobodyWishes => is_wished_for = false,
                Event::Slot(permit) => self.report(permit).await,
                Event::Answered(answer) => {
                    let last = self.session.inbox.close();
                    self.take(last).await;
                    self.answer_open_questions().await;
                    self.finish(wish).await;
                    return self.end(answer).await;
                }
                Event::Said => self.hear().await,
                Event::Decided(asked, decision) => self.decided(asked, decision).await,
                Event::Done(answers) => {
                    self.heard_at = Instant::now();
                    self.tell(answers).await;
                }
                Event::Kept => {}
                Event::Silent => self.cut_short(Cut::Silent).await,
                Event::Late => self.kill("the agent did not stop when it was told to").await,
            }
        }
    }

    async fn next(&mut self, wish: &mut watch::Receiver<Wish>, is_wished_for: bool) -> Event {
        let (silence, late) = (self.silence_ends(), self.kill_at);
        tokio::select! {
            biased;
            changed = wish.changed(), if is_wished_for => changed.map_or(Event::NobodyWishes, |()| Event::Wished),
            permit = self.turn.teller.slot() => Event::Slot(permit),
            answer = &mut self.answer => Event::Answered(answer.unwrap_or_else(|_| Err(Unanswered::Gone(lost())))),
            () = self.session.inbox.news() => Event::Said,
            (asked, decision) = self.turn.questions.next() => Event::Decided(asked, decision),
            () = at(late) => Event::Late,
            () = at(silence) => Event::Silent,
            () = self.turn.handout.next() => Event::Kept,
            answers = self.errands.next() => Event::Done(answers),
        }
    }

    /// Does what the driver wishes. Only a process can be ended by force; the other turns in it begin again with the next.
    async fn obey(&mut self, wish: Wish) {
        match wish {
            Wish::Run => {}
            Wish::Interrupt => self.cancel(Cut::Wished).await,
            Wish::Kill => {
                self.cut = self.cut.or(Some(Cut::Wished));
                self.kill("a turn in it did not stop when it was told to").await;
            }
        }
    }

    async fn cut_short(&mut self, why: Cut) {
        self.cancel(why).await;
        self.kill_at = self.kill_at.or(Some(Instant::now() + CANCEL_GRACE));
    }

    async fn cancel(&mut self, why: Cut) {
        if self.cut.is_none() {
            self.line.cancel(&self.session.peer, &self.session.id).await;
            self.answer_open_questions().await;
            self.errands.interrupt();
        }
        self.cut = self.cut.or(Some(why));
    }

    /// Nobody is waited for any more.
    async fn answer_open_questions(&mut self) {
        for asked in self.turn.questions.take_back() {
            self.line.answer(&self.session.peer, &asked.id, &wire::cancelled()).await;
        }
    }

    async fn kill(&mut self, why: &str) {
        self.kill_at = None;
        self.errands.kill();
        self.line.kill(&self.session.peer, why.to_owned(), By::Turn).await;
    }

    async fn report(&mut self, permit: Option<OwnedPermit<Report>>) {
        match self.turn.teller.tell(permit, &mut self.turn.reply) {
            Ok(()) => self.heard_at = Instant::now(),
            Err(NobodyListens) => self.cut_short(Cut::Wished).await,
        }
    }

    async fn hear(&mut self) {
        let heard = self.session.inbox.take();
        self.take(heard).await;
    }

    async fn take(&mut self, heard: impl IntoIterator<Item = Heard>) {
        for heard in heard {
            self.heard_at = Instant::now();
            match heard {
                Heard::Agent(text) => self.say(&text),
                Heard::File(blob) => self.turn.handout.add(blob),
                Heard::Step => self.between = Between::Steps,
                Heard::Asked(id, permission) => self.asked(id, permission).await,
                Heard::Wanted(id, errand) => {
                    let answer = self.errands.take(id, errand);
                    self.tell(answer).await;
                }
                Heard::Flood => self.cut_short(Cut::TooLong).await,
                Heard::User(_) => {}
            }
        }
        if self.turn.reply.is_too_long() && self.cut != Some(Cut::TooLong) {
            self.cut_short(Cut::TooLong).await;
        }
    }

    /// Words before and after a step are two paragraphs, unless the agent has seen to that.
    fn say(&mut self, text: &str) {
        let reply = &mut self.turn.reply;
        let has_ended = reply.text().is_empty() || reply.text().ends_with(char::is_whitespace);
        if self.between == Between::Steps && !has_ended && !text.starts_with(char::is_whitespace) {
            reply.hear(b"\n\n");
        }
        self.between = Between::Nothing;
        reply.hear(text.as_bytes());
    }

    async fn asked(&mut self, id: Value, permission: wire::Permission) {
        let answer = match (self.cut, self.turn.settings.permission) {
            (Some(_), _) => wire::cancelled(),
            (None, Permission::Allow) => permission.allowed(),
            (None, Permission::Deny) => permission.denied(),
            (None, Permission::Ask) => return self.turn.questions.ask(id, permission),
        };
        tracing::info!(turn = self.turn.assignment.turn, question = permission.question(), %answer, "the agent asks for permission");
        self.line.answer(&self.session.peer, &id, &answer).await;
    }

    /// Somebody has answered, or nobody will: that is no.
    async fn decided(&mut self, asked: Asked, decision: Option<Decision>) {
        let answer = match decision {
            Some(Decision::Allow) => asked.permission.allowed(),
            Some(Decision::Deny) | None => asked.permission.denied(),
        };
        self.heard_at = Instant::now();
        self.line.answer(&self.session.peer, &asked.id, &answer).await;
    }

    async fn tell(&mut self, answers: impl IntoIterator<Item = Answer>) {
        for answer in answers {
            self.line.done(&self.session.peer, answer).await;
        }
    }

    /// Nothing of the turn is at work once this has ended, unless it is to be killed: then what is left goes with it.
    async fn finish(&mut self, wish: &mut watch::Receiver<Wish>) {
        let mut late = pin!(async {
            killed(wish).await;
            sleep(GOING).await;
        });
        loop {
            let silence = self.turn.settings.silence;
            let silent = Instant::now().checked_add(silence).filter(|_| !silence.is_zero());
            let answers = tokio::select! {
                biased;
                answers = self.errands.end() => answers,
                () = &mut late => return,
                // Neither the disk nor an agent that reads no more holds a turn that has ended longer than one that runs.
                () = at(silent) => {
                    let turn = self.turn.assignment.turn;
                    tracing::warn!(turn, "what the agent has asked for last is given up: its answer could not be got rid of");
                    return;
                }
            };
            let Some(answers) = answers else { return };
            self.tell(answers).await;
        }
    }

    fn silence_ends(&self) -> Option<Instant> {
        // One that waits for a person may wait as long as that.
        let waits = self.turn.questions.are_open();
        let can_be_silent = self.cut.is_none() && !waits && !self.turn.settings.silence.is_zero();
        self.heard_at.checked_add(self.turn.settings.silence).filter(|_| can_be_silent)
    }

    /// What the agent's answer to the prompt means, as a table:
    ///
    /// | told to stop because | `end_turn` and other good ends | `cancelled`, an error, death |
    /// |---|---|---|
    /// | it was not | answered | failed; begun again if another turn's wish ended the process |
    /// | the driver wished it | answered | interrupted |
    /// | it was silent | answered (just in time) | failed |
    /// | it said too much | failed: the reply is not whole | failed |
    async fn end(self, answer: Result<Value, Unanswered>) -> Left {
        let stopped = match answer {
            Ok(value) => serde_json::from_value::<Stopped>(value)
                .map(|stopped| stopped.stop_reason)
                .map_err(|_| "the agent ended the turn without a reason that can be read".to_owned()),
            Err(Unanswered::Refused(refused)) => Err(refused_prompt(&refused)),
            Err(Unanswered::Gone(gone)) => {
                if self.cut.is_none() && gone.by == By::Turn {
                    return Left::Swept(gone);
                }
                Err(gone.why)
            }
        };
        let stopped = match stopped {
            Ok(reason) if reason == "refusal" && self.session.doubt == Doubt::Possible && self.has_said_nothing() => {
                return self.lose().await;
            }
            other => other,
        };
        let most = self.turn.settings.max_reply_bytes;
        let reply = std::mem::replace(&mut self.turn.reply, Reply::new(0));
        Left::Ended(ending(self.cut, stopped, reply, most))
    }

    fn has_said_nothing(&self) -> bool {
        self.turn.reply.text().len() == self.session.said.len()
    }

    /// The agent does not know the session after all.
    async fn lose(self) -> Left {
        tracing::warn!(
            session = self.turn.assignment.session,
            "the agent has forgotten this conversation; it gets a fresh session"
        );
        self.line.remember(&self.session.peer, self.turn.conversation.clone(), None).await;
        Left::Lost(self.session.peer)
    }
}

fn ending(cut: Option<Cut>, stopped: Result<String, String>, reply: Reply, most_bytes: usize) -> End {
    let is_whole = !reply.is_too_long();
    let partial = reply.into_text();
    let remark = match stopped.as_deref() {
        Ok("cancelled") | Err(_) => None,
        Ok(reason) => Some(remark(reason)),
    };
    match (cut, remark) {
        (None | Some(Cut::Wished | Cut::Silent), Some(remark)) if is_whole => {
            let space = if partial.is_empty() || remark.is_empty() { "" } else { "\n\n" };
            End::Answered { reply: format!("{partial}{space}{remark}") }
        }
        (Some(Cut::Wished), _) => End::Interrupted { partial },
        (Some(Cut::Silent), _) => {
            let why = "the agent said and did nothing for too long and was told to stop; raise agent.acp.silence if it needs longer";
            End::Failed { why: why.into(), partial }
        }
        (Some(Cut::TooLong), _) | (None, Some(_)) => {
            let why = format!(
                "the agent said more than {most_bytes} bytes and was told to stop; raise agent.acp.max_reply_bytes if replies may be longer"
            );
            End::Failed { why, partial }
        }
        (None, None) => {
            let why = stopped
                .err()
                .unwrap_or_else(|| "the agent says that the turn was cancelled; nobody here wished that".into());
            End::Failed { why, partial }
        }
    }
}

/// What a reply ends with that ended for this reason.
fn remark(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" => "[The answer is cut short: the model's limit of tokens is reached.]",
        "max_turn_requests" => "[The agent has stopped: it has asked its model as often as it may in one turn.]",
        "refusal" => "[The agent refuses to go on with this.]",
        _ => "",
    }
}

fn refused_prompt(refused: &Refused) -> String {
    if refused.code == wire::LOGIN_WANTED {
        return format!(
            "the agent wants somebody to log in first: run its own log-in as the gateway's user ({})",
            refused.words()
        );
    }
    format!("the agent failed: {}", refused.words())
}

fn lost() -> Gone {
    Gone { why: "the gateway's part that keeps the agent is gone; ask again".into(), by: By::Agent }
}

/// Ends when the driver wishes anything but that the run goes on.
async fn wished(wish: &mut watch::Receiver<Wish>) {
    if wish.wait_for(|wish| *wish != Wish::Run).await.is_err() {
        pending::<()>().await;
    }
}

/// Ends when the driver wishes that the run ends at once.
async fn killed(wish: &mut watch::Receiver<Wish>) {
    if wish.wait_for(|wish| *wish == Wish::Kill).await.is_err() {
        pending::<()>().await;
    }
}

/// Waits until `deadline`; for ever when there is none.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
