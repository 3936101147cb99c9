//! What somebody sees who waits for a restart or a stop: one place on a terminal that is kept up to date, a line a stage
//! elsewhere, or a JSON object a stage. It shows stages and decides nothing.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::CommandError;
use super::answers::Status;
use super::table::{duration, one_line};

/// How many of the things that a stage waits for are named; of the others it says how many there are.
const NAMED: usize = 3;
/// Two lines about one stage, when only what it waits for changed, are at least this far apart.
const WAIT_CHANGE_PAUSE: Duration = Duration::from_secs(1);
/// How often the sign of life on a terminal moves.
const TICK: Duration = Duration::from_millis(100);

/// A stage of the way from one generation to the next, as far as it can be seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// `accepted`, a phase of the gateway, `leaving` (its doors are closed), `gone` (nobody listens) or `silent` (somebody is
    /// there and does not answer).
    pub name: String,
    /// The generation that said so.
    pub generation: Option<u64>,
    /// What this stage waits for, in sentences.
    pub waiting_for: Vec<String>,
    /// What is left of the drain budget.
    pub remaining_ms: Option<u64>,
}

impl Stage {
    /// The stage that a status shows.
    pub fn of(status: &Status) -> Self {
        let drain = status.drain.clone().unwrap_or_default();
        Self {
            name: status.phase.clone(),
            generation: Some(status.generation),
            waiting_for: drain.waiting_for,
            remaining_ms: drain.remaining_ms,
        }
    }

    /// The stage in one sentence.
    pub fn sentence(&self) -> String {
        let generation =
            self.generation.map_or_else(|| "the gateway".to_owned(), |number| format!("generation {number}"));
        let what = match self.name.as_str() {
            "accepted" => format!("accepted by {generation}"),
            "gone" => "the old generation is gone; nobody listens yet".to_owned(),
            "silent" => "the gateway does not answer".to_owned(),
            "leaving" => format!("{generation} has closed its doors and is about to leave"),
            "draining" => format!("{generation} lets work end"),
            "interrupting" => format!("{generation} interrupts what is left"),
            "closing" => format!("{generation} closes its platforms and the journal"),
            "starting" => format!("{generation} is starting"),
            "serving" => format!("{generation} is serving"),
            "stuck" => format!("{generation} is stuck"),
            "terminate" => format!("{generation} gets nowhere: SIGTERM is sent"),
            "kill" => format!("{generation} gets nowhere: SIGKILL is sent; nothing that was accepted is lost by that"),
            "end" => format!("{generation} gets nowhere: whoever would start it again is told to end it"),
            "start" => "nobody has started it again: starting it".to_owned(),
            phase => format!("{generation} is {}", one_line(phase)),
        };
        if self.waiting_for.is_empty() {
            return what;
        }
        let named: Vec<String> = self.waiting_for.iter().take(NAMED).map(|item| one_line(item)).collect();
        let more = self.waiting_for.len() - named.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("{what}; waits for {}{more}", named.join(", "))
    }

