//! A real child process that speaks the protocol, well or badly (`tests/agent.py`): what a turn makes of it, what is left of
//! it, and what it was told.

use super::memory::{Conversation, Forgetful, Remembered, Said, Speaker};
use super::*;
use crate::agent::{End, Progress, Resume, What};
use std::io::Write as _;
use std::path::Path;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod errands;

/// No test waits longer for anything; nothing here should take a tenth of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A memory with a past.
struct Past(Forgetful, Vec<Said>);

impl Memory for Past {
    fn recall(&self, conversation: &Conversation) -> BoxFuture<Option<Remembered>> {
        self.0.recall(conversation)
    }

    fn keep(&self, conversation: &Conversation, known: Remembered) -> BoxFuture<()> {
        self.0.keep(conversation, known)
    }

    fn last_event(&self, _: &Conversation) -> BoxFuture<u64> {
        Box::pin(std::future::ready(0))
    }

    fn transcript(&self, _: &Conversation, _: &Remembered, _: u64) -> BoxFuture<Vec<Said>> {
        Box::pin(std::future::ready(self.1.clone()))
    }
}

/// An agent with its room and its keeper.
struct Stage {
    room: TempDir,
    agent: AcpAgent,
    memory: Arc<Past>,
    keeper: JoinHandle<()>,
    close: oneshot::Sender<()>,
}

/// A run in the background, with the driver's ends of its channels.
struct Played {
    task: JoinHandle<()>,
    wish: watch::Sender<Wish>,
    reports: mpsc::Receiver<Report>,
}

fn settings(room: &Path, manners: &[&str]) -> Settings {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/agent/acp/tests/agent.py");
    let room = std::fs::canonicalize(room).expect("the room is there");
    let argv = ["python3", script, room.to_str().expect("a path in UTF-8")].into_iter().chain(manners.iter().copied());
    Settings {
        argv: argv.map(|word| (*word).to_owned()).collect(),
        cwd: room,
        env: vec![("OWN".into(), "a=b".into())],
        start: PATIENCE,
        silence: PATIENCE,
        max_reply_bytes: 1 << 20,
        max_file_bytes: 1 << 20,
        permission: Permission::Deny,
        offer: Offer::default(),
    }
}

/// `None`, said out loud, without Python.
fn stage(manners: &[&str], change: impl FnOnce(&mut Settings)) -> Option<Stage> {
    stage_after(manners, Vec::new(), change)
}

fn stage_after(manners: &[&str], past: Vec<Said>, change: impl FnOnce(&mut Settings)) -> Option<Stage> {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        // Past the capture of the test runner.
        let _unseen = writeln!(std::io::stderr().lock(), "\nSKIPPED {test}: there is no python3\n");
        return None;
    }
    let room = TempDir::new().expect("a temporary folder");
    let mut settings = settings(room.path(), manners);
    change(&mut settings);
    let memory = Arc::new(Past(Forgetful::default(), past));
    Some(tended(room, settings, memory))
}

fn tended(room: TempDir, settings: Settings, memory: Arc<Past>) -> Stage {
    let agent = AcpAgent::new(settings);
    agent.remembers_by(Arc::clone(&memory) as Arc<dyn Memory>);
    let (close, closed) = oneshot::channel();
    let keeper = tokio::spawn(agent.tend(closed).expect("it keeps a process"));
    Stage { room, agent, memory, keeper, close }
}

fn assignment(session: &str, turn: u64, prompt: &str) -> Assignment {
    Assignment {
        turn,
        session: session.into(),
        prompt: prompt.into(),
        messages: Vec::new(),
        attachments: Vec::new(),
        said: String::new(),
        attempt: 1,
        resume: None,
        conversation: 0,
        generation: 4,
        state_dir: "/state".into(),
        control: "set where it starts".into(),
    }
}

impl Stage {
    fn start(&self, mut assignment: Assignment) -> Played {
        // By this a turn's processes are told from those of another test.
        assignment.control = self.room.path().join("control.sock");
        let (wish, wished) = watch::channel(Wish::Run);
        let (sender, reports) = mpsc::channel(8);
        Played { task: tokio::spawn(self.agent.run(assignment, wished, sender)), wish, reports }
    }

