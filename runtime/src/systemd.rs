//! Talks with systemd when it is our supervisor: tells it how far we are, and asks it what it wants of us. Owns the
//! notify socket and the reading of systemd's answers; it never decides anything and never fails its caller.
//!
//! Measured on systemd 252, in a unit with nothing but `Restart=on-failure`:
//!
//! | what happened to the unit                  | `ActiveState` that the unit reads of itself | `Job`    |
//! |--------------------------------------------|---------------------------------------------|----------|
//! | nothing                                    | `active`                                    | empty    |
//! | `systemctl stop`, `systemctl restart`      | `deactivating`, before the SIGTERM is seen  | a number |
//! | `kill -TERM` by hand, `systemctl kill`     | `active`                                    | empty    |
//!
//! A main process that dies of SIGTERM, or leaves with 0, counts as clean and is *not* started again by
//! `Restart=on-failure`; one that leaves with 75 while it is being stopped makes the unit `failed`. The default
//! `KillMode=control-group` signals the whole control group, the `systemctl` we are just asking with included.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{Error, ErrorKind, IoSlice, Result},
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    os::unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
        process::parent_id,
    },
    process::{self, Stdio},
    time::Duration,
};

use crate::run::OF_FAULTS;
use crate::unit_state::{POLICY, UnitState};
use evergate_core::{supervisor::Death, verdict::RESTART};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::{Deserialize, Serialize};
use tokio::{process::Command, runtime, time};
use tracing::{debug, warn};

/// Names the socket at which `evergate supervise` hears from its child that it gets on.
pub const KEEPER: &str = "EVERGATE_KEEPER";
/// How long [`restarts`] waits for an answer.
const RESTARTS_TIMEOUT: Duration = Duration::from_secs(2);
/// What is asked of a unit.
const PROPERTIES: &str =
    "ActiveState,SubState,MainPID,ExecMainPID,NRestarts,TimeoutStopUSec,WatchdogUSec,FileDescriptorStoreMax";
/// Pause before asking again when `systemctl` was killed with the rest of our control group.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The line to a supervisor that speaks systemd's notify protocol (`sd_notify(3)`); silent when there is none.
///
/// Whatever is told is one datagram, sent without waiting: a supervisor that does not read never holds us up. The
/// variable `NOTIFY_SOCKET` stays in the environment, because a re-exec in place needs it again; take it away from
/// children that are not the gateway.
#[derive(Clone, Debug)]
pub struct Notify {
    supervisor: Option<SocketAddr>,
}

impl Notify {
    /// The listener that this variable names, or nobody: `NOTIFY_SOCKET` names systemd, [`KEEPER`] our own supervisor.
    pub fn from_environment(variable: &str) -> Self {
        match env::var_os(variable) {
            Some(name) if !name.is_empty() => Self::to(&name),
            _ => Self { supervisor: None },
        }
    }

