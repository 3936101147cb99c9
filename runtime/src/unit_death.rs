//! What systemd knows of the death of its unit's main process, as last words for the next generation. systemd runs `evergate
//! last-words` behind each end (`ExecStopPost=`) and tells it in variables (systemd.exec(5)). What the dead generation said
//! itself stands, an end in order leaves nothing, and whatever fails here fails alone: nobody waits for it for long.

use crate::cli::Global;
use crate::journal::Owner;
use crate::last_words::LastWords;
use crate::logging;
use crate::systemd::{StopLimit, Unit};
use evergate_core::supervisor::Supervisor;
use evergate_core::verdict::{PARK, RESTART, STOP};
use nix::unistd::alarm;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long systemd has for an answer.
const ANSWER: Duration = Duration::from_secs(2);
/// After so many seconds SIGALRM ends this process, whatever holds it up: the restart of the unit waits for it.
const AT_MOST_S: u32 = 3;

/// How a main process ended, in systemd's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct UnitDeath {
    /// `$SERVICE_RESULT`: what it was to the unit, such as `watchdog`.
    result: String,
    /// `$EXIT_CODE`: `exited`, `killed` or `dumped`.
    code: String,
    /// `$EXIT_STATUS`: a number, or a signal's name without `SIG`.
    status: String,
}

/// Writes down in the state directory what systemd says of the process that has just ended, if its generation could not say it.
#[must_use]
pub fn write_down(global: &Global) -> ExitCode {
    alarm::set(AT_MOST_S);
    let Some(death) = UnitDeath::from_environment().filter(|death| !death.is_in_order()) else {
        return ExitCode::SUCCESS;
    };
    let written = global
        .state_dir()
        .map_err(|error| error.to_string())
        .and_then(|state_dir| death.tell(&state_dir).map_err(|error| error.to_string()));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::complain(&format_args!("the next generation cannot be told how the last one died: {error}"));
            ExitCode::FAILURE
        }
    }
}

impl UnitDeath {
    /// `None` where nobody died, or no systemd tells of it.
    fn from_environment() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        Some(Self {
            result: variable("SERVICE_RESULT")?,
            code: variable("EXIT_CODE")?,
            status: variable("EXIT_STATUS")?,
        })
    }

    /// Whether the process left by itself with a status that a verdict gives: the journal has the rest.
    fn is_in_order(&self) -> bool {
        self.code == "exited" && self.status.parse().is_ok_and(|status: u8| [STOP, RESTART, PARK].contains(&status))
    }

    /// Leaves its last words to the generation that owned `state_dir`, unless it left some itself.
    fn tell(&self, state_dir: &Path) -> std::io::Result<()> {
        let Some(unit) = Unit::of_this_process() else { return Ok(()) };
        let Some(dead) = dead_in(&unit, state_dir) else { return Ok(()) };
        let said = Said::ask(&unit);
        // The next start may have died before it wrote down who it is: of that one nothing is said in another's name.
        if said.pid != Some(dead.pid) {
            return Ok(());
        }
        LastWords::now(dead.generation, self.sentence(said.silence), None).write(state_dir)
    }

    /// Why it died, for people. `silence` is how long systemd's watchdog waits.
    fn sentence(&self, silence: Option<Duration>) -> String {
        if self.result == "watchdog" {
            let silence =
                silence.map_or_else(String::new, |silence| format!(" for {}", humantime::format_duration(silence)));
            return format!("systemd's watchdog ended it: it gave no sign of life{silence}");
        }
        let end = match self.code.as_str() {
            "exited" => format!("exit status {}", self.status),
            "dumped" => format!("SIG{} and a core dump", self.status),
            _ => format!("SIG{}", self.status),
        };
        let why = match (self.result.as_str(), self.status.as_str()) {
            ("oom-kill", _) => ": its unit was out of memory",
            ("timeout", _) => ": it had not ended, or not begun to serve, within the limit of its unit",
            (_, "KILL") => ": somebody killed it, or the kernel did for want of memory",
            _ => "",
        };
        format!("systemd saw it end with {end}{why}")
    }
}

/// The generation that owned `state_dir` as a process of `unit` and died there without a word; `None` where there is none. One that
/// has never got a number has no place in anybody's history.
fn dead_in(unit: &Unit, state_dir: &Path) -> Option<Owner> {
    let last = Owner::recorded(state_dir)?;
    let there = last.supervisor == Some(Supervisor::Systemd) && last.unit.as_ref() == Some(unit);
    let dead = last.is_of_this_boot() && !last.lives();
    let untold = last.generation.0 > 0 && LastWords::peek(last.generation, state_dir).is_none();
    (there && dead && untold).then_some(last)
}

