//! The README's tour for Telegram, followed to the letter: its commands are run by a shell as they stand there, what they print is
//! compared with what stands below them. Three things are stand-ins: the server (`api_base`), the port, and systemd, of whose
//! commands for one user there is here only what starts the unit that was written.

use evergate_tests::bot_api::operator::{BotApi, TOKEN};
use evergate_tests::flight::assert_kept_conformant;
use evergate_tests::gateway::free_address;
use evergate_tests::{PATIENCE, eventually, process};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// Who follows the tour: the README's number.
const ME: i64 = 123_456_789;

/// Starts what the unit says, as `systemctl --user enable --now` would; it ends by itself after two minutes.
const SYSTEMCTL: &str = r#"#!/bin/sh
case "$*" in
"--user daemon-reload") ;;
"--user enable --now evergate.service")
    start=$(sed -n 's/^ExecStart=//p' "$HOME/.config/systemd/user/evergate.service")
    timeout 120 $start >"$HOME/journal" 2>&1 </dev/null &
    echo $! >"$HOME/pid" ;;
*) echo "this stand-in knows no systemctl $*" >&2; exit 1 ;;
esac
"#;
/// Prints the log, as `journalctl --user -u evergate -o cat` would.
const JOURNALCTL: &str = "#!/bin/sh\n[ \"$*\" = '--user -u evergate -o cat' ] && cat \"$HOME/journal\"\n";

/// A home that nobody has lived in.
struct Home {
    room: TempDir,
}

/// A command, and what stands below it: what it is given, or what it prints.
struct Step {
    command: String,
    below: String,
}

/// The commands of the README's section, in order.
fn steps() -> Vec<Step> {
    let readme = include_str!("../../../README.md");
    let section = readme.split("\n## Telegram\n").nth(1).and_then(|rest| rest.split("\nWhat holds there:").next());
    let section = section.expect("the README has its tour for Telegram");
    let mut steps: Vec<Step> = Vec::new();
    for block in section.split("```").skip(1).step_by(2) {
        for line in block.trim_start_matches('\n').lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command: command.to_owned(), below: String::new() }),
                (None, Some(step)) => step.below.push_str(&format!("{line}\n")),
                (None, None) => panic!("a block begins with {line:?}, which is no command"),
            }
        }
    }
    steps
}

impl Home {
    fn new() -> Self {
        let home = Self { room: tempfile::tempdir().expect("a folder can be made") };
        for (name, script) in [("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)] {
            let path = home.path(&format!("bin/{name}"));
            fs::create_dir_all(home.path("bin")).expect("the room is writable");
            fs::write(&path, script).expect("the room is writable");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the file is ours");
        }
        std::os::unix::fs::symlink(process::binary(), home.path("bin/evergate")).expect("the room is writable");
        home
    }

    fn path(&self, below: &str) -> PathBuf {
        self.room.path().join(below)
    }

    /// A text as it reads for somebody whose home this is.
    fn mine(&self, text: &str) -> String {
        text.replace("/home/me", &self.room.path().display().to_string())
    }

    /// Runs a command as the shell of a person would, who goes on where the last one left off; gives what it prints.
    fn run(&self, command: &str, input: &str) -> String {
        let here = fs::read_to_string(self.path("here")).unwrap_or_else(|_| self.room.path().display().to_string());
        let script = format!("cd '{}' && {{ {command}\n}} && pwd > \"$HOME/here\"", here.trim());
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("timeout")
            .args(["60", "bash", "-c", &script])
            .env_clear()
            .env("HOME", self.room.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("bash can be run");
        let mut stdin = shell.stdin.take().expect("it is piped");
        // A command that reads nothing may be over by now.
        let _unread = stdin.write_all(input.as_bytes());
        drop(stdin);
        let ended = shell.wait_with_output().expect("it is our child");
        assert!(ended.status.success(), "{command}: {}", ended.status);
        String::from_utf8_lossy(&ended.stdout).into_owned()
    }

    /// Whether this is what stands below a command: `...` stands for anything; times, names and paths differ; and the stages of a
    /// restart are one line that goes again on a terminal.
    fn is_told(&self, below: &str, printed: &str) -> bool {
        let plain = |text: &str| {
            let words = text.replace(&self.room.path().display().to_string(), "/home/me");
            let words = words.replace(&format!("@person_{ME}"), "@me");
            let mut words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            for place in 1..words.len() {
                if words[place - 1] == "after" {
                    words[place] = "0.1".into();
                }
            }
            let line = words.join(" ");
            match line.split_once("\"timestamp\":\"").and_then(|(_, rest)| rest.split_once("\",")) {
                Some((_, rest)) => format!("{{{rest}"),
                None => line,
            }
        };
        let lasting = printed.lines().filter(|line| !line.starts_with("  ") || !line.contains(" s  "));
        let (mut lines, mut anything) = (lasting.map(plain).collect::<Vec<_>>().into_iter(), false);
        for wanted in below.lines() {
            if wanted == "..." {
                anything = true;
            } else if anything {
                anything = !lines.any(|line| line == plain(wanted));
            } else if lines.next() != Some(plain(wanted)) {
                return false;
            }
        }
        anything || lines.next().is_none()
    }

    /// The number of the process that the unit has started.
    fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.path("pid")).ok()?.trim().parse().ok()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            // `timeout` passes it on to the gateway.
            process::send_signal(pid.cast_signed(), nix::sys::signal::Signal::SIGTERM);
        }
    }
}