    fn json(&self, elapsed: Duration) -> Value {
        json!({
            "stage": self.name,
            "generation": self.generation,
            "waiting_for": self.waiting_for,
            "remaining_ms": self.remaining_ms,
            "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// How stages are shown.
#[derive(Debug)]
enum Form {
    Terminal(ProgressBar),
    Lines,
    Json,
}

/// Shows stages as they come.
#[derive(Debug)]
pub struct Progress {
    form: Form,
    begun: Instant,
    /// The stage shown last, and when.
    shown: Option<(Stage, Instant)>,
}

impl Progress {
    /// JSON when asked for, a moving sign on a terminal, lines otherwise; all of it on standard output.
    pub fn new(json: bool) -> Self {
        let form = match json {
            true => Form::Json,
            false if is_full_terminal() => Form::Terminal(spinner()),
            false => Form::Lines,
        };
        Self { form, begun: Instant::now(), shown: None }
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Seconds since the beginning, to the millisecond.
    pub fn seconds(&self) -> f64 {
        (self.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
    }

    /// What was waited for last, in one sentence.
    pub fn last_sentence(&self) -> String {
        self.shown.as_ref().map_or_else(|| "nothing was heard yet".to_owned(), |(stage, _)| stage.sentence())
    }

    /// Shows the stage, when it says something new.
    pub fn show(&mut self, stage: Stage) {
        if let Form::Terminal(bar) = &self.form {
            let left = stage.remaining_ms.map(|ms| format!(" ({} left)", duration(Duration::from_millis(ms))));
            bar.set_message(format!("{}{}", stage.sentence(), left.unwrap_or_default()));
        } else if self.is_news(&stage) {
            let elapsed = self.elapsed();
            match self.form {
                Form::Json => write_line(&stage.json(elapsed).to_string()),
                _ => write_line(&format!("{:>7}  {}", duration(elapsed), stage.sentence())),
            }
        } else {
            return;
        }
        self.shown = Some((stage, Instant::now()));
    }

    fn is_news(&self, stage: &Stage) -> bool {
        let Some((shown, at)) = &self.shown else {
            return true;
        };
        if shown.name != stage.name || shown.generation != stage.generation {
            return true;
        }
        shown.waiting_for != stage.waiting_for && at.elapsed() >= WAIT_CHANGE_PAUSE
    }

    /// Says something beside the stages; not in JSON.
    pub fn say(&self, sentence: &str) {
        match &self.form {
            Form::Terminal(bar) => bar.suspend(|| write_line(sentence)),
            Form::Lines => write_line(sentence),
            Form::Json => {}
        }
    }

    /// Takes the moving sign away and says the last words: the sentence to people, the object to programs.
    pub fn finish(&self, sentence: &str, object: &Value) {
        self.clear();
        match self.form {
            Form::Json => write_line(&object.to_string()),
            Form::Terminal(_) | Form::Lines if sentence.is_empty() => {}
            Form::Terminal(_) | Form::Lines => write_line(sentence),
        }
    }

    /// The outcome for programs of a call that failed, which ended everything before there was another one.
    pub fn or_object(&self, outcome: Result<(), CommandError>) -> Result<(), CommandError> {
        if let Err(CommandError::Call(error)) = &outcome {
            let object = json!({"request": null, "outcome": "failed", "generation": null, "seconds": self.seconds(),
                "detail": error.to_string()});
            self.finish("", &object);
        }
        outcome
    }

    fn clear(&self) {
        if let Form::Terminal(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}

/// A terminal that can move its cursor.
fn is_full_terminal() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout()).with_style(style);
    bar.enable_steady_tick(TICK);
    bar
}

/// A closed standard output must not end the wait: the exit status still tells its end.
fn write_line(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, waiting_for: &[&str]) -> Stage {
        let waiting_for = waiting_for.iter().map(|&item| item.to_owned()).collect();
        Stage { name: name.to_owned(), generation: Some(3), waiting_for, remaining_ms: None }
    }

    #[test]
    fn a_drain_says_what_it_waits_for() {
        let stage = stage("draining", &["turn 5 of session main", "1 delivery"]);
        assert_eq!(stage.sentence(), "generation 3 lets work end; waits for turn 5 of session main, 1 delivery");
    }

    #[test]
    fn a_drain_that_waits_for_a_crowd_names_three_and_counts_the_rest() {
        let crowd: Vec<String> = (1..=50).map(|turn| format!("turn {turn}")).collect();
        let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
        let sentence = stage("draining", &crowd).sentence();
        assert_eq!(sentence, "generation 3 lets work end; waits for turn 1, turn 2, turn 3 and 47 more");
    }

    #[test]
    fn a_stage_is_news_once_and_its_waiting_list_at_most_each_second() {
        let mut progress = Progress { form: Form::Lines, begun: Instant::now(), shown: None };
        let first = stage("draining", &["turn 5"]);
        assert!(progress.is_news(&first));
        progress.shown = Some((first.clone(), Instant::now()));
        assert!(!progress.is_news(&first));
        assert!(!progress.is_news(&stage("draining", &[])));
        assert!(progress.is_news(&stage("interrupting", &[])));
        progress.shown = Some((first, Instant::now() - WAIT_CHANGE_PAUSE));
        assert!(progress.is_news(&stage("draining", &[])));
    }
}
