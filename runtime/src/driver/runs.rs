//! The agents that are at work, and the driver's other errands, in one set of tasks: none is detached, and one that
//! breaks is noticed.

use crate::agent::{Agent, Assignment, End, Progress, Report, Resume, What, Wish};
use crate::config::Changes;
use crate::driver::handle::Handle;
use crate::platform::Attachment;
use crate::reload::Reloaded;
use evergate_core::id::{GenerationId, RequestId, TurnId};
use evergate_core::input::{Partial, TurnEnd};
use evergate_core::rollback::Build;
use evergate_core::time::Instant;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinSet};

/// Reports that may wait for the driver; an agent that says more waits until they are taken.
const REPORTS: usize = 1024;
/// How long after it was said a part of a running answer is kept at the latest, for agents that can go on from there.
const KEEP_WITHIN: Duration = Duration::from_secs(1);

/// The runs of this generation.
pub struct Runs {
    agent: Arc<dyn Agent>,
    /// What goes on beside the runs of the agent, with the way to have it end; none before the first run.
    tended: Option<(Id, oneshot::Sender<()>)>,
    /// What goes on beside the last runs of agents that are asked no more, and beside those of this one at the end.
    closing: HashSet<Id>,
    generation: GenerationId,
    state_dir: PathBuf,
    tasks: JoinSet<Done>,
    turns: HashMap<Id, TurnId>,
    open: HashMap<TurnId, Run>,
    to_driver: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
}

/// One run.
pub struct Run {
    wish: watch::Sender<Wish>,
    /// Its session's name.
    pub session: Arc<str>,
    /// When it was started.
    pub started: Instant,
    /// What its answer says so far, over all attempts, where that is kept.
    said: String,
    /// When the first of it was said that is not kept.
    unkept_since: Option<Instant>,
    /// The files that go with its reply.
    files: Vec<Attachment>,
}

impl Run {
    fn keep_at(&self) -> Option<Instant> {
        self.unkept_since.map(|since| since + KEEP_WITHIN)
    }
}

/// What to start.
pub struct Start {
    /// The turn.
    pub turn: TurnId,
    /// Its session's name.
    pub session: Arc<str>,
    /// What it answers.
    pub prompt: String,
    /// The messages that this is made of.
    pub messages: Vec<u64>,
    /// The files that came with them.
    pub attachments: Vec<Attachment>,
    /// What earlier attempts have said, as far as that was kept.
    pub said: String,
    /// Which start of the turn this is.
    pub attempt: u32,
    /// Why it is started again.
    pub resume: Option<evergate_core::turn::Resume>,
    /// The conversation.
    pub conversation: u32,
}

/// A task that is over.
pub enum Done {
    /// A run; its end was reported before.
    Run,
    /// A run that broke without a report.
    Broken {
        /// Its turn.
        turn: TurnId,
        /// In this session.
        session: Arc<str>,
        /// What broke.
        why: String,
    },
    /// The supervisor has been asked.
    Supervisor {
        /// About which signal.
        request: RequestId,
        /// Whether it stops us; `None` when it could not be asked.
        stops: Option<bool>,
    },
    /// What would be started next has been asked whether it could take over.
    Candidate {
        /// For which request.
        request: RequestId,
        /// Why it could not.
        fit: Result<(), String>,
    },
    /// Nothing of an earlier generation is alive any more.
    Reclaimed,
    /// The program on disk has been asked for its version.
    Version {
        /// Which.
        build: Build,
        /// What it says.
        version: Option<String>,
    },
    /// The configuration has been read again.
    Configuration {
        /// What it says, or what is wrong with it.
        read: Result<Reloaded, String>,
        /// Who waits for word of that; nobody after a SIGHUP.
        answer: Option<oneshot::Sender<Result<Changes, String>>>,
    },
}

/// What happens to a run or an errand.
pub enum Happened {
    /// A run reports.
    Reported(Report),
    /// A task is over.
    Done(Done),
}

