//! What `evergate install` writes, held against the programs that read it: systemd's own check and a real systemd, a real
//! s6, parsers of property lists and YAML. Whatever this machine lacks is `SKIPPED` out loud.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use evergate_tests::flight::assert_kept_conformant;
use evergate_tests::gateway::free_address;
use evergate_tests::http::Client;
use evergate_tests::service::{Service, UNIT};
use evergate_tests::{PATIENCE, eventually, process, pypi, skipped};
use tempfile::TempDir;

/// Longer than the pause of a supervisor before it starts a service again.
const SUPERVISORS_PAUSE: Duration = Duration::from_secs(3);

/// A folder that stands for a user's home, without any variable of the test's own environment.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(TempDir::with_prefix("evergate-home-").expect("a temporary folder can be made"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn state_dir(&self) -> PathBuf {
        self.path().join(".local/state/evergate")
    }

    fn evergate(&self, arguments: &[&str]) -> Output {
        Command::new(process::binary())
            .args(arguments)
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .output()
            .expect("the binary was just built")
    }

    /// What `install --print` prints.
    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.evergate(&[&["install", "--print"], arguments].concat());
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).expect("it is text")
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A Python that reads YAML and knows the schemas of compose files and of Kubernetes; `None`, said loudly, where it cannot be had.
fn python_with_schemas(test: &str) -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemas");
    let packages = ["compose-spec==0.2.1", "kubernetes-validate==1.37.0", "pyyaml"];
    let python = pypi::installed(&packages, "import compose_spec, kubernetes_validate, yaml", &venv);
    python.inspect_err(|why| skipped(test, why)).ok()
}

/// Runs a Python program over a text; `None`, said loudly, where there is no such Python.
fn python(test: &str, python: &Path, program: &str, input: &str) -> Option<String> {
    let spawned = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        skipped(test, &format!("{} is not installed", python.display()));
        return None;
    };
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads all of it");
    let output = child.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{input}\n{}", said(&output));
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The part of a print of several files that stands below the heading of one.
fn file_in<'a>(printed: &'a str, name: &str) -> &'a str {
    let (_, below) = printed.split_once(&format!("/{name}\n")).expect("it has a heading");
    below.split("\n# ---- ").next().expect("a split has a first part")
}

#[test]
fn systemd_finds_nothing_to_complain_about_in_either_unit() {
    let test = "systemd-analyze verify";
    let home = Home::new();
    for (scope, manager) in [(&["--user"][..], "--user"), (&["--system", "--run-as", "root"][..], "--system")] {
        let unit = home.path().join(UNIT);
        fs::write(&unit, home.printed(&[&["--manager", "systemd"], scope].concat())).expect("it is the test's folder");
        let verify = Command::new("systemd-analyze")
            .args(["verify", "--man=no", manager])
            .arg(&unit)
            .env("XDG_RUNTIME_DIR", home.path())
            .output();
        let Ok(verify) = verify else {
            skipped(test, "systemd-analyze is not installed");
            return;
        };
        assert!(verify.status.success(), "{}", said(&verify));
        // What it does not understand it ignores, and says so; what other units say is not ours.
        let complaints = said(&verify);
        assert!(!complaints.contains("evergate"), "{complaints}");
    }
}

#[test]
fn the_property_list_is_read_as_one() {
    let home = Home::new();
    let plist = home.printed(&["--manager", "launchd", "--user"]);
    let read = "import plistlib,sys; p = plistlib.loads(sys.stdin.buffer.read()); \
        print(p['Label'], p['KeepAlive'], p['ExitTimeOut'], p['ProgramArguments'][1], p['EnvironmentVariables']['EVERGATE_SUPERVISOR_DOMAIN'])";
    let Some(read) = python("the plist", Path::new("python3"), read, &plist) else { return };
    assert_eq!(read, "evergate.gateway {'SuccessfulExit': False} 45 run gui");
}

#[test]
fn the_compose_file_and_the_manifest_are_read_as_yaml() {
    let test = "the compose file and the manifest";
    let Some(interpreter) = python_with_schemas(test) else { return };
    let home = Home::new();
    let printed = home.printed(&["--manager", "docker"]);
    let read = "import yaml,sys; s = yaml.safe_load(sys.stdin)['services']['evergate']; \
        print(s['restart'], s['init'], s['stop_grace_period'], s['environment'])";
    let Some(read) = python(test, &interpreter, read, file_in(&printed, "compose.yaml")) else { return };
    assert_eq!(read, "on-failure False 45s {'EVERGATE_SUPERVISOR_KILL_AFTER': '45s'}");

    let read = "import yaml,sys; m = yaml.safe_load(sys.stdin); p = m['spec']['template']['spec']; \
        print(m['kind'], m['spec']['replicas'], p['terminationGracePeriodSeconds'], p['containers'][0]['args'])";
    let Some(read) = python(test, &interpreter, read, &home.printed(&["--manager", "kubernetes"])) else { return };
    assert_eq!(read, "StatefulSet 1 45 ['run']");
}

