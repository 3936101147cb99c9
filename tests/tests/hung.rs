//! One component that hangs beside all others: a platform's server that takes a poll and never answers it, an adapter that does
//! nothing more, an agent whose pipes stand still, a disk that writes nothing for half a minute. It is started again or waited
//! for, alone; the process lives, and everybody else is served.

use evergate_tests::bot_api::operator::{BotApi, TOKEN};
use evergate_tests::chat::Person;
use evergate_tests::events::Event;
use evergate_tests::flight::assert_kept_conformant;
use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::oracle::Words;
use evergate_tests::{PATIENCE, process, skipped};
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than any test lives: what stands still does not get up again by itself.
const FOR_EVER: Duration = Duration::from_secs(600);
/// When the loop is taken for frozen; everything here takes longer than that.
const BOUND: &str = "[debug]\nhooks = \"on\"\n[watchdog]\nfreeze = \"2s\"";
/// Somebody who may talk to the bot.
const GUEST: i64 = 12;

/// A gateway with a bot at this server, which is polled once a second; `watchdog` are further lines of `[watchdog]`.
fn polling(server: &BotApi, watchdog: &str) -> Gateway {
    let builder = Gateway::builder();
    let token = builder.room().join("telegram-token");
    std::fs::write(&token, TOKEN).expect("the room is writable");
    let telegram = format!(
        "[agent.demo]\nwords_per_second = 0\n[telegram]\ntoken_file = {token:?}\napi_base = {:?}\nallowed_users = [{GUEST}]\npoll = \"1s\"\n{BOUND}\n{watchdog}",
        server.api_base()
    );
    let gateway = builder.config(&telegram).start();
    server.say(GUEST, "hello");
    server.await_said(GUEST, "an answer", |said| said.len() == 1);
    gateway
}

fn life(gateway: &Gateway) -> (u64, i32) {
    (gateway.generation(), gateway.pid())
}

/// Somebody in the chat of the local platform is answered.
fn is_served(gateway: &Gateway, what: &str) {
    let answer = Person::new(gateway, &what.replace(' ', "-")).say(what, Instant::now() + PATIENCE);
    assert!(answer.is("reply") && answer.text().contains(what), "{answer:?}");
}

/// Waits until the platform is in this state, for a reason that holds these words.
fn await_platform(gateway: &Gateway, state: &str, words: &str) {
    gateway.wait_for(&format!("telegram to be {state} ({words})"), PATIENCE, || {
        let status = gateway.try_status()?;
        let platform = &status["platforms"][0];
        (platform["state"] == state && platform["why"].as_str().unwrap_or_default().contains(words)).then_some(())
    });
}

fn muted(server: &BotApi) -> usize {
    server.calls("getUpdates").iter().filter(|call| call.2 == 0).count()
}

#[test]
fn a_poll_that_is_never_answered_is_given_up_and_made_anew_while_others_are_served() {
    let server = BotApi::start(env!("CARGO_BIN_EXE_bot-api"));
    let gateway = polling(&server, "");
    let before = life(&gateway);
    server.fault(&json!({"kind": "mute", "method": "getUpdates", "times": 1000}));
    gateway.wait_for("a poll to hang", PATIENCE, || (muted(&server) > 0).then_some(()));
    server.say(GUEST, "meanwhile");
    is_served(&gateway, "while it hangs");
    await_platform(&gateway, "waiting", "getUpdates");
    gateway.wait_for("the next poll", PATIENCE, || (muted(&server) > 1).then_some(()));
    is_served(&gateway, "while the next one hangs");
    server.order("/heal", &json!({}));
    let said = server.await_said(GUEST, "an answer once the server answers", |said| said.len() == 2);
    assert_eq!(said[1].text, "You said: meanwhile");
    await_platform(&gateway, "up", "");
    assert_eq!(life(&gateway), before, "the same process, and the same generation");
}

#[test]
fn an_adapter_that_does_nothing_more_is_started_again_alone() {
    let server = BotApi::start(env!("CARGO_BIN_EXE_bot-api"));
    let gateway = polling(&server, "platform = \"4s\"");
    let before = life(&gateway);
    gateway.freeze("telegram", FOR_EVER);
    server.say(GUEST, "meanwhile");
    is_served(&gateway, "while it hangs");
    await_platform(&gateway, "restarting", "it got nowhere for 4s");
    let said = server.await_said(GUEST, "an answer of the next run", |said| said.len() == 2);
    assert_eq!(said[1].text, "You said: meanwhile");
    await_platform(&gateway, "up", "");
    assert_eq!(life(&gateway), before, "the same process, and the same generation");
    assert_eq!(gateway.log().matches("it got nowhere for 4s").count(), 1, "once");
}

