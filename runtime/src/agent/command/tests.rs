//! Real children: well-behaved, silent, deaf, garrulous, wild. Each test gives a run a small program and looks at its
//! reports and at what is left in the process table.

use super::*;
use crate::agent::{Progress, Resume, What, teller::REPORT_EVERY};
use std::{fs, path::Path};
use tokio::{task::JoinHandle, time::Instant};

/// No test waits longer for anything; nothing here should take a tenth of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A run in the background, with the driver's ends of its channels.
struct Played {
    task: JoinHandle<()>,
    wish: watch::Sender<Wish>,
    reports: mpsc::Receiver<Report>,
}

fn agent(argv: &[&str]) -> CommandAgent {
    CommandAgent {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        silence: PATIENCE,
        max_reply_bytes: 1 << 20,
        max_file_bytes: 1000,
    }
}

fn shell(script: &str) -> CommandAgent {
    agent(&["sh", "-c", script])
}

fn assignment(prompt: &str) -> Assignment {
    Assignment {
        turn: 5,
        session: "main".into(),
        prompt: prompt.into(),
        messages: Vec::new(),
        attachments: Vec::new(),
        said: String::new(),
        attempt: 2,
        resume: Some(Resume::Crash),
        conversation: 3,
        generation: 4,
        state_dir: "/state".into(),
        control: "/state/control.sock".into(),
    }
}

fn start(agent: &CommandAgent, prompt: &str, capacity: usize) -> Played {
    let (wish, wished) = watch::channel(Wish::Run);
    let (sender, reports) = mpsc::channel(capacity);
    Played { task: tokio::spawn(agent.run(assignment(prompt), wished, sender)), wish, reports }
}

impl Played {
    /// The next report; panics when there is none.
    async fn next(&mut self) -> What {
        let report =
            tokio::time::timeout(PATIENCE, self.reports.recv()).await.expect("a report in time").expect("a report");
        assert_eq!(report.turn, 5);
        report.what
    }

    /// Reads until the end: the texts that were streamed (from here on), and the end, which nothing follows.
    async fn rest(mut self) -> (Vec<String>, End) {
        let mut texts = Vec::new();
        loop {
            match self.next().await {
                What::Progress(Progress::Began) => {}
                What::Progress(Progress::Text(text)) => texts.push(text),
                What::Progress(Progress::File(file)) => panic!("nobody asked for {file:?}"),
                What::Ended(end) => {
                    assert_eq!(self.reports.recv().await, None, "the end is the last report");
                    self.task.await.expect("the run does not panic");
                    return (texts, end);
                }
            }
        }
    }

    /// Reads until a text, and gives it.
    async fn text(&mut self) -> String {
        loop {
            match self.next().await {
                What::Progress(Progress::Began) => {}
                What::Progress(Progress::Text(text)) => return text,
                What::Progress(Progress::File(file)) => panic!("nobody asked for {file:?}"),
                What::Ended(end) => panic!("ended instead of saying something: {end:?}"),
            }
        }
    }
}

async fn play(agent: CommandAgent, prompt: &str) -> End {
    start(&agent, prompt, 8).rest().await.1
}

fn answered(reply: &str) -> End {
    End::Answered { reply: reply.into() }
}

#[track_caller]
fn failed(end: End) -> (String, String) {
    match end {
        End::Failed { why, partial } => (why, partial),
        other => panic!("did not fail: {other:?}"),
    }
}

/// Whether the process runs; a zombie does not.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.starts_with(" Z") && !fields.starts_with(" X"))
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_reply_is_streamed_while_it_is_printed_and_trimmed_at_its_end() {
    let mut played = start(&shell("printf one; sleep 0.2; printf ' two\\n\\n'"), "", 8);
    assert_eq!(played.next().await, What::Progress(Progress::Began));
    assert_eq!(played.next().await, What::Progress(Progress::Text("one".into())));
    let (texts, end) = played.rest().await;
    assert_eq!(end, answered("one two"));
    assert!("one two".starts_with(&format!("one{}", texts.concat())), "{texts:?}");
}

#[tokio::test]
async fn text_is_coalesced_and_every_streamed_piece_is_a_prefix_of_the_reply() {
    let script = "i=0; while [ $i -lt 100 ]; do echo \"line $i\"; sleep 0.002; i=$((i+1)); done";
    let began = Instant::now();
    let (texts, end) = start(&shell(script), "", 8).rest().await;
    let End::Answered { reply } = end else { panic!("{end:?}") };
    assert_eq!(reply.lines().count(), 100);
    assert!(reply.starts_with(&texts.concat()) && texts.len() > 1, "{texts:?}");
    let most = began.elapsed().as_millis() / REPORT_EVERY.as_millis() + 1;
    assert!(texts.len() as u128 <= most, "{} reports, {most} allowed", texts.len());
}

