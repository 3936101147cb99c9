//! The built-in agent: it says what it was told, word by word, at a pace that lets a person watch a restart in
//! mid-sentence. It never starts a process, never fails, and keeps nothing but its own answer in memory.

use super::{Agent, Assignment, End, Progress, Report, What, Wish, report_end};
use std::{future::Future, pin::Pin, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// The longest pause between two words: keeps absurd paces and durations inside what a clock can express.
const LONGEST_STEP: Duration = Duration::from_secs(365 * 24 * 3600);
/// Reports of one run are at least this far apart; faster words travel together.
const REPORT_EVERY: Duration = Duration::from_millis(30);

/// The demo agent: answers `You said: <prompt>`. A prompt that begins with `take 12s` (any one humantime duration)
/// stretches its answer evenly over that time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DemoAgent {
    /// Words a second; 0 (or anything that is no positive number) answers at once, without a timer and without progress.
    pub words_per_second: f64,
}

impl Agent for DemoAgent {
    fn run(
        &self,
        assignment: Assignment,
        wish: watch::Receiver<Wish>,
        reports: mpsc::Sender<Report>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // Only these few words are kept while it speaks: a thousand of them at once must cost next to nothing.
        let turn = assignment.turn;
        let text = format!("You said: {}", assignment.prompt);
        let step = self.step(&assignment.prompt, &text);
        Box::pin(speak(turn, text, step, wish, reports))
    }
}

impl DemoAgent {
    /// The time from one word of `text` to the next; zero says all of it at once.
    fn step(&self, prompt: &str, text: &str) -> Duration {
        if let Some(whole) = stretch(prompt) {
            let words = u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX);
            return (whole / words.max(1)).min(LONGEST_STEP);
        }
        if self.words_per_second.is_nan() || self.words_per_second <= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(1.0 / self.words_per_second).map_or(LONGEST_STEP, |step| step.min(LONGEST_STEP))
    }
}

/// The time that a prompt asks the answer to take.
fn stretch(prompt: &str) -> Option<Duration> {
    let duration = prompt.strip_prefix("take ")?.split_whitespace().next()?;
    humantime::parse_duration(duration).ok()
}

/// Says `text`, one word each `step`.
async fn speak(
    turn: u64,
    text: String,
    step: Duration,
    mut wish: watch::Receiver<Wish>,
    reports: mpsc::Sender<Report>,
) {
    let mut said = 0;
    let end = tokio::select! {
        biased;
        () = asked_to_end(&mut wish) => None,
        () = say_words(turn, &text, step, &mut said, &reports) => Some(()),
    };
    let end = match end {
        Some(()) => End::Answered { reply: text },
        None => End::Interrupted { partial: text[..said].to_owned() },
    };
    report_end(&reports, turn, end).await;
}

/// Reports one word after the other but the last, which comes with the end; `said` is the number of bytes said so far.
/// Times count from the start, so that a run that was frozen catches up instead of being late for ever.
async fn say_words(turn: u64, text: &str, step: Duration, said: &mut usize, reports: &mpsc::Sender<Report>) {
    if step.is_zero() {
        return;
    }
    let start = Instant::now();
    let mut words = 0;
    if !report(reports, turn, Progress::Began).await {
        return;
    }
    loop {
        let reported_at = Instant::now();
        sleep_until(
            (start + step * (words + 1)).max(reported_at + if words == 0 { Duration::ZERO } else { REPORT_EVERY }),
        )
        .await;
        let due = start.elapsed().as_nanos() / step.as_nanos();
        let before = *said;
        while *said < text.len() && u128::from(words) < due {
            *said = word_end(text, *said);
            words += 1;
        }
        if *said == text.len() || !report(reports, turn, Progress::Text(text[before..*said].to_owned())).await {
            return;
        }
    }
}

/// Sends progress; `false` when nobody listens any more.
async fn report(reports: &mpsc::Sender<Report>, turn: u64, progress: Progress) -> bool {
    reports.send(Report { turn, what: What::Progress(progress) }).await.is_ok()
}

/// Where the first word at or after `from` ends, white space before it included; the last word takes the rest along.
fn word_end(text: &str, from: usize) -> usize {
    let rest = &text[from..];
    let word = rest.len() - rest.trim_start().len();
    let end = rest[word..].find(char::is_whitespace).map_or(text.len(), |length| from + word + length);
    if text[end..].trim_start().is_empty() { text.len() } else { end }
}

