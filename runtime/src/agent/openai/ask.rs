//! Asking a model until it has answered: what is worth another try, and when. What has been said when a stream breaks is
//! handed back with the next try, so nothing is said twice.

use super::super::Assignment;
use super::remarks::Remarks;
use super::stream::{Frames, Saying, read};
use super::{Settings, World, conversation};
use crate::http::{Body, Call, Client, Error, Patience};
use crate::secret::Secret;
use evergate_core::time::Instant;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

/// The first pause before another try; it doubles with each.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that we choose.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest answer of a server that does not stream, in bytes.
const WHOLE_ANSWER: usize = 16 * 1024 * 1024;

/// Why a try has brought no whole answer.
enum Trouble {
    /// Asking again may help, at the earliest after this.
    Passing { why: String, pause: Option<Duration> },
    /// Somebody has to do something first.
    Lasting(String),
}

/// How a stream ended in good order.
#[derive(Default)]
struct Finish {
    reason: Option<String>,
    tools: bool,
    done: bool,
}

/// What comes back when an answer is whole.
pub(super) struct Answered {
    /// What is to be put behind it.
    pub remarks: Remarks,
    /// What its server has not said yet: the end of a stream whose last event has come.
    pub rest: Option<Body>,
}

/// Asks until the answer is whole; its pieces go to `say`. An error says why there is none, and what to do.
pub(super) async fn ask(
    settings: &Settings,
    world: &World,
    assignment: &Assignment,
    say: mpsc::Sender<String>,
) -> Result<Answered, String> {
    let end = world.environment.now() + settings.turn;
    let whole = Asking::begin(settings, world, assignment, say, end);
    tokio::select! {
        biased;
        answered = whole => answered,
        () = world.environment.sleep_until(end) => Err(format!(
            "the model did not finish its answer within {:?} (agent.openai.turn)", settings.turn
        )),
    }
}

/// The asking of one run.
struct Asking<'a> {
    settings: &'a Settings,
    world: &'a World,
    client: Client,
    key: Option<Secret>,
    /// What the model is told before what it has said itself.
    told: Vec<Value>,
    /// What its reader has to know beside the answer.
    remarks: Remarks,
    /// What the answer says so far, over all attempts.
    said: String,
    /// What is left of the stream that ended it.
    rest: Option<Body>,
    turn: u64,
    say: mpsc::Sender<String>,
}

impl<'a> Asking<'a> {
    async fn begin(
        settings: &'a Settings,
        world: &'a World,
        assignment: &Assignment,
        say: mpsc::Sender<String>,
        end: Instant,
    ) -> Result<Answered, String> {
        let (key, system) = (settings.key.read()?, settings.read_system()?);
        let (told, remarks) = conversation::messages(world, settings, system.trim(), assignment)
            .await
            .map_err(|error| error.to_string())?;
        let client = match &key {
            Some(key) => world.client.sharing().hiding(key),
            None => world.client.sharing(),
        };
        let (said, rest, turn) = (assignment.said.clone(), None, assignment.turn);
        Self { settings, world, client, key, told, remarks, said, rest, turn, say }.insist(end).await
    }

    /// Tries until it has worked, cannot work, or has been tried often enough.
    async fn insist(mut self, end: Instant) -> Result<Answered, String> {
        let mut tries = 0;
        loop {
            let (why, pause) = match self.once().await {
                Ok(finish) => return self.finished(&finish).map(|remarks| Answered { remarks, rest: self.rest }),
                Err(Trouble::Lasting(why)) => return Err(why),
                Err(Trouble::Passing { why, pause }) => (why, pause),
            };
            let pause = pause.unwrap_or_else(|| (PAUSE * 2_u32.saturating_pow(tries)).min(LONGEST_PAUSE));
            tries += 1;
            let now = self.world.environment.now();
            if tries > self.settings.retries {
                return Err(format!("{why}; it was asked {tries} times"));
            }
            if now + pause >= end {
                return Err(format!(
                    "{why}; it wants to be left alone for {pause:?}, and the turn has no time left for that"
                ));
            }
            tracing::warn!(turn = self.turn, why, ?pause, said = self.said.len(), "the model is asked again");
            self.world.environment.sleep_until(now + pause).await;
        }
    }

    /// What a stream that ended in good order means.
    fn finished(&self, finish: &Finish) -> Result<Remarks, String> {
        let reason = finish.reason.as_deref();
        if !self.said.is_empty() {
            if let Some("length" | "content_filter") = reason {
                tracing::warn!(turn = self.turn, reason, "the model's answer ends early");
            }
            return Ok(self.remarks.ended(reason));
        }
        Err(if finish.tools || reason == Some("tool_calls") {
            "the model wants to call a tool, and none was offered to it; use another model, or an agent that has tools"
                .into()
        } else {
            format!("the model answered nothing (reason: {})", reason.unwrap_or("none given"))
        })
    }

