//! One generation, from its doors and its journal to its ending, in whatever world the environment opens. What belongs to the
//! edge of the process (the lock on the state directory, signals, who supervises it, its exit) is brought by the caller.

use crate::agent::Agent;
use crate::config::StartStage;
use crate::driver::{Driver, Parts, Platforms};
use crate::environment::{Address, BoxFuture, Environment, Listener};
use crate::files::clean::keep_clean;
use crate::flight::{Head, Recorder};
use crate::journal::claim::QUIETLY;
use crate::journal::store::Store;
use crate::journal::{Journal, Owner, StoredGeneration};
use crate::local::{self, Access, Door, Local, router, serve};
use crate::platform::{Health, Platform, Switchboard, keep_running};
use crate::pulse::Pulse;
use crate::run::StartError;
use crate::start_count::Counted;
use crate::watched::Watcher;
use evergate_core::id::GenerationId;
use evergate_core::limits::Limits;
use evergate_core::recovery::{Provenance, Recovered, Start};
use evergate_core::request::Signal;
use evergate_core::supervisor::Contract;
use evergate_core::verdict::Verdict;
use evergate_core::watchdog::Part;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// How long a start waits for a dying predecessor to let go of the state directory or of the port.
pub const PREDECESSOR: Duration = Duration::from_secs(5);

/// After how many looks in vain one more control socket is made; the first follows the first.
const MADE_AGAIN_EVERY: u32 = 10;

/// A generation that has its doors and has read its journal, and has done nothing yet.
pub struct Opened {
    /// The world.
    pub environment: Arc<dyn Environment>,
    /// The store.
    pub journal: Arc<Store>,
    /// What was left unfinished.
    pub recovered: Recovered,
    /// The generation before, as far as the journal knows it.
    pub predecessor: Option<StoredGeneration>,
    /// Where the local platform really listens.
    pub listen: SocketAddr,
    /// The control socket.
    pub control_path: PathBuf,
    listener: Box<dyn Listener>,
    control: Box<dyn Listener>,
    state_dir: PathBuf,
}

/// What the edge of the process brings along.
pub struct Edge {
    /// What the core may use, wait for and try.
    pub limits: Limits,
    /// The supervisor's terms.
    pub contract: Contract,
    /// What answers.
    pub agent: Arc<dyn Agent>,
    /// Signals to the process.
    pub signals: mpsc::Receiver<Signal>,
    /// The process as the journal's owner.
    pub owner: Owner,
    /// The secrets of the network door.
    pub access: Arc<Access>,
    /// Makes sure that no process of an earlier generation's turns is alive.
    pub reclaim: BoxFuture<()>,
    /// What the watchdog looks at.
    pub pulse: Arc<Pulse>,
    /// The platforms beside the local one.
    pub platforms: Vec<Arc<dyn Platform>>,
    /// How long files are kept that nothing unfinished needs.
    pub file_age: Duration,
    /// Makes the flight recorder.
    pub record: Box<dyn FnOnce(&Head) -> Recorder + Send>,
}

impl Opened {
    /// Opens the doors, so that a second gateway cannot, and reads the journal in `state_dir`. Says how far it has come.
    pub async fn open(
        environment: Arc<dyn Environment>,
        state_dir: &Path,
        address: SocketAddr,
        passed: impl Fn(StartStage),
    ) -> Result<Self, StartError> {
        let listener = listen(&*environment, address).await?;
        passed(StartStage::AfterBinding);
        let control_path = state_dir.join("control.sock");
        let journal = Arc::new(Store::open(environment.journal_disk(state_dir))?);
        passed(StartStage::AfterJournal);
        let control = environment
            .listen(&Address::Control(control_path.clone()))
            .await
            .map_err(|error| StartError::Control { path: control_path.clone(), error })?;
        let recovered = Recovered::from_unfinished(&journal.unfinished()?);
        let predecessor = journal.generations(1)?.into_iter().next();
        let listen = listener.address().unwrap_or(address);
        let state_dir = state_dir.to_owned();
        Ok(Self { environment, journal, recovered, predecessor, listen, control_path, listener, control, state_dir })
    }

    /// The generation that this is going to be.
    #[must_use]
    pub const fn number(&self) -> GenerationId {
        self.recovered.highest.generation.next()
    }

    /// The generation before, where agents of it or of earlier ones may still run.
    #[must_use]
    pub fn left_by(&self) -> Option<&StoredGeneration> {
        self.predecessor.as_ref().filter(|last| !last.ended_in_order(self.recovered.turns.keys()))
    }

    /// Who has started this process, of which its supervisor says that it has made so many `revivals` in a row.
    #[must_use]
    pub fn start(&self, boot_id: &str, counted: Option<Counted>, revivals: u32) -> Start {
        let last = self.predecessor.as_ref().and_then(|last| last.owner.as_ref());
        self.recovered.start(provenance(last, boot_id, counted, revivals))
    }

