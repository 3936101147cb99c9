//! Every file that can be installed, as it was last looked at by a person. A change of one shows in `snapshots/`.

use super::*;

fn service(scope: Scope) -> Service {
    Service {
        program: "/opt/my tools/evergate".into(),
        state_dir: "/var/lib/evergate".into(),
        config: Some("/etc/evergate.toml".into()),
        scope,
        limits: Limits::default(),
        bounds: meaning::bounds(&Config::default()),
    }
}

/// A snapshot holds a file without the line that names version and checksum.
fn assert_snapshot(file: &UnitFile, snapshot: &str) {
    let first = file.first_line.map_or_else(String::new, |line| format!("{line}\n"));
    assert_eq!(format!("{first}{}", file.text), snapshot, "{}", file.path.display());
}

#[test]
fn each_file_is_as_it_was_last_looked_at() {
    let unit = |scope| systemd::product(&service(scope)).unwrap().files.remove(0);
    assert_snapshot(&unit(Scope::User), include_str!("snapshots/user.service"));
    assert_snapshot(&unit(Scope::System(Some("evergate".into()))), include_str!("snapshots/system.service"));
    let plist = launchd::product(&service(Scope::System(Some("evergate".into())))).unwrap().files.remove(0);
    assert_eq!(plist.path, Path::new("/Library/LaunchDaemons/evergate.gateway.plist"));
    assert_snapshot(&plist, include_str!("snapshots/evergate.plist"));
    let [run, finish] = <[UnitFile; 2]>::try_from(s6::product(&service(Scope::User)).files).unwrap();
    assert_snapshot(&run, include_str!("snapshots/s6-run"));
    assert_snapshot(&finish, include_str!("snapshots/s6-finish"));
    let [compose, dockerfile] = <[UnitFile; 2]>::try_from(docker::product(&service(Scope::User)).files).unwrap();
    assert_snapshot(&compose, include_str!("snapshots/compose.yaml"));
    assert_snapshot(&dockerfile, include_str!("snapshots/Dockerfile"));
    let manifest = kubernetes::product(&service(Scope::User)).files.remove(0);
    assert_snapshot(&manifest, include_str!("snapshots/kubernetes.yaml"));
}

#[test]
fn a_longer_drain_gets_a_longer_kill_limit_in_every_file_that_has_one() {
    let mut patient = service(Scope::User);
    patient.limits.drain = Duration::from_secs(600);
    for (manager, line) in [
        (Manager::Systemd, "TimeoutStopSec=615\n"),
        (Manager::Docker, "stop_grace_period: 615s\n"),
        (Manager::Kubernetes, "terminationGracePeriodSeconds: 615\n"),
        // launchd grants no more.
        (Manager::Launchd, "<integer>60</integer>\n"),
    ] {
        let product = manager.product(&patient).unwrap();
        assert!(product.files[0].text.contains(line), "{}", product.files[0].text);
    }
}

#[test]
fn only_a_state_directory_right_below_the_usual_place_is_made_by_systemd() {
    for (state_dir, made) in [
        ("/var/lib/evergate", true),
        ("/var/lib/gate-2", true),
        ("/var/lib", false),
        ("/var/lib/a/b", false),
        ("/srv/evergate", false),
    ] {
        let service = Service { state_dir: state_dir.into(), ..service(Scope::System(Some("evergate".into()))) };
        let unit = systemd::product(&service).unwrap().files.remove(0).text;
        assert_eq!(unit.contains("StateDirectory="), made, "{state_dir}");
    }
}