    async fn once(&mut self) -> Result<Finish, Trouble> {
        let mut messages = self.told.clone();
        conversation::go_on(&mut messages, &self.said);
        let body = json!({
            "model": self.settings.model,
            "messages": messages,
            "max_tokens": self.settings.max_tokens,
            "stream": true,
        });
        let first_by = self.world.environment.now() + self.settings.connect + self.settings.first_token;
        let patience = Patience {
            connect: self.settings.connect,
            answer: self.settings.first_token,
            silence: self.settings.silence.max(self.settings.first_token),
            whole: None,
        };
        // A kept connection that turns out to be broken is no failure of the endpoint: it is asked through another one at once.
        let mut call = Call::post("chat completion", "/chat/completions").json(&body).patience(patience).repeatable();
        if let Some(key) = &self.key {
            call = call.bearer(key);
        }
        let answer = self.client.send(call).await.map_err(trouble)?.successful().await.map_err(trouble)?;
        let streams = answer
            .headers
            .get("content-type")
            .and_then(|kind| kind.to_str().ok())
            .is_none_or(|kind| !kind.trim_start().starts_with("application/json"));
        if streams { self.stream(answer.body, first_by).await } else { self.whole(answer.body).await }
    }

    /// Takes an answer as it comes.
    async fn stream(&mut self, mut body: Body, first_by: Instant) -> Result<Finish, Trouble> {
        let (mut frames, mut finish, mut spoken) = (Frames::default(), Finish::default(), false);
        loop {
            let until = if spoken { self.world.environment.now() + self.settings.silence } else { first_by };
            let bytes = tokio::select! {
                biased;
                bytes = body.next() => bytes.map_err(trouble)?,
                () = self.world.environment.sleep_until(until) => {
                    let limit = if spoken { self.settings.silence } else { self.settings.first_token };
                    return Err(passing(format!("the model said nothing for {limit:?}")));
                }
            };
            let Some(bytes) = bytes else { break };
            let whole = frames.hear(&bytes).map_err(|_| passing("the model's answer is one endless event".into()))?;
            for data in whole {
                spoken |= self.take(&data, &mut finish).await?;
            }
            if finish.done {
                // The answer is told before the end of its stream is waited for.
                self.rest = Some(body);
                break;
            }
        }
        if finish.done || finish.reason.is_some() {
            return Ok(finish);
        }
        Err(passing("the model's answer broke off before its end".into()))
    }

    /// Takes one event; tells whether the model has said something with it.
    async fn take(&mut self, data: &[u8], finish: &mut Finish) -> Result<bool, Trouble> {
        match read(data) {
            Saying::Piece { text, finish: reason, tools } => {
                finish.reason = finish.reason.take().or(reason);
                finish.tools |= tools;
                if text.is_empty() {
                    return Ok(tools);
                }
                self.said.push_str(&text);
                // Nobody listens only when the run is given up, and then this is dropped as well.
                let _heard = self.say.send(text).await;
                Ok(true)
            }
            Saying::Done => {
                finish.done = true;
                Ok(false)
            }
            Saying::Error { why, passing: true } => Err(passing(format!("the model failed: {}", self.hide(&why)))),
            Saying::Error { why, .. } => Err(Trouble::Lasting(format!("the model refused: {}", self.hide(&why)))),
            Saying::Garbage => Err(passing("the model's answer is not the JSON that it should be".into())),
            Saying::Nothing => Ok(false),
        }
    }

    /// Takes the answer of a server that does not stream, or its error with a status that says success.
    async fn whole(&mut self, body: Body) -> Result<Finish, Trouble> {
        let bytes = body.read(WHOLE_ANSWER).await.map_err(trouble)?;
        let mut finish = Finish::default();
        let spoken = self.take(&bytes, &mut finish).await?;
        if spoken || finish.reason.is_some() {
            return Ok(finish);
        }
        Err(passing("the server's answer is not that of a model; look at agent.openai.base_url".into()))
    }

    fn hide(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.hide_in(text))
    }
}

fn passing(why: String) -> Trouble {
    Trouble::Passing { why, pause: None }
}

/// What a failed call means: a server that is busy, broken or away may come back; one that refuses does not change its mind.
fn trouble(error: Error) -> Trouble {
    let why = error.to_string();
    match &error {
        Error::Unsendable { .. } => Trouble::Lasting(why),
        Error::Refused(refusal) => match refusal.status {
            408 | 409 | 425 | 429 | 500.. => Trouble::Passing { why, pause: refusal.retry_after() },
            401 | 403 => Trouble::Lasting(format!("{why}; look at agent.openai.key_file or key_env")),
            404 => Trouble::Lasting(format!("{why}; look at agent.openai.base_url and model")),
            _ => Trouble::Lasting(why),
        },
        _ => Trouble::Passing { why, pause: None },
    }
}
