//! The simulated world behind the gateway's [`Environment`]: turmoil's clock and sockets, the simulated disk, tasks in place of
//! threads, dice in place of the kernel's randomness. One of these serves one life of the process and goes silent with it.

use super::dice::Dice;
use super::disk::{Alive, OpenDisk};
use super::door::{Berths, Door};
use super::http::{CONTROL_PORT, NETWORK_PORT};
use super::logbook::Mark;
use super::world::World;
use crate::story::{Kind, Lane};
use evergate::candidate::OnDisk;
use evergate::environment::{Address, BoxFuture, Disk, Environment, Listener, Stream, Task, Told};
use evergate::reload::Reloaded;
use evergate_core::time::Instant;
use evergate_core::verdict::Verdict;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Sleep;
use turmoil::net::{TcpListener, TcpStream};

/// The world as one process sees it.
pub struct Simulated {
    world: Arc<World>,
    alive: Alive,
    origin: tokio::time::Instant,
    random: Mutex<Dice>,
    isolated: Mutex<JoinSet<()>>,
    /// Those that nobody waits for when the process ends.
    left_alone: Mutex<JoinSet<()>>,
    berths: Arc<Berths>,
}

impl Simulated {
    /// The world for a process that starts now, inside its host.
    #[must_use]
    pub fn new(world: Arc<World>, alive: Alive) -> Self {
        let started = world.process().started;
        let random = Mutex::new(Dice::apart(world.plan.seed, &format!("random {started}")));
        let berths = Arc::new(Berths::new(Arc::clone(&alive)));
        let origin = tokio::time::Instant::now();
        Self { world, alive, origin, random, isolated: Mutex::default(), left_alone: Mutex::default(), berths }
    }

    /// The tasks that stand for threads and are waited for when the process ends. The others are ended now.
    pub fn take_isolated(&self) -> JoinSet<()> {
        let take = |tasks: &Mutex<_>| std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner));
        drop(take(&self.left_alone));
        take(&self.isolated)
    }

    fn lives(&self) -> bool {
        self.alive.load(Relaxed)
    }
}

impl Environment for Simulated {
    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn unix_ms(&self) -> u64 {
        let simulated = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        1_700_000_000_000 + u64::try_from(simulated).unwrap_or_default()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep_until(self.origin + Duration::from_millis(at.as_millis())))
    }

    fn listen(&self, address: &Address) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        let (port, shown) = match address {
            Address::Network(address) => (NETWORK_PORT, Some(*address)),
            Address::Platform(address) => (address.port(), Some(*address)),
            Address::Control(_) => (CONTROL_PORT, None),
        };
        let berths = Arc::clone(&self.berths);
        Box::pin(async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
            Ok(Box::new(Door { listener, shown, berths }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, host: &str, port: u16) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let (host, berths) = (host.to_owned(), Arc::clone(&self.berths));
        Box::pin(async move { Ok(berths.moor(TcpStream::connect((host.as_str(), port)).await?)) })
    }

    fn journal_disk(&self, _: &Path) -> Box<dyn Disk> {
        Box::new(OpenDisk { platter: Arc::clone(&self.world.platter), owner: Arc::clone(&self.alive) })
    }

    fn isolate(&self, name: &'static str, task: Task) -> io::Result<()> {
        let tasks = if name == "reclaim" { &self.left_alone } else { &self.isolated };
        let mut isolated = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        match name {
            "journal" => isolated.spawn_local(Slow { task: task(), world: Arc::clone(&self.world), delay: None }),
            _ => isolated.spawn_local(task()),
        };
        Ok(())
    }

    fn guard(&self, end: Option<(Instant, Verdict)>) {
        let now_ms = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        let end = end.map(|(at, verdict)| {
            let left = (at - self.now()).as_millis();
            (u64::try_from(now_ms + left).unwrap_or(u64::MAX), verdict)
        });
        if self.lives() {
            self.world.process().guard = end;
        }
    }

    fn tell_supervisor(&self, told: Told) {
        if !self.lives() {
            return;
        }
        if let Told::Status(phase) = told {
            // What follows a semicolon is for people.
            self.world.process().phase = phase.split(';').next().unwrap_or(phase);
        }
        if let Told::Ready = told {
            self.world.process().served = true;
        }
        self.world.logbook.note(Lane::Gateway, Kind::Effect, || match told {
            Told::Ready => "ready".into(),
            Told::Stopping => "about to leave".into(),
            Told::Extend(by) => format!("not before {} ms", by.as_millis()),
            Told::Alive => "gets on".into(),
            Told::Status(phase) => phase.into(),
        });
    }

    fn supervisor_stops_us(&self) -> BoxFuture<Option<bool>> {
        Box::pin(std::future::ready(None))
    }

    fn check_candidate(&self) -> BoxFuture<Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn program_on_disk(&self) -> OnDisk {
        OnDisk::Same
    }

    fn version_on_disk(&self) -> BoxFuture<Option<String>> {
        Box::pin(async { None })
    }

    fn reload_wanted(&self) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }

    fn read_configuration(&self) -> BoxFuture<Result<Reloaded, String>> {
        Box::pin(async { Err("nothing is configured here".into()) })
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.fill_with(|| random.next().to_le_bytes()[0]);
    }
}

/// The journal's thread on a slow disk: each time it is woken it may take a while until it gets on. The batch is in its hands
/// then and not on disk.
struct Slow {
    task: Pin<Box<dyn Future<Output = ()>>>,
    world: Arc<World>,
    delay: Option<Pin<Box<Sleep>>>,
}

impl Future for Slow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.delay.is_none() {
            let most = self.world.slow_ms.load(Relaxed);
            let takes = match most {
                0 => 0,
                most => self.world.pace.lock().unwrap_or_else(PoisonError::into_inner).between(0, most),
            };
            if takes > 0 {
                self.world.logbook.mark(Mark::SlowSync);
                self.delay = Some(Box::pin(tokio::time::sleep(Duration::from_millis(takes))));
            }
        }
        if let Some(delay) = &mut self.delay {
            ready!(delay.as_mut().poll(context));
            self.delay = None;
        }
        self.task.as_mut().poll(context)
    }
}
