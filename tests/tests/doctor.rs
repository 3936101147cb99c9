//! `evergate doctor` over what somebody has broken on purpose: each thing is found, alone, with the command that mends it;
//! what it may mend by itself it does mend.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use evergate_tests::gateway::{Gateway, free_address};
use evergate_tests::service::{Service, UNIT};
use evergate_tests::{PATIENCE, process, skipped};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::{Value, json};

const GENERATIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("generations");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// What the doctor found, and how it ended.
struct Diagnosis {
    findings: Vec<Value>,
    status: Option<i32>,
}

impl Diagnosis {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let said: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let findings = said["findings"].as_array().expect("there is a list").clone();
        Self { findings, status: output.status.code() }
    }

    /// The only finding, which is of this check and says this, and left this exit status.
    #[track_caller]
    fn assert_only(&self, check: &str, what: &str) {
        assert_eq!(self.findings.len(), 1, "{:#?}", self.findings);
        let finding = &self.findings[0];
        assert_eq!(finding["check"], check, "{finding:#}");
        assert!(finding["what"].as_str().is_some_and(|text| text.contains(what)), "{finding:#}");
        for told in ["consequence", "mend"] {
            assert!(finding[told].as_str().is_some_and(|text| !text.is_empty()), "{finding:#}");
        }
        assert_eq!(self.status, Some(1));
    }
}

fn doctor(gateway: &Gateway, further: &[&str]) -> Diagnosis {
    Diagnosis::of(&gateway.cli(&[&["doctor", "--json"], further].concat()))
}

/// A gateway that has lived and was stopped, so that its directory is as one is.
fn stopped() -> Gateway {
    let gateway = Gateway::builder().start();
    assert!(gateway.cli(&["stop"]).status.success());
    gateway.exit_code(PATIENCE);
    gateway
}

fn configure(gateway: &Gateway, toml: &str) {
    let file = gateway.state_dir().join("config.toml");
    fs::write(&file, toml).expect("the room is writable");
    set_mode(&file, 0o600);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn a_gateway_that_is_well_has_no_findings_whether_it_runs_or_not() {
    let gateway = Gateway::builder().start();
    let running = gateway.cli(&["doctor"]);
    assert_eq!(running.status.code(), Some(0), "{running:?}");
    assert!(String::from_utf8_lossy(&running.stdout).starts_with("all is well with "), "{running:?}");
    assert!(gateway.cli(&["stop"]).status.success());
    gateway.exit_code(PATIENCE);
    let diagnosis = doctor(&gateway, &[]);
    assert_eq!((diagnosis.findings, diagnosis.status), (Vec::new(), Some(0)));
}

#[test]
fn modes_that_let_others_in_are_found_and_mended() {
    let gateway = stopped();
    let token = gateway.state_dir().join("token");
    set_mode(&token, 0o644);
    doctor(&gateway, &[]).assert_only("mode", "token has mode 0644, not 0600");
    set_mode(gateway.state_dir(), 0o755);
    assert_eq!(doctor(&gateway, &[]).findings.len(), 2);

    let mended = doctor(&gateway, &["--fix"]);
    assert!(mended.findings.iter().all(|finding| finding["fixed"] == true), "{:#?}", mended.findings);
    assert_eq!((mended.status, mode(&token), mode(gateway.state_dir())), (Some(0), 0o600, 0o700));
    assert_eq!(doctor(&gateway, &[]).status, Some(0));
}

#[test]
fn a_file_of_another_owner_is_found_and_left_to_a_person() {
    if !geteuid().is_root() {
        return skipped("a file of another owner", "it takes root to give a file away");
    }
    let gateway = stopped();
    chown(gateway.state_dir().join("journal.redb"), Some(65_534), None).expect("root may");
    doctor(&gateway, &["--fix"]).assert_only("owner", "belongs to user 65534");
}

#[test]
fn a_disk_with_little_room_is_found() {
    if !geteuid().is_root() {
        return skipped("a disk with little room", "it takes root to mount one");
    }
    let gateway = stopped();
    let state_dir = gateway.state_dir().display().to_string();
    let small = "mount -t tmpfs -o size=64m,mode=0700 tmpfs \"$1\" && exec \"$0\" doctor --json --state-dir \"$1\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", small])
        .args([&process::binary().display().to_string(), &state_dir])
        .env("HOME", gateway.room())
        .output();
    match output {
        Ok(output) => Diagnosis::of(&output).assert_only("space", "MiB free"),
        Err(_) => skipped("a disk with little room", "unshare is not installed"),
    }
}