    fn begin(&self, session: &str, turn: u64, prompt: &str) -> Played {
        self.start(assignment(session, turn, prompt))
    }

    async fn play(&self, session: &str, turn: u64, prompt: &str) -> End {
        self.begin(session, turn, prompt).rest().await.1
    }

    /// The gateway is killed, and with it the keeper and the agent; another one begins with the same memory.
    async fn killed(self) -> Stage {
        self.keeper.abort();
        let _aborted = self.keeper.await;
        let mut settings = (*self.agent.settings).clone();
        settings.argv.push("again".into());
        tended(self.room, settings, self.memory)
    }

    /// The gateway ends in order.
    async fn end(self) -> String {
        let _gone = self.close.send(());
        tokio::time::timeout(PATIENCE, self.keeper).await.expect("an end in time").expect("the keeper does not panic");
        for pid in read(self.room.path(), "starts").lines() {
            assert!(!lives(pid), "{pid} is left");
        }
        read(self.room.path(), "log")
    }

    fn starts(&self) -> Vec<String> {
        read(self.room.path(), "starts").lines().map(str::to_owned).collect()
    }

    /// What the agent was prompted with.
    fn prompts(&self) -> Vec<String> {
        let log = read(self.room.path(), "log");
        let prompts = log.lines().filter_map(|line| line.strip_prefix("prompt "));
        prompts.map(|text| serde_json::from_str(text).expect("the agent writes JSON")).collect()
    }
}

impl Played {
    async fn next(&mut self) -> What {
        tokio::time::timeout(PATIENCE, self.reports.recv()).await.expect("a report in time").expect("a report").what
    }

    async fn text(&mut self) -> String {
        loop {
            match self.next().await {
                What::Progress(Progress::Began) => {}
                What::Progress(Progress::Text(text)) => return text,
                What::Progress(Progress::File(_)) => {}
                What::Ended(end) => panic!("ended instead of saying something: {end:?}"),
            }
        }
    }

    /// Reads until the end: the texts, and the end, which nothing follows.
    async fn rest(mut self) -> (String, End) {
        let mut texts = String::new();
        loop {
            match self.next().await {
                What::Progress(Progress::Began) => {}
                What::Progress(Progress::Text(text)) => texts.push_str(&text),
                What::Progress(Progress::File(_)) => {}
                What::Ended(end) => {
                    assert_eq!(self.reports.recv().await, None, "the end is the last report");
                    self.task.await.expect("the run does not panic");
                    return (texts, end);
                }
            }
        }
    }
}

fn read(room: &Path, name: &str) -> String {
    std::fs::read_to_string(room.join(name)).unwrap_or_default()
}

fn answered(reply: &str) -> End {
    End::Answered { reply: reply.into() }
}

#[track_caller]
fn failed(end: End) -> String {
    match end {
        End::Failed { why, .. } => why,
        other => panic!("did not fail: {other:?}"),
    }
}

/// Whether the process runs; a zombie does not.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.starts_with(" Z") && !fields.starts_with(" X"))
}

#[tokio::test]
async fn one_process_serves_all_sessions_and_keeps_their_conversations_apart() {
    let Some(stage) = stage(&[], |_| {}) else { return };
    let (first, second) = tokio::join!(stage.play("a", 1, "hello"), stage.play("b", 2, "hi"));
    assert_eq!((first, second), (answered("heard 1: hello"), answered("heard 1: hi")));
    assert_eq!(stage.play("a", 3, "again").await, answered("heard 2: again"));
    let renewed = Assignment { conversation: 1, ..assignment("a", 4, "afresh") };
    assert_eq!(stage.start(renewed).rest().await.1, answered("heard 1: afresh"));
    assert_eq!(stage.starts().len(), 1);
    assert!(stage.end().await.ends_with("stdin closed\n"));
}

