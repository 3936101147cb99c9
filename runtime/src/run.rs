//! `evergate run`: one process, from claiming the state directory to the verdict. It owns the edge of the process around
//! [`crate::generation`]; how the process ends is what that returned.

use crate::agent::{Agent, orphan};
use crate::config::{self, Config, StartStage};
use crate::detect::{self, Effective};
use crate::diagnosis;
use crate::environment::{BoxFuture, Environment};
use crate::flight::{Recorder, store};
use crate::generation::{Edge, Opened, PREDECESSOR};
use crate::journal::claim::{Claim, ClaimError};
use crate::journal::{Journal, JournalError, Owner, StoredGeneration};
use crate::kept_socket::KeptSocket;
use crate::last_words::LastWords;
use crate::local::Access;
use crate::meaning;
use crate::native::{Guard, Native};
use crate::platform;
use crate::program::Successor;
use crate::pulse::Pulse;
use crate::reload::{Load, Reload};
use crate::signals::{self, Signals};
use crate::start_count::Counted;
use crate::start_stage::Faults;
use crate::supervise;
use crate::systemd;
use crate::trial::Trial;
use crate::watchdog::{self, Watch};
use evergate_core::fault::Fault;
use evergate_core::id::GenerationId;
use evergate_core::rollback;
use evergate_core::supervisor::Supervisor;
use evergate_core::verdict::Verdict;
use std::any::Any;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;
use tokio::sync::Notify;

/// Why this gateway cannot start as it is: the supervisor is told not to try again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory is not ours.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {error}. Stop whatever listens there, or give another address with --listen or [local] listen"
    )]
    Listen {
        /// Which.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The control socket cannot be made.
    #[error(
        "cannot make the control socket {path}: {error}. A socket's path has at most 107 bytes; choose a shorter --state-dir"
    )]
    Control {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The loop broke, before it served or after.
    #[error(
        "a mistake in the program ended its loop: {why}. The log has the place; what was under way is resumed by the next start"
    )]
    Broke {
        /// What it said.
        why: String,
        /// How the process is to end for that.
        verdict: Verdict,
    },
    /// The system does not give what every process needs.
    #[error("{what}: {error}")]
    System {
        /// What failed.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
}

/// How often it is looked at whether a start has come to serve.
const GLANCE: Duration = Duration::from_millis(100);
/// The exit status of a start for which the system had no thread, memory or descriptor (`EX_OSERR` of sysexits): it may
/// have one later, so a supervisor is to try again.
const OUT_OF_RESOURCES: u8 = 71;
/// The exit status of a process whose loop broke (`EX_SOFTWARE` of sysexits).
const MISTAKE: u8 = 70;
/// The exit status of a start that met a full or failing disk (`EX_IOERR` of sysexits).
const DISK: u8 = 74;

/// The statuses after which a supervisor is to try again, beside the one that asks for it.
pub const OF_FAULTS: [u8; 3] = [MISTAKE, OUT_OF_RESOURCES, DISK];

impl StartError {
    /// What has come to nothing, for the log.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Broke { .. } => "the gateway broke",
            _ => "the gateway cannot start",
        }
    }

    /// The exit status that has a supervisor try again, where that may help; `None` when somebody has to mend something
    /// first. A disk that is full for a while must not leave a gateway dead that a crash took down meanwhile.
    #[must_use]
    pub const fn try_again(&self) -> Option<u8> {
        match self {
            Self::System { .. } => Some(OUT_OF_RESOURCES),
            Self::Journal(JournalError::OutOfReach { .. }) => Some(DISK),
            Self::Claim(ClaimError::Read { .. }) => Some(OUT_OF_RESOURCES),
            _ => None,
        }
    }
}