    /// The supervisor listening at `name`: an absolute path, or `@` and an abstract name.
    fn to(name: &OsStr) -> Self {
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name),
            [b'@', rest @ ..] => abstract_address(rest),
            _ => Err(Error::from(ErrorKind::Unsupported)),
        };
        if let Err(error) = &address {
            warn!(%error, socket = ?name, "cannot notify the supervisor: NOTIFY_SOCKET is neither a path nor an abstract name");
        }
        Self { supervisor: address.ok() }
    }

    /// The gateway serves. Counts for `Type=notify`; without effect elsewhere.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The gateway gets on. Counts for `WatchdogSec`; without effect elsewhere.
    pub fn alive(&self) {
        // Not a word in the log: whoever says this must not stand still with it, and what fails here fails for the next word.
        if let Some(supervisor) = &self.supervisor {
            let _unheard = send_datagram(supervisor, "WATCHDOG=1", &[]);
        }
    }

    /// The gateway leaves for good. systemd then starts `TimeoutStopSec`, so this must not be sent before a restart in
    /// place, nor by a child of `evergate supervise` that will be started again.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The end of the gateway gets on, and may take so long from now. Counts only when it comes before the limit that holds, and
    /// never makes that earlier.
    pub fn extend(&self, by: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()));
    }

    /// Whether there is anybody to be told.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.supervisor.is_some()
    }

    /// One line about what the gateway is doing, for `systemctl status`.
    pub fn status(&self, line: &str) {
        let line: String = line.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        self.send(&format!("STATUS={line}"));
    }

    /// Has systemd hold this descriptor under a name, up to the unit's `FileDescriptorStoreMax`, and give it to every process that
    /// it starts for the unit until that is down for good. One that it holds already is the same to it.
    pub fn keep(&self, descriptor: BorrowedFd<'_>, name: &str) {
        self.send_with(&format!("FDSTORE=1\nFDNAME={name}"), &[descriptor.as_raw_fd()]);
    }

    /// Has systemd close what it holds under that name.
    pub fn forget(&self, name: &str) {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    fn send(&self, state: &str) {
        self.send_with(state, &[]);
    }

    fn send_with(&self, state: &str, descriptors: &[RawFd]) {
        let Some(supervisor) = &self.supervisor else { return };
        match send_datagram(supervisor, state, descriptors) {
            Ok(()) => debug!(state, "told the supervisor"),
            Err(error) => warn!(%error, state, "could not tell the supervisor; going on without"),
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) fn abstract_address(name: &[u8]) -> Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

/// Abstract names exist on Linux only, and so does systemd.
#[cfg(not(target_os = "linux"))]
pub(crate) fn abstract_address(_name: &[u8]) -> Result<SocketAddr> {
    Err(Error::from(ErrorKind::Unsupported))
}

fn send_datagram(supervisor: &SocketAddr, state: &str, descriptors: &[RawFd]) -> Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(supervisor)?;
    if descriptors.is_empty() {
        return socket.send(state.as_bytes()).map(|_| ());
    }
    let (text, rights) = ([IoSlice::new(state.as_bytes())], [ControlMessage::ScmRights(descriptors)]);
    sendmsg::<()>(socket.as_raw_fd(), &text, &rights, MsgFlags::empty(), None)?;
    Ok(())
}

/// Whether systemd started this very process and starts it again, as opposed to a shell or a program that it started.
///
/// systemd 248 and newer say so with `SYSTEMD_EXEC_PID`, which also holds after a re-exec in place. Older ones are
/// known by `INVOCATION_ID` and by being our parent, PID 1.
pub fn is_our_supervisor() -> bool {
    started_us(env::var_os("SYSTEMD_EXEC_PID"), env::var_os("INVOCATION_ID"), process::id(), parent_id())
}

fn started_us(exec_pid: Option<OsString>, invocation: Option<OsString>, own_pid: u32, parent_pid: u32) -> bool {
    match exec_pid {
        Some(exec_pid) => exec_pid.to_str().and_then(|pid| pid.parse().ok()) == Some(own_pid),
        None => invocation.is_some() && parent_pid == 1,
    }
}

/// Whether systemd is stopping our unit right now, to leave it stopped or to start it again: the SIGTERM was then no
/// stray one. `None` when systemd cannot be asked within `timeout`, or does not know us as the unit's main process.
pub async fn stop_job_pending(timeout: Duration) -> Option<bool> {
    match ask(timeout).await?.get("ActiveState") {
        "deactivating" => Some(true),
        "active" | "activating" | "reloading" | "refreshing" => Some(false),
        _ => None,
    }
}

/// How often systemd started our unit again by itself since somebody last started it (`NRestarts`). `None` when systemd cannot be
/// asked.
async fn restarts() -> Option<u32> {
    ask(RESTARTS_TIMEOUT).await?.get("NRestarts").parse().ok()
}

/// [`restarts`], asked before there is any loop.
#[must_use]
pub fn starts_by_itself() -> Option<u32> {
    runtime::Builder::new_current_thread().enable_all().build().ok()?.block_on(restarts())
}

/// How long systemd leaves a unit between SIGTERM and SIGKILL (`TimeoutStopSec=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopLimit {
    /// So long.
    After(Duration),
    /// For ever.
    Never,
}

impl StopLimit {
    /// Reads it as `systemctl show` prints it, such as `1min 30s`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "infinity" => Some(Self::Never),
            span => humantime::parse_duration(span).ok().map(Self::After),
        }
    }
}

/// The variable with which a process that is replaced tells the next image what systemd has said, and which process that is for.
pub const HEARD: &str = "EVERGATE_SYSTEMD_TERMS";

/// What of our unit's terms is systemd's to say, whatever the unit's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// When it kills.
    pub stop_limit: StopLimit,
    /// Whether it keeps a socket for the next process.
    pub keeps_sockets: bool,
    /// Whether it starts the unit again after an exit with the status of a restart, or of a fault, however often.
    pub starts_again: bool,
    /// Whether it is stopping the unit: a process that took another's place in the middle of a stop never saw the signal.
    pub stopping: bool,
    /// How often it has started the unit by itself (`NRestarts`): after a death, and after an exit that asked for that. It begins
    /// anew with the first start after one that it left at its end, not with one in its pause.
    pub restarts: u32,
}

