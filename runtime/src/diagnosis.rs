//! What a stuck process looks like from inside: its threads by name, what they wait for in the kernel, how full its queues
//! are, and the last things that its core was told and wanted. It takes no lock that the stuck loop may hold.

use crate::pulse::Pulse;
use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Diagnoses that are kept.
const KEPT: usize = 8;

/// Writes a diagnosis into the folder `flight` of the state directory and gives its path.
pub fn write(state_dir: &Path, name: &str, why: &str, pulse: &Pulse) -> io::Result<PathBuf> {
    let folder = state_dir.join("flight");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let path = folder.join(format!("stuck-{name}.txt"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(text(why, pulse).as_bytes())?;
    forget_old(&folder);
    Ok(path)
}

fn text(why: &str, pulse: &Pulse) -> String {
    let mut text = format!(
        "{why}\n\nThreads: name, state, kernel function, system call, CPU ticks in user and kernel mode; below each, where this \
         may be read, its stack in the kernel\n"
    );
    for line in threads() {
        text.push_str(&line);
    }
    text.push_str("\nQueues of the loop: how many wait, how many may\n");
    for (queue, waiting, room) in pulse.depths() {
        let _infallible = writeln!(text, "{queue:<24} {waiting:>6} of {room}");
    }
    text.push_str("\nCounters\n");
    text.push_str(&pulse.metrics.text());
    text.push_str("\nThe last of what the core was told (>) and wanted, oldest first\n");
    match pulse.ring.lines() {
        Some(lines) => lines.iter().for_each(|line| {
            let _infallible = writeln!(text, "{line}");
        }),
        None => text.push_str("not to be had: the loop stands still while it adds to this list\n"),
    }
    text
}

/// One line for each thread of this process, as `/proc` shows it.
fn threads() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return vec!["not to be had on this system\n".to_owned()];
    };
    let mut lines: Vec<String> = tasks
        .flatten()
        .map(|task| {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let stat = read("stat");
            // The name may hold anything; the fields begin behind its closing bracket.
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let field = |number: usize| fields.get(number).copied().unwrap_or("?").to_owned();
            let call = read("syscall");
            let call = call.split_whitespace().next().unwrap_or("?").to_owned();
            let wait = read("wchan");
            let stack: String = read("stack").lines().map(|frame| format!("{:>8} {}\n", "", frame.trim())).collect();
            format!(
                "{:>8} {:<16} {} {:<24} {:<8} {} {}\n{stack}",
                task.file_name().to_string_lossy(),
                read("comm").trim(),
                field(0),
                if wait.is_empty() { "?" } else { wait.as_str() },
                call,
                field(11),
                field(12)
            )
        })
        .collect();
    lines.sort();
    lines
}

/// Old diagnoses go; what cannot be removed stays.
fn forget_old(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut diagnoses: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("stuck-"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    diagnoses.sort();
    let surplus = diagnoses.len().saturating_sub(KEPT);
    for (_, path) in diagnoses.into_iter().take(surplus) {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(%error, file = %path.display(), "an old diagnosis cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_names_this_thread_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..KEPT + 2)
            .map(|number| {
                let pulse = Pulse::default();
                pulse.tell_depths(Box::new(|| vec![("calls", 3, 1024)]));
                write(folder.path(), &number.to_string(), "it is stuck", &pulse).unwrap()
            })
            .collect();
        let text = std::fs::read_to_string(paths.last().unwrap()).unwrap();
        assert!(text.starts_with("it is stuck\n"), "{text}");
        if cfg!(target_os = "linux") {
            assert!(text.lines().filter(|line| line.contains(" R ") || line.contains(" S ")).count() > 0, "{text}");
        }
        assert!(text.contains("calls                         3 of 1024\n"), "{text}");
        assert_eq!(std::fs::read_dir(folder.path().join("flight")).unwrap().count(), KEPT);
    }
}
