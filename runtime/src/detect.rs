//! Who supervises this very process. Environment variables are inherited by everything below a supervised process, so each
//! hint is checked against something that only its addressee has: a PID, a parent.

use crate::launchd;
use crate::systemd::{self, Notify, StopLimit, Unit};
use evergate_core::budget::Deadlines;
use evergate_core::limits::Limits;
use evergate_core::supervisor::{Contract, Extends, Supervisor};
use evergate_core::verdict::Verdict;
use std::os::unix::process::parent_id;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The variable with which a supervisor, or a unit of ours, says whose terms hold.
pub const SUPERVISOR: &str = "EVERGATE_SUPERVISOR";
/// The variable with which `evergate supervise` says which process it is, to its child alone.
pub const SUPERVISOR_PID: &str = "EVERGATE_SUPERVISOR_PID";
/// The variable with which a unit of ours tells the limit that stands beside it, where the supervisor cannot be asked.
pub const KILL_AFTER: &str = "EVERGATE_SUPERVISOR_KILL_AFTER";

/// How long a start waits to hear what limit its supervisor really sets.
const ANSWER: Duration = Duration::from_secs(2);

/// How old an answer of systemd may be for one that takes this process's place to go by it.
const FRESH: Duration = Duration::from_secs(5);

/// The terms that hold for this process: those of the table until a start has found out what really holds. Clones are one and the
/// same, so that whoever ends the process from beside its loop goes by what the loop was told.
#[derive(Clone, Debug)]
pub struct Effective {
    table: Contract,
    found: Arc<OnceLock<Known>>,
    heard_again: Arc<Mutex<Option<(systemd::Terms, Instant)>>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    contract: Contract,
    keeps_sockets: bool,
}

impl Effective {
    /// Those of the table, for the supervisor of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self { table: Contract::of(supervisor()), found: Arc::default(), heard_again: Arc::default() }
    }

    /// Asks systemd once more, while the gateway still serves: who takes this process's place for a restart then need not, and
    /// serves the sooner.
    pub async fn ask_again(&self) {
        if self.table.supervisor == Supervisor::Systemd {
            let said = systemd::terms(ANSWER).await.map(|terms| (terms, Instant::now()));
            *self.heard_again.lock().unwrap_or_else(PoisonError::into_inner) = said;
        }
    }

    /// What was heard may hold no longer: somebody has sent a signal, and only systemd knows what for.
    fn forget(&self) {
        *self.heard_again.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Tells who takes this process's place what was heard, if that is not long ago.
    pub fn hand_over(&self, command: &mut Command) {
        let heard = self.heard_again.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((terms, _)) = heard.as_ref().filter(|(_, at)| at.elapsed() < FRESH) {
            terms.hand_over(command);
        }
    }

    /// How the process ends after all, as things are by then; `signalled` says whether a signal has told it to.
    #[must_use]
    pub fn at_last(&self, verdict: Verdict, signalled: bool) -> Verdict {
        if signalled {
            self.forget();
        }
        self.contract().at_last(verdict, signalled, self.is_left_alone())
    }

    /// Whether the `evergate supervise` that started this process is gone: nobody starts it again then, whatever its status.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.table.supervisor == Supervisor::Evergate && supervisor() != Supervisor::Evergate
    }

    /// What holds, as far as it is known by now.
    #[must_use]
    pub fn contract(&self) -> Contract {
        if self.is_left_alone() {
            return Contract::of(Supervisor::Nobody);
        }
        self.found.get().map_or(self.table, |found| found.contract)
    }

    /// It has been found out, and whether the supervisor would keep the listening socket from one process to the next.
    pub fn found(&self, contract: Contract, keeps_sockets: bool) {
        let _the_first_holds = self.found.set(Known { contract, keeps_sockets });
    }

    /// Whether the listening socket is to be given to the supervisor to keep, as far as that is known by now.
    #[must_use]
    pub fn keeps_sockets(&self) -> bool {
        self.found.get().is_some_and(|found| found.keeps_sockets)
    }
}

/// The terms of this process's supervisor, as far as systemd or a unit of ours tells them, and what systemd says. What of
/// the configured budgets does not fit below the limit that really holds is said once, with both numbers.
pub async fn contract(limits: &Limits) -> (Contract, Option<systemd::Terms>) {
    let supervisor = supervisor();
    // systemd names the socket to those alone whom it listens to (`NotifyAccess=`).
    let heard = supervisor == Supervisor::Systemd && Notify::from_environment("NOTIFY_SOCKET").is_heard();
    let systemd = ask_systemd(supervisor).await;
    let found = Found { heard, systemd, limit_beside_us: limit_beside_us(supervisor) };
    let contract = found.terms(supervisor);
    tell_of_a_short_limit(&contract, limits);
    (contract, systemd)
}

/// What a start finds out about its supervisor beyond that one's row in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether it listens to us.
    pub heard: bool,
    /// What systemd says of our unit, where it answers.
    pub systemd: Option<systemd::Terms>,
    /// The limit that a unit of ours tells where the supervisor cannot be asked.
    pub limit_beside_us: Option<StopLimit>,
}