#[tokio::test]
async fn characters_split_between_two_writes_and_garbage_become_clean_text() {
    let script = r"printf 'caf\303'; sleep 0.05; printf '\251 \377\000\033[1mok\r\n\tend\n'";
    assert_eq!(play(shell(script), "").await, answered("café \u{FFFD}[1mok\n\tend"));
}

#[tokio::test]
async fn a_prompt_larger_than_any_pipe_goes_in_while_the_reply_comes_out() {
    let prompt = "0123456789 ".repeat(40_000);
    assert_eq!(play(agent(&["cat"]), &prompt).await, answered(&prompt));
}

#[tokio::test]
async fn a_child_that_does_not_read_its_prompt_or_closes_it_answers_all_the_same() {
    let prompt = "x".repeat(500_000);
    assert_eq!(play(shell("echo deaf"), &prompt).await, answered("deaf"));
    assert_eq!(play(shell("exec 0<&-; sleep 0.1; echo closed"), &prompt).await, answered("closed"));
    assert_eq!(play(agent(&["cat"]), "").await, answered(""));
}

#[tokio::test]
async fn a_child_that_closes_its_stdin_is_heard_while_it_works() {
    let mut played = start(&shell("exec 0<&-; echo closed; sleep 60"), &"x".repeat(500_000), 8);
    assert_eq!(played.text().await, "closed");
    played.wish.send(Wish::Kill).unwrap();
    assert_eq!(played.rest().await.1, End::Interrupted { partial: "closed".into() });
}

#[tokio::test]
async fn the_environment_says_which_turn_this_is() {
    let end = play(shell("env | grep ^EVERGATE_ | sort; test -n \"$PATH\""), "").await;
    let expected = "EVERGATE_ATTEMPT=2\nEVERGATE_CONTROL=/state/control.sock\nEVERGATE_CONVERSATION=3\nEVERGATE_GENERATION=4\n\
                    EVERGATE_RESUME=crash\nEVERGATE_SESSION=main\nEVERGATE_STATE_DIR=/state\nEVERGATE_TURN=5";
    assert_eq!(end, answered(expected));
}

#[tokio::test]
async fn a_bad_exit_status_fails_the_turn_with_the_tail_of_stderr() {
    let (why, partial) = failed(play(shell("echo half; echo no key >&2; exit 3"), "").await);
    assert_eq!(why, "the agent ended with exit status 3; its stderr ends with:\nno key");
    assert_eq!(partial, "half");
    let (why, _) = failed(play(shell("kill -SEGV $$"), "").await);
    assert_eq!(why, "the agent was killed by SIGSEGV; it wrote nothing on stderr");
}

#[tokio::test]
async fn a_flood_on_stderr_neither_blocks_the_child_nor_is_kept() {
    let (why, _) = failed(play(shell("yes flood | head -c 1999998 >&2; echo the cause >&2; exit 1"), "").await);
    assert!(why.ends_with("flood\nthe cause"), "{why}");
    assert!(why.len() < 4300, "{}", why.len());
}

#[tokio::test]
async fn an_interrupted_child_may_still_answer() {
    let mut played = start(&shell("trap 'echo done; exit 0' TERM; echo working; while :; do sleep 0.01; done"), "", 8);
    assert_eq!(played.text().await, "working");
    played.wish.send(Wish::Interrupt).unwrap();
    assert_eq!(played.rest().await.1, answered("working\ndone"));
}

#[tokio::test]
async fn an_interrupted_child_that_gives_up_leaves_what_it_had_said() {
    let mut played = start(&shell("echo working; sleep 60"), "", 8);
    assert_eq!(played.text().await, "working");
    played.wish.send(Wish::Interrupt).unwrap();
    assert_eq!(played.rest().await.1, End::Interrupted { partial: "working".into() });
}

#[tokio::test]
async fn a_child_that_ignores_the_interruption_lives_until_it_is_to_be_killed() {
    let mut played = start(&shell("trap '' TERM; echo $$; while :; do sleep 0.05; done"), "", 8);
    let pid = played.text().await;
    played.wish.send(Wish::Interrupt).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(lives(&pid) && played.reports.is_empty());
    played.wish.send(Wish::Kill).unwrap();
    assert_eq!(played.rest().await.1, End::Interrupted { partial: pid.trim().to_owned() });
    assert!(!lives(&pid));
}

#[tokio::test]
async fn an_interrupted_child_that_prints_too_much_has_not_answered() {
    let script = "trap 'printf 123456789; exit 0' TERM; echo go; while :; do sleep 0.01; done";
    let mut played = start(&CommandAgent { max_reply_bytes: 5, ..shell(script) }, "", 8);
    assert_eq!(played.text().await, "go");
    played.wish.send(Wish::Interrupt).unwrap();
    assert_eq!(played.rest().await.1, End::Interrupted { partial: "go\n12".into() });
}

