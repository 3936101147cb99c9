//! What answers: the one contract between the driver and every kind of agent. It owns the words the two exchange (an
//! assignment, a wish, reports) and never decides when a turn starts, how long it may take, or what becomes of its reply.

use crate::driver::handle::Handle;
use crate::environment::BoxFuture;
use crate::files::Handed;
use crate::platform::Attachment;
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot, watch};

pub mod acp;
pub mod command;
pub mod demo;
mod group;
pub mod openai;
pub mod orphan;
mod printed;
pub(crate) mod program;
mod teller;

/// One run of an agent, as the driver hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The turn this run belongs to; the same over all its attempts.
    pub turn: u64,
    /// The name of the session whose messages are answered.
    pub session: String,
    /// What the agent is asked: the text of the turn's messages, with a line for each file that came with them.
    pub prompt: String,
    /// The turn's messages, oldest first, by their numbers in the journal.
    pub messages: Vec<u64>,
    /// The files that came with them.
    pub attachments: Vec<Attachment>,
    /// What earlier attempts of this turn are known to have said, where the agent [continues](Agent::continues); empty otherwise.
    /// The chat has seen it as the beginning of the answer.
    pub said: String,
    /// Which run of the turn this is, from 1.
    pub attempt: u32,
    /// What cut the attempt before this one short; `None` on the first.
    pub resume: Option<Resume>,
    /// The session's conversation, raised by `/new`: an agent with a memory keeps one for each.
    pub conversation: u32,
    /// The generation of the gateway that runs it.
    pub generation: u64,
    /// The state directory, absolute.
    pub state_dir: PathBuf,
    /// The control socket, absolute, for commands that the agent runs inside its turn.
    pub control: PathBuf,
}

/// Why a turn is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// A planned end of the gateway, a restart or a stop, cut it short.
    Restart,
    /// The gateway died without a word.
    Crash,
}

impl Resume {
    /// The word that agents see in `EVERGATE_RESUME`.
    pub fn as_str(self) -> &'static str {
        match self {
            Resume::Restart => "restart",
            Resume::Crash => "crash",
        }
    }
}

/// What the driver wants of a run; it only ever grows: `Run < Interrupt < Kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Go on.
    Run,
    /// End soon and in good order; how long that may take is the driver's business.
    Interrupt,
    /// End now.
    Kill,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It answered. The reply may be empty: an agent that says nothing and ends well has answered nothing.
    Answered {
        /// The whole reply.
        reply: String,
    },
    /// It ended badly, by itself or because it broke a limit.
    Failed {
        /// What happened, to what, and what to do next, for the operator and the chat.
        why: String,
        /// What it had said by then.
        partial: String,
    },
    /// It ended because the driver wished so, before it had answered.
    Interrupted {
        /// What it had said by then.
        partial: String,
    },
}

/// What happens during a run. The texts of one run, joined, are a prefix of its reply (or partial): the last words may
/// come with the end alone. Where the run continues an answer, [`Assignment::said`] stands before them: replies and partials are
/// whole, texts are what is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The agent is at work. A run that ends at once, or cannot start, may end without it.
    Began,
    /// The next piece of the answer.
    Text(String),
    /// A file that goes with the reply, in the state directory and synced. It counts only if the run answers.
    File(Attachment),
}

/// Where a run reports to: `progress` must not lose the order; text may be coalesced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The turn that reports.
    pub turn: u64,
    /// What it reports.
    pub what: What,
}

/// The content of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The run goes on.
    Progress(Progress),
    /// The run is over.
    Ended(End),
}

/// Something that answers.
pub trait Agent: Send + Sync {
    /// Runs `assignment` to its end. The future sends exactly one `Ended`, as its last report, whatever happens, and only
    /// once no process of the run alone is left alive (one whose start the kernel holds up is ended as soon as it is there). It obeys `wish`, also while `reports` is full. Dropping it ends the run
    /// at once, without a report; whatever processes it started die with it.
    fn run(&self, assignment: Assignment, wish: watch::Receiver<Wish>, reports: mpsc::Sender<Report>) -> BoxFuture<()>;

    /// The gateway that it works for, before its first run: where it may read what was said and keep facts of its own.
    fn meet(&self, gateway: &Handle) {
        let _unneeded = gateway;
    }

    /// What has to go on beside the runs of an agent that keeps something alive between them; `None` if nothing has. The
    /// driver runs it among its tasks from before the first run on. It goes on until `close` ends, either way, and the last
    /// run with it, and then until all that it kept is gone. Dropping it ends that at once.
    fn tend(&self, close: oneshot::Receiver<()>) -> Option<BoxFuture<()>> {
        drop(close);
        None
    }

    /// Whether a run can go on from what an earlier attempt has said. Then that is kept on disk while it is said, at a decent
    /// pace, and handed to the next attempt, so that a restart costs neither its words nor the work behind them.
    fn continues(&self) -> bool {
        false
    }
}

/// Reports the files that go with a reply; the lines about those that do not are put behind it.
async fn report_files(reports: &mpsc::Sender<Report>, turn: u64, handed: Handed, reply: &mut String) {
    for file in handed.files {
        if reports.send(Report { turn, what: What::Progress(Progress::File(file)) }).await.is_err() {
            return tracing::debug!(turn, "nobody listens to this turn any more");
        }
    }
    for note in handed.notes {
        if !reply.is_empty() {
            reply.push_str("\n\n");
        }
        reply.push_str(&note);
    }
}

/// Sends the last report of a run. Nobody left to hear it is no fault of the run: the driver has given it up.
async fn report_end(reports: &mpsc::Sender<Report>, turn: u64, end: End) {
    if reports.send(Report { turn, what: What::Ended(end) }).await.is_err() {
        tracing::debug!(turn, "nobody listens to the end of this turn any more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_only_grows_and_the_resume_words_are_the_documented_ones() {
        assert!(Wish::Run < Wish::Interrupt && Wish::Interrupt < Wish::Kill);
        let words = [Resume::Restart, Resume::Crash].map(Resume::as_str);
        assert_eq!(words, ["restart", "crash"]);
    }
}