impl Terms {
    /// What a unit's properties come to. `None` when they say nothing of when it kills.
    #[must_use]
    pub fn of(state: &UnitState) -> Option<Self> {
        Some(Self {
            stop_limit: StopLimit::parse(state.get("TimeoutStopUSec"))?,
            keeps_sockets: state.get("FileDescriptorStoreMax").parse().is_ok_and(|most: u32| most > 0),
            starts_again: OF_FAULTS.into_iter().chain([RESTART]).all(|status| state.revives(Death::Exited(status)))
                && !state.limits_starts(),
            stopping: state.get("ActiveState") == "deactivating",
            restarts: state.get("NRestarts").parse().unwrap_or(0),
        })
    }

    /// Tells the next image of this very process.
    pub fn hand_over(&self, command: &mut process::Command) {
        if let Ok(said) = serde_json::to_string(&(process::id(), self)) {
            command.env(HEARD, said);
        }
    }

    /// What the image before this one has handed over. Whoever is below this process inherits the variable and is not meant.
    pub fn handed_over() -> Option<Self> {
        let (pid, terms): (u32, Self) = serde_json::from_str(&std::env::var(HEARD).ok()?).ok()?;
        (pid == process::id()).then_some(terms)
    }
}

/// The terms that really hold for our unit. `None` when systemd cannot be asked within `timeout`.
pub async fn terms(timeout: Duration) -> Option<Terms> {
    Terms::of(&ask(timeout).await?)
}

/// Asks for our unit until there is an answer or `timeout` is over.
async fn ask(timeout: Duration) -> Option<UnitState> {
    let unit = Unit::of_this_process()?;
    let state = match time::timeout(timeout, unit.show()).await {
        Ok(state) => state?,
        Err(_) => {
            warn!(unit = unit.name, "systemd did not answer in time");
            return None;
        }
    };
    let main_pid = state.get("MainPID");
    if main_pid.parse() != Ok(process::id()) {
        debug!(unit = unit.name, main_pid, "another process is our unit's main process");
        return None;
    }
    Some(state)
}

/// A service, as its manager knows it: systemd by what a control group says, launchd by domain and label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Whose manager that is.
    pub manager: Manager,
}

/// Which service manager manages a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// The machine's.
    System,
    /// A user's own.
    User,
}