#[test]
fn an_agent_that_neither_reads_nor_writes_fails_its_turn_and_others_are_served() {
    let script = "if [ \"$EVERGATE_SESSION\" = bad ]; then exec sleep 3600; fi\nprintf 'You said: %s' \"$(cat)\"";
    let gateway = Gateway::builder().command_agent(script, "silence = \"4s\"").config(BOUND).start();
    let before = life(&gateway);
    // More than any pipe holds.
    let messages: Vec<u64> =
        (0..4).map(|number| gateway.send("bad", &"x".repeat(60_000), &number.to_string())).collect();
    gateway.await_running("bad");
    is_served(&gateway, "while it hangs");
    let failures = |events: &[Event]| events.iter().filter(|event| event.is_turn("failed")).count();
    let events = gateway.events("bad", None, "each turn to fail", |events| {
        let told: Vec<u64> = events.iter().filter(|event| event.is_turn("failed")).flat_map(Event::messages).collect();
        messages.iter().all(|message| told.contains(message))
    });
    assert!(failures(&events) >= 1 && !events.iter().any(|event| event.is("reply")), "{events:#?}");
    assert!(events.iter().any(|event| event.is("notice") && event.text().contains("printed nothing for 4s")));
    gateway.wait_for("the agents to be gone", PATIENCE, || {
        (process::belonging_to(gateway.state_dir()) == [gateway.pid()]).then_some(())
    });
    is_served(&gateway, "afterwards");
    assert_eq!(life(&gateway), before);
}

/// Holds up whoever opens this file, as a disk does that does not answer: the kernel waits for the lease to be given back, for 45 s
/// by default. Ends by itself.
fn hold_up(file: &Path) -> Child {
    let script = "import fcntl, os, signal, sys, time\n\
                  signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
                  fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                  fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
                  print('held', flush=True)\n\
                  time.sleep(40)";
    let mut holder = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tests of agents need python3");
    let mut said = String::new();
    let stdout = holder.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut said).expect("it says so");
    assert_eq!(said, "held\n");
    holder
}

/// Until its program is loaded, whoever starts it stands still in the kernel.
#[test]
fn an_agent_whose_program_is_not_loaded_holds_up_its_turn_alone() {
    let builder = Gateway::builder();
    let program = builder.room().join("agent");
    process::write_program(&program, b"#!/bin/sh\nprintf 'You said: %s' \"$(cat)\"\n");
    let config = format!("{BOUND}\n[agent]\nkind = \"command\"\n[agent.command]\nargv = [{program:?}]");
    let gateway = builder.config(&config).start();
    let before = life(&gateway);
    let mut holder = hold_up(&program);
    let held = gateway.send("held", "hello", "1");
    // Longer than a loop may stand still.
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(500));
        let status = gateway.status();
        assert_eq!((&status["phase"], life(&gateway)), (&json!("serving"), before), "{round}: {status}");
        assert_eq!(status["turns"][0]["session"], "held", "{round}: {status}");
        // The loop takes what it is told.
        gateway.send("other", "/help", &format!("help-{round}"));
    }
    holder.kill().expect("it is our child");
    holder.wait().expect("it is our child");
    gateway.await_reply("held", held, PATIENCE);
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(life(&gateway), before);
    assert!(!gateway.log().contains("this part takes long"), "{}", gateway.log());
}

/// The check before a restart starts it.
#[test]
fn a_new_program_that_is_not_loaded_is_refused_and_holds_up_nobody_meanwhile() {
    let gateway = Gateway::builder().own_program().config(BOUND).start();
    let before = life(&gateway);
    gateway.install(&std::fs::read(process::binary()).expect("the program was just built"));
    let mut holder = hold_up(gateway.program());
    let (restarted, looks) = std::thread::scope(|scope| {
        let restarting = scope.spawn(|| gateway.cli(&["restart"]));
        let mut looks = 0;
        while !restarting.is_finished() {
            is_served(&gateway, &format!("while it is checked {looks}"));
            looks += 1;
        }
        (restarting.join().expect("it ends"), looks)
    });
    holder.kill().expect("it is our child");
    holder.wait().expect("it is our child");
    let said = String::from_utf8_lossy(&restarted.stderr).into_owned();
    assert_eq!(restarted.status.code(), Some(78), "{said}");
    assert!(said.contains("it was not loaded within 3s: its disk does not answer") && looks > 1, "{looks}: {said}");
    assert_eq!(life(&gateway), before);
    let restarted = gateway.cli(&["restart"]);
    assert!(restarted.status.success(), "once it can be loaded: {restarted:?}");
}

/// A file system of its own on a disk that can be told to write nothing for a while. It takes root.
struct Disk {
    room: TempDir,
}

impl Disk {
    fn mount() -> Result<Self, String> {
        let room = TempDir::with_prefix("evergate-disk-").map_err(|error| error.to_string())?;
        let disk = Self { room };
        let image = disk.room.path().join("image");
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(64 << 20).map_err(|error| error.to_string())?;
        std::fs::create_dir(disk.path()).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F"], &[image.as_path()])?;
        run("mount", &["-o", "loop"], &[image.as_path(), disk.path().as_path()])?;
        run("fsfreeze", &["--version"], &[])?;
        Ok(disk)
    }

    fn path(&self) -> PathBuf {
        self.room.path().join("disk")
    }