#[test]
fn a_damaged_journal_is_found() {
    let gateway = stopped();
    fs::write(gateway.state_dir().join("journal.redb"), "this is no journal").expect("the room is writable");
    doctor(&gateway, &[]).assert_only("journal", "cannot be opened");
}

#[test]
fn a_journal_of_a_newer_version_is_found() {
    let gateway = stopped();
    let journal = Database::open(gateway.state_dir().join("journal.redb")).expect("nobody has it open");
    let change = journal.begin_write().expect("it can be written");
    change.open_table(META).expect("it has one").insert("schema", b"99".as_slice()).expect("it can be written");
    change.commit().expect("it can be written");
    drop(journal);
    doctor(&gateway, &[]).assert_only("journal", "99");
}

#[test]
fn a_clock_behind_the_journal_is_found() {
    let gateway = stopped();
    let journal = Database::open(gateway.state_dir().join("journal.redb")).expect("nobody has it open");
    let (number, mut row) = {
        let reading = journal.begin_read().expect("it can be read");
        let table = reading.open_table(GENERATIONS).expect("it has one");
        let (number, row) = table.last().expect("it can be read").expect("one generation has lived");
        (number.value(), serde_json::from_slice::<Value>(row.value()).expect("rows are JSON"))
    };
    let ended = row["ended_at_ms"].as_u64().expect("it was stopped");
    row["ended_at_ms"] = json!(ended + 3_600_000);
    let change = journal.begin_write().expect("it can be written");
    let bytes = serde_json::to_vec(&row).expect("it is JSON");
    change.open_table(GENERATIONS).expect("it has one").insert(number, bytes.as_slice()).expect("it can be written");
    change.commit().expect("it can be written");
    drop(journal);
    doctor(&gateway, &[]).assert_only("clock", "s behind the last record");
}

#[test]
fn a_wrong_configuration_and_an_agent_that_cannot_start_are_found() {
    let gateway = stopped();
    configure(&gateway, "[drain]\nbugdet = \"30s\"\n");
    doctor(&gateway, &[]).assert_only("configuration", "bugdet");

    let program = gateway.room().join("agent");
    configure(&gateway, &format!("[agent]\nkind = \"command\"\n[agent.command]\nargv = [{program:?}]\n"));
    doctor(&gateway, &[]).assert_only("agent", "cannot be found");
    fs::write(&program, "#!/bin/sh\n").expect("the room is writable");
    set_mode(&program, 0o644);
    doctor(&gateway, &[]).assert_only("agent", "is not executable");
    set_mode(&program, 0o755);
    assert_eq!(doctor(&gateway, &[]).status, Some(0));

    configure(&gateway, "[agent]\nkind = \"command\"\n[agent.command]\nargv = [\"no-such-program-anywhere\"]\n");
    doctor(&gateway, &[]).assert_only("agent", "none of the folders of PATH");
}

#[test]
fn a_gateway_that_does_not_answer_is_found() {
    let gateway = Gateway::builder().start();
    let pid = gateway.pid();
    process::send_signal(pid, Signal::SIGSTOP);
    let owner = format!("process {pid} holds the state directory");
    doctor(&gateway, &[]).assert_only("control socket", &owner);
    // While it stands still nobody makes it again.
    fs::remove_file(gateway.state_dir().join("control.sock")).expect("it was there");
    doctor(&gateway, &[]).assert_only("control socket", &owner);
    process::send_signal(pid, Signal::SIGCONT);
    gateway.wait_for("the gateway to be found well", PATIENCE, || {
        let well = doctor(&gateway, &[]);
        (well.status == Some(0) && well.findings.is_empty()).then_some(())
    });
}

