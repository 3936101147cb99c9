//! The host of the agents. Nothing kills it: what ends a run is its own end, an order over its connection, or somebody who has
//! it struck off the roster.

use super::PORT;
use super::fate::{Bereft, Fate, Script, draw};
use super::roster::Unwelcome;
use super::wire::{Order, Run, Whose, Wire, Word};
use crate::harbor::http::{Way, call};
use crate::harbor::logbook::Mark;
use crate::harbor::oracle::answer_to;
use crate::harbor::world::World;
use crate::story::{Kind, Lane};
use evergate_core::invariant::Invariant;
use hyper::Method;
use serde_json::json;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};

/// How often a run says that it is well while it has nothing else to say.
const ALIVE_EVERY: Duration = Duration::from_millis(300);
/// What a run had said when it was cut short.
const PARTIAL: &str = "I was about to say...";

/// The host, from the beginning of the world to its end.
pub async fn host(world: Arc<World>) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(ended) = connections.join_next() => ended?,
            accepted = listener.accept() => {
                let wire = Wire::new(accepted?.0);
                connections.spawn_local(serve(wire, Arc::clone(&world)));
            }
        }
    }
}

async fn serve(mut wire: Wire<TcpStream>, world: Arc<World>) {
    match wire.hear().await {
        Ok(Order::Run(run)) => process(run, wire, &world).await,
        Ok(Order::End(whose)) => {
            let found = world.roster().end(whose);
            if found > 0 && matches!(whose, Whose::Before(_)) {
                world.logbook.mark(Mark::OrphanEnded);
            }
            world.logbook.note(Lane::Agents, Kind::Input, || format!("{whose}: {found} are ended"));
            // Who does not hear it asks again.
            let _lost = wire.say(&Word::Gone(found)).await;
        }
        // The connection broke before anybody said what it is for.
        Ok(Order::Interrupt | Order::Kill) | Err(_) => {}
    }
}

/// A run, as long as it is on the roster.
async fn process(run: Run, mut wire: Wire<TcpStream>, world: &World) {
    let which = run.which;
    let begun = world.roster().begin(&run);
    let killed = match begun {
        Ok(killed) => killed,
        Err(Unwelcome::Ended) => return,
        Err(Unwelcome::Beside(what)) => return world.logbook.broken(Invariant::Orphan.name(), what),
    };
    let script = draw(world.plan.seed, world.plan.agents, &run, world.healed.load(Relaxed));
    world.logbook.note(Lane::Agents, Kind::Effect, || {
        format!("{which} begins ({:?} after {} ms)", script.fate, script.lasts.as_millis())
    });
    let end = tokio::select! {
        biased;
        _ = killed => return,
        end = live(&run, script, &mut wire, world) => end,
    };
    world.logbook.note(Lane::Agents, Kind::Effect, || {
        let end = match &end {
            Some(Word::Answered(_)) => "with an answer",
            Some(Word::Failed(..)) => "with a failure",
            Some(_) => "because it was told to",
            None => "without a word",
        };
        format!("{which} ends {end}")
    });
    // The last word of a process is written before it is gone, and read only when it is: nothing of it is left by then.
    world.roster().over(which);
    if let Some(end) = end {
        let _lost = wire.say(&end).await;
    }
}

/// From its first word to its last, which is given back; `None` where it ends without one.
async fn live(run: &Run, script: Script, wire: &mut Wire<TcpStream>, world: &World) -> Option<Word> {
    let (says, mut words) = mpsc::channel(4);
    let mut work: Pin<Box<dyn Future<Output = Option<Word>> + '_>> = Box::pin(work(run, script, says, world));
    let mut heard = true;
    loop {
        tokio::select! {
            biased;
            order = wire.hear(), if heard => match (order, script.fate) {
                (Ok(Order::Interrupt), Fate::Stubborn) => {}
                (Ok(Order::Interrupt), Fate::LastWords) => work = Box::pin(async move {
                    sleep(script.lasts / 4).await;
                    Some(Word::Answered(answer(run)))
                }),
                (Ok(_), _) => return Some(Word::Interrupted(PARTIAL.into())),
                (Err(_), _) => {
                    world.logbook.mark(Mark::AgentBereft);
                    heard = false;
                    match script.bereft {
                        Bereft::Ends => return None,
                        Bereft::GoesOn => {}
                        Bereft::Hangs => return std::future::pending().await,
                    }
                }
            },
            Some(word) = words.recv() => tell(wire, &word).await,
            end = &mut work => {
                while let Ok(word) = words.try_recv() {
                    tell(wire, &word).await;
                }
                return end;
            }
            () = sleep(ALIVE_EVERY), if heard => tell(wire, &Word::Alive).await,
        }
    }
}

/// Whether a connection stands is seen by whoever listens.
async fn tell(wire: &mut Wire<TcpStream>, word: &Word) {
    let _lost = wire.say(word).await;
}

async fn work(run: &Run, script: Script, says: mpsc::Sender<Word>, world: &World) -> Option<Word> {
    let Script { fate, lasts, .. } = script;
    let say = async |word| drop(says.send(word).await);
    if fate == Fate::Poisonous {
        sleep(lasts / 4).await;
        say(Word::Poison).await;
        return std::future::pending().await;
    }
    say(Word::Began).await;
    if run.prompt.contains("restart yourself") {
        restart(run, world).await;
    }
    sleep(lasts / 2).await;
    say(Word::Text("I was about".into())).await;
    sleep(lasts / 2).await;
    match fate {
        Fate::Fails => Some(Word::Failed("the seed wants it so".into(), PARTIAL.into())),
        Fate::Vanishes => None,
        _ => Some(Word::Answered(answer(run))),
    }
}

fn answer(run: &Run) -> String {
    run.prompt.split("\n\n").map(answer_to).collect()
}

/// Asks for a restart from inside the turn, as `evergate restart` does, and waits for it: a gateway that waited for this
/// turn in return would wait until its budget ends.
async fn restart(run: &Run, world: &World) {
    world.logbook.input();
    let answer = call(Way::Control, Method::POST, "/v1/restart", Some(json!({"turn": run.which.turn}))).await;
    let status = answer.as_ref().map(|(status, _)| *status);
    world.logbook.note(Lane::Agents, Kind::Input, || format!("{} asks for a restart: {status:?}", run.which));
    if let Ok((202, body)) = answer {
        if let (Some(request), Some(generation)) = (body["request"].as_u64(), body["generation"].as_u64()) {
            world.oracle().asked(request, generation);
        }
        world.logbook.mark(Mark::RestartFromTurn);
        sleep(Duration::from_secs(3)).await;
    }
}
