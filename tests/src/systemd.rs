//! A real systemd for a test: booted as root in namespaces of its own, with units of its own only. Owns that systemd,
//! its folder and its control group, and removes all three; it never reads or changes the machine's own systemd, and
//! it leaves `/tmp`, `/run`, `/etc` and `/proc/sys` of the machine alone.
//!
//! Inside, `/tmp`, `/run`, `/var/tmp` and `/var/log` are fresh and empty; the folder of the test programs, and with it
//! the `evergate` binary and [`Systemd::folder`], stay visible at their own paths. The network is the machine's, so a
//! service listening on 127.0.0.1 can be talked to from the test.

use std::{
    env,
    fmt::{Display, Formatter, Result as Formatted},
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use tempfile::TempDir;

/// How long systemd may take to come up, and any one command inside to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a command inside may take: longer than `systemctl stop` with systemd's own default limits.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// Pause between two looks at something that is awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Where Debian and Fedora keep the program.
const PROGRAMS: [&str; 2] = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"];
/// The targets that systemd insists on; empty ones, so that nothing but the test's units is ever started.
const TARGETS: [&str; 5] = ["test", "sysinit", "basic", "shutdown", "multi-user"];

/// First step, in a mount namespace: enters a control group of its own, so that two systemds never see each other's
/// services. `$1` the folder, `$2` the name of the group, `$3` the programs' folder, `$4` systemd.
const ENTER: &str = r#"
set -e
mount --make-rprivate /
mount -t cgroup2 cgroup2 "$1/cgroup"
group="$1/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/$2"
mkdir "$group"
echo $$ > "$group/cgroup.procs"
umount "$1/cgroup"
exec unshare --pid --fork --mount --uts --ipc --cgroup --mount-proc --kill-child sh -c "$BOOT" sh "$@"
"#;

/// Second step, as PID 1 of the new namespaces: hides what systemd could touch and becomes it.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
exec 9<"$3"
for fresh in /run /tmp /var/tmp /var/log; do mount -t tmpfs tmpfs "$fresh"; done
mkdir -p "$3"
mount --no-canonicalize --bind /proc/self/fd/9 "$3"
exec 9<&-
for kept in /etc /proc/sys; do mount --bind "$kept" "$kept"; mount -o remount,bind,ro "$kept"; done
[ ! -e /dev/console ] || mount --bind /dev/null /dev/console
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
unset NOTIFY_SOCKET INVOCATION_ID SYSTEMD_EXEC_PID BOOT
export container=other SYSTEMD_UNIT_PATH="$1/units"
exec "$4" --system --unit=test.target --log-target=null --show-status=no
"#;

/// Afterwards, in a mount namespace again: removes the control group with all that systemd made below it.
const LEAVE: &str = r#"
mount --make-rprivate /
mount -t cgroup2 cgroup2 "$1/cgroup"
find "$1/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/$2" -depth -type d -exec rmdir {} +
"#;

/// Why there is no systemd to test with on this machine. Not a failure, but a test that gets it has shown nothing and
/// must say so past the capture of the test runner: [`crate::skipped`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped(String);

impl Display for Skipped {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Formatted {
        write!(formatter, "no real systemd can be booted here: {}", self.0)
    }
}

/// What a command inside answered.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, and what it complained about, in this order.
    pub text: String,
}

/// A systemd that runs until it is dropped.
#[derive(Debug)]
pub struct Systemd {
    /// `unshare`, which ends together with systemd.
    outside: Child,
    /// systemd as the machine sees it; PID 1 inside.
    pid: u32,
    group: String,
    folder: TempDir,
}