#[tokio::test]
async fn the_environment_and_the_folder_are_the_agents_own() {
    let Some(stage) = stage(&[], |_| {}) else { return };
    let names = "environment OWN EVERGATE_AGENT EVERGATE_CONTROL EVERGATE_GENERATION EVERGATE_TURN";
    let End::Answered { reply } = stage.play("a", 1, names).await else { panic!("no answer") };
    let folder = stage.room.path().canonicalize().unwrap();
    let control = stage.room.path().join("control.sock").display().to_string();
    let expected =
        format!("OWN=a=b EVERGATE_AGENT=acp EVERGATE_CONTROL={control} EVERGATE_GENERATION=4 EVERGATE_TURN=None");
    assert_eq!(reply, format!("{expected} {}", folder.display()));
    stage.end().await;
}

#[tokio::test]
async fn words_before_and_after_a_step_are_paragraphs_and_steps_themselves_are_not_shown() {
    let Some(stage) = stage(&[], |_| {}) else { return };
    assert_eq!(stage.play("a", 1, "steps").await, answered("one\n\ntwo three"));
    stage.end().await;
}

#[tokio::test]
async fn each_reason_to_stop_is_said_in_words() {
    let Some(stage) = stage(&[], |_| {}) else { return };
    for (reason, expected) in [
        ("end_turn", "said"),
        ("from_the_future", "said"),
        ("max_tokens", "said\n\n[The answer is cut short: the model's limit of tokens is reached.]"),
        (
            "max_turn_requests",
            "said\n\n[The agent has stopped: it has asked its model as often as it may in one turn.]",
        ),
        ("refusal", "said\n\n[The agent refuses to go on with this.]"),
    ] {
        assert_eq!(stage.play("a", 1, &format!("stop {reason}")).await, answered(expected));
    }
    let why = failed(stage.play("a", 1, "stop cancelled").await);
    assert!(why.contains("nobody here wished that"), "{why}");
    assert_eq!(failed(stage.play("a", 1, "error").await), "the agent failed: Internal error: no key (error -32603)");
    stage.end().await;
}

#[tokio::test]
async fn an_interruption_cancels_and_an_agent_that_answers_all_the_same_has_answered() {
    let Some(stage) = stage(&[], |_| {}) else { return };
    let mut waiting = stage.begin("a", 1, "wait");
    assert_eq!(waiting.text().await, "waiting");
    let mut finishing = stage.begin("b", 2, "finish");
    assert_eq!(finishing.text().await, "almost");
    waiting.wish.send(Wish::Interrupt).unwrap();
    assert_eq!(waiting.rest().await.1, End::Interrupted { partial: "waiting".into() });
    finishing.wish.send(Wish::Interrupt).unwrap();
    assert_eq!(finishing.rest().await.1, answered("almost done"));
    assert_eq!(stage.play("a", 3, "on").await, answered("heard 2: on"));
    assert_eq!(stage.starts().len(), 1, "nobody had to be killed");
    stage.end().await;
}

#[tokio::test]
async fn a_turn_that_is_killed_ends_the_process_and_the_others_go_on_in_the_next() {
    let Some(stage) = stage(&["loads"], |_| {}) else { return };
    let mut deaf = stage.begin("a", 1, "deaf");
    assert_eq!(deaf.text().await, "deaf");
    let mut other = stage.begin("b", 2, "finish");
    assert_eq!(other.text().await, "almost");
    deaf.wish.send(Wish::Interrupt).unwrap();
    deaf.wish.send(Wish::Kill).unwrap();
    assert_eq!(deaf.rest().await.1, End::Interrupted { partial: "deaf".into() });
    let (texts, end) = other.rest().await;
    let End::Answered { reply } = end else { panic!("{end:?}") };
    assert!(
        reply.starts_with("almostheard 2: [Your answer to this was cut off") && reply.ends_with("almost"),
        "{reply}"
    );
    assert!(reply.starts_with(&format!("almost{texts}")), "{texts}");
    assert_eq!(stage.starts().len(), 2);
    assert!(!lives(&stage.starts()[0]));
    stage.end().await;
}

