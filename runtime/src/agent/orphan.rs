//! Agent processes that outlived their generation, or commands their turn: found by the environment that the gateway gave
//! them, recognised by start time, and killed, the former before a new generation runs the same turns again. It never touches a process that it cannot
//! prove to be such an orphan, nor one that left the dead gateway's session (`setsid`: a daemon on purpose).

use nix::unistd::{Pid, getsid};
use std::path::Path;

/// The variable that marks an agent whose process serves many turns; its value is the agent's kind.
pub const AGENT: &str = "EVERGATE_AGENT";

/// What became of the processes of dead generations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// These were killed and are gone.
    pub killed: Vec<Orphan>,
    /// These were found and would not die within two seconds.
    pub left: Vec<Orphan>,
}

/// A process that an ended generation left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Orphan {
    /// Its process id.
    pub pid: i32,
    /// The turn it was started for; `None` of an agent that serves many.
    pub turn: Option<u64>,
}

/// The id of the session (in the kernel's sense) that this process belongs to; agents inherit it. A generation records
/// it, so that its successor can tell agents from daemons.
pub fn session_id() -> i32 {
    getsid(None).map_or(0, Pid::as_raw)
}

/// When a process started, in the kernel's ticks since boot: with its id, an identity. `None` where that cannot be told.
pub fn started(pid: i32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    return linux::Process::find(pid).map(|process| process.started);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

/// Whether the process with this id and start time lives; one that is only waited for by its parent does not.
pub fn lives(pid: i32, start_time: u64) -> bool {
    #[cfg(target_os = "linux")]
    return linux::Process::find(pid).is_some_and(|process| process.started == start_time && process.lives());
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (pid, start_time);
        false
    }
}

/// Kills what generations before `generation` left behind: every process of the kernel session `sid` (the dead owner's)
/// whose environment names the control socket `control`, a turn or an agent of many turns, and an older generation, except
/// this process and its ancestors. Blocks until they are gone, two seconds at most.
///
/// Linux only; elsewhere it does nothing and finds nothing, since no safe call reads another process's environment there.
pub fn reap(control: &Path, generation: u64, sid: i32) -> Reaped {
    #[cfg(target_os = "linux")]
    return linux::reap(control, linux::Whose::Before(generation), sid);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (control, generation, sid);
        Reaped::default()
    }
}

/// Kills what a turn of `generation`, which is this process, has left running of what it started, in whatever process group
/// that is by now: the same way, and with the same bounds. What left our session is spared.
pub(super) fn end_turn(control: &Path, generation: u64, turn: u64) -> Reaped {
    #[cfg(target_os = "linux")]
    return linux::reap(control, linux::Whose::Turn { generation, turn }, session_id());
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (control, generation, turn);
        Reaped::default()
    }
}

/// Whether a living process (no zombie) is a member of process group `group`. Elsewhere than on Linux nobody can tell,
/// and the answer is yes.
pub(super) fn group_lives(group: i32) -> bool {
    #[cfg(target_os = "linux")]
    return linux::processes().any(|process| process.group == group && process.lives());
    #[cfg(not(target_os = "linux"))]
    {
        let _ = group;
        true
    }
}

/// The part that reads `/proc` (proc(5)).
#[cfg(target_os = "linux")]
mod linux {
    use super::{AGENT, Orphan, Reaped};
    use nix::{
        sys::{
            signal::{Signal, kill, killpg},
            wait::{WaitPidFlag, waitpid},
        },
        unistd::Pid,
    };
    use std::{
        collections::BTreeSet,
        fs,
        os::unix::ffi::OsStrExt,
        path::Path,
        time::{Duration, Instant},
    };

    /// How long killed processes may take to go.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// The pause between two looks at what is left.
    const LOOK_EVERY: Duration = Duration::from_millis(10);