#[tokio::test]
async fn a_stopped_child_hears_the_interruption() {
    let mut played = start(&shell("echo $$; kill -STOP $$; sleep 60"), "", 8);
    let pid = played.text().await;
    eventually("the child is stopped", || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T"))
        .await;
    played.wish.send(Wish::Interrupt).unwrap();
    assert_eq!(played.rest().await.1, End::Interrupted { partial: pid });
}

#[tokio::test]
async fn a_run_that_is_unwanted_before_it_starts_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let (_wish, wished) = watch::channel(Wish::Interrupt);
    let (sender, mut reports) = mpsc::channel(8);
    shell(&format!("touch {}", mark.display())).run(assignment(""), wished, sender).await;
    assert_eq!(reports.recv().await.unwrap().what, What::Ended(End::Interrupted { partial: String::new() }));
    assert!(!mark.exists());
}

#[tokio::test]
async fn silence_kills_and_any_output_breaks_it() {
    let silence = Duration::from_secs(1);
    let talking = CommandAgent { silence, ..shell("for i in 1 2 3 4 5 6; do sleep 0.2; echo $i >&2; done; echo end") };
    assert_eq!(play(talking, "").await, answered("end"));
    let (why, partial) = failed(play(CommandAgent { silence, ..shell("echo words; sleep 60") }, "").await);
    assert_eq!(
        why,
        "the agent printed nothing for 1s and was killed; raise agent.command.silence if it needs longer; it wrote nothing on stderr"
    );
    assert_eq!(partial, "words");
}

#[tokio::test]
async fn a_child_that_prints_too_much_is_killed_and_cut_between_characters() {
    let endless = CommandAgent {
        max_reply_bytes: 100_001,
        ..agent(&["python3", "-c", "while True: print('é' * 1000, end='')"])
    };
    let (why, partial) = failed(play(endless, "").await);
    assert_eq!(
        why,
        "the agent printed more than 100001 bytes and was killed; raise agent.command.max_reply_bytes if replies may be longer"
    );
    assert_eq!(partial.len(), 100_000);
    let exact = CommandAgent { max_reply_bytes: 5, ..shell("printf 12345") };
    assert_eq!(play(exact, "").await, answered("12345"));
    let quick = CommandAgent { max_reply_bytes: 5, ..shell("printf 123456; exit 0") };
    assert_eq!(failed(play(quick, "").await).1, "12345", "half a reply is no answer, whatever the exit status");
}

#[tokio::test]
async fn what_the_child_leaves_in_its_group_is_dead_before_the_end_is_reported() {
    let End::Answered { reply } = play(shell("sh -c 'trap \"\" TERM HUP; sleep 60; :' & echo $!"), "").await else {
        panic!()
    };
    assert!(!reply.is_empty() && !lives(&reply), "{reply}");
}

#[tokio::test]
async fn a_daemon_that_keeps_the_streams_open_does_not_hold_up_the_turn() {
    let began = Instant::now();
    let script = "setsid sh -c 'echo $$; sleep 60' & sleep 0.2; echo reply";
    let End::Answered { reply } = play(shell(script), "").await else { panic!() };
    assert!(began.elapsed() < Duration::from_secs(10));
    let (daemon, rest) = reply.split_once('\n').unwrap();
    assert_eq!(rest, "reply");
    assert!(lives(daemon), "who called setsid became a daemon on purpose");
    let group = nix::unistd::Pid::from_raw(daemon.parse().unwrap());
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_be_started_says_which_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let plain = write("plain", "#!/bin/sh\n", 0o644);
    let lost = write("lost", "#!/nonexistent/interpreter\n", 0o755);
    let missing = folder.path().join("missing").to_str().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap();
    for (program, words) in [
        ("evergate-no-such-program", ["`evergate-no-such-program` was not found", path.as_str()]),
        (missing.as_str(), [missing.as_str(), "was not found"]),
        ("./no/such", ["`./no/such` was not found", "working directory"]),
        (plain.as_str(), [plain.as_str(), "chmod +x"]),
        (lost.as_str(), [lost.as_str(), "interpreter"]),
        ("", ["no agent program is configured", "agent.command.argv"]),
    ] {
        let (texts, end) = start(&agent(&[program]), "", 8).rest().await;
        let (why, partial) = failed(end);
        assert!(words.iter().all(|word| why.contains(word)), "{program}: {why}");
        assert!(texts.is_empty() && partial.is_empty());
    }
    assert!(failed(play(agent(&[]), "").await).0.contains("no agent program is configured"));
}