#[test]
fn a_gateway_that_left_to_be_started_again_and_was_not_is_missed() {
    let gateway = Gateway::builder().start();
    gateway.signal(Signal::SIGTERM);
    gateway.exit_code(PATIENCE);
    let found = doctor(&gateway, &[]);
    found.assert_only("no gateway", "exit 75");
    let consequence = &found.findings[0]["consequence"];
    assert!(consequence.as_str().is_some_and(|text| text.contains("nobody has started it again")), "{consequence}");
}

#[test]
fn a_state_directory_that_is_a_file_is_one_finding() {
    let gateway = stopped();
    let file = gateway.room().join("a file");
    fs::write(&file, "no folder").expect("the room is writable");
    let file = file.display().to_string();
    let output = Command::new(process::binary()).args(["doctor", "--json", "--state-dir", &file]).output();
    Diagnosis::of(&output.expect("the binary was just built")).assert_only("state directory", "is no folder");
}

#[test]
fn a_second_supervisor_is_found() {
    let gateway = Gateway::builder().supervised(true).start();
    assert_eq!(doctor(&gateway, &[]).status, Some(0), "one is as it should be");
    let installed = gateway.cli(&["install", "--user", "--manager", "systemd"]);
    assert!(installed.status.success(), "{installed:?}");
    doctor(&gateway, &[]).assert_only("second supervisor", "`evergate supervise`, process");
    let s6 = installed_for(&gateway, "s6", &[]);
    let unused = doctor(&gateway, &[]).findings;
    assert!(unused[0]["what"].as_str().is_some_and(|what| what.starts_with("2 keep a gateway")), "{unused:?}");
    let orders = s6[0].with_file_name("supervise").join("control");
    fs::create_dir(orders.parent().expect("it is in a folder")).expect("it stands for what s6 makes there");
    mkfifo(&orders, Mode::S_IRUSR | Mode::S_IWUSR).expect("it stands for what s6 hears");
    assert_eq!(doctor(&gateway, &[]).findings, unused, "nobody hears it any more");
    let _heard =
        OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&orders).expect("it is a pipe");
    installed_for(&gateway, "launchd", &[]);
    doctor(&gateway, &[]).assert_only("second supervisor", "4 keep a gateway on");
}

/// Whom nobody can ask what it makes of its files, and the files that `install` has written for it.
fn installed_for(gateway: &Gateway, manager: &str, further: &[&str]) -> Vec<PathBuf> {
    let scope: &[&str] = if manager == "launchd" { &["--user"] } else { &[] };
    let output = gateway.cli(&[&["install", "--manager", manager], scope, further].concat());
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().filter_map(|line| line.strip_prefix("wrote ")).map(PathBuf::from).collect()
}

/// As an older version would have written it.
fn make_older(file: &Path) {
    let text = fs::read_to_string(file).expect("it is there");
    let older = text.replacen(&format!("version {},", env!("CARGO_PKG_VERSION")), "version 0.0.1,", 1);
    assert_ne!(older, text);
    fs::write(file, older).expect("it is ours");
}

#[test]
fn whatever_an_older_version_wrote_is_found_and_written_anew_for_each_manager() {
    let gateway = stopped();
    for manager in ["launchd", "s6", "docker", "kubernetes"] {
        let files = installed_for(&gateway, manager, &[]);
        assert!(!files.is_empty(), "{manager}");
        assert_eq!(doctor(&gateway, &[]).findings, Vec::<Value>::new(), "{manager}");
        for file in &files {
            let text = fs::read_to_string(file).expect("it is there");
            make_older(file);
            doctor(&gateway, &[]).assert_only("unit", &format!("{} was written by version 0.0.1", file.display()));
            assert_eq!(doctor(&gateway, &["--fix"]).status, Some(0), "{manager}");
            assert_eq!(fs::read_to_string(file).ok(), Some(text), "{manager}");
        }
    }
}