    /// A process as `/proc/PID/stat` shows it. Process id and start time together are an identity.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Process {
        pub(super) pid: i32,
        pub(super) state: char,
        pub(super) parent: i32,
        pub(super) group: i32,
        pub(super) session: i32,
        /// In clock ticks since the machine started.
        pub(super) started: u64,
    }

    impl Process {
        /// The process with this id, if there is one.
        pub(super) fn find(pid: i32) -> Option<Process> {
            let line = fs::read(format!("/proc/{pid}/stat")).ok()?;
            Process::parse(pid, &String::from_utf8_lossy(&line))
        }

        /// Reads one line of `stat`. The name in parentheses may hold anything, also parentheses and blanks: the fields
        /// begin after the last one.
        pub(super) fn parse(pid: i32, line: &str) -> Option<Process> {
            let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
            let number = |field: usize| fields.get(field)?.parse().ok();
            Some(Process {
                pid,
                state: fields.first()?.chars().next()?,
                parent: number(1)?,
                group: number(2)?,
                session: number(3)?,
                started: fields.get(19)?.parse().ok()?,
            })
        }

        /// Not a zombie.
        pub(super) fn lives(&self) -> bool {
            !matches!(self.state, 'Z' | 'X')
        }

        fn is_same(&self) -> bool {
            Process::find(self.pid).is_some_and(|now| now.started == self.started && now.session == self.session)
        }
    }

    /// All processes that can be seen.
    pub(super) fn processes() -> impl Iterator<Item = Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| Process::find(entry.file_name().to_str()?.parse().ok()?))
    }

    /// Whose processes are looked for.
    #[derive(Clone, Copy)]
    pub(super) enum Whose {
        /// Those of all generations before this one.
        Before(u64),
        /// Those of one turn of this generation.
        Turn { generation: u64, turn: u64 },
    }

    /// Whose processes are looked for, and who is to be spared.
    struct Search<'a> {
        control: &'a Path,
        whose: Whose,
        sid: i32,
        /// This process and its ancestors.
        spared: Vec<Process>,
    }

    /// What a process turned out to be.
    enum Kin {
        Orphan(Option<u64>),
        Stranger,
        /// In the middle of an exec or of its death, when a process has no environment: to be looked at again.
        Unclear,
    }

    pub(super) fn reap(control: &Path, whose: Whose, sid: i32) -> Reaped {
        let search = Search { control, whose, sid, spared: lineage() };
        let deadline = Instant::now() + PATIENCE;
        let mut found = BTreeSet::new();
        loop {
            // Looked up anew each time: what was forked between look and kill carries the same environment.
            let (living, is_clear) = search.look();
            living.iter().for_each(|(process, _)| search.kill(process, &living));
            found.extend(living.iter().map(|(_, orphan)| *orphan));
            found.iter().for_each(reap_if_ours);
            if (living.is_empty() && is_clear) || Instant::now() >= deadline {
                let left: Vec<Orphan> = living.into_iter().map(|(_, orphan)| orphan).collect();
                let killed = found.into_iter().filter(|orphan| !left.contains(orphan));
                return Reaped { killed: killed.collect(), left };
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    impl Search<'_> {
        /// The orphans that live now, and whether it was clear of each process if it is one.
        fn look(&self) -> (Vec<(Process, Orphan)>, bool) {
            let (mut orphans, mut is_clear) = (Vec::new(), true);
            for process in processes().filter(|process| self.suspects(process)) {
                match self.kin(&process) {
                    Kin::Orphan(turn) => orphans.push((process, Orphan { pid: process.pid, turn })),
                    Kin::Stranger => {}
                    Kin::Unclear => is_clear = false,
                }
            }
            (orphans, is_clear)
        }

        fn suspects(&self, process: &Process) -> bool {
            let is_spared = self.spared.iter().any(|spared| spared.pid == process.pid);
            process.session == self.sid && process.lives() && !is_spared
        }

        /// An environment that may not be read belongs to another user, and so to nobody we started.
        fn kin(&self, process: &Process) -> Kin {
            let read = |name: &str| fs::read(format!("/proc/{}/{name}", process.pid));
            match read("environ") {
                Ok(environment) if !environment.is_empty() => {
                    self.purpose_of(&environment).map_or(Kin::Stranger, Kin::Orphan)
                }
                Ok(_) if read("cmdline").is_ok_and(|line| line.is_empty()) => Kin::Unclear,
                _ => Kin::Stranger,
            }
        }

        /// What a process of this environment was started for, a turn or many, if this very gateway made it for those who
        /// are meant.
        fn purpose_of(&self, environment: &[u8]) -> Option<Option<u64>> {
            let value = |name: &str| {
                let mut variables = environment.split(|byte| *byte == 0);
                variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            };
            let number = |name: &str| std::str::from_utf8(value(name)?).ok()?.parse::<u64>().ok();
            let is_ours = value("EVERGATE_CONTROL")? == self.control.as_os_str().as_bytes();
            let (made_by, turn) = (number("EVERGATE_GENERATION")?, number("EVERGATE_TURN"));
            let is_meant = match self.whose {
                Whose::Before(generation) => made_by < generation && (turn.is_some() || value(AGENT).is_some()),
                Whose::Turn { generation, turn: meant } => made_by == generation && turn == Some(meant),
            };
            (is_ours && is_meant).then_some(turn)
        }

        /// Kills one orphan, with its whole group when an orphan leads that: members may have cleared their environment.
        /// The identity is checked again right before, so that a number that was reused meanwhile hits nobody.
        fn kill(&self, process: &Process, orphans: &[(Process, Orphan)]) {
            let leader = orphans.iter().map(|(orphan, _)| orphan).find(|orphan| orphan.pid == process.group);
            let shared = self.spared.iter().any(|spared| spared.group == process.group);
            if let Some(leader) = leader.filter(|leader| !shared && leader.is_same()) {
                report(killpg(Pid::from_raw(leader.pid), Signal::SIGKILL), process);
            }
            if process.is_same() {
                report(kill(Pid::from_raw(process.pid), Signal::SIGKILL), process);
            }
        }
    }

    fn report(result: nix::Result<()>, process: &Process) {
        if let Err(error) = result.or_else(|error| if error == nix::errno::Errno::ESRCH { Ok(()) } else { Err(error) })
        {
            tracing::warn!(pid = process.pid, %error, "cannot end a process that an agent left behind");
        }
    }

    /// After a re-exec in place the orphans are our own children: without this they would stay zombies.
    fn reap_if_ours(orphan: &Orphan) {
        let _ = waitpid(Pid::from_raw(orphan.pid), Some(WaitPidFlag::WNOHANG));
    }

    /// This process, its parent, its parent's parent …
    fn lineage() -> Vec<Process> {
        let own = i32::try_from(std::process::id()).ok().and_then(Process::find);
        std::iter::successors(own, |process| Process::find(process.parent)).collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