/// Whether a Python program with `check`, which is given what `install` prints, takes it as it is and refuses it with a word in it changed.
fn holds_to_its_schema(interpreter: &Path, check: &str, text: &str, (word, other): (&str, &str)) {
    let program = format!(
        "import sys\n{check}\ndef says(text):\n  try: check(text)\n  except Exception as refused: return 'refused'\n  return 'taken'\n\
         text = sys.stdin.read()\nprint(says(text), says(text.replace('{word}', '{other}')))"
    );
    assert!(text.contains(word), "{text}");
    let said = python("schemas", interpreter, &program, text).expect("it is installed");
    assert_eq!(said, "taken refused", "{text}");
}

#[test]
fn the_compose_file_and_the_manifest_hold_to_their_schemas() {
    let test = "the schemas of compose files and of Kubernetes";
    let Some(python) = python_with_schemas(test) else { return };
    let home = Home::new();
    let compose = "import compose_spec\ncheck = compose_spec.PyCompose.from_yaml";
    let printed = home.printed(&["--manager", "docker"]);
    let text = file_in(&printed, "compose.yaml");
    holds_to_its_schema(&python, compose, text, ("restart:", "restarts:"));

    let manifest = "import yaml, kubernetes_validate\n\
        check = lambda text: kubernetes_validate.validate(yaml.safe_load(text), kubernetes_validate.latest_version(), strict=True)";
    let text = home.printed(&["--manager", "kubernetes"]);
    holds_to_its_schema(&python, manifest, &text, ("replicas:", "replica:"));
}

#[test]
fn install_writes_its_own_files_only_and_uninstall_removes_exactly_those() {
    let home = Home::new();
    let (install, uninstall) =
        (["install", "--user", "--manager", "systemd"], ["uninstall", "--user", "--manager", "systemd"]);
    let unit = home.path().join(".config/systemd/user").join(UNIT);
    assert!(home.evergate(&[&install[..], &["--print"]].concat()).status.success());
    assert!(!unit.exists(), "a print touches nothing");

    for _ in 0..2 {
        let done = home.evergate(&install);
        assert_eq!(done.status.code(), Some(0), "{}", said(&done));
        assert!(said(&done).contains("systemctl --user enable --now evergate.service"), "{}", said(&done));
    }
    let neighbour = unit.with_file_name("other.service");
    fs::write(&neighbour, "[Service]\n").expect("it is the test's folder");
    let ours = fs::read_to_string(&unit).expect("it was written");

    for (text, whose) in
        [(ours.replace("KillMode=mixed", "KillMode=process"), "changed"), ("[Unit]\n".into(), "not written by")]
    {
        fs::write(&unit, &text).expect("it is the test's folder");
        for command in [&install, &uninstall] {
            let refused = home.evergate(command);
            assert_eq!(refused.status.code(), Some(73), "{}", said(&refused));
            assert!(said(&refused).contains(whose), "{}", said(&refused));
        }
        assert_eq!(fs::read_to_string(&unit).ok(), Some(text));
    }
    fs::write(&unit, &ours).expect("it is the test's folder");
    let done = home.evergate(&uninstall);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(!unit.exists() && neighbour.exists());
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let below = |path: PathBuf| if path.is_dir() && !path.is_symlink() { files(&path) } else { BTreeSet::from([path]) };
    entries.flat_map(below).collect()
}