#[tokio::test]
async fn an_agent_that_crashes_fails_its_turns_and_is_started_again() {
    let Some(stage) = stage(&["loads"], |_| {}) else { return };
    let mut bystander = stage.begin("b", 1, "wait");
    assert_eq!(bystander.text().await, "waiting");
    let why = failed(stage.play("a", 2, "crash").await);
    assert_eq!(why, "the agent ended with exit status 7; it wrote nothing on stderr");
    assert!(failed(bystander.rest().await.1).contains("exit status 7"));
    assert_eq!(stage.play("a", 3, "and now").await, answered("heard 2: and now"), "it has taken up its session");
    assert_eq!(stage.starts().len(), 2);
    let why = failed(stage.play("a", 4, "die").await);
    assert_eq!(why, "the agent was killed by SIGKILL; it wrote nothing on stderr");
    assert_eq!(stage.play("a", 5, "and again").await, answered("heard 4: and again"));
    stage.end().await;
}

#[tokio::test]
async fn an_agent_that_keeps_dying_is_started_ever_more_seldom() {
    let Some(stage) = stage(&["doomed"], |_| {}) else { return };
    let begun = Instant::now();
    for turn in 1.. {
        failed(stage.play("a", turn, "hello").await);
        if stage.starts().len() >= 5 {
            break;
        }
    }
    // At once after the first death, then after a quarter of a second, twice that, and so on.
    let pauses = (0..stage.starts().len() as u32 - 2).map(|death| Duration::from_millis(250) * 2_u32.pow(death));
    let (least, took) = (pauses.sum::<Duration>(), begun.elapsed());
    assert!(took >= least, "{} starts in {took:?}, without the pauses of {least:?}", stage.starts().len());
    stage.end().await;
}

#[tokio::test]
async fn after_a_kill_in_mid_turn_the_agent_is_asked_to_go_on_and_not_asked_again() {
    let Some(mut stage) = stage(&["loads"], |_| {}) else { return };
    assert_eq!(stage.play("a", 1, "before").await, answered("heard 1: before"));
    let mut cut = stage.begin("a", 2, "wait");
    assert_eq!(cut.text().await, "waiting");
    stage = stage.killed().await;
    let resumed =
        |turn, prompt| Assignment { attempt: 2, resume: Some(Resume::Crash), ..assignment("a", turn, prompt) };
    let End::Answered { reply } = stage.start(resumed(2, "wait")).rest().await.1 else { panic!("no answer") };
    assert!(reply.starts_with("heard 3: [Your answer to this was cut off"), "{reply}");
    assert_eq!(stage.prompts()[..2], ["before", "wait"]);
    // A prompt that was never sent is sent, even when the one before it was the same.
    stage = stage.killed().await;
    assert_eq!(stage.start(resumed(3, "wait for it")).text().await, "waiting");
    stage = stage.killed().await;
    let mut waiting = stage.start(resumed(4, "wait for it"));
    assert_eq!(waiting.text().await, "waiting");
    assert_eq!(stage.prompts()[3..], ["wait for it", "wait for it"]);
    waiting.wish.send(Wish::Interrupt).unwrap();
    assert_eq!(waiting.rest().await.1, End::Interrupted { partial: "waiting".into() });
    stage.end().await;
}

#[tokio::test]
async fn what_the_chat_has_seen_of_a_cut_answer_is_its_beginning() {
    for (prompt, said, asked) in [
        // The agent has stored nothing of its answer: it is told what the chat has seen.
        ("wait", "waiting", "do not repeat it:]\n\nwaiting"),
        // The agent has stored more than the chat has seen.
        ("crash", "so", "without doing again what is done.]"),
    ] {
        let Some(mut stage) = stage(&["loads"], |_| {}) else { return };
        let mut cut = stage.begin("a", 2, prompt);
        cut.text().await;
        if prompt == "crash" {
            failed(cut.rest().await.1);
        }
        stage = stage.killed().await;
        let resumed = Assignment { said: said.into(), ..assignment("a", 2, prompt) };
        let (texts, end) = stage.start(resumed).rest().await;
        let End::Answered { reply } = end else { panic!("{end:?}") };
        let whole = if prompt == "crash" { "so far" } else { "waiting" };
        assert!(reply.starts_with(&format!("{whole}heard 2: [Your answer to this was cut off")), "{reply}");
        assert!(reply.ends_with(asked) && reply.starts_with(&format!("{said}{texts}")), "{reply}: {texts}");
        stage.end().await;
    }
}