    /// Lives to the end. The journal is still open then; closing it is the next to last thing that a process does.
    pub async fn live(mut self, start: Start, edge: Edge) -> Result<Verdict, StartError> {
        let Edge { limits, contract, agent, signals, owner, access, reclaim, pulse, .. } = edge;
        let Edge { platforms: adapters, file_age, record, .. } = edge;
        let environment = self.environment;
        self.recovered.start = start;
        let highest = self.recovered.highest;
        let head = Head::new(limits, contract, self.recovered, environment.now());
        let flight = record(&head).with_ring(pulse.ring.clone());
        let core = head.boot();
        let state_dir = self.state_dir.clone();
        let (now, now_ms) = (environment.now(), environment.unix_ms());
        let switchboard =
            Switchboard::new(&adapters, now, now_ms).beside(local::NAME, local::CAPABILITIES, now, now_ms);
        let switchboard = Arc::new(switchboard);
        let parts = Parts {
            environment: Arc::clone(&environment),
            core,
            flight,
            journal: self.journal as Arc<dyn Journal>,
            agent,
            signals,
            reclaim,
            owner,
            highest,
            state_dir: self.state_dir,
            listen: self.listen.to_string(),
            pulse,
            switchboard: Arc::clone(&switchboard),
        };
        let (driver, handle, platforms) = Driver::new(parts)?;
        let local = Local { handle, access, door: Door::Network, environment };
        let mut servers = JoinSet::new();
        let (journal, environment) = (Arc::clone(&local.handle.journal), Arc::clone(&local.environment));
        servers.spawn(keep_clean(journal, environment, platforms.clone(), state_dir.clone(), file_age));
        for adapter in adapters {
            let Some(line) = switchboard.line(adapter.name()).map(Arc::clone) else { continue };
            let (handle, environment) = (local.handle.clone(), Arc::clone(&local.environment));
            servers.spawn(keep_running(adapter, line, handle, environment, platforms.clone(), state_dir.clone()));
        }
        drive(driver, local, [self.listener, self.control], platforms, &self.control_path, servers, &switchboard)
            .await
            .map_err(|error| StartError::System { what: "a thread cannot be started", error })
    }
}

/// Runs the driver beside its servers, which have threads of their own: what people read of the journal holds up no loop, and a
/// stuck loop holds up no door. The control socket's is served again if it hangs, and made again if somebody has removed it.
async fn drive(
    driver: Driver,
    local: Local,
    [listener, control]: [Box<dyn Listener>; 2],
    platforms: Watcher<Platforms>,
    control_path: &Path,
    mut servers: JoinSet<()>,
    switchboard: &Switchboard,
) -> std::io::Result<Verdict> {
    let pulse = Arc::clone(&local.handle.pulse);
    let environment = Arc::clone(&local.environment);
    let inside = Local { door: Door::Control, ..local.clone() };
    // Clients have waited at the network door since the last generation closed it; nobody has found the control socket before.
    let mut door = Some(serve_apart("door", listener, local, platforms.clone(), None)?);
    let mut gone = serve_apart("control", control, inside.clone(), platforms.clone(), Some(control_path))?;
    let mut driving = std::pin::pin!(driver.run());
    let verdict = loop {
        tokio::select! {
            biased;
            verdict = driving.as_mut() => break verdict,
            Some(ended) = servers.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a platform's adapter broke; its chats are served again after a restart");
            },
            left = left(&mut door) => {
                door = None;
                if left.is_err() && platforms.now() == Platforms::Open {
                    let why = "its server broke; the local chats are served again after a restart".to_owned();
                    if let Some(line) = switchboard.line(local::NAME) {
                        line.set_health(Health::Parked { why }, environment.unix_ms());
                    }
                }
            },
            () = pulse.starts_again(Part::Control) => {
                // The thread that hangs is left behind: nobody can end it, and nobody waits for it.
                match environment.listen(&Address::Control(control_path.to_owned())).await {
                    Ok(control) => match serve_apart("control", control, inside.clone(), platforms.clone(), Some(control_path)) {
                        Ok(fresh) => gone = fresh,
                        Err(error) => tracing::error!(%error, "the control socket cannot be served again"),
                    },
                    Err(error) => tracing::error!(%error, "the control socket cannot be made again"),
                }
            }
        }
    };
    pulse.is_over();
    while servers.join_next().await.is_some() {}
    if door.is_some() {
        let _broken_or_not = left(&mut door).await;
    }
    // A control thread that hangs has been left behind; the one that is waited for is the last.
    let _broken_or_not = gone.await;
    Ok(verdict)
}

/// Ends with the thread that serves, if there is one: well, or with an error where it broke.
async fn left(serving: &mut Option<oneshot::Receiver<()>>) -> Result<(), oneshot::error::RecvError> {
    match serving {
        Some(serving) => serving.await,
        None => std::future::pending().await,
    }
}

