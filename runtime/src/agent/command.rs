//! The agent that is a program: one child process a turn, the prompt on its stdin, the reply on its stdout. It owns the
//! child from start to reaping and what its ending means; it never decides how long an interrupted child may take (the
//! driver does, by raising its wish) and never reads the child's complaints for anything but the failure's report.

use super::program::{self, CannotStart};
use super::{Agent, Assignment, End, Report, Wish, group::Group, report_end, report_files};
use crate::files::Outbox;
use failure::Failure;
use std::{future::Future, io, pin::Pin, time::Duration};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};

mod failure;
mod run;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use run::Run;

/// The setting that names the program.
const ARGV: &str = "agent.command.argv";

/// An agent that is a program, started anew for each turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAgent {
    /// The program and its arguments; no shell is involved.
    pub argv: Vec<String>,
    /// A child that prints nothing at all (neither on stdout nor on stderr) for this long is killed; zero: never.
    pub silence: Duration,
    /// The most that a child may print on stdout.
    pub max_reply_bytes: usize,
    /// The largest file in bytes that it may hand out.
    pub max_file_bytes: u64,
}

impl Agent for CommandAgent {
    fn run(
        &self,
        assignment: Assignment,
        wish: watch::Receiver<Wish>,
        reports: mpsc::Sender<Report>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let agent = self.clone();
        Box::pin(async move {
            let turn = assignment.turn;
            let (end, outbox) = agent.answer(assignment, wish, &reports).await;
            report_end(&reports, turn, end).await;
            // A disk that takes its time holds up nobody: the end is known. What is left of it then goes by age.
            if let Some(outbox) = outbox {
                outbox.clear().await;
            }
        })
    }
}

impl CommandAgent {
    /// Runs the program; gives the folder for its files as well, which nobody needs any more.
    async fn answer(
        self,
        assignment: Assignment,
        wish: watch::Receiver<Wish>,
        reports: &mpsc::Sender<Report>,
    ) -> (End, Option<Outbox>) {
        let not_begun = || End::Interrupted { partial: String::new() };
        if *wish.borrow() != Wish::Run {
            return (not_begun(), None);
        }
        let (turn, limit, mut hurry) = (assignment.turn, self.max_file_bytes, wish.clone());
        let opened = tokio::select! {
            biased;
            Ok(_) = hurry.wait_for(|wish| *wish != Wish::Run) => return (not_begun(), None),
            opened = Outbox::open_apart(assignment.state_dir.clone(), turn) => opened,
        };
        let outbox = opened
            .inspect_err(|error| {
                tracing::warn!(turn, %error, "the folder for the agent's files cannot be made; it runs without one")
            })
            .ok();
        let mut end = match self.start(&assignment, outbox.as_ref(), &mut hurry).await {
            Ok(group) => Run::new(self, assignment, group, wish, reports.clone()).play().await,
            Err(end) => end,
        };
        if let (End::Answered { reply }, Some(outbox)) = (&mut end, &outbox) {
            report_files(reports, turn, outbox.take(limit).await, reply).await;
        }
        (end, outbox)
    }

    /// Starts the program; the end of the run, where that comes to nothing.
    async fn start(
        &self,
        assignment: &Assignment,
        outbox: Option<&Outbox>,
        hurry: &mut watch::Receiver<Wish>,
    ) -> Result<Group, End> {
        let failed = |failure: Failure| End::Failed { why: failure.to_string(), partial: String::new() };
        let command = self.command(assignment, outbox).map_err(|error| failed(error.into()))?;
        let name = self.argv.first().cloned().unwrap_or_default();
        let start =
            Group::start_apart(move || Group::start(command).map_err(|error| program::explain(&name, ARGV, error)));
        tokio::select! {
            biased;
            Ok(_) = hurry.wait_for(|wish| *wish == Wish::Kill) => Err(End::Interrupted { partial: String::new() }),
            started = start => match started {
                Ok(started) => started.map_err(|error| failed(error.into())),
                Err(error) => Err(failed(program::explain(&self.argv[0], ARGV, io::Error::other(error)).into())),
            },
        }
    }

    fn command(&self, assignment: &Assignment, outbox: Option<&Outbox>) -> Result<Command, CannotStart> {
        let mut command = program::command(&self.argv, ARGV)?;
        command
            .env("EVERGATE_SESSION", &assignment.session)
            .env("EVERGATE_TURN", assignment.turn.to_string())
            .env("EVERGATE_ATTEMPT", assignment.attempt.to_string())
            .env("EVERGATE_CONTROL", &assignment.control)
            .env("EVERGATE_STATE_DIR", &assignment.state_dir)
            .env("EVERGATE_GENERATION", assignment.generation.to_string())
            .env("EVERGATE_CONVERSATION", assignment.conversation.to_string());
        if let Some(outbox) = outbox {
            command.env("EVERGATE_OUTBOX", outbox.path());
        }
        if let Some(resume) = assignment.resume {
            command.env("EVERGATE_RESUME", resume.as_str());
        }
        Ok(command)
    }
}
