//! `kill -9` at any instant: of a gateway that boots, serves or writes, of one that has never lived before, and by a
//! turn that kills its gateway each time it runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use evergate_tests::chat::{EndOfTalk, Person};
use evergate_tests::events::Event;
use evergate_tests::gateway::Gateway;
use evergate_tests::oracle::Words;

/// A small generator of random numbers (splitmix64), so that a seed is a whole run.
struct Dice(u64);

impl Dice {
    /// With the seed of `EVERGATE_TEST_SEED`, or a new one; the seed is printed either way.
    fn cast() -> Self {
        let wanted = std::env::var("EVERGATE_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
        let seed = wanted.unwrap_or(u64::from(now.subsec_nanos()) ^ now.as_secs());
        eprintln!("run again with EVERGATE_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        Duration::from_micros(mixed % u64::try_from(limit.as_micros()).expect("a limit is far below a million years"))
    }
}

/// Chats until the talk is over, with a pause of 20 ms inside every third turn.
fn chat(gateway: &Gateway, session: &str, deadline: Instant, over: &AtomicBool, answered: &AtomicUsize) {
    let mut person = Person::new(gateway, session);
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let text = if number % 3 == 0 { format!("take 20ms for {number}") } else { format!("word {number}") };
        person.say(&text, deadline);
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn kill_9_at_any_instant_loses_no_message_and_answers_none_twice() {
    const KILLS: usize = 200;
    const SESSIONS: usize = 20;
    let mut dice = Dice::cast();
    let deadline = Instant::now() + Duration::from_secs(170);
    let gateway = Gateway::builder().config("[agent.demo]\nwords_per_second = 0").start();

    // On a slow machine a gateway needs longer to live: the window covers boot and service alike.
    gateway.restart_process();
    let begun = Instant::now();
    Person::new(&gateway, "first").say("hello", deadline);
    let window = (begun.elapsed() * 4).clamp(Duration::from_millis(400), Duration::from_millis(800));

    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut useful_lives = 0;
    std::thread::scope(|scope| {
        let end = EndOfTalk(&over);
        for number in 0..SESSIONS {
            let (gateway, over, answered) = (&gateway, &over, &answered);
            scope.spawn(move || chat(gateway, &format!("session-{number}"), deadline, over, answered));
        }
        for kill in 0..KILLS {
            assert!(Instant::now() < deadline, "only {kill} of {KILLS} kills in time");
            let before = answered.load(Ordering::Relaxed);
            gateway.restart_process();
            std::thread::sleep(dice.below(window));
            gateway.kill();
            useful_lives += usize::from(answered.load(Ordering::Relaxed) > before);
        }
        gateway.restart_process();
        gateway.await_ready();
        drop(end);
    });

    let answered = answered.into_inner();
    eprintln!("{KILLS} kills within {window:?}, {useful_lives} lives answered something, {answered} messages answered");
    assert!(useful_lives >= 20, "the kills hardly ever hit a gateway at work, so little was tested");
    gateway.assert_answered_once(&[], Words::Echo);
    let status = gateway.status();
    assert_eq!(status["quarantined"], serde_json::json!([]), "nobody's turn was to blame");
}

#[test]
fn kill_9_during_the_very_first_start_leaves_a_state_that_starts() {
    let mut dice = Dice::cast();
    for _ in 0..20 {
        let gateway = Gateway::builder().config("[agent.demo]\nwords_per_second = 0").spawn();
        std::thread::sleep(dice.below(Duration::from_millis(150)));
        gateway.restart_process();
        gateway.await_ready();
        gateway.send("main", "hello", "1");
        gateway.assert_answered_once(&[], Words::Echo);
    }
}

#[test]
fn a_turn_that_kills_the_gateway_each_time_is_set_aside_and_everybody_else_is_served() {
    const ATTEMPTS: usize = 5;
    let builder = Gateway::builder().supervised(true);
    let runs = builder.room().join("runs");
    let script = format!(
        "prompt=$(cat)\ncase \"$prompt\" in *poison*) echo run >> '{}'; kill -9 $PPID; sleep 60;; esac\n\
         printf 'You said: %s' \"$prompt\"\n",
        runs.display()
    );
    let config = format!("[recovery]\nattempts = {ATTEMPTS}");
    let gateway = builder.config(&config).command_agent(&script, "").start();
    let deadline = Instant::now() + Duration::from_secs(120);

    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let await_more = |count: usize| {
        let goal = answered.load(Ordering::Relaxed) + count;
        let left = deadline.saturating_duration_since(Instant::now());
        let what = format!("{count} more answers to the calm sessions");
        gateway.wait_for(&what, left, || (answered.load(Ordering::Relaxed) >= goal).then_some(()));
    };
    let poison = std::thread::scope(|scope| {
        let _end = EndOfTalk(&over);
        for number in 0..3 {
            let (gateway, over, answered) = (&gateway, &over, &answered);
            scope.spawn(move || chat(gateway, &format!("calm-{number}"), deadline, over, answered));
        }
        await_more(6);
        let poison = gateway.send("poisoned", "take this poison", "poison-1");
        let before = answered.load(Ordering::Relaxed);
        let left = deadline.saturating_duration_since(Instant::now());
        gateway.wait_for("the poisoned session to be set aside", left, || {
            let status = gateway.try_status()?;
            status["quarantined"].as_array()?.iter().any(|name| name == "poisoned").then_some(())
        });
        assert!(answered.load(Ordering::Relaxed) > before, "the calm sessions are served meanwhile");
        await_more(6);
        poison
    });

    let ran = std::fs::read_to_string(&runs).unwrap_or_default().lines().count();
    assert!((2..=ATTEMPTS + 1).contains(&ran), "the turn may be tried {ATTEMPTS} times over, it ran {ran} times");
    let log = gateway.complete_log("poisoned");
    assert!(log.iter().any(|event| event.is_turn("quarantined")), "its turn is ended: {log:#?}");
    let told = |event: &Event| {
        event.is("notice") && event.data["text"].as_str().is_some_and(|text| text.contains("set aside"))
    };
    let told: Vec<&Event> = log.iter().filter(|event| told(event)).collect();
    assert_eq!(told.len(), 1, "the chat is told, once: {log:#?}");
    assert!(told[0].text().contains("Send any message to bring this one back"), "and of the way out: {told:?}");
    let status = gateway.status();
    assert_eq!(status["quarantined"], serde_json::json!(["poisoned"]), "nobody else is to blame");
    let shown = String::from_utf8_lossy(&gateway.cli(&["status"]).stdout).into_owned();
    assert!(shown.contains("\nquarantined  poisoned; any message there brings it back\n"), "{shown}");
    let found = String::from_utf8_lossy(&gateway.cli(&["doctor"]).stdout).into_owned();
    assert!(found.contains("quarantine: set aside") && found.contains(": poisoned\n"), "{found}");
    gateway.send("watch", "/status", "watch-1");
    let heard = |events: &[Event]| events.last().is_some_and(|event| event.is("notice"));
    let heard = gateway.events("watch", None, "the status", heard);
    let heard = heard.last().map(Event::text).unwrap_or_default();
    assert!(heard.contains("\npoisoned is set aside: any message there brings it back."), "{heard}");

    let later = gateway.send("poisoned", "something harmless", "poison-2");
    gateway.await_reply("poisoned", later, Duration::from_secs(30));
    gateway.assert_answered_once(&[poison], Words::Echo);
}
