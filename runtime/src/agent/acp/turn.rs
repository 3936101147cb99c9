//! One turn of an agent that speaks the protocol: opens the session, and begins again where its process was ended for another's
//! sake or has forgotten the conversation. What goes on in the session is [`Talk`]'s business.

mod talk;

use super::Settings;
use super::errands::{Errands, Room};
use super::handout::Handout;
use super::keeper::Line;
use super::memory::{Conversation, Memory};
use super::opening::{Opening, Session, Unopened};
use super::process::Gone;
use super::question::Questions;
use super::wire;
use crate::agent::printed::Reply;
use crate::agent::teller::Teller;
use crate::agent::{Assignment, End, Report, Wish};
use crate::files::Handed;
use std::future::pending;
use std::sync::Arc;
use talk::Talk;
use tokio::sync::{mpsc, watch};

/// How often a turn is begun again because its process was ended for another turn's sake, or was dying when it was reached.
const SECOND_CHANCES: u32 = 1;

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
        Talk::begun(self, line, session, errands, answer).go_on(wish).await
    }

    fn failed(&mut self, why: String) -> End {
        End::Failed { why, partial: self.said() }
    }

    /// What it has said, once it says no more.
    fn said(&mut self) -> String {
        std::mem::replace(&mut self.reply, Reply::new(0)).into_text()
    }
}

/// Ends when the driver wishes anything but that the run goes on.
async fn wished(wish: &mut watch::Receiver<Wish>) {
    if wish.wait_for(|wish| *wish != Wish::Run).await.is_err() {
        pending::<()>().await;
    }
}