impl Found {
    /// The terms that come of it.
    #[must_use]
    pub fn terms(&self, supervisor: Supervisor) -> Contract {
        let terms = Contract::of(supervisor);
        let terms = if self.heard { terms } else { terms.without_extension() };
        let limit = self.systemd.map(|said| said.stop_limit).or(self.limit_beside_us);
        let terms = match limit {
            Some(StopLimit::After(limit)) => terms.with_kill_after(Some(limit)),
            Some(StopLimit::Never) => terms.with_kill_after(None),
            None => terms,
        };
        match self.systemd {
            Some(systemd::Terms { starts_again: false, .. }) => terms.that_goes_on_in_place(),
            _ => terms,
        }
    }
}

fn tell_of_a_short_limit(contract: &Contract, limits: &Limits) {
    let room = Deadlines::room(limits);
    let Some(limit) = contract.kill_after.filter(|limit| *limit < room) else { return };
    let (limit, needed) = (humantime::format_duration(limit), humantime::format_duration(room));
    let supervisor = contract.supervisor.name();
    match contract.extends {
        Extends::Never => tracing::warn!(
            %limit,
            %needed,
            supervisor,
            "the supervisor kills before an end with the configured budgets is over: they are shortened; raise its limit or lower drain.budget"
        ),
        Extends::WhenTold => tracing::info!(
            %limit,
            %needed,
            silence = %humantime::format_duration(Limits::EXTENSION),
            supervisor,
            "the supervisor kills before an end with the configured budgets is over: it is told to wait while a turn gets on, and one that is silent for longer is cut early"
        ),
    }
}

/// What systemd says of our unit, where it is the supervisor and answers.
async fn ask_systemd(supervisor: Supervisor) -> Option<systemd::Terms> {
    if supervisor != Supervisor::Systemd {
        return None;
    }
    if let Some(terms) = systemd::Terms::handed_over() {
        return Some(terms);
    }
    let terms = systemd::terms(ANSWER).await;
    if terms.is_none() {
        let counted_on = Contract::of(supervisor).kill_after.map(|limit| humantime::format_duration(limit).to_string());
        tracing::warn!(counted_on, "systemd does not say when it would kill: its usual limit is counted on");
    }
    terms
}

/// What the unit of ours says under a supervisor that cannot be asked; `None`: what the table has.
fn limit_beside_us(supervisor: Supervisor) -> Option<StopLimit> {
    if matches!(supervisor, Supervisor::Systemd | Supervisor::Evergate | Supervisor::Nobody) {
        return None;
    }
    let said = std::env::var(KILL_AFTER).ok()?;
    let limit = StopLimit::parse(&said);
    if limit.is_none() {
        tracing::warn!(
            said,
            "{KILL_AFTER} is no length of time such as 45s: the supervisor's usual limit is counted on"
        );
    }
    limit
}

/// The supervisor of this process.
#[must_use]
pub fn supervisor() -> Supervisor {
    let variable = |name: &str| std::env::var(name).ok();
    let said = variable(SUPERVISOR);
    let says = |supervisor: Supervisor| said.as_deref() == Some(supervisor.name());
    if says(Supervisor::Evergate) && variable(SUPERVISOR_PID).and_then(|pid| pid.parse().ok()) == Some(parent_id()) {
        return Supervisor::Evergate;
    }
    if says(Supervisor::Nobody) {
        return Supervisor::Nobody;
    }
    if systemd::is_our_supervisor() {
        return Supervisor::Systemd;
    }
    if parent_id() == 1 && variable("XPC_SERVICE_NAME").is_some_and(|name| name != "0") {
        // Only our own plist says which of the two it is.
        return match says(Supervisor::LaunchdSuccessfulExit) {
            true => Supervisor::LaunchdSuccessfulExit,
            false => Supervisor::LaunchdKeepAlive,
        };
    }
    // In a container the engine only sees its first process; any other is somebody else's child.
    if std::process::id() == 1 {
        if variable("KUBERNETES_SERVICE_HOST").is_some() {
            return Supervisor::Kubernetes;
        }
        return Supervisor::Container;
    }
    if (parent_id() == 1 && variable("S6_VERSION").is_some()) || (says(Supervisor::S6) && parent_is("s6-supervise")) {
        return Supervisor::S6;
    }
    Supervisor::Nobody
}

/// What this supervisor calls the service that this process is; `None` where it has no names, or tells none.
#[must_use]
pub fn unit(supervisor: Supervisor) -> Option<Unit> {
    match supervisor {
        Supervisor::Systemd => Unit::of_this_process(),
        Supervisor::LaunchdKeepAlive | Supervisor::LaunchdSuccessfulExit => launchd::job_of_this_process(),
        _ => None,
    }
}

fn parent_is(program: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/comm", parent_id())).is_ok_and(|name| name.trim_end() == program)
}
