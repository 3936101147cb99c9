//! What is found at the start and on disk: configuration, state directory, damaged journals, a full disk, a taken port.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use evergate_tests::gateway::{Gateway, free_address, take};
use evergate_tests::http::Client;
use evergate_tests::model::{Fault, Model};
use evergate_tests::oracle::Words;
use evergate_tests::{PATIENCE, skipped};
use serde_json::json;

use super::{PARK, assert_refused, assert_serves, instant_agent};

#[test]
fn a_configuration_that_does_not_parse_parks_and_names_the_file() {
    let gateway = Gateway::builder().config("[drain\nbudget = \"30s\"").spawn();
    assert_eq!(gateway.exit_code(PATIENCE), PARK, "{}", gateway.log());
    assert!(gateway.log().contains("config.toml"), "the message names the file: {}", gateway.log());
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest_known_one() {
    let gateway = Gateway::builder().config("[drain]\nbugdet = \"30s\"").spawn();
    assert_eq!(gateway.exit_code(PATIENCE), PARK, "{}", gateway.log());
    let log = gateway.log();
    assert!(log.contains("bugdet") && log.contains("budget"), "the message names both: {log}");

    let file = gateway.room().join("config.toml");
    let output = gateway.cli(&["config", "check", "--config", file.to_str().expect("the room has a plain name")]);
    assert!(!output.status.success(), "{output:?}");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("bugdet") && said.contains("budget"), "config check says the same: {said}");
}

#[test]
fn a_state_directory_that_cannot_be_written_parks_and_is_named() {
    let builder = Gateway::builder();
    let file = builder.room().join("a-file");
    fs::write(&file, "no folder").expect("the room is writable");
    let under_a_file = file.join("state");
    let gateway = builder.state_dir(&under_a_file).spawn();
    assert_eq!(gateway.exit_code(PATIENCE), PARK, "{}", gateway.log());
    assert!(gateway.log().contains("a-file"), "the message names the path: {}", gateway.log());

    // Nobody can make a folder there, not even root.
    let gateway = Gateway::builder().state_dir(Path::new("/proc/evergate-state")).spawn();
    assert_eq!(gateway.exit_code(PATIENCE), PARK, "{}", gateway.log());
    assert!(gateway.log().contains("/proc/evergate-state"), "the message names the path: {}", gateway.log());
}

/// The journal of a gateway that has answered five messages and was stopped.
fn healthy_journal() -> Vec<u8> {
    let gateway = instant_agent().start();
    for number in 0..5 {
        gateway.send("main", &format!("message {number}"), &number.to_string());
    }
    gateway.assert_answered_once(&[], Words::Echo);
    gateway.ask("stop", &json!({}));
    assert_eq!(gateway.exit_code(PATIENCE), 0);
    fs::read(gateway.state_dir().join("journal.redb")).expect("the journal is where the state is")
}

/// How a start on a damaged journal ended.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// It serves, with so many of the five replies.
    Serves(usize),
    /// It refuses with 78.
    Refuses,
}

/// Starts a gateway on this journal and holds what is true of any damage: it serves or refuses with 78 and a message
/// about the journal, it never panics, and a refusal leaves the file to whoever can repair it.
fn start_on(case: &str, journal: &[u8]) -> (Start, Gateway) {
    let builder = instant_agent();
    let state = builder.room().join("state");
    fs::create_dir(&state).expect("the room is writable");
    fs::write(state.join("journal.redb"), journal).expect("the room is writable");
    let gateway = builder.spawn();
    let visitor = Client::new(gateway.address(), None);
    let ready = || visitor.get("/readyz").is_ok_and(|answer| answer.status == 200);
    let ended = gateway.wait_for(&format!("{case}: ready or refused"), PATIENCE, || match gateway.ended() {
        Some(status) => Some(Some(status)),
        None => ready().then_some(None),
    });
    let start = if let Some(status) = ended {
        assert_eq!(status.code(), Some(PARK), "{case}: {}", gateway.log());
        assert!(gateway.log().contains("journal"), "{case}: the message is about the journal: {}", gateway.log());
        assert!(is_kept(&state, journal), "{case}: a refusal changes nothing");
        Start::Refuses
    } else {
        Start::Serves(replies(&gateway))
    };
    assert!(!gateway.log().contains("panicked at"), "{case}: {}", gateway.log());
    (start, gateway)
}