#[tokio::test]
async fn arguments_beyond_what_the_system_takes_fail_the_turn() {
    let long = "x".repeat(3_000_000);
    let (why, _) = failed(play(agent(&["true", &long]), "").await);
    assert!(
        why.contains("`true` could not be started") && why.contains("shorten agent.command.argv"),
        "{}",
        &why[..200]
    );
}

#[tokio::test]
async fn dropping_the_run_kills_the_whole_group() {
    let mut played =
        start(&shell("trap '' TERM HUP; sh -c 'trap \"\" TERM HUP; sleep 60; :' & echo $! $$; wait"), "", 8);
    let pids = played.text().await;
    let (member, leader) = pids.split_once(' ').unwrap();
    assert!(lives(member) && lives(leader));
    played.task.abort();
    eventually("the group is dead", || !lives(member) && !lives(leader)).await;
    assert_eq!(played.reports.recv().await, None, "a dropped run says nothing");
}

/// Prints far more than pipe and pending text hold, and then leaves `mark`.
fn printer(mark: &Path) -> CommandAgent {
    shell(&format!("yes 123456789 | head -c 600000; touch {}", mark.display()))
}

#[tokio::test]
async fn a_driver_that_does_not_listen_slows_the_child_down_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let silence = Duration::from_millis(700);
    let played = start(&CommandAgent { silence, ..printer(&mark) }, "", 1);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!mark.exists(), "the child felt no back pressure");
    let (texts, end) = played.rest().await;
    assert!(mark.exists());
    let End::Answered { reply } = end else { panic!("whose silence was it? {end:?}") };
    assert_eq!(reply.len(), 599_999);
    assert!(reply.starts_with(&texts.concat()));
}

#[tokio::test]
async fn the_wish_is_obeyed_while_the_driver_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    let played = start(&shell(&format!("echo $$ > {}; yes", folder.path().join("pid").display())), "", 1);
    let pid = || fs::read_to_string(folder.path().join("pid")).unwrap_or_default();
    eventually("the child has started", || lives(&pid())).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    played.wish.send(Wish::Kill).unwrap();
    eventually("the child is dead", || !lives(&pid())).await;
    assert!(matches!(played.rest().await.1, End::Interrupted { .. }));
}

#[tokio::test]
async fn a_run_whose_driver_is_gone_ends_and_takes_its_group_along() {
    let mut played = start(&shell("echo $$; while :; do echo more; sleep 0.02; done"), "", 8);
    let pid = played.text().await.lines().next().unwrap().to_owned();
    drop(played.reports);
    tokio::time::timeout(PATIENCE, &mut played.task).await.expect("the run ends").unwrap();
    assert!(!lives(&pid));
}

#[tokio::test]
async fn files_that_it_puts_into_its_outbox_go_with_the_reply_and_the_folder_goes() {
    let state = tempfile::tempdir().unwrap();
    let script =
        "echo look; cd \"$EVERGATE_OUTBOX\"; echo pixels > pic.png; head -c 2000 /dev/zero > large; echo $PWD >&2";
    let (wish, wished) = watch::channel(Wish::Run);
    let (sender, mut reports) = mpsc::channel(8);
    let assignment = Assignment { state_dir: state.path().into(), ..assignment("") };
    let task = tokio::spawn(shell(script).run(assignment, wished, sender));
    let (mut files, mut end) = (Vec::new(), None);
    while let Some(report) = tokio::time::timeout(PATIENCE, reports.recv()).await.unwrap() {
        match report.what {
            What::Progress(Progress::File(file)) => files.push(file),
            What::Progress(_) => {}
            What::Ended(ended) => end = Some(ended),
        }
    }
    task.await.unwrap();
    drop(wish);
    let Some(End::Answered { reply }) = end else { panic!("no answer: {end:?}") };
    assert_eq!(reply, "look\n\n[large was left out: it has 2000 bytes, and 1000 are the most (files.limit)]");
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!((files[0].media_type.as_str(), files[0].name.as_deref()), ("image/png", Some("pic.png")));
    assert_eq!(fs::read_to_string(&files[0].path).unwrap(), "pixels\n");
    assert!(!state.path().join("outbox/5").exists());
}

#[tokio::test]
async fn a_run_that_fails_hands_out_nothing() {
    let state = tempfile::tempdir().unwrap();
    let (_wish, wished) = watch::channel(Wish::Run);
    let (sender, mut reports) = mpsc::channel(8);
    let assignment = Assignment { state_dir: state.path().into(), ..assignment("") };
    shell("echo 1 > \"$EVERGATE_OUTBOX/a\"; exit 3").run(assignment, wished, sender).await;
    while let Some(report) = reports.recv().await {
        assert!(!matches!(report.what, What::Progress(Progress::File(_))), "{report:?}");
    }
    assert!(!state.path().join("files").exists() && !state.path().join("outbox/5").exists());
}
