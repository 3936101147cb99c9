//! A PID namespace for a test, as a container has one: a command is process 1 of it, in a session of its own. Owns that namespace
//! and ends all that runs in it; files and network are the machine's.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use nix::unistd::geteuid;

use crate::{PATIENCE, eventually, process::is_alive, skipped};

/// A namespace that lives until it is dropped.
pub struct Container {
    /// `unshare`, which takes process 1 along when it ends.
    outside: Child,
    first: i32,
}

impl Container {
    /// Starts `command`, with nothing but these variables, as process 1; what it prints is appended to `log`. `None`, said loudly,
    /// where there can be no namespace.
    pub fn start(test: &str, command: &[&str], variables: &[(&str, &str)], log: &Path) -> Option<Self> {
        if !geteuid().is_root() {
            skipped(test, "it takes root to make a PID namespace");
            return None;
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("the log can be opened");
        // Without the test there is nobody to end it: `setpriv` has the kernel do so when the test's thread dies.
        let spawned = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "setsid"])
            .args(command)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor is left"))
            .stderr(log)
            .spawn();
        let Ok(outside) = spawned else {
            skipped(test, "setpriv is not installed");
            return None;
        };
        let mut container = Self { outside, first: 0 };
        let id = container.outside.id();
        let children = move || fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok();
        let first = eventually(PATIENCE, || children()?.split_whitespace().next()?.parse().ok());
        container.first = first.expect("unshare starts a child");
        Some(container)
    }

    /// Process 1, by the number that the machine has for it.
    pub fn first(&self) -> i32 {
        self.first
    }

    /// A command inside, with nothing but these variables.
    pub fn command(&self, words: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.first.to_string(), "--pid", "--mount", "--"]).args(words);
        command.env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
        command
    }

    /// Runs a command inside to its end.
    pub fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(words, variables).output().expect("nsenter comes with unshare")
    }

    /// What an output says, for the reader of a failed test.
    pub fn said(output: &Output) -> String {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        let _ = write!(text, "{}", String::from_utf8_lossy(&output.stderr));
        text
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.outside.kill();
        let _ = self.outside.wait();
        // The kernel ends whatever else is inside before process 1 is gone.
        let _ = eventually(PATIENCE, || (!is_alive(self.first)).then_some(()));
    }
}