/// How many replies the session has, as far as its log can be read.
fn replies(gateway: &Gateway) -> usize {
    let mut follower = gateway.follow("main", None);
    let deadline = Instant::now() + Duration::from_secs(2);
    let events = std::iter::from_fn(|| follower.next_kept(deadline));
    events.filter(|event| event.is("reply")).take(5).count()
}

/// Whether a file of the state directory still holds these bytes, give or take what an attempt to open them writes.
fn is_kept(state: &Path, bytes: &[u8]) -> bool {
    let entries = fs::read_dir(state).expect("the state directory is there");
    let files = entries.flatten().filter_map(|entry| fs::read(entry.path()).ok());
    let mut files = files.filter(|file| file.len() >= bytes.len());
    files.any(|file| file.iter().zip(bytes).filter(|(left, right)| left != right).count() <= 4096)
}

#[test]
fn a_torn_journal_is_opened_or_refused_but_never_replaced_in_silence() {
    let healthy = healthy_journal();
    let mut headless = healthy.clone();
    headless[..4096].fill(0);
    let half = healthy[..healthy.len() / 2].to_vec();
    let short = healthy[..100].to_vec();
    let text = b"this is no journal at all\n".repeat(1000);
    for (case, journal) in [("half", half), ("100 bytes", short), ("no header", headless), ("a text", text)] {
        let (start, gateway) = start_on(case, &journal);
        let kept = is_kept(gateway.state_dir(), &journal);
        let honest = matches!(start, Start::Refuses | Start::Serves(5)) || kept;
        assert!(honest, "{case}: it {start:?}, and what was there before is gone: {}", gateway.log());
    }
}

#[test]
fn a_journal_with_flipped_bytes_is_opened_or_refused() {
    let healthy = healthy_journal();
    for page in [4096, 4096 * 16] {
        let mut flipped = healthy.clone();
        for byte in flipped.iter_mut().skip(page).step_by(page) {
            *byte ^= 0xff;
        }
        let (start, gateway) = start_on(&format!("a byte flipped every {page}"), &flipped);
        if start != Start::Refuses {
            assert_eq!(gateway.status()["phase"], "serving", "{}", gateway.log());
        }
    }
}

#[test]
fn an_empty_journal_file_is_opened_or_refused() {
    let (start, gateway) = start_on("an empty file", &[]);
    if start != Start::Refuses {
        assert_serves(&gateway);
    }
}

/// A small file system of its own, gone when this value goes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nothing may be mounted.
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).ok()?;
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"]).arg(path).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(path.to_owned()))
    }

    /// Writes a file until not a byte is left.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast).expect("there is room for a name");
        for block in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_refuses_new_messages_and_keeps_the_old_ones() {
    let builder = instant_agent();
    let state = builder.room().join("small-disk");
    let Some(disk) = SmallDisk::mount(&state) else {
        return skipped("a_full_disk_refuses_new_messages", "nothing can be mounted here (it takes root)");
    };
    let gateway = builder.state_dir(&state).start();
    gateway.send("main", "before the flood", "before");

    let ballast = disk.fill();
    let text = "x".repeat(4096);
    let mut number = 0;
    let refused = gateway.wait_for("a message to be refused", PATIENCE * 2, || {
        let answer = gateway.try_send("main", &format!("{number} {text}"), &format!("full-{number}")).ok()?;
        match answer.status {
            200 | 202 => number += 1,
            507 => return Some(answer),
            503 => {}
            _ => panic!("a full disk is no reason for {answer:?}"),
        }
        None
    });
    assert_refused("a full disk", &refused, 507);
    assert!(refused.retry_after.is_some(), "the client is told when to come again: {refused:?}");
    assert_eq!(gateway.status()["journal"], "failing", "the status says what is wrong");

    fs::remove_file(ballast).expect("the ballast can go");
    gateway.send("main", &format!("{number} {text}"), &format!("full-{number}"));
    gateway.send("other", "after the flood", "after");
    gateway.assert_answered_once(&[], Words::Echo);
    assert_eq!(gateway.status()["journal"], "ok");

    gateway.restart_process();
    gateway.await_ready();
    gateway.assert_answered_once(&[], Words::Echo);
    drop(gateway);
    drop(disk);
}