/// What a report means to the driver.
pub enum News {
    /// Nothing: the run is over already.
    Nothing,
    /// The agent is at work.
    Began,
    /// A piece of the answer.
    Text {
        /// For this session.
        session: Arc<str>,
        /// The piece.
        text: String,
    },
    /// The run is over.
    Ended {
        /// In this session.
        session: Arc<str>,
        /// How, as the core knows it.
        end: TurnEnd,
        /// What it said, if that is to be kept.
        reply: Option<String>,
        /// The files that go with that.
        files: Vec<Attachment>,
        /// Why it failed.
        failure: Option<String>,
    },
}

impl Runs {
    /// No runs yet.
    pub fn new(agent: Arc<dyn Agent>, generation: GenerationId, state_dir: PathBuf) -> Self {
        let (to_driver, reports) = mpsc::channel(REPORTS);
        let (tasks, turns, open) = (JoinSet::new(), HashMap::new(), HashMap::new());
        let (tended, closing) = (None, HashSet::new());
        Self { agent, tended, closing, generation, state_dir, tasks, turns, open, to_driver, reports }
    }

    /// The way by which runs report.
    pub fn reporters(&self) -> mpsc::WeakSender<Report> {
        self.to_driver.downgrade()
    }

    /// The agent gets to know the gateway that it works for.
    pub fn meet(&self, gateway: &Handle) {
        self.agent.meet(gateway);
    }

    /// Starts a run.
    pub fn start(&mut self, now: Instant, start: Start) {
        let Start { turn, session, prompt, messages, attachments, said, attempt, resume, conversation } = start;
        let assignment = Assignment {
            turn: turn.0,
            session: session.to_string(),
            prompt,
            messages,
            attachments,
            said: said.clone(),
            attempt,
            resume: resume.map(|resume| match resume {
                evergate_core::turn::Resume::Planned => Resume::Restart,
                evergate_core::turn::Resume::Crash => Resume::Crash,
            }),
            conversation,
            generation: self.generation.0,
            state_dir: self.state_dir.clone(),
            control: self.state_dir.join("control.sock"),
        };
        self.tend();
        let (wish, wishes) = watch::channel(Wish::Run);
        let run = self.agent.run(assignment, wishes, self.to_driver.clone());
        let task = self.tasks.spawn(async move {
            run.await;
            Done::Run
        });
        self.turns.insert(task.id(), turn);
        self.open.insert(turn, Run { wish, session, started: now, said, unkept_since: None, files: Vec::new() });
    }

    /// Whether an attempt of this agent goes on from what an earlier one has said.
    #[must_use]
    pub fn continues(&self) -> bool {
        self.agent.continues()
    }

    /// Takes note of a piece of an answer.
    pub fn note_said(&mut self, turn: TurnId, text: &str, now: Instant) {
        if self.agent.continues()
            && let Some(run) = self.open.get_mut(&turn)
        {
            run.said.push_str(text);
            run.unkept_since.get_or_insert(now);
        }
    }

    /// When something that was said is to be kept, also if nothing more is said.
    #[must_use]
    pub fn keep_at(&self) -> Option<Instant> {
        self.open.values().filter_map(Run::keep_at).min()
    }

    /// What running answers say so far, where that is to be kept now.
    pub fn take_unkept(&mut self, now: Instant) -> Vec<(TurnId, String)> {
        let due = self.open.iter_mut().filter(|(_, run)| run.keep_at().is_some_and(|at| at <= now));
        due.map(|(turn, run)| {
            run.unkept_since = None;
            (*turn, run.said.clone())
        })
        .collect()
    }

    /// Turns that start from now on are answered by this agent.
    pub fn set_agent(&mut self, agent: Arc<dyn Agent>) {
        if !Arc::ptr_eq(&self.agent, &agent) {
            self.close();
            self.agent = agent;
        }
    }

    /// Has what the agent keeps beside its runs attended to, from now on or again.
    fn tend(&mut self) {
        if self.tended.is_some() {
            return;
        }
        let (close, closed) = oneshot::channel();
        if let Some(tending) = self.agent.tend(closed) {
            let task = self.tasks.spawn(async move {
                tending.await;
                Done::Run
            });
            self.tended = Some((task.id(), close));
        }
    }