/// Adds a line below the one with the token.
fn add(config: &Path, line: &str) {
    let text = fs::read_to_string(config).expect("the tour has made it");
    let (before, after) = text.split_once("telegram-token\"\n").expect("the tour has written it");
    fs::write(config, format!("{before}telegram-token\"\n{line}\n{after}")).expect("it is ours");
}

#[test]
fn the_readmes_tour_leads_from_a_token_to_the_first_answer() {
    let (server, home) = (BotApi::start(env!("CARGO_BIN_EXE_bot-api")), Home::new());
    let config = home.path(".local/state/evergate/config.toml");
    let begun = Instant::now();
    let mut took = None;
    for Step { command, below } in steps() {
        let (command, below) = (home.mine(&command), home.mine(&below));
        let input = match command.as_str() {
            paste if paste.contains("telegram-token") => format!("{TOKEN}\n"),
            write if write.contains("cat >> config.toml") => {
                format!("{below}api_base = {:?}\n[local]\nlisten = \"{}\"\n", server.api_base(), free_address())
            }
            _ => String::new(),
        };
        if command.starts_with("journalctl") {
            server.say(ME, "hello?");
            let heard = || fs::read_to_string(home.path("journal")).ok().filter(|log| log.contains("stranger"));
            assert!(eventually(PATIENCE, heard).is_some(), "the log does not say who it was");
        }
        if command == "evergate restart" {
            assert!(server.said(ME).is_empty(), "it says nothing to a stranger");
            add(&config, &format!("operators = [{ME}]"));
        }
        if command == "evergate sessions" {
            server.say(ME, "hello again");
            server.await_said(ME, "the first answer", |said| {
                said.iter().any(|said| said.text == "You said: hello again")
            });
            took = Some(begun.elapsed());
        }
        let printed = home.run(&command, &input);
        println!("{:6.1} s  $ {command}", begun.elapsed().as_secs_f64());
        let expected = if input.is_empty() { below.as_str() } else { "" };
        assert!(home.is_told(expected, &printed), "$ {command}\n{printed}\nand the README says:\n{below}");
    }
    let took = took.expect("the tour ends with an answer");
    assert!(took.as_secs() < 60, "the minute that the README promises: {took:?}");
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    let state = home.path(".local/state/evergate");
    assert_eq!((mode(&state), mode(&state.join("telegram-token"))), (0o700, 0o600), "nobody else reads the token");
    assert_kept_conformant(&state, 2);
    println!("from the token to the first answer: {:.1} s beside what a person types", took.as_secs_f64());
}