/// Waits until the driver wishes the run to end; for ever when there is no driver left to wish anything.
async fn asked_to_end(wish: &mut watch::Receiver<Wish>) {
    if wish.wait_for(|wish| *wish != Wish::Run).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn assignment(turn: u64, prompt: &str) -> Assignment {
        Assignment {
            turn,
            session: "main".into(),
            prompt: prompt.into(),
            messages: Vec::new(),
            attachments: Vec::new(),
            said: String::new(),
            attempt: 1,
            resume: None,
            conversation: 1,
            generation: 1,
            state_dir: "/state".into(),
            control: "/state/control.sock".into(),
        }
    }

    /// Runs to the end; gives the texts and the end.
    async fn play(words_per_second: f64, prompt: &str) -> (Vec<String>, End) {
        let (_wish, wished) = watch::channel(Wish::Run);
        let (sender, mut reports) = mpsc::channel(1000);
        DemoAgent { words_per_second }.run(assignment(5, prompt), wished, sender).await;
        let mut texts = Vec::new();
        while let Some(report) = reports.recv().await {
            assert_eq!(report.turn, 5);
            match report.what {
                What::Progress(Progress::Began) => assert!(texts.is_empty()),
                What::Progress(Progress::Text(text)) => texts.push(text),
                What::Progress(Progress::File(_)) => {}
                What::Ended(end) => {
                    assert_eq!(reports.recv().await, None, "the end is the last report");
                    return (texts, end);
                }
            }
        }
        panic!("no end was reported");
    }

    fn answered(reply: &str) -> End {
        End::Answered { reply: reply.into() }
    }

    /// Runs on a runtime without timers: whoever touches one panics.
    #[test]
    fn without_a_pace_the_answer_comes_at_once_and_touches_no_timer() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for pace in [0.0, -1.0, f64::NAN] {
            let (texts, end) = runtime.block_on(play(pace, "a  b\n"));
            assert_eq!((texts.len(), end), (0, answered("You said: a  b\n")));
        }
    }

    #[tokio::test]
    async fn it_says_one_word_after_the_other_at_its_pace() {
        let began = Instant::now();
        let (texts, end) = play(20.0, " one  two\nthree ").await;
        assert!(began.elapsed() >= Duration::from_millis(250), "five words at twenty a second");
        assert_eq!(end, answered("You said:  one  two\nthree "));
        assert!("You said:  one  two\nthree ".starts_with(&texts.concat()), "{texts:?}");
        assert!((1..=4).contains(&texts.len()), "{texts:?}");
    }

    #[tokio::test]
    async fn a_prompt_can_ask_for_the_time_that_its_answer_takes() {
        for pace in [0.0, 1e9] {
            let began = Instant::now();
            let (texts, end) = play(pace, "take 300ms for this").await;
            let taken = began.elapsed();
            assert!(taken >= Duration::from_millis(300) && taken < Duration::from_secs(3), "{taken:?}");
            assert_eq!(end, answered("You said: take 300ms for this"));
            assert!(texts.len() > 1, "evenly, not in one go: {texts:?}");
        }
    }

    #[test]
    fn only_a_leading_take_with_a_duration_stretches() {
        assert_eq!(stretch("take 12s and more"), Some(Duration::from_secs(12)));
        assert_eq!(stretch("take 1h"), Some(Duration::from_secs(3600)));
        for prompt in ["take", "take ", "take it easy", "take 12", "mistake 12s", "please take 12s", "takes 12s"] {
            assert_eq!(stretch(prompt), None, "{prompt}");
        }
    }

    #[tokio::test]
    async fn absurd_paces_and_durations_wait_instead_of_panicking() {
        for (pace, prompt) in
            [(1e-300, "a"), (f64::MIN_POSITIVE, "a"), (1.0, "take 500000000000y b"), (1.0, "take 100000years b")]
        {
            let (_wish, wished) = watch::channel(Wish::Run);
            let (sender, _reports) = mpsc::channel(8);
            let run = DemoAgent { words_per_second: pace }.run(assignment(1, prompt), wished, sender);
            assert!(tokio::time::timeout(Duration::from_millis(50), run).await.is_err(), "{pace} {prompt}");
        }
    }

    #[tokio::test]
    async fn an_interruption_ends_it_at_once_with_what_it_had_said_even_while_nobody_listens() {
        for (wanted, capacity) in [(Wish::Interrupt, 100), (Wish::Kill, 100), (Wish::Interrupt, 1)] {
            let (wish, wished) = watch::channel(Wish::Run);
            let (sender, mut reports) = mpsc::channel(capacity);
            let run = tokio::spawn(DemoAgent { words_per_second: 50.0 }.run(
                assignment(1, &"word ".repeat(1000)),
                wished,
                sender,
            ));
            tokio::time::sleep(Duration::from_millis(150)).await;
            wish.send(wanted).unwrap();
            let mut texts = String::new();
            let partial = loop {
                match tokio::time::timeout(Duration::from_secs(5), reports.recv()).await.unwrap().unwrap().what {
                    What::Progress(Progress::Began) => {}
                    What::Progress(Progress::Text(text)) => texts += &text,
                    What::Progress(Progress::File(_)) => {}
                    What::Ended(End::Interrupted { partial }) => break partial,
                    What::Ended(end) => panic!("{end:?}"),
                }
            };
            assert!(
                partial.starts_with(&texts) && partial.starts_with("You") && partial.len() < 500,
                "{texts:?} {partial:?}"
            );
            run.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_thousand_at_once_are_small_and_all_answer() {
        let (_wish, wished) = watch::channel(Wish::Run);
        let (sender, mut reports) = mpsc::channel(16);
        let mut runs = tokio::task::JoinSet::new();
        for turn in 0..1000 {
            let run = DemoAgent { words_per_second: 0.0 }.run(
                assignment(turn, "take 200ms all of you"),
                wished.clone(),
                sender.clone(),
            );
            assert!(size_of_val(&*run) < 1500, "{} bytes", size_of_val(&*run));
            runs.spawn(run);
        }
        drop(sender);
        let mut ended = BTreeSet::new();
        while let Some(report) = reports.recv().await {
            if report.what == What::Ended(answered("You said: take 200ms all of you")) {
                assert!(ended.insert(report.turn));
            }
        }
        assert_eq!(ended.len(), 1000);
    }
}