    /// From now on nothing is written for so long. It ends by itself, whatever becomes of the test.
    fn stand_still(&self, length: Duration) -> Child {
        let script = "fsfreeze --freeze \"$1\" && echo frozen && sleep \"$2\"; fsfreeze --unfreeze \"$1\"";
        let mut still = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(self.path())
            .arg(length.as_secs().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let mut said = String::new();
        let stdout = still.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut said).expect("it says so");
        assert_eq!(said, "frozen\n");
        still
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _not_frozen = Command::new("fsfreeze").arg("--unfreeze").arg(self.path()).output();
        let _gone = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

fn run(program: &str, options: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(options).args(paths).output();
    let output = output.map_err(|error| format!("{program} is not there: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(format!("{program}: {said}"))
}

/// How long the disk writes nothing.
const STANDS_STILL: Duration = Duration::from_secs(30);

/// A disk stands still while a turn runs and another message comes; gives the phases and the states of the journal that the
/// status told meanwhile.
fn outlasts(disk: &Disk, builder: Builder) -> (Gateway, Vec<(String, String)>) {
    let script = "sleep 3; printf 'You said: %s' \"$(cat)\"";
    let gateway = builder.command_agent(script, "").config(BOUND).start();
    let before = life(&gateway);
    let first = gateway.send("main", "before", "1");
    gateway.await_running("main");
    let mut still = disk.stand_still(STANDS_STILL);
    // The loop says what came of it in the log.
    gateway.signal(Signal::SIGHUP);
    let told = std::thread::scope(|scope| {
        let meanwhile = scope.spawn(|| gateway.send_before("other", "meanwhile", "2", Instant::now() + 3 * PATIENCE));
        let mut told = Vec::new();
        while still.try_wait().expect("it is our child").is_none() {
            std::thread::sleep(Duration::from_millis(200));
            let status = gateway.try_status().unwrap_or_default();
            told.push(["phase", "journal"].map(|key| status[key].as_str().unwrap_or_default().to_owned()).into());
        }
        gateway.await_reply("main", first, PATIENCE);
        let second = meanwhile.join().expect("it is taken");
        gateway.await_reply("other", second, PATIENCE);
        told
    });
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(life(&gateway), before, "the process lives");
    assert_eq!(gateway.status()["journal"], "ok");
    (gateway, told)
}

#[test]
fn a_disk_that_writes_nothing_for_30_s_is_waited_for_and_the_status_says_so() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => return skipped("a disk that writes nothing for 30 s", &format!("it takes root: {why}")),
    };
    let state = disk.path().join("state");
    let (_gateway, told) = outlasts(&disk, Gateway::builder().state_dir(&state));
    let slow = told.iter().filter(|(_, journal)| journal == "slow").count();
    assert!(
        slow > 50 && told.iter().all(|(phase, _)| phase == "serving"),
        "the loop serves on, and says what it waits for: {told:?}"
    );
}

/// Longer than the disk is waited for, and shorter than anybody outside waits for a sign of life.
const STANDS_STILL_TOO_LONG: Duration = Duration::from_secs(9);

/// The log alone is on that disk.
#[test]
fn a_disk_that_the_loop_waits_for_beyond_its_bound_is_given_up_and_the_cause_says_so() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => return skipped("a disk that is waited for too long", &format!("it takes root: {why}")),
    };
    let state = TempDir::new().expect("there is a place for temporary folders");
    let config = format!("[log]\nlevel = \"debug\"\n{BOUND}\ndisk = \"4s\"");
    let builder = Gateway::builder_in(&disk.path()).state_dir(state.path()).unrecorded().supervised(true);
    let gateway = builder.config(&config).start();
    let (before, pid) = life(&gateway);
    let mut still = disk.stand_still(STANDS_STILL_TOO_LONG);
    // The loop says what came of it in the log.
    process::send_signal(pid, Signal::SIGHUP);
    still.wait().expect("it is our child");
    gateway.await_generation(before + 1);
    let list = gateway.client().get("/v1/generations").expect("it serves").json();
    let of = |entry: &&serde_json::Value| entry["generation"] == before;
    let told = list["generations"].as_array().and_then(|list| list.iter().find(of)).expect("it is known");
    let cause = told["cause"].as_str().unwrap_or_default();
    let why = "ended by its watchdog: the disk that its loop waits for has not answered for 4s; see ";
    assert!(cause.starts_with(why), "{cause}");
    is_served(&gateway, "afterwards");
    gateway.kill();
    process::end_all(state.path());
    assert_kept_conformant(state.path(), 2);
}

/// The log is on the same disk, so the loop itself stands still at its next line, and so would a watchdog that said what it
/// found before it went on.
#[test]
fn a_loop_that_waits_for_its_log_is_not_killed_by_the_watchdog_inside_or_outside() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => return skipped("a loop that waits for its log", &format!("it takes root: {why}")),
    };
    let builder = Gateway::builder_in(&disk.path()).supervised(true).config("[log]\nlevel = \"debug\"");
    let (gateway, told) = outlasts(&disk, builder);
    // Who answers writes into the log as well here, so it may be that nobody does.
    assert!(told.iter().any(|(phase, _)| phase != "serving"), "the loop stood still: {told:?}");
    assert!(gateway.log().contains("\"part\":\"loop\""), "{}", gateway.log());
}