impl Unit {
    /// The unit that this process runs in.
    pub fn of_this_process() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/cgroup").ok()?)
    }

    /// The unit that another process runs in.
    pub fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
    }

    /// Finds the unit in the text of `/proc/self/cgroup`: the last component that ends in `.service`, so that control
    /// groups below the unit's own do not hide it and a path relative to a control group namespace still names it. A
    /// user's manager runs in `user@UID.service`, its units below.
    fn parse(cgroups: &str) -> Option<Self> {
        let path_of = |line: &'_ str| -> Option<String> {
            let (_, controllers_and_path) = line.split_once(':')?;
            let (controllers, path) = controllers_and_path.split_once(':')?;
            matches!(controllers, "" | "name=systemd").then(|| path.to_owned())
        };
        cgroups.lines().filter_map(path_of).find_map(|path| {
            let mut services = path.split('/').filter(|component| component.ends_with(".service"));
            let name = services.next_back()?;
            let manager = match services.any(|service| service.starts_with("user@")) {
                true => Manager::User,
                false => Manager::System,
            };
            // A unit whose control group would clash with a file of the kernel's has `_` put before its name.
            let name = name.strip_prefix('_').unwrap_or(name).to_owned();
            Some(Self { name, manager })
        })
    }

    /// What the manager says of this unit; asks again when `systemctl` dies of a signal, because a stop that signals
    /// our whole control group hits it as well. `None` when it cannot be run or answers something else.
    pub async fn show(&self) -> Option<UnitState> {
        loop {
            let mut systemctl = Command::new("systemctl");
            if self.manager == Manager::User {
                systemctl.arg("--user");
            }
            systemctl.args(["show", "--property", PROPERTIES, "--property", POLICY, "--"]).arg(&self.name);
            systemctl.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
            let output = systemctl.output().await.inspect_err(|error| debug!(%error, "cannot run systemctl")).ok()?;
            if output.status.code().is_some() {
                return Some(UnitState::parse(&String::from_utf8_lossy(&output.stdout)));
            }
            time::sleep(ASK_AGAIN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(cgroups: &str) -> Option<(String, Manager)> {
        Unit::parse(cgroups).map(|unit| (unit.name, unit.manager))
    }

    #[test]
    fn the_unit_is_read_from_every_form_of_the_control_group_file() {
        let system = |name: &str| Some((name.to_owned(), Manager::System));
        let user = |name: &str| Some((name.to_owned(), Manager::User));
        let table = [
            ("0::/system.slice/evergate.service\n", system("evergate.service")),
            ("0::/../evergate.service\n", system("evergate.service")),
            ("0::/system.slice/evergate.service/agents\n", system("evergate.service")),
            ("0::/system.slice/system-evergate.slice/evergate@main.service\n", system("evergate@main.service")),
            ("0::/system.slice/_cgroup.service\n", system("cgroup.service")),
            (r"0::/system.slice/my\x2dgate.service", system(r"my\x2dgate.service")),
            ("9:name=systemd:/\n4:memory:/a.service\n0::/system.slice/b.service\n", system("b.service")),
            ("1:name=systemd:/system.slice/c.service\n0::/\n", system("c.service")),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/evergate.service\n", user("evergate.service")),
            ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", system("user@1000.service")),
            ("0::/user.slice/user-1000.slice/session-1.scope\n", None),
            ("0::/\n", None),
            ("", None),
            ("nonsense\n::\n", None),
        ];
        for (cgroups, expected) in table {
            assert_eq!(unit(cgroups), expected, "{cgroups:?}");
        }
    }

    #[test]
    fn a_stop_limit_is_read_as_systemctl_prints_it() {
        let after = |millis| Some(StopLimit::After(Duration::from_millis(millis)));
        for (text, limit) in [
            ("1min 30s", after(90_000)),
            ("45s", after(45_000)),
            ("1s 500ms", after(1_500)),
            ("1h", after(3_600_000)),
            ("infinity", Some(StopLimit::Never)),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(StopLimit::parse(text), limit, "{text:?}");
        }
    }

    #[test]
    fn a_unit_surely_starts_again_only_what_it_starts_after_every_status_of_ours_and_without_a_limit() {
        let surely = |lines: &str| {
            let state = UnitState::parse(&format!("TimeoutStopUSec=1min 30s\n{lines}"));
            Terms::of(&state).map(|terms| terms.starts_again)
        };
        for (lines, expected) in [
            ("Restart=on-failure\nRestartPreventExitStatus=78\nStartLimitIntervalUSec=0", true),
            ("Restart=always\nStartLimitIntervalUSec=0", true),
            ("Restart=on-failure\nStartLimitIntervalUSec=10s\nStartLimitBurst=5", false),
            ("Restart=no\nRestartForceExitStatus=75\nStartLimitIntervalUSec=0", false),
            ("Restart=on-failure\nSuccessExitStatus=70\nStartLimitIntervalUSec=0", false),
            ("Restart=no\nStartLimitIntervalUSec=0", false),
        ] {
            assert_eq!(surely(lines), Some(expected), "{lines}");
        }
    }

    #[test]
    fn only_the_process_that_systemd_started_itself_is_supervised_by_it() {
        let text = |text: &str| Some(OsString::from(text));
        assert!(started_us(text("7"), text("id"), 7, 1));
        assert!(started_us(text("7"), None, 7, 99), "a user's manager is not PID 1");
        assert!(!started_us(text("7"), text("id"), 8, 7), "a child inherits the variable");
        assert!(!started_us(text("7"), text("id"), 8, 1), "an orphan inherits it as well");
        assert!(!started_us(text("x"), text("id"), 8, 1));
        assert!(started_us(None, text("id"), 8, 1), "systemd before 248");
        assert!(!started_us(None, text("id"), 8, 7));
        assert!(!started_us(None, None, 8, 1), "another PID 1");
    }

    #[test]
    fn notices_arrive_at_a_path_and_at_an_abstract_name_one_line_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("evergate-notify-{}", process::id());
        let address = abstract_address(abstract_name.as_bytes()).unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&address).unwrap(), OsString::from(format!("@{abstract_name}"))),
        ];
        for (socket, name) in sockets {
            let notify = Notify::to(&name);
            notify.ready();
            notify.status("draining\nREADY=1");
            notify.stopping();
            for expected in ["READY=1", "STATUS=draining READY=1", "STOPPING=1"] {
                let mut buffer = [0; 64];
                let length = socket.recv(&mut buffer).unwrap();
                assert_eq!(str::from_utf8(&buffer[..length]), Ok(expected));
            }
        }
    }

    #[test]
    fn a_supervisor_that_is_gone_or_never_reads_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let deaf = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(path.as_os_str());
        for _ in 0..10_000 {
            notify.status("still here");
        }
        drop(deaf);
        notify.ready();
        Notify::to(OsStr::new("vsock:2:1234")).ready();
    }
}