    /// No run will be started any more with this agent: what it keeps beside them can end once the last of them is over.
    pub fn close(&mut self) {
        if let Some((task, close)) = self.tended.take() {
            self.closing.insert(task);
            // One that has ended by itself need not be told.
            let _ended = close.send(());
        }
    }

    /// Ends when nothing is left that agents kept beside their runs, nor, where that is being seen to, of an earlier generation.
    pub async fn closed(&mut self, mut reclaiming: bool) {
        while reclaiming || !self.closing.is_empty() {
            match self.tasks.join_next_with_id().await {
                Some(Ok((id, done))) => {
                    reclaiming &= !matches!(done, Done::Reclaimed);
                    self.closing.remove(&id);
                }
                Some(Err(error)) => drop(self.closing.remove(&error.id())),
                None => return,
            }
        }
    }

    /// Runs an errand.
    pub fn spawn(&mut self, errand: impl Future<Output = Done> + Send + 'static) {
        self.tasks.spawn(errand);
    }

    /// Tells a run what is wanted of it; false if there is no such run.
    pub fn wish(&self, turn: TurnId, wish: Wish) -> bool {
        self.open.get(&turn).map(|run| run.wish.send_replace(wish)).is_some()
    }

    /// A run that is at work.
    pub fn get(&self, turn: TurnId) -> Option<&Run> {
        self.open.get(&turn)
    }

    /// What happens next to a run or an errand. Reports come first: a run's end is its last report.
    pub async fn next(&mut self) -> Happened {
        tokio::select! {
            biased;
            Some(report) = self.reports.recv() => Happened::Reported(report),
            Some(joined) = self.tasks.join_next_with_id() => Happened::Done(match joined {
                Ok((id, Done::Run)) => {
                    self.not_tended(id);
                    let turn = self.turns.remove(&id);
                    self.over(turn, || "the agent ended without a word".into())
                }
                Ok((_, errand)) => errand,
                Err(error) => self.broken(&error),
            }),
            else => std::future::pending().await,
        }
    }

    /// A report that is there already.
    pub fn try_report(&mut self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    fn broken(&mut self, error: &tokio::task::JoinError) -> Done {
        tracing::error!(%error, "a task broke");
        self.not_tended(error.id());
        let turn = self.turns.remove(&error.id());
        self.over(turn, || format!("the gateway's part of the agent broke: {error}"))
    }

    /// If this task attended to what the agent keeps, another has to before the next run.
    fn not_tended(&mut self, task: Id) {
        self.closing.remove(&task);
        self.tended.take_if(|(tending, _)| *tending == task);
    }

    /// A task is over. If it was a run that never reported its end, that is its end.
    fn over(&mut self, turn: Option<TurnId>, why: impl FnOnce() -> String) -> Done {
        match turn.and_then(|turn| Some((turn, self.open.remove(&turn)?))) {
            Some((turn, run)) => Done::Broken { turn, session: run.session, why: why() },
            None => Done::Run,
        }
    }

    /// Takes in a report.
    pub fn take_in(&mut self, report: Report) -> News {
        let turn = TurnId(report.turn);
        let Some(run) = self.open.get_mut(&turn) else { return News::Nothing };
        match report.what {
            What::Progress(Progress::Began) => News::Began,
            What::Progress(Progress::Text(text)) => News::Text { session: Arc::clone(&run.session), text },
            What::Progress(Progress::File(file)) => {
                run.files.push(file);
                News::Nothing
            }
            What::Ended(end) => {
                let (session, files) = (Arc::clone(&run.session), std::mem::take(&mut run.files));
                self.open.remove(&turn);
                match end {
                    End::Answered { reply } => {
                        News::Ended { session, end: TurnEnd::Answered, reply: Some(reply), files, failure: None }
                    }
                    End::Failed { why, .. } => {
                        let files = Vec::new();
                        News::Ended { session, end: TurnEnd::Failed, reply: None, files, failure: Some(why) }
                    }
                    End::Interrupted { partial } => {
                        let left = if partial.is_empty() { Partial::Nothing } else { Partial::Text };
                        News::Ended {
                            session,
                            end: TurnEnd::Interrupted { partial: left },
                            reply: Some(partial),
                            files: Vec::new(),
                            failure: None,
                        }
                    }
                }
            }
        }
    }
}