/// Runs one generation and says how the process is to end. All that its core is told and says is appended to `flight_log`,
/// or recorded in the state directory when there is none. `load` reads the configuration again when somebody wants that.
///
/// `guard` ends a start that hangs before its watchdog stands, and later what its own loop cannot end any more.
pub fn run(
    config: &Config,
    load: Load,
    state_dir: &Path,
    flight_log: Option<&Path>,
    guard: Arc<Guard>,
) -> Result<Verdict, StartError> {
    let system = |what| move |error| StartError::System { what, error };
    let unusable = |error| ClaimError::Unusable { path: state_dir.to_owned(), error };
    // A directory that is made here is for this user alone; what is in it is so in any case.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(unusable)?;
    let state_dir = std::fs::canonicalize(state_dir).map_err(unusable)?;
    let faults = Faults::new(&config.debug);
    let Successor { trial, terms, .. } = guard.successor.clone();
    let outside = Outside::new(config, load, &state_dir, guard)?;
    faults.passed(StartStage::BeforeLock);
    let mut claim = Claim::take(&state_dir, PREDECESSOR)?;
    // From here on whoever wants it gone knows whom that means, though it has no number yet.
    claim.record(&starting()).map_err(unusable)?;
    faults.passed(StartStage::AfterLock);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // A signal is for the thread that hears signals, and for the next image once that is deaf.
        .on_thread_start(|| {
            let _unlikely = signals::block();
        })
        .build()
        .map_err(system("the event loop cannot be set up"))?;
    let (pulse, signalled) = (Arc::clone(&outside.pulse), outside.ear.heard());
    let living = generation(config, &state_dir, flight_log, outside, claim, faults);
    let lived = catch_unwind(AssertUnwindSafe(|| runtime.block_on(living)));
    // Whatever still runs on the loop (a name look-up, say) must not hold up the end.
    runtime.shutdown_background();
    lived.unwrap_or_else(|panic| {
        if pulse.ready() {
            trial.ready();
        }
        let why = broke(&*panic, &pulse, &state_dir);
        let armed = pulse.armed();
        let fault = Fault::Failed { status: MISTAKE, standing: trial.standing() };
        let verdict = fault.verdict(&terms.contract(), armed);
        // As the guard does: a signal is not to be outlived by a process that never saw what it was for.
        let verdict = terms.at_last(verdict, signalled.load(SeqCst));
        let broke = StartError::Broke { why, verdict };
        if armed.is_none() {
            return Err(broke);
        }
        tracing::error!(%verdict, "{broke}");
        Ok(verdict)
    })
}

/// The loop broke: whoever comes next is told of what.
fn broke(panic: &(dyn Any + Send), pulse: &Pulse, state_dir: &Path) -> String {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    let why = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it did not say what".into());
    let generation = GenerationId(pulse.metrics.generation.load(Relaxed));
    let words = LastWords::now(generation, format!("a mistake in the program ended its loop: {why}"), None);
    // One that has no number yet has no place in anybody's history.
    if generation.0 > 0
        && let Err(error) = words.write(state_dir)
    {
        tracing::error!(%error, "the successor cannot be told why");
    }
    why
}