#[test]
fn what_an_older_version_wrote_with_other_options_or_was_edited_is_left_to_a_person() {
    let gateway = stopped();
    let config = gateway.state_dir().join("other.toml");
    fs::write(&config, "").expect("the room is writable");
    let config = config.display().to_string();
    let files = installed_for(&gateway, "s6", &["--config", &config]);
    let run = files.iter().find(|file| file.ends_with("run")).expect("it has one");
    make_older(run);
    let text = fs::read_to_string(run).ok();
    let found = doctor(&gateway, &["--fix"]);
    found.assert_only("unit", "was written by version 0.0.1");
    let mend = found.findings[0]["mend"].as_str().unwrap_or_default();
    let directory = gateway.state_dir().display();
    let again = format!("evergate install --manager s6 --state-dir {directory} --config {config}, and then: ");
    assert!(mend.starts_with(&again), "{mend}");
    assert_eq!(fs::read_to_string(run).ok(), text);
    assert_eq!(doctor(&gateway, &["--fix", "--config", &config]).status, Some(0));

    // What such a file says of the budgets cannot be seen from a command.
    configure(&gateway, "[drain]\nbudget = \"10m\"\n");
    let compose = &installed_for(&gateway, "docker", &[])[0];
    make_older(compose);
    let text = fs::read_to_string(compose).ok();
    configure(&gateway, "");
    doctor(&gateway, &["--fix"]).assert_only("unit", "compose.yaml was written by version 0.0.1");
    assert_eq!(fs::read_to_string(compose).ok(), text);
    installed_for(&gateway, "docker", &[]);

    make_older(run);
    let edited = fs::read_to_string(run).expect("it is there").replace("umask 077", "umask 027");
    fs::write(run, &edited).expect("it is ours");
    assert_eq!(doctor(&gateway, &["--fix", "--config", &config]).status, Some(0));
    assert_eq!(fs::read_to_string(run).ok(), Some(edited));
}

#[test]
fn a_kill_limit_that_a_file_tells_is_held_against_the_budgets() {
    let gateway = stopped();
    let launchd = installed_for(&gateway, "launchd", &[]);
    configure(&gateway, "[drain]\nbudget = \"10m\"\n");
    let found = doctor(&gateway, &[]);
    found.assert_only("stop limit", "evergate.gateway.plist has it killed after");
    assert_eq!(found.findings[0]["mend"], "lower drain.budget", "it grants no more");
    configure(&gateway, "");
    fs::remove_file(&launchd[0]).expect("it is ours");
    for manager in ["docker", "kubernetes"] {
        let files = installed_for(&gateway, manager, &[]);
        configure(&gateway, "[drain]\nbudget = \"10m\"\n");
        doctor(&gateway, &[]).assert_only("stop limit", &format!("{} has it killed after", files[0].display()));
        installed_for(&gateway, manager, &[]);
        assert_eq!(doctor(&gateway, &[]).status, Some(0), "{manager}");
        configure(&gateway, "");
    }
}

#[test]
fn a_unit_that_somebody_has_bent_is_found_line_by_line() {
    let bend = |unit: String| {
        unit.replace("Restart=on-failure\n", "Restart=always\n")
            .replace("KillMode=mixed\n", "KillMode=control-group\n")
            .replace("TimeoutStopSec=90\n", "TimeoutStopSec=20\n")
            .replace("StartLimitIntervalSec=0\n", "")
    };
    let Some(service) = Service::installed("a bent unit under systemd", "", bend) else { return };
    let config = service.systemd.folder().join("config.toml").display().to_string();
    let diagnose = || {
        let output = service.evergate(&["doctor", "--json", "--config", &config]);
        let said: Value = serde_json::from_str(&output.text).unwrap_or_else(|error| panic!("{error}: {}", output.text));
        let findings = said["findings"].as_array().expect("there is a list").clone();
        let checks = findings.iter().map(|finding| finding["check"].as_str().unwrap_or_default().to_owned());
        (checks.collect::<Vec<_>>(), findings)
    };
    let (checks, findings) = diagnose();
    let wanted = ["restart policy", "kill mode", "start limit", "stop limit", "unit"];
    assert_eq!(checks, wanted, "{findings:#?}");
    assert!(findings[4]["what"].as_str().is_some_and(|what| what.contains("disabled")), "{findings:#?}");
}