/// What a model has said by then is kept once there is room, though it says no more and what was to keep it has failed.
#[test]
fn what_an_answer_says_while_the_disk_is_full_is_kept_when_there_is_room_again() {
    let model = Model::start(12, Duration::from_millis(400));
    model.break_next(&[Fault::Stall(6)]);
    let builder = Gateway::builder().config(&model.section());
    let state = builder.room().join("small-disk");
    let Some(disk) = SmallDisk::mount(&state) else {
        return skipped("what_an_answer_says_while_the_disk_is_full", "nothing can be mounted here (it takes root)");
    };
    let gateway = builder.state_dir(&state).start();
    gateway.send("main", "count", "count");
    gateway.await_said("main", "ü0");
    let ballast = disk.fill();
    let text = "x".repeat(4096);
    let mut number = 0;
    // Each of these is written, or fails together with what the answer says by then.
    let mut refused = 0;
    let spoken = Instant::now();
    while refused == 0 || spoken.elapsed() < Duration::from_secs(4) {
        assert!(spoken.elapsed() < PATIENCE, "the disk takes everything");
        let answer = gateway.try_send("other", &format!("/{number} {text}"), &format!("full-{number}"));
        number += 1;
        refused += u32::from(answer.is_ok_and(|answer| answer.status == 507));
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::remove_file(ballast).expect("the ballast can go");
    gateway.await_kept("ü5");
    drop(gateway);
    drop(disk);
}

#[test]
fn a_port_that_a_dying_predecessor_still_holds_is_waited_for() {
    let address = free_address();
    let predecessor = take(address);
    let gateway = Gateway::builder().listen(address).spawn();
    // How long the predecessor takes to die; nothing of the gateway is awaited here.
    std::thread::sleep(Duration::from_millis(500));
    drop(predecessor);
    gateway.await_ready();
}

#[test]
fn a_journal_of_a_newer_version_is_refused_and_left_alone() {
    let builder = instant_agent();
    let state = builder.room().join("state");
    fs::create_dir(&state).expect("the room is writable");
    let path = state.join("journal.redb");
    fs::write(&path, healthy_journal()).expect("the room is writable");
    let database = redb::Database::open(&path).expect("a healthy journal opens");
    let transaction = database.begin_write().expect("nobody else writes");
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    transaction.open_table(meta).expect("there is such a table").insert("schema", &b"7"[..]).expect("it takes a row");
    transaction.commit().expect("there is space");
    drop(database);

    let gateway = builder.spawn();
    assert_eq!(gateway.exit_code(PATIENCE), PARK, "{}", gateway.log());
    let log = gateway.log();
    assert!(log.contains("newer version") && log.contains("schema 7"), "the message says why: {log}");
    // redb keeps its own books when it opens a file, so the bytes may differ; what is stored may not.
    let database = redb::Database::open(&path).expect("it is still a journal");
    let transaction = redb::ReadableDatabase::begin_read(&database).expect("nobody else has it");
    let schema = transaction.open_table(meta).expect("there is such a table").get("schema").expect("it can be read");
    assert_eq!(schema.expect("it is there").value(), b"7");
    let messages = redb::TableDefinition::<u64, &[u8]>::new("messages");
    let messages = transaction.open_table(messages).expect("there is such a table");
    assert_eq!(redb::ReadableTableMetadata::len(&messages).expect("it can be counted"), 5, "a refusal loses nothing");
}