#[test]
fn uninstall_removes_exactly_what_install_wrote_whoever_keeps_the_gateway() {
    for (manager, scope) in
        [("systemd", &["--user"][..]), ("launchd", &["--user"]), ("s6", &[]), ("docker", &[]), ("kubernetes", &[])]
    {
        let home = Home::new();
        fs::create_dir_all(home.state_dir()).expect("it is the test's folder");
        fs::write(home.state_dir().join("config.toml"), "").expect("it is the test's folder");
        let mut before = files(home.path());
        let arguments = [&["--manager", manager], scope].concat();
        let done = home.evergate(&[&["install"], &arguments[..]].concat());
        assert_eq!(done.status.code(), Some(0), "{manager}: {}", said(&done));
        let written: Vec<_> = files(home.path()).difference(&before).cloned().collect();
        assert!(!written.is_empty(), "{manager}: {}", said(&done));
        for neighbour in written.iter().filter_map(|path| path.parent()).map(|folder| folder.join("of-somebody-else")) {
            fs::write(&neighbour, "").expect("it is the test's folder");
            before.insert(neighbour);
        }
        let done = home.evergate(&[&["uninstall"], &arguments[..]].concat());
        assert_eq!(done.status.code(), Some(0), "{manager}: {}", said(&done));
        assert_eq!(files(home.path()), before, "{manager}: {}", said(&done));
    }
}

#[test]
fn arguments_that_do_not_go_together_are_refused_with_what_to_say() {
    let home = Home::new();
    for (arguments, advice) in [
        (&["--manager", "systemd"][..], "--user, or --system --run-as"),
        (&["--manager", "systemd", "--system"], "--run-as USER"),
        (&["--manager", "systemd", "--system", "--run-as", "no-such-user-here"], "useradd"),
        (&["--manager", "docker", "--user"], "leave them out"),
        (&["--manager", "systemd", "--user", "--system"], "cannot be used with"),
    ] {
        let refused = home.evergate(&[&["install"], arguments].concat());
        assert_eq!(refused.status.code(), Some(64), "{}", said(&refused));
        assert!(said(&refused).contains(advice), "{}", said(&refused));
    }
}

#[test]
fn a_configuration_that_is_wrong_is_refused_before_anything_is_written() {
    let home = Home::new();
    fs::create_dir_all(home.state_dir()).expect("it is the test's folder");
    fs::write(home.state_dir().join("config.toml"), "[drain]\nbudget = \"soon\"\n").expect("it is the test's folder");
    let refused = home.evergate(&["install", "--user", "--manager", "systemd"]);
    assert_eq!(refused.status.code(), Some(78), "{}", said(&refused));
    assert!(!home.path().join(".config").exists());
}

#[test]
fn a_budget_that_the_supervisor_will_not_grant_is_named_with_the_limit() {
    let home = Home::new();
    fs::create_dir_all(home.state_dir()).expect("it is the test's folder");
    fs::write(home.state_dir().join("config.toml"), "[drain]\nbudget = \"10m\"\n").expect("it is the test's folder");
    let output = home.evergate(&["install", "--print", "--user", "--manager", "launchd"]);
    let said = said(&output);
    assert!(said.contains("kills 60 s after") && said.contains("need 615 s"), "{said}");
}

#[test]
fn the_installed_unit_outlives_a_kill_a_stray_signal_and_restarts_and_stays_down_when_stopped() {
    let Some(service) = Service::installed("the installed unit under systemd", "", |unit| unit) else { return };
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "active", "READY=1 was heard");
    for signal in ["KILL", "TERM"] {
        service.survive(signal);
    }
    // More starts than systemd's own limit would let through.
    for round in 1..=6 {
        let generation = service.serving().expect("it serves");
        let restarted = service.evergate(&["restart", "--reason", &format!("round {round}")]);
        assert!(restarted.status.success(), "{}", restarted.text);
        service.await_generation_after(generation);
        service.survive("KILL");
    }
    service.control("stop");
    thread::sleep(SUPERVISORS_PAUSE);
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "inactive");
    assert_eq!(service.systemd.show(UNIT, "Result"), "success");
    assert_eq!(service.serving(), None);

    service.control("start");
    service.await_generation_after(0);
    let stopped = service.evergate(&["stop"]);
    assert!(stopped.status.success(), "{}", stopped.text);
    thread::sleep(SUPERVISORS_PAUSE);
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "inactive", "a stop is not undone");
}

#[test]
fn an_idle_gateway_outlives_the_watchdog_of_the_installed_unit() {
    let Some(service) = Service::installed("WatchdogSec under systemd", "[watchdog]\nfreeze = \"1s\"\n", |unit| unit)
    else {
        return;
    };
    assert_eq!(service.systemd.show(UNIT, "WatchdogUSec"), "11s", "behind the watchdog inside");
    let pid = service.systemd.main_pid(UNIT);
    thread::sleep(Duration::from_secs(14));
    assert_eq!((service.systemd.main_pid(UNIT), service.systemd.show(UNIT, "NRestarts").as_str()), (pid, "0"));
}

