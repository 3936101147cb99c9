//! An agent whose fate and pace come from the seed, the turn and the attempt: it answers, fails, goes away without a word,
//! hurries when it is told to end, or does not listen. It owns nothing of the gateway and obeys the contract of its trait.

use super::dice::Dice;
use super::disk::{Death, Platter};
use super::http::{Way, call};
use super::logbook::{Logbook, Mark};
use super::oracle::{Oracle, answer_to};
use super::plan::{Agents, session_prefix};
use crate::story::{Kind, Lane};
use evergate::agent::{Agent, Assignment, End, Progress, Report, What, Wish};
use hyper::Method;
use serde_json::json;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// The agents of one run.
pub struct SeededAgent {
    /// What decides the fate of each run of a turn.
    pub seed: u64,
    /// How they behave.
    pub behaviour: Agents,
    /// From then on they only answer.
    pub healed: Arc<AtomicBool>,
    /// Where their runs are written down.
    pub logbook: Arc<Logbook>,
    /// Who is told of the restarts that they ask for.
    pub oracle: Arc<Mutex<Oracle>>,
    /// Where the death that a poisonous one brings is noticed.
    pub platter: Arc<Mutex<Platter>>,
}

/// What becomes of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answers,
    Fails,
    Vanishes,
    Poisonous,
    Stubborn,
    LastWords,
}

impl SeededAgent {
    fn draw(&self, assignment: &Assignment) -> (Fate, Duration) {
        let mut dice = Dice::apart(self.seed, &format!("turn {} attempt {}", assignment.turn, assignment.attempt));
        let Agents { longest_ms, fails, vanishes, stubborn, last_words, poisonous } = self.behaviour;
        let lasts = dice.between(0, longest_ms);
        let lasts = if dice.percent(30) { lasts } else { lasts / 8 };
        let number = dice.between(0, 99);
        let fates = [
            (fails, Fate::Fails),
            (vanishes, Fate::Vanishes),
            (stubborn, Fate::Stubborn),
            (last_words, Fate::LastWords),
        ];
        let mut below = 0;
        let drawn = fates.into_iter().find(|(share, _)| {
            below += share;
            number < below
        });
        // It is the turn that is poisonous, whichever attempt it is.
        let poison = Dice::apart(self.seed, &format!("poison of turn {}", assignment.turn)).percent(poisonous);
        let poison = poison && assignment.prompt.starts_with(&session_prefix(0));
        let drawn = if poison { Some((poisonous, Fate::Poisonous)) } else { drawn };
        let fate = drawn.filter(|_| !self.healed.load(Relaxed)).map_or(Fate::Answers, |(_, fate)| fate);
        (fate, Duration::from_millis(lasts))
    }
}

impl Agent for SeededAgent {
    fn run(
        &self,
        assignment: Assignment,
        wish: watch::Receiver<Wish>,
        reports: mpsc::Sender<Report>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (fate, lasts) = self.draw(&assignment);
        let (logbook, oracle, platter) =
            (Arc::clone(&self.logbook), Arc::clone(&self.oracle), Arc::clone(&self.platter));
        Box::pin(async move {
            let turn = assignment.turn;
            logbook.note(Lane::Gateway, Kind::Effect, || {
                format!(
                    "the agent of turn {turn} starts (attempt {}, {fate:?} after {} ms)",
                    assignment.attempt,
                    lasts.as_millis()
                )
            });
            if fate == Fate::Poisonous {
                sleep(lasts / 4).await;
                platter.lock().unwrap_or_else(PoisonError::into_inner).strike(Death::Kill);
                return std::future::pending().await;
            }
            let end = live(&assignment, fate, lasts, wish, &reports, (&logbook, &oracle)).await;
            logbook.note(Lane::Gateway, Kind::Input, || {
                let end = match &end {
                    None => "without a word",
                    Some(End::Answered { .. }) => "with an answer",
                    Some(End::Failed { .. }) => "with a failure",
                    Some(End::Interrupted { .. }) => "because it was told to",
                };
                format!("the agent of turn {turn} ends {end}")
            });
            if let Some(end) = end {
                // Nobody left to hear it is no fault of the run.
                let _given_up = reports.send(Report { turn, what: What::Ended(end) }).await;
            }
        })
    }
}

async fn live(
    assignment: &Assignment,
    fate: Fate,
    lasts: Duration,
    mut wish: watch::Receiver<Wish>,
    reports: &mpsc::Sender<Report>,
    (logbook, oracle): (&Logbook, &Mutex<Oracle>),
) -> Option<End> {
    let reply: String = assignment.prompt.split("\n\n").map(answer_to).collect();
    let partial = "I was about to say...".to_owned();
    let says = Report { turn: assignment.turn, what: What::Progress(Progress::Began) };
    if reports.send(says).await.is_err() {
        return None;
    }
    let ear = if fate == Fate::Stubborn { Wish::Kill } else { Wish::Interrupt };
    let mut ended = wish.clone();
    let told = async {
        if wish.wait_for(|wish| *wish >= ear).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let work = async {
        if assignment.prompt.contains("restart yourself") {
            restart(assignment, logbook, oracle).await;
        }
        sleep(lasts / 2).await;
        let text = Report { turn: assignment.turn, what: What::Progress(Progress::Text("I was about".into())) };
        let _given_up = reports.send(text).await;
        sleep(lasts / 2).await;
    };
    tokio::select! {
        biased;
        () = told => match fate {
            Fate::LastWords => {
                tokio::select! {
                    biased;
                    _ = ended.wait_for(|wish| *wish == Wish::Kill) => Some(End::Interrupted { partial }),
                    () = sleep(lasts / 4) => Some(End::Answered { reply }),
                }
            }
            _ => Some(End::Interrupted { partial }),
        },
        () = work => match fate {
            Fate::Fails => Some(End::Failed { why: "the seed wants it so".into(), partial }),
            Fate::Vanishes => None,
            _ => Some(End::Answered { reply }),
        },
    }
}

/// Asks for a restart from inside the turn, as `evergate restart` does, and waits for it: a gateway that waited for this
/// turn in return would wait until its budget ends.
async fn restart(assignment: &Assignment, logbook: &Logbook, oracle: &Mutex<Oracle>) {
    logbook.input();
    let turn = assignment.turn;
    let answer = call(Way::Inside, Method::POST, "/v1/restart", Some(json!({"turn": turn}))).await;
    let status = answer.as_ref().map(|(status, _)| *status);
    logbook.note(Lane::Gateway, Kind::Input, || format!("the agent of turn {turn} asks for a restart: {status:?}"));
    if let Ok((202, body)) = answer {
        if let (Some(request), Some(generation)) = (body["request"].as_u64(), body["generation"].as_u64()) {
            oracle.lock().unwrap_or_else(PoisonError::into_inner).asked(request, generation);
        }
        logbook.mark(Mark::RestartFromTurn);
        sleep(Duration::from_secs(3)).await;
    }
}
