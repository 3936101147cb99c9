//! Shell scripts under supervision.

use std::fs;
use tokio::sync::mpsc;

use super::*;

/// Supervises a shell script whose `$0` is a folder of its own; `signals` are handed in as they come.
async fn status_of(folder: &Path, script: &str, kill_limit: Duration, mut signals: mpsc::Receiver<Signal>) -> u8 {
    let arguments = ["-c".into(), script.into(), folder.as_os_str().to_owned()].to_vec();
    let mut supervisor = Supervisor::new("/bin/sh".into(), arguments, folder, kill_limit);
    let caught = async || match signals.recv().await {
        Some(signal) => signal,
        None => std::future::pending().await,
    };
    time::timeout(Duration::from_secs(30), supervisor.watch(caught)).await.expect("it ends")
}

async fn appears(path: &Path) {
    for _ in 0..1000 {
        if path.exists() {
            return;
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} never appeared", path.display());
}

#[tokio::test]
async fn a_restart_a_crash_and_a_stop_each_start_the_next_child_as_it_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        echo "$EVERGATE_SUPERVISOR $EVERGATE_SUPERVISOR_PID ${EVERGATE_REVIVED-planned}" >> "$0/lives"
        case $(wc -l < "$0/lives") in 1) exit 75;; 2) kill -KILL $$;; 3) exit 1;; 4) exit 75;; *) exit 0;; esac"#;
    let (_sender, signals) = mpsc::channel(1);
    assert_eq!(status_of(folder.path(), script, KILL_LIMIT, signals).await, 0);
    let lives = fs::read_to_string(folder.path().join("lives")).unwrap();
    // None of them says that it serves, and so none asks to be started again for somebody.
    let expected = ["planned", "1 in a row", "2 in a row", "3 in a row", "4 in a row"]
        .map(|how| format!("supervise {} {how}", process::id()));
    assert_eq!(lives.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_child_reads_how_many_starts_in_a_row_it_is_told_of_and_that_an_earlier_version_has_not_counted() {
    assert_eq!(["1 in a row", "12 in a row", "1", ""].map(revivals), [1, 12, u32::MAX, u32::MAX]);
}

#[tokio::test]
async fn a_child_that_parks_itself_is_not_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let (_sender, signals) = mpsc::channel(1);
    assert_eq!(status_of(folder.path(), "exit 78", KILL_LIMIT, signals).await, 78);
}

#[tokio::test]
async fn a_signal_reaches_the_child_and_only_one_that_means_stop_ends_the_supervisor() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        trap 'echo HUP >> "$0/caught"' HUP; trap 'echo TERM >> "$0/caught"; exit 75' TERM
        : > "$0/up"; while :; do sleep 0.01; done"#;
    let (sender, signals) = mpsc::channel(1);
    let (status, ()) = tokio::join!(status_of(folder.path(), script, KILL_LIMIT, signals), async {
        appears(&folder.path().join("up")).await;
        sender.send(Signal::SIGHUP).await.unwrap();
        appears(&folder.path().join("caught")).await;
        sender.send(Signal::SIGTERM).await.unwrap();
    });
    assert_eq!(status, 0);
    assert_eq!(fs::read_to_string(folder.path().join("caught")).unwrap(), "HUP\nTERM\n");
}

#[tokio::test]
async fn a_child_that_ignores_the_stop_is_killed_at_the_limit_with_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"trap '' TERM; (while :; do sleep 0.01; echo x >> "$0/beat"; done) & : > "$0/up"; wait"#;
    let (sender, signals) = mpsc::channel(1);
    let limit = Duration::from_millis(300);
    let begun_at = time::Instant::now();
    let (status, ()) = tokio::join!(status_of(folder.path(), script, limit, signals), async {
        appears(&folder.path().join("up")).await;
        sender.send(Signal::SIGTERM).await.unwrap();
    });
    assert_eq!(status, 0);
    assert!(begun_at.elapsed() >= limit);
    time::sleep(Duration::from_millis(50)).await;
    let beats = fs::metadata(folder.path().join("beat")).unwrap().len();
    time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fs::metadata(folder.path().join("beat")).unwrap().len(), beats, "the group is gone");
}

#[tokio::test]
async fn a_stop_between_two_children_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"echo x >> "$0/lives"; exit 1"#;
    let (sender, signals) = mpsc::channel(1);
    let (status, ()) = tokio::join!(status_of(folder.path(), script, KILL_LIMIT, signals), async {
        appears(&folder.path().join("lives")).await;
        sender.send(Signal::SIGINT).await.unwrap();
    });
    assert_eq!(status, 0);
}

#[tokio::test]
async fn a_program_that_is_gone_is_started_from_the_running_image() {
    let mut supervisor = Supervisor::new(
        "/nonexistent/evergate".into(),
        ["--list", "--exact", "none"].map(OsString::from).to_vec(),
        Path::new("/nonexistent"),
        KILL_LIMIT,
    );
    assert_eq!(supervisor.watch(std::future::pending).await, 0, "this very test program lists no test");
}