/// What systemd says of the unit when it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    /// The main process that it had last.
    pid: Option<i32>,
    /// How long its watchdog waits.
    silence: Option<Duration>,
}

impl Said {
    /// Nothing, where it does not answer in time.
    fn ask(unit: &Unit) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let asking = |runtime: tokio::runtime::Runtime| {
            runtime.block_on(async { tokio::time::timeout(ANSWER, unit.show()).await.ok().flatten() })
        };
        let Some(state) = runtime.ok().and_then(asking) else { return Self::default() };
        let silence = match StopLimit::parse(state.get("WatchdogUSec")) {
            Some(StopLimit::After(silence)) => Some(silence),
            _ => None,
        };
        Self { pid: state.get("ExecMainPID").parse().ok().filter(|pid| *pid > 0), silence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::Manager;
    use evergate_core::id::GenerationId;

    fn death([result, code, status]: [&str; 3]) -> UnitDeath {
        UnitDeath { result: result.to_owned(), code: code.to_owned(), status: status.to_owned() }
    }

    #[test]
    fn an_end_in_order_is_one_that_a_verdict_gives_whatever_the_unit_takes_it_for() {
        for (said, in_order) in [
            (["success", "exited", "0"], true),
            (["success", "exited", "75"], true),
            (["exit-code", "exited", "75"], true),
            (["exit-code", "exited", "78"], true),
            (["exit-code", "exited", "70"], false),
            (["success", "killed", "TERM"], false),
            (["signal", "killed", "KILL"], false),
        ] {
            assert_eq!(death(said).is_in_order(), in_order, "{said:?}");
        }
    }

    #[test]
    fn each_death_is_told_as_systemd_knows_it() {
        let silence = Some(Duration::from_secs(30));
        for (said, told) in [
            (["watchdog", "killed", "KILL"], "systemd's watchdog ended it: it gave no sign of life for 30s"),
            (["watchdog", "dumped", "ABRT"], "systemd's watchdog ended it: it gave no sign of life for 30s"),
            (["oom-kill", "killed", "KILL"], "systemd saw it end with SIGKILL: its unit was out of memory"),
            (
                ["timeout", "killed", "KILL"],
                "systemd saw it end with SIGKILL: it had not ended, or not begun to serve, within the limit of its unit",
            ),
            (
                ["signal", "killed", "KILL"],
                "systemd saw it end with SIGKILL: somebody killed it, or the kernel did for want of memory",
            ),
            (["core-dump", "dumped", "SEGV"], "systemd saw it end with SIGSEGV and a core dump"),
            (["success", "killed", "TERM"], "systemd saw it end with SIGTERM"),
            (["exit-code", "exited", "70"], "systemd saw it end with exit status 70"),
        ] {
            assert_eq!(death(said).sentence(silence), told);
        }
        let unknown = death(["watchdog", "killed", "KILL"]).sentence(None);
        assert_eq!(unknown, "systemd's watchdog ended it: it gave no sign of life");
    }

    #[test]
    fn only_a_generation_that_died_in_this_unit_without_a_word_is_spoken_for_and_no_file_is_made_to_find_out() {
        let folder = tempfile::tempdir().unwrap();
        let unit = Unit { name: "evergate.service".into(), manager: Manager::System };
        let missing = folder.path().join("state");
        assert_eq!(dead_in(&unit, &missing), None);
        assert_eq!(dead_in(&unit, folder.path()), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let alive = Owner {
            supervisor: Some(Supervisor::Systemd),
            unit: Some(unit.clone()),
            ..Owner::this_process(GenerationId(3), 1_000)
        };
        let dead = Owner { start_time: alive.start_time + 1, ..alive.clone() };
        let spoken_for = |last: &Owner| {
            std::fs::write(folder.path().join("lock"), serde_json::to_vec(last).unwrap()).unwrap();
            dead_in(&unit, folder.path()).is_some()
        };
        assert!(spoken_for(&dead));
        assert!(!spoken_for(&alive));
        assert!(!spoken_for(&Owner { generation: GenerationId(0), ..dead.clone() }), "a start that came to nothing");
        assert!(!spoken_for(&Owner { boot_id: "another".into(), ..dead.clone() }));
        assert!(!spoken_for(&Owner { supervisor: Some(Supervisor::Evergate), ..dead.clone() }));
        let other = Unit { name: "other.service".into(), ..unit.clone() };
        assert!(!spoken_for(&Owner { unit: Some(other), ..dead.clone() }));

        LastWords::now(GenerationId(2), "an earlier one".into(), None).write(folder.path()).unwrap();
        assert!(spoken_for(&dead));
        LastWords::now(GenerationId(3), "it was stuck".into(), None).write(folder.path()).unwrap();
        assert!(!spoken_for(&dead), "its own words win");
    }
}