/// This process as the owner of a state directory in which it has no number yet.
fn starting() -> Owner {
    let supervisor = detect::supervisor();
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Owner {
        supervisor: Some(supervisor),
        unit: detect::unit(supervisor),
        ..Owner::this_process(GenerationId(0), u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What stands around a generation before it claims anything: a start that hangs is ended from here.
struct Outside {
    ear: Signals,
    heard: tokio::sync::mpsc::Receiver<evergate_core::request::Signal>,
    environment: Arc<dyn Environment>,
    pulse: Arc<Pulse>,
    socket: KeptSocket,
    terms: Effective,
    agent: Arc<dyn Agent>,
    counted: Option<Counted>,
}

impl Outside {
    fn new(config: &Config, load: Load, state_dir: &Path, guard: Arc<Guard>) -> Result<Self, StartError> {
        let system = |what| move |error| StartError::System { what, error };
        let hang_ups: Arc<Notify> = Arc::default();
        let (hung_up, signalled) = (Arc::clone(&hang_ups), Arc::clone(&guard.signalled));
        let (ear, heard) = Signals::listen(hung_up, signalled).map_err(system("signals cannot be received"))?;
        let Successor { socket, trial, terms, .. } = guard.successor.clone();
        let counted = trial.counted();
        let native = Native::new(Arc::clone(&guard)).serving(config.local.listen);
        let agent = meaning::agent(config);
        let reload = Arc::new(Reload::new(config.clone(), Arc::clone(&agent), load));
        let environment: Arc<dyn Environment> = Arc::new(native.with_reload(reload, hang_ups));
        let pulse = Arc::new(Pulse::new(config.debug.hooks == config::Hooks::On, meaning::bounds(config)));
        watch(config, state_dir, &terms, (&environment, &pulse), &trial)
            .map_err(system("a thread cannot be started"))?;
        guard.stands_down();
        prove(trial, &environment, &pulse).map_err(system("a thread cannot be started"))?;
        // Its thread has started beside the others.
        ear.await_listening().map_err(system("signals cannot be received"))?;
        // Children inherit the mask of the thread that starts them.
        signals::unblock()
            .map_err(|errno| StartError::System { what: "signals cannot be unblocked", error: errno.into() })?;
        Ok(Self { ear, heard, environment, pulse, socket, terms, agent, counted })
    }
}

/// Has the trial of this start know when it serves, and when it has done so for long enough.
fn prove(trial: Trial, environment: &Arc<dyn Environment>, pulse: &Arc<Pulse>) -> std::io::Result<()> {
    let (clock, pulse) = (Arc::clone(environment), Arc::clone(pulse));
    let prove = async move {
        while !pulse.ready() {
            clock.sleep_until(clock.now() + GLANCE).await;
        }
        trial.ready();
        clock.sleep_until(clock.now() + rollback::STABLE_AFTER).await;
        if !pulse.over() {
            trial.stable();
        }
    };
    environment.isolate("trial", Box::new(move || Box::pin(prove)))
}

async fn generation(
    config: &Config,
    state_dir: &Path,
    flight_log: Option<&Path>,
    outside: Outside,
    mut claim: Claim,
    faults: Faults,
) -> Result<Verdict, StartError> {
    let Outside { ear, heard, environment, pulse, socket, terms, agent, counted } = outside;
    let limits = meaning::limits(config);
    // The supervisor is asked while the journal is read.
    let passed = move |stage| faults.passed(stage);
    let opening = Opened::open(Arc::clone(&environment), state_dir, config.local.listen, passed);
    let ((contract, systemd), opened) = tokio::join!(biased; detect::contract(&limits), opening);
    // Whoever ends this process from beside its loop goes by them, too.
    terms.found(contract, systemd.is_some_and(|said| said.keeps_sockets));
    let opened = opened?;
    // One that was handed over is known to whoever keeps it, mostly, and is told of once clients wait no more.
    if terms.keeps_sockets() && socket.is_another() {
        socket.entrust(&systemd::Notify::from_environment("NOTIFY_SOCKET"));
    }
    if systemd.is_some_and(|said| said.stopping) {
        // It was meant for the process whose place this one has taken.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM)
            .map_err(|errno| StartError::System { what: "a signal cannot be passed on", error: errno.into() })?;
    }
    let (journal, control_path) = (Arc::clone(&opened.journal), opened.control_path.clone());
    pulse.metrics.generation.store(opened.number().0, Relaxed);
    let told = opened.predecessor.as_ref().map(|last| {
        let pid = last.owner.as_ref().map(|owner| owner.pid);
        LastWords::of(last.generation, pid, state_dir)
    });
    let told = told.unwrap_or_default();
    let owner = Owner {
        start: counted.map(|counted| counted.start),
        supervisor: Some(contract.supervisor),
        unit: detect::unit(contract.supervisor),
        predecessor_died_of: told.why,
        predecessor_died_at_ms: told.at_ms,
        ..Owner::this_process(opened.number(), environment.unix_ms())
    };
    let start = opened.start(&owner.boot_id, counted, revivals(systemd));
    claim.record(&owner).map_err(|error| ClaimError::Unusable { path: state_dir.to_owned(), error })?;
    let (flight_log, flights) = (flight_log.map(Path::to_owned), state_dir.join(store::FOLDER));
    tracing::info!(
        generation = owner.generation.0, pid = owner.pid, supervisor = contract.supervisor.name(),
        state_dir = %state_dir.display(), version = env!("CARGO_PKG_VERSION"), "generation begins"
    );
    let base = format!("http://{}", opened.listen);
    let access = Access::open(state_dir, base.clone(), |bytes| environment.random(bytes))
        .map_err(|error| ClaimError::Unusable { path: state_dir.join("token"), error })?;
    print_link(&access, &base, &*environment);
    let edge = Edge {
        limits,
        contract,
        record: Box::new(move |head| match flight_log {
            Some(path) => Recorder::open(&path, head),
            None => store::record(&flights, head),
        }),
        agent,
        platforms: platform::configured(config),
        file_age: config.files.age,
        signals: heard,
        pulse: Arc::clone(&pulse),
        reclaim: reclaim(opened.left_by(), &owner, control_path.clone()),
        owner,
        access: Arc::new(access),
    };
    faults.passed(StartStage::BeforeReady);
    if let Some(thread) = watchdog::this_thread() {
        pulse.loop_turns_on(thread);
    }
    let verdict = opened.live(start, edge).await?;
    signals::block().map_err(|errno| StartError::System { what: "signals cannot be blocked", error: errno.into() })?;
    let deafening = ear.end();
    journal.close();
    let signalled = deafening.is_deaf();
    // The socket goes last of all, so that a command line sees the end only when it has happened.
    if let Err(error) = std::fs::remove_file(&control_path) {
        tracing::debug!(%error, "the control socket was gone already");
    }
    drop(claim);
    // One that came behind the last input: a successor in place would never hear of it.
    Ok(terms.at_last(verdict, signalled))
}

/// Sets the watchdog on its thread.
fn watch(
    config: &Config,
    state_dir: &Path,
    terms: &Effective,
    (environment, pulse): (&Arc<dyn Environment>, &Arc<Pulse>),
    trial: &Trial,
) -> std::io::Result<()> {
    let mut bounds = meaning::bounds(config);
    // Where something better is known to be there, a new build is not waited for so long.
    bounds.start = trial.ready_within().map_or(bounds.start, |within| within.min(bounds.start));
    let (seen, folder, clock) = (Arc::clone(pulse), state_dir.to_owned(), Arc::clone(environment));
    let trial = trial.clone();
    let last_words = move |why: &str| {
        if !seen.ready() {
            trial.not_ready();
        }
        let generation = seen.metrics.generation.load(Relaxed);
        let name = format!("{generation}-{}", clock.unix_ms());
        let diagnosis = diagnosis::write(&folder, &name, why, &seen);
        let path = diagnosis.as_ref().ok().cloned();
        let why = format!("ended by its watchdog: {why}");
        let words = LastWords::now(GenerationId(generation), why, path);
        // One that has no number yet has no place in anybody's history.
        let told = if generation > 0 { words.write(&folder) } else { Ok(()) };
        // Last, since the log may be what everything waits for.
        match diagnosis {
            Ok(path) => tracing::error!(diagnosis = %path.display(), "what it looked like inside is written down"),
            Err(error) => tracing::error!(%error, "no diagnosis can be written"),
        }
        if let Err(error) = told {
            tracing::error!(%error, "the successor cannot be told why");
        }
    };
    let (environment, pulse) = (Arc::clone(environment), Arc::clone(pulse));
    let (armed, terms) = (Arc::clone(&pulse), terms.clone());
    let ending = move || Fault::StandsStill.verdict(&terms.contract(), armed.armed());
    let (ending, last_words) = (Box::new(ending), Box::new(last_words));
    let watch = Watch { environment: Arc::clone(&environment), pulse, bounds, ending, last_words };
    environment.isolate("watchdog", Box::new(move || Box::pin(watch.run())))
}

/// How many starts in a row, this one included, the supervisor has made by itself, as far as it says so.
fn revivals(systemd: Option<systemd::Terms>) -> u32 {
    match detect::supervisor() {
        Supervisor::Evergate => std::env::var("EVERGATE_REVIVED").map_or(0, |said| supervise::revivals(&said)),
        _ => systemd.map_or(0, |said| said.restarts),
    }
}

/// Ends what agents of earlier generations left running, if the last of these was on this boot of the machine.
fn reclaim(left_by: Option<&StoredGeneration>, owner: &Owner, control: PathBuf) -> BoxFuture<()> {
    let dead = left_by.and_then(|last| last.owner.as_ref());
    let session_id = dead.filter(|dead| dead.boot_id == owner.boot_id).map(|dead| dead.session_id);
    let generation = owner.generation.0;
    Box::pin(async move {
        let Some(session_id) = session_id else { return };
        let reaped = orphan::reap(&control, generation, session_id);
        for orphan in reaped.killed {
            tracing::warn!(
                pid = orphan.pid,
                turn = orphan.turn,
                "ended a process that an agent of a dead generation left behind"
            );
        }
        for orphan in reaped.left {
            tracing::error!(
                pid = orphan.pid,
                turn = orphan.turn,
                "a process of a dead generation's agent cannot be ended"
            );
        }
    })
}

/// Tells the person who started it how to get in. What is no terminal is a log, or becomes one: it gets no secret.
fn print_link(access: &Access, base: &str, environment: &dyn Environment) {
    use std::io::{IsTerminal, Write};
    let mut out = std::io::stdout();
    let text = match detect::supervisor() {
        Supervisor::Nobody | Supervisor::Evergate if out.is_terminal() => {
            let link = access.link(|bytes| environment.random(bytes));
            format!("\n  Chat page (this link works once; `evergate link` gives another):\n  {link}\n\n")
        }
        Supervisor::Nobody | Supervisor::Evergate => {
            format!("\n  Chat page: {base} (`evergate link` gives a link to get in with)\n\n")
        }
        _ => return,
    };
    if let Err(error) = out.write_all(text.as_bytes()) {
        tracing::debug!(%error, "the link could not be printed");
    }
}