impl Systemd {
    /// Boots one, or says why this machine cannot. Needs root, `unshare`, `nsenter` and a systemd that is installed,
    /// not one that runs.
    pub fn boot() -> Result<Self, Skipped> {
        if !geteuid().is_root() {
            return Err(Skipped("it takes root to boot one".to_owned()));
        }
        let program = PROGRAMS.into_iter().find(|program| Path::new(program).exists());
        let program = program.ok_or_else(|| Skipped(format!("neither of {PROGRAMS:?} is installed")))?;
        let programs = programs_folder();
        let folder = prepare(&programs).map_err(|error| Skipped(format!("cannot prepare its folder: {error}")))?;
        let group = format!("evergate-{}", folder.path().file_name().unwrap_or_default().display());
        // Without the test there is nobody to end it: `setpriv` has the kernel do so when the test's thread dies.
        let outside = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", ENTER, "sh"])
            .args([folder.path(), Path::new(&group), &programs, Path::new(program)])
            .env("BOOT", BOOT)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("boot.log")).map_err(|error| Skipped(error.to_string()))?)
            .spawn()
            .map_err(|error| Skipped(format!("cannot run setpriv: {error}")))?;
        let mut systemd = Self { outside, pid: 0, group, folder };
        systemd.await_boot()?;
        Ok(systemd)
    }

    /// A folder for state directories and scripts, visible inside and outside at the same path, removed at the end.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a unit, such as `evergate.service`, and has systemd read it.
    pub fn write_unit(&self, name: &str, text: &str) {
        fs::write(self.folder().join("units").join(name), text).expect("the test's own folder is writable");
        let reloaded = self.systemctl(&["daemon-reload"]);
        assert!(reloaded.status.success(), "daemon-reload: {reloaded:?}");
    }

    /// Runs `systemctl` inside and waits for its end, as `systemctl stop` waits for the service's.
    pub fn systemctl(&self, arguments: &[&str]) -> Output {
        let mut command = vec!["systemctl"];
        command.extend(arguments);
        self.inside(&command)
    }

    /// Starts a command inside without waiting for it; its PIDs are those of the inside.
    pub fn start_inside(&self, command: &[&str]) -> Child {
        Command::new("nsenter")
            .args(["-t", &self.pid.to_string(), "-a", "--"])
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter comes with unshare")
    }

    /// Runs a command inside and waits for its end; panics when it takes longer than two minutes.
    pub fn inside(&self, command: &[&str]) -> Output {
        let mut child = self.start_inside(command);
        let status = wait_for(&mut child, COMMAND_LIMIT).unwrap_or_else(|| panic!("{command:?} did not end"));
        // What these commands print fits into a pipe, so reading it after their end loses nothing.
        let mut text = Vec::new();
        let printed = child.stdout.take().map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut text));
        let complained = child.stderr.take().map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut text));
        assert!(printed.is_ok() && complained.is_ok(), "{command:?}: {printed:?}, {complained:?}");
        let text = String::from_utf8_lossy(&text).into_owned();
        Output { status, text }
    }

    /// Sends a signal, such as `TERM`, by hand to the main process of `unit`; answers the PID it had inside.
    pub fn kill_main(&self, unit: &str, signal: &str) -> u32 {
        let pid = self.main_pid(unit);
        assert_ne!(pid, 0, "{unit} runs");
        let killed = self.inside(&["sh", "-c", "kill -s \"$0\" \"$1\"", signal, &pid.to_string()]);
        assert!(killed.status.success(), "{killed:?}");
        pid
    }

    /// One property of a unit, as text; empty when it has none.
    pub fn show(&self, unit: &str, property: &str) -> String {
        let output = self.systemctl(&["show", &format!("--property={property}"), "--value", unit]);
        output.text.trim().to_owned()
    }

    /// The PID inside of a unit's main process, 0 when there is none.
    pub fn main_pid(&self, unit: &str) -> u32 {
        self.show(unit, "MainPID").parse().unwrap_or(0)
    }

    /// Waits until the unit is in `state`, such as `active`, and answers its main PID; panics with what systemd says
    /// of it when that takes longer than `limit`.
    pub fn wait_for_state(&self, unit: &str, state: &str, limit: Duration) -> u32 {
        let begun_at = Instant::now();
        while self.show(unit, "ActiveState") != state {
            if begun_at.elapsed() > limit {
                panic!("{unit} is not {state} after {limit:?}: {}", self.systemctl(&["status", unit]).text);
            }
            thread::sleep(LOOK_AGAIN);
        }
        self.main_pid(unit)
    }

    /// Waits until the unit is active with a main process other than `former`, and answers its PID.
    pub fn wait_active(&self, unit: &str, former: u32, limit: Duration) -> u32 {
        let begun_at = Instant::now();
        loop {
            let pid = self.wait_for_state(unit, "active", limit.saturating_sub(begun_at.elapsed()));
            if pid != former && pid != 0 {
                return pid;
            }
            assert!(begun_at.elapsed() <= limit, "{unit} still has the main process {former} after {limit:?}");
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn await_boot(&mut self) -> Result<(), Skipped> {
        let begun_at = Instant::now();
        loop {
            if matches!(self.outside.try_wait(), Ok(Some(_)) | Err(_)) || begun_at.elapsed() > PATIENCE {
                let said = fs::read_to_string(self.folder().join("boot.log")).unwrap_or_default();
                return Err(Skipped(format!("it did not come up: {}", said.trim())));
            }
            if let Some(pid) = child_of(self.outside.id())
                && program_of(pid).is_some_and(|program| program == "systemd")
            {
                self.pid = pid;
                if self.show("test.target", "ActiveState") == "active" {
                    return Ok(());
                }
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Systemd {
    /// Kills systemd, and with it, being PID 1, all that runs inside; then removes what it leaves.
    fn drop(&mut self) {
        // Its PID cannot be anybody else's: its parent has not awaited it, or has ended as well.
        if self.pid != 0 && child_of(self.outside.id()) == Some(self.pid) {
            let _ = kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGKILL);
            let _ = wait_for(&mut self.outside, PATIENCE);
        }
        let _ = self.outside.kill();
        let _ = self.outside.wait();
        let left = Command::new("unshare")
            .args(["--mount", "sh", "-c", LEAVE, "sh"])
            .args([self.folder.path(), Path::new(&self.group)])
            .stderr(Stdio::piped())
            .output();
        let complaint =
            left.map_or_else(|error| error.to_string(), |left| String::from_utf8_lossy(&left.stderr).into_owned());
        if self.pid != 0 && !complaint.is_empty() {
            let _ = writeln!(std::io::stderr(), "the control group {} was not removed: {complaint}", self.group);
        }
    }
}

/// The folder where cargo puts the programs of this build (`target/debug`): the running test is in its `deps`.
fn programs_folder() -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    let folder = test.parent().filter(|deps| deps.ends_with("deps")).and_then(Path::parent);
    folder.or(test.parent()).expect("a program is in a folder").to_owned()
}

fn prepare(programs: &Path) -> std::io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("systemd-").tempdir_in(programs)?;
    fs::create_dir(folder.path().join("cgroup"))?;
    fs::create_dir(folder.path().join("units"))?;
    for target in TARGETS {
        let text = format!("[Unit]\nDescription={target}\nDefaultDependencies=no\n");
        fs::write(folder.path().join("units").join(format!("{target}.target")), text)?;
    }
    Ok(folder)
}

/// The only child of a process, if it has one.
fn child_of(pid: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?.split_whitespace().next()?.parse().ok()
}

fn program_of(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

/// Waits for a child until `limit` is over, then kills it and answers `None`.
fn wait_for(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let begun_at = Instant::now();
    while begun_at.elapsed() < limit {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
