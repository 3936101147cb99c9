//! The gateway's side: an agent whose process runs on another host, over a connection for each run. A connection that breaks or
//! goes silent is a run that is gone, once the host has said that nothing of it is left. It owns no process.

use super::wire::{Order, Run, Which, Whose, Wire, Word};
use super::{HOST, PORT};
use crate::harbor::disk::Death;
use crate::harbor::logbook::Mark;
use crate::harbor::world::World;
use crate::story::{Kind, Lane};
use evergate::agent::{Agent, Assignment, End, Progress, Report, What, Wish};
use evergate::environment::{BoxFuture, Environment, Stream};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long the host may say nothing. An agent that is well says something three times as often, and the longest way through the
/// network is short beside it.
const PATIENCE: Duration = Duration::from_millis(900);
/// How long until what was not heard is said again.
const AGAIN: Duration = Duration::from_millis(100);

/// What one generation has of the agents.
#[derive(Clone)]
pub struct Link {
    /// The world as its process sees it.
    pub environment: Arc<dyn Environment>,
    /// Where their losses are written down, and where the death that one of them brings strikes.
    pub world: Arc<World>,
}

/// Nothing more can be heard of a run; whether it goes on is not known.
struct Lost;

impl From<std::io::Error> for Lost {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl Agent for Link {
    fn run(&self, assignment: Assignment, wish: watch::Receiver<Wish>, reports: mpsc::Sender<Report>) -> BoxFuture<()> {
        let (link, turn) = (self.clone(), assignment.turn);
        let run = Run::of(assignment);
        Box::pin(async move {
            let which = run.which;
            match link.converse(run, wish, &reports).await {
                // Nobody left to hear it is no fault of the run.
                Ok(end) => drop(reports.send(Report { turn, what: What::Ended(end) }).await),
                Err(Lost) => link.give_up(which).await,
            }
        })
    }
}

impl Link {
    /// Ends what earlier generations have left running, and is over when nothing of it is left.
    pub async fn reclaim(self, generation: u64) {
        let found = self.end(Whose::Before(generation)).await;
        self.world.logbook.note(Lane::Gateway, Kind::Input, || {
            format!("nothing of a generation before {generation} runs any more; {found} runs were left")
        });
    }

    async fn converse(
        &self,
        run: Run,
        mut wish: watch::Receiver<Wish>,
        reports: &mpsc::Sender<Report>,
    ) -> Result<End, Lost> {
        let turn = run.which.turn;
        let mut wire = self.within(self.connect()).await??;
        wire.say(&Order::Run(run)).await?;
        let mut told = Wish::Run;
        let mut silence = self.silence();
        loop {
            let word = tokio::select! {
                biased;
                wished = wish.changed(), if told < Wish::Kill => {
                    // Whoever wished is gone, and with it this run.
                    wished.map_err(|_| Lost)?;
                    told = *wish.borrow_and_update();
                    silence = self.silence();
                    wire.say(if told == Wish::Kill { &Order::Kill } else { &Order::Interrupt }).await?;
                    continue;
                }
                word = wire.hear() => word?,
                () = &mut silence => return Err(self.unheard()),
            };
            let progress = match word {
                Word::Began => Progress::Began,
                Word::Text(text) => Progress::Text(text),
                Word::Alive => {
                    // One that is to end now has no time left to be well.
                    if told < Wish::Kill {
                        silence = self.silence();
                    }
                    continue;
                }
                Word::Poison => {
                    self.world.platter().strike(Death::Kill);
                    return std::future::pending().await;
                }
                Word::Answered(reply) => return Ok(End::Answered { reply }),
                Word::Failed(why, partial) => return Ok(End::Failed { why, partial }),
                Word::Interrupted(partial) => return Ok(End::Interrupted { partial }),
                Word::Gone(_) => return Err(Lost),
            };
            silence = self.silence();
            let _nobody_listens = reports.send(Report { turn, what: What::Progress(progress) }).await;
        }
    }

    /// Of a run that said no last word nothing is reported, and that only once nothing of it is left.
    async fn give_up(&self, which: Which) {
        let found = self.end(Whose::Run(which)).await;
        self.world.logbook.note(Lane::Gateway, Kind::Input, || {
            let found = if found > 0 { "was lost in mid-turn and is ended" } else { "is gone without a word" };
            format!("the agent of turn {} {found}", which.turn)
        });
    }

    /// Has the host end these, however often that has to be said, and gives how many it found.
    async fn end(&self, whose: Whose) -> usize {
        loop {
            let asked = async {
                let mut wire = self.connect().await?;
                wire.say(&Order::End(whose)).await?;
                wire.hear().await
            };
            if let Ok(Ok(Word::Gone(found))) = self.within(asked).await {
                return found;
            }
            self.environment.sleep_until(self.environment.now() + AGAIN).await;
        }
    }

    async fn connect(&self) -> std::io::Result<Wire<Box<dyn Stream>>> {
        Ok(Wire::new(self.environment.connect(HOST, PORT).await?))
    }

    fn silence(&self) -> BoxFuture<()> {
        self.environment.sleep_until(self.environment.now() + PATIENCE)
    }

    async fn within<T>(&self, what: impl Future<Output = T>) -> Result<T, Lost> {
        tokio::select! {
            biased;
            done = what => Ok(done),
            () = self.silence() => Err(self.unheard()),
        }
    }

    fn unheard(&self) -> Lost {
        self.world.logbook.mark(Mark::AgentsUnheard);
        Lost
    }
}