#[test]
fn a_unit_of_an_older_version_is_found_and_written_anew_and_one_that_was_edited_is_not() {
    let version = env!("CARGO_PKG_VERSION");
    let older = |unit: String| unit.replace(&format!("version {version},"), "version 0.0.1,");
    let Some(service) = Service::installed("an older unit under systemd", "", older) else { return };
    let config = service.systemd.folder().join("config.toml").display().to_string();
    let unit = service.systemd.folder().join("units").join(UNIT);
    let said = |arguments: &[&str]| service.evergate(&[&["doctor", "--config", &config], arguments].concat()).text;

    assert!(said(&[]).contains("was written by version 0.0.1"), "{}", said(&[]));
    let of_another = service.evergate(&["doctor", "--fix"]).text;
    assert!(of_another.contains(&format!("--config {config}")) && !of_another.contains("mended:"), "{of_another}");
    let mended = said(&["--fix"]);
    assert!(mended.contains("mended:") && mended.contains("was written anew"), "{mended}");
    let text = fs::read_to_string(&unit).expect("it is there");
    assert!(text.contains(&format!("version {version},")) && text.contains("User=root"), "{text}");
    assert!(text.contains("ExecStopPost=-"), "{text}");
    assert!(said(&[]).contains("has changed since systemd read it"), "{}", said(&[]));
    assert!(service.systemd.systemctl(&["daemon-reload"]).status.success());
    assert!(!said(&[]).contains("written by version"), "{}", said(&[]));

    let edited = older(text).replace("UMask=0077", "UMask=0027");
    fs::write(&unit, &edited).expect("it is the test's folder");
    said(&["--fix"]);
    assert_eq!(fs::read_to_string(&unit).ok(), Some(edited));
}

#[test]
fn a_platform_that_cannot_work_is_found_with_the_gateway_and_without_it() {
    let builder = Gateway::builder();
    let token = builder.room().join("bot-token");
    fs::write(&token, "4242:wrong\n").expect("the room is writable");
    let gateway = builder
        .config(&format!("[telegram]\ntoken_file = {token:?}\napi_base = 'http://127.0.0.1:9'\noperators = [1]"))
        .start();
    let config = gateway.config().display().to_string();
    let config = ["--config", config.as_str()];
    assert!(gateway.cli(&[&["doctor", "--fix"], &config[..]].concat()).status.code().is_some());
    let mode = fs::metadata(&token).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "a token that others could read is mended");
    gateway.wait_for("the trouble to be seen", PATIENCE, || {
        (gateway.status()["platforms"][0]["state"] == "waiting").then_some(())
    });
    doctor(&gateway, &config).assert_only("platform", "telegram is waiting");
    assert!(gateway.cli(&["stop"]).status.success());
    gateway.exit_code(PATIENCE);
    doctor(&gateway, &config).assert_only("platform", "http://127.0.0.1:9 cannot be reached");
    fs::remove_file(&token).expect("it is ours");
    let found = doctor(&gateway, &config).findings;
    assert!(found.iter().any(|finding| finding["what"].to_string().contains("telegram.token_file")), "{found:#?}");
}

#[test]
fn a_model_without_its_key_or_whose_endpoint_is_away_is_found() {
    let gateway = stopped();
    let closed = free_address();
    let model = |further: &str| {
        let base = format!("base_url = \"http://{closed}/v1\"\nmodel = \"tiny\"");
        configure(&gateway, &format!("[agent]\nkind = \"openai\"\n[agent.openai]\n{base}\n{further}"));
    };
    model("key_file = \"/nowhere/key\"");
    doctor(&gateway, &[]).assert_only("agent", "the model's key is missing: /nowhere/key cannot be read");
    model("");
    doctor(&gateway, &[]).assert_only("agent", "cannot be reached");
    let listening = std::net::TcpListener::bind(closed).expect("nobody is there");
    let found = doctor(&gateway, &[]);
    assert!(found.findings.is_empty() && found.status == Some(0), "{:#?}", found.findings);
    drop(listening);
}