/// Serves a door on a thread of its own; that of the control socket, which lies there, counts what it does. One that nobody can
/// find any more has another one made, and leaves when it is there. The answer comes when the thread is done.
fn serve_apart(
    name: &'static str,
    listener: Box<dyn Listener>,
    local: Local,
    closing: Watcher<Platforms>,
    control: Option<&Path>,
) -> std::io::Result<oneshot::Receiver<()>> {
    let (leave, left) = oneshot::channel();
    let (metrics, pulse) = (Arc::clone(&local.handle.metrics), Arc::clone(&local.handle.pulse));
    let (environment, control) = (Arc::clone(&local.environment), control.map(Path::to_owned));
    let world = Arc::clone(&environment);
    let serving = move || async move {
        let beats = async {
            let Some(control) = control else { return std::future::pending().await };
            // How often it was looked for in vain.
            let mut missed = 0_u32;
            loop {
                pulse.asked(Part::Control).await;
                pulse.nap(Part::Control);
                match (world.finds(&control), missed) {
                    (true, 0) => pulse.done(Part::Control),
                    // Another one serves what is there now.
                    (true, _) => return,
                    (false, _) => {
                        if missed == 0 {
                            tracing::warn!(socket = %control.display(), "somebody has removed the control socket; it is made again");
                        }
                        if missed.is_multiple_of(MADE_AGAIN_EVERY) {
                            pulse.start_again(Part::Control);
                        }
                        missed = missed.saturating_add(1);
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = serve(listener, router(local), closing, metrics) => {}
            () = beats => {}
        }
        let _nobody_waits = leave.send(());
    };
    environment.isolate(name, Box::new(move || Box::pin(serving())))?;
    Ok(left)
}

/// What is known of how a process came to be started behind the owner of the last generation.
fn provenance(last: Option<&Owner>, boot_id: &str, counted: Option<Counted>, revivals: u32) -> Provenance {
    let both = counted.zip(last.and_then(|owner| owner.start));
    Provenance {
        revivals,
        unbegun: both.and_then(|(counted, begun)| counted.between(begun)),
        left: both.is_some_and(|(counted, begun)| counted.has_left(begun)),
        rebooted: last.is_some_and(|owner| owner.boot_id != boot_id),
    }
}

/// Listens, waiting a while for a dying predecessor to let go of the port.
async fn listen(environment: &dyn Environment, address: SocketAddr) -> Result<Box<dyn Listener>, StartError> {
    let begun = environment.now();
    let (speaks_at, deadline) = (begun + QUIETLY, begun + PREDECESSOR);
    let mut silent = true;
    loop {
        match environment.listen(&Address::Network(address)).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && environment.now() < deadline => {
                if silent && environment.now() >= speaks_at {
                    silent = false;
                    let left = humantime::format_duration(PREDECESSOR - QUIETLY);
                    tracing::warn!(%address, %left, "somebody else listens at the address of the chat page; waiting for them to let go of it");
                }
                environment.sleep_until(environment.now() + Duration::from_millis(20)).await;
            }
            Err(error) => return Err(StartError::Listen { address: address.to_string(), error }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::start_count::StartNumber;

    #[test]
    fn what_was_counted_in_one_count_says_who_wanted_a_start_and_nothing_else_does() {
        let number = |since_ms: u64, number: u64| StartNumber { since_ms, number };
        let of = |counted: Option<(StartNumber, u64)>, begun: Option<StartNumber>| {
            let last = Owner { start: begun, boot_id: "this".into(), ..Owner::this_process(GenerationId(3), 1_000) };
            let counted = counted.map(|(start, left)| Counted { start, left });
            let Provenance { unbegun, left, rebooted, .. } = provenance(Some(&last), "this", counted, 1);
            assert!(!rebooted && provenance(Some(&last), "that", counted, 1).rebooted);
            (unbegun, left)
        };
        assert_eq!(of(Some((number(7, 5), 3)), Some(number(7, 4))), (Some(0), false));
        assert_eq!(of(Some((number(7, 7), 3)), Some(number(7, 4))), (Some(2), false));
        assert_eq!(of(Some((number(7, 5), 4)), Some(number(7, 4))), (Some(0), true));
        assert_eq!(of(Some((number(7, 4), 3)), Some(number(7, 4))), (None, false), "in place");
        assert_eq!(of(Some((number(8, 5), 4)), Some(number(7, 4))), (None, false), "the count has begun anew");
        assert_eq!(of(Some((number(7, 5), 4)), None), (None, false), "an earlier version has not counted");
        assert_eq!(of(None, Some(number(7, 4))), (None, false));
        assert_eq!(
            provenance(None, "this", None, 0),
            Provenance { revivals: 0, unbegun: None, left: false, rebooted: false }
        );
    }
}
