//! The host that the gateway lives on: the production assembly of one generation, at the edge of a simulated process. What the
//! operating system would do for a real one (start it, signal it, end it) is done by `run`.

use super::agents::Link;
use super::environment::Simulated;
use super::http::{NETWORK_PORT, TOKEN};
use super::telegram;
use super::world::World;
use crate::story::{Kind, Lane};
use evergate::flight::{Head, Recorder};
use evergate::generation::{Edge, Opened};
use evergate::journal::{Journal, Owner};
use evergate::local::Access;
use evergate::platform::Platform;
use evergate::run::StartError;
use evergate::start_count::{Counted, StartNumber};
use evergate_core::supervisor::{Contract, Park, Supervisor};
use evergate_core::verdict::{STOP, Verdict};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::mpsc;

/// The only boot of this machine: a power cut takes nothing away that a death does not.
const BOOT: &str = "simulated";

/// One life of the process, as `main` has it.
pub async fn process(world: Arc<World>) -> turmoil::Result {
    let alive = super::disk::Alive::new(true.into());
    let (signal, signals) = mpsc::channel(16);
    {
        let mut process = world.process();
        process.started += 1;
        (process.phase, process.guard, process.ended, process.served) = ("starting", None, None, false);
        (process.signals, process.alive) = (Some(signal), Arc::clone(&alive));
    }
    world.platter().take_over(&alive);
    let environment = Arc::new(Simulated::new(Arc::clone(&world), Arc::clone(&alive)));
    let lived = generation(&world, Arc::clone(&environment), signals).await;
    if !alive.load(Relaxed) {
        // It died in the middle of something; whatever it believes to have done since has not happened.
        return std::future::pending().await;
    }
    let mut isolated = environment.take_isolated();
    let status = match lived {
        Ok(verdict) => {
            // What stood for its threads is over with it, and must have ended well. Nobody waits for the one that ends what an
            // earlier generation left running: it dies with the process.
            while let Some(ended) = isolated.join_next().await {
                ended?;
            }
            world.logbook.note(Lane::Gateway, Kind::End, || format!("ends: {verdict}"));
            let started = world.process().started;
            world.process().left = started;
            let stopped = world.process().stop_accepted_in == Some(world.logbook.generation());
            if stopped && verdict != Verdict::Exit(STOP) {
                world.logbook.broken("EXIT", format!("a stop was accepted, and the process ends with {verdict}"));
            }
            match verdict {
                Verdict::Exit(status) => status,
                Verdict::ReExec | Verdict::StayUp => {
                    return Err(format!("under `evergate supervise` a gateway leaves, and this one: {verdict}").into());
                }
            }
        }
        Err(error) => {
            world.logbook.note(Lane::Gateway, Kind::End, || format!("cannot start: {error}"));
            let park = match Contract::of(Supervisor::Evergate).park {
                Park::Exit(status) => status,
                Park::StayUp => return Err("a gateway under `evergate supervise` stays up parked".into()),
            };
            error.try_again().unwrap_or(park)
        }
    };
    world.process().ended = Some(status);
    Ok(())
}

/// Keeps what a generation is told and wants for the audit. What comes behind the death of its process was not so.
fn watch(world: &Arc<World>) -> Box<dyn FnOnce(&Head) -> Recorder + Send> {
    let (world, alive) = (Arc::clone(world), Arc::clone(&world.process().alive));
    Box::new(move |head| {
        let keep = move |entry| {
            if alive.load(Relaxed) {
                world.flights().push(entry);
            }
        };
        Recorder::watched(head, Box::new(keep))
    })
}

async fn generation(
    world: &Arc<World>,
    environment: Arc<Simulated>,
    signals: mpsc::Receiver<evergate_core::request::Signal>,
) -> Result<Verdict, StartError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, NETWORK_PORT));
    let opened = Opened::open(environment, Path::new("/simulated"), address, |_| ()).await?;
    let number = opened.number();
    world.logbook.set_generation(number.0);
    let (started, left, revivals) = {
        let process = world.process();
        (process.started, process.left, process.revivals)
    };
    let counted = Counted { start: StartNumber { since_ms: 0, number: started }, left };
    let start = opened.start(BOOT, Some(counted), revivals);
    world.logbook.note(Lane::Gateway, Kind::Begin, || format!("generation {} begins ({start:?})", number.0));
    let link = Link { environment: Arc::clone(&opened.environment), world: Arc::clone(world) };
    let edge = Edge {
        limits: world.plan.limits.clone(),
        contract: Contract::of(Supervisor::Evergate),
        agent: Arc::new(link.clone()),
        signals,
        file_age: Duration::MAX,
        owner: Owner {
            version: String::new(),
            rolled_back: None,
            boot_id: BOOT.into(),
            pid: i32::try_from(started).unwrap_or(i32::MAX),
            start_time: started,
            session_id: 1,
            generation: number,
            since_ms: opened.environment.unix_ms(),
            start: Some(counted.start),
            supervisor: None,
            unit: None,
            predecessor_died_of: None,
            predecessor_died_at_ms: None,
        },
        access: Arc::new(Access::new(TOKEN.into(), format!("http://{}", opened.listen))),
        reclaim: match opened.left_by() {
            Some(_) => Box::pin(link.reclaim(number.0)),
            None => Box::pin(std::future::ready(())),
        },
        platforms: world
            .plan
            .telegram
            .iter()
            .map(|plan| Arc::new(telegram::adapter(plan)) as Arc<dyn Platform>)
            .collect(),
        pulse: Arc::new(evergate::pulse::Pulse::default()),
        record: watch(world),
    };
    let journal = Arc::clone(&opened.journal);
    world.opens_journal(&journal);
    let verdict = opened.live(start, edge).await?;
    journal.close();
    Ok(verdict)
}