#[tokio::test]
async fn an_agent_that_cannot_take_up_its_session_gets_a_fresh_one_with_the_transcript() {
    let past = [(Speaker::User, "my name is Ada"), (Speaker::Agent, "hello Ada")];
    let past: Vec<Said> = past.map(|(who, text)| Said { who, text: text.into() }).into();
    for manners in [&["forgets"][..], &["loads"], &["loads", "vague"]] {
        let Some(mut stage) = stage_after(manners, past.clone(), |_| {}) else { return };
        stage.play("a", 1, "who am I").await;
        stage = stage.killed().await;
        for session in std::fs::read_dir(stage.room.path()).unwrap().flatten() {
            if session.file_name().to_string_lossy().ends_with(".json") {
                std::fs::remove_file(session.path()).unwrap();
            }
        }
        let End::Answered { reply } = stage.play("a", 2, "and now").await else { panic!("no answer") };
        assert!(reply.starts_with("heard 1: [This conversation was begun before"), "{manners:?}: {reply}");
        assert!(reply.contains("User: my name is Ada\n\nYou: hello Ada") && reply.ends_with("and now"), "{reply}");
        stage.end().await;
    }
}

#[tokio::test]
async fn permission_is_answered_as_configured_and_neither_files_nor_terminals_are_offered() {
    for (permission, expected) in [(Permission::Deny, "reject_once"), (Permission::Allow, "allow_once")] {
        let Some(stage) = stage(&[], |settings| settings.permission = permission) else { return };
        assert_eq!(stage.play("a", 1, "ask").await, answered(expected));
        assert_eq!(stage.play("a", 2, "files").await, answered("-32601 -32601 -32601 "));
        assert!(!stage.room.path().join("mine").exists());
        let log = stage.end().await;
        let offered = log.lines().find_map(|line| line.strip_prefix("capabilities ")).expect("it was introduced to us");
        let nothing = serde_json::json!({"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false});
        assert_eq!(serde_json::from_str::<serde_json::Value>(offered).expect("the agent writes JSON"), nothing);
    }
}

#[tokio::test]
async fn noise_is_passed_over() {
    let Some(stage) = stage(&[], |_| {}) else { return };
    assert_eq!(stage.play("a", 1, "noise").await, answered("through"));
    assert_eq!(stage.starts().len(), 1);
    stage.end().await;
}

#[tokio::test]
async fn a_flood_fails_its_turn_and_nobody_elses() {
    let Some(stage) = stage(&[], |settings| settings.max_reply_bytes = 10_000) else { return };
    let mut other = stage.begin("b", 1, "finish");
    assert_eq!(other.text().await, "almost");
    let why = failed(stage.play("a", 2, "flood").await);
    assert_eq!(
        why,
        "the agent said more than 10000 bytes and was told to stop; raise agent.acp.max_reply_bytes if replies may be longer"
    );
    other.wish.send(Wish::Interrupt).unwrap();
    assert_eq!(other.rest().await.1, answered("almost done"));
    stage.end().await;
}

#[tokio::test]
async fn an_agent_that_speaks_something_else_is_ended() {
    let Some(stage) = stage(&[], |_| {}) else { return };
    let why = failed(stage.play("a", 1, "garbage").await);
    assert!(why.contains("something else than the Agent Client Protocol") && why.contains("agent.acp.argv"), "{why}");
    assert!(!lives(&stage.starts()[0]));
    stage.end().await;
}

#[tokio::test]
async fn an_agent_that_never_introduces_itself_is_ended_and_tried_again() {
    let Some(stage) = stage(&["mute"], |settings| settings.start = Duration::from_secs(2)) else { return };
    let why = failed(stage.play("a", 1, "hello").await);
    assert!(why.contains("has not answered `initialize` within 2s"), "{why}");
    assert_eq!(stage.starts().len(), 2, "the turn had a second chance");
    stage.end().await;
}

#[tokio::test]
async fn what_keeps_an_agent_from_starting_is_said() {
    for (manner, expected) in [
        ("newer", "the agent speaks version 2 of the Agent Client Protocol, this gateway version 1"),
        ("doomed", "its stderr ends with:\ncannot find the model"),
        ("locked", "wants somebody to log in first"),
    ] {
        let Some(stage) = stage(&[manner], |_| {}) else { return };
        let why = failed(stage.play("a", 1, "hello").await);
        assert!(why.contains(expected), "{manner}: {why}");
        stage.end().await;
    }
    let Some(stage) = self::stage(&[], |settings| settings.argv = vec!["no-such-agent".into()]) else { return };
    let why = failed(stage.play("a", 1, "hello").await);
    assert!(why.contains("`no-such-agent` was not found") && why.ends_with("correct agent.acp.argv"), "{why}");
    stage.end().await;
    let Some(stage) = self::stage(&[], |settings| settings.cwd = "/no/such/folder".into()) else { return };
    let why = failed(stage.play("a", 1, "hello").await);
    assert!(why.contains("`/no/such/folder`") && why.ends_with("correct agent.acp.cwd"), "{why}");
    stage.end().await;
}

#[tokio::test]
async fn a_silent_turn_is_told_to_stop() {
    let Some(stage) = stage(&[], |settings| settings.silence = Duration::from_millis(200)) else { return };
    let begun = Instant::now();
    let why = failed(stage.play("a", 1, "wait").await);
    assert!(why.contains("raise agent.acp.silence"), "{why}");
    assert!(begun.elapsed() < PATIENCE);
    stage.end().await;
}

#[tokio::test]
async fn an_agent_that_does_not_end_by_itself_is_ended_by_force() {
    let Some(stage) = stage(&["stubborn"], |_| {}) else { return };
    assert_eq!(stage.play("a", 1, "hello").await, answered("heard 1: hello"));
    stage.end().await;
}

#[tokio::test]
async fn the_keeper_waits_for_the_last_turn_before_it_ends() {
    let Some(stage) = stage(&[], |_| {}) else { return };
    let mut waiting = stage.begin("a", 1, "wait");
    assert_eq!(waiting.text().await, "waiting");
    stage.close.send(()).unwrap();
    let closed = async {
        while stage.agent.door.keeper().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("no turn can begin any more");
    waiting.wish.send(Wish::Interrupt).unwrap();
    assert_eq!(waiting.rest().await.1, End::Interrupted { partial: "waiting".into() });
    tokio::time::timeout(PATIENCE, stage.keeper).await.expect("an end in time").unwrap();
}

#[tokio::test]
async fn a_picture_in_the_answer_goes_with_the_reply_and_a_link_leads_nowhere() {
    let Some(stage) = stage(&[], |_| {}) else { return };
    let state = TempDir::new().unwrap();
    let mut played = stage.start(Assignment { state_dir: state.path().into(), ..assignment("a", 1, "picture") });
    let (mut files, mut end) = (Vec::new(), None);
    while end.is_none() {
        match played.next().await {
            What::Progress(Progress::File(file)) => files.push(file),
            What::Progress(_) => {}
            What::Ended(ended) => end = Some(ended),
        }
    }
    assert_eq!(end, Some(answered("look")));
    let told: Vec<_> = files.iter().map(|file| (file.name.as_deref(), &*file.media_type)).collect();
    assert_eq!(told, [(Some("01-map.png"), "image/png")]);
    assert_eq!(std::fs::read(&files[0].path).unwrap(), b"pixels");
    played.task.await.expect("the run does not panic");
    assert!(!state.path().join("outbox/1").exists());
}