#[test]
fn the_installed_unit_is_parked_by_a_mistake_that_a_start_cannot_mend() {
    let Some(service) = Service::installed("a mistake under systemd", "", |unit| unit) else { return };
    service.control("stop");
    fs::write(service.systemd.folder().join("config.toml"), "[drain]\nbudget = \"soon\"\n")
        .expect("it is the test's folder");
    let started = service.systemd.systemctl(&["start", UNIT]);
    assert!(!started.status.success(), "{}", started.text);
    thread::sleep(SUPERVISORS_PAUSE);
    assert_eq!(service.systemd.show(UNIT, "ActiveState"), "failed");
    assert_eq!(service.systemd.show(UNIT, "ExecMainStatus"), "78");
    assert_eq!(service.systemd.show(UNIT, "NRestarts"), "0");
}

/// A scan of one folder by a real s6, ended with everything below it.
struct Scan {
    child: Child,
    folder: PathBuf,
    state_dir: PathBuf,
}

impl Scan {
    fn control(&self, arguments: &[&str]) {
        let status = Command::new("s6-svc").args(arguments).arg(self.folder.join("evergate")).status();
        assert!(status.is_ok_and(|status| status.success()), "s6-svc {arguments:?}");
    }

    /// What `s6-svstat` says, such as `up` or `down`.
    fn is_up(&self) -> bool {
        let said = Command::new("s6-svstat").args(["-o", "up"]).arg(self.folder.join("evergate")).output();
        said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).trim() == "true")
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        let _ = Command::new("s6-svscanctl").arg("-t").arg(&self.folder).status();
        let ended = eventually(PATIENCE, || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        process::end_all(&self.state_dir);
    }
}

fn serving(address: SocketAddr) -> Option<u64> {
    let answer = Client::new(address, None).get("/readyz").ok()?;
    answer.json()["generation"].as_u64().filter(|_| answer.status == 200)
}

fn await_generation_after(address: SocketAddr, former: u64) -> u64 {
    eventually(PATIENCE, || serving(address).filter(|generation| *generation > former))
        .unwrap_or_else(|| panic!("no generation after {former} came to serve"))
}

#[test]
fn the_service_directory_of_s6_outlives_kills_and_restarts_and_stays_down_when_stopped() {
    let test = "the service directory under s6";
    let (home, address) = (Home::new(), free_address());
    let state_dir = home.state_dir();
    fs::create_dir_all(&state_dir).expect("it is the test's folder");
    fs::write(state_dir.join("config.toml"), format!("[local]\nlisten = \"{address}\"\n"))
        .expect("it is the test's folder");
    assert!(home.evergate(&["install", "--manager", "s6"]).status.success());
    let folder = home.path().join("service");
    fs::create_dir(&folder).expect("it is the test's folder");
    symlink(state_dir.join("install/s6"), folder.join("evergate")).expect("it is the test's folder");
    let log = fs::File::create(home.path().join("log")).expect("it is the test's folder");
    let child = Command::new("s6-svscan")
        .arg(&folder)
        // The mark by which the harness finds what belongs to this gateway.
        .env("EVERGATE_STATE_DIR", &state_dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor is left"))
        .stderr(log)
        .spawn();
    let Ok(child) = child else {
        skipped(test, "s6 is not installed");
        return;
    };
    let scan = Scan { child, folder, state_dir };

    let mut generation = await_generation_after(address, 0);
    let status = said(&home.evergate(&["status"]));
    assert!(status.contains("supervisor   s6"), "{status}");
    for signal in ["-k", "-t"] {
        scan.control(&[signal]);
        generation = await_generation_after(address, generation);
    }
    let restarted = home.evergate(&["restart"]);
    assert_eq!(restarted.status.code(), Some(0), "{}", said(&restarted));
    await_generation_after(address, generation);

    let stopped = home.evergate(&["stop"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", said(&stopped));
    thread::sleep(SUPERVISORS_PAUSE);
    assert!(!scan.is_up() && serving(address).is_none(), "a stop is not undone");

    scan.control(&["-u"]);
    await_generation_after(address, generation);
    fs::write(scan.state_dir.join("config.toml"), "[drain]\nbudget = \"soon\"\n").expect("it is the test's folder");
    scan.control(&["-k"]);
    assert!(eventually(PATIENCE, || (!scan.is_up()).then_some(())).is_some(), "it parks itself");
    thread::sleep(SUPERVISORS_PAUSE);
    assert!(!scan.is_up(), "a mistake that a start cannot mend is not started again");
    let state_dir = scan.state_dir.clone();
    drop(scan);
    assert_kept_conformant(&state_dir, generation);
}
