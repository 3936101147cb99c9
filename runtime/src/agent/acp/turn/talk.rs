//! What goes on in a session between a prompt and the agent's answer to it: a loop over `next`, the one thing to happen next, and
//! what that changes. It owns what is said in the turn; how long an interrupted agent may take is the driver's business.

use super::{Left, Turn};
use crate::agent::acp::Permission;
use crate::agent::acp::errands::{Answer, Errands};
use crate::agent::acp::inbox::Heard;
use crate::agent::acp::keeper::Line;
use crate::agent::acp::opening::{Doubt, Session};
use crate::agent::acp::process::{By, Gone, Unanswered};
use crate::agent::acp::question::Asked;
use crate::agent::acp::wire::{self, Refused, Stopped};
use crate::agent::printed::Reply;
use crate::agent::teller::NobodyListens;
use crate::agent::{End, Report, Wish};
use evergate_core::question::Decision;
use serde_json::Value;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// How long an agent may take that was told to stop because of what it did.
const CANCEL_GRACE: Duration = Duration::from_secs(5);
/// How long what is left of a turn that is to be killed may take to go.
const GOING: Duration = Duration::from_secs(2);

/// A turn in a session: what goes on between the prompt and the answer to it.
pub(super) struct Talk<'a> {
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

impl<'a> Talk<'a> {
    /// One whose prompt is on its way to the agent.
    pub(super) fn begun(
        turn: &'a mut Turn,
        line: Line,
        session: Session,
        errands: Errands,
        answer: oneshot::Receiver<Result<Value, Unanswered>>,
    ) -> Self {
        Self {
            turn,
            line,
            session,
            errands,
            answer,
            heard_at: Instant::now(),
            between: Between::Nothing,
            cut: None,
            kill_at: None,
        }
    }

    /// To the agent's answer.
    pub(super) async fn go_on(mut self, wish: &mut watch::Receiver<Wish>) -> Left {
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
