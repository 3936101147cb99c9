//! The agent that is a program: one child process a turn, the prompt on its stdin, the reply on its stdout. It owns the
//! child from start to reaping and what its ending means; it never decides how long an interrupted child may take (the
//! driver does, by raising its wish) and never reads the child's complaints for anything but the failure's report.

use super::{Agent, Assignment, End, Report, Wish, group::Group, report_end};
use std::{future::Future, pin::Pin, time::Duration};
use tokio::sync::{mpsc, watch};

mod failure;
mod launch;
mod run;
#[cfg(all(test, target_os = "linux"))]
mod tests;

pub(crate) use launch::program_file;
use run::Run;

/// An agent that is a program, started anew for each turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAgent {
    /// The program and its arguments; no shell is involved.
    pub argv: Vec<String>,
    /// A child that prints nothing at all (neither on stdout nor on stderr) for this long is killed; zero: never.
    pub silence: Duration,
    /// The most that a child may print on stdout.
    pub max_reply_bytes: usize,
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
            let end = agent.answer(assignment, wish, &reports).await;
            report_end(&reports, turn, end).await;
        })
    }
}

impl CommandAgent {
    async fn answer(self, assignment: Assignment, wish: watch::Receiver<Wish>, reports: &mpsc::Sender<Report>) -> End {
        if *wish.borrow() != Wish::Run {
            return End::Interrupted { partial: String::new() };
        }
        let group = match launch::command(&self.argv, &assignment) {
            Ok(command) => Group::start(command).map_err(|error| launch::explain(&self.argv[0], error)),
            Err(failure) => Err(failure),
        };
        match group {
            Ok(group) => Run::new(self, assignment, group, wish, reports.clone()).play().await,
            Err(failure) => End::Failed { why: failure.to_string(), partial: String::new() },
        }
    }
}
